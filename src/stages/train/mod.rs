//! `train`: features become a model: epochs with early stopping, the best weights kept, exported to ONNX and proved there.
//!
//! After each epoch a checkpoint holds everything; a run that was killed goes on from it to the same result. A model is
//! published only if ONNX Runtime and the network's own forward agree. Spectrograms stay in their shards: an epoch draws
//! one order over all of them and reads each when its step comes, so memory does not grow with their number.

mod checkpoint;
pub mod dataset;
mod fresh;
mod items;
pub mod memory;
mod model;
pub mod stream;

use std::path::Path;
use std::time::Instant;

use rayon::prelude::*;
use serde_json::{Map, json};

use crate::augment;
use crate::error::{Error, Result};
use crate::network::dense::{argmax, cross_entropy};
use crate::network::network::{Network, Trainer};
use crate::network::optimiser::SgdConfig;
use crate::network::spec::NetworkSpec;
use crate::split::{Protocol, Split};
use crate::stages::leaks::refuse_leaks;
use crate::stages::roster::Roster;
use crate::stages::{Ctx, Done, Inputs, Needs, Read, Stage, stage_rows};
use crate::storage::commit::Evidence;
use crate::storage::fingerprint::Fingerprint;
use crate::storage::layout::Store;
use crate::storage::settings::Settings;
use crate::tables::history::HistoryRow;
use crate::tables::spectrograms::shards_of;

use checkpoint::Checkpoint;
use dataset::Dataset;
use items::TrainingItems;
use memory::MemoryPlan;
use stream::{Batch, each_batch};

/// Raised when the same features would give another model.
const REVISION: u32 = 2;

/// See the module.
pub struct Train;

impl Stage for Train {
    fn name(&self) -> &'static str {
        "train"
    }

    fn about(&self) -> &'static str {
        "train the network on the features and export it to ONNX"
    }

    fn flow(&self) -> &'static str {
        "features -> history, models/"
    }

    fn check(&self, ctx: &Ctx) -> Result<()> {
        let spec = ctx.pipeline.network()?;
        MemoryPlan::new(&spec, ctx.pipeline.train.batch, 0).check(&spec, ctx.memory_limit)?;
        if ctx.pipeline.split.protocol == Protocol::Unsplit {
            return Err(Error::recipe("[split] protocol = `unsplit` has no training side")
                .hint("choose paper or source-disjoint, or score with a model trained elsewhere"));
        }
        // A library that is missing must not be found out after hours of training.
        crate::network::session::Runtime::load(&ctx.runtime_library).map(|_| ())
    }

    fn settings(&self, ctx: &Ctx) -> Settings {
        run_settings(ctx).with("train.epochs", ctx.pipeline.train.epochs)
    }

    fn reads(&self, _ctx: &Ctx) -> Vec<(&'static str, Needs)> {
        vec![("ingest", Needs::Same), ("folds", Needs::Same), ("features", Needs::Same), ("audit", Needs::Same)]
    }

    fn admits(&self, ctx: &Ctx, read: &Read) -> Result<()> {
        refuse_leaks(&ctx.store, &ctx.pipeline.split, read.commit("audit")?)
    }

    fn inputs(&self, ctx: &Ctx, read: &Read) -> Result<Inputs> {
        let mut inputs = read.outputs();
        // It decides whether there is a training, and nothing of what is learned.
        inputs.remove("audit");
        if ctx.pipeline.fresh_copies() == 0 {
            // Of the manifest its words count, and not who speaks; those of recordings on a side.
            let classes = classes_of(ctx, read)?;
            inputs.remove("ingest");
            inputs.insert("labels".into(), classes);
        }
        Ok(inputs)
    }

    fn run(&self, ctx: &Ctx, read: &Read, inputs: &Inputs) -> Result<Done> {
        let spec = ctx.pipeline.network()?;
        let monitored = ctx.pipeline.split.protocol.monitored();
        let warning = ctx.pipeline.split.protocol.warning();
        if !warning.is_empty() {
            ctx.progress.say(&format!("train: {warning}"));
        }
        // Every spectrogram is checked when it is read; what is damaged is named before hours have gone into the rest.
        let shards = shards_of(&ctx.store, read.commit("features")?);
        ctx.pool.install(|| shards.par_iter().try_for_each(|shard| shard.check(&ctx.store, "features")))?;
        let roster = Roster::read(&ctx.store, read.commit("ingest")?, Some(read.commit("folds")?))?;
        let (train, held_out) = TrainingItems::open(ctx, read.commit("features")?, &roster, monitored, &spec)?;
        drop(roster);
        for (n_items, side) in [(train.len(), Split::Train), (held_out.len(), monitored)] {
            if n_items == 0 {
                return Err(Error::input(format!("there is no labelled recording on the {} side", side.name()))
                    .hint("look at `split` in the table `folds` and at `emotion` in the manifest"));
            }
        }
        let plan = MemoryPlan::new(&spec, ctx.pipeline.train.batch, train.len() + held_out.len());
        let plan = plan.with_extra(train.extra_bytes());
        plan.check(&spec, ctx.memory_limit)?;
        ctx.progress.say(&format!("train: takes {plan} of the memory limit of {}", ctx.memory_limit));
        let model_id = format!(
            "{}-{}",
            ctx.pipeline.pipeline.name,
            Fingerprint::of_value(&(self.settings(ctx).fingerprint(), inputs)).short()
        );
        // `epochs` is left out: raising it goes on with the same run.
        let run_key = Fingerprint::of_value(&(run_settings(ctx).fingerprint(), inputs));
        let mut run = Run::start(ctx, &spec, &run_key, &model_id)?;
        while run.is_unfinished() {
            run.epoch(&train, &held_out)?;
        }
        let history = run.checkpoint.history_of(&model_id);
        let (mut files, golden) = run.stage_model(&model_id, &held_out, &history)?;
        files.push(stage_rows(&ctx.store, "train", &model_id, &history)?);
        let done = summarise(ctx, &model_id, &history, (train.len(), held_out.len()), plan, golden);
        Ok(Done { files, ..done })
    }
}

