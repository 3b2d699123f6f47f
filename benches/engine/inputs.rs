//! What all engines read: spectrograms, and the paper's network as `train` exports it.

use std::path::Path;

use serde_json::{Value, json};
use sermill::error::{Error, Result};
use sermill::labels::Labels;
use sermill::network::onnx::{Golden, ModelCard, export, golden_input};
use sermill::network::{Network, NetworkSpec, SgdConfig, Trainer};
use sermill::storage::atomic;
use sermill::units::Seed;

/// Recordings in `log_mel.f32`: the largest batch.
const N_RECORDINGS: usize = 32;
/// The recipe's optimiser.
pub const SGD: SgdConfig = SgdConfig { learning_rate: 0.01, momentum: 0.8, decay: 1e-6 };

/// The paper's network.
pub fn spec() -> NetworkSpec {
    NetworkSpec::paper(128, 508)
}

/// Classes of `n` recordings, one after the other.
pub fn labels(n: usize) -> Vec<usize> {
    (0..n).map(|recording| recording % 7).collect()
}

/// The first `n` recordings of `log_mel.f32`, `[n, n_mels, n_frames]`.
pub fn read(folder: &Path, n: usize) -> Result<Vec<f32>> {
    let file = folder.join("log_mel.f32");
    let bytes = std::fs::read(&file).map_err(|error| Error::input("cannot be read").at(&file).because(error))?;
    let wanted = n * spec().n_mels * spec().n_frames;
    let (values, _) = bytes.as_chunks();
    let values = values.get(..wanted).ok_or_else(|| Error::input(format!("holds no {n} recordings")).at(&file))?;
    Ok(values.iter().map(|&value| f32::from_le_bytes(value)).collect())
}

/// Writes `log_mel.f32` (normal values of mean -8 and deviation 3, little-endian) and `model.onnx`.
pub fn write(folder: &Path) -> Result<Value> {
    let spec = spec();
    let n_values = N_RECORDINGS * spec.n_mels * spec.n_frames;
    let log_mel: Vec<f32> = (0..n_values as u64).map(|i| (Seed(500).normal_pair(i).0 * 3.0 - 8.0) as f32).collect();
    let bytes: Vec<u8> = log_mel.iter().flat_map(|value| value.to_le_bytes()).collect();
    let staging = folder.join("staging");
    atomic::publish_bytes(&staging, &folder.join("log_mel.f32"), &bytes)?;
    atomic::publish_bytes(&staging, &folder.join("model.onnx"), &model(&spec, &log_mel)?)?;
    Ok(json!({ "recordings": N_RECORDINGS, "n_mels": spec.n_mels, "n_frames": spec.n_frames }))
}

/// One step with momentum 0 makes the moving statistics those of a batch, so that values have their natural size.
fn model(spec: &NetworkSpec, log_mel: &[f32]) -> Result<Vec<u8>> {
    let untrained = Network::initialise(spec.clone(), Seed(1))?;
    let quick = NetworkSpec { batch_norm_momentum: 0.0, ..spec.clone() };
    let mut trainer = Trainer::new(quick, untrained.parameters, SGD, N_RECORDINGS, 2)?;
    trainer.step(log_mel, &labels(N_RECORDINGS), None)?;
    let golden_seed = 1;
    let mut probabilities = vec![0.0; spec.n_classes];
    trainer.predict(&golden_input(spec, golden_seed), &mut probabilities)?;
    let card = ModelCard {
        labels: Labels::shipped("seven")?.classes,
        label_set: None,
        front_end: "{}".into(),
        definition: "benchmark".into(),
        fingerprint: "benchmark".into(),
        model_id: "benchmark".into(),
        pipeline: "benchmark".into(),
        protocol: "none".into(),
        network: spec.clone(),
        sermill_version: env!("CARGO_PKG_VERSION").into(),
        golden: Golden { seed: golden_seed, probabilities },
        confidence: Default::default(),
        heard: Vec::new(),
        sealed: true,
    };
    export(spec, &trainer.state().parameters, &card)
}
