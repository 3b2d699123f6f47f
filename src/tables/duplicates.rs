//! `duplicates`: pairs of recordings that are the same sound.

use serde::{Deserialize, Serialize};

use crate::tables::Row;

/// See `schemas/duplicates.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DuplicateRow {
    pub recording_a: String,
    pub recording_b: String,
    pub is_exact: bool,
    pub difference: f64,
    pub n_cells: u32,
    pub shift_s: f64,
}

impl Row for DuplicateRow {
    const SCHEMA: &'static str = include_str!("../../schemas/duplicates.toml");
}

#[cfg(test)]
impl DuplicateRow {
    pub(crate) fn example() -> Self {
        Self {
            recording_a: "a/b.wav".into(),
            recording_b: "a/c.wav".into(),
            is_exact: false,
            difference: 0.02,
            n_cells: 300,
            shift_s: -0.012,
        }
    }
}
