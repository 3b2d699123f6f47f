//! `feature_plan`: what one shard of features will be made of.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::tables::Row;

/// See `schemas/feature_plan.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FeaturePlanRow {
    pub recording_id: String,
    pub path: String,
    pub corpus: String,
    pub content_hash: String,
    pub start_s: Option<f64>,
    pub end_s: Option<f64>,
    pub donors: String,
}

/// A recording that a copy's background may take a voice from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedDonor {
    pub content_hash: String,
    /// As in manifest.
    pub path: String,
    /// As in manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_s: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_s: Option<f64>,
}

impl PlannedDonor {
    /// A whole recording.
    pub fn whole(content_hash: &str, path: &str) -> Self {
        Self { content_hash: content_hash.into(), path: path.into(), start_s: None, end_s: None }
    }
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
    /// A whole recording, and nobody's voice behind it.
    pub(crate) fn whole() -> Self {
        Self { start_s: None, end_s: None, donors: String::new(), ..Self::example() }
    }

    pub(crate) fn example() -> Self {
        Self {
            recording_id: "a/b.wav".into(),
            path: "a/b.wav".into(),
            corpus: "a".into(),
            content_hash: "00".into(),
            start_s: Some(0.5),
            end_s: None,
            donors: donors_to_text(&[vec![PlannedDonor::whole("01", "a/c.wav")]]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn donors_come_back_as_they_went() {
        let donor = |path: &str| PlannedDonor::whole("ab", path);
        let donors = vec![vec![donor("a/\"b\", c.wav"), donor("d.wav")], vec![]];
        assert_eq!(donors_from_text(&donors_to_text(&donors)).expect("read"), donors);
        assert_eq!(donors_from_text("").expect("nothing"), Vec::<Vec<PlannedDonor>>::new());
        assert!(donors_from_text("[").is_err());
    }
}
