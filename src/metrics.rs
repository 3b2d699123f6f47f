//! How well a classifier did: confusion matrix, accuracy, average recall, per-class scores, intervals.
//!
//! A score whose denominator is zero is `None`, never 0 or 1: a class that never occurs has no recall, a class
//! that is never predicted has no precision. Means run over the classes that occur in the truth, so a class
//! that a corpus lacks (or a fold does not hold) neither helps nor harms.

use crate::units::Seed;

/// Two-sided 95 % quantile of the standard normal distribution.
pub const Z_95: f64 = 1.959_963_984_540_054;

/// Counts of `(truth, predicted)`: rows are the truth, columns the prediction, both in the order of the model's classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confusion {
    n_classes: usize,
    /// `[truth, predicted]`
    counts: Vec<u64>,
}

/// The scores of one class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassScore {
    /// Right predictions of the class among all predictions of it; `None` if it is never predicted.
    pub precision: Option<f64>,
    /// Right predictions of the class among all items of it; `None` if it never occurs.
    pub recall: Option<f64>,
    /// `2 TP / (2 TP + FP + FN)`: 0 if the class occurs and is never hit, `None` if it neither occurs nor is predicted.
    pub f1: Option<f64>,
    /// Items of the class in the truth.
    pub support: u64,
    /// Predictions of the class.
    pub predicted: u64,
}

/// A range with its bounds, both in `[0, 1]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

impl Confusion {
    /// No items of `n_classes` classes.
    pub fn new(n_classes: usize) -> Self {
        Self { n_classes, counts: vec![0; n_classes * n_classes] }
    }

    /// Counts pairs of `(truth, predicted)`, each a position below `n_classes`.
    pub fn from_pairs(n_classes: usize, pairs: impl IntoIterator<Item = (usize, usize)>) -> Self {
        let mut confusion = Self::new(n_classes);
        pairs.into_iter().for_each(|(truth, predicted)| confusion.add(truth, predicted, 1));
        confusion
    }

    /// Adds `count` items of `truth` that were predicted as `predicted`.
    pub fn add(&mut self, truth: usize, predicted: usize, count: u64) {
        self.counts[truth * self.n_classes + predicted] += count;
    }

    /// Adds the cells of a cluster.
    pub fn add_cells(&mut self, cells: &Cluster) {
        cells.iter().for_each(|&((truth, predicted), count)| self.add(truth, predicted, count));
    }

    /// Number of classes.
    pub fn n_classes(&self) -> usize {
        self.n_classes
    }

    /// How many items of `truth` were predicted as `predicted`.
    pub fn count(&self, truth: usize, predicted: usize) -> u64 {
        self.counts[truth * self.n_classes + predicted]
    }

    /// All items.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Items on the diagonal.
    pub fn correct(&self) -> u64 {
        (0..self.n_classes).map(|class| self.count(class, class)).sum()
    }

    /// Share of right predictions; `None` without items.
    pub fn accuracy(&self) -> Option<f64> {
        ratio(self.correct(), self.total())
    }

    /// Unweighted average recall: the mean recall of the classes that occur; `None` without items.
    pub fn uar(&self) -> Option<f64> {
        mean((0..self.n_classes).filter_map(|class| self.class(class).recall))
    }

    /// The mean F1 of the classes that occur; `None` without items.
    ///
    /// scikit-learn's macro F1 also counts, as 0, classes that are predicted but never occur; it is the same
    /// number whenever every class occurs.
    pub fn macro_f1(&self) -> Option<f64> {
        let occurring = (0..self.n_classes).map(|class| self.class(class)).filter(|score| score.support > 0);
        mean(occurring.filter_map(|score| score.f1))
    }

    /// Classes that occur in the truth.
    pub fn n_occurring(&self) -> usize {
        (0..self.n_classes).filter(|&class| self.class(class).support > 0).count()
    }

    /// The scores of one class.
    pub fn class(&self, class: usize) -> ClassScore {
        let hits = self.count(class, class);
        let support: u64 = (0..self.n_classes).map(|predicted| self.count(class, predicted)).sum();
        let predicted: u64 = (0..self.n_classes).map(|truth| self.count(truth, class)).sum();
        ClassScore {
            precision: ratio(hits, predicted),
            recall: ratio(hits, support),
            f1: ratio(2 * hits, support + predicted),
            support,
            predicted,
        }
    }

    /// Wilson's 95 % interval of the accuracy; `None` without items. It takes items as independent, which
    /// recordings of one speaker are not: quote [`uar_interval`] by speaker beside it.
    pub fn accuracy_interval(&self) -> Option<Interval> {
        wilson(self.correct(), self.total(), Z_95)
    }
}

/// Wilson's score interval of a share (Wilson 1927): always inside `[0, 1]`, sound at 0 and at 1.
/// `None` if `n_total` is 0.
pub fn wilson(n_hits: u64, n_total: u64, z: f64) -> Option<Interval> {
    let share = ratio(n_hits, n_total)?;
    let n = n_total as f64;
    let scale = 1.0 + z * z / n;
    let centre = (share + z * z / (2.0 * n)) / scale;
    let half = z / scale * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
    // The bounds at no hits and at nothing but hits are exact; rounding must not miss them.
    let low = if n_hits == 0 { 0.0 } else { centre - half };
    let high = if n_hits == n_total { 1.0 } else { centre + half };
    Some(Interval { low, high })
}