/// Fingerprint of the classes of the recordings that stand on a side.
fn classes_of(ctx: &Ctx, read: &Read) -> Result<Fingerprint> {
    let roster = Roster::read(&ctx.store, read.commit("ingest")?, Some(read.commit("folds")?))?;
    let labels = &ctx.pipeline.labels;
    let placed = roster.entries().filter(|entry| roster.has_side(&entry.recording_id));
    let mut classes: Vec<(&str, Option<usize>)> =
        placed.map(|entry| (entry.recording_id.as_str(), labels.class_of(entry.emotion.as_deref()))).collect();
    classes.sort_unstable();
    Ok(Fingerprint::of_value(&classes))
}

/// Whether a checkpoint holds what was written; gives its size.
pub fn check_checkpoint(path: &Path) -> Result<u64> {
    Checkpoint::read(path)?;
    let size = std::fs::metadata(path).map_err(|error| Error::reading("cannot read checkpoint", error).at(path))?;
    Ok(size.len())
}

/// Everything a run's weights depend on, but for how long it goes on.
fn run_settings(ctx: &Ctx) -> Settings {
    let pipeline = &ctx.pipeline;
    let mut train = pipeline.train.clone();
    train.epochs = 0;
    let copies = pipeline.fresh_copies();
    // Stored copies are part of the features, which are an input.
    let wanted = if copies > 0 { pipeline.features.augmentations.as_slice() } else { &[] };
    let augmentations = augment::definition(wanted).unwrap_or_else(|error| error.to_string());
    Settings::of_revision(REVISION)
        .with("train", train)
        .with("labels", &pipeline.labels)
        .with("pipeline.seed", pipeline.pipeline.seed)
        .with("split.protocol", pipeline.split.protocol)
        .with("features.copies", copies)
        .with("features.augmentations", augmentations)
        .with("augment.spec_augment", &pipeline.augment.spec_augment)
}

