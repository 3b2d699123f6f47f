//! Augmentations: changed copies of a conditioned wave. One file each; the list below is all there is to extend.

mod noise;

use crate::error::{Error, Result};
use crate::units::Seed;

/// What an augmentation did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Applied {
    /// Signal-to-noise ratio that was asked for, where noise was added.
    pub snr_db: Option<f64>,
}

/// A change of a conditioned wave; all chance in it comes from the seed.
pub trait Augmentation: Sync {
    /// What recipes call it; lower-case words with dashes.
    fn name(&self) -> &'static str;

    /// What it does and where its constants come from, in one line.
    fn about(&self) -> &'static str;

    /// Changes `wave` (`[n_samples]`, z-scored and padded) in place; the same seed and wave give the same bytes.
    fn apply(&self, seed: Seed, wave: &mut [f32]) -> Applied;
}

/// All augmentations.
pub const AUGMENTATIONS: &[&dyn Augmentation] = &[&noise::WhiteNoise];

/// The augmentation of that name; the error lists the known ones.
pub fn augmentation(name: &str) -> Result<&'static dyn Augmentation> {
    let known = AUGMENTATIONS.iter().find(|augmentation| augmentation.name() == name);
    known.copied().ok_or_else(|| {
        let names: Vec<&str> = AUGMENTATIONS.iter().map(|augmentation| augmentation.name()).collect();
        Error::recipe(format!("augmentation `{name}` is not known"))
            .hint(format!("known augmentations: {}", names.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// A conditioned wave: mean power 1 over its first two thirds, then padding.
    fn wave(n: usize) -> Vec<f32> {
        (0..n).map(|i| if i < n * 2 / 3 { Seed(8).normal_pair(i as u64).1 as f32 } else { 0.0 }).collect()
    }

    fn applied(augmentation: &dyn Augmentation, seed: u64, n: usize) -> (Vec<f32>, Applied) {
        let mut wave = wave(n);
        let applied = augmentation.apply(Seed(seed), &mut wave);
        (wave, applied)
    }

    #[test]
    fn every_augmentation_gives_the_same_bytes_for_the_same_seed_and_others_for_another() {
        for &augmentation in AUGMENTATIONS {
            for n in [1, 2, 3, 511, 512, 513, 65_000] {
                let (wave, applied_once) = applied(augmentation, 1, n);
                assert_eq!((&wave, applied_once), (&applied(augmentation, 1, n).0, applied(augmentation, 1, n).1));
                assert_eq!(wave.len(), n);
                assert!(wave.iter().all(|x| x.is_finite()));
                let others = (2..10).filter(|&seed| applied(augmentation, seed, n).0 != wave).count();
                assert!(n < 3 || others == 8, "{}: {n} samples, {others} of 8", augmentation.name());
            }
        }
    }

    #[test]
    fn every_augmentation_that_names_an_snr_keeps_it_within_a_fifth_of_a_decibel() {
        for &augmentation in AUGMENTATIONS {
            for seed in 0..20 {
                let clean = wave(65_000);
                let (noisy, Applied { snr_db }) = applied(augmentation, seed, 65_000);
                let Some(asked) = snr_db else { continue };
                let power = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>();
                let signal = power(&mut clean.iter().map(|&x| f64::from(x)));
                let noise = power(&mut clean.iter().zip(&noisy).map(|(&a, &b)| f64::from(b) - f64::from(a)));
                let found = 10.0 * (signal / noise).log10();
                // Power of 65,000 Gaussian values varies by 0.024 dB.
                assert!((found - asked).abs() < 0.2, "{}: asked {asked} dB, found {found}", augmentation.name());
            }
        }
    }

    #[test]
    fn every_augmentation_is_found_by_its_own_name() {
        let names: HashSet<&str> = AUGMENTATIONS.iter().map(|augmentation| augmentation.name()).collect();
        assert_eq!(names.len(), AUGMENTATIONS.len());
        for known in AUGMENTATIONS {
            assert_eq!(augmentation(known.name()).expect("listed").name(), known.name());
            assert!(known.name().chars().all(|c| c.is_ascii_lowercase() || c == '-'));
            assert!(!known.about().is_empty());
        }
        let error = augmentation("white_noise").map(|_| ()).expect_err("a slip");
        assert_eq!(error.kind().exit_code(), 2);
        assert_eq!(error.hint_text(), Some("known augmentations: white-noise"));
    }
}
