//! The one writer: a file is written aside, hashed as it goes, synced, and becomes visible whole by a rename.
//!
//! Order (what a crash may leave is always the old state or the new one): write the temporary, fsync it, rename it over
//! the target, fsync the target's folder. Temporaries of a store lie in its `staging` folder, on the same file system but
//! outside every table's folder, because readers that glob a table do not skip temporary names. A temporary has a name of
//! its own that nothing had before, and is removed by whoever made it: when its writer fails, and after a crash when its
//! stage runs again.
// The std::fs writers are banned everywhere else by clippy.toml.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, BufWriter, ErrorKind as IoErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::{Error, ErrorKind, Result};
use crate::storage::record::Content;

mod renames;

pub(super) use renames::{exchange, link, rename, rename_if_absent};

/// What helps against most failed writes.
const ROOM: &str = "free some space and run the same command again: finished work is kept";

/// Ending of temporaries; [`clear_temporaries`] knows them by it.
const PARTIAL: &str = ".partial";

/// Bytes of one write: the file system takes pages in larger pieces then. With 256 kB a run over a corpus takes 6 % longer, and
/// from 4 MB on every file pays for fresh memory.
const BUFFER: usize = 1 << 20;

/// What becomes of a name that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The new file takes the place of the old one.
    Replace,
    /// The old file stays, and the new one is dropped.
    Create,
}

/// What a closure writes a file through.
pub type Out = BufWriter<Hashing>;

/// A file that hashes what is written to it.
pub struct Hashing {
    file: File,
    hasher: blake3::Hasher,
    n_bytes: u64,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.file.write(bytes)?;
        self.hasher.update(&bytes[..n]);
        self.n_bytes += n as u64;
        Ok(n)
    }

    fn write_vectored(&mut self, slices: &[io::IoSlice]) -> io::Result<usize> {
        let n = self.file.write_vectored(slices)?;
        let mut left = n;
        for slice in slices {
            let here = slice.len().min(left);
            self.hasher.update(&slice[..here]);
            left -= here;
        }
        self.n_bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A temporary that is removed when it is dropped before it has been renamed.
struct Temporary(Option<PathBuf>);

impl Temporary {
    fn path(&self) -> &Path {
        self.0.as_deref().expect("it is taken by the rename alone")
    }

    /// Renames it to `target`; one that cannot be renamed, or that comes too late, is removed.
    fn publish(mut self, target: &Path, mode: Mode) -> Result<bool> {
        let is_made = match mode {
            Mode::Replace => rename(self.path(), target).map(|()| true)?,
            Mode::Create => rename_if_absent(self.path(), target)?,
        };
        if is_made {
            self.0 = None;
        }
        Ok(is_made)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // The error that led here is the one to tell; a temporary that stays is cleared by the stage's next run.
            let _ = fs::remove_file(path);
        }
    }
}

/// A file that has been written aside and is neither synced nor visible yet; dropping it removes it.
pub struct Written {
    file: File,
    temporary: Temporary,
    content: Content,
}

impl Written {
    /// Size and hash of what was written.
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// Syncs the file and renames it to `target`, whose folder is there. The folder is not synced: that is for files which
    /// wait in a staging folder and are made again when they are gone after a crash.
    pub fn publish(self, target: &Path) -> Result<Content> {
        self.file
            .sync_all()
            .map_err(|error| failed("cannot sync", self.temporary.path(), error).or_at(target).or_hint(ROOM))?;
        self.publish_unsynced(target)
    }

    /// Syncs the file, renames it to `target` and syncs the folder, which is made if need be. Gives whether it stands there
    /// now: with [`Mode::Create`] another one may.
    pub(super) fn put(self, target: &Path, mode: Mode) -> Result<bool> {
        let folder = parent_of(target)?;
        create_folder(folder)?;
        self.file
            .sync_all()
            .map_err(|error| failed("cannot sync", self.temporary.path(), error).or_at(target).or_hint(ROOM))?;
        let is_made = self.temporary.publish(target, mode)?;
        sync_folder(folder)?;
        Ok(is_made)
    }

