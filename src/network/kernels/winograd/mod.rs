//! Convolution 3x3 by Winograd's F(4x4, 3x3): a quarter of the multiplications of [`conv`](super::conv).
//!
//! An image is cut into tiles of 4 x 4 outputs, the last ones of which may stand out; what would lie there is taken as zero
//! and not written. A few rows of tiles at a time are transformed, multiplied with the
//! transformed weights at each of 36 positions, and transformed back, so that all of it stays in the second-level cache.
//!
//! Packed weights are `[36][channels_out / 16][channels_in][16 channels out]`, transformed images `[36][channels /
//! 16][tiles][16]` with a gap after each position: without it the 36 positions of a value would fall on one set of the
//! first-level cache.

mod product;
#[cfg(test)]
mod proof;
mod transform;
mod weights;

pub use transform::TILE;
pub use weights::{Pack, Unpack, packed_len};

use crate::network::kernels::CHANNELS;
use crate::network::kernels::conv::Source;
use crate::network::kernels::geometry::{Geometry, Rows};
use crate::network::kernels::winograd::transform::{PATCH, POSITIONS};
use crate::simd::Lanes;

/// Floats of a row of a tile, and of the patch that it is made of.
const TILE_ROW: usize = TILE * CHANNELS;
const PATCH_ROW: usize = PATCH * CHANNELS;

/// Tiles that are worked on together, or one row of tiles if that is more.
const TILES: usize = 16;

/// How an image is cut into groups of tile rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiling {
    /// Pixels of the image.
    height: usize,
    width: usize,
    /// Tiles in a row.
    across: usize,
    /// Rows of tiles in the image.
    down: usize,
    /// Rows of tiles in a group; the last group may have fewer.
    rows: usize,
}

impl Tiling {
    /// The cut of an image, if little of its tiles stands out and it has enough of them to be worth the transforms.
    pub fn new(geometry: Geometry) -> Option<Self> {
        let Geometry { height, width, .. } = geometry;
        let (across, down) = (width.div_ceil(TILE), height.div_ceil(TILE));
        let fills = 4 * geometry.n_pixels() >= 3 * across * down * TILE * TILE;
        let rows = (TILES / across.max(1)).clamp(1, down.max(1));
        (fills && across * rows >= 8).then_some(Self { height, width, across, down, rows })
    }

    /// Pixels `(height, width)` of tile `(y, x)` that lie in the image.
    #[inline(always)]
    fn inside(self, y: usize, x: usize) -> (usize, usize) {
        ((self.height - y * TILE).min(TILE), (self.width - x * TILE).min(TILE))
    }

    /// Image rows of tile rows `y0..y1`.
    fn n_rows(self, y0: usize, y1: usize) -> usize {
        (y1 * TILE).min(self.height) - y0 * TILE
    }

    /// Groups `(first tile row, one past the last)`.
    pub fn groups(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.down).step_by(self.rows).map(move |first| (first, (first + self.rows).min(self.down)))
    }

    /// Image rows of a whole group.
    pub fn group_height(self) -> usize {
        self.rows * TILE
    }

    /// Floats between two positions of a transformed image of `n_blocks` blocks.
    fn stride(self, n_blocks: usize) -> usize {
        (n_blocks * self.rows * self.across + 1) * CHANNELS
    }

    /// Floats of a transformed group of an image with `n_blocks` blocks of channels.
    pub fn transformed_len(self, n_blocks: usize) -> usize {
        POSITIONS * self.stride(n_blocks)
    }
}

/// Memory of one group's transforms.
pub struct Scratch<'a> {
    /// [`Tiling::transformed_len`] of the input's blocks.
    pub left: &'a mut [f32],
    /// [`Tiling::transformed_len`] of the output's blocks.
    pub right: &'a mut [f32],
}

