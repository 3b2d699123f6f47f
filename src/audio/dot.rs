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
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Kernel {
    /// The fastest one that this processor can run.
    pub(super) fn fastest() -> Self {
        *Self::known().last().expect("the portable one is always known")
    }

    /// All that this processor can run, from the slowest to the fastest.
    pub(super) fn known() -> Vec<Self> {
        let mut known = vec![Self::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            if std::arch::is_x86_feature_detected!("avx2") {
                known.push(Self::Avx2);
            }
            if known.len() == 2 && std::arch::is_x86_feature_detected!("avx512f") {
                known.push(Self::Avx512);
            }
        }
        known
    }
}

/// Sixteen taps, one for each partial sum, in a line of the cache of their own.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Taps(pub(super) [f32; LANES]);

/// Dot product of a row of taps and as many samples.
#[inline(always)]
fn dot(row: &[Taps], samples: &[f32]) -> f32 {
    let mut sums = [0.0f32; LANES];
    for (taps, samples) in row.iter().zip(samples.as_chunks::<LANES>().0) {
        for lane in 0..LANES {
            sums[lane] += taps.0[lane] * samples[lane];
        }
    }
    total(sums)
}

/// Dot products of a row with four stretches of samples.
#[inline(always)]
pub(super) fn dot_four(row: &[Taps], samples: [&[f32]; 4]) -> [f32; 4] {
    samples.map(|samples| dot(row, samples))
}

/// Dot products of two rows with four stretches of samples.
#[inline(always)]
pub(super) fn dot_two_four(low: &[Taps], high: &[Taps], samples: [&[f32]; 4]) -> ([f32; 4], [f32; 4]) {
    (dot_four(low, samples), dot_four(high, samples))
}

