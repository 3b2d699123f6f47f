//! Where the speech of a recording begins and ends, by its energy.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::simd::{Isa, Job, Lanes};
use crate::units::{Decibels, SampleRate};

/// `[features.front_end] start`: where the part of a recording begins that is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Start {
    /// After `offset_s`, whatever is heard there; it ends with the recording.
    #[default]
    Offset,
    /// With the first speech; it ends with the last.
    Speech(Speech),
}

impl Start {
    /// Whether recipes need not name it.
    pub(super) fn is_offset(&self) -> bool {
        *self == Self::Offset
    }
}

/// What counts as speech: [`RUN`] frames in a row, the quietest of which is louder than a threshold.
///
/// The threshold is relative to the level that the recording holds for as many frames, so that it knows no gain; a click
/// shorter than a frame touches two frames at most, and neither begins the speech nor lifts the threshold.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Speech {
    /// Decibels below the level that the loudest [`RUN`] frames in a row hold.
    pub threshold_db: f64,
    /// Seconds that are kept before the first such frame, and after the last.
    pub margin_s: f64,
    /// Seconds of a frame.
    pub frame_s: f64,
}

impl Speech {
    /// The threshold of `levels` and of most voice activity detectors by energy; frames that hold a period of every voice.
    pub const DEFAULT: Self = Self { threshold_db: -40.0, margin_s: 0.05, frame_s: 0.02 };
}

/// Frames in a row that speech takes.
pub const RUN: usize = 3;

/// The samples from the first speech to the last, with their margins; all of them where nothing is held for [`RUN`] frames.
///
/// `samples`  `[n]` mono, finite, at `rate`. A frame's power is that about its own mean, so that an offset of the
/// recorder's zero is no sound. The last frame may be shorter; recordings of fewer frames than a run are one run.
/// Proof      `speech_by_hand`, `a_click_is_no_speech_and_hides_none`, `speech_is_where_the_f64_twin_finds_it`.
pub fn speech(samples: &[f32], rate: SampleRate, how: &Speech) -> Range<usize> {
    speech_by(Isa::fastest(), samples, rate, how)
}

fn speech_by(isa: Isa, samples: &[f32], rate: SampleRate, how: &Speech) -> Range<usize> {
    let length = ((how.frame_s * rate.hz()) as usize).max(1);
    let powers = isa.run(Powers { samples, length });
    let run = RUN.min(powers.len());
    let everything = 0..samples.len();
    if run == 0 {
        return everything;
    }
    let held: Vec<f64> = powers.windows(run).map(|run| run.iter().copied().fold(f64::MAX, f64::min)).collect();
    let loudest = held.iter().copied().fold(0.0, f64::max);
    let threshold = loudest * Decibels(how.threshold_db).power_ratio();
    let is_heard = |power: &f64| *power > 0.0 && *power >= threshold;
    let (Some(first), Some(last)) = (held.iter().position(is_heard), held.iter().rposition(is_heard)) else {
        return everything;
    };
    let margin = (how.margin_s * rate.hz()) as usize;
    (first * length).saturating_sub(margin)..((last + run) * length + margin).min(samples.len())
}

/// Power of each frame about its mean.
struct Powers<'a> {
    samples: &'a [f32],
    /// Samples of a frame.
    length: usize,
}

impl Job for Powers<'_> {
    type Output = Vec<f64>;

    #[inline(always)]
    fn run<L: Lanes>(self, _: L) -> Vec<f64> {
        self.samples.chunks(self.length).map(power_inline).collect()
    }
}

