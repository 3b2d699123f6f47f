//! From the best weights to a published model: export, proof in ONNX Runtime, folder with model and curves.

use crate::confidence::Confidence;
use crate::definition::Definition;
use crate::error::{Error, Result};
use crate::network::onnx::{self, Golden, HeardCorpus, ModelCard};
use crate::network::predictor::Predictor;
use crate::network::session::{Provider, Session};
use crate::network::spec::NetworkSpec;
use crate::pictures::{EpochPoint, curves_svg};
use crate::stages::train::Trained;
use crate::stages::train::dataset::Dataset;
use crate::stages::train::stream::each_batch;
use crate::stages::{Ctx, stage_bytes};
use crate::storage::commit::TrainedModel;
use crate::storage::fingerprint::Fingerprint;
use crate::storage::publish::OutFile;

/// ONNX Runtime and the network's own forward must give the same probabilities within this.
const PARITY: f32 = 1e-5;
/// Held-out items on which they are compared.
pub(super) const PARITY_ITEMS: usize = 32;
/// How many at a time: ONNX Runtime keeps whole layers, 32 at once would take more memory than the training.
pub(super) const PARITY_BATCH: usize = 2;
/// Seed of the golden spectrogram; any number, but always the same.
const GOLDEN_SEED: u64 = 20_260_101;

/// Exports the weights of one network and writes the files of its folder; gives them, and the largest difference to ONNX Runtime.
pub(super) fn stage(
    ctx: &Ctx,
    spec: &NetworkSpec,
    one: &Trained,
    confidence: Option<(Confidence, Vec<HeardCorpus>)>,
    run_id: &str,
) -> Result<(Vec<OutFile>, TrainedModel, f32)> {
    let n_members = ctx.pipeline.train.members;
    let model_id = one.wanted.model_id(run_id, n_members);
    let (confidence, heard) = confidence.unwrap_or_default();
    // Whoever runs the file gets calibrated probabilities; 1 changes no bit.
    let temperature = confidence.temperature.map_or(1.0, |temperature| temperature.value);
    let parameters = one.parameters.clone().at_temperature(temperature);
    let mut predictor = Predictor::new(spec.clone(), parameters.clone(), ctx.n_threads())?;
    let card = ModelCard { confidence, heard, ..card(ctx, spec, &mut predictor, &model_id)? };
    let bytes = onnx::export(spec, &parameters, &card)?;
    let own = own_predictions(spec, &mut predictor, &one.checks)?;
    // Its memory is given back before ONNX Runtime takes its own.
    drop(predictor);
    let difference = compare_with_runtime(ctx, &bytes, &own)?;
    let points: Vec<EpochPoint> = one.history.iter().map(EpochPoint::from).collect();
    let curves = curves_svg(&points, &model_id, one.history.first().map_or("", |row| &row.monitored_split));
    let folder = one.wanted.folder(run_id, n_members)?;
    let stage = |name: &str, bytes| stage_bytes(&ctx.store, "train", format!("{folder}/{name}"), bytes);
    let files = vec![stage("model.onnx", &bytes)?, stage("curves.svg", curves.as_bytes())?];
    let model = TrainedModel { path: files[0].record.path.clone(), fold: one.wanted.fold, member: one.wanted.member };
    Ok((files, model, difference))
}

/// The features that were read are those of the recipe's front end and sides: the stage has made sure of that.
fn card(ctx: &Ctx, spec: &NetworkSpec, predictor: &mut Predictor, model_id: &str) -> Result<ModelCard> {
    let front_end = serde_json::to_string(&ctx.pipeline.features.front_end)
        .map_err(|error| Error::bug("a front end has no JSON form").because(error))?;
    let definition = Definition::of(&ctx.pipeline.features.front_end).to_string();
    let golden_input = onnx::golden_input(spec, GOLDEN_SEED);
    let mut probabilities = vec![0.0; spec.n_classes];
    predictor.predict(&golden_input, &mut probabilities)?;
    Ok(ModelCard {
        labels: ctx.pipeline.labels.classes.clone(),
        label_set: Some(ctx.pipeline.labels.clone()),
        front_end,
        fingerprint: Fingerprint::of([definition.as_str()]).to_string(),
        definition,
        model_id: model_id.into(),
        pipeline: ctx.pipeline.pipeline.name.clone(),
        protocol: ctx.pipeline.split.protocol.name().into(),
        network: spec.clone(),
        sermill_version: env!("CARGO_PKG_VERSION").into(),
        golden: Golden { seed: GOLDEN_SEED, probabilities },
        confidence: Default::default(),
        heard: Vec::new(),
        sealed: true,
    })
}

/// The network's own forward on the first of `checks`.
fn own_predictions(spec: &NetworkSpec, predictor: &mut Predictor, checks: &Dataset) -> Result<Vec<Prediction>> {
    let items: Vec<usize> = (0..checks.len().min(PARITY_ITEMS)).collect();
    let mut own = Vec::new();
    each_batch(checks, &items, PARITY_BATCH, |batch| {
        let mut probabilities = vec![0.0; batch.labels.len() * spec.n_classes];
        predictor.predict(&batch.log_mel, &mut probabilities)?;
        own.push(Prediction { log_mel: batch.log_mel.clone(), probabilities });
        Ok(())
    })?;
    Ok(own)
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
