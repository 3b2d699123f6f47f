//! Training steps: forward, backward, update, with dropout.

use std::path::Path;

use serde_json::{Value, json};
use sermill::error::Result;
use sermill::network::{Network, NetworkSpec, Trainer};
use sermill::units::Seed;

use crate::inputs::{self, SGD};
use crate::timing::time;

/// Times steps on one batch.
pub fn run(folder: &Path, batch: usize, seconds: f64, n_threads: usize) -> Result<Value> {
    let spec = inputs::spec();
    let network = Network::initialise(spec.clone(), Seed(1))?;
    let (log_mel, labels) = (inputs::read(folder, batch)?, inputs::labels(batch));
    let mut trainer = Trainer::new(spec.clone(), network.parameters, SGD, batch, n_threads)?;
    let mut loss = 0.0;
    let seconds = time(seconds, |step| {
        loss = trainer.step(&log_mel, &labels, Some(Seed(step)))?.loss;
        Ok(())
    })?;
    Ok(json!({
        "batch": batch,
        "n_threads": n_threads,
        "seconds": seconds,
        "last_loss": loss,
        "gflop_per_recording": training_gflop(&spec),
        "version": env!("CARGO_PKG_VERSION"),
    }))
}

/// Arithmetic of one recording's step if every convolution is computed directly: a multiplication and an addition per
/// tap, forward, in the weight gradient and in the input gradient, which the first block does not need. All else
/// (batch norm, pools, LSTM, dense, update) is left out; it is under 1 %.
fn training_gflop(spec: &NetworkSpec) -> f64 {
    let passes = |index: usize| if index == 0 { 2.0 } else { 3.0 };
    (0..spec.blocks.len()).map(|index| passes(index) * forward_gflop(spec, index)).sum()
}

/// Arithmetic of block `index`'s convolution forward, all windows of one recording.
pub fn forward_gflop(spec: &NetworkSpec, index: usize) -> f64 {
    let (height, width, maps_in) = spec.block_input(index);
    let taps = spec.n_windows() * height * width * 9 * maps_in * spec.blocks[index].n_maps;
    2.0 * taps as f64 * 1e-9
}
