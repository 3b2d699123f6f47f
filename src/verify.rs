//! What is on disk against what was committed: every file of a store is read and hashed.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;

use crate::error::{Error, ErrorKind, Result};
use crate::stages::driver::ledger_entry;
use crate::stages::{STAGES, train};
use crate::storage::atomic;
use crate::storage::commit::Commit;
use crate::storage::layout::Store;
use crate::storage::publish::{content_named, content_of, stem_of};
use crate::storage::record::{FileRecord, State};
use crate::tables::blobs::BlobFile;
use crate::tables::folder_of;
use crate::tables::runs::RunRow;
use crate::tables::spectrograms::{FeatureIndex, shards_of};

/// What helps against files that no commit names.
const NOT_OURS: &str = "it is not sermill's, or older than its commits: move it away if readers of the table find it";

/// The slot of scored folders.
const INPUT_SLOT: &str = "score-input";

/// What was found about one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Relative to the store.
    pub path: String,
    /// `damaged`, `gone`, or `unknown`: no commit names it.
    pub state: &'static str,
    /// The command that makes it whole again, or what else helps.
    pub heal: String,
    /// Of a damaged shard, the recordings whose spectrograms are not what was written; `<recording_id>` or `<recording_id> copy <n>`.
    pub spectrograms: Vec<String>,
}

/// What became of a whole store.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Files that were read, and their bytes.
    pub n_files: u64,
    pub n_bytes: u64,
    pub findings: Vec<Finding>,
}

impl Verdict {
    /// Whether nothing that was committed is damaged or gone.
    pub fn is_whole(&self) -> bool {
        self.findings.iter().all(|finding| finding.state == "unknown")
    }

    fn add(&mut self, path: String, state: &'static str, heal: String) {
        self.findings.push(Finding { path, state, heal, spectrograms: Vec::new() });
    }
}

/// Reads every file that a commit of the store names, every checkpoint and every row of the ledger.
///
/// Errors: kind `Input` where there is no store; `Unreadable` or `Machine` where something cannot be read.
/// Proof: `every_damage_to_a_committed_file_is_named`.
pub fn verify(store: &Store) -> Result<Verdict> {
    let slots: Vec<String> = store.depot().list("index")?.iter().filter_map(|name| slot_of(name)).collect();
    if slots.is_empty() {
        let hint = "name the folder that --store names in other commands, or the --pipeline whose store it is";
        return Err(Error::input("is no store: it holds no commit").at(store.root()).hint(hint));
    }
    let mut verdict = Verdict::default();
    let mut known: Vec<String> = Vec::new();
    for slot in &slots {
        let commit = match Commit::read(store, slot) {
            Ok(Some(commit)) => commit,
            Ok(None) => continue,
            Err(error) if error.kind() == ErrorKind::Input => {
                verdict.add(Store::index_key(slot), "damaged", heal_of(slot));
                continue;
            }
            Err(error) => return Err(error),
        };
        verdict.n_files += 1;
        check(store, &commit.files, &heal_of(slot), &mut verdict)?;
        let again = format!("{} with the recipe that made it, or remove it", heal_of(slot));
        check(store, &commit.earlier, &again, &mut verdict)?;
        if slot == "features" {
            name_spectrograms(store, &commit, &mut verdict)?;
        }
        known.extend(commit.files.into_iter().chain(commit.earlier).map(|file| file.path));
    }
    checkpoints(store, &mut verdict)?;
    ledger(store, &slots, &mut verdict)?;
    unknown(store, &known, &mut verdict)?;
    Ok(verdict)
}

/// The slot of a commit's file.
fn slot_of(name: &str) -> Option<String> {
    let name = name.strip_suffix(".json")?;
    // Other files there are somebody's own.
    let is_slot = STAGES.iter().any(|stage| stage.name() == name) || name == INPUT_SLOT;
    is_slot.then(|| name.to_string())
}

fn heal_of(slot: &str) -> String {
    let known = STAGES.iter().find(|stage| stage.name() == slot);
    match known {
        Some(stage) => format!("sermill {}", stage.name()),
        None => format!("sermill {}", slot.replace("-input", " --input DIR")),
    }
}

fn check(store: &Store, records: &[FileRecord], heal: &str, verdict: &mut Verdict) -> Result<()> {
    let states: Vec<State> = records.par_iter().map(|file| file.state(store)).collect::<Result<_>>()?;
    for (file, state) in records.iter().zip(states) {
        verdict.n_files += 1;
        verdict.n_bytes += file.content.n_bytes;
        match state {
            State::Whole => {}
            State::Gone => verdict.add(file.path.clone(), "gone", heal.to_string()),
            State::Damaged => verdict.add(file.path.clone(), "damaged", heal.to_string()),
        }
    }
    Ok(())
}

