//! Tests over the whole list of augmentations: whatever is added there must pass them.

use std::collections::HashSet;

use rayon::prelude::*;

use super::trial_proof::*;
use super::*;
use crate::extract::{Copy, Extractor};
use crate::recordings::Buffers;
use crate::signal::profile::{FrontEnd, profile};
use crate::voices::VoiceCache;

#[test]
fn every_augmentation_gives_the_same_bytes_for_the_same_seed_and_others_for_another() {
    for &augmentation in AUGMENTATIONS {
        let name = augmentation.name();
        for n in [1, 2, 3, 511, 512, 513, N] {
            let before = input(augmentation, n * 2 / 3 + 1, n);
            let of = |seed| apply_to(augmentation, &[], seed, before.clone(), n * 2 / 3 + 1);
            let once = of(1);
            let again = of(1);
            assert_eq!((&once.samples, once.valid, &once.drawn), (&again.samples, again.valid, &again.drawn), "{name}");
            assert_eq!(once.samples.len(), n, "{name} keeps the length");
            if augmentation.place() == Place::Bank {
                assert_eq!((once.samples, once.valid), (before, n * 2 / 3 + 1), "{name} leaves waves alone");
                continue;
            }
            assert!(once.samples.iter().all(|x| x.is_finite()), "{name}, {n} samples");
            assert!(once.valid <= n && (n < 500 || once.valid > 0), "{name}: {} of {n}", once.valid);
            if n == N {
                let seeds = 1..9;
                assert!(seeds.clone().all(|seed| of(seed).samples != before), "{name} changes the wave");
                let different: HashSet<Vec<u32>> =
                    seeds.map(|seed| of(seed).samples.iter().map(|x| x.to_bits()).collect()).collect();
                // Values with a step can be drawn twice.
                let least = if augmentation.parameters().is_empty() { 1 } else { 4 };
                assert!(different.len() >= least, "{name}: {} different of 8", different.len());
            }
        }
    }
}

#[test]
fn every_augmentation_leaves_silence_behind_the_recording_or_fills_it_with_noise() {
    for &augmentation in AUGMENTATIONS {
        let made = apply_to(augmentation, &[], 3, input(augmentation, 40_000, N), 40_000);
        let behind = &made.samples[made.valid..];
        let adds_noise = augmentation.parameters().iter().any(|parameter| parameter.key == "snr_db");
        let n_silent = behind.iter().filter(|&&x| x == 0.0).count();
        let expected = if adds_noise { 0 } else { behind.len() };
        assert!(n_silent.abs_diff(expected) < 10, "{}: {n_silent} of {}", augmentation.name(), behind.len());
        assert!(made.samples[..made.valid].iter().any(|&x| x != 0.0));
    }
}

#[test]
fn every_augmentation_that_names_an_snr_keeps_it_within_a_tenth_of_a_decibel() {
    let mut n_checked = 0;
    for &augmentation in AUGMENTATIONS {
        for seed in 0..20 {
            let clean = input(augmentation, N * 2 / 3, N);
            let noisy = apply_to(augmentation, &[], seed, clean.clone(), N * 2 / 3);
            let Some(asked) = noisy.drawn.find("snr_db") else { continue };
            let signal = power_of(clean.iter().map(|&x| f64::from(x)));
            let noise = power_of(difference(&clean, &noisy.samples).into_iter());
            let found = 10.0 * (signal / noise).log10();
            // White noise has its variance set: power of 65,000 Gaussian values varies by 0.024 dB.
            assert!((found - asked).abs() < 0.1, "{}: asked {asked} dB, found {found}", augmentation.name());
            n_checked += 1;
        }
    }
    assert_eq!(n_checked, 5 * 20);
}

