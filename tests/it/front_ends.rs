//! Front ends at 16 and 22.05 kHz through the chain, and the definition that shards and models carry.

use sermill::definition::{Definition, METADATA_KEY};
use sermill::network::onnx::ModelCard;
use sermill::signal::profile::profile;
use sermill::storage::fingerprint::Fingerprint;
use sermill::tables::TableFile;
use sermill::tables::features::{FeatureRow, from_blob};
use sermill::tables::history::HistoryRow;
use sermill::tables::predictions::PredictionRow;

use crate::mill::Mill;

/// The recipe on the synthetic corpus.
const SYNTHETIC: [&str; 2] =
    ["--set", "ingest.corpus=[{ kind = \"synthetic\", name = \"synthetic\", root = \"synthetic\" }]"];
/// What `pipelines/full-rank-16k.toml` says to set for 22.05 kHz.
const AT_22_KHZ: [&str; 6] = [
    "--set",
    "features.profile=full-rank-22k",
    "--set",
    "features.front_end.sample_rate=22050",
    "--set",
    "features.front_end.fmax_hz=11025.0",
];

#[test]
fn sixteen_kilohertz_go_through_the_whole_chain() {
    let mill = Mill::with_corpus();
    let ended = mill.stage_of("run", "full-rank-16k", &SYNTHETIC);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(!ended.stderr.contains("mel bank"), "there is nothing to say against the bank: {}", ended.stderr);
    let definition = Definition::of(&profile("full-rank-16k").expect("known")).to_string();
    let fingerprint = Fingerprint::of([&definition]).to_string();

    let features = mill.rows::<FeatureRow>("features");
    assert_eq!(features.len(), 56, "28 recordings and a copy of each");
    for row in &features {
        assert_eq!((row.n_mels, row.n_frames), (128, 508));
        assert_eq!(row.fingerprint, fingerprint);
        // Synthetic utterances are under 3 s: at least a quarter of 4.06 s is padding.
        assert!(row.valid_frames > 20 && row.valid_frames < 400 && !row.truncated, "{}", row.valid_frames);
    }
    for shard in mill.table("features") {
        assert_eq!(
            TableFile::open(&shard).and_then(|file| file.note(METADATA_KEY)).expect("a shard").as_deref(),
            Some(definition.as_str())
        );
    }
    let model_id = mill.rows::<HistoryRow>("history")[0].model_id.clone();
    let model = std::fs::read(mill.store().join("models").join(model_id).join("model.onnx")).expect("the model");
    let card = ModelCard::from_model(&model).expect("own model");
    assert_eq!((&card.definition, &card.fingerprint), (&definition, &fingerprint));
    assert_eq!((card.network.n_windows(), card.network.n_frames), (6, 508));
    let predictions = mill.rows::<PredictionRow>("predictions");
    assert!(!predictions.is_empty() && predictions.iter().all(|row| row.fingerprint == fingerprint));
}

#[test]
fn a_rate_of_22_05_khz_is_three_settings_away_and_has_a_fingerprint_of_its_own() {
    let mill = Mill::with_corpus();
    let more: Vec<&str> = SYNTHETIC.iter().chain(&AT_22_KHZ).copied().collect();
    for stage in ["ingest", "features"] {
        let ended = mill.stage_of(stage, "full-rank-16k", &more);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
    }
    let front_end = profile("full-rank-22k").expect("known");
    let fingerprint = Fingerprint::of([Definition::of(&front_end).to_string()]);
    let features = mill.rows::<FeatureRow>("features");
    assert!(features.iter().all(|row| row.fingerprint == fingerprint.as_str() && row.n_frames == 508));
    // Every band of the loudest frames is heard: none is empty.
    let mut log_mel = vec![0.0; 128 * 508];
    from_blob(features[0].log_mel.as_deref().expect("a spectrogram"), &mut log_mel).expect("whole");
    let silent = log_mel.chunks_exact(508).filter(|band| band.iter().all(|&value| value < -23.0)).count();
    assert_eq!(silent, 0);
}