/// Tile rows `y0..y1` of a convolution.
///
/// `weights` packed; `bias` `[n_out * 16]`; `out` starts at the first pixel of the first row.
///
/// Panics when a length does not fit.
#[inline(always)]
pub fn conv_rows<L: Lanes>(
    lanes: L,
    tiling: Tiling,
    source: Source<'_, CHANNELS>,
    (y0, y1): (usize, usize),
    (weights, bias): (&[f32], &[f32]),
    scratch: &mut Scratch<'_>,
    (out, rows): (&mut [f32], Rows),
) {
    let (n_in, n_out) = (source.n_blocks(), bias.len() / CHANNELS);
    assert_eq!(weights.len(), POSITIONS * n_out * n_in * CHANNELS * CHANNELS, "packed weights");
    let n_rows = tiling.n_rows(y0, y1);
    assert!(out.len() >= (n_out - 1) * rows.plane + (n_rows - 1) * rows.row + tiling.width * CHANNELS);
    assert!(scratch.right.len() >= tiling.transformed_len(n_out));
    // SAFETY: the lengths of what a tile reads and writes are checked above and in the parts.
    unsafe {
        transform_patches(lanes, tiling, source, (y0, y1), scratch.left);
        let n_tiles = (y1 - y0) * tiling.across;
        for position in 0..POSITIONS {
            let left = &scratch.left[position * tiling.stride(n_in)..];
            let weights = &weights[position * n_out * n_in * CHANNELS * CHANNELS..];
            let out = &mut scratch.right[position * tiling.stride(n_out)..];
            product::multiply(lanes, left, weights, out, n_tiles, (n_in, n_out));
        }
        for block in 0..n_out {
            let bias = &bias[block * CHANNELS..][..CHANNELS];
            for tile in 0..n_tiles {
                let (y, x) = (tile / tiling.across, tile % tiling.across);
                let from = scratch.right[(block * n_tiles + tile) * CHANNELS..].as_ptr();
                let to = &mut out[block * rows.plane + (y * rows.row + x * CHANNELS) * TILE..];
                match tiling.inside(y0 + y, x) {
                    (TILE, TILE) => {
                        transform_back(lanes, from, tiling.stride(n_out), bias.as_ptr(), to.as_mut_ptr(), rows.row);
                    }
                    inside => {
                        let mut whole = [0.0; TILE * TILE_ROW];
                        transform_back(lanes, from, tiling.stride(n_out), bias.as_ptr(), whole.as_mut_ptr(), TILE_ROW);
                        copy_pixels(&whole, TILE_ROW, to, rows.row, inside);
                    }
                }
            }
        }
    }
}

/// Adds tile rows `y0..y1` to the packed weight gradient `sums`.
///
/// `gradient` starts at the first pixel of the first row of the gradient of the convolution's output.
///
/// Panics when a length does not fit.
#[inline(always)]
pub fn weight_gradient_rows<L: Lanes>(
    lanes: L,
    tiling: Tiling,
    source: Source<'_, CHANNELS>,
    (y0, y1): (usize, usize),
    (gradient, rows): (&[f32], Rows),
    scratch: &mut Scratch<'_>,
    sums: &mut [f32],
) {
    let n_in = source.n_blocks();
    let n_out = sums.len() / (POSITIONS * n_in * CHANNELS * CHANNELS);
    let n_tiles = (y1 - y0) * tiling.across;
    assert_eq!(sums.len(), POSITIONS * n_out * n_in * CHANNELS * CHANNELS, "packed gradient");
    let n_rows = tiling.n_rows(y0, y1);
    assert!(gradient.len() >= (n_out - 1) * rows.plane + (n_rows - 1) * rows.row + tiling.width * CHANNELS);
    assert!(scratch.right.len() >= tiling.transformed_len(n_out) && n_tiles <= tiling.rows * tiling.across);
    // SAFETY: the lengths of what a tile reads and writes are checked above and in the parts.
    unsafe {
        transform_patches(lanes, tiling, source, (y0, y1), scratch.left);
        for block in 0..n_out {
            for tile in 0..n_tiles {
                let (y, x) = (tile / tiling.across, tile % tiling.across);
                let from = &gradient[block * rows.plane + (y * rows.row + x * CHANNELS) * TILE..];
                let to = scratch.right[(block * n_tiles + tile) * CHANNELS..].as_mut_ptr();
                match tiling.inside(y0 + y, x) {
                    (TILE, TILE) => transform_gradient(lanes, from.as_ptr(), rows.row, to, tiling.stride(n_out)),
                    inside => {
                        let mut whole = [0.0; TILE * TILE_ROW];
                        copy_pixels(from, rows.row, &mut whole, TILE_ROW, inside);
                        transform_gradient(lanes, whole.as_ptr(), TILE_ROW, to, tiling.stride(n_out));
                    }
                }
            }
        }
        for position in 0..POSITIONS {
            let left = &scratch.left[position * tiling.stride(n_in)..];
            let right = &scratch.right[position * tiling.stride(n_out)..];
            let sums = &mut sums[position * n_out * n_in * CHANNELS * CHANNELS..];
            product::add_gradient(lanes, left, right, sums, n_tiles, (n_in, n_out));
        }
    }
}

