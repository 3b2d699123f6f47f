//! `flips`: recordings that two models answer otherwise.

use serde::{Deserialize, Serialize};

use crate::tables::Row;

/// See `schemas/flips.toml`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FlipRow {
    pub model_a: String,
    pub model_b: String,
    pub recording_id: String,
    pub copy: u32,
    pub corpus: String,
    pub speaker: Option<String>,
    pub sex: Option<String>,
    pub split: String,
    pub emotion: String,
    pub predicted_a: String,
    pub predicted_b: String,
    pub confidence_a: Option<f32>,
    pub confidence_b: Option<f32>,
    pub flip: String,
}

impl Row for FlipRow {
    const SCHEMA: &'static str = include_str!("../../schemas/flips.toml");
}

#[cfg(test)]
impl FlipRow {
    pub(crate) fn example() -> Self {
        Self { recording_id: "a/b.wav".into(), flip: "right_to_wrong".into(), ..Self::default() }
    }
}
