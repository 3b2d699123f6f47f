//! How well a model did, in slices: lazy queries over what `score` committed, from which metrics and confusions follow.
//!
//! A slice is one line of `slices::SLICES`. Columns that predictions lack are joined from the manifest, so whatever either table
//! knows of a recording can be sliced by. What is counted is the number of items by side, value of the slice, speaker, label and
//! predicted class; no item is looked at one by one.

pub mod arm;
pub mod changes;
pub mod compare;
mod counts;
pub mod pairing;
mod rows;
mod slices;
#[cfg(test)]
mod twin_proof;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;
use std::path::PathBuf;

use polars::prelude::*;

use crate::error::{Error, Result};
use crate::storage::commit::Commit;
use crate::storage::layout::Store;
use crate::tables::manifest::ManifestRow;
use crate::tables::predictions::PredictionRow;
use crate::tables::{Row, committed_files, folder_of, schema_of};

use slices::{SLICES, Slice};

pub use counts::SliceCounts;
pub use rows::About;

/// Columns of `predictions` that every count needs.
const NEEDED: [&str; 8] = ["recording_id", "copy", "corpus", "speaker", "split", "emotion", "predicted", "status"];

/// Whether a slice needs the manifest: then its commit is read too.
pub fn reads_manifest() -> bool {
    !manifest_columns(SLICES).is_empty()
}

/// The predictions that `score` committed, ready to be asked.
pub struct Evaluation {
    /// Items that were scored and have a label, with the columns that counts and slices need.
    items: LazyFrame,
    slices: &'static [Slice],
    /// What errors name.
    place: PathBuf,
}

impl Evaluation {
    /// Opens the predictions of `score`, joined with what `ingest` knows of their recordings where [`reads_manifest`].
    ///
    /// Errors: kind `Input` for files that are gone, damaged or of another version, `Unreadable` or `Machine` where they cannot
    /// be read; each names its file.
    pub fn open(store: &Store, score: &Commit, ingest: Option<&Commit>) -> Result<Self> {
        Self::of_slices(store, score, ingest, SLICES)
    }

    fn of_slices(store: &Store, score: &Commit, ingest: Option<&Commit>, slices: &'static [Slice]) -> Result<Self> {
        let place = folder_of::<PredictionRow>(store);
        let known = columns_of::<PredictionRow>();
        let wanted: BTreeSet<String> =
            slices::columns(slices).into_iter().filter(|name| known.contains(name)).collect();
        let wanted = wanted.into_iter().chain(NEEDED.map(str::to_string)).collect();
        let predictions = table::<PredictionRow>(store, score, &wanted)?;
        let scored = predictions.filter(col("status").eq(lit("ok")).and(col("emotion").is_not_null()));
        let joined = manifest_columns(slices);
        let items = match ingest {
            _ if joined.is_empty() => scored,
            None => return Err(Error::bug(format!("slices need {joined:?} of the manifest, which was not read"))),
            Some(ingest) => {
                let wanted = joined.into_iter().chain(["recording_id".to_string()]).collect();
                let manifest = table::<ManifestRow>(store, ingest, &wanted)?;
                // A recording that stood in the manifest twice would count twice.
                let once = JoinArgs { validation: JoinValidation::ManyToOne, ..JoinArgs::new(JoinType::Left) };
                scored.join(manifest, [col("recording_id")], [col("recording_id")], once)
            }
        };
        Ok(Self { items, slices, place })
    }

    /// Every slice of every side, for a model of `classes`: sides in the order test, validation, train, none; of each side all
    /// items first, then the groups of each slice by name. A slice with one group alone is left out: it is all items again.
    pub fn count(&self, classes: &[String]) -> Result<Vec<SliceCounts>> {
        let counted = counts::query(self.items.clone(), self.slices).map_err(|error| self.failed(error))?;
        counts::gather(&counted, self.slices, classes).map_err(|error| self.failed(error))
    }

    /// For each class of the labels its first original recording, by id.
    pub fn examples(&self) -> Result<BTreeMap<String, String>> {
        let first = self.items.clone().filter(col("copy").eq(lit(0)));
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
    if let Some(name) = names.difference(&columns_of::<R>()).next() {
        let table = schema_of::<R>().table;
        return Err(Error::bug(format!("a slice is made of the column `{name}`, which `{table}` does not have")));
    }
    let names: Vec<String> = names.iter().cloned().collect();
    let mut frames = Vec::new();
    for file in committed_files::<R>(store, commit) {
        let file = file?;
        file.check::<R>()?;
        let reader = ParquetReader::new(Cursor::new(file.bytes())).with_columns(Some(names.clone()));
        let frame = reader.finish().map_err(|error| cannot_read(commit, error).at(file.path()))?;
        frames.push(frame.lazy().select(names.iter().map(col).collect::<Vec<_>>()));
    }
    concat(frames, UnionArgs::default()).map_err(|error| cannot_read(commit, error).at(folder_of::<R>(store)))
}

fn cannot_read(commit: &Commit, error: PolarsError) -> Error {
    Error::input("the table cannot be read")
        .because(error.to_string())
        .hint(format!("run `sermill {}` again", commit.stage))
}
