//! `feature_index`: what lies where in the shards of spectrograms, so that a stage reads those that it needs and no others.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::tables::blobs::BlobFile;
use crate::tables::features::FeatureRow;
use crate::tables::manifest::Status;
use crate::tables::{Row, read_part};

/// See `schemas/feature_index.toml`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FeatureIndexRow {
    pub shard: String,
    pub plan: String,
    pub recording_id: String,
    pub copy: u32,
    pub corpus: String,
    pub content_hash: String,
    pub variant: Option<String>,
    pub n_mels: u32,
    pub n_frames: u32,
    pub valid_frames: u32,
    pub offset: Option<u64>,
    pub crc32: Option<u32>,
    pub status: Status,
    pub reject_reason: Option<String>,
}

impl Row for FeatureIndexRow {
    const SCHEMA: &'static str = include_str!("../../schemas/feature_index.toml");
}

/// Columns of the features table that stand in the index too.
const COLUMNS: [&str; 10] = [
    "recording_id",
    "copy",
    "corpus",
    "content_hash",
    "variant",
    "n_mels",
    "n_frames",
    "valid_frames",
    "status",
    "reject_reason",
];

/// Columns of a shard that the index repeats.
#[derive(Deserialize)]
struct Part {
    recording_id: String,
    copy: u32,
    corpus: String,
    content_hash: String,
    variant: Option<String>,
    n_mels: u32,
    n_frames: u32,
    valid_frames: u32,
    status: Status,
    reject_reason: Option<String>,
}

impl FeatureIndexRow {
    /// The index row of a row of features; its place comes from who wrote it.
    pub fn of(row: &FeatureRow, shard: &str, plan: &str) -> Self {
        Self {
            shard: shard.into(),
            plan: plan.into(),
            recording_id: row.recording_id.clone(),
            copy: row.copy,
            corpus: row.corpus.clone(),
            content_hash: row.content_hash.clone(),
            variant: row.variant.clone(),
            n_mels: row.n_mels,
            n_frames: row.n_frames,
            valid_frames: row.valid_frames,
            offset: None,
            crc32: None,
            status: row.status,
            reject_reason: row.reject_reason.clone(),
        }
    }

    /// Bytes of the spectrogram.
    pub fn n_bytes(&self) -> usize {
        2 * self.n_mels as usize * self.n_frames as usize
    }

    #[cfg(test)]
    pub(crate) fn example() -> Self {
        Self { recording_id: "a/b.wav".into(), offset: Some(4_711), crc32: Some(u32::MAX), ..Self::default() }
    }
}

/// The index rows of a shard, worked out from the shard itself: every page head is walked, every spectrogram read.
///
/// Errors: as those of [`BlobFile::open`].
pub fn index_of_shard(file: &Path, shard: &str) -> Result<Vec<FeatureIndexRow>> {
    let parts: Vec<Part> = read_part::<FeatureRow, _>(file, &COLUMNS)?;
    let lengths: Vec<usize> = parts.iter().map(|part| 2 * part.n_mels as usize * part.n_frames as usize).collect();
    let (blobs, offsets) = BlobFile::open(file, "log_mel", &lengths, true)?;
    let mut scratch = Vec::new();
    let row = |(part, offset): (Part, Option<u64>)| {
        let crc32 = match offset {
            Some(offset) => {
                let n_bytes = 2 * part.n_mels as usize * part.n_frames as usize;
                blobs.read(offset, n_bytes, &mut scratch)?;
                Some(crc32fast::hash(&scratch))
            }
            None => None,
        };
        if (part.status == Status::Ok) != offset.is_some() {
            return Err(Error::input(format!("`{}` has a spectrogram or a reason, never both", part.recording_id))
                .at(file)
                .hint("run `sermill features` again"));
        }
        Ok(FeatureIndexRow {
            shard: shard.into(),
            plan: String::new(),
            recording_id: part.recording_id,
            copy: part.copy,
            corpus: part.corpus,
            content_hash: part.content_hash,
            variant: part.variant,
            n_mels: part.n_mels,
            n_frames: part.n_frames,
            valid_frames: part.valid_frames,
            offset,
            crc32,
            status: part.status,
            reject_reason: part.reject_reason,
        })
    };
    parts.into_iter().zip(offsets).map(row).collect()
}
