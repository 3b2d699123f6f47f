//! A pipeline file: the complete recipe of a run, every number in it, unknown keys refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::audio::Budget;
use crate::augment::{self, AugmentConfig, Wanted, When};
use crate::corpora::Options;
use crate::error::{Error, ErrorKind, Result};
use crate::files;
use crate::labels::Labels;
use crate::network::average::Average;
use crate::network::optimiser::Optimiser;
use crate::network::schedule::Schedule;
use crate::network::spec::NetworkSpec;
use crate::signal::profile::FrontEnd;
use crate::split::{Protocol, Split, SplitConfig};
use crate::units::{Bytes, Seed};

pub mod learning;
mod network;
mod overlay;

use learning::{BatchNorm, Keep, LossConfig, Sample, is_default};
pub use network::NetworkConfig;
use overlay::{add_newer_keys, lay_over, spell_out_labels};

/// More than anybody writes.
const LARGEST_RECIPE: Bytes = Bytes(16_000_000);

/// All sections of one pipeline file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    pub pipeline: PipelineConfig,
    pub ingest: IngestConfig,
    pub labels: Labels,
    pub split: SplitConfig,
    pub features: FeatureConfig,
    pub augment: AugmentConfig,
    pub train: TrainConfig,
    pub score: ScoreConfig,
    pub report: ReportConfig,
}

/// `[pipeline]`: what the run is called and which stages belong to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PipelineConfig {
    /// Stands in every table; lower-case letters, digits and dashes.
    pub name: String,
    /// All randomness follows from it.
    pub seed: Seed,
    /// The stages that `sermill run` runs, in order.
    pub stages: Vec<String>,
}

/// `[ingest]`: which folders hold recordings, and whose they are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IngestConfig {
    /// Recording ids that are left out, such as `ravdess/Actor_01/03-01-01-01-01-01-01.wav`.
    pub skip: Vec<String>,
    /// Fail when a corpus' folder is not there (`true`), or go on with the others and say so (`false`).
    pub require_all: bool,
    /// Memory that one recording may take, in units of 10^6 bytes: its file, its samples, and those at the front end's rate.
    /// Counts for every command that reads recordings; 256 in recipes that do not name it.
    pub max_recording_mb: u64,
    /// The corpora, in order.
    pub corpus: Vec<CorpusRoot>,
}

/// One `[[ingest.corpus]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorpusRoot {
    /// The adapter that reads its file names: `sermill doctor` lists them.
    pub kind: String,
    /// Its name in the tables and the head of its recording ids.
    pub name: String,
    /// Its folder, relative to `--corpora`.
    pub root: PathBuf,
    /// Kind `labelled` only: its table of labels, below the root; see [`Options`] for this and the keys that follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// Which column of the table holds what.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub columns: BTreeMap<String, String>,
    /// What its paths mean, in place of a table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// What its own codes for emotions mean.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub words: BTreeMap<String, String>,
}

impl CorpusRoot {
    /// The optional keys.
    pub fn options(&self) -> Options {
        let Self { table, columns, pattern, words, .. } = self.clone();
        Options { table, columns, pattern, words }
    }
}

/// `[features]`: from a recording to its log-mel spectrograms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureConfig {
    /// Augmented copies of each recording, beside the original.
    pub copies: u32,
    /// Augmentations of a copy, in order: names, or tables with numbers of their own.
    pub augmentations: Vec<Wanted>,
    /// Recordings in one shard: the unit of work, of recovery and of memory.
    pub shard_recordings: usize,
    /// Name of the front end; a known name must come with its known numbers.
    pub profile: String,
    /// The front end, to the constant.
    pub front_end: FrontEnd,
}

