//! The paper's network against PyTorch in `f64`: gradients of every tensor, ten SGD losses, what they lead to.
//!
//! `tests/golden/network/generate.py` made the numbers; weights and inputs follow the same integer recipe on both
//! sides, so only results are stored.

use serde::Deserialize;

use crate::network::optimiser::SgdConfig;
use crate::network::parameters::{Parameters, Tensor};
use crate::network::spec::NetworkSpec;
use crate::network::trainer::Trainer;
use crate::units::Seed;

const GOLDEN: &str = include_str!("../../tests/golden/network/paper_batch_2.json");

/// Gradients of `f32` differ from `f64` by up to 5e-6 of a tensor's largest value.
pub(super) const GRADIENT_TOLERANCE: f64 = 2e-5;

/// Losses differ by up to 5e-5 in ten steps, those of PyTorch's own `f32` and `f64` runs by 2e-5: once the pooled place of a
/// single cell has changed, the runs are of two slightly different networks.
pub(super) const RUN_TOLERANCE: f64 = 1e-4;

/// Momentum after two steps. From the third on, raw values of a cell that round the other way change pooled places, and
/// PyTorch's own `f32` and `f64` runs part; the losses of all ten steps still agree.
const VELOCITY_TOLERANCE: f64 = 1e-4;

#[derive(Deserialize)]
struct Golden {
    losses: Vec<f64>,
    gradients: Vec<Digest>,
    velocity_after_2: Vec<Digest>,
    statistics_after: Vec<Digest>,
    probabilities_after: Vec<f64>,
}

/// What is stored of a tensor.
#[derive(Deserialize)]
pub(super) struct Digest {
    pub(super) name: String,
    sum: f64,
    norm: f64,
    largest: f64,
    samples: Vec<(usize, f64)>,
}

impl Digest {
    pub(super) fn check(&self, tensor: Option<&Tensor>, tolerance: f64) {
        let tensor = tensor.expect("a tensor of that name");
        let name = &self.name;
        // The gradient of a bias before batch norm is rounding in PyTorch (1e-15) and exactly zero here.
        let floor = 1e-12;
        for &(at, want) in &self.samples {
            let have = f64::from(tensor.values[at]);
            assert!(
                (have - want).abs() <= tolerance * self.largest + floor,
                "{name}[{at}]: {have:e}, PyTorch {want:e}"
            );
        }
        let values = || tensor.values.iter().map(|&value| f64::from(value));
        let norm = values().map(|value| value * value).sum::<f64>().sqrt();
        assert!((norm - self.norm).abs() <= tolerance * self.norm + floor, "{name}: norm {norm:e}, {:e}", self.norm);
        let sum: f64 = values().sum();
        // Errors of single values add up like a random walk.
        let room = tolerance * self.norm + floor;
        assert!((sum - self.sum).abs() <= room, "{name}: sum {sum:e}, PyTorch {:e}, room {room:e}", self.sum);
    }
}

/// The weights that both sides start from.
pub(super) fn parameters(spec: &NetworkSpec) -> Parameters {
    let mut parameters = Parameters::zeros(spec);
    for (index, tensor) in parameters.tensors.iter_mut().enumerate() {
        let (taps, fans) = match tensor.shape.as_slice() {
            [taps @ .., fan_in, fan_out] => (taps.iter().product::<usize>(), fan_in + fan_out),
            _ => (0, 0),
        };
        let forget = spec.lstm_units..2 * spec.lstm_units;
        for (i, value) in tensor.values.iter_mut().enumerate() {
            let u = Seed(1000 + index as u64).unit(i as u64);
            let is_forget = tensor.name.starts_with("lstm") && forget.contains(&i);
            *value = match tensor.name.rsplit('.').next() {
                Some("kernel" | "recurrent_kernel") => (2.0 * u - 1.0) * (6.0 / (taps * fans) as f64).sqrt(),
                Some("gamma") => (if i % 5 == 1 { -1.0 } else { 1.0 }) * (0.8 + 0.4 * u),
                Some("moving_mean") => 0.0,
                Some("moving_variance") => 1.0,
                _ => 0.2 * (u - 0.5) + f64::from(u8::from(is_forget)),
            } as f32;
        }
    }
    parameters
}

pub(super) fn batch(spec: &NetworkSpec, step: u64) -> (Vec<f32>, Vec<usize>) {
    let seed = Seed(500 + step);
    let value = |i: u64| {
        let [a, b, c, d] = [0, 1, 2, 3].map(|part| seed.unit(4 * i + part));
        (-8.0 + 5.0 * (a + b + c + d - 2.0)) as f32
    };
    let log_mel = (0..2 * spec.n_mels * spec.n_frames).map(|i| value(i as u64)).collect();
    (log_mel, (0..2).map(|recording| (step as usize + 3 * recording) % spec.n_classes).collect())
}

#[test]
fn gradients_losses_and_predictions_match_pytorch() {
    let golden: Golden = serde_json::from_str(GOLDEN).expect("the golden file is JSON");
    let spec = NetworkSpec::paper(128, 508);
    let sgd = SgdConfig { learning_rate: 0.001, momentum: 0.8, decay: 0.05 };
    let mut trainer = Trainer::new(spec.clone(), parameters(&spec), sgd, 2, 2).expect("the paper's shapes");
    for (step, want) in golden.losses.iter().enumerate() {
        let (log_mel, labels) = batch(&spec, step as u64);
        let loss = trainer.step(&log_mel, &labels, None).expect("a good batch").loss;
        assert!((loss - want).abs() <= RUN_TOLERANCE * want, "loss {step}: {loss}, PyTorch {want}");
        if step == 1 {
            for digest in &golden.velocity_after_2 {
                digest.check(trainer.state().velocity.get(&digest.name), VELOCITY_TOLERANCE);
            }
        }
        if step == 0 {
            for digest in &golden.gradients {
                digest.check(trainer.gradient().get(&digest.name), GRADIENT_TOLERANCE);
            }
        }
    }
    for digest in &golden.statistics_after {
        digest.check(trainer.state().parameters.get(&digest.name), RUN_TOLERANCE);
    }
    let (log_mel, _) = batch(&spec, golden.losses.len() as u64);
    let mut probabilities = vec![0.0; golden.probabilities_after.len()];
    trainer.predict(&log_mel, &mut probabilities).expect("a good batch");
    for (have, want) in probabilities.iter().zip(&golden.probabilities_after) {
        assert!((f64::from(*have) - want).abs() < RUN_TOLERANCE, "{have}, PyTorch {want}");
    }
}
