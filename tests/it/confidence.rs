//! A model that was calibrated says of each recording which classes it may be, how strange it is, and when not to believe it.

use std::collections::BTreeSet;

use sermill::confidence::{Abstain, Confidence, Conformal, Distances, Domain, Limits, Statistics, Temperature};
use sermill::network::onnx::{self, HeardCorpus};
use sermill::tables::features::{FeatureRow, from_blob};
use sermill::tables::predictions::PredictionRow;

use crate::mill::Mill;

/// The trained model of a store, calibrated by hand, as `calibrated.onnx`: the domain is that of its features, and its limit such
/// that half of them are strangers. Gives its `--set`.
fn calibrated(mill: &Mill) -> String {
    let models = std::fs::read_dir(mill.store().join("models")).expect("models").map(|one| one.expect("entry").path());
    let model = std::fs::read(models.last().expect("a model").join("model.onnx")).expect("read");
    let card = onnx::ModelCard::from_model(&model).expect("our own");
    let features: Vec<FeatureRow> = mill.rows("features");
    let statistics: Vec<Statistics> = features
        .iter()
        .filter(|row| row.copy == 0)
        .filter_map(|row| {
            let mut log_mel = vec![0.0; (row.n_mels * row.n_frames) as usize];
            from_blob(row.log_mel.as_deref().expect("a spectrogram"), &mut log_mel).expect("whole");
            Statistics::of(&log_mel, card.network.n_mels)
        })
        .collect();
    let domain = Domain::fit(&[&statistics[..], &statistics[..]].concat(), None).expect("56 of them");
    let mut distances: Vec<f32> = statistics.iter().map(|one| domain.distances(one, None).statistics).collect();
    distances.sort_by(f32::total_cmp);
    let middle = distances[distances.len() / 2];
    let limits = Limits { statistics: middle, embedding: None, least_frames: 5, n_items: 100, n_speakers: 2 };
    assert_eq!(limits.ratio(Distances { statistics: middle, embedding: None }), 1.0);
    let confidence = Confidence {
        temperature: Some(Temperature { value: 2.0, n_items: 100, n_speakers: 2 }),
        conformal: Some(Conformal { level: 0.9, thresholds: vec![0.14], n_items: 100, n_speakers: 2 }),
        abstain: Some(Abstain { below: 0.15 }),
        domain: Some(Domain { limits: Some(limits), ..domain }),
    };
    let heard = vec![HeardCorpus { corpus: "synthetic".into(), n_speakers: 2, n_recordings: 28 }];
    let file = onnx::calibrated(&model, confidence, heard, 1).expect("calibrated");
    std::fs::write(mill.path("calibrated.onnx"), file).expect("written");
    format!("score.model={}", mill.path("calibrated.onnx").display())
}

const ALL: &str = "score.splits=[\"train\",\"validation\",\"test\"]";

#[test]
fn a_calibrated_model_says_the_same_of_its_certainty_from_every_source_and_provider() {
    let mill = Mill::with_corpus();
    let plain = mill.done("run", &["--set", ALL]).get("abstained").cloned();
    assert_eq!(plain, None);
    let before: Vec<PredictionRow> = mill.predictions();
    assert!(before.iter().all(|row| row.prediction_set.is_none() && row.domain_distance.is_none()));
    let model = calibrated(&mill);
    let mut seen: Vec<Vec<PredictionRow>> = Vec::new();
    for more in [
        &["--provider", "cpu"][..],
        &["--provider", "native"],
        &["--provider", "native", "--set", "score.source=audio"],
    ] {
        let summary = mill.done("score", &[&["--set", &model, "--set", ALL], more].concat());
        let rows: Vec<PredictionRow> = mill.predictions().into_iter().filter(|row| row.copy == 0).collect();
        assert_eq!(rows.len(), 28);
        let n_strange = rows.iter().filter(|row| row.abstain.as_deref() == Some("out of domain")).count();
        assert_eq!(n_strange, 13, "half of them but for the one on the limit");
        let told: u64 = ["too short", "out of domain", "ambiguous"]
            .iter()
            .map(|reason| summary["abstained"][reason].as_u64().expect("a count"))
            .sum();
        assert_eq!(told as usize, mill.predictions().iter().filter(|row| row.abstain.is_some()).count());
        for row in &rows {
            let set = row.prediction_set.as_deref().expect("a set");
            assert_eq!(set.split('|').count(), row.set_size.expect("a size") as usize);
            assert_eq!(set.split('|').next(), row.predicted.as_deref(), "the likeliest comes first");
            assert_eq!(row.domain_distance.expect("a distance") > 1.0, row.abstain.as_deref() == Some("out of domain"));
        }
        seen.push(rows);
    }
    for others in &seen[1..] {
        for (one, other) in seen[0].iter().zip(others) {
            assert_eq!((&one.recording_id, one.domain_distance), (&other.recording_id, other.domain_distance));
        }
    }
    let sizes: BTreeSet<Option<u32>> = seen[0].iter().map(|row| row.set_size).collect();
    assert!(!sizes.contains(&None));
    // Cooled to twice the temperature: nobody's confidence grows.
    for row in &seen[0] {
        let old =
            before.iter().find(|old| old.recording_id == row.recording_id && old.copy == 0).expect("scored before");
        assert!(row.confidence < old.confidence && row.predicted == old.predicted);
    }
}
