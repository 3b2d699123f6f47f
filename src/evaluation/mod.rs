//! How well a model did, in slices: lazy queries over what `score` committed, from which metrics and confusions follow.
//!
//! A slice is one line of `slices::SLICES`. Columns that predictions lack are joined from the manifest, so whatever either table
//! knows of a recording can be sliced by. What is counted are the items by side, value of the slice, speaker, label and
//! predicted class; what their probabilities are worth is worked out once, item by item, and summed up for each count.

pub mod arm;
pub mod changes;
pub mod compare;
mod counts;
mod gaps;
mod items;
#[cfg(test)]
mod opening_proof;
pub mod pairing;
mod rows;
#[cfg(test)]
mod rows_proof;
mod slices;
#[cfg(test)]
mod twin_proof;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;
use std::path::PathBuf;

use polars::prelude::*;

use crate::error::{Error, Result};
use crate::metrics::ItemScore;
use crate::storage::commit::Commit;
use crate::storage::layout::Store;
use crate::tables::manifest::ManifestRow;
use crate::tables::predictions::PredictionRow;
use crate::tables::{Row, TableFile, committed_files, folder_of, schema_of};

use slices::{SLICES, Slice};

pub use counts::{Counted, SliceCounts};
pub use gaps::{GAP_ITEMS, GAP_SPEAKERS};
pub use rows::{About, Rows, rows_of};

/// Columns of `predictions` that every count needs.
const NEEDED: [&str; 8] = ["recording_id", "copy", "corpus", "speaker", "split", "emotion", "predicted", "status"];

/// The predictions that `score` committed, ready to be asked.
pub struct Evaluation {
    /// Items that were scored, with the columns that counts and slices need.
    scored: LazyFrame,
    /// What the probabilities of each item are worth, by its number; none for items without a label or without probabilities.
    scores: Vec<Option<ItemScore>>,
    /// Names of the model's classes, in their order.
    classes: Vec<String>,
    slices: Vec<Slice>,
    /// What errors name.
    place: PathBuf,
}

impl Evaluation {
    /// Opens the predictions of `score` by a model of `classes`, joined with what `ingest` knows of their recordings; without it,
    /// slices over what only the manifest knows are left out.
    ///
    /// Errors: kind `Input` for files that are gone, damaged or of another version, `Unreadable` or `Machine` where they cannot
    /// be read; each names its file.
    pub fn open(store: &Store, score: &Commit, ingest: Option<&Commit>, classes: &[String]) -> Result<Self> {
        Self::of_slices(store, score, ingest, classes, SLICES)
    }

    fn of_slices(
        store: &Store,
        score: &Commit,
        ingest: Option<&Commit>,
        classes: &[String],
        slices: &[Slice],
    ) -> Result<Self> {
        let place = folder_of::<PredictionRow>(store);
        let known = columns_of::<PredictionRow>();
        let can_be_made = |slice: &&Slice| ingest.is_some() || slices::columns(&[**slice]).is_subset(&known);
        let slices: Vec<Slice> = slices.iter().filter(can_be_made).copied().collect();
        let wanted = slices::columns(&slices).into_iter().filter(|name| known.contains(name));
        let wanted: BTreeSet<String> = wanted.chain(NEEDED.map(str::to_string)).collect();
        let (predictions, scores) = items::read(store, score, &wanted, classes)?;
        let scored = predictions.filter(col("status").eq(lit("ok")));
        let joined = manifest_columns(&slices);
        let scored = match ingest {
            Some(ingest) if !joined.is_empty() => {
                let wanted = joined.into_iter().chain(["recording_id".to_string()]).collect();
                let manifest = table::<ManifestRow>(store, ingest, &wanted)?;
                // A recording that stood in the manifest twice would count twice.
                let once = JoinArgs { validation: JoinValidation::ManyToOne, ..JoinArgs::new(JoinType::Left) };
                scored.join(manifest, [col("recording_id")], [col("recording_id")], once)
            }
            _ => scored,
        };
        Ok(Self { scored, scores, classes: classes.to_vec(), slices, place })
    }

