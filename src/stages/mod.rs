//! The five stages and the one driver that runs them: check, skip if fresh, lock, run, commit, ledger.
//!
//! Stages never use each other; they meet in the store's tables. A new stage is one file and one line of [`STAGES`]:
//! its sub-command, its place in `run` and `status`, and its help follow from the list.

pub mod features;
pub mod ingest;
pub mod report;
pub mod score;
pub mod train;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Instant;

use serde_json::{Map, Value, json};

use crate::config::Pipeline;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::storage::atomic;
use crate::storage::commit::{self, Commit, Evidence};
use crate::storage::fingerprint::Fingerprint;
use crate::storage::layout::Store;
use crate::storage::lock::StageLock;
use crate::storage::publish::{OutFile, clear_staged, content_named, publish, staged_name, unremembered};
use crate::storage::record::{Content, FileRecord, State};
use crate::tables::runs::RunRow;
use crate::tables::{Row, folder_of, write_rows};
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
    /// Whether a run may keep less than half of what the last one had.
    pub accept_loss: bool,
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
    /// Does the work. What it makes waits in its staging folder; the driver publishes it.
    fn run(&self, ctx: &Ctx, settings: &Fingerprint, inputs: &Inputs) -> Result<Done>;
}

/// What a run of a stage made.
#[derive(Clone, Debug)]
pub struct Done {
    /// Fingerprint of the output.
    pub output: Fingerprint,
    /// Every file of the output.
    pub files: Vec<OutFile>,
    /// Whether they take the place of all that the stage made before, and not of files of the same name alone.
    pub is_whole: bool,
    /// What later stages must know of how it was made.
    pub evidence: Evidence,
    /// What was read, where that may be other than what was looked at before the run.
    pub inputs: Option<Inputs>,
    /// Items that can be used; 0 where nothing is counted.
    pub n_usable: u64,
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

/// Why `stage` would run now; `None` when its last output still stands, whole.
pub fn stale_because(ctx: &Ctx, stage: &dyn Stage) -> Result<Option<String>> {
    let Some(commit) = Commit::read(&ctx.store, &stage.slot(ctx))? else {
        return Ok(Some("it never ran on this store".into()));
    };
    stale_in(ctx, &commit, &stage.settings(ctx), &stage.inputs(ctx)?)
}

/// Runs one stage unless its output still stands, and commits what it made.
pub fn drive(ctx: &Ctx, stage: &dyn Stage) -> Result<Outcome> {
    stage.check(ctx)?;
    let (store, slot, settings) = (&ctx.store, stage.slot(ctx), stage.settings(ctx));
    let _lock = StageLock::acquire(store, &slot)?;
    let orphans = ctx.pool.install(|| commit::recover(store, &slot))?;
    let inputs = stage.inputs(ctx)?;
    let last = last_of(ctx, stage)?;
    if let Some(last) = &last {
        enter(ctx, last)?;
        if let Some(reason) = stale_in(ctx, last, &settings, &inputs)? {
            ctx.progress.say(&format!("{}: {reason}", stage.name()));
        } else {
            clear_staged(store, &slot)?;
            let summary = json!({ "stage": stage.name(), "fresh": true, "n_done": 0, "n_rejected": last.n_rejected,
                "run_id": last.run_id });
            return Ok(Outcome { summary, n_rejected: last.n_rejected, fresh: true });
        }
    } else if commit::is_there(&store.index(&slot))? {
        ctx.progress.say(&format!("{}: its index is damaged or of another version: all is made anew", stage.name()));
    }
    let started = jiff::Timestamp::now();
    let clock = Instant::now();
    let done = stage.run(ctx, &settings, &inputs)?;
    let seconds = clock.elapsed().as_secs_f64();
    // What `score` keeps is a setting of its own; elsewhere no setting should cost half of the recordings unasked.
    if let Some(last) = last.as_ref().filter(|last| last.settings == settings || stage.name() != "score") {
        guard_against_loss(ctx, stage, last.n_usable, done.n_usable)?;
    }
    let inputs = done.inputs.clone().unwrap_or(inputs);
    let run_id = format!("{}-{slot}", started.strftime("%Y%m%dT%H%M%S%.3fZ"));
    let summary = summary_of(stage, &done, &run_id, seconds);
    let row = RunRow {
        run_id: run_id.clone(),
        settings_fingerprint: settings.to_string(),
        inputs: serde_json::to_string(&inputs)
            .map_err(|error| Error::bug("inputs have no JSON form").because(error))?,
        summary: summary.to_string(),
        started_at: started.to_string(),
        seconds,
        ..row_of(ctx, stage, &done)
    };
    let mut commit = commit::blank(&slot, settings, done.output.clone());
    (commit.run_id, commit.inputs, commit.evidence) = (run_id, inputs, done.evidence.clone());
    (commit.n_usable, commit.n_rejected, commit.n_unread) = (done.n_usable, done.n_rejected, done.n_unread);
    commit.run = serde_json::to_value(row).map_err(|error| Error::bug("a run has no JSON form").because(error))?;
    publish_commit(ctx, commit, last.as_ref(), &done, orphans)?;
    Ok(Outcome { summary, n_rejected: done.n_rejected, fresh: false })
}

/// What the ledger says of a run beside its name, its times and what it read.
fn row_of(ctx: &Ctx, stage: &dyn Stage, done: &Done) -> RunRow {
    RunRow {
        stage: stage.name().into(),
        pipeline: ctx.pipeline.pipeline.name.clone(),
        protocol: done.evidence.protocol.clone().unwrap_or_else(|| ctx.pipeline.split.protocol.name().into()),
        output_fingerprint: done.output.to_string(),
        n_done: done.n_done,
        n_reused: done.n_reused,
        n_rejected: done.n_rejected,
        n_threads: ctx.n_threads() as u32,
        version: env!("CARGO_PKG_VERSION").into(),
        ..RunRow::default()
    }
}

/// Why the last output does not stand; reads it when nothing else speaks against it.
fn stale_in(ctx: &Ctx, last: &Commit, settings: &Fingerprint, inputs: &Inputs) -> Result<Option<String>> {
    match last.stale_because(settings, inputs) {
        Some(reason) => Ok(Some(reason)),
        None => ctx.pool.install(|| last.damage(&ctx.store)),
    }
}

/// A run that would keep less than half of the recordings that the last one had asks first: a folder that is not mounted looks
/// like one whose recordings are gone.
fn guard_against_loss(ctx: &Ctx, stage: &dyn Stage, before: u64, now: u64) -> Result<()> {
    if ctx.accept_loss || now >= before.div_ceil(2) {
        return Ok(());
    }
    Err(Error::input(format!("`{}` would keep {now} usable recordings where the last run had {before}", stage.name()))
        .at(ctx.store.root())
        .hint("nothing was changed: look where they have gone, or run it with --accept-loss if that is meant"))
}

/// Announces the commit, gives its files their places, commits, enters the run; only then is anything removed of what the last
/// commit names.
fn publish_commit(
    ctx: &Ctx,
    mut commit: Commit,
    last: Option<&Commit>,
    done: &Done,
    orphans: BTreeSet<String>,
) -> Result<()> {
    let store = &ctx.store;
    commit.files = done.files.iter().map(|file| file.record.clone()).collect();
    commit.earlier = last.map(|last| last.outlived_by(&commit.files, done.is_whole)).unwrap_or_default();
    let stays: BTreeSet<&str> = commit.files.iter().chain(&commit.earlier).map(|file| file.path.as_str()).collect();
    let of_last = last.into_iter().flat_map(|last| last.files.iter().chain(&last.earlier)).map(|file| &file.path);
    let mut dropped: BTreeSet<String> =
        of_last.chain(&orphans).filter(|path| !stays.contains(path.as_str())).cloned().collect();
    if last.is_none() {
        dropped.extend(unremembered(store, &done.files, done.is_whole)?);
    }
    commit.orphans = orphans;
    commit.announce(store)?;
    publish(store, &commit.stage, &done.files, &dropped)?;
    commit.publish(store)?;
    enter(ctx, &commit)?;
    clear_staged(store, &commit.stage)
}

/// The file that holds a committed run's row of the ledger, and its bytes.
pub fn ledger_entry(store: &Store, commit: &Commit) -> Result<(FileRecord, Vec<u8>)> {
    let row: RunRow = serde_json::from_value(commit.run.clone())
        .map_err(|error| Error::bug("a commit holds no run").at(store.index(&commit.stage)).because(error))?;
    let mut bytes = Vec::new();
    write_rows(&mut bytes, std::slice::from_ref(&row))?;
    let content = Content::of(&bytes);
    let path = store.relative(&folder_of::<RunRow>(store).join(content_named(&row.run_id, &content)));
    Ok((FileRecord { path, content }, bytes))
}

/// Enters a committed run into the ledger, unless it stands there: the run that committed may have been killed before.
fn enter(ctx: &Ctx, commit: &Commit) -> Result<()> {
    let (record, bytes) = ledger_entry(&ctx.store, commit)?;
    if record.state(&ctx.store)? == State::Whole {
        return Ok(());
    }
    let staging = ctx.store.staging(&commit.stage);
    atomic::publish_bytes(&staging, &record.file(&ctx.store), &bytes).map(|_| ())
}

/// What `stage` last committed; one that is damaged is none, as its run makes another.
pub fn last_of(ctx: &Ctx, stage: &dyn Stage) -> Result<Option<Commit>> {
    Commit::read_sound(&ctx.store, &stage.slot(ctx))
}

/// Fingerprint of how the recipe draws the sides of recordings and copies.
pub fn split_settings(ctx: &Ctx) -> Fingerprint {
    let pipeline = &ctx.pipeline;
    Fingerprint::of_value(&(&pipeline.split, pipeline.pipeline.seed, pipeline.features.copies))
}

/// What an output with sides must say of them.
pub fn evidence_of_split(ctx: &Ctx) -> Evidence {
    Evidence {
        protocol: Some(ctx.pipeline.split.protocol.name().into()),
        split: Some(split_settings(ctx)),
        ..Evidence::default()
    }
}

/// Refuses an output whose sides were drawn in another way than the recipe says now.
pub fn require_split(ctx: &Ctx, upstream: &Commit) -> Result<()> {
    if upstream.evidence.split.as_ref() == Some(&split_settings(ctx)) {
        return Ok(());
    }
    let (now, then) = (ctx.pipeline.split.protocol.name(), upstream.evidence.protocol.as_deref().unwrap_or("unknown"));
    let stage = &upstream.stage;
    let drawn = if now == then {
        format!("with another seed, share or number of copies than the recipe's (protocol `{now}`)")
    } else {
        format!("by protocol `{then}`, the recipe says `{now}`")
    };
    Err(Error::input(format!("the sides in the output of `{stage}` were drawn {drawn}"))
        .at(ctx.store.root())
        .hint(format!("run `sermill {stage}` with this recipe first")))
}

/// Writes `rows` as a file of their table that waits in the staging folder of `slot`; its name ends with its hash.
pub fn stage_rows<R: Row>(store: &Store, slot: &str, stem: &str, rows: &[R]) -> Result<OutFile> {
    let (staging, folder) = (store.staging(slot), folder_of::<R>(store));
    let target = folder.join(format!("{stem}.parquet"));
    let written = atomic::write_aside(&staging, &target, |out| write_rows(out, rows))?;
    let name = content_named(stem, written.content());
    let staged = staging.join(&name);
    let content = written.publish(&staged)?;
    Ok(OutFile { record: FileRecord { path: store.relative(&folder.join(name)), content }, staged: Some(staged) })
}

/// Writes `bytes` as a file that waits in the staging folder of `slot`; `path` is where it shall lie in the store.
pub fn stage_bytes(store: &Store, slot: &str, path: String, bytes: &[u8]) -> Result<OutFile> {
    let staged = store.staging(slot).join(staged_name(&path));
    let content = atomic::publish_bytes(&store.staging(slot), &staged, bytes)?;
    Ok(OutFile { record: FileRecord { path, content }, staged: Some(staged) })
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
