//! Which blocks of outputs share taps.

use super::blocks::BLOCK;

/// How the phase of a block, the part of its first output's time that lies between two inputs, finds its taps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Phases {
    /// Every block of the pattern has its own taps.
    Exact,
    /// So many segments of the phase have a polynomial for each tap.
    Segments(u64),
}

impl Phases {
    /// Tables for rates whose pattern has a period of `to` outputs.
    pub(super) fn n_tables(self, to: u64) -> u64 {
        match self {
            Self::Exact => (periods(to) * to).div_ceil(BLOCK as u64),
            Self::Segments(n) => n,
        }
    }

    /// Coefficients of each tap.
    pub(super) fn terms(self) -> usize {
        match self {
            Self::Exact => 1,
            Self::Segments(_) => DEGREE + 1,
        }
    }
}

/// Degree of the polynomials.
pub(super) const DEGREE: usize = 2;

/// How many periods of `to` outputs are cut into blocks together: so many that one output in forty at most is made twice.
pub(super) fn periods(to: u64) -> u64 {
    let block = BLOCK as u64;
    let is_full = |periods: &u64| {
        let outputs = periods * to;
        40 * (outputs.next_multiple_of(block) - outputs) <= outputs
    };
    (1..block).find(is_full).unwrap_or(block)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_outputs_are_made_twice() {
        for to in 1..2_000 {
            let outputs = periods(to) * to;
            let made = outputs.next_multiple_of(BLOCK as u64);
            assert!(made as f64 <= 1.025 * outputs as f64, "{to}");
        }
    }
}
