//! Convolution 3x3 with zero padding: one output row forward, the weight gradient of one image, packing of weights.
//!
//! Packed weights are `[channels_out / 16][ky][channels_in / 16][kx][16 channels in][16 channels out]`, or, for an
//! image of one channel, `[channels_out / 16][ky][kx][16 channels out]`: the order in which the kernels read them.

use crate::network::kernels::CHANNELS;
use crate::network::kernels::geometry::Geometry;
use crate::network::kernels::outer::{TileSizes, load_channels, outer, store_channels};
use crate::simd::Lanes;

/// An image with padding, as the kernels read it. `S` is the number of channels stored side by side: 16, or 1.
#[derive(Clone, Copy)]
pub struct Source<'a, const S: usize> {
    values: &'a [f32],
    geometry: Geometry,
}

impl<'a, const S: usize> Source<'a, S> {
    /// `values` `[blocks][height + 2][width + 2][S]`.
    pub fn new(values: &'a [f32], geometry: Geometry) -> Self {
        let source = Self { values, geometry };
        assert!(S == CHANNELS || S == 1, "images have planes of one channel or of 16");
        assert_eq!(values.len(), source.n_blocks() * source.plane(), "image does not fit its geometry");
        source
    }

    /// Whether this is an image of `height x width`.
    pub fn fits(self, height: usize, width: usize) -> bool {
        (self.geometry.height, self.geometry.width) == (height, width)
    }

    /// The pixel at the top left of the 3x3 patch of output pixel `(y, x)`.
    #[inline(always)]
    pub fn at(self, block: usize, y: usize, x: usize) -> *const f32 {
        self.from(block, y, x).as_ptr()
    }

    /// All values from that pixel on.
    #[inline(always)]
    pub fn from(self, block: usize, y: usize, x: usize) -> &'a [f32] {
        &self.values[block * self.plane() + y * self.row() + x * S..]
    }

    /// Blocks of `S` channels.
    pub fn n_blocks(self) -> usize {
        self.geometry.channels.div_ceil(S)
    }

    /// Floats of one row with padding.
    pub fn row(self) -> usize {
        (self.geometry.width + 2) * S
    }

    fn plane(self) -> usize {
        (self.geometry.height + 2) * self.row()
    }

    /// Packed floats of one block of output channels.
    fn packed_block(self) -> usize {
        9 * self.n_blocks() * S * CHANNELS
    }
}

/// Length of the packed weights of a convolution from images stored in blocks of `stored` channels (16 or 1).
pub fn packed_len(channels_in: usize, channels_out: usize, stored: usize) -> usize {
    channels_out.div_ceil(CHANNELS) * 9 * channels_in.next_multiple_of(stored) * CHANNELS
}

/// Index in packed weights of tap `(ky, kx)` from channel `i` to channel `o`.
fn packed_at(n_in: usize, stored: usize, [ky, kx, i, o]: [usize; 4]) -> usize {
    let row = (o / CHANNELS * 3 + ky) * n_in + i / stored;
    ((row * 3 + kx) * stored + i % stored) * CHANNELS + o % CHANNELS
}

/// Packs a kernel `[3, 3, channels_in, channels_out]`; `stored` is 16, or 1 for images of one channel.
pub fn pack(kernel: &[f32], channels_in: usize, channels_out: usize, stored: usize, packed: &mut [f32]) {
    let n_in = channels_in.div_ceil(stored);
    for (at, &value) in kernel.iter().enumerate() {
        let (tap, i, o) = (at / (channels_in * channels_out), at / channels_out % channels_in, at % channels_out);
        packed[packed_at(n_in, stored, [tap / 3, tap % 3, i, o])] = value;
    }
}

/// Packs the kernel of the input gradient: taps turned around, channels in and out exchanged.
pub fn pack_transposed(kernel: &[f32], channels_in: usize, channels_out: usize, packed: &mut [f32]) {
    let n_in = channels_out.div_ceil(CHANNELS);
    for (at, &value) in kernel.iter().enumerate() {
        let (tap, i, o) = (at / (channels_in * channels_out), at / channels_out % channels_in, at % channels_out);
        packed[packed_at(n_in, CHANNELS, [2 - tap / 3, 2 - tap % 3, o, i])] = value;
    }
}

/// The gradient of a kernel `[3, 3, channels_in, channels_out]` out of its packed form.
pub fn unpack(packed: &[f32], channels_in: usize, channels_out: usize, stored: usize, gradient: &mut [f32]) {
    let n_in = channels_in.div_ceil(stored);
    for (at, value) in gradient.iter_mut().enumerate() {
        let (tap, i, o) = (at / (channels_in * channels_out), at / channels_out % channels_in, at % channels_out);
        *value = packed[packed_at(n_in, stored, [tap / 3, tap % 3, i, o])];
    }
}

