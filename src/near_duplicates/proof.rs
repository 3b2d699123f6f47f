//! Altered copies of a recording are found, and other recordings are not, in synthetic voices.

use super::super::find_pairs;
use super::*;
use crate::corpora::{design, synthesise};
use crate::signal::condition::condition;
use crate::signal::log_mel::MelPlan;
use crate::signal::profile::profile;
use crate::signal::valid_frames;
use crate::units::Seed;

/// The fingerprint of a wave at the rate of the front end, after its first half second.
fn print_of(wave: &[f32], front_end: &FrontEnd) -> Print {
    let plan = MelPlan::new(front_end).expect("a sound front end");
    let mut conditioned = Vec::new();
    let kept = &wave[(front_end.offset_s * front_end.sample_rate.hz()) as usize..];
    let shape = condition(kept, front_end, &mut conditioned).expect("no silence");
    let mut log_mel = vec![0.0; front_end.n_mels * front_end.n_frames()];
    plan.log_mel(&conditioned, &mut plan.scratch(), &mut log_mel);
    let frames = valid_frames(front_end, shape.valid_samples);
    Printer::new(front_end).print(&log_mel, frames, &mut PrintScratch::default())
}

/// 12 recordings: each of two speakers says two sentences with three emotions.
fn voices(front_end: &FrontEnd) -> Vec<Vec<f32>> {
    let wanted = design(2, 2, 1).into_iter().filter(|one| (one.emotion as usize).is_multiple_of(3));
    wanted.map(|one| synthesise(Seed(3), &one, front_end.sample_rate)).collect()
}

fn with_noise(wave: &[f32], snr_db: f64) -> Vec<f32> {
    let power = wave.iter().map(|x| x * x).sum::<f32>() / wave.len() as f32;
    let level = power.sqrt() * 10_f32.powf(-snr_db as f32 / 20.0);
    wave.iter().enumerate().map(|(at, x)| x + level * Seed(5).normal_pair(at as u64).0 as f32).collect()
}

/// To A-law of eight bits and back (ITU-T G.711, by its formula).
fn through_a_law(wave: &[f32]) -> Vec<f32> {
    const A: f32 = 87.6;
    let whole = 1.0 + A.ln();
    let narrow = |x: f32| if x < 1.0 / A { A * x / whole } else { (1.0 + (A * x).ln()) / whole };
    let wide = |y: f32| if y < 1.0 / whole { y * whole / A } else { (y * whole - 1.0).exp() / A };
    wave.iter().map(|x| x.signum() * wide((narrow(x.abs().min(1.0)) * 127.0).round() / 127.0)).collect()
}

fn altered(wave: &[f32], rate: f64) -> Vec<(&'static str, Vec<f32>)> {
    let late = |seconds: f64| [vec![0.0; (seconds * rate) as usize], wave.to_vec()].concat();
    vec![
        ("a twelfth of the gain", wave.iter().map(|x| x / 12.0).collect()),
        ("noise at 15 dB", with_noise(wave, 15.0)),
        ("A-law", through_a_law(wave)),
        ("0.1 s later", late(0.1)),
        ("0.0871 s earlier", wave[(0.0871 * rate) as usize..].to_vec()),
        ("later, with noise, in A-law", through_a_law(&with_noise(&late(0.05), 20.0))),
    ]
}

#[test]
fn every_altered_copy_is_found_and_nothing_else() {
    for name in ["paper", "lineage", "full-rank-16k"] {
        let front_end = profile(name).expect("known");
        let (mut prints, mut owners) = (Vec::new(), Vec::new());
        for (owner, wave) in voices(&front_end).iter().enumerate() {
            let copies = altered(wave, front_end.sample_rate.hz());
            prints.push(print_of(wave, &front_end));
            prints.extend(copies.iter().map(|(_, copy)| print_of(copy, &front_end)));
            owners.extend(std::iter::repeat_n(owner, copies.len() + 1));
        }
        let found = find_pairs(&prints.iter().collect::<Vec<_>>(), Likeness::is_same).expect("few recordings").pairs;
        for pair in &found {
            assert_eq!(owners[pair.a as usize], owners[pair.b as usize], "{name}: {pair:?}");
        }
        let mut missed: Vec<usize> = (0..prints.len()).filter(|at| at % 7 != 0).collect();
        missed.retain(|&at| !found.iter().any(|pair| pair.a as usize == at / 7 * 7 && pair.b as usize == at));
        assert!(missed.is_empty(), "{name}: copies {missed:?} of {} are not found", prints.len());
    }
}

#[test]
fn gain_and_shift_are_taken_out_of_a_likeness() {
    let front_end = profile("paper").expect("known");
    let wave = &voices(&front_end)[0];
    let own = print_of(wave, &front_end);
    assert_eq!(own.likeness(&own, 0).difference, 0.0);
    let step = (STEP_S * front_end.sample_rate.hz()).round() as usize;
    let late: Vec<f32> = vec![0.0; 6 * step].into_iter().chain(wave.iter().map(|x| x / 3.0)).collect();
    let late = print_of(&late, &front_end);
    let (there, back) = (own.likeness(&late, 6), late.likeness(&own, -6));
    assert!(there.difference < 0.02 && back.difference < 0.02, "{there:?} {back:?}");
    assert!(own.likeness(&late, 0).difference > SAME_UP_TO && own.likeness(&late, 30).difference > SAME_UP_TO);
}

#[test]
fn what_is_empty_silent_or_too_short_is_the_same_as_nothing() {
    let front_end = profile("paper").expect("known");
    let (printer, mut scratch) = (Printer::new(&front_end), PrintScratch::default());
    let size = front_end.n_mels * front_end.n_frames();
    let floor = vec![(1e-10_f32).ln(); size];
    let silent = printer.print(&floor, front_end.n_frames(), &mut scratch);
    let short = printer.print(&floor, 3, &mut scratch);
    assert_eq!(short, Print::default());
    for (a, b) in [(&silent, &short), (&short, &silent), (&short, &short)] {
        assert!(!a.likeness(b, 0).is_same() && !a.likeness(b, -1_000).is_same());
    }
    let found = find_pairs(&[&silent, &silent, &short, &short], Likeness::is_same).expect("few");
    assert_eq!((found.pairs.len(), found.n_constellations), (0, 0), "silence says nothing of who made it");
}
