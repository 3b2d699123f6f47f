//! Counts as rows of `metrics`, `confusion` and `reliability`.

use crate::evaluation::SliceCounts;
use crate::evaluation::gaps::gap_rows;
use crate::metrics::{Bins, Cluster, Estimate, ItemScore, Measured, N_BINS, Spread, Tally, measure, noise_floor};
use crate::tables::confusion::ConfusionRow;
use crate::tables::metrics::MetricRow;
use crate::tables::reliability::ReliabilityRow;
use crate::units::Seed;

/// What the rows of all slices have in common.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    pub model_id: &'a str,
    pub pipeline: &'a str,
    pub protocol: &'a str,
    /// Names of the model's classes, in their order.
    pub classes: &'a [String],
    /// What the probabilities of each item are worth, by its number.
    pub scores: &'a [Option<ItemScore>],
    /// Resamples behind each bootstrap interval.
    pub n_resamples: usize,
    /// Of the pipeline.
    pub seed: Seed,
}

/// The rows of all slices.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    pub metrics: Vec<MetricRow>,
    pub confusions: Vec<ConfusionRow>,
    pub reliability: Vec<ReliabilityRow>,
    /// For each side with probabilities its items by confidence, in ranges of equal width from 0 to 1.
    pub histograms: Vec<(String, [u64; N_RANGES])>,
}

/// Ranges of a histogram of confidences.
pub const N_RANGES: usize = 20;

/// The rows of every slice, side by side; the gaps between the groups of a slice stand after the slices of all sides.
pub fn rows_of(counts: &[SliceCounts], about: &About) -> Rows {
    let mut rows = Rows::default();
    for slice in counts {
        let (measured, bins) = slice.measured(about);
        rows.metrics.extend(slice.metric_rows(about, &measured, bins.as_ref()));
        // A row by class for each of a thousand speakers would say little, at length.
        if !slice.is_one_speaker {
            rows.confusions.extend(slice.confusion_rows(about));
        }
        if let (true, Some(bins)) = (slice.is_all(), &bins) {
            rows.reliability.extend(slice.reliability_rows(about, &measured, bins));
            rows.histograms.push((slice.split.clone(), slice.histogram(about)));
        }
    }
    rows.metrics.extend(gap_rows(counts, about));
    rows
}

impl SliceCounts {
    /// Whether it holds all items of its side.
    pub fn is_all(&self) -> bool {
        self.sliced_by.is_none()
    }

    /// All that is measured of it, and the bins of its confidences; none where no item has probabilities.
    fn measured(&self, about: &About) -> (Measured, Option<Bins>) {
        let bins = Bins::of_equal_mass(self.scored(about).map(|item| item.confidence));
        let cluster = |cluster: &super::Counted| Cluster {
            cells: cluster.cells.clone(),
            tally: bins.as_ref().map_or_else(Tally::default, |bins| Tally::of(bins, scored(&cluster.items, about))),
        };
        let clusters: Vec<Cluster> = self.clusters.iter().map(cluster).collect();
        let seed = about.seed.derive("bootstrap", &[self.split.as_bytes(), self.slice.as_bytes()]);
        (measure(&self.confusion, &clusters, about.n_resamples, seed), bins)
    }

    fn histogram(&self, about: &About) -> [u64; N_RANGES] {
        let mut counts = [0; N_RANGES];
        for item in self.scored(about) {
            counts[((item.confidence * N_RANGES as f64) as usize).min(N_RANGES - 1)] += 1;
        }
        counts
    }

    fn scored<'a>(&'a self, about: &'a About) -> impl Iterator<Item = &'a ItemScore> {
        self.clusters.iter().flat_map(|cluster| scored(&cluster.items, about))
    }

    /// A row of `metrics` without a number.
    pub(super) fn blank(&self, about: &About, metric: &str) -> MetricRow {
        MetricRow {
            model_id: about.model_id.into(),
            pipeline: about.pipeline.into(),
            protocol: about.protocol.into(),
            split: self.split.clone(),
            slice: self.slice.clone(),
            class: "all".into(),
            metric: metric.into(),
            ..MetricRow::default()
        }
    }

