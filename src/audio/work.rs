//! One change of rate: tables in turn, tiles of blocks in registers, and the blocks that reach over an end of the input.

use super::bank::Bank;
use super::blocks::{BLOCK, Outputs, Taps, blocks};
use super::phases::{DEGREE, Phases};
use super::walk::{Step, Walk};
use crate::simd::{Isa, Job, Lanes};

/// One call of `Resampler::resample`.
pub(super) struct Work<'a> {
    pub(super) bank: &'a Bank,
    pub(super) walk: &'a Walk,
    pub(super) input: &'a [f32],
    /// As long as it has to become; what is in there does not matter.
    pub(super) output: &'a mut [f32],
}

impl Work<'_> {
    /// Makes all outputs.
    pub(super) fn fill(self, isa: Isa) {
        isa.run(self);
    }
}

impl Job for Work<'_> {
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

impl Work<'_> {
    /// `N` blocks of `TERMS` sums at a time, or `HALF` of what is left.
    #[inline(always)]
    fn fill_with<L: Lanes, const TERMS: usize, const N: usize, const HALF: usize>(&mut self, lanes: L) {
        let Self { bank, walk, input, .. } = *self;
        let n_stretches = self.output.len().div_ceil(walk.n_outputs);
        let mut padded = vec![0.0; bank.width];
        let mut made = [[0.0; BLOCK]; N];
        for stretch in 0..n_stretches {
            let at = (stretch * walk.n_inputs, stretch * walk.n_outputs);
            for (index, steps) in walk.tables() {
                let table = bank.table(index);
                let (edges, mut inside) = self.edges_and_inside(steps, at);
                for step in edges.into_iter().flatten() {
                    fill_padded(input, at.0 + step.position as usize, bank.before, &mut padded);
                    let mut made = [[0.0; BLOCK]];
                    blocks::<L, TERMS, 1>(lanes, table, &padded, [0], [step.share], &mut made);
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

    /// A table's blocks of a stretch that begins at these inputs and outputs, as far as they are wanted: by whether their
    /// windows reach over an end of the input.
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
        let places = std::array::from_fn(|index| at.0 + step(index).position as usize - self.bank.before);
        let shares = std::array::from_fn(|index| step(index).share);
        blocks::<L, TERMS, N>(lanes, table, self.input, places, shares, made);
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