/// Says of the damaged shards of `features` which spectrograms are no longer what was written; its index knows the CRC of each.
fn name_spectrograms(store: &Store, features: &Commit, verdict: &mut Verdict) -> Result<()> {
    let is_damaged = |path: &str| verdict.findings.iter().any(|found| found.path == path && found.state == "damaged");
    if !shards_of(store, features).iter().any(|shard| is_damaged(&shard.path)) {
        return Ok(());
    }
    let index = match FeatureIndex::read(store, features) {
        Err(error) if error.kind() == ErrorKind::Input => return Ok(()),
        index => index?,
    };
    let mut scratch = Vec::new();
    for row in 0..index.rows.len() {
        let Some(found) = verdict.findings.iter_mut().find(|found| found.path == index.shard(row)) else { continue };
        let (Some(place), indexed) = (index.place(row), &index.rows[row]) else { continue };
        let shard = match BlobFile::known(&store.root().join(&found.path), false) {
            Err(error) if error.kind() == ErrorKind::Input => continue,
            shard => shard?,
        };
        match shard.read_checked(place.offset, indexed.n_bytes(), place.crc32, &mut scratch) {
            Err(error) if error.kind() == ErrorKind::Input => found.spectrograms.push(match indexed.copy {
                0 => indexed.recording_id.clone(),
                copy => format!("{} copy {copy}", indexed.recording_id),
            }),
            read => read.map(|_| ())?,
        }
    }
    Ok(())
}

/// Checkpoints hold their own hash.
fn checkpoints(store: &Store, verdict: &mut Verdict) -> Result<()> {
    for path in atomic::entries(&store.side_index("train", ""))? {
        if path.extension().is_none_or(|end| end != "checkpoint") {
            continue;
        }
        verdict.n_files += 1;
        match train::check_checkpoint(&path) {
            Ok(n_bytes) => verdict.n_bytes += n_bytes,
            Err(error) if error.kind() == ErrorKind::Input => {
                verdict.add(store.relative(&path), "damaged", "move it away, and train from the beginning".into());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The ledger: each file's name holds its hash, and each run's stage has a commit.
fn ledger(store: &Store, slots: &[String], verdict: &mut Verdict) -> Result<()> {
    let mut entered: BTreeMap<String, Option<String>> = BTreeMap::new();
    for path in atomic::entries(&folder_of::<RunRow>(store))? {
        let name = store.relative(&path);
        if stem_of(&name) == name {
            verdict.add(name, "unknown", NOT_OURS.into());
            continue;
        }
        let Some(content) = content_of(&path)? else { continue };
        verdict.n_files += 1;
        verdict.n_bytes += content.n_bytes;
        let run_id = stem_of(&name).rsplit('/').next().unwrap_or_default().to_string();
        let is_whole = name == content_named(stem_of(&name), &content);
        entered.insert(run_id, (!is_whole).then_some(name));
    }
    let ran: BTreeSet<&str> = entered.keys().filter_map(|run_id| Some(run_id.split_once('-')?.1)).collect();
    for slot in ran.into_iter().filter(|slot| !slots.iter().any(|known| known == slot)) {
        verdict.add(Store::index_key(slot), "gone", heal_of(slot));
    }
    // The last run of each stage is entered again by the next.
    for slot in slots {
        let Some(commit) = Commit::read_sound(store, slot)? else { continue };
        match entered.remove(&commit.run_id) {
            Some(None) => {}
            Some(Some(name)) => verdict.add(name, "damaged", heal_of(slot)),
            None => {
                verdict.add(ledger_entry(store, &commit)?.0.path, "gone", heal_of(slot));
            }
        }
    }
    for name in entered.into_values().flatten() {
        verdict.add(name, "damaged", "move it away: the run is over, and no stage reads it".into());
    }
    Ok(())
}

/// Files in the folders of committed tables that no commit names: a reader of the folder reads them too.
fn unknown(store: &Store, known: &[String], verdict: &mut Verdict) -> Result<()> {
    let mut folders: Vec<&str> = known.iter().filter_map(|path| Some(path.rsplit_once('/')?.0)).collect();
    folders.sort_unstable();
    folders.dedup();
    for folder in folders.into_iter().filter(|folder| folder.starts_with("tables/")) {
        for name in store.depot().list(folder)? {
            let key = format!("{folder}/{name}");
            if !known.contains(&key) {
                verdict.add(key, "unknown", NOT_OURS.into());
            }
        }
    }
    Ok(())
}
