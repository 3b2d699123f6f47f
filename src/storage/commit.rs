//! What a stage last committed, and whether that still stands for today's settings and inputs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::storage::atomic;
use crate::storage::fingerprint::Fingerprint;
use crate::storage::layout::Store;

/// The record that makes a stage's output count: readers of our own go through it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Commit {
    /// Which stage.
    pub stage: String,
    /// The run that made it, as in the `runs` table.
    pub run_id: String,
    /// The stage's own settings and the revision of its code.
    pub settings: Fingerprint,
    /// What it read, by name.
    pub inputs: BTreeMap<String, Fingerprint>,
    /// What it made.
    pub output: Fingerprint,
    /// Files that make up the output, relative to their table's folder.
    pub files: Vec<String>,
    /// Facts a later stage needs, such as the model's id.
    pub facts: BTreeMap<String, String>,
    /// Rejected recordings among the output: a fresh stage still ends with exit code 1.
    pub n_rejected: u64,
}

impl Commit {
    /// Reads the commit of `stage`; `None` when it never finished on this store.
    pub fn read(store: &Store, stage: &str) -> Result<Option<Self>> {
        let path = store.index(stage);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::machine("cannot read index").at(path).because(error)),
        };
        serde_json::from_str(&text).map(Some).map_err(|error| {
            Error::input("the index is damaged")
                .at(&path)
                .because(error)
                .hint(format!("delete it and run `{stage}` again"))
        })
    }

    /// Reads the commit of `stage`, or says which command makes it.
    pub fn require(store: &Store, stage: &str) -> Result<Self> {
        Self::read(store, stage)?.ok_or_else(|| {
            Error::input(format!("`{stage}` has not been run on this store"))
                .at(store.root())
                .hint(format!("run `sermill {stage}` with the same --pipeline and --store first"))
        })
    }

    /// Makes this the commit of its stage.
    pub fn publish(&self, store: &Store) -> Result<()> {
        let text =
            serde_json::to_vec_pretty(self).map_err(|error| Error::bug("a commit has no JSON form").because(error))?;
        atomic::publish_bytes(&store.staging(&self.stage), &store.index(&self.stage), &text)
    }

    /// Why this commit no longer stands for `settings` and `inputs`; `None` when it does.
    pub fn stale_because(&self, settings: &Fingerprint, inputs: &BTreeMap<String, Fingerprint>) -> Option<String> {
        if self.settings != *settings {
            return Some("its settings or its code changed".into());
        }
        inputs
            .iter()
            .find(|(name, now)| self.inputs.get(*name) != Some(now))
            .map(|(name, _)| format!("{name} changed"))
            .or_else(|| (self.inputs.len() != inputs.len()).then(|| "it reads other inputs now".into()))
    }
}
