//! How far a classifier's probabilities can be believed: calibration error and its noise floor, Brier score, log loss.

use crate::network::dense::{argmax, cross_entropy};

/// Bins of the calibration error and of the reliability diagram.
pub const N_BINS: usize = 10;

/// Variance of the hits of a bin from which on their distribution counts as normal: its mean absolute deviation is then off by
/// less than 1 in 10,000.
const NORMAL_FROM: f64 = 1000.0;

/// Probabilities below it are left out of a distribution of hits.
const NEGLIGIBLE: f64 = 1e-18;

/// What the probabilities of one item are worth, given its label.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ItemScore {
    /// The largest probability.
    pub confidence: f64,
    /// Whether it is that of the label; of equal ones the first counts.
    pub correct: bool,
    /// Sum over the classes of `(p - y)^2`, `y` 1 for the label and 0 else, from 0 to 2 (Brier 1950).
    pub brier: f64,
    /// `-ln p` of the label, in nats, with the floor that the training loss has.
    pub log_loss: f64,
}

impl ItemScore {
    /// Of the probabilities of all classes and the position of the label; `None` without probabilities, for a label that is
    /// none of them, and where one is no number.
    pub fn of(probabilities: &[f32], label: usize) -> Option<Self> {
        let right = *probabilities.get(label)?;
        if probabilities.iter().any(|probability| !probability.is_finite()) {
            return None;
        }
        let top = argmax(probabilities)?;
        let error = |(class, &p): (usize, &f32)| (f64::from(p) - f64::from(u8::from(class == label))).powi(2);
        Some(Self {
            confidence: f64::from(probabilities[top]),
            correct: top == label,
            brier: probabilities.iter().enumerate().map(error).sum(),
            log_loss: cross_entropy(right),
        })
    }
}

/// Bins of confidence that hold about as many items each; items of equal confidence are in one bin.
#[derive(Clone, Debug, PartialEq)]
pub struct Bins {
    /// Smallest confidence, the nine upper edges in between, largest; an edge belongs to the bin below it.
    edges: [f64; N_BINS + 1],
}

impl Bins {
    /// The edges are the tenths of `confidences`, interpolated between neighbours; `None` without any.
    pub fn of_equal_mass(confidences: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = confidences.into_iter().collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let last = sorted.len().checked_sub(1)?;
        let edge = |bin: usize| {
            // In whole numbers, so that an edge that is an item's confidence is that to the bit.
            let (below, rest) = (bin * last / N_BINS, bin * last % N_BINS);
            let above = (below + 1).min(last);
            sorted[below] + (sorted[above] - sorted[below]) * (rest as f64 / N_BINS as f64)
        };
        Some(Self { edges: std::array::from_fn(edge) })
    }

    /// The bin of a confidence, below [`N_BINS`].
    pub fn bin(&self, confidence: f64) -> usize {
        self.edges[1..N_BINS].partition_point(|edge| *edge < confidence)
    }

    /// Confidences between which a bin lies: above the first, up to the second.
    pub fn range(&self, bin: usize) -> (f64, f64) {
        (self.edges[bin], self.edges[bin + 1])
    }
}

/// Sums over the items of one bin.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BinTally {
    pub n: u64,
    /// Items that were right.
    pub hits: u64,
    /// Sum of the confidences.
    pub confidence: f64,
}

impl BinTally {
    /// Share of items that were right; `None` without items.
    pub fn accuracy(&self) -> Option<f64> {
        (self.n > 0).then(|| self.hits as f64 / self.n as f64)
    }

    /// Mean confidence; `None` without items.
    pub fn mean_confidence(&self) -> Option<f64> {
        (self.n > 0).then(|| self.confidence / self.n as f64)
    }
}

/// Sums over items with probabilities, from which every score of their calibration follows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    pub n: u64,
    pub brier: f64,
    pub log_loss: f64,
    pub bins: [BinTally; N_BINS],
}

