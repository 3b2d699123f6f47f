//! What a committed file must hold: its place in the store, its size and its hash, checked whenever it is read.

use std::path::PathBuf;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::files;
use crate::storage::commit::Commit;
use crate::storage::depot::Object;
use crate::storage::layout::Store;

/// Size and hash of some bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    pub n_bytes: u64,
    /// BLAKE3, 64 hex digits.
    pub blake3: String,
}

impl Content {
    /// Of bytes in memory.
    pub fn of(bytes: &[u8]) -> Self {
        Self { n_bytes: bytes.len() as u64, blake3: blake3::hash(bytes).to_hex().to_string() }
    }

    /// The first twelve digits of the hash: a part of names.
    pub fn short(&self) -> &str {
        &self.blake3[..12]
    }
}

/// One file that a stage has committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Its key in the store.
    pub path: String,
    #[serde(flatten)]
    pub content: Content,
}

/// What became of a committed file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Whole,
    Gone,
    /// There, with other bytes.
    Damaged,
}

impl FileRecord {
    /// Where it lies.
    pub fn file(&self, store: &Store) -> PathBuf {
        store.root().join(&self.path)
    }

    /// All of its bytes, once they are what was committed. `stage` is who makes it again.
    ///
    /// Errors: kind `Input` for a file that is gone or holds other bytes, `Unreadable` or `Machine` where it cannot be read, or
    /// where another process has replaced it since the commit was read.
    pub fn read(&self, store: &Store, stage: &str) -> Result<Bytes> {
        let bytes = match store.depot().read(&self.path, self.content.n_bytes.saturating_add(1)) {
            Ok(bytes) => bytes,
            Err(error) => return Err(self.not_read(store, stage, error)),
        };
        if Content::of(&bytes) != self.content {
            return Err(self.damaged(store, stage));
        }
        Ok(bytes.into())
    }

    /// [`FileRecord::read`] that keeps nothing.
    pub fn check(&self, store: &Store, stage: &str) -> Result<()> {
        match self.state(store)? {
            State::Whole => Ok(()),
            State::Gone => Err(self.gone(store, stage)),
            State::Damaged => Err(self.damaged(store, stage)),
        }
    }

    /// Whether it is what was committed.
    ///
    /// Errors: kind `Unreadable` or `Machine` where it cannot be read.
    pub fn state(&self, store: &Store) -> Result<State> {
        let hash = || {
            let object = match store.depot().open(&self.path) {
                Ok(object) => object,
                Err(error) if files::is_nothing(&error) => return Ok(State::Gone),
                Err(error) => return Err(error),
            };
            if object.n_bytes() != self.content.n_bytes {
                return Ok(State::Damaged);
            }
            match hash_of(&*object) {
                Ok(hash) => Ok(if hash == self.content.blake3 { State::Whole } else { State::Damaged }),
                // It has been cut meanwhile.
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(State::Damaged),
                Err(error) => Err(error),
            }
        };
        files::again(hash).map_err(|error| Error::reading("cannot read what was committed", error).at(self.file(store)))
    }

    fn not_read(&self, store: &Store, stage: &str, error: std::io::Error) -> Error {
        if files::is_nothing(&error) {
            return self.gone(store, stage);
        }
        if error.kind() == std::io::ErrorKind::FileTooLarge {
            return self.damaged(store, stage);
        }
        Error::reading("cannot read what was committed", error).at(self.file(store))
    }

    fn gone(&self, store: &Store, stage: &str) -> Error {
        let again = format!("run `sermill {stage}` again: it makes what is missing");
        match Commit::has_moved_on(store, stage, &self.path) {
            Ok(false) => Error::input(format!("is not there, though `{stage}` committed it")).hint(again),
            Ok(true) => Error::machine(format!("was replaced while it was read: another process has run `{stage}`"))
                .hint(format!("run the same command again; if that does not help, run `sermill {stage}`")),
            Err(error) => error,
        }
        .or_at(self.file(store))
    }

    fn damaged(&self, store: &Store, stage: &str) -> Error {
        Error::input(format!("is damaged: its bytes are not those that `{stage}` committed"))
            .at(self.file(store))
            .hint(format!("run `sermill {stage}` again: it makes what is damaged anew"))
    }
}

/// BLAKE3 of an object as hex digits, a megabyte at a time.
pub(super) fn hash_of(object: &dyn Object) -> std::io::Result<String> {
    let part = usize::try_from(object.n_bytes()).unwrap_or(usize::MAX).min(1 << 20);
    let (mut hasher, mut part, mut at) = (blake3::Hasher::new(), vec![0; part], 0);
    while at < object.n_bytes() {
        let here = (object.n_bytes() - at).min(part.len() as u64) as usize;
        object.read_at(at, &mut part[..here])?;
        hasher.update(&part[..here]);
        at += here as u64;
    }
    Ok(hasher.finalize().to_hex().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::atomic;

    #[test]
    fn a_committed_file_is_read_only_while_it_holds_what_was_committed() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let (store, bytes) = (Store::new(folder.path()), vec![7; 3_000_000]);
        let content = atomic::publish_bytes(folder.path(), &folder.path().join("t/a"), &bytes).expect("written");
        let record = FileRecord { path: "t/a".into(), content };
        assert_eq!(record.read(&store, "score").expect("whole"), bytes);
        record.check(&store, "score").expect("whole");
        for at in [0, 1_500_000, 2_999_999] {
            let mut other = bytes.clone();
            other[at] ^= 1;
            atomic::publish_bytes(folder.path(), &record.file(&store), &other).expect("written");
            let error = record.read(&store, "score").expect_err("one bit is off");
            assert!(error.to_string().contains("t/a") && error.to_string().contains("damaged"), "{error}");
            assert_eq!(error.kind().exit_code(), 2);
            assert!(error.hint_text().is_some_and(|hint| hint.contains("sermill score")));
            record.check(&store, "score").expect_err("one bit is off");
        }
        for other in [&bytes[1..], &[bytes.as_slice(), &[0]].concat()] {
            atomic::publish_bytes(folder.path(), &record.file(&store), other).expect("written");
            assert_eq!(record.state(&store).expect("read"), State::Damaged);
            record.read(&store, "score").expect_err("another length");
        }
        atomic::remove_file(&record.file(&store)).expect("removed");
        assert_eq!(record.state(&store).expect("nothing to read"), State::Gone);
        atomic::create_folder(&record.file(&store)).expect("a folder in its place");
        assert_eq!(record.state(&store).expect("nothing to read"), State::Gone);
    }
}
