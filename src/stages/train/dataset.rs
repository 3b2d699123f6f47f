//! One side of the features: what is needed to find each spectrogram and its label; the spectrograms stay on disk.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::network::spec::NetworkSpec;
use crate::split::Split;
use crate::tables::feature_index::FeatureIndexRow;
use crate::tables::manifest::Status;
use crate::tables::spectrograms::{FeatureIndex, Place, Spectrograms};

/// Labelled spectrograms of one side, in the order of `(recording_id, copy)`; 24 bytes an item, 60 with their contents.
pub struct Dataset {
    files: Arc<Spectrograms>,
    items: Vec<Item>,
    /// What each item was made from; empty unless asked for.
    contents: Vec<Content>,
    /// Values of one spectrogram.
    size: usize,
}

/// A spectrogram and its class; there are at most 64.
#[derive(Clone, Copy)]
struct Item {
    place: Place,
    corpus: u16,
    class: u8,
}

/// Which copy of which recording a spectrogram is.
#[derive(Clone, Copy)]
pub struct Content {
    /// Hash of what the recording sounds like: of its bytes, or of its part of them.
    pub hash: blake3::Hash,
    /// 0 the original.
    pub copy: u32,
}

/// Bytes that a [`Dataset`] holds for each item.
pub const ITEM_BYTES: usize = size_of::<Item>();

/// What is known of a spectrogram beside its place.
#[derive(Clone, Copy)]
pub struct Known {
    pub class: usize,
    /// Its corpus' place among those of the features, in the order of their names.
    pub corpus: u16,
    pub side: Split,
    pub sound: blake3::Hash,
}

impl Dataset {
    /// Finds the labelled, usable rows of each of `sides`; nothing of the spectrograms is read. `known` says what a row of the
    /// index is; nothing for one without a class or a side.
    ///
    /// Errors: kind `Input` for a spectrogram of another shape than the network's.
    /// Proof: `streamed_training_gives_the_same_bytes_as_reading_everything`.
    pub fn find<const N: usize>(
        (index, files): (&FeatureIndex, Arc<Spectrograms>),
        known: impl Fn(&FeatureIndexRow) -> Result<Option<Known>>,
        sides: [Split; N],
        spec: &NetworkSpec,
    ) -> Result<[Self; N]> {
        let mut found: [Vec<(usize, Item, Content)>; N] = std::array::from_fn(|_| Vec::new());
        for (at, row) in index.rows.iter().enumerate() {
            let (Some(place), Status::Ok) = (index.place(at), row.status) else { continue };
            let Some(Known { class, corpus, side, sound }) = known(row)? else { continue };
            let Some(side) = sides.iter().position(|wanted| *wanted == side) else { continue };
            if (row.n_mels as usize, row.n_frames as usize) != (spec.n_mels, spec.n_frames) {
                return Err(Error::input(format!(
                    "a spectrogram of {} x {} for a network of {} x {}",
                    row.n_mels, row.n_frames, spec.n_mels, spec.n_frames
                ))
                .at_place(index.shard(at))
                .hint("run `sermill features` with this pipeline"));
            }
            let class = u8::try_from(class).map_err(|_| Error::bug("more classes than a label set may have"))?;
            found[side].push((at, Item { place, corpus, class }, Content { hash: sound, copy: row.copy }));
        }
        Ok(found.map(|mut found| {
            // Shards keep the order in which recordings arrived; training must not know it.
            let key = |at: usize| (index.rows[at].recording_id.as_str(), index.rows[at].copy);
            found.sort_by(|a, b| key(a.0).cmp(&key(b.0)));
            let items = found.iter().map(|(_, item, _)| *item).collect();
            let contents = found.iter().map(|(_, _, content)| *content).collect();
            Self { files: Arc::clone(&files), items, contents, size: spec.n_mels * spec.n_frames }
        }))
    }

    /// The same without what items were made from.
    pub fn without_contents(self) -> Self {
        Self { contents: Vec::new(), ..self }
    }

    /// The same files without an item.
    pub fn emptied(self) -> Self {
        Self { items: Vec::new(), contents: Vec::new(), ..self }
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
        usize::from(self.items[item].class)
    }

    /// Corpus and class of each item.
    pub fn strata(&self) -> Vec<(u16, u8)> {
        self.items.iter().map(|item| (item.corpus, item.class)).collect()
    }

    /// Reads an item's spectrogram `[n_mels, n_frames]` from its file, with one positioned read.
    pub fn fill(&self, item: usize, scratch: &mut Vec<u8>, log_mel: &mut [f32]) -> Result<()> {
        self.files.read(self.items[item].place, scratch, log_mel)
    }
}
