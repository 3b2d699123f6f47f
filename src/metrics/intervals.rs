//! 95 % intervals by a bootstrap that draws whole speakers, for every number that is said of a set of items.
//!
//! Recordings of one speaker are not independent, so the speakers are drawn, with replacement, as many as there are (Davison and
//! Hinkley 1997, 3.8). What is drawn are a speaker's counts and sums, no items, so a resample costs the same for any number of recordings.

use rayon::prelude::*;

use crate::metrics::calibration::{BinTally, N_BINS, Tally};
use crate::metrics::confusion::{Cell, Confusion};
use crate::units::Seed;

/// With fewer clusters there is no interval: resamples of so few say little of speakers that were not there.
pub const FEWEST: usize = 5;

/// More clusters than this are drawn in bundles, put together by chance: the spread of bundles is that of what they hold, and a
/// hundred thousand recordings cost no more than a few speakers.
const MOST: usize = 500;

/// Widest range that rounding makes.
const ROUNDING: f64 = 1e-9;

/// What the bootstrap draws whole, such as all items of one speaker.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cluster {
    /// Its cells, with counts above 0; positions are below the number of classes.
    pub cells: Vec<Cell>,
    /// Its items with probabilities, in the bins of all items.
    pub tally: Tally,
}

/// A range with its bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

/// What is known of how far a value would be off with other speakers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Spread {
    /// Not asked for, or there is no value.
    #[default]
    None,
    /// It rests on fewer than [`FEWEST`] clusters.
    TooFew,
    /// Every resample gave the same, as where all are right: that is no certainty.
    Flat,
    /// 95 % of the resamples lie in it.
    Interval(Interval),
}

/// A value with what is known of its spread.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    pub value: Option<f64>,
    pub spread: Spread,
}

/// All that is measured of a set of items.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    pub accuracy: Estimate,
    pub uar: Estimate,
    pub macro_f1: Estimate,
    pub ece: Estimate,
    pub brier: Estimate,
    pub log_loss: Estimate,
    /// Precision, recall and F1 of each class.
    pub classes: Vec<[Estimate; 3]>,
    /// Accuracy of each bin of confidence.
    pub bins: [Estimate; N_BINS],
    /// The sums behind the last ones.
    pub tally: Tally,
}

/// Measures all items of `clusters`, which are counted in `confusion`; intervals come from `n_resamples` resamples, and there are
/// none if that is 0.
///
/// The order of the clusters decides which resample draws which of them: give them in the order of their names, so that
/// the bounds do not depend on the order of the items. A class that a resample lacks is left out of its means.
pub fn measure(confusion: &Confusion, clusters: &[Cluster], n_resamples: usize, seed: Seed) -> Measured {
    let mut tally = Tally::default();
    clusters.iter().for_each(|cluster| tally.merge(&cluster.tally));
    let n_classes = confusion.n_classes();
    let values = values(confusion, &tally);
    let resting_on = n_resting_on(n_classes, clusters);
    let is_enough = |n: usize| n_resamples > 0 && n >= FEWEST;
    let is_drawn = resting_on.iter().any(|&n| is_enough(n));
    let resamples = if is_drawn { resamples(n_classes, clusters, n_resamples, seed) } else { Vec::new() };
    let estimate = |index: usize| Estimate {
        value: values[index],
        spread: match values[index] {
            Some(_) if is_enough(resting_on[index]) => spread(&resamples, index),
            Some(_) if n_resamples > 0 => Spread::TooFew,
            _ => Spread::None,
        },
    };
    let class = |class: usize| [0, 1, 2].map(|score| estimate(OVERALL + 3 * class + score));
    Measured {
        accuracy: estimate(0),
        uar: estimate(1),
        macro_f1: estimate(2),
        ece: estimate(3),
        brier: estimate(4),
        log_loss: estimate(5),
        classes: (0..n_classes).map(class).collect(),
        bins: std::array::from_fn(|bin| estimate(OVERALL + 3 * n_classes + bin)),
        tally,
    }
}

/// Values that are no class's and no bin's; they come first.
const OVERALL: usize = 6;

/// Everything that is measured, in one order: overall, then precision, recall and F1 by class, then the accuracy of each bin.
fn values(confusion: &Confusion, tally: &Tally) -> Vec<Option<f64>> {
    let overall = [
        confusion.accuracy(),
        confusion.uar(),
        confusion.macro_f1(),
        tally.ece(),
        tally.mean_brier(),
        tally.mean_log_loss(),
    ];
    let classes = (0..confusion.n_classes()).map(|class| confusion.class(class));
    let classes = classes.flat_map(|score| [score.precision, score.recall, score.f1]);
    overall.into_iter().chain(classes).chain(tally.bins.iter().map(BinTally::accuracy)).collect()
}