impl Tally {
    /// Of items in bins that were made of these or of more items.
    pub fn of<'a>(bins: &Bins, items: impl IntoIterator<Item = &'a ItemScore>) -> Self {
        let mut tally = Self::default();
        for item in items {
            let bin = &mut tally.bins[bins.bin(item.confidence)];
            bin.n += 1;
            bin.hits += u64::from(item.correct);
            bin.confidence += item.confidence;
            tally.n += 1;
            tally.brier += item.brier;
            tally.log_loss += item.log_loss;
        }
        tally
    }

    /// Adds the items of another one in the same bins.
    pub fn merge(&mut self, other: &Self) {
        self.n += other.n;
        self.brier += other.brier;
        self.log_loss += other.log_loss;
        for (own, other) in self.bins.iter_mut().zip(&other.bins) {
            own.n += other.n;
            own.hits += other.hits;
            own.confidence += other.confidence;
        }
    }

    /// Expected calibration error (Naeini, Cooper and Hauskrecht 2015): the mean over items of how far accuracy and mean confidence of
    /// their bin are apart; `None` without items.
    pub fn ece(&self) -> Option<f64> {
        self.mean(self.bins.iter().map(|bin| (bin.hits as f64 - bin.confidence).abs()).sum())
    }

    /// Mean Brier score, from 0 to 2; `None` without items.
    pub fn mean_brier(&self) -> Option<f64> {
        self.mean(self.brier)
    }

    /// Mean log loss in nats; `None` without items.
    pub fn mean_log_loss(&self) -> Option<f64> {
        self.mean(self.log_loss)
    }

    fn mean(&self, sum: f64) -> Option<f64> {
        (self.n > 0).then(|| sum / self.n as f64)
    }
}

/// The calibration error that a perfectly calibrated model shows on average, with these confidences in these bins: each item right with
/// the probability that its confidence says, on its own. `None` without items.
///
/// It is exact, not simulated: the hits of a bin are Poisson-binomial, and the mean of how far they lie from the sum of its
/// confidences is summed up; where their variance is beyond [`NORMAL_FROM`] they count as normal.
pub fn noise_floor(bins: &Bins, confidences: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut of_bin: [Vec<f64>; N_BINS] = Default::default();
    let mut n = 0u64;
    for confidence in confidences {
        of_bin[bins.bin(confidence)].push(confidence.clamp(0.0, 1.0));
        n += 1;
    }
    (n > 0).then(|| of_bin.iter().map(|confidences| mean_deviation(confidences)).sum::<f64>() / n as f64)
}

