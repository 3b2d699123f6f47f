//! The whole way from the bytes of a recording to its spectrogram against the definition in f64, and its shortest recordings.
//!
//! The twin is written apart from the code: an offset, a sum over a windowed sinc, a z-score, and the twin of the log-mel
//! spectrogram, which hand values prove.

use std::f64::consts::PI;

use super::*;
use crate::audio::write_wav;
use crate::recordings::Buffers;
use crate::signal::profile::{LogScale, PROFILES, profile};
use crate::signal::speech::{Speech, Start};
use crate::signal::twin;
use crate::signal::wide::{Resampling, proof::twin as wide_twin};
use crate::units::SampleRate;

/// Rates of recordings: the corpora's, the front ends' own, and one with interpolated phases at every front end.
const RATES: [u32; 6] = [8_000, 16_000, 22_050, 24_414, 44_100, 48_000];

/// The samples of a recording as 16 bits hold them, and its file.
fn recording(rate: u32, n_samples: usize) -> (Vec<f64>, Vec<u8>) {
    let noise = |i: usize| Seed(21).normal_pair(i as u64).0;
    let value = |i: usize| (0.05 * noise(i) + 0.1 * (i as f64 * 0.07).sin()) * (0.2 + (i as f64 * 0.003).sin().abs());
    let samples: Vec<f32> = (0..n_samples).map(|i| value(i) as f32).collect();
    let file = write_wav(&samples, SampleRate(rate)).expect("a file");
    let stored = |&x: &f32| f64::from((x.clamp(-1.0, 1.0) * 32_767.0).round()) / 32_768.0;
    (samples.iter().map(stored).collect(), file)
}

/// Modified Bessel function of order 0, by its integral: the mean of `exp(x cos t)` over half a turn.
fn bessel_i0(x: f64) -> f64 {
    const STEPS: usize = 200;
    let terms = (0..STEPS).map(|i| (x * (PI * (i as f64 + 0.5) / STEPS as f64).cos()).exp());
    terms.sum::<f64>() / STEPS as f64
}

/// Sum over a sinc under a Kaiser window: 32 zero crossings, beta 10.06, cutoff at 0.91 of the lower Nyquist frequency.
fn resampled(samples: &[f64], from: u32, to: u32) -> Vec<f64> {
    let (from, to) = (f64::from(from), f64::from(to));
    let cutoff = 0.91 * (to / from).min(1.0);
    let reach = 32.0 / cutoff;
    // The window changes slowly: a table of it, read linearly, is exact to 1e-9.
    let table: Vec<f64> =
        (0..=20_001).map(|i| bessel_i0(10.06 * (1.0 - (f64::from(i) / 20_000.0).powi(2)).max(0.0).sqrt())).collect();
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
    let n_out = (samples.len() as f64 * to / from - 1e-9).ceil() as usize;
    let value = |n: usize| {
        let time = n as f64 * from / to;
        let (first, last) = ((time - reach).ceil().max(0.0) as usize, (time + reach).floor() as usize);
        let own = samples.iter().enumerate().take(last + 1).skip(first);
        own.map(|(i, x)| x * kernel(time - i as f64)).sum()
    };
    (0..n_out).map(value).collect()
}

/// First and last sample of the speech: three frames in a row, none of them far below the loudest such three.
fn speech(samples: &[f64], rate: u32, how: &Speech) -> (usize, usize) {
    let frames: Vec<&[f64]> = samples.chunks((how.frame_s * f64::from(rate)) as usize).collect();
    let power = |frame: &[f64]| mean_and_deviation(frame).1.powi(2);
    let held: Vec<f64> =
        frames.windows(3).map(|three| three.iter().map(|f| power(f)).fold(f64::MAX, f64::min)).collect();
    let least = held.iter().copied().fold(0.0, f64::max) * 10f64.powf(how.threshold_db / 10.0);
    let heard: Vec<usize> = (0..held.len()).filter(|&i| held[i] >= least).collect();
    let margin = (how.margin_s * f64::from(rate)) as usize;
    let end: usize = frames[..heard[heard.len() - 1] + 3].iter().map(|frame| frame.len()).sum();
    ((heard[0] * frames[0].len()).saturating_sub(margin), (end + margin).min(samples.len()))
}

