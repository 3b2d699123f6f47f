//! The one micro-kernel: a sum of outer products held in registers.
//!
//! Forward convolution, input gradient and weight gradient are all this loop with other strides.

use crate::network::kernels::CHANNELS;
use crate::simd::Lanes;

/// Sizes of tiles whose sums, with the operands beside them, just fit the registers of an instruction set.
pub trait TileSizes {
    /// Output pixels of one convolution tile; each has two registers of sums.
    const PIXELS: usize;
    /// Input channels of one weight-gradient tile; divides [`CHANNELS`].
    const CHANNELS_IN: usize;
    /// Blocks of output channels in one tile.
    const BLOCKS: usize;
}

/// AVX-512 has 32 registers, the others 16.
impl<L: Lanes> TileSizes for L {
    const PIXELS: usize = match L::N {
        16 => 8,
        8 => 6,
        _ => 2,
    };
    const CHANNELS_IN: usize = match L::N {
        16 => 8,
        8 => 4,
        _ => 2,
    };
    const BLOCKS: usize = if L::N == 16 { 2 } else { 1 };
}

/// Adds `sum over k < n of x[k * STEP + p * STRIDE] * w[v][k * 16 ..]` to `acc[p][v]`.
///
/// The registers `v` cover one block of 16 channels, or two whose weights lie `w_block` floats apart.
///
/// # Safety
/// `x` is readable at every index of the formula, `w` for `16 n` floats in each block.
#[inline(always)]
pub unsafe fn outer<L: Lanes, const P: usize, const V: usize, const STRIDE: usize, const STEP: usize>(
    lanes: L,
    acc: &mut [[L::V; V]; P],
    x: *const f32,
    w: *const f32,
    w_block: usize,
    n: usize,
) {
    let per_block = CHANNELS / L::N;
    let (mut x, mut w) = (x, w);
    for _ in 0..n {
        // SAFETY: the caller's contract; the pointers advance n times and are not read after that.
        unsafe {
            let mut weights = [lanes.splat(0.0); V];
            for (v, weight) in weights.iter_mut().enumerate() {
                *weight = lanes.load(w.add((v / per_block) * w_block + (v % per_block) * L::N));
            }
            for (p, sums) in acc.iter_mut().enumerate() {
                let value = lanes.splat(*x.add(p * STRIDE));
                for (sum, weight) in sums.iter_mut().zip(weights) {
                    *sum = lanes.mul_add(value, weight, *sum);
                }
            }
            x = x.wrapping_add(STEP);
            w = w.wrapping_add(CHANNELS);
        }
    }
}

/// [`outer`] with strides of `x` that are only known at run time, `(p, k)`, and one block of channels.
///
/// # Safety
/// As [`outer`].
#[inline(always)]
pub unsafe fn outer_strided<L: Lanes, const P: usize, const V: usize>(
    lanes: L,
    acc: &mut [[L::V; V]; P],
    x: *const f32,
    (stride, step): (usize, usize),
    w: *const f32,
    n: usize,
) {
    for k in 0..n {
        // SAFETY: the caller's contract.
        unsafe {
            let weights = load_channels::<L, V>(lanes, w.add(k * CHANNELS), 0);
            for (p, sums) in acc.iter_mut().enumerate() {
                let value = lanes.splat(*x.add(k * step + p * stride));
                for (sum, weight) in sums.iter_mut().zip(weights) {
                    *sum = lanes.mul_add(value, weight, *sum);
                }
            }
        }
    }
}

/// Reads the registers of one row of a tile: blocks of 16 floats lying `block` floats apart.
///
/// # Safety
/// 16 floats are readable in each block.
#[inline(always)]
pub unsafe fn load_channels<L: Lanes, const V: usize>(lanes: L, from: *const f32, block: usize) -> [L::V; V] {
    let per_block = CHANNELS / L::N;
    // SAFETY: the caller's contract.
    unsafe {
        let mut values = [lanes.splat(0.0); V];
        for (v, value) in values.iter_mut().enumerate() {
            *value = lanes.load(from.add((v / per_block) * block + (v % per_block) * L::N));
        }
        values
    }
}

/// Writes what [`load_channels`] reads.
///
/// # Safety
/// 16 floats are writable in each block.
#[inline(always)]
pub unsafe fn store_channels<L: Lanes, const V: usize>(lanes: L, to: *mut f32, block: usize, values: [L::V; V]) {
    let per_block = CHANNELS / L::N;
    for (v, value) in values.into_iter().enumerate() {
        // SAFETY: the caller's contract.
        unsafe { lanes.store(to.add((v / per_block) * block + (v % per_block) * L::N), value) };
    }
}
