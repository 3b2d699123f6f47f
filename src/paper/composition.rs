//! Table 1: how many recordings of each class there are, and how many copies.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::storage::commit::Commit;
use crate::storage::layout::Store;
use crate::tables::committed_parts;
use crate::tables::manifest::{ManifestRow, Status};
use crate::tables::spectrograms::FeatureIndex;

/// Originals and copies of one class.
pub type Counts = [u64; 2];

/// What there is of each class, by corpus.
pub struct Composition {
    /// Names of the classes, in the order of the label set.
    pub classes: Vec<String>,
    /// Corpus, then class.
    pub by_corpus: BTreeMap<String, Vec<Counts>>,
    /// Usable recordings whose word no class takes.
    pub without_class: u64,
    /// Whether copies are counted: those that a training makes afresh are stored nowhere.
    pub has_copies: bool,
}

/// The columns that are read.
#[derive(Deserialize)]
struct Part {
    recording_id: String,
    corpus: String,
    emotion: Option<String>,
    duplicate_of: Option<String>,
    status: Status,
}

const COLUMNS: [&str; 5] = ["recording_id", "corpus", "emotion", "duplicate_of", "status"];

impl Composition {
    /// Counts the manifest, and the copies among the spectrograms; `None` for a store that has no manifest.
    pub fn of(store: &Store, score: &Commit) -> Result<Option<Self>> {
        let Some(ingest) = Commit::read(store, "ingest")? else { return Ok(None) };
        let labels = score.evidence.labels.as_ref().ok_or_else(|| Error::bug("score committed no labels"))?;
        let copies = copies(store)?;
        let mut found = Self {
            classes: labels.classes.clone(),
            by_corpus: BTreeMap::new(),
            without_class: 0,
            has_copies: copies.is_some(),
        };
        for row in committed_parts::<ManifestRow, Part>(store, &ingest, &COLUMNS)? {
            if row.status != Status::Ok || row.duplicate_of.is_some() {
                continue;
            }
            let Some(class) = labels.class_of(row.emotion.as_deref()) else {
                found.without_class += 1;
                continue;
            };
            let none = || vec![[0, 0]; labels.n_classes()];
            let counts = &mut found.by_corpus.entry(row.corpus).or_insert_with(none)[class];
            counts[0] += 1;
            counts[1] += copies.as_ref().and_then(|copies| copies.get(&row.recording_id)).copied().unwrap_or(0);
        }
        Ok(Some(found))
    }

    /// Over all corpora.
    pub fn totals(&self) -> Vec<Counts> {
        let mut totals = vec![[0, 0]; self.classes.len()];
        for counts in self.by_corpus.values() {
            totals.iter_mut().zip(counts).for_each(|(total, [originals, copies])| {
                total[0] += originals;
                total[1] += copies;
            });
        }
        totals
    }
}

/// Stored copies of each recording; `None` where no spectrograms are stored.
fn copies(store: &Store) -> Result<Option<HashMap<String, u64>>> {
    let Some(features) = Commit::read(store, "features")? else { return Ok(None) };
    let index = FeatureIndex::read(store, &features)?;
    let mut copies: HashMap<String, u64> = HashMap::new();
    for row in index.rows.into_iter().filter(|row| row.copy > 0 && row.status == Status::Ok) {
        *copies.entry(row.recording_id).or_default() += 1;
    }
    Ok(Some(copies))
}
