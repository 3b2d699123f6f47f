//! What comes after the last epoch: batch statistics of the training side as the final weights see it.

use crate::error::Result;
use crate::network::trainer::{Population, Trainer};
use crate::stages::train::stream::{Source, each_batch};

/// Items that the statistics are measured on, at most; of a smaller training side all. Wu and Johnson (2021, arXiv 2105.07576,
/// section 3.2) find no difference from 1,000 items on; 4,096 leave room for batches that differ, as they do where
/// corpora are mixed, and cost a third of an epoch of the paper's 9,446 items going forward alone.
pub const POPULATION_ITEMS: usize = 4096;

/// Replaces the moving statistics of `trainer`'s weights by those of the first [`POPULATION_ITEMS`] items of `order`, in batches
/// of `batch`, and gives how many it saw. What is left over for a batch that is not whole is left out: its own statistics
/// would be those of a few recordings. Deterministic; nothing is trained, so it works on any weights that a trainer was made of.
///
/// Proof: `kept_weights_get_the_statistics_of_whole_batches`.
pub fn re_estimate(trainer: &mut Trainer, items: &impl Source, order: &[usize], batch: usize) -> Result<usize> {
    let n = order.len().min(POPULATION_ITEMS);
    let n = if n > batch { n - n % batch } else { n };
    let mut population = Population::default();
    each_batch(items, &order[..n], batch, |batch| trainer.observe(&batch.log_mel, &mut population))?;
    trainer.set_statistics(&population)?;
    Ok(n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::network::{Network, SgdConfig};
    use crate::network::spec::{BlockSpec, NetworkSpec};
    use crate::units::Seed;

    /// Spectrograms by formula.
    struct Formula(usize);

    impl Source for Formula {
        fn size(&self) -> usize {
            self.0
        }

        fn label(&self, item: usize) -> usize {
            item % 7
        }

        fn fill(&self, items: &[usize], _scratch: &mut Vec<u8>, log_mel: &mut [f32]) -> Result<()> {
            for (item, out) in items.iter().zip(log_mel.chunks_exact_mut(self.0)) {
                let value = |at: usize| (Seed(*item as u64).normal_pair(at as u64).0 * 3.0 - 8.0) as f32;
                out.iter_mut().enumerate().for_each(|(at, out)| *out = value(at));
            }
            Ok(())
        }
    }

    #[test]
    fn kept_weights_get_the_statistics_of_whole_batches() {
        let blocks = vec![BlockSpec { n_maps: 4, pool: 2.into() }, BlockSpec { n_maps: 6, pool: 4.into() }];
        let shape =
            NetworkSpec { n_mels: 8, n_frames: 24, window: 8, hop: 8, lstm_units: 5, ..NetworkSpec::paper(8, 24) };
        let spec = NetworkSpec { blocks, ..shape };
        let network = Network::initialise(spec.clone(), Seed(5)).expect("shapes divide");
        let sgd = SgdConfig { learning_rate: 0.01, momentum: 0.8, decay: 1e-6 };
        let trainer = |n_threads| {
            Trainer::new(spec.clone(), network.parameters.clone(), sgd, 8, n_threads).expect("its own shapes")
        };
        let (items, order): (_, Vec<usize>) = (Formula(8 * 24), (0..POPULATION_ITEMS + 50).collect());
        let statistics = |order: &[usize], n_threads| {
            let mut trainer = trainer(n_threads);
            let n = re_estimate(&mut trainer, &items, order, 8).expect("sound items");
            (n, trainer.state().parameters.clone())
        };
        let (n, measured) = statistics(&order[..27], 2);
        assert_eq!(n, 24, "three whole batches");
        assert_eq!((n, measured.clone()), statistics(&order[..24], 1));
        assert_eq!(statistics(&order[..5], 2).0, 5, "less than a batch is one batch");
        assert_eq!(statistics(&order, 2).0, POPULATION_ITEMS);
        for (index, tensor) in measured.tensors.iter().enumerate() {
            let same = tensor.values == network.parameters.tensors[index].values;
            assert_eq!(same, !tensor.name.contains("moving"), "{}", tensor.name);
        }
        assert!(re_estimate(&mut trainer(1), &items, &[], 8).is_err(), "of nothing there are no statistics");
    }
}
