//! `predictions`: one row per scored recording and copy, with a probability column for each class of the model.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array};
use arrow::record_batch::RecordBatch;
use parquet::file::metadata::KeyValue;
use serde::{Deserialize, Serialize};

use crate::confidence::Judgement;
use crate::error::{Error, Result};
use crate::labels;
use crate::network::dense::argmax;
use crate::tables::manifest::Status;
use crate::tables::reading::{AGAIN, TableFile};
use crate::tables::{Row, arrow_writer_of, cannot_write, schema_of, to_batch};

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
    pub fold: Option<u32>,
    pub emotion: Option<String>,
    pub predicted: Option<String>,
    pub confidence: Option<f32>,
    pub model_id: String,
    pub provider: String,
    pub fingerprint: String,
    pub status: Status,
    pub reject_reason: Option<String>,
    #[serde(default)]
    pub prediction_set: Option<String>,
    #[serde(default)]
    pub set_size: Option<u32>,
    #[serde(default)]
    pub domain_distance: Option<f32>,
    #[serde(default)]
    pub abstain: Option<String>,
    /// In the order of the model's classes; empty when rejected.
    #[serde(skip)]
    pub probabilities: Vec<f32>,
}

impl Row for PredictionRow {
    const SCHEMA: &'static str = include_str!("../../schemas/predictions.toml");
}

/// Head of the names of the probability columns.
pub const PROBABILITY: &str = "prob_";

/// The rows of one file, and the classes of the model that wrote it.
#[derive(Clone, Debug, PartialEq)]
pub struct Predictions {
    pub classes: Vec<String>,
    pub rows: Vec<PredictionRow>,
}

impl Predictions {
    /// Writes them as a Parquet file.
    pub fn write(&self, out: &mut (dyn std::io::Write + Send)) -> Result<()> {
        self.write_noting(out, None)
    }

    /// [`Predictions::write`] with an entry of the file's key-value metadata.
    pub fn write_noting(&self, out: &mut (dyn std::io::Write + Send), note: Option<(&str, String)>) -> Result<()> {
        let contract = schema_of::<PredictionRow>();
        let is_judged = self.rows.iter().any(PredictionRow::is_judged);
        let (own, schema) = (contract.arrow_with(&[], is_judged), contract.arrow_with(&self.classes, is_judged));
        let mut writer = arrow_writer_of(&contract, schema.clone(), out)?;
        for rows in self.rows.chunks(1024) {
            let mut columns = to_batch(&own, rows)?.columns().to_vec();
            for class in 0..self.classes.len() {
                let values = rows.iter().map(|row| row.probabilities.get(class).copied());
                columns.push(Arc::new(Float32Array::from_iter(values)));
            }
            let batch = RecordBatch::try_new(schema.clone(), columns)
                .map_err(|error| Error::bug("rows do not fit their schema").because(error))?;
            writer.write(&batch).map_err(cannot_write)?;
        }
        if let Some((key, value)) = note {
            writer.append_key_value_metadata(KeyValue::new(key.to_string(), value));
        }
        writer.close().map(|_| ()).map_err(cannot_write)
    }

    /// The classes of the model that wrote a file, in their order, and nothing else of it.
    ///
    /// Errors: kind `Input` for a file without classes, or one that cannot be read as Parquet.
    pub fn classes_of(file: &TableFile) -> Result<Vec<String>> {
        let names = file.names(PROBABILITY)?;
        let classes: Vec<String> = names.into_iter().map(|name| name[PROBABILITY.len()..].to_string()).collect();
        for class in &classes {
            labels::check_class(class).map_err(|error| Error::input(error.reason()).at(file.path()).hint(AGAIN))?;
        }
        if classes.is_empty() {
            return Err(without_classes(file));
        }
        Ok(classes)
    }

    /// Reads a file back.
    ///
    /// Errors: those of [`TableFile::rows`]; kind `Input` for one without classes.
    pub fn read(file: &TableFile) -> Result<Self> {
        let mut rows = file.rows::<PredictionRow>()?;
        let columns = file.columns(PROBABILITY)?;
        let mut classes = Vec::with_capacity(columns.len());
        for (name, parts) in columns {
            let class = name[PROBABILITY.len()..].to_string();
            labels::check_class(&class).map_err(|error| Error::input(error.reason()).at(file.path()).hint(AGAIN))?;
            fill(&mut rows, &parts, classes.len()).map_err(|error| error.at(file.path()).hint(AGAIN))?;
            classes.push(class);
        }
        if classes.is_empty() {
            return Err(without_classes(file));
        }
        Ok(Self { classes, rows })
    }
}

fn without_classes(file: &TableFile) -> Error {
    Error::input("is not a `predictions` table: it has no probabilities").at(file.path()).hint(AGAIN)
}

/// Appends the values of one class to the rows that have one: a row has all of them or none.
fn fill(rows: &mut [PredictionRow], parts: &[ArrayRef], class: usize) -> Result<()> {
    let mut rows = rows.iter_mut();
    for part in parts {
        let values = part.as_any().downcast_ref::<Float32Array>();
        let values =
            values.ok_or_else(|| Error::input(format!("a probability is {}, not Float32", part.data_type())))?;
        // The values first: what ends a batch must not take a row with it.
        for (value, row) in values.iter().zip(rows.by_ref()) {
            match value {
                Some(value) if row.probabilities.len() == class => row.probabilities.push(value),
                None if row.probabilities.is_empty() => {}
                _ => {
                    let what = format!("`{}` has the probabilities of some classes only", row.recording_id);
                    return Err(Error::input(what));
                }
            }
        }
    }
    Ok(())
}

