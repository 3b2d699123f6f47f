//! `train`: features become a model: epochs with early stopping, the best weights kept, exported to ONNX and proved there.
//!
//! After each epoch a checkpoint holds everything; a run that was killed goes on from it to the same result. A model is
//! published only if ONNX Runtime and the network's own forward agree. Spectrograms stay in their shards: an epoch draws
//! one order over all of them and reads each when its step comes, so memory does not grow with their number.

mod certainty;
mod checkpoint;
pub mod dataset;
pub mod finish;
mod fresh;
mod items;
mod lesson;
pub mod memory;
mod model;
mod run;
mod sampler;
pub mod stream;
mod wanted;

use std::path::Path;

use rayon::prelude::*;
use serde_json::{Map, json};

use crate::augment;
use crate::config::TrainConfig;
use crate::config::learning::{BatchNorm, Keep};
use crate::error::{Error, Result};
use crate::network::parameters::Parameters;
use crate::split::{Protocol, Split};
use crate::stages::leaks::refuse_leaks;
use crate::stages::roster::Roster;
use crate::stages::{Ctx, Done, Inputs, Needs, Read, Stage, stage_rows};
use crate::storage::commit::{Commit, Evidence, TrainedModel};
use crate::storage::fingerprint::Fingerprint;
use crate::storage::settings::Settings;
use crate::tables::history::HistoryRow;
use crate::tables::spectrograms::shards_of;

use certainty::Asked;
use checkpoint::Checkpoint;
use dataset::Dataset;
use items::TrainingItems;
use memory::MemoryPlan;
use run::Run;
use wanted::Wanted;

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
        let plan = MemoryPlan::new(&spec, ctx.pipeline.train.batch, 0);
        plan.with_extra(lesson::extra_bytes(&ctx.pipeline, &spec, 0)).check(&spec, ctx.memory_limit)?;
        if ctx.pipeline.split.protocol == Protocol::Unsplit {
            return Err(Error::recipe("[split] protocol = `unsplit` has no training side")
                .hint("choose another protocol, or score with a model trained elsewhere"));
        }
        // A library that is missing must not be found out after hours of training.
        crate::network::session::Runtime::load(&ctx.runtime_library).map(|_| ())
    }

    fn settings(&self, ctx: &Ctx) -> Settings {
        let (settings, train) = (identity(ctx), &ctx.pipeline.train);
        let settings = if train.folds.is_empty() { settings } else { settings.with("train.folds", &train.folds) };
        if train.final_model { settings.with("train.final_model", true) } else { settings }
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
        let warning = ctx.pipeline.split.protocol.warning();
        if !warning.is_empty() {
            ctx.progress.say(&format!("train: {warning}"));
        }
        // Every spectrogram is checked when it is read; what is damaged is named before hours have gone into the rest.
        let shards = shards_of(&ctx.store, read.commit("features")?);
        ctx.pool.install(|| shards.par_iter().try_for_each(|shard| shard.check(&ctx.store, "features")))?;
        let roster = Roster::read(&ctx.store, read.commit("ingest")?, Some(read.commit("folds")?))?;
        let name = &ctx.pipeline.pipeline.name;
        let model_id = format!("{name}-{}", Fingerprint::of_value(&(identity(ctx).fingerprint(), inputs)).short());
        let mut trained = Vec::new();
        for wanted in Wanted::all(ctx, roster.n_folds())? {
            // `epochs` is left out: raising it goes on with the same run.
            let settings = run_settings(ctx).fingerprint();
            let run_key = match wanted.key() {
                None => Fingerprint::of_value(&(settings, inputs)),
                Some(own) => Fingerprint::of_value(&(settings, inputs, own)),
            };
            let features = read.commit("features")?;
            trained.push(train(ctx, (features, &roster.in_fold(wanted.sides)), wanted, (&run_key, &model_id))?);
        }
        drop(roster);
        let (mut files, mut models, mut parity) = (Vec::new(), Vec::new(), 0_f32);
        for one in &trained {
            let confidence = certainty::of_network(&trained, one);
            let (own, model, difference) = model::stage(ctx, &spec, one, confidence, &model_id)?;
            files.extend(own);
            models.push(model);
            parity = parity.max(difference);
        }
        let history: Vec<HistoryRow> = trained.iter().flat_map(|one| one.history.iter().cloned()).collect();
        files.push(stage_rows(&ctx.store, "train", &model_id, &history)?);
        let certainty = certainty::rows(ctx, &model_id, &trained);
        if !certainty.is_empty() {
            files.push(stage_rows(&ctx.store, "train", &model_id, &certainty)?);
        }
        Ok(Done { files, ..summarise(ctx, &model_id, &trained, models, parity) })
    }
}

