//! How a gradient moves the weights: the optimisers, one file and one line of [`Optimiser`] each, and what a run needs of them.

mod adamw;
mod sgd;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::network::average::Average;
use crate::network::parameters::Parameters;
use crate::network::schedule::{Schedule, Steps};
use crate::network::state::TrainerState;
use crate::simd::Isa;

pub use adamw::AdamW;
pub use sgd::SgdConfig;

/// Values that one thread updates at a time; what an update does to a value depends on nothing but that value.
pub(super) const CHUNK: usize = 1 << 14;

/// `[train] optimiser`: `"sgd"`, or `{ adamw = { weight_decay = 0.01 } }`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Optimiser {
    /// Gradient descent with the recipe's momentum.
    #[default]
    Sgd,
    /// Adam with decoupled weight decay; the recipe's momentum is not used.
    AdamW(AdamW),
}

impl Optimiser {
    /// Refuses numbers with which no training ends in numbers.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::Sgd => Ok(()),
            Self::AdamW(config) => config.check(),
        }
    }

    /// Whether it keeps a second moment of every gradient beside the first.
    pub fn has_second_moment(&self) -> bool {
        matches!(self, Self::AdamW(_))
    }
}

/// All that turns gradients into weights. From an [`SgdConfig`] alone: the paper's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UpdateRule {
    /// Learning rate, momentum and decay of the recipe.
    pub sgd: SgdConfig,
    /// The rate's course.
    pub schedule: Schedule,
    /// How long the run is.
    pub steps: Steps,
    pub optimiser: Optimiser,
    pub average: Average,
}

impl From<SgdConfig> for UpdateRule {
    fn from(sgd: SgdConfig) -> Self {
        Self {
            sgd,
            schedule: Schedule::default(),
            steps: Steps::default(),
            optimiser: Optimiser::default(),
            average: Average::default(),
        }
    }
}

impl UpdateRule {
    /// The learning rate of step `iteration`, counted from 0.
    pub fn rate(&self, iteration: u64) -> f64 {
        self.schedule.rate(&self.sgd, self.steps, iteration)
    }

    /// Copies of the parameters that a run's state holds beside weights and velocity.
    pub fn n_extra_copies(&self) -> usize {
        usize::from(self.optimiser.has_second_moment()) + usize::from(self.average != Average::None)
    }

    /// The state before the first step.
    pub(super) fn begin(&self, parameters: Parameters) -> TrainerState {
        let zeros = || {
            let mut zeros = parameters.clone();
            zeros.tensors.iter_mut().for_each(|tensor| tensor.values.fill(0.0));
            zeros
        };
        TrainerState {
            velocity: zeros(),
            second_moment: self.optimiser.has_second_moment().then(zeros),
            average: (self.average != Average::None).then(zeros),
            iteration: 0,
            parameters,
        }
    }

    /// Refuses a state that lacks what this rule goes on from.
    pub(super) fn check_state(&self, state: &TrainerState) -> Result<()> {
        let lacks = |what: &str| Err(Error::input(format!("training state holds no {what}: it is of another recipe")));
        match self.optimiser.has_second_moment() && state.second_moment.is_none() {
            true => lacks("second moment"),
            false if self.average != Average::None && state.average.is_none() => lacks("averaged weights"),
            false => Ok(()),
        }
    }

    /// One step: weights, moments and average move, and the step is counted. Shared out among the threads of the pool in
    /// which it is called; the bytes do not depend on their number.
    ///
    /// Proof: `every_optimiser_follows_its_f64_twin`, `losses_and_moments_of_the_ingredients_match_pytorch`.
    pub(super) fn apply(&self, isa: Isa, state: &mut TrainerState, gradient: &Parameters) {
        let rate = self.rate(state.iteration);
        let TrainerState { parameters, velocity, second_moment, average, iteration } = state;
        match (&self.optimiser, second_moment) {
            (Optimiser::AdamW(config), Some(second)) => {
                adamw::update((isa, config), (rate, *iteration), parameters, [velocity, second], gradient);
            }
            _ => sgd::update((rate, self.sgd.momentum), parameters, velocity, gradient),
        }
        *iteration += 1;
        if let (Some(share), Some(average)) = (self.average.share(*iteration), average) {
            crate::network::average::follow(isa, share, parameters, average);
        }
    }
}
