//! What an epoch trains on: stored spectrograms, fresh copies beside them, masks on both; read while the network steps.

use std::sync::mpsc::{channel, sync_channel};

use rayon::prelude::*;

use crate::augment::spec_augment::SpecAugment;
use crate::error::{Error, Result};
use crate::network::spec::NetworkSpec;
use crate::stages::Ctx;
use crate::stages::train::dataset::Dataset;
use crate::stages::train::fresh::Fresh;
use crate::units::Seed;

/// The training side of a run; shared by threads.
pub(super) struct TrainingItems {
    stored: Dataset,
    fresh: Option<Fresh>,
    masks: SpecAugment,
    seed: Seed,
    n_frames: usize,
}

/// Spectrograms of one step and the positions of their classes.
#[derive(Default)]
pub(super) struct Batch {
    /// `[n_items, n_mels, n_frames]`.
    pub(super) log_mel: Vec<f32>,
    pub(super) labels: Vec<usize>,
}

impl TrainingItems {
    /// `stored` with the fresh copies and masks of the recipe.
    pub(super) fn open(ctx: &Ctx, stored: Dataset, spec: &NetworkSpec) -> Result<Self> {
        let fresh = Fresh::open(ctx)?;
        if fresh.is_some() && stored.has_copies() {
            return Err(Error::input("the features hold stored copies, and the recipe draws copies for each epoch")
                .hint("run `sermill features` with this pipeline"));
        }
        let masks = ctx.pipeline.augment.spec_augment.clone();
        Ok(Self { stored, fresh, masks, seed: ctx.pipeline.pipeline.seed, n_frames: spec.n_frames })
    }

    /// Items of an epoch.
    pub(super) fn len(&self) -> usize {
        self.stored.len() * (1 + self.fresh.as_ref().map_or(0, Fresh::n_copies) as usize)
    }

    /// Writes the spectrogram of one item of an epoch; all chance in it comes from content, copy and epoch.
    fn fill(&self, item: usize, epoch: u32, log_mel: &mut [f32]) -> Result<()> {
        let (original, which) = (item % self.stored.len(), (item / self.stored.len()) as u32);
        let (content_hash, mut copy) = self.stored.content(original);
        match &self.fresh {
            Some(fresh) if which > 0 => {
                copy = fresh.number(epoch, which);
                fresh.fill(content_hash, copy, log_mel)?;
            }
            _ => self.stored.fill(original, log_mel)?,
        }
        self.masks.apply(SpecAugment::seed(self.seed, content_hash, copy, epoch), self.n_frames, log_mel);
        Ok(())
    }

    fn read(
        &self,
        pool: &rayon::ThreadPool,
        items: &[usize],
        epoch: u32,
        size: usize,
        batch: &mut Batch,
    ) -> Result<()> {
        batch.log_mel.resize(items.len() * size, 0.0);
        batch.labels.clear();
        batch.labels.extend(items.iter().map(|item| self.stored.label(item % self.stored.len())));
        pool.install(|| {
            let slots = batch.log_mel.par_chunks_exact_mut(size).zip(items);
            slots.try_for_each(|(log_mel, &item)| self.fill(item, epoch, log_mel))
        })
    }

    /// Hands `step` one batch of `order` after the other, in order, and reads the next one while it works.
    pub(super) fn for_each_batch(
        &self,
        ctx: &Ctx,
        order: &[usize],
        epoch: u32,
        size: usize,
        mut step: impl FnMut(&Batch) -> Result<()>,
    ) -> Result<()> {
        let (full, ready) = sync_channel::<Result<Batch>>(1);
        let (done, idle) = channel::<Batch>();
        // Three: one is worked on, one waits, one is being read.
        (0..3).for_each(|_| done.send(Batch::default()).expect("the receiver stands two lines above"));
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for items in order.chunks(ctx.pipeline.train.batch) {
                    let Ok(mut batch) = idle.recv() else { return };
                    let read = self.read(&ctx.pool, items, epoch, size, &mut batch);
                    let has_failed = read.is_err();
                    // Nobody listens any more when a step failed.
                    if full.send(read.map(|()| batch)).is_err() || has_failed {
                        return;
                    }
                }
            });
            for batch in ready {
                let batch = batch?;
                step(&batch)?;
                // The reader is gone once the last batch is read.
                let _ = done.send(batch);
            }
            Ok(())
        })
    }
}
