//! A store in a folder of a file system: keys are paths below it, and what changes is renamed.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::files;
use crate::storage::atomic::{self, Mode};
use crate::storage::depot::{Change, Depot, Kept, New, Object, Put, Stat, is_key, name_of, swap};

/// A folder.
#[derive(Clone, Debug)]
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// The store in the folder `root`; nothing is made yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The path of a key.
    pub(super) fn path(&self, key: &str) -> Result<PathBuf> {
        checked(key).map_err(|error| Error::input("is no path of a store").at_place(key).because(error))?;
        Ok(self.root.join(key))
    }

    /// Its root folder.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    fn readable(&self, key: &str) -> io::Result<PathBuf> {
        checked(key).map(|key| self.root.join(key))
    }
}

fn checked(key: &str) -> io::Result<&str> {
    let refused = || io::Error::new(io::ErrorKind::InvalidInput, "a key has plain names and slashes between them");
    if is_key(key) { Ok(key) } else { Err(refused()) }
}

impl Depot for Folder {
    fn place(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }

    fn file(&self, key: &str) -> Option<PathBuf> {
        self.readable(key).ok()
    }

    fn stat(&self, key: &str) -> io::Result<Option<Stat>> {
        let path = self.readable(key)?;
        match files::again(|| path.metadata()) {
            Ok(metadata) => Ok(Some(Stat { n_bytes: metadata.len() })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn read(&self, key: &str, limit: u64) -> io::Result<Vec<u8>> {
        files::read(&self.readable(key)?, limit)
    }

    fn open(&self, key: &str) -> io::Result<Box<dyn Object>> {
        let file = files::open(&self.readable(key)?)?;
        let n_bytes = file.metadata()?.len();
        Ok(Box::new(OpenFile { file, n_bytes }))
    }

    fn list(&self, folder: &str) -> Result<Vec<String>> {
        Ok(atomic::entries(&self.path(folder)?)?.iter().map(|path| name_of(path)).collect())
    }

    fn put(&self, key: &str, new: New, mode: Mode) -> Result<Put> {
        let target = self.path(key)?;
        let written = match new {
            New::Written(written) => written,
            New::Bytes { room, bytes } => atomic::write_bytes_aside(&self.path(room)?, &target, bytes)?,
        };
        Ok(if written.put(&target, mode)? { Put::Made } else { Put::Taken })
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        atomic::move_into(&self.path(from)?, &self.path(to)?)
    }

    fn remove(&self, key: &str) -> Result<()> {
        atomic::remove_file(&self.path(key)?)
    }

    fn reveal(&self, room: &str, change: &Change) -> Result<()> {
        swap::reveal(self, room, change)
    }

    fn kept(&self, room: &str, ours: Option<&BTreeSet<String>>) -> Result<Vec<Kept>> {
        swap::kept(self, room, ours)
    }

    fn forget(&self, kept: &Kept) -> Result<()> {
        let aside = self.path(&kept.at)?;
        atomic::entries(&aside)?.iter().try_for_each(|path| atomic::remove_file(path))?;
        atomic::remove_empty_folder(&aside).map(|_| ())
    }
}

/// A file that is open: another one that takes its name changes nothing here.
struct OpenFile {
    file: File,
    n_bytes: u64,
}

impl Object for OpenFile {
    fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        files::again(|| self.file.read_exact_at(into, at))
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
#[path = "folder_proof.rs"]
mod proof;
