//! The head: one vector of a recording out of the vectors of its steps, and the way back.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// What becomes of the vectors of a recording's steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Head {
    /// The last step's, as in the paper; of a layer that reads backwards too, the last one that it gives: that of step 0.
    #[default]
    Last,
    /// Their mean.
    Mean,
    /// Their mean, then their standard deviation `sqrt(variance + 1e-5)`: twice as long.
    MeanDeviation,
    /// Their mean with weights of each recording's own: the softmax over the steps of a dense layer of one unit. The layer
    /// has no bias, which a softmax does not see.
    Attention,
}

/// Added to the variance: a step's vector that never changes has a slope all the same.
pub const DEVIATION_EPSILON: f32 = 1e-5;

impl Head {
    /// Whether this is what a recipe means that says nothing.
    pub fn is_last(&self) -> bool {
        *self == Self::Last
    }

    /// Length of the vector of a recording whose steps have vectors of `width`.
    pub fn n_outputs(self, width: usize) -> usize {
        if self == Self::MeanDeviation { 2 * width } else { width }
    }
}

/// Sizes of the head.
#[derive(Clone, Copy, Debug)]
pub struct HeadShape {
    pub head: Head,
    pub n_steps: usize,
    /// Length of a step's vector.
    pub width: usize,
    /// How many of its values, the last ones, come from a layer that reads backwards.
    pub n_backwards: usize,
}

/// What [`forward`] worked on and made, as [`backward`] needs it.
#[derive(Clone, Copy)]
pub struct HeadBatch<'a> {
    /// `[width]`, or nothing.
    pub kernel: &'a [f32],
    /// Vectors of the steps `[n, steps, width]`.
    pub values: &'a [f32],
    /// `[n, steps]`, of [`Head::Attention`] only.
    pub weights: &'a [f32],
    /// `[n, outputs]`
    pub embedding: &'a [f32],
}

impl HeadShape {
    fn n_outputs(&self) -> usize {
        self.head.n_outputs(self.width)
    }

    /// The step whose value `at` is that of [`Head::Last`].
    fn last_step(&self, at: usize) -> usize {
        if at < self.width - self.n_backwards { self.n_steps - 1 } else { 0 }
    }
}

/// Vectors of recordings `embedding` `[n, outputs]` from those of their steps `values` `[n, steps, width]`.
///
/// `weights` `[n, steps]` are written by [`Head::Attention`], which reads `kernel` `[width]`.
pub fn forward(shape: HeadShape, kernel: &[f32], values: &[f32], weights: &mut [f32], embedding: &mut [f32]) {
    let recordings = embedding.par_chunks_exact_mut(shape.n_outputs());
    let recordings = recordings.zip(values.par_chunks_exact(shape.n_steps * shape.width));
    if shape.head == Head::Attention {
        recordings.zip(weights.par_chunks_exact_mut(shape.n_steps)).for_each(|((out, values), weights)| {
            attend(kernel, values, weights);
            out.fill(0.0);
            for (weight, values) in weights.iter().zip(values.chunks_exact(shape.width)) {
                out.iter_mut().zip(values).for_each(|(out, value)| *out += weight * value);
            }
        });
        return;
    }
    recordings.for_each(|(out, values)| match shape.head {
        Head::Last => {
            let step = |at: usize| shape.last_step(at) * shape.width;
            out.iter_mut().enumerate().for_each(|(at, out)| *out = values[step(at) + at]);
        }
        _ => moments(shape, values, out),
    });
}

/// Softmax over the steps of `values` times `kernel`.
fn attend(kernel: &[f32], values: &[f32], weights: &mut [f32]) {
    for (weight, values) in weights.iter_mut().zip(values.chunks_exact(kernel.len())) {
        *weight = dot(values, kernel);
    }
    let top = weights.iter().fold(f32::NEG_INFINITY, |top, &value| top.max(value));
    let mut sum = 0.0;
    for weight in weights.iter_mut() {
        *weight = (*weight - top).exp();
        sum += *weight;
    }
    weights.iter_mut().for_each(|weight| *weight /= sum);
}