/// One training run: the trainer and what must survive a kill.
struct Run<'a> {
    ctx: &'a Ctx,
    spec: NetworkSpec,
    trainer: Trainer,
    sgd: SgdConfig,
    checkpoint: Checkpoint,
    checkpoint_file: std::path::PathBuf,
    probabilities: Vec<f32>,
}

impl<'a> Run<'a> {
    fn start(ctx: &'a Ctx, spec: &NetworkSpec, run_key: &Fingerprint, model_id: &str) -> Result<Self> {
        let config = &ctx.pipeline.train;
        let checkpoint_file = ctx.store.side_index("train", &format!("{}.checkpoint", run_key.short()));
        let sgd = SgdConfig { learning_rate: config.learning_rate, momentum: config.momentum, decay: config.decay };
        let network = Network::initialise(spec.clone(), ctx.pipeline.pipeline.seed.derive("weights", &[]))?;
        let mut trainer = Trainer::new(spec.clone(), network.parameters, sgd, config.batch, ctx.n_threads())?;
        let mut checkpoint = Checkpoint::default();
        if let Some(saved) = Checkpoint::read(&checkpoint_file)? {
            trainer.restore(saved.last_state(spec)?)?;
            ctx.progress.say(&format!("train: goes on after epoch {} of {model_id}", saved.epochs_done()));
            checkpoint = saved;
        }
        Ok(Self {
            ctx,
            spec: spec.clone(),
            trainer,
            sgd,
            checkpoint,
            checkpoint_file,
            probabilities: vec![0.0; config.batch * spec.n_classes],
        })
    }

    fn is_unfinished(&self) -> bool {
        let config = &self.ctx.pipeline.train;
        self.checkpoint.epochs_done() < config.epochs && self.checkpoint.epochs_without_better() < config.patience
    }

    /// One pass over the training side, an evaluation of the monitored side, a checkpoint.
    fn epoch(&mut self, train: &TrainingItems, held_out: &Dataset) -> Result<()> {
        let ctx = self.ctx;
        let config = &ctx.pipeline.train;
        let epoch = self.checkpoint.epochs_done() + 1;
        let seed = ctx.pipeline.pipeline.seed;
        let order = seed.derive("shuffle", &[&(epoch as u64).to_le_bytes()]).permutation(train.len());
        let meter = ctx.progress.begin(&format!("epoch {epoch}/{}", config.epochs), train.len() as u64);
        let clock = Instant::now();
        let (mut loss, mut n_right, mut step, mut done) = (0.0, 0, 0_u64, 0);
        each_batch(&train.epoch(epoch as u32), &order, config.batch, |batch| {
            let dropout = seed.derive("dropout", &[&(epoch as u64).to_le_bytes(), &step.to_le_bytes()]);
            let outcome = self.trainer.step(&batch.log_mel, &batch.labels, Some(dropout))?;
            let n = batch.labels.len();
            (step, done) = (step + 1, done + n);
            loss += outcome.loss * n as f64;
            n_right += outcome.correct;
            meter.note(&format!("loss {:.4} accuracy {:.4}", loss / done as f64, n_right as f64 / done as f64));
            meter.advance(n as u64);
            Ok(())
        })?;
        drop(meter);
        let seconds = clock.elapsed().as_secs_f64();
        let (monitored_loss, monitored_accuracy) = self.evaluate(held_out)?;
        let n = train.len() as f64;
        let row = HistoryRow {
            model_id: String::new(),
            epoch: epoch as u32,
            train_loss: loss / n,
            train_accuracy: n_right as f64 / n,
            monitored_split: ctx.pipeline.split.protocol.monitored().name().into(),
            monitored_loss,
            monitored_accuracy,
            is_best: false,
            learning_rate: self.sgd.rate(self.trainer.state().iteration),
            n_recordings: train.len() as u64,
            seconds,
        };
        ctx.progress.say(&format!(
            "train: epoch {epoch}: loss {:.4} accuracy {:.4}, {} loss {monitored_loss:.4} accuracy {monitored_accuracy:.4}, {:.1} recordings/s",
            row.train_loss, row.train_accuracy, row.monitored_split, n / seconds
        ));
        self.checkpoint.add(row, self.trainer.state());
        self.checkpoint.publish(&ctx.store.staging("train"), &self.checkpoint_file)
    }

