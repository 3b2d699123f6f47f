//! `runs`: the ledger of finished stage runs.

use serde::{Deserialize, Serialize};

use crate::tables::Row;

/// See `schemas/runs.toml`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunRow {
    pub run_id: String,
    pub stage: String,
    pub pipeline: String,
    pub protocol: String,
    pub settings_fingerprint: String,
    pub inputs: String,
    pub output_fingerprint: String,
    pub n_done: u64,
    pub n_reused: u64,
    pub n_rejected: u64,
    pub summary: String,
    pub started_at: String,
    pub seconds: f64,
    pub n_threads: u32,
    pub version: String,
}

impl Row for RunRow {
    const SCHEMA: &'static str = include_str!("../../schemas/runs.toml");
}

#[cfg(test)]
impl RunRow {
    pub(crate) fn example() -> Self {
        Self { run_id: "20260101T000000-ingest".into(), stage: "ingest".into(), seconds: 1.5, ..Self::default() }
    }
}
