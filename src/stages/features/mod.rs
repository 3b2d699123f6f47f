//! `features`: the manifest's recordings become shards of log-mel spectrograms.
//!
//! plan -> shard -> commit. A plan names the recordings of one shard and everything its bytes depend on; the shard is a
//! pure function of its plan with one deterministic file, so any engine may compute it, twice or after a crash; the
//! commit publishes finished shards and drops those that no longer belong. Here shards run side by side on the pool.

mod plan;
mod shard;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;

use rayon::prelude::*;
use serde_json::{Map, json};

use crate::augment;
use crate::definition::Definition;
use crate::error::{Error, Result};
use crate::extract::Extractor;
use crate::signal::mel::MelBank;
use crate::stages::{Ctx, Done, Inputs, Stage};
use crate::storage::atomic::{self, Written};
use crate::storage::commit::Commit;
use crate::storage::fingerprint::Fingerprint;
use crate::tables::features::FeatureRow;
use crate::tables::{folder_of, read_columns, schema_of, write_rows};

use plan::{PlannedShard, SHARD_INDEX, ShardEntry, ShardIndex, cut_into_shards, read_index, wanted_rows};
use shard::n_rejected_of;
pub use shard::{Made, ShardJob, ShardMaker};

/// Raised when the same plan would give other bytes.
const REVISION: u32 = 5;

/// See the module.
pub struct Features;

impl Stage for Features {
    fn name(&self) -> &'static str {
        "features"
    }

    fn about(&self) -> &'static str {
        "compute log-mel spectrograms of recordings and augmented copies"
    }

    fn flow(&self) -> &'static str {
        "manifest -> features"
    }

    fn check(&self, ctx: &Ctx) -> Result<()> {
        let config = &ctx.pipeline.features;
        Extractor::new(&config.front_end, &config.augmentations, ctx.pipeline.pipeline.seed).map(|_| ())
    }

    fn settings(&self, ctx: &Ctx) -> Fingerprint {
        let (config, seed) = (&ctx.pipeline.features, ctx.pipeline.pipeline.seed);
        let n_copies = ctx.pipeline.stored_copies();
        // Originals do not depend on what copies go through; a recipe that is wrong is refused by `check`.
        let wanted = if n_copies > 0 { config.augmentations.as_slice() } else { &[] };
        let augmentations = augment::definition(wanted).unwrap_or_else(|error| error.to_string());
        let definition = Definition::of(&config.front_end).to_string();
        Fingerprint::of_value(&(REVISION, definition, n_copies, augmentations, seed, config.shard_recordings))
    }

    fn inputs(&self, ctx: &Ctx) -> Result<Inputs> {
        let manifest = Commit::require(&ctx.store, "ingest")?;
        Ok(Inputs::from([("manifest".to_string(), manifest.output)]))
    }

    fn run(&self, ctx: &Ctx, settings: &Fingerprint, _inputs: &Inputs) -> Result<Done> {
        let config = &ctx.pipeline.features;
        let extractor = Extractor::new(&config.front_end, &config.augmentations, ctx.pipeline.pipeline.seed)?;
        if let Some(note) = MelBank::new(&config.front_end)?.diagnosis().note() {
            ctx.progress.say(&format!("features: {note}"));
        }
        if let Some(note) = extractor.chain().note() {
            ctx.progress.say(&format!("features: {note}"));
        }
        let n_copies = ctx.pipeline.stored_copies();
        let wanted = wanted_rows(ctx, &extractor)?;
        let old = read_index(ctx, settings);
        let plan = ctx.pool.install(|| cut_into_shards(wanted, &old, settings, config.shard_recordings));
        let work =
            Work { ctx, extractor, fingerprint: Fingerprint::of([Definition::of(&config.front_end).to_string()]) };
        let new: Vec<(&String, &PlannedShard)> = plan.iter().filter(|(id, _)| !work.published(id).exists()).collect();
        let staging = ctx.store.staging("features");
        atomic::create_folder(&ctx.store.plans("features"))?;
        ctx.pool.install(|| {
            new.par_iter().try_for_each(|(id, shard)| {
                atomic::write_aside(&staging, &work.plan_file(id), |out| write_rows(out, &shard.rows))?
                    .publish_unsynced()
            })
        })?;
        let n_new: usize = new.iter().map(|(_, shard)| shard.rows.len()).sum();
        let meter = ctx.progress.begin("features", n_new as u64);
        let maker = ShardMaker::new(&work.extractor, &work.fingerprint, &ctx.corpora, n_copies, meter.as_ref());
        let rejected = work.make_all(&maker, &new.iter().map(|(id, _)| work.job(id)).collect::<Vec<_>>())?;
        drop(meter);
        let rejected = new.iter().map(|(id, _)| (*id).clone()).zip(rejected).collect();
        work.commit(settings, &plan, &rejected, n_new as u64)
    }
}

/// One run of the stage over its shards.
struct Work<'a> {
    ctx: &'a Ctx,
    extractor: Extractor,
    fingerprint: Fingerprint,
}

