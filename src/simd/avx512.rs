//! Sixteen lanes with fused multiply-add.

use std::arch::x86_64::{
    __m512, __m512i, _CMP_GT_OQ, _mm_loadu_si128, _mm_storeu_si128, _mm512_add_ps, _mm512_and_si512,
    _mm512_cmp_ps_mask, _mm512_cmpeq_epi32_mask, _mm512_cvtepi32_epi8, _mm512_cvtepu8_epi32, _mm512_fmadd_ps,
    _mm512_loadu_ps, _mm512_mask_mov_epi32, _mm512_mask_mov_ps, _mm512_maskz_mov_ps, _mm512_mul_ps, _mm512_set1_epi32,
    _mm512_set1_ps, _mm512_storeu_ps, _mm512_sub_ps,
};

use crate::simd::Lanes;
use crate::simd::isa::with_proof;

with_proof! {
    /// AVX-512 with its DQ and VL extensions, and with them AVX2: 32 registers of 16 values, on every server since 2017.
    Avx512: "avx512f", "avx512dq", "avx512vl", "avx2", "fma"
}

impl Lanes for Avx512 {
    type V = __m512;
    type I = __m512i;
    const N: usize = 16;

    #[inline(always)]
    fn splat(self, value: f32) -> __m512 {
        // SAFETY: `self` is the proof that the processor has the instruction.
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m512 {
        // SAFETY: the trait's contract, and `self` proves the instructions.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, value: __m512) {
        // SAFETY: the trait's contract, and `self` proves the instructions.
        unsafe { _mm512_storeu_ps(to, value) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: `self` is the proof that the processor has the instruction.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` is the proof that the processor has the instruction.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` is the proof that the processor has the instruction.
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` is the proof that the processor has the instruction.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn index(self, index: u8) -> __m512i {
        // SAFETY: `self` is the proof that the processor has the instruction.
        unsafe { _mm512_set1_epi32(i32::from(index)) }
    }

    #[inline(always)]
    unsafe fn load_indices(self, from: *const u8) -> __m512i {
        // SAFETY: the trait's contract, and `self` proves the instructions.
        unsafe { _mm512_and_si512(_mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast())), _mm512_set1_epi32(0x7F)) }
    }

    #[inline(always)]
    unsafe fn store_indices(self, to: *mut u8, indices: __m512i) {
        // SAFETY: the trait's contract, and `self` proves the instructions.
        unsafe { _mm_storeu_si128(to.cast(), _mm512_cvtepi32_epi8(indices)) }
    }

    #[inline(always)]
    fn keep_where(self, indices: __m512i, index: __m512i, value: __m512) -> __m512 {
        // SAFETY: `self` is the proof that the processor has the instruction.
        unsafe { _mm512_maskz_mov_ps(_mm512_cmpeq_epi32_mask(indices, index), value) }
    }

    #[inline(always)]
    fn keep_larger(self, best: (__m512, __m512i), value: __m512, index: __m512i) -> (__m512, __m512i) {
        // SAFETY: `self` is the proof that the processor has the instruction.
        unsafe {
            let larger = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(value, best.0);
            (_mm512_mask_mov_ps(best.0, larger, value), _mm512_mask_mov_epi32(best.1, larger, index))
        }
    }
}
