//! Predictions as items: the columns that are asked for, and what the probabilities of each are worth.

use std::collections::BTreeSet;

use polars::prelude::*;

use crate::error::Result;
use crate::evaluation::{cannot_read, check_columns, columns, united};
use crate::metrics::ItemScore;
use crate::storage::commit::Commit;
use crate::storage::layout::Store;
use crate::tables::committed_files;
use crate::tables::predictions::{PROBABILITY, PredictionRow};

/// Number of an item: its place among the scores.
pub const ITEM: &str = "item";

/// The columns `names` of all predictions with the number of each item, and the score of each by its number.
///
/// An item has no score if its label is none of `classes`, if its file is one of a model with other classes, or if a probability is
/// missing or no number.
pub fn read(
    store: &Store,
    score: &Commit,
    names: &BTreeSet<String>,
    classes: &[String],
) -> Result<(LazyFrame, Vec<Option<ItemScore>>)> {
    check_columns::<PredictionRow>(names)?;
    let (mut frames, mut scores) = (Vec::new(), Vec::new());
    for file in committed_files::<PredictionRow>(store, score) {
        let file = file?;
        let of_classes: Vec<String> = classes.iter().map(|class| format!("{PROBABILITY}{class}")).collect();
        let is_of_model = file.column_names()?.iter().filter(|name| of_classes.contains(name)).count() == classes.len();
        let probabilities = if is_of_model { of_classes } else { Vec::new() };
        let wanted = names.iter().chain(&probabilities).cloned().collect();
        let frame = columns::<PredictionRow>(&file, score, wanted)?;
        let n_before = scores.len();
        let frame = scored(&frame, &probabilities, classes, &mut scores).and_then(|()| {
            let numbers: Vec<u32> = (n_before as u32..scores.len() as u32).collect();
            let mut frame = frame.select(names.iter().cloned())?;
            frame.with_column(Column::new(ITEM.into(), numbers))?;
            Ok(frame)
        });
        frames.push(frame.map_err(|error| cannot_read(score, error).at(file.path()))?.lazy());
    }
    Ok((united::<PredictionRow>(frames, store, score)?, scores))
}

/// Appends the score of each row.
fn scored(
    frame: &DataFrame,
    probabilities: &[String],
    classes: &[String],
    scores: &mut Vec<Option<ItemScore>>,
) -> PolarsResult<()> {
    let mut columns = Vec::with_capacity(probabilities.len());
    for name in probabilities {
        // What is missing is no number, and makes no score.
        columns.push(frame.column(name)?.f32()?.iter().map(|value| value.unwrap_or(f32::NAN)).collect::<Vec<f32>>());
    }
    let mut row = vec![0.0; columns.len()];
    for (at, label) in frame.column("emotion")?.str()?.iter().enumerate() {
        row.iter_mut().zip(&columns).for_each(|(value, column)| *value = column[at]);
        let label = classes.iter().position(|class| Some(class.as_str()) == label);
        scores.push(label.and_then(|label| ItemScore::of(&row, label)));
    }
    Ok(())
}
