//! One image back through one block, and the closed form that spares block 1 its dense part.

use crate::network::kernels::convolution::{Convolution, Method};
use crate::network::kernels::elementwise::elu_slope;
use crate::network::kernels::forward::Affine;
use crate::network::kernels::geometry::{Geometry, Rows};
use crate::network::kernels::pool::{gradient_row, kept, pixels, pixels_mut};
use crate::network::kernels::{CHANNELS, Channels};
use crate::network::pool::Pool;
use crate::simd::{Job, Lanes};

/// What turns the gradient of a block's output into that of batch norm's output where values were pooled.
pub struct Pooled<'a> {
    /// Shape of the pooled image.
    pub geometry: Geometry,
    pub affine: Affine<'a>,
    /// `1 / (1 - rate)` of the step's dropout, or 1.
    pub dropout_scale: f32,
    /// In: pooled raw values. Out: the gradient with respect to batch norm's output there.
    pub raw: &'a mut [f32],
    pub argmax: &'a [u8],
    /// Out: sums of that gradient and of it times the normalised value, `[blocks][2][16]`.
    pub sums: &'a mut [[[f64; CHANNELS]; 2]],
}

impl Pooled<'_> {
    /// One row of pixels of one block; `gradient` is that of the block's output.
    #[inline(always)]
    fn row(&mut self, block: usize, y: usize, gradient: &[Channels]) {
        let [mean, inverse_deviation, scale, beta] = self.affine.block(block);
        let first = block * self.geometry.n_pixels() + y * self.geometry.width;
        let raw = &mut pixels_mut(self.raw)[first..first + self.geometry.width];
        let argmax: &[[u8; CHANNELS]] = &self.argmax.as_chunks().0[first..first + self.geometry.width];
        let (mut sum, mut product) = ([0.0f32; CHANNELS], [0.0f32; CHANNELS]);
        for ((raw, argmax), gradient) in raw.iter_mut().zip(argmax).zip(gradient) {
            let kept = kept(argmax);
            for channel in 0..CHANNELS {
                let centred = raw[channel] - mean[channel];
                let slope = elu_slope(centred * scale[channel] + beta[channel]) * self.dropout_scale;
                let value = gradient[channel] * (slope * kept[channel]);
                raw[channel] = value;
                sum[channel] += value;
                product[channel] += value * (centred * inverse_deviation[channel]);
            }
        }
        for channel in 0..CHANNELS {
            self.sums[block][0][channel] += f64::from(sum[channel]);
            self.sums[block][1][channel] += f64::from(product[channel]);
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
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self, _: L) {
        let geometry = self.pooled.geometry;
        self.pooled.sums.fill([[0.0; CHANNELS]; 2]);
        for block in 0..geometry.n_blocks() {
            for y in 0..geometry.height {
                let first = block * geometry.n_pixels() + y * geometry.width;
                self.pooled.row(block, y, &pixels(self.gradient)[first..first + geometry.width]);
            }
        }
    }
}

/// Per-channel constants of batch norm's gradient, `[blocks * 16]`:
/// `scale_term * (raw - mean) + shift_term`, and `scale` times the gradient where values were pooled.
#[derive(Clone, Copy)]
pub struct AffineGradient<'a> {
    pub mean: &'a [f32],
    pub scale_term: &'a [f32],
    pub shift_term: &'a [f32],
    pub scale: &'a [f32],
}

/// One image back through a block whose raw convolution outputs were kept, down to what entered it.
pub struct InnerBackward<'a> {
    pub method: Method,
    /// The image that entered the block, with padding.
    pub input: &'a [f32],
    pub input_geometry: Geometry,
    /// Shape of the convolution's output, and the pool behind it.
    pub geometry: Geometry,
    pub pool: Pool,
    pub affine: AffineGradient<'a>,
    /// Gradient of the block's own pooled values, and their argmax indices.
    pub gradient: &'a [f32],
    pub argmax: &'a [u8],
    /// In: raw convolution outputs with padding. Out: their gradient.
    pub y: &'a mut [f32],
    /// Weight gradient of the images so far, packed.
    pub weight_gradient: &'a mut [f32],
    /// Weights packed for the input gradient.
    pub weights: &'a [f32],
    /// `[input blocks * 16]` zeros.
    pub no_bias: &'a [f32],
    /// `[input blocks][step height][input width][16]`.
    pub strip: &'a mut [f32],
    /// [`Method::scratch_len`] floats.
    pub scratch: &'a mut [f32],
    /// Where the gradient of the input goes.
    pub sink: Sink<'a>,
}

