//! Rows of `metrics` as people read them: a number with its interval, and with what needs no model.

use serde_json::{Value, json};

use crate::evaluation::Rows;
use crate::pictures::{self, ReliabilityPoint, ReliabilityView};
use crate::tables::metrics::MetricRow;

/// The rows of one slice of one side that are about no single class.
pub struct Overall<'a> {
    pub split: &'a str,
    pub slice: &'a str,
    rows: &'a [MetricRow],
}

impl<'a> Overall<'a> {
    /// Every slice of every side, in the order of the table.
    pub fn of_slices(metrics: &'a [MetricRow]) -> Vec<Self> {
        let slices = metrics.chunk_by(|a, b| a.split == b.split && a.slice == b.slice);
        let slices = slices.filter(|rows| rows.iter().any(|row| row.metric == "accuracy"));
        slices.map(|rows| Self { split: &rows[0].split, slice: &rows[0].slice, rows }).collect()
    }

    /// All items of every side.
    pub fn of_sides(metrics: &'a [MetricRow]) -> Vec<Self> {
        Self::of_slices(metrics).into_iter().filter(|overall| overall.slice == "all").collect()
    }

    /// One of its metrics.
    pub fn row(&self, metric: &str) -> Option<&'a MetricRow> {
        self.rows.iter().find(|row| row.metric == metric && row.class == "all")
    }

    /// A metric of one class.
    pub fn of_class(&self, class: &str, metric: &str) -> Option<&'a MetricRow> {
        self.rows.iter().find(|row| row.metric == metric && row.class == class)
    }

    /// Labelled items.
    pub fn items(&self) -> u64 {
        self.row("accuracy").map_or(0, |row| row.support)
    }

    /// Classes that occur.
    pub fn classes(&self) -> u32 {
        self.row("uar").and_then(|row| row.n_classes).unwrap_or(0)
    }

    /// A share in percent, with its interval where there is one.
    pub fn percent(&self, metric: &str) -> String {
        percent(self.row(metric))
    }

    /// What its intervals draw, or why there are none.
    pub fn interval(&self) -> &'a str {
        self.row("uar").and_then(|row| row.interval.as_deref()).unwrap_or("-")
    }

    /// What the log says of a side.
    pub fn sentence(&self, n_classes: usize) -> String {
        if self.items() == 0 {
            let n_scored = self.row("labelled").map_or(0, |row| row.support);
            return format!("{} side: none of {n_scored} scored items has a label of the model", self.split);
        }
        format!(
            "{} side, {} items of {} of {n_classes} classes: UAR {} (chance {}), accuracy {} (majority {}); percent, 95 % by {}",
            self.split,
            self.items(),
            self.classes(),
            self.percent("uar"),
            self.percent("chance_uar"),
            self.percent("accuracy"),
            self.percent("majority_accuracy"),
            self.interval()
        )
    }

    /// What the JSON summary says of a side.
    pub fn summary(&self) -> Value {
        let value = |metric: &str| self.row(metric).and_then(|row| row.value);
        let bounds = |metric: &str| self.row(metric).map_or((None, None), |row| (row.low, row.high));
        json!({
            "items": self.items(),
            "accuracy": value("accuracy"), "accuracy_low": bounds("accuracy").0, "accuracy_high": bounds("accuracy").1,
            "majority_accuracy": value("majority_accuracy"),
            "uar": value("uar"), "uar_low": bounds("uar").0, "uar_high": bounds("uar").1,
            "chance_uar": value("chance_uar"),
            "interval": self.row("uar").and_then(|row| row.interval.as_deref()),
            "macro_f1": value("macro_f1"),
            "ece": value("ece"), "ece_floor": value("ece_floor"),
            "brier": value("brier"), "log_loss": value("log_loss"),
        })
    }
}

/// A share in percent, with its interval where there is one.
pub fn percent(row: Option<&MetricRow>) -> String {
    with_interval(row, |value| pictures::percent(Some(value)).unwrap_or_default())
}

/// A number that is no share, with its interval where there is one.
pub fn number(row: Option<&MetricRow>) -> String {
    with_interval(row, |value| format!("{value:.3}"))
}

fn with_interval(row: Option<&MetricRow>, show: impl Fn(f64) -> String) -> String {
    let Some(value) = row.and_then(|row| row.value) else { return "-".into() };
    match row.and_then(|row| row.low.zip(row.high)) {
        Some((low, high)) => format!("{} [{}, {}]", show(value), show(low), show(high)),
        None => show(value),
    }
}

/// What a reliability diagram shows.
pub struct Reliability<'a> {
    title: &'a str,
    points: Vec<ReliabilityPoint>,
    histogram: &'a [u64],
    mean_confidence: Option<f64>,
    overall: Option<Overall<'a>>,
}

/// The diagram of one side.
pub fn reliability<'a>(title: &'a str, split: &str, rows: &'a Rows, histogram: &'a [u64]) -> Reliability<'a> {
    let bins = || rows.reliability.iter().filter(move |row| row.split == split);
    let point = |confidence: f64, accuracy: f64, interval| ReliabilityPoint { confidence, accuracy, interval };
    let points =
        bins().filter_map(|row| Some(point(row.confidence?, row.accuracy?, row.accuracy_low.zip(row.accuracy_high))));
    let n_items: u64 = bins().map(|row| row.n_items).sum();
    let confidence: f64 = bins().filter_map(|row| Some(row.confidence? * row.n_items as f64)).sum();
    Reliability {
        title,
        points: points.collect(),
        histogram,
        mean_confidence: (n_items > 0).then(|| confidence / n_items as f64),
        overall: Overall::of_sides(&rows.metrics).into_iter().find(|overall| overall.split == split),
    }
}

impl Reliability<'_> {
    pub fn view(&self) -> ReliabilityView<'_> {
        let value = |metric: &str| self.overall.as_ref().and_then(|overall| overall.row(metric)?.value);
        ReliabilityView {
            title: self.title,
            points: &self.points,
            histogram: self.histogram,
            mean_confidence: self.mean_confidence,
            accuracy: value("accuracy"),
            ece: value("ece"),
            ece_floor: value("ece_floor"),
        }
    }
}
