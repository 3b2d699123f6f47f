//! Change of sample rate with a frozen polyphase Kaiser windowed-sinc filter: the standard resampler. `signal::wide` has a sharper one.
//!
//! Output sample `n` is the band-limited signal at time `n / to`, without delay:
//! `sum_i input[i] h(n from / to - i)` with `h(x) = c sinc(c x) kaiser(c x / 32)`,
//! `c = 0.91 min(1, to / from)`, zeros outside the input.
//! Outputs are made in blocks of sixteen neighbours (`blocks`) whose taps lie in tables (`filter_bank`), and blocks of
//! the same taps one after the other (`schedule`, `resample_kernel`). Each is a sum in order of time without fused
//! multiply-add, so that every instruction set gives the same bits.

use serde::Serialize;

use super::blocks::BLOCK;
use super::filter_bank::FilterBank;
use super::kaiser::{KAISER_BETA, Window, ZERO_CROSSINGS};
use super::phases::{DEGREE, Phases};
use super::resample_kernel::ResampleKernel;
use super::schedule::Schedule;
use crate::error::{Error, Result};
use crate::simd::Isa;
use crate::units::SampleRate;

/// Cutoff (-6 dB) as a share of the lower Nyquist frequency. With this window the stop band starts
/// at Nyquist and the pass band ends at 0.82 of it (8.8 kHz of 10.75 kHz; -0.02 dB at 9 kHz).
const ROLLOFF: f64 = 0.91;
/// Up to this many phases each has its own taps.
const MAX_EXACT_PHASES: u64 = 4096;
/// Otherwise taps are quadratics over so many segments of the phase, by which a tone errs less than 1e-6 (-120 dB).
const SEGMENTS: u64 = 64;
const LOWEST_RATE: u32 = 1_000;
const HIGHEST_RATE: u32 = 768_000;

/// Every constant that decides an output value, for the definition. A change here is a change of results.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Design {
    /// Raised when the same constants would give other values.
    pub revision: u32,
    pub zero_crossings: f64,
    pub kaiser_beta: f64,
    pub rolloff: f64,
    pub exact_phases: u64,
    pub segments: u64,
    pub degree: usize,
    pub block: usize,
}

/// The design in force.
pub const DESIGN: Design = Design {
    revision: 2,
    zero_crossings: ZERO_CROSSINGS,
    kaiser_beta: KAISER_BETA,
    rolloff: ROLLOFF,
    exact_phases: MAX_EXACT_PHASES,
    segments: SEGMENTS,
    degree: DEGREE,
    block: BLOCK,
};

impl Design {
    /// The design as one line.
    pub fn definition(&self) -> String {
        let Self { revision, zero_crossings, kaiser_beta, rolloff, exact_phases, segments, degree, block } = self;
        format!(
            "v{revision}, polyphase Kaiser windowed sinc, {zero_crossings} zero crossings per side, beta {kaiser_beta}, \
             cutoff {rolloff} of the lower Nyquist frequency, exact rational phases up to {exact_phases}, else \
             polynomials of degree {degree} through Chebyshev nodes of {segments} segments of the phase of each \
             {block} outputs, f32 taps, sums in order of time without fused multiply-add, zeros outside the input, \
             output n at time n / to, ceil(n_in to / from) outputs"
        )
    }
}

/// Plan for one pair of rates: immutable, shared by threads.
pub struct Resampler {
    /// `from / to` in lowest terms.
    from: u64,
    to: u64,
    /// Nothing when the rates are equal.
    plan: Option<(FilterBank, Schedule)>,
    isa: Isa,
}

impl Resampler {
    /// Plans `from` to `to`, both from 1 kHz to 768 kHz.
    pub fn new(from: SampleRate, to: SampleRate) -> Result<Self> {
        Self::check(from, to)?;
        let cutoff = |from: u64, to: u64| ROLLOFF * (to as f64 / from as f64).min(1.0);
        Ok(Self::planned(from.0.into(), to.0.into(), &Window::new(ZERO_CROSSINGS, KAISER_BETA), cutoff))
    }

    /// Refuses rates that nothing is planned for.
    pub(crate) fn check(from: SampleRate, to: SampleRate) -> Result<()> {
        for rate in [from, to] {
            if !(LOWEST_RATE..=HIGHEST_RATE).contains(&rate.0) {
                let limits = format!("can be resampled from {LOWEST_RATE} to {HIGHEST_RATE} Hz");
                return Err(Error::recording(format!("sample rate {} Hz, {limits}", rate.0)));
            }
        }
        Ok(())
    }

    /// From a rate at which nothing stands near half of it: `window` cuts there, between what passes and its first image.
    pub(crate) fn between(from: u64, to: u64, window: &Window) -> Self {
        Self::planned(from, to, window, |_, _| 1.0)
    }

