//! When a prediction is too unsure to be used.
//!
//! The rule: recordings are ordered by their largest probability, and as many of the least sure are left out as it takes for
//! at most one in ten of the others to be wrong, but never more than three in ten. A fixed confidence would mean another
//! thing for each model, and the size of the prediction set says the same more coarsely; the largest probability orders as well
//! as any other score of failure that is known (Jaeger et al. 2023). The limit is that confidence on out-of-fold items.

use serde::{Deserialize, Serialize};

/// Share of the kept that may be wrong: as often as a prediction set may miss.
pub const TOLERATED_ERROR: f64 = 0.1;
/// Share that is kept at least.
pub const KEPT_SHARE: f64 = 0.7;

/// Below which confidence a recording is `ambiguous`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Abstain {
    pub below: f32,
}

impl Abstain {
    /// The limit by the rule, from the confidence of each item and whether it was right.
    pub(super) fn fit(mut items: Vec<(f32, bool)>) -> Self {
        items.sort_by(|a, b| b.0.total_cmp(&a.0));
        let least = share_of(items.len(), KEPT_SHARE);
        let n_wrong = |kept: usize| items[..kept].iter().filter(|(_, is_right)| !is_right).count();
        let mut wrong = n_wrong(items.len());
        let mut kept = items.len();
        while kept > least && wrong as f64 > TOLERATED_ERROR * kept as f64 {
            kept -= 1;
            wrong -= usize::from(!items[kept].1);
        }
        let nobody_is_left_out = kept == items.len();
        let below = if nobody_is_left_out { 0.0 } else { items[kept - 1].0 };
        Self { below }
    }

    pub(crate) fn is_ambiguous(self, probabilities: &[f32]) -> bool {
        probabilities.iter().copied().fold(0.0, f32::max) < self.below
    }
}

/// A hair less than the product, so that 0.7 x 10 is 7 whatever the rounding.
fn share_of(n: usize, share: f64) -> usize {
    (share * n as f64 - 1e-9).ceil() as usize
}

/// Share of wrong ones among the `share` that is surest; `None` without items.
pub fn error_of_kept(mut items: Vec<(f32, bool)>, share: f64) -> Option<f64> {
    items.sort_by(|a, b| b.0.total_cmp(&a.0));
    let n_kept = share_of(items.len(), share);
    let n_wrong = items[..n_kept].iter().filter(|(_, is_right)| !is_right).count();
    (n_kept > 0).then(|| n_wrong as f64 / n_kept as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten items of confidence 1.0, 0.9 ... 0.1; `right` are those that are right.
    fn items(right: [u8; 10]) -> Vec<(f32, bool)> {
        (0..10).map(|at| (1.0 - at as f32 / 10.0, right[at] == 1)).collect()
    }

    #[test]
    fn as_many_are_left_out_as_it_takes_and_no_more_than_three_in_ten() {
        let below = |right| Abstain::fit(items(right)).below;
        assert_eq!(below([1; 10]), 0.0, "all are right: all are kept");
        assert_eq!(below([1, 1, 1, 1, 1, 1, 1, 1, 1, 0]), 0.0, "one in ten may be wrong");
        // Nine with one error are above the tenth, eight with none are not.
        assert_eq!(below([1, 1, 1, 1, 1, 1, 1, 1, 0, 0]), items([0; 10])[7].0);
        assert_eq!(below([0; 10]), items([0; 10])[6].0, "seven are kept whatever they are");
        let limit = Abstain { below: 0.4 };
        assert!(limit.is_ambiguous(&[0.39, 0.3, 0.31]) && !limit.is_ambiguous(&[0.4, 0.3, 0.3]));
        assert_eq!(Abstain::fit(Vec::new()).below, 0.0);
    }

    #[test]
    fn the_error_of_the_kept_by_hand() {
        let items = items([1, 1, 0, 1, 1, 1, 0, 0, 0, 1]);
        assert_eq!(error_of_kept(items.clone(), 1.0), Some(0.4));
        assert_eq!(error_of_kept(items, 0.7), Some(2.0 / 7.0));
        assert_eq!(error_of_kept(Vec::new(), 0.7), None);
    }
}
