//! The one micro-kernel: a sum of outer products held in registers.
//!
//! Forward convolution, input gradient and weight gradient are all this loop with other strides.

use crate::network::kernels::{Lanes, MAPS};

/// Adds `sum over k < n of x[k * STEP + p * STRIDE] * w[v][k * 16 ..]` to `acc[p][v]`.
///
/// The registers `v` cover one block of 16 maps, or two whose weights lie `w_block` floats apart.
///
/// # Safety
/// [`Lanes`]; `x` is readable at every index of the formula, `w` for `16 n` floats in each block.
#[inline(always)]
pub unsafe fn outer<L: Lanes, const P: usize, const V: usize, const STRIDE: usize, const STEP: usize>(
    acc: &mut [[L::V; V]; P],
    x: *const f32,
    w: *const f32,
    w_block: usize,
    n: usize,
) {
    let per_block = MAPS / L::N;
    let (mut x, mut w) = (x, w);
    for _ in 0..n {
        // SAFETY: the caller's contract; the pointers advance n times and are not read after that.
        unsafe {
            let mut weights = [L::splat(0.0); V];
            for (v, weight) in weights.iter_mut().enumerate() {
                *weight = L::load(w.add((v / per_block) * w_block + (v % per_block) * L::N));
            }
            for (p, sums) in acc.iter_mut().enumerate() {
                let value = L::splat(*x.add(p * STRIDE));
                for (sum, weight) in sums.iter_mut().zip(weights) {
                    *sum = L::mul_add(value, weight, *sum);
                }
            }
            x = x.wrapping_add(STEP);
            w = w.wrapping_add(MAPS);
        }
    }
}

/// [`outer`] with strides of `x` that are only known at run time, `(p, k)`, and one block of maps.
///
/// # Safety
/// As [`outer`].
#[inline(always)]
pub unsafe fn outer_strided<L: Lanes, const P: usize, const V: usize>(
    acc: &mut [[L::V; V]; P],
    x: *const f32,
    (stride, step): (usize, usize),
    w: *const f32,
    n: usize,
) {
    for k in 0..n {
        // SAFETY: the caller's contract.
        unsafe {
            let weights = load_maps::<L, V>(w.add(k * MAPS), 0);
            for (p, sums) in acc.iter_mut().enumerate() {
                let value = L::splat(*x.add(k * step + p * stride));
                for (sum, weight) in sums.iter_mut().zip(weights) {
                    *sum = L::mul_add(value, weight, *sum);
                }
            }
        }
    }
}

/// Reads the registers of one row of a tile: blocks of 16 floats lying `block` floats apart.
///
/// # Safety
/// [`Lanes`]; 16 floats are readable in each block.
#[inline(always)]
pub unsafe fn load_maps<L: Lanes, const V: usize>(from: *const f32, block: usize) -> [L::V; V] {
    let per_block = MAPS / L::N;
    // SAFETY: the caller's contract.
    unsafe {
        let mut values = [L::splat(0.0); V];
        for (v, value) in values.iter_mut().enumerate() {
            *value = L::load(from.add((v / per_block) * block + (v % per_block) * L::N));
        }
        values
    }
}

/// Writes what [`load_maps`] reads.
///
/// # Safety
/// [`Lanes`]; 16 floats are writable in each block.
#[inline(always)]
pub unsafe fn store_maps<L: Lanes, const V: usize>(to: *mut f32, block: usize, values: [L::V; V]) {
    let per_block = MAPS / L::N;
    for (v, value) in values.into_iter().enumerate() {
        // SAFETY: the caller's contract.
        unsafe { L::store(to.add((v / per_block) * block + (v % per_block) * L::N), value) };
    }
}