/// What the bootstrap draws whole, such as all items of one speaker: its cells `((truth, predicted), count)`, each named once
/// and with a count above 0; positions are below the number of classes.
pub type Cluster = Vec<((usize, usize), u64)>;

/// The 95 % percentile bootstrap interval of the UAR.
///
/// `clusters` are drawn whole, as recordings of one speaker are not independent. Their order decides which resample draws
/// which of them: give them in the order of their names, so that the bounds do not depend on the order of the items.
///
/// A class that a resample lacks is left out of its mean. `None` if there are fewer than two clusters, or no resamples:
/// there is no spread to measure.
pub fn uar_interval(n_classes: usize, clusters: &[Cluster], n_resamples: usize, seed: Seed) -> Option<Interval> {
    if clusters.len() < 2 || n_resamples == 0 {
        return None;
    }
    let n = clusters.len() as u64;
    let resample = |index: usize| {
        let mut confusion = Confusion::new(n_classes);
        for draw in 0..n {
            confusion.add_cells(&clusters[seed.below(index as u64 * n + draw, n) as usize]);
        }
        confusion.uar()
    };
    let mut uars: Vec<f64> = (0..n_resamples).filter_map(resample).collect();
    uars.sort_unstable_by(f64::total_cmp);
    Some(Interval { low: quantile(&uars, 0.025), high: quantile(&uars, 0.975) })
}

/// The clusters of `pairs`, counted one by one: in the order of the names in `groups`, or, without groups, each pair alone.
#[cfg(test)]
pub(crate) fn clusters_of_pairs(pairs: &[(usize, usize)], groups: Option<&[&str]>) -> Vec<Cluster> {
    use std::collections::BTreeMap;

    let Some(groups) = groups else {
        let mut cells = pairs.to_vec();
        cells.sort_unstable();
        return cells.into_iter().map(|cell| vec![(cell, 1)]).collect();
    };
    assert_eq!(groups.len(), pairs.len(), "a group for each pair");
    let mut by_group: BTreeMap<&str, BTreeMap<(usize, usize), u64>> = BTreeMap::new();
    for (group, &cell) in groups.iter().zip(pairs) {
        *by_group.entry(group).or_default().entry(cell).or_default() += 1;
    }
    by_group.into_values().map(|cells| cells.into_iter().collect()).collect()
}