#[test]
fn every_augmentation_is_found_by_its_own_name_and_says_what_may_be_set() {
    let names: HashSet<&str> = AUGMENTATIONS.iter().map(|augmentation| augmentation.name()).collect();
    assert_eq!(names.len(), AUGMENTATIONS.len());
    for known in AUGMENTATIONS {
        assert_eq!(augmentation(known.name()).expect("listed").name(), known.name());
        assert!(known.name().chars().all(|c| c.is_ascii_lowercase() || c == '-'));
        assert!(!known.about().is_empty());
        for parameter in known.parameters() {
            parameter.check(known.name(), parameter.default).expect("a default within its limits");
            assert!(!parameter.source.is_empty() && !parameter.label.is_empty());
        }
    }
    let error = augmentation("white_noise").map(|_| ()).expect_err("a slip");
    assert_eq!(error.kind().exit_code(), 2);
    assert!(error.hint_text().is_some_and(|hint| hint.starts_with("known augmentations: white-noise, pink-noise")));
}

#[test]
fn every_augmentation_gives_the_same_spectrograms_for_any_number_of_threads() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let front_end = FrontEnd { n_samples: 12_000, offset_s: 0.0, ..profile("paper").expect("known") };
    let mut donors = Vec::new();
    for i in 0..6 {
        let wave: Vec<f32> = syllables(50 + i, 9_000, 9_000).iter().map(|x| 0.05 * x).collect();
        let bytes = crate::audio::write_wav(&wave, SampleRate(16_000)).expect("a file");
        let file = folder.path().join(format!("{i}.wav"));
        crate::storage::atomic::publish_bytes(folder.path(), &file, &bytes).expect("written");
        donors.push(Donor { content_hash: blake3::hash(&bytes).to_hex().to_string(), part: None, file });
    }
    for known in AUGMENTATIONS {
        let wanted = [Wanted::Named(known.name().into())];
        let extractor = Extractor::new(&front_end, &wanted, Seed(4)).expect("an extractor");
        let spectrograms = |n_threads: usize| -> Vec<Vec<u32>> {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().expect("threads");
            let cache = VoiceCache::new(VoiceCache::DEFAULT_LIMIT);
            let of = |donor: &Donor| {
                let bytes = std::fs::read(&donor.file).expect("read");
                let others: Vec<Donor> = donors.iter().filter(|other| *other != donor).cloned().collect();
                let voices = cache.of(&extractor);
                let copy = |number| Copy { number, donors: &others, voices: &voices };
                let copies = [Copy::ORIGINAL, copy(1), copy(2)];
                let mut made: Vec<Vec<u32>> = Vec::new();
                let sink = |one: crate::extract::Spectrogram| {
                    assert_eq!(one.augmentation.is_some(), one.copy > 0);
                    made.push(one.log_mel.iter().map(|x| x.to_bits()).collect());
                    Ok(())
                };
                let mut scratch = extractor.scratch();
                let mut buffers = Buffers::holding(bytes);
                let opened = extractor.reader().decode(None, &mut buffers).expect("a recording");
                let recording = opened.heard().expect("heard");
                extractor.extract(&recording, &copies, &mut scratch, sink).expect("spectrograms");
                let is_undone = known.name() == "gain";
                assert!(is_undone || made[1] != made[0], "{} is seen by the front end", known.name());
                made.concat()
            };
            pool.install(|| donors.par_iter().map(of).collect())
        };
        let alone = spectrograms(1);
        assert!(alone == spectrograms(2) && alone == spectrograms(5), "{}", known.name());
    }
}

#[test]
fn the_readme_lists_every_augmentation_with_its_defaults() {
    let readme = include_str!("../../README.md");
    for known in AUGMENTATIONS {
        let default = |parameter: &Parameter| {
            let [low, high] = parameter.default;
            format!("`{}` {low} to {high}", parameter.key)
        };
        let numbers: Vec<String> = known.parameters().iter().map(default).collect();
        let row = format!("| `{}` | {} |", known.name(), numbers.join(", "));
        assert!(readme.contains(&row), "README.md has no row beginning with: {row}");
    }
}
