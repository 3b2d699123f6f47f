//! Eight lanes with fused multiply-add.

use std::arch::x86_64::{
    __m256, __m256i, _CMP_GT_OQ, _mm_loadl_epi64, _mm_packus_epi16, _mm_storel_epi64, _mm256_add_ps, _mm256_and_ps,
    _mm256_and_si256, _mm256_blendv_epi8, _mm256_blendv_ps, _mm256_castps_si256, _mm256_castsi256_ps,
    _mm256_castsi256_si128, _mm256_cmp_ps, _mm256_cmpeq_epi32, _mm256_cvtepu8_epi32, _mm256_fmadd_ps, _mm256_loadu_ps,
    _mm256_mul_ps, _mm256_packus_epi32, _mm256_permute4x64_epi64, _mm256_set1_epi32, _mm256_set1_ps, _mm256_storeu_ps,
    _mm256_sub_ps,
};

use crate::simd::isa::with_proof;
use crate::simd::{Avx512, Lanes};

with_proof! {
    /// AVX2 with fused multiply-add: 16 registers of 8 values, on every server since 2013.
    Avx2: "avx2", "fma"
}

impl Lanes for Avx2 {
    type V = __m256;
    type I = __m256i;
    const N: usize = 8;

    #[inline(always)]
    fn splat(self, value: f32) -> __m256 {
        // SAFETY: `self` is the proof that the processor has the instruction.
        unsafe { _mm256_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m256 {
        // SAFETY: the trait's contract, and `self` proves the instructions.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, value: __m256) {
        // SAFETY: the trait's contract, and `self` proves the instructions.
        unsafe { _mm256_storeu_ps(to, value) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: `self` is the proof that the processor has the instruction.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` is the proof that the processor has the instruction.
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` is the proof that the processor has the instruction.
        unsafe { _mm256_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` is the proof that the processor has the instruction.
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    fn index(self, index: u8) -> __m256i {
        // SAFETY: `self` is the proof that the processor has the instruction.
        unsafe { _mm256_set1_epi32(i32::from(index)) }
    }

    #[inline(always)]
    unsafe fn load_indices(self, from: *const u8) -> __m256i {
        // SAFETY: the trait's contract, and `self` proves the instructions.
        unsafe { _mm256_and_si256(_mm256_cvtepu8_epi32(_mm_loadl_epi64(from.cast())), _mm256_set1_epi32(0x7F)) }
    }

    #[inline(always)]
    unsafe fn store_indices(self, to: *mut u8, indices: __m256i) {
        // SAFETY: the trait's contract, and `self` proves the instructions; the low bytes of the eight numbers come to
        // lie side by side.
        unsafe {
            let words = _mm256_packus_epi32(indices, indices);
            let words = _mm256_permute4x64_epi64::<0b1000>(words);
            let bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_castsi256_si128(words));
            _mm_storel_epi64(to.cast(), bytes);
        }
    }

    #[inline(always)]
    fn keep_where(self, indices: __m256i, index: __m256i, value: __m256) -> __m256 {
        // SAFETY: `self` is the proof that the processor has the instruction.
        unsafe { _mm256_and_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(indices, index)), value) }
    }

    #[inline(always)]
    fn keep_larger(self, best: (__m256, __m256i), value: __m256, index: __m256i) -> (__m256, __m256i) {
        // SAFETY: `self` is the proof that the processor has the instruction.
        unsafe {
            let larger = _mm256_cmp_ps::<_CMP_GT_OQ>(value, best.0);
            let indices = _mm256_blendv_epi8(best.1, index, _mm256_castps_si256(larger));
            (_mm256_blendv_ps(best.0, value, larger), indices)
        }
    }
}

/// What has AVX-512 has AVX2: its detection tests both.
impl From<Avx512> for Avx2 {
    fn from(_: Avx512) -> Self {
        Self(())
    }
}