/// Where the gradient of a block's input goes.
pub enum Sink<'a> {
    /// On to the pooled values of the block before.
    Before(Pooled<'a>),
    /// Into an image `[blocks][height][width][16]`.
    Image(&'a mut [f32]),
}

/// Pixels of one weight-gradient strip of a direct convolution: it stays in the first-level caches while all taps pass
/// over it.
const STRIP_PIXELS: usize = 128;

impl Job for InnerBackward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self, lanes: L) {
        self.convolution_gradient(lanes);
        self.weight_gradient(lanes);
        self.input_gradient(lanes);
    }
}

impl InnerBackward<'_> {
    #[inline(always)]
    fn weight_gradient<L: Lanes>(&mut self, lanes: L) {
        let geometry = self.geometry;
        let rows = Rows { row: geometry.padded_row(), plane: geometry.padded_plane() };
        let height = self.method.step_height((STRIP_PIXELS / geometry.width).clamp(1, geometry.height));
        let (method, image, input) = (self.method, self.input, self.input_geometry);
        let mut convolution = Convolution { method, image, input, scratch: &mut *self.scratch };
        for y0 in (0..geometry.height).step_by(height) {
            let y1 = (y0 + height).min(geometry.height);
            let gradient = &self.y[geometry.padded_at(y0, 0)..];
            convolution.weight_gradient_rows(lanes, (y0, y1), (gradient, rows), self.weight_gradient);
        }
    }

    #[inline(always)]
    fn input_gradient<L: Lanes>(&mut self, lanes: L) {
        let (geometry, height) = (self.input_geometry, self.method.step_height(1));
        let rows = Rows::strip(geometry, height);
        let (method, image, input) = (self.method, &*self.y, self.geometry);
        let mut convolution = Convolution { method, image, input, scratch: &mut *self.scratch };
        if let Sink::Before(before) = &mut self.sink {
            before.sums.fill([[0.0; CHANNELS]; 2]);
        }
        for y0 in (0..geometry.height).step_by(height) {
            let y1 = (y0 + height).min(geometry.height);
            convolution.rows(lanes, (y0, y1), (self.weights, self.no_bias), (&mut *self.strip, rows));
            for (block, strip) in self.strip.chunks_exact(rows.plane).enumerate() {
                for (y, gradient) in (y0..y1).zip(strip.chunks_exact(rows.row)) {
                    match &mut self.sink {
                        Sink::Before(before) => before.row(block, y, pixels(gradient)),
                        Sink::Image(out) => {
                            let at = block * geometry.plane() + y * rows.row;
                            out[at..at + rows.row].copy_from_slice(gradient);
                        }
                    }
                }
            }
        }
    }

    /// Raw outputs become their gradient, in place.
    #[inline(always)]
    fn convolution_gradient<L: Lanes>(&mut self, lanes: L) {
        let (geometry, pooled) = (self.geometry, self.geometry.pooled(self.pool));
        for block in 0..geometry.n_blocks() {
            let AffineGradient { mean, scale_term, shift_term, scale } = self.affine;
            let constants = [mean, scale_term, shift_term, scale].map(|values| &pixels(values)[block]);
            for cell_row in 0..pooled.height {
                let at = block * geometry.padded_plane() + geometry.padded_at(cell_row * self.pool.mel, 0);
                let first = (block * pooled.n_pixels() + cell_row * pooled.width) * CHANNELS;
                let last = first + pooled.width * CHANNELS;
                let peaks = (pixels(&self.gradient[first..last]), self.argmax[first..last].as_chunks().0);
                let row = geometry.padded_row() / CHANNELS;
                gradient_row(lanes, pixels_mut(&mut self.y[at..]), row, self.pool, peaks, constants);
            }
        }
    }
}

