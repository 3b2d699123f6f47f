//! What the stage would make, cut into shards, and what it remembers of the last time.

use std::collections::{BTreeMap, HashMap};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::augment::{Donor, Ring};
use crate::error::{ErrorKind, Result};
use crate::extract::Extractor;
use crate::split::Split;
use crate::stages::Ctx;
use crate::stages::features::shard::UNREAD;
use crate::storage::atomic;
use crate::storage::commit::Commit;
use crate::storage::fingerprint::Fingerprint;
use crate::storage::layout::Store;
use crate::storage::publish::{content_named, content_of, stem_of};
use crate::storage::record::FileRecord;
use crate::tables::feature_plan::{FeaturePlanRow, PlannedDonor, donors_to_text};
use crate::tables::features::FeatureRow;
use crate::tables::manifest::{ManifestRow, Status, sides};
use crate::tables::{TableFile, committed_rows, folder_of};

/// What was planned and done, by shard; the private memory between two runs.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct ShardIndex {
    pub(super) settings: Option<Fingerprint>,
    pub(super) shards: BTreeMap<String, ShardEntry>,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct ShardEntry {
    /// Fingerprint of each plan row, to see which shards still stand.
    pub(super) rows: Vec<Fingerprint>,
    pub(super) n_rows: u64,
    pub(super) n_rejected: u64,
}

pub(super) const SHARD_INDEX: &str = "shards.json";

/// The plan row of every recording that goes on, in the order of their ids.
pub(super) fn wanted_rows(ctx: &Ctx, extractor: &Extractor) -> Result<Vec<FeaturePlanRow>> {
    let manifest: Vec<ManifestRow> = committed_rows(&ctx.store, &Commit::require(&ctx.store, "ingest")?)?;
    let (seed, n_copies) = (ctx.pipeline.pipeline.seed, ctx.pipeline.stored_copies());
    let sides = sides(&ctx.pipeline.split, seed, n_copies, &manifest);
    let nothing = vec![None; n_copies as usize + 1];
    let sides_of = |row: &ManifestRow| sides.get(&row.recording_id).unwrap_or(&nothing).as_slice();
    let n_donors = if n_copies > 0 { extractor.chain().n_donors() } else { 0 };
    let rings = if n_donors > 0 { rings(&manifest, sides_of) } else { HashMap::new() };
    let donors = |row: &ManifestRow, content_hash: &str| {
        if n_donors == 0 {
            return String::new();
        }
        let of_copy = |copy: u32| match rings.get(&sides_of(row)[copy as usize]) {
            Some(ring) => ring.pick(seed, content_hash, copy, n_donors).into_iter().map(planned).collect(),
            None => Vec::new(),
        };
        donors_to_text(&(1..=n_copies).map(of_copy).collect::<Vec<_>>())
    };
    let row = |row: ManifestRow| {
        let content_hash = row.content_hash.clone()?;
        let names: Vec<&str> = sides_of(&row).iter().map(|side| side.map_or("", Split::name)).collect();
        Some(FeaturePlanRow {
            splits: names.join(","),
            donors: donors(&row, &content_hash),
            recording_id: row.recording_id,
            path: row.path,
            corpus: row.corpus,
            content_hash,
            emotion: row.emotion,
        })
    };
    Ok(manifest.iter().filter(|row| row.goes_on()).cloned().filter_map(row).collect())
}

/// The originals of each side, whose voices its copies may take.
fn rings<'a>(
    manifest: &'a [ManifestRow],
    sides_of: impl Fn(&ManifestRow) -> &'a [Option<Split>],
) -> HashMap<Option<Split>, Ring> {
    let mut members: HashMap<Option<Split>, Vec<Donor>> = HashMap::new();
    for row in manifest.iter().filter(|row| row.goes_on()) {
        if let Some(content_hash) = row.content_hash.clone() {
            let donor = Donor { content_hash, file: row.path.clone().into() };
            members.entry(sides_of(row)[0]).or_default().push(donor);
        }
    }
    members.into_iter().map(|(side, members)| (side, Ring::new(members))).collect()
}

fn planned(donor: &Donor) -> PlannedDonor {
    PlannedDonor { content_hash: donor.content_hash.clone(), path: donor.file.to_string_lossy().into_owned() }
}

/// The recordings of one shard.
pub(super) struct PlannedShard {
    pub(super) rows: Vec<FeaturePlanRow>,
    /// Of each row.
    pub(super) fingerprints: Vec<Fingerprint>,
}