impl PredictionRow {
    /// Fills `predicted`, `confidence` and the probabilities, given in the order of `classes`: the first of equal ones wins.
    pub fn set_probabilities(&mut self, classes: &[String], probabilities: &[f32]) {
        let best = argmax(probabilities);
        self.predicted = best.and_then(|best| classes.get(best).cloned());
        self.confidence = best.map(|best| probabilities[best]);
        self.probabilities = probabilities.to_vec();
    }

    /// Fills what the model says of its own certainty.
    pub fn set_judgement(&mut self, classes: &[String], judgement: &Judgement) {
        let names = |set: &Vec<usize>| {
            let names: Vec<&str> = set.iter().filter_map(|&class| classes.get(class)).map(String::as_str).collect();
            names.join("|")
        };
        self.prediction_set = judgement.set.as_ref().map(names);
        self.set_size = judgement.set.as_ref().map(|set| set.len() as u32);
        self.domain_distance = judgement.domain_distance;
        self.abstain = judgement.abstain.map(|reason| reason.text().to_string());
    }

    /// Whether a model that knows of its own certainty scored it.
    fn is_judged(&self) -> bool {
        self.set_size.is_some() || self.domain_distance.is_some() || self.abstain.is_some()
    }

    #[cfg(test)]
    pub(crate) fn example() -> Self {
        Self { recording_id: "a/b.wav".into(), confidence: Some(0.5), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::confidence::Reason;
    use crate::storage::atomic;
    use crate::tables::read_rows;

    #[test]
    fn probabilities_of_any_classes_come_back_under_their_names() {
        let folder = tempfile::tempdir().expect("temporary folder");
        for n in [2, 7, 8, 64] {
            let classes: Vec<String> = (0..n).map(|class| format!("c{class}")).collect();
            let mut scored = PredictionRow::example();
            let probabilities: Vec<f32> =
                (0..n).map(|class| if class == 1 { 0.5 } else { 0.001 * class as f32 }).collect();
            scored.set_probabilities(&classes, &probabilities);
            assert_eq!((scored.predicted.as_deref(), scored.confidence), (Some("c1"), Some(0.5)));
            let rejected = PredictionRow { status: Status::Rejected, confidence: None, ..PredictionRow::example() };
            let rows: Vec<PredictionRow> =
                (0..2_100).map(|i| if i % 3 == 0 { &rejected } else { &scored }).cloned().collect();
            let written = Predictions { classes, rows };
            let path = folder.path().join(format!("{n}.parquet"));
            atomic::publish(folder.path(), &path, |out| written.write(out)).expect("written");
            assert_eq!(Predictions::read(&TableFile::open(&path).expect("there")).expect("sound"), written);
            // Whoever asks for no probabilities reads the same rows without them.
            let bare = read_rows::<PredictionRow>(&path).expect("sound");
            assert!(bare.iter().all(|row| row.probabilities.is_empty()) && bare.len() == 2_100);
        }
    }

    #[test]
    fn what_a_model_says_of_its_certainty_comes_back_and_files_without_it_are_read() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let classes: Vec<String> = ["calm", "sad", "fear"].map(str::to_string).into();
        let mut plain = PredictionRow::example();
        plain.set_probabilities(&classes, &[0.2, 0.5, 0.3]);
        let mut judged = plain.clone();
        let judgement =
            Judgement { set: Some(vec![1, 2]), domain_distance: Some(1.25), abstain: Some(Reason::OutOfDomain) };
        judged.set_judgement(&classes, &judgement);
        assert_eq!((judged.prediction_set.as_deref(), judged.set_size), (Some("sad|fear"), Some(2)));
        assert_eq!(judged.abstain.as_deref(), Some("out of domain"));
        let names = |rows: &[&PredictionRow]| {
            let written =
                Predictions { classes: classes.clone(), rows: rows.iter().map(|row| (*row).clone()).collect() };
            let path = folder.path().join(format!("{}.parquet", rows.len()));
            atomic::publish(folder.path(), &path, |out| written.write(out)).expect("written");
            let file = TableFile::open(&path).expect("there");
            assert_eq!(Predictions::read(&file).expect("sound"), written);
            file.columns("").expect("sound").into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        let of_old_models = names(&[&plain]);
        let of_new_ones = names(&[&plain, &judged]);
        let columns = ["prediction_set", "set_size", "domain_distance", "abstain"];
        assert!(columns.iter().all(|column| !of_old_models.iter().any(|name| name == column)));
        assert_eq!(of_new_ones.len(), of_old_models.len() + columns.len());
        assert_eq!(of_new_ones[of_new_ones.len() - 7..][..4], columns);
    }

    #[test]
    fn a_row_with_some_of_its_probabilities_is_refused_by_name() {
        let column = |values: [Option<f32>; 2]| -> ArrayRef { Arc::new(Float32Array::from_iter(values)) };
        let mut rows = vec![PredictionRow::example(), PredictionRow::example()];
        fill(&mut rows, &[column([Some(0.5), None])], 0).expect("one scored, one rejected");
        let error = fill(&mut rows, &[column([Some(0.5), Some(0.5)])], 1).expect_err("the second has one of two");
        assert!(error.to_string().contains("`a/b.wav` has the probabilities of some classes only"), "{error}");
        let other: ArrayRef = Arc::new(arrow::array::Float64Array::from(vec![0.5]));
        let error = fill(&mut rows, &[other], 0).expect_err("another type");
        assert!(error.to_string().contains("Float64"), "{error}");
    }

    #[test]
    fn the_first_of_equal_probabilities_is_the_prediction() {
        let classes: Vec<String> = ["a", "b", "c"].map(str::to_string).into();
        let mut row = PredictionRow::example();
        row.set_probabilities(&classes, &[0.2, 0.4, 0.4]);
        assert_eq!(row.predicted.as_deref(), Some("b"));
    }
}
