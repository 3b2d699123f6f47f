//! A plan on disk: all that a worker needs beside the recordings.
//!
//! ```text
//! plans/<stage>/<plan_id>/plan.json                 what is planned, sealed by its own hash
//! plans/<stage>/<plan_id>/parts/part-00000.parquet  rows of the first 1,024 shards: row group k is shard k
//! plans/<stage>/<plan_id>/listing.parquet           files that the plan found, where it lists folders
//! plans/<stage>/<plan_id>/model.onnx                the model, where one is asked
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::Pipeline;
use crate::error::{Error, Result};
use crate::files;
use crate::stages::shards::seen::PassedOvers;
use crate::stages::shards::{Seen, shard_id};
use crate::stages::{Ctx, Inputs};
use crate::storage::commit::{CommitRef, GIT_COMMIT};
use crate::storage::fingerprint::Fingerprint;
use crate::storage::record::Content;
use crate::storage::seal::{Seal, unseal};
use crate::storage::settings::Settings;
use crate::tables::listing::ListingRow;
use crate::tables::{Row, TableFile, read_group};

/// Raised when the form of a plan changes.
pub(super) const FORMAT: u32 = 1;
/// Shards whose rows lie in one part.
pub(super) const PART_SHARDS: usize = 1024;
/// Largest plan that is read: some ten million shards.
const LIMIT: u64 = 1 << 30;

/// Names in a plan's folder.
pub(super) const PLAN: &str = "plan.json";
pub(super) const PARTS: &str = "parts";
pub(super) const LISTING: &str = "listing.parquet";
pub(super) const MODEL: &str = "model.onnx";

/// One shard of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedShard {
    pub id: String,
    /// Rows of its plan.
    pub n_rows: usize,
}

/// `plan.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanFile {
    pub format: u32,
    pub stage: String,
    /// Name of the stage's commit and lock.
    pub slot: String,
    /// Hash of all the rest.
    pub plan_id: String,
    /// Version of the program, and the commit of its source where that is known: workers are of the same.
    pub version: String,
    pub git_commit: String,
    /// The stage's settings and the revision of its code.
    pub settings: Settings,
    /// The whole recipe.
    pub pipeline: Pipeline,
    /// Absolute paths, as text.
    pub store: String,
    pub corpora: String,
    pub input: Option<String>,
    /// What the stage reads.
    pub inputs: Inputs,
    pub reads: BTreeMap<String, CommitRef>,
    /// What the stage had committed.
    pub last: Option<CommitRef>,
    /// Recordings in a shard, where the recipe does not say it.
    pub shard_recordings: usize,
    /// In their order.
    pub shards: Vec<PlannedShard>,
    /// The parts that hold their rows.
    pub parts: Vec<Content>,
    /// Files that were found, where folders were listed.
    pub listing: Option<Content>,
    pub passed_over: PassedOvers,
    pub model: Option<Content>,
}

impl PlanFile {
    /// The hash of all that it says but for its id.
    pub fn id(&self) -> String {
        Fingerprint::of_value(&Self { plan_id: String::new(), ..self.clone() }).short().to_string()
    }
}

/// Name of the part that holds the rows of a shard.
pub(super) fn part_name(part: usize) -> String {
    format!("part-{part:05}.parquet")
}

/// A plan and where it lies.
#[derive(Clone, Debug)]
pub struct PlanFolder {
    pub folder: PathBuf,
    pub plan: PlanFile,
}

impl PlanFolder {
    /// Reads a plan; `None` where there is none.
    ///
    /// Errors: kind `Input` for one that is damaged, or of another form.
    pub fn open(folder: &Path) -> Result<Option<Self>> {
        let file = folder.join(PLAN);
        let bytes = match files::read(&file, LIMIT) {
            Ok(bytes) => bytes,
            Err(error) if files::is_nothing(&error) => return Ok(None),
            Err(error) => return Err(Error::reading("cannot read plan", error).at(&file)),
        };
        let damaged = || Error::input("the plan is damaged").at(&file).hint(AGAIN);
        let mut value: Value = serde_json::from_slice(&bytes).map_err(|error| damaged().because(error))?;
        if unseal(&mut value)? != Seal::Sound {
            return Err(damaged());
        }
        if value.get("format").and_then(Value::as_u64) != Some(FORMAT.into()) {
            return Err(Error::input("the plan was made by another version of sermill").at(&file).hint(AGAIN));
        }
        let plan: PlanFile = serde_json::from_value(value).map_err(|error| damaged().because(error))?;
        if plan.id() != plan.plan_id {
            return Err(damaged());
        }
        Ok(Some(Self { folder: folder.to_path_buf(), plan }))
    }

