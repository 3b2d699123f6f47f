//! What must survive a kill: the trainer's state, the best weights so far, and the history.
//!
//! File: `SERMILLC`, then three parts, each a u64 length (little-endian) and its bytes: JSON, trainer state, best weights.

use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::network::spec::NetworkSpec;
use crate::network::state::TrainerState;
use crate::storage::atomic;
use crate::tables::history::HistoryRow;

const MAGIC: &[u8; 8] = b"SERMILLC";

/// A run as it stands after its last whole epoch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checkpoint {
    log: Log,
    /// Trainer state after the last epoch.
    last: Vec<u8>,
    /// Trainer state after the best epoch.
    best: Vec<u8>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Log {
    history: Vec<HistoryRow>,
}

impl Checkpoint {
    /// Reads a checkpoint; `None` when there is none.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::machine("cannot read checkpoint").at(path).because(error)),
        };
        let damaged =
            || Error::input("the checkpoint is damaged").at(path).hint("delete it to train from the beginning");
        let mut rest = bytes.strip_prefix(MAGIC.as_slice()).ok_or_else(damaged)?;
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
        atomic::publish(staging, path, |out| {
            let mut put = |bytes: &[u8]| out.write_all(bytes);
            put(MAGIC)
                .and_then(|()| {
                    [&log, &self.last, &self.best].into_iter().try_for_each(|part| {
                        put(&(part.len() as u64).to_le_bytes())?;
                        put(part)
                    })
                })
                .map_err(|error| Error::machine("cannot write checkpoint").at(path).because(error))
        })
    }

    /// Adds an epoch; a better monitored accuracy than ever before makes its weights the best.
    pub fn add(&mut self, mut row: HistoryRow, state: &TrainerState) {
        self.last = state.to_bytes();
        let best =
            self.log.history.iter().find(|row| row.is_best).map_or(f64::NEG_INFINITY, |row| row.monitored_accuracy);
        if row.monitored_accuracy > best {
            self.log.history.iter_mut().for_each(|row| row.is_best = false);
            row.is_best = true;
            self.best = self.last.clone();
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

    /// State of the best epoch.
    pub fn best_state(&self, spec: &NetworkSpec) -> Result<TrainerState> {
        TrainerState::from_bytes(spec, &self.best)
    }
}
