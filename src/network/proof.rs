//! The fast path against the `f64` twin, on every instruction set, and the small network that tests share.

use crate::network::kernels::Isa;
use crate::network::network::Network;
use crate::network::optimiser::SgdConfig;
use crate::network::parameters::Parameters;
use crate::network::spec::{BlockSpec, NetworkSpec};
use crate::network::trainer::Trainer;
use crate::network::twin::Twin;
use crate::units::Seed;

/// Three windows of 12 x 18: maps that fill less than one block, three and one, widths that leave every rest of a tile,
/// a pool of 1, and an image of 2 x 3 left for the LSTM to flatten.
pub fn small_spec() -> NetworkSpec {
    let block = |n_maps, pool| BlockSpec { n_maps, pool };
    NetworkSpec {
        n_mels: 12,
        n_frames: 34,
        window: 18,
        hop: 8,
        blocks: vec![block(4, 2), block(34, 3), block(6, 1)],
        lstm_units: 5,
        ..NetworkSpec::paper(128, 508)
    }
}

/// Weights with all signs of gamma and nothing at a special value.
pub fn small_network() -> Network {
    let mut network = Network::initialise(small_spec(), Seed(3)).expect("the small shapes divide");
    for (index, tensor) in network.parameters.tensors.iter_mut().enumerate() {
        for (at, value) in tensor.values.iter_mut().enumerate() {
            let uniform = Seed(100 + index as u64).unit(at as u64) as f32 - 0.5;
            match tensor.name.rsplit('.').next() {
                Some("gamma") => *value = if at % 3 == 1 { -0.8 } else { 1.1 } + 0.3 * uniform,
                Some("moving_variance") => *value = 1.0 + uniform,
                Some("kernel" | "recurrent_kernel") => {}
                _ => *value += uniform,
            }
        }
    }
    network
}

/// Log-mel-like values (mean -8) and labels.
pub fn batch(spec: &NetworkSpec, n: usize, seed: u64) -> (Vec<f32>, Vec<usize>) {
    let n_values = n * spec.n_mels * spec.n_frames;
    let log_mel = (0..n_values).map(|i| (Seed(seed).normal_pair(i as u64).0 * 3.0 - 8.0) as f32).collect();
    (log_mel, (0..n).map(|i| Seed(seed + 1).below(i as u64, spec.n_classes as u64) as usize).collect())
}

/// The recipe's optimiser.
pub const SGD: SgdConfig = SgdConfig { learning_rate: 0.01, momentum: 0.8, decay: 1e-6 };

/// A trainer of `network` for batches of `max_batch`.
pub fn trainer(network: &Network, max_batch: usize, n_threads: usize, isa: Isa) -> Trainer {
    Trainer::with_isa(network.spec.clone(), network.parameters.clone(), SGD, max_batch, n_threads, isa)
        .expect("the network's own shapes")
}

/// Largest difference of each tensor relative to the tensor's largest value.
fn check_gradient(trainer: &Trainer, expected: &[Vec<f64>], tolerance: f64, case: &str) {
    for (tensor, expected) in trainer.gradient().tensors.iter().zip(expected) {
        let scale = expected.iter().fold(0.0f64, |top, value| top.max(value.abs()));
        for (at, (have, want)) in tensor.values.iter().zip(expected).enumerate() {
            // A bias before batch norm has no gradient: the twin finds 1e-15 or so, the fast path sets zero.
            let error = (f64::from(*have) - want).abs();
            assert!(
                error <= tolerance * scale + 1e-10,
                "{case}, {}[{at}]: {have:e}, twin {want:e}, largest {scale:e}",
                tensor.name
            );
        }
    }
}

#[test]
fn gradients_match_the_twin_on_every_instruction_set() {
    let network = small_network();
    let (log_mel, labels) = batch(&network.spec, 7, 21);
    let twin = Twin::new(&network.spec, &network.parameters);
    for seed in [None, Some(Seed(4))] {
        let trace = twin.forward(&log_mel, &labels, seed, false);
        let expected = twin.backward(&trace, &labels);
        for isa in Isa::available() {
            let mut trainer = trainer(&network, 7, 2, isa);
            let outcome = trainer.compute_gradient(&log_mel, &labels, seed).expect("a good batch");
            assert!((outcome.loss - trace.loss).abs() < 1e-5 * trace.loss, "{} {}", outcome.loss, trace.loss);
            // f32 reaches about 1e-5 of a tensor's largest value here; a kernel off by 1 % is 100 times the limit.
            check_gradient(&trainer, &expected, 1e-4, &format!("{isa:?} {seed:?}"));
            for (block, statistics) in trainer.blocks.iter().zip(&trace.statistics) {
                for ((mean, variance), twin) in block.statistics.iter().zip(statistics) {
                    assert!((mean - twin.0).abs() < 1e-5 * twin.1.sqrt());
                    assert!((variance / twin.1 - 1.0).abs() < 1e-5);
                }
            }
        }
    }
}

#[test]
fn predictions_match_the_twin_with_moving_statistics() {
    let network = small_network();
    let (log_mel, labels) = batch(&network.spec, 7, 22);
    let trace = Twin::new(&network.spec, &network.parameters).forward(&log_mel, &labels, None, true);
    for isa in Isa::available() {
        let mut probabilities = vec![0.0; 7 * 7];
        trainer(&network, 1, 2, isa).predict(&log_mel, &mut probabilities).expect("a good batch");
        for (have, want) in probabilities.iter().zip(trace.probabilities.iter().flatten()) {
            assert!((f64::from(*have) - want).abs() < 1e-5, "{isa:?}: {have} {want}");
        }
    }
}

#[test]
fn fused_instruction_sets_agree_in_every_byte() {
    let network = small_network();
    let (log_mel, labels) = batch(&network.spec, 4, 40);
    let fused = Isa::available().into_iter().filter(|&isa| isa != Isa::Portable);
    let gradients: Vec<Parameters> = fused
        .map(|isa| {
            let mut trainer = trainer(&network, 4, 1, isa);
            trainer.compute_gradient(&log_mel, &labels, Some(Seed(1))).expect("a good batch");
            trainer.gradient().clone()
        })
        .collect();
    assert!(gradients.windows(2).all(|pair| pair[0] == pair[1]));
}
