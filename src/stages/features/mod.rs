//! `features`: the manifest's recordings become shards of log-mel spectrograms.
//!
//! plan -> shard -> commit. A plan names the recordings of one shard and everything its bytes depend on; the shard is a
//! pure function of its plan with one deterministic file, so any engine may compute it, twice or after a crash; the
//! commit takes finished shards and drops those that no longer belong. Here shards run side by side on the pool.

mod plan;
mod shard;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::time::Instant;

use rayon::prelude::*;
use serde_json::{Map, json};

use crate::augment::{self, Chain, Format};
use crate::definition::Definition;
use crate::error::{Error, Result};
use crate::extract::Extractor;
use crate::progress::Meter;
use crate::recordings;
use crate::signal::mel::MelBank;
use crate::signal::profile::FrontEnd;
use crate::split::Protocol;
use crate::stages::shards::{self, Counted, Counts, Finish, Finished, Job, Seen, Shard, Sharded};
use crate::stages::{Ctx, Done, Inputs, Needs, Read, Stage, last_of, stage_table};
use crate::storage::commit::Evidence;
use crate::storage::fingerprint::Fingerprint;
use crate::storage::publish::{OutFile, content_named};
use crate::storage::record::FileRecord;
use crate::storage::settings::Settings;
use crate::tables::feature_plan::FeaturePlanRow;
use crate::tables::features::FeatureRow;
use crate::tables::manifest::Status;
use crate::tables::spectrograms::{INDEX, shard_stem};
use crate::tables::{folder_of, write_rows};

use plan::{OldShards, PlannedShard, cut_into_shards, old_shards, wanted_rows, with_plan};
pub use shard::{Made, ShardJob, ShardMaker};

/// Raised when the same plan would give other bytes.
const REVISION: u32 = 7;

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

    fn settings(&self, ctx: &Ctx) -> Settings {
        let config = &ctx.pipeline.features;
        let n_copies = ctx.pipeline.stored_copies();
        let settings = Settings::of_revision(REVISION)
            .with("features.front_end", &config.front_end)
            .with("front_end.definition", Definition::of(&config.front_end).to_string())
            .with("features.shard_recordings", config.shard_recordings)
            .with("features.copies", n_copies);
        if n_copies == 0 {
            // Originals do not depend on what copies go through.
            return settings;
        }
        settings.with("features.augmentations", augmentations(ctx)).with("pipeline.seed", ctx.pipeline.pipeline.seed)
    }

    fn reads(&self, ctx: &Ctx) -> Vec<(&'static str, Needs)> {
        let mut reads = vec![("ingest", Needs::Same)];
        if hears_others(ctx) && ctx.pipeline.split.protocol != Protocol::Unsplit {
            // Whose voices a copy may hear follows from its side.
            reads.push(("folds", Needs::Same));
        }
        reads
    }

    fn run(&self, ctx: &Ctx, read: &Read, _inputs: &Inputs) -> Result<Done> {
        shards::run(self, ctx, read)
    }
}

impl Sharded for Features {
    type Row = FeaturePlanRow;
    type Plan = FeaturePlan;
    type Made = Made;

    fn plan(&self, ctx: &Ctx, read: &Read, _seen: &mut Seen) -> Result<FeaturePlan> {
        let work = Work::new(ctx)?;
        work.say_notes()?;
        work.plan(read)
    }

    fn shards<'p>(&self, plan: &'p FeaturePlan) -> Vec<Shard<'p, FeaturePlanRow>> {
        plan.new_shards().map(|(id, shard)| Shard { id, rows: &shard.rows }).collect()
    }

    fn make(&self, ctx: &Ctx, _seen: &Seen, jobs: &[Job<FeaturePlanRow>], done: Finish<Made>) -> Result<()> {
        let work = Work::new(ctx)?;
        let meter = ctx.progress.begin("features", jobs.iter().map(|job| job.n_rows as u64).sum());
        work.make_all(&work.maker(meter.as_ref()), jobs, done)
    }

    fn open(&self, ctx: &Ctx, file: &Path, id: &str, rows: &[FeaturePlanRow]) -> Result<Option<Made>> {
        shard::whole(file, id, rows, ctx.pipeline.stored_copies())
    }

    fn fold(&self, ctx: &Ctx, _read: &Read, plan: FeaturePlan, made: Vec<Made>) -> Result<Done> {
        Work::new(ctx)?.finish(plan, made)
    }
}

impl Counted for Made {
    fn counts(&self) -> Counts {
        let (n_rejected, n_unread) = (self.n_rejected, self.n_unread);
        Counts { n_rows: self.n_rows, n_rejected, n_unread, n_bytes: self.content.n_bytes }
    }
}