    /// Refuses a plan that another program made: its shards would have other bytes.
    ///
    /// `settings` are those of the plan's recipe by this program.
    pub fn check_program(&self, settings: &Settings) -> Result<()> {
        let plan = &self.plan;
        let refuse = |what: String| {
            let hint =
                "run this with the program that made the plan, or make the plan again with this one: sermill plan";
            Err(Error::input(what).at(self.folder.join(PLAN)).hint(hint))
        };
        let here = env!("CARGO_PKG_VERSION");
        if (plan.version.as_str(), plan.git_commit.as_str()) != (here, GIT_COMMIT) {
            let (version, commit) = (&plan.version, &plan.git_commit);
            return refuse(format!("was made by sermill {version} of commit {commit}, this is {here} of {GIT_COMMIT}"));
        }
        match plan.settings.difference(settings) {
            Some(difference) => refuse(format!(
                "was made with {} = {}, this program has {}",
                difference.name, difference.then, difference.now
            )),
            None => Ok(()),
        }
    }

    /// Ids of its shards, in their order.
    pub fn ids(&self) -> Vec<&str> {
        self.plan.shards.iter().map(|shard| shard.id.as_str()).collect()
    }

    /// The rows of the shard at position `at`: one footer and one row group are read.
    ///
    /// Errors: kind `Input` for rows that do not make the shard's id.
    pub fn rows<R: Row>(&self, at: usize) -> Result<Vec<R>> {
        let file = self.folder.join(PARTS).join(part_name(at / PART_SHARDS));
        let rows = read_group::<R>(&file, at % PART_SHARDS).map_err(|error| error.hint(AGAIN))?;
        let fingerprints: Vec<Fingerprint> = rows.iter().map(Fingerprint::of_value).collect();
        if shard_id(&self.plan.settings.fingerprint(), &fingerprints) != self.plan.shards[at].id {
            let what = format!("the plan is damaged: its rows are not those of shard `{}`", self.plan.shards[at].id);
            return Err(Error::input(what).at(&file).hint(AGAIN));
        }
        Ok(rows)
    }

    /// What the plan went by.
    ///
    /// Errors: kind `Input` for a listing or a model that is damaged.
    pub fn seen(&self, ctx: &Ctx) -> Result<Seen> {
        let rows = match &self.plan.listing {
            Some(content) => {
                let (_, file) = self.checked(LISTING, content)?;
                TableFile::open(&file)?.rows::<ListingRow>()?
            }
            None => Vec::new(),
        };
        let corpora = &ctx.pipeline.ingest.corpus;
        let place = |name: &str| match name {
            "" => ctx.input.clone(),
            name => corpora.iter().find(|root| root.name == name).map(|root| ctx.corpora.join(&root.root)),
        };
        let seen = Seen::from_rows(rows, self.plan.passed_over.clone(), place)?;
        Ok(Seen { model: self.model()?, ..seen })
    }

    /// What of it workers need: the model alone.
    ///
    /// Errors: kind `Input` for one that is damaged.
    pub fn seen_by_workers(&self) -> Result<Seen> {
        Ok(Seen { model: self.model()?, ..Seen::default() })
    }

    fn model(&self) -> Result<Bytes> {
        match &self.plan.model {
            Some(content) => Ok(self.checked(MODEL, content)?.0),
            None => Ok(Bytes::new()),
        }
    }

    fn checked(&self, name: &str, content: &Content) -> Result<(Bytes, PathBuf)> {
        let file = self.folder.join(name);
        let bytes = match files::read(&file, content.n_bytes.saturating_add(1)) {
            Ok(bytes) => bytes,
            Err(error) => return Err(Error::reading("cannot read a file of the plan", error).at(&file).hint(AGAIN)),
        };
        if Content::of(&bytes) != *content {
            return Err(Error::input("the plan is damaged").at(&file).hint(AGAIN));
        }
        Ok((bytes.into(), file))
    }
}

/// What helps against a damaged plan.
const AGAIN: &str = "run `sermill plan` again: the same plan is written anew, and finished shards are kept";
