//! The store's map: the only place where a path inside it is made.
//!
//! ```text
//! <store>/tables/<name>/v<version>/*.parquet   what people query; nothing else lies in there
//! <store>/models/<model_id>/                   model.onnx, curves.svg
//! <store>/reports/<model_id>/                  report.md and its pictures
//! <store>/index/<stage>.json                   what a stage last committed: the commit itself
//! <store>/plans/<stage>/*.plan                 work cut into shards, before it is done
//! <store>/staging/<stage>/                     unfinished work; may be deleted while nothing runs
//! <store>/locks/<stage>.lock                   held while a stage runs
//! ```

use std::path::{Path, PathBuf};

/// Root of one store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// A store at `root`; nothing is made yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Its root folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Folder of a table's finished files.
    pub fn table(&self, name: &str, version: u32) -> PathBuf {
        self.root.join("tables").join(name).join(format!("v{version}"))
    }

    /// Folder of one model.
    pub fn model(&self, model_id: &str) -> PathBuf {
        self.root.join("models").join(model_id)
    }

    /// Folder of one model's report.
    pub fn report(&self, model_id: &str) -> PathBuf {
        self.root.join("reports").join(model_id)
    }

    /// What `stage` last committed.
    pub fn index(&self, stage: &str) -> PathBuf {
        self.root.join("index").join(format!("{stage}.json"))
    }

    /// A private index file of `stage`, beside its commit.
    pub fn side_index(&self, stage: &str, name: &str) -> PathBuf {
        self.root.join("index").join(stage).join(name)
    }

    /// Folder of the plan files of `stage`.
    pub fn plans(&self, stage: &str) -> PathBuf {
        self.root.join("plans").join(stage)
    }

    /// Folder for unfinished work of `stage`.
    pub fn staging(&self, stage: &str) -> PathBuf {
        self.root.join("staging").join(stage)
    }

    /// The lock of `stage`.
    pub fn lock(&self, stage: &str) -> PathBuf {
        self.root.join("locks").join(format!("{stage}.lock"))
    }
}
