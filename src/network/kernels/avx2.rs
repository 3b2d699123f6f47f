//! Eight lanes with fused multiply-add.

use std::arch::x86_64::{__m256, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_set1_ps, _mm256_storeu_ps};

use crate::network::kernels::{Job, Lanes};

/// AVX2 + FMA: 16 registers hold 6 pixels x 16 maps, two of weights, and one input.
#[derive(Clone, Copy)]
pub struct Avx2;

impl Lanes for Avx2 {
    type V = __m256;
    const N: usize = 8;
    const PIXELS: usize = 6;
    const MAPS_IN: usize = 4;
    const BLOCKS: usize = 1;

    #[inline(always)]
    unsafe fn splat(value: f32) -> __m256 {
        // SAFETY: the trait's contract.
        unsafe { _mm256_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m256 {
        // SAFETY: the trait's contract.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, value: __m256) {
        // SAFETY: the trait's contract.
        unsafe { _mm256_storeu_ps(to, value) }
    }

    #[inline(always)]
    unsafe fn mul_add(a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: the trait's contract.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
}

/// Runs `job` with AVX2.
///
/// # Safety
/// The machine has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn run<J: Job>(job: J) {
    job.run::<Avx2>();
}