    fn planned(from: u64, to: u64, window: &Window, cutoff: impl Fn(u64, u64) -> f64) -> Self {
        let divisor = greatest_common_divisor(from, to);
        let (from, to) = (from / divisor, to / divisor);
        let cutoff = cutoff(from, to);
        let phases = if to > MAX_EXACT_PHASES { Phases::Segments(SEGMENTS) } else { Phases::Exact };
        let plan =
            (from != to).then(|| (FilterBank::new(from, to, phases, window, cutoff), Schedule::new(from, to, phases)));
        Self { from, to, plan, isa: Isa::fastest() }
    }

    /// Samples that come out of `n_in` samples: `ceil(n_in to / from)`.
    pub fn output_length(&self, n_in: usize) -> usize {
        (n_in as u128 * u128::from(self.to)).div_ceil(u128::from(self.from)) as usize
    }

    /// Memory that the plan takes.
    pub fn n_bytes(&self) -> usize {
        self.plan.as_ref().map_or(0, |(bank, schedule)| bank.n_bytes() + schedule.n_bytes())
    }

    /// Replaces `output` by `input` at the new rate.
    ///
    /// `input`   `[n_in]`, finite
    /// `output`  `[output_length(n_in)]`; the samples themselves when the rates are equal
    /// Proof     `matches_the_f64_twin`, `a_ramp_keeps_its_time`,
    /// `tones_of_the_pass_band_keep_gain_and_time_and_gain_no_distortion`
    pub fn resample(&self, input: &[f32], output: &mut Vec<f32>) {
        let Some((bank, schedule)) = &self.plan else {
            output.clear();
            return output.extend_from_slice(input);
        };
        // What is in there already need not become zero first: every output is made.
        output.resize(self.output_length(input.len()), 0.0);
        ResampleKernel { bank, schedule, input, output }.fill(self.isa);
    }

    #[cfg(test)]
    pub(crate) fn set_isa(&mut self, isa: Isa) {
        self.isa = isa;
    }
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Seed;
    use std::f64::consts::TAU;

    /// Rates of the corpora and others, to the paper's 21.5 kHz and back up.
    const PAIRS: &[(u32, u32)] = &[
        (48_000, 21_500),
        (24_414, 21_500),
        (44_100, 21_500),
        (16_000, 21_500),
        (96_000, 21_500),
        (22_050, 16_000),
        (8_000, 48_000),
        (21_500, 24_413),
    ];

    fn plan(from: u32, to: u32) -> Resampler {
        Resampler::new(SampleRate(from), SampleRate(to)).unwrap()
    }

    fn resampled(from: u32, to: u32, input: &[f32]) -> Vec<f32> {
        // Of what was in there before nothing may be left.
        let mut output = vec![f32::NAN; 50_000];
        plan(from, to).resample(input, &mut output);
        output
    }

    fn sine(hz: f64, rate: u32, n: usize) -> Vec<f32> {
        (0..n).map(|i| (TAU * hz * i as f64 / f64::from(rate)).sin() as f32).collect()
    }

    /// Output samples whose filter lies wholly within the input.
    fn interior(plan: &Resampler, n_in: usize) -> std::ops::Range<usize> {
        let margin = plan.plan.as_ref().map_or(0, |(bank, _)| plan.output_length(bank.before + 2));
        margin..plan.output_length(n_in) - margin
    }

    fn rms_db(values: impl ExactSizeIterator<Item = f64>) -> f64 {
        let n = values.len() as f64;
        10.0 * (values.map(|x| x * x).sum::<f64>() / n).log10()
    }

    /// The definition, evaluated at every output time in f64.
    fn twin(from: u32, to: u32, input: &[f32]) -> Vec<f64> {
        let cutoff = 0.91 * (f64::from(to) / f64::from(from)).min(1.0);
        let window = Window::new(ZERO_CROSSINGS, KAISER_BETA);
        let n_out = (input.len() * to as usize).div_ceil(from as usize);
        let value = |n: usize| {
            let time = (n as u64 * u64::from(from)) as f64 / f64::from(to);
            input.iter().enumerate().map(|(i, &x)| f64::from(x) * window.impulse(cutoff, time - i as f64)).sum()
        };
        (0..n_out).map(value).collect()
    }

