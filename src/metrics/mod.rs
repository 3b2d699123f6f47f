//! How well a classifier did: confusion scores, calibration, intervals, and what needs no classifier at all.
//!
//! Everything is `f64` and a pure function of counts and probabilities. A number that is not defined is `None`, and stays out of
//! every mean.

mod calibration;
mod confusion;
#[cfg(test)]
mod golden_proof;
mod intervals;

pub use calibration::{BinTally, Bins, ItemScore, N_BINS, Tally, noise_floor};
pub use confusion::{Cell, ClassScore, Confusion};
pub use intervals::{Cluster, Estimate, FEWEST, Interval, Measured, Spread, measure};
