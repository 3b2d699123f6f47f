//! The five stages and the one driver that runs them: check, skip if fresh, lock, run, commit, ledger.
//!
//! Stages never use each other; they meet in the store's tables. A new stage is one file and one line of [`STAGES`]:
//! its sub-command, its place in `run` and `status`, and its help follow from the list.

pub mod features;
pub mod ingest;
pub mod report;
pub mod score;
pub mod train;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use serde_json::{Map, Value, json};

use crate::config::Pipeline;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::storage::commit::Commit;
use crate::storage::fingerprint::Fingerprint;
use crate::storage::layout::Store;
use crate::storage::lock::StageLock;
use crate::tables::runs::RunRow;
use crate::tables::{folder_of, publish_rows};
use crate::units::Bytes;

/// Every stage, in the order of the chain.
pub const STAGES: &[&dyn Stage] =
    &[&ingest::Ingest, &features::Features, &train::Train, &score::Score, &report::Report];

/// What a stage works with; nothing else is global.
pub struct Ctx {
    /// The recipe.
    pub pipeline: Pipeline,
    /// Where tables and models lie.
    pub store: Store,
    /// Where the corpora's folders lie.
    pub corpora: PathBuf,
    /// A folder of recordings to score in place of the features (`score --input`).
    pub input: Option<PathBuf>,
    /// The ONNX Runtime library.
    pub runtime_library: PathBuf,
    /// What training may hold; it changes no result.
    pub memory_limit: Bytes,
    /// Where progress goes.
    pub progress: Box<dyn Progress>,
    /// Threads that do the work.
    pub pool: rayon::ThreadPool,
}

impl Ctx {
    /// Threads of the pool.
    pub fn n_threads(&self) -> usize {
        self.pool.current_num_threads()
    }
}

/// What a stage would read now, by name.
pub type Inputs = BTreeMap<String, Fingerprint>;

/// One stage of the chain.
pub trait Stage: Sync {
    /// Sub-command, section of the pipeline file, `make` target.
    fn name(&self) -> &'static str;
    /// Name of its commit and lock; other than [`Self::name`] when one recipe makes two outputs side by side.
    fn slot(&self, _ctx: &Ctx) -> String {
        self.name().into()
    }
    /// One line for the help.
    fn about(&self) -> &'static str;
    /// What it reads and what it writes, for the help.
    fn flow(&self) -> &'static str;
    /// Refuses a recipe it could not finish, before anything starts.
    fn check(&self, ctx: &Ctx) -> Result<()>;
    /// Fingerprint of its own settings and of its code's revision.
    fn settings(&self, ctx: &Ctx) -> Fingerprint;
    /// Fingerprints of what it reads; an error says which stage must run first.
    fn inputs(&self, ctx: &Ctx) -> Result<Inputs>;
    /// Does the work; everything it publishes is complete on its own.
    fn run(&self, ctx: &Ctx, settings: &Fingerprint, inputs: &Inputs) -> Result<Done>;
}

/// What a run of a stage made.
#[derive(Clone, Debug)]
pub struct Done {
    /// Fingerprint of the output.
    pub output: Fingerprint,
    /// Files that make up the output, relative to the store.
    pub files: Vec<String>,
    /// Facts for later stages.
    pub facts: BTreeMap<String, String>,
    /// Items made anew.
    pub n_done: u64,
    /// Items kept from earlier runs.
    pub n_reused: u64,
    /// Items that are rows with a reason.
    pub n_rejected: u64,
    /// Those among them that the machine failed at: the stage is not up to date until they have been read.
    pub n_unread: u64,
    /// Printed as the stage's last line.
    pub summary: Map<String, Value>,
}

/// How a stage ended: its summary, and whether the exit code must tell of rejects.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// One JSON object.
    pub summary: Value,
    /// Rows with a reason among the output.
    pub n_rejected: u64,
    /// Whether nothing had to be done.
    pub fresh: bool,
}

/// The stage called `name`.
pub fn stage(name: &str) -> Result<&'static dyn Stage> {
    STAGES.iter().find(|stage| stage.name() == name).copied().ok_or_else(|| {
        let known: Vec<&str> = STAGES.iter().map(|stage| stage.name()).collect();
        Error::recipe(format!("there is no stage `{name}`")).hint(format!("stages are {}", known.join(", ")))
    })
}

