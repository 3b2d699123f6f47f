//! What a model file says about itself: labels, front end, provenance and golden vectors, as ONNX metadata.

use std::borrow::Cow;
use std::collections::HashMap;

use prost::Message;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::confidence::Confidence;
use crate::error::{Error, Result};
use crate::files::is_plain_name;
use crate::labels::{self, Labels};
use crate::network::onnx::proto::ModelProto;
use crate::network::onnx::seal;
use crate::network::spec::NetworkSpec;
use crate::units::Seed;

/// Version of the set of metadata keys, under `sermill.format`, of files with a seal.
const FORMAT: &str = "3";
/// The same, of files without: those of version 0.1.0, and those that somebody changed on purpose.
const UNSEALED: &str = "2";

/// Keys that only models with such parts have.
const TEMPERATURE: &str = "sermill.temperature";
const CONFORMAL: &str = "sermill.conformal";
const ABSTAIN: &str = "sermill.abstain";
const DOMAIN: &str = "sermill.domain";
const HEARD: &str = "sermill.heard";

/// Probabilities that the network's own forward gave for a spectrogram made from a seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Golden {
    /// Seed of [`golden_input`].
    pub seed: u64,
    /// `[n_classes]` for that one spectrogram.
    pub probabilities: Vec<f32>,
}

/// A corpus that a model was trained on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeardCorpus {
    /// As the pipeline file calls it.
    pub corpus: String,
    /// Known speakers.
    pub n_speakers: u64,
    /// Recordings of the train side, without copies.
    pub n_recordings: u64,
}

/// Everything needed to use a model file without the pipeline that made it.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelCard {
    /// Class names in the order of the output.
    pub labels: Vec<String>,
    /// Which words count as which class; models of version 0.1.0 do not say it.
    pub label_set: Option<Labels>,
    /// Canonical JSON of the front end that made the spectrograms.
    pub front_end: String,
    /// Everything that its spectrograms depend on, in named parts: the text behind the fingerprint.
    pub definition: String,
    /// Fingerprint of that definition; scoring compares it with the one of its features.
    pub fingerprint: String,
    /// Name of this model in every table.
    pub model_id: String,
    /// Name of the pipeline file.
    pub pipeline: String,
    /// Name of the protocol whose split it was trained on.
    pub protocol: String,
    /// Shapes and constants of the network.
    pub network: NetworkSpec,
    /// Version of the program that wrote the file.
    pub sermill_version: String,
    /// Known answer, to check a runtime with.
    pub golden: Golden,
    /// What it knows of its own certainty; nothing in files of versions that fitted nothing.
    pub confidence: Confidence,
    /// What it was trained on; empty where that is not said.
    pub heard: Vec<HeardCorpus>,
    /// Whether the file holds its own hash.
    pub sealed: bool,
}

