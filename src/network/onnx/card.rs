//! What a model file says about itself: labels, front end, provenance and golden vectors, as ONNX metadata.

use std::borrow::Cow;
use std::collections::HashMap;

use prost::Message;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

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

/// Probabilities that the network's own forward gave for a spectrogram made from a seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Golden {
    /// Seed of [`golden_input`].
    pub seed: u64,
    /// `[n_classes]` for that one spectrogram.
    pub probabilities: Vec<f32>,
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
            label_set: match metadata.get("sermill.label_set") {
                Some(text) => Some(from_json("sermill.label_set", text)?),
                None => None,
            },
            front_end: text("sermill.front_end")?,
            definition: text("sermill.definition")?,
            fingerprint: text("sermill.fingerprint")?,
            model_id: text("sermill.model_id")?,
            pipeline: text("sermill.pipeline")?,
            protocol: text("sermill.protocol")?,
            network: from_json("sermill.network", &text("sermill.network")?)?,
            sermill_version: text("sermill.version")?,
            golden: from_json("sermill.golden", &text("sermill.golden")?)?,
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
        Ok(())
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

fn to_json<T: Serialize>(key: &str, value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::bug("cannot be written as JSON").at_place(key).because(e))
}

fn from_json<T: DeserializeOwned>(key: &str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|e| Error::input("unreadable in the model's metadata").at_place(key).because(e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn card() -> ModelCard {
        ModelCard {
            labels: Labels::shipped("seven").expect("shipped").classes,
            label_set: Some(Labels::shipped("seven").expect("shipped")),
            front_end: r#"{"n_mels":128,"scale":"htk"}"#.into(),
            definition: "decoder: v1\nwindow: \"short\"\n".into(),
            fingerprint: "b3:00ff".into(),
            model_id: "m-1".into(),
            pipeline: "paper".into(),
            protocol: "source-disjoint".into(),
            network: NetworkSpec::paper(128, 508),
            sermill_version: "0.1.0".into(),
            golden: Golden { seed: u64::MAX, probabilities: vec![0.1, 1.0 / 3.0, 1e-30, 0.2, 0.3, 0.0, 0.07] },
            sealed: true,
        }
    }

    fn metadata() -> HashMap<String, String> {
        card().to_metadata().expect("finite").into_iter().collect()
    }

    #[test]
    fn a_card_survives_the_metadata_bit_by_bit() {
        assert_eq!(ModelCard::from_metadata(&metadata()).expect("own metadata"), card());
        let old = ModelCard { label_set: None, ..card() };
        let entries = old.to_metadata().expect("finite").into_iter().collect();
        assert_eq!(ModelCard::from_metadata(&entries).expect("own metadata"), old);
        let (seven, eight) =
            (Labels::shipped("seven").expect("shipped"), Labels::shipped("ravdess-8").expect("shipped"));
        assert_eq!(card().meaning(&eight).into_owned(), seven, "a model knows what it learned");
        assert_eq!(old.meaning(&seven).into_owned(), seven);
        assert_eq!(old.meaning(&eight).class_of(Some("calm")), None);
        assert!(card().to_metadata().expect("finite").iter().all(|(key, _)| key.starts_with("sermill.")));
    }

    #[test]
    fn foreign_metadata_are_wrong_input_with_a_hint() {
        let error = ModelCard::from_metadata(&HashMap::from([("author".into(), "x".into())])).expect_err("foreign");
        assert_eq!(error.kind(), ErrorKind::Input);
        assert!(error.to_string().contains("is not a sermill model"), "{error}");
        assert!(error.hint_text().is_some());
    }

    #[test]
    fn each_missing_key_is_named() {
        for key in metadata().keys().filter(|key| !["sermill.format", "sermill.label_set"].contains(&key.as_str())) {
            let mut broken = metadata();
            broken.remove(key);
            let error = ModelCard::from_metadata(&broken).expect_err(key);
            assert_eq!(error.kind(), ErrorKind::Input);
            assert!(error.to_string().contains(key.as_str()), "{error}");
        }
    }

    #[test]
    fn contradictions_are_refused() {
        let hop_of_zero = serde_json::to_string(&NetworkSpec { hop: 0, ..NetworkSpec::paper(128, 508) }).expect("json");
        let too_short = serde_json::to_string(&NetworkSpec::paper(128, 100)).expect("json");
        for (key, value) in [
            ("sermill.labels", r#"["angry","sad"]"#),
            ("sermill.labels", r#"["angry","disgust","fear","happy","neutral","sad","sad"]"#),
            ("sermill.labels", r#"["angry","disgust","fear","happy","neutral","sad","../x"]"#),
            ("sermill.label_set", r#"{"set":"own","classes":["angry","sad"]}"#),
            ("sermill.labels", "angry"),
            ("sermill.golden", r#"{"seed":1,"probabilities":[1.0]}"#),
            ("sermill.network", &hop_of_zero),
            ("sermill.network", &too_short),
            ("sermill.format", "1"),
            ("sermill.format", "2"),
            ("sermill.model_id", "../models"),
            ("sermill.model_id", "/abs/evil"),
            ("sermill.model_id", "a/b"),
            ("sermill.model_id", "."),
            ("sermill.model_id", ""),
            ("sermill.model_id", &"x".repeat(300)),
        ] {
            let mut broken = metadata();
            broken.insert(key.into(), value.into());
            let error = ModelCard::from_metadata(&broken).expect_err(value);
            assert_eq!(error.kind(), ErrorKind::Input, "{key} = {value}");
        }
    }

    #[test]
    fn bytes_that_are_no_onnx_file_are_wrong_input() {
        for bytes in [&b""[..], b"RIFF....WAVEfmt ", &[0xff; 64]] {
            assert_eq!(ModelCard::from_model(bytes).expect_err("not ONNX").kind(), ErrorKind::Input);
        }
    }

    #[test]
    fn golden_input_is_a_function_of_its_seed() {
        let spec = NetworkSpec { n_mels: 3, ..NetworkSpec::paper(128, 155) };
        let input = golden_input(&spec, 5);
        assert_eq!(input.len(), 3 * 155);
        assert_eq!(input, golden_input(&spec, 5));
        assert_ne!(input, golden_input(&spec, 6));
        let mean = input.iter().sum::<f32>() / input.len() as f32;
        assert!((mean + 5.0).abs() < 0.5, "mean {mean}");
    }
}
