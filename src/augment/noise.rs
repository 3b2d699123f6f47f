//! White Gaussian noise at a signal-to-noise ratio drawn per copy.

use super::level::power;
use super::{Augmentation, Call, Effect, Format, Parameter, Place, Ranges, Wave};
use crate::error::Result;
use crate::simd::maths::{ln, sin_cos_of_turn};
use crate::simd::{Isa, Job, Lanes};
use crate::units::{Decibels, Seed};

/// Whole decibels, all equally likely.
static PARAMETERS: [Parameter; 1] = [Parameter {
    key: "snr_db",
    label: "snr",
    default: [15.0, 29.0],
    limits: [-20.0, 80.0],
    step: 1.0,
    never: None,
    source: "`randint(15, 30)` of the code of the paper's lineage, whose upper end is not drawn",
}];

/// Pairs of normal values made together.
const BLOCK: usize = 256;

/// White Gaussian noise of variance `P / 10^(snr / 10)`.
///
/// P is the mean square of the whole wave as it stands, padding included, and the noise fills the padding too. The
/// variance is set, not the power of the noise that comes out, which varies by 0.024 dB over 65,000 samples.
///
/// Source: level and order from the code of the paper's lineage; the paper is silent.
/// Proof: `white_noise_is_normal_and_white`, and the tests over all augmentations.
pub(super) struct WhiteNoise;

impl Augmentation for WhiteNoise {
    fn name(&self) -> &'static str {
        "white-noise"
    }

    fn about(&self) -> &'static str {
        "white Gaussian noise over the padded wave, as in the code of the paper's lineage"
    }

    fn place(&self) -> Place {
        Place::Conditioned
    }

    fn parameters(&self) -> &'static [Parameter] {
        &PARAMETERS
    }

    fn plan(&self, _ranges: &Ranges, _format: Format) -> Result<Box<dyn Effect>> {
        Ok(Box::new(Self))
    }
}

impl Effect for WhiteNoise {
    fn apply(&self, call: &mut Call, wave: &mut Wave) {
        let ratio = Decibels(call.drawn.of("snr_db")).power_ratio();
        let deviation = (power(wave.samples) / ratio).sqrt() as f32;
        add_noise(Isa::fastest(), call.seed.derive("noise", &[]), deviation, wave.samples);
    }
}

/// Adds normal values of that deviation: value pair `i` to samples `2 i` and `2 i + 1`.
///
/// Values come from the seed by position, through additions, multiplications and square roots only: the same bytes on
/// every machine.
pub(super) fn add_noise(isa: Isa, seed: Seed, deviation: f32, wave: &mut [f32]) {
    isa.run(AddNoise { seed, deviation, wave });
}

struct AddNoise<'a> {
    seed: Seed,
    deviation: f32,
    wave: &'a mut [f32],
}

impl Job for AddNoise<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, _: L) {
        add_noise_inline(self.seed, self.deviation, self.wave);
    }
}

#[inline(always)]
fn add_noise_inline(seed: Seed, deviation: f32, wave: &mut [f32]) {
    let mut bits = [(0u32, 0u32); BLOCK];
    let (mut even, mut odd) = ([0.0f32; BLOCK], [0.0f32; BLOCK]);
    for (block_idx, samples) in wave.chunks_mut(2 * BLOCK).enumerate() {
        for (i, (upper, lower)) in bits.iter_mut().enumerate() {
            let random = seed.bits((block_idx * BLOCK + i) as u64);
            (*upper, *lower) = ((random >> 40) as u32, random as u32 & 0xff_ffff);
        }
        for ((even, odd), &(upper, lower)) in even.iter_mut().zip(&mut odd).zip(&bits) {
            let radius = deviation * (-2.0 * ln(unit_above_zero(upper))).sqrt();
            let (sin, cos) = sin_cos_of_turn(lower);
            (*even, *odd) = (radius * cos, radius * sin);
        }
        let (pairs, last) = samples.as_chunks_mut::<2>();
        for ((pair, even), odd) in pairs.iter_mut().zip(&even).zip(&odd) {
            *pair = [pair[0] + even, pair[1] + odd];
        }
        if let [last] = last {
            *last += even[pairs.len()];
        }
    }
}

