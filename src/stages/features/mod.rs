//! `features`: the manifest's recordings become shards of log-mel spectrograms.
//!
//! plan -> shard -> commit. A plan names the recordings of one shard and everything its bytes depend on; the shard is a
//! pure function of its plan with one deterministic file, so any engine may compute it, twice or after a crash; the
//! commit takes finished shards and drops those that no longer belong. Here shards run side by side on the pool.

mod plan;
mod shard;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::sync_channel;

use rayon::prelude::*;
use serde_json::{Map, json};

use crate::augment;
use crate::definition::Definition;
use crate::error::{Error, Result};
use crate::extract::Extractor;
use crate::recordings;
use crate::signal::mel::MelBank;
use crate::stages::{Ctx, Done, Inputs, Stage, evidence_of_split, last_of, require_split, split_settings, stage_bytes};
use crate::storage::atomic::{self, Written};
use crate::storage::commit::{Commit, Evidence};
use crate::storage::fingerprint::Fingerprint;
use crate::storage::publish::{OutFile, content_named, stem_of};
use crate::storage::record::{FileRecord, State};
use crate::tables::features::FeatureRow;
use crate::tables::{folder_of, write_rows};

use plan::{PlannedShard, SHARD_INDEX, ShardEntry, ShardIndex, cut_into_shards, known_shards, read_index, wanted_rows};
pub use shard::{Made, ShardJob, ShardMaker};

/// Raised when the same plan would give other bytes.
const REVISION: u32 = 6;

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
        Ok(Inputs::from([("manifest".to_string(), manifest.output), ("split".to_string(), split_settings(ctx))]))
    }

    fn run(&self, ctx: &Ctx, settings: &Fingerprint, _inputs: &Inputs) -> Result<Done> {
        let (config, seed) = (&ctx.pipeline.features, ctx.pipeline.pipeline.seed);
        require_split(ctx, &Commit::require(&ctx.store, "ingest")?)?;
        let extractor =
            Extractor::new(&config.front_end, &config.augmentations, seed)?.with_limit(ctx.pipeline.recording_limit());
        if let Some(note) = MelBank::new(&config.front_end)?.diagnosis().note() {
            ctx.progress.say(&format!("features: {note}"));
        }
        if let Some(note) = extractor.chain().note() {
            ctx.progress.say(&format!("features: {note}"));
        }
        let n_copies = ctx.pipeline.stored_copies();
        let wanted = wanted_rows(ctx, &extractor)?;
        let last = last_of(ctx, self)?;
        let shards = known_shards(&ctx.store, last.as_ref())?;
        let old = read_index(&ctx.store, last.as_ref(), &shards, &wanted, settings)?;
        let plan = ctx.pool.install(|| cut_into_shards(wanted, &old, settings, config.shard_recordings));
        let kept = ctx.pool.install(|| standing(ctx, &plan, &old, &shards))?;
        let work =
            Work { ctx, extractor, fingerprint: Fingerprint::of([Definition::of(&config.front_end).to_string()]) };
        let new: Vec<(&String, &PlannedShard)> = plan.iter().filter(|(id, _)| !kept.contains_key(*id)).collect();
        work.write_plans(&new)?;
        let n_new: usize = new.iter().map(|(_, shard)| shard.rows.len()).sum();
        let meter = ctx.progress.begin("features", n_new as u64);
        let copies = Fingerprint::of([augment::definition(&config.augmentations)?, seed.0.to_string()]);
        let fingerprints = [&work.fingerprint, &copies];
        let maker = ShardMaker::new(&work.extractor, fingerprints, &ctx.corpora, n_copies, meter.as_ref());
        let made = work.make_all(&maker, &work.jobs(&new)?)?;
        drop(meter);
        let made = new.iter().map(|(id, _)| (*id).clone()).zip(made).collect();
        work.remove_plans(&new)?;
        work.finish(&old, &plan, kept, &made, n_new as u64)
    }
}

