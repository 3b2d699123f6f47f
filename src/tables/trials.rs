//! `trials`: every configuration that was tried, entered before it ran.

use serde::{Deserialize, Serialize};

use crate::tables::Row;

/// See `schemas/trials.toml`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrialRow {
    pub trial: String,
    pub against: Option<String>,
    pub why: String,
    pub pipeline: String,
    pub settings: String,
    pub seed: i64,
    pub state: String,
    pub reason: Option<String>,
    pub entered_at: String,
    pub finished_at: Option<String>,
    pub model_id: Option<String>,
    pub protocol: String,
    pub folds: String,
    pub n: u64,
    pub uar: Option<f64>,
    pub uar_low: Option<f64>,
    pub uar_high: Option<f64>,
    pub uar_seven: Option<f64>,
    pub by_speaker: String,
    pub items: u64,
    pub items_per_s: Option<f64>,
}

impl Row for TrialRow {
    const SCHEMA: &'static str = include_str!("../../schemas/trials.toml");
}

#[cfg(test)]
impl TrialRow {
    pub(crate) fn example() -> Self {
        Self { trial: "b1".into(), seed: -1, uar: Some(0.5), ..Self::default() }
    }
}