/// How many clusters have items that each of [`values`] rests on.
fn n_resting_on(n_classes: usize, clusters: &[Cluster]) -> Vec<usize> {
    let mut counts = vec![0; OVERALL + 3 * n_classes + N_BINS];
    for cluster in clusters {
        let (mut occurs, mut is_said) = (vec![false; n_classes], vec![false; n_classes]);
        for &((truth, said), _) in &cluster.cells {
            (occurs[truth], is_said[said]) = (true, true);
        }
        let (is_counted, is_scored) = (!cluster.cells.is_empty(), cluster.tally.n > 0);
        let overall = [is_counted, is_counted, is_counted, is_scored, is_scored, is_scored];
        let classes = occurs.iter().zip(&is_said).flat_map(|(&occurs, &said)| [said, occurs, occurs || said]);
        let all = overall.into_iter().chain(classes).chain(cluster.tally.bins.iter().map(|bin| bin.n > 0));
        counts.iter_mut().zip(all).for_each(|(count, is_there)| *count += usize::from(is_there));
    }
    counts
}

/// [`values`] of each resample.
fn resamples(n_classes: usize, clusters: &[Cluster], n_resamples: usize, seed: Seed) -> Vec<Vec<Option<f64>>> {
    let bundles = (clusters.len() > MOST).then(|| bundled(n_classes, clusters, seed));
    let clusters = bundles.as_deref().unwrap_or(clusters);
    let n = clusters.len() as u64;
    let resample = |index: usize| {
        let (mut confusion, mut tally) = (Confusion::new(n_classes), Tally::default());
        for draw in 0..n {
            let cluster = &clusters[seed.below(index as u64 * n + draw, n) as usize];
            confusion.add_cells(&cluster.cells);
            tally.merge(&cluster.tally);
        }
        values(&confusion, &tally)
    };
    (0..n_resamples).into_par_iter().map(resample).collect()
}

/// [`MOST`] clusters that hold all others, as many each as can be, by chance.
fn bundled(n_classes: usize, clusters: &[Cluster], seed: Seed) -> Vec<Cluster> {
    let order = seed.derive("bundles", &[]).permutation(clusters.len());
    let bundle = |number: usize| {
        let (mut confusion, mut tally) = (Confusion::new(n_classes), Tally::default());
        for &cluster in &order[number * order.len() / MOST..(number + 1) * order.len() / MOST] {
            confusion.add_cells(&clusters[cluster].cells);
            tally.merge(&clusters[cluster].tally);
        }
        Cluster { cells: confusion.cells(), tally }
    };
    (0..MOST).map(bundle).collect()
}

/// The percentile interval of one of [`values`], over the resamples in which it is defined.
fn spread(resamples: &[Vec<Option<f64>>], index: usize) -> Spread {
    let mut found: Vec<f64> = resamples.iter().filter_map(|values| values[index]).collect();
    found.sort_unstable_by(f64::total_cmp);
    if found.is_empty() {
        return Spread::Flat;
    }
    let (low, high) = (quantile(&found, 0.025), quantile(&found, 0.975));
    // Sums in another order differ in their last bits.
    if high - low > ROUNDING { Spread::Interval(Interval { low, high }) } else { Spread::Flat }
}

