//! The resampler's dot products: 16 partial sums in a fixed order and no fused multiply-add,
//! so that every kernel gives the same bits.

/// Partial sums of a dot product; rows of taps are a multiple of it.
pub(super) const LANES: usize = 16;

/// Which code computes the dot products; the values do not depend on it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kernel {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
}

impl Kernel {
    /// The fastest one that this processor can run.
    pub(super) fn fastest() -> Self {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            return Self::Avx2;
        }
        Self::Portable
    }
}

/// Dot product of a row of taps and as many samples; lengths are a multiple of [`LANES`].
#[inline(always)]
pub(super) fn dot(row: &[f32], samples: &[f32]) -> f32 {
    let mut sums = [0.0f32; LANES];
    for (taps, samples) in row.as_chunks::<LANES>().0.iter().zip(samples.as_chunks::<LANES>().0) {
        for lane in 0..LANES {
            sums[lane] += taps[lane] * samples[lane];
        }
    }
    total(sums)
}

/// Dot products of two rows with the same samples.
#[inline(always)]
pub(super) fn dot_two(low: &[f32], high: &[f32], samples: &[f32]) -> (f32, f32) {
    (dot(low, samples), dot(high, samples))
}

/// The dot product where the row reaches over an end of the input, which is zero there: row element `k`
/// meets `input[position - before + k]`. Same lanes and order as [`dot`].
pub(super) fn edge_dot(row: &[f32], input: &[f32], position: usize, before: usize) -> f32 {
    let mut sums = [0.0f32; LANES];
    let first = before.saturating_sub(position);
    let inside = input.get(position.saturating_sub(before)..).unwrap_or_default();
    for ((k, tap), sample) in row.iter().enumerate().skip(first).zip(inside) {
        sums[k % LANES] += tap * sample;
    }
    total(sums)
}

/// Sum of the lanes by halves, the order in which vector registers fold.
#[inline(always)]
fn total(sums: [f32; LANES]) -> f32 {
    let eight: [f32; 8] = std::array::from_fn(|lane| sums[lane] + sums[lane + 8]);
    let four: [f32; 4] = std::array::from_fn(|lane| eight[lane] + eight[lane + 4]);
    (four[0] + four[2]) + (four[1] + four[3])
}

/// The same sums in vector registers; left to the compiler they come out several times slower.
#[cfg(target_arch = "x86_64")]
pub(super) mod avx2 {
    use std::arch::x86_64::*;

    use super::LANES;

    /// [`super::dot`].
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(in super::super) fn dot(row: &[f32], samples: &[f32]) -> f32 {
        let (mut left, mut right) = (_mm256_setzero_ps(), _mm256_setzero_ps());
        for (taps, samples) in row.as_chunks::<LANES>().0.iter().zip(samples.as_chunks::<LANES>().0) {
            let (samples_left, samples_right) = load(samples);
            let (taps_left, taps_right) = load(taps);
            left = _mm256_add_ps(left, _mm256_mul_ps(taps_left, samples_left));
            right = _mm256_add_ps(right, _mm256_mul_ps(taps_right, samples_right));
        }
        total(left, right)
    }

    /// [`super::dot_two`], with one load of the samples for both rows.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(in super::super) fn dot_two(low: &[f32], high: &[f32], samples: &[f32]) -> (f32, f32) {
        let (mut low_left, mut low_right) = (_mm256_setzero_ps(), _mm256_setzero_ps());
        let (mut high_left, mut high_right) = (_mm256_setzero_ps(), _mm256_setzero_ps());
        let rows = low.as_chunks::<LANES>().0.iter().zip(high.as_chunks::<LANES>().0);
        for ((low, high), samples) in rows.zip(samples.as_chunks::<LANES>().0) {
            let (samples_left, samples_right) = load(samples);
            let (taps_left, taps_right) = load(low);
            low_left = _mm256_add_ps(low_left, _mm256_mul_ps(taps_left, samples_left));
            low_right = _mm256_add_ps(low_right, _mm256_mul_ps(taps_right, samples_right));
            let (taps_left, taps_right) = load(high);
            high_left = _mm256_add_ps(high_left, _mm256_mul_ps(taps_left, samples_left));
            high_right = _mm256_add_ps(high_right, _mm256_mul_ps(taps_right, samples_right));
        }
        (total(low_left, low_right), total(high_left, high_right))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn load(values: &[f32; LANES]) -> (__m256, __m256) {
        // SAFETY: the array holds the two times eight values that are read; no alignment is asked for.
        unsafe { (_mm256_loadu_ps(values.as_ptr()), _mm256_loadu_ps(values.as_ptr().add(8))) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn total(left: __m256, right: __m256) -> f32 {
        let eight = _mm256_add_ps(left, right);
        let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Seed;

    fn noise(seed: u64, n: usize) -> Vec<f32> {
        (0..n).map(|i| Seed(seed).normal_pair(i as u64).0 as f32).collect()
    }

    #[test]
    fn every_kernel_gives_the_same_bits() {
        for n in [16, 32, 96, 160, 352] {
            let (low, high, samples) = (noise(1, n), noise(2, n), noise(3, n));
            let expected = (dot(&low, &samples), dot(&high, &samples));
            assert_eq!(dot_two(&low, &high, &samples), expected);
            assert_eq!(edge_dot(&low, &samples, 7, 7), expected.0);
            #[cfg(target_arch = "x86_64")]
            if Kernel::fastest() == Kernel::Avx2 {
                // SAFETY: the processor has AVX2.
                let fast = unsafe { (avx2::dot(&low, &samples), avx2::dot_two(&low, &high, &samples)) };
                assert_eq!(fast, (expected.0, expected));
            }
            let exact: f64 = low.iter().zip(&samples).map(|(&tap, &sample)| f64::from(tap) * f64::from(sample)).sum();
            assert!((f64::from(expected.0) - exact).abs() < 1e-4, "{n}");
        }
    }

    #[test]
    fn over_the_edges_the_input_counts_as_zero() {
        let row = noise(4, 32);
        let input = noise(5, 40);
        for (position, before) in [(0usize, 15usize), (7, 15), (15, 15), (39, 15), (60, 15), (0, 0), (2, 30)] {
            let padded: Vec<f32> = (0..32)
                .map(|k| (position + k).checked_sub(before).and_then(|at| input.get(at)).copied().unwrap_or(0.0))
                .collect();
            assert_eq!(edge_dot(&row, &input, position, before), dot(&row, &padded), "{position} {before}");
        }
    }
}
