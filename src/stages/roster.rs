//! What the tables say of each recording beside its spectrogram: who speaks, what the corpus calls the emotion, on which side it
//! stands. Spectrograms know none of it; whoever needs it joins it here.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;

use crate::error::Result;
use crate::split::Split;
use crate::storage::commit::Commit;
use crate::storage::layout::Store;
use crate::tables::folds::{FoldRow, Sides};
use crate::tables::manifest::ManifestRow;
use crate::tables::{committed_parts, committed_rows};

/// Columns of the manifest that are joined.
const COLUMNS: [&str; 8] = ["recording_id", "path", "speaker", "sex", "emotion", "content_hash", "start_s", "end_s"];

/// One recording.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Entry {
    pub recording_id: String,
    pub path: String,
    pub speaker: Option<String>,
    pub sex: Option<String>,
    /// The word; a label set makes a class of it.
    pub emotion: Option<String>,
    pub content_hash: Option<String>,
    pub start_s: Option<f64>,
    pub end_s: Option<f64>,
}

/// All recordings of a store, by id, with their sides in one fold or in training on everything.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    entries: Arc<HashMap<String, Entry>>,
    folds: Arc<Vec<Sides>>,
    /// `None`: everything that stands on a side trains.
    fold: Option<usize>,
}

impl Roster {
    /// Reads what `ingest` and, where there are sides, `folds` committed.
    ///
    /// Errors: those of [`committed_rows`].
    pub fn read(store: &Store, ingest: &Commit, folds: Option<&Commit>) -> Result<Self> {
        let entries: Vec<Entry> = committed_parts::<ManifestRow, _>(store, ingest, &COLUMNS)?;
        let folds = match folds {
            Some(folds) => Sides::by_fold(committed_rows::<FoldRow>(store, folds)?),
            None => Vec::new(),
        };
        Ok(Self::of(entries, folds))
    }

    /// Joins entries and the sides of all folds; begins with fold 0.
    pub fn of(entries: Vec<Entry>, folds: Vec<Sides>) -> Self {
        let entries = entries.into_iter().map(|entry| (entry.recording_id.clone(), entry)).collect();
        Self { entries: Arc::new(entries), folds: Arc::new(folds), fold: Some(0) }
    }

    /// The same recordings with the sides of `fold`; `None`: everything that stands on a side of some fold trains.
    pub fn in_fold(&self, fold: Option<u32>) -> Self {
        Self { fold: fold.map(|fold| fold as usize), ..self.clone() }
    }

    /// Folds that have sides.
    pub fn n_folds(&self) -> u32 {
        self.folds.len() as u32
    }

    /// All recordings, in no order.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// What is known of a recording.
    pub fn entry(&self, recording_id: &str) -> Option<&Entry> {
        self.entries.get(recording_id)
    }

    /// Side of one copy, 0 the original; `None` where it has none.
    pub fn side(&self, recording_id: &str, copy: u32) -> Option<Split> {
        match self.fold {
            Some(fold) => self.folds.get(fold)?.get(recording_id, copy),
            None => self.has_side(recording_id).then_some(Split::Train),
        }
    }

    /// Whether any copy of a recording stands on a side of any fold.
    pub fn has_side(&self, recording_id: &str) -> bool {
        self.folds.iter().any(|sides| sides.has(recording_id))
    }
}
