//! What must survive a kill: the trainer's state, the best weights so far, and the history.
//!
//! File: `SERMILLD`, then three parts, each a u64 length (little-endian) and its bytes: JSON, trainer state, best weights; then
//! the BLAKE3 of all that (32 bytes), because one bit of a weight is enough for another model.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::config::learning::Keep;
use crate::error::{Error, Result};
use crate::files;
use crate::network::spec::NetworkSpec;
use crate::network::state::TrainerState;
use crate::storage::atomic;
use crate::tables::history::HistoryRow;

const MAGIC: &[u8; 8] = b"SERMILLD";
/// How those of version 0.1.0 begin, which hold no hash: they count as none.
const UNSEALED: &[u8; 8] = b"SERMILLC";

/// A run as it stands after its last whole epoch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checkpoint {
    log: Log,
    /// Trainer state after the last epoch.
    last: Vec<u8>,
    /// Trainer state after the best epoch; nothing where the last one counts.
    best: Vec<u8>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Log {
    history: Vec<HistoryRow>,
}

impl Checkpoint {
    /// Reads a checkpoint; `None` when there is none that holds its hash.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        let bytes = match files::read(path, u64::MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::reading("cannot read checkpoint", error).at(path)),
        };
        if bytes.starts_with(UNSEALED) {
            return Ok(None);
        }
        let damaged =
            || Error::input("the checkpoint is damaged").at(path).hint("move it away to train from the beginning");
        let (sealed, seal) = bytes.split_last_chunk::<32>().ok_or_else(damaged)?;
        if !sealed.starts_with(MAGIC) || blake3::hash(sealed) != *seal {
            return Err(damaged());
        }
        let mut rest = &sealed[MAGIC.len()..];
        let mut parts = Vec::new();
        for _ in 0..3 {
            let (length, after) = rest.split_first_chunk::<8>().ok_or_else(damaged)?;
            let (part, after) = after.split_at_checked(u64::from_le_bytes(*length) as usize).ok_or_else(damaged)?;
            parts.push(part.to_vec());
            rest = after;
        }
        let log = serde_json::from_slice(&parts[0]).map_err(|error| damaged().because(error))?;
        let best = parts.pop().unwrap_or_default();
        let last = parts.pop().unwrap_or_default();
        Ok(Some(Self { log, last, best }))
    }

    /// Replaces the checkpoint file.
    pub fn publish(&self, staging: &Path, path: &Path) -> Result<()> {
        let log =
            serde_json::to_vec(&self.log).map_err(|error| Error::bug("a history has no JSON form").because(error))?;
        let mut bytes = MAGIC.to_vec();
        for part in [&log, &self.last, &self.best] {
            bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part);
        }
        let seal = blake3::hash(&bytes);
        bytes.extend_from_slice(seal.as_bytes());
        atomic::publish_bytes(staging, path, &bytes).map(|_| ())
    }

    /// Adds an epoch; a better monitored accuracy than ever before makes its weights the best, and so does being the last
    /// where that is what counts.
    pub fn add(&mut self, mut row: HistoryRow, state: &TrainerState, keep: Keep) {
        self.last = state.to_bytes();
        let best = self.log.history.iter().find(|row| row.is_best).and_then(|row| row.monitored_accuracy);
        let is_better = row.monitored_accuracy.is_some_and(|now| best.is_none_or(|best| now > best));
        if keep == Keep::Last || is_better {
            self.log.history.iter_mut().for_each(|row| row.is_best = false);
            row.is_best = true;
            self.best = if keep == Keep::Last { Vec::new() } else { self.last.clone() };
        }
        self.log.history.push(row);
    }

    /// Whole epochs so far.
    pub fn epochs_done(&self) -> usize {
        self.log.history.len()
    }

    /// Epochs since the best one.
    pub fn epochs_without_better(&self) -> usize {
        self.log.history.iter().rev().take_while(|row| !row.is_best).count()
    }

    /// The history as rows of a model.
    pub fn history_of(&self, model_id: &str) -> Vec<HistoryRow> {
        self.log.history.iter().map(|row| HistoryRow { model_id: model_id.into(), ..row.clone() }).collect()
    }

    /// State to go on from.
    pub fn last_state(&self, spec: &NetworkSpec) -> Result<TrainerState> {
        TrainerState::from_bytes(spec, &self.last)
    }

    /// State of the epoch that becomes the model.
    pub fn best_state(&self, spec: &NetworkSpec) -> Result<TrainerState> {
        let is_last = self.log.history.last().is_some_and(|row| row.is_best);
        TrainerState::from_bytes(spec, if is_last { &self.last } else { &self.best })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_comes_back_to_the_bit_and_no_damage_to_it_is_believed() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("a.checkpoint");
        assert_eq!(Checkpoint::read(&path).expect("nothing"), None);
        // Fractions that a shortened text does not give back: every n/d up to 100 is tried.
        let fractions = (2..100).flat_map(|d| (1..d).map(move |n| f64::from(n) / f64::from(d)));
        let history = fractions.map(|monitored_accuracy| HistoryRow {
            monitored_accuracy: Some(monitored_accuracy),
            ..HistoryRow::default()
        });
        let log = Log { history: history.collect() };
        let checkpoint = Checkpoint { log, last: vec![1; 100], best: vec![2; 50] };
        checkpoint.publish(folder.path(), &path).expect("written");
        assert_eq!(Checkpoint::read(&path).expect("sound").as_ref(), Some(&checkpoint));
        let small = Checkpoint { log: Log::default(), last: vec![1; 100], best: vec![2; 50] };
        small.publish(folder.path(), &path).expect("written");
        let bytes = std::fs::read(&path).expect("read");
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 1 << (at % 8);
            atomic::publish_bytes(folder.path(), &path, &other).expect("written");
            let error = Checkpoint::read(&path).expect_err("one bit is off");
            assert!(error.to_string().contains("a.checkpoint"), "byte {at}: {error}");
        }
        for length in 0..bytes.len() {
            atomic::publish_bytes(folder.path(), &path, &bytes[..length]).expect("written");
            Checkpoint::read(&path).expect_err("cut short");
        }
    }
}
