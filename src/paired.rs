//! Two classifiers on the same items: how much one is ahead, whether that may be chance, and who gains by it.
//!
//! What one of them does to an item tells much of what the other will do, so differences are taken item by item and drawn
//! speaker by speaker, the same draw for both. Everything follows from counts of `(truth, first, second)`.

use rayon::prelude::*;

use crate::metrics::Confusion;
use crate::units::Seed;

/// Fewer things to draw than this say nothing of those that were not recorded: then there are no bounds.
pub const LEAST_DRAWN: usize = 5;

/// Label and both predictions of an item, as positions of classes.
pub type Cell = (usize, usize, usize);

/// What the bootstrap draws whole, such as all items of one speaker: its cells, each named once, with counts above 0.
pub type PairedCluster = Vec<(Cell, u64)>;

/// Items that two classifiers have both answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Paired {
    n_classes: usize,
    clusters: Vec<PairedCluster>,
}

/// What two classifiers are compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    Accuracy,
    Uar,
    MacroF1,
    /// Of one class.
    Recall(usize),
}

/// How answers changed from the first classifier to the second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flips {
    pub right_to_wrong: u64,
    pub wrong_to_right: u64,
    /// Wrong in both, by other classes.
    pub changed_wrong: u64,
}

/// Both forms of McNemar's test, two-sided. Both take items as independent, which recordings of one speaker are not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct McNemar {
    /// The exact binomial test's p; it errs on the side of chance.
    pub exact: f64,
    /// The mid-p, which is closer to what it promises (Fagerland, Lydersen and Laake 2013).
    pub mid: f64,
}

/// Bounds of a difference, in `[-1, 1]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    pub low: f64,
    pub high: f64,
}

/// How many things that are drawn have a higher, a lower and the same accuracy with the second classifier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    pub gain: u64,
    pub lose: u64,
    pub stay: u64,
}

impl Measure {
    /// Accuracy, UAR, macro F1 and the recall of each class.
    pub fn all(n_classes: usize) -> Vec<Self> {
        let means = [Self::Accuracy, Self::Uar, Self::MacroF1];
        means.into_iter().chain((0..n_classes).map(Self::Recall)).collect()
    }

    /// As in the column `metric` of tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::Uar => "uar",
            Self::MacroF1 => "macro_f1",
            Self::Recall(_) => "recall",
        }
    }

    /// Its value; `None` where it is not defined.
    pub fn of(self, confusion: &Confusion) -> Option<f64> {
        match self {
            Self::Accuracy => confusion.accuracy(),
            Self::Uar => confusion.uar(),
            Self::MacroF1 => confusion.macro_f1(),
            Self::Recall(class) => confusion.class(class).recall,
        }
    }
}

impl Flips {
    fn add(&mut self, (truth, first, second): Cell, count: u64) {
        let counted = match (first == truth, second == truth) {
            (true, false) => &mut self.right_to_wrong,
            (false, true) => &mut self.wrong_to_right,
            (false, false) if first != second => &mut self.changed_wrong,
            _ => return,
        };
        *counted += count;
    }

    /// McNemar's test of the answers that one classifier alone has right.
    pub fn mcnemar(self) -> McNemar {
        mcnemar(self.right_to_wrong, self.wrong_to_right)
    }
}

impl Paired {
    /// Items of `n_classes` classes by what is drawn; the order of the clusters decides which resample draws which of them, so
    /// give them in the order of their names.
    pub fn new(n_classes: usize, clusters: Vec<PairedCluster>) -> Self {
        Self { n_classes, clusters }
    }

    /// How many things there are to draw.
    pub fn n_drawn(&self) -> usize {
        self.clusters.len()
    }

    /// Counts of the first classifier and of the second.
    pub fn confusions(&self) -> [Confusion; 2] {
        confusions(self.n_classes, &self.clusters)
    }

    /// Changed answers, of all items or of those of one class.
    pub fn flips(&self, class: Option<usize>) -> Flips {
        let mut flips = Flips::default();
        let cells = self.clusters.iter().flatten();
        let own = cells.filter(|((truth, ..), _)| class.is_none_or(|class| class == *truth));
        own.for_each(|&(cell, count)| flips.add(cell, count));
        flips
    }

    /// Who gains and who loses, among what is drawn.
    pub fn balance(&self) -> Balance {
        let mut balance = Balance::default();
        for cluster in &self.clusters {
            let mut flips = Flips::default();
            cluster.iter().for_each(|&(cell, count)| flips.add(cell, count));
            *(match flips.wrong_to_right.cmp(&flips.right_to_wrong) {
                std::cmp::Ordering::Greater => &mut balance.gain,
                std::cmp::Ordering::Less => &mut balance.lose,
                std::cmp::Ordering::Equal => &mut balance.stay,
            }) += 1;
        }
        balance
    }

