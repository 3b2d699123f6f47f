//! What the stage would make, cut into shards, and which of them stand from the last time.

use std::collections::{BTreeMap, HashMap};

use rayon::prelude::*;

use crate::audio::Part;
use crate::augment::{Donor, Ring};
use crate::error::{ErrorKind, Result};
use crate::extract::Extractor;
use crate::files;
use crate::split::Split;
use crate::stages::shards::shard_id;
use crate::stages::{Ctx, Read};
use crate::storage::atomic;
use crate::storage::commit::Commit;
use crate::storage::fingerprint::Fingerprint;
use crate::storage::layout::Store;
use crate::storage::publish::{content_named, content_of, stem_of};
use crate::storage::record::{FileRecord, State};
use crate::storage::settings::Settings;
use crate::tables::feature_index::{FeatureIndexRow, index_of_shard};
use crate::tables::feature_plan::{FeaturePlanRow, PlannedDonor, donors_to_text};
use crate::tables::features::FeatureRow;
use crate::tables::folds::{FoldRow, Sides};
use crate::tables::manifest::ManifestRow;
use crate::tables::spectrograms::{FeatureIndex, id_of, shards_of};
use crate::tables::{TableFile, committed_rows, folder_of};

use super::shard::UNREAD;

/// The plan row of every recording that is eligible, in the order of their ids.
pub(super) fn wanted_rows(ctx: &Ctx, read: &Read, extractor: &Extractor) -> Result<Vec<FeaturePlanRow>> {
    let manifest: Vec<ManifestRow> = committed_rows(&ctx.store, read.commit("ingest")?)?;
    let (seed, n_copies) = (ctx.pipeline.pipeline.seed, ctx.pipeline.stored_copies());
    let n_donors = if n_copies > 0 { extractor.chain().n_donors() } else { 0 };
    let rings = if n_donors > 0 { Some(Rings::read(ctx, read, &manifest)?) } else { None };
    let donors = |row: &ManifestRow, content_hash: &str| {
        let Some(rings) = &rings else { return String::new() };
        let of_copy = |copy: u32| match rings.of(&row.recording_id, copy) {
            Some(ring) => ring.pick(seed, content_hash, copy, n_donors).into_iter().map(planned).collect(),
            None => Vec::new(),
        };
        donors_to_text(&(1..=n_copies).map(of_copy).collect::<Vec<_>>())
    };
    let row = |row: &ManifestRow| {
        let content_hash = row.content_hash.clone()?;
        Some(FeaturePlanRow {
            donors: donors(row, &content_hash),
            recording_id: row.recording_id.clone(),
            path: row.path.clone(),
            corpus: row.corpus.clone(),
            content_hash,
            start_s: row.start_s,
            end_s: row.end_s,
        })
    };
    Ok(manifest.iter().filter(|row| row.is_eligible()).filter_map(row).collect())
}

/// The originals of each side, whose voices its copies may take.
struct Rings {
    sides: Option<Sides>,
    of_side: HashMap<Option<Split>, Ring>,
}

impl Rings {
    fn read(ctx: &Ctx, read: &Read, manifest: &[ManifestRow]) -> Result<Self> {
        let sides = match read.all().find(|(stage, _)| *stage == "folds") {
            Some((_, folds)) => Some(Sides::of(committed_rows::<FoldRow>(&ctx.store, folds)?, 0)),
            None => None,
        };
        let mut members: HashMap<Option<Split>, Vec<Donor>> = HashMap::new();
        for row in manifest.iter().filter(|row| row.is_eligible()) {
            if let Some(content_hash) = row.content_hash.clone() {
                let part = row.start_s.zip(row.end_s).map(|(start_s, end_s)| Part { start_s, end_s });
                let donor = Donor { content_hash, part, file: files::path_of(&row.path) };
                let side = sides.as_ref().and_then(|sides| sides.get(&row.recording_id, 0));
                members.entry(side).or_default().push(donor);
            }
        }
        let of_side = members.into_iter().map(|(side, members)| (side, Ring::new(members))).collect();
        Ok(Self { sides, of_side })
    }

    /// Whom a copy may hear.
    fn of(&self, recording_id: &str, copy: u32) -> Option<&Ring> {
        let side = self.sides.as_ref().and_then(|sides| sides.get(recording_id, copy));
        self.of_side.get(&side)
    }
}

fn planned(donor: &Donor) -> PlannedDonor {
    PlannedDonor {
        content_hash: donor.content_hash.clone(),
        path: files::text_of(&donor.file),
        start_s: donor.part.map(|part| part.start_s),
        end_s: donor.part.map(|part| part.end_s),
    }
}

/// The recordings of one shard.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PlannedShard {
    pub(super) rows: Vec<FeaturePlanRow>,
    /// Of each row.
    pub(super) fingerprints: Vec<Fingerprint>,
}

/// A shard of an earlier run.
pub(super) struct OldShard {
    pub(super) record: FileRecord,
    pub(super) rows: Vec<FeatureIndexRow>,
}

impl OldShard {
    /// Fingerprints of the plan rows that it was made from; `None` for one that lacks a recording that the machine failed at.
    fn plan(&self) -> Option<Vec<&str>> {
        let originals: Vec<&str> = self.rows.iter().filter(|row| row.copy == 0).map(|row| row.plan.as_str()).collect();
        originals.iter().all(|plan| !plan.is_empty()).then_some(originals)
    }
}

/// Shards by id.
pub(super) type OldShards = BTreeMap<String, OldShard>;

