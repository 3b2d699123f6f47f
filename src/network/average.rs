//! Averaged weights: what is evaluated and exported in place of the last ones.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::network::optimiser::CHUNK;
use crate::network::parameters::Parameters;
use crate::simd::{Isa, Job, Lanes};

/// `[train] average`: `"none"`, or `{ ema = 0.999 }`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Average {
    /// The last weights count.
    #[default]
    None,
    /// Exponential moving average over the steps, with the share of the old average that a step keeps.
    Ema(f64),
}

impl Average {
    /// Share of the weights after step `n` (from 1) in the average; nothing where there is none.
    ///
    /// `(1 - keep) / (1 - keep^n)`: that of a mean whose weights fall by `keep` from step to step and sum to 1. The first
    /// step's weights are the whole average, so that a short run is not an average with what was drawn before training.
    pub(super) fn share(&self, n: u64) -> Option<f32> {
        match *self {
            Self::None => None,
            Self::Ema(keep) => Some(((1.0 - keep) / (1.0 - keep.powf(n as f64))) as f32),
        }
    }

    /// Refuses what is no share.
    pub fn check(&self) -> Result<()> {
        match *self {
            Self::Ema(keep) if !(0.0..1.0).contains(&keep) => {
                Err(Error::recipe(format!("[train] average: ema = {keep}: must be at least 0 and under 1")))
            }
            _ => Ok(()),
        }
    }
}

/// `average += share (parameters - average)`: all tensors, because moving statistics belong to the weights beside them.
pub(super) fn follow(isa: Isa, share: f32, parameters: &Parameters, average: &mut Parameters) {
    for (average, parameter) in average.tensors.iter_mut().zip(&parameters.tensors) {
        let chunks = average.values.par_chunks_mut(CHUNK).zip(parameter.values.par_chunks(CHUNK));
        chunks.for_each(|(average, values)| isa.run(Follow { share, average, values }));
    }
}

struct Follow<'a> {
    share: f32,
    average: &'a mut [f32],
    values: &'a [f32],
}

impl Job for Follow<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, _: L) {
        for (average, value) in self.average.iter_mut().zip(self.values) {
            *average += self.share * (value - *average);
        }
    }
}
