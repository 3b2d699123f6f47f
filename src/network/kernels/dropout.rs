//! Which values dropout removes: a pure function of the step's seed and the value's position.

use crate::network::kernels::CHANNELS;
use crate::units::Seed;

/// Dropout of one layer in one step.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    seed: Option<Seed>,
    /// A value is dropped when its 16 random bits lie under this.
    threshold: u32,
    /// What kept values are multiplied by: `1 / (1 - rate)`.
    pub scale: f32,
}

impl Dropout {
    /// Dropout of layer `layer` (blocks from 0, then the LSTM's input); without a seed nothing is dropped.
    ///
    /// The rate is rounded to a multiple of 2^-16.
    pub fn new(seed: Option<Seed>, layer: usize, rate: f32) -> Self {
        match seed.filter(|_| rate > 0.0) {
            None => Self { seed: None, threshold: 0, scale: 1.0 },
            Some(seed) => Self {
                seed: Some(seed.derive("dropout", &[&(layer as u64).to_le_bytes()])),
                threshold: (rate * 65_536.0).round() as u32,
                scale: 1.0 / (1.0 - rate),
            },
        }
    }

    /// Which of the 16 values at position `at` are dropped.
    #[inline(always)]
    pub fn dropped(&self, at: usize) -> [bool; CHANNELS] {
        let mut dropped = [false; CHANNELS];
        if let Some(seed) = self.seed {
            for quarter in 0..4 {
                let bits = seed.bits(4 * at as u64 + quarter as u64);
                for value in 0..4 {
                    dropped[4 * quarter + value] = ((bits >> (16 * value)) & 0xFFFF) < u64::from(self.threshold);
                }
            }
        }
        dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_of_the_values_is_dropped_and_layers_differ() {
        let count = |layer| {
            let dropout = Dropout::new(Some(Seed(5)), layer, 0.2);
            (0..50_000).flat_map(|at| dropout.dropped(at)).filter(|&dropped| dropped).count() as f64 / 800_000.0
        };
        assert!((count(0) - 0.2).abs() < 2e-3);
        let of = |layer| Dropout::new(Some(Seed(5)), layer, 0.2).dropped(17);
        assert_ne!((0..4).map(of).collect::<Vec<_>>(), vec![of(0); 4]);
    }

    #[test]
    fn without_a_seed_nothing_is_dropped_or_scaled() {
        let dropout = Dropout::new(None, 0, 0.2);
        assert_eq!((dropout.scale, dropout.dropped(3)), (1.0, [false; CHANNELS]));
    }
}
