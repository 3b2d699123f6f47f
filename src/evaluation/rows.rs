//! Counts as rows of `metrics` and `confusion`.

use crate::evaluation::SliceCounts;
use crate::metrics::{Interval, uar_interval};
use crate::tables::confusion::ConfusionRow;
use crate::tables::metrics::MetricRow;
use crate::units::Seed;

/// What the rows of all slices have in common.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    pub model_id: &'a str,
    pub pipeline: &'a str,
    pub protocol: &'a str,
    /// Names of the model's classes, in their order.
    pub classes: &'a [String],
    /// Resamples behind each bootstrap interval.
    pub n_resamples: usize,
    /// Of the pipeline.
    pub seed: Seed,
}

impl SliceCounts {
    /// Whether it holds all items of its side.
    pub fn is_all(&self) -> bool {
        self.slice == "all"
    }

    /// Accuracy, UAR and macro F1 with their intervals, then precision, recall and F1 of each class.
    pub fn metric_rows(&self, about: &About) -> Vec<MetricRow> {
        let row = |class: &str, metric: &str, value: Option<f64>, interval: Option<Interval>, support: u64| MetricRow {
            model_id: about.model_id.into(),
            pipeline: about.pipeline.into(),
            protocol: about.protocol.into(),
            split: self.split.clone(),
            slice: self.slice.clone(),
            class: class.into(),
            metric: metric.into(),
            value,
            low: interval.map(|interval| interval.low),
            high: interval.map(|interval| interval.high),
            interval: None,
            n_classes: None,
            support,
        };
        let confusion = &self.confusion;
        let seed = about.seed.derive("bootstrap", &[self.split.as_bytes(), self.slice.as_bytes()]);
        let uar = uar_interval(about.classes.len(), &self.clusters, about.n_resamples, seed);
        let total = confusion.total();
        let wilson = confusion.accuracy_interval();
        let n_classes = Some(confusion.n_occurring() as u32);
        let mean_of = |row: MetricRow| MetricRow { n_classes, ..row };
        let kind = |interval: Option<Interval>, kind: &str| interval.map(|_| kind.to_string());
        let mut rows = vec![
            MetricRow {
                interval: kind(wilson, "items"),
                ..row("all", "accuracy", confusion.accuracy(), wilson, total)
            },
            mean_of(MetricRow { interval: kind(uar, self.drawn), ..row("all", "uar", confusion.uar(), uar, total) }),
            mean_of(row("all", "macro_f1", confusion.macro_f1(), None, total)),
        ];
        for (index, class) in about.classes.iter().enumerate() {
            let score = confusion.class(index);
            for (metric, value) in [("precision", score.precision), ("recall", score.recall), ("f1", score.f1)] {
                rows.push(row(class, metric, value, None, score.support));
            }
        }
        rows
    }

    /// A row for each label and each predicted class, counted or not.
    pub fn confusion_rows(&self, about: &About) -> Vec<ConfusionRow> {
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
}
