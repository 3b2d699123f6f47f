//! The model: its shapes and tensors, forward, backward and optimiser, export to ONNX and ONNX Runtime.
//!
//! `spec` says what the network is, `parameters` holds its tensors. `network` trains it, `predictor` scores with it;
//! both are made of `block` (convolution, batch norm, ELU, pool, dropout), `lstm` and `dense`, and `block` of the
//! `kernels`. `twin` is the same network written naively in `f64`, which the tests compare everything with.

mod block;
pub mod dense;
mod dropout;
pub mod initialise;
pub mod kernels;
mod lstm;
mod matrix;
// The one central type of a folder carries its name.
#[allow(clippy::module_inception)]
pub mod network;
pub mod onnx;
pub mod optimiser;
pub mod parameters;
pub mod predictor;
pub mod session;
pub mod spec;
pub mod state;
#[cfg(test)]
mod twin;