/// The sparse part of the first block's weight gradient for one image: the sum over pooled values of input times gradient.
pub struct FirstBackward<'a> {
    /// The image `[channels][height + 2][width + 2]`.
    pub image: &'a [f32],
    /// Shape of the convolution's output, and the pool behind it.
    pub geometry: Geometry,
    pub pool: Pool,
    pub gradient: &'a [f32],
    pub argmax: &'a [u8],
    /// Weight gradient of the images so far, packed: `[blocks][3][channels][3][16]`.
    pub weight_gradient: &'a mut [f32],
}

impl Job for FirstBackward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let (pooled, row) = (self.geometry.pooled(self.pool), self.geometry.width + 2);
        let plane = (self.geometry.height + 2) * row;
        let n_planes = self.image.len() / plane;
        assert!(n_planes > 0 && self.image.len() == n_planes * plane, "image does not fit its geometry");
        let cells = pixels(self.gradient).iter().zip(self.argmax.as_chunks::<CHANNELS>().0);
        for (at, (gradient, argmax)) in cells.enumerate() {
            let (block, cell) = (at / pooled.n_pixels(), at % pooled.n_pixels());
            let corner = cell / pooled.width * self.pool.mel * row + cell % pooled.width * self.pool.time;
            let sums = &mut self.weight_gradient[block * n_planes * 9 * CHANNELS..][..n_planes * 9 * CHANNELS];
            for number in 0..n_planes {
                let image = self.image[number * plane + corner..].as_ptr();
                let sums = (&mut sums[number * 3 * CHANNELS..], n_planes * 3 * CHANNELS);
                // SAFETY: patches of the cell's pixels lie within the padding.
                unsafe { add_cell(lanes, image, row, self.pool, (gradient, argmax), sums) };
            }
        }
    }
}

/// Adds one cell of one block: each channel's gradient times the patch at its argmax index.
///
/// # Safety
/// `pool.time + 2` values of `pool.mel + 2` rows are readable.
#[inline(always)]
unsafe fn add_cell<L: Lanes>(
    lanes: L,
    image: *const f32,
    row: usize,
    pool: Pool,
    (gradient, argmax): (&Channels, &[u8; CHANNELS]),
    (sums, sums_row): (&mut [f32], usize),
) {
    assert!(sums.len() >= 2 * sums_row + 3 * CHANNELS, "nine taps of sums");
    for lane in (0..CHANNELS).step_by(L::N) {
        // SAFETY: the caller's contract; `sums` holds three rows of 3 taps of 16 channels.
        unsafe {
            let (argmax, gradient) =
                (lanes.load_indices(argmax.as_ptr().add(lane)), lanes.load(gradient.as_ptr().add(lane)));
            let sums = sums.as_mut_ptr().add(lane);
            let mut acc: [L::V; 9] = [lanes.splat(0.0); 9];
            for (tap, acc) in acc.iter_mut().enumerate() {
                *acc = lanes.load(sums.add(tap / 3 * sums_row + tap % 3 * CHANNELS));
            }
            for y in 0..pool.mel {
                for x in 0..pool.time {
                    let here = lanes.keep_where(argmax, lanes.index((y * pool.time + x) as u8), gradient);
                    for (tap, acc) in acc.iter_mut().enumerate() {
                        let value = lanes.splat(*image.add((y + tap / 3) * row + x + tap % 3));
                        *acc = lanes.mul_add(value, here, *acc);
                    }
                }
            }
            for (tap, acc) in acc.into_iter().enumerate() {
                lanes.store(sums.add(tap / 3 * sums_row + tap % 3 * CHANNELS), acc);
            }
        }
    }
}
