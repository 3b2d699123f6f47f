//! What is planted in made-up predictions is found, and references agree.

use serde::Deserialize;

use super::gaussian::Gaussian;
use super::temperature::LogProbabilities;
use super::*;
use crate::units::Seed;

const N_CLASSES: usize = 8;

fn softmax(logits: &[f64], sharpness: f64) -> Vec<f32> {
    let exponentials: Vec<f64> = logits.iter().map(|z| (z * sharpness).exp()).collect();
    let sum: f64 = exponentials.iter().sum();
    exponentials.iter().map(|e| (e / sum) as f32).collect()
}

/// Items of 16 speakers whose labels are drawn from the probabilities of the logits; the network says them `sharpness` times as
/// sharply.
fn planted(n: usize, sharpness: f64, seed: u64) -> Vec<OutOfFold> {
    let (normal, label) = (Seed(seed), Seed(seed + 1));
    (0..n)
        .map(|item| {
            let logit = |class: usize| 1.3 * normal.normal_pair((item * N_CLASSES + class) as u64).0;
            let logits: Vec<f64> = (0..N_CLASSES).map(logit).collect();
            let mut rest = label.unit(item as u64);
            let class = softmax(&logits, 1.0).iter().position(|&p| {
                rest -= f64::from(p);
                rest < 0.0
            });
            OutOfFold {
                speaker: Some(format!("s{:02}", item % 16)),
                class: class.unwrap_or(N_CLASSES - 1),
                probabilities: softmax(&logits, sharpness),
                distances: None,
            }
        })
        .collect()
}

/// Expected calibration error in ten bins of equal mass.
fn calibration_error(items: &[OutOfFold], probabilities: &[Vec<f32>]) -> f64 {
    let mut sure: Vec<(f32, bool)> = items
        .iter()
        .zip(probabilities)
        .map(|(item, p)| {
            let highest = p.iter().copied().fold(0.0, f32::max);
            (highest, p[item.class] == highest)
        })
        .collect();
    sure.sort_by(|a, b| a.0.total_cmp(&b.0));
    let bins = sure.chunks(sure.len().div_ceil(10));
    let gap = |bin: &[(f32, bool)]| {
        bin.iter().map(|(p, right)| f64::from(*p) - f64::from(u8::from(*right))).sum::<f64>().abs()
    };
    bins.map(gap).sum::<f64>() / sure.len() as f64
}

#[test]
fn a_planted_sharpness_is_found_and_taken_back() {
    for (sharpness, seed) in [(2.5, 1), (0.6, 3), (1.0, 5)] {
        let items = planted(4_000, sharpness, seed);
        let calibration = calibrate(&items);
        let found = f64::from(calibration.temperature.value);
        assert!((found / sharpness - 1.0).abs() < 0.06, "{sharpness}: {found}");
        assert_eq!((calibration.temperature.n_items, calibration.temperature.n_speakers), (4_000, 16));
        let measured = calibration.measured.as_ref().expect("16 speakers");
        let raw: Vec<Vec<f32>> = items.iter().map(|item| item.probabilities.clone()).collect();
        let (before, after) = (calibration_error(&items, &raw), calibration_error(&items, &measured.probabilities));
        // A calibrated model of so many items shows about 0.015.
        assert!(after < 0.03, "{sharpness}: {before} {after}");
        if sharpness != 1.0 {
            assert!(after < 0.4 * before, "{sharpness}: {before} {after}");
            assert!(measured.log_loss_after < measured.log_loss_before - 0.02);
        }
        assert!(measured.log_loss_after <= measured.log_loss_before + 1e-3);
        assert!(measured.temperatures[0] <= found && found <= measured.temperatures[1]);
        assert_eq!(calibration.notes.len(), 1, "only distances are missing: {:?}", calibration.notes);
    }
}

#[test]
fn sets_hold_the_truth_nine_times_of_ten_for_speakers_left_out() {
    for seed in [11, 13, 17] {
        let calibration = calibrate(&planted(960, 2.0, seed));
        let measured = calibration.measured.as_ref().expect("16 speakers");
        assert!((0.86..=0.94).contains(&measured.coverage), "{}", measured.coverage);
        assert!(measured.mean_set_size > 1.0 && measured.mean_set_size < N_CLASSES as f64);
        let (_, worst) = measured.worst_speaker.as_ref().expect("sixty items each");
        assert!(*worst <= measured.coverage && *worst > 0.7, "{worst}");
        assert!(measured.error_at_70 < measured.error, "sure ones are more often right");
        assert!((0.65..0.75).contains(&measured.kept), "{}", measured.kept);
        assert!(measured.error_of_kept.is_some_and(|error| error < measured.error));
        let rows = calibration.rows();
        assert!(rows.iter().all(|(_, value, _)| value.is_none_or(f64::is_finite)));
        assert_eq!(rows[0].0, "temperature");
    }
}

#[test]
fn thresholds_for_each_class_cover_each_class() {
    let items = planted(4_000, 1.0, 21);
    let (fitted, asked) = items.split_at(2_000);
    let pairs = fitted.iter().map(|item| (item.probabilities.as_slice(), item.class));
    let sets = Conformal::fit(pairs, N_CLASSES, true, 16);
    assert_eq!((sets.thresholds.len(), sets.n_items), (N_CLASSES, 2_000));
    for class in 0..N_CLASSES {
        let own: Vec<&OutOfFold> = asked.iter().filter(|item| item.class == class).collect();
        let covered = own.iter().filter(|item| sets.set(&item.probabilities).contains(&class)).count();
        let share = covered as f64 / own.len() as f64;
        assert!((0.83..=0.97).contains(&share), "class {class}: {share}");
    }
}

