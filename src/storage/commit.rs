//! What a stage last committed, and whether that still stands for today's settings and inputs.
//!
//! A commit names every file of the output with its hash. It is written twice: as pending before the files take their places,
//! and under its own name afterwards. A run that was killed between the two is finished or taken back by the stage's next run
//! (`recover.rs`), which knows from the pending commit which files were its own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, ErrorKind, Result};
use crate::files;
use crate::labels::Labels;
use crate::signal::profile::FrontEnd;
use crate::storage::atomic::Mode;
use crate::storage::depot::New;
use crate::storage::fingerprint::Fingerprint;
use crate::storage::layout::Store;
use crate::storage::publish::{not_whole, stem_of};
use crate::storage::record::FileRecord;
use crate::storage::seal::{Seal, sealed, unseal};
use crate::storage::settings::Settings;
use crate::units::Seed;

pub use crate::storage::recover::recover;

/// Raised when the form of a commit changes; older ones count as none.
const FORMAT: u32 = 3;
/// Largest index file that is read.
const LIMIT: u64 = 4 << 30;

/// The record that makes a stage's output count: readers of our own go through it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Commit {
    pub format: u32,
    /// Which stage.
    pub stage: String,
    /// The run that made it, as in the `runs` table.
    pub run_id: String,
    /// Version of the program, and the commit of its source where that is known.
    pub version: String,
    pub git_commit: String,
    /// The stage's own settings and the revision of its code.
    pub settings: Settings,
    /// What it read, by name.
    pub inputs: BTreeMap<String, Fingerprint>,
    /// The commits among that, by stage.
    pub reads: BTreeMap<String, CommitRef>,
    /// What it made.
    pub output: Fingerprint,
    /// Files that make up the output.
    pub files: Vec<FileRecord>,
    /// Files of earlier outputs that stay beside it, such as those of other models.
    pub earlier: Vec<FileRecord>,
    /// Paths that killed runs may have left in tables: they are dropped with the next commit.
    pub orphans: BTreeSet<String>,
    /// What later stages must know of how it was made.
    pub evidence: Evidence,
    /// Items that can be used.
    pub n_usable: u64,
    /// Rejected recordings among the output: a fresh stage still ends with exit code 1.
    pub n_rejected: u64,
    /// Those among them that the machine failed at.
    pub n_unread: u64,
    /// The run's row of the ledger, which is written after the commit.
    pub run: Value,
    /// The plan whose shards it is made of, where other processes made them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
}

/// A commit that another one read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitRef {
    pub run_id: String,
    pub output: Fingerprint,
}

impl CommitRef {
    pub fn to(commit: &Commit) -> Self {
        Self { run_id: commit.run_id.clone(), output: commit.output.clone() }
    }
}

/// Commit of the source that this program was built from; `unknown` outside of a clone.
pub const GIT_COMMIT: &str = env!("SERMILL_COMMIT");

/// One network that `train` made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrainedModel {
    /// Path of its file below the store.
    pub path: String,
    /// The fold whose test side it never saw; `None` for a model that is alone, or was trained on everything.
    pub fold: Option<u32>,
    /// Which network of an ensemble, from 0.
    pub member: u32,
}

/// How an output was made, as far as a later stage would otherwise have to believe its recipe.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Protocol by which the sides of the recordings were drawn.
    pub protocol: Option<String>,
    /// Seed of all randomness in it.
    pub seed: Option<Seed>,
    /// Folds of the protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_folds: Option<u32>,
    /// Every model that was trained, by fold and member.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<TrainedModel>,
    /// Which words count as which class.
    pub labels: Option<Labels>,
    /// Everything that the spectrograms depend on, in named parts: the text behind the fingerprint.
    pub definition: Option<String>,
    /// What augmented copies go through, with all numbers.
    pub augmentations: Option<String>,
    /// Stored copies of each recording.
    pub copies: Option<u32>,
    /// Name of the front end.
    pub profile: Option<String>,
    /// Fingerprint of that definition.
    pub fingerprint: Option<Fingerprint>,
    /// The front end itself.
    pub front_end: Option<FrontEnd>,
    /// The model that was trained or asked.
    pub model_id: Option<String>,
    /// Protocol of the model's training.
    pub model_protocol: Option<String>,
    /// Frames of a window of the model, and between two.
    pub windows: Option<(usize, usize)>,
}

impl Commit {
    /// Reads the commit of `stage`; `None` when it never finished on this store, or with a version of another form.
    ///
    /// Errors: kind `Input` for one that is damaged, `Unreadable` or `Machine` where it cannot be read.
    pub fn read(store: &Store, stage: &str) -> Result<Option<Self>> {
        read_commit(store, &Store::index_key(stage), stage)
    }

    /// [`Commit::read`] for the run that replaces it: a commit that is damaged says nothing that could be believed, so it is
    /// none.
    pub fn read_sound(store: &Store, stage: &str) -> Result<Option<Self>> {
        sound(Self::read(store, stage))
    }