impl Work<'_> {
    fn plan_file(&self, id: &str) -> PathBuf {
        self.ctx.store.plans("features").join(format!("{id}.plan"))
    }

    /// A finished shard waits here until the commit.
    fn finished(&self, id: &str) -> PathBuf {
        self.ctx.store.staging("features").join(format!("{id}.shard"))
    }

    fn published(&self, id: &str) -> PathBuf {
        folder_of::<FeatureRow>(&self.ctx.store).join(format!("part-{id}.parquet"))
    }

    fn job(&self, id: &str) -> ShardJob {
        ShardJob { plan: self.plan_file(id), output: self.finished(id), staging: self.ctx.store.staging("features") }
    }

    /// Makes shards side by side on the pool; gives the number of rejected rows of each. One more thread waits for the
    /// disk: it syncs what is finished while the pool goes on, and the pool waits when it is as many shards ahead as it
    /// has threads.
    fn make_all(&self, maker: &ShardMaker, jobs: &[ShardJob]) -> Result<Vec<u64>> {
        let (send, finished) = sync_channel::<Written>(self.ctx.n_threads());
        std::thread::scope(|scope| {
            let syncing = scope.spawn(move || finished.into_iter().try_for_each(Written::publish));
            let made = self.ctx.pool.install(|| {
                // One at a time, so that no thread keeps a row of them while another has none.
                let each = jobs.par_iter().with_max_len(1).map(|job| {
                    let made = maker.make(job)?;
                    if let Some(written) = made.written {
                        // Nobody listens any more when a sync has failed; its error is the one that counts.
                        send.send(written).map_err(|_| Error::bug("nobody syncs"))?;
                    }
                    Ok(made.n_rejected)
                });
                each.collect()
            });
            drop(send);
            syncing.join().unwrap_or_else(|_| Err(Error::bug("syncing broke off")))?;
            made
        })
    }

    /// Checks that every shard is there, publishes the new ones, whose rejected rows are known, drops those that no longer
    /// belong.
    fn commit(
        &self,
        settings: &Fingerprint,
        plan: &BTreeMap<String, PlannedShard>,
        rejected: &BTreeMap<String, u64>,
        n_done: u64,
    ) -> Result<Done> {
        let store = &self.ctx.store;
        let folder = folder_of::<FeatureRow>(store);
        let wanted: BTreeSet<PathBuf> = plan.keys().map(|id| self.published(id)).collect();
        let moves: Vec<_> = rejected.keys().map(|id| (self.finished(id), self.published(id))).collect();
        atomic::move_all_into(&moves, &folder)?;
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            if !wanted.contains(&entry.path()) {
                atomic::remove(&entry.path())?;
            }
        }
        let mut index = ShardIndex { settings: Some(settings.clone()), shards: BTreeMap::new() };
        let n_copies = self.ctx.pipeline.stored_copies() as usize;
        let counts: Vec<Totals> = self.ctx.pool.install(|| {
            let each = plan.par_iter().map(|(id, shard)| match rejected.get(id) {
                Some(&rejected) => Ok(Totals { rows: (shard.rows.len() * (n_copies + 1)) as u64, rejected }),
                None => count(&self.published(id)),
            });
            each.collect::<Result<_>>()
        })?;
        for ((id, shard), counted) in plan.iter().zip(&counts) {
            let rows = shard.fingerprints.clone();
            index.shards.insert(id.clone(), ShardEntry { rows, n_rejected: counted.rejected });
        }
        let totals = counts.iter().fold(Totals::default(), |sum, one| Totals {
            rows: sum.rows + one.rows,
            rejected: sum.rejected + one.rejected,
        });
        let text =
            serde_json::to_vec(&index).map_err(|error| Error::bug("an index has no JSON form").because(error))?;
        atomic::publish_bytes(&store.staging("features"), &store.side_index("features", SHARD_INDEX), &text)?;
        for folder in [store.plans("features"), store.staging("features")] {
            atomic::remove(&folder)?;
        }
        let n_recordings: usize = plan.values().map(|shard| shard.rows.len()).sum();
        let schema = schema_of::<FeatureRow>();
        let files = plan.keys().map(|id| format!("tables/{}/v{}/part-{id}.parquet", schema.table, schema.version));
        let mut summary = Map::new();
        summary.insert("recordings".into(), n_recordings.into());
        summary.insert("rows".into(), totals.rows.into());
        summary.insert("shards".into(), plan.len().into());
        summary.insert("profile".into(), self.ctx.pipeline.features.profile.clone().into());
        summary.insert("fingerprint".into(), json!(self.fingerprint));
        Ok(Done {
            output: Fingerprint::of_value(&(settings, plan.keys().collect::<Vec<_>>())),
            files: files.collect(),
            facts: BTreeMap::from([("fingerprint".to_string(), self.fingerprint.to_string())]),
            n_done,
            n_reused: n_recordings as u64 - n_done,
            n_rejected: totals.rejected,
            n_unread: 0,
            summary,
        })
    }
}

#[derive(Default)]
struct Totals {
    rows: u64,
    rejected: u64,
}

fn count(shard: &Path) -> Result<Totals> {
    let mut totals = Totals::default();
    for batch in read_columns::<FeatureRow>(shard, &["status"])? {
        let batch = batch.map_err(|error| Error::input("a shard cannot be read").at(shard).because(error))?;
        totals.rows += batch.num_rows() as u64;
        totals.rejected += n_rejected_of(&batch).ok_or_else(|| Error::bug("a shard without a status").at(shard))?;
    }
    Ok(totals)
}
