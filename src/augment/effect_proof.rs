//! Tests of what each augmentation says it does, by measuring what comes out.

use std::collections::BTreeMap;
use std::f64::consts::TAU;

use super::trial_proof::*;
use super::*;
use crate::units::Decibels;

fn tone(hz: f64, n: usize) -> Vec<f32> {
    (0..n).map(|i| (0.3 * (TAU * hz * i as f64 / RATE.hz()).sin()) as f32).collect()
}

/// Amplitude of one frequency in the middle of a wave, under a Hann window.
fn amplitude_at(wave: &[f32], hz: f64) -> f64 {
    let n = wave.len() as f64;
    let (mut re, mut im) = (0.0, 0.0);
    for (i, &x) in wave.iter().enumerate() {
        let taper = 0.5 - 0.5 * (TAU * i as f64 / n).cos();
        let (sin, cos) = (TAU * hz * i as f64 / RATE.hz()).sin_cos();
        re += f64::from(x) * taper * cos;
        im += f64::from(x) * taper * sin;
    }
    4.0 / n * re.hypot(im)
}

/// The strongest frequency between two, to 0.05 %: in steps of half a percent, then finely around the best.
fn strongest(wave: &[f32], low_hz: f64, high_hz: f64) -> f64 {
    let best = |low: f64, high: f64, step: f64| {
        let n = ((high / low).ln() / step).ceil() as usize;
        let tried = (0..=n).map(|i| low * (step * i as f64).exp()).map(|hz| (amplitude_at(wave, hz), hz));
        tried.max_by(|a, b| a.0.total_cmp(&b.0)).expect("at least one").1
    };
    let near = best(low_hz, high_hz, 5e-3);
    best(near * 0.994, near * 1.006, 5e-4)
}

/// Slope of the power density over octaves from 83 Hz to 10.6 kHz, in dB an octave.
fn slope_of(noise: &[f64]) -> f64 {
    let n = noise.len();
    let mut planner = realfft::RealFftPlanner::<f64>::new();
    let fft = planner.plan_fft_forward(n);
    let (mut samples, mut spectrum) = (noise.to_vec(), fft.make_output_vec());
    fft.process(&mut samples, &mut spectrum).expect("lengths of the plan");
    let bin = |hz: f64| (hz / RATE.hz() * n as f64) as usize;
    let density: Vec<f64> = (0..7)
        .map(|octave| {
            let low = 83.0 * f64::powi(2.0, octave);
            let bins = bin(low)..bin(2.0 * low);
            10.0 * (bins.clone().map(|i| spectrum[i].norm_sqr()).sum::<f64>() / bins.len() as f64).log10()
        })
        .collect();
    let centre = 3.0;
    let products = density.iter().enumerate().map(|(i, level)| (i as f64 - centre) * level).sum::<f64>();
    products / (0..7).map(|i| (f64::from(i) - centre).powi(2)).sum::<f64>()
}

#[test]
fn coloured_noise_has_the_slope_of_its_colour() {
    for (name, expected) in [("white-noise", 0.0), ("pink-noise", -3.01), ("brown-noise", -6.02), ("blue-noise", 3.01)]
    {
        let augmentation = named(name);
        for seed in 0..3 {
            let clean = input(augmentation, N, N);
            let made = apply_to(augmentation, &[("snr_db", 10.0)], seed, clean.clone(), N);
            let slope = slope_of(&difference(&clean, &made.samples));
            // Octaves hold 251 bins and more: each level is known to 0.3 dB, the slope to 0.08.
            assert!((slope - expected).abs() < 0.4, "{name}: {slope} dB an octave");
        }
    }
}

#[test]
fn coloured_noise_has_nothing_below_20_hz() {
    let clean = vec![1.0; N];
    let made = apply_to(named("brown-noise"), &[], 1, clean.clone(), N);
    let noise: Vec<f32> = difference(&clean, &made.samples).into_iter().map(|x| x as f32).collect();
    assert!(amplitude_at(&noise, 8.0) < 0.02 * amplitude_at(&noise, 25.0).max(amplitude_at(&noise, 30.0)));
}

#[test]
fn babble_is_the_sum_of_its_voices() {
    let clean = input(named("babble"), N, N);
    let made = apply_to(named("babble"), &[("talkers", 3.0), ("snr_db", 13.0)], 5, clean.clone(), N);
    let babble = difference(&clean, &made.samples);
    let voices: Vec<Vec<f32>> = (0..9).map(|i| syllables(90 + i, 20_000, 20_000)).collect();
    // Each voice is found at one place with a third of the babble's power, and repeats after its own 20,000 samples.
    let correlation = |voice: &[f32], start: usize| {
        let products = babble.iter().enumerate().map(|(i, x)| x * f64::from(voice[(start + i) % voice.len()]));
        products.take(20_000).sum::<f64>() / (20_000.0 * power_of(babble.iter().copied()).sqrt())
    };
    let starts = Seed(5).derive("starts", &[]);
    for (talker, voice) in voices.iter().enumerate() {
        let start = starts.below(talker as u64, voice.len() as u64) as usize;
        let expected = if talker < 3 { 1.0 / 3f64.sqrt() } else { 0.0 };
        let found = correlation(voice, start);
        assert!((found - expected).abs() < 0.04, "talker {talker}: {found}");
    }
    assert!((0..N - 20_000).all(|i| (babble[i] - babble[i + 20_000]).abs() < 1e-5), "voices repeat");
}

