//! The resampler's inner loop: blocks of sixteen neighbouring outputs, one in each lane, from one window of the input.
//!
//! A step multiplies one sample by the sixteen taps it has in the block, so that neither samples are gathered nor lanes
//! summed. Each output is a sum in order of time without fused multiply-add: the same bits in registers of any width,
//! however many blocks share the taps that are loaded.

use crate::simd::Lanes;

/// Neighbouring outputs that share a window of the input.
pub(super) const BLOCK: usize = 16;

/// What one sample contributes to each output of a block, in a line of the cache of its own.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Taps(pub(super) [f32; BLOCK]);

/// Outputs of a block.
pub(super) type Outputs = [f32; BLOCK];

/// Fills `N` blocks of outputs by the same taps.
///
/// `table`   `[width][TERMS]`: for each sample of a window the coefficients of its taps, constant term first
/// `places`  where the window of each block begins in `input`, which has `width` samples from there on
/// `shares`  for each block what the polynomial of the taps is taken at; of no effect with one term
/// Proof     `blocks_are_sums_in_order_of_time`
///
/// # Safety
/// The processor has the instructions of `V`.
#[inline(always)]
pub(super) unsafe fn blocks<V: Lanes, const TERMS: usize, const N: usize>(
    table: &[Taps],
    input: &[f32],
    places: [usize; N],
    shares: [f32; N],
    outputs: &mut [Outputs; N],
) {
    let width = table.len() / TERMS;
    let last = input.len().checked_sub(width).expect("an input of at least one window");
    assert!(places.iter().all(|&place| place <= last), "samples for every tap");
    let windows = places.map(|place| input[place..].as_ptr());
    for lane in (0..BLOCK).step_by(V::N) {
        // SAFETY: as the caller promises.
        let mut sums = [[unsafe { V::splat(0.0) }; TERMS]; N];
        for (index, taps) in table.as_chunks::<TERMS>().0.iter().enumerate() {
            // SAFETY: `BLOCK` is a multiple of `V::N`; as the caller promises.
            let taps: [V; TERMS] = std::array::from_fn(|term| unsafe { V::load(taps[term].0.as_ptr().add(lane)) });
            for (sums, window) in sums.iter_mut().zip(&windows) {
                // SAFETY: there are `width` samples from each place on, as was found above.
                let sample = unsafe { V::splat(*window.add(index)) };
                for (sum, &taps) in sums.iter_mut().zip(&taps) {
                    *sum = *sum + taps * sample;
                }
            }
        }
        for ((outputs, sums), share) in outputs.iter_mut().zip(&sums).zip(shares) {
            // SAFETY: as the caller promises.
            let share = unsafe { V::splat(share) };
            let rest = sums[..TERMS - 1].iter().rev();
            let value = rest.fold(sums[TERMS - 1], |value, &sum| sum + value * share);
            // SAFETY: there are `V::N` outputs from `lane` on.
            unsafe { value.store(outputs.as_mut_ptr().add(lane)) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "x86_64")]
    use crate::simd::{Eight, Sixteen};
    use crate::simd::{Four, Kernel};
    use crate::units::Seed;

    const WIDTH: usize = 37;
    const PLACES: [usize; 3] = [5, 0, 63];
    const SHARES: [f32; 3] = [0.25, -1.0, 0.7];

    fn noise(seed: u64, n: usize) -> Vec<f32> {
        (0..n).map(|i| Seed(seed).normal_pair(i as u64).0 as f32).collect()
    }

    fn table(terms: usize) -> Vec<Taps> {
        noise(1, WIDTH * terms * BLOCK).as_chunks().0.iter().map(|&taps| Taps(taps)).collect()
    }

    /// One output after the other, in f64 for the value and in f32 for the bits.
    fn by_hand<T: Copy + From<f32> + std::ops::Mul<Output = T> + std::ops::Add<Output = T>>(
        terms: usize,
        input: &[f32],
        block: usize,
        lane: usize,
    ) -> T {
        let table = table(terms);
        let sum = |term: usize| {
            (0..WIDTH).fold(T::from(0.0), |sum, m| {
                sum + T::from(table[m * terms + term].0[lane]) * T::from(input[PLACES[block] + m])
            })
        };
        (0..terms - 1).rev().fold(sum(terms - 1), |value, term| sum(term) + value * T::from(SHARES[block]))
    }

    #[test]
    fn blocks_are_sums_in_order_of_time() {
        let input = noise(2, 100);
        for kernel in Kernel::known() {
            let mut found = [[[7e7; BLOCK]; 3]; 2];
            let [one, three] = &mut found;
            match kernel {
                // SAFETY: every processor has these.
                Kernel::Portable => unsafe {
                    blocks::<Four, 1, 3>(&table(1), &input, PLACES, SHARES, one);
                    blocks::<Four, 3, 3>(&table(3), &input, PLACES, SHARES, three);
                },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: the processor has AVX2.
                Kernel::Avx2 => unsafe {
                    blocks::<Eight, 1, 3>(&table(1), &input, PLACES, SHARES, one);
                    blocks::<Eight, 3, 3>(&table(3), &input, PLACES, SHARES, three);
                },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: the processor has AVX-512.
                Kernel::Avx512 => unsafe {
                    blocks::<Sixteen, 1, 3>(&table(1), &input, PLACES, SHARES, one);
                    blocks::<Sixteen, 3, 3>(&table(3), &input, PLACES, SHARES, three);
                },
            }
            for (terms, found) in [1, 3].into_iter().zip(found) {
                for (block, lane) in (0..3).flat_map(|block| (0..BLOCK).map(move |lane| (block, lane))) {
                    let value = found[block][lane];
                    assert_eq!(value, by_hand::<f32>(terms, &input, block, lane), "{kernel:?}, {terms} terms");
                    let exact = by_hand::<f64>(terms, &input, block, lane);
                    assert!((f64::from(value) - exact).abs() < 2e-5, "{kernel:?}: {value} {exact}");
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "samples for every tap")]
    fn a_window_over_the_end_is_refused() {
        // SAFETY: every processor has these.
        unsafe { blocks::<Four, 1, 1>(&table(1), &noise(2, 100), [64], [0.0], &mut [[0.0; BLOCK]]) };
    }
}
