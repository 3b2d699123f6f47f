//! One learning module over a batch: its statistics, its memory, forward and backward.
//!
//! Images are worked on in [`GROUPS`] fixed groups. Sums over images are kept per image or per group and added in
//! order, so results do not depend on threads.

use rayon::prelude::*;

use crate::network::block_weights::{BlockShape, BlockWeights};
use crate::network::dropout::Dropout;
use crate::network::kernels::backward::{AffineGradient, FirstBackward, InnerBackward, Pooled, PooledFrom, Sink};
use crate::network::kernels::convolution::Method;
use crate::network::kernels::patches::{PatchSums, Patches, TAPS};
use crate::network::kernels::{Isa, MAPS};
use crate::network::parameters::Tensor;

/// Groups of images that a batch is cut into: more threads than this find no work.
pub const GROUPS: usize = 16;

/// Images in one group of a batch of `n_images`.
pub fn group_size(n_images: usize) -> usize {
    n_images.div_ceil(GROUPS)
}

/// A block with the memory that training on a batch needs, made once.
pub struct Block {
    pub weights: BlockWeights,
    transposed: Vec<f32>,
    no_bias: Vec<f32>,
    slope: Vec<f32>,
    offset: Vec<f32>,
    /// `(mean, biased variance)` of the last batch, per map.
    pub statistics: Vec<(f64, f64)>,
    /// What enters, `[images][input_len]`.
    pub input: Vec<f32>,
    /// Raw convolution outputs with halo, later their gradient; empty for the first block.
    y: Vec<f32>,
    /// Pooled raw values, later the gradient of batch norm's output there, `[images][pooled]`.
    raw: Vec<f32>,
    place: Vec<u8>,
    /// Per image and block of maps: moments of `y`, later the sums of [`Pooled`].
    sums: Vec<[[f64; MAPS]; 2]>,
    /// Per group.
    strips: Vec<f32>,
    transforms: Vec<f32>,
    weight_gradients: Vec<f32>,
    /// Per image; the first block only.
    patches: Vec<PatchSums>,
}

/// Values in each of a block's larger buffers for batches of up to `n` images.
struct Lengths {
    transposed: usize,
    input: usize,
    y: usize,
    pooled: usize,
    sums: usize,
    strips: usize,
    transforms: usize,
    weight_gradients: usize,
    patches: usize,
}

impl Lengths {
    fn new(shape: &BlockShape, n: usize) -> Self {
        let method = shape.method;
        let first = method == Method::Narrow;
        let back = shape.input.n_blocks() * method.step_height(1) * shape.input.width * MAPS;
        Self {
            transposed: if first { 0 } else { method.packed_len(shape.conv.maps, shape.input.maps) },
            input: n * shape.input_len(),
            y: if first { 0 } else { n * shape.conv.haloed_len() },
            pooled: n * shape.pooled.n_floats(),
            sums: n * shape.conv.n_blocks(),
            strips: GROUPS * if first { shape.strip_len() } else { back },
            transforms: GROUPS * shape.scratch_len().max(1),
            weight_gradients: GROUPS * shape.packed_len(),
            patches: if first { n } else { 0 },
        }
    }

    fn bytes(&self) -> usize {
        let floats = [self.transposed, self.input, self.y, self.pooled, self.strips, self.transforms];
        let floats = floats.iter().sum::<usize>() + self.weight_gradients;
        let sums = self.sums * size_of::<[[f64; MAPS]; 2]>() + self.patches * size_of::<PatchSums>();
        floats * size_of::<f32>() + self.pooled + sums
    }
}

impl Block {
    /// Bytes that a block takes for batches of up to `max_images` images.
    pub fn memory_bytes(shape: &BlockShape, max_images: usize) -> usize {
        Lengths::new(shape, max_images).bytes()
    }

    /// Memory for batches of up to `max_images` images.
    pub fn new(shape: BlockShape, isa: Isa, max_images: usize) -> Self {
        let lengths = Lengths::new(&shape, max_images);
        Self {
            weights: BlockWeights::new(shape, isa),
            transposed: vec![0.0; lengths.transposed],
            no_bias: vec![0.0; shape.input.n_blocks() * MAPS],
            slope: vec![0.0; shape.padded()],
            offset: vec![0.0; shape.padded()],
            statistics: vec![(0.0, 0.0); shape.conv.maps],
            input: vec![0.0; lengths.input],
            y: vec![0.0; lengths.y],
            raw: vec![0.0; lengths.pooled],
            place: vec![0; lengths.pooled],
            sums: vec![[[0.0; MAPS]; 2]; lengths.sums],
            strips: vec![0.0; lengths.strips],
            transforms: vec![0.0; lengths.transforms],
            weight_gradients: vec![0.0; lengths.weight_gradients],
            patches: vec![PatchSums::default(); lengths.patches],
        }
    }

