//! `acoustic_prints`: fingerprints that need not be computed again.

use serde::{Deserialize, Serialize};

use crate::tables::Row;

/// See `schemas/acoustic_prints.toml`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AcousticPrintRow {
    pub variant: String,
    #[serde(with = "serde_bytes")]
    pub levels: Vec<u8>,
    #[serde(with = "serde_bytes")]
    pub peaks: Vec<u8>,
}

impl Row for AcousticPrintRow {
    const SCHEMA: &'static str = include_str!("../../schemas/acoustic_prints.toml");
}

#[cfg(test)]
impl AcousticPrintRow {
    pub(crate) fn example() -> Self {
        Self { variant: "ab".into(), levels: vec![0, 255, 7], peaks: vec![1, 0, 0, 0] }
    }
}
