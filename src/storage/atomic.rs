//! The one writer: a file or folder is written aside, synced, and becomes visible whole by a rename.
//!
//! Order (what a crash may leave is always the old state or the new one): write the temporary, fsync it, rename it over
//! the target, fsync the target's folder. Temporaries live in the store's `staging` folder, on the same file system but
//! outside every table's folder, because readers that glob a table do not skip temporary names.
// The std::fs writers are banned everywhere else by clippy.toml.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};

/// What helps against most failed writes.
const ROOM: &str = "free some space and run the same command again: finished work is kept";

/// Bytes of one write: the file system takes pages in larger pieces then. With 256 kB a run over a corpus takes 6 % longer, and
/// from 4 MB on every file pays for fresh memory.
const BUFFER: usize = 1 << 20;

/// Writes `target` through a temporary in `staging`; the closure fills it.
///
/// Errors of the file system are `Machine` errors; errors of the closure are passed on with the target's name, and
/// nothing is left behind.
pub fn publish(staging: &Path, target: &Path, write: impl FnOnce(&mut BufWriter<File>) -> Result<()>) -> Result<()> {
    let written = write_aside(staging, target, write)?;
    written.sync()?;
    move_into(&written.temporary, target)
}

/// A file that has been written aside and is neither synced nor visible yet; dropping it leaves the temporary behind for
/// whoever clears the staging folder.
pub struct Written {
    file: File,
    temporary: PathBuf,
    target: PathBuf,
}

impl Written {
    /// Syncs the file and renames it to its target. The target's folder is not synced: that is for files which wait in a
    /// staging folder and are made again when they are gone after a crash.
    pub fn publish(self) -> Result<()> {
        self.sync()?;
        self.publish_unsynced()
    }

    /// Syncs the file; one that cannot be synced is removed.
    fn sync(&self) -> Result<()> {
        self.file.sync_all().map_err(|error| {
            let _ = fs::remove_file(&self.temporary);
            failed("cannot sync", &self.temporary, error).or_at(&self.target).or_hint(ROOM)
        })
    }

    /// Renames it to its target without syncing anything: for files that only the run reads which writes them.
    pub fn publish_unsynced(self) -> Result<()> {
        fs::rename(&self.temporary, &self.target).map_err(|error| failed("cannot publish", &self.target, error))
    }
}

/// The first half of [`publish`]: writes the temporary; syncing can then be left to another thread.
pub fn write_aside(
    staging: &Path,
    target: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> Result<()>,
) -> Result<Written> {
    let (temporary, file) = write_temporary(staging, target, write).map_err(|error| match error.kind() {
        ErrorKind::Machine => error.or_at(target).or_hint(ROOM),
        _ => error.or_at(target),
    })?;
    Ok(Written { file, temporary, target: target.to_path_buf() })
}

/// [`publish`] for bytes that are already there.
pub fn publish_bytes(staging: &Path, target: &Path, bytes: &[u8]) -> Result<()> {
    publish(staging, target, |file| file.write_all(bytes).map_err(|error| failed("cannot write", target, error)))
}

/// Writes `target` through a hidden temporary in its own folder, for files that are no part of a store.
///
/// The temporary is a new file of a name that nothing had, and nothing but it is renamed or removed.
pub fn publish_beside(target: &Path, bytes: &[u8]) -> Result<()> {
    let name = target.file_name().ok_or_else(|| Error::input("is no name of a file").at(target))?;
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_folder(folder)?;
    let (temporary, mut file) = new_beside(folder, name)?;
    let written = file
        .write_all(bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&temporary, target))
        .map_err(|error| failed("cannot write", target, error));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written.and_then(|()| sync_folder(folder))
}

/// A new hidden file in `folder`, named after `name`.
fn new_beside(folder: &Path, name: &OsStr) -> Result<(PathBuf, File)> {
    // Names may have 255 bytes; the beginning of a long one is enough to know it by.
    let name: String = name.to_string_lossy().chars().take(50).collect();
    for attempt in 0u32.. {
        let temporary = folder.join(format!(".{name}.{}.{attempt}.partial", std::process::id()));
        match File::create_new(&temporary) {
            Ok(file) => return Ok((temporary, file)),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && attempt < 10_000 => {}
            Err(error) => return Err(failed("cannot create", &temporary, error)),
        }
    }
    Err(Error::bug("every name for a temporary is taken").at(folder))
}

fn write_temporary(
    staging: &Path,
    target: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> Result<()>,
) -> Result<(PathBuf, File)> {
    create_folder(staging)?;
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let temporary = staging.join(format!("{name}.{}.partial", std::process::id()));
    let written =
        File::create(&temporary).map_err(|error| failed("cannot create", &temporary, error)).and_then(|file| {
            let mut buffered = BufWriter::with_capacity(BUFFER, file);
            write(&mut buffered)?;
            buffered.into_inner().map_err(|error| failed("cannot write", target, error.into_error()))
        });
    match written {
        Ok(file) => Ok((temporary, file)),
        Err(error) => {
            let _ = fs::remove_file(&temporary);
            Err(error)
        }
    }
}

