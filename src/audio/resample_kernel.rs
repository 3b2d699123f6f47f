//! One change of rate: tables in turn, tiles of blocks in registers, and the blocks that reach over an end of the input.

use super::blocks::{BLOCK, Outputs, Taps, blocks};
use super::filter_bank::FilterBank;
use super::phases::{DEGREE, Phases};
use super::schedule::{Schedule, Step};
use crate::simd::{Isa, Job, Lanes};

/// One call of `Resampler::resample`.
pub(super) struct ResampleKernel<'a> {
    pub(super) bank: &'a FilterBank,
    pub(super) schedule: &'a Schedule,
    pub(super) input: &'a [f32],
    /// As long as it has to become; what is in there does not matter.
    pub(super) output: &'a mut [f32],
}

impl ResampleKernel<'_> {
    /// Makes all outputs.
    pub(super) fn fill(self, isa: Isa) {
        isa.run(self);
    }
}

impl Job for ResampleKernel<'_> {
    type Output = ();

    /// As many blocks at a time as registers hold sums: three sums each for the polynomials, and fewer blocks for what is
    /// left.
    #[inline(always)]
    fn run<L: Lanes>(mut self, lanes: L) {
        match (self.bank.phases, L::N) {
            (Phases::Exact, _) => self.fill_with::<L, 1, 12, 6>(lanes),
            (Phases::Segments(_), 16) => self.fill_with::<L, { DEGREE + 1 }, 8, 4>(lanes),
            (Phases::Segments(_), 8) => self.fill_with::<L, { DEGREE + 1 }, 3, 1>(lanes),
            (Phases::Segments(_), _) => self.fill_with::<L, { DEGREE + 1 }, 2, 1>(lanes),
        }
    }
}

impl ResampleKernel<'_> {
    /// `N` blocks of `TERMS` sums at a time, or `HALF` of what is left.
    #[inline(always)]
    fn fill_with<L: Lanes, const TERMS: usize, const N: usize, const HALF: usize>(&mut self, lanes: L) {
        let Self { bank, schedule, input, .. } = *self;
        let n_super_periods = self.output.len().div_ceil(schedule.n_outputs);
        let mut padded = vec![0.0; bank.width];
        let mut made = [[0.0; BLOCK]; N];
        for super_period in 0..n_super_periods {
            let at = (super_period * schedule.n_inputs, super_period * schedule.n_outputs);
            for (index, steps) in schedule.tables() {
                let table = bank.table(index);
                let (edges, mut inside) = self.edges_and_inside(steps, at);
                for step in edges.into_iter().flatten() {
                    fill_padded(input, at.0 + step.position as usize, bank.before, &mut padded);
                    let mut made = [[0.0; BLOCK]];
                    blocks::<L, TERMS, 1>(lanes, table, &padded, [0], [step.fractional_phase], &mut made);
                    put(self.output, at.1, step, &made[0]);
                }
                while !inside.is_empty() {
                    let n_made = if inside.len() > HALF {
                        self.some::<L, TERMS, N>(lanes, table, inside, at, &mut made)
                    } else {
                        let made = made.first_chunk_mut().expect("HALF is less than N");
                        self.some::<L, TERMS, HALF>(lanes, table, inside, at, made)
                    };
                    inside = &inside[n_made..];
                }
            }
        }
    }

    /// A table's blocks of a super-period that begins at these inputs and outputs, as far as they are wanted: by
    /// whether their windows reach over an end of the input.
    #[inline(always)]
    fn edges_and_inside<'s>(&self, steps: &'s [Step], at: (usize, usize)) -> ([&'s [Step]; 2], &'s [Step]) {
        let is_wanted = |step: &Step| at.1 + (step.output as usize) < self.output.len();
        let is_early = |step: &Step| at.0 + (step.position as usize) < self.bank.before;
        let end = self.input.len() + self.bank.before;
        let fits = |step: &Step| at.0 + step.position as usize + self.bank.width <= end;
        if let [first, .., last] = steps
            && !is_early(first)
            && is_wanted(last)
            && fits(last)
        {
            return ([&[], &[]], steps);
        }
        let wanted = &steps[..steps.partition_point(is_wanted)];
        let (early, others) = wanted.split_at(wanted.partition_point(is_early));
        let (inside, late) = others.split_at(others.partition_point(fits));
        ([early, late], inside)
    }

    /// Makes the first `N` of `steps`, or all of them; what is missing of `N` is the last one made again.
    #[inline(always)]
    fn some<L: Lanes, const TERMS: usize, const N: usize>(
        &mut self,
        lanes: L,
        table: &[Taps],
        steps: &[Step],
        at: (usize, usize),
        made: &mut [Outputs; N],
    ) -> usize {
        let n_made = steps.len().min(N);
        let step = |index: usize| &steps[index.min(n_made - 1)];
        let offsets = std::array::from_fn(|index| at.0 + step(index).position as usize - self.bank.before);
        let fractional_phases = std::array::from_fn(|index| step(index).fractional_phase);
        blocks::<L, TERMS, N>(lanes, table, self.input, offsets, fractional_phases, made);
        for (step, values) in steps.iter().zip(&*made) {
            put(self.output, at.1, step, values);
        }
        n_made
    }
}

/// Fills `padded` with the input from `before` samples before `position` on, and zeros where there is none.
fn fill_padded(input: &[f32], position: usize, before: usize, padded: &mut [f32]) {
    for (index, sample) in padded.iter_mut().enumerate() {
        *sample = (position + index).checked_sub(before).and_then(|at| input.get(at)).copied().unwrap_or(0.0);
    }
}

/// Puts a block's outputs in their place.
#[inline(always)]
fn put(output: &mut [f32], first: usize, step: &Step, values: &Outputs) {
    let output = &mut output[first + step.output as usize..];
    if step.n_outputs as usize == BLOCK
        && let Some(whole) = output.first_chunk_mut()
    {
        *whole = *values;
    } else {
        let n_outputs = output.len().min(step.n_outputs as usize);
        output[..n_outputs].copy_from_slice(&values[..n_outputs]);
    }
}