/// One network as its run left it.
struct Trained {
    wanted: Wanted,
    parameters: Parameters,
    history: Vec<HistoryRow>,
    n_train: usize,
    n_monitored: usize,
    plan: MemoryPlan,
    /// Items on which ONNX Runtime must agree with it.
    checks: Dataset,
    asked: Asked,
}

/// Trains one network to its end.
fn train(
    ctx: &Ctx,
    (features, roster): (&Commit, &Roster),
    wanted: Wanted,
    (run_key, model_id): (&Fingerprint, &str),
) -> Result<Trained> {
    let spec = ctx.pipeline.network()?;
    let label = wanted.label(ctx.pipeline.train.members);
    let monitored = ctx.pipeline.split.monitored().filter(|_| wanted.sides.is_some());
    let seed = wanted.seed(ctx.pipeline.pipeline.seed);
    let (train, held_out) = TrainingItems::open(ctx, features, roster, (seed, monitored), &spec)?;
    for (n_items, side) in [(train.len(), Some(Split::Train)), (held_out.len(), monitored)] {
        let is_needed = side == Some(Split::Train) || ctx.pipeline.train.keep == Keep::Best;
        if let Some(side) = side.filter(|_| n_items == 0 && is_needed) {
            return Err(Error::input(format!("{label}there is no labelled recording on the {} side", side.name()))
                .hint("look at `split` in the table `folds` and at `emotion` in the manifest"));
        }
    }
    let plan = MemoryPlan::new(&spec, ctx.pipeline.train.batch, train.len() + held_out.len());
    let plan = plan.with_extra(train.extra_bytes() + lesson::extra_bytes(&ctx.pipeline, &spec, train.len()));
    plan.check(&spec, ctx.memory_limit)?;
    ctx.progress.say(&format!("train: {label}takes {plan} of the memory limit of {}", ctx.memory_limit));
    let mut run = Run::start(ctx, (&spec, &train), (seed, label), run_key, model_id)?;
    while run.is_unfinished() {
        run.epoch(&train, &held_out)?;
    }
    let own = |row: HistoryRow| HistoryRow { fold: wanted.fold, member: wanted.member, ..row };
    let history: Vec<HistoryRow> = run.checkpoint.history_of(model_id).into_iter().map(own).collect();
    let (n_train, n_monitored) = (train.len(), held_out.len());
    let parameters = run.finish(&train, &history)?;
    let asked = certainty::ask(ctx, &spec, &parameters, (features, roster), wanted)?;
    // Where nothing is held out, the proof is made on what was trained on.
    let checks = if held_out.is_empty() { train.into_stored() } else { held_out };
    Ok(Trained { wanted, parameters, history, n_train, n_monitored, plan, checks, asked })
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

/// What a model is called by: everything that the weights of its networks depend on.
fn identity(ctx: &Ctx) -> Settings {
    let train = &ctx.pipeline.train;
    let settings = run_settings(ctx).with("train.epochs", train.epochs);
    let settings = if train.members > 1 { settings.with("train.members", train.members) } else { settings };
    let settings = if train.calibrate { settings.with("train.calibrate", true) } else { settings };
    if train.batch_norm == BatchNorm::default() {
        settings
    } else {
        settings.with("train.batch_norm", train.batch_norm)
    }
}

/// Everything a run's weights depend on, but for how long it goes on and for what is trained beside it.
fn run_settings(ctx: &Ctx) -> Settings {
    let pipeline = &ctx.pipeline;
    let train = TrainConfig {
        epochs: if pipeline.train.is_of_one_length() { pipeline.train.epochs } else { 0 },
        // Measured after the last epoch always.
        batch_norm: BatchNorm::default(),
        folds: Vec::new(),
        members: 1,
        final_model: false,
        calibrate: false,
        ..pipeline.train.clone()
    };
    let copies = pipeline.fresh_copies();
    // Stored copies are part of the features, which are an input.
    let wanted = if copies > 0 { pipeline.features.augmentations.as_slice() } else { &[] };
    let augmentations = augment::definition(wanted).unwrap_or_else(|error| error.to_string());
    let settings = Settings::of_revision(REVISION)
        .with("train", train)
        .with("labels", &pipeline.labels)
        .with("pipeline.seed", pipeline.pipeline.seed)
        .with("split.protocol", pipeline.split.protocol)
        .with("features.copies", copies)
        .with("features.augmentations", augmentations)
        .with("augment.spec_augment", &pipeline.augment.spec_augment);
    let mixup = pipeline.augment.mixup;
    if mixup.is_off() { settings } else { settings.with("augment.mixup", mixup) }
}

fn summarise(ctx: &Ctx, model_id: &str, trained: &[Trained], models: Vec<TrainedModel>, parity: f32) -> Done {
    let history = || trained.iter().flat_map(|one| &one.history);
    let seconds: f64 = history().map(|row| row.seconds).sum();
    let n_items: f64 = history().map(|row| row.n_recordings as f64).sum();
    let plan = trained.iter().map(|one| one.plan.total()).max();
    let n_train = trained.iter().map(|one| one.n_train).max().unwrap_or(0);
    let mut summary = Map::new();
    summary.insert("model_id".into(), model_id.into());
    let model = models.iter().find(|model| model.fold.is_none()).or(models.first());
    let model = model.map_or(model_id.into(), |model| ctx.store.root().join(&model.path).display().to_string());
    summary.insert("model".into(), model.into());
    summary.insert("protocol".into(), ctx.pipeline.split.protocol.name().into());
    summary.insert("epochs".into(), trained.iter().map(|one| one.history.len()).max().into());
    if let [one] = trained {
        let best = one.history.iter().find(|row| row.is_best).cloned().unwrap_or_default();
        summary.insert("best_epoch".into(), best.epoch.into());
        summary.insert("monitored_split".into(), best.monitored_split.clone().into());
        summary.insert("monitored_accuracy".into(), json!(best.monitored_accuracy));
    } else {
        summary.insert("models".into(), trained.len().into());
    }
    summary.insert("train_items".into(), n_train.into());
    summary.insert("monitored_items".into(), trained.iter().map(|one| one.n_monitored).max().into());
    summary.insert("recordings_per_s".into(), json!((n_items / seconds.max(1e-9) * 100.0).round() / 100.0));
    summary.insert("memory_planned_mb".into(), json!(plan.map(|plan| plan.megabytes().round())));
    summary.insert("memory_peak_mb".into(), json!(memory::peak().map(|peak| peak.megabytes().round())));
    summary.insert("memory_limit_mb".into(), json!(ctx.memory_limit.megabytes().round()));
    summary.insert("onnx_difference".into(), json!(parity));
    let told = models.iter().map(|model| (&model.path, model.fold, model.member)).collect::<Vec<_>>();
    let output = match trained {
        [_] if models[0].fold.is_none() => Fingerprint::of([model_id]),
        _ => Fingerprint::of_value(&(model_id, told)),
    };
    Done {
        output,
        files: Vec::new(),
        is_whole: false,
        evidence: Evidence {
            model_id: Some(model_id.into()),
            model_protocol: Some(ctx.pipeline.split.protocol.name().into()),
            protocol: Some(ctx.pipeline.split.protocol.name().into()),
            seed: Some(ctx.pipeline.pipeline.seed),
            labels: Some(ctx.pipeline.labels.clone()),
            models,
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
