//! `listing`: the files that a plan found.

use serde::{Deserialize, Serialize};

use crate::scan::{Obstacle, ScannedFile, Stamp};
use crate::tables::Row;

/// See `schemas/listing.toml`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ListingRow {
    pub folder: String,
    pub path: String,
    pub file_size: u64,
    pub changed_ns: i64,
    pub status_ns: i64,
    pub obstacle: Option<String>,
    pub may_pass: bool,
}

impl Row for ListingRow {
    const SCHEMA: &'static str = include_str!("../../schemas/listing.toml");
}

impl ListingRow {
    /// The row of a file below `folder`.
    pub fn of(folder: &str, found: &ScannedFile) -> Self {
        let Stamp { size, changed_ns, status_ns } = found.stamp;
        Self {
            folder: folder.into(),
            path: found.relative.clone(),
            file_size: size,
            changed_ns,
            status_ns,
            obstacle: found.obstacle.as_ref().map(|obstacle| obstacle.reason.clone()),
            may_pass: found.obstacle.as_ref().is_some_and(|obstacle| obstacle.may_pass),
        }
    }

    /// The file, where its folder lies at `place`.
    pub fn found(self, place: &std::path::Path) -> ScannedFile {
        let may_pass = self.may_pass;
        ScannedFile {
            file: place.join(crate::files::path_of(&self.path)),
            relative: self.path,
            stamp: Stamp { size: self.file_size, changed_ns: self.changed_ns, status_ns: self.status_ns },
            obstacle: self.obstacle.map(|reason| Obstacle { reason, may_pass }),
        }
    }

    #[cfg(test)]
    pub(crate) fn example() -> Self {
        Self { path: "a/b.wav".into(), obstacle: Some("is a pipe".into()), ..Self::default() }
    }
}
