//! The store's map: the only place where a key or a path inside it is made.
//!
//! ```text
//! <store>/tables/<name>/v<version>/*.parquet   what people query; nothing else lies in there
//! <store>/models/<model_id>/                   model.onnx, curves.svg
//! <store>/reports/<model_id>/                  report.md and its pictures
//! <store>/index/<stage>.json                   what a stage last committed: the commit itself
//! <store>/index/<stage>.pending.json           what it is about to commit; there for a moment, or after a crash
//! <store>/plans/<stage>/<plan_id>/             work cut into shards for other processes, until it is committed
//! <store>/staging/<stage>/<plan_id>/           what they have finished of it
//! <store>/staging/<stage>/                     unfinished work, and what a commit replaces until it stands; may be deleted
//!                                              while nothing runs and no index/<stage>.pending.json is there
//! <store>/locks/<stage>.lock                   held while a stage runs
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::files::is_plain_name;
use crate::storage::depot::Depot;
use crate::storage::depot::folder::Folder;

/// One store: what lies in it goes through its depot, by keys. Paths are for libraries that want files.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    depot: Arc<dyn Depot>,
}

impl Store {
    /// A store in the folder `root`; nothing is made yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        Self { depot: Arc::new(Folder::new(&root)), root }
    }

    /// The same store through another door.
    #[cfg(test)]
    pub(super) fn through(&self, depot: Arc<dyn Depot>) -> Self {
        Self { root: self.root.clone(), depot }
    }

    /// Where its objects lie.
    pub fn depot(&self) -> &dyn Depot {
        self.depot.as_ref()
    }

    /// Its root folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Folder of a table's finished files.
    pub fn table(&self, name: &str, version: u32) -> PathBuf {
        self.root.join(Self::table_key(name, version))
    }

    /// Folder of one model, relative to the store.
    ///
    /// Errors: kind `Input` for a name that is no plain one: a model file may come from anywhere.
    pub fn model(model_id: &str) -> Result<String> {
        Ok(format!("models/{}", plain(model_id)?))
    }

    /// Folder of one model's report, relative to the store; errors as those of [`Store::model`].
    pub fn report(model_id: &str) -> Result<String> {
        Ok(format!("reports/{}", plain(model_id)?))
    }

    /// Key of a table's folder.
    pub fn table_key(name: &str, version: u32) -> String {
        format!("tables/{name}/v{version}")
    }

    /// Key of what `stage` last committed.
    pub fn index_key(stage: &str) -> String {
        format!("index/{stage}.json")
    }

    /// Key of what `stage` is about to commit.
    pub fn pending_key(stage: &str) -> String {
        format!("index/{stage}.pending.json")
    }

    /// Key of the folder for unfinished work of `stage`.
    pub fn staging_key(stage: &str) -> String {
        format!("staging/{stage}")
    }

    /// The key of a path below the root; a path elsewhere as it is.
    pub fn relative(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).to_string_lossy().into_owned()
    }

    /// What `stage` is about to commit.
    pub fn pending(&self, stage: &str) -> PathBuf {
        self.root.join(Self::pending_key(stage))
    }

    /// What `stage` last committed.
    pub fn index(&self, stage: &str) -> PathBuf {
        self.root.join(Self::index_key(stage))
    }

    /// A private index file of `stage`, beside its commit.
    pub fn side_index(&self, stage: &str, name: &str) -> PathBuf {
        self.root.join("index").join(stage).join(name)
    }

    /// Folder of the plans of `stage`.
    pub fn plans(&self, stage: &str) -> PathBuf {
        self.root.join("plans").join(stage)
    }

    /// Folder for unfinished work of `stage`.
    pub fn staging(&self, stage: &str) -> PathBuf {
        self.root.join(Self::staging_key(stage))
    }

    /// Folder for finished shards of one plan of `stage`.
    pub fn staging_of_plan(&self, stage: &str, plan_id: &str) -> PathBuf {
        self.staging(stage).join(plan_id)
    }

    /// The lock of `stage`.
    pub fn lock(&self, stage: &str) -> PathBuf {
        self.root.join("locks").join(format!("{stage}.lock"))
    }
}

fn plain(model_id: &str) -> Result<&str> {
    if is_plain_name(model_id) {
        return Ok(model_id);
    }
    let shown: String = model_id.chars().take(40).collect();
    Err(Error::input(format!("`{}` is no name of a model", shown.escape_debug()))
        .hint("a model's name has up to 80 letters, digits, `-` and `_`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_from_a_model_file_never_leads_elsewhere() {
        for wrong in ["../models", "../../tables", "/abs/evil", "", ".", "a/b", "a\0b", &"x".repeat(300)] {
            assert!(Store::model(wrong).is_err() && Store::report(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Store::model("paper-0123").expect("plain"), "models/paper-0123");
    }
}
