//! Spectrograms of committed shards: which there are, from the index; each by one positioned read, checked by its CRC.

use std::collections::HashMap;
use std::path::Path;

use crate::error::{Error, Result};
use crate::storage::commit::Commit;
use crate::storage::layout::Store;
use crate::storage::publish::stem_of;
use crate::storage::record::{Content, FileRecord};
use crate::tables::blobs::BlobFile;
use crate::tables::feature_index::{FeatureIndexRow, index_of_shard};
use crate::tables::features::{FeatureRow, from_blob};
use crate::tables::{TableFile, folder_of};

/// Shards that are kept open; more are opened for each read, since a process may open about a thousand files.
const HELD_FILES: usize = 512;
/// Name of the index among the files of `features`, but for its hash.
pub const INDEX: &str = "rows";

/// Where a spectrogram lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub offset: u64,
    /// Position of its shard in [`Spectrograms`].
    pub file: u32,
    pub crc32: u32,
}

/// The shards of one commit, to be read in any order by any thread.
pub struct Spectrograms {
    files: Vec<BlobFile>,
}

impl Spectrograms {
    /// Opens shards.
    ///
    /// Errors: kind `Input` for one that is not there.
    pub fn open<P: AsRef<Path>>(paths: &[P]) -> Result<Self> {
        let open = |(number, path): (usize, &P)| BlobFile::known(path.as_ref(), number < HELD_FILES);
        Ok(Self { files: paths.iter().enumerate().map(open).collect::<Result<_>>()? })
    }

    /// Reads one spectrogram of as many values as `log_mel` has; `scratch` is kept from one to the next.
    ///
    /// Errors: kind `Input` for one that is damaged, or whose file changed since it was opened.
    /// Proof: `one_flipped_bit_of_a_spectrogram_is_named`.
    pub fn read(&self, place: Place, scratch: &mut Vec<u8>, log_mel: &mut [f32]) -> Result<()> {
        let file = self.files.get(place.file as usize).ok_or_else(|| Error::bug("a spectrogram of no shard"))?;
        from_blob(file.read_checked(place.offset, 2 * log_mel.len(), place.crc32, scratch)?, log_mel)
    }
}

/// The index of what `features` committed, with the shards that it speaks of.
pub struct FeatureIndex {
    pub rows: Vec<FeatureIndexRow>,
    /// Committed shards, in the order of their ids.
    pub shards: Vec<FileRecord>,
    /// Of each row, the position of its shard.
    files: Vec<u32>,
}

impl FeatureIndex {
    /// Reads the index, and nothing of the shards.
    ///
    /// Errors: kind `Input` for an index that is gone or damaged.
    pub fn read(store: &Store, features: &Commit) -> Result<Self> {
        let path = index_path(store);
        let record = features.files.iter().find(|file| stem_of(&file.path) == path);
        let record = record.ok_or_else(|| Error::bug("features committed no index").at(store.root()))?;
        let rows = TableFile::committed(store, record, "features")?.rows::<FeatureIndexRow>()?;
        Self::of(rows, shards_of(store, features))
    }

    /// Joins rows to their shards.
    ///
    /// Errors: kind `Input` for a row of a shard that is not there.
    pub fn of(rows: Vec<FeatureIndexRow>, shards: Vec<FileRecord>) -> Result<Self> {
        let numbered = shards.iter().enumerate();
        let numbers: HashMap<&str, u32> = numbered.map(|(at, record)| (id_of(&record.path), at as u32)).collect();
        let mut files = Vec::with_capacity(rows.len());
        // Rows of one shard stand together.
        let mut last = (String::new(), 0);
        for row in &rows {
            if row.shard != last.0 {
                let file = *numbers.get(row.shard.as_str()).ok_or_else(|| {
                    Error::input(format!("the index names shard `{}`, which is not there", row.shard))
                        .hint("run `sermill features` again")
                })?;
                last = (row.shard.clone(), file);
            }
            files.push(last.1);
        }
        Ok(Self { rows, shards, files })
    }

    /// The index of shards that no commit names, worked out from the shards, and the shards opened.
    ///
    /// Errors: as those of [`index_of_shard`].
    pub fn of_shards<P: AsRef<Path>>(paths: &[P]) -> Result<(Self, Spectrograms)> {
        let (mut rows, mut shards, mut files) = (Vec::new(), Vec::new(), Vec::new());
        for (number, path) in paths.iter().enumerate() {
            let own = index_of_shard(path.as_ref(), &number.to_string())?;
            files.extend(std::iter::repeat_n(number as u32, own.len()));
            rows.extend(own);
            let path = path.as_ref().to_string_lossy().into_owned();
            shards.push(FileRecord { path, content: Content::of(&[]) });
        }
        Ok((Self { rows, shards, files }, Spectrograms::open(paths)?))
    }

    /// Path of the shard of a row.
    pub fn shard(&self, row: usize) -> &str {
        &self.shards[self.files[row] as usize].path
    }

    /// Place of the spectrogram of a row, where it has one.
    pub fn place(&self, row: usize) -> Option<Place> {
        let FeatureIndexRow { offset, crc32, .. } = &self.rows[row];
        Some(Place { offset: (*offset)?, file: self.files[row], crc32: (*crc32)? })
    }

    /// Opens the shards for reading.
    pub fn spectrograms(&self, store: &Store) -> Result<Spectrograms> {
        let paths: Vec<_> = self.shards.iter().map(|record| record.file(store)).collect();
        Spectrograms::open(&paths)
    }
}

/// The committed shards, in the order of their ids.
pub fn shards_of(store: &Store, features: &Commit) -> Vec<FileRecord> {
    let folder = store.relative(&folder_of::<FeatureRow>(store));
    let mut shards: Vec<FileRecord> =
        features.files.iter().filter(|file| file.path.starts_with(&folder)).cloned().collect();
    shards.sort_by(|a, b| a.path.cmp(&b.path));
    shards
}

/// Path of the index in the store, but for its hash.
pub fn index_path(store: &Store) -> String {
    store.relative(&store.side_index("features", INDEX))
}

/// Name of a shard's file without the hash at its end.
pub fn shard_stem(id: &str) -> String {
    format!("part-{id}")
}

/// The id of a shard, from its path.
pub fn id_of(path: &str) -> &str {
    let name = stem_of(path).rsplit('/').next().unwrap_or_default();
    name.strip_prefix("part-").unwrap_or(name)
}