/// Shards that still stand are kept as they are; what is left over is cut into new ones, in order.
pub(super) fn cut_into_shards(
    wanted: Vec<FeaturePlanRow>,
    old: &ShardIndex,
    settings: &Fingerprint,
    shard_recordings: usize,
) -> BTreeMap<String, PlannedShard> {
    let mut open: HashMap<Fingerprint, FeaturePlanRow> =
        wanted.into_par_iter().map(|row| (Fingerprint::of_value(&row), row)).collect();
    let mut plan = BTreeMap::new();
    for (id, entry) in &old.shards {
        if entry.rows.iter().all(|row| open.contains_key(row)) {
            let rows = entry.rows.iter().filter_map(|row| open.remove(row)).collect();
            plan.insert(id.clone(), PlannedShard { rows, fingerprints: entry.rows.clone() });
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

/// Shards that may stand: those that `last` committed; where no commit is left, those whose names hold the hash of their bytes.
pub(super) fn known_shards(store: &Store, last: Option<&Commit>) -> Result<Vec<FileRecord>> {
    let folder = folder_of::<FeatureRow>(store);
    let name = store.relative(&folder);
    if let Some(last) = last {
        return Ok(last.files.iter().filter(|file| file.path.starts_with(&name)).cloned().collect());
    }
    let mut found = Vec::new();
    for file in atomic::entries(&folder)? {
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

/// What is known of the rows of `shards`: the index that `last` committed, or, where that is lost or damaged, what the shards
/// themselves say.
///
/// Otherwise all would be cut anew, and the same recordings in other shards are other features to whoever was trained on them.
pub(super) fn read_index(
    store: &Store,
    last: Option<&Commit>,
    shards: &[FileRecord],
    wanted: &[FeaturePlanRow],
    settings: &Fingerprint,
) -> Result<ShardIndex> {
    let path = store.relative(&store.side_index("features", SHARD_INDEX));
    let record = last.into_iter().flat_map(|last| &last.files).find(|file| file.path == path);
    let read = record.map(|record| record.read(store, "features"));
    let index = match read {
        Some(Ok(bytes)) => serde_json::from_slice::<ShardIndex>(&bytes).ok(),
        Some(Err(error)) if error.kind() != ErrorKind::Input => return Err(error),
        Some(Err(_)) | None => None,
    };
    match index {
        Some(index) if index.settings.as_ref() == Some(settings) => Ok(index),
        Some(_) => Ok(ShardIndex::default()),
        None => index_of(store, shards, wanted, settings),
    }
}

/// The index of shards that are whole and were made of rows that are still wanted: a shard's id is the hash of these.
fn index_of(
    store: &Store,
    shards: &[FileRecord],
    wanted: &[FeaturePlanRow],
    settings: &Fingerprint,
) -> Result<ShardIndex> {
    #[derive(Deserialize)]
    struct Part {
        recording_id: String,
        copy: u32,
        status: Status,
    }
    let wanted: HashMap<&str, &FeaturePlanRow> = wanted.iter().map(|row| (row.recording_id.as_str(), row)).collect();
    let mut index = ShardIndex { settings: Some(settings.clone()), shards: BTreeMap::new() };
    for record in shards {
        let file = match TableFile::committed(store, record, "features") {
            Err(error) if error.kind() == ErrorKind::Input => continue,
            file => file?,
        };
        let parts: Vec<Part> = file.part::<FeatureRow, _>(&["recording_id", "copy", "status"])?;
        let originals = parts.iter().filter(|part| part.copy == 0);
        let rows: Option<Vec<Fingerprint>> =
            originals.map(|part| wanted.get(part.recording_id.as_str()).map(Fingerprint::of_value)).collect();
        let id = stem_of(&record.path).rsplit("part-").next().unwrap_or_default();
        let Some(rows) = rows.filter(|rows| shard_id(settings, rows) == id) else { continue };
        if file.note(UNREAD)?.as_deref() == Some("0") {
            let n_rejected = parts.iter().filter(|part| part.status == Status::Rejected).count() as u64;
            index.shards.insert(id.to_string(), ShardEntry { rows, n_rows: parts.len() as u64, n_rejected });
        }
    }
    Ok(index)
}

fn shard_id(settings: &Fingerprint, rows: &[Fingerprint]) -> String {
    Fingerprint::of_value(&(settings, rows)).short().to_string()
}
