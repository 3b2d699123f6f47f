//! The stages, and what they have in common; the one that runs them is the [`driver`].
//!
//! Stages never use each other; they meet in the store's tables. A new stage is one file and one line of [`STAGES`]:
//! its sub-command, its place in `run` and `status`, and its help follow from the list.

pub mod audit;
pub mod driver;
pub mod duplicates;
pub mod features;
pub mod folds;
pub mod ingest;
pub mod leaks;
pub mod report;
pub mod roster;
pub mod score;
pub mod shards;
pub mod train;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::config::Pipeline;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::storage::atomic::{self, Out};
use crate::storage::commit::{Commit, Evidence};
use crate::storage::fingerprint::Fingerprint;
use crate::storage::layout::Store;
use crate::storage::publish::{OutFile, content_named, staged_name};
use crate::storage::record::FileRecord;
use crate::storage::settings::Settings;
use crate::tables::{Row, folder_of, write_rows};
use crate::units::Bytes;

pub use driver::{drive, stale_because};

/// Every stage, in the order of the chain.
pub const STAGES: &[&dyn Stage] = &[
    &ingest::Ingest,
    &folds::Folds,
    &features::Features,
    &duplicates::Duplicates,
    &audit::Audit,
    &train::Train,
    &score::Score,
    &report::Report,
];

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
    /// Recordings in a shard where that changes no result; `features` has a number of its own in the recipe.
    pub shard_recordings: usize,
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

/// How a stage reads what another one committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Made by the recipe's settings, or refused.
    Same,
    /// Whatever it was made by: what it says of itself counts.
    AsItIs,
}

/// The commits that a stage reads, opened by the driver.
#[derive(Debug, Default)]
pub struct Read {
    commits: BTreeMap<&'static str, Commit>,
}

impl Read {
    /// What `stage` committed.
    ///
    /// Errors: a bug for a stage that is not among those of [`Stage::reads`].
    pub fn commit(&self, stage: &str) -> Result<&Commit> {
        self.commits.get(stage).ok_or_else(|| Error::bug(format!("`{stage}` is read and was not opened")))
    }

    /// Fingerprints of what they made, by stage.
    pub fn outputs(&self) -> Inputs {
        self.all().map(|(stage, commit)| (stage.to_string(), commit.output.clone())).collect()
    }

    /// Those that were opened, by stage.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &Commit)> {
        self.commits.iter().map(|(stage, commit)| (*stage, commit))
    }
}

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
    /// Whether it is worked out from what other stages made, in no time beside them: then the driver does it for whoever reads it.
    fn is_derived(&self) -> bool {
        false
    }
    /// Refuses a recipe it could not finish, before anything starts.
    fn check(&self, ctx: &Ctx) -> Result<()>;
    /// Its own settings and its code's revision, by name.
    fn settings(&self, ctx: &Ctx) -> Settings;
    /// The stages whose commits it reads; the driver opens them, and refuses those of other settings.
    fn reads(&self, _ctx: &Ctx) -> Vec<(&'static str, Needs)> {
        Vec::new()
    }
    /// Fingerprints of what it reads, by name: the commits, unless it depends on less of them or on more than them.
    fn inputs(&self, _ctx: &Ctx, read: &Read) -> Result<Inputs> {
        Ok(read.outputs())
    }
    /// Refuses what it reads, also where its last output stands: what is wrong about it may have become known since.
    fn admits(&self, _ctx: &Ctx, _read: &Read) -> Result<()> {
        Ok(())
    }
    /// More lines for who typed its name, once its output stands.
    fn lines(&self, _ctx: &Ctx) -> Result<Vec<Value>> {
        Ok(Vec::new())
    }
    /// Does the work. What it makes waits in its staging folder; the driver publishes it.
    fn run(&self, ctx: &Ctx, read: &Read, inputs: &Inputs) -> Result<Done>;
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

/// What `stage` last committed; one that is damaged is none, as its run makes another.
pub fn last_of(ctx: &Ctx, stage: &dyn Stage) -> Result<Option<Commit>> {
    Commit::read_sound(&ctx.store, &stage.slot(ctx))
}

/// Writes `rows` as a file of their table that waits in the staging folder of `slot`; its name ends with its hash.
pub fn stage_rows<R: Row>(store: &Store, slot: &str, stem: &str, rows: &[R]) -> Result<OutFile> {
    stage_table(store, slot, &folder_of::<R>(store).join(stem), |out| write_rows(out, rows))
}

/// [`stage_rows`] for what `write` writes; `path` is where it shall lie, without the hash and the ending of its name.
pub fn stage_table(
    store: &Store,
    slot: &str,
    path: &Path,
    write: impl FnOnce(&mut Out) -> Result<()>,
) -> Result<OutFile> {
    let staging = store.staging(slot);
    let (folder, stem) = (path.parent().unwrap_or(path), path.file_name().unwrap_or_default().to_string_lossy());
    let target = folder.join(format!("{stem}.parquet"));
    let written = atomic::write_aside(&staging, &target, write)?;
    let name = content_named(&stem, written.content());
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
