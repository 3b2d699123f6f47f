//! `features`: the manifest's recordings become shards of log-mel spectrograms.
//!
//! plan -> shard -> commit. A plan names the recordings of one shard and everything its bytes depend on; the shard is a
//! pure function of its plan with one deterministic file, so any engine may compute it, twice or after a crash; the
//! commit publishes finished shards and drops those that no longer belong. Here shards run side by side on the pool.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Map, json};

use crate::error::{Error, ErrorKind, Result};
use crate::extract::{self, ExtractScratch, Extractor, Spectrogram};
use crate::progress::Meter;
use crate::signal::mel::MelBank;
use crate::split::Split;
use crate::stages::{Ctx, Done, Inputs, Stage};
use crate::storage::atomic;
use crate::storage::commit::Commit;
use crate::storage::fingerprint::Fingerprint;
use crate::tables::feature_plan::FeaturePlanRow;
use crate::tables::features::{FeatureRow, to_blob};
use crate::tables::manifest::{ManifestRow, Status, sides};
use crate::tables::{TableWriter, folder_of, publish_rows, read_columns, read_rows, schema_of};

/// Raised when the same plan would give other bytes.
const REVISION: u32 = 1;

/// See the module.
pub struct Features;

/// What was planned and done, by shard; the private memory between two runs.
#[derive(Default, Serialize, Deserialize)]
struct ShardIndex {
    settings: Option<Fingerprint>,
    shards: BTreeMap<String, ShardEntry>,
}

#[derive(Clone, Serialize, Deserialize)]
struct ShardEntry {
    /// Fingerprint of each plan row, to see which shards still stand.
    rows: Vec<Fingerprint>,
    n_rejected: u64,
}

const SHARD_INDEX: &str = "shards.json";

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
        let definition = extract::definition(&config.front_end);
        Fingerprint::of_value(&(
            REVISION,
            definition,
            config.copies,
            &config.augmentations,
            seed,
            config.shard_recordings,
        ))
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
        let wanted = wanted_rows(ctx)?;
        let old = read_index(ctx, settings);
        let plan = cut_into_shards(wanted, &old, settings, config.shard_recordings);
        let work = Work { ctx, extractor, fingerprint: Fingerprint::of([extract::definition(&config.front_end)]) };
        let new: Vec<(&String, &Vec<FeaturePlanRow>)> =
            plan.iter().filter(|(id, _)| !work.published(id).exists()).collect();
        for (id, rows) in &new {
            publish_rows(&ctx.store.staging("features"), &work.plan_file(id), rows)?;
        }
        let n_new: usize = new.iter().map(|(_, rows)| rows.len()).sum();
        let meter = ctx.progress.begin("features", n_new as u64);
        ctx.pool.install(|| {
            new.par_iter().try_for_each(|(id, _)| {
                run_shard(
                    &work.extractor,
                    &work.fingerprint,
                    &ctx.corpora,
                    config.copies,
                    &work.job(id),
                    meter.as_ref(),
                )
            })
        })?;
        drop(meter);
        work.commit(settings, &plan, n_new as u64)
    }
}

/// The plan row of every recording that goes on, in the order of their ids.
fn wanted_rows(ctx: &Ctx) -> Result<Vec<FeaturePlanRow>> {
    let commit = Commit::require(&ctx.store, "ingest")?;
    let mut manifest = Vec::new();
    for file in &commit.files {
        manifest.extend(read_rows::<ManifestRow>(&ctx.store.root().join(file))?);
    }
    let sides = sides(&ctx.pipeline.split, ctx.pipeline.pipeline.seed, ctx.pipeline.features.copies, &manifest);
    let n_variants = ctx.pipeline.features.copies as usize + 1;
    let nothing = vec![None; n_variants];
    Ok(manifest
        .into_iter()
        .filter(ManifestRow::goes_on)
        .filter_map(|row| {
            let names =
                sides.get(&row.recording_id).unwrap_or(&nothing).iter().map(|side| side.map_or("", Split::name));
            Some(FeaturePlanRow {
                splits: names.collect::<Vec<_>>().join(","),
                recording_id: row.recording_id,
                path: row.path,
                corpus: row.corpus,
                content_hash: row.content_hash?,
                emotion: row.emotion,
            })
        })
        .collect())
}

