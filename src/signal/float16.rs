//! The precision that spectrograms are stored in: float16, rounded to nearest, halves to even.

use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};

use crate::simd::Isa;

/// Values that are converted together.
const PART: usize = 512;

/// Narrows values to the bits of little-endian float16.
///
/// Panics when `bits` has another length.
pub fn narrow(values: &[f32], bits: &mut [u16]) {
    assert_eq!(values.len(), bits.len(), "as many values");
    let n_done = narrow_wide(values, bits);
    bits[n_done..].reinterpret_cast_mut::<f16>().convert_from_f32_slice(&values[n_done..]);
    if cfg!(target_endian = "big") {
        bits.iter_mut().for_each(|bits| *bits = bits.to_le());
    }
}

/// The values whose bits [`narrow`] gives, exactly.
///
/// Panics when `values` has another length.
pub fn widen(bits: &[u16], values: &mut [f32]) {
    assert_eq!(values.len(), bits.len(), "as many values");
    // Slices are widened by the processor's own instruction, single values by arithmetic.
    let mut native = [f16::ZERO; PART];
    for (bits, values) in bits.chunks(PART).zip(values.chunks_mut(PART)) {
        let native = &mut native[..bits.len()];
        native.iter_mut().zip(bits).for_each(|(native, &bits)| *native = f16::from_bits(u16::from_le(bits)));
        native.convert_to_f32_slice(values);
    }
}

/// Rounds values to what the features table gives back of them.
///
/// Whatever scores a spectrogram that was not read from the table rounds it first, so that both ways give the same numbers.
pub fn stored_precision(values: &mut [f32]) {
    let mut bits = [0; PART];
    for values in values.chunks_mut(PART) {
        let bits = &mut bits[..values.len()];
        narrow(values, bits);
        widen(bits, values);
    }
}

/// Narrows what fits into whole registers, where the processor has wide ones; gives their number of values.
fn narrow_wide(values: &[f32], bits: &mut [u16]) -> usize {
    match Isa::fastest() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the proof says that the processor has AVX-512.
        Isa::Avx512(proof) => unsafe { x86::narrow(proof, values, bits) },
        _ => 0,
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{_MM_FROUND_TO_NEAREST_INT, _mm256_storeu_si256, _mm512_cvtps_ph, _mm512_loadu_ps};

    use crate::simd::Avx512;

    #[target_feature(enable = "avx512f")]
    pub(super) fn narrow(_: Avx512, values: &[f32], bits: &mut [u16]) -> usize {
        let (values, _) = values.as_chunks::<16>();
        for (values, bits) in values.iter().zip(bits.as_chunks_mut::<16>().0) {
            // SAFETY: sixteen values are read and sixteen written; neither need be aligned.
            unsafe {
                let narrow = _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(_mm512_loadu_ps(values.as_ptr()));
                _mm256_storeu_si256(bits.as_mut_ptr().cast(), narrow);
            }
        }
        16 * values.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_precision_is_float16_at_every_length() {
        for n in [0, 1, 15, 16, 17, 511, 512, 513, 1_100] {
            // From 16 to 32 float16 has steps of 1/64: every second value is half a step, and goes to the even one.
            let values: Vec<f32> = (0..n).map(|i| -16.0 - (i % 1_000) as f32 / 128.0).collect();
            let mut stored = values.clone();
            stored_precision(&mut stored);
            for (stored, value) in stored.iter().zip(&values) {
                assert_eq!(*stored, f16::from_f32_const(*value).to_f32_const());
                assert!((stored - value).abs() <= 1.0 / 128.0);
            }
            let once = stored.clone();
            stored_precision(&mut stored);
            assert_eq!(stored, once, "what is stored already stays");
        }
    }

    #[test]
    fn what_is_too_large_becomes_infinite_and_nan_stays() {
        let mut values = [65_504.0, 65_520.0, -1e30, f32::NAN, 1e-9, -0.0];
        stored_precision(&mut values);
        assert_eq!(values[..3], [65_504.0, f32::INFINITY, f32::NEG_INFINITY]);
        assert!(values[3].is_nan());
        assert_eq!((values[4], values[5].to_bits()), (0.0, (-0.0f32).to_bits()));
    }
}
