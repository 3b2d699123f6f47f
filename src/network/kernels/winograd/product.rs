//! The products of Winograd's convolution at one position: small matrices in registers.

use crate::network::kernels::CHANNELS;
use crate::network::kernels::outer::{TileSizes, load_channels, outer, store_channels};
use crate::simd::Lanes;

/// `out[tile][o] = sum over i of left[tile][i] * weights[i][o]`, all in blocks of 16 channels.
///
/// Panics when a length does not fit.
#[inline(always)]
pub fn multiply<L: Lanes>(
    lanes: L,
    left: &[f32],
    weights: &[f32],
    out: &mut [f32],
    n_tiles: usize,
    (n_in, n_out): (usize, usize),
) {
    assert!(left.len() >= n_in * n_tiles * CHANNELS && out.len() >= n_out * n_tiles * CHANNELS);
    assert!(weights.len() >= n_out * n_in * CHANNELS * CHANNELS);
    let mut block = 0;
    while block < n_out {
        let operands = Operands {
            left: left.as_ptr(),
            right: weights[block * n_in * CHANNELS * CHANNELS..].as_ptr(),
            out: out[block * n_tiles * CHANNELS..].as_mut_ptr(),
        };
        // SAFETY: the lengths checked and the slices above hold for the one or two blocks taken here.
        block += unsafe {
            match (n_out - block >= 2 && L::BLOCKS == 2, CHANNELS / L::N) {
                (true, _) => product::<L, 2>(lanes, operands, n_tiles, n_in),
                (_, 1) => product::<L, 1>(lanes, operands, n_tiles, n_in),
                (_, 2) => product::<L, 2>(lanes, operands, n_tiles, n_in),
                _ => product::<L, 4>(lanes, operands, n_tiles, n_in),
            }
        };
    }
}

/// `sums[i][o] += sum over tiles of left[tile][i] * right[tile][o]`, all in blocks of 16 channels.
///
/// Panics when a length does not fit.
#[inline(always)]
pub fn add_gradient<L: Lanes>(
    lanes: L,
    left: &[f32],
    right: &[f32],
    sums: &mut [f32],
    n_tiles: usize,
    (n_in, n_out): (usize, usize),
) {
    assert!(left.len() >= n_in * n_tiles * CHANNELS && right.len() >= n_out * n_tiles * CHANNELS);
    assert!(sums.len() >= n_out * n_in * CHANNELS * CHANNELS);
    let mut block = 0;
    while block < n_out {
        let operands = Operands {
            left: left.as_ptr(),
            right: right[block * n_tiles * CHANNELS..].as_ptr(),
            out: sums[block * n_in * CHANNELS * CHANNELS..].as_mut_ptr(),
        };
        // SAFETY: the lengths checked and the slices above hold for the one or two blocks taken here.
        block += unsafe {
            match (n_out - block >= 2 && L::BLOCKS == 2, CHANNELS / L::N) {
                (true, _) => gradient_product::<L, 2>(lanes, operands, n_tiles, n_in),
                (_, 1) => gradient_product::<L, 1>(lanes, operands, n_tiles, n_in),
                (_, 2) => gradient_product::<L, 2>(lanes, operands, n_tiles, n_in),
                _ => gradient_product::<L, 4>(lanes, operands, n_tiles, n_in),
            }
        };
    }
}

/// Where one product reads and writes.
#[derive(Clone, Copy)]
struct Operands {
    left: *const f32,
    right: *const f32,
    out: *mut f32,
}