/// Why `stage` would run now; `None` when its last output still stands.
pub fn stale_because(ctx: &Ctx, stage: &dyn Stage) -> Result<Option<String>> {
    let Some(commit) = Commit::read(&ctx.store, &stage.slot(ctx))? else {
        return Ok(Some("it never ran on this store".into()));
    };
    Ok(commit.stale_because(&stage.settings(ctx), &stage.inputs(ctx)?).or_else(|| missing_file(ctx, &commit)))
}

fn missing_file(ctx: &Ctx, commit: &Commit) -> Option<String> {
    let gone = commit.files.iter().find(|file| !ctx.store.root().join(file).exists())?;
    Some(format!("its output {gone} is gone"))
}

/// Runs one stage unless its output still stands, and commits what it made.
pub fn drive(ctx: &Ctx, stage: &dyn Stage) -> Result<Outcome> {
    stage.check(ctx)?;
    let settings = stage.settings(ctx);
    let _lock = StageLock::acquire(&ctx.store, &stage.slot(ctx))?;
    let inputs = stage.inputs(ctx)?;
    if let Some(commit) = Commit::read(&ctx.store, &stage.slot(ctx))?
        && commit.stale_because(&settings, &inputs).is_none()
        && missing_file(ctx, &commit).is_none()
    {
        let summary = json!({ "stage": stage.name(), "fresh": true, "n_done": 0, "n_rejected": commit.n_rejected,
            "run_id": commit.run_id });
        return Ok(Outcome { summary, n_rejected: commit.n_rejected, fresh: true });
    }
    let started = jiff::Timestamp::now();
    let clock = Instant::now();
    let done = stage.run(ctx, &settings, &inputs)?;
    let seconds = clock.elapsed().as_secs_f64();
    let run_id = format!("{}-{}", started.strftime("%Y%m%dT%H%M%S%.3fZ"), stage.name());
    let summary = summary_of(stage, &done, &run_id, seconds);
    let commit = Commit {
        stage: stage.slot(ctx),
        run_id: run_id.clone(),
        settings: settings.clone(),
        inputs: inputs.clone(),
        output: done.output.clone(),
        files: done.files.clone(),
        facts: done.facts.clone(),
        n_rejected: done.n_rejected,
    };
    let row = RunRow {
        run_id: run_id.clone(),
        stage: stage.name().into(),
        pipeline: ctx.pipeline.pipeline.name.clone(),
        protocol: ctx.pipeline.split.protocol.name().into(),
        settings_fingerprint: settings.to_string(),
        inputs: serde_json::to_string(&inputs)
            .map_err(|error| Error::bug("inputs have no JSON form").because(error))?,
        output_fingerprint: done.output.to_string(),
        n_done: done.n_done,
        n_reused: done.n_reused,
        n_rejected: done.n_rejected,
        summary: summary.to_string(),
        started_at: started.to_string(),
        seconds,
        n_threads: ctx.n_threads() as u32,
        version: env!("CARGO_PKG_VERSION").into(),
    };
    let ledger = folder_of::<RunRow>(&ctx.store).join(format!("{run_id}.parquet"));
    publish_rows(&ctx.store.staging(stage.name()), &ledger, &[row])?;
    commit.publish(&ctx.store)?;
    Ok(Outcome { summary, n_rejected: done.n_rejected, fresh: false })
}

fn summary_of(stage: &dyn Stage, done: &Done, run_id: &str, seconds: f64) -> Value {
    let mut summary = Map::new();
    summary.insert("stage".into(), stage.name().into());
    summary.insert("fresh".into(), false.into());
    summary.insert("n_done".into(), done.n_done.into());
    summary.insert("n_reused".into(), done.n_reused.into());
    summary.insert("n_rejected".into(), done.n_rejected.into());
    summary.extend(done.summary.clone());
    summary.insert("seconds".into(), json!((seconds * 1000.0).round() / 1000.0));
    summary.insert("run_id".into(), run_id.into());
    Value::Object(summary)
}