    /// The overall scores with their intervals, what a constant and a guess would reach, then the scores of each class.
    fn metric_rows(&self, about: &About, measured: &Measured, bins: Option<&Bins>) -> Vec<MetricRow> {
        let confusion = &self.confusion;
        let (total, n_scored) = (confusion.total(), measured.tally.n);
        let n_classes = Some(confusion.n_occurring() as u32);
        let exact = |value: Option<f64>| Estimate { value, spread: Spread::None };
        let row = |metric: &str, estimate: Estimate, support: u64, n_classes: Option<u32>| MetricRow {
            value: estimate.value,
            low: bounds(estimate).map(|(low, _)| low),
            high: bounds(estimate).map(|(_, high)| high),
            interval: self.kind(estimate.spread),
            n_classes,
            support,
            ..self.blank(about, metric)
        };
        let floor = bins.and_then(|bins| noise_floor(bins, self.scored(about).map(|item| item.confidence)));
        let mut rows = vec![
            row("accuracy", measured.accuracy, total, None),
            row("uar", measured.uar, total, n_classes),
            row("macro_f1", measured.macro_f1, total, n_classes),
            row("majority_accuracy", exact(confusion.majority_accuracy()), total, None),
            row("chance_uar", exact(confusion.chance_uar()), total, n_classes),
            row("ece", measured.ece, n_scored, None),
            row("ece_floor", exact(floor), n_scored, None),
            row("brier", measured.brier, n_scored, None),
            row("log_loss", measured.log_loss, n_scored, None),
        ];
        if let Some(n) = self.n_scored {
            let share = (n > 0).then(|| total as f64 / n as f64);
            rows.push(row("labelled", exact(share), n, None));
        }
        let classes = about.classes.iter().enumerate().filter(|_| !self.is_one_speaker);
        for (index, class) in classes {
            let support = confusion.class(index).support;
            for (metric, estimate) in ["precision", "recall", "f1"].into_iter().zip(measured.classes[index]) {
                rows.push(MetricRow { class: class.clone(), ..row(metric, estimate, support, None) });
            }
        }
        rows
    }

    /// What the column `interval` says.
    fn kind(&self, spread: Spread) -> Option<String> {
        match spread {
            Spread::None => None,
            Spread::TooFew => Some(format!("too few {}", self.drawn)),
            Spread::Flat => Some("no spread".into()),
            Spread::Interval(_) => Some(self.drawn.into()),
        }
    }

    /// A row for each label and each predicted class, counted or not.
    fn confusion_rows(&self, about: &About) -> Vec<ConfusionRow> {
        let classes = about.classes;
        let cell = |truth: usize, said: usize| ConfusionRow {
            model_id: about.model_id.into(),
            protocol: about.protocol.into(),
            split: self.split.clone(),
            slice: self.slice.clone(),
            emotion: classes[truth].clone(),
            predicted: classes[said].clone(),
            count: self.confusion.count(truth, said),
        };
        let cells = (0..classes.len()).flat_map(|truth| (0..classes.len()).map(move |said| (truth, said)));
        cells.map(|(truth, said)| cell(truth, said)).collect()
    }

    /// A row for each bin of confidence, also for those that equal confidences leave empty.
    fn reliability_rows(&self, about: &About, measured: &Measured, bins: &Bins) -> Vec<ReliabilityRow> {
        let row = |bin: usize| {
            let (tally, estimate, range) = (&measured.tally.bins[bin], measured.bins[bin], bins.range(bin));
            ReliabilityRow {
                model_id: about.model_id.into(),
                protocol: about.protocol.into(),
                split: self.split.clone(),
                bin: bin as u32 + 1,
                low: range.0,
                high: range.1,
                n_items: tally.n,
                confidence: tally.mean_confidence(),
                accuracy: estimate.value,
                accuracy_low: bounds(estimate).map(|(low, _)| low),
                accuracy_high: bounds(estimate).map(|(_, high)| high),
                interval: self.kind(estimate.spread),
            }
        };
        (0..N_BINS).map(row).collect()
    }
}

/// Those of the items that have a score.
fn scored<'a>(items: &'a [u32], about: &About<'a>) -> impl Iterator<Item = &'a ItemScore> {
    let scores = about.scores;
    items.iter().filter_map(move |&item| scores[item as usize].as_ref())
}

fn bounds(estimate: Estimate) -> Option<(f64, f64)> {
    match estimate.spread {
        Spread::Interval(interval) => Some((interval.low, interval.high)),
        _ => None,
    }
}