/// One or two blocks of output channels; returns how many blocks.
///
/// # Safety
/// As [`multiply`].
#[inline(always)]
unsafe fn product<L: Lanes, const V: usize>(lanes: L, operands: Operands, n_tiles: usize, n_in: usize) -> usize {
    let mut tile = 0;
    while tile < n_tiles {
        let here = Operands {
            left: operands.left.wrapping_add(tile * CHANNELS),
            out: operands.out.wrapping_add(tile * CHANNELS),
            ..operands
        };
        // SAFETY: a tile of P tiles from here on exists.
        unsafe {
            tile += match n_tiles - tile {
                left if L::PIXELS == 8 && left >= 8 => product_tile::<L, V, 8>(lanes, here, n_tiles, n_in),
                left if L::PIXELS == 6 && left >= 6 => product_tile::<L, V, 6>(lanes, here, n_tiles, n_in),
                left if L::PIXELS >= 4 && left >= 4 => product_tile::<L, V, 4>(lanes, here, n_tiles, n_in),
                left if left >= 2 => product_tile::<L, V, 2>(lanes, here, n_tiles, n_in),
                _ => product_tile::<L, V, 1>(lanes, here, n_tiles, n_in),
            };
        }
    }
    V * L::N / CHANNELS
}

/// `P` tiles; returns `P`.
///
/// # Safety
/// As [`multiply`].
#[inline(always)]
unsafe fn product_tile<L: Lanes, const V: usize, const P: usize>(
    lanes: L,
    operands: Operands,
    n_tiles: usize,
    n_in: usize,
) -> usize {
    let w_block = n_in * CHANNELS * CHANNELS;
    // SAFETY: the caller's contract.
    unsafe {
        let mut acc = [[lanes.splat(0.0); V]; P];
        for block in 0..n_in {
            let left = operands.left.add(block * n_tiles * CHANNELS);
            outer::<L, P, V, CHANNELS, 1>(
                lanes,
                &mut acc,
                left,
                operands.right.add(block * CHANNELS * CHANNELS),
                w_block,
                CHANNELS,
            );
        }
        for (p, sums) in acc.into_iter().enumerate() {
            store_channels::<L, V>(lanes, operands.out.add(p * CHANNELS), n_tiles * CHANNELS, sums);
        }
    }
    P
}

/// One or two blocks of output channels; returns how many blocks.
///
/// # Safety
/// As [`add_gradient`].
#[inline(always)]
unsafe fn gradient_product<L: Lanes, const V: usize>(
    lanes: L,
    operands: Operands,
    n_tiles: usize,
    n_in: usize,
) -> usize {
    for block in 0..n_in {
        let mut channel = 0;
        while channel < CHANNELS {
            let here = Operands {
                left: operands.left.wrapping_add(block * n_tiles * CHANNELS + channel),
                out: operands.out.wrapping_add((block * CHANNELS + channel) * CHANNELS),
                ..operands
            };
            // SAFETY: `CHANNELS_IN` divides 16.
            channel += unsafe {
                match L::CHANNELS_IN {
                    8 => gradient_tile::<L, V, 8>(lanes, here, n_tiles, n_in),
                    4 => gradient_tile::<L, V, 4>(lanes, here, n_tiles, n_in),
                    _ => gradient_tile::<L, V, 2>(lanes, here, n_tiles, n_in),
                }
            };
        }
    }
    V * L::N / CHANNELS
}

/// `P` input channels; returns `P`.
///
/// # Safety
/// As [`add_gradient`].
#[inline(always)]
unsafe fn gradient_tile<L: Lanes, const V: usize, const P: usize>(
    lanes: L,
    operands: Operands,
    n_tiles: usize,
    n_in: usize,
) -> usize {
    let block = n_in * CHANNELS * CHANNELS;
    // SAFETY: the caller's contract.
    unsafe {
        let mut acc = [[lanes.splat(0.0); V]; P];
        for (p, sums) in acc.iter_mut().enumerate() {
            *sums = load_channels::<L, V>(lanes, operands.out.add(p * CHANNELS), block);
        }
        outer::<L, P, V, 1, CHANNELS>(lanes, &mut acc, operands.left, operands.right, n_tiles * CHANNELS, n_tiles);
        for (p, sums) in acc.into_iter().enumerate() {
            store_channels::<L, V>(lanes, operands.out.add(p * CHANNELS), block, sums);
        }
    }
    P
}
