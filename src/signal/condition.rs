//! Makes waves of one length and one level: skip the offset, z-score, truncate or pad.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::profile::FrontEnd;
use super::speech::{Start, speech};
use crate::error::{Error, Result};
use crate::simd::{Isa, Job, Lanes};
use crate::units::SampleRate;

/// Below this standard deviation (-160 dBFS, a tenth of the last bit of 24) a wave is a constant with rounding on it.
pub const LOWEST_DEVIATION: f64 = 1e-8;

/// `[features.front_end] pad`: what stands behind a recording that is shorter than the wave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pad {
    /// Silence.
    #[default]
    Zeros,
    /// The recording again, from its beginning, as often as it takes: how much of a wave is silent names no corpus.
    Repeat,
}

impl Pad {
    /// Whether recipes need not name it.
    pub(super) fn is_zeros(&self) -> bool {
        *self == Self::Zeros
    }
}

/// Shape of a conditioned wave.
#[derive(Clone, Debug, PartialEq)]
pub struct Conditioned {
    /// Samples that come from the recording; the rest are padding.
    pub valid_samples: usize,
    /// True when the recording was longer than the wave.
    pub truncated: bool,
    /// Share of the wave that is padding, 0 to 1.
    pub pad_fraction: f64,
}

/// The samples after the first `offset_s` seconds; none when the recording is no longer than that.
///
/// Applied to the file's own samples, before resampling, and rounded down to a whole sample: librosa's
/// `load(offset=...)` seeks to `int(offset * native_rate)` in the file.
pub fn skip_offset(samples: &[f32], native_rate: SampleRate, offset_s: f64) -> &[f32] {
    let offset = (offset_s * native_rate.hz()) as usize;
    samples.get(offset..).unwrap_or_default()
}

/// The samples of a recording that the front end looks at, before resampling: from the offset on, or those of the speech.
pub fn kept(samples: &[f32], native_rate: SampleRate, front_end: &FrontEnd) -> Range<usize> {
    match &front_end.start {
        Start::Offset => samples.len() - skip_offset(samples, native_rate, front_end.offset_s).len()..samples.len(),
        Start::Speech(how) => speech(samples, native_rate, how),
    }
}

/// Fills `out` with `[n_samples]` of mean 0 and deviation 1, zeros on the right where the recording is shorter.
///
/// `wave`  what is left of a recording after the offset, mono, resampled, finite; any length.
/// Mean and population deviation are taken in f64 without the padding: over all of `wave`, before it is cut; where the front
/// end starts with the speech, over what is kept of it.
/// Errors  kind `Recording`: nothing left; a constant, which has no deviation.
/// Source  paper 2.2.1; the order (z-score, then length) from the code of its lineage.
/// Proof   `z_score_by_hand`, `statistics_are_those_of_the_whole_recording`.
pub fn condition(wave: &[f32], front_end: &FrontEnd, out: &mut Vec<f32>) -> Result<Conditioned> {
    if wave.is_empty() {
        return Err(Error::recording(format!("nothing is left after the first {} s", front_end.offset_s)));
    }
    let valid_samples = wave.len().min(front_end.n_samples);
    let measured = match front_end.start {
        Start::Offset => wave,
        Start::Speech(_) => &wave[..valid_samples],
    };
    let (mean, deviation) = mean_and_deviation(Isa::fastest(), measured);
    if deviation.is_nan() || deviation < LOWEST_DEVIATION {
        return Err(Error::recording(format!(
            "a constant signal: standard deviation {deviation:.1e}, at least {LOWEST_DEVIATION:e} is needed"
        )));
    }
    let gain = 1.0 / deviation;
    out.clear();
    out.extend(wave[..valid_samples].iter().map(|&x| ((f64::from(x) - mean) * gain) as f32));
    out.resize(front_end.n_samples, 0.0);
    Ok(Conditioned {
        valid_samples,
        truncated: wave.len() > front_end.n_samples,
        pad_fraction: (front_end.n_samples - valid_samples) as f64 / front_end.n_samples as f64,
    })
}