/// The mean of the steps and, where `out` is twice as long, their deviation.
fn moments(shape: HeadShape, values: &[f32], out: &mut [f32]) {
    let (mean, deviation) = out.split_at_mut(shape.width);
    let scale = 1.0 / shape.n_steps as f32;
    mean.fill(0.0);
    for values in values.chunks_exact(shape.width) {
        mean.iter_mut().zip(values).for_each(|(mean, value)| *mean += value);
    }
    mean.iter_mut().for_each(|mean| *mean *= scale);
    if deviation.is_empty() {
        return;
    }
    deviation.fill(0.0);
    for values in values.chunks_exact(shape.width) {
        for ((sum, value), mean) in deviation.iter_mut().zip(values).zip(mean.iter()) {
            *sum += (value - mean) * (value - mean);
        }
    }
    deviation.iter_mut().for_each(|sum| *sum = (*sum * scale + DEVIATION_EPSILON).sqrt());
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// From the gradient of the embedding `[n, outputs]` to those of the steps' vectors `d_values` `[n, steps, width]` and of
/// the kernel, both overwritten.
pub fn backward(
    shape: HeadShape,
    batch: HeadBatch<'_>,
    d_embedding: &[f32],
    d_values: &mut [f32],
    d_kernel: &mut [f32],
) {
    let HeadShape { head, n_steps, width, .. } = shape;
    let one = n_steps * width;
    let recordings = d_values.par_chunks_exact_mut(one).zip(d_embedding.par_chunks_exact(shape.n_outputs()));
    let recordings = recordings.zip(batch.embedding.par_chunks_exact(shape.n_outputs()));
    let recordings = recordings.zip(batch.values.par_chunks_exact(one));
    if head == Head::Attention {
        recordings.zip(batch.weights.par_chunks_exact(n_steps)).for_each(|((((d, d_out), out), values), weights)| {
            let along = dot(d_out, out);
            for (step, weight) in weights.iter().enumerate() {
                let part = step * width..(step + 1) * width;
                let d_score = weight * (dot(d_out, &values[part.clone()]) - along);
                for ((d, d_out), kernel) in d[part].iter_mut().zip(d_out).zip(batch.kernel) {
                    *d = weight * d_out + d_score * kernel;
                }
            }
        });
        return kernel_gradient(shape, batch, d_embedding, d_kernel);
    }
    let scale = 1.0 / n_steps as f32;
    recordings.for_each(|(((d, d_out), out), values)| match head {
        Head::Last => {
            d.fill(0.0);
            d_out.iter().enumerate().for_each(|(at, value)| d[shape.last_step(at) * width + at] = *value);
        }
        Head::MeanDeviation => {
            for (d, values) in d.chunks_exact_mut(width).zip(values.chunks_exact(width)) {
                for (at, d) in d.iter_mut().enumerate() {
                    let along = (values[at] - out[at]) / out[width + at];
                    *d = scale * (d_out[at] + d_out[width + at] * along);
                }
            }
        }
        _ => d.chunks_exact_mut(width).for_each(|d| d.iter_mut().zip(d_out).for_each(|(d, value)| *d = scale * value)),
    });
}

/// The gradient of attention's kernel, summed in the order of recordings and steps.
fn kernel_gradient(shape: HeadShape, batch: HeadBatch<'_>, d_embedding: &[f32], d_kernel: &mut [f32]) {
    let HeadShape { n_steps, width, .. } = shape;
    d_kernel.fill(0.0);
    let recordings = d_embedding.chunks_exact(width).zip(batch.embedding.chunks_exact(width));
    let recordings =
        recordings.zip(batch.values.chunks_exact(n_steps * width)).zip(batch.weights.chunks_exact(n_steps));
    for (((d_out, out), values), weights) in recordings {
        let along = dot(d_out, out);
        for (weight, values) in weights.iter().zip(values.chunks_exact(width)) {
            let d_score = weight * (dot(d_out, values) - along);
            d_kernel.iter_mut().zip(values).for_each(|(sum, value)| *sum += d_score * value);
        }
    }
}
