//! Networks of other structures against PyTorch in `f64`: loss, gradients of every tensor, embedding.
//!
//! `tests/golden/network/generate_structures.py` made the numbers; see [`golden`](super::golden).

use serde::Deserialize;

use crate::network::golden::{Digest, parameters};
use crate::network::head::Head;
use crate::network::inputs::Inputs;
use crate::network::optimiser::SgdConfig;
use crate::network::parameters::Tensor;
use crate::network::pool::Pool;
use crate::network::sequence::Recurrent;
use crate::network::spec::{BlockSpec, NetworkSpec, Trunk};
use crate::network::trainer::Trainer;
use crate::units::Seed;

const GOLDEN: &str = include_str!("../../tests/golden/network/structures.json");

/// `f32` against `f64`, of a tensor's largest value.
const TOLERANCE: f64 = 2e-5;
const BATCH: usize = 3;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    network: Shape,
    loss: f64,
    embedding: Digest,
    gradients: Vec<Digest>,
}

#[derive(Deserialize)]
struct Shape {
    n_mels: usize,
    n_frames: usize,
    window: usize,
    hop: usize,
    maps: Vec<usize>,
    pools: Vec<Pool>,
    recurrent: Recurrent,
    head: Head,
    units: usize,
    inputs: Inputs,
}

impl Shape {
    fn spec(&self) -> NetworkSpec {
        let Self { n_mels, n_frames, window, hop, recurrent, head, inputs, .. } = *self;
        let blocks = self.maps.iter().zip(&self.pools).map(|(&n_maps, &pool)| BlockSpec { n_maps, pool });
        NetworkSpec {
            window,
            hop,
            inputs,
            trunk: Trunk::Shared,
            blocks: blocks.collect(),
            recurrent,
            lstm_units: self.units,
            head,
            ..NetworkSpec::paper(n_mels, n_frames)
        }
    }
}

fn batch(spec: &NetworkSpec) -> (Vec<f32>, Vec<usize>) {
    let value = |i: usize| {
        let [a, b, c, d] = [0, 1, 2, 3].map(|part| Seed(500).unit(4 * i as u64 + part));
        (-8.0 + 5.0 * (a + b + c + d - 2.0)) as f32
    };
    let log_mel = (0..BATCH * spec.n_mels * spec.n_frames).map(value).collect();
    (log_mel, (0..BATCH).map(|recording| 3 * recording % spec.n_classes).collect())
}

#[test]
fn every_structures_loss_gradients_and_embedding_match_pytorch() {
    let golden: Golden = serde_json::from_str(GOLDEN).expect("the golden file is JSON");
    assert_eq!(golden.cases.len(), 12);
    for case in &golden.cases {
        let spec = case.network.spec();
        let sgd = SgdConfig { learning_rate: 0.001, momentum: 0.8, decay: 0.0 };
        let mut trainer = Trainer::new(spec.clone(), parameters(&spec), sgd, BATCH, 2).expect("shapes that divide");
        let (log_mel, labels) = batch(&spec);
        let outcome = trainer.compute_gradient(&log_mel, &labels, None).expect("a good batch");
        assert!((outcome.loss - case.loss).abs() < 1e-5 * case.loss, "{} {}, {spec:?}", outcome.loss, case.loss);
        for digest in &case.gradients {
            digest.check(trainer.gradient().get(&digest.name), TOLERANCE);
        }
        assert_eq!(case.gradients.len(), trainer.gradient().tensors.iter().filter(|tensor| tensor.trainable).count());
        let values = trainer.embedding(BATCH).to_vec();
        let name = case.embedding.name.clone();
        let embedding = Tensor { name, shape: vec![BATCH, spec.n_embedding()], trainable: false, values };
        case.embedding.check(Some(&embedding), TOLERANCE);
    }
}
