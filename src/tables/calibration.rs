//! `calibration`: how far a model's certainty can be believed.

use serde::{Deserialize, Serialize};

use crate::confidence::Calibration;
use crate::tables::Row;

/// See `schemas/calibration.toml`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CalibrationRow {
    pub model_id: String,
    pub pipeline: String,
    pub protocol: String,
    pub metric: String,
    pub value: Option<f64>,
    pub note: Option<String>,
    pub n_items: u64,
    pub n_speakers: u32,
}

impl Row for CalibrationRow {
    const SCHEMA: &'static str = include_str!("../../schemas/calibration.toml");
}

impl CalibrationRow {
    /// The rows of one calibration.
    ///
    /// `blank`  model, pipeline and protocol.
    /// `more`   numbers that others compute, such as the calibration error.
    pub fn all(blank: &Self, calibration: &Calibration, more: &[(&str, Option<f64>)]) -> Vec<Self> {
        let rests_on = &calibration.temperature;
        let row = |metric: &str, value: Option<f64>, note: Option<String>| Self {
            metric: metric.into(),
            // A number that is none would spread through every mean.
            value: value.filter(|value| value.is_finite()),
            note,
            n_items: rests_on.n_items,
            n_speakers: rests_on.n_speakers as u32,
            ..blank.clone()
        };
        let own = calibration.rows().into_iter().map(|(metric, value, note)| row(metric, value, note));
        own.chain(more.iter().map(|&(metric, value)| row(metric, value, None))).collect()
    }

    #[cfg(test)]
    pub(crate) fn example() -> Self {
        Self { metric: "temperature".into(), value: Some(1.5), n_items: 960, ..Self::default() }
    }
}
