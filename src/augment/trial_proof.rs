//! Waves to try augmentations on, and one application of one of them; for the tests beside it.

use super::*;

pub(super) const RATE: SampleRate = SampleRate(21_500);
pub(super) const N: usize = 65_000;

/// What one application made.
pub(super) struct Made {
    pub(super) samples: Vec<f32>,
    pub(super) valid: usize,
    pub(super) drawn: Drawn,
}

/// Noise that swells and fades like syllables: power 1 over `valid` samples, zeros behind.
pub(super) fn syllables(seed: u64, valid: usize, n: usize) -> Vec<f32> {
    let value = |i: usize| Seed(seed).normal_pair(i as u64).0 * (1.0 + 0.8 * (i as f64 * 1.2e-3).sin());
    let mut wave: Vec<f32> = (0..n).map(|i| if i < valid { value(i) as f32 } else { 0.0 }).collect();
    let power = wave.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / valid.max(1) as f64;
    wave.iter_mut().for_each(|x| *x /= power.sqrt() as f32);
    wave
}

/// A recording of that length at -26 dBFS in a room of `n` samples, or a conditioned wave, as the augmentation wants.
pub(super) fn input(augmentation: &dyn Augmentation, valid: usize, n: usize) -> Vec<f32> {
    let mut wave = syllables(8, valid, n);
    if augmentation.place() == Place::Recording {
        wave.iter_mut().for_each(|x| *x *= 0.05);
    }
    wave
}

/// `key = value` for some parameters, the defaults for the others.
pub(super) fn ranges(augmentation: &dyn Augmentation, set: &[(&str, f64)]) -> Ranges {
    let mut ranges = Ranges::of_defaults(augmentation.parameters());
    for (parameter, range) in &mut ranges.0 {
        if let Some(&(_, value)) = set.iter().find(|(key, _)| *key == parameter.key) {
            parameter.check(augmentation.name(), [value, value]).expect("within the limits");
            *range = [value, value];
        }
    }
    ranges
}

pub(super) fn apply_to(
    augmentation: &dyn Augmentation,
    set: &[(&str, f64)],
    seed: u64,
    mut samples: Vec<f32>,
    valid: usize,
) -> Made {
    let voices: Vec<Vec<f32>> = (0..9).map(|i| syllables(90 + i, 20_000, 20_000)).collect();
    let format = Format { sample_rate: RATE, n_samples: samples.len() };
    let ranges = ranges(augmentation, set);
    let effect = augmentation.plan(&ranges, format).expect("a plan");
    let mut drawn = ranges.draw(Seed(seed));
    let mut wave = Wave { samples: &mut samples, valid };
    effect.apply(
        &mut Call {
            seed: Seed(seed),
            drawn: &mut drawn,
            voices: &voices.iter().map(Vec::as_slice).collect::<Vec<_>>(),
        },
        &mut wave,
    );
    let valid = wave.valid;
    Made { samples, valid, drawn }
}

pub(super) fn named(name: &str) -> &'static dyn Augmentation {
    augmentation(name).expect("listed")
}

pub(super) fn power_of(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.fold((0.0, 0.0), |(sum, n), x| (sum + x * x, n + 1.0));
    sum / n
}

pub(super) fn difference(a: &[f32], b: &[f32]) -> Vec<f64> {
    a.iter().zip(b).map(|(&a, &b)| f64::from(b) - f64::from(a)).collect()
}
