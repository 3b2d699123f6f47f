//! How a stage's files take their places: each folder of the store changes as a whole, in one step, and nothing of what the old
//! commit names is removed before the new one stands.
//!
//! Names of table files carry the hash of their bytes, so no name ever stands for two contents. Only names that the store
//! committed or was about to commit are dropped: whatever else lies in the folder stays in it. What is dropped or replaced is kept
//! in the stage's staging folder, from where `recover.rs` brings it back, until [`clear_staged`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::storage::atomic;
use crate::storage::depot::{Change, split_key};
use crate::storage::layout::Store;
use crate::storage::record::{Content, FileRecord, State, hash_of};

/// One file of a stage's output.
#[derive(Clone, Debug)]
pub struct OutFile {
    /// What it holds, and where it shall lie.
    pub record: FileRecord,
    /// Where it waits, written and synced; `None` when it lies in its place already.
    pub staged: Option<PathBuf>,
}

impl OutFile {
    /// A file that stays where it is.
    pub fn kept(record: FileRecord) -> Self {
        Self { record, staged: None }
    }
}

/// Ending of finished files that wait for their places under another name.
const STAGED: &str = ".staged";

/// Gives `files` their places, and takes the keys `dropped` that are not among them out of their folders. Nothing is removed.
///
/// Each folder changes in one step. What a crash leaves between two steps is for [`super::recover::recover`].
/// Proof: `src/storage/depot/swap_proof.rs`, `src/storage/recover_proof.rs`, `make torture`.
pub fn publish(store: &Store, slot: &str, files: &[OutFile], dropped: &BTreeSet<String>) -> Result<()> {
    let mut changes: BTreeMap<&str, Change> = BTreeMap::new();
    for file in files {
        let (folder, name) = split_key(&file.record.path)?;
        if let Some(staged) = &file.staged
            && !stands_already(store, &file.record)?
        {
            let change = changes.entry(folder).or_insert_with(|| Change::of(folder));
            change.added.push((store.relative(staged), name.into()));
        }
    }
    let kept: BTreeSet<&str> = files.iter().map(|file| file.record.path.as_str()).collect();
    for key in dropped.iter().filter(|key| !kept.contains(key.as_str())) {
        let (folder, name) = split_key(key)?;
        changes.entry(folder).or_insert_with(|| Change::of(folder)).dropped.insert(name.into());
    }
    // What a stage remembers comes last: as long as its old commit stands, so does what that remembers.
    let (memory, tables): (Vec<_>, Vec<_>) = changes.into_values().partition(|one| one.folder.starts_with("index/"));
    let room = Store::staging_key(slot);
    tables.iter().chain(&memory).try_for_each(|change| store.depot().reveal(&room, change))
}

/// Whether a table's file stands under its name, whole. A name below `tables/` is written once: what has it and holds other bytes
/// than the name says is damaged, and is the only thing that may be replaced.
///
/// Errors: kind `Bug` for a name that is not made of the file's hash, `Machine` for two files whose hashes begin alike.
fn stands_already(store: &Store, record: &FileRecord) -> Result<bool> {
    if !record.path.starts_with("tables/") {
        return Ok(false);
    }
    let named = |content: &Content| content_named(stem_of(&record.path), content) == record.path;
    let place = store.depot().place(&record.path);
    if !named(&record.content) {
        return Err(Error::bug("the name of a table's file does not hold the hash of its bytes").at(place));
    }
    match content_at(store, &record.path)? {
        Some(there) if there == record.content => Ok(true),
        Some(there) if named(&there) => {
            Err(Error::machine("another file has this name: their hashes begin alike").at(place))
        }
        _ => Ok(false),
    }
}

/// Removes finished pieces that wait in the staging folder of `slot` and were not needed, and what the last commit replaced.
pub fn clear_staged(store: &Store, slot: &str) -> Result<()> {
    let staging = store.staging(slot);
    let depot = store.depot();
    depot.kept(&Store::staging_key(slot), None)?.iter().try_for_each(|kept| depot.forget(kept))?;
    atomic::clear_temporaries(&staging)?;
    for path in atomic::entries(&staging)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if is_content_named(&name) || name.ends_with(STAGED) {
            atomic::remove_file(&path)?;
        }
    }
    atomic::remove_empty_folder(&staging).map(|_| ())
}

/// Name under which a file waits whose own name says nothing of its content.
pub fn staged_name(path: &str) -> String {
    format!("{}{STAGED}", path.replace('/', "~"))
}

/// The name of a table file: it ends with twelve digits of its hash.
pub fn content_named(stem: &str, content: &Content) -> String {
    format!("{stem}-{}.parquet", content.short())
}

/// Whether a name ends with what looks like twelve digits of a hash.
pub(super) fn is_content_named(name: &str) -> bool {
    stem_of(name) != name
}

/// A path or name without the hash in it: two files with the same stem are two generations of one thing.
pub fn stem_of(path: &str) -> &str {
    let stem = path.strip_suffix(".parquet").and_then(|stem| stem.rsplit_once('-'));
    match stem {
        Some((stem, hash)) if hash.len() == 12 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => stem,
        _ => path,
    }
}

/// Table files that earlier runs made and that no commit remembers, because it is lost or damaged: those whose names hold the
/// hash of their bytes. An output that is `whole` takes the place of all in its folders, another one of those with its stems.
pub fn unremembered(store: &Store, files: &[OutFile], whole: bool) -> Result<BTreeSet<String>> {
    let stems: BTreeSet<&str> = files.iter().map(|file| stem_of(&file.record.path)).collect();
    let folders: BTreeSet<&str> = files.iter().filter_map(|file| Some(file.record.path.rsplit_once('/')?.0)).collect();
    let mut found = BTreeSet::new();
    for folder in folders {
        for name in store.depot().list(folder)? {
            let path = format!("{folder}/{name}");
            let stem = stem_of(&path);
            if stem == path || !(whole || stems.contains(stem)) {
                continue;
            }
            if let Some(content) = content_at(store, &path)?
                && path == content_named(stem, &content)
            {
                found.insert(path);
            }
        }
    }
    Ok(found)
}

/// Size and hash of a file; `None` for what is none.
pub fn content_of(file: &Path) -> Result<Option<Content>> {
    match crate::files::read(file, u64::MAX) {
        Ok(bytes) => Ok(Some(Content::of(&bytes))),
        Err(error) if crate::files::is_nothing(&error) => Ok(None),
        Err(error) => Err(Error::reading("cannot read", error).at(file)),
    }
}

/// [`content_of`] for an object of the store, a megabyte at a time.
pub(super) fn content_at(store: &Store, key: &str) -> Result<Option<Content>> {
    let depot = store.depot();
    let read = || match depot.open(key) {
        Ok(object) => Ok(Some(Content { n_bytes: object.n_bytes(), blake3: hash_of(&*object)? })),
        Err(error) if crate::files::is_nothing(&error) => Ok(None),
        Err(error) => Err(error),
    };
    read().map_err(|error| Error::reading("cannot read", error).at(depot.place(key)))
}

/// Which of `records` are not what was committed, and how.
pub fn not_whole<'a>(store: &Store, records: &'a [FileRecord]) -> Result<Vec<(&'a FileRecord, State)>> {
    use rayon::prelude::*;
    let states: Vec<State> = records.par_iter().map(|record| record.state(store)).collect::<Result<_>>()?;
    Ok(records.iter().zip(states).filter(|(_, state)| *state != State::Whole).collect())
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
#[path = "publish_proof.rs"]
mod proof;
