//! `score`: a model reads spectrograms and names emotions: stored ones, or those of recordings, which are then not stored.
//!
//! What was scored before with the same model, front end and provider is kept; only the rest is computed, a shard at a time.

mod audio;
mod known;
mod models;
mod output;
mod plan;
mod shard;

use std::path::Path;

use crate::config::ScoreSource;
use crate::error::{Error, ErrorKind, Result};
use crate::files;
use crate::network::session::Provider;
use crate::scan::recordings_below;
use crate::split::Protocol;
use crate::stages::shards::{self, Finish, Job, Seen, Shard, Sharded};
use crate::stages::{Ctx, Done, Inputs, Needs, Read, Stage};
use crate::storage::fingerprint::Fingerprint;
use crate::storage::settings::Settings;
use crate::tables::score_plan::ScorePlanRow;

use models::Models;

pub use plan::ScorePlan;
pub use shard::Scored;

/// Raised when the same model and features would give other rows.
const REVISION: u32 = 3;
/// `[score] model` of the recipe that trained it.
const TRAINED: &str = "trained";

/// See the module.
pub struct Score;

/// Where what is scored comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Features,
    /// Recordings of the manifest.
    Audio,
    /// Recordings of a folder that no manifest knows.
    Folder,
}

impl Source {
    fn of(ctx: &Ctx) -> Self {
        match (&ctx.input, ctx.pipeline.score.source) {
            (Some(_), _) => Self::Folder,
            (None, ScoreSource::Audio) => Self::Audio,
            (None, ScoreSource::Features) => Self::Features,
        }
    }
}

impl Stage for Score {
    fn name(&self) -> &'static str {
        "score"
    }

    fn slot(&self, ctx: &Ctx) -> String {
        // Scoring a folder leaves the scores of the features as they are.
        if ctx.input.is_some() { "score-input".into() } else { self.name().into() }
    }

    fn about(&self) -> &'static str {
        "name the emotion of recordings with a trained model"
    }

    fn flow(&self) -> &'static str {
        "features (or recordings) + model -> predictions"
    }

    fn check(&self, ctx: &Ctx) -> Result<()> {
        ctx.pipeline.score.device.parse::<Provider>()?;
        let Some(folder) = &ctx.input else { return Ok(()) };
        match files::again(|| std::fs::metadata(folder)) {
            Ok(metadata) if metadata.is_dir() => Ok(()),
            Ok(_) => Err(Error::input("there is no such folder to score").at(folder)),
            Err(error) => {
                let what = "there is no such folder to score";
                Err(Error::reading_named(ErrorKind::Input, what, error).at(folder))
            }
        }
    }

    fn settings(&self, ctx: &Ctx) -> Settings {
        let settings = Settings::of_revision(REVISION)
            .with("score", &ctx.pipeline.score)
            .with("labels", &ctx.pipeline.labels)
            .with("split.protocol", ctx.pipeline.split.protocol);
        let limit = ctx.pipeline.recording_limit().0;
        match (Source::of(ctx), &ctx.input) {
            (Source::Folder, folder) => settings.with("input", folder).with("limit", limit),
            (Source::Audio, _) => settings.with("limit", limit),
            (Source::Features, _) => settings,
        }
    }

    fn reads(&self, ctx: &Ctx) -> Vec<(&'static str, Needs)> {
        let mut reads = Vec::new();
        if ctx.pipeline.score.model == TRAINED {
            reads.push(("train", Needs::Same));
        }
        if Source::of(ctx) != Source::Folder {
            reads.push(("ingest", Needs::Same));
            if ctx.pipeline.split.protocol != Protocol::Unsplit {
                reads.push(("folds", Needs::Same));
            }
        }
        if Source::of(ctx) == Source::Features {
            reads.push(("features", Needs::Same));
        }
        reads
    }

    fn inputs(&self, ctx: &Ctx, read: &Read) -> Result<Inputs> {
        let mut inputs = read.outputs();
        // The model's bytes count, and not which run made them.
        inputs.remove("train");
        inputs.insert("model".into(), Fingerprint::of([models::read(ctx, read)?.1]));
        if let Some(folder) = &ctx.input {
            inputs.insert("recordings".into(), audio::fingerprint(&recordings_below(folder)?.recordings));
        }
        Ok(inputs)
    }

    fn run(&self, ctx: &Ctx, read: &Read, _inputs: &Inputs) -> Result<Done> {
        shards::run(self, ctx, read)
    }
}

impl Sharded for Score {
    type Row = ScorePlanRow;
    type Plan = ScorePlan;
    type Made = Scored;

    fn look(&self, ctx: &Ctx, read: &Read) -> Result<Seen> {
        let folders = match &ctx.input {
            Some(folder) => vec![(String::new(), recordings_below(folder)?)],
            None => Vec::new(),
        };
        Ok(Seen { folders, model: models::read(ctx, read)?.1 })
    }

    fn plan(&self, ctx: &Ctx, read: &Read, seen: &mut Seen) -> Result<ScorePlan> {
        plan::plan(ctx, read, seen)
    }

    fn shards<'p>(&self, plan: &'p ScorePlan) -> Vec<Shard<'p, ScorePlanRow>> {
        plan.shards.iter().map(|(id, rows)| Shard { id, rows }).collect()
    }

    fn make(&self, ctx: &Ctx, seen: &Seen, jobs: &[Job<ScorePlanRow>], done: Finish<Scored>) -> Result<()> {
        shard::make(ctx, &Models::from_bytes(&seen.model)?, jobs, done)
    }

    fn open(&self, _ctx: &Ctx, file: &Path, id: &str, rows: &[ScorePlanRow]) -> Result<Option<Scored>> {
        shard::open(file, id, rows)
    }

    fn fold(&self, ctx: &Ctx, read: &Read, plan: ScorePlan, made: Vec<Scored>) -> Result<Done> {
        output::fold(ctx, read, plan, made)
    }
}