#[test]
fn too_little_to_fit_on_is_said_and_gives_no_number_that_is_none() {
    let nothing = calibrate(&[]);
    assert_eq!((nothing.temperature.value, &nothing.measured, &nothing.conformal), (1.0, &None, &None));
    let confidence = nothing.confidence(None);
    assert_eq!(confidence.judge(&[0.5, 0.5], (&[1.0, 2.0], 2), None), Judgement::default());
    let mut one_speaker = planted(200, 2.0, 31);
    one_speaker.iter_mut().for_each(|item| item.speaker = Some("a".into()));
    let alone = calibrate(&one_speaker);
    assert!(alone.measured.is_none() && alone.notes.iter().any(|note| note.contains("two speakers")));
    assert!(alone.temperature.value > 1.2 && alone.conformal.is_some());
    let mut broken = planted(200, 2.0, 31);
    broken[3].probabilities[0] = f32::NAN;
    broken[4].class = N_CLASSES;
    broken[5].probabilities.pop();
    let rest = calibrate(&broken);
    assert!(rest.notes[0].contains("3 items"), "{:?}", rest.notes);
    assert_eq!(rest.temperature.n_items, 197);
    let few = calibrate(&planted(30, 2.0, 31));
    assert_eq!((few.temperature.value, few.abstain), (1.0, None));
    assert!(few.notes.iter().any(|note| note.contains("30 items")));
}

#[test]
fn the_first_reason_that_holds_is_given() {
    let calibration = calibrate(&planted(960, 2.0, 41));
    let below = calibration.abstain.expect("enough items").below;
    let confidence = calibration.confidence(None);
    let sure = [0.93, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01];
    let unsure = [0.13, 0.13, 0.13, 0.13, 0.12, 0.12, 0.12, 0.12];
    assert!((0.2..0.9).contains(&below), "{below}");
    let judged = |probabilities: &[f32]| confidence.judge(probabilities, (&[], 128), None);
    assert_eq!(judged(&sure), Judgement { set: Some(vec![0]), ..Judgement::default() });
    assert_eq!(judged(&unsure).abstain, Some(Reason::Ambiguous));
    assert_eq!(judged(&unsure).set.map(|set| set.len()), Some(N_CLASSES));
}

#[derive(Deserialize)]
struct Reference {
    temperatures: Vec<Found>,
    domain: Distant,
}

#[derive(Deserialize)]
struct Found {
    sharpness: f64,
    temperature: f64,
    loss: f64,
    loss_at_1: f64,
}

#[derive(Deserialize)]
struct Distant {
    distances: Vec<f64>,
}

/// `tests/golden/confidence/generate.py` made it; its inputs follow the same recipe.
fn reference() -> Reference {
    serde_json::from_str(include_str!("../../tests/golden/confidence/reference.json")).expect("the reference")
}

#[test]
fn the_temperature_is_the_one_that_scipy_finds() {
    let n = 400;
    for Found { sharpness, temperature, loss, loss_at_1 } in reference().temperatures {
        let items: Vec<(Vec<f32>, usize)> = (0..n)
            .map(|item| {
                let power = |class: usize| Seed(1).unit((item * N_CLASSES + class) as u64).powf(sharpness);
                let powers: Vec<f64> = (0..N_CLASSES).map(power).collect();
                let sum: f64 = powers.iter().sum();
                let probabilities: Vec<f32> = powers.iter().map(|power| (power / sum) as f32).collect();
                let highest = probabilities.iter().copied().fold(0.0, f32::max);
                let best = probabilities.iter().position(|&p| p == highest).expect("the highest is there");
                let other = (Seed(3).unit(item as u64) * N_CLASSES as f64) as usize;
                (probabilities, if Seed(2).unit(item as u64) < 0.6 { best } else { other })
            })
            .collect();
        let all = LogProbabilities::of(N_CLASSES, items.iter().map(|(p, class)| (p.as_slice(), *class)));
        let found = all.fit();
        assert!((found / temperature - 1.0).abs() < 1e-6, "{found} {temperature}");
        assert!((all.loss(found) - loss).abs() < 1e-9 && (all.loss(1.0) - loss_at_1).abs() < 1e-9);
    }
}

#[test]
fn distances_are_those_of_scikit_learn() {
    let (n, dims) = (300, 12);
    let raw = |item: usize, at: usize| Seed(4).unit((item * dims + at) as u64);
    let vectors: Vec<Vec<f32>> = (0..n)
        .map(|item| {
            let value = |at: usize| raw(item, at) + 0.8 * raw(item, (at + dims - 1) % dims);
            (0..dims).map(|at| (value(at) + if at == 0 { (item % 3) as f64 } else { 0.0 }) as f32).collect()
        })
        .collect();
    let groups: Vec<usize> = (0..n).map(|item| item % 3).collect();
    let gaussian = Gaussian::fit(&vectors, &groups).expect("varies");
    for (vector, wanted) in vectors.iter().zip(reference().domain.distances) {
        let asked: Vec<f32> = vector.iter().map(|value| value * 1.5).collect();
        let found = f64::from(gaussian.distance(&asked));
        assert!((found / wanted - 1.0).abs() < 1e-5, "{found} {wanted}");
    }
}