/// Linear interpolation between the two nearest of `sorted`, which is not empty.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let position = share * (sorted.len() - 1) as f64;
    let (below, above) = (position.floor() as usize, position.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * (position - below as f64)
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, n) = values.fold((0.0, 0u64), |(sum, n), value| (sum + value, n + 1));
    (n > 0).then(|| sum / n as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const N: usize = 7;

    fn interval_of(
        pairs: &[(usize, usize)],
        groups: Option<&[&str]>,
        n_resamples: usize,
        seed: u64,
    ) -> Option<Interval> {
        uar_interval(N, &clusters_of_pairs(pairs, groups), n_resamples, Seed(seed))
    }

    const ANGRY: usize = 0;
    const FEAR: usize = 2;
    const HAPPY: usize = 3;
    const SAD: usize = 5;

    fn close(found: Option<f64>, wanted: f64) {
        let found = found.expect("a number");
        assert!((found - wanted).abs() < 1e-12, "{found}, wanted {wanted}");
    }

    /// Angry: 3 of 4 right, one called sad. Sad: 1 of 2 right, one called fear. FEAR and others never occur.
    fn small() -> Confusion {
        Confusion::from_pairs(
            N,
            [(ANGRY, ANGRY), (ANGRY, ANGRY), (ANGRY, ANGRY), (ANGRY, SAD), (SAD, SAD), (SAD, FEAR)],
        )
    }

    #[test]
    fn scores_are_those_worked_out_by_hand() {
        let confusion = small();
        assert_eq!((confusion.total(), confusion.correct()), (6, 4));
        assert_eq!((confusion.count(ANGRY, SAD), confusion.count(SAD, ANGRY)), (1, 0));
        close(confusion.accuracy(), 4.0 / 6.0);
        close(confusion.uar(), (0.75 + 0.5) / 2.0);
        let (angry, sad) = (confusion.class(ANGRY), confusion.class(SAD));
        assert_eq!((angry.support, angry.predicted, sad.support, sad.predicted), (4, 3, 2, 2));
        close(angry.precision, 1.0);
        close(angry.recall, 0.75);
        close(angry.f1, 6.0 / 7.0);
        close(sad.precision, 0.5);
        close(sad.f1, 0.5);
        // Fear is predicted but never occurs: it counts in no mean.
        close(confusion.macro_f1(), (6.0 / 7.0 + 0.5) / 2.0);
    }

    #[test]
    fn a_score_without_a_denominator_is_none() {
        let fear = small().class(FEAR);
        assert_eq!((fear.precision, fear.recall, fear.f1), (Some(0.0), None, Some(0.0)));
        let happy = small().class(HAPPY);
        assert_eq!((happy.precision, happy.recall, happy.f1), (None, None, None));
        let missed = Confusion::from_pairs(N, [(HAPPY, SAD)]).class(HAPPY);
        assert_eq!((missed.precision, missed.recall, missed.f1), (None, Some(0.0), Some(0.0)));
        let empty = Confusion::new(N);
        assert_eq!((empty.accuracy(), empty.uar(), empty.macro_f1()), (None, None, None));
        assert_eq!(empty.accuracy_interval(), None);
    }

    #[test]
    fn the_papers_accuracy_is_1687_of_1890() {
        // 270 of each class, 241 right: 1687 of 1890 = 89.26 %.
        let mut confusion = Confusion::new(N);
        for class in 0..N {
            confusion.add(class, class, 241);
            confusion.add(class, (class + 1) % N, 29);
        }
        assert_eq!((confusion.correct(), confusion.total()), (1687, 1890));
        assert_eq!(format!("{:.2}", 100.0 * confusion.accuracy().expect("items")), "89.26");
        // Each class is as often right, and as often wrongly named, as any other.
        for score in (0..N).map(|class| confusion.class(class)) {
            close(score.precision, 241.0 / 270.0);
            close(score.recall, 241.0 / 270.0);
            close(score.f1, 241.0 / 270.0);
        }
        close(confusion.uar(), 241.0 / 270.0);
        close(confusion.macro_f1(), 241.0 / 270.0);
        let interval = confusion.accuracy_interval().expect("items");
        assert!((interval.low - WILSON_1687_OF_1890.0).abs() < 1e-9, "{interval:?}");
        assert!((interval.high - WILSON_1687_OF_1890.1).abs() < 1e-9, "{interval:?}");
    }

    /// From scipy 1.17.1, `binomtest(1687, 1890).proportion_ci(method="wilson")`.
    const WILSON_1687_OF_1890: (f64, f64) = (0.877828492105, 0.905764027263);

    #[test]
    fn wilson_stays_inside_zero_and_one() {
        // With no hits, the upper bound is z^2 / (n + z^2).
        let none = wilson(0, 10, Z_95).expect("items");
        assert_eq!(none.low, 0.0);
        close(Some(none.high), Z_95 * Z_95 / (10.0 + Z_95 * Z_95));
        let all = wilson(10, 10, Z_95).expect("items");
        close(Some(all.low), 1.0 - none.high);
        assert_eq!(all.high, 1.0);
        assert_eq!(wilson(0, 0, Z_95), None);
    }

    #[test]
    fn bootstrap_of_items_is_as_wide_as_the_binomial_says() {
        // One class, 80 of 100 right: UAR is the share, its deviation 0.04.
        let pairs: Vec<_> = (0..100).map(|i| (ANGRY, if i < 80 { ANGRY } else { SAD })).collect();
        let interval = interval_of(&pairs, None, 4000, 1).expect("spread");
        assert!((interval.low - 0.7216).abs() < 0.015 && (interval.high - 0.8784).abs() < 0.015, "{interval:?}");
        let mut turned = pairs.clone();
        turned.reverse();
        assert_eq!(interval_of(&turned, None, 4000, 1), Some(interval));
    }

    #[test]
    fn bootstrap_is_a_function_of_its_seed() {
        let pairs: Vec<_> = (0..97).map(|i| ([ANGRY, SAD, FEAR][i % 3], [ANGRY, SAD, FEAR][i / 5 % 3])).collect();
        let interval = |seed| interval_of(&pairs, None, 500, seed).expect("spread");
        assert_eq!(interval(1), interval(1));
        assert_ne!(interval(1), interval(2));
    }

    #[test]
    fn bootstrap_by_speaker_is_wider_when_speakers_differ() {
        // Four speakers of 25, two always right, two right in 15 of 25: the speakers are the units.
        let right = |i: usize| i / 25 < 2 || i % 25 < 15;
        let pairs: Vec<_> = (0..100).map(|i| (ANGRY, if right(i) { ANGRY } else { SAD })).collect();
        let speakers: Vec<&str> = (0..100).map(|i| ["a", "b", "c", "d"][i / 25]).collect();
        let items = interval_of(&pairs, None, 2000, 1).expect("spread");
        let grouped = interval_of(&pairs, Some(&speakers), 2000, 1).expect("spread");
        // All four draws from the worse (or the better) two happen in 1 of 16 resamples each.
        close(Some(grouped.low), 0.6);
        close(Some(grouped.high), 1.0);
        assert!(grouped.high - grouped.low > 2.0 * (items.high - items.low), "{grouped:?} {items:?}");
    }

    #[test]
    fn one_thing_to_draw_has_no_spread() {
        let pairs = [(ANGRY, ANGRY), (SAD, ANGRY)];
        assert_eq!(interval_of(&pairs, Some(&["a", "a"]), 100, 1), None);
        assert_eq!(interval_of(&pairs[..1], None, 100, 1), None);
        assert_eq!((interval_of(&[], None, 100, 1), interval_of(&pairs, None, 0, 1)), (None, None));
    }
}