    /// Takes the block's six tensors.
    pub fn load(&mut self, tensors: &[Tensor]) {
        let shape = self.weights.shape;
        self.weights.load(tensors);
        if !self.transposed.is_empty() {
            let kernel = &tensors[0].values;
            shape.method.pack_transposed(self.weights.isa, kernel, shape.maps(), &mut self.transposed);
        }
    }

    /// First block: convolution and pool of `n` images in `self.input`, then the batch's statistics.
    pub fn forward_first(&mut self, dropout: Dropout, tensors: &[Tensor], epsilon: f32, n: usize) {
        let (weights, shape, group) = (&self.weights, self.weights.shape, group_size(n));
        let strip = self.strips.len() / GROUPS;
        let (input_len, pooled_len) = (shape.input_len(), shape.pooled.n_floats());
        (
            self.input[..n * input_len].par_chunks(group * input_len),
            self.raw[..n * pooled_len].par_chunks_mut(group * pooled_len),
            self.place[..n * pooled_len].par_chunks_mut(group * pooled_len),
            self.patches[..n].par_chunks_mut(group),
            self.strips.par_chunks_mut(strip),
        )
            .into_par_iter()
            .enumerate()
            .for_each(|(index, (input, raw, place, patches, strip))| {
                for (image, sums) in patches.iter_mut().enumerate() {
                    let input = &input[image * input_len..(image + 1) * input_len];
                    let pooled = image * pooled_len..(image + 1) * pooled_len;
                    weights.isa.run(Patches { image: input, geometry: shape.input, sums });
                    let pooled = (&mut raw[pooled.clone()], &mut place[pooled]);
                    let number = index * group + image;
                    weights.conv_pool(input, (shape.strip(), &mut *strip), &mut [], pooled, (dropout, number), None);
                }
            });
        let (total, n) = (self.patch_sums(n), (n * shape.conv.n_pixels()) as f64);
        let centred = total.centred(n);
        let maps = shape.conv.maps;
        for (map, statistics) in self.statistics.iter_mut().enumerate() {
            let tap = |tap: usize| f64::from(tensors[0].values[tap * maps + map]);
            let mean: f64 = (0..TAPS).map(|t| tap(t) * total.sum[t]).sum::<f64>() / n;
            let products = (0..TAPS).map(|t| (0..TAPS).map(|u| tap(t) * centred[t][u] * tap(u)).sum::<f64>());
            *statistics = (mean + f64::from(tensors[1].values[map]), products.sum::<f64>().max(0.0) / n);
        }
        self.weights.set_norm(tensors, epsilon, self.statistics.iter().copied());
    }

    fn patch_sums(&self, n: usize) -> PatchSums {
        let mut total = PatchSums::default();
        self.patches[..n].iter().for_each(|sums| total.add(sums));
        total
    }

    /// Later blocks: `prepare(number, image)` writes what enters, then `n` images are convolved and pooled, and the batch's
    /// statistics are made.
    pub fn forward_inner(
        &mut self,
        prepare: impl Fn(usize, &mut [f32]) + Sync,
        dropout: Dropout,
        tensors: &[Tensor],
        epsilon: f32,
        n: usize,
    ) {
        let (weights, shape, group) = (&self.weights, self.weights.shape, group_size(n));
        let (input_len, pooled_len, y_len) = (shape.input_len(), shape.pooled.n_floats(), shape.conv.haloed_len());
        let (n_blocks, scratch_len) = (shape.conv.n_blocks(), shape.scratch_len().max(1));
        (
            self.input[..n * input_len].par_chunks_mut(group * input_len),
            self.y[..n * y_len].par_chunks_mut(group * y_len),
            self.raw[..n * pooled_len].par_chunks_mut(group * pooled_len),
            self.place[..n * pooled_len].par_chunks_mut(group * pooled_len),
            self.sums[..n * n_blocks].par_chunks_mut(group * n_blocks),
            self.transforms.par_chunks_mut(scratch_len),
        )
            .into_par_iter()
            .enumerate()
            .for_each(|(index, (input, y, raw, place, sums, transforms))| {
                for (image, sums) in sums.chunks_exact_mut(n_blocks).enumerate() {
                    let part = |length: usize| image * length..(image + 1) * length;
                    let (input, number) = (&mut input[part(input_len)], index * group + image);
                    prepare(number, input);
                    let pooled = (&mut raw[part(pooled_len)], &mut place[part(pooled_len)]);
                    let whole = (shape.whole(), &mut y[part(y_len)]);
                    weights.conv_pool(input, whole, transforms, pooled, (dropout, number), Some(sums));
                }
            });
        let (sums, n_values) = (&self.sums[..n * n_blocks], (n * shape.conv.n_pixels()) as f64);
        for (map, statistics) in self.statistics.iter_mut().enumerate() {
            let total = |moment: usize| -> f64 {
                sums.iter().skip(map / MAPS).step_by(n_blocks).map(|sums| sums[moment][map % MAPS]).sum()
            };
            let mean = total(0) / n_values;
            *statistics = (mean, (total(1) / n_values - mean * mean).max(0.0));
        }
        self.weights.set_norm(tensors, epsilon, self.statistics.iter().copied());
    }

