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

/// Dot products of a row with the samples from each of four places on; the samples must be there.
#[inline(always)]
pub(super) fn dot_four(row: &[Taps], input: &[f32], places: [usize; 4]) -> [f32; 4] {
    places.map(|place| dot(row, &input[place..place + row.len() * LANES]))
}

/// Dot products of two rows with the samples from each of four places on.
#[inline(always)]
pub(super) fn dot_two_four(low: &[Taps], high: &[Taps], input: &[f32], places: [usize; 4]) -> ([f32; 4], [f32; 4]) {
    (dot_four(low, input, places), dot_four(high, input, places))
}

/// The dot product where the row reaches over an end of the input, which is zero there: row element `k`
/// meets `input[position - before + k]`. Same lanes and order as [`dot`].
pub(super) fn edge_dot(row: &[Taps], input: &[f32], position: usize, before: usize) -> f32 {
    let mut sums = [0.0f32; LANES];
    for (chunk, taps) in row.iter().enumerate() {
        // Where the input that this chunk meets begins, counted from `before` samples before the input.
        let begin = position + chunk * LANES;
        let whole = begin.checked_sub(before).and_then(|begin| input.get(begin..begin + LANES));
        for lane in 0..LANES {
            let sample = match whole {
                Some(whole) => whole[lane],
                None => (begin + lane).checked_sub(before).and_then(|at| input.get(at)).copied().unwrap_or(0.0),
            };
            sums[lane] += taps.0[lane] * sample;
        }
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
    pub(in super::super) fn dot_four(row: &[Taps], input: &[f32], places: [usize; 4]) -> [f32; 4] {
        let mut totals = [0.0; 4];
        for (sum, place) in totals.iter_mut().zip(places) {
            let (mut left, mut right) = (_mm256_setzero_ps(), _mm256_setzero_ps());
            let samples = &input[place..place + row.len() * LANES];
            for (taps, samples) in row.iter().zip(samples.as_chunks::<LANES>().0) {
                let (samples_left, samples_right) = load(samples);
                let (taps_left, taps_right) = load(&taps.0);
                left = _mm256_add_ps(left, _mm256_mul_ps(taps_left, samples_left));
                right = _mm256_add_ps(right, _mm256_mul_ps(taps_right, samples_right));
            }
            *sum = total(left, right);
        }
        totals
    }

    /// [`super::dot_two_four`].
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(in super::super) fn dot_two_four(
        low: &[Taps],
        high: &[Taps],
        input: &[f32],
        places: [usize; 4],
    ) -> ([f32; 4], [f32; 4]) {
        let (mut lows, mut highs) = ([0.0; 4], [0.0; 4]);
        for ((low_total, high_total), place) in lows.iter_mut().zip(&mut highs).zip(places) {
            (*low_total, *high_total) = dot_two(low, high, &input[place..place + low.len() * LANES]);
        }
        (lows, highs)
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
    pub(in super::super) fn dot_four(row: &[Taps], input: &[f32], places: [usize; 4]) -> [f32; 4] {
        let (zero, [a, b, c, d]) = (_mm512_setzero_ps(), places);
        check(row, input, places);
        let (mut a_sums, mut b_sums, mut c_sums, mut d_sums) = (zero, zero, zero, zero);
        for (index, taps) in row.iter().enumerate() {
            // SAFETY: `check` has found `row.len() * LANES` samples from each place on.
            let samples = |place: usize| unsafe { _mm512_loadu_ps(input.as_ptr().add(place + index * LANES)) };
            let taps = load(taps);
            a_sums = _mm512_add_ps(a_sums, _mm512_mul_ps(taps, samples(a)));
            b_sums = _mm512_add_ps(b_sums, _mm512_mul_ps(taps, samples(b)));
            c_sums = _mm512_add_ps(c_sums, _mm512_mul_ps(taps, samples(c)));
            d_sums = _mm512_add_ps(d_sums, _mm512_mul_ps(taps, samples(d)));
        }
        totals(a_sums, b_sums, c_sums, d_sums)
    }

    /// [`super::dot_two_four`].
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(in super::super) fn dot_two_four(
        low: &[Taps],
        high: &[Taps],
        input: &[f32],
        places: [usize; 4],
    ) -> ([f32; 4], [f32; 4]) {
        let (zero, [a, b, c, d]) = (_mm512_setzero_ps(), places);
        check(low, input, places);
        let (mut a_low, mut b_low, mut c_low, mut d_low) = (zero, zero, zero, zero);
        let (mut a_high, mut b_high, mut c_high, mut d_high) = (zero, zero, zero, zero);
        for (index, (low, high)) in low.iter().zip(high).enumerate() {
            // SAFETY: `check` has found `low.len() * LANES` samples from each place on.
            let samples = |place: usize| unsafe { _mm512_loadu_ps(input.as_ptr().add(place + index * LANES)) };
            let (low, high) = (load(low), load(high));
            let (a, b, c, d) = (samples(a), samples(b), samples(c), samples(d));
            a_low = _mm512_add_ps(a_low, _mm512_mul_ps(low, a));
            a_high = _mm512_add_ps(a_high, _mm512_mul_ps(high, a));
            b_low = _mm512_add_ps(b_low, _mm512_mul_ps(low, b));
            b_high = _mm512_add_ps(b_high, _mm512_mul_ps(high, b));
            c_low = _mm512_add_ps(c_low, _mm512_mul_ps(low, c));
            c_high = _mm512_add_ps(c_high, _mm512_mul_ps(high, c));
            d_low = _mm512_add_ps(d_low, _mm512_mul_ps(low, d));
            d_high = _mm512_add_ps(d_high, _mm512_mul_ps(high, d));
        }
        (totals(a_low, b_low, c_low, d_low), totals(a_high, b_high, c_high, d_high))
    }

    /// That there is a sample for each tap, from each place on.
    #[inline]
    fn check(row: &[Taps], input: &[f32], places: [usize; 4]) {
        let last = input.len().checked_sub(row.len() * LANES).expect("an input of at least one row");
        assert!(places.iter().all(|&place| place <= last), "samples for every tap");
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load(taps: &Taps) -> __m512 {
        // SAFETY: these are sixteen values, in a line of the cache of their own.
        unsafe { _mm512_load_ps(taps.0.as_ptr()) }
    }

    /// [`super::total`] of four registers: halves are added two registers at a time, then quarters of all four.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn totals(a: __m512, b: __m512, c: __m512, d: __m512) -> [f32; 4] {
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
            let (input, places) = (noise(3, n + 40), [3, 40, 0, 17]);
            let expected = (dot_four(&low, &input, places), dot_two_four(&low, &high, &input, places));
            assert_eq!(expected.0, expected.1.0);
            assert_eq!(edge_dot(&low, &input, 10, 7), expected.0[0]);
            for kernel in Kernel::known() {
                let found = match kernel {
                    Kernel::Portable => (dot_four(&low, &input, places), dot_two_four(&low, &high, &input, places)),
                    #[cfg(target_arch = "x86_64")]
                    // SAFETY: the processor has AVX2.
                    Kernel::Avx2 => unsafe {
                        (avx2::dot_four(&low, &input, places), avx2::dot_two_four(&low, &high, &input, places))
                    },
                    #[cfg(target_arch = "x86_64")]
                    // SAFETY: the processor has AVX-512.
                    Kernel::Avx512 => unsafe {
                        (avx512::dot_four(&low, &input, places), avx512::dot_two_four(&low, &high, &input, places))
                    },
                };
                assert_eq!(found, expected, "{kernel:?}");
            }
            let row = low.iter().flat_map(|taps| taps.0);
            let exact: f64 = row.zip(&input[3..]).map(|(tap, &sample)| f64::from(tap) * f64::from(sample)).sum();
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
