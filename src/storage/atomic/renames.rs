//! The ways in which files and folders change their names, and what is done where a file system lacks one.

use std::fs::{self, File};
use std::io::{self, ErrorKind as IoErrorKind};
use std::path::Path;

use super::{ROOM, failed};
use crate::error::Result;

/// Renames without syncing.
pub(in crate::storage) fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(|error| failed("cannot publish", to, error))
}

/// Renames without syncing, unless the new name is taken; gives whether it was free. Of several that try at once one succeeds.
pub(in crate::storage) fn rename_if_absent(from: &Path, to: &Path) -> Result<bool> {
    let renamed = || match rename_with(from, to, NO_REPLACE) {
        Err(error) if is_not_offered(&error) => match fs::hard_link(from, to) {
            Ok(()) => fs::remove_file(from),
            Err(error) if error.kind() == IoErrorKind::AlreadyExists => Err(error),
            // No second names either: what is left is to look first.
            Err(_) if to.try_exists()? => Err(IoErrorKind::AlreadyExists.into()),
            Err(_) => fs::rename(from, to),
        },
        renamed => renamed,
    };
    match renamed() {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == IoErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(failed("cannot publish", to, error)),
    }
}

/// Gives a file a second name; a copy where the file system has no such thing.
pub(in crate::storage) fn link(from: &Path, to: &Path) -> Result<()> {
    let linked = match fs::hard_link(from, to) {
        Err(error) if error.kind() != IoErrorKind::NotFound && error.kind() != IoErrorKind::AlreadyExists => {
            fs::copy(from, to).and_then(|_| File::open(to)?.sync_all())
        }
        linked => linked,
    };
    linked.map_err(|error| failed("cannot keep a file in its folder", from, error).or_hint(ROOM))
}

/// Makes two folders change places in one step. Gives false where the system cannot: then nothing has changed.
pub(in crate::storage) fn exchange(here: &Path, there: &Path) -> Result<bool> {
    match rename_with(here, there, EXCHANGE) {
        Ok(()) => Ok(true),
        Err(error) if is_not_offered(&error) => Ok(false),
        Err(error) => Err(failed("cannot replace", there, error)),
    }
}

/// Whether the file system or the kernel lacks a form of renaming.
fn is_not_offered(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS | libc::ENOTSUP))
}

/// Flags of `renameat2`: the new name must be free; both names stay and change places.
const NO_REPLACE: libc::c_uint = 1;
const EXCHANGE: libc::c_uint = 2;

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn rename_with(from: &Path, to: &Path, flags: libc::c_uint) -> io::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let text = |path: &Path| std::ffi::CString::new(path.as_os_str().as_bytes()).map_err(io::Error::from);
    let (from, to) = (text(from)?, text(to)?);
    // SAFETY: two texts that end with a zero and live until the call is over.
    let code = unsafe { libc::renameat2(libc::AT_FDCWD, from.as_ptr(), libc::AT_FDCWD, to.as_ptr(), flags) };
    if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn rename_with(_from: &Path, _to: &Path, _flags: libc::c_uint) -> io::Result<()> {
    Err(io::Error::from_raw_os_error(libc::ENOSYS))
}
