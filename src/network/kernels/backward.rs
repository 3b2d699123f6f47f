//! One image back through one block, and the closed form that spares block 1 its dense part.

use crate::network::kernels::conv::{Source, conv_row, weight_gradient_rows};
use crate::network::kernels::elementwise::elu_slope;
use crate::network::kernels::forward::Affine;
use crate::network::kernels::geometry::Geometry;
use crate::network::kernels::pool::{DROPPED, gradient_row, pixels, pixels_mut, unpool_row};
use crate::network::kernels::{Job, Lanes, MAPS, Maps};

/// What turns the gradient of a block's output into that of batch norm's output at the pooled places.
pub struct Pooled<'a> {
    /// Shape of the pooled image.
    pub geometry: Geometry,
    pub affine: Affine<'a>,
    /// `1 / (1 - rate)` of the step's dropout, or 1.
    pub dropout_scale: f32,
    /// In: pooled raw values. Out: the gradient with respect to batch norm's output there.
    pub raw: &'a mut [f32],
    pub place: &'a [u8],
    /// Out: sums of that gradient and of it times the normalised value, `[blocks][2][16]`.
    pub sums: &'a mut [[[f64; MAPS]; 2]],
}

impl Pooled<'_> {
    /// One row of pixels of one block; `gradient` is that of the block's output.
    #[inline(always)]
    fn row(&mut self, block: usize, y: usize, gradient: &[Maps]) {
        let [mean, inverse_deviation, scale, beta] = self.affine.block(block);
        let first = block * self.geometry.n_pixels() + y * self.geometry.width;
        let raw = &mut pixels_mut(self.raw)[first..first + self.geometry.width];
        let place: &[[u8; MAPS]] = &self.place.as_chunks().0[first..first + self.geometry.width];
        let (mut sum, mut product) = ([0.0f32; MAPS], [0.0f32; MAPS]);
        for ((raw, place), gradient) in raw.iter_mut().zip(place).zip(gradient) {
            for map in 0..MAPS {
                let centred = raw[map] - mean[map];
                let slope = elu_slope(centred * scale[map] + beta[map]) * self.dropout_scale;
                let kept = if place[map] & DROPPED == 0 { slope } else { 0.0 };
                let value = gradient[map] * kept;
                raw[map] = value;
                sum[map] += value;
                product[map] += value * (centred * inverse_deviation[map]);
            }
        }
        for map in 0..MAPS {
            self.sums[block][0][map] += f64::from(sum[map]);
            self.sums[block][1][map] += f64::from(product[map]);
        }
    }
}

/// [`Pooled`] for the last block: the gradient comes from the LSTM.
pub struct PooledFrom<'a> {
    pub pooled: Pooled<'a>,
    /// Gradient of the block's output, blocked like it.
    pub gradient: &'a [f32],
}

impl Job for PooledFrom<'_> {
    #[inline(always)]
    fn run<L: Lanes>(mut self) {
        let geometry = self.pooled.geometry;
        self.pooled.sums.fill([[0.0; MAPS]; 2]);
        for block in 0..geometry.n_blocks() {
            for y in 0..geometry.height {
                let first = block * geometry.n_pixels() + y * geometry.width;
                self.pooled.row(block, y, &pixels(self.gradient)[first..first + geometry.width]);
            }
        }
    }
}

/// Per-map constants of batch norm's gradient, `[blocks * 16]`:
/// `slope * (raw - mean) + offset`, and `scale` times the gradient at the pooled places.
#[derive(Clone, Copy)]
pub struct AffineGradient<'a> {
    pub mean: &'a [f32],
    pub slope: &'a [f32],
    pub offset: &'a [f32],
    pub scale: &'a [f32],
}

/// One image back through a block whose raw convolution outputs were kept, down to the pooled places of the block
/// before it.
pub struct InnerBackward<'a> {
    /// The image that entered the block, with halo.
    pub input: &'a [f32],
    pub input_geometry: Geometry,
    /// Shape of the convolution's output, and the pool's side.
    pub geometry: Geometry,
    pub pool: usize,
    pub affine: AffineGradient<'a>,
    /// Gradient at the block's own pooled places, and the places.
    pub gradient: &'a [f32],
    pub place: &'a [u8],
    /// In: raw convolution outputs with halo. Out: their gradient.
    pub y: &'a mut [f32],
    /// Weight gradient of the images so far, packed.
    pub weight_gradient: &'a mut [f32],
    /// Weights packed for the input gradient.
    pub weights: &'a [f32],
    /// `[input blocks * 16]` zeros.
    pub no_bias: &'a [f32],
    /// `[input blocks][input width][16]`.
    pub strip: &'a mut [f32],
    /// The block before.
    pub before: Pooled<'a>,
}

