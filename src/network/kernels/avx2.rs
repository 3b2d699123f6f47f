//! Eight lanes with fused multiply-add.

use std::arch::x86_64::{
    __m256, __m256i, _CMP_GT_OQ, _mm_loadl_epi64, _mm_packus_epi16, _mm_storel_epi64, _mm256_add_ps, _mm256_and_ps,
    _mm256_and_si256, _mm256_blendv_epi8, _mm256_blendv_ps, _mm256_castps_si256, _mm256_castsi256_ps,
    _mm256_castsi256_si128, _mm256_cmp_ps, _mm256_cmpeq_epi32, _mm256_cvtepu8_epi32, _mm256_fmadd_ps, _mm256_loadu_ps,
    _mm256_mul_ps, _mm256_packus_epi32, _mm256_permute4x64_epi64, _mm256_set1_epi32, _mm256_set1_ps, _mm256_storeu_ps,
    _mm256_sub_ps,
};

use crate::network::kernels::{Job, Lanes};

/// AVX2 + FMA: 16 registers hold 6 pixels x 16 maps, two of weights, and one input.
#[derive(Clone, Copy)]
pub struct Avx2;

impl Lanes for Avx2 {
    type V = __m256;
    type P = __m256i;
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

    #[inline(always)]
    unsafe fn add(a: __m256, b: __m256) -> __m256 {
        // SAFETY: the trait's contract.
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn sub(a: __m256, b: __m256) -> __m256 {
        // SAFETY: the trait's contract.
        unsafe { _mm256_sub_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn mul(a: __m256, b: __m256) -> __m256 {
        // SAFETY: the trait's contract.
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn place(at: u8) -> __m256i {
        // SAFETY: the trait's contract.
        unsafe { _mm256_set1_epi32(i32::from(at)) }
    }

    #[inline(always)]
    unsafe fn load_places(from: *const u8) -> __m256i {
        // SAFETY: the trait's contract.
        unsafe { _mm256_and_si256(_mm256_cvtepu8_epi32(_mm_loadl_epi64(from.cast())), _mm256_set1_epi32(0x7F)) }
    }

    #[inline(always)]
    unsafe fn store_places(to: *mut u8, places: __m256i) {
        // SAFETY: the trait's contract; the low bytes of the eight numbers come to lie side by side.
        unsafe {
            let words = _mm256_packus_epi32(places, places);
            let words = _mm256_permute4x64_epi64::<0b1000>(words);
            let bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_castsi256_si128(words));
            _mm_storel_epi64(to.cast(), bytes);
        }
    }

    #[inline(always)]
    unsafe fn keep_where(places: __m256i, at: __m256i, value: __m256) -> __m256 {
        // SAFETY: the trait's contract.
        unsafe { _mm256_and_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(places, at)), value) }
    }

    #[inline(always)]
    unsafe fn keep_larger(best: (__m256, __m256i), value: __m256, at: __m256i) -> (__m256, __m256i) {
        // SAFETY: the trait's contract.
        unsafe {
            let larger = _mm256_cmp_ps::<_CMP_GT_OQ>(value, best.0);
            let places = _mm256_blendv_epi8(best.1, at, _mm256_castps_si256(larger));
            (_mm256_blendv_ps(best.0, value, larger), places)
        }
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
