//! Random numbers one after the other, for the synthetic voice, whose choices have no natural index.

use crate::units::Seed;

/// Random numbers in the order they are asked for.
pub(super) struct Dice {
    seed: Seed,
    next: u64,
}

impl Dice {
    pub(super) fn new(seed: Seed) -> Self {
        Self { seed, next: 0 }
    }

    /// The next position. `normal` reads the bits at twice it and the one after, the others only the first of the two,
    /// so no bits are used twice.
    fn take(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// Uniform in `[0, 1)`.
    pub(super) fn unit(&mut self) -> f64 {
        let at = self.take();
        self.seed.unit(2 * at)
    }

    /// Uniform in `[low, high)`.
    pub(super) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Uniform integer in `0..n`.
    pub(super) fn below(&mut self, n: usize) -> usize {
        let at = self.take();
        self.seed.below(2 * at, n as u64) as usize
    }

    /// Standard normal.
    pub(super) fn normal(&mut self) -> f64 {
        let at = self.take();
        self.seed.normal_pair(at).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dice_repeat_themselves_and_stay_in_range() {
        let throw = || {
            let mut dice = Dice::new(Seed(4));
            let throws: Vec<f64> = (0..500).map(|_| dice.between(2.0, 3.0) + dice.below(3) as f64).collect();
            throws
        };
        assert_eq!(throw(), throw());
        assert!(throw().iter().all(|value| (2.0..5.0).contains(value)));
        assert!(throw().iter().any(|&value| value < 2.1) && throw().iter().any(|&value| value > 4.9));
    }
}
