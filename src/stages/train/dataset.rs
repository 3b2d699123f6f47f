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

/// Labelled spectrograms of one side, in the order of `(recording_id, copy)`; 16 bytes an item.
pub struct Dataset {
    files: Arc<Vec<BlobFile>>,
    items: Vec<Item>,
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

/// Bytes that a [`Dataset`] holds for each item.
pub const ITEM_BYTES: usize = size_of::<Item>();

/// What the index reads of a row.
#[derive(Deserialize)]
struct IndexRow {
    recording_id: String,
    copy: u32,
    emotion: Option<String>,
    split: Option<String>,
    n_mels: u32,
    n_frames: u32,
    status: Status,
}

const INDEX_COLUMNS: [&str; 7] = ["recording_id", "copy", "emotion", "split", "n_mels", "n_frames", "status"];

impl Dataset {
    /// Finds the labelled, usable rows of each of `sides`; one pass over `files` that reads no spectrogram.
    ///
    /// A spectrogram of another shape than the network's, and a file that is damaged or stored in another way than
    /// `features` does, is an error.
    ///
    /// Proof: `streamed_training_gives_the_same_bytes_as_reading_everything`.
    pub fn index<const N: usize>(files: &[PathBuf], sides: [Split; N], spec: &NetworkSpec) -> Result<[Self; N]> {
        let mut found: [Vec<((String, u32), Item)>; N] = std::array::from_fn(|_| Vec::new());
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
                found[side].push(((row.recording_id, row.copy), Item { place, file: number as u32, label }));
            }
        }
        let files = Arc::new(opened);
        Ok(found.map(|mut keyed| {
            // Shards keep the order in which recordings arrived; training must not know it.
            keyed.sort_by(|a, b| a.0.cmp(&b.0));
            // The names are only needed for that order: they are not kept.
            let mut items = Vec::with_capacity(keyed.len());
            items.extend(keyed.into_iter().map(|(_, item)| item));
            Self { files: Arc::clone(&files), items, size: spec.n_mels * spec.n_frames }
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
