//! One image back through one block, and the closed form that spares block 1 its dense part.

use crate::network::kernels::convolution::{Convolution, Method};
use crate::network::kernels::elementwise::elu_slope;
use crate::network::kernels::forward::Affine;
use crate::network::kernels::geometry::{Geometry, Rows};
use crate::network::kernels::pool::{gradient_row, kept, pixels, pixels_mut};
use crate::network::kernels::{MAPS, Maps};
use crate::simd::{Job, Lanes};

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
            let kept = kept(place);
            for map in 0..MAPS {
                let centred = raw[map] - mean[map];
                let slope = elu_slope(centred * scale[map] + beta[map]) * self.dropout_scale;
                let value = gradient[map] * (slope * kept[map]);
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
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self, _: L) {
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

/// One image back through a block whose raw convolution outputs were kept, down to what entered it.
pub struct InnerBackward<'a> {
    pub method: Method,
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
    /// `[input blocks][step height][input width][16]`.
    pub strip: &'a mut [f32],
    /// [`Method::scratch_len`] floats.
    pub scratch: &'a mut [f32],
    /// Where the gradient of the input goes.
    pub sink: Sink<'a>,
}

/// Where the gradient of a block's input goes.
pub enum Sink<'a> {
    /// On to the pooled places of the block before.
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
        let rows = Rows { row: geometry.haloed_row(), plane: geometry.haloed_plane() };
        let height = self.method.step_height((STRIP_PIXELS / geometry.width).clamp(1, geometry.height));
        let (method, image, input) = (self.method, self.input, self.input_geometry);
        let mut convolution = Convolution { method, image, input, scratch: &mut *self.scratch };
        for y0 in (0..geometry.height).step_by(height) {
            let y1 = (y0 + height).min(geometry.height);
            let gradient = &self.y[geometry.haloed_at(y0, 0)..];
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
            before.sums.fill([[0.0; MAPS]; 2]);
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
            let AffineGradient { mean, slope, offset, scale } = self.affine;
            let constants = [mean, slope, offset, scale].map(|values| &pixels(values)[block]);
            for cell_row in 0..pooled.height {
                let at = block * geometry.haloed_plane() + geometry.haloed_at(cell_row * self.pool, 0);
                let first = (block * pooled.n_pixels() + cell_row * pooled.width) * MAPS;
                let last = first + pooled.width * MAPS;
                let peaks = (pixels(&self.gradient[first..last]), self.place[first..last].as_chunks().0);
                let row = geometry.haloed_row() / MAPS;
                gradient_row(lanes, pixels_mut(&mut self.y[at..]), row, self.pool, peaks, constants);
            }
        }
    }
}

/// The sparse part of the first block's weight gradient for one image: the sum over pooled places of input times gradient.
pub struct FirstBackward<'a> {
    /// The image `[height + 2][width + 2]`.
    pub image: &'a [f32],
    /// Shape of the convolution's output, and the pool's side.
    pub geometry: Geometry,
    pub pool: usize,
    pub gradient: &'a [f32],
    pub place: &'a [u8],
    /// Weight gradient of the images so far, packed: `[blocks][9][16]`.
    pub weight_gradient: &'a mut [f32],
}

impl Job for FirstBackward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let (pooled, row) = (self.geometry.pooled(self.pool), self.geometry.width + 2);
        assert!(self.image.len() >= (self.geometry.height + 2) * row, "image does not fit its geometry");
        let cells = pixels(self.gradient).iter().zip(self.place.as_chunks::<MAPS>().0);
        for (at, (gradient, place)) in cells.enumerate() {
            let (block, cell) = (at / pooled.n_pixels(), at % pooled.n_pixels());
            let corner = cell / pooled.width * self.pool * row + cell % pooled.width * self.pool;
            let sums = &mut self.weight_gradient[block * 9 * MAPS..][..9 * MAPS];
            // SAFETY: patches of the cell's pixels lie within the halo.
            unsafe { add_cell(lanes, self.image[corner..].as_ptr(), row, self.pool, (gradient, place), sums) };
        }
    }
}

/// Adds one cell of one block: each map's gradient times the patch at its place.
///
/// # Safety
/// `pool + 2` values of `pool + 2` rows are readable.
#[inline(always)]
unsafe fn add_cell<L: Lanes>(
    lanes: L,
    image: *const f32,
    row: usize,
    pool: usize,
    (gradient, place): (&Maps, &[u8; MAPS]),
    sums: &mut [f32],
) {
    for lane in (0..MAPS).step_by(L::N) {
        // SAFETY: the caller's contract; `sums` holds 9 taps of 16 maps.
        unsafe {
            let (places, gradient) =
                (lanes.load_indices(place.as_ptr().add(lane)), lanes.load(gradient.as_ptr().add(lane)));
            let sums = sums.as_mut_ptr().add(lane);
            let mut acc: [L::V; 9] = [lanes.splat(0.0); 9];
            for (tap, acc) in acc.iter_mut().enumerate() {
                *acc = lanes.load(sums.add(tap * MAPS));
            }
            for y in 0..pool {
                for x in 0..pool {
                    let here = lanes.keep_where(places, lanes.index((y * pool + x) as u8), gradient);
                    for (tap, acc) in acc.iter_mut().enumerate() {
                        let value = lanes.splat(*image.add((y + tap / 3) * row + x + tap % 3));
                        *acc = lanes.mul_add(value, here, *acc);
                    }
                }
            }
            for (tap, acc) in acc.into_iter().enumerate() {
                lanes.store(sums.add(tap * MAPS), acc);
            }
        }
    }
}
