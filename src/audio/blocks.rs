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
/// `offsets`  where the window of each block begins in `input`, which has `width` samples from there on
/// `fractional_phases`  for each block what the polynomial of the taps is taken at; of no effect with one term
/// Proof     `blocks_are_sums_in_order_of_time`
#[inline(always)]
pub(super) fn blocks<L: Lanes, const TERMS: usize, const N: usize>(
    lanes: L,
    table: &[Taps],
    input: &[f32],
    offsets: [usize; N],
    fractional_phases: [f32; N],
    outputs: &mut [Outputs; N],
) {
    let width = table.len() / TERMS;
    let last = input.len().checked_sub(width).expect("an input of at least one window");
    assert!(offsets.iter().all(|&offset| offset <= last), "samples for every tap");
    let windows = offsets.map(|offset| input[offset..].as_ptr());
    for lane in (0..BLOCK).step_by(L::N) {
        let mut sums = [[lanes.splat(0.0); TERMS]; N];
        for (index, taps) in table.as_chunks::<TERMS>().0.iter().enumerate() {
            // SAFETY: `BLOCK` is a multiple of `L::N`, so that there are as many taps from `lane` on.
            let taps: [L::V; TERMS] =
                std::array::from_fn(|term| unsafe { lanes.load(taps[term].0.as_ptr().add(lane)) });
            for (sums, window) in sums.iter_mut().zip(&windows) {
                // SAFETY: there are `width` samples from each place on, as was found above.
                let sample = lanes.splat(unsafe { *window.add(index) });
                for (sum, &taps) in sums.iter_mut().zip(&taps) {
                    *sum = lanes.add(*sum, lanes.mul(taps, sample));
                }
            }
        }
        for ((outputs, sums), fractional_phase) in outputs.iter_mut().zip(&sums).zip(fractional_phases) {
            let fractional_phase = lanes.splat(fractional_phase);
            let rest = sums[..TERMS - 1].iter().rev();
            let value = rest.fold(sums[TERMS - 1], |value, &sum| lanes.add(sum, lanes.mul(value, fractional_phase)));
            // SAFETY: there are `L::N` outputs from `lane` on.
            unsafe { lanes.store(outputs.as_mut_ptr().add(lane), value) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Isa, Job};
    use crate::units::Seed;

    const WIDTH: usize = 37;
    const OFFSETS: [usize; 3] = [5, 0, 63];
    const FRACTIONAL_PHASES: [f32; 3] = [0.25, -1.0, 0.7];

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
                sum + T::from(table[m * terms + term].0[lane]) * T::from(input[OFFSETS[block] + m])
            })
        };
        (0..terms - 1).rev().fold(sum(terms - 1), |value, term| sum(term) + value * T::from(FRACTIONAL_PHASES[block]))
    }

    struct Blocks<'a, const TERMS: usize> {
        table: &'a [Taps],
        input: &'a [f32],
        outputs: &'a mut [Outputs; 3],
    }

    impl<const TERMS: usize> Job for Blocks<'_, TERMS> {
        type Output = ();

        #[inline(always)]
        fn run<L: Lanes>(self, lanes: L) {
            blocks::<L, TERMS, 3>(lanes, self.table, self.input, OFFSETS, FRACTIONAL_PHASES, self.outputs);
        }
    }

    #[test]
    fn blocks_are_sums_in_order_of_time() {
        let input = noise(2, 100);
        for isa in Isa::available() {
            let mut found = [[[7e7; BLOCK]; 3]; 2];
            let [one, three] = &mut found;
            isa.run(Blocks::<1> { table: &table(1), input: &input, outputs: one });
            isa.run(Blocks::<3> { table: &table(3), input: &input, outputs: three });
            for (terms, found) in [1, 3].into_iter().zip(found) {
                for (block, lane) in (0..3).flat_map(|block| (0..BLOCK).map(move |lane| (block, lane))) {
                    let value = found[block][lane];
                    assert_eq!(value, by_hand::<f32>(terms, &input, block, lane), "{isa:?}, {terms} terms");
                    let exact = by_hand::<f64>(terms, &input, block, lane);
                    assert!((f64::from(value) - exact).abs() < 2e-5, "{isa:?}: {value} {exact}");
                }
            }
        }
    }
}