    /// Mean cross-entropy and accuracy on a side, dropout off, moving statistics.
    fn evaluate(&mut self, data: &Dataset) -> Result<(f64, f64)> {
        let ctx = self.ctx;
        let meter = ctx.progress.begin("held out", data.len() as u64);
        let all: Vec<usize> = (0..data.len()).collect();
        let (mut loss, mut n_right) = (0.0, 0);
        each_batch(data, &all, ctx.pipeline.train.batch, |batch| {
            self.predict(batch)?;
            for (row, &label) in self.probabilities.chunks_exact(self.spec.n_classes).zip(&batch.labels) {
                loss += cross_entropy(row[label]);
                n_right += usize::from(argmax(row) == Some(label));
            }
            meter.advance(batch.labels.len() as u64);
            Ok(())
        })?;
        Ok((loss / data.len() as f64, n_right as f64 / data.len() as f64))
    }

    fn predict(&mut self, batch: &Batch) -> Result<()> {
        self.probabilities.resize(batch.labels.len() * self.spec.n_classes, 0.0);
        self.trainer.predict(&batch.log_mel, &mut self.probabilities)
    }
}

fn summarise(
    ctx: &Ctx,
    model_id: &str,
    history: &[HistoryRow],
    (n_train, n_held_out): (usize, usize),
    plan: MemoryPlan,
    parity: f32,
) -> Done {
    let best = history.iter().find(|row| row.is_best).cloned().unwrap_or_default();
    let seconds: f64 = history.iter().map(|row| row.seconds).sum();
    let trained: f64 = history.iter().map(|row| row.n_recordings as f64).sum();
    let model = Store::model(model_id).map_or_else(|_| model_id.into(), |folder| format!("{folder}/model.onnx"));
    let mut summary = Map::new();
    summary.insert("model_id".into(), model_id.into());
    summary.insert("model".into(), ctx.store.root().join(&model).display().to_string().into());
    summary.insert("protocol".into(), ctx.pipeline.split.protocol.name().into());
    summary.insert("epochs".into(), history.len().into());
    summary.insert("best_epoch".into(), best.epoch.into());
    summary.insert("monitored_split".into(), best.monitored_split.clone().into());
    summary.insert("monitored_accuracy".into(), json!(best.monitored_accuracy));
    summary.insert("train_items".into(), n_train.into());
    summary.insert("monitored_items".into(), n_held_out.into());
    summary.insert("recordings_per_s".into(), json!((trained / seconds.max(1e-9) * 100.0).round() / 100.0));
    summary.insert("memory_planned_mb".into(), json!(plan.total().megabytes().round()));
    summary.insert("memory_peak_mb".into(), json!(memory::peak().map(|peak| peak.megabytes().round())));
    summary.insert("memory_limit_mb".into(), json!(ctx.memory_limit.megabytes().round()));
    summary.insert("onnx_difference".into(), json!(parity));
    Done {
        output: Fingerprint::of([model_id]),
        files: Vec::new(),
        is_whole: false,
        evidence: Evidence {
            model_id: Some(model_id.into()),
            model_protocol: Some(ctx.pipeline.split.protocol.name().into()),
            protocol: Some(ctx.pipeline.split.protocol.name().into()),
            seed: Some(ctx.pipeline.pipeline.seed),
            labels: Some(ctx.pipeline.labels.clone()),
            ..Evidence::default()
        },
        inputs: None,
        n_usable: 0,
        n_done: n_train as u64,
        n_reused: 0,
        n_rejected: 0,
        n_unread: 0,
        summary,
    }
}
