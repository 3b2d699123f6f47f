//! Dropout on what enters the LSTM, or the head where there is none; that of images is part of the kernels.

use crate::network::kernels::CHANNELS;
use crate::network::kernels::dropout::Dropout;
use crate::network::spec::NetworkSpec;
use crate::units::Seed;

/// Dropout on the LSTM's input: one mask for all time steps of a recording.
pub struct InputMask {
    dropout: Dropout,
    n_groups: usize,
}

impl InputMask {
    /// The masks of one step; without a seed nothing is dropped.
    pub fn new(spec: &NetworkSpec, seed: Option<Seed>) -> Self {
        let dropout = Dropout::new(seed, spec.blocks.len(), spec.dropout);
        Self { dropout, n_groups: spec.lstm_inputs().div_ceil(CHANNELS) }
    }

    /// What the inputs of a recording are multiplied by.
    pub fn factors(&self, recording: usize, factors: &mut [f32]) {
        for (group, factors) in factors.chunks_mut(CHANNELS).enumerate() {
            let dropped = self.dropout.dropped(recording * self.n_groups + group);
            for (factor, dropped) in factors.iter_mut().zip(dropped) {
                *factor = if dropped { 0.0 } else { self.dropout.scale };
            }
        }
    }
}
