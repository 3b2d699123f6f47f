//! The wide resampler against its definition in f64, and what it does to a signal, measured at its output alone.
//!
//! The tests print what they measure: `cargo test --release --lib wide_proof -- --nocapture`.

use std::f64::consts::{PI, TAU};

use super::*;
use crate::units::Seed;

/// Rates of the corpora and others, down and up, with and without a second step, with exact phases and with polynomials.
const PAIRS: &[(u32, u32)] = &[
    (48_000, 16_000),
    (44_100, 16_000),
    (24_414, 16_000),
    (22_050, 16_000),
    (24_000, 16_000),
    (96_000, 16_000),
    (8_000, 16_000),
    (11_025, 16_000),
    (48_000, 21_500),
    (24_414, 21_500),
    (22_050, 21_500),
    (16_000, 21_500),
    (16_000, 22_050),
];

fn plan(from: u32, to: u32) -> WideResampler {
    WideResampler::new(SampleRate(from), SampleRate(to)).expect("known rates")
}

fn resampled(from: u32, to: u32, input: &[f32]) -> Vec<f32> {
    let mut output = vec![f32::NAN; 50_000];
    plan(from, to).resample(input, &mut output);
    output
}

/// Sum over a sinc under a Kaiser window at every output's time. The Bessel function by its integral.
fn windowed_sinc(input: &[f64], ratio: f64, n_out: usize, crossings: f64, cutoff: f64) -> Vec<f64> {
    const STEPS: usize = 200;
    let bessel = |x: f64| {
        let terms = (0..STEPS).map(|i| (x * (PI * (i as f64 + 0.5) / STEPS as f64).cos()).exp());
        terms.sum::<f64>() / STEPS as f64
    };
    let reach = crossings / cutoff;
    let table: Vec<f64> =
        (0..=20_001).map(|i| bessel(10.94 * (1.0 - (f64::from(i) / 20_000.0).powi(2)).max(0.0).sqrt())).collect();
    let kernel = |x: f64| {
        let place = (x / reach).abs() * 20_000.0;
        if place >= 20_000.0 {
            return 0.0;
        }
        let (index, share) = (place as usize, place.fract());
        let window = (table[index] + share * (table[index + 1] - table[index])) / table[0];
        let angle = PI * cutoff * x;
        cutoff * window * if angle == 0.0 { 1.0 } else { angle.sin() / angle }
    };
    let value = |n: usize| {
        let time = n as f64 * ratio;
        let (first, last) = ((time - reach).ceil().max(0.0) as usize, (time + reach).floor() as usize);
        input.iter().enumerate().take(last + 1).skip(first).map(|(i, x)| x * kernel(time - i as f64)).sum()
    };
    (0..n_out).map(value).collect()
}

/// The definition, evaluated in f64.
pub(crate) fn twin(input: &[f64], from: u32, to: u32) -> Vec<f64> {
    let (rate_in, rate_out) = (f64::from(from), f64::from(to));
    // The rate in between, by the words of the definition.
    let between = if from.is_multiple_of(to) || to.is_multiple_of(from) {
        rate_out
    } else if rate_in >= 1.1 * rate_out {
        rate_in / (rate_in / (1.1 * rate_out)).floor()
    } else {
        (1..).map(|power| rate_in * f64::from(1u32 << power)).find(|rate| *rate >= 1.1 * rate_out).expect("some")
    };
    let lower = rate_in.min(rate_out);
    let n_between = (input.len() as f64 * between / rate_in - 1e-9).ceil() as usize;
    let n_out = (input.len() as f64 * rate_out / rate_in - 1e-9).ceil() as usize;
    let sharp = windowed_sinc(input, rate_in / between, n_between, 136.0, 0.975 * lower / rate_in);
    if between == rate_out {
        return sharp;
    }
    let crossings = (3.5 / (1.0 - lower / between)).ceil();
    windowed_sinc(&sharp, between / rate_out, n_out, crossings, 1.0)
}