/// `B' d B` of every tile in tile rows `y0..y1` and every block.
///
/// Panics when a length does not fit.
// Written by rows of the half-done square: by columns it is 20 % slower, the registers spill.
#[allow(clippy::needless_range_loop)]
#[inline(always)]
fn transform_patches<L: Lanes>(
    lanes: L,
    tiling: Tiling,
    source: Source<'_, CHANNELS>,
    (y0, y1): (usize, usize),
    out: &mut [f32],
) {
    let (n_blocks, n_tiles) = (source.n_blocks(), (y1 - y0) * tiling.across);
    let stride = tiling.stride(n_blocks);
    assert!(y0 < y1 && y1 <= tiling.down && y1 - y0 <= tiling.rows && out.len() >= POSITIONS * stride);
    assert!(source.fits(tiling.height, tiling.width), "image and tiling differ");
    let mut whole = [0.0; PATCH * PATCH_ROW];
    for block in 0..n_blocks {
        for tile in 0..n_tiles {
            let (y, x) = (y0 + tile / tiling.across, tile % tiling.across);
            let (mut from, mut row) = (source.at(block, y * TILE, x * TILE), source.row());
            let (height, width) = tiling.inside(y, x);
            if (height, width) != (TILE, TILE) {
                whole.fill(0.0);
                let patch = source.from(block, y * TILE, x * TILE);
                copy_pixels(patch, row, &mut whole, PATCH_ROW, (height + PATCH - TILE, width + PATCH - TILE));
                (from, row) = (whole.as_ptr(), PATCH_ROW);
            }
            let to = out[(block * n_tiles + tile) * CHANNELS..].as_mut_ptr();
            for lane in (0..CHANNELS).step_by(L::N) {
                // SAFETY: a patch of 6 x 6 pixels from (y, x) lies within the padding; `out` has room at each position.
                unsafe {
                    let (from, to) = (from.add(lane), to.add(lane));
                    let mut half = [[lanes.splat(0.0); PATCH]; PATCH];
                    for column in 0..PATCH {
                        let mut values = [lanes.splat(0.0); PATCH];
                        for (y, value) in values.iter_mut().enumerate() {
                            *value = lanes.load(from.add(y * row + column * CHANNELS));
                        }
                        for (row, value) in transform::input(lanes, values).into_iter().enumerate() {
                            half[row][column] = value;
                        }
                    }
                    for (row, values) in half.into_iter().enumerate() {
                        for (column, value) in transform::input(lanes, values).into_iter().enumerate() {
                            lanes.store(to.add((row * PATCH + column) * stride), value);
                        }
                    }
                }
            }
        }
    }
}

/// Copies the first `(height, width)` pixels of a block between images whose rows are so many floats apart.
#[inline(always)]
fn copy_pixels(from: &[f32], from_row: usize, to: &mut [f32], to_row: usize, (height, width): (usize, usize)) {
    for y in 0..height {
        to[y * to_row..][..width * CHANNELS].copy_from_slice(&from[y * from_row..][..width * CHANNELS]);
    }
}

/// `A' m A` plus bias of one tile of one block.
///
/// # Safety
/// 36 positions `stride` apart are readable, four rows `row` apart writable.
// Written by rows of the half-done square: by columns it is 20 % slower, the registers spill.
#[allow(clippy::needless_range_loop)]
#[inline(always)]
unsafe fn transform_back<L: Lanes>(
    lanes: L,
    from: *const f32,
    stride: usize,
    bias: *const f32,
    to: *mut f32,
    row: usize,
) {
    for lane in (0..CHANNELS).step_by(L::N) {
        // SAFETY: the caller's contract.
        unsafe {
            let (from, to, bias) = (from.add(lane), to.add(lane), lanes.load(bias.add(lane)));
            let mut half = [[lanes.splat(0.0); PATCH]; TILE];
            for column in 0..PATCH {
                let mut values = [lanes.splat(0.0); PATCH];
                for (row, value) in values.iter_mut().enumerate() {
                    *value = lanes.load(from.add((row * PATCH + column) * stride));
                }
                for (row, value) in transform::output(lanes, values).into_iter().enumerate() {
                    half[row][column] = value;
                }
            }
            for (y, values) in half.into_iter().enumerate() {
                for (x, value) in transform::output(lanes, values).into_iter().enumerate() {
                    lanes.store(to.add(y * row + x * CHANNELS), lanes.add(value, bias));
                }
            }
        }
    }
}

/// `A dY A'` of one tile of one block.
///
/// # Safety
/// four rows `row` apart are readable, 36 positions `stride` apart writable.
// Written by rows of the half-done square: by columns it is 20 % slower, the registers spill.
#[allow(clippy::needless_range_loop)]
#[inline(always)]
unsafe fn transform_gradient<L: Lanes>(lanes: L, from: *const f32, row: usize, to: *mut f32, stride: usize) {
    for lane in (0..CHANNELS).step_by(L::N) {
        // SAFETY: the caller's contract.
        unsafe {
            let (from, to) = (from.add(lane), to.add(lane));
            let mut half = [[lanes.splat(0.0); TILE]; PATCH];
            for x in 0..TILE {
                let mut values = [lanes.splat(0.0); TILE];
                for (y, value) in values.iter_mut().enumerate() {
                    *value = lanes.load(from.add(y * row + x * CHANNELS));
                }
                for (row, value) in transform::output_gradient(lanes, values).into_iter().enumerate() {
                    half[row][x] = value;
                }
            }
            for (row, values) in half.into_iter().enumerate() {
                for (column, value) in transform::output_gradient(lanes, values).into_iter().enumerate() {
                    lanes.store(to.add((row * PATCH + column) * stride), value);
                }
            }
        }
    }
}
