//! How the network learns, against PyTorch in `f64`: `tests/golden/network/learning.py` made the numbers.

use serde::Deserialize;

use crate::network::average::Average;
use crate::network::golden::{Digest, GRADIENT_TOLERANCE, RUN_TOLERANCE, batch, parameters};
use crate::network::optimiser::{AdamW, Optimiser, SgdConfig, UpdateRule};
use crate::network::parameters::{Parameters, Tensor};
use crate::network::schedule::{Cosine, Schedule, Steps};
use crate::network::spec::NetworkSpec;
use crate::network::targets::{Mix, TargetMaker, Targets};
use crate::network::trainer::{Population, Trainer};
use crate::simd::Isa;
use crate::units::Seed;

const GOLDEN: &str = include_str!("../../tests/golden/network/learning.json");

#[derive(Deserialize)]
struct Golden {
    values: Values,
    network: Learned,
}

#[derive(Deserialize)]
struct Values {
    rates: Vec<f64>,
    kernel: Vec<f64>,
    bias: Vec<f64>,
    first: Vec<f64>,
    second: Vec<f64>,
    average: Vec<f64>,
}

#[derive(Deserialize)]
struct Learned {
    losses: Vec<f64>,
    gradients: Vec<Digest>,
    average: Vec<Digest>,
    population: Vec<Digest>,
    probabilities: Vec<f64>,
}

fn golden() -> Golden {
    serde_json::from_str(GOLDEN).expect("the golden file is JSON")
}

/// 4 steps of warm-up, 40 in all.
fn rule(epsilon: f64) -> UpdateRule {
    UpdateRule {
        sgd: SgdConfig { learning_rate: 0.002, momentum: 0.8, decay: 0.5 },
        schedule: Schedule::Cosine(Cosine { warmup_epochs: 2, floor: 0.1 }),
        steps: Steps { per_epoch: 2, n_epochs: 20 },
        optimiser: Optimiser::AdamW(AdamW { weight_decay: 0.05, beta1: 0.9, beta2: 0.999, epsilon }),
        average: Average::Ema(0.9),
    }
}

#[test]
fn the_cosine_is_that_of_pytorch() {
    for (step, want) in golden().values.rates.iter().enumerate() {
        let have = rule(1e-8).rate(step as u64);
        assert!((have - want).abs() < 1e-12, "step {step}: {have}, PyTorch {want}");
    }
}

#[test]
fn adamw_and_its_average_are_those_of_pytorch() {
    let values = |seed: u64, offset: f64| (0..24).map(move |i| (Seed(seed).unit(i) - offset) as f32).collect();
    let tensor = |name: &str, values| Tensor { name: name.into(), shape: vec![24], trainable: true, values };
    let tensors = |seeds: [u64; 2], offset| Parameters {
        tensors: vec![tensor("a.kernel", values(seeds[0], offset)), tensor("a.bias", values(seeds[1], offset))],
    };
    let golden = golden().values;
    for isa in Isa::available() {
        let rule = rule(1e-8);
        let mut state = rule.begin(tensors([1, 2], 0.5));
        (0..20).for_each(|step| rule.apply(isa, &mut state, &tensors([100 + step, 200 + step], 0.3)));
        let (second, average) = (state.second_moment.expect("kept"), state.average.expect("kept"));
        for (name, have, want) in [
            ("kernel", &state.parameters.tensors[0], &golden.kernel),
            ("bias", &state.parameters.tensors[1], &golden.bias),
            ("first", &state.velocity.tensors[0], &golden.first),
            ("second", &second.tensors[0], &golden.second),
            ("average", &average.tensors[0], &golden.average),
        ] {
            for (have, want) in have.values.iter().zip(want) {
                assert!((f64::from(*have) - want).abs() < 3e-7, "{isa:?} {name}: {have}, PyTorch {want}");
            }
        }
    }
}

/// Two recordings, each mixed with the other.
fn mixed(spec: &NetworkSpec, step: u64) -> (Vec<f32>, Vec<usize>) {
    let (log_mel, labels) = batch(spec, step);
    let (first, second) = log_mel.split_at(log_mel.len() / 2);
    let mix_one = |(a, b): (&f32, &f32)| (0.7 * f64::from(*a) + (1.0 - 0.7) * f64::from(*b)) as f32;
    let mix = |a: &[f32], b: &[f32]| a.iter().zip(b).map(mix_one).collect::<Vec<f32>>();
    ([mix(first, second), mix(second, first)].concat(), labels)
}

#[test]
fn losses_and_moments_of_the_ingredients_match_pytorch() {
    let (golden, spec) = (golden().network, NetworkSpec::paper(128, 508));
    let mut trainer = Trainer::new(spec.clone(), parameters(&spec), rule(1e-3), 2, 2).expect("the paper's shapes");
    let maker = TargetMaker::new(7, 0.1, Some(vec![0.5, 1.0, 1.5, 0.75, 1.25, 2.0, 0.25]));
    let (mixes, mut shares) = ([Mix { partner: 1, own: 0.7 }, Mix { partner: 0, own: 0.7 }], Vec::new());
    for (step, want) in golden.losses.iter().enumerate() {
        let (log_mel, labels) = mixed(&spec, step as u64);
        maker.fill(&labels, Some(&mixes), &mut shares);
        let targets = Targets { labels: &labels, shares: Some(&shares) };
        let loss = trainer.step_towards(&log_mel, targets, None).expect("a good batch").loss;
        assert!((loss - want).abs() <= RUN_TOLERANCE * want, "loss {step}: {loss}, PyTorch {want}");
        for digest in golden.gradients.iter().filter(|_| step == 0) {
            digest.check(trainer.gradient().get(&digest.name), GRADIENT_TOLERANCE);
        }
    }
    for digest in &golden.average {
        digest.check(trainer.state().evaluated().get(&digest.name), RUN_TOLERANCE);
    }
    trainer.settle();
    let mut population = Population::default();
    for step in 20..23 {
        trainer.observe(&batch(&spec, step).0, &mut population).expect("a good batch");
    }
    trainer.set_statistics(&population).expect("three batches");
    for digest in &golden.population {
        digest.check(trainer.state().evaluated().get(&digest.name), RUN_TOLERANCE);
    }
    let mut probabilities = vec![0.0; golden.probabilities.len()];
    trainer.predict(&batch(&spec, 30).0, &mut probabilities).expect("a good batch");
    for (have, want) in probabilities.iter().zip(&golden.probabilities) {
        assert!((f64::from(*have) - want).abs() < RUN_TOLERANCE, "{have}, PyTorch {want}");
    }
}
