//! The front end once more, slowly, in f64, by the textbook: what the fast path is proved against.
//!
//! Written apart from it: a discrete Fourier transform by its sum, a dense bank from the definition of a triangle.

use std::f64::consts::{PI, TAU};

use super::profile::{FrontEnd, LogScale, MelNorm, MelScale, PowerScale, Window};

/// 2595 / ln 10: the HTK scale with a natural logarithm.
const HTK_FACTOR: f64 = 2_595.0 / std::f64::consts::LN_10;

/// `[n_frames][n_bins]`, scaled as the front end says.
pub(super) fn power(wave: &[f32], front_end: &FrontEnd) -> Vec<Vec<f64>> {
    let (n_fft, length) = (front_end.n_fft, front_end.window_length);
    let period = if front_end.window == Window::HammingSymmetric { length - 1 } else { length } as f64;
    let scale = if front_end.power == PowerScale::OverNFft { n_fft as f64 } else { 1.0 };
    let roots: Vec<(f64, f64)> = (0..n_fft).map(|i| (TAU * i as f64 / n_fft as f64).sin_cos()).collect();
    let sample = |position: isize| {
        usize::try_from(position).ok().and_then(|position| wave.get(position)).map_or(0.0, |&x| f64::from(x))
    };
    let frame = |frame_idx: usize| {
        // Sample k of the window stands (n_fft - length) / 2 + k samples into the frame.
        let begin = (frame_idx * front_end.hop) as isize - (n_fft / 2) as isize + ((n_fft - length) / 2) as isize;
        let taper = |k: usize| 0.54 + 0.46 * (PI + TAU * k as f64 / period).cos();
        let windowed: Vec<f64> = (0..length).map(|k| taper(k) * sample(begin + k as isize)).collect();
        let bin = |bin: usize| {
            let (mut re, mut im) = (0.0, 0.0);
            for (k, x) in windowed.iter().enumerate() {
                let (sin, cos) = roots[bin * k % n_fft];
                re += x * cos;
                im -= x * sin;
            }
            (re * re + im * im) / scale
        };
        (0..front_end.n_bins()).map(bin).collect()
    };
    (0..front_end.n_frames()).map(frame).collect()
}

/// `[n_mels][n_bins]` triangles.
pub(super) fn dense_bank(front_end: &FrontEnd) -> Vec<Vec<f64>> {
    warped_bank(front_end, 1.0)
}

/// The same with its edges warped: two straight lines, one through 0 and one through half the rate.
pub(super) fn warped_bank(front_end: &FrontEnd, factor: f64) -> Vec<Vec<f64>> {
    let top = front_end.sample_rate.hz() / 2.0;
    let formants = if 0.6 * top < 4_800.0 { 0.6 * top } else { 4_800.0 };
    let (from, to) = if factor < 1.0 { (formants, formants * factor) } else { (formants / factor, formants) };
    let warp = |hz: f64| {
        let share = (hz - from) / (top - from);
        if share < 0.0 { hz * to / from } else { to + share * (top - to) }
    };
    let htk = front_end.mel_scale == MelScale::Htk;
    let ratio = 6.4f64.powf(1.0 / 27.0);
    let mel = |hz: f64| match htk {
        true => HTK_FACTOR * (hz / 700.0).ln_1p(),
        false if hz < 1000.0 => 3.0 * hz / 200.0,
        false => 15.0 + (hz / 1000.0).ln() / ratio.ln(),
    };
    let hz = |mel: f64| match htk {
        true => 700.0 * (mel / HTK_FACTOR).exp_m1(),
        false if mel < 15.0 => 200.0 * mel / 3.0,
        false => 1000.0 * ratio.powf(mel - 15.0),
    };
    let (low, high) = (mel(front_end.fmin_hz), mel(front_end.fmax_hz));
    let edge = |i: usize| warp(hz(low + (high - low) * i as f64 / (front_end.n_mels + 1) as f64));
    let triangle = |band: usize, x: f64| {
        let (left, centre, right) = (edge(band), edge(band + 1), edge(band + 2));
        let height = if front_end.mel_norm == MelNorm::Peak { 1.0 } else { 2.0 / (right - left) };
        if x <= left || x >= right {
            0.0
        } else if x <= centre {
            height * (x - left) / (centre - left)
        } else {
            height * (right - x) / (right - centre)
        }
    };
    let bin_hz = front_end.sample_rate.hz() / front_end.n_fft as f64;
    let row = |band: usize| (0..front_end.n_bins()).map(|bin| triangle(band, bin as f64 * bin_hz)).collect();
    (0..front_end.n_mels).map(row).collect()
}