/// Shards that still stand are kept as they are; what is left over is cut into new ones, in order.
pub(super) fn cut_into_shards(
    wanted: Vec<FeaturePlanRow>,
    old: &OldShards,
    settings: &Fingerprint,
    shard_recordings: usize,
) -> BTreeMap<String, PlannedShard> {
    let mut open: HashMap<Fingerprint, FeaturePlanRow> =
        wanted.into_par_iter().map(|row| (Fingerprint::of_value(&row), row)).collect();
    let mut plan = BTreeMap::new();
    for (id, shard) in old {
        let Some(fingerprints) = shard.plan() else { continue };
        let fingerprints: Vec<Fingerprint> = fingerprints.into_iter().map(Fingerprint::from_text).collect();
        if fingerprints.iter().all(|row| open.contains_key(row)) {
            let rows = fingerprints.iter().filter_map(|row| open.remove(row)).collect();
            plan.insert(id.clone(), PlannedShard { rows, fingerprints });
        }
    }
    let mut rest: Vec<(Fingerprint, FeaturePlanRow)> = open.into_iter().collect();
    rest.sort_by(|(_, a), (_, b)| a.recording_id.cmp(&b.recording_id));
    let mut rest = rest.into_iter().peekable();
    while rest.peek().is_some() {
        let (fingerprints, rows): (Vec<_>, Vec<_>) = rest.by_ref().take(shard_recordings).unzip();
        let id = shard_id(settings, &fingerprints);
        plan.insert(id, PlannedShard { rows, fingerprints });
    }
    plan
}

/// Shards of earlier runs of the same settings that are whole: those of the index that `last` committed, or, where that is
/// lost or damaged, what the shards say of themselves.
///
/// Otherwise all would be cut anew, and the same recordings in other shards are other features to whoever was trained on them.
pub(super) fn old_shards(
    store: &Store,
    last: Option<&Commit>,
    wanted: &[FeaturePlanRow],
    settings: &Settings,
) -> Result<OldShards> {
    if last.is_some_and(|last| last.settings != *settings) {
        return Ok(OldShards::new());
    }
    let index = last.map(|last| FeatureIndex::read(store, last));
    let mut old = match index {
        Some(Ok(index)) => by_shard(index),
        Some(Err(error)) if error.kind() != ErrorKind::Input => return Err(error),
        Some(Err(_)) | None => from_shards(store, last, wanted, &settings.fingerprint())?,
    };
    let records: Vec<&FileRecord> = old.values().map(|shard| &shard.record).collect();
    let states: Vec<State> = records.par_iter().map(|record| record.state(store)).collect::<Result<_>>()?;
    let mut states = states.into_iter();
    old.retain(|_, shard| states.next() == Some(State::Whole) && shard.plan().is_some());
    Ok(old)
}

fn by_shard(index: FeatureIndex) -> OldShards {
    let shards = index.shards.into_iter().map(|record| (id_of(&record.path).to_string(), record));
    let mut old: OldShards = shards.map(|(id, record)| (id, OldShard { record, rows: Vec::new() })).collect();
    for row in index.rows {
        if let Some(shard) = old.get_mut(&row.shard) {
            shard.rows.push(row);
        }
    }
    old.retain(|_, shard| !shard.rows.is_empty());
    old
}

/// Shards that may stand: those that `last` committed; where no commit is left, those whose names hold the hash of their bytes.
fn known_shards(store: &Store, last: Option<&Commit>) -> Result<Vec<FileRecord>> {
    if let Some(last) = last {
        return Ok(shards_of(store, last));
    }
    let mut found = Vec::new();
    for file in atomic::entries(&folder_of::<FeatureRow>(store))? {
        let path = store.relative(&file);
        if stem_of(&path) != path
            && let Some(content) = content_of(&file)?
            && path == content_named(stem_of(&path), &content)
        {
            found.push(FileRecord { path, content });
        }
    }
    Ok(found)
}

/// What shards say of themselves, where they were made of rows that are still wanted: a shard's id is the hash of these.
fn from_shards(
    store: &Store,
    last: Option<&Commit>,
    wanted: &[FeaturePlanRow],
    settings: &Fingerprint,
) -> Result<OldShards> {
    let wanted: HashMap<&str, &FeaturePlanRow> = wanted.iter().map(|row| (row.recording_id.as_str(), row)).collect();
    let mut old = OldShards::new();
    for record in known_shards(store, last)? {
        let file = match TableFile::committed(store, &record, "features") {
            Err(error) if error.kind() == ErrorKind::Input => continue,
            file => file?,
        };
        let id = id_of(&record.path).to_string();
        let rows = index_of_shard(&record.file(store), &id)?;
        let originals = rows.iter().filter(|row| row.copy == 0);
        let plan: Option<Vec<Fingerprint>> =
            originals.map(|row| wanted.get(row.recording_id.as_str()).map(Fingerprint::of_value)).collect();
        let Some(plan) = plan.filter(|plan| shard_id(settings, plan) == id) else { continue };
        if file.note(UNREAD)?.as_deref() == Some("0") {
            old.insert(id, OldShard { record, rows: with_plan(rows, &plan) });
        }
    }
    Ok(old)
}

/// Rows of a shard with the plan rows that they were made from, one for each original, in order.
pub(super) fn with_plan(mut rows: Vec<FeatureIndexRow>, plan: &[Fingerprint]) -> Vec<FeatureIndexRow> {
    let mut next = plan.iter();
    let mut own = None;
    for row in &mut rows {
        if row.copy == 0 {
            own = next.next();
        }
        row.plan = own.map_or(String::new(), |plan| plan.as_str().to_string());
    }
    rows
}
