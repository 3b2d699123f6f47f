//! `score_plan`: what one shard of scoring will be asked about.

use serde::{Deserialize, Serialize};

use crate::tables::Row;
use crate::tables::predictions::PredictionRow;

/// See `schemas/score_plan.toml`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ScorePlanRow {
    pub recording_id: String,
    pub copy: u32,
    pub path: String,
    pub corpus: String,
    pub speaker: Option<String>,
    pub sex: Option<String>,
    pub content_hash: Option<String>,
    pub variant: Option<String>,
    pub split: Option<String>,
    pub fold: Option<u32>,
    pub emotion: Option<String>,
    pub start_s: Option<f64>,
    pub end_s: Option<f64>,
    pub shard: Option<String>,
    pub offset: Option<u64>,
    pub crc32: Option<u32>,
    pub file_size: u64,
    pub changed_ns: i64,
    pub status_ns: i64,
    pub obstacle: Option<String>,
    pub may_pass: bool,
}

impl Row for ScorePlanRow {
    const SCHEMA: &'static str = include_str!("../../schemas/score_plan.toml");
}

impl ScorePlanRow {
    /// The row of predictions that it becomes, as far as it is known before the model is asked.
    pub fn prediction(&self, blank: &PredictionRow) -> PredictionRow {
        PredictionRow {
            recording_id: self.recording_id.clone(),
            copy: self.copy,
            path: self.path.clone(),
            corpus: self.corpus.clone(),
            speaker: self.speaker.clone(),
            sex: self.sex.clone(),
            content_hash: self.content_hash.clone(),
            variant: self.variant.clone(),
            split: self.split.clone(),
            fold: self.fold,
            emotion: self.emotion.clone(),
            ..blank.clone()
        }
    }

    #[cfg(test)]
    pub(crate) fn example() -> Self {
        Self { recording_id: "a/b.wav".into(), offset: Some(4_711), crc32: Some(u32::MAX), ..Self::default() }
    }
}
