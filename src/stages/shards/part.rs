//! Finished shards that only the commit reads: a table with a note of what stands in no row.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::stages::shards::{Job, whole};
use crate::storage::atomic::{self, Out};
use crate::storage::publish::content_named;
use crate::storage::record::Content;
use crate::tables::TableFile;
use crate::tables::spectrograms::shard_stem;

/// Key of the note.
const KEY: &str = "sermill.shard";

/// What became of a shard, beside its rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Note {
    /// Rows that were worked out, and rows taken from an earlier run.
    pub n_done: u64,
    pub n_reused: u64,
    /// Rows that the machine failed at; path and reason of the first.
    pub n_unread: u64,
    pub first_unread: Option<(String, String)>,
    /// How far the model's own golden vector came out.
    pub golden_difference: Option<f32>,
}

impl Note {
    /// One more row that the machine failed at.
    pub fn unread(&mut self, path: &str, reason: &str) {
        self.n_unread += 1;
        self.first_unread.get_or_insert_with(|| (path.to_string(), reason.to_string()));
    }

    /// As an entry of a file's metadata.
    pub fn entry(&self) -> Result<(&'static str, String)> {
        let text = serde_json::to_string(self).map_err(|error| Error::bug("a note has no JSON form").because(error))?;
        Ok((KEY, text))
    }
}

/// Writes a finished shard where its commit finds it.
pub fn stage_part<R>(job: &Job<R>, write: impl FnOnce(&mut Out) -> Result<()>) -> Result<Content> {
    let stem = shard_stem(job.id);
    let written = atomic::write_aside(job.staging, Path::new(&format!("{stem}.parquet")), write)?;
    let staged = job.staging.join(content_named(&stem, written.content()));
    written.publish(&staged)
}

/// Opens a finished shard; `None` for one that is not whole. `read` takes its rows.
///
/// Errors: those that say nothing about the file, because the machine failed at it.
pub fn open_part<T>(
    file: &Path,
    id: &str,
    read: impl FnOnce(&TableFile) -> Result<T>,
) -> Result<Option<(T, Note, Content)>> {
    let Some(content) = whole(file, id)? else { return Ok(None) };
    let open = || -> Result<Option<(T, Note, Content)>> {
        let table = TableFile::open(file)?;
        let Some(note) = table.note(KEY)? else { return Ok(None) };
        let note =
            serde_json::from_str(&note).map_err(|error| Error::input("a shard's note is damaged").because(error))?;
        Ok(Some((read(&table)?, note, content)))
    };
    match open() {
        Err(error) if error.kind() == ErrorKind::Input => Ok(None),
        opened => opened,
    }
}