/// The dot product where the row reaches over an end of the input, which is zero there: row element `k`
/// meets `input[position - before + k]`. Same lanes and order as [`dot`].
pub(super) fn edge_dot(row: &[Taps], input: &[f32], position: usize, before: usize) -> f32 {
    let mut sums = [0.0f32; LANES];
    let first = before.saturating_sub(position);
    let inside = input.get(position.saturating_sub(before)..).unwrap_or_default();
    for ((k, tap), sample) in row.iter().flat_map(|taps| &taps.0).enumerate().skip(first).zip(inside) {
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

    use super::{LANES, Taps};

    /// [`super::dot_four`].
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(in super::super) fn dot_four(row: &[Taps], samples: [&[f32]; 4]) -> [f32; 4] {
        samples.map(|samples| {
            let (mut left, mut right) = (_mm256_setzero_ps(), _mm256_setzero_ps());
            for (taps, samples) in row.iter().zip(samples.as_chunks::<LANES>().0) {
                let (samples_left, samples_right) = load(samples);
                let (taps_left, taps_right) = load(&taps.0);
                left = _mm256_add_ps(left, _mm256_mul_ps(taps_left, samples_left));
                right = _mm256_add_ps(right, _mm256_mul_ps(taps_right, samples_right));
            }
            total(left, right)
        })
    }

    /// [`super::dot_two_four`].
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(in super::super) fn dot_two_four(low: &[Taps], high: &[Taps], samples: [&[f32]; 4]) -> ([f32; 4], [f32; 4]) {
        let both = samples.map(|samples| dot_two(low, high, samples));
        (both.map(|both| both.0), both.map(|both| both.1))
    }

    /// Dot products of two rows with the same samples, which are loaded once.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn dot_two(low: &[Taps], high: &[Taps], samples: &[f32]) -> (f32, f32) {
        let (mut low_left, mut low_right) = (_mm256_setzero_ps(), _mm256_setzero_ps());
        let (mut high_left, mut high_right) = (_mm256_setzero_ps(), _mm256_setzero_ps());
        let rows = low.iter().zip(high);
        for ((low, high), samples) in rows.zip(samples.as_chunks::<LANES>().0) {
            let (samples_left, samples_right) = load(samples);
            let (taps_left, taps_right) = load(&low.0);
            low_left = _mm256_add_ps(low_left, _mm256_mul_ps(taps_left, samples_left));
            low_right = _mm256_add_ps(low_right, _mm256_mul_ps(taps_right, samples_right));
            let (taps_left, taps_right) = load(&high.0);
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

/// The same sums with all sixteen in one register, four outputs at a time, so that taps are loaded once for four.
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512 {
    use std::arch::x86_64::*;

    use super::{LANES, Taps};

    /// [`super::dot_four`].
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(in super::super) fn dot_four(row: &[Taps], samples: [&[f32]; 4]) -> [f32; 4] {
        let mut sums = [_mm512_setzero_ps(); 4];
        let [a, b, c, d] = samples.map(|samples| samples.as_chunks::<LANES>().0);
        for ((((taps, a), b), c), d) in row.iter().zip(a).zip(b).zip(c).zip(d) {
            let taps = load(&taps.0);
            for (sums, samples) in sums.iter_mut().zip([a, b, c, d]) {
                *sums = _mm512_add_ps(*sums, _mm512_mul_ps(taps, load(samples)));
            }
        }
        totals(sums)
    }

    /// [`super::dot_two_four`].
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(in super::super) fn dot_two_four(low: &[Taps], high: &[Taps], samples: [&[f32]; 4]) -> ([f32; 4], [f32; 4]) {
        let (mut low_sums, mut high_sums) = ([_mm512_setzero_ps(); 4], [_mm512_setzero_ps(); 4]);
        let [a, b, c, d] = samples.map(|samples| samples.as_chunks::<LANES>().0);
        for (((((low, high), a), b), c), d) in low.iter().zip(high).zip(a).zip(b).zip(c).zip(d) {
            let (low, high) = (load(&low.0), load(&high.0));
            for ((low_sums, high_sums), samples) in low_sums.iter_mut().zip(&mut high_sums).zip([a, b, c, d]) {
                let samples = load(samples);
                *low_sums = _mm512_add_ps(*low_sums, _mm512_mul_ps(low, samples));
                *high_sums = _mm512_add_ps(*high_sums, _mm512_mul_ps(high, samples));
            }
        }
        (totals(low_sums), totals(high_sums))
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load(values: &[f32; LANES]) -> __m512 {
        // SAFETY: the array holds the sixteen values that are read; no alignment is asked for.
        unsafe { _mm512_loadu_ps(values.as_ptr()) }
    }

    /// [`super::total`] of four registers: halves are added two registers at a time, then quarters of all four.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn totals(sums: [__m512; 4]) -> [f32; 4] {
        let [a, b, c, d] = sums;
        let eights = |a, b| {
            _mm512_add_ps(_mm512_shuffle_f32x4::<0b01_00_01_00>(a, b), _mm512_shuffle_f32x4::<0b11_10_11_10>(a, b))
        };
        let (ab, cd) = (eights(a, b), eights(c, d));
        let fours =
            _mm512_add_ps(_mm512_shuffle_f32x4::<0b10_00_10_00>(ab, cd), _mm512_shuffle_f32x4::<0b11_01_11_01>(ab, cd));
        let twos = _mm512_add_ps(fours, _mm512_permute_ps::<0b11_10_11_10>(fours));
        let ones = _mm512_add_ps(twos, _mm512_permute_ps::<0b01_01_01_01>(twos));
        let firsts = _mm512_permutexvar_ps(_mm512_setr_epi32(0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12), ones);
        let mut totals = [0.0; 4];
        // SAFETY: there is room for the four values that are stored.
        unsafe { _mm_storeu_ps(totals.as_mut_ptr(), _mm512_castps512_ps128(firsts)) };
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Seed;

    fn noise(seed: u64, n: usize) -> Vec<f32> {
        (0..n).map(|i| Seed(seed).normal_pair(i as u64).0 as f32).collect()
    }

    fn taps(values: &[f32]) -> Vec<Taps> {
        values.as_chunks().0.iter().map(|&taps| Taps(taps)).collect()
    }

    #[test]
    fn every_kernel_gives_the_same_bits() {
        for n in [16, 32, 96, 160, 352] {
            let (low, high) = (taps(&noise(1, n)), taps(&noise(2, n)));
            let stretches = [3, 4, 5, 6].map(|seed| noise(seed, n));
            let samples = stretches.each_ref().map(Vec::as_slice);
            let expected = (dot_four(&low, samples), dot_two_four(&low, &high, samples));
            assert_eq!(expected.0, expected.1.0);
            assert_eq!(edge_dot(&low, samples[0], 7, 7), expected.0[0]);
            for kernel in Kernel::known() {
                let found = match kernel {
                    Kernel::Portable => (dot_four(&low, samples), dot_two_four(&low, &high, samples)),
                    #[cfg(target_arch = "x86_64")]
                    // SAFETY: the processor has AVX2.
                    Kernel::Avx2 => unsafe {
                        (avx2::dot_four(&low, samples), avx2::dot_two_four(&low, &high, samples))
                    },
                    #[cfg(target_arch = "x86_64")]
                    // SAFETY: the processor has AVX-512.
                    Kernel::Avx512 => unsafe {
                        (avx512::dot_four(&low, samples), avx512::dot_two_four(&low, &high, samples))
                    },
                };
                assert_eq!(found, expected, "{kernel:?}");
            }
            let row = low.iter().flat_map(|taps| taps.0);
            let exact: f64 = row.zip(samples[0]).map(|(tap, &sample)| f64::from(tap) * f64::from(sample)).sum();
            assert!((f64::from(expected.0[0]) - exact).abs() < 1e-4, "{n}");
        }
    }

    #[test]
    fn over_the_edges_the_input_counts_as_zero() {
        let row = taps(&noise(4, 32));
        let input = noise(5, 40);
        for (position, before) in [(0usize, 15usize), (7, 15), (15, 15), (39, 15), (60, 15), (0, 0), (2, 30)] {
            let padded: Vec<f32> = (0..32)
                .map(|k| (position + k).checked_sub(before).and_then(|at| input.get(at)).copied().unwrap_or(0.0))
                .collect();
            assert_eq!(edge_dot(&row, &input, position, before), dot(&row, &padded), "{position} {before}");
        }
    }
}
