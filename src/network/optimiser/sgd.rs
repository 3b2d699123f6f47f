//! Stochastic gradient descent with momentum, as in Keras.

use serde::{Deserialize, Serialize};

use crate::network::parameters::Parameters;

/// Constants of the optimiser.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SgdConfig {
    /// Learning rate of the first step (paper: 0.01).
    pub learning_rate: f64,
    /// Share of the last update that is repeated (paper's code: 0.8).
    pub momentum: f64,
    /// The rate of step `t` is `learning_rate / (1 + decay * t)` (paper's code: 1e-6).
    pub decay: f64,
}

impl SgdConfig {
    /// The rate of step `iteration`, counted from 0.
    pub fn rate(&self, iteration: u64) -> f64 {
        self.learning_rate / (1.0 + self.decay * iteration as f64)
    }
}

/// One update of every trainable tensor: `v = momentum v - rate g; w += v`.
pub(super) fn update(
    (rate, momentum): (f64, f64),
    parameters: &mut Parameters,
    velocity: &mut Parameters,
    gradient: &Parameters,
) {
    let (rate, momentum) = (rate as f32, momentum as f32);
    let tensors = parameters.tensors.iter_mut().zip(&mut velocity.tensors).zip(&gradient.tensors);
    for ((parameter, velocity), gradient) in tensors.filter(|((parameter, _), _)| parameter.trainable) {
        let values = parameter.values.iter_mut().zip(&mut velocity.values).zip(&gradient.values);
        for ((value, velocity), gradient) in values {
            *velocity = momentum * *velocity - rate * gradient;
            *value += *velocity;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::spec::NetworkSpec;

    #[test]
    fn second_step_repeats_momentum_and_decays_the_rate() {
        let config = SgdConfig { learning_rate: 0.5, momentum: 0.8, decay: 1.0 };
        let spec = NetworkSpec { blocks: vec![], lstm_units: 1, ..NetworkSpec::paper(128, 508) };
        let mut parameters = Parameters::zeros(&spec);
        let (mut velocity, mut gradient) = (parameters.clone(), parameters.clone());
        gradient.tensors[0].values[0] = 2.0;
        update((config.rate(0), config.momentum), &mut parameters, &mut velocity, &gradient);
        assert_eq!(parameters.tensors[0].values[0], -1.0);
        update((config.rate(1), config.momentum), &mut parameters, &mut velocity, &gradient);
        // v = 0.8 * -1 - 0.25 * 2
        assert_eq!(parameters.tensors[0].values[0], -1.0 - 1.3);
    }
}
