//! How a folder of a file system changes as a whole, in one step.
//!
//! The next generation is put together in `<room>/<folder>.<unique>.swap`, from what stays (second names of the same files) and
//! what is new, and changes places with the folder: whoever lists the folder finds all of one generation or all of the next.
//! What the folder held is then looked through: second names of what lives on are removed, what somebody put there meanwhile
//! goes back to the folder, and the rest, which was replaced, is kept under the ending `.old`.

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::io::ErrorKind as IoErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::storage::atomic;
use crate::storage::depot::folder::Folder;
use crate::storage::depot::{Change, Kept, name_of};
use crate::storage::lock;
use crate::storage::publish::{content_of, stem_of};

/// Ending of a folder that is put together, or has changed places and has not been looked through.
const SWAP: &str = "swap";
/// Ending of a folder with what was replaced, and nothing else.
const OLD: &str = "old";
/// Ending of a folder with what is somebody's own and found no place in the folder it came from.
const FOREIGN: &str = "foreign";
/// Where folders change.
const ROOMS: [&str; 4] = ["tables/", "models/", "reports/", "index/"];

/// See [`super::Depot::reveal`].
pub(super) fn reveal(depot: &Folder, room: &str, change: &Change) -> Result<()> {
    let _lock = lock::of_folder(depot.root(), &change.folder)?;
    let Some(swap) = Swap::assemble(depot, room, change)? else { return Ok(()) };
    swap.take_place()?;
    swap.settle()
}

/// A folder that changes.
pub(in crate::storage) struct Swap {
    target: PathBuf,
    aside: PathBuf,
    /// Names that it held before and that stay.
    stays: BTreeSet<String>,
    goes: BTreeSet<String>,
}

impl Swap {
    /// Puts the next generation together; `None` where that takes no more than a step of its own, which is done.
    pub(in crate::storage) fn assemble(depot: &Folder, room: &str, change: &Change) -> Result<Option<Self>> {
        let target = resolved(&depot.path(&change.folder)?)?;
        let there = atomic::entries(&target)?;
        let added: BTreeSet<&str> = change.added.iter().map(|(_, name)| name.as_str()).collect();
        let goes = |name: &String| change.dropped.contains(name) || added.contains(name.as_str());
        let (goes, stays): (BTreeSet<String>, _) = there.iter().map(|path| name_of(path)).partition(goes);
        let exists = metadata(&target)?.is_some();
        if goes.is_empty() && (added.is_empty() || exists && added.len() == 1) {
            for (waits, name) in &change.added {
                join(&depot.path(waits)?, &target.join(name))?;
            }
            return Ok(None);
        }
        let room = depot.path(room)?;
        atomic::create_folder(&room)?;
        let aside = room.join(format!("{}.{}.{SWAP}", change.folder.replace('/', "~"), atomic::unique()));
        atomic::create_new_folder(&aside)?;
        for path in there.iter().filter(|path| stays.contains(&name_of(path))) {
            if !metadata(path)?.is_some_and(|metadata| metadata.is_dir()) {
                atomic::link(path, &aside.join(path.file_name().unwrap_or_default()))?;
            }
        }
        for (waits, name) in &change.added {
            atomic::rename(&depot.path(waits)?, &aside.join(name))?;
        }
        atomic::sync_folder(&aside)?;
        // The name of a folder that is to change places must survive what it changes.
        atomic::sync_folder(&room)?;
        Ok(Some(Self { target, aside, stays, goes }))
    }

    /// The one step. Afterwards the folder that was put together lies in its place, and what was there lies aside.
    pub(in crate::storage) fn take_place(&self) -> Result<()> {
        if metadata(&self.target)?.is_none() {
            return atomic::move_into(&self.aside, &self.target);
        }
        if !atomic::exchange(&self.aside, &self.target)? {
            // The folder is away for a moment here. What it held keeps a name that the next run knows.
            let away = self.aside.with_extension(format!("away.{SWAP}"));
            atomic::rename(&self.target, &away)?;
            atomic::rename(&self.aside, &self.target)?;
            atomic::rename(&away, &self.aside)?;
        }
        atomic::sync_folder(self.target.parent().unwrap_or(&self.target))
    }

    /// Looks through what the folder held before.
    pub(in crate::storage) fn settle(&self) -> Result<()> {
        let is_late = |name: &str| !self.stays.contains(name);
        settle(&self.aside, &self.target, &|name| self.goes.contains(name), &is_late)
    }
}

/// Gives a finished file its name in a folder where nothing has that name.
fn join(waits: &Path, target: &Path) -> Result<()> {
    if atomic::rename_if_absent(waits, target)? {
        return atomic::sync_folder(target.parent().unwrap_or(target));
    }
    Err(Error::machine("another program made a file of this name just now")
        .at(target)
        .hint("run the same command again"))
}