/// Sums of f32 within a frame of some hundred samples, the same bits from every instruction set. They are taken about the
/// frame's first sample, which leaves nothing of a constant.
#[inline(always)]
fn power_inline(frame: &[f32]) -> f64 {
    const LANES: usize = 16;
    let about = frame[0];
    let (chunks, rest) = frame.as_chunks::<LANES>();
    let (mut sums, mut squares) = ([0.0f32; LANES], [0.0f32; LANES]);
    for chunk in chunks {
        for lane in 0..LANES {
            let distance = chunk[lane] - about;
            sums[lane] += distance;
            squares[lane] += distance * distance;
        }
    }
    let in_f64 = |lanes: [f32; LANES]| lanes.iter().map(|&lane| f64::from(lane)).sum::<f64>();
    let (mut sum, mut square) = (in_f64(sums), in_f64(squares));
    for &sample in rest {
        let distance = f64::from(sample - about);
        sum += distance;
        square += distance * distance;
    }
    let n = frame.len() as f64;
    ((square - sum * sum / n) / n).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Seed;

    const RATE: SampleRate = SampleRate(1_000);
    /// Frames of ten samples, margins of five.
    const SMALL: Speech = Speech { threshold_db: -40.0, margin_s: 0.005, frame_s: 0.01 };

    /// Alternating samples of the heights that are given, ten of each.
    fn levels(heights: &[f32]) -> Vec<f32> {
        let frame = |&height: &f32| (0..10).map(move |i| if i % 2 == 0 { height } else { -height });
        heights.iter().flat_map(frame).collect()
    }

    fn found(heights: &[f32]) -> Range<usize> {
        speech(&levels(heights), RATE, &SMALL)
    }

    #[test]
    fn speech_by_hand() {
        // 40 dB below 1 is 0.01.
        assert_eq!(found(&[0.0, 0.0, 0.011, 1.0, 1.0, 1.0, 0.011, 0.0, 0.0]), 15..75);
        assert_eq!(found(&[0.0, 0.0, 0.009, 1.0, 1.0, 1.0, 0.009, 0.0, 0.0]), 25..65);
        // A pause is kept, and margins end with the recording.
        assert_eq!(found(&[1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0]), 0..100);
        // Another gain changes nothing.
        let quiet: Vec<f32> = [0.0, 0.0, 0.011, 1.0, 1.0, 1.0, 0.011, 0.0].iter().map(|x| x * 1e-3).collect();
        assert_eq!(found(&quiet), 15..75);
    }

    #[test]
    fn a_click_is_no_speech_and_hides_none() {
        let mut samples = levels(&[1e-5; 20]);
        samples[100..150].copy_from_slice(&levels(&[0.003; 5]));
        let without = speech(&samples, RATE, &SMALL);
        assert_eq!(without, 95..155);
        // Full scale, a frame long and across the border of two, before the speech and behind it.
        for at in [25, 180] {
            samples[at..at + 10].copy_from_slice(&levels(&[1.0]));
        }
        assert_eq!(speech(&samples, RATE, &SMALL), without);
        // Three frames of it are sound.
        samples[20..50].copy_from_slice(&levels(&[1.0; 3]));
        assert_eq!(speech(&samples, RATE, &SMALL), 15..55);
    }

    #[test]
    fn a_constant_beside_the_sound_changes_nothing() {
        let heights = [0.0, 0.0, 0.0, 0.011, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0];
        let lifted = |by: f32| levels(&heights).iter().map(|x| x * 0.01 + by).collect::<Vec<f32>>();
        assert_eq!(speech(&lifted(0.2), RATE, &SMALL), speech(&lifted(0.0), RATE, &SMALL));
        assert_eq!(speech(&lifted(0.0), RATE, &SMALL), 25..75);
    }

    #[test]
    fn what_is_too_short_or_nowhere_held_is_kept_whole() {
        assert_eq!(found(&[]), 0..0);
        assert_eq!(speech(&[0.5], RATE, &SMALL), 0..1);
        assert_eq!(found(&[1.0]), 0..10);
        assert_eq!(found(&[0.0, 1.0]), 0..20, "the quietest of both is silent");
        assert_eq!(found(&[0.0, 1.0, 1.0, 0.0, 0.0]), 0..50);
        // Frames of less than a sample are one sample.
        let none = Speech { frame_s: 1e-6, ..SMALL };
        assert_eq!(speech(&[0.5; 30], RATE, &none), 0..30);
    }

    /// Powers about the mean in f64, by the textbook.
    fn twin(samples: &[f32], rate: u32, how: &Speech) -> Range<usize> {
        let length = (how.frame_s * f64::from(rate)) as usize;
        let power = |frame: &[f32]| {
            let mean = frame.iter().map(|&x| f64::from(x)).sum::<f64>() / frame.len() as f64;
            frame.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / frame.len() as f64
        };
        let powers: Vec<f64> = samples.chunks(length).map(power).collect();
        let held = |i: usize| powers[i].min(powers[i + 1]).min(powers[i + 2]);
        let n = powers.len() - 2;
        let loudest = (0..n).map(held).fold(0.0, f64::max);
        let heard: Vec<usize> = (0..n).filter(|&i| 10.0 * (held(i) / loudest).log10() >= how.threshold_db).collect();
        let margin = (how.margin_s * f64::from(rate)) as usize;
        let (first, last) = (heard[0] * length, (heard[heard.len() - 1] + 3) * length);
        first.saturating_sub(margin)..(last + margin).min(samples.len())
    }

    #[test]
    fn speech_is_where_the_f64_twin_finds_it() {
        for seed in 0..40 {
            for rate in [8_000, 24_414, 48_000] {
                let (n, noise) = (rate as usize * 3, |i: usize| Seed(seed).normal_pair(i as u64).0);
                // Silence of half a second to one, speech that swells and fades, a fifth of a second of silence.
                let begin = rate as usize * (10 + seed as usize % 10) / 20;
                let level = |i: usize| match i {
                    _ if i < begin || i > n - rate as usize / 5 => 1e-5,
                    _ => 0.05 * (1.1 + (i as f64 * 30.0 / f64::from(rate)).sin()),
                };
                let samples: Vec<f32> = (0..n).map(|i| (0.01 + level(i) * noise(i)) as f32).collect();
                let expected = twin(&samples, rate, &Speech::DEFAULT);
                for isa in Isa::available() {
                    let found = speech_by(isa, &samples, SampleRate(rate), &Speech::DEFAULT);
                    assert_eq!(found, expected, "{isa:?}, {rate} Hz, seed {seed}");
                }
                // Within a frame and the margin of where it really is.
                let reach = rate as usize * 8 / 100;
                assert!(expected.start + reach > begin && expected.start < begin, "{expected:?}, {begin}");
            }
        }
    }
}
