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
