//! A card goes into the metadata and comes back; what is missing or contradicts itself is refused.

use super::*;
use crate::confidence::{Abstain, Conformal, Domain, Gaussian, Limits, Temperature};
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
        confidence: Default::default(),
        heard: Vec::new(),
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
    let (seven, eight) = (Labels::shipped("seven").expect("shipped"), Labels::shipped("ravdess-8").expect("shipped"));
    assert_eq!(card().meaning(&eight).into_owned(), seven, "a model knows what it learned");
    assert_eq!(old.meaning(&seven).into_owned(), seven);
    assert_eq!(old.meaning(&eight).class_of(Some("calm")), None);
    assert!(card().to_metadata().expect("finite").iter().all(|(key, _)| key.starts_with("sermill.")));
}

/// A card with everything that calibration adds.
fn calibrated() -> ModelCard {
    let cloud = Gaussian { means: vec![vec![0.1, -3.7]], whitening: vec![1.0 / 3.0, 0.7, 1e-7] };
    let limits = Limits { statistics: 2.3, embedding: None, least_frames: 40, n_items: 960, n_speakers: 16 };
    let confidence = Confidence {
        temperature: Some(Temperature { value: 1.0 / 0.7, n_items: 960, n_speakers: 16 }),
        conformal: Some(Conformal { level: 0.9, thresholds: vec![0.123], n_items: 960, n_speakers: 16 }),
        abstain: Some(Abstain { below: 0.31 }),
        domain: Some(Domain { statistics: cloud.clone(), embedding: Some(cloud), limits: Some(limits) }),
    };
    let heard = vec![HeardCorpus { corpus: "ravdess".into(), n_speakers: 16, n_recordings: 960 }];
    ModelCard { confidence, heard, ..card() }
}

#[test]
fn what_calibration_adds_survives_and_is_not_there_where_nothing_was_calibrated() {
    let entries: HashMap<String, String> = calibrated().to_metadata().expect("finite").into_iter().collect();
    assert_eq!(ModelCard::from_metadata(&entries).expect("own metadata"), calibrated());
    let added = [TEMPERATURE, CONFORMAL, ABSTAIN, DOMAIN, HEARD];
    assert_eq!(entries.len(), metadata().len() + added.len());
    assert!(added.iter().all(|key| entries.contains_key(*key) && !metadata().contains_key(*key)));
    let unusable = [
        (TEMPERATURE, r#"{"value":0.0,"n_items":1,"n_speakers":1}"#),
        (CONFORMAL, r#"{"level":0.9,"thresholds":[0.1,0.2],"n_items":1,"n_speakers":1}"#),
        (ABSTAIN, r#"{"below":-1.0}"#),
        (ABSTAIN, r#"{"above":0.5}"#),
        (DOMAIN, r#"{"statistics":{"means":[[0.1,0.2]],"whitening":[1.0]},"embedding":null,"limits":null}"#),
    ];
    for (key, text) in unusable {
        let mut broken = entries.clone();
        broken.insert(key.into(), text.into());
        let error = ModelCard::from_metadata(&broken).expect_err(key);
        assert!(error.kind() == ErrorKind::Input && error.to_string().contains(key), "{error}");
    }
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
