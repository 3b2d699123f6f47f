//! What ends a training: averaged weights in place of the last ones, batch statistics of the whole population.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::network::block::Block;
use crate::network::predictor::check_batch;
use crate::network::trainer::Trainer;

/// Means and variances of every normalised channel over many batches.
#[derive(Clone, Debug, Default)]
pub struct Population {
    /// Recordings that were seen.
    n: f64,
    /// `[block][channel]`: sums of batch means and of batch means of squares, each times its recordings.
    sums: Vec<Vec<(f64, f64)>>,
}

impl Population {
    /// Adds the statistics of a batch of `n` recordings.
    fn add(&mut self, blocks: &[Block], n: usize) {
        let n = n as f64;
        self.sums.resize_with(blocks.len(), Vec::new);
        for (sums, block) in self.sums.iter_mut().zip(blocks) {
            sums.resize(block.statistics.len(), (0.0, 0.0));
            for (sum, &(mean, variance)) in sums.iter_mut().zip(&block.statistics) {
                *sum = (sum.0 + n * mean, sum.1 + n * (mean * mean + variance));
            }
        }
        self.n += n;
    }

    /// `(mean, biased variance)` by block and channel.
    pub fn statistics(&self) -> Vec<Vec<(f64, f64)>> {
        let of_channel = |&(mean, square): &(f64, f64)| {
            let mean = mean / self.n;
            // Rounding may leave less than nothing of a channel that is the same everywhere.
            (mean, (square / self.n - mean * mean).max(0.0))
        };
        self.sums.iter().map(|sums| sums.iter().map(of_channel).collect()).collect()
    }
}

impl Trainer {
    /// Its threads, for work between two steps.
    pub fn pool(&self) -> &rayon::ThreadPool {
        &self.pool
    }

    /// Ends the training: the evaluated weights are the weights from here on.
    pub fn settle(&mut self) {
        if let Some(average) = self.state.average.take().filter(|_| self.state.iteration > 0) {
            self.state.parameters = average;
        }
        self.rule.average = crate::network::average::Average::None;
        self.predictor_is_current = false;
    }

    /// Adds a batch `[n, n_mels, n_frames]` to a population: a forward pass with the batch's own statistics and no dropout,
    /// which moves nothing.
    pub fn observe(&mut self, log_mel: &[f32], population: &mut Population) -> Result<()> {
        let n = check_batch(&self.spec, log_mel)?;
        if n > self.max_batch {
            return Err(Error::bug(format!("{n} recordings, room for {}", self.max_batch)));
        }
        let pool = Arc::clone(&self.pool);
        pool.install(|| self.forward(log_mel, n, None));
        population.add(&self.blocks, n);
        Ok(())
    }

    /// Puts the statistics of a population in the place of the moving ones.
    ///
    /// Moving statistics lag behind the weights and are those of the last few steps; these belong to the weights as they are.
    /// `mean = E[batch mean]`, `variance = E[batch mean^2 + batch variance] - mean^2`.
    ///
    /// Source: Wu, Johnson 2021, arXiv 2105.07576, section 3. Errors: a bug if nothing was observed.
    /// Proof: `population_statistics_match_the_twin`, `losses_and_moments_of_the_ingredients_match_pytorch`.
    pub fn set_statistics(&mut self, population: &Population) -> Result<()> {
        if population.n == 0.0 {
            return Err(Error::bug("batch statistics of no recordings"));
        }
        let blocks = self.state.parameters.tensors_mut().blocks;
        for (statistics, tensors) in population.statistics().iter().zip(blocks) {
            let moving = tensors.mean.values.iter_mut().zip(&mut tensors.variance.values);
            for ((mean, variance), found) in moving.zip(statistics) {
                (*mean, *variance) = (found.0 as f32, found.1 as f32);
            }
        }
        self.predictor_is_current = false;
        Ok(())
    }
}