/// Mean absolute deviation of a sum of independent hits with these probabilities from its mean.
fn mean_deviation(probabilities: &[f64]) -> f64 {
    let variance: f64 = probabilities.iter().map(|p| p * (1.0 - p)).sum();
    if variance >= NORMAL_FROM {
        return (variance * std::f64::consts::FRAC_2_PI).sqrt();
    }
    // `chances[k]` is the probability of `first + k` hits; both tails are cut where they no longer count.
    let (mut first, mut chances) = (0usize, vec![1.0]);
    for p in probabilities {
        let mut missed = 0.0;
        for chance in chances.iter_mut() {
            let hit = *chance * p;
            *chance = *chance * (1.0 - p) + missed;
            missed = hit;
        }
        chances.push(missed);
        while chances.last().is_some_and(|chance| *chance < NEGLIGIBLE) {
            chances.pop();
        }
        let n_low = chances.iter().take_while(|chance| **chance < NEGLIGIBLE).count();
        chances.drain(..n_low);
        first += n_low;
    }
    let mean: f64 = probabilities.iter().sum();
    chances.iter().enumerate().map(|(k, chance)| ((first + k) as f64 - mean).abs() * chance).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Seed;

    /// `n` items of drawn confidences that are right as often as these say.
    fn calibrated(seed: Seed, n: u64) -> Vec<ItemScore> {
        let item = |i: u64| {
            let confidence = 0.3 + 0.7 * seed.unit(2 * i);
            ItemScore { confidence, correct: seed.unit(2 * i + 1) < confidence, brier: 0.0, log_loss: 0.0 }
        };
        (0..n).map(item).collect()
    }

    fn bins_of(items: &[ItemScore]) -> Bins {
        Bins::of_equal_mass(items.iter().map(|item| item.confidence)).expect("items")
    }

    fn floor_of(items: &[ItemScore]) -> f64 {
        noise_floor(&bins_of(items), items.iter().map(|item| item.confidence)).expect("items")
    }

    #[test]
    fn scores_of_one_item_are_those_worked_out_by_hand() {
        let item = ItemScore::of(&[0.5, 0.25, 0.25], 1).expect("three probabilities");
        assert_eq!((item.confidence, item.correct), (0.5, false));
        assert_eq!(item.brier, 0.25 + 0.5625 + 0.0625);
        assert_eq!(item.log_loss, 4f64.ln());
        // A probability of nothing costs what it costs in training, and no infinity.
        let surely_wrong = ItemScore::of(&[1.0, 0.0], 1).expect("two probabilities");
        assert_eq!((surely_wrong.log_loss, surely_wrong.brier), (cross_entropy(0.0), 2.0));
        assert!(surely_wrong.log_loss.is_finite());
        assert!(ItemScore::of(&[0.5, 0.5], 0).expect("a tie").correct, "the first of equal ones");
    }

    #[test]
    fn what_is_no_probability_is_no_score_and_no_nan() {
        assert_eq!(ItemScore::of(&[], 0), None);
        assert_eq!(ItemScore::of(&[0.5, 0.5], 2), None);
        assert_eq!(ItemScore::of(&[f32::NAN, 0.5], 1), None);
        assert_eq!(ItemScore::of(&[f32::INFINITY, 0.5], 1), None);
        let none = Tally::default();
        assert_eq!((none.ece(), none.mean_brier(), none.mean_log_loss()), (None, None, None));
        assert_eq!(Bins::of_equal_mass([]), None);
    }

    #[test]
    fn bins_hold_as_many_items_each_and_equal_confidences_stay_together() {
        let bins = Bins::of_equal_mass((0..1000).map(|i| f64::from(i) / 999.0)).expect("items");
        let mut counts = [0; N_BINS];
        (0..1000).for_each(|i| counts[bins.bin(f64::from(i) / 999.0)] += 1);
        assert_eq!(counts, [100; N_BINS]);
        assert_eq!((bins.range(0).0, bins.range(N_BINS - 1).1), (0.0, 1.0));
        let one = Bins::of_equal_mass([0.7; 30]).expect("items");
        assert_eq!(one.bin(0.7), 0);
        // Beyond what the bins were made of there is no bin of its own.
        assert_eq!((bins.bin(-1.0), bins.bin(2.0)), (0, N_BINS - 1));
        for n in 1..25 {
            let bins = Bins::of_equal_mass((0..n).map(f64::from)).expect("items");
            assert!((0..n).all(|i| bins.bin(f64::from(i)) < N_BINS) && bins.edges.is_sorted(), "{n}");
        }
    }

    #[test]
    fn planted_miscalibration_is_found_and_calibration_shows_no_more_than_the_floor() {
        let sound = calibrated(Seed(1), 4000);
        let ece = |items: &[ItemScore]| Tally::of(&bins_of(items), items).ece().expect("items");
        assert!(ece(&sound) < 2.0 * floor_of(&sound), "{} {}", ece(&sound), floor_of(&sound));
        // As sure as before, and right in seven cases of ten of those.
        let shrink = |(i, item): (usize, &ItemScore)| ItemScore { correct: item.correct && i % 10 < 7, ..*item };
        let boastful: Vec<ItemScore> = sound.iter().enumerate().map(shrink).collect();
        let wanted = 0.3 * sound.iter().filter(|item| item.correct).count() as f64 / 4000.0;
        assert!((ece(&boastful) - wanted).abs() < 0.03, "{} {wanted}", ece(&boastful));
        assert!(ece(&boastful) > 10.0 * floor_of(&boastful));
    }

    #[test]
    fn the_floor_is_the_mean_error_of_many_perfectly_calibrated_models() {
        for n in [7, 60, 320] {
            let items = calibrated(Seed(n), n);
            let bins = bins_of(&items);
            let error = |round: u64| {
                let draw = |(i, item): (usize, &ItemScore)| ItemScore {
                    correct: Seed(n).derive("hits", &[]).unit(round * n + i as u64) < item.confidence,
                    ..*item
                };
                let drawn: Vec<ItemScore> = items.iter().enumerate().map(draw).collect();
                Tally::of(&bins, &drawn).ece().expect("items")
            };
            let mean = (0..4000).map(error).sum::<f64>() / 4000.0;
            assert!((floor_of(&items) / mean - 1.0).abs() < 0.02, "{n}: {} {mean}", floor_of(&items));
        }
    }

    #[test]
    fn the_normal_takes_over_where_it_makes_no_difference() {
        let many: Vec<f64> = (0..5000).map(|i| 0.3 + 0.4 * Seed(5).unit(i)).collect();
        // Just below and just above the limit.
        let at = |n: usize| many[..n].iter().map(|p| p * (1.0 - p)).sum::<f64>();
        let n = (0..5000).find(|&n| at(n) >= NORMAL_FROM).expect("enough of them") - 1;
        let normal = (at(n) * std::f64::consts::FRAC_2_PI).sqrt();
        assert!((mean_deviation(&many[..n]) / normal - 1.0).abs() < 1e-4);
        assert_eq!(mean_deviation(&[1.0, 0.0, 1.0]), 0.0);
        assert_eq!(mean_deviation(&[0.5]), 0.5);
    }
}
