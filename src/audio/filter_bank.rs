//! Taps of the resampler, a table for each block of outputs that meets other ones.

use super::blocks::{BLOCK, Taps};
use super::kaiser::Window;
use super::phases::{DEGREE, Phases};

/// Immutable tables, shared by threads.
pub(super) struct FilterBank {
    /// `[n_tables][width][terms]`.
    taps: Vec<Taps>,
    /// Samples under the filters of all outputs of a block.
    pub(super) width: usize,
    /// Samples of a block's window that lie before the input at or before the block's first output.
    pub(super) before: usize,
    pub(super) phases: Phases,
}

impl FilterBank {
    /// Tables from `from` to `to`, in lowest terms, for the impulse response of a window.
    pub(super) fn new(from: u64, to: u64, phases: Phases, window: &Window, cutoff: f64) -> Self {
        let half = (window.zero_crossings() / cutoff).floor() as usize + 1;
        let span = (BLOCK as u64 - 1) * from;
        let (width, before) = (2 * half + span.div_ceil(to) as usize, half - 1);
        let n_tables = phases.n_tables(to);
        let mut taps = vec![Taps([0.0; BLOCK]); n_tables as usize * width * phases.terms()];
        for (table, taps) in (0..n_tables).zip(taps.chunks_exact_mut(width * phases.terms())) {
            for (index, sample) in taps.chunks_exact_mut(phases.terms()).enumerate() {
                let ahead = before as f64 - index as f64;
                for lane in 0..BLOCK as u64 {
                    // How much later an output is than the sample.
                    match phases {
                        Phases::Exact => {
                            let phase = table * BLOCK as u64 * from % to + lane * from;
                            let delay = phase as f64 / to as f64 + ahead;
                            sample[0].0[lane as usize] = window.impulse(cutoff, delay) as f32;
                        }
                        Phases::Segments(n) => {
                            let delay = (lane * from) as f64 / to as f64 + ahead;
                            let at = |node: f64| {
                                let phase = (table as f64 + 0.5 + 0.5 * node) / n as f64;
                                window.impulse(cutoff, phase + delay)
                            };
                            for (taps, value) in sample.iter_mut().zip(quadratic(at)) {
                                taps.0[lane as usize] = value as f32;
                            }
                        }
                    }
                }
            }
        }
        Self { taps, width, before, phases }
    }

    pub(super) fn n_bytes(&self) -> usize {
        size_of_val(self.taps.as_slice())
    }

    /// Taps of one table, `[width][terms]`.
    #[inline(always)]
    pub(super) fn table(&self, index: usize) -> &[Taps] {
        let length = self.width * self.phases.terms();
        &self.taps[index * length..][..length]
    }
}

/// Coefficients, constant first, of the quadratic through a function's values at the three Chebyshev nodes of -1 to 1,
/// which errs by a 24th of its third derivative at most.
fn quadratic(function: impl Fn(f64) -> f64) -> [f64; DEGREE + 1] {
    let node = 0.75f64.sqrt();
    let (low, middle, high) = (function(-node), function(0.0), function(node));
    [middle, (high - low) / (2.0 * node), (high + low - 2.0 * middle) / (2.0 * node * node)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quadratic_is_itself_and_a_cubic_is_missed_by_a_quarter() {
        let exact = quadratic(|x| 3.0 - 2.0 * x + 0.5 * x * x);
        assert!(exact.iter().zip([3.0, -2.0, 0.5]).all(|(found, expected)| (found - expected).abs() < 1e-14));
        // The third Chebyshev polynomial over four is what is left of the cube.
        let [constant, slope, bend] = quadratic(|x| x * x * x);
        assert!((1.0 - (constant + slope + bend) - 0.25).abs() < 1e-14);
    }
}