    #[test]
    fn matches_the_f64_twin() {
        for &(from, to) in PAIRS {
            let input: Vec<f32> = (0..1500).map(|i| Seed(1).normal_pair(i).0 as f32).collect();
            let expected = twin(from, to, &input);
            let output = resampled(from, to, &input);
            assert_eq!(output.len(), expected.len());
            // White noise of deviation 1: what f32 sums err by.
            let tolerance = 3e-6;
            let distance =
                |a: &[f32], b: &[f64]| a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - b).abs()).fold(0.0, f64::max);
            let error = distance(&output, &expected);
            assert!(error < tolerance, "{from} -> {to}: {error}");
            assert!(distance(&output[1..], &expected) > 100.0 * tolerance, "a shift of one sample must fail");
            let louder: Vec<f32> = output.iter().map(|x| 1.01 * x).collect();
            assert!(distance(&louder, &expected) > 100.0 * tolerance, "a gain of 1 % must fail");
        }
    }

    #[test]
    fn a_constant_stays_constant() {
        for &(from, to) in PAIRS {
            let output = resampled(from, to, &vec![0.5; 4000]);
            let inside = interior(&plan(from, to), 4000);
            let error = output[inside].iter().map(|x| (x - 0.5).abs()).fold(0.0, f32::max);
            assert!(error < 1e-5, "{from} -> {to}: {error}");
        }
    }

    #[test]
    fn a_ramp_keeps_its_time() {
        for &(from, to) in PAIRS {
            let input: Vec<f32> = (0..4000).map(|i| i as f32 / 4000.0).collect();
            let output = resampled(from, to, &input);
            for n in interior(&plan(from, to), 4000) {
                let time = n as f64 * f64::from(from) / f64::from(to);
                let delay = time - f64::from(output[n]) * 4000.0;
                // f32 resolves 1/4000 of the ramp to 2e-4 samples; the gain error of 1e-5 adds up to 0.04 at its end.
                assert!(delay.abs() < 0.01 + 1.2e-5 * time, "{from} -> {to}: output {n} is {delay} samples late");
            }
        }
    }

    #[test]
    fn the_pass_band_is_flat_to_9_khz() {
        for from in [48_000, 24_414, 44_100] {
            let output = resampled(from, 21_500, &sine(9_000.0, from, 20_000));
            let gain = rms_db(output[interior(&plan(from, 21_500), 20_000)].iter().map(|&x| f64::from(x))) + 3.0103;
            assert!(gain.abs() < 0.03, "{from}: {gain} dB");
        }
    }

    #[test]
    fn aliases_stay_under_minus_95_db() {
        for (from, tones) in [
            (48_000, &[10_800.0, 11_500.0, 13_000.0, 18_000.0, 23_000.0][..]),
            (44_100, &[10_800.0, 11_500.0, 13_000.0, 18_000.0, 21_900.0]),
            (24_414, &[10_800.0, 11_200.0, 11_800.0, 12_150.0]),
            (96_000, &[10_800.0, 21_500.0, 30_000.0, 47_000.0]),
        ] {
            for &hz in tones {
                let output = resampled(from, 21_500, &sine(hz, from, 12_000));
                let inside = interior(&plan(from, 21_500), 12_000);
                let alias = rms_db(output[inside].iter().map(|&x| f64::from(x))) + 3.0103;
                assert!(alias < -95.0, "{from}: a tone of {hz} Hz comes back at {alias} dB");
            }
        }
    }

    #[test]
    fn instruction_sets_give_the_same_bits() {
        let input: Vec<f32> = (0..3000).map(|i| Seed(8).normal_pair(i).1 as f32).collect();
        for &(from, to) in PAIRS {
            let (mut fast, mut portable) = (Vec::new(), Vec::new());
            let mut plan = plan(from, to);
            plan.isa = Isa::Portable;
            plan.resample(&input, &mut portable);
            for isa in Isa::available() {
                plan.isa = isa;
                plan.resample(&input, &mut fast);
                assert_eq!(fast, portable, "{from} -> {to}, {isa:?}");
            }
        }
    }

    #[test]
    fn length_is_the_ceiling_of_the_ratio_at_every_length() {
        for &(from, to) in PAIRS {
            for n_in in (0..200).chain([1_000, 10_001]) {
                let expected = (n_in as f64 * f64::from(to) / f64::from(from) - 1e-9).ceil() as usize;
                assert_eq!(resampled(from, to, &vec![1.0; n_in]).len(), expected, "{from} -> {to}, {n_in}");
            }
        }
    }

    #[test]
    fn equal_rates_copy_and_nothing_stays_nothing() {
        assert_eq!(resampled(21_500, 21_500, &[0.1, -0.2, 0.3]), [0.1, -0.2, 0.3]);
        assert!([21_500, 48_000].iter().all(|&from| resampled(from, 21_500, &[]).is_empty()));
    }

    #[test]
    fn rates_out_of_range_are_refused_by_name() {
        for (from, to) in [(0, 21_500), (999, 21_500), (48_000, 800_000)] {
            let error = Resampler::new(SampleRate(from), SampleRate(to)).map(|_| ()).unwrap_err();
            assert!(error.reason().contains("can be resampled from 1000 to 768000 Hz"), "{error}");
        }
    }
}