fn mean_and_deviation(wave: &[f64]) -> (f64, f64) {
    let n = wave.len() as f64;
    let mean = wave.iter().sum::<f64>() / n;
    (mean, (wave.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt())
}

/// What the definition says of a recording.
fn by_definition(samples: &[f64], rate: u32, front_end: &FrontEnd) -> Vec<f64> {
    let kept = match &front_end.start {
        Start::Offset => &samples[(front_end.offset_s * f64::from(rate)) as usize..],
        Start::Speech(how) => {
            let (first, end) = speech(samples, rate, how);
            &samples[first..end]
        }
    };
    let to = front_end.sample_rate.0;
    let mut wave = match front_end.resampler {
        _ if rate == to => kept.to_vec(),
        Resampling::Standard => resampled(kept, rate, to),
        Resampling::Wide => wide_twin(kept, rate, to),
    };
    if front_end.start != Start::Offset {
        wave.truncate(front_end.n_samples);
    }
    let (mean, deviation) = mean_and_deviation(&wave);
    let mut conditioned: Vec<f32> = wave.iter().map(|x| ((x - mean) / deviation) as f32).collect();
    let n_valid = conditioned.len().min(front_end.n_samples);
    match front_end.pad {
        Pad::Zeros => conditioned.resize(front_end.n_samples, 0.0),
        Pad::Repeat => conditioned = (0..front_end.n_samples).map(|i| conditioned[i % n_valid]).collect(),
    }
    let mut log_mel = twin::log_mel(&conditioned, front_end);
    if front_end.band_mean == BandMean::Recording {
        let n_signal = if front_end.pad == Pad::Repeat { usize::MAX } else { n_valid };
        for band in log_mel.chunks_mut(front_end.n_frames()) {
            let own = band.iter().enumerate().filter(|(frame, _)| frame * front_end.hop < n_signal);
            let (sum, n) = own.fold((0.0, 0.0), |(sum, n), (_, value)| (sum + value, n + 1.0));
            let n_centred = band.len().min(n as usize);
            band[..n_centred].iter_mut().for_each(|value| *value -= sum / n);
        }
    }
    log_mel
}

fn extracted(file: &[u8], front_end: &FrontEnd) -> Result<(Vec<f32>, Conditioned, usize)> {
    let extractor = Extractor::new(front_end, &[], Seed(1))?;
    let mut made = None;
    let mut buffers = Buffers::holding(file.to_vec());
    let recording = extractor.reader().decode(None, &mut buffers)?.heard()?;
    extractor.extract(&recording, &[Copy::ORIGINAL], &mut extractor.scratch(), |one| {
        made = Some((one.log_mel.to_vec(), one.conditioned.clone(), one.valid_frames));
        Ok(())
    })?;
    made.ok_or_else(|| Error::bug("no spectrogram"))
}

/// Largest difference in ln units where the band is heard: within 70 dB of the loudest. Below that stand the residues of
/// the resampler, which f32 taps and sums change.
fn worst(values: &[f32], expected: &[f64], front_end: &FrontEnd) -> f64 {
    assert_eq!(values.len(), expected.len());
    let (per_decibel, to_ln) = match front_end.log {
        LogScale::Natural { .. } => (std::f64::consts::LN_10 / 10.0, 1.0),
        LogScale::DecibelsBelowMax { .. } => (1.0, std::f64::consts::LN_10 / 10.0),
    };
    let loudest = expected.iter().copied().fold(f64::MIN, f64::max);
    let heard = values.iter().zip(expected).filter(|(_, expected)| **expected > loudest - 70.0 * per_decibel);
    heard.map(|(&value, expected)| (f64::from(value) - expected).abs() * to_ln).fold(0.0, f64::max)
}

#[test]
fn the_whole_way_follows_the_definition_for_every_profile_and_rate() {
    for known in PROFILES {
        for rate in RATES {
            // Padded and cut recordings, from short to longer than the wave.
            for (n_samples, seconds) in [(3_000, 0.09), (2_000, 0.3)] {
                let offset_s = if known.front_end.start == Start::Offset { 0.02 } else { 0.0 };
                let front_end = FrontEnd { n_samples, offset_s, ..known.front_end.clone() };
                let (samples, file) = recording(rate, (seconds * f64::from(rate)) as usize);
                let (values, shape, valid_frames) = extracted(&file, &front_end).expect("a spectrogram");
                let expected = by_definition(&samples, rate, &front_end);
                let error = worst(&values, &expected, &front_end);
                // f32 taps and sums err by 3e-6 of the wave: 0.001 at 70 dB below the loudest.
                assert!(error < 2e-3, "{}, {rate} Hz, {seconds} s: {error}", known.name);
                assert_eq!(shape.truncated, seconds > 0.1);
                assert_eq!(values.len(), front_end.n_mels * front_end.n_frames());
                assert_eq!(valid_frames, shape.valid_samples.div_ceil(front_end.hop).min(front_end.n_frames()));
            }
        }
    }
}

#[test]
fn what_is_heard_padded_and_taken_from_each_band_follows_the_definition() {
    let start = Start::Speech(Speech { margin_s: 0.01, frame_s: 0.005, ..Speech::DEFAULT });
    let zeros = FrontEnd { n_samples: 4_000, offset_s: 0.0, start, ..profile("paper").expect("known") };
    let repeat = FrontEnd { pad: Pad::Repeat, ..zeros.clone() };
    let means = |front_end: &FrontEnd| FrontEnd { band_mean: BandMean::Recording, ..front_end.clone() };
    for front_end in [means(&zeros), means(&repeat), zeros, repeat] {
        for rate in [16_000, 21_500, 24_414, 48_000] {
            // Speech of 0.09 s, padded, and of 0.3 s, cut, in room noise far below it.
            for seconds in [0.09, 0.3] {
                let n = (seconds * f64::from(rate)) as usize;
                let (spoken, _) = recording(rate, n);
                let noise = |i: usize| Seed(5).normal_pair(i as u64).0 * 2e-4;
                let lead = rate as usize / 10;
                let at = |i: usize| noise(i) + i.checked_sub(lead).and_then(|i| spoken.get(i)).unwrap_or(&0.0);
                let samples: Vec<f32> = (0..n + 2 * lead).map(|i| at(i) as f32).collect();
                let file = write_wav(&samples, SampleRate(rate)).expect("a file");
                let stored: Vec<f64> = samples.iter().map(|&x| f64::from((x * 32_767.0).round()) / 32_768.0).collect();
                let (first, end) = match &front_end.start {
                    Start::Speech(how) => speech(&stored, rate, how),
                    Start::Offset => unreachable!("as made"),
                };
                let near = |found: usize, expected: usize| found.abs_diff(expected) < rate as usize / 50;
                assert!(near(first, lead) && near(end, lead + n), "{first} to {end} of {lead} and {n}");
                let (values, shape, _) = extracted(&file, &front_end).expect("a spectrogram");
                let error = worst(&values, &by_definition(&stored, rate, &front_end), &front_end);
                assert!(
                    error < 2e-3,
                    "{rate} Hz, {seconds} s, {:?}, {:?}: {error}",
                    front_end.pad,
                    front_end.band_mean
                );
                assert_eq!(shape.truncated, seconds > 0.2);
                // The recording from its start on, or another padding, is seen.
                let other = if shape.truncated {
                    FrontEnd { start: Start::Offset, ..front_end.clone() }
                } else {
                    let pad = if front_end.pad == Pad::Zeros { Pad::Repeat } else { Pad::Zeros };
                    FrontEnd { pad, ..front_end.clone() }
                };
                assert!(worst(&values, &by_definition(&stored, rate, &other), &other) > 0.02);
            }
        }
    }
}

#[test]
fn a_copy_of_another_vocal_tract_is_the_wave_of_its_original_through_the_warped_bank() {
    let front_end = FrontEnd { n_samples: 3_000, offset_s: 0.0, ..profile("full-rank").expect("known") };
    let extractor = Extractor::new(&front_end, &[Wanted::Named("vtlp".into())], Seed(1)).expect("an extractor");
    let (samples, file) = recording(21_500, 2_500);
    let (mean, deviation) = mean_and_deviation(&samples);
    let mut wave: Vec<f32> = samples.iter().map(|x| ((x - mean) / deviation) as f32).collect();
    wave.resize(3_000, 0.0);
    let mut buffers = Buffers::holding(file);
    let recording = extractor.reader().decode(None, &mut buffers).and_then(|opened| opened.heard()).expect("heard");
    let copies: Vec<Copy> = (0..9).map(|number| Copy { number, ..Copy::ORIGINAL }).collect();
    let mut seen = std::collections::BTreeSet::new();
    let made = extractor.extract(&recording, &copies, &mut extractor.scratch(), |one| {
        let text = one.augmentation.clone().unwrap_or("vtlp(warp=1)".into());
        let factor: f64 = text.trim_matches(|c| !char::is_ascii_digit(&c)).parse().expect("a number");
        let error = worst(one.log_mel, &twin::warped_log_mel(&wave, &front_end, factor), &front_end);
        assert!(error < 2e-3, "{text}: {error}");
        seen.insert(text);
        Ok(())
    });
    made.expect("spectrograms");
    assert!(seen.len() > 5, "{seen:?}");
}

#[test]
fn a_copy_is_padded_by_itself_and_not_by_the_original() {
    let front_end = FrontEnd { n_samples: 12_000, offset_s: 0.0, pad: Pad::Repeat, ..profile("paper").expect("known") };
    let louder = [Wanted::Named("white-noise".into())];
    let extractor = Extractor::new(&front_end, &louder, Seed(1)).expect("an extractor");
    let of = |numbers: &[u32]| {
        let copies: Vec<Copy> = numbers.iter().map(|&number| Copy { number, ..Copy::ORIGINAL }).collect();
        let (mut made, mut buffers) = (Vec::new(), Buffers::holding(recording(21_500, 5_000).1));
        let recording = extractor.reader().decode(None, &mut buffers).and_then(|opened| opened.heard()).expect("heard");
        let sink = |one: Spectrogram| {
            made.push((one.log_mel.to_vec(), one.conditioned.valid_samples));
            Ok(())
        };
        extractor.extract(&recording, &copies, &mut extractor.scratch(), sink).expect("made");
        made
    };
    let all = of(&[0, 1, 2]);
    assert!(all[1..] == [of(&[1]), of(&[2])].concat() && all[0] == of(&[0])[0]);
    assert!(all.iter().all(|(_, valid)| *valid == 5_000) && all[0].0 != all[1].0);
    let last = front_end.n_frames() - 1;
    assert!(all.iter().all(|(values, _)| values[40 * front_end.n_frames() + last] > -20.0), "sound to the end");
}

#[test]
fn another_sample_another_window_or_another_offset_is_seen_by_the_proof_above() {
    let front_end = FrontEnd { n_samples: 3_000, offset_s: 0.02, ..profile("paper").expect("known") };
    let (samples, file) = recording(48_000, 4_000);
    let (values, ..) = extracted(&file, &front_end).expect("a spectrogram");
    let expected = by_definition(&samples, 48_000, &front_end);
    assert!(worst(&values, &expected, &front_end) < 2e-3);
    let mut late = samples.clone();
    late.rotate_right(1);
    assert!(worst(&values, &by_definition(&late, 48_000, &front_end), &front_end) > 0.02, "a shift of one sample");
    let other = FrontEnd { window: crate::signal::profile::Window::HammingPeriodic, ..front_end.clone() };
    assert!(worst(&values, &by_definition(&samples, 48_000, &other), &front_end) > 0.02, "a periodic window");
    let louder: Vec<f32> = values.iter().map(|value| value + 2.0 * 1.01f32.ln()).collect();
    assert!(worst(&louder, &expected, &front_end) > 0.01, "1 % more amplitude after the z-score");
}

#[test]
fn a_gain_of_the_recording_is_undone_by_the_z_score() {
    let front_end = FrontEnd { n_samples: 3_000, offset_s: 0.0, ..profile("paper").expect("known") };
    let wave: Vec<f32> = (0..4_000).map(|i| Seed(3).normal_pair(i).0 as f32 * 0.05).collect();
    let of = |gain: f32| {
        let louder: Vec<f32> = wave.iter().map(|x| gain * x).collect();
        let mut out = Vec::new();
        condition(&louder, &front_end, &mut out).expect("a signal");
        out
    };
    assert!(of(1.0).iter().zip(of(1.01)).all(|(a, b)| (a - b).abs() < 1e-6));
}

#[test]
fn recordings_of_no_sample_one_and_a_few_have_a_reason_or_a_spectrogram() {
    let paper = profile("paper").expect("known");
    for known in PROFILES {
        let front_end = FrontEnd { offset_s: 0.0, ..known.front_end.clone() };
        for rate in [16_000, 21_500, 48_000] {
            let reason = |n: usize| extracted(&recording(rate, n).1, &front_end).expect_err("too short").reason();
            assert!(reason(0).contains("no samples"), "{}", reason(0));
            if rate == front_end.sample_rate.0 || rate == 48_000 {
                // One sample stays one sample, which has no deviation.
                assert!(reason(1).contains("a constant signal"), "{rate}: {}", reason(1));
            }
            for n_samples in [5, 100] {
                let (values, shape, valid_frames) =
                    extracted(&recording(rate, n_samples).1, &front_end).expect("a signal");
                assert!(values.iter().all(|value| value.is_finite()));
                assert_eq!((shape.truncated, valid_frames), (false, shape.valid_samples.div_ceil(front_end.hop)));
            }
        }
    }
    // The offset takes half a second: the sample after it is the first that counts.
    let reason = |n: usize| extracted(&recording(16_000, n).1, &paper).expect_err("too short").reason();
    assert_eq!(reason(1), "too short: 0.000 s, and the first 0.5 s are skipped");
    assert_eq!(reason(8_000), "too short: 0.500 s, and the first 0.5 s are skipped");
    assert!(extracted(&recording(16_000, 8_010).1, &paper).is_ok());
}

#[test]
fn a_scratch_that_another_recording_left_dirty_changes_nothing() {
    let front_end = FrontEnd { n_samples: 3_000, offset_s: 0.0, ..profile("full-rank").expect("known") };
    let extractor = Extractor::new(&front_end, &[], Seed(1)).expect("an extractor");
    let mut scratch = extractor.scratch();
    let of = |rate: u32, n_samples: usize, scratch: &mut ExtractScratch| {
        let mut values = Vec::new();
        let mut buffers = Buffers::holding(recording(rate, n_samples).1);
        let recording = extractor.reader().decode(None, &mut buffers)?.heard()?;
        let made = extractor.extract(&recording, &[Copy::ORIGINAL], scratch, |one| {
            values = one.log_mel.to_vec();
            Ok(())
        });
        made.map(|()| values)
    };
    for (rate, n_samples) in [(48_000, 9_000), (16_000, 50), (48_000, 0), (21_500, 4_000), (8_000, 700)] {
        let clean = of(rate, n_samples, &mut extractor.scratch());
        match (clean, of(rate, n_samples, &mut scratch)) {
            (Ok(clean), Ok(dirty)) => assert_eq!(clean, dirty, "{n_samples} samples at {rate} Hz"),
            (Err(clean), Err(dirty)) => assert_eq!(clean.reason(), dirty.reason()),
            _ => panic!("{n_samples} samples at {rate} Hz: only one of two runs has a spectrogram"),
        }
    }
}
