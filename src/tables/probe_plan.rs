//! `probe_plan`: which recordings one shard of ingest will open.

use serde::{Deserialize, Serialize};

use crate::tables::Row;

/// See `schemas/probe_plan.toml`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProbePlanRow {
    pub recording_id: String,
    pub path: String,
    pub file_size: u64,
    pub changed_ns: i64,
    pub status_ns: i64,
    pub obstacle: Option<String>,
    pub may_pass: bool,
}

impl Row for ProbePlanRow {
    const SCHEMA: &'static str = include_str!("../../schemas/probe_plan.toml");
}

#[cfg(test)]
impl ProbePlanRow {
    pub(crate) fn example() -> Self {
        Self { recording_id: "a/b.wav".into(), obstacle: Some("is a pipe".into()), ..Self::default() }
    }
}
