//! Finds recordings below a folder; the only user of walkdir.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use walkdir::WalkDir;

use crate::audio;

/// A file that may hold a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScannedFile {
    /// Where it is.
    pub file: PathBuf,
    /// Its place below the scanned folder, with forward slashes.
    pub relative: String,
    /// Tells whether it changed.
    pub stamp: Stamp,
    /// Why it cannot be listed: a folder without permission, a link that leads nowhere.
    pub unreadable: Option<String>,
}

/// Tells whether a file changed without opening it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Size in bytes.
    pub size: u64,
    /// Time of the last change, nanoseconds since 1970.
    pub changed_ns: u64,
}

/// Every file below `folder` whose name looks like a recording's, in the order of `relative`.
///
/// Links are followed; a folder or link that cannot be listed is an entry with a reason.
pub fn recordings_below(folder: &Path) -> Vec<ScannedFile> {
    let mut found = Vec::new();
    for entry in WalkDir::new(folder).follow_links(true) {
        let (file, unreadable) = match entry {
            Ok(entry) if entry.file_type().is_file() && audio::looks_like_recording(entry.path()) => {
                (entry.into_path(), None)
            }
            Ok(_) => continue,
            Err(error) => (error.path().unwrap_or(folder).to_path_buf(), Some(format!("cannot be listed: {error}"))),
        };
        let relative = file.strip_prefix(folder).unwrap_or(&file).to_string_lossy().replace('\\', "/");
        found.push(ScannedFile { stamp: stamp_of(&file), file, relative, unreadable });
    }
    found.sort_by(|a, b| a.relative.cmp(&b.relative));
    found
}

/// The stamp of a file; zeros when it is not there.
pub fn stamp_of(file: &Path) -> Stamp {
    let metadata = std::fs::metadata(file).ok();
    let changed = metadata.as_ref().and_then(|metadata| metadata.modified().ok());
    Stamp {
        size: metadata.map_or(0, |metadata| metadata.len()),
        changed_ns: changed
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
            .map_or(0, |since| since.as_nanos() as u64),
    }
}