/// Shards that still stand are kept as they are; what is left over is cut into new ones, in order.
fn cut_into_shards(
    wanted: Vec<FeaturePlanRow>,
    old: &ShardIndex,
    settings: &Fingerprint,
    shard_recordings: usize,
) -> BTreeMap<String, Vec<FeaturePlanRow>> {
    let mut open: HashMap<Fingerprint, FeaturePlanRow> =
        wanted.into_iter().map(|row| (Fingerprint::of_value(&row), row)).collect();
    let mut plan = BTreeMap::new();
    for (id, entry) in &old.shards {
        if entry.rows.iter().all(|row| open.contains_key(row)) {
            plan.insert(id.clone(), entry.rows.iter().filter_map(|row| open.remove(row)).collect::<Vec<_>>());
        }
    }
    let mut rest: Vec<FeaturePlanRow> = open.into_values().collect();
    rest.sort_by(|a, b| a.recording_id.cmp(&b.recording_id));
    for rows in rest.chunks(shard_recordings) {
        let id = Fingerprint::of_value(&(settings, rows)).short().to_string();
        plan.insert(id, rows.to_vec());
    }
    plan
}

fn read_index(ctx: &Ctx, settings: &Fingerprint) -> ShardIndex {
    // The index only saves work: one that is missing, damaged or of other settings is an empty one.
    std::fs::read(ctx.store.side_index("features", SHARD_INDEX))
        .ok()
        .and_then(|text| serde_json::from_slice::<ShardIndex>(&text).ok())
        .filter(|index| index.settings.as_ref() == Some(settings))
        .unwrap_or_default()
}

/// Where one shard comes from and goes to.
pub struct ShardJob {
    /// Its plan, a Parquet file of `feature_plan` rows.
    pub plan: PathBuf,
    /// Its one output file.
    pub output: PathBuf,
    /// Folder for its temporary.
    pub staging: PathBuf,
}

/// Computes one shard from its plan: a pure, idempotent function with one output file.
///
/// An output that is already there and whole is left alone. A recording that cannot be used becomes rows with a reason.
pub fn run_shard(
    extractor: &Extractor,
    fingerprint: &Fingerprint,
    corpora: &Path,
    n_copies: u32,
    job: &ShardJob,
    meter: &dyn Meter,
) -> Result<()> {
    let plan: Vec<FeaturePlanRow> = read_rows(&job.plan)?;
    if is_whole(&job.output, plan.len() * (n_copies as usize + 1), fingerprint) {
        meter.advance(plan.len() as u64);
        return Ok(());
    }
    atomic::publish(&job.staging, &job.output, |out| {
        let mut writer = TableWriter::<FeatureRow>::new(out)?;
        let mut scratch = extractor.scratch();
        for row in &plan {
            writer.write(&feature_rows(extractor, fingerprint, corpora, n_copies, row, &mut scratch)?)?;
            meter.advance(1);
        }
        writer.finish()
    })
}

fn is_whole(output: &Path, n_rows: usize, fingerprint: &Fingerprint) -> bool {
    if !output.exists() {
        return false;
    }
    let Ok(batches) = read_columns::<FeatureRow>(output, &["fingerprint"]) else { return false };
    let mut n_found = 0;
    for batch in batches {
        let Ok(batch) = batch else { return false };
        let column = batch.column(0).as_any().downcast_ref::<arrow::array::StringArray>();
        if column.is_none_or(|column| column.iter().any(|value| value != Some(fingerprint.as_str()))) {
            return false;
        }
        n_found += batch.num_rows();
    }
    n_found == n_rows
}

/// The rows of one recording: its original and its copies.
fn feature_rows(
    extractor: &Extractor,
    fingerprint: &Fingerprint,
    corpora: &Path,
    n_copies: u32,
    plan: &FeaturePlanRow,
    scratch: &mut ExtractScratch,
) -> Result<Vec<FeatureRow>> {
    let splits: Vec<&str> = plan.splits.split(',').collect();
    let blank = |copy: u32| FeatureRow {
        recording_id: plan.recording_id.clone(),
        corpus: plan.corpus.clone(),
        content_hash: plan.content_hash.clone(),
        copy,
        augmentation: (copy > 0).then(|| extractor.augmentation_names()),
        emotion: plan.emotion.clone(),
        split: splits.get(copy as usize).filter(|name| !name.is_empty()).map(|name| name.to_string()),
        fingerprint: fingerprint.to_string(),
        ..FeatureRow::default()
    };
    let path = corpora.join(&plan.path);
    let mut rows = Vec::with_capacity(n_copies as usize + 1);
    let extracted =
        std::fs::read(&path).map_err(|error| Error::recording("cannot be read").because(error)).and_then(|bytes| {
            if blake3::hash(&bytes).to_hex().as_str() != plan.content_hash {
                return Err(Error::recording("changed since ingest: run ingest again"));
            }
            extractor.extract(&bytes, &plan.content_hash, n_copies, scratch, |spectrogram| {
                rows.push(fill(blank(spectrogram.copy), extractor, &spectrogram));
                Ok(())
            })
        });
    match extracted {
        Ok(()) => Ok(rows),
        Err(error) if error.kind() == ErrorKind::Recording => Ok((0..=n_copies)
            .map(|copy| FeatureRow { status: Status::Rejected, reject_reason: Some(error.reason()), ..blank(copy) })
            .collect()),
        Err(error) => Err(error.at(path)),
    }
}

