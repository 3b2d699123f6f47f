//! How the learning rate goes over a run: one line of [`Schedule`] each.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::network::optimiser::SgdConfig;

/// `[train] schedule`: `"inverse"`, or `{ cosine = { warmup_epochs = 3, floor = 0.0 } }`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// `learning_rate / (1 + decay * step)`, as in Keras.
    #[default]
    Inverse,
    /// Up in a straight line, then down half a cosine to the last step of the last epoch; the recipe's decay is not used.
    Cosine(Cosine),
}

/// Numbers of [`Schedule::Cosine`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cosine {
    /// Epochs in which the rate rises from almost nothing to the recipe's.
    pub warmup_epochs: usize,
    /// Share of the recipe's rate that the cosine falls to.
    pub floor: f64,
}

impl Default for Cosine {
    fn default() -> Self {
        Self { warmup_epochs: 3, floor: 0.0 }
    }
}

/// Length of a run in steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    pub per_epoch: u64,
    pub n_epochs: u64,
}

impl Steps {
    /// The length of `n_epochs` over `n_items` in batches of `batch`.
    pub fn of(n_epochs: usize, n_items: usize, batch: usize) -> Self {
        Self { per_epoch: n_items.div_ceil(batch.max(1)) as u64, n_epochs: n_epochs as u64 }
    }
}

impl Schedule {
    /// Whether the rate of a step depends on how long the run will be.
    pub fn needs_length(&self) -> bool {
        matches!(self, Self::Cosine(_))
    }

    /// The rate of step `iteration`, counted from 0. Steps beyond the end have the rate at the end.
    ///
    /// Source of the cosine: Loshchilov, Hutter 2017, arXiv 1608.03983, equation 5 without restarts; of the warm-up: Goyal et
    /// al. 2017, arXiv 1706.02677. Proof: `the_cosine_is_that_of_pytorch`.
    pub fn rate(&self, sgd: &SgdConfig, steps: Steps, iteration: u64) -> f64 {
        let Self::Cosine(Cosine { warmup_epochs, floor }) = self else { return sgd.rate(iteration) };
        let warmup = *warmup_epochs as u64 * steps.per_epoch;
        if iteration < warmup {
            return sgd.learning_rate * (iteration + 1) as f64 / warmup as f64;
        }
        let length = (steps.per_epoch * steps.n_epochs).saturating_sub(warmup).max(1);
        let done = (iteration - warmup).min(length) as f64 / length as f64;
        let share = 0.5 * (1.0 + (std::f64::consts::PI * done).cos());
        sgd.learning_rate * (floor + (1.0 - floor) * share)
    }

    /// Refuses a warm-up that leaves no epoch and a floor that is no share.
    pub fn check(&self, n_epochs: usize) -> Result<()> {
        let Self::Cosine(Cosine { warmup_epochs, floor }) = *self else { return Ok(()) };
        if warmup_epochs >= n_epochs {
            let limit = format!("must be under [train] epochs = {n_epochs}");
            return Err(Error::recipe(format!("[train] schedule: cosine: warmup_epochs = {warmup_epochs}: {limit}")));
        }
        if !(0.0..=1.0).contains(&floor) {
            return Err(Error::recipe(format!("[train] schedule: cosine: floor = {floor}: must be from 0 to 1")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SGD: SgdConfig = SgdConfig { learning_rate: 0.02, momentum: 0.8, decay: 0.05 };

    #[test]
    fn the_default_is_the_rate_of_the_paper_to_the_last_bit() {
        for step in [0, 1, 7, 1_000_000] {
            assert_eq!(Schedule::default().rate(&SGD, Steps::default(), step).to_bits(), SGD.rate(step).to_bits());
        }
        assert!(!Schedule::default().needs_length());
    }

    #[test]
    fn the_cosine_rises_falls_and_ends_on_its_floor() {
        let schedule = Schedule::Cosine(Cosine { warmup_epochs: 2, floor: 0.1 });
        let steps = Steps::of(10, 33, 8);
        assert_eq!(steps.per_epoch, 5, "the last batch of an epoch may be small");
        let rates: Vec<f64> = (0..=50).map(|step| schedule.rate(&SGD, steps, step)).collect();
        assert!((rates[0] - 0.002).abs() < 1e-15 && rates[..10].windows(2).all(|pair| pair[0] < pair[1]));
        assert!((rates[9] - 0.02).abs() < 1e-15 && (rates[10] - 0.02).abs() < 1e-15);
        assert!(rates[10..].windows(2).all(|pair| pair[0] > pair[1]));
        assert!((rates[30] - 0.02 * 0.55).abs() < 1e-15, "half way down: the mean of rate and floor");
        assert!((rates[50] - 0.002).abs() < 1e-15);
        assert_eq!(schedule.rate(&SGD, steps, 99), rates[50]);
    }

    #[test]
    fn a_warm_up_without_an_end_and_a_floor_that_is_no_share_are_refused_by_name() {
        for (cosine, words) in [
            (Cosine { warmup_epochs: 10, floor: 0.0 }, "warmup_epochs = 10: must be under [train] epochs = 10"),
            (Cosine { warmup_epochs: 3, floor: 1.5 }, "floor = 1.5"),
            (Cosine { warmup_epochs: 3, floor: f64::NAN }, "floor = NaN"),
        ] {
            let error = Schedule::Cosine(cosine).check(10).expect_err(words);
            assert!(error.to_string().contains(words), "{error}");
        }
        Schedule::Cosine(Cosine { warmup_epochs: 0, floor: 1.0 }).check(1).expect("a constant rate");
    }
}