/// `[n_mels, n_frames]` in C order.
pub(crate) fn log_mel(wave: &[f32], front_end: &FrontEnd) -> Vec<f64> {
    warped_log_mel(wave, front_end, 1.0)
}

/// The same with a warped bank.
pub(crate) fn warped_log_mel(wave: &[f32], front_end: &FrontEnd, factor: f64) -> Vec<f64> {
    let power = power(wave, front_end);
    let bank = warped_bank(front_end, factor);
    let mut mel = Vec::with_capacity(bank.len() * power.len());
    for row in &bank {
        mel.extend(power.iter().map(|frame| row.iter().zip(frame).map(|(weight, power)| weight * power).sum::<f64>()));
    }
    match front_end.log {
        LogScale::Natural { floor } => mel.iter().map(|mel| mel.max(floor).ln()).collect(),
        LogScale::DecibelsBelowMax { amin, top_db } => {
            let greatest = mel.iter().copied().fold(amin, f64::max);
            mel.iter().map(|mel| (10.0 * (mel.max(amin) / greatest).log10()).max(-top_db)).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::profile::profile;
    use crate::units::SampleRate;

    fn small() -> FrontEnd {
        FrontEnd {
            sample_rate: SampleRate(2000),
            n_samples: 8,
            n_fft: 8,
            window_length: 4,
            hop: 4,
            window: Window::HammingPeriodic,
            n_mels: 1,
            mel_scale: MelScale::Slaney,
            fmax_hz: 500.0,
            ..profile("paper").expect("known")
        }
    }

    fn close(a: &[f64], b: &[f64]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12)
    }

    #[test]
    fn power_by_hand() {
        // Window 0.08, 0.54, 1, 0.54 lies on samples -2..2, 2..6 and 6..10 of three frames.
        let frames = power(&[0.0, 0.0, 0.0, 0.0, 3.0, 0.0, 0.0, 0.0], &small());
        assert_eq!(frames.len(), 3);
        // One sample of height 3 under the window's 1: a flat spectrum of 9, over n_fft 8.
        assert!(close(&frames[1], &[9.0 / 8.0; 5]), "{frames:?}");
        assert!(close(&frames[0], &[0.0; 5]) && close(&frames[2], &[0.0; 5]));
        // A constant: bin 0 is the window's sum, bin 4 its alternating sum. Frame 0 sees only its right half.
        let frames = power(&[1.0; 8], &small());
        assert!((frames[1][0] - 2.16f64.powi(2) / 8.0).abs() < 1e-12);
        assert!((frames[1][4] - 0.0f64).abs() < 1e-12, "0.08 - 0.54 + 1 - 0.54 = 0");
        assert!((frames[0][0] - 1.54f64.powi(2) / 8.0).abs() < 1e-12);
        // Bin 2 of the same: 0.08 - 1 + i (0.54 - 0.54).
        assert!((frames[1][2] - 0.92f64.powi(2) / 8.0).abs() < 1e-12);
    }

    #[test]
    fn bank_and_logarithm_by_hand() {
        // Bins at 0, 250, 500, 750, 1000 Hz; the triangle runs from 0 over 250 to 500 Hz.
        assert!(close(&dense_bank(&small())[0], &[0.0, 1.0, 0.0, 0.0, 0.0]));
        let wave = [0.0, 0.0, 0.0, 0.0, 3.0, 0.0, 0.0, 0.0];
        let floor = 1e-10f64.ln();
        assert!(close(&log_mel(&wave, &small()), &[floor, (9.0f64 / 8.0).ln(), floor]));
        let decibels = FrontEnd { log: LogScale::DecibelsBelowMax { amin: 1e-10, top_db: 80.0 }, ..small() };
        assert!(close(&log_mel(&wave, &decibels), &[-80.0, 0.0, -80.0]));
    }

    #[test]
    fn htk_mel_by_hand() {
        // On the HTK scale 0 to 6300 Hz is 0 to 2595 mel, half of it is 700 (sqrt(10) - 1) Hz: bin 1 at 1000 Hz.
        let front_end = FrontEnd {
            sample_rate: SampleRate(16_000),
            n_fft: 16,
            window_length: 16,
            mel_scale: MelScale::Htk,
            fmax_hz: 6_300.0,
            ..small()
        };
        let centre = 700.0 * (10f64.sqrt() - 1.0);
        let row = &dense_bank(&front_end)[0];
        assert!((row[1] - 1000.0 / centre).abs() < 1e-12, "{row:?}");
        assert!((row[6] - 300.0 / (6300.0 - centre)).abs() < 1e-12);
        assert_eq!(row[7], 0.0);
    }
}
