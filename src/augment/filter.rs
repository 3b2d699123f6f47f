//! Linear-phase filters: a sinc under a Blackman window.

use std::f64::consts::{PI, TAU};

/// Low pass with `2 half + 1` taps, gain 1 at 0 Hz and a half (-6 dB) at `cutoff_hz`.
///
/// Falls from -0.1 dB to under -70 dB within `5.5 rate / (2 half + 1)` Hz around the cutoff. The middle tap is sample
/// `half`: that many samples are its delay. Proof: `gains_of_low_and_band_pass`.
pub(super) fn low_pass(cutoff_hz: f64, rate_hz: f64, half: usize) -> Vec<f64> {
    let turns = cutoff_hz / rate_hz;
    let tap = |i: usize| {
        let x = i as f64 - half as f64;
        let angle = PI * 2.0 * turns * x;
        let sinc = if x == 0.0 { 1.0 } else { angle.sin() / angle };
        let place = (i + 1) as f64 / (2 * half + 2) as f64;
        let blackman = 0.42 - 0.5 * (TAU * place).cos() + 0.08 * (2.0 * TAU * place).cos();
        2.0 * turns * sinc * blackman
    };
    let taps: Vec<f64> = (0..2 * half + 1).map(tap).collect();
    let sum: f64 = taps.iter().sum();
    taps.into_iter().map(|tap| tap / sum).collect()
}

/// What a low pass at `high_hz` lets through and one at `low_hz` does not.
pub(super) fn band_pass(low_hz: f64, high_hz: f64, rate_hz: f64, half: usize) -> Vec<f64> {
    let (low, high) = (low_pass(low_hz, rate_hz, half), low_pass(high_hz, rate_hz, half));
    high.into_iter().zip(low).map(|(high, low)| high - low).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gain_db(taps: &[f64], hz: f64, rate_hz: f64) -> f64 {
        let turn = TAU * hz / rate_hz;
        let (re, im) = taps.iter().enumerate().fold((0.0, 0.0), |(re, im), (i, tap)| {
            let (sin, cos) = (turn * i as f64).sin_cos();
            (re + tap * cos, im + tap * sin)
        });
        10.0 * (re * re + im * im).log10()
    }

    #[test]
    fn gains_of_low_and_band_pass() {
        let taps = low_pass(3_000.0, 21_500.0, 127);
        let width = 5.5 * 21_500.0 / 255.0 / 2.0;
        assert!(gain_db(&taps, 0.0, 21_500.0).abs() < 1e-9);
        assert!((gain_db(&taps, 3_000.0, 21_500.0) + 6.02).abs() < 0.1);
        for hz in [500.0, 2_000.0, 3_000.0 - width] {
            assert!(gain_db(&taps, hz, 21_500.0).abs() < 0.1, "{hz} Hz");
        }
        for hz in [3_000.0 + width, 5_000.0, 10_750.0] {
            assert!(gain_db(&taps, hz, 21_500.0) < -70.0, "{hz} Hz: {}", gain_db(&taps, hz, 21_500.0));
        }
        let taps = band_pass(300.0, 3_400.0, 8_000.0, 127);
        for (hz, low, high) in
            [(100.0, -999.0, -60.0), (300.0, -6.3, -5.8), (1_000.0, -0.1, 0.1), (3_600.0, -999.0, -60.0)]
        {
            let found = gain_db(&taps, hz, 8_000.0);
            assert!((low..=high).contains(&found), "{hz} Hz: {found}");
        }
    }
}
