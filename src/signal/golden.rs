//! Every named front end against librosa and torchaudio, which agree with each other to the last bit of float32;
//! `tests/golden/log_mel` holds the numbers, the script that made them and the versions of the libraries.

use std::path::Path;

use super::condition::{condition, pad};
use super::log_mel::MelPlan;
use super::profile::{FrontEnd, LogScale, PROFILES, Window, profile};

/// The golden files hold every eighth frame.
const EVERY: usize = 8;

struct Golden {
    profile: &'static str,
    wave: &'static str,
    /// `[n_mels, n_frames / 8]` little-endian f32.
    bytes: Vec<u8>,
}

/// Two waves for each profile.
fn goldens() -> impl Iterator<Item = Golden> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/log_mel");
    let of_profile = |profile: &'static str| ["voice", "chirp"].map(|wave| (profile, wave));
    PROFILES.iter().flat_map(move |known| of_profile(known.name)).map(move |(profile, wave)| {
        let file = folder.join(format!("{profile}-{wave}.f32"));
        let bytes = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        Golden { profile, wave, bytes }
    })
}

/// Greatest and mean absolute difference.
#[derive(Debug)]
struct Distance {
    max: f64,
    mean: f64,
}

impl Distance {
    /// Paper: 1e-3 ln units at worst and 5e-6 on average, what f32 costs. Lineage: 0.01 dB.
    fn within_tolerance(&self, front_end: &FrontEnd) -> bool {
        match front_end.log {
            LogScale::Natural { .. } => self.max <= 1e-3 && self.mean <= 5e-6,
            LogScale::DecibelsBelowMax { .. } => self.max <= 0.01,
        }
    }
}

impl Golden {
    fn front_end(&self) -> FrontEnd {
        profile(self.profile).expect("known")
    }

    /// The same wave that the script made, conditioned.
    fn wave(&self) -> Vec<f32> {
        let wave: Vec<f32> = integers(self.wave).iter().map(|&value| value as f32 / 32768.0).collect();
        let mut out = Vec::new();
        let shape = condition(&wave, &self.front_end(), &mut out).expect("a signal");
        pad(&mut out, shape.valid_samples, self.front_end().pad);
        out
    }

    /// Distance of a wave's spectrogram from the numbers of librosa.
    fn distance(&self, wave: &[f32], front_end: &FrontEnd) -> Distance {
        let plan = MelPlan::new(front_end).expect("valid");
        let n_frames = front_end.n_frames();
        let mut out = vec![0.0; front_end.n_mels * n_frames];
        plan.log_mel(wave, &mut plan.scratch(), &mut out);
        let values = out.chunks_exact(n_frames).flat_map(|row| row.iter().step_by(EVERY));
        let (expected, rest) = self.bytes.as_chunks::<4>();
        assert!(rest.is_empty());
        assert_eq!(expected.len(), front_end.n_mels * n_frames.div_ceil(EVERY));
        let (mut max, mut sum) = (0.0f64, 0.0);
        for (&value, &expected) in values.zip(expected) {
            let difference = (f64::from(value) - f64::from(f32::from_le_bytes(expected))).abs();
            max = max.max(difference);
            sum += difference;
        }
        Distance { max, mean: sum / expected.len() as f64 }
    }
}

/// Upper halves of a linear congruential generator, as the script's `noise`.
fn noise(n: usize) -> Vec<i64> {
    let mut state = 12345u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        i64::from(state >> 16) - 32768
    };
    std::iter::repeat_with(next).take(n).collect()
}

/// A sine made of two parabolas, as the script's `arch`.
fn arch(phase: u32) -> i64 {
    let x = i64::from(phase >> 16) - 32768;
    (x * (32768 - x.abs())) >> 13
}

/// The script's `voice` and `chirp`.
fn integers(wave: &str) -> Vec<i64> {
    let mut phase = 0u32;
    match wave {
        "voice" => {
            let noise = noise(47_300);
            let value = |i: usize| {
                phase = phase.wrapping_add(24_000_000 + 400 * (i as u32 % 20_000));
                let harmonics: i64 = (1..25).map(|h| arch(phase.wrapping_mul(h)) * (4096 / i64::from(h))).sum();
                let swell = (i % 5000).min(5000 - i % 5000) as i64;
                ((harmonics * swell) >> 28) + (noise[i] >> 10)
            };
            (0..47_300).map(value).collect()
        }
        "chirp" => {
            let noise = noise(70_000);
            let value = |i: usize| {
                phase = phase.wrapping_add(20_000 * i as u32);
                (arch(phase) >> 2) + (noise[i] >> 3)
            };
            (0..70_000).map(value).collect()
        }
        other => panic!("no wave {other}"),
    }
}

#[test]
fn the_waves_are_those_of_the_script() {
    // The script prints this sum beside each wave.
    let sum = |wave| {
        let terms = integers(wave).into_iter().enumerate().map(|(i, value)| (value * i as i64).rem_euclid(1 << 32));
        terms.sum::<i64>().rem_euclid(1 << 32)
    };
    assert_eq!(sum("voice"), 451_401_991);
    assert_eq!(sum("chirp"), 793_745_774);
}

#[test]
fn log_mel_matches_librosa_and_torchaudio_golden() {
    for golden in goldens() {
        let distance = golden.distance(&golden.wave(), &golden.front_end());
        assert!(distance.within_tolerance(&golden.front_end()), "{} {}: {distance:?}", golden.profile, golden.wave);
    }
}

#[test]
fn a_shift_of_one_sample_is_seen() {
    for golden in goldens() {
        let mut wave = golden.wave();
        wave.rotate_right(1);
        let distance = golden.distance(&wave, &golden.front_end());
        assert!(!distance.within_tolerance(&golden.front_end()), "{} {}: {distance:?}", golden.profile, golden.wave);
    }
}

#[test]
fn a_gain_of_one_percent_is_seen_unless_decibels_are_relative() {
    for golden in goldens() {
        let wave: Vec<f32> = golden.wave().iter().map(|x| 1.01 * x).collect();
        let distance = golden.distance(&wave, &golden.front_end());
        // Decibels below the maximum do not know a gain: there it must change nothing.
        let relative = matches!(golden.front_end().log, LogScale::DecibelsBelowMax { .. });
        assert_eq!(
            distance.within_tolerance(&golden.front_end()),
            relative,
            "{} {}: {distance:?}",
            golden.profile,
            golden.wave
        );
    }
}

#[test]
fn the_other_hamming_window_is_seen() {
    for golden in goldens() {
        let mut front_end = golden.front_end();
        front_end.window = match front_end.window {
            Window::HammingSymmetric => Window::HammingPeriodic,
            Window::HammingPeriodic => Window::HammingSymmetric,
        };
        let distance = golden.distance(&golden.wave(), &front_end);
        assert!(!distance.within_tolerance(&front_end), "{} {}: {distance:?}", golden.profile, golden.wave);
    }
}