    /// Renames it to `target` without syncing anything: for files that only the run reads which writes them.
    pub fn publish_unsynced(self, target: &Path) -> Result<Content> {
        self.temporary.publish(target, Mode::Replace)?;
        Ok(self.content)
    }
}

/// Writes a temporary in `staging`; the closure fills it. `target` gives the temporary its name, and errors theirs.
///
/// Errors of the file system are `Machine` errors; errors of the closure are passed on with the target's name, and
/// nothing is left behind.
pub fn write_aside(staging: &Path, target: &Path, write: impl FnOnce(&mut Out) -> Result<()>) -> Result<Written> {
    write_temporary(staging, target, write).map_err(|error| match error.kind() {
        ErrorKind::Machine => error.or_at(target).or_hint(ROOM),
        _ => error.or_at(target),
    })
}

fn write_temporary(staging: &Path, target: &Path, write: impl FnOnce(&mut Out) -> Result<()>) -> Result<Written> {
    create_folder(staging)?;
    let (temporary, file) = create_temporary(staging, target, "")?;
    let file = Hashing { file, hasher: blake3::Hasher::new(), n_bytes: 0 };
    let mut buffered = BufWriter::with_capacity(BUFFER, file);
    write(&mut buffered)?;
    let Hashing { file, hasher, n_bytes } =
        buffered.into_inner().map_err(|error| failed("cannot write", target, error.into_error()))?;
    let content = Content { n_bytes, blake3: hasher.finalize().to_hex().to_string() };
    Ok(Written { file, temporary, content })
}

/// A file in `folder` that nothing was called before, named after `target`.
fn create_temporary(folder: &Path, target: &Path, prefix: &str) -> Result<(Temporary, File)> {
    // A name of 255 bytes leaves no room for an ending.
    let name: String = target.file_name().unwrap_or_default().to_string_lossy().chars().take(40).collect();
    loop {
        let path = folder.join(format!("{prefix}{name}.{}{PARTIAL}", unique()));
        match File::create_new(&path) {
            Ok(file) => return Ok((Temporary(Some(path)), file)),
            Err(error) if error.kind() == IoErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed("cannot create", &path, error)),
        }
    }
}

/// A text that differs from call to call, from process to process and from machine to machine: in containers every process
/// may have the number 1, and clocks may agree, so 64 bits of it are random.
pub(super) fn unique() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    // Keys of the standard library's hash maps: from the system's random numbers, and others at each call.
    let random = RandomState::new().build_hasher().finish();
    format!("{}-{since:x}-{random:016x}", std::process::id())
}

/// Writes `target` whole: temporary in `staging`, fsync, rename, fsync of the folder.
pub fn publish(staging: &Path, target: &Path, write: impl FnOnce(&mut Out) -> Result<()>) -> Result<Content> {
    let written = write_aside(staging, target, write)?;
    create_folder(parent_of(target)?)?;
    let content = written.publish(target)?;
    sync_folder(parent_of(target)?)?;
    Ok(content)
}

/// [`publish`] for bytes that are already there.
pub fn publish_bytes(staging: &Path, target: &Path, bytes: &[u8]) -> Result<Content> {
    publish(staging, target, |file| file.write_all(bytes).map_err(|error| failed("cannot write", target, error)))
}

/// [`write_aside`] for bytes that are already there.
pub fn write_bytes_aside(staging: &Path, target: &Path, bytes: &[u8]) -> Result<Written> {
    write_aside(staging, target, |file| file.write_all(bytes).map_err(|error| failed("cannot write", target, error)))
}

/// Writes a file that the user named, anywhere. The temporary lies hidden beside it, because only there a rename is sure to be
/// on one file system; nothing else is touched.
pub fn publish_beside(target: &Path, bytes: &[u8]) -> Result<()> {
    write_beside(target, bytes, Mode::Replace).map(|_| ())
}

/// [`publish_beside`] that takes no other file's place; gives whether the name was free.
pub fn create_beside(target: &Path, bytes: &[u8]) -> Result<bool> {
    write_beside(target, bytes, Mode::Create)
}

