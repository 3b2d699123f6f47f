//! What a plan went by that no commit of the store says: listings of folders, and the model.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::scan::{Listing, PassedOver};
use crate::tables::listing::ListingRow;

/// What a plan saw; the commit goes by the same, whatever is there by then.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Folders that were there, by the name of their corpus (`""` for that of `--input`), in the order of the recipe.
    pub folders: Vec<(String, Listing)>,
    /// The model file; empty where none is asked.
    pub model: Bytes,
}

/// Files that are no recordings, by folder, in the order of the folders.
pub(super) type PassedOvers = Vec<(String, PassedOver)>;

impl Seen {
    /// The listings as rows, and what no row tells.
    pub(super) fn to_rows(&self) -> (Vec<ListingRow>, PassedOvers) {
        let rows = |(name, listing): &(String, Listing)| -> Vec<ListingRow> {
            listing.recordings.iter().map(|found| ListingRow::of(name, found)).collect()
        };
        let passed_over = |(name, listing): &(String, Listing)| (name.clone(), listing.passed_over.clone());
        (self.folders.iter().flat_map(rows).collect(), self.folders.iter().map(passed_over).collect())
    }

    /// What was written by [`Seen::to_rows`], where the folder of each name lies at `place`.
    pub(super) fn from_rows(
        rows: Vec<ListingRow>,
        passed_over: PassedOvers,
        place: impl Fn(&str) -> Option<PathBuf>,
    ) -> Result<Self> {
        let mut folders = Vec::with_capacity(passed_over.len());
        let mut of_folder: BTreeMap<String, Vec<ListingRow>> = BTreeMap::new();
        rows.into_iter().for_each(|row| of_folder.entry(row.folder.clone()).or_default().push(row));
        for (name, passed_over) in passed_over {
            let place = place(&name).ok_or_else(|| Error::bug(format!("a plan of a folder `{name}` of no corpus")))?;
            let found = |row: ListingRow| row.found(Path::new(&place));
            let recordings = of_folder.remove(&name).unwrap_or_default().into_iter().map(found).collect();
            folders.push((name, Listing { recordings, passed_over }));
        }
        Ok(Self { folders, model: Bytes::new() })
    }
}
