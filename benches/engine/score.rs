//! Inference on the exported model, through one provider.

use std::path::Path;

use serde_json::{Value, json};
use sermill::error::{Error, Result};
use sermill::network::session::{Provider, Runtime, Session};

use crate::inputs;
use crate::timing::time;
use crate::train::forward_gflop;

/// Recordings whose probabilities are printed, so that engines can be compared.
const N_COMPARED: usize = 32;

/// Times batches; then scores the inputs once more for their probabilities.
pub fn run(
    folder: &Path,
    (batch, seconds, n_threads): (usize, f64, usize),
    provider: Provider,
    library: &Path,
) -> Result<Value> {
    let file = folder.join("model.onnx");
    let model = std::fs::read(&file).map_err(|error| Error::input("cannot be read").at(&file).because(error))?;
    let mut session = Session::open(&model, provider, n_threads, library)?;
    session.verify_golden(1e-4)?;
    let spec = inputs::spec();
    let log_mel = inputs::read(folder, N_COMPARED)?;
    let one = spec.n_mels * spec.n_frames;
    let mut probabilities = vec![0.0; N_COMPARED * spec.n_classes];
    let seconds =
        time(seconds, |_| session.run(&log_mel[..batch * one], batch, &mut probabilities[..batch * spec.n_classes]))?;
    for (log_mel, out) in log_mel.chunks(batch * one).zip(probabilities.chunks_mut(batch * spec.n_classes)) {
        session.run(log_mel, log_mel.len() / one, out)?;
    }
    let version = match provider {
        Provider::Native => env!("CARGO_PKG_VERSION").to_owned(),
        // Its build in its own words is left out.
        _ => Runtime::load(library)?.version().split(' ').take(1).collect(),
    };
    Ok(json!({
        "batch": batch,
        "n_threads": n_threads,
        "seconds": seconds,
        "probabilities": probabilities,
        "gflop_per_recording": (0..spec.blocks.len()).map(|index| forward_gflop(&spec, index)).sum::<f64>(),
        "version": version,
    }))
}
