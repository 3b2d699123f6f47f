//! What the resampler does to a signal, measured at its output alone: gain, distortion, aliases, delay.
//!
//! Every rate that recordings come at is taken to the paper's 21.5 kHz, and to 16 and 22.05 kHz. The tests print what they
//! measure: `cargo test --release --lib resample_proof -- --nocapture`.

use std::f64::consts::TAU;

use super::resample::Resampler;
use crate::units::SampleRate;

const FROM: [u32; 8] = [8_000, 16_000, 22_050, 24_000, 24_414, 44_100, 48_000, 96_000];
const TO: [u32; 3] = [21_500, 16_000, 22_050];

/// Output for `n` samples of `signal` (a function of seconds), without the ends, where the filter hangs over.
/// Beside it the number of its first sample.
fn passed(from: u32, to: u32, n: usize, signal: impl Fn(f64) -> f64) -> (usize, Vec<f64>) {
    let input: Vec<f32> = (0..n).map(|i| signal(i as f64 / f64::from(from)) as f32).collect();
    let mut output = Vec::new();
    Resampler::new(SampleRate(from), SampleRate(to)).expect("known rates").resample(&input, &mut output);
    // 32 zero crossings at 0.91 of the lower rate.
    let margin = (36.0 * f64::from(to) / f64::from(from.min(to))).ceil() as usize + 1;
    let inside = output[margin..output.len() - margin].iter().map(|&x| f64::from(x)).collect();
    (margin, inside)
}

/// A sine fitted to `output`: amplitude, delay in output samples, and the power of what is left over against it in dB.
fn fitted(output: &[f64], first: usize, hz: f64, to: u32) -> (f64, f64, f64) {
    let angle = |i: usize| TAU * hz * (first + i) as f64 / f64::from(to);
    let (mut ss, mut cc, mut sc, mut ys, mut yc) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (i, y) in output.iter().enumerate() {
        let (sin, cos) = angle(i).sin_cos();
        (ss, cc, sc, ys, yc) = (ss + sin * sin, cc + cos * cos, sc + sin * cos, ys + y * sin, yc + y * cos);
    }
    let determinant = ss * cc - sc * sc;
    let (a, b) = ((ys * cc - yc * sc) / determinant, (yc * ss - ys * sc) / determinant);
    let rest: f64 = output.iter().enumerate().map(|(i, y)| (y - a * angle(i).sin() - b * angle(i).cos()).powi(2)).sum();
    let tone = output.len() as f64 * (a * a + b * b) / 2.0;
    (a.hypot(b), -b.atan2(a) / (TAU * hz / f64::from(to)), 10.0 * (rest / tone).log10())
}

/// The pass band ends at 0.82 of the lower Nyquist frequency.
fn pass_band_hz(from: u32, to: u32) -> f64 {
    0.82 * f64::from(from.min(to)) / 2.0
}

#[test]
fn tones_of_the_pass_band_keep_gain_and_time_and_gain_no_distortion() {
    for (from, to) in pairs() {
        let mut worst = (0.0f64, 0.0f64, f64::MIN);
        for share in [0.02, 0.11, 0.37, 0.63, 0.89, 1.0] {
            let hz = share * pass_band_hz(from, to);
            let (first, output) = passed(from, to, from as usize / 4, |t| 0.5 * (TAU * hz * t).sin());
            let (amplitude, delay, distortion) = fitted(&output, first, hz, to);
            let gain = 20.0 * (amplitude / 0.5).log10();
            assert!(gain.abs() < 0.001, "{from} -> {to}, {hz:.0} Hz: gain {gain} dB");
            assert!(delay.abs() < 0.001, "{from} -> {to}, {hz:.0} Hz: {delay} samples late");
            // THD+N: harmonics, images, aliases and rounding together.
            assert!(distortion < -95.0, "{from} -> {to}, {hz:.0} Hz: THD+N {distortion} dB");
            worst = (worst.0.max(gain.abs()), worst.1.max(delay.abs()), worst.2.max(distortion));
        }
        let (gain, delay, distortion) = worst;
        println!("{from} -> {to}: gain {gain:.6} dB, delay {delay:.6} samples, THD+N {distortion:.1} dB at worst");
    }
}

#[test]
fn tones_above_the_new_nyquist_frequency_are_gone() {
    for (from, to) in pairs().into_iter().filter(|(from, to)| from > to) {
        let (low, high) = (f64::from(to) / 2.0, f64::from(from) / 2.0);
        let mut worst = f64::MIN;
        for share in [0.005, 0.1, 0.35, 0.7, 0.99] {
            let hz = low + share * (high - low);
            let (_, output) = passed(from, to, from as usize / 4, |t| (TAU * hz * t).sin());
            let power = output.iter().map(|x| x * x).sum::<f64>() / output.len() as f64;
            let alias = 10.0 * (2.0 * power).log10();
            // The stop band begins at the border itself, where the first lobe is a little higher.
            let limit = if hz < 1.005 * low { -90.0 } else { -95.0 };
            assert!(alias < limit, "{from} -> {to}, {hz:.0} Hz: an alias of {alias} dB");
            worst = worst.max(alias);
        }
        println!("{from} -> {to}: aliases at {worst:.1} dB at worst");
    }
}

#[test]
fn a_sweep_over_the_pass_band_comes_out_as_it_would_have_been_sampled() {
    for (from, to) in pairs() {
        let (seconds, highest) = (0.25, pass_band_hz(from, to));
        let phase = |t: f64| TAU * (20.0 * t + 0.5 * (highest - 20.0) / seconds * t * t);
        let (first, output) = passed(from, to, from as usize / 4, |t| 0.5 * phase(t).sin());
        let exact = |i: usize| 0.5 * phase((first + i) as f64 / f64::from(to)).sin();
        let error: f64 = output.iter().enumerate().map(|(i, y)| (y - exact(i)).powi(2)).sum();
        let power: f64 = (0..output.len()).map(|i| exact(i).powi(2)).sum();
        let off = 10.0 * (error / power).log10();
        // The last percents of the sweep lie where the filter begins to fall.
        assert!(off < -80.0, "{from} -> {to}: {off} dB");
        let late = |i: usize| exact(i.saturating_sub(1));
        let shifted: f64 = output.iter().enumerate().map(|(i, y)| (y - late(i)).powi(2)).sum();
        assert!(10.0 * (shifted / power).log10() > -20.0, "a shift of one sample is seen");
    }
}

#[test]
fn a_ramp_comes_out_without_delay() {
    for (from, to) in pairs() {
        // Small values, so that f32 resolves the ramp to 1e-3 of a sample.
        let slope = 1e-3;
        let n = 2_000;
        let (first, output) = passed(from, to, n, |t| slope * (t * f64::from(from) - n as f64 / 2.0) / n as f64);
        let (rate_in, rate_out) = (f64::from(from), f64::from(to));
        let input_time = |value: f64| value * n as f64 / slope + n as f64 / 2.0;
        let delays = output.iter().enumerate().map(|(i, &y)| (first + i) as f64 - input_time(y) * rate_out / rate_in);
        let mean = delays.clone().sum::<f64>() / output.len() as f64;
        let worst = delays.map(f64::abs).fold(0.0, f64::max);
        assert!(mean.abs() < 0.001 && worst < 0.01, "{from} -> {to}: delay {mean}, at worst {worst} output samples");
    }
}

fn pairs() -> Vec<(u32, u32)> {
    let of = |to: u32| FROM.into_iter().filter(move |from| *from != to).map(move |from| (from, to));
    TO.into_iter().flat_map(of).collect()
}