    /// Reads the commit of `stage`, or says which command makes it.
    pub fn require(store: &Store, stage: &str) -> Result<Self> {
        Self::read(store, stage)?.ok_or_else(|| {
            Error::input(format!("`{stage}` has not been run on this store"))
                .at(store.root())
                .hint(format!("run `sermill {stage}` with the same --pipeline and --store first"))
        })
    }

    /// Says what is about to be committed, before any file takes its place.
    pub fn announce(&self, store: &Store) -> Result<()> {
        let (text, room) = (sealed(self)?, Store::staging_key(&self.stage));
        let new = New::Bytes { room: &room, bytes: &text };
        store.depot().put(&Store::pending_key(&self.stage), new, Mode::Replace).map(|_| ())
    }

    /// Makes this the commit of its stage, once it has been announced and its files are in their places.
    pub fn publish(&self, store: &Store) -> Result<()> {
        store.depot().rename(&Store::pending_key(&self.stage), &Store::index_key(&self.stage))
    }

    /// What `stage` was about to commit when it was killed, if it was; one that is damaged is none.
    pub(super) fn read_pending(store: &Store, stage: &str) -> Result<Option<Self>> {
        sound(read_commit(store, &Store::pending_key(stage), stage))
    }

    /// Whether the commit of `stage` is about to be replaced, or no longer names `key`: then somebody who has read it before
    /// may not find what it names.
    pub(super) fn has_moved_on(store: &Store, stage: &str, key: &str) -> Result<bool> {
        if exists(store, &Store::pending_key(stage))? {
            return Ok(true);
        }
        Ok(Self::read(store, stage)?.is_some_and(|now| now.records().all(|file| file.path != key)))
    }

    /// Files of this output and of those before it.
    pub(super) fn records(&self) -> impl Iterator<Item = &FileRecord> {
        self.files.iter().chain(&self.earlier)
    }

    /// Why this commit no longer stands for `settings` and `inputs`; `None` when it does.
    pub fn stale_because(&self, settings: &Settings, inputs: &BTreeMap<String, Fingerprint>) -> Option<String> {
        if let Some(difference) = self.settings.difference(settings) {
            return Some(format!("it was run with {difference}"));
        }
        if self.n_unread > 0 {
            return Some("the last run could not read all recordings".into());
        }
        inputs
            .iter()
            .find(|(name, now)| self.inputs.get(*name) != Some(now))
            .map(|(name, _)| format!("what it reads of `{name}` changed"))
            .or_else(|| (self.inputs.len() != inputs.len()).then(|| "it reads other inputs now".into()))
    }

    /// Which of its files are no longer what was committed; reads them all.
    pub fn damage(&self, store: &Store) -> Result<Option<String>> {
        use crate::storage::record::State;
        let found = not_whole(store, &self.files)?;
        Ok(found.first().map(|(record, state)| match state {
            State::Gone => format!("its output {} is gone", record.path),
            _ => format!("its output {} is damaged", record.path),
        }))
    }

    /// Files of this output and of those before it that `files` does not take the place of.
    ///
    /// An output that is `whole` takes the place of all; else a file takes the place of those with its stem, and a model's
    /// or report's folder that of what was in it.
    pub fn outlived_by(&self, files: &[FileRecord], whole: bool) -> Vec<FileRecord> {
        if whole {
            return Vec::new();
        }
        let stems: BTreeSet<&str> = files.iter().map(|file| stem_of(&file.path)).collect();
        let is_own = |folder: &String| folder.starts_with("models/") || folder.starts_with("reports/");
        let folder = |file: &FileRecord| file.path.rsplit_once('/').map(|(folder, _)| folder.to_string());
        let folders: BTreeSet<String> = files.iter().filter_map(folder).filter(is_own).collect();
        let is_replaced = |file: &FileRecord| {
            stems.contains(stem_of(&file.path)) || folder(file).is_some_and(|folder| folders.contains(&folder))
        };
        self.records().filter(|file| !is_replaced(file)).cloned().collect()
    }

    /// Every path that it knows of.
    pub fn paths(&self) -> BTreeSet<String> {
        self.records().map(|file| &file.path).chain(&self.orphans).cloned().collect()
    }
}

/// Whether a path exists; one that cannot be looked at is an error and not missing.
pub fn is_there(path: &Path) -> Result<bool> {
    files::again(|| path.try_exists()).map_err(|error| Error::reading("cannot look at", error).at(path))
}

/// A commit that is damaged says nothing that could be believed: for the run that replaces it, it is none.
fn sound(read: Result<Option<Commit>>) -> Result<Option<Commit>> {
    match read {
        Err(error) if error.kind() == ErrorKind::Input => Ok(None),
        read => read,
    }
}

/// Whether something has a key; what cannot be looked at is an error and not missing.
pub(super) fn exists(store: &Store, key: &str) -> Result<bool> {
    let depot = store.depot();
    let found = depot.stat(key).map_err(|error| Error::reading("cannot look at", error).at(depot.place(key)))?;
    Ok(found.is_some())
}