/// Linear interpolation between the two nearest of `sorted`, which is not empty.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let position = share * (sorted.len() - 1) as f64;
    let (below, above) = (position.floor() as usize, position.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * (position - below as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Bins, ItemScore};

    const N: usize = 7;
    const ANGRY: usize = 0;
    const FEAR: usize = 2;
    const SAD: usize = 5;

    /// The clusters of `pairs`, in the order of the first of each name in `groups`.
    fn clusters(pairs: &[(usize, usize)], groups: &[usize]) -> Vec<Cluster> {
        let n_groups = groups.iter().max().map_or(0, |last| last + 1);
        let own = |group: usize| pairs.iter().zip(groups).filter(move |(_, own)| **own == group).map(|(pair, _)| *pair);
        let cells = |group: usize| Confusion::from_pairs(N, own(group)).cells();
        (0..n_groups).map(|group| Cluster { cells: cells(group), ..Cluster::default() }).collect()
    }

    fn measured(clusters: &[Cluster], n_resamples: usize, seed: u64) -> Measured {
        let mut confusion = Confusion::new(N);
        clusters.iter().for_each(|cluster| confusion.add_cells(&cluster.cells));
        measure(&confusion, clusters, n_resamples, Seed(seed))
    }

    fn interval(estimate: Estimate) -> Interval {
        let Spread::Interval(interval) = estimate.spread else { panic!("no interval: {estimate:?}") };
        interval
    }

    fn alone(n: usize) -> Vec<usize> {
        (0..n).collect()
    }

    #[test]
    fn bootstrap_of_items_is_as_wide_as_the_binomial_says() {
        // One class, 80 of 100 right: UAR and accuracy are the share, its deviation 0.04.
        let pairs: Vec<_> = (0..100).map(|i| (ANGRY, if i < 80 { ANGRY } else { SAD })).collect();
        let found = measured(&clusters(&pairs, &alone(100)), 4000, 1);
        for interval in [interval(found.uar), interval(found.accuracy), interval(found.classes[ANGRY][1])] {
            assert!((interval.low - 0.7216).abs() < 0.015 && (interval.high - 0.8784).abs() < 0.015, "{interval:?}");
        }
    }

    #[test]
    fn bootstrap_is_a_function_of_its_seed() {
        let pairs: Vec<_> = (0..97).map(|i| ([ANGRY, SAD, FEAR][i % 3], [ANGRY, SAD, FEAR][i / 5 % 3])).collect();
        let clusters = clusters(&pairs, &alone(97));
        assert_eq!(measured(&clusters, 500, 1), measured(&clusters, 500, 1));
        assert_ne!(measured(&clusters, 500, 1).uar, measured(&clusters, 500, 2).uar);
    }

    #[test]
    fn bootstrap_by_speaker_is_wider_when_speakers_differ() {
        // Eight speakers of 25, four always right, four right in 15 of 25: the speakers are the units.
        let right = |i: usize| i / 25 < 4 || i % 25 < 15;
        let pairs: Vec<_> = (0..200).map(|i| (ANGRY, if right(i) { ANGRY } else { SAD })).collect();
        let speakers: Vec<usize> = (0..200).map(|i| i / 25).collect();
        let items = interval(measured(&clusters(&pairs, &alone(200)), 2000, 1).uar);
        let grouped = interval(measured(&clusters(&pairs, &speakers), 2000, 1).uar);
        assert!(grouped.high - grouped.low > 1.8 * (items.high - items.low), "{grouped:?} {items:?}");
    }

    #[test]
    fn fewer_than_five_speakers_have_no_interval() {
        let pairs: Vec<_> = (0..40).map(|i| (ANGRY, if i % 3 == 0 { SAD } else { ANGRY })).collect();
        for n in 0..8 {
            let speakers: Vec<usize> = (0..40).map(|i| i % n.max(1)).collect();
            let found = measured(&clusters(&pairs[..40 * n.min(1)], &speakers[..40 * n.min(1)]), 100, 1);
            match n {
                0 => assert_eq!(found.uar, Estimate::default()),
                1..FEWEST => assert_eq!((found.uar.spread, found.accuracy.spread), (Spread::TooFew, Spread::TooFew)),
                _ => assert!(interval(found.uar).low < interval(found.uar).high),
            }
        }
        assert_eq!(measured(&clusters(&pairs, &alone(40)), 0, 1).uar.spread, Spread::None, "none was asked for");
    }

    #[test]
    fn a_score_has_an_interval_by_the_speakers_that_have_items_of_it() {
        // Eight speakers are sad, three of them angry too.
        let mut pairs: Vec<_> = (0..16).map(|i| (SAD, if i % 3 == 0 { FEAR } else { SAD })).collect();
        let mut speakers: Vec<usize> = (0..16).map(|i| i / 2).collect();
        pairs.extend([(ANGRY, ANGRY), (ANGRY, FEAR), (ANGRY, ANGRY)]);
        speakers.extend([0, 1, 2]);
        let found = measured(&clusters(&pairs, &speakers), 200, 1);
        assert_eq!(found.classes[ANGRY][1].spread, Spread::TooFew);
        assert!(matches!(found.classes[SAD][1].spread, Spread::Interval(_)));
        assert!(matches!(found.classes[FEAR][0].spread, Spread::Flat), "no fear was there: its precision is 0 always");
        assert_eq!(found.classes[FEAR][1], Estimate::default(), "and its recall is none");
        assert_eq!(found.ece, Estimate::default(), "no probabilities");
    }

    #[test]
    fn what_every_resample_agrees_on_is_no_certainty() {
        let pairs = vec![(ANGRY, ANGRY); 30];
        let found = measured(&clusters(&pairs, &alone(30)), 100, 1);
        assert_eq!((found.uar.value, found.uar.spread), (Some(1.0), Spread::Flat));
    }

    #[test]
    fn bundles_hold_every_item_and_spread_as_single_ones_do() {
        let seed = Seed(9);
        let pairs: Vec<_> = (0..4000).map(|i| (ANGRY, if seed.unit(i) < 0.7 { ANGRY } else { SAD })).collect();
        let mut clusters = clusters(&pairs, &alone(4000));
        let bins = Bins::of_equal_mass([0.2, 0.9]).expect("confidences");
        for (cluster, &(truth, said)) in clusters.iter_mut().zip(&pairs) {
            let item = ItemScore { confidence: 0.5, correct: truth == said, brier: 0.25, log_loss: 1.0 };
            cluster.tally = Tally::of(&bins, [&item]);
        }
        let bundles = bundled(N, &clusters, seed);
        let count = |clusters: &[Cluster]| {
            let cells = clusters.iter().flat_map(|cluster| &cluster.cells);
            (cells.map(|(_, count)| count).sum::<u64>(), clusters.iter().map(|cluster| cluster.tally.n).sum::<u64>())
        };
        assert_eq!((bundles.len(), count(&bundles)), (MOST, (4000, 4000)));
        // sqrt(0.7 * 0.3 / 4000) = 0.00725
        let found = interval(measured(&clusters, 2000, 2).accuracy);
        assert!(((found.high - found.low) / (2.0 * 1.96 * 0.00725) - 1.0).abs() < 0.12, "{found:?}");
    }
}
