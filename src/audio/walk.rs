//! The order in which the resampler makes its outputs: those that meet the same taps one after the other.
//!
//! In order of time, every output meets other taps, and all rows of them stream through the processor again and again. The
//! pattern of rows repeats after `to` outputs and `from` inputs, so it is sorted once, a stretch of whole periods at a time.

/// A stretch has at least this many outputs, so that rows are shared even where the pattern is short.
const LEAST_OUTPUTS: u64 = 1024;

/// One output of a stretch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Step {
    /// Which output, counted from the stretch's first.
    pub(super) output: u32,
    /// The last input that is not later, counted from the stretch's first.
    pub(super) position: u32,
    /// How far its phase lies between its row and the next one.
    pub(super) share: f32,
}

/// Immutable plan of one stretch.
pub(super) struct Walk {
    pub(super) n_outputs: usize,
    pub(super) n_inputs: usize,
    /// By row, then by time.
    steps: Vec<Step>,
    /// Where each row's steps begin, and where the last row's end.
    starts: Vec<usize>,
}

impl Walk {
    /// Plans the way from `from` to `to`, in lowest terms, with `n_rows` rows of taps over the phases.
    pub(super) fn new(from: u64, to: u64, n_rows: u64) -> Self {
        let periods = LEAST_OUTPUTS.div_ceil(to);
        let mut steps: Vec<(u64, Step)> = (0..periods * to)
            .map(|output| {
                let (position, phase) = (output * from / to, output * from % to);
                let (row, rest) = (phase * n_rows / to, phase * n_rows % to);
                let share = rest as f32 / to as f32;
                (row, Step { output: output as u32, position: position as u32, share })
            })
            .collect();
        steps.sort_by_key(|(row, step)| (*row, step.output));
        let starts = (0..=n_rows).map(|row| steps.partition_point(|(other, _)| *other < row)).collect();
        Self {
            n_outputs: (periods * to) as usize,
            n_inputs: (periods * from) as usize,
            steps: steps.into_iter().map(|(_, step)| step).collect(),
            starts,
        }
    }

    /// Each row that has outputs, with them.
    pub(super) fn rows(&self) -> impl Iterator<Item = (usize, &[Step])> {
        let ends = self.starts.windows(2).enumerate();
        ends.map(|(row, ends)| (row, &self.steps[ends[0]..ends[1]])).filter(|(_, steps)| !steps.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_output_of_a_stretch_comes_once_at_its_time() {
        for (from, to, n_rows) in [(96, 43, 43), (12_207, 10_750, 512), (8, 43, 43), (1, 6, 6), (24_413, 21_500, 512)] {
            let walk = Walk::new(from, to, n_rows);
            assert_eq!(walk.n_outputs as u64 * from, walk.n_inputs as u64 * to, "whole periods");
            let mut seen = vec![false; walk.n_outputs];
            for (row, steps) in walk.rows() {
                for step in steps {
                    assert!(!std::mem::replace(&mut seen[step.output as usize], true), "output {}", step.output);
                    let phase = (row as f64 + f64::from(step.share)) / n_rows as f64;
                    let time = f64::from(step.output) * from as f64 / to as f64;
                    assert!((f64::from(step.position) + phase - time).abs() < 1e-6, "output {}", step.output);
                    assert!(n_rows != to || step.share == 0.0, "exact phases need no neighbour");
                }
            }
            assert!(seen.iter().all(|&seen| seen));
        }
    }
}