fn read_commit(store: &Store, key: &str, stage: &str) -> Result<Option<Commit>> {
    let path = store.depot().place(key);
    let damaged = || {
        Error::input("the index is damaged")
            .at(&path)
            .hint(format!("run `sermill {stage}` again: what is there and whole is used again where it can be"))
    };
    let bytes = match store.depot().read(key, LIMIT) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) if files::is_nothing(&error) || error.kind() == std::io::ErrorKind::FileTooLarge => {
            return Err(damaged().because(error));
        }
        Err(error) => return Err(Error::reading("cannot read index", error).at(&path)),
    };
    let mut value: Value = serde_json::from_slice(&bytes).map_err(|error| damaged().because(error))?;
    let format = value.get("format").and_then(Value::as_u64);
    match unseal(&mut value)? {
        Seal::Sound => {}
        // Version 0.1.0 knew neither seal nor format.
        Seal::Missing if format.is_none() && value.get("run_id").is_some() => return Ok(None),
        Seal::Missing | Seal::Broken => return Err(damaged()),
    }
    if format != Some(FORMAT.into()) {
        return Ok(None);
    }
    serde_json::from_value(value).map(Some).map_err(|error| damaged().because(error))
}

/// A commit of this form without files.
pub fn blank(stage: &str, settings: Settings, output: Fingerprint) -> Commit {
    Commit {
        format: FORMAT,
        stage: stage.into(),
        run_id: String::new(),
        version: env!("CARGO_PKG_VERSION").into(),
        git_commit: GIT_COMMIT.into(),
        settings,
        inputs: BTreeMap::new(),
        reads: BTreeMap::new(),
        output,
        files: Vec::new(),
        earlier: Vec::new(),
        orphans: BTreeSet::new(),
        evidence: Evidence::default(),
        n_usable: 0,
        n_rejected: 0,
        n_unread: 0,
        run: Value::Null,
        plan: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::atomic;
    use crate::storage::publish::{OutFile, content_named, publish};

    fn commit(files: &[&OutFile]) -> Commit {
        let mut commit = blank("s", Settings::of_revision(1), Fingerprint::of(["output"]));
        commit.run_id = "run".into();
        commit.files = files.iter().map(|file| file.record.clone()).collect();
        commit.run = serde_json::json!({ "seconds": 7.0 / 38.0 });
        commit
    }

    fn staged(store: &Store, name: &str) -> OutFile {
        let staged = store.staging("s").join(name);
        let content = atomic::publish_bytes(&store.staging("s"), &staged, name.as_bytes()).expect("written");
        let path = format!("tables/t/v1/{}", content_named(name, &content));
        OutFile { record: FileRecord { path, content }, staged: Some(staged) }
    }

    fn commit_all(store: &Store, commit: &Commit, files: &[OutFile]) {
        commit.announce(store).expect("announced");
        publish(store, "s", files, &BTreeSet::new()).expect("published");
        commit.publish(store).expect("committed");
    }

    #[test]
    fn a_commit_comes_back_and_no_change_to_its_file_is_believed() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let store = Store::new(folder.path());
        assert_eq!(Commit::read(&store, "s").expect("nothing"), None);
        let files = [staged(&store, "a")];
        let made = commit(&[&files[0]]);
        commit_all(&store, &made, &files);
        assert_eq!(Commit::read(&store, "s").expect("sound").as_ref(), Some(&made));
        let bytes = std::fs::read(store.index("s")).expect("read");
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 1;
            atomic::publish_bytes(folder.path(), &store.index("s"), &other).expect("written");
            // White space, or a digit beyond what a number holds, may change: what is read is the same then.
            if let Ok(read) = Commit::read(&store, "s") {
                assert_eq!(read.as_ref(), Some(&made), "byte {at}");
            }
        }
        atomic::publish_bytes(folder.path(), &store.index("s"), br#"{"stage":"s","run_id":"old"}"#).expect("written");
        assert_eq!(Commit::read(&store, "s").expect("of 0.1.0"), None);
    }

    #[test]
    fn files_of_another_model_outlive_a_commit_and_an_older_generation_does_not() {
        let record = |path: &str| FileRecord {
            path: path.into(),
            content: crate::storage::record::Content { n_bytes: 0, blake3: String::new() },
        };
        let mut old = commit(&[]);
        old.files = vec![record("t/a-0123456789ab.parquet"), record("models/a/model.onnx"), record("models/b/old.svg")];
        old.earlier = vec![record("t/b-0123456789ab.parquet")];
        let new = [record("t/b-ba9876543210.parquet"), record("models/b/model.onnx")];
        assert_eq!(old.outlived_by(&new, false), old.files[..2], "the folder of the same model is replaced");
        assert!(old.outlived_by(&new, true).is_empty());
    }
}