/// Row `y` of the convolution.
///
/// `out`  starts at the row's first pixel in block 0; block `b` of the channels lies `b * out_plane` floats further;
///        `[width][16]` are written in each.
/// `bias` `[n_out * 16]`; `n_out` blocks of output channels.
///
/// Panics when a length does not fit.
#[inline(always)]
pub fn conv_row<L: Lanes, const S: usize>(
    lanes: L,
    source: Source<'_, S>,
    y: usize,
    weights: &[f32],
    bias: &[f32],
    out: &mut [f32],
    out_plane: usize,
) {
    let n_out = bias.len() / CHANNELS;
    assert!(y < source.geometry.height && weights.len() == n_out * source.packed_block());
    assert!(out.len() >= (n_out - 1) * out_plane + source.geometry.width * CHANNELS);
    let mut block = 0;
    while block < n_out {
        let weights = &weights[block * source.packed_block()..];
        let (bias, out) = (&bias[block * CHANNELS..], &mut out[block * out_plane..]);
        // SAFETY: the asserts above hold for the one or two blocks taken here.
        unsafe {
            if L::BLOCKS == 2 && block + 2 <= n_out {
                conv_row_tiles::<L, S, 2>(lanes, source, y, weights, bias, out, out_plane);
                block += 2;
            } else {
                match CHANNELS / L::N {
                    1 => conv_row_tiles::<L, S, 1>(lanes, source, y, weights, bias, out, out_plane),
                    2 => conv_row_tiles::<L, S, 2>(lanes, source, y, weights, bias, out, out_plane),
                    _ => conv_row_tiles::<L, S, 4>(lanes, source, y, weights, bias, out, out_plane),
                }
                block += 1;
            }
        }
    }
}

/// # Safety
/// As [`conv_row`], for the blocks that `V` registers cover.
#[inline(always)]
unsafe fn conv_row_tiles<L: Lanes, const S: usize, const V: usize>(
    lanes: L,
    source: Source<'_, S>,
    y: usize,
    weights: &[f32],
    bias: &[f32],
    out: &mut [f32],
    out_plane: usize,
) {
    let width = source.geometry.width;
    let mut x = 0;
    while x < width {
        let tile = Tile {
            image: source.values.as_ptr().wrapping_add(y * source.row() + x * S),
            weights: weights.as_ptr(),
            bias: bias.as_ptr(),
            out: out.as_mut_ptr().wrapping_add(x * CHANNELS),
            out_plane,
        };
        // SAFETY: a tile of P pixels starting at x stays within the row.
        unsafe {
            x += match width - x {
                left if L::PIXELS == 8 && left >= 8 => conv_tile::<L, S, V, 8>(lanes, source, tile),
                left if L::PIXELS == 6 && left >= 6 => conv_tile::<L, S, V, 6>(lanes, source, tile),
                left if L::PIXELS >= 4 && left >= 4 => conv_tile::<L, S, V, 4>(lanes, source, tile),
                left if left >= 2 => conv_tile::<L, S, V, 2>(lanes, source, tile),
                _ => conv_tile::<L, S, V, 1>(lanes, source, tile),
            };
        }
    }
}

/// Where one tile reads and writes.
#[derive(Clone, Copy)]
struct Tile {
    image: *const f32,
    weights: *const f32,
    bias: *const f32,
    out: *mut f32,
    out_plane: usize,
}

/// `P` neighbouring pixels; returns `P`.
///
/// # Safety
/// As [`conv_row`]; the tile's pixels exist.
#[inline(always)]
unsafe fn conv_tile<L: Lanes, const S: usize, const V: usize, const P: usize>(
    lanes: L,
    source: Source<'_, S>,
    tile: Tile,
) -> usize {
    let (row, plane, w_block) = (source.row(), source.plane(), source.packed_block());
    let mut weights = tile.weights;
    // SAFETY: rows y..y + 3 and pixels x..x + P + 2 exist in every plane with padding; weights are read in their order.
    unsafe {
        let mut acc = [load_channels::<L, V>(lanes, tile.bias, CHANNELS); P];
        for ky in 0..3 {
            for block in 0..source.n_blocks() {
                let image = tile.image.add(ky * row + block * plane);
                outer::<L, P, V, S, 1>(lanes, &mut acc, image, weights, w_block, 3 * S);
                weights = weights.add(3 * S * CHANNELS);
            }
        }
        for (p, sums) in acc.into_iter().enumerate() {
            store_channels::<L, V>(lanes, tile.out.add(p * CHANNELS), tile.out_plane, sums);
        }
    }
    P
}

