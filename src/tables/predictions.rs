//! `predictions`: one row per scored recording and copy.

use serde::{Deserialize, Serialize};

use crate::emotion::Emotion;
use crate::tables::Row;
use crate::tables::manifest::Status;

/// See `schemas/predictions.toml`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PredictionRow {
    pub recording_id: String,
    pub copy: u32,
    pub path: String,
    pub corpus: String,
    pub speaker: Option<String>,
    pub sex: Option<String>,
    pub content_hash: Option<String>,
    pub variant: Option<String>,
    pub split: Option<String>,
    pub emotion: Option<String>,
    pub predicted: Option<String>,
    pub confidence: Option<f32>,
    pub prob_angry: Option<f32>,
    pub prob_disgust: Option<f32>,
    pub prob_fear: Option<f32>,
    pub prob_happy: Option<f32>,
    pub prob_neutral: Option<f32>,
    pub prob_sad: Option<f32>,
    pub prob_surprise: Option<f32>,
    pub model_id: String,
    pub provider: String,
    pub fingerprint: String,
    pub status: Status,
    pub reject_reason: Option<String>,
}

impl Row for PredictionRow {
    const SCHEMA: &'static str = include_str!("../../schemas/predictions.toml");
}

impl PredictionRow {
    /// Fills `predicted`, `confidence` and the seven probabilities, given in the order of [`Emotion::ALL`].
    pub fn set_probabilities(&mut self, probabilities: &[f32]) {
        let best =
            (1..probabilities.len()).fold(0, |best, i| if probabilities[i] > probabilities[best] { i } else { best });
        self.predicted = Emotion::from_index(best).map(|emotion| emotion.name().to_string());
        self.confidence = probabilities.get(best).copied();
        let columns = [
            &mut self.prob_angry,
            &mut self.prob_disgust,
            &mut self.prob_fear,
            &mut self.prob_happy,
            &mut self.prob_neutral,
            &mut self.prob_sad,
            &mut self.prob_surprise,
        ];
        for (column, probability) in columns.into_iter().zip(probabilities) {
            *column = Some(*probability);
        }
    }

    #[cfg(test)]
    pub(crate) fn example() -> Self {
        let mut row = Self { recording_id: "a/b.wav".into(), ..Self::default() };
        row.set_probabilities(&[0.0, 0.1, 0.0, 0.6, 0.1, 0.1, 0.1]);
        row
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::schema_of;

    #[test]
    fn the_largest_probability_names_the_class_and_columns_follow_the_order_of_emotions() {
        let row = PredictionRow::example();
        assert_eq!((row.predicted.as_deref(), row.confidence, row.prob_happy), (Some("happy"), Some(0.6), Some(0.6)));
        let columns: Vec<String> = schema_of::<PredictionRow>()
            .columns
            .into_iter()
            .filter_map(|column| column.name.strip_prefix("prob_").map(str::to_string))
            .collect();
        assert_eq!(columns, Emotion::ALL.map(Emotion::name));
    }
}
