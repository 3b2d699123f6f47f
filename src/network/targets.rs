//! What a batch is trained towards: classes, or shares of classes (label smoothing, class weights, mixed recordings).

use crate::network::dense::{self, StepOutcome, argmax, cross_entropy};

/// Targets of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Targets<'a> {
    /// Class of each recording, or of its larger part; `[n]`. Hits are counted against it.
    pub labels: &'a [usize],
    /// `[n, classes]`: the share of each class times its weight; nothing for all of the label's.
    pub shares: Option<&'a [f32]>,
}

impl<'a> From<&'a [usize]> for Targets<'a> {
    fn from(labels: &'a [usize]) -> Self {
        Self { labels, shares: None }
    }
}

impl Targets<'_> {
    /// Mean loss `-sum_c share_c ln p_c` and hits of `probabilities` `[n, classes]`; see [`dense::evaluate`].
    pub fn evaluate(&self, n_classes: usize, probabilities: &[f32]) -> StepOutcome {
        let Some(shares) = self.shares else { return dense::evaluate(n_classes, probabilities, self.labels) };
        let mut outcome = StepOutcome { loss: 0.0, correct: 0 };
        let rows = probabilities.chunks_exact(n_classes).zip(shares.chunks_exact(n_classes)).zip(self.labels);
        for ((row, shares), &label) in rows {
            // A share of 0 costs nothing, whatever the probability.
            let told = row.iter().zip(shares).filter(|(_, share)| **share > 0.0);
            outcome.loss += told.map(|(value, share)| f64::from(*share) * cross_entropy(*value)).sum::<f64>();
            outcome.correct += usize::from(argmax(row) == Some(label));
        }
        outcome.loss /= self.labels.len() as f64;
        outcome
    }

    /// Turns the probabilities of one recording into the gradient of its loss by the logits:
    /// `p_k sum_c share_c - share_k`, which for a class alone is `p_k - [k = label]`.
    pub(super) fn subtract(&self, recording: usize, row: &mut [f32]) {
        match self.shares {
            None => row[self.labels[recording]] -= 1.0,
            Some(shares) => {
                let shares = &shares[recording * row.len()..(recording + 1) * row.len()];
                let sum: f32 = shares.iter().sum();
                row.iter_mut().zip(shares).for_each(|(value, share)| *value = *value * sum - share);
            }
        }
    }
}

/// A recording that is mixed with another of its batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mix {
    /// Which one, in the batch.
    pub partner: usize,
    /// Share of the recording itself, at least one half.
    pub own: f32,
}

/// Makes targets by a recipe's loss.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetMaker {
    n_classes: usize,
    /// Share that is spread evenly over all classes.
    smoothing: f32,
    /// Weight of each class, if they differ.
    class_weights: Option<Vec<f32>>,
}

impl TargetMaker {
    /// `class_weights` `[classes]` multiply the loss of each class' share.
    pub fn new(n_classes: usize, smoothing: f64, class_weights: Option<Vec<f32>>) -> Self {
        Self { n_classes, smoothing: smoothing as f32, class_weights }
    }

    /// Whether labels alone say it all, as long as nothing is mixed.
    pub fn is_plain(&self) -> bool {
        self.smoothing == 0.0 && self.class_weights.is_none()
    }

    /// Fills `shares` with `weight_c ((1 - s) y_c + s / classes)`, where `y` is the label's class or, for a mixed recording, its
    /// two in their shares.
    ///
    /// Sources: smoothing, Szegedy et al. 2016, arXiv 1512.00567; with weights as in PyTorch's `CrossEntropyLoss` for
    /// probabilities. Proof: `losses_and_moments_of_the_ingredients_match_pytorch`.
    pub fn fill(&self, labels: &[usize], mixes: Option<&[Mix]>, shares: &mut Vec<f32>) {
        let (kept, spread) = (1.0 - self.smoothing, self.smoothing / self.n_classes as f32);
        shares.clear();
        shares.resize(labels.len() * self.n_classes, spread);
        for (recording, row) in shares.chunks_exact_mut(self.n_classes).enumerate() {
            let Mix { partner, own } = mixes.map_or(Mix { partner: recording, own: 1.0 }, |mixes| mixes[recording]);
            row[labels[recording]] += kept * own;
            row[labels[partner]] += kept * (1.0 - own);
            if let Some(weights) = &self.class_weights {
                row.iter_mut().zip(weights).for_each(|(share, weight)| *share *= weight);
            }
        }
    }
}

/// Weights in inverse proportion to how often each class is drawn, `shares` `[classes]`; their mean over what is drawn is 1. A class
/// that is never drawn has weight 0: nothing is told of it, not even by smoothing.
pub fn balanced_weights(shares: &[f64]) -> Vec<f32> {
    let total: f64 = shares.iter().sum();
    let n_present = shares.iter().filter(|share| **share > 0.0).count() as f64;
    shares.iter().map(|&share| if share > 0.0 { (total / (n_present * share)) as f32 } else { 0.0 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_hand_numbers() {
        let mut shares = Vec::new();
        TargetMaker::new(4, 0.2, None).fill(&[2], None, &mut shares);
        for (have, want) in shares.iter().zip([0.05, 0.05, 0.85, 0.05]) {
            assert!((have - want).abs() < 1e-6, "{shares:?}");
        }
        let mixes = [Mix { partner: 1, own: 0.75 }, Mix { partner: 1, own: 1.0 }];
        TargetMaker::new(2, 0.0, Some(vec![0.5, 2.0])).fill(&[0, 1], Some(&mixes), &mut shares);
        assert_eq!(shares, [0.375, 0.5, 0.0, 2.0]);
    }

    #[test]
    fn plain_targets_cost_what_labels_cost() {
        let (labels, probabilities) = ([1, 0], [0.25, 0.75, 0.125, 0.875]);
        let mut shares = Vec::new();
        TargetMaker::new(2, 0.0, None).fill(&labels, None, &mut shares);
        let soft = Targets { labels: &labels, shares: Some(&shares) };
        assert_eq!(soft.evaluate(2, &probabilities), Targets::from(&labels[..]).evaluate(2, &probabilities));
        let (mut hard_row, mut soft_row) = ([0.25, 0.75], [0.25, 0.75]);
        Targets::from(&labels[..]).subtract(0, &mut hard_row);
        soft.subtract(0, &mut soft_row);
        assert_eq!(hard_row, soft_row);
    }

    #[test]
    fn a_probability_of_zero_costs_nothing_where_nothing_is_told_and_a_nan_is_a_nan() {
        let labels = [0];
        let of = |shares: [f32; 2], row: [f32; 2]| Targets { labels: &labels, shares: Some(&shares) }.evaluate(2, &row);
        assert_eq!(of([1.0, 0.0], [1.0, 0.0]).loss, 0.0);
        assert!(of([0.9, 0.1], [f32::NAN, 0.5]).loss.is_nan());
        assert!(of([0.9, 0.1], [1.0, 0.0]).loss.is_finite(), "clipped as for labels");
    }

    #[test]
    fn balanced_weights_have_mean_1_over_what_is_drawn_and_0_for_what_is_not() {
        let shares = [0.5, 0.25, 0.0, 0.25];
        let weights = balanced_weights(&shares);
        let mean: f64 = weights.iter().zip(shares).map(|(weight, share)| f64::from(*weight) * share).sum();
        assert!((mean - 1.0).abs() < 1e-6, "{weights:?}");
        assert_eq!((weights[2], weights[1] / weights[0]), (0.0, 2.0));
        assert_eq!(balanced_weights(&[0.0, 0.0]), [0.0, 0.0]);
    }
}