/// Adds the weight gradient of rows `y0..y1` to `sums` (packed like the weights).
///
/// `gradient` starts at pixel `(y0, 0)` of block 0 of the gradient of the convolution's output; its rows are
/// `row` floats apart, its blocks `plane` floats.
///
/// Panics when a length does not fit.
#[inline(always)]
pub fn weight_gradient_rows<L: Lanes, const S: usize>(
    lanes: L,
    source: Source<'_, S>,
    (y0, y1): (usize, usize),
    gradient: &[f32],
    (row, plane): (usize, usize),
    sums: &mut [f32],
) {
    let n_out = sums.len() / source.packed_block();
    assert!(y0 < y1 && y1 <= source.geometry.height && sums.len() == n_out * source.packed_block());
    assert!(gradient.len() >= (n_out - 1) * plane + (y1 - y0 - 1) * row + source.geometry.width * CHANNELS);
    let mut block = 0;
    while block < n_out {
        let strip = Strip {
            image: source.values.as_ptr().wrapping_add(y0 * source.row()),
            gradient: gradient.as_ptr().wrapping_add(block * plane),
            gradient_row: row,
            gradient_plane: plane,
            n_rows: y1 - y0,
            sums: sums[block * source.packed_block()..].as_mut_ptr(),
        };
        // SAFETY: the asserts above hold for the one or two blocks taken here.
        unsafe {
            if L::BLOCKS == 2 && block + 2 <= n_out {
                weight_gradient_strip::<L, S, 2>(lanes, source, strip);
                block += 2;
            } else {
                match CHANNELS / L::N {
                    1 => weight_gradient_strip::<L, S, 1>(lanes, source, strip),
                    2 => weight_gradient_strip::<L, S, 2>(lanes, source, strip),
                    _ => weight_gradient_strip::<L, S, 4>(lanes, source, strip),
                }
                block += 1;
            }
        }
    }
}

/// A few rows of an image and of the gradient beside it.
#[derive(Clone, Copy)]
struct Strip {
    image: *const f32,
    gradient: *const f32,
    gradient_row: usize,
    gradient_plane: usize,
    n_rows: usize,
    sums: *mut f32,
}

/// # Safety
/// As [`weight_gradient_rows`], for the blocks that `V` registers cover.
#[inline(always)]
unsafe fn weight_gradient_strip<L: Lanes, const S: usize, const V: usize>(
    lanes: L,
    source: Source<'_, S>,
    strip: Strip,
) {
    for block in 0..source.n_blocks() {
        for ky in 0..3 {
            // Packed order is [ky][block][kx][channel in].
            let sums = strip.sums.wrapping_add((ky * source.n_blocks() + block) * 3 * S * CHANNELS);
            let image = strip.image.wrapping_add(block * source.plane() + ky * source.row());
            // SAFETY: rows ky.. of the strip and all taps exist in the plane with padding; `CHANNELS_IN` divides 16.
            unsafe {
                let mut at = 0;
                while at < 3 * S {
                    let here = Strip { image: image.wrapping_add(at), sums: sums.wrapping_add(at * CHANNELS), ..strip };
                    at += match S {
                        // One channel: the three taps of a row side by side.
                        1 => weight_gradient_tile::<L, S, V, 3>(lanes, source, here),
                        _ if L::CHANNELS_IN == 8 => weight_gradient_tile::<L, S, V, 8>(lanes, source, here),
                        _ if L::CHANNELS_IN == 4 => weight_gradient_tile::<L, S, V, 4>(lanes, source, here),
                        _ => weight_gradient_tile::<L, S, V, 2>(lanes, source, here),
                    };
                }
            }
        }
    }
}

/// `P` input channels (or taps) side by side; returns `P`.
///
/// # Safety
/// As [`weight_gradient_rows`].
#[inline(always)]
unsafe fn weight_gradient_tile<L: Lanes, const S: usize, const V: usize, const P: usize>(
    lanes: L,
    source: Source<'_, S>,
    strip: Strip,
) -> usize {
    let (width, sums_block) = (source.geometry.width, source.packed_block());
    // SAFETY: the strip's rows of image and gradient exist; sums has P rows of 16 in each block.
    unsafe {
        let mut acc = [load_channels::<L, V>(lanes, strip.sums, sums_block); P];
        for (p, sums) in acc.iter_mut().enumerate() {
            *sums = load_channels::<L, V>(lanes, strip.sums.add(p * CHANNELS), sums_block);
        }
        for y in 0..strip.n_rows {
            let (image, gradient) = (strip.image.add(y * source.row()), strip.gradient.add(y * strip.gradient_row));
            outer::<L, P, V, 1, S>(lanes, &mut acc, image, gradient, strip.gradient_plane, width);
        }
        for (p, sums) in acc.into_iter().enumerate() {
            store_channels::<L, V>(lanes, strip.sums.add(p * CHANNELS), sums_block, sums);
        }
    }
    P
}
