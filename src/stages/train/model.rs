//! From the best weights to a published model: export, proof in ONNX Runtime, folder with model and curves.

use crate::definition::Definition;
use crate::error::{Error, Result};
use crate::network::onnx::{self, Golden, ModelCard};
use crate::network::session::{Provider, Session};
use crate::pictures::{EpochPoint, curves_svg};
use crate::stages::train::Run;
use crate::stages::train::dataset::Dataset;
use crate::stages::train::stream::each_batch;
use crate::stages::{Ctx, stage_bytes};
use crate::storage::fingerprint::Fingerprint;
use crate::storage::layout::Store;
use crate::storage::publish::OutFile;
use crate::tables::history::HistoryRow;

/// ONNX Runtime and the network's own forward must give the same probabilities within this.
const PARITY: f32 = 1e-5;
/// Held-out items on which they are compared.
pub(super) const PARITY_ITEMS: usize = 32;
/// How many at a time: ONNX Runtime keeps whole layers, 32 at once would take more memory than the training.
pub(super) const PARITY_BATCH: usize = 2;
/// Seed of the golden spectrogram; any number, but always the same.
const GOLDEN_SEED: u64 = 20_260_101;

impl Run<'_> {
    /// Exports the best weights and writes the files of the model's folder; gives them and the largest difference to ONNX
    /// Runtime.
    ///
    /// The trainer's memory is given back before ONNX Runtime takes its own.
    pub(super) fn stage_model(
        mut self,
        model_id: &str,
        held_out: &Dataset,
        history: &[HistoryRow],
    ) -> Result<(Vec<OutFile>, f32)> {
        self.trainer.restore(self.checkpoint.best_state(&self.spec)?)?;
        let card = self.card(model_id)?;
        let bytes = onnx::export(&self.spec, &self.trainer.state().parameters, &card)?;
        let own = self.own_predictions(held_out)?;
        let ctx = self.ctx;
        drop(self);
        let difference = compare_with_runtime(ctx, &bytes, &own)?;
        let points: Vec<EpochPoint> = history.iter().map(EpochPoint::from).collect();
        let curves = curves_svg(&points, model_id, ctx.pipeline.split.protocol.monitored().name());
        let folder = Store::model(model_id)?;
        let stage = |name: &str, bytes| stage_bytes(&ctx.store, "train", format!("{folder}/{name}"), bytes);
        Ok((vec![stage("model.onnx", &bytes)?, stage("curves.svg", curves.as_bytes())?], difference))
    }

    /// The features that were read are those of the recipe's front end and sides: the stage has made sure of that.
    fn card(&mut self, model_id: &str) -> Result<ModelCard> {
        let front_end = serde_json::to_string(&self.ctx.pipeline.features.front_end)
            .map_err(|error| Error::bug("a front end has no JSON form").because(error))?;
        let definition = Definition::of(&self.ctx.pipeline.features.front_end).to_string();
        let golden_input = onnx::golden_input(&self.spec, GOLDEN_SEED);
        let mut probabilities = vec![0.0; self.spec.n_classes];
        self.trainer.predict(&golden_input, &mut probabilities)?;
        Ok(ModelCard {
            labels: self.ctx.pipeline.labels.classes.clone(),
            label_set: Some(self.ctx.pipeline.labels.clone()),
            front_end,
            fingerprint: Fingerprint::of([definition.as_str()]).to_string(),
            definition,
            model_id: model_id.into(),
            pipeline: self.ctx.pipeline.pipeline.name.clone(),
            protocol: self.ctx.pipeline.split.protocol.name().into(),
            network: self.spec.clone(),
            sermill_version: env!("CARGO_PKG_VERSION").into(),
            golden: Golden { seed: GOLDEN_SEED, probabilities },
            confidence: Default::default(),
            heard: Vec::new(),
            sealed: true,
        })
    }

    /// The network's own forward on the first held-out items, as it was fed.
    fn own_predictions(&mut self, held_out: &Dataset) -> Result<Vec<Prediction>> {
        let items: Vec<usize> = (0..held_out.len().min(PARITY_ITEMS)).collect();
        let mut own = Vec::new();
        each_batch(held_out, &items, PARITY_BATCH, |batch| {
            self.predict(batch)?;
            own.push(Prediction { log_mel: batch.log_mel.clone(), probabilities: self.probabilities.clone() });
            Ok(())
        })?;
        Ok(own)
    }
}

/// Spectrograms `[items, n_mels, n_frames]` and what a network made of them, `[items, classes]`.
struct Prediction {
    log_mel: Vec<f32>,
    probabilities: Vec<f32>,
}

/// Largest difference of ONNX Runtime to `own` and to the golden vector; above [`PARITY`] it is an error.
fn compare_with_runtime(ctx: &Ctx, model: &[u8], own: &[Prediction]) -> Result<f32> {
    let mut session = Session::open(model, Provider::Cpu, ctx.n_threads(), &ctx.runtime_library)?;
    let mut largest = session.verify_golden(PARITY)?;
    let n_classes = session.card().network.n_classes;
    for own in own {
        let mut theirs = vec![0.0; own.probabilities.len()];
        session.run(&own.log_mel, theirs.len() / n_classes, &mut theirs)?;
        let differences = theirs.iter().zip(&own.probabilities).map(|(a, b)| (a - b).abs());
        largest = differences.fold(largest, f32::max);
    }
    if largest.is_nan() || largest > PARITY {
        return Err(Error::bug(format!(
            "ONNX Runtime differs from the trained network by {largest:e} in a probability, the limit is {PARITY:e}"
        ))
        .hint("nothing was published; the checkpoint is kept"));
    }
    Ok(largest)
}
