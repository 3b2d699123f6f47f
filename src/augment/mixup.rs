//! Mixup: each recording of a batch is mixed with another one of the same batch, and so is what it is trained towards.
//!
//! Not one of `AUGMENTATIONS`: those change one recording; partners are drawn anew for each step, from the training side alone.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::network::targets::Mix;
use crate::units::Seed;

/// `[augment] mixup`: the parameter of the beta distribution that shares are drawn from. 0: off.
///
/// Source: H. Zhang et al., mixup: Beyond Empirical Risk Minimization, ICLR 2018, arXiv 1710.09412.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Mixup(pub f64);

/// More draws than any value of the gamma distribution takes; each is accepted with a chance above 0.95.
const MOST_DRAWS: u64 = 64;

impl Mixup {
    /// Whether spectrograms stay as they are.
    pub fn is_off(&self) -> bool {
        self.0 == 0.0
    }

    /// Refuses what is no parameter of a beta distribution.
    pub fn check(&self) -> Result<()> {
        if self.0 == 0.0 || (0.01..=100.0).contains(&self.0) {
            return Ok(());
        }
        Err(Error::recipe(format!("[augment] mixup = {}: must be 0 for none, or from 0.01 to 100", self.0)))
    }

    /// Partners and shares in a batch of `n`, drawn for one step: partners are a permutation, a share is the larger of
    /// two that are drawn from the beta distribution, so that a recording's label stays that of its larger part.
    ///
    /// Proof: `shares_follow_the_beta_distribution`, `partners_are_a_permutation_of_the_batch`.
    pub fn draw(&self, seed: Seed, n: usize) -> Vec<Mix> {
        let partners = seed.derive("partner", &[]).permutation(n);
        let share = |at: usize| {
            let drawn = self.beta(seed.derive("share", &[&(at as u64).to_le_bytes()]));
            drawn.max(1.0 - drawn) as f32
        };
        partners.into_iter().enumerate().map(|(at, partner)| Mix { partner, own: share(at) }).collect()
    }

    /// Fills `out` with `own x + (1 - own) partner`; both `[batch, n_mels, n_frames]`, a spectrogram has `size` values.
    pub fn mix(mixes: &[Mix], size: usize, log_mel: &[f32], out: &mut Vec<f32>) {
        out.resize(log_mel.len(), 0.0);
        out.par_chunks_exact_mut(size).zip(mixes).enumerate().for_each(|(at, (out, mix))| {
            let [own, partner] = [at, mix.partner].map(|item| &log_mel[item * size..(item + 1) * size]);
            for ((out, own), partner) in out.iter_mut().zip(own).zip(partner) {
                *out = partner + mix.own * (own - partner);
            }
        });
    }

    /// One value of the beta distribution with this parameter on both sides.
    fn beta(&self, seed: Seed) -> f64 {
        let [a, b] = ["a", "b"].map(|side| gamma(self.0, seed.derive(side, &[])));
        // Both can be too small for a number; then one of them is all.
        if a + b > 0.0 { a / (a + b) } else { 1.0 }
    }
}

/// One value of the gamma distribution with this shape and scale 1.
///
/// Source: Marsaglia, Tsang 2000, A simple method for generating gamma variables; section 6 for shapes under 1.
fn gamma(shape: f64, seed: Seed) -> f64 {
    if shape < 1.0 {
        let uniform = 1.0 - seed.derive("boost", &[]).unit(0);
        return gamma(shape + 1.0, seed) * uniform.powf(1.0 / shape);
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    let draw = |at: u64| {
        let normal = seed.normal_pair(2 * at).0;
        let cubed = (1.0 + c * normal).powi(3);
        let uniform = 1.0 - seed.derive("accept", &[]).unit(at);
        let fits = cubed > 0.0 && uniform.ln() < 0.5 * normal * normal + d - d * cubed + d * cubed.ln();
        fits.then_some(d * cubed)
    };
    // The mean, if chance had it that none fits.
    (0..MOST_DRAWS).find_map(draw).unwrap_or(shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_follow_the_beta_distribution() {
        for (alpha, n) in [(0.2, 40_000), (1.0, 40_000), (4.0, 40_000)] {
            let values: Vec<f64> = (0..n).map(|at| Mixup(alpha).beta(Seed(at))).collect();
            let mean = values.iter().sum::<f64>() / n as f64;
            let variance = values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / n as f64;
            let fourth = values.iter().map(|value| (value - 0.5).powi(4)).sum::<f64>() / n as f64;
            // Of Beta(a, a): variance 1 / (4 (2a + 1)), fourth central moment 3 / (16 (2a + 1) (2a + 3)).
            let wanted = 1.0 / (4.0 * (2.0 * alpha + 1.0));
            let wanted_fourth = 3.0 / (16.0 * (2.0 * alpha + 1.0) * (2.0 * alpha + 3.0));
            assert!((mean - 0.5).abs() < 0.01, "{alpha}: mean {mean}");
            assert!((variance / wanted - 1.0).abs() < 0.03, "{alpha}: variance {variance}, {wanted}");
            assert!((fourth / wanted_fourth - 1.0).abs() < 0.05, "{alpha}: {fourth}, {wanted_fourth}");
        }
        for alpha in [0.01, 100.0] {
            assert!((0..10_000).all(|at| (0.0..=1.0).contains(&Mixup(alpha).beta(Seed(at)))), "{alpha}");
        }
    }

    #[test]
    fn partners_are_a_permutation_of_the_batch() {
        let mixes = Mixup(0.4).draw(Seed(3), 50);
        let mut partners: Vec<usize> = mixes.iter().map(|mix| mix.partner).collect();
        partners.sort_unstable();
        assert_eq!(partners, (0..50).collect::<Vec<_>>());
        assert!(mixes.iter().all(|mix| (0.5..=1.0).contains(&mix.own)));
        assert_eq!(mixes, Mixup(0.4).draw(Seed(3), 50));
        assert_ne!(mixes, Mixup(0.4).draw(Seed(4), 50));
        assert_eq!(Mixup(0.4).draw(Seed(3), 1)[0].partner, 0, "alone it is mixed with itself");
    }

    #[test]
    fn a_mixed_spectrogram_is_the_hand_value() {
        let mixes = [Mix { partner: 1, own: 0.75 }, Mix { partner: 0, own: 1.0 }];
        let mut out = vec![9.0; 1];
        Mixup::mix(&mixes, 2, &[4.0, -8.0, 0.0, 8.0], &mut out);
        assert_eq!(out, [3.0, -4.0, 0.0, 8.0]);
    }
}