#[test]
fn babble_without_anyone_to_hear_leaves_the_wave_as_it_is_and_says_so() {
    let ranges = Ranges::of_defaults(named("babble").parameters());
    let effect = named("babble").plan(&ranges, Format { sample_rate: RATE, n_samples: 100 }).expect("a plan");
    let (mut drawn, mut samples) = (ranges.draw(Seed(1)), syllables(1, 100, 100));
    let before = samples.clone();
    let mut wave = Wave { samples: &mut samples, valid: 100 };
    effect.apply(&mut Call { seed: Seed(1), drawn: &mut drawn, voices: &[] }, &mut wave);
    assert_eq!((samples, drawn.text().as_str(), drawn.find("snr_db")), (before, "(talkers=0)", None));
}

#[test]
fn gain_is_the_decibels_that_were_asked_for() {
    for asked in [-12.0, -0.5, 6.0, 40.0] {
        let before = input(named("gain"), N, N);
        let made = apply_to(named("gain"), &[("gain_db", asked)], 1, before.clone(), N);
        let levels = [&before, &made.samples].map(|wave| power_of(wave.iter().map(|&x| f64::from(x))));
        let found = 10.0 * (levels[1] / levels[0]).log10();
        assert!((found - asked).abs() < 1e-5, "asked {asked} dB, found {found}");
    }
}

#[test]
fn a_shift_moves_samples_by_whole_samples_of_the_time_asked_for() {
    let before = input(named("time-shift"), 40_000, N);
    let shifted = |shift_s: f64| apply_to(named("time-shift"), &[("shift_s", shift_s)], 1, before.clone(), 40_000);
    let later = shifted(0.1);
    assert_eq!((later.valid, &later.samples[2_150..], later.samples[2_149]), (42_150, &before[..N - 2_150], 0.0));
    let earlier = shifted(-0.1);
    assert_eq!((earlier.valid, &earlier.samples[..N - 2_150]), (37_850, &before[2_150..]));
    assert!(earlier.samples[N - 2_150..].iter().all(|&x| x == 0.0));
    for (far, valid) in [(-9.0, 20_000), (9.0, N)] {
        let made = shifted(far);
        let n_left = made.samples.iter().filter(|&&x| x != 0.0).count();
        assert!(made.valid == valid && n_left >= 19_990, "half of what is recorded stays: {n_left}");
        assert!(made.drawn.find("shift_s").is_some_and(|done| done.abs() < 9.0), "the text says what was done");
    }
}

#[test]
fn speed_scales_time_and_frequency_by_its_factor() {
    for factor in [0.9, 0.93, 1.1, 1.5] {
        // A tone that ends: both its pitch and its end are seen.
        let mut wave = tone(1_000.0, 40_000);
        wave.resize(N, 0.0);
        let made = apply_to(named("speed"), &[("factor", factor)], 1, wave, 40_000);
        assert_eq!(made.valid, (40_000.0 / factor).ceil() as usize);
        let found = strongest(&made.samples[5_000..13_000], 600.0, 1_600.0);
        assert!((found / (1_000.0 * factor) - 1.0).abs() < 1e-3, "{factor}: {found} Hz");
        let late = power_of(made.samples[made.valid - 300..made.valid - 100].iter().map(|&x| f64::from(x)));
        assert!(late > 0.02, "it is heard until its end");
    }
    let whole = apply_to(named("speed"), &[("factor", 0.8)], 1, tone(500.0, N), N);
    assert_eq!((whole.samples.len(), whole.valid), (N, N), "cut at the end of the room");
}

#[test]
fn pitch_moves_a_tone_by_its_semitones_and_keeps_its_length() {
    for semitones in [-12.0, -2.0, -0.5, 1.0, 2.0, 7.0] {
        for hz in [220.0, 700.0] {
            let mut wave = tone(hz, 40_000);
            wave.resize(N, 0.0);
            let made = apply_to(named("pitch"), &[("semitones", semitones)], 1, wave, 40_000);
            assert_eq!(made.valid, 40_000);
            let expected = hz * f64::exp2(semitones / 12.0);
            let found = strongest(&made.samples[20_000..28_000], expected / 1.5, expected * 1.5);
            assert!((found / expected - 1.0).abs() < 0.01, "{hz} Hz, {semitones}: {found} Hz, not {expected}");
            let purity = amplitude_at(&made.samples[20_000..28_000], found);
            assert!(purity > 0.25, "{hz} Hz, {semitones}: one tone of 0.3 comes out with {purity}");
        }
    }
}

