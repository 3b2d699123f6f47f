//! Where the vector of a step lies in what leaves the last block, and the way of its gradient back.

use crate::network::block_weights::BlockShape;
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