fn write_beside(target: &Path, bytes: &[u8], mode: Mode) -> Result<bool> {
    let folder = parent_of(target)?;
    create_folder(folder)?;
    let (temporary, mut file) = create_temporary(folder, target, ".")?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    written.map_err(|error| failed("cannot write", target, error).or_hint(ROOM))?;
    let is_made = temporary.publish(target, mode)?;
    sync_folder(folder)?;
    Ok(is_made)
}

/// The folder that holds `path`; the current one for a bare name.
fn parent_of(path: &Path) -> Result<&Path> {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Ok(Path::new(".")),
        Some(parent) => Ok(parent),
        None => Err(Error::input("is a folder, not a file").at(path)),
    }
}

/// Renames a finished, synced file to `target` and syncs the folder, which is made if need be.
pub fn move_into(finished: &Path, target: &Path) -> Result<()> {
    let folder = parent_of(target)?;
    create_folder(folder)?;
    rename(finished, target)?;
    sync_folder(folder)
}

/// Makes `folder` and its parents; what is made is synced into the folder that holds it.
pub fn create_folder(folder: &Path) -> Result<()> {
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        create_folder(parent)?;
    }
    match fs::create_dir(folder) {
        Ok(()) => sync_folder(parent.unwrap_or(Path::new("."))),
        // Another process was faster.
        Err(error) if error.kind() == IoErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        Err(error) => Err(failed("cannot create folder", folder, error)),
    }
}

/// Makes a folder that was not there, in one that is; not synced.
pub(super) fn create_new_folder(folder: &Path) -> Result<()> {
    fs::create_dir(folder).map_err(|error| failed("cannot create folder", folder, error))
}

/// Removes a file; nothing there is fine. Folders are not removed.
pub fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != IoErrorKind::NotFound => Err(failed("cannot remove", path, error)),
        _ => Ok(()),
    }
}

/// Removes a folder that holds nothing; gives whether it is gone.
pub fn remove_empty_folder(path: &Path) -> Result<bool> {
    match fs::remove_dir(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == IoErrorKind::NotFound => Ok(true),
        Err(error) if error.kind() == IoErrorKind::DirectoryNotEmpty => Ok(false),
        Err(error) => Err(failed("cannot remove", path, error)),
    }
}

/// The entries of a folder, in the order of their names; none for a folder that is not there.
///
/// Errors: kind `Machine`; a listing that breaks off is no listing.
pub fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let list = || match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<PathBuf>>>(),
        Err(error) if error.kind() == IoErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    };
    let mut found = crate::files::again(list).map_err(|error| failed("cannot list", folder, error))?;
    found.sort();
    Ok(found)
}

/// Removes the temporaries that killed runs left in `staging`; whoever calls it holds the lock of that folder's stage.
pub fn clear_temporaries(staging: &Path) -> Result<()> {
    entries(staging)?.iter().filter(|path| is_temporary(path)).try_for_each(|path| remove_file(path))
}

/// Whether a name is that of a temporary.
pub fn is_temporary(path: &Path) -> bool {
    path.to_string_lossy().ends_with(PARTIAL)
}

/// Opens (and makes) a file that stays open, such as a lock.
pub fn open_for_lock(path: &Path) -> Result<File> {
    create_folder(parent_of(path)?)?;
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(|error| failed("cannot open lock", path, error))
}

/// Makes what was renamed into `folder` survive a power cut.
pub fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|handle| handle.sync_all()).map_err(|error| failed("cannot sync folder", folder, error))
}

fn failed(what: &str, path: &Path, error: io::Error) -> Error {
    let hint = match error.kind() {
        IoErrorKind::StorageFull | IoErrorKind::QuotaExceeded => ROOM,
        IoErrorKind::PermissionDenied | IoErrorKind::ReadOnlyFilesystem => {
            "check who owns the folder, or choose another store with --store"
        }
        IoErrorKind::InvalidFilename => "choose a shorter name",
        _ => return Error::machine(what).at(path).because(error),
    };
    Error::machine(what).at(path).because(error).hint(hint)
}

#[cfg(test)]
#[path = "atomic_proof.rs"]
mod proof;
