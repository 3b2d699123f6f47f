//! One side of the features in memory, in their stored float16 form.

use std::path::PathBuf;

use crate::emotion::Emotion;
use crate::error::{Error, Result};
use crate::network::spec::NetworkSpec;
use crate::split::Split;
use crate::tables::features::{FeatureRow, from_blob};
use crate::tables::manifest::Status;
use crate::tables::read_batches;

/// Labelled spectrograms of one side, in the order of `(recording_id, copy)`.
pub struct Dataset {
    items: Vec<Item>,
}

struct Item {
    key: (String, u32),
    content_hash: String,
    label: Emotion,
    blob: Vec<u8>,
}

impl Dataset {
    /// Reads the labelled, usable rows of `side`; a spectrogram of another shape than the network's is an error.
    pub fn read(files: &[PathBuf], side: Split, spec: &NetworkSpec) -> Result<Self> {
        let mut items = Vec::new();
        for file in files {
            for batch in read_batches::<FeatureRow>(file)? {
                for row in batch? {
                    let label = row.emotion.as_deref().and_then(Emotion::from_name);
                    let (Some(label), Some(blob), Status::Ok) = (label, row.log_mel, row.status) else { continue };
                    if row.split.as_deref() != Some(side.name()) {
                        continue;
                    }
                    if (row.n_mels as usize, row.n_frames as usize) != (spec.n_mels, spec.n_frames) {
                        return Err(Error::input(format!(
                            "a spectrogram of {} x {} for a network of {} x {}",
                            row.n_mels, row.n_frames, spec.n_mels, spec.n_frames
                        ))
                        .at(file)
                        .hint("run `sermill features` with this pipeline"));
                    }
                    let (key, content_hash) = ((row.recording_id, row.copy), row.content_hash);
                    items.push(Item { key, content_hash, label, blob });
                }
            }
        }
        // Shards keep the order in which recordings arrived; training must not know it.
        items.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Self { items })
    }

    /// Number of items.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Position of an item's class.
    pub fn label(&self, item: usize) -> usize {
        self.items[item].label.index()
    }

    /// An item's content hash and the number of its copy.
    pub fn content(&self, item: usize) -> (&str, u32) {
        (&self.items[item].content_hash, self.items[item].key.1)
    }

    /// Whether augmented copies are among the items.
    pub fn has_copies(&self) -> bool {
        self.items.iter().any(|item| item.key.1 > 0)
    }

    /// Writes an item's spectrogram `[n_mels, n_frames]`.
    pub fn fill(&self, item: usize, log_mel: &mut [f32]) -> Result<()> {
        let item = &self.items[item];
        from_blob(&item.blob, log_mel).map_err(|error| error.at_place(format!("features of `{}`", item.key.0)))
    }
}