fn fill(mut row: FeatureRow, extractor: &Extractor, spectrogram: &Spectrogram) -> FeatureRow {
    let log_mel = spectrogram.log_mel;
    let n = log_mel.len() as f64;
    let mean = log_mel.iter().map(|&value| f64::from(value)).sum::<f64>() / n;
    let variance = log_mel.iter().map(|&value| (f64::from(value) - mean).powi(2)).sum::<f64>() / n;
    let (low, high) =
        log_mel.iter().fold((f32::MAX, f32::MIN), |(low, high), &value| (low.min(value), high.max(value)));
    row.snr_db = spectrogram.snr_db;
    row.n_mels = extractor.front_end().n_mels as u32;
    row.n_frames = extractor.front_end().n_frames() as u32;
    row.valid_frames = spectrogram.valid_frames as u32;
    row.pad_fraction = spectrogram.conditioned.pad_fraction;
    row.truncated = spectrogram.conditioned.truncated;
    row.mel_mean = Some(mean);
    row.mel_std = Some(variance.sqrt());
    row.mel_min = Some(f64::from(low));
    row.mel_max = Some(f64::from(high));
    row.log_mel = Some(to_blob(log_mel));
    row
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

    /// Checks that every shard is there, publishes the new ones, drops those that no longer belong.
    fn commit(
        &self,
        settings: &Fingerprint,
        plan: &BTreeMap<String, Vec<FeaturePlanRow>>,
        n_done: u64,
    ) -> Result<Done> {
        let store = &self.ctx.store;
        let folder = folder_of::<FeatureRow>(store);
        let wanted: BTreeSet<PathBuf> = plan.keys().map(|id| self.published(id)).collect();
        for id in plan.keys().filter(|id| !self.published(id).exists()) {
            atomic::move_into(&self.finished(id), &self.published(id))?;
        }
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            if !wanted.contains(&entry.path()) {
                atomic::remove(&entry.path())?;
            }
        }
        let mut index = ShardIndex { settings: Some(settings.clone()), shards: BTreeMap::new() };
        let mut totals = Totals::default();
        for (id, rows) in plan {
            let counted = count(&self.published(id))?;
            let entry =
                ShardEntry { rows: rows.iter().map(Fingerprint::of_value).collect(), n_rejected: counted.rejected };
            index.shards.insert(id.clone(), entry);
            totals.add(&counted);
        }
        let text =
            serde_json::to_vec(&index).map_err(|error| Error::bug("an index has no JSON form").because(error))?;
        atomic::publish_bytes(&store.staging("features"), &store.side_index("features", SHARD_INDEX), &text)?;
        for folder in [store.plans("features"), store.staging("features")] {
            atomic::remove(&folder)?;
        }
        let n_recordings: usize = plan.values().map(Vec::len).sum();
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
            summary,
        })
    }
}

#[derive(Default)]
struct Totals {
    rows: u64,
    rejected: u64,
}

impl Totals {
    fn add(&mut self, other: &Self) {
        self.rows += other.rows;
        self.rejected += other.rejected;
    }
}

fn count(shard: &Path) -> Result<Totals> {
    let mut totals = Totals::default();
    for batch in read_columns::<FeatureRow>(shard, &["status"])? {
        let batch = batch.map_err(|error| Error::input("a shard cannot be read").at(shard).because(error))?;
        totals.rows += batch.num_rows() as u64;
        let status = batch.column(0).as_any().downcast_ref::<arrow::array::StringArray>();
        totals.rejected +=
            status.map_or(0, |status| status.iter().filter(|value| *value == Some("rejected")).count() as u64);
    }
    Ok(totals)
}