/// Pixels of one weight-gradient strip: it stays in the first-level caches while all taps pass over it.
const STRIP_PIXELS: usize = 128;

impl Job for InnerBackward<'_> {
    #[inline(always)]
    fn run<L: Lanes>(mut self) {
        self.convolution_gradient();
        let (input, geometry) = (Source::<MAPS>::new(self.input, self.input_geometry), self.geometry);
        let n_rows = (STRIP_PIXELS / geometry.width).clamp(1, geometry.height);
        for y0 in (0..geometry.height).step_by(n_rows) {
            let y1 = (y0 + n_rows).min(geometry.height);
            let gradient = &self.y[geometry.haloed_at(y0, 0)..];
            let strides = (geometry.haloed_row(), geometry.haloed_plane());
            // SAFETY: `Isa::run` chose lanes that the machine has.
            unsafe { weight_gradient_rows::<L, MAPS>(input, (y0, y1), gradient, strides, self.weight_gradient) };
        }
        let gradient = Source::<MAPS>::new(self.y, geometry);
        let row = self.input_geometry.width * MAPS;
        self.before.sums.fill([[0.0; MAPS]; 2]);
        for y in 0..self.input_geometry.height {
            // SAFETY: as above.
            unsafe { conv_row::<L, MAPS>(gradient, y, self.weights, self.no_bias, self.strip, row) };
            for (block, gradient) in self.strip.chunks_exact(row).enumerate() {
                self.before.row(block, y, pixels(gradient));
            }
        }
    }
}

impl InnerBackward<'_> {
    /// Raw outputs become their gradient, in place.
    #[inline(always)]
    fn convolution_gradient(&mut self) {
        let (geometry, pooled) = (self.geometry, self.geometry.pooled(self.pool));
        for block in 0..geometry.n_blocks() {
            let AffineGradient { mean, slope, offset, scale } = self.affine;
            let constants = [mean, slope, offset, scale].map(|values| &pixels(values)[block]);
            for cell_row in 0..pooled.height {
                let at = block * geometry.haloed_plane() + geometry.haloed_at(cell_row * self.pool, 0);
                let first = (block * pooled.n_pixels() + cell_row * pooled.width) * MAPS;
                let last = first + pooled.width * MAPS;
                let peaks = (pixels(&self.gradient[first..last]), self.place[first..last].as_chunks().0);
                let row = geometry.haloed_row() / MAPS;
                gradient_row(pixels_mut(&mut self.y[at..]), row, self.pool, peaks, constants);
            }
        }
    }
}

/// The sparse part of block 1's weight gradient for one image: the sum over pooled places of input times gradient.
pub struct FirstBackward<'a> {
    /// The image `[height + 2][width + 2]`.
    pub source: Source<'a, 1>,
    /// Shape of the convolution's output, and the pool's side.
    pub geometry: Geometry,
    pub pool: usize,
    pub gradient: &'a [f32],
    pub place: &'a [u8],
    /// `[blocks][pool][width][16]`.
    pub strip: &'a mut [f32],
    pub weight_gradient: &'a mut [f32],
}

impl Job for FirstBackward<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let pooled = self.geometry.pooled(self.pool);
        let row = self.geometry.width * MAPS;
        let plane = self.pool * row;
        for cell_row in 0..pooled.height {
            for (block, strip) in self.strip.chunks_exact_mut(plane).enumerate() {
                let first = (block * pooled.n_pixels() + cell_row * pooled.width) * MAPS;
                let last = first + pooled.width * MAPS;
                let place = self.place[first..last].as_chunks().0;
                unpool_row(pixels(&self.gradient[first..last]), place, self.pool, pixels_mut(strip));
            }
            let rows = (cell_row * self.pool, (cell_row + 1) * self.pool);
            // SAFETY: `Isa::run` chose lanes that the machine has.
            unsafe { weight_gradient_rows::<L, 1>(self.source, rows, self.strip, (row, plane), self.weight_gradient) };
        }
    }
}
