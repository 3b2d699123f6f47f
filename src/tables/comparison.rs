//! `comparison`: two models on the same recordings, long form.

use serde::{Deserialize, Serialize};

use crate::tables::Row;

/// See `schemas/comparison.toml`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ComparisonRow {
    pub model_a: String,
    pub model_b: String,
    pub split: String,
    pub slice: String,
    pub class: String,
    pub metric: String,
    pub value_a: Option<f64>,
    pub value_b: Option<f64>,
    pub difference: Option<f64>,
    pub low: Option<f64>,
    pub high: Option<f64>,
    pub drawn: String,
    pub n_drawn: u64,
    pub right_to_wrong: Option<u64>,
    pub wrong_to_right: Option<u64>,
    pub changed_wrong: Option<u64>,
    pub mcnemar_exact: Option<f64>,
    pub mcnemar_mid: Option<f64>,
    pub n_classes: Option<u32>,
    pub support: u64,
}

impl Row for ComparisonRow {
    const SCHEMA: &'static str = include_str!("../../schemas/comparison.toml");
}

#[cfg(test)]
impl ComparisonRow {
    pub(crate) fn example() -> Self {
        Self { metric: "uar".into(), difference: Some(-0.25), n_drawn: 24, support: 10, ..Self::default() }
    }
}