/// `[train]`: the network and how it learns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// At most this many passes over the training side.
    pub epochs: usize,
    /// Recordings in a step.
    pub batch: usize,
    /// Stop after this many epochs without a better monitored accuracy.
    pub patience: usize,
    /// Step size of SGD.
    pub learning_rate: f64,
    /// Share of the last step that is kept.
    pub momentum: f64,
    /// `learning_rate / (1 + decay * step)`.
    pub decay: f64,
    /// The folds that are trained, from 0; empty for all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub folds: Vec<u32>,
    /// Networks of each fold, from seeds of their own; their probabilities are averaged when scoring.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub members: u32,
    /// Whether one more model is trained on everything, for recordings that no fold knows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub final_model: bool,
    /// Whether the models know how sure they may be: temperature, prediction sets, abstaining and domain, fitted on recordings that
    /// the asked network was not trained on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub calibrate: bool,
    /// Which weights become the model; this and the keys that follow are optional (`config/learning.rs`).
    #[serde(default, skip_serializing_if = "is_default")]
    pub keep: Keep,
    #[serde(default, skip_serializing_if = "is_default")]
    pub schedule: Schedule,
    #[serde(default, skip_serializing_if = "is_default")]
    pub optimiser: Optimiser,
    #[serde(default, skip_serializing_if = "is_default")]
    pub average: Average,
    #[serde(default, skip_serializing_if = "is_default")]
    pub batch_norm: BatchNorm,
    #[serde(default, skip_serializing_if = "is_default")]
    pub loss: LossConfig,
    #[serde(default, skip_serializing_if = "is_default")]
    pub sample: Sample,
    pub network: NetworkConfig,
}

fn one() -> u32 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref)] // The form that serde asks for.
fn is_one(n: &u32) -> bool {
    *n == 1
}

/// `[score]`: what is scored, with which model, where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScoreConfig {
    /// `trained` for the model this pipeline trained in this store, or the path of a model file.
    pub model: String,
    /// Sides to score; recordings without a side are always scored.
    pub splits: Vec<Split>,
    /// Recordings in one run of the model.
    pub batch: usize,
    /// `cpu`, `cuda` or `cuda:N` for ONNX Runtime, `native` for the own kernels.
    pub device: String,
    /// What is scored; `features` in recipes that do not name it.
    #[serde(default, skip_serializing_if = "ScoreSource::is_features")]
    pub source: ScoreSource,
}

/// `[score] source`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScoreSource {
    /// Stored spectrograms, originals and copies.
    #[default]
    Features,
    /// The manifest's recordings themselves, through the model's front end: no spectrogram is stored.
    Audio,
}

impl ScoreSource {
    fn is_features(&self) -> bool {
        *self == Self::Features
    }
}

/// `[report]`: how the numbers are summed up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportConfig {
    /// Resamplings of speakers behind each 95 % interval; 0 for none.
    pub bootstrap: usize,
}

impl Pipeline {
    /// Reads a pipeline file and lays `section.key=value` overrides over it.
    pub fn read(path: &Path, overrides: &[String]) -> Result<Self> {
        let text = files::read_text(path, LARGEST_RECIPE.0).map_err(|error| {
            Error::reading_named(ErrorKind::Recipe, "cannot read pipeline file", error)
                .at(path)
                .hint("see pipelines/ for complete examples")
        })?;
        Self::parse(&text, overrides).map_err(|error| error.at(path))
    }

    /// [`Self::read`] for text.
    pub fn parse(text: &str, overrides: &[String]) -> Result<Self> {
        let mut table: toml::Table =
            text.parse().map_err(|error: toml::de::Error| Error::recipe("not TOML").because(error))?;
        add_newer_keys(&mut table);
        for item in overrides {
            lay_over(&mut table, item)?;
        }
        spell_out_labels(&mut table)?;
        let pipeline: Self = table.try_into().map_err(|error: toml::de::Error| {
            Error::recipe("wrong recipe")
                .because(error.to_string().trim_end().replace('\n', "; "))
                .hint("keys and their values stand in pipelines/; on the command line write --set section.key=value")
        })?;
        pipeline.check()?;
        Ok(pipeline)
    }

    /// What one recording may take.
    pub fn recording_limit(&self) -> Bytes {
        Bytes(self.ingest.max_recording_mb.saturating_mul(1_000_000))
    }

