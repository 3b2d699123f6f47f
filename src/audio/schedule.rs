//! The order in which the resampler makes its blocks: those that meet the same taps one after the other.
//!
//! In order of time, every block meets other taps, and all of them stream through the processor again and again. The
//! pattern repeats after some periods of `to` outputs and `from` inputs, so it is sorted once, a super-period at a time.

use super::blocks::BLOCK;
use super::phases::{Phases, periods};

/// At least this many blocks of a super-period share each table, however short the pattern is.
const LEAST_SHARED: u64 = 12;
/// The same where a block only falls into the segment of a table by chance.
const LEAST_SHARED_BY_CHANCE: u64 = 32;

/// One block of a super-period.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Step {
    /// Its first output, counted from the super-period's first.
    pub(super) output: u32,
    /// How many of its outputs belong to it; those behind are made by the next block.
    pub(super) n_outputs: u32,
    /// The last input that is not later than its first output, counted from the super-period's first.
    pub(super) position: u32,
    /// Where its phase lies in the segment of its table, from -1 to 1.
    pub(super) fractional_phase: f32,
}

/// Immutable plan of one super-period.
pub(super) struct Schedule {
    pub(super) n_outputs: usize,
    pub(super) n_inputs: usize,
    /// By table, then by time.
    steps: Vec<Step>,
    /// Where each table's steps begin, and where the last one's end.
    starts: Vec<usize>,
}

impl Schedule {
    /// Plans the way from `from` to `to`, in lowest terms.
    pub(super) fn new(from: u64, to: u64, phases: Phases) -> Self {
        let pattern = periods(to) * to;
        let n_blocks = pattern.div_ceil(BLOCK as u64);
        let n_patterns = match phases {
            Phases::Exact => LEAST_SHARED,
            Phases::Segments(n) => (LEAST_SHARED_BY_CHANCE * n).div_ceil(n_blocks),
        };
        let step = |repeat: u64, block: u64| {
            let within = block * BLOCK as u64;
            let output = repeat * pattern + within;
            let (position, phase) = (output * from / to, output * from % to);
            let (table, fractional_phase) = match phases {
                Phases::Exact => (block, 0.0),
                Phases::Segments(n) => (phase * n / to, (2.0 * (phase * n % to) as f64 / to as f64 - 1.0) as f32),
            };
            let n_outputs = (pattern - within).min(BLOCK as u64) as u32;
            (table, Step { output: output as u32, n_outputs, position: position as u32, fractional_phase })
        };
        let all = (0..n_patterns).flat_map(|repeat| (0..n_blocks).map(move |block| (repeat, block)));
        let mut steps: Vec<(u64, Step)> = all.map(|(repeat, block)| step(repeat, block)).collect();
        steps.sort_by_key(|(table, step)| (*table, step.output));
        let n_tables = phases.n_tables(to);
        let starts = (0..=n_tables).map(|table| steps.partition_point(|(other, _)| *other < table)).collect();
        Self {
            n_outputs: (n_patterns * pattern) as usize,
            n_inputs: (n_patterns * pattern / to * from) as usize,
            steps: steps.into_iter().map(|(_, step)| step).collect(),
            starts,
        }
    }

    pub(super) fn n_bytes(&self) -> usize {
        size_of_val(self.steps.as_slice())
    }

    /// Each table that has blocks, with them.
    pub(super) fn tables(&self) -> impl Iterator<Item = (usize, &[Step])> {
        let ends = self.starts.windows(2).enumerate();
        ends.map(|(table, ends)| (table, &self.steps[ends[0]..ends[1]])).filter(|(_, steps)| !steps.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_output_of_a_stretch_comes_once_at_its_time() {
        let rates = [(96, 43), (8, 43), (441, 320), (1, 6), (3, 1), (12_207, 10_750), (24_413, 21_500)];
        for (from, to) in rates {
            for phases in [Phases::Exact, Phases::Segments(64)] {
                let schedule = Schedule::new(from, to, phases);
                assert_eq!(schedule.n_outputs as u64 * from, schedule.n_inputs as u64 * to, "whole periods");
                let mut seen = vec![false; schedule.n_outputs];
                for (table, steps) in schedule.tables() {
                    for step in steps {
                        let first = step.output as usize;
                        for seen in &mut seen[first..first + step.n_outputs as usize] {
                            assert!(!std::mem::replace(seen, true), "output {first} or one behind it");
                        }
                        let time = f64::from(step.output) * from as f64 / to as f64;
                        let phase = match phases {
                            Phases::Exact => (table * BLOCK) as f64 * from as f64 / to as f64 % 1.0,
                            Phases::Segments(n) => {
                                (table as f64 + 0.5 + 0.5 * f64::from(step.fractional_phase)) / n as f64
                            }
                        };
                        assert!((f64::from(step.position) + phase - time).abs() < 1e-6, "output {first}");
                    }
                    assert!(steps.is_sorted_by_key(|step| step.position), "in order of time");
                }
                assert!(seen.iter().all(|&seen| seen));
            }
        }
    }
}
