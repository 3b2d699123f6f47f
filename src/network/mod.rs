//! The model: its shapes and tensors, forward, backward and optimiser, export to ONNX and ONNX Runtime.
//!
//! `spec` says what the network is, `parameters` holds its tensors. `trainer` trains it, `predictor` scores with it;
//! both are made of `block` (convolution, batch norm, ELU, pool, dropout), `sequence` (`lstm` and `head`) and `dense`, and `block` of the
//! `kernels`. `optimiser` moves the weights by a `schedule`, `average` follows them, `targets` is what they are moved
//! towards. `twin` is the same network written naively in `f64`, which the tests compare everything with.

pub mod average;
mod block;
mod block_weights;
mod columns;
pub mod dense;
mod dropout;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod golden_learning;
#[cfg(test)]
mod golden_structures;
pub mod head;
pub mod initialise;
pub mod inputs;
pub mod kernels;
#[cfg(test)]
mod learning_proof;
mod lstm;
#[cfg(test)]
mod lstm_proof;
mod matrix;
// The one central type of a folder carries its name.
#[allow(clippy::module_inception)]
pub mod network;
pub mod onnx;
pub mod optimiser;
pub mod parameters;
pub mod pool;
pub mod predictor;
#[cfg(test)]
mod proof;
pub mod schedule;
mod seam;
pub mod sequence;
pub mod session;
pub mod spec;
pub mod state;
pub mod targets;
pub mod trainer;
#[cfg(test)]
mod twin;

pub use dense::StepOutcome;
pub use network::Network;
pub use optimiser::{SgdConfig, UpdateRule};
pub use parameters::{Parameters, Tensor};
pub use pool::Pool;
pub use predictor::Predictor;
pub use spec::{BlockSpec, NetworkSpec, Trunk};
pub use state::TrainerState;
pub use trainer::Trainer;
