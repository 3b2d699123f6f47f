//! Prediction sets: all classes that are likely enough for the true one to be among them nine times of ten.
//!
//! Split conformal prediction with the score `1 - p_true` (least ambiguous sets; Sadinle, Lei & Wasserman 2019), calibrated on
//! speakers that the models had not heard. The promise is one for new speakers of the same kind of recordings; on another
//! corpus it does not hold, which is what the domain's distance is for.

use serde::{Deserialize, Serialize};

/// Share of recordings whose set holds the true class.
pub const LEVEL: f64 = 0.9;

/// Which classes come into a set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conformal {
    /// The share that was asked for.
    pub level: f32,
    /// A class is in the set if its probability is at least this: one for all classes, or one for each (Mondrian).
    pub thresholds: Vec<f32>,
    pub n_items: u64,
    pub n_speakers: u64,
}

/// The threshold of items with these probabilities of their true class: of `n`, the `ceil((n + 1) level)`-th largest; 0, every
/// class, where `n` is too small for the level.
pub(super) fn threshold(mut true_probabilities: Vec<f32>, level: f64) -> f32 {
    true_probabilities.sort_unstable_by(|a, b| b.total_cmp(a));
    // A hair less, so that (9 + 1) x 0.9 is 9 and not 10 for a rounding.
    let rank = ((true_probabilities.len() + 1) as f64 * level - 1e-9).ceil() as usize;
    true_probabilities.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

impl Conformal {
    /// Thresholds from out-of-fold items: calibrated probabilities and true classes.
    ///
    /// `per_class`  a threshold for each class, so that each is covered as often; it needs some 20 items of each.
    pub(super) fn fit<'a>(
        items: impl Iterator<Item = (&'a [f32], usize)>,
        n_classes: usize,
        per_class: bool,
        n_speakers: u64,
    ) -> Self {
        let mut of_class = vec![Vec::new(); if per_class { n_classes } else { 1 }];
        let mut n_items = 0;
        for (probabilities, class) in items {
            of_class[if per_class { class } else { 0 }].push(probabilities[class]);
            n_items += 1;
        }
        let thresholds = of_class.into_iter().map(|own| threshold(own, LEVEL)).collect();
        Self { level: LEVEL as f32, thresholds, n_items, n_speakers }
    }

    /// Classes of the set, the likeliest first. The likeliest is always in it: an empty set would help nobody, and the promise
    /// is only kept the better.
    pub fn set(&self, probabilities: &[f32]) -> Vec<usize> {
        let mut order: Vec<usize> = (0..probabilities.len()).collect();
        order.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]));
        let threshold = |class: usize| match self.thresholds[..] {
            [one] => one,
            // A class that was never calibrated has no right to be left out.
            _ => self.thresholds.get(class).copied().unwrap_or(0.0),
        };
        let mut rank = 0;
        order.retain(|&class| {
            rank += 1;
            rank == 1 || probabilities[class] >= threshold(class)
        });
        order
    }

    /// Whether the numbers can be those of a model with so many classes.
    pub(crate) fn check(&self, n_classes: usize) -> Result<(), String> {
        let n = self.thresholds.len();
        if n != 1 && n != n_classes {
            return Err(format!("{n} thresholds for {n_classes} classes"));
        }
        let is_share = |value: &f32| (0.0..=1.0).contains(value);
        if !self.thresholds.iter().all(is_share) || !is_share(&self.level) {
            return Err("a threshold that is no probability".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(threshold: f32) -> Conformal {
        Conformal { level: 0.9, thresholds: vec![threshold], n_items: 9, n_speakers: 3 }
    }

    #[test]
    fn the_threshold_by_hand() {
        let nine: Vec<f32> = (1..=9).map(|at| at as f32 / 10.0).collect();
        // ceil(10 x .9) = 9: the ninth largest of nine is the smallest.
        assert_eq!(threshold(nine.clone(), 0.9), 0.1);
        // ceil(10 x .5) = 5.
        assert_eq!(threshold(nine, 0.5), 0.5);
        // Eight items cannot promise nine of ten.
        assert_eq!(threshold(vec![0.9; 8], 0.9), 0.0);
        assert_eq!(threshold(Vec::new(), 0.9), 0.0);
        // ceil(20 x .9) = 18 of nineteen.
        assert_eq!(threshold((1..=19).map(|at| at as f32 / 20.0).collect(), 0.9), 0.1);
    }

    #[test]
    fn a_set_holds_what_is_likely_enough_and_is_never_empty() {
        assert_eq!(one(0.2).set(&[0.1, 0.5, 0.2, 0.2]), [1, 2, 3]);
        assert_eq!(one(0.9).set(&[0.1, 0.5, 0.2, 0.2]), [1]);
        assert_eq!(one(0.0).set(&[0.1, 0.5, 0.2, 0.2]), [1, 2, 3, 0]);
        let mondrian = Conformal { thresholds: vec![0.05, 0.9, 0.3, 0.2], ..one(0.0) };
        assert_eq!(mondrian.set(&[0.1, 0.5, 0.2, 0.2]), [1, 3, 0]);
    }

    #[test]
    fn numbers_that_fit_no_model_are_refused() {
        assert_eq!(one(0.2).check(7), Ok(()));
        assert!(Conformal { thresholds: vec![0.1; 6], ..one(0.2) }.check(7).is_err());
        assert!(one(f32::NAN).check(7).is_err());
        assert!(one(1.5).check(7).is_err());
    }
}