/// Looks through a folder that changed places with `target`, or was about to.
///
/// What lives on in `target` is removed here. What `is_ours` stays: it was replaced, or was to be added. All else is somebody's
/// own: it goes to `target` if it `is_late`, that is, if it may have come after `target` was looked at.
fn settle(aside: &Path, target: &Path, is_ours: &dyn Fn(&str) -> bool, is_late: &dyn Fn(&str) -> bool) -> Result<()> {
    let mut n_kept = 0;
    for path in atomic::entries(aside)? {
        let name = name_of(&path);
        let place = target.join(path.file_name().unwrap_or_default());
        let (Some(own), other) = (metadata(&path)?, metadata(&place)?) else { continue };
        let lives_on = other.as_ref().is_some_and(|other| is_same(&own, other));
        if lives_on || (other.is_some() && is_copy(&path, &place)?) {
            atomic::remove_file(&path)?;
        } else if is_ours(&name) && !own.is_dir() {
            n_kept += 1;
        } else if other.is_none() && (is_late(&name) || own.is_dir()) {
            atomic::move_into(&path, &place)?;
        } else {
            if other.is_some_and(|other| is_newer(&own, &other)) {
                // Somebody replaced a file of theirs while it got its second name.
                atomic::exchange(&path, &place)?;
            }
            atomic::move_into(&path, &aside.with_extension(FOREIGN).join(path.file_name().unwrap_or_default()))?;
        }
    }
    if n_kept == 0 {
        return atomic::remove_empty_folder(aside).map(|_| ());
    }
    atomic::rename(aside, &aside.with_extension(OLD))
}

/// See [`super::Depot::kept`].
pub(super) fn kept(depot: &Folder, room: &str, ours: Option<&BTreeSet<String>>) -> Result<Vec<Kept>> {
    let path_of_room = depot.path(room)?;
    if let Some(ours) = ours {
        for aside in atomic::entries(&path_of_room)? {
            if let Some(folder) = folder_of(&aside, SWAP) {
                settle_after_a_crash(depot, &aside, &folder, ours)?;
            }
        }
    }
    let mut found = Vec::new();
    for aside in atomic::entries(&path_of_room)? {
        let Some(folder) = folder_of(&aside, OLD) else { continue };
        let names = atomic::entries(&aside)?.iter().map(|path| name_of(path)).collect();
        found.push(Kept { folder, at: format!("{room}/{}", name_of(&aside)), names });
    }
    Ok(found)
}

/// What a killed run left may be the folder before or after its step, and which names it gave a second name is not known.
fn settle_after_a_crash(depot: &Folder, aside: &Path, folder: &str, ours: &BTreeSet<String>) -> Result<()> {
    let _lock = lock::of_folder(depot.root(), folder)?;
    let target = resolved(&depot.path(folder)?)?;
    if metadata(&target)?.is_none() {
        // Killed before the first of all: nothing but new files lie here. Or the folder was away for a moment.
        atomic::create_folder(&target)?;
    }
    let is_ours = |name: &str| ours.contains(&format!("{folder}/{name}"));
    // A name with a hash in it may be a second name of what another stage has dropped from the folder since.
    settle(aside, &target, &is_ours, &|name| stem_of(name) == name)
}

/// The folder of the store whose change left `aside`.
fn folder_of(aside: &Path, ending: &str) -> Option<String> {
    let name = name_of(aside);
    let (folder, _) = name.strip_suffix(ending)?.strip_suffix('.')?.split_once('.')?;
    let folder = folder.replace('~', "/");
    ROOMS.iter().any(|room| folder.starts_with(room)).then_some(folder)
}

/// The folder itself, where a link leads to it.
fn resolved(folder: &Path) -> Result<PathBuf> {
    match std::fs::canonicalize(folder) {
        Ok(path) => Ok(path),
        Err(error) if error.kind() == IoErrorKind::NotFound => Ok(folder.to_path_buf()),
        Err(error) => Err(Error::machine("cannot find the folder").at(folder).because(error)),
    }
}

fn metadata(path: &Path) -> Result<Option<Metadata>> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == IoErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::machine("cannot look at").at(path).because(error)),
    }
}

fn is_same(a: &Metadata, b: &Metadata) -> bool {
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

fn is_newer(a: &Metadata, b: &Metadata) -> bool {
    let time = |of: &Metadata| (of.mtime(), of.mtime_nsec());
    a.is_file() && b.is_file() && time(a) > time(b)
}

/// Whether two files hold the same bytes: second names are copies where a file system has no others.
fn is_copy(a: &Path, b: &Path) -> Result<bool> {
    let n_bytes = |path: &Path| Ok(metadata(path)?.filter(Metadata::is_file).map(|found| found.len()));
    let (a_bytes, b_bytes): (Option<u64>, Option<u64>) = (n_bytes(a)?, n_bytes(b)?);
    if a_bytes.is_none() || a_bytes != b_bytes {
        return Ok(false);
    }
    let content = content_of(a)?;
    Ok(content.is_some() && content == content_of(b)?)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
#[path = "swap_proof.rs"]
mod proof;
