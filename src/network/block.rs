//! One conv block over a batch: its statistics, its memory, and forward; the way back is in `backward`.
//!
//! Images are worked on in [`GROUPS`] fixed groups. Sums over images are kept per image or per group and added in
//! order, so results do not depend on threads.

mod backward;

use rayon::prelude::*;

use crate::network::block_weights::{BlockShape, BlockWeights};
use crate::network::kernels::CHANNELS;
use crate::network::kernels::convolution::Method;
use crate::network::kernels::dropout::Dropout;
use crate::network::kernels::patches::{PatchSums, Patches, TAPS};
use crate::network::parameters::{BlockTensors, Tensor};
use crate::simd::Isa;

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
    scale_term: Vec<f32>,
    shift_term: Vec<f32>,
    /// `(mean, biased variance)` of the last batch, per channel.
    pub statistics: Vec<(f64, f64)>,
    /// What enters, `[images][input_len]`.
    pub input: Vec<f32>,
    /// Raw convolution outputs with padding, later their gradient; empty for the first block.
    y: Vec<f32>,
    /// Pooled raw values, later the gradient of batch norm's output there, `[images][pooled]`.
    raw: Vec<f32>,
    argmax: Vec<u8>,
    /// Per image and block of channels: moments of `y`, later the sums of the gradient where values were pooled.
    sums: Vec<[[f64; CHANNELS]; 2]>,
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
        let back = shape.input.n_blocks() * method.step_height(1) * shape.input.width * CHANNELS;
        Self {
            transposed: if first { 0 } else { method.packed_len(shape.conv.channels, shape.input.channels) },
            input: n * shape.input_len(),
            y: if first { 0 } else { n * shape.conv.padded_len() },
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
        let sums = self.sums * size_of::<[[f64; CHANNELS]; 2]>() + self.patches * size_of::<PatchSums>();
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
            no_bias: vec![0.0; shape.input.n_blocks() * CHANNELS],
            scale_term: vec![0.0; shape.padded_channels()],
            shift_term: vec![0.0; shape.padded_channels()],
            statistics: vec![(0.0, 0.0); shape.conv.channels],
            input: vec![0.0; lengths.input],
            y: vec![0.0; lengths.y],
            raw: vec![0.0; lengths.pooled],
            argmax: vec![0; lengths.pooled],
            sums: vec![[[0.0; CHANNELS]; 2]; lengths.sums],
            strips: vec![0.0; lengths.strips],
            transforms: vec![0.0; lengths.transforms],
            weight_gradients: vec![0.0; lengths.weight_gradients],
            patches: vec![PatchSums::default(); lengths.patches],
        }
    }

    /// Takes the block's tensors.
    pub fn load(&mut self, tensors: BlockTensors<&Tensor>) {
        let shape = self.weights.shape;
        self.weights.load(tensors);
        if !self.transposed.is_empty() {
            let kernel = &tensors.kernel.values;
            shape.method.pack_transposed(self.weights.isa, kernel, shape.channels(), &mut self.transposed);
        }
    }

    /// First block: convolution and pool of `n` images in `self.input`, then the batch's statistics.
    pub fn forward_first(&mut self, dropout: Dropout, tensors: BlockTensors<&Tensor>, epsilon: f32, n: usize) {
        let (weights, shape, group) = (&self.weights, self.weights.shape, group_size(n));
        let strip = self.strips.len() / GROUPS;
        let (input_len, pooled_len) = (shape.input_len(), shape.pooled.n_floats());
        (
            self.input[..n * input_len].par_chunks(group * input_len),
            self.raw[..n * pooled_len].par_chunks_mut(group * pooled_len),
            self.argmax[..n * pooled_len].par_chunks_mut(group * pooled_len),
            self.patches[..n].par_chunks_mut(group),
            self.strips.par_chunks_mut(strip),
        )
            .into_par_iter()
            .enumerate()
            .for_each(|(index, (input, raw, argmax, patches, strip))| {
                for (image, sums) in patches.iter_mut().enumerate() {
                    let input = &input[image * input_len..(image + 1) * input_len];
                    let pooled = image * pooled_len..(image + 1) * pooled_len;
                    weights.isa.run(Patches { image: input, geometry: shape.input, sums });
                    let pooled = (&mut raw[pooled.clone()], &mut argmax[pooled]);
                    let number = index * group + image;
                    weights.conv_pool(input, (shape.strip(), &mut *strip), &mut [], pooled, (dropout, number), None);
                }
            });
        let (total, n) = (self.patch_sums(n), (n * shape.conv.n_pixels()) as f64);
        let centred = total.centred(n);
        let (channels, n_taps) = (shape.conv.channels, shape.input.channels * TAPS);
        for (channel, statistics) in self.statistics.iter_mut().enumerate() {
            let tap = |tap: usize| f64::from(tensors.kernel.values[tap * channels + channel]);
            let mean: f64 = (0..n_taps).map(|t| tap(t) * total.sum[t]).sum::<f64>() / n;
            let products = (0..n_taps).map(|t| (0..n_taps).map(|u| tap(t) * centred[t][u] * tap(u)).sum::<f64>());
            *statistics = (mean + f64::from(tensors.bias.values[channel]), products.sum::<f64>().max(0.0) / n);
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
        tensors: BlockTensors<&Tensor>,
        epsilon: f32,
        n: usize,
    ) {
        let (weights, shape, group) = (&self.weights, self.weights.shape, group_size(n));
        let (input_len, pooled_len, y_len) = (shape.input_len(), shape.pooled.n_floats(), shape.conv.padded_len());
        let (n_blocks, scratch_len) = (shape.conv.n_blocks(), shape.scratch_len().max(1));
        (
            self.input[..n * input_len].par_chunks_mut(group * input_len),
            self.y[..n * y_len].par_chunks_mut(group * y_len),
            self.raw[..n * pooled_len].par_chunks_mut(group * pooled_len),
            self.argmax[..n * pooled_len].par_chunks_mut(group * pooled_len),
            self.sums[..n * n_blocks].par_chunks_mut(group * n_blocks),
            self.transforms.par_chunks_mut(scratch_len),
        )
            .into_par_iter()
            .enumerate()
            .for_each(|(index, (input, y, raw, argmax, sums, transforms))| {
                for (image, sums) in sums.chunks_exact_mut(n_blocks).enumerate() {
                    let part = |length: usize| image * length..(image + 1) * length;
                    let (input, number) = (&mut input[part(input_len)], index * group + image);
                    prepare(number, input);
                    let pooled = (&mut raw[part(pooled_len)], &mut argmax[part(pooled_len)]);
                    let whole = (shape.whole(), &mut y[part(y_len)]);
                    weights.conv_pool(input, whole, transforms, pooled, (dropout, number), Some(sums));
                }
            });
        let (sums, n_values) = (&self.sums[..n * n_blocks], (n * shape.conv.n_pixels()) as f64);
        for (channel, statistics) in self.statistics.iter_mut().enumerate() {
            let total = |moment: usize| -> f64 {
                sums.iter()
                    .skip(channel / CHANNELS)
                    .step_by(n_blocks)
                    .map(|sums| sums[moment][channel % CHANNELS])
                    .sum()
            };
            let mean = total(0) / n_values;
            *statistics = (mean, (total(1) / n_values - mean * mean).max(0.0));
        }
        self.weights.set_norm(tensors, epsilon, self.statistics.iter().copied());
    }

    /// Norm, ELU and dropout of one image's pooled values into `out` (with padding, which is not written).
    pub fn activate(&self, dropout: Dropout, image: usize, out: &mut [f32]) {
        let length = self.weights.shape.pooled.n_floats();
        let part = image * length..(image + 1) * length;
        self.weights.activate(dropout, &self.raw[part.clone()], &self.argmax[part], out);
    }

    /// [`Block::activate`] of `n` images, `out` `[images][pooled with padding]`.
    pub fn activate_all(&self, dropout: Dropout, out: &mut [f32], n: usize) {
        let (length, group) = (self.weights.shape.pooled.padded_len(), group_size(n));
        out[..n * length].par_chunks_mut(group * length).enumerate().for_each(|(index, out)| {
            for (image, out) in out.chunks_mut(length).enumerate() {
                self.activate(dropout, index * group + image, out);
            }
        });
    }
}
