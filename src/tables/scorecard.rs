//! `scorecard`: the numbers of several protocols side by side.

use serde::{Deserialize, Serialize};

use crate::tables::Row;

/// See `schemas/scorecard.toml`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ScorecardRow {
    pub pipeline: String,
    pub protocol: String,
    pub warning: String,
    pub model_id: String,
    pub labels: String,
    pub n_folds: u32,
    pub n: u64,
    pub metric: String,
    pub value: Option<f64>,
    pub low: Option<f64>,
    pub high: Option<f64>,
    pub interval: Option<String>,
    pub optimism: Option<f64>,
}

impl Row for ScorecardRow {
    const SCHEMA: &'static str = include_str!("../../schemas/scorecard.toml");
}

#[cfg(test)]
impl ScorecardRow {
    pub(crate) fn example() -> Self {
        Self { pipeline: "paper".into(), metric: "uar".into(), value: Some(0.9), n: 3, ..Self::default() }
    }
}
