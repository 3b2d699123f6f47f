//! Adam with decoupled weight decay (Loshchilov, Hutter 2019, arXiv 1711.05101), in the order of PyTorch's `AdamW`.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::network::optimiser::CHUNK;
use crate::network::parameters::{Parameters, Tensor};
use crate::simd::{Isa, Job, Lanes};

/// Constants of the optimiser; the defaults are PyTorch's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdamW {
    /// Share of a kernel that a step of rate 1 takes away; biases and the scales and shifts of batch norm keep theirs.
    pub weight_decay: f64,
    /// Share of the mean of gradients that is kept.
    pub beta1: f64,
    /// Share of the mean of squared gradients that is kept.
    pub beta2: f64,
    /// Added to the root of the mean square.
    pub epsilon: f64,
}

impl Default for AdamW {
    fn default() -> Self {
        Self { weight_decay: 0.01, beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }
    }
}

impl AdamW {
    pub(super) fn check(&self) -> Result<()> {
        let share = |value: f64| (0.0..1.0).contains(&value);
        // A smaller epsilon is zero in f32, and a gradient that was always zero then divides by it.
        let epsilon = (1e-30..1e30).contains(&self.epsilon);
        for (key, value, is_sound, limit) in [
            ("weight_decay", self.weight_decay, share(self.weight_decay), "must be at least 0 and under 1"),
            ("beta1", self.beta1, share(self.beta1), "must be at least 0 and under 1"),
            ("beta2", self.beta2, share(self.beta2), "must be at least 0 and under 1"),
            ("epsilon", self.epsilon, epsilon, "must be at least 1e-30 and finite"),
        ] {
            if !is_sound {
                return Err(Error::recipe(format!("[train] optimiser: adamw: {key} = {value}: {limit}")));
            }
        }
        Ok(())
    }
}

/// Whether weight decay pulls at a tensor: at kernels alone.
fn is_decayed(tensor: &Tensor) -> bool {
    tensor.name.ends_with("kernel")
}

/// One update of every trainable tensor; `iteration` counts from 0, `moments` are the means of gradients and of their
/// squares.
///
/// `w -= rate decay w; m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2;`
/// `w -= rate (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + epsilon)`
pub(super) fn update(
    (isa, config): (Isa, &AdamW),
    (rate, iteration): (f64, u64),
    parameters: &mut Parameters,
    [first, second]: [&mut Parameters; 2],
    gradient: &Parameters,
) {
    let power = (iteration + 1) as f64;
    let (first_seen, second_seen) = (1.0 - config.beta1.powf(power), 1.0 - config.beta2.powf(power));
    let step = Step {
        keep: 1.0,
        beta1: config.beta1 as f32,
        rest1: (1.0 - config.beta1) as f32,
        beta2: config.beta2 as f32,
        rest2: (1.0 - config.beta2) as f32,
        rate: (rate / first_seen) as f32,
        scale: (1.0 / second_seen.sqrt()) as f32,
        epsilon: config.epsilon as f32,
    };
    let tensors = parameters.tensors.iter_mut().zip(&mut first.tensors).zip(&mut second.tensors).zip(&gradient.tensors);
    for (((parameter, first), second), gradient) in tensors.filter(|(((parameter, _), _), _)| parameter.trainable) {
        let keep = if is_decayed(parameter) { (1.0 - rate * config.weight_decay) as f32 } else { 1.0 };
        let step = Step { keep, ..step };
        let moments = first.values.par_chunks_mut(CHUNK).zip(second.values.par_chunks_mut(CHUNK));
        let chunks = parameter.values.par_chunks_mut(CHUNK).zip(moments).zip(gradient.values.par_chunks(CHUNK));
        chunks.for_each(|((values, (first, second)), gradient)| {
            isa.run(Update { step, values, first, second, gradient })
        });
    }
}

/// Numbers of one step.
#[derive(Clone, Copy)]
struct Step {
    keep: f32,
    beta1: f32,
    rest1: f32,
    beta2: f32,
    rest2: f32,
    /// Learning rate over the part of all gradients that the first mean has seen.
    rate: f32,
    /// One over the root of that part for the second.
    scale: f32,
    epsilon: f32,
}

struct Update<'a> {
    step: Step,
    values: &'a mut [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
    gradient: &'a [f32],
}

impl Job for Update<'_> {
    type Output = ();

    // No fused operation: the same bits on every instruction set.
    #[inline(always)]
    fn run<L: Lanes>(self, _: L) {
        let Step { keep, beta1, rest1, beta2, rest2, rate, scale, epsilon } = self.step;
        let moments = self.first.iter_mut().zip(self.second);
        for ((value, (first, second)), gradient) in self.values.iter_mut().zip(moments).zip(self.gradient) {
            *first = beta1 * *first + rest1 * gradient;
            *second = beta2 * *second + rest2 * (gradient * gradient);
            *value = keep * *value - rate * *first / (second.sqrt() * scale + epsilon);
        }
    }
}