    /// Norm, ELU and dropout of one image's pooled values into `out` (with halo, which is not written).
    pub fn activate(&self, dropout: Dropout, image: usize, out: &mut [f32]) {
        let length = self.weights.shape.pooled.n_floats();
        let part = image * length..(image + 1) * length;
        self.weights.activate(dropout, &self.raw[part.clone()], &self.place[part], out);
    }

    /// [`Block::activate`] of `n` images, `out` `[images][pooled with halo]`.
    pub fn activate_all(&self, dropout: Dropout, out: &mut [f32], n: usize) {
        let (length, group) = (self.weights.shape.pooled.haloed_len(), group_size(n));
        out[..n * length].par_chunks_mut(group * length).enumerate().for_each(|(index, out)| {
            for (image, out) in out.chunks_mut(length).enumerate() {
                self.activate(dropout, index * group + image, out);
            }
        });
    }

    /// From the gradient of the block's output `[images][pooled]` to that of batch norm's output.
    pub fn backward_output(&mut self, dropout: Dropout, gradient: &[f32], n: usize) {
        let (weights, shape, group) = (&self.weights, self.weights.shape, group_size(n));
        let (pooled_len, n_blocks) = (shape.pooled.n_floats(), shape.conv.n_blocks());
        (
            gradient[..n * pooled_len].par_chunks(group * pooled_len),
            self.raw[..n * pooled_len].par_chunks_mut(group * pooled_len),
            self.place[..n * pooled_len].par_chunks(group * pooled_len),
            self.sums[..n * n_blocks].par_chunks_mut(group * n_blocks),
        )
            .into_par_iter()
            .for_each(|(gradient, raw, place, sums)| {
                for (image, sums) in sums.chunks_exact_mut(n_blocks).enumerate() {
                    let pooled = image * pooled_len..(image + 1) * pooled_len;
                    weights.isa.run(PooledFrom {
                        gradient: &gradient[pooled.clone()],
                        pooled: Pooled {
                            geometry: shape.pooled,
                            affine: weights.affine(),
                            dropout_scale: dropout.scale,
                            raw: &mut raw[pooled.clone()],
                            place: &place[pooled],
                            sums,
                        },
                    });
                }
            });
    }

    /// Gradients of gamma and beta from the sums at the pooled places, and from them the constants of batch norm's
    /// dense terms: `dy = scale (dz - d_beta / N - normalised d_gamma / N)`.
    ///
    /// The bias before batch norm has no influence; its gradient is exactly zero.
    fn norm_gradient(&mut self, gradient: &mut [Tensor], n: usize) {
        let n_blocks = self.weights.shape.conv.n_blocks();
        let sums = &self.sums[..n * n_blocks];
        let n_values = (n * self.weights.shape.conv.n_pixels()) as f64;
        gradient[1].values.fill(0.0);
        for map in 0..self.weights.shape.conv.maps {
            let total = |which: usize| -> f64 {
                sums.iter().skip(map / MAPS).step_by(n_blocks).map(|sums| sums[which][map % MAPS]).sum()
            };
            let (d_beta, d_gamma) = (total(0), total(1));
            gradient[2].values[map] = d_gamma as f32;
            gradient[3].values[map] = d_beta as f32;
            let scale = f64::from(self.weights.scale[map]);
            self.offset[map] = (-scale * d_beta / n_values) as f32;
            self.slope[map] = (-scale * f64::from(self.weights.inverse_deviation[map]) * d_gamma / n_values) as f32;
        }
    }

    /// Later blocks: gradients of the block's tensors, and batch norm's of the block before.
    pub fn backward_inner(&mut self, before: &mut Block, dropout: Dropout, gradient: &mut [Tensor], n: usize) {
        let (shape, group) = (before.weights.shape, group_size(n));
        let (length, n_blocks) = (shape.pooled.n_floats(), shape.conv.n_blocks());
        let affine = before.weights.affine();
        let sinks = (
            before.raw[..n * length].par_chunks_mut(group * length),
            before.place[..n * length].par_chunks(group * length),
            before.sums[..n * n_blocks].par_chunks_mut(group * n_blocks),
        );
        let sinks = sinks.into_par_iter().map(|(raw, place, sums)| {
            let images = raw.chunks_mut(length).zip(place.chunks(length)).zip(sums.chunks_mut(n_blocks));
            images.map(move |((raw, place), sums)| {
                let (geometry, dropout_scale) = (shape.pooled, dropout.scale);
                Sink::Before(Pooled { geometry, affine, dropout_scale, raw, place, sums })
            })
        });
        self.backward_into(sinks, gradient, n);
    }