#[test]
fn matches_the_f64_twin() {
    for &(from, to) in PAIRS {
        for n in [1, 700, 3_001] {
            let input: Vec<f32> = (0..n).map(|i| Seed(1).normal_pair(i).0 as f32).collect();
            let expected = twin(&input.iter().map(|&x| f64::from(x)).collect::<Vec<_>>(), from, to);
            let output = resampled(from, to, &input);
            assert_eq!(output.len(), expected.len(), "{from} -> {to}, {n}");
            let distance =
                |a: &[f32]| a.iter().zip(&expected).map(|(&a, b)| (f64::from(a) - b).abs()).fold(0.0, f64::max);
            // White noise of deviation 1: what f32 transforms and sums err by.
            let error = distance(&output);
            assert!(error < 5e-6, "{from} -> {to}, {n} samples: {error}");
            if n > 1 {
                assert!(distance(&output[1..]) > 5e-4, "a shift of one sample must fail");
                let louder: Vec<f32> = output.iter().map(|x| 1.01 * x).collect();
                assert!(distance(&louder) > 5e-4, "a gain of 1 % must fail");
            }
        }
    }
}

#[test]
fn blocks_meet_without_a_seam() {
    for &(from, to) in PAIRS {
        // Many blocks in all lanes: a tone in the middle of the band is a tone everywhere.
        let hz = 0.31 * f64::from(from.min(to)) / 2.0;
        let n = 150_000;
        let output = tone(from, to, hz, n);
        let (amplitude, delay, rest) = fitted(&output, hz, to);
        // The second step's ripple is -108 dB: 2e-6 of 0.5.
        assert!((amplitude - 0.5).abs() < 3e-6 && delay.abs() < 1e-4, "{from} -> {to}: {amplitude}, {delay}");
        let margin = margin(from, to);
        let worst = output[margin..output.len() - margin]
            .iter()
            .enumerate()
            .map(|(i, y)| (y - 0.5 * (TAU * hz * (i + margin) as f64 / f64::from(to)).sin()).abs())
            .fold(0.0, f64::max);
        assert!(worst < 5e-6 && rest < -105.0, "{from} -> {to}: {worst} at worst, {rest} dB");
    }
}

/// Outputs at each end over which a filter hangs.
fn margin(from: u32, to: u32) -> usize {
    (190.0 * f64::from(to) / f64::from(from.min(to))).ceil() as usize
}

fn tone(from: u32, to: u32, hz: f64, n: usize) -> Vec<f64> {
    let input: Vec<f32> = (0..n).map(|i| (0.5 * (TAU * hz * i as f64 / f64::from(from)).sin()) as f32).collect();
    resampled(from, to, &input).into_iter().map(f64::from).collect()
}

/// A sine fitted to `output` without its ends: amplitude, delay in output samples, the power of what is left over in dB
/// against it.
fn fitted(output: &[f64], hz: f64, to: u32) -> (f64, f64, f64) {
    let angle = |i: usize| TAU * hz * i as f64 / f64::from(to);
    let margin = 1_000.min(output.len() / 4);
    let inside: Vec<(usize, f64)> =
        output.iter().copied().enumerate().take(output.len() - margin).skip(margin).collect();
    let (mut ss, mut cc, mut sc, mut ys, mut yc) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for &(i, y) in &inside {
        let (sin, cos) = angle(i).sin_cos();
        (ss, cc, sc, ys, yc) = (ss + sin * sin, cc + cos * cos, sc + sin * cos, ys + y * sin, yc + y * cos);
    }
    let determinant = ss * cc - sc * sc;
    let (a, b) = ((ys * cc - yc * sc) / determinant, (yc * ss - ys * sc) / determinant);
    let rest: f64 = inside.iter().map(|&(i, y)| (y - a * angle(i).sin() - b * angle(i).cos()).powi(2)).sum();
    let power = inside.len() as f64 * (a * a + b * b) / 2.0;
    (a.hypot(b), -b.atan2(a) / (TAU * hz / f64::from(to)), 10.0 * (rest / power).log10())
}

