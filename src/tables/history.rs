//! `history`: one row per epoch.

use serde::{Deserialize, Serialize};

use crate::pictures::EpochPoint;
use crate::tables::Row;

/// See `schemas/history.toml`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HistoryRow {
    pub model_id: String,
    pub fold: Option<u32>,
    pub member: u32,
    pub epoch: u32,
    pub train_loss: f64,
    pub train_accuracy: f64,
    pub monitored_split: String,
    /// Nothing where no side was monitored.
    pub monitored_loss: Option<f64>,
    pub monitored_accuracy: Option<f64>,
    pub is_best: bool,
    pub learning_rate: f64,
    pub n_recordings: u64,
    pub seconds: f64,
}

impl Row for HistoryRow {
    const SCHEMA: &'static str = include_str!("../../schemas/history.toml");
}

impl From<&HistoryRow> for EpochPoint {
    fn from(row: &HistoryRow) -> Self {
        Self {
            epoch: row.epoch,
            train_loss: row.train_loss,
            held_out_loss: row.monitored_loss.unwrap_or(f64::NAN),
            train_accuracy: row.train_accuracy,
            held_out_accuracy: row.monitored_accuracy.unwrap_or(f64::NAN),
            is_best: row.is_best,
        }
    }
}

#[cfg(test)]
impl HistoryRow {
    pub(crate) fn example() -> Self {
        Self { model_id: "m".into(), epoch: 3, train_loss: 1.25, ..Self::default() }
    }
}
