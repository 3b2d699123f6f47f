//! One conv block back over a batch: gradients of its tensors and of what entered it.

use rayon::prelude::*;

use crate::network::block::{Block, GROUPS, group_size};
use crate::network::kernels::CHANNELS;
use crate::network::kernels::backward::{AffineGradient, FirstBackward, InnerBackward, Pooled, PooledFrom, Sink};
use crate::network::kernels::dropout::Dropout;
use crate::network::kernels::patches::TAPS;
use crate::network::parameters::{BlockTensors, Tensor};

impl Block {
    /// From the gradient of the block's output `[images][pooled]` to that of batch norm's output.
    pub fn backward_output(&mut self, dropout: Dropout, gradient: &[f32], n: usize) {
        let (weights, shape, group) = (&self.weights, self.weights.shape, group_size(n));
        let (pooled_len, n_blocks) = (shape.pooled.n_floats(), shape.conv.n_blocks());
        (
            gradient[..n * pooled_len].par_chunks(group * pooled_len),
            self.raw[..n * pooled_len].par_chunks_mut(group * pooled_len),
            self.argmax[..n * pooled_len].par_chunks(group * pooled_len),
            self.sums[..n * n_blocks].par_chunks_mut(group * n_blocks),
        )
            .into_par_iter()
            .for_each(|(gradient, raw, argmax, sums)| {
                for (image, sums) in sums.chunks_exact_mut(n_blocks).enumerate() {
                    let pooled = image * pooled_len..(image + 1) * pooled_len;
                    weights.isa.run(PooledFrom {
                        gradient: &gradient[pooled.clone()],
                        pooled: Pooled {
                            geometry: shape.pooled,
                            affine: weights.affine(),
                            dropout_scale: dropout.scale,
                            raw: &mut raw[pooled.clone()],
                            argmax: &argmax[pooled],
                            sums,
                        },
                    });
                }
            });
    }

    /// Gradients of gamma and beta from the sums where values were pooled, and from them the constants of batch norm's
    /// dense terms: `dy = scale (dz - d_beta / N - normalised d_gamma / N)`.
    ///
    /// The bias before batch norm has no influence; its gradient is exactly zero.
    fn norm_gradient(&mut self, gradient: &mut BlockTensors<&mut Tensor>, n: usize) {
        let n_blocks = self.weights.shape.conv.n_blocks();
        let sums = &self.sums[..n * n_blocks];
        let n_values = (n * self.weights.shape.conv.n_pixels()) as f64;
        gradient.bias.values.fill(0.0);
        for channel in 0..self.weights.shape.conv.channels {
            let total = |which: usize| -> f64 {
                sums.iter().skip(channel / CHANNELS).step_by(n_blocks).map(|sums| sums[which][channel % CHANNELS]).sum()
            };
            let (d_beta, d_gamma) = (total(0), total(1));
            gradient.gamma.values[channel] = d_gamma as f32;
            gradient.beta.values[channel] = d_beta as f32;
            let scale = f64::from(self.weights.scale[channel]);
            self.shift_term[channel] = (-scale * d_beta / n_values) as f32;
            self.scale_term[channel] =
                (-scale * f64::from(self.weights.inverse_deviation[channel]) * d_gamma / n_values) as f32;
        }
    }

    /// Later blocks: gradients of the block's tensors, and batch norm's of the block before.
    pub fn backward_inner(
        &mut self,
        before: &mut Block,
        dropout: Dropout,
        gradient: &mut BlockTensors<&mut Tensor>,
        n: usize,
    ) {
        let (shape, group) = (before.weights.shape, group_size(n));
        let (length, n_blocks) = (shape.pooled.n_floats(), shape.conv.n_blocks());
        let affine = before.weights.affine();
        let sinks = (
            before.raw[..n * length].par_chunks_mut(group * length),
            before.argmax[..n * length].par_chunks(group * length),
            before.sums[..n * n_blocks].par_chunks_mut(group * n_blocks),
        );
        let sinks = sinks.into_par_iter().map(|(raw, argmax, sums)| {
            let images = raw.chunks_mut(length).zip(argmax.chunks(length)).zip(sums.chunks_mut(n_blocks));
            images.map(move |((raw, argmax), sums)| {
                let (geometry, dropout_scale) = (shape.pooled, dropout.scale);
                Sink::Before(Pooled { geometry, affine, dropout_scale, raw, argmax, sums })
            })
        });
        self.backward_into(sinks, gradient, n);
    }

    /// Later blocks: gradients of the block's tensors, and of its input into `d_input` `[images][input without padding]`.
    pub fn backward_images(&mut self, d_input: &mut [f32], gradient: &mut BlockTensors<&mut Tensor>, n: usize) {
        let length = self.weights.shape.input.n_floats();
        let groups = d_input[..n * length].par_chunks_mut(group_size(n) * length);
        self.backward_into(groups.map(|group| group.chunks_mut(length).map(Sink::Image)), gradient, n);
    }

