//! `feature_plan`: what one shard of features will be made of.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
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
    pub donors: String,
}

/// A recording that a copy's background may take a voice from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedDonor {
    pub content_hash: String,
    /// As in manifest.
    pub path: String,
}

/// The column `donors`: for each copy, first to last, whose voices it may take.
pub fn donors_to_text(donors: &[Vec<PlannedDonor>]) -> String {
    serde_json::to_string(donors).expect("lists of text have a JSON form")
}

/// Reads the column `donors`; nothing for text that is empty.
pub fn donors_from_text(text: &str) -> Result<Vec<Vec<PlannedDonor>>> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    serde_json::from_str(text).map_err(|error| Error::input("a plan's donors cannot be read").because(error))
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
            donors: donors_to_text(&[vec![PlannedDonor { content_hash: "01".into(), path: "a/c.wav".into() }]]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn donors_come_back_as_they_went() {
        let donor = |path: &str| PlannedDonor { content_hash: "ab".into(), path: path.into() };
        let donors = vec![vec![donor("a/\"b\", c.wav"), donor("d.wav")], vec![]];
        assert_eq!(donors_from_text(&donors_to_text(&donors)).expect("read"), donors);
        assert_eq!(donors_from_text("").expect("nothing"), Vec::<Vec<PlannedDonor>>::new());
        assert!(donors_from_text("[").is_err());
    }
}
