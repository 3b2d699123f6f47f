//! A model file with what calibration found: its last layer divided by the temperature, its card told.

use crate::confidence::Confidence;
use crate::error::{Error, Result};
use crate::network::onnx::{HeardCorpus, ModelCard, export, golden_input, import};
use crate::network::predictor::Predictor;

/// The same model with calibrated probabilities, its confidence and what it heard.
///
/// A temperature of 1 changes no weight and no golden probability.
///
/// # Errors
/// Wrong input: no file of this version of sermill, a confidence of other classes. A bug: a model that is calibrated already,
/// whose temperature would count twice.
///
/// Proof: `a_calibrated_file_gives_the_probabilities_at_its_temperature`.
pub fn calibrated(model: &[u8], confidence: Confidence, heard: Vec<HeardCorpus>, n_threads: usize) -> Result<Vec<u8>> {
    let mut card = ModelCard::from_model(model)?;
    if card.confidence.temperature.is_some() {
        return Err(Error::bug("the model is calibrated already").at_place("sermill.temperature"));
    }
    confidence
        .check(card.network.n_classes)
        .map_err(|(part, what)| Error::input(what).at_place(format!("sermill.{part}")))?;
    let temperature = confidence.temperature.map_or(1.0, |temperature| temperature.value);
    let mut parameters = import(model, &card)?;
    if temperature != 1.0 {
        parameters = parameters.at_temperature(temperature);
        let mut predictor = Predictor::new(card.network.clone(), parameters.clone(), n_threads)?;
        let golden = golden_input(&card.network, card.golden.seed);
        predictor.predict(&golden, &mut card.golden.probabilities)?;
    }
    card.confidence = confidence;
    card.heard = heard;
    export(&card.network, &parameters, &card)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::confidence::{Conformal, Temperature};
    use crate::network::Network;
    use crate::network::onnx::Golden;
    use crate::network::spec::{BlockSpec, NetworkSpec};
    use crate::units::Seed;

    fn model() -> (Vec<u8>, Network) {
        let block = |n_maps| BlockSpec { n_maps, pool: 2.into() };
        let paper = NetworkSpec::paper(8, 28);
        let spec =
            NetworkSpec { window: 12, hop: 8, blocks: vec![block(3), block(5)], lstm_units: 6, n_classes: 7, ..paper };
        let network = Network::initialise(spec.clone(), Seed(3)).expect("shapes divide");
        let mut probabilities = vec![0.0; 7];
        let mut predictor = network.predictor(1).expect("kernels for it");
        predictor.predict(&golden_input(&spec, 1), &mut probabilities).expect("a batch");
        let card = ModelCard {
            labels: (0..7).map(|class| format!("class_{class}")).collect(),
            label_set: None,
            front_end: "{}".into(),
            definition: "d".into(),
            fingerprint: "f".into(),
            model_id: "m".into(),
            pipeline: "p".into(),
            protocol: "q".into(),
            network: spec.clone(),
            sermill_version: "0.1.0".into(),
            golden: Golden { seed: 1, probabilities },
            confidence: Confidence::default(),
            heard: Vec::new(),
            sealed: true,
        };
        (export(&spec, &network.parameters, &card).expect("fits"), network)
    }

    fn at(value: f32) -> Confidence {
        let temperature = Some(Temperature { value, n_items: 960, n_speakers: 16 });
        let conformal = Some(Conformal { level: 0.9, thresholds: vec![0.12], n_items: 960, n_speakers: 16 });
        Confidence { temperature, conformal, ..Confidence::default() }
    }

    #[test]
    fn a_calibrated_file_gives_the_probabilities_at_its_temperature() {
        let (file, network) = model();
        let heard = vec![HeardCorpus { corpus: "ravdess".into(), n_speakers: 16, n_recordings: 960 }];
        let cooled = calibrated(&file, at(2.5), heard.clone(), 1).expect("a model of ours");
        let card = ModelCard::from_model(&cooled).expect("sealed again");
        assert_eq!((&card.confidence, &card.heard), (&at(2.5), &heard));
        let log_mel = golden_input(&network.spec, 77);
        let (mut before, mut after) = (vec![0.0; 7], vec![0.0; 7]);
        network.predictor(1).and_then(|mut one| one.predict(&log_mel, &mut before)).expect("a batch");
        let parameters = import(&cooled, &card).expect("byte for byte what is written");
        let mut predictor = Predictor::new(card.network.clone(), parameters, 1).expect("kernels for it");
        predictor.predict(&log_mel, &mut after).expect("a batch");
        let powers: Vec<f64> = before.iter().map(|&p| f64::from(p).powf(1.0 / 2.5)).collect();
        let sum: f64 = powers.iter().sum();
        for (power, after) in powers.iter().zip(&after) {
            assert!((power / sum - f64::from(*after)).abs() < 1e-6, "{before:?} {after}");
        }
        let again = calibrated(&cooled, at(2.5), Vec::new(), 1).expect_err("twice");
        assert!(again.to_string().contains("calibrated already"), "{again}");
    }

    #[test]
    fn a_temperature_of_one_changes_neither_weights_nor_the_golden_vector() {
        let (file, network) = model();
        let same = calibrated(&file, at(1.0), Vec::new(), 1).expect("a model of ours");
        let (before, after) = (ModelCard::from_model(&file), ModelCard::from_model(&same));
        let (before, after) = (before.expect("ours"), after.expect("ours"));
        assert_eq!(before.golden, after.golden);
        assert_eq!(import(&same, &after).expect("ours"), network.parameters);
        let nothing = calibrated(&file, Confidence::default(), Vec::new(), 1).expect("a model of ours");
        assert_eq!(nothing, file, "nothing found, nothing written");
        let of_others = Conformal { level: 0.9, thresholds: vec![0.1; 3], n_items: 9, n_speakers: 2 };
        let of_others = Confidence { conformal: Some(of_others), ..Confidence::default() };
        assert!(calibrated(&file, of_others, Vec::new(), 1).is_err());
    }
}