    /// The 95 % percentile bootstrap bounds of each measure's difference, second less first: clusters are drawn whole, the same
    /// for both classifiers.
    ///
    /// `None` for a measure that fewer than [`LEAST_DRAWN`] clusters have a part in, and without resamples. A class that a
    /// resample lacks is left out of its means, and the resample out of that class' bounds.
    pub fn bounds(&self, measures: &[Measure], n_resamples: usize, seed: Seed) -> Vec<Option<Bounds>> {
        let n = self.clusters.len() as u64;
        let resample = |index: usize| -> Vec<Option<f64>> {
            let draws = (0..n).map(|draw| &self.clusters[seed.below(index as u64 * n + draw, n) as usize]);
            let [first, second] = confusions(self.n_classes, draws);
            measures.iter().map(|measure| Some(measure.of(&second)? - measure.of(&first)?)).collect()
        };
        // Nothing is drawn of what nobody will be told.
        let n_resamples = if self.clusters.len() < LEAST_DRAWN { 0 } else { n_resamples };
        let drawn: Vec<Vec<Option<f64>>> = (0..n_resamples).into_par_iter().map(resample).collect();
        let bounds = |(at, measure): (usize, &Measure)| {
            if self.n_with(*measure) < LEAST_DRAWN {
                return None;
            }
            let mut found: Vec<f64> = drawn.iter().filter_map(|differences| differences[at]).collect();
            found.sort_unstable_by(f64::total_cmp);
            Some(Bounds { low: quantile(&found, 0.025)?, high: quantile(&found, 0.975)? })
        };
        measures.iter().enumerate().map(bounds).collect()
    }

    /// Clusters that a measure rests on.
    fn n_with(&self, measure: Measure) -> usize {
        match measure {
            Measure::Recall(class) => {
                self.clusters.iter().filter(|cells| cells.iter().any(|((truth, ..), _)| *truth == class)).count()
            }
            _ => self.clusters.len(),
        }
    }
}

fn confusions<'a>(n_classes: usize, clusters: impl IntoIterator<Item = &'a PairedCluster>) -> [Confusion; 2] {
    let [mut a, mut b] = [Confusion::new(n_classes), Confusion::new(n_classes)];
    for &((truth, first, second), count) in clusters.into_iter().flatten() {
        a.add(truth, first, count);
        b.add(truth, second, count);
    }
    [a, b]
}

/// McNemar's test of `first` items that the first classifier alone has right and `second` that the second alone has: how likely
/// counts as uneven as these are if a coin decides each. 1 without such items.
pub fn mcnemar(first: u64, second: u64) -> McNemar {
    let (n, fewer) = (first + second, first.min(second));
    if n == 0 {
        return McNemar { exact: 1.0, mid: 1.0 };
    }
    // ln of n! / (k! (n - k)! 2^n), whose terms fall from k downwards, so that the sum loses nothing.
    let ln_chosen: f64 = (1..=fewer).map(|i| ((n - fewer + i) as f64 / i as f64).ln()).sum();
    let counted = (ln_chosen - n as f64 * std::f64::consts::LN_2).exp();
    if first == second {
        return McNemar { exact: 1.0, mid: 1.0 - 0.5 * counted };
    }
    let (mut tail, mut term) = (counted, counted);
    for k in (1..=fewer).rev() {
        term *= k as f64 / (n - k + 1) as f64;
        tail += term;
        if term <= tail * f64::EPSILON * 1e-3 {
            break;
        }
    }
    let exact = (2.0 * tail).min(1.0);
    McNemar { exact, mid: exact - counted }
}

