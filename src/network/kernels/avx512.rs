//! Sixteen lanes with fused multiply-add.

use std::arch::x86_64::{
    __m512, __m512i, _CMP_GT_OQ, _mm_loadu_si128, _mm_storeu_si128, _mm512_add_ps, _mm512_and_si512,
    _mm512_cmp_ps_mask, _mm512_cmpeq_epi32_mask, _mm512_cvtepi32_epi8, _mm512_cvtepu8_epi32, _mm512_fmadd_ps,
    _mm512_loadu_ps, _mm512_mask_mov_epi32, _mm512_mask_mov_ps, _mm512_maskz_mov_ps, _mm512_mul_ps, _mm512_set1_epi32,
    _mm512_set1_ps, _mm512_storeu_ps, _mm512_sub_ps,
};

use crate::network::kernels::{Job, Lanes};

/// AVX-512: 32 registers hold 8 pixels x 32 maps, two of weights, and one input.
#[derive(Clone, Copy)]
pub struct Avx512;

impl Lanes for Avx512 {
    type V = __m512;
    type P = __m512i;
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

    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        // SAFETY: the trait's contract.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        // SAFETY: the trait's contract.
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        // SAFETY: the trait's contract.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn place(at: u8) -> __m512i {
        // SAFETY: the trait's contract.
        unsafe { _mm512_set1_epi32(i32::from(at)) }
    }

    #[inline(always)]
    unsafe fn load_places(from: *const u8) -> __m512i {
        // SAFETY: the trait's contract.
        unsafe { _mm512_and_si512(_mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast())), _mm512_set1_epi32(0x7F)) }
    }

    #[inline(always)]
    unsafe fn store_places(to: *mut u8, places: __m512i) {
        // SAFETY: the trait's contract.
        unsafe { _mm_storeu_si128(to.cast(), _mm512_cvtepi32_epi8(places)) }
    }

    #[inline(always)]
    unsafe fn keep_where(places: __m512i, at: __m512i, value: __m512) -> __m512 {
        // SAFETY: the trait's contract.
        unsafe { _mm512_maskz_mov_ps(_mm512_cmpeq_epi32_mask(places, at), value) }
    }

    #[inline(always)]
    unsafe fn keep_larger(best: (__m512, __m512i), value: __m512, at: __m512i) -> (__m512, __m512i) {
        // SAFETY: the trait's contract.
        unsafe {
            let larger = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(value, best.0);
            (_mm512_mask_mov_ps(best.0, larger, value), _mm512_mask_mov_epi32(best.1, larger, at))
        }
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