/// Renames a finished, synced file or folder to `target` (a file there is replaced) and syncs the folder.
pub fn move_into(finished: &Path, target: &Path) -> Result<()> {
    let folder = target.parent().ok_or_else(|| Error::bug("a target without a folder").at(target))?;
    create_folder(folder)?;
    fs::rename(finished, target).map_err(|error| failed("cannot publish", target, error))?;
    sync_folder(folder)
}

/// [`move_into`] for many files of one folder, which is synced once, at the end.
pub fn move_all_into(finished: &[(PathBuf, PathBuf)], folder: &Path) -> Result<()> {
    if finished.is_empty() {
        return Ok(());
    }
    create_folder(folder)?;
    for (from, to) in finished {
        debug_assert_eq!(to.parent(), Some(folder));
        fs::rename(from, to).map_err(|error| failed("cannot publish", to, error))?;
    }
    sync_folder(folder)
}

/// Publishes a whole folder: every file of `staged` is synced, then the folder takes the place of `target`.
pub fn publish_folder(staged: &Path, target: &Path) -> Result<()> {
    let entries = fs::read_dir(staged).map_err(|error| failed("cannot list", staged, error))?;
    for entry in entries {
        let path = entry.map_err(|error| failed("cannot list", staged, error))?.path();
        File::open(&path).and_then(|file| file.sync_all()).map_err(|error| failed("cannot sync", &path, error))?;
    }
    sync_folder(staged)?;
    if target.exists() {
        // rename(2) does not replace a folder that holds files: the old one steps aside first.
        let aside = staged.with_extension("replaced");
        remove(&aside)?;
        fs::rename(target, &aside).map_err(|error| failed("cannot replace", target, error))?;
        move_into(staged, target)?;
        return remove(&aside);
    }
    move_into(staged, target)
}

/// Makes `folder` and its parents.
pub fn create_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(|error| failed("cannot create folder", folder, error))
}

/// Removes a file or a folder with all it holds; nothing there is fine.
pub fn remove(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Err(_) => return Ok(()),
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
    };
    removed.map_err(|error| failed("cannot remove", path, error))
}

/// Opens (and makes) a file that stays open, such as a lock.
pub fn open_for_lock(path: &Path) -> Result<File> {
    if let Some(folder) = path.parent() {
        create_folder(folder)?;
    }
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(|error| failed("cannot open lock", path, error))
}

fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|handle| handle.sync_all()).map_err(|error| failed("cannot sync folder", folder, error))
}

fn failed(what: &str, path: &Path, error: std::io::Error) -> Error {
    let hint = match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ROOM,
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
            "check who owns the store, or choose another with --store"
        }
        _ => return Error::machine(what).at(path).because(error),
    };
    Error::machine(what).at(path).because(error).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_temporary() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let (staging, target) = (folder.path().join("staging"), folder.path().join("t/part.parquet"));
        publish_bytes(&staging, &target, b"old").expect("first write");
        let failure = publish(&staging, &target, |file| {
            file.write_all(b"half").expect("write");
            Err(Error::bug("stop"))
        });
        assert!(failure.is_err());
        assert_eq!(fs::read(&target).expect("read"), b"old");
        assert_eq!(fs::read_dir(&staging).expect("list").count(), 0);
    }

    #[test]
    fn a_file_written_beside_others_touches_none_of_them() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = |name: &str| folder.path().join(name);
        let taken = format!(".a.svg.{}.0.partial", std::process::id());
        fs::write(path(&taken), "precious").expect("written");
        fs::create_dir(path("b.svg")).expect("folder");
        publish_beside(&path("a.svg"), b"1").expect("written");
        publish_beside(&path("a.svg"), b"2").expect("replaced");
        publish_beside(&path("new/folder/a.svg"), b"3").expect("written");
        assert!(publish_beside(&path("b.svg"), b"4").is_err(), "a folder is in the way");
        assert!(publish_beside(Path::new(".."), b"5").is_err() && publish_beside(Path::new("/"), b"6").is_err());
        assert_eq!(fs::read_to_string(path("a.svg")).expect("read"), "2");
        assert_eq!(fs::read_to_string(path(&taken)).expect("read"), "precious");
        assert_eq!(fs::read_dir(folder.path()).expect("list").count(), 4, "no temporary is left");
    }

    #[test]
    fn a_folder_takes_the_place_of_the_old_one_whole() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let (old, new) = (folder.path().join("models/a"), folder.path().join("staging/a"));
        for (place, text) in [(&old, "1"), (&new, "2")] {
            create_folder(place).expect("folder");
            fs::write(place.join("model.onnx"), text).expect("write");
        }
        publish_folder(&new, &old).expect("publish");
        assert_eq!(fs::read_to_string(old.join("model.onnx")).expect("read"), "2");
        assert!(!new.exists());
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_a_machine_error_that_names_it() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let blocked = folder.path().join("file");
        fs::write(&blocked, "x").expect("write");
        let error = publish_bytes(&blocked.join("staging"), &blocked.join("t"), b"x").expect_err("a file is no folder");
        assert_eq!(error.kind().exit_code(), 3);
        assert!(error.to_string().contains("file/staging"), "{error}");
    }
}
