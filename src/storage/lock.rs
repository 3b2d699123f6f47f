//! One process at a time works on a stage of a store; the lock dies with the process that holds it.

use std::fs::{File, TryLockError};
use std::path::Path;

use crate::error::{Error, Result};
use crate::storage::atomic;
use crate::storage::layout::Store;

/// Holds a stage until dropped.
#[derive(Debug)]
pub struct StageLock {
    _file: File,
}

impl StageLock {
    /// Takes the lock of `stage`, or says that another process has it.
    pub fn acquire(store: &Store, stage: &str) -> Result<Self> {
        let path = store.lock(stage);
        let file = atomic::open_for_lock(&path)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => {
                Err(Error::machine(format!("another process runs `{stage}` on this store"))
                    .at(store.root())
                    .hint("wait until it ends, or give this run a store of its own with --store"))
            }
            Err(TryLockError::Error(error)) => Err(Error::machine("cannot lock").at(path).because(error)),
        }
    }
}

/// Holds one folder of the store at `root` while it is replaced; waits for whoever else is at it, which takes moments.
pub(super) fn of_folder(root: &Path, folder: &str) -> Result<File> {
    let path = Store::new(root).lock(&folder.replace('/', "~"));
    let file = atomic::open_for_lock(&path)?;
    file.lock().map_err(|error| Error::machine("cannot lock").at(path).because(error))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_until_the_first_is_gone() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let store = Store::new(folder.path());
        let first = StageLock::acquire(&store, "train").expect("first");
        assert!(StageLock::acquire(&store, "train").is_err());
        StageLock::acquire(&store, "score").expect("another stage is free");
        drop(first);
        StageLock::acquire(&store, "train").expect("free again");
    }
}
