//! `confusion`: counts of label against prediction, long form.

use serde::{Deserialize, Serialize};

use crate::tables::Row;

/// See `schemas/confusion.toml`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ConfusionRow {
    pub model_id: String,
    pub protocol: String,
    pub split: String,
    pub slice: String,
    pub emotion: String,
    pub predicted: String,
    pub count: u64,
}

impl Row for ConfusionRow {
    const SCHEMA: &'static str = include_str!("../../schemas/confusion.toml");
}

#[cfg(test)]
impl ConfusionRow {
    pub(crate) fn example() -> Self {
        Self { emotion: "sad".into(), predicted: "neutral".into(), count: 7, ..Self::default() }
    }
}