    /// [`Self::recording_limit`] with the rate of this recipe's front end.
    pub fn recording_budget(&self) -> Budget {
        Budget::new(self.recording_limit(), self.features.front_end.sample_rate)
    }

    /// The network for this recipe's front end.
    pub fn network(&self) -> Result<NetworkSpec> {
        self.train.network.spec(&self.features.front_end, self.labels.n_classes())
    }

    /// Augmented copies of each recording in the features table.
    pub fn stored_copies(&self) -> u32 {
        if self.augment.when == When::Features { self.features.copies } else { 0 }
    }

    /// Augmented copies of each training recording that an epoch draws anew.
    pub fn fresh_copies(&self) -> u32 {
        self.features.copies - self.stored_copies()
    }

    fn check(&self) -> Result<()> {
        let refuse = |place: &str, value: &dyn std::fmt::Display, limit: &str| {
            Err(Error::recipe(format!("{place} = {value}: {limit}")))
        };
        // Names become parts of names of files.
        let name = &self.pipeline.name;
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !(1..=60).contains(&name.len()) || !name.chars().all(is_plain) {
            return refuse("[pipeline] name", name, "1 to 60 lower-case letters, digits and dashes only");
        }
        for CorpusRoot { name, .. } in &self.ingest.corpus {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
            if !(1..=60).contains(&name.len()) || !name.chars().all(is_plain) || name.starts_with('.') {
                let limit = "1 to 60 letters, digits, dots, dashes and underscores only, the first one no dot";
                return refuse("[[ingest.corpus]] name", name, limit);
            }
        }
        self.split.check()?;
        if self.ingest.max_recording_mb == 0 {
            return refuse("[ingest] max_recording_mb", &0, "must be at least 1");
        }
        for (place, count) in [
            ("[train] batch", self.train.batch),
            ("[train] epochs", self.train.epochs),
            ("[train] members", self.train.members as usize),
            ("[score] batch", self.score.batch),
            ("[features] shard_recordings", self.features.shard_recordings),
            ("[train.network] window", self.train.network.window),
            ("[train.network] hop", self.train.network.hop),
            ("[train.network] lstm_units", self.train.network.lstm_units),
        ] {
            if count == 0 {
                return refuse(place, &count, "must be at least 1");
            }
        }
        self.train.check()?;
        if self.split.protocol != Protocol::Unsplit && self.train.keep == Keep::Best {
            let hint = "the best epoch is chosen there: above 0, or [train] keep = \"last\"";
            if self.split.monitored().is_none() {
                return refuse("[split] validation_fraction", &0, hint);
            }
            if self.train.final_model {
                return refuse(
                    "[train] final_model",
                    &true,
                    "nothing is left to choose an epoch by: needs keep = \"last\"",
                );
            }
        }
        let names: std::collections::BTreeSet<_> = self.ingest.corpus.iter().map(|corpus| &corpus.name).collect();
        if names.len() != self.ingest.corpus.len() {
            return Err(Error::recipe("[[ingest.corpus]] names must differ: they are the heads of the recording ids"));
        }
        self.labels.check()?;
        self.features.check()?;
        self.augment.check(self.split.protocol)?;
        self.augment.spec_augment.check(self.features.front_end.n_mels, self.features.front_end.n_frames())?;
        self.network().map(|_| ())
    }
}

impl FeatureConfig {
    fn check(&self) -> Result<()> {
        self.front_end.check()?;
        if let Ok(known) = crate::signal::profile::profile(&self.profile)
            && known != self.front_end
        {
            return Err(Error::recipe(format!(
                "[features] profile = `{}`, but [features.front_end] has other numbers than that profile",
                self.profile
            ))
            .hint("give a front end of your own a name of its own"));
        }
        augment::definition(&self.augmentations)?;
        if self.copies > 0 && self.augmentations.is_empty() {
            return Err(Error::recipe("[features] copies without augmentations would only repeat the originals")
                .hint("set copies = 0, or name an augmentation"));
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "config_proof.rs"]
mod proof;
