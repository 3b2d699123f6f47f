//! Finds recordings below a folder; the only user of walkdir.
//!
//! What cannot be opened is an entry with its reason, and what cannot be listed because the machine failed ends the scan: a list
//! is complete or it is none.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use walkdir::WalkDir;

use crate::audio;
use crate::error::{Error, ErrorKind, Result};
use crate::files;

/// A file that may hold a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScannedFile {
    /// Where it is.
    pub file: PathBuf,
    /// Its place below the scanned folder, as [`files::text_of`] writes it; no two files share one.
    pub relative: String,
    /// Tells whether it changed; zeros where the system does not say.
    pub stamp: Stamp,
    /// Why it cannot be opened.
    pub obstacle: Option<Obstacle>,
}

/// Everything below a folder: a file is a recording, by its name, or it is counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// In the order of `relative`.
    pub recordings: Vec<ScannedFile>,
    /// All the others.
    pub passed_over: PassedOver,
}

/// Files that are no recordings by their names, counted by what stands behind the last dot, in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassedOver(BTreeMap<String, u64>);

impl PassedOver {
    /// Stands for names without an extension.
    const NONE: &str = "none";
    /// Stands for all extensions but the most frequent.
    const OTHERS: &str = "others";
    /// Extensions that are counted one by one: names hold anything.
    const MOST_KINDS: usize = 20;

    fn extension_of(file: &Path) -> String {
        file.extension().map_or_else(|| Self::NONE.into(), |it| files::text_of(Path::new(it)).to_lowercase())
    }

    fn add(&mut self, file: &Path) {
        *self.0.entry(Self::extension_of(file)).or_default() += 1;
    }

    /// Counts one file less: one that is used all the same, such as a table of labels.
    pub fn leave_out(&mut self, file: &Path) {
        let extension = Self::extension_of(file);
        if let Some(n) = self.0.get_mut(&extension) {
            *n -= 1;
            self.0.retain(|_, n| *n > 0);
        }
    }

    /// Counts those of another folder too.
    pub fn join(&mut self, other: &Self) {
        other.0.iter().for_each(|(extension, n)| *self.0.entry(extension.clone()).or_default() += n);
    }

    /// All of them.
    pub fn n_files(&self) -> u64 {
        self.0.values().sum()
    }

    /// Extensions and how many files have each, the most frequent first; `none` for those without, `others` for the rare ones.
    pub fn kinds(&self) -> Vec<(&str, u64)> {
        let mut kinds: Vec<(&str, u64)> = self.0.iter().map(|(extension, &n)| (extension.as_str(), n)).collect();
        kinds.sort_by_key(|&(_, n)| std::cmp::Reverse(n));
        let n_others: u64 = kinds.iter().skip(Self::MOST_KINDS).map(|&(_, n)| n).sum();
        kinds.truncate(Self::MOST_KINDS);
        kinds.extend((n_others > 0).then_some((Self::OTHERS, n_others)));
        kinds
    }

    /// `4 files below it are no recordings by their names: txt 3, pdf 1`; `None` where there are none.
    pub fn text(&self) -> Option<String> {
        let kinds: Vec<String> = self.kinds().iter().map(|(extension, n)| format!("{extension} {n}")).collect();
        let what = match self.n_files() {
            0 => return None,
            1 => "1 file below it is no recording by its name".to_string(),
            n => format!("{n} files below it are no recordings by their names"),
        };
        Some(format!("{what}: {}", kinds.join(", ")))
    }
}

/// Why something that was found cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Obstacle {
    /// One lower-case phrase.
    pub reason: String,
    /// Whether it may pass by itself: a folder without permission may, a pipe does not become a file.
    pub may_pass: bool,
}

impl ScannedFile {
    /// The obstacle as an error: kind `Unreadable` where it may pass, else `Recording`.
    pub fn check(&self) -> Result<()> {
        self.obstacle.as_ref().map_or(Ok(()), Obstacle::check)
    }
}

impl Obstacle {
    /// As an error: kind `Unreadable` where it may pass, else `Recording`.
    pub fn check(&self) -> Result<()> {
        match self.may_pass {
            true => Err(Error::new(ErrorKind::Unreadable, &self.reason)),
            false => Err(Error::recording(&self.reason)),
        }
    }
}