/// What copies go through, with all numbers; a recipe that is wrong is refused by `check`.
fn augmentations(ctx: &Ctx) -> String {
    augment::definition(&ctx.pipeline.features.augmentations).unwrap_or_else(|error| error.to_string())
}

/// Whether stored copies take voices from other recordings.
fn hears_others(ctx: &Ctx) -> bool {
    let config = &ctx.pipeline.features;
    if ctx.pipeline.stored_copies() == 0 {
        return false;
    }
    let FrontEnd { sample_rate, n_samples, .. } = config.front_end;
    let chain = Chain::new(&config.augmentations, Format { sample_rate, n_samples });
    chain.is_ok_and(|chain| chain.n_donors() > 0)
}

/// All shards that the manifest asks for, and which of them stand.
pub struct FeaturePlan {
    shards: BTreeMap<String, PlannedShard>,
    old: OldShards,
}

impl FeaturePlan {
    /// Shards that must be made.
    fn new_shards(&self) -> impl Iterator<Item = (&String, &PlannedShard)> {
        self.shards.iter().filter(|(id, _)| !self.old.contains_key(*id))
    }

    /// Recordings in them.
    fn n_new(&self) -> usize {
        self.new_shards().map(|(_, shard)| shard.rows.len()).sum()
    }
}

/// One run of the stage over its shards.
struct Work<'a> {
    ctx: &'a Ctx,
    extractor: Extractor,
    /// Of the front end's definition.
    fingerprint: Fingerprint,
    /// Of what copies go through, and of their seed.
    copies: Fingerprint,
}

impl<'a> Work<'a> {
    fn new(ctx: &'a Ctx) -> Result<Self> {
        let (config, seed) = (&ctx.pipeline.features, ctx.pipeline.pipeline.seed);
        let extractor = Extractor::new(&config.front_end, &config.augmentations, seed)?;
        Ok(Self {
            ctx,
            extractor: extractor.with_limit(ctx.pipeline.recording_limit()),
            fingerprint: Fingerprint::of([Definition::of(&config.front_end).to_string()]),
            copies: Fingerprint::of([augment::definition(&config.augmentations)?, seed.0.to_string()]),
        })
    }

    /// What a user should know of the front end and the copies.
    fn say_notes(&self) -> Result<()> {
        let bank = MelBank::new(self.extractor.front_end())?.diagnosis().note();
        for note in [bank, self.extractor.chain().note()].into_iter().flatten() {
            self.ctx.progress.say(&format!("features: {note}"));
        }
        Ok(())
    }

    fn plan(&self, read: &Read) -> Result<FeaturePlan> {
        let (ctx, settings) = (self.ctx, Features.settings(self.ctx));
        let wanted = wanted_rows(ctx, read, &self.extractor)?;
        let last = last_of(ctx, &Features)?;
        ctx.pool.install(|| {
            let mut old = old_shards(&ctx.store, last.as_ref(), &wanted, &settings)?;
            let n_recordings = ctx.pipeline.features.shard_recordings;
            let shards = cut_into_shards(wanted, &old, &settings.fingerprint(), n_recordings);
            old.retain(|id, _| shards.contains_key(id));
            Ok(FeaturePlan { shards, old })
        })
    }

    fn maker<'m>(&'m self, meter: &'m dyn Meter) -> ShardMaker<'m> {
        let fingerprints = [&self.fingerprint, &self.copies];
        ShardMaker::new(&self.extractor, fingerprints, &self.ctx.corpora, self.ctx.pipeline.stored_copies(), meter)
    }

    /// Makes shards side by side on the pool. One more thread waits for the disk: it syncs what is finished while the pool
    /// goes on, and the pool waits when it is as many shards ahead as it has threads.
    fn make_all(&self, maker: &ShardMaker, jobs: &[Job<FeaturePlanRow>], done: Finish<Made>) -> Result<()> {
        let (send, finished) = sync_channel::<(usize, Made, Instant)>(self.ctx.n_threads());
        std::thread::scope(|scope| {
            let sync = |(at, mut made, clock): (usize, Made, Instant)| {
                let was_there = made.written.is_none();
                if let Some(written) = made.written.take() {
                    written.publish(&made.staged)?;
                }
                done(at, made, Finished { was_there, seconds: clock.elapsed().as_secs_f64() })
            };
            let syncing = scope.spawn(move || finished.into_iter().try_for_each(sync));
            let made = self.ctx.pool.install(|| {
                // One at a time, so that every thread has one as long as there are any.
                jobs.par_iter().enumerate().with_max_len(1).try_for_each(|(at, job)| {
                    let clock = Instant::now();
                    let made = self.make_one(maker, job)?;
                    // A receiver that is gone has failed to sync; its error is the one that counts.
                    let sent = send.send((at, made, clock));
                    sent.map_err(|_| Error::bug("the thread that syncs shards is gone"))
                })
            });
            drop(send);
            syncing.join().unwrap_or_else(|_| Err(Error::bug("the thread that syncs shards broke off")))?;
            made
        })
    }