/// Linear interpolation between the two nearest of `sorted`; `None` of nothing.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let position = share * sorted.len().checked_sub(1)? as f64;
    let (below, above) = (position.floor() as usize, position.ceil() as usize);
    Some(sorted[below] + (sorted[above] - sorted[below]) * (position - below as f64))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn golden(text: &str) -> impl Iterator<Item = Vec<&str>> {
        text.lines().skip(1).map(|line| line.split(',').collect())
    }

    fn number(text: &str) -> f64 {
        text.parse().expect("a number")
    }

    #[test]
    fn mcnemar_is_that_of_statsmodels_and_its_mid_p_that_of_scipy() {
        let mut n_rows = 0;
        for row in golden(include_str!("../tests/golden/paired/mcnemar.csv")) {
            let counts: Vec<u64> = row[..2].iter().map(|text| text.parse().expect("a count")).collect();
            for (first, second) in [(counts[0], counts[1]), (counts[1], counts[0])] {
                let found = mcnemar(first, second);
                for (found, wanted) in [(found.exact, number(row[2])), (found.mid, number(row[3]))] {
                    let near =
                        (found - wanted).abs() <= 1e-9 * wanted.abs().max(1e-300) || found < 1e-290 && wanted < 1e-290;
                    assert!(near, "{first} and {second}: {found:e}, wanted {wanted:e}");
                }
            }
            n_rows += 1;
        }
        assert_eq!(n_rows, 17);
        assert_eq!(mcnemar(0, 0), McNemar { exact: 1.0, mid: 1.0 });
    }

    /// The items of `tests/golden/paired/generate.py`.
    fn items() -> Paired {
        let cell = |s: usize, i: usize| {
            let truth = i % 3;
            let wrong = |is_wrong: bool| if is_wrong { (truth + 1) % 3 } else { truth };
            (truth, wrong((7 * s + 5 * i) % 11 < 3), wrong((3 * s + 4 * i + s * s) % 13 < 2 + s % 4))
        };
        let cluster = |s: usize| {
            let mut cells: BTreeMap<Cell, u64> = BTreeMap::new();
            (0..21).for_each(|i| *cells.entry(cell(s, i)).or_default() += 1);
            cells.into_iter().collect()
        };
        Paired::new(3, (0..12).map(cluster).collect())
    }

    #[test]
    fn bounds_over_speakers_are_those_of_scipy() {
        let paired = items();
        let measures: Vec<Measure> = Measure::all(3).into_iter().filter(|one| *one != Measure::MacroF1).collect();
        let bounds = paired.bounds(&measures, 20_000, Seed(1));
        let [first, second] = paired.confusions();
        let mut n_rows = 0;
        let rows = golden(include_str!("../tests/golden/paired/bootstrap.csv"));
        for ((row, measure), bounds) in rows.zip(&measures).zip(bounds) {
            let difference = measure.of(&second).expect("defined") - measure.of(&first).expect("defined");
            assert!((difference - number(row[1])).abs() < 1e-12, "{row:?}: {difference}");
            let bounds = bounds.expect("twelve speakers");
            // Other random numbers: bounds of 20,000 resamples are the same but for one item of those that the measure rests on.
            let step = if matches!(measure, Measure::Recall(_)) { 1.0 / 84.0 } else { 1.0 / 252.0 };
            let is_near = |found: f64, wanted: &str| (found - number(wanted)).abs() < 1.01 * step;
            assert!(is_near(bounds.low, row[2]) && is_near(bounds.high, row[3]), "{row:?}: {bounds:?}");
            n_rows += 1;
        }
        assert_eq!(n_rows, 5);
    }

    #[test]
    fn both_classifiers_are_drawn_together() {
        // Speakers differ by far more than the classifiers do: the second is right once more with everybody.
        let cluster = |s: u64| {
            let right = 2 + s * 7;
            vec![((0, 0, 0), right), ((0, 1, 0), 1), ((0, 1, 1), 100 - right - 1)]
        };
        let paired = Paired::new(2, (0..12).map(cluster).collect());
        let bounds = paired.bounds(&[Measure::Accuracy], 500, Seed(3))[0].expect("bounds");
        assert!((bounds.low - 0.01).abs() < 1e-12 && (bounds.high - 0.01).abs() < 1e-12, "{bounds:?}");
        assert_eq!(paired.balance(), Balance { gain: 12, lose: 0, stay: 0 });
        assert_eq!(paired.flips(None), Flips { right_to_wrong: 0, wrong_to_right: 12, changed_wrong: 0 });
        assert_eq!(paired.flips(Some(1)), Flips::default());
    }

    #[test]
    fn fewer_than_five_things_to_draw_have_no_bounds() {
        let cluster = |s: usize| vec![((0, 0, s % 2), 5), ((1, 1, 1), 5)];
        let of = |n: usize| Paired::new(2, (0..n).map(cluster).collect());
        assert_eq!(of(4).bounds(&Measure::all(2), 100, Seed(1)), [None; 5]);
        assert!(of(5).bounds(&Measure::all(2), 100, Seed(1)).iter().all(Option::is_some));
        // Of a class that four speakers have, the same is true whatever the others say.
        let mut clusters: Vec<PairedCluster> = (0..9).map(|_| vec![((1, 1, 0), 3)]).collect();
        clusters.iter_mut().take(4).for_each(|cells| cells.push(((0, 0, 1), 1)));
        let bounds = Paired::new(2, clusters).bounds(&Measure::all(2), 100, Seed(1));
        assert!(bounds[3].is_none() && bounds[4].is_some() && bounds[0].is_some(), "{bounds:?}");
        assert_eq!(of(5).bounds(&[Measure::Uar], 0, Seed(1)), [None]);
        assert_eq!(Paired::new(2, Vec::new()).bounds(&[Measure::Uar], 9, Seed(1)), [None]);
    }

    #[test]
    fn a_change_between_two_wrong_answers_is_no_gain_and_no_loss() {
        let paired = Paired::new(3, vec![vec![((0, 1, 2), 4), ((0, 1, 1), 2), ((0, 0, 2), 1), ((1, 0, 1), 1)]]);
        let flips = paired.flips(None);
        assert_eq!(flips, Flips { right_to_wrong: 1, wrong_to_right: 1, changed_wrong: 4 });
        assert_eq!(paired.flips(Some(0)), Flips { right_to_wrong: 1, wrong_to_right: 0, changed_wrong: 4 });
        assert_eq!(paired.balance(), Balance { gain: 0, lose: 0, stay: 1 });
        assert_eq!(flips.mcnemar().exact, 1.0);
    }
}