/// Tells whether a file changed without opening it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Size in bytes.
    pub size: u64,
    /// Time of the last change of its bytes, nanoseconds since 1970.
    pub changed_ns: i64,
    /// Time of the last change of anything about it, its permissions too; programs cannot set it back.
    pub status_ns: i64,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        let nanoseconds = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
        Self {
            size: metadata.len(),
            changed_ns: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            status_ns: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// The stamp of a file; `None` when it is not there.
///
/// Errors: as [`Error::reading`].
pub fn stamp_of(file: &Path) -> Result<Option<Stamp>> {
    match files::again(|| std::fs::metadata(file)) {
        Ok(metadata) => Ok(Some(Stamp::of(&metadata))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::reading("cannot be looked at", error).at(file)),
    }
}

/// Every file below `folder`: those whose names look like a recording's, and how many others there are.
///
/// Links are followed. What looks like a recording and is none (a pipe, a socket, a device, a link that leads nowhere), a folder
/// that may not be listed, and a link that leads back to a folder above it are entries with an obstacle.
/// Errors: kind `Input` for a folder that is not there, for a file, and for the root of the file system; as [`Error::reading`]
/// for a listing that failed twice, with the folder. Nothing is left out of a list because of an error.
/// Proof: `what_is_no_recording_is_an_entry_or_passed_over`, `a_listing_that_fails_is_never_a_shorter_list`.
pub fn recordings_below(folder: &Path) -> Result<Listing> {
    let named = |error| Error::reading_named(ErrorKind::Input, "cannot be listed", error).at(folder);
    let real = files::again(|| std::fs::canonicalize(folder)).map_err(named)?;
    if real.parent().is_none() {
        return Err(Error::input("is the root of the file system, which holds devices and every other folder")
            .at(folder)
            .hint("name the folder that holds the recordings"));
    }
    if !files::again(|| std::fs::metadata(folder)).map_err(named)?.is_dir() {
        return Err(Error::input("is no folder").at(folder));
    }
    let mut failed_at = folder.to_path_buf();
    let look = |file: &Path| files::again(|| std::fs::metadata(file));
    let mut found = files::again(|| collect(folder, walk(folder), &look, &mut failed_at))
        .map_err(|error| Error::reading("cannot be listed", error).at(&failed_at).hint("run the same command again"))?;
    found.recordings.sort_by(|a, b| a.relative.cmp(&b.relative));
    Ok(found)
}

/// What a walk says about one place.
enum Listed {
    /// Something that is no folder, links followed.
    File(PathBuf),
    /// A link to a folder above it.
    Loop(PathBuf),
    /// A place that could not be looked at; where is not always known.
    Failed(Option<PathBuf>, io::Error),
}

/// Everything below `folder` that is no folder.
fn walk(folder: &Path) -> impl Iterator<Item = Listed> {
    WalkDir::new(folder).follow_links(true).into_iter().filter_map(|entry| match entry {
        Ok(entry) if entry.file_type().is_dir() => None,
        Ok(entry) => Some(Listed::File(entry.into_path())),
        Err(error) => {
            let path = error.path().map(Path::to_path_buf);
            match (error.loop_ancestor().is_some(), path) {
                (true, Some(path)) => Some(Listed::Loop(path)),
                (_, path) => {
                    let code = error.io_error().and_then(io::Error::raw_os_error);
                    let cause = code.map_or_else(|| io::Error::other(error), io::Error::from_raw_os_error);
                    Some(Listed::Failed(path, cause))
                }
            }
        }
    })
}

/// What a walk says, in the two kinds of a listing. An error of the machine ends it, and `failed_at` is then where.
fn collect(
    folder: &Path,
    listing: impl Iterator<Item = Listed>,
    look: &dyn Fn(&Path) -> io::Result<Metadata>,
    failed_at: &mut PathBuf,
) -> io::Result<Listing> {
    let mut found = Listing::default();
    for listed in listing {
        let (file, stamp, obstacle) = match listed {
            Listed::File(file) if !audio::looks_like_recording(&file) => {
                found.passed_over.add(&file);
                continue;
            }
            Listed::File(file) => match look(&file) {
                Ok(metadata) if metadata.is_file() => (file, Stamp::of(&metadata), None),
                Ok(metadata) => {
                    let what = files::not_a_file(metadata.file_type());
                    (file, Stamp::of(&metadata), Some(Obstacle { reason: what.into(), may_pass: false }))
                }
                Err(error) if is_of_this_file(&error) => {
                    let reason = format!("cannot be looked at: {error}");
                    (file, Stamp::default(), Some(Obstacle { reason, may_pass: true }))
                }
                Err(error) => match obstacle(&file, error, failed_at)? {
                    Some(obstacle) => (file, Stamp::default(), Some(obstacle)),
                    None => continue,
                },
            },
            Listed::Loop(file) => {
                let reason = "is a link to a folder above it".into();
                (file, Stamp::default(), Some(Obstacle { reason, may_pass: false }))
            }
            Listed::Failed(Some(file), error) if file != folder => match obstacle(&file, error, failed_at)? {
                Some(obstacle) => (file, Stamp::default(), Some(obstacle)),
                None => continue,
            },
            Listed::Failed(file, error) => {
                *failed_at = file.unwrap_or_else(|| folder.to_path_buf());
                return Err(error);
            }
        };
        let relative = files::text_of(file.strip_prefix(folder).unwrap_or(&file));
        found.recordings.push(ScannedFile { file, relative, stamp, obstacle });
    }
    Ok(found)
}

/// Whether the machine fails at one file, whose place in the list is known all the same.
fn is_of_this_file(error: &io::Error) -> bool {
    files::is_of_the_machine(error) && !files::is_of_the_process(error)
}

/// What an error says about a place below the folder: an obstacle, or nothing worth a row. The machine's is passed on.
fn obstacle(file: &Path, error: io::Error, failed_at: &mut PathBuf) -> io::Result<Option<Obstacle>> {
    let entry = |reason: String, may_pass| Ok(Some(Obstacle { reason, may_pass }));
    let leads_nowhere = matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ELOOP | libc::ENOTDIR));
    if leads_nowhere {
        // What is gone since its folder was listed is not below the folder any more.
        let is_link = match files::again(|| std::fs::symlink_metadata(file)) {
            Ok(metadata) => metadata.is_symlink(),
            Err(error) if files::is_of_the_machine(&error) => {
                *failed_at = file.to_path_buf();
                return Err(error);
            }
            Err(_) => false,
        };
        if !is_link || !audio::looks_like_recording(file) {
            return Ok(None);
        }
        return entry("cannot be read: it is a link that leads nowhere".into(), false);
    }
    if error.kind() == io::ErrorKind::PermissionDenied {
        return entry(format!("cannot be listed: {error}"), true);
    }
    if files::is_of_the_path(&error) {
        return entry(format!("cannot be listed: {error}"), false);
    }
    *failed_at = file.to_path_buf();
    Err(error)
}

#[cfg(test)]
#[path = "scan_proof.rs"]
mod proof;