    fn make_one(&self, maker: &ShardMaker, job: &Job<FeaturePlanRow>) -> Result<Made> {
        let rows = job.rows()?;
        if let Some(made) = job.waits(|file| shard::whole(file, job.id, &rows, maker.n_copies))? {
            maker.meter.advance(rows.len() as u64);
            return Ok(made);
        }
        maker.make(&ShardJob { id: job.id, rows: &rows, staging: job.staging.to_path_buf() })
    }

    /// The output of the stage: shards that stand and shards that were made, and the index of their rows.
    fn finish(&self, plan: FeaturePlan, made: Vec<Made>) -> Result<Done> {
        let (ctx, store) = (self.ctx, &self.ctx.store);
        let n_done = plan.n_new() as u64;
        let n_variants = u64::from(ctx.pipeline.stored_copies()) + 1;
        let first = made.iter().find_map(|made| made.first_unread.clone());
        let n_unread: u64 = made.iter().map(|made| made.n_unread).sum();
        let first = first.as_ref().map(|(path, reason)| (path.as_str(), reason.as_str()));
        recordings::check_unread((n_unread / n_variants) as usize, n_done as usize, first)?;
        let folder = store.relative(&folder_of::<FeatureRow>(store));
        let (n_recordings, n_shards) =
            (plan.shards.values().map(|shard| shard.rows.len()).sum::<usize>(), plan.shards.len());
        let (mut files, mut index, mut old, mut made) = (Vec::new(), Vec::new(), plan.old, made.into_iter());
        for (id, shard) in &plan.shards {
            if let Some(stands) = old.remove(id) {
                index.extend(stands.rows);
                files.push(OutFile::kept(stands.record));
                continue;
            }
            let made = made.next().ok_or_else(|| Error::bug("a shard that was not made"))?;
            // A shard that lacks a recording is made anew next time: its rows name no plan that they fulfil.
            let fulfilled = if made.n_unread == 0 { shard.fingerprints.as_slice() } else { &[] };
            index.extend(with_plan(made.index, fulfilled));
            let path = format!("{folder}/{}", content_named(&shard_stem(id), &made.content));
            files.push(OutFile { record: FileRecord { path, content: made.content }, staged: Some(made.staged) });
        }
        let n_rejected = index.iter().filter(|row| row.status == Status::Rejected).count() as u64;
        let hashes: Vec<&str> = files.iter().map(|file| file.record.content.blake3.as_str()).collect();
        let output = Fingerprint::of_value(&(Features.settings(ctx).fingerprint(), hashes));
        let place = store.side_index("features", INDEX);
        files.push(stage_table(store, "features", &place, |out| write_rows(out, &index))?);
        let mut summary = Map::new();
        summary.insert("recordings".into(), n_recordings.into());
        summary.insert("rows".into(), index.len().into());
        summary.insert("shards".into(), n_shards.into());
        summary.insert("unread".into(), n_unread.into());
        summary.insert("profile".into(), ctx.pipeline.features.profile.clone().into());
        summary.insert("fingerprint".into(), json!(self.fingerprint));
        Ok(Done {
            output,
            files,
            is_whole: true,
            evidence: self.evidence(),
            inputs: None,
            n_usable: (index.len() as u64 - n_rejected) / n_variants,
            n_done,
            n_reused: n_recordings as u64 - n_done,
            n_rejected,
            n_unread,
            summary,
        })
    }

    fn evidence(&self) -> Evidence {
        let pipeline = &self.ctx.pipeline;
        let n_copies = pipeline.stored_copies();
        Evidence {
            profile: Some(pipeline.features.profile.clone()),
            definition: Some(Definition::of(&pipeline.features.front_end).to_string()),
            fingerprint: Some(self.fingerprint.clone()),
            front_end: Some(pipeline.features.front_end.clone()),
            copies: Some(n_copies),
            augmentations: (n_copies > 0).then(|| augmentations(self.ctx)),
            seed: (n_copies > 0).then_some(pipeline.pipeline.seed),
            ..Evidence::default()
        }
    }
}
