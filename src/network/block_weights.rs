//! What one conv block needs to run forward: its shapes, packed weights, and batch norm as an affine map.

use crate::network::kernels::CHANNELS;
use crate::network::kernels::convolution::{Convolution, Method};
use crate::network::kernels::dropout::Dropout;
use crate::network::kernels::forward::{Activate, Affine, ConvPool, RawRows};
use crate::network::kernels::geometry::Geometry;
use crate::network::parameters::{BlockTensors, Tensor};
use crate::network::pool::Pool;
use crate::network::spec::NetworkSpec;
use crate::simd::Isa;

/// Shapes of one block.
#[derive(Clone, Copy, Debug)]
pub struct BlockShape {
    /// What enters.
    pub input: Geometry,
    /// What leaves the convolution.
    pub conv: Geometry,
    /// What leaves the block.
    pub pooled: Geometry,
    /// The max pool.
    pub pool: Pool,
    /// How the convolution is computed.
    pub method: Method,
}

impl BlockShape {
    /// The shapes of block `index` of `spec`.
    pub fn new(spec: &NetworkSpec, index: usize) -> Self {
        let (height, width, channels) = spec.block_input(index);
        let pool = spec.blocks[index].pool;
        let conv = Geometry { height, width, channels: spec.blocks[index].n_maps };
        let input = Geometry { height, width, channels };
        let method = if index == 0 { Method::Narrow } else { Method::choose(input, pool) };
        Self { input, conv, pooled: conv.pooled(pool), pool, method }
    }

    /// Floats of one input image with padding.
    pub fn input_len(&self) -> usize {
        if self.method == Method::Narrow {
            self.input.channels * (self.input.height + 2) * (self.input.width + 2)
        } else {
            self.input.padded_len()
        }
    }

    /// Channels into and out of the convolution.
    pub fn channels(&self) -> (usize, usize) {
        (self.input.channels, self.conv.channels)
    }

    /// Floats of the packed weights.
    pub fn packed_len(&self) -> usize {
        self.method.packed_len(self.input.channels, self.conv.channels)
    }

    /// Floats of scratch that one image needs.
    pub fn scratch_len(&self) -> usize {
        self.method.scratch_len(self.input.channels, self.conv.channels)
    }

    /// The convolution's rows of a few rows at a time.
    pub fn strip(&self) -> RawRows {
        RawRows::strip(self.conv, self.method.step_height(self.pool.mel))
    }

    /// Floats that [`BlockShape::strip`] needs.
    pub fn strip_len(&self) -> usize {
        RawRows::strip_len(self.conv, self.method.step_height(self.pool.mel))
    }

    /// The convolution's rows as a whole image with padding.
    pub fn whole(&self) -> RawRows {
        RawRows::whole(self.conv, self.method.step_height(self.pool.mel))
    }

    /// Channels out, padded to whole blocks.
    pub fn padded_channels(&self) -> usize {
        self.conv.n_blocks() * CHANNELS
    }
}

/// Weights as the kernels read them, and batch norm as one affine map.
pub struct BlockWeights {
    pub shape: BlockShape,
    pub(super) isa: Isa,
    pub(super) weights: Vec<f32>,
    pub(super) bias: Vec<f32>,
    pub(super) sign: Vec<f32>,
    pub(super) mean: Vec<f32>,
    pub(super) inverse_deviation: Vec<f32>,
    pub(super) scale: Vec<f32>,
    pub(super) beta: Vec<f32>,
}

impl BlockWeights {
    /// Memory for the weights of one block.
    pub fn new(shape: BlockShape, isa: Isa) -> Self {
        let channels = || vec![0.0; shape.padded_channels()];
        Self {
            shape,
            isa,
            weights: vec![0.0; shape.packed_len()],
            bias: channels(),
            sign: vec![1.0; shape.padded_channels()],
            mean: channels(),
            inverse_deviation: channels(),
            scale: channels(),
            beta: channels(),
        }
    }

    /// Takes kernel, bias and the sign of gamma.
    pub fn load(&mut self, tensors: BlockTensors<&Tensor>) {
        self.shape.method.pack(self.isa, &tensors.kernel.values, self.shape.channels(), &mut self.weights);
        self.bias[..self.shape.conv.channels].copy_from_slice(&tensors.bias.values);
        for (sign, gamma) in self.sign.iter_mut().zip(&tensors.gamma.values) {
            *sign = if *gamma < 0.0 { -1.0 } else { 1.0 };
        }
    }

    /// Sets batch norm from gamma, beta and mean and variance of each channel.
    pub fn set_norm(
        &mut self,
        tensors: BlockTensors<&Tensor>,
        epsilon: f32,
        statistics: impl Iterator<Item = (f64, f64)>,
    ) {
        for (channel, (mean, variance)) in statistics.enumerate().take(self.shape.conv.channels) {
            let inverse_deviation = 1.0 / (variance + f64::from(epsilon)).sqrt();
            self.mean[channel] = mean as f32;
            self.inverse_deviation[channel] = inverse_deviation as f32;
            self.scale[channel] = (f64::from(tensors.gamma.values[channel]) * inverse_deviation) as f32;
            self.beta[channel] = tensors.beta.values[channel];
        }
    }

    /// Batch norm as the kernels read it.
    pub fn affine(&self) -> Affine<'_> {
        Affine { mean: &self.mean, inverse_deviation: &self.inverse_deviation, scale: &self.scale, beta: &self.beta }
    }

    /// Convolution and pool of image number `number` of a batch; see [`ConvPool`].
    pub fn conv_pool(
        &self,
        image: &[f32],
        (rows, y): (RawRows, &mut [f32]),
        scratch: &mut [f32],
        (raw, argmax): (&mut [f32], &mut [u8]),
        (dropout, number): (Dropout, usize),
        moments: Option<&mut [[[f64; CHANNELS]; 2]]>,
    ) {
        let BlockShape { input, conv: geometry, pool, method, .. } = self.shape;
        let (weights, bias, sign) = (&self.weights, &self.bias, &self.sign);
        self.isa.run(ConvPool {
            convolution: Convolution { method, image, input, scratch },
            geometry,
            pool,
            weights,
            bias,
            sign,
            rows,
            y,
            raw,
            argmax,
            dropout,
            image: number,
            moments,
        });
    }

    /// Norm, ELU and dropout of one image's pooled values; see [`Activate`].
    pub fn activate(&self, dropout: Dropout, raw: &[f32], argmax: &[u8], out: &mut [f32]) {
        let (geometry, affine) = (self.shape.pooled, self.affine());
        self.isa.run(Activate { geometry, affine, dropout_scale: dropout.scale, raw, argmax, out });
    }
}
