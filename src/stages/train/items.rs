//! What an epoch trains on: stored spectrograms, fresh copies beside them, masks on both.

use std::collections::BTreeSet;
use std::sync::Arc;

use rayon::prelude::*;

use crate::augment::spec_augment::SpecAugment;
use crate::error::{Error, Result};
use crate::labels::Labels;
use crate::network::spec::NetworkSpec;
use crate::split::Split;
use crate::stages::Ctx;
use crate::stages::roster::Roster;
use crate::stages::train::dataset::{Content, Dataset, Known};
use crate::stages::train::fresh::Fresh;
use crate::stages::train::sampler::Sampler;
use crate::stages::train::stream::Source;
use crate::storage::commit::Commit;
use crate::tables::feature_index::FeatureIndexRow;
use crate::tables::manifest::sound_hash;
use crate::tables::spectrograms::FeatureIndex;
use crate::units::Seed;

/// The training side of a run; shared by threads.
pub(super) struct TrainingItems<'a> {
    ctx: &'a Ctx,
    stored: Dataset,
    fresh: Option<Fresh>,
    masks: SpecAugment,
    seed: Seed,
    n_frames: usize,
}

impl<'a> TrainingItems<'a> {
    /// Finds the training side and, in the same pass, the monitored one, which is read as it is stored; nothing for none. All chance
    /// comes from `seed`.
    pub(super) fn open(
        ctx: &'a Ctx,
        features: &Commit,
        roster: &Roster,
        (seed, monitored): (Seed, Option<Split>),
        spec: &NetworkSpec,
    ) -> Result<(Self, Dataset)> {
        let masks = ctx.pipeline.augment.spec_augment.clone();
        let fresh = Fresh::open(ctx, roster, seed)?;
        let index = FeatureIndex::read(&ctx.store, features)?;
        let files = Arc::new(index.spectrograms(&ctx.store)?);
        let corpora: BTreeSet<&str> = index.rows.iter().map(|row| corpus_of(&row.recording_id)).collect();
        let known = |row: &FeatureIndexRow| known(row, roster, &ctx.pipeline.labels, &corpora);
        let [stored, validation, test] = Dataset::find((&index, files), known, Split::ALL, spec)?;
        let held_out = match monitored {
            Some(Split::Test) => test,
            Some(_) => validation,
            None => test.emptied(),
        };
        let needs_contents = fresh.is_some() || !masks.is_off();
        let stored = if needs_contents { stored } else { stored.without_contents() };
        if fresh.is_some() && stored.contents().iter().any(|content| content.copy > 0) {
            return Err(Error::input("the features hold stored copies, and the recipe draws copies for each epoch")
                .hint("run `sermill features` with this pipeline"));
        }
        let n_frames = spec.n_frames;
        Ok((Self { ctx, stored, fresh, masks, seed, n_frames }, held_out.without_contents()))
    }

    /// The stored spectrograms.
    pub(super) fn into_stored(self) -> Dataset {
        self.stored.without_contents()
    }

    /// Items of an epoch.
    pub(super) fn len(&self) -> usize {
        self.stored.len() * (1 + self.fresh.as_ref().map_or(0, Fresh::n_copies) as usize)
    }

    /// How the recipe draws an epoch of them.
    pub(super) fn sampler(&self, n_classes: usize) -> Sampler {
        Sampler::new(&self.ctx.pipeline.train.sample, &self.stored.strata(), self.len(), n_classes)
    }

    /// Bytes that fresh copies and masks hold beyond the index of the stored spectrograms.
    pub(super) fn extra_bytes(&self) -> usize {
        let fresh = self.fresh.as_ref().map_or(0, |fresh| fresh.bytes(self.ctx.n_threads()));
        fresh + size_of_val(self.stored.contents())
    }

    /// The items of one epoch, from 1.
    pub(super) fn epoch(&self, epoch: u32) -> Epoch<'_> {
        Epoch { items: self, epoch }
    }
}

/// The head of a recording's id.
fn corpus_of(recording_id: &str) -> &str {
    recording_id.split('/').next().unwrap_or_default()
}

/// What the tables say of a row of the index; nothing for one without a class or a side.
fn known(row: &FeatureIndexRow, roster: &Roster, labels: &Labels, corpora: &BTreeSet<&str>) -> Result<Option<Known>> {
    let Some(entry) = roster.entry(&row.recording_id) else { return Ok(None) };
    let side = roster.side(&row.recording_id, row.copy);
    let Some((class, side)) = labels.class_of(entry.emotion.as_deref()).zip(side) else { return Ok(None) };
    let sound = sound_hash(&row.content_hash, entry.start_s, entry.end_s)?;
    let corpus = corpora.range(..corpus_of(&row.recording_id)).count();
    let corpus = u16::try_from(corpus).map_err(|_| Error::input("more than 65,536 corpora"))?;
    Ok(Some(Known { class, corpus, side, sound }))
}

/// What one epoch reads; all chance in it comes from content, copy and epoch.
pub(super) struct Epoch<'a> {
    items: &'a TrainingItems<'a>,
    epoch: u32,
}

impl Epoch<'_> {
    fn fill_one(&self, item: usize, scratch: &mut Vec<u8>, log_mel: &mut [f32]) -> Result<()> {
        let TrainingItems { stored, fresh, masks, seed, n_frames, .. } = self.items;
        let (original, which) = (item % stored.len(), (item / stored.len()) as u32);
        let Some(Content { hash, mut copy }) = stored.contents().get(original).copied() else {
            // Contents are indexed whenever anything below needs them.
            return stored.fill(original, scratch, log_mel);
        };
        let content_hash = hash.to_hex();
        match fresh {
            Some(fresh) if which > 0 => {
                copy = fresh.number(self.epoch, which);
                fresh.fill(&content_hash, copy, log_mel)?;
            }
            _ => stored.fill(original, scratch, log_mel)?,
        }
        masks.apply(SpecAugment::seed(*seed, &content_hash, copy, self.epoch), *n_frames, log_mel);
        Ok(())
    }
}

impl Source for Epoch<'_> {
    fn size(&self) -> usize {
        self.items.stored.size()
    }

    fn label(&self, item: usize) -> usize {
        self.items.stored.label(item % self.items.stored.len())
    }

    fn fill(&self, items: &[usize], scratch: &mut Vec<u8>, log_mel: &mut [f32]) -> Result<()> {
        let size = self.size();
        if self.items.fresh.is_none() {
            let mut slots = items.iter().zip(log_mel.chunks_exact_mut(size));
            return slots.try_for_each(|(&item, log_mel)| self.fill_one(item, scratch, log_mel));
        }
        // A copy takes milliseconds: made side by side.
        self.items.ctx.pool.install(|| {
            let slots = log_mel.par_chunks_exact_mut(size).zip(items);
            slots.try_for_each_init(Vec::new, |scratch, (log_mel, &item)| self.fill_one(item, scratch, log_mel))
        })
    }
}