/// Reverberation time from the energy that is left after each moment (Schroeder), -5 to -35 dB.
fn rt60_of(response: &[f64]) -> f64 {
    let mut left = 0.0;
    let mut energy: Vec<f64> = response
        .iter()
        .rev()
        .map(|x| {
            left += x * x;
            left
        })
        .collect();
    energy.reverse();
    let levels: Vec<f64> = energy.iter().map(|x| 10.0 * (x / energy[0]).log10()).collect();
    let when = |level: f64| levels.iter().position(|&x| x < level).expect("it decays") as f64 / RATE.hz();
    2.0 * (when(-35.0) - when(-5.0))
}

#[test]
fn a_room_decays_by_60_db_in_its_reverberation_time() {
    for rt60_s in [0.2, 0.5, 1.0] {
        for seed in 0..3 {
            let mut click = vec![0.0; N];
            click[0] = 1.0;
            let made = apply_to(named("room"), &[("rt60_s", rt60_s), ("drr_db", 3.0)], seed, click, 1);
            assert!((made.samples[0] - 1.0).abs() < 1e-5, "the direct sound comes first");
            assert!(made.samples[1..50].iter().all(|x| x.abs() < 1e-5), "then nothing for 2.5 ms");
            let tail: Vec<f64> = made.samples[50..made.valid].iter().map(|&x| f64::from(x)).collect();
            let found = rt60_of(&tail);
            assert!((found / rt60_s - 1.0).abs() < 0.1, "{rt60_s} s: {found}");
            let drr_db = -10.0 * tail.iter().map(|x| x * x).sum::<f64>().log10();
            assert!((drr_db - 3.0).abs() < 0.05, "direct to reverberant {drr_db} dB");
        }
    }
}

/// Gain at each frequency, from a tone well inside the wave.
fn gains_db(augmentation: &str, set: &[(&str, f64)], tones_hz: &[f64]) -> BTreeMap<u32, f64> {
    let gain = |hz: f64| {
        let made = apply_to(named(augmentation), set, 1, tone(hz, 30_000), 30_000);
        Decibels::from_amplitude(amplitude_at(&made.samples[5_000..25_000], hz) / 0.3).0
    };
    tones_hz.iter().map(|&hz| (hz as u32, gain(hz))).collect()
}

#[test]
fn band_limit_passes_below_and_stops_above_its_cutoff() {
    let gains =
        gains_db("band-limit", &[("cutoff_hz", 4_000.0)], &[100.0, 2_000.0, 3_750.0, 4_000.0, 4_250.0, 9_000.0]);
    for (hz, gain) in gains {
        match hz {
            4_000 => assert!((gain + 6.02).abs() < 0.1, "the cutoff is at -6 dB, not {gain}"),
            hz if hz < 4_000 => assert!(gain.abs() < 0.2, "{hz} Hz: {gain} dB"),
            hz => assert!(gain < -60.0, "{hz} Hz: {gain} dB"),
        }
    }
    let too_high = ranges(named("band-limit"), &[("cutoff_hz", 10_750.0)]);
    let error = named("band-limit").plan(&too_high, Format { sample_rate: RATE, n_samples: N }).map(|_| ());
    assert!(error.expect_err("no such band").to_string().contains("under half the sample rate"));
}

#[test]
fn a_telephone_passes_its_band_and_nothing_else() {
    let gains = gains_db(
        "telephone",
        &[],
        &[50.0, 150.0, 200.0, 300.0, 400.0, 1_000.0, 3_300.0, 3_400.0, 3_600.0, 5_000.0, 9_000.0],
    );
    for (hz, gain) in gains {
        match hz {
            300 | 3_400 => assert!((gain + 6.02).abs() < 0.5, "{hz} Hz: {gain} dB at the edge"),
            hz if (400..=3_300).contains(&hz) => assert!(gain.abs() < 0.3, "{hz} Hz: {gain} dB"),
            hz => assert!(gain < -40.0, "{hz} Hz: {gain} dB"),
        }
    }
}

#[test]
fn a_telephone_adds_what_8_bits_of_a_law_add() {
    // A tone of 0.3 comes out with noise 38 dB below it; the band's edges are far away.
    let before = tone(1_013.0, 30_000);
    let made = apply_to(named("telephone"), &[], 1, before.clone(), 30_000);
    let inner = 5_000..25_000;
    let error = power_of(difference(&before[inner.clone()], &made.samples[inner.clone()]).into_iter());
    let snr_db = 10.0 * (power_of(before[inner].iter().map(|&x| f64::from(x))) / error).log10();
    assert!((35.0..41.0).contains(&snr_db), "{snr_db} dB");
}

#[test]
fn clipping_limits_the_share_of_samples_that_was_asked_for() {
    for fraction in [0.001, 0.05, 0.3] {
        let before = input(named("clipping"), 40_000, N);
        let made = apply_to(named("clipping"), &[("fraction", fraction)], 1, before.clone(), 40_000);
        let limit = made.samples.iter().map(|x| x.abs()).fold(0.0, f32::max);
        let changed = before.iter().zip(&made.samples).filter(|(a, b)| a != b).count();
        assert_eq!(changed, (fraction * 40_000.0).ceil() as usize, "{fraction}");
        let at_limit = made.samples.iter().filter(|x| x.abs() == limit).count();
        assert_eq!(at_limit, changed + 1, "and the one sample that sets the limit");
    }
}
