//! Sixteen lanes with fused multiply-add.

use std::arch::x86_64::{__m512, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_storeu_ps};

use crate::network::kernels::{Job, Lanes};

/// AVX-512: 32 registers hold 8 pixels x 32 maps, two of weights, and one input.
#[derive(Clone, Copy)]
pub struct Avx512;

impl Lanes for Avx512 {
    type V = __m512;
    const N: usize = 16;
    const PIXELS: usize = 8;
    const MAPS_IN: usize = 8;
    const BLOCKS: usize = 2;

    #[inline(always)]
    unsafe fn splat(value: f32) -> __m512 {
        // SAFETY: the trait's contract.
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m512 {
        // SAFETY: the trait's contract.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, value: __m512) {
        // SAFETY: the trait's contract.
        unsafe { _mm512_storeu_ps(to, value) }
    }

    #[inline(always)]
    unsafe fn mul_add(a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: the trait's contract.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
}

/// Runs `job` with AVX-512.
///
/// # Safety
/// The machine has AVX-512F, AVX-512VL, AVX2 and FMA.
#[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
pub unsafe fn run<J: Job>(job: J) {
    job.run::<Avx512>();
}