    /// `sinks` gives for each group of images the places where their gradients go.
    fn backward_into<'a, I: Iterator<Item = Sink<'a>>>(
        &mut self,
        sinks: impl IndexedParallelIterator<Item = I>,
        gradient: &mut BlockTensors<&mut Tensor>,
        n: usize,
    ) {
        self.norm_gradient(gradient, n);
        let (weights, shape, group) = (&self.weights, self.weights.shape, group_size(n));
        let (input_len, pooled_len, y_len) = (shape.input_len(), shape.pooled.n_floats(), shape.conv.padded_len());
        let (mean, scale, strip_len) = (&weights.mean, &weights.scale, self.strips.len() / GROUPS);
        let affine = AffineGradient { mean, scale_term: &self.scale_term, shift_term: &self.shift_term, scale };
        let (transposed, no_bias) = (&self.transposed, &self.no_bias);
        (
            self.input[..n * input_len].par_chunks(group * input_len),
            self.y[..n * y_len].par_chunks_mut(group * y_len),
            self.raw[..n * pooled_len].par_chunks(group * pooled_len),
            self.argmax[..n * pooled_len].par_chunks(group * pooled_len),
            self.strips.par_chunks_mut(strip_len),
            self.transforms.par_chunks_mut(shape.scratch_len().max(1)),
            self.weight_gradients.par_chunks_mut(shape.packed_len()),
            sinks,
        )
            .into_par_iter()
            .for_each(|(input, y, raw, argmax, strip, scratch, weight_gradient, sinks)| {
                weight_gradient.fill(0.0);
                for (image, sink) in sinks.enumerate() {
                    let part = |length: usize| image * length..(image + 1) * length;
                    weights.isa.run(InnerBackward {
                        method: shape.method,
                        input: &input[part(input_len)],
                        input_geometry: shape.input,
                        geometry: shape.conv,
                        pool: shape.pool,
                        affine,
                        gradient: &raw[part(pooled_len)],
                        argmax: &argmax[part(pooled_len)],
                        y: &mut y[part(y_len)],
                        weight_gradient,
                        weights: transposed,
                        no_bias,
                        strip,
                        scratch,
                        sink,
                    });
                }
            });
        self.kernel_gradient(&mut gradient.kernel.values, n);
    }

    /// First block: gradients of its tensors.
    ///
    /// The dense terms of batch norm's gradient need no pass over the image: with so few taps their sums with the input
    /// are `sum[t]` and `centred[t][u] w[u]`.
    pub fn backward_first(
        &mut self,
        tensors: BlockTensors<&Tensor>,
        gradient: &mut BlockTensors<&mut Tensor>,
        n: usize,
    ) {
        self.norm_gradient(gradient, n);
        let (weights, shape, group) = (&self.weights, self.weights.shape, group_size(n));
        let (input_len, pooled_len) = (shape.input_len(), shape.pooled.n_floats());
        (
            self.input[..n * input_len].par_chunks(group * input_len),
            self.raw[..n * pooled_len].par_chunks(group * pooled_len),
            self.argmax[..n * pooled_len].par_chunks(group * pooled_len),
            self.weight_gradients.par_chunks_mut(shape.packed_len()),
        )
            .into_par_iter()
            .for_each(|(input, raw, argmax, weight_gradient)| {
                weight_gradient.fill(0.0);
                let images = input.chunks_exact(input_len).zip(raw.chunks(pooled_len)).zip(argmax.chunks(pooled_len));
                for ((input, gradient), argmax) in images {
                    weights.isa.run(FirstBackward {
                        image: input,
                        geometry: shape.conv,
                        pool: shape.pool,
                        gradient,
                        argmax,
                        weight_gradient,
                    });
                }
            });
        self.kernel_gradient(&mut gradient.kernel.values, n);
        let (total, shape) = (self.patch_sums(n), self.weights.shape);
        let centred = total.centred((n * shape.conv.n_pixels()) as f64);
        let (scale_term, shift_term, scale) = (&self.scale_term, &self.shift_term, &self.weights.scale);
        for (at, value) in gradient.kernel.values.iter_mut().enumerate() {
            let (tap, channel) = (at / shape.conv.channels, at % shape.conv.channels);
            let along: f64 = (0..shape.input.channels * TAPS)
                .map(|second| {
                    centred[tap][second] * f64::from(tensors.kernel.values[second * shape.conv.channels + channel])
                })
                .sum();
            let dense = f64::from(shift_term[channel]) * total.sum[tap] + f64::from(scale_term[channel]) * along;
            *value = (f64::from(scale[channel]) * f64::from(*value) + dense) as f32;
        }
    }

    /// Adds the groups' packed gradients in order and unpacks their sum.
    fn kernel_gradient(&mut self, gradient: &mut [f32], n: usize) {
        const PART: usize = 1024;
        let (shape, packed) = (self.weights.shape, self.weights.shape.packed_len());
        let n_groups = n.div_ceil(group_size(n));
        let (sum, others) = self.weight_gradients[..n_groups * packed].split_at_mut(packed);
        sum.par_chunks_mut(PART).enumerate().for_each(|(part, sum)| {
            let mut wide = [0.0f64; PART];
            wide.iter_mut().zip(sum.iter()).for_each(|(wide, value)| *wide = f64::from(*value));
            for group in others.chunks_exact(packed) {
                let values = &group[part * PART..][..sum.len()];
                wide.iter_mut().zip(values).for_each(|(wide, value)| *wide += f64::from(*value));
            }
            sum.iter_mut().zip(wide).for_each(|(value, wide)| *value = wide as f32);
        });
        shape.method.unpack(self.weights.isa, sum, shape.channels(), gradient);
    }
}
