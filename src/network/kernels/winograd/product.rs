//! The products of Winograd's convolution at one position: small matrices in registers.

use crate::network::kernels::MAPS;
use crate::network::kernels::outer::{TileSizes, load_maps, outer, store_maps};
use crate::simd::Lanes;

/// `out[tile][o] = sum over i of left[tile][i] * weights[i][o]`, all in blocks of 16 maps.
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
    assert!(left.len() >= n_in * n_tiles * MAPS && out.len() >= n_out * n_tiles * MAPS);
    assert!(weights.len() >= n_out * n_in * MAPS * MAPS);
    let mut block = 0;
    while block < n_out {
        let place = Place {
            left: left.as_ptr(),
            right: weights[block * n_in * MAPS * MAPS..].as_ptr(),
            out: out[block * n_tiles * MAPS..].as_mut_ptr(),
        };
        // SAFETY: the lengths checked and the slices above hold for the one or two blocks taken here.
        block += unsafe {
            match (n_out - block >= 2 && L::BLOCKS == 2, MAPS / L::N) {
                (true, _) => product::<L, 2>(lanes, place, n_tiles, n_in),
                (_, 1) => product::<L, 1>(lanes, place, n_tiles, n_in),
                (_, 2) => product::<L, 2>(lanes, place, n_tiles, n_in),
                _ => product::<L, 4>(lanes, place, n_tiles, n_in),
            }
        };
    }
}

/// `sums[i][o] += sum over tiles of left[tile][i] * right[tile][o]`, all in blocks of 16 maps.
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
    assert!(left.len() >= n_in * n_tiles * MAPS && right.len() >= n_out * n_tiles * MAPS);
    assert!(sums.len() >= n_out * n_in * MAPS * MAPS);
    let mut block = 0;
    while block < n_out {
        let place = Place {
            left: left.as_ptr(),
            right: right[block * n_tiles * MAPS..].as_ptr(),
            out: sums[block * n_in * MAPS * MAPS..].as_mut_ptr(),
        };
        // SAFETY: the lengths checked and the slices above hold for the one or two blocks taken here.
        block += unsafe {
            match (n_out - block >= 2 && L::BLOCKS == 2, MAPS / L::N) {
                (true, _) => gradient_product::<L, 2>(lanes, place, n_tiles, n_in),
                (_, 1) => gradient_product::<L, 1>(lanes, place, n_tiles, n_in),
                (_, 2) => gradient_product::<L, 2>(lanes, place, n_tiles, n_in),
                _ => gradient_product::<L, 4>(lanes, place, n_tiles, n_in),
            }
        };
    }
}

/// Where one product reads and writes.
#[derive(Clone, Copy)]
struct Place {
    left: *const f32,
    right: *const f32,
    out: *mut f32,
}

/// One or two blocks of output maps; returns how many blocks.
///
/// # Safety
/// As [`multiply`].
#[inline(always)]
unsafe fn product<L: Lanes, const V: usize>(lanes: L, place: Place, n_tiles: usize, n_in: usize) -> usize {
    let mut tile = 0;
    while tile < n_tiles {
        let here =
            Place { left: place.left.wrapping_add(tile * MAPS), out: place.out.wrapping_add(tile * MAPS), ..place };
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
    V * L::N / MAPS
}

/// `P` tiles; returns `P`.
///
/// # Safety
/// As [`multiply`].
#[inline(always)]
unsafe fn product_tile<L: Lanes, const V: usize, const P: usize>(
    lanes: L,
    place: Place,
    n_tiles: usize,
    n_in: usize,
) -> usize {
    let w_block = n_in * MAPS * MAPS;
    // SAFETY: the caller's contract.
    unsafe {
        let mut acc = [[lanes.splat(0.0); V]; P];
        for block in 0..n_in {
            let left = place.left.add(block * n_tiles * MAPS);
            outer::<L, P, V, MAPS, 1>(lanes, &mut acc, left, place.right.add(block * MAPS * MAPS), w_block, MAPS);
        }
        for (p, sums) in acc.into_iter().enumerate() {
            store_maps::<L, V>(lanes, place.out.add(p * MAPS), n_tiles * MAPS, sums);
        }
    }
    P
}

/// One or two blocks of output maps; returns how many blocks.
///
/// # Safety
/// As [`add_gradient`].
#[inline(always)]
unsafe fn gradient_product<L: Lanes, const V: usize>(lanes: L, place: Place, n_tiles: usize, n_in: usize) -> usize {
    for block in 0..n_in {
        let mut map = 0;
        while map < MAPS {
            let here = Place {
                left: place.left.wrapping_add(block * n_tiles * MAPS + map),
                out: place.out.wrapping_add((block * MAPS + map) * MAPS),
                ..place
            };
            // SAFETY: `MAPS_IN` divides 16.
            map += unsafe {
                match L::MAPS_IN {
                    8 => gradient_tile::<L, V, 8>(lanes, here, n_tiles, n_in),
                    4 => gradient_tile::<L, V, 4>(lanes, here, n_tiles, n_in),
                    _ => gradient_tile::<L, V, 2>(lanes, here, n_tiles, n_in),
                }
            };
        }
    }
    V * L::N / MAPS
}

/// `P` input maps; returns `P`.
///
/// # Safety
/// As [`add_gradient`].
#[inline(always)]
unsafe fn gradient_tile<L: Lanes, const V: usize, const P: usize>(
    lanes: L,
    place: Place,
    n_tiles: usize,
    n_in: usize,
) -> usize {
    let block = n_in * MAPS * MAPS;
    // SAFETY: the caller's contract.
    unsafe {
        let mut acc = [[lanes.splat(0.0); V]; P];
        for (p, sums) in acc.iter_mut().enumerate() {
            *sums = load_maps::<L, V>(lanes, place.out.add(p * MAPS), block);
        }
        outer::<L, P, V, 1, MAPS>(lanes, &mut acc, place.left, place.right, n_tiles * MAPS, n_tiles);
        for (p, sums) in acc.into_iter().enumerate() {
            store_maps::<L, V>(lanes, place.out.add(p * MAPS), block, sums);
        }
    }
    P
}
