//! `reliability`: how often a model is right when it is so sure, by bins of its confidence.

use serde::{Deserialize, Serialize};

use crate::tables::Row;

/// See `schemas/reliability.toml`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReliabilityRow {
    pub model_id: String,
    pub protocol: String,
    pub split: String,
    pub bin: u32,
    pub low: f64,
    pub high: f64,
    pub n_items: u64,
    pub confidence: Option<f64>,
    pub accuracy: Option<f64>,
    pub accuracy_low: Option<f64>,
    pub accuracy_high: Option<f64>,
    pub interval: Option<String>,
}

impl Row for ReliabilityRow {
    const SCHEMA: &'static str = include_str!("../../schemas/reliability.toml");
}

#[cfg(test)]
impl ReliabilityRow {
    pub(crate) fn example() -> Self {
        Self { bin: 1, n_items: 10, confidence: Some(0.5), accuracy: Some(0.25), ..Self::default() }
    }
}