    /// Later blocks: gradients of the block's tensors, and of its input into `d_input` `[images][input without halo]`.
    pub fn backward_images(&mut self, d_input: &mut [f32], gradient: &mut [Tensor], n: usize) {
        let length = self.weights.shape.input.n_floats();
        let groups = d_input[..n * length].par_chunks_mut(group_size(n) * length);
        self.backward_into(groups.map(|group| group.chunks_mut(length).map(Sink::Image)), gradient, n);
    }

    /// `sinks` gives for each group of images the places where their gradients go.
    fn backward_into<'a, I: Iterator<Item = Sink<'a>>>(
        &mut self,
        sinks: impl IndexedParallelIterator<Item = I>,
        gradient: &mut [Tensor],
        n: usize,
    ) {
        self.norm_gradient(gradient, n);
        let (weights, shape, group) = (&self.weights, self.weights.shape, group_size(n));
        let (input_len, pooled_len, y_len) = (shape.input_len(), shape.pooled.n_floats(), shape.conv.haloed_len());
        let (mean, scale, strip_len) = (&weights.mean, &weights.scale, self.strips.len() / GROUPS);
        let affine = AffineGradient { mean, slope: &self.slope, offset: &self.offset, scale };
        let (transposed, no_bias) = (&self.transposed, &self.no_bias);
        (
            self.input[..n * input_len].par_chunks(group * input_len),
            self.y[..n * y_len].par_chunks_mut(group * y_len),
            self.raw[..n * pooled_len].par_chunks(group * pooled_len),
            self.place[..n * pooled_len].par_chunks(group * pooled_len),
            self.strips.par_chunks_mut(strip_len),
            self.transforms.par_chunks_mut(shape.scratch_len().max(1)),
            self.weight_gradients.par_chunks_mut(shape.packed_len()),
            sinks,
        )
            .into_par_iter()
            .for_each(|(input, y, raw, place, strip, scratch, weight_gradient, sinks)| {
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
                        place: &place[part(pooled_len)],
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
        self.kernel_gradient(&mut gradient[0], n);
    }

    /// First block: gradients of its tensors.
    ///
    /// The dense terms of batch norm's gradient need no pass over the image: with 9 taps their sums with the input
    /// are `sum[t]` and `centred[t][u] w[u]`.
    pub fn backward_first(&mut self, tensors: &[Tensor], gradient: &mut [Tensor], n: usize) {
        self.norm_gradient(gradient, n);
        let (weights, shape, group) = (&self.weights, self.weights.shape, group_size(n));
        let (input_len, pooled_len) = (shape.input_len(), shape.pooled.n_floats());
        (
            self.input[..n * input_len].par_chunks(group * input_len),
            self.raw[..n * pooled_len].par_chunks(group * pooled_len),
            self.place[..n * pooled_len].par_chunks(group * pooled_len),
            self.weight_gradients.par_chunks_mut(shape.packed_len()),
        )
            .into_par_iter()
            .for_each(|(input, raw, place, weight_gradient)| {
                weight_gradient.fill(0.0);
                let images = input.chunks_exact(input_len).zip(raw.chunks(pooled_len)).zip(place.chunks(pooled_len));
                for ((input, gradient), place) in images {
                    weights.isa.run(FirstBackward {
                        image: input,
                        geometry: shape.conv,
                        pool: shape.pool,
                        gradient,
                        place,
                        weight_gradient,
                    });
                }
            });
        self.kernel_gradient(&mut gradient[0], n);
        let (total, shape) = (self.patch_sums(n), self.weights.shape);
        let centred = total.centred((n * shape.conv.n_pixels()) as f64);
        let (slope, offset, scale) = (&self.slope, &self.offset, &self.weights.scale);
        for (at, value) in gradient[0].values.iter_mut().enumerate() {
            let (tap, map) = (at / shape.conv.maps, at % shape.conv.maps);
            let along: f64 = (0..TAPS)
                .map(|second| centred[tap][second] * f64::from(tensors[0].values[second * shape.conv.maps + map]))
                .sum();
            let dense = f64::from(offset[map]) * total.sum[tap] + f64::from(slope[map]) * along;
            *value = (f64::from(scale[map]) * f64::from(*value) + dense) as f32;
        }
    }

    /// Adds the groups' packed gradients in order and unpacks their sum.
    fn kernel_gradient(&mut self, gradient: &mut Tensor, n: usize) {
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
        shape.method.unpack(self.weights.isa, sum, shape.maps(), &mut gradient.values);
    }
}
