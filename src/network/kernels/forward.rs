//! One image through one block: convolution and pool, then (after the batch barrier) norm, ELU and dropout.

use crate::network::kernels::convolution::Convolution;
use crate::network::kernels::dropout::Dropout;
use crate::network::kernels::elementwise::elu;
use crate::network::kernels::geometry::{Geometry, Rows};
use crate::network::kernels::pool::{drop_indices, kept, pixels, pixels_mut, pool_row};
use crate::network::kernels::{CHANNELS, Channels};
use crate::network::pool::Pool;
use crate::simd::{Job, Lanes};

/// Where the convolution's raw rows go: a whole image that backward will read, or a few rows that are overwritten.
#[derive(Clone, Copy, Debug)]
pub struct RawRows {
    /// First float of pixel (0, 0) in block 0.
    first: usize,
    /// From one row, and from one block, to the next.
    rows: Rows,
    /// Floats from one step's first row to that of the next.
    step: usize,
}

impl RawRows {
    /// An image with padding, computed `height` rows at a time.
    pub fn whole(geometry: Geometry, height: usize) -> Self {
        let rows = Rows { row: geometry.padded_row(), plane: geometry.padded_plane() };
        Self { first: geometry.padded_at(0, 0), rows, step: height * rows.row }
    }

    /// `[blocks][height][width][16]`, used again for every step of `height` rows.
    pub fn strip(geometry: Geometry, height: usize) -> Self {
        Self { first: 0, rows: Rows::strip(geometry, height), step: 0 }
    }

    /// Floats that [`RawRows::strip`] needs.
    pub fn strip_len(geometry: Geometry, height: usize) -> usize {
        geometry.n_blocks() * height * geometry.width * CHANNELS
    }
}

/// Convolution, moments and pool of one image.
pub struct ConvPool<'a> {
    /// The image that enters.
    pub convolution: Convolution<'a>,
    /// Shape of the convolution's output.
    pub geometry: Geometry,
    /// The pool behind it.
    pub pool: Pool,
    /// Packed weights.
    pub weights: &'a [f32],
    /// `[blocks * 16]`.
    pub bias: &'a [f32],
    /// `[blocks * 16]`, 1 where the pool wants the largest raw value, -1 where the smallest.
    pub sign: &'a [f32],
    /// Where raw rows go.
    pub rows: RawRows,
    /// The raw rows.
    pub y: &'a mut [f32],
    /// Out: pooled raw values `[blocks][height / pool.mel][width / pool.time][16]`.
    pub raw: &'a mut [f32],
    /// Out: their argmax indices in the cells, same shape; [`DROPPED`](super::pool::DROPPED) is set where dropout
    /// removes the value.
    pub argmax: &'a mut [u8],
    pub dropout: Dropout,
    /// Number of the image in the batch: part of the position dropout looks at.
    pub image: usize,
    /// Out: sum and sum of squares of the raw values, `[blocks][2][16]`, if they are wanted.
    pub moments: Option<&'a mut [[[f64; CHANNELS]; 2]]>,
}

impl Job for ConvPool<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self, lanes: L) {
        if let Some(moments) = &mut self.moments {
            moments.fill([[0.0; CHANNELS]; 2]);
        }
        let height = self.convolution.method.step_height(self.pool.mel);
        for (step, y0) in (0..self.geometry.height).step_by(height).enumerate() {
            let y1 = (y0 + height).min(self.geometry.height);
            let first = self.rows.first + step * self.rows.step;
            let out = (&mut self.y[first..], self.rows.rows);
            self.convolution.rows(lanes, (y0, y1), (self.weights, self.bias), out);
            for cell_row in y0 / self.pool.mel..y1 / self.pool.mel {
                let first = first + (cell_row * self.pool.mel - y0) * self.rows.rows.row;
                (0..self.geometry.n_blocks()).for_each(|block| self.pool_row(lanes, block, cell_row, first));
            }
        }
    }
}

impl ConvPool<'_> {
    /// Moments and pool of one row of cells of one block; `first` is where its first pixel lies in block 0.
    #[inline(always)]
    fn pool_row<L: Lanes>(&mut self, lanes: L, block: usize, cell_row: usize, first: usize) {
        let pooled = self.geometry.pooled(self.pool);
        let rows = pixels(&self.y[first + block * self.rows.rows.plane..]);
        let sign = &pixels(self.sign)[block];
        let at = (block * pooled.n_pixels() + cell_row * pooled.width) * CHANNELS;
        let cells = at..at + pooled.width * CHANNELS;
        let out = (pixels_mut(&mut self.raw[cells.clone()]), self.argmax[cells].as_chunks_mut().0);
        let moments = self.moments.as_deref_mut().map(|moments| &mut moments[block]);
        pool_row(lanes, rows, self.rows.rows.row / CHANNELS, self.pool, sign, out, moments);
        let first = self.image * self.geometry.n_blocks() * pooled.n_pixels() + at / CHANNELS;
        drop_indices(self.dropout, first, self.argmax[at..at + pooled.width * CHANNELS].as_chunks_mut().0);
    }
}

/// Per-channel constants of batch norm, `[blocks * 16]` each, zero for padded channels.
#[derive(Clone, Copy)]
pub struct Affine<'a> {
    pub mean: &'a [f32],
    /// `1 / sqrt(variance + epsilon)`.
    pub inverse_deviation: &'a [f32],
    /// `gamma * inverse_deviation`.
    pub scale: &'a [f32],
    pub beta: &'a [f32],
}

impl Affine<'_> {
    /// The four constants of one block: mean, inverse deviation, scale, beta.
    #[inline(always)]
    pub fn block(&self, block: usize) -> [&Channels; 4] {
        [self.mean, self.inverse_deviation, self.scale, self.beta].map(|values| &pixels(values)[block])
    }
}

/// Batch norm, ELU and dropout of one image's pooled values.
pub struct Activate<'a> {
    /// Shape of the pooled image.
    pub geometry: Geometry,
    pub affine: Affine<'a>,
    /// What dropout multiplies kept values with.
    pub dropout_scale: f32,
    /// Pooled raw values.
    pub raw: &'a [f32],
    /// Their argmax indices, which say what dropout removed.
    pub argmax: &'a [u8],
    /// Out: the image with padding (the padding is not written).
    pub out: &'a mut [f32],
}

impl Job for Activate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, _: L) {
        let geometry = self.geometry;
        for block in 0..geometry.n_blocks() {
            let [mean, _, scale, beta] = self.affine.block(block);
            for y in 0..geometry.height {
                let first = block * geometry.n_pixels() + y * geometry.width;
                let raw = &pixels(self.raw)[first..first + geometry.width];
                let argmax: &[[u8; CHANNELS]] = &self.argmax.as_chunks().0[first..first + geometry.width];
                let out = pixels_mut(&mut self.out[block * geometry.padded_plane() + geometry.padded_at(y, 0)..]);
                for ((raw, argmax), out) in raw.iter().zip(argmax).zip(out) {
                    let kept = kept(argmax);
                    for channel in 0..CHANNELS {
                        let value =
                            elu((raw[channel] - mean[channel]) * scale[channel] + beta[channel]) * self.dropout_scale;
                        out[channel] = value * kept[channel];
                    }
                }
            }
        }
    }
}
