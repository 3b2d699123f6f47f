//! Against scikit-learn and SciPy: `tests/golden/metrics/generate.py` made the numbers, and its bootstrap draws items one by one.

use serde::Deserialize;

use super::*;
use crate::units::Seed;

const GOLDEN: &str = include_str!("../../tests/golden/metrics/scores.json");

#[derive(Deserialize)]
struct Golden {
    n_classes: usize,
    labels: Vec<usize>,
    speakers: Vec<usize>,
    probabilities_1024: Vec<Vec<u16>>,
    accuracy: f64,
    uar: f64,
    macro_f1: f64,
    precision: Vec<f64>,
    recall: Vec<f64>,
    f1: Vec<f64>,
    support: Vec<u64>,
    log_loss: f64,
    brier: f64,
    bin_n: Vec<u64>,
    bin_accuracy: Vec<f64>,
    bin_confidence: Vec<f64>,
    ece: f64,
    ece_floor: f64,
    intervals: std::collections::BTreeMap<String, [f64; 2]>,
}

fn goldens() -> Vec<Golden> {
    serde_json::from_str(GOLDEN).expect("the golden file is JSON")
}

impl Golden {
    fn items(&self) -> Vec<ItemScore> {
        let rows = self.probabilities_1024.iter().zip(&self.labels);
        let probabilities = |row: &[u16]| row.iter().map(|part| f32::from(*part) / 1024.0).collect::<Vec<f32>>();
        rows.map(|(row, &label)| ItemScore::of(&probabilities(row), label).expect("probabilities")).collect()
    }

    fn bins(&self) -> Bins {
        Bins::of_equal_mass(self.items().iter().map(|item| item.confidence)).expect("items")
    }

    fn clusters(&self) -> Vec<Cluster> {
        let (items, bins) = (self.items(), self.bins());
        let n_speakers = self.speakers.iter().max().map_or(0, |last| last + 1);
        let cluster = |speaker: usize| {
            let own = (0..items.len()).filter(|&item| self.speakers[item] == speaker);
            let said = |item: usize| (0..self.n_classes).rev().max_by_key(|&c| self.probabilities_1024[item][c]);
            let pairs = own.clone().map(|item| (self.labels[item], said(item).expect("a class")));
            Cluster {
                cells: Confusion::from_pairs(self.n_classes, pairs).cells(),
                tally: Tally::of(&bins, own.map(|item| &items[item])),
            }
        };
        (0..n_speakers).map(cluster).filter(|cluster| !cluster.cells.is_empty()).collect()
    }

    fn measured(&self, n_resamples: usize) -> Measured {
        let (clusters, mut confusion) = (self.clusters(), Confusion::new(self.n_classes));
        clusters.iter().for_each(|cluster| confusion.add_cells(&cluster.cells));
        measure(&confusion, &clusters, n_resamples, Seed(4))
    }
}

fn close(found: Option<f64>, wanted: f64, what: &str) {
    let found = found.unwrap_or_else(|| panic!("{what} has a value"));
    assert!((found - wanted).abs() < 1e-9, "{what}: {found}, wanted {wanted}");
}

#[test]
fn every_score_is_that_of_scikit_learn() {
    for golden in goldens() {
        let found = golden.measured(0);
        close(found.accuracy.value, golden.accuracy, "accuracy");
        close(found.uar.value, golden.uar, "UAR");
        close(found.macro_f1.value, golden.macro_f1, "macro F1");
        close(found.log_loss.value, golden.log_loss, "log loss");
        close(found.brier.value, golden.brier, "Brier");
        close(found.ece.value, golden.ece, "ECE");
        for (class, [precision, recall, f1]) in found.classes.iter().enumerate() {
            close(precision.value, golden.precision[class], "precision");
            close(recall.value, golden.recall[class], "recall");
            close(f1.value, golden.f1[class], "F1");
        }
        let n_all: u64 = golden.support.iter().sum();
        assert_eq!((found.tally.n, golden.labels.len() as u64), (n_all, n_all));
    }
}

#[test]
fn bins_are_those_of_scikit_learns_calibration_curve() {
    for golden in goldens() {
        let tally = golden.measured(0).tally;
        assert_eq!(tally.bins.map(|bin| bin.n).to_vec(), golden.bin_n);
        // Its curve leaves empty bins out.
        let filled = tally.bins.iter().filter(|bin| bin.n > 0);
        for ((bin, accuracy), confidence) in filled.zip(&golden.bin_accuracy).zip(&golden.bin_confidence) {
            close(bin.accuracy(), *accuracy, "accuracy of a bin");
            close(bin.mean_confidence(), *confidence, "confidence of a bin");
        }
    }
}

#[test]
fn the_noise_floor_is_the_mean_deviation_of_scipys_poisson_binomial() {
    for golden in goldens() {
        let floor = noise_floor(&golden.bins(), golden.items().iter().map(|item| item.confidence));
        close(floor, golden.ece_floor, "floor");
    }
}

#[test]
fn intervals_are_those_of_a_bootstrap_that_draws_the_items_of_speakers_one_by_one() {
    for golden in goldens() {
        let found = golden.measured(20_000);
        let named = [
            ("accuracy", found.accuracy),
            ("uar", found.uar),
            ("ece", found.ece),
            ("brier", found.brier),
            ("log_loss", found.log_loss),
            ("recall_0", found.classes[0][1]),
        ];
        for (name, estimate) in named {
            let Spread::Interval(interval) = estimate.spread else { panic!("{name}: {estimate:?}") };
            let [low, high] = golden.intervals[name];
            // Both draw 20,000 times, by other generators.
            let allowed = 0.03 * (high - low);
            let off = (interval.low - low).abs().max((interval.high - high).abs());
            assert!(off < allowed, "{name}: {interval:?}, wanted {low} {high}");
        }
    }
}