/// Replaces the zeros behind the first `valid_samples` of a conditioned wave as the front end wants it.
pub fn pad(wave: &mut [f32], valid_samples: usize, pad: Pad) {
    if pad == Pad::Zeros || valid_samples == 0 {
        return;
    }
    // What is there doubles, so that a short sound takes few copies.
    let mut there = valid_samples;
    while there < wave.len() {
        let n = there.min(wave.len() - there);
        wave.copy_within(..n, there);
        there += n;
    }
}

/// Mean and population deviation in f64.
fn mean_and_deviation(isa: Isa, wave: &[f32]) -> (f64, f64) {
    let n = wave.len() as f64;
    let mean = sum_of(isa, wave, Term::Value) / n;
    (mean, (sum_of(isa, wave, Term::SquareFrom(mean)) / n).sqrt())
}

/// What is summed of each sample.
#[derive(Clone, Copy)]
pub(crate) enum Term {
    Value,
    /// The square of its distance.
    SquareFrom(f64),
}

/// Sum over the wave in f64, with eight partial sums in a fixed order so that the loop does not wait for itself: the same
/// bits from every instruction set.
pub(crate) fn sum_of(isa: Isa, wave: &[f32], term: Term) -> f64 {
    isa.run(Sum { wave, term })
}

struct Sum<'a> {
    wave: &'a [f32],
    term: Term,
}

impl Job for Sum<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<L: Lanes>(self, _: L) -> f64 {
        sum_inline(self.wave, self.term)
    }
}

#[inline(always)]
fn sum_inline(wave: &[f32], term: Term) -> f64 {
    match term {
        Term::Value => sum_by(wave, |x| x),
        Term::SquareFrom(centre) => sum_by(wave, |x| (x - centre) * (x - centre)),
    }
}

