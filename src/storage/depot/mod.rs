//! The one door to a store: what lies in it has a key, a text such as `tables/features/v2/part-0123456789ab.parquet`, and no
//! path.
//!
//! A trait with one implementation is not the custom of this house. This one says what the protocol of `publish.rs`,
//! `commit.rs` and `recover.rs` takes for granted of storage, and nothing else, so that a bucket, which has neither renames nor
//! folders that change as a whole, is one more file; and the tests break off a commit between any two of its operations with an
//! implementation of theirs.

pub mod folder;
pub(super) mod swap;

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::storage::atomic::{Mode, Written};

/// Where the objects of a store lie. All operations block.
///
/// Reading gives the errors of the system as [`crate::files`] does, so that whoever reads can tell what is not there from a
/// machine that fails; the rest gives errors of kind `Machine` that name the object. A text that is no key is refused.
pub trait Depot: fmt::Debug + Send + Sync {
    /// Where an object lies, as people are told.
    fn place(&self, key: &str) -> PathBuf;

    /// The file that holds an object, for libraries that want one; `None` where there are no files.
    fn file(&self, key: &str) -> Option<PathBuf>;

    /// What is known of an object without reading it; `None` where nothing has this key.
    fn stat(&self, key: &str) -> io::Result<Option<Stat>>;

    /// All bytes of an object of at most `limit` bytes.
    fn read(&self, key: &str, limit: u64) -> io::Result<Vec<u8>>;

    /// Opens one version of an object.
    fn open(&self, key: &str) -> io::Result<Box<dyn Object>>;

    /// Names in a folder, in order; none where there is no folder. A listing that breaks off is an error.
    fn list(&self, folder: &str) -> Result<Vec<String>>;

    /// Writes an object whole: who reads `key` finds all of it or what was there before, also after a power cut.
    fn put(&self, key: &str, new: New, mode: Mode) -> Result<Put>;

    /// Gives a finished object another key, in one step that survives a power cut; what had that key is replaced.
    fn rename(&self, from: &str, to: &str) -> Result<()>;

    /// Removes an object; nothing there is fine.
    fn remove(&self, key: &str) -> Result<()>;

    /// Changes one folder in one step, or leaves it as it is. What is not named stays. What is replaced or dropped is kept below
    /// `room`, a key of a folder that is the caller's alone, until [`Depot::forget`].
    fn reveal(&self, room: &str, change: &Change) -> Result<()>;

    /// What changes have replaced and nobody has forgotten, also those of a run that was killed. `ours` are keys that the caller
    /// may drop: with them a change that was broken off is brought to an end or undone, without them it is left.
    fn kept(&self, room: &str, ours: Option<&BTreeSet<String>>) -> Result<Vec<Kept>>;

    /// Removes what was replaced.
    fn forget(&self, kept: &Kept) -> Result<()>;
}

/// One version of an object, open for reading: another version never answers for it.
pub trait Object: Send + Sync {
    /// Its size.
    fn n_bytes(&self) -> u64;

    /// Fills `into` with its bytes from `at` on; kind `UnexpectedEof` beyond its end.
    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<()>;
}

/// What is known of an object without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    pub n_bytes: u64,
}

/// What becomes an object.
pub enum New<'a> {
    /// Bytes in memory; a temporary of them lies below the key `room`.
    Bytes { room: &'a str, bytes: &'a [u8] },
    /// A file that has been written aside.
    Written(Written),
}

/// What came of [`Depot::put`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    Made,
    /// The key was taken: nothing has changed.
    Taken,
}

/// What changes in one folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Its key.
    pub folder: String,
    /// Objects that wait under a key, and the names they get in the folder.
    pub added: Vec<(String, String)>,
    /// Names that leave it.
    pub dropped: BTreeSet<String>,
}

impl Change {
    /// Nothing yet.
    pub fn of(folder: &str) -> Self {
        Self { folder: folder.into(), ..Self::default() }
    }
}

/// What one change replaced: objects that have left their folder and are not yet removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The folder that changed.
    pub folder: String,
    /// The folder where they lie now; all in it was the store's own.
    pub at: String,
    /// Their names, the same in both.
    pub names: Vec<String>,
}

impl Kept {
    /// Where one of them lies now.
    pub fn key(&self, name: &str) -> String {
        format!("{}/{name}", self.at)
    }
}

/// Folder and name of a key.
///
/// Errors: kind `Input` for a text that would lead out of the store, or to its root: commits hold keys, and files may be damaged.
pub fn split_key(key: &str) -> Result<(&str, &str)> {
    match key.rsplit_once('/') {
        Some(parts) if is_key(key) => Ok(parts),
        _ => Err(Error::input("is no path of a store").at_place(key)),
    }
}

/// Whether all parts of a text are plain names.
fn is_key(key: &str) -> bool {
    let is_plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains(['\\', '\0']);
    key.split('/').all(is_plain)
}

/// Name of a file, as it is listed.
fn name_of(path: &Path) -> String {
    crate::files::text_of(Path::new(path.file_name().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_leads_out_of_the_store() {
        for key in ["../a", "a/../b", "/etc/passwd", "a", "", "a//b", "./a", "a/\0", "a\\b/c", "a/"] {
            assert!(split_key(key).is_err(), "{key:?}");
        }
        assert_eq!(split_key("tables/t/v1/a.parquet").expect("plain"), ("tables/t/v1", "a.parquet"));
    }
}
