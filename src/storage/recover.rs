//! What a killed run of a stage left is finished, or taken back so that the old commit is whole again.
//!
//! A commit has four steps: it is announced; its folders change, and what they held is kept aside; it becomes the commit by a
//! rename; what was kept is removed. Killed before the third step a run is finished if all its files are in their places, and
//! else taken back: files of the old commit leave where they were kept for their folders, each of which changes in one step again.
//! Killed after it, what was kept is removed. Every step can be broken off and begun again.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Result;
use crate::storage::atomic;
use crate::storage::commit::{Commit, exists};
use crate::storage::depot::{Change, Kept, split_key};
use crate::storage::layout::Store;
use crate::storage::publish::{content_at, is_content_named, not_whole};
use crate::storage::record::{FileRecord, State};

/// Finishes or takes back what a killed run of `stage` left; whoever calls it holds the stage's lock.
///
/// Gives the keys that it may have left in tables and that no commit stands for: there are some only where no old commit was.
/// Proof: `src/storage/recover_proof.rs`, `make torture`.
pub fn recover(store: &Store, stage: &str) -> Result<BTreeSet<String>> {
    let (depot, room) = (store.depot(), Store::staging_key(stage));
    let pending = Commit::read_pending(store, stage)?;
    let committed = Commit::read_sound(store, stage)?;
    let ours: BTreeSet<String> = pending.iter().chain(&committed).flat_map(Commit::paths).collect();
    let ours = pending.is_some().then_some(&ours);
    let mut kept = depot.kept(&room, ours)?;
    atomic::clear_temporaries(&store.staging(stage))?;
    if let Some(pending) = &pending
        && is_in_place(store, pending, committed.as_ref())?
    {
        pending.publish(store)?;
        kept.iter().try_for_each(|kept| depot.forget(kept))?;
        return Ok(BTreeSet::new());
    }
    if let Some(committed) = &committed {
        take_back(store, &room, committed, pending.as_ref(), &kept)?;
        kept = depot.kept(&room, ours)?;
    }
    let Some(pending) = pending else {
        kept.iter().try_for_each(|kept| depot.forget(kept))?;
        return Ok(BTreeSet::new());
    };
    // What the killed run made may be used again, under its own name.
    for (kept, name) in kept.iter().flat_map(|kept| kept.names.iter().map(move |name| (kept, name))) {
        if is_content_named(name) {
            depot.rename(&kept.key(name), &format!("{room}/{name}"))?;
        }
    }
    kept.iter().try_for_each(|kept| depot.forget(kept))?;
    if committed.is_none() {
        return Ok(pending.paths());
    }
    depot.remove(&Store::pending_key(stage))?;
    Ok(BTreeSet::new())
}

/// Whether all files of a commit that was announced are in their places, and none is left that it would drop.
fn is_in_place(store: &Store, pending: &Commit, committed: Option<&Commit>) -> Result<bool> {
    let now: BTreeSet<&str> = pending.records().map(|file| file.path.as_str()).collect();
    let before: BTreeSet<String> = committed.into_iter().chain([pending]).flat_map(Commit::paths).collect();
    for key in before.iter().filter(|key| !now.contains(key.as_str())) {
        if exists(store, key)? {
            return Ok(false);
        }
    }
    Ok(not_whole(store, &pending.files)?.is_empty())
}

/// Brings every folder back to what `committed` names: with what was kept, and without what `pending` alone names.
fn take_back(store: &Store, room: &str, committed: &Commit, pending: Option<&Commit>, kept: &[Kept]) -> Result<()> {
    let mut changes: BTreeMap<&str, Change> = BTreeMap::new();
    let standing: BTreeMap<&str, &FileRecord> =
        committed.records().map(|record| (record.path.as_str(), record)).collect();
    let mut found: BTreeSet<&str> = BTreeSet::new();
    for (kept, name) in kept.iter().flat_map(|kept| kept.names.iter().map(move |name| (kept, name))) {
        let Some(record) = standing.get(format!("{}/{name}", kept.folder).as_str()) else { continue };
        let key = kept.key(name);
        if !found.contains(record.path.as_str())
            && content_at(store, &key)?.as_ref() == Some(&record.content)
            && record.state(store)? != State::Whole
        {
            found.insert(&record.path);
            changes.entry(&kept.folder).or_insert_with(|| Change::of(&kept.folder)).added.push((key, name.clone()));
        }
    }
    let new = pending.map(Commit::paths).unwrap_or_default();
    for key in new.iter().filter(|key| !standing.contains_key(key.as_str())) {
        if exists(store, key)? {
            let (folder, name) = split_key(key)?;
            changes.entry(folder).or_insert_with(|| Change::of(folder)).dropped.insert(name.into());
        }
    }
    changes.values().try_for_each(|change| store.depot().reveal(room, change))
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
#[path = "recover_proof.rs"]
mod proof;