    /// Every slice of every side: sides in the order test, validation, train, none; of each side all items first, then the groups
    /// of each slice by name. A slice with one group alone is left out: it is all items again.
    pub fn count(&self) -> Result<Vec<SliceCounts>> {
        let sides = counts::query_sides(self.scored.clone()).map_err(|error| self.failed(error))?;
        let counted = counts::query(self.labelled(), &self.slices).map_err(|error| self.failed(error))?;
        counts::gather(&counted, &sides, &self.slices, &self.classes).map_err(|error| self.failed(error))
    }

    /// What the probabilities of each item are worth; [`Counted::items`] are places in it.
    pub fn scores(&self) -> &[Option<ItemScore>] {
        &self.scores
    }

    fn labelled(&self) -> LazyFrame {
        self.scored.clone().filter(col("emotion").is_not_null())
    }

    /// For each class of the labels its first original recording, by id.
    pub fn examples(&self) -> Result<BTreeMap<String, String>> {
        let first = self.labelled().filter(col("copy").eq(lit(0)));
        let first = first.group_by([col("emotion")]).agg([col("recording_id").min()]);
        let read = |found: DataFrame| {
            let (emotions, ids) = (found.column("emotion")?.str()?, found.column("recording_id")?.str()?);
            let pairs = emotions.iter().zip(ids.iter()).filter_map(|(emotion, id)| emotion.zip(id));
            Ok(pairs.map(|(emotion, id)| (emotion.to_string(), id.to_string())).collect())
        };
        first.collect().and_then(read).map_err(|error| self.failed(error))
    }

    /// Files are read and checked before: what fails from then on is the query.
    fn failed(&self, error: PolarsError) -> Error {
        Error::bug("the predictions cannot be summed up").at(&self.place).because(error.to_string())
    }
}

/// Columns that slices want and predictions do not have.
fn manifest_columns(slices: &[Slice]) -> BTreeSet<String> {
    let known = columns_of::<PredictionRow>();
    slices::columns(slices).into_iter().filter(|name| !known.contains(name)).collect()
}

/// Names of the columns that every file of a table has.
fn columns_of<R: Row>() -> BTreeSet<String> {
    let columns = schema_of::<R>().columns.into_iter().filter(|column| !column.per_class);
    columns.map(|column| column.name).collect()
}

/// The columns `names` of what a commit holds of a table, with nothing else read. Files are united by the names of columns:
/// those of models with other classes have other probabilities beside them.
fn table<R: Row>(store: &Store, commit: &Commit, names: &BTreeSet<String>) -> Result<LazyFrame> {
    check_columns::<R>(names)?;
    let mut frames = Vec::new();
    for file in committed_files::<R>(store, commit) {
        frames.push(columns::<R>(&file?, commit, names.iter().cloned().collect())?.lazy());
    }
    united::<R>(frames, store, commit)
}

/// Refuses columns that the table does not have.
fn check_columns<R: Row>(names: &BTreeSet<String>) -> Result<()> {
    let known = columns_of::<R>();
    let Some(name) = names.difference(&known).next() else { return Ok(()) };
    let table = schema_of::<R>().table;
    Err(Error::bug(format!("a slice is made of the column `{name}`, which `{table}` does not have")))
}

/// The columns `names` of one file, in this order.
fn columns<R: Row>(file: &TableFile, commit: &Commit, names: Vec<String>) -> Result<DataFrame> {
    file.check::<R>()?;
    let reader = ParquetReader::new(Cursor::new(file.bytes())).with_columns(Some(names.clone()));
    let read = reader.finish().and_then(|frame| frame.select(names));
    read.map_err(|error| cannot_read(commit, error).at(file.path()))
}

fn united<R: Row>(frames: Vec<LazyFrame>, store: &Store, commit: &Commit) -> Result<LazyFrame> {
    concat(frames, UnionArgs::default()).map_err(|error| cannot_read(commit, error).at(folder_of::<R>(store)))
}

fn cannot_read(commit: &Commit, error: PolarsError) -> Error {
    Error::input("the table cannot be read")
        .because(error.to_string())
        .hint(format!("run `sermill {}` again", commit.stage))
}