/// Shards of the plan that an earlier run made and that are whole, with their rows in the index.
fn standing(
    ctx: &Ctx,
    plan: &BTreeMap<String, PlannedShard>,
    old: &ShardIndex,
    shards: &[FileRecord],
) -> Result<BTreeMap<String, FileRecord>> {
    let committed: BTreeMap<&str, &FileRecord> = shards.iter().map(|file| (stem_of(&file.path), file)).collect();
    let folder = ctx.store.relative(&folder_of::<FeatureRow>(&ctx.store));
    let record = |id: &String| committed.get(format!("{folder}/{}", stem(id)).as_str()).copied();
    let known = plan.keys().filter(|id| old.shards.contains_key(*id)).filter_map(|id| Some((id, record(id)?)));
    let known: Vec<(&String, &FileRecord)> = known.collect();
    let states: Vec<State> = known.par_iter().map(|(_, record)| record.state(&ctx.store)).collect::<Result<_>>()?;
    let whole = known.into_iter().zip(states).filter(|(_, state)| *state == State::Whole);
    Ok(whole.map(|((id, record), _)| (id.clone(), record.clone())).collect())
}

/// Name of a shard's file without the hash at its end.
fn stem(id: &str) -> String {
    format!("part-{id}")
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

    fn write_plans(&self, new: &[(&String, &PlannedShard)]) -> Result<()> {
        let staging = self.ctx.store.staging("features");
        atomic::create_folder(&self.ctx.store.plans("features"))?;
        self.ctx.pool.install(|| {
            new.par_iter().try_for_each(|(id, shard)| {
                let file = self.plan_file(id);
                let written = atomic::write_aside(&staging, &file, |out| write_rows(out, &shard.rows))?;
                written.publish_unsynced(&file).map(|_| ())
            })
        })
    }

    /// Removes the plans of this run, and those that a killed one left.
    fn remove_plans(&self, new: &[(&String, &PlannedShard)]) -> Result<()> {
        new.iter().try_for_each(|(id, _)| atomic::remove_file(&self.plan_file(id)))?;
        let folder = self.ctx.store.plans("features");
        // Named after a shard's id, of twelve hex digits: what else lies there is not a plan of ours.
        let is_id = |id: &str| id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_plan =
            |path: &&PathBuf| path.file_name().and_then(|name| name.to_str()?.strip_suffix(".plan")).is_some_and(is_id);
        atomic::entries(&folder)?.iter().filter(is_plan).try_for_each(|path| atomic::remove_file(path))?;
        atomic::remove_empty_folder(&folder).map(|_| ())
    }

    /// The work of each shard; what a killed run finished waits in the staging folder under its own name.
    fn jobs(&self, new: &[(&String, &PlannedShard)]) -> Result<Vec<ShardJob>> {
        let staging = self.ctx.store.staging("features");
        let mut waiting: BTreeMap<String, PathBuf> = BTreeMap::new();
        for path in atomic::entries(&staging)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            waiting.insert(stem_of(&name).to_string(), path);
        }
        let job = |id: &str| ShardJob {
            plan: self.plan_file(id),
            stem: stem(id),
            staging: staging.clone(),
            waiting: waiting.get(&stem(id)).cloned(),
        };
        Ok(new.iter().map(|(id, _)| job(id)).collect())
    }

    /// Makes shards side by side on the pool. One more thread waits for the disk: it syncs what is finished while the pool
    /// goes on, and the pool waits when it is as many shards ahead as it has threads.
    fn make_all(&self, maker: &ShardMaker, jobs: &[ShardJob]) -> Result<Vec<Made>> {
        let (send, finished) = sync_channel::<(Written, PathBuf)>(self.ctx.n_threads());
        std::thread::scope(|scope| {
            let sync = |(written, staged): (Written, PathBuf)| written.publish(&staged).map(|_| ());
            let syncing = scope.spawn(move || finished.into_iter().try_for_each(sync));
            let made = self.ctx.pool.install(|| {
                // One at a time, so that every thread has one as long as there are any.
                let each = jobs.par_iter().with_max_len(1).map(|job| {
                    let mut made = maker.make(job)?;
                    if let Some(written) = made.written.take() {
                        // A receiver that is gone has failed to sync; its error is the one that counts.
                        let sent = send.send((written, made.staged.clone()));
                        sent.map_err(|_| Error::bug("the thread that syncs shards is gone"))?;
                    }
                    Ok(made)
                });
                each.collect()
            });
            drop(send);
            syncing.join().unwrap_or_else(|_| Err(Error::bug("the thread that syncs shards broke off")))?;
            made
        })
    }

    /// Shards that stand and shards that were made, the index that knows their rows, and how many these are.
    fn gather(
        &self,
        old: &ShardIndex,
        plan: &BTreeMap<String, PlannedShard>,
        mut kept: BTreeMap<String, FileRecord>,
        made: &BTreeMap<String, Made>,
    ) -> Result<(Vec<OutFile>, ShardIndex, Totals)> {
        let folder = self.ctx.store.relative(&folder_of::<FeatureRow>(&self.ctx.store));
        let mut index = ShardIndex { settings: Some(Features.settings(self.ctx)), shards: BTreeMap::new() };
        let (mut files, mut totals) = (Vec::new(), Totals::default());
        for (id, shard) in plan {
            if let Some(record) = kept.remove(id) {
                let entry = old.shards.get(id).cloned().ok_or_else(|| Error::bug("a shard that no index knows"))?;
                totals.add(entry.n_rows, entry.n_rejected, 0);
                index.shards.insert(id.clone(), entry);
                files.push(OutFile::kept(record));
                continue;
            }
            let Some(made) = made.get(id) else { return Err(Error::bug("a shard that was not made")) };
            totals.add(made.n_rows, made.n_rejected, made.n_unread);
            if made.n_unread == 0 {
                // A shard that lacks a recording is made anew next time, so it is not remembered.
                let rows = shard.fingerprints.clone();
                index.shards.insert(id.clone(), ShardEntry { rows, n_rows: made.n_rows, n_rejected: made.n_rejected });
            }
            let path = format!("{folder}/{}", content_named(&stem(id), &made.content));
            let record = FileRecord { path, content: made.content.clone() };
            files.push(OutFile { record, staged: Some(made.staged.clone()) });
        }
        Ok((files, index, totals))
    }

    /// The output of the stage.
    fn finish(
        &self,
        old: &ShardIndex,
        plan: &BTreeMap<String, PlannedShard>,
        kept: BTreeMap<String, FileRecord>,
        made: &BTreeMap<String, Made>,
        n_done: u64,
    ) -> Result<Done> {
        let (ctx, store) = (self.ctx, &self.ctx.store);
        let (mut files, index, totals) = self.gather(old, plan, kept, made)?;
        let hashes: Vec<&str> = files.iter().map(|file| file.record.content.blake3.as_str()).collect();
        let output = Fingerprint::of_value(&(&index.settings, hashes));
        let text =
            serde_json::to_vec(&index).map_err(|error| Error::bug("an index has no JSON form").because(error))?;
        let path = store.relative(&store.side_index("features", SHARD_INDEX));
        files.push(stage_bytes(store, "features", path, &text)?);
        let n_variants = u64::from(ctx.pipeline.stored_copies()) + 1;
        let first = made.values().find_map(|made| made.first_unread.as_ref());
        let first = first.map(|(path, reason)| (path.as_str(), reason.as_str()));
        recordings::check_unread((totals.unread / n_variants) as usize, n_done as usize, first)?;
        let n_recordings: usize = plan.values().map(|shard| shard.rows.len()).sum();
        let mut summary = Map::new();
        summary.insert("recordings".into(), n_recordings.into());
        summary.insert("rows".into(), totals.rows.into());
        summary.insert("shards".into(), plan.len().into());
        summary.insert("unread".into(), totals.unread.into());
        summary.insert("profile".into(), ctx.pipeline.features.profile.clone().into());
        summary.insert("fingerprint".into(), json!(self.fingerprint));
        let evidence = Evidence {
            profile: Some(ctx.pipeline.features.profile.clone()),
            fingerprint: Some(self.fingerprint.clone()),
            front_end: Some(ctx.pipeline.features.front_end.clone()),
            ..evidence_of_split(ctx)
        };
        Ok(Done {
            output,
            files,
            is_whole: true,
            evidence,
            inputs: None,
            n_usable: (totals.rows - totals.rejected) / n_variants,
            n_done,
            n_reused: n_recordings as u64 - n_done,
            n_rejected: totals.rejected,
            n_unread: totals.unread,
            summary,
        })
    }
}

/// Rows of all shards.
#[derive(Default)]
struct Totals {
    rows: u64,
    rejected: u64,
    unread: u64,
}

impl Totals {
    fn add(&mut self, rows: u64, rejected: u64, unread: u64) {
        self.rows += rows;
        self.rejected += rejected;
        self.unread += unread;
    }
}