/// 24 bits as a number in `(0, 1]`, exactly; its logarithm is finite.
#[inline(always)]
fn unit_above_zero(bits: u32) -> f32 {
    const STEP: f32 = 1.0 / 16_777_216.0;
    (bits as i32 + 1) as f32 * STEP
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Applies it as a recipe that names it alone does; the ratio that was asked for.
    fn apply(seed: u64, samples: &mut [f32]) -> f64 {
        let mut drawn = Ranges::of_defaults(&PARAMETERS).draw(Seed(seed));
        let valid = samples.len();
        let mut call = Call { seed: Seed(seed), drawn: &mut drawn, voices: &[] };
        WhiteNoise.apply(&mut call, &mut Wave { samples, valid });
        drawn.of("snr_db")
    }

    fn noise(n: usize) -> Vec<f64> {
        let mut wave = vec![0.0; n];
        add_noise(Isa::fastest(), Seed(21), 1.0, &mut wave);
        wave.into_iter().map(f64::from).collect()
    }

    #[test]
    fn white_noise_is_normal_and_white() {
        let noise = noise(400_000);
        let n = noise.len() as f64;
        let moment = |power: i32| noise.iter().map(|x| x.powi(power)).sum::<f64>() / n;
        // Four standard errors of each moment: sqrt(1, 2, 15, 96 over n).
        for (power, expected, spread) in [(1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)] {
            let error: f64 = moment(power) - expected;
            assert!(error.abs() < 4.0 * f64::sqrt(spread / n), "moment {power} is off by {error}");
        }
        let beyond_two = noise.iter().filter(|x| x.abs() > 2.0).count() as f64 / n;
        assert!((beyond_two - 0.0455).abs() < 0.0015, "{beyond_two} of the values lie beyond 2");
        for lag in [1, 2, 3, 511, 512] {
            let correlation = noise.iter().zip(&noise[lag..]).map(|(a, b)| a * b).sum::<f64>() / n;
            assert!(correlation.abs() < 4.0 / n.sqrt(), "lag {lag}: {correlation}");
        }
    }

    #[test]
    fn a_longer_wave_begins_with_the_noise_of_a_shorter_one() {
        let long = noise(5_000);
        for n in [1, 2, 511, 513, 4_999] {
            assert_eq!(noise(n), long[..n]);
        }
    }

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        let noise = |isa| {
            let mut wave = vec![0.25; 3_001];
            add_noise(isa, Seed(6), 0.1, &mut wave);
            wave
        };
        for isa in Isa::available() {
            assert_eq!(noise(isa), noise(Isa::Portable), "{isa:?}");
        }
    }

    #[test]
    fn snrs_are_the_fifteen_integers_from_15_to_29() {
        let mut counts = [0u32; 40];
        for seed in 0..3_000 {
            let snr_db = apply(seed, &mut [1.0]);
            assert_eq!(snr_db.fract(), 0.0);
            counts[snr_db as usize] += 1;
        }
        assert!(counts[15..30].iter().all(|&count| (140..260).contains(&count)), "{counts:?}");
        assert_eq!(counts[15..30].iter().sum::<u32>(), 3_000);
    }

    #[test]
    fn noise_fills_the_padding_and_its_level_counts_the_padding() {
        // Half of the wave is padding, so P is a half, whatever the level of the other half.
        let mut wave = vec![0.0f32; 60_000];
        wave[..30_000].fill(1.0);
        let snr_db = apply(5, &mut wave);
        let in_padding = wave[30_000..].iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / 30_000.0;
        let asked = 0.5 / 10f64.powf(snr_db / 10.0);
        assert!((in_padding / asked - 1.0).abs() < 0.04, "{in_padding} and {asked}");
    }

    #[test]
    fn the_draw_of_the_level_is_frozen() {
        let drawn: Vec<f64> = (0..8).map(|seed| apply(seed, &mut [1.0])).collect();
        let expected = (0..8).map(|seed| 15.0 + Seed(seed).derive("snr", &[]).below(0, 15) as f64);
        assert_eq!(drawn, expected.collect::<Vec<_>>());
    }

    #[test]
    fn the_first_values_are_frozen() {
        // Stored copies are told apart by their seed alone: other values under the same seed would mix two kinds.
        let mut wave = [0.0; 4];
        add_noise(Isa::fastest(), Seed(1), 1.0, &mut wave);
        assert_eq!(wave.map(f32::to_bits), [1_065_891_771, 1_031_603_270, 3_208_057_391, 3_196_875_365]);
    }
}