#[inline(always)]
fn sum_by(wave: &[f32], term: impl Fn(f64) -> f64) -> f64 {
    let (eights, rest) = wave.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for eight in eights {
        for (sum, &x) in sums.iter_mut().zip(eight) {
            *sum += term(f64::from(x));
        }
    }
    sums.iter().sum::<f64>() + rest.iter().map(|&x| term(f64::from(x))).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::profile::profile;
    use crate::units::Seed;

    fn front_end(n_samples: usize) -> FrontEnd {
        FrontEnd { n_samples, ..profile("paper").expect("known") }
    }

    fn noise(n: usize) -> Vec<f32> {
        (0..n).map(|i| 0.3 + 0.01 * Seed(4).normal_pair(i as u64).0 as f32).collect()
    }

    #[test]
    fn z_score_by_hand() {
        // Mean 0.25; deviations -0.25, 0.25, so the deviation is 0.25.
        let mut out = vec![9.0; 2];
        let shape = condition(&[0.0, 0.5, 0.5, 0.0], &front_end(6), &mut out).expect("fine");
        assert_eq!(out, [-1.0, 1.0, 1.0, -1.0, 0.0, 0.0]);
        assert_eq!(shape, Conditioned { valid_samples: 4, truncated: false, pad_fraction: 2.0 / 6.0 });
    }

    #[test]
    fn statistics_are_those_of_the_whole_recording() {
        // Cut to two samples, but mean 3 and deviation sqrt(5) are those of all four.
        let mut out = Vec::new();
        let shape = condition(&[0.0, 2.0, 4.0, 6.0], &front_end(2), &mut out).expect("fine");
        let expected = [-3.0 / 5f64.sqrt(), -1.0 / 5f64.sqrt()];
        assert!(out.iter().zip(expected).all(|(&a, b)| (f64::from(a) - b).abs() < 1e-7), "{out:?}");
        assert_eq!(shape, Conditioned { valid_samples: 2, truncated: true, pad_fraction: 0.0 });
    }

    #[test]
    fn mean_and_deviation_come_out_at_every_length_and_from_a_dirty_buffer() {
        let mut out = vec![f32::NAN; 99];
        for n in [2, 7, 8, 9, 63, 1000, 30_001] {
            condition(&noise(n), &front_end(n), &mut out).expect("fine");
            assert_eq!(out.len(), n);
            let mean = out.iter().map(|&x| f64::from(x)).sum::<f64>() / n as f64;
            let power = out.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / n as f64;
            // f32 rounds each value to 6e-8 of itself.
            assert!(mean.abs() < 1e-6 && (power - 1.0).abs() < 1e-6, "{n}: mean {mean}, power {power}");
        }
    }

    #[test]
    fn a_recording_as_long_as_the_wave_is_neither_cut_nor_padded() {
        let shape = condition(&noise(100), &front_end(100), &mut Vec::new()).expect("fine");
        assert_eq!(shape, Conditioned { valid_samples: 100, truncated: false, pad_fraction: 0.0 });
    }

    #[test]
    fn nothing_left_and_constants_are_refused_as_recordings() {
        let refuse = |wave: &[f32]| condition(wave, &front_end(10), &mut Vec::new()).expect_err("refused");
        assert_eq!(refuse(&[]).reason(), "nothing is left after the first 0.5 s");
        for wave in [vec![0.0; 50], vec![0.1; 5001], vec![0.3]] {
            let error = refuse(&wave);
            assert!(error.reason().contains("at least 1e-8 is needed"), "{error}");
            assert_eq!(error.kind(), crate::error::ErrorKind::Recording);
        }
        // The last bit of 16, once in three seconds, is a signal.
        let mut click = vec![0.0; 65_000];
        click[77] = 1.0 / 32_768.0;
        assert!(condition(&click, &front_end(10), &mut Vec::new()).is_ok());
    }

    #[test]
    fn a_front_end_that_starts_with_the_speech_measures_what_it_keeps() {
        let speech = Start::Speech(crate::signal::speech::Speech::DEFAULT);
        let front_end = FrontEnd { start: speech, offset_s: 0.0, ..front_end(2) };
        let mut out = Vec::new();
        // Mean 1 and deviation 1 of the two that are kept.
        let shape = condition(&[0.0, 2.0, 4.0, 600.0], &front_end, &mut out).expect("fine");
        assert_eq!((out.as_slice(), shape.valid_samples, shape.truncated), ([-1.0, 1.0].as_slice(), 2, true));
        // Sound of 0.4 s in silence; frames of 100 samples.
        let samples: Vec<f32> = (0..6_000).map(|i| if i / 2_000 == 1 { (i as f32).sin() } else { 0.0 }).collect();
        let kept = kept(&samples, SampleRate(5_000), &front_end);
        assert_eq!(kept, 1_750..4_250, "a margin of 0.05 s on both sides");
        let all = FrontEnd { start: Start::Offset, offset_s: 0.3, ..front_end };
        assert_eq!(super::kept(&samples, SampleRate(5_000), &all), 1_500..6_000);
        assert!(super::kept(&samples[..1_000], SampleRate(5_000), &all).is_empty());
    }

    #[test]
    fn padding_is_silence_or_the_recording_again() {
        let padded = |valid: usize, how: Pad| {
            let mut wave = [1.0, 2.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0];
            wave[valid.min(3)..3].fill(0.0);
            pad(&mut wave, valid, how);
            wave
        };
        assert_eq!(padded(3, Pad::Zeros), [1.0, 2.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(padded(3, Pad::Repeat), [1.0, 2.0, 3.0, 1.0, 2.0, 3.0, 1.0, 2.0]);
        assert_eq!(padded(1, Pad::Repeat), [1.0; 8]);
        assert_eq!(padded(0, Pad::Repeat), [0.0; 8]);
        assert_eq!(padded(8, Pad::Repeat), padded(8, Pad::Zeros));
    }

    #[test]
    fn the_offset_is_whole_samples_of_the_file() {
        let samples: Vec<f32> = (0..30_000).map(|i| i as f32).collect();
        let first = |rate, offset| skip_offset(&samples, SampleRate(rate), offset).first().copied();
        assert_eq!(first(48_000, 0.5), Some(24_000.0));
        assert_eq!(first(24_415, 0.5), Some(12_207.0), "12207.5 rounds down");
        assert_eq!(first(48_000, 0.0), Some(0.0));
        assert_eq!(first(60_000, 0.5), None);
        assert_eq!(first(48_000, 10.0), None);
    }

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        for n in [1, 7, 8, 1_003] {
            let wave = noise(n);
            for isa in Isa::available() {
                let portable = mean_and_deviation(Isa::Portable, &wave);
                assert_eq!(mean_and_deviation(isa, &wave), portable, "{isa:?}, {n}");
            }
        }
    }
}
