//! One side of the features: what is needed to find each spectrogram and its label; the spectrograms stay on disk.

use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;

use crate::emotion::Emotion;
use crate::error::{Error, Result};
use crate::network::spec::NetworkSpec;
use crate::split::Split;
use crate::tables::blobs::BlobFile;
use crate::tables::features::{FeatureRow, from_blob};
use crate::tables::manifest::Status;
use crate::tables::read_part;

/// Shards that are kept open; more are opened for each read, since a process may open about a thousand files.
const HELD_FILES: usize = 512;

/// Labelled spectrograms of one side, in the order of `(recording_id, copy)`; 16 bytes an item, 52 with their contents.
pub struct Dataset {
    files: Arc<Vec<BlobFile>>,
    items: Vec<Item>,
    /// What each item was made from; empty unless asked for.
    contents: Vec<Content>,
    /// Values of one spectrogram.
    size: usize,
}

/// Where a spectrogram lies.
#[derive(Clone, Copy)]
struct Item {
    place: u64,
    file: u32,
    label: Emotion,
}

/// Which copy of which recording a spectrogram is.
#[derive(Clone, Copy)]
pub struct Content {
    /// Hash of the recording's bytes.
    pub hash: blake3::Hash,
    /// 0 the original.
    pub copy: u32,
}

/// Bytes that a [`Dataset`] holds for each item.
pub const ITEM_BYTES: usize = size_of::<Item>();

/// What the index reads of a row.
#[derive(Deserialize)]
struct IndexRow {
    recording_id: String,
    content_hash: String,
    copy: u32,
    emotion: Option<String>,
    split: Option<String>,
    n_mels: u32,
    n_frames: u32,
    status: Status,
}

const INDEX_COLUMNS: [&str; 8] =
    ["recording_id", "content_hash", "copy", "emotion", "split", "n_mels", "n_frames", "status"];

/// An item on its way into the order of names.
struct Found {
    key: (String, u32),
    item: Item,
    content: Option<Content>,
}

impl Dataset {
    /// Finds the labelled, usable rows of each of `sides`; one pass over `files` that reads no spectrogram.
    ///
    /// A spectrogram of another shape than the network's, and a file that is damaged or stored in another way than
    /// `features` does, is an error.
    ///
    /// Proof: `streamed_training_gives_the_same_bytes_as_reading_everything`.
    pub fn index<const N: usize>(files: &[PathBuf], sides: [Split; N], spec: &NetworkSpec) -> Result<[Self; N]> {
        Ok(Self::find(files, sides, spec)?.map(|mut data| {
            data.contents = Vec::new();
            data
        }))
    }

    /// [`Self::index`] that keeps what each item was made from.
    pub fn index_with_contents<const N: usize>(
        files: &[PathBuf],
        sides: [Split; N],
        spec: &NetworkSpec,
    ) -> Result<[Self; N]> {
        let found = Self::find(files, sides, spec)?;
        match found.iter().all(|data| data.contents.len() == data.items.len()) {
            true => Ok(found),
            false => Err(Error::input("the features name a content that is no BLAKE3 hash")
                .hint("delete the features and run `sermill features` again")),
        }
    }

    /// Contents are those that can be read.
    fn find<const N: usize>(files: &[PathBuf], sides: [Split; N], spec: &NetworkSpec) -> Result<[Self; N]> {
        let mut found: [Vec<Found>; N] = std::array::from_fn(|_| Vec::new());
        let mut opened = Vec::with_capacity(files.len());
        for (number, file) in files.iter().enumerate() {
            let rows: Vec<IndexRow> = read_part::<FeatureRow, _>(file, &INDEX_COLUMNS)?;
            let lengths: Vec<usize> = rows.iter().map(|row| 2 * row.n_mels as usize * row.n_frames as usize).collect();
            let (blobs, places) = BlobFile::open(file, "log_mel", &lengths, number < HELD_FILES)?;
            opened.push(blobs);
            for (row, place) in rows.into_iter().zip(places) {
                let label = row.emotion.as_deref().and_then(Emotion::from_name);
                let (Some(label), Some(place), Status::Ok) = (label, place, row.status) else { continue };
                let Some(side) = sides.iter().position(|side| row.split.as_deref() == Some(side.name())) else {
                    continue;
                };
                if (row.n_mels as usize, row.n_frames as usize) != (spec.n_mels, spec.n_frames) {
                    return Err(Error::input(format!(
                        "a spectrogram of {} x {} for a network of {} x {}",
                        row.n_mels, row.n_frames, spec.n_mels, spec.n_frames
                    ))
                    .at(file)
                    .hint("run `sermill features` with this pipeline"));
                }
                let content = blake3::Hash::from_hex(&row.content_hash).ok();
                found[side].push(Found {
                    key: (row.recording_id, row.copy),
                    item: Item { place, file: number as u32, label },
                    content: content.map(|hash| Content { hash, copy: row.copy }),
                });
            }
        }
        let files = Arc::new(opened);
        Ok(found.map(|mut found| {
            // Shards keep the order in which recordings arrived; training must not know it.
            found.sort_by(|a, b| a.key.cmp(&b.key));
            // The names are only needed for that order: they are not kept.
            let mut items = Vec::with_capacity(found.len());
            items.extend(found.iter().map(|found| found.item));
            let contents = found.iter().filter_map(|found| found.content).collect();
            Self { files: Arc::clone(&files), items, contents, size: spec.n_mels * spec.n_frames }
        }))
    }

    /// Number of items.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// What each item was made from, in their order; empty unless asked for.
    pub fn contents(&self) -> &[Content] {
        &self.contents
    }

    /// Values of one spectrogram.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Position of an item's class.
    pub fn label(&self, item: usize) -> usize {
        self.items[item].label.index()
    }

    /// Reads an item's spectrogram `[n_mels, n_frames]` from its file, with one positioned read.
    pub fn fill(&self, item: usize, scratch: &mut Vec<u8>, log_mel: &mut [f32]) -> Result<()> {
        let item = &self.items[item];
        let blob = self.files[item.file as usize].read(item.place, 2 * self.size, scratch)?;
        from_blob(blob, log_mel)
    }
}
