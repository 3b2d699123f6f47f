//! `metrics`: accuracy, UAR and the rest, long form.

use serde::{Deserialize, Serialize};

use crate::tables::Row;

/// See `schemas/metrics.toml`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MetricRow {
    pub model_id: String,
    pub pipeline: String,
    pub protocol: String,
    pub split: String,
    pub slice: String,
    pub class: String,
    pub metric: String,
    pub value: Option<f64>,
    pub low: Option<f64>,
    pub high: Option<f64>,
    pub interval: Option<String>,
    pub groups: Option<String>,
    pub n_classes: Option<u32>,
    pub support: u64,
}

impl Row for MetricRow {
    const SCHEMA: &'static str = include_str!("../../schemas/metrics.toml");
}

#[cfg(test)]
impl MetricRow {
    pub(crate) fn example() -> Self {
        Self { metric: "uar".into(), value: Some(0.5), support: 10, ..Self::default() }
    }
}
