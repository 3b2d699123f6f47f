//! The network as a value: what is stored of it and what training and scoring start from.

use crate::error::Result;
pub use crate::network::dense::StepOutcome;
use crate::network::initialise::initialise;
pub use crate::network::optimiser::{SgdConfig, UpdateRule};
use crate::network::parameters::Parameters;
use crate::network::predictor::Predictor;
use crate::network::spec::NetworkSpec;
pub use crate::network::state::TrainerState;
pub use crate::network::trainer::Trainer;
use crate::units::Seed;

/// A network: its shapes and its tensors.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    pub spec: NetworkSpec,
    pub parameters: Parameters,
}

impl Network {
    /// An untrained network; see [`initialise`].
    pub fn initialise(spec: NetworkSpec, seed: Seed) -> Result<Self> {
        spec.check()?;
        let parameters = initialise(&spec, seed);
        Ok(Self { spec, parameters })
    }

    /// A predictor with these weights and `n_threads` threads.
    pub fn predictor(&self, n_threads: usize) -> Result<Predictor> {
        Predictor::new(self.spec.clone(), self.parameters.clone(), n_threads)
    }
}
