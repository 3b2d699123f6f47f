//! Where the vector of a step lies in what leaves the last block, and the way of its gradient back.

use rayon::prelude::*;

use crate::network::block_weights::BlockShape;
use crate::network::dropout::InputMask;
use crate::network::inputs::stack_windows;
use crate::network::kernels::CHANNELS;
use crate::network::kernels::geometry::Geometry;
use crate::network::spec::NetworkSpec;

/// Steps are images of their own, or groups of columns of a recording's one image.
#[derive(Clone, Copy, Debug)]
pub struct Columns {
    /// What leaves the last block.
    image: Geometry,
    /// Columns of a step.
    width: usize,
    /// Columns between the starts of two steps of one image.
    hop: usize,
    /// Steps of one image.
    pub n_steps: usize,
}

impl Columns {
    /// Where the steps of `spec` lie; `None` for a network without blocks, whose steps are columns of the spectrogram.
    pub fn new(spec: &NetworkSpec) -> Option<Self> {
        let last = spec.blocks.len().checked_sub(1)?;
        let image = BlockShape::new(spec, last).pooled;
        Some(match spec.steps_are_columns() {
            false => Self { image, width: image.width, hop: 0, n_steps: 1 },
            true => {
                let shrink = spec.shrink(spec.blocks.len());
                Self { image, width: spec.window / shrink, hop: spec.hop / shrink, n_steps: spec.n_windows() }
            }
        })
    }

    /// Copies step number `step` of an image with padding to `vector`, which is `[height, width, channels]`.
    pub fn read(&self, image: &[f32], step: usize, vector: &mut [f32]) {
        let channels = self.image.channels;
        for (pixel, out) in vector.chunks_exact_mut(channels).enumerate() {
            let (y, x) = (pixel / self.width, step * self.hop + pixel % self.width);
            let from = image[self.image.padded_at(y, x)..].chunks(self.image.padded_plane());
            out.chunks_mut(CHANNELS).zip(from).for_each(|(out, from)| out.copy_from_slice(&from[..out.len()]));
        }
    }

    /// Puts the gradients of an image's steps `vectors` `[steps][height, width, channels]` times `factors` `[height, width,
    /// channels]` where they were read, in `image` without padding; where steps overlap, they add up in their order.
    pub fn put_gradients(&self, vectors: &[f32], factors: &[f32], image: &mut [f32]) {
        let (channels, plane, overlap) = (self.image.channels, self.image.plane(), self.hop < self.width);
        let adds = overlap && self.n_steps > 1;
        if self.n_steps > 1 {
            image.fill(0.0);
        }
        for (step, vector) in vectors.chunks_exact(factors.len()).enumerate() {
            let pixels = vector.chunks_exact(channels).zip(factors.chunks_exact(channels)).enumerate();
            for (pixel, (values, factors)) in pixels {
                let (y, x) = (pixel / self.width, step * self.hop + pixel % self.width);
                let to = image[(y * self.image.width + x) * CHANNELS..].chunks_mut(plane);
                for ((to, values), factors) in to.zip(values.chunks(CHANNELS)).zip(factors.chunks(CHANNELS)) {
                    let products = values.iter().zip(factors).map(|(value, factor)| value * factor);
                    match adds {
                        true => to.iter_mut().zip(products).for_each(|(sum, value)| *sum += value),
                        false => to.iter_mut().zip(products).for_each(|(to, value)| *to = value),
                    }
                }
            }
        }
    }
}

/// Values of the last block's output with padding, and of its gradient, for batches of up to `max_batch` recordings.
pub fn feature_lengths(spec: &NetworkSpec, max_batch: usize) -> (usize, usize) {
    let Some(last) = spec.blocks.len().checked_sub(1) else { return (0, 0) };
    let (pooled, n_images) = (BlockShape::new(spec, last).pooled, spec.n_images(last, max_batch));
    (n_images * pooled.padded_len(), n_images * pooled.n_floats())
}

/// The vectors of the steps of `n` recordings `[n, steps, inputs]`, dropout done, out of the last block's output `features`
/// or, without blocks, out of `log_mel`; `factors` `[n, inputs]` are what dropout multiplied them with.
pub fn read_steps(
    spec: &NetworkSpec,
    (columns, features): (Option<Columns>, &[f32]),
    (log_mel, n): (&[f32], usize),
    mask: InputMask,
    factors: &mut [f32],
    vectors: &mut [f32],
) {
    let (n_steps, n_inputs, one) = (spec.n_windows(), spec.lstm_inputs(), spec.n_mels * spec.n_frames);
    let recordings = vectors.par_chunks_exact_mut(n_steps * n_inputs).zip(factors.par_chunks_exact_mut(n_inputs));
    recordings.take(n).enumerate().for_each(|(recording, (vectors, factors))| {
        mask.factors(recording, factors);
        if columns.is_none() {
            stack_windows(spec, &log_mel[recording * one..][..one], vectors);
        }
        for (step, vector) in vectors.chunks_exact_mut(n_inputs).enumerate() {
            if let Some(columns) = columns {
                let (image, length) = ((recording * n_steps + step) / columns.n_steps, columns.image.padded_len());
                columns.read(&features[image * length..][..length], step % columns.n_steps, vector);
            }
            vector.iter_mut().zip(factors.iter()).for_each(|(value, factor)| *value *= factor);
        }
    });
}