#[test]
fn the_pass_band_is_flat_to_0_95_and_nothing_stands_above_1() {
    for &(from, to) in PAIRS {
        let (lower, n) = (f64::from(from.min(to)) / 2.0, from as usize / 4);
        let mut worst = (0.0f64, f64::MIN, f64::MIN);
        for share in [0.01, 0.2, 0.6, 0.837, 0.9, 0.93, 0.95] {
            let hz = share * lower;
            let (amplitude, delay, rest) = fitted(&tone(from, to, hz, n), hz, to);
            let gain = 20.0 * (amplitude / 0.5).log10();
            assert!(gain.abs() < 0.001, "{from} -> {to}, {share} of the lower Nyquist: gain {gain} dB");
            assert!(delay.abs() < 0.001, "{from} -> {to}, {share}: {delay} samples late");
            // Images, aliases and rounding together.
            assert!(rest < -95.0, "{from} -> {to}, {share}: THD+N {rest} dB");
            worst = (worst.0.max(gain.abs()), worst.1.max(rest), worst.2);
        }
        // Aliases of what lies above the new border.
        let above = [1.0001, 1.002, 1.01, 1.03, 1.05, 1.2, 1.7, 2.3, 2.99].map(|share| share * lower);
        for hz in above.into_iter().filter(|hz| *hz < 0.9999 * f64::from(from) / 2.0) {
            let output = tone(from, to, hz, n);
            let inside = &output[1_000.min(output.len() / 4)..];
            let inside = &inside[..inside.len() - 1_000.min(output.len() / 4)];
            let power = inside.iter().map(|x| x * x).sum::<f64>() / inside.len() as f64;
            let alias = 10.0 * (8.0 * power).log10();
            assert!(alias < -95.0, "{from} -> {to}, {hz:.0} Hz: an alias of {alias} dB");
            worst.2 = worst.2.max(alias);
        }
        let aliases = if worst.2 == f64::MIN { "no aliases".into() } else { format!("aliases {:.1} dB", worst.2) };
        println!("{from} -> {to}: gain {:.6} dB, THD+N {:.1} dB, {aliases} at worst", worst.0, worst.1);
    }
}

#[test]
fn instruction_sets_give_the_same_bits() {
    let input: Vec<f32> = (0..30_000).map(|i| Seed(8).normal_pair(i).1 as f32).collect();
    for &(from, to) in PAIRS {
        let (mut plan, mut fast, mut portable) = (plan(from, to), Vec::new(), Vec::new());
        plan.set_isa(Isa::Portable);
        plan.resample(&input, &mut portable);
        for isa in Isa::available() {
            plan.set_isa(isa);
            plan.resample(&input, &mut fast);
            assert!(fast == portable, "{from} -> {to}, {isa:?}");
        }
    }
}

#[test]
fn length_is_the_ceiling_of_the_ratio_at_every_length() {
    for &(from, to) in PAIRS {
        let plan = plan(from, to);
        for n_in in (0..70).chain([1_000, 10_001]) {
            let expected = (n_in as f64 * f64::from(to) / f64::from(from) - 1e-9).ceil() as usize;
            let mut output = vec![f32::NAN; 3];
            plan.resample(&vec![1.0; n_in], &mut output);
            assert_eq!(output.len(), expected, "{from} -> {to}, {n_in}");
        }
    }
}

#[test]
fn equal_rates_copy_and_rates_out_of_range_are_refused_by_name() {
    assert_eq!(resampled(16_000, 16_000, &[0.1, -0.2, 0.3]), [0.1, -0.2, 0.3]);
    for (from, to) in [(0, 16_000), (999, 16_000), (48_000, 800_000)] {
        let error = WideResampler::new(SampleRate(from), SampleRate(to)).map(|_| ()).expect_err("refused");
        assert!(error.reason().contains("can be resampled from 1000 to 768000 Hz"), "{error}");
    }
    // The ends of what is taken.
    for (from, to) in [(1_000, 768_000), (768_000, 1_000), (767_999, 16_000), (1_001, 48_000), (35_199, 16_000)] {
        let n = 2 * from as usize / 1_000;
        let output = resampled(from, to, &vec![0.5; n]);
        assert!(output.iter().all(|x| x.is_finite()) && output.len() == (n * to as usize).div_ceil(from as usize));
    }
}
