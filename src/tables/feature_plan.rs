//! `feature_plan`: what one shard of features will be made of.

use serde::{Deserialize, Serialize};

use crate::tables::Row;

/// See `schemas/feature_plan.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeaturePlanRow {
    pub recording_id: String,
    pub path: String,
    pub corpus: String,
    pub content_hash: String,
    pub emotion: Option<String>,
    pub splits: String,
}

impl Row for FeaturePlanRow {
    const SCHEMA: &'static str = include_str!("../../schemas/feature_plan.toml");
}

#[cfg(test)]
impl FeaturePlanRow {
    pub(crate) fn example() -> Self {
        Self {
            recording_id: "a/b.wav".into(),
            path: "a/b.wav".into(),
            corpus: "a".into(),
            content_hash: "00".into(),
            emotion: None,
            splits: "train,test".into(),
        }
    }
}