impl ModelCard {
    /// The metadata entries, in a fixed order.
    ///
    /// # Errors
    /// A bug if the network or the golden vector has no JSON form (a number that is not finite).
    pub fn to_metadata(&self) -> Result<Vec<(String, String)>> {
        if !self.golden.probabilities.iter().all(|value| value.is_finite()) {
            return Err(Error::bug("golden probabilities are not finite").at_place("sermill.golden"));
        }
        let format = if self.sealed { FORMAT } else { UNSEALED };
        let mut entries = vec![
            ("sermill.format", format.to_owned()),
            ("sermill.version", self.sermill_version.clone()),
            ("sermill.model_id", self.model_id.clone()),
            ("sermill.pipeline", self.pipeline.clone()),
            ("sermill.protocol", self.protocol.clone()),
            ("sermill.labels", to_json("sermill.labels", &self.labels)?),
            ("sermill.definition", self.definition.clone()),
            ("sermill.fingerprint", self.fingerprint.clone()),
            ("sermill.front_end", self.front_end.clone()),
            ("sermill.network", to_json("sermill.network", &self.network)?),
            ("sermill.golden", to_json("sermill.golden", &self.golden)?),
        ];
        if let Some(set) = &self.label_set {
            entries.push(("sermill.label_set", to_json("sermill.label_set", set)?));
        }
        let Confidence { temperature, conformal, abstain, domain } = &self.confidence;
        let optional = [
            (TEMPERATURE, some_json(TEMPERATURE, temperature.as_ref())?),
            (CONFORMAL, some_json(CONFORMAL, conformal.as_ref())?),
            (ABSTAIN, some_json(ABSTAIN, abstain.as_ref())?),
            (DOMAIN, some_json(DOMAIN, domain.as_ref())?),
            (HEARD, some_json(HEARD, Some(&self.heard).filter(|heard| !heard.is_empty()))?),
        ];
        entries.extend(optional.into_iter().filter_map(|(key, value)| value.map(|value| (key, value))));
        if self.sealed {
            entries.push((seal::KEY, seal::BLANK.to_owned()));
        }
        Ok(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }

    /// Reads a card back from metadata entries.
    ///
    /// # Errors
    /// Wrong input: no `sermill.` keys at all, a key missing or unreadable, or entries that contradict each other.
    pub fn from_metadata(metadata: &HashMap<String, String>) -> Result<Self> {
        let Some(format) = metadata.get("sermill.format") else {
            return Err(Error::input("is not a sermill model: it has no `sermill.format` in its metadata")
                .hint("use the model.onnx that `sermill train` wrote"));
        };
        if ![FORMAT, UNSEALED].contains(&format.as_str()) {
            let what = format!("model format {format}, this program reads formats {UNSEALED} and {FORMAT}");
            return Err(Error::input(what)
                .hint("train again with this version of sermill, or score with the version that trained it"));
        }
        let sealed = format == FORMAT;
        if sealed != metadata.contains_key(seal::KEY) {
            return Err(Error::input(format!("model format {format} does not fit its entries")).at_place(seal::KEY));
        }
        let text = |key: &str| {
            let value = metadata.get(key).cloned();
            value.ok_or_else(|| Error::input("missing from the model's metadata").at_place(key))
        };
        let card = Self {
            labels: from_json("sermill.labels", &text("sermill.labels")?)?,
            label_set: optional("sermill.label_set", metadata)?,
            front_end: text("sermill.front_end")?,
            definition: text("sermill.definition")?,
            fingerprint: text("sermill.fingerprint")?,
            model_id: text("sermill.model_id")?,
            pipeline: text("sermill.pipeline")?,
            protocol: text("sermill.protocol")?,
            network: from_json("sermill.network", &text("sermill.network")?)?,
            sermill_version: text("sermill.version")?,
            golden: from_json("sermill.golden", &text("sermill.golden")?)?,
            confidence: Confidence {
                temperature: optional(TEMPERATURE, metadata)?,
                conformal: optional(CONFORMAL, metadata)?,
                abstain: optional(ABSTAIN, metadata)?,
                domain: optional(DOMAIN, metadata)?,
            },
            heard: optional(HEARD, metadata)?.unwrap_or_default(),
            sealed,
        };
        card.check()?;
        Ok(card)
    }

    /// Reads the card of a model file; needs no ONNX Runtime.
    ///
    /// # Errors
    /// Wrong input: not an ONNX file, or one that sermill did not write.
    pub fn from_model(model: &[u8]) -> Result<Self> {
        let foreign = "use the model.onnx that `sermill train` wrote";
        let proto =
            ModelProto::decode(model).map_err(|e| Error::input("is not an ONNX file").because(e).hint(foreign))?;
        if proto.graph.is_none() || proto.opset_import.is_empty() {
            return Err(Error::input("is not an ONNX file: it holds no graph").hint(foreign));
        }
        let card =
            Self::from_metadata(&proto.metadata_props.into_iter().map(|entry| (entry.key, entry.value)).collect())?;
        if card.sealed {
            seal::check(model)?;
        }
        Ok(card)
    }

    /// Which words of the corpora count as which of its classes; `recipe` speaks for a model that does not say it, where it has
    /// the same classes.
    pub fn meaning<'a>(&'a self, recipe: &'a Labels) -> Cow<'a, Labels> {
        match &self.label_set {
            Some(set) => Cow::Borrowed(set),
            None if recipe.classes == self.labels => Cow::Borrowed(recipe),
            None => Cow::Owned(Labels::of_classes(&self.labels)),
        }
    }

    /// Whether the entries fit each other.
    fn check(&self) -> Result<()> {
        let wrong = |key: &str, what: String| Err(Error::input(what).at_place(key));
        if !is_plain_name(&self.model_id) {
            // It becomes part of paths.
            let shown: String = self.model_id.chars().take(40).collect();
            return wrong("sermill.model_id", format!("`{}` is no name of a model", shown.escape_debug()));
        }
        let network = &self.network;
        if network.hop == 0 || network.window == 0 || network.lstm_units == 0 || network.n_classes == 0 {
            return wrong("sermill.network", "a network with a size of zero".into());
        }
        if let Err(error) = network.check() {
            return wrong("sermill.network", error.reason());
        }
        if self.labels.len() != network.n_classes {
            let (found, wanted) = (self.labels.len(), network.n_classes);
            return wrong("sermill.labels", format!("{found} labels for {wanted} classes"));
        }
        if let Some(error) = self.labels.iter().find_map(|label| labels::check_class(label).err()) {
            return wrong("sermill.labels", error.reason());
        }
        if let Some(twice) = labels::twice(&self.labels) {
            return wrong("sermill.labels", format!("`{twice}` stands there twice"));
        }
        if self.label_set.as_ref().is_some_and(|set| set.classes != self.labels) {
            return wrong("sermill.label_set", "its classes are not the labels".into());
        }
        if self.golden.probabilities.len() != network.n_classes {
            let (found, wanted) = (self.golden.probabilities.len(), network.n_classes);
            return wrong("sermill.golden", format!("{found} golden probabilities for {wanted} classes"));
        }
        match self.confidence.check(network.n_classes) {
            Err((part, what)) => wrong(&format!("sermill.{part}"), what),
            Ok(()) => Ok(()),
        }
    }
}

/// The spectrogram of a golden vector: `[n_mels, n_frames]`, independent normal values with mean -5 and
/// deviation 2, which is where natural logarithms of mel energies lie.
pub fn golden_input(spec: &NetworkSpec, seed: u64) -> Vec<f32> {
    let seed = Seed(seed);
    let n_values = spec.n_mels * spec.n_frames;
    let pairs = (0..n_values.div_ceil(2)).map(|i| seed.normal_pair(i as u64));
    pairs.flat_map(|(a, b)| [a, b]).take(n_values).map(|normal| (normal * 2.0 - 5.0) as f32).collect()
}

/// The entry of a part that a model may lack.
fn some_json<T: Serialize>(key: &str, value: Option<&T>) -> Result<Option<String>> {
    value.map(|value| to_json(key, value)).transpose()
}

/// A part that a model may lack.
fn optional<T: DeserializeOwned>(key: &str, metadata: &HashMap<String, String>) -> Result<Option<T>> {
    metadata.get(key).map(|text| from_json(key, text)).transpose()
}

fn to_json<T: Serialize>(key: &str, value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::bug("cannot be written as JSON").at_place(key).because(e))
}

fn from_json<T: DeserializeOwned>(key: &str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|e| Error::input("unreadable in the model's metadata").at_place(key).because(e))
}

#[cfg(test)]
#[path = "card_proof.rs"]
mod tests;
