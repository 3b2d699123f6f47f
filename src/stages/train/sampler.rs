//! In which order, and how often, an epoch reads the items of the training side.

use std::collections::BTreeMap;

use crate::config::learning::Sample;
use crate::units::Seed;

/// Corpus (its place among the corpora of the features) and class of an item.
pub(super) type Stratum = (u16, u8);

/// Draws the items of epochs.
#[derive(Debug)]
pub(super) struct Sampler {
    n_items: usize,
    /// Items of each stratum and their share in an epoch; empty where every item comes once.
    strata: Vec<(Vec<u32>, f64)>,
    /// Share of each class in an epoch.
    class_shares: Vec<f64>,
}

impl Sampler {
    /// Plans the epochs of a training side. An item is a stored spectrogram or one of its fresh copies: item `i` is of the stratum
    /// `strata[i % strata.len()]`, and there are `n_items`.
    pub(super) fn new(sample: &Sample, strata: &[Stratum], n_items: usize, n_classes: usize) -> Self {
        let mut members: BTreeMap<Stratum, Vec<u32>> = BTreeMap::new();
        for item in 0..n_items {
            members.entry(strata[item % strata.len()]).or_default().push(item as u32);
        }
        let counts: BTreeMap<Stratum, usize> = members.iter().map(|(stratum, items)| (*stratum, items.len())).collect();
        let mut class_shares = vec![0.0; n_classes];
        let Sample::Balanced(balance) = sample else {
            counts.iter().for_each(|((_, class), n)| class_shares[usize::from(*class)] += *n as f64 / n_items as f64);
            return Self { n_items, strata: Vec::new(), class_shares };
        };
        let shares = balance.shares(&counts);
        shares.iter().for_each(|((_, class), share)| class_shares[usize::from(*class)] += share);
        let strata = members.into_iter().map(|(stratum, items)| (items, shares[&stratum])).collect();
        Self { n_items, strata, class_shares }
    }

    /// Share of each class in an epoch.
    pub(super) fn class_shares(&self) -> &[f64] {
        &self.class_shares
    }

    /// Bytes that it holds, and that drawing takes beside the order itself.
    pub(super) fn bytes(sample: &Sample, n_items: usize) -> usize {
        let is_balanced = matches!(sample, Sample::Balanced(_));
        if is_balanced { n_items * (size_of::<u32>() + 2 * size_of::<usize>()) } else { 0 }
    }

    /// The items of one epoch, as many as there are. Balanced: a stratum whose share is more than its items comes whole as often
    /// as it fits, and the rest is drawn from it without replacement.
    pub(super) fn order(&self, seed: Seed) -> Vec<usize> {
        let places = seed.permutation(self.n_items);
        if self.strata.is_empty() {
            return places;
        }
        let mut drawn = Vec::with_capacity(self.n_items);
        let mut until = 0.0;
        for (at, (items, share)) in self.strata.iter().enumerate() {
            until += share;
            let is_last = at + 1 == self.strata.len();
            let end = if is_last { self.n_items } else { (until * self.n_items as f64).round() as usize };
            let quota = end.saturating_sub(drawn.len());
            let chosen = seed.derive("stratum", &[&(at as u64).to_le_bytes()]).permutation(items.len());
            drawn.extend(chosen.into_iter().cycle().take(quota).map(|at| items[at] as usize));
        }
        places.into_iter().map(|place| drawn[place]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::learning::{Balance, Share};

    const EQUAL: Sample = Sample::Balanced(Balance { corpus: Share::Equal, class: Share::Equal });

    /// Corpus 0: 60 items of class 0, 20 of class 1. Corpus 1: 20 of class 0. Class 2 has none.
    fn strata() -> Vec<Stratum> {
        (0..100)
            .map(|at| {
                if at < 60 {
                    (0, 0)
                } else if at < 80 {
                    (0, 1)
                } else {
                    (1, 0)
                }
            })
            .collect()
    }

    #[test]
    fn without_balance_every_item_comes_once_in_the_order_it_always_had() {
        let sampler = Sampler::new(&Sample::default(), &strata(), 200, 3);
        assert_eq!(sampler.order(Seed(5)), Seed(5).permutation(200));
        assert_eq!(sampler.class_shares(), [0.8, 0.2, 0.0]);
    }

    #[test]
    fn a_balanced_epoch_is_as_long_has_equal_shares_and_uses_every_item_of_a_stratum_alike() {
        let sampler = Sampler::new(&EQUAL, &strata(), 200, 3);
        assert_eq!(sampler.class_shares(), [0.75, 0.25, 0.0], "an absent class leaves its share to the others");
        let order = sampler.order(Seed(5));
        assert_eq!(order.len(), 200);
        let mut times = vec![0; 200];
        order.iter().for_each(|&item| times[item] += 1);
        let of = |wanted: Stratum| -> Vec<i32> {
            (0..200).filter(|item| strata()[item % 100] == wanted).map(|item| times[item]).collect()
        };
        assert_eq!([(0, 0), (0, 1), (1, 0)].map(|stratum| of(stratum).iter().sum::<i32>()), [50, 50, 100]);
        for stratum in [(0, 0), (0, 1), (1, 0)] {
            let times = of(stratum);
            let (least, most) = (times.iter().min().expect("items"), times.iter().max().expect("items"));
            assert!(most - least <= 1, "{stratum:?}: {times:?}");
        }
        assert_eq!(order, sampler.order(Seed(5)), "one seed, one order");
        let other = sampler.order(Seed(6));
        assert_ne!(order, other);
        let first_half_corpora = order[..100].iter().filter(|item| strata()[**item % 100].0 == 1).count();
        assert!((30..70).contains(&first_half_corpora), "strata are shuffled: {first_half_corpora}");
    }
}
