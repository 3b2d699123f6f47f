//! `manifest`: one row per recording that ingest saw.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::tables::Row;

/// See `schemas/manifest.toml` for units and meanings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ManifestRow {
    pub recording_id: String,
    pub corpus: String,
    pub path: String,
    pub speaker: Option<String>,
    pub sex: Option<String>,
    pub age: Option<String>,
    pub language: Option<String>,
    pub emotion: Option<String>,
    pub emotion_original: Option<String>,
    pub intensity: Option<String>,
    pub statement: Option<String>,
    pub repetition: Option<u32>,
    pub given_split: Option<String>,
    pub given_fold: Option<String>,
    pub start_s: Option<f64>,
    pub end_s: Option<f64>,
    pub file_size: u64,
    pub container: Option<String>,
    pub codec: Option<String>,
    pub decoder: Option<String>,
    pub repaired: Option<String>,
    pub sample_rate_hz: Option<u32>,
    pub n_channels: Option<u32>,
    pub bits_per_sample: Option<u32>,
    pub n_samples: Option<u64>,
    pub duration_s: Option<f64>,
    pub rms_dbfs: Option<f64>,
    pub peak_dbfs: Option<f64>,
    pub clipped_fraction: Option<f64>,
    pub leading_silence_s: Option<f64>,
    pub trailing_silence_s: Option<f64>,
    pub content_hash: Option<String>,
    pub duplicate_of: Option<String>,
    pub status: Status,
    pub reject_reason: Option<String>,
}

/// Whether a row's recording can be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    #[default]
    Ok,
    Rejected,
}

impl Row for ManifestRow {
    const SCHEMA: &'static str = include_str!("../../schemas/manifest.toml");
}

impl ManifestRow {
    /// Whether features are made of it: usable, and the first with its bytes.
    pub fn is_eligible(&self) -> bool {
        self.status == Status::Ok && self.duplicate_of.is_none()
    }

    #[cfg(test)]
    pub(crate) fn example() -> Self {
        Self {
            recording_id: "tess/OAF_back_angry.wav".into(),
            emotion: Some("angry".into()),
            duration_s: Some(2.5),
            ..Self::default()
        }
    }
}

/// What a recording sounds like, as a text: its content, and which part of it.
pub fn sound_key(content_hash: &str, start_s: Option<f64>, end_s: Option<f64>) -> String {
    match start_s.zip(end_s) {
        Some((start_s, end_s)) => format!("{content_hash}#{start_s}-{end_s}"),
        None => content_hash.to_string(),
    }
}

/// [`sound_key`] as a hash: that of the content for a whole recording.
///
/// Errors: kind `Input` for a content hash that is none.
pub fn sound_hash(content_hash: &str, start_s: Option<f64>, end_s: Option<f64>) -> Result<blake3::Hash> {
    if start_s.is_some() {
        return Ok(blake3::hash(sound_key(content_hash, start_s, end_s).as_bytes()));
    }
    blake3::Hash::from_hex(content_hash).map_err(|error| {
        Error::input(format!("`{content_hash}` is no BLAKE3 hash")).because(error).hint("run `sermill ingest` again")
    })
}
