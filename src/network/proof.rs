//! The fast path against the `f64` twin, on every instruction set, and the small network that tests share.

use crate::network::head::Head;
use crate::network::inputs::Inputs;
use crate::network::network::Network;
use crate::network::optimiser::SgdConfig;
use crate::network::parameters::Parameters;
use crate::network::pool::Pool;
use crate::network::sequence::Recurrent;
use crate::network::spec::{BlockSpec, NetworkSpec, Trunk};
use crate::network::trainer::Trainer;
use crate::network::twin::Twin;
use crate::simd::Isa;
use crate::units::Seed;

/// Three windows of 12 x 18: channels that fill less than one block, three and one, widths that leave every rest of a tile,
/// a pool of 1, and an image of 2 x 3 left for the LSTM to flatten.
pub fn small_spec() -> NetworkSpec {
    let block = |n_maps, pool: usize| BlockSpec { n_maps, pool: pool.into() };
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

/// Three windows of 32 x 40 whose second block is convolved by Winograd's products: tiles in groups of three rows and
/// one, channels that fill one block and a part of the next, two and a part.
pub fn tiled_spec() -> NetworkSpec {
    let block = |n_maps, pool: usize| BlockSpec { n_maps, pool: pool.into() };
    NetworkSpec {
        n_mels: 32,
        n_frames: 80,
        window: 40,
        hop: 16,
        blocks: vec![block(20, 2), block(34, 4), block(6, 1)],
        lstm_units: 5,
        ..NetworkSpec::paper(128, 508)
    }
}

/// Two windows of 32 x 48 whose trunk is shared up to the third block, which pools time alone.
pub fn seam_spec() -> NetworkSpec {
    let mut spec = NetworkSpec { trunk: Trunk::Shared, window: 48, hop: 24, ..tiled_spec() };
    spec.blocks[2].pool = Pool { mel: 1, time: 2 };
    spec
}

/// Five steps of one column each of what leaves the last block; or three that overlap.
pub fn column_specs() -> [NetworkSpec; 2] {
    let block = |n_maps, mel, time| BlockSpec { n_maps, pool: Pool { mel, time } };
    let blocks = vec![block(16, 4, 2), block(20, 1, 2), block(18, 2, 1)];
    let one = NetworkSpec { n_mels: 16, n_frames: 23, window: 4, hop: 4, trunk: Trunk::Shared, blocks, ..small_spec() };
    [NetworkSpec { window: 12, ..one.clone() }, one]
}

/// Fifteen steps of one column; the second block is convolved in tiles that stand out of its images.
pub fn ragged_spec() -> NetworkSpec {
    let block = |n_maps, side: usize| BlockSpec { n_maps, pool: side.into() };
    let [_, columns] = column_specs();
    NetworkSpec { n_mels: 10, n_frames: 31, window: 2, hop: 2, blocks: vec![block(16, 1), block(20, 2)], ..columns }
}

/// Every kind of recurrent layer with every head, behind blocks and without.
pub fn structures() -> Vec<NetworkSpec> {
    let [_, columns] = column_specs();
    let blocks = columns.blocks[..1].to_vec();
    let small = NetworkSpec { n_mels: 8, n_frames: 10, window: 2, hop: 2, blocks, lstm_units: 3, ..columns };
    let bare = NetworkSpec { n_mels: 5, n_frames: 9, window: 3, hop: 2, blocks: vec![], ..small.clone() };
    let mut specs = column_specs().to_vec();
    for recurrent in [Recurrent::Lstm, Recurrent::None, Recurrent::Bilstm] {
        for head in [Head::Last, Head::Mean, Head::MeanDeviation, Head::Attention] {
            specs.extend([&small, &bare].map(|spec| NetworkSpec { recurrent, head, ..spec.clone() }));
        }
    }
    specs
}

/// Three channels: in windows, in the columns of a shared trunk, and without blocks.
pub fn delta_specs() -> [NetworkSpec; 3] {
    let [_, columns] = column_specs();
    let bare = NetworkSpec { n_mels: 5, n_frames: 9, window: 3, hop: 2, blocks: vec![], ..columns.clone() };
    [small_spec(), columns, bare].map(|spec| NetworkSpec { inputs: Inputs::Deltas, ..spec })
}

/// Both small networks with windows cut before the first block and behind a shared trunk, and all other structures.
pub fn specs() -> Vec<NetworkSpec> {
    let shared = |spec| NetworkSpec { trunk: Trunk::Shared, ..spec };
    let mut specs =
        vec![small_spec(), tiled_spec(), shared(small_spec()), shared(tiled_spec()), seam_spec(), ragged_spec()];
    specs.extend(structures());
    specs.extend(delta_specs());
    specs
}

/// [`network_of`] the smallest.
pub fn small_network() -> Network {
    network_of(small_spec())
}

/// Weights with all signs of gamma and nothing at a special value.
pub fn network_of(spec: NetworkSpec) -> Network {
    let mut network = Network::initialise(spec, Seed(3)).expect("the small shapes divide");
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

/// Largest difference of a value, relative to the largest value of its tensor.
fn worst_difference(gradient: &Parameters, expected: &[Vec<f64>]) -> f64 {
    let tensors = gradient.tensors.iter().zip(expected).map(|(tensor, expected)| {
        let scale = expected.iter().fold(0.0f64, |top, value| top.max(value.abs()));
        let pairs = tensor.values.iter().zip(expected);
        let worst = pairs.map(|(have, want)| (f64::from(*have) - want).abs()).fold(0.0, f64::max);
        // A bias before batch norm has no gradient: the twin finds 1e-15 or so, the fast path sets zero.
        (worst - 1e-10).max(0.0) / scale.max(1e-9)
    });
    tensors.fold(0.0, f64::max)
}

/// f32 reaches about 1e-5 of a tensor's largest value; a kernel off by 1 % is 100 times the limit.
const TOLERANCE: f64 = 1e-4;

#[test]
fn gradients_match_the_twin_on_every_instruction_set() {
    for spec in specs() {
        let network = network_of(spec);
        let (log_mel, labels) = batch(&network.spec, 7, 21);
        let twin = Twin::new(&network.spec, &network.parameters);
        for seed in [None, Some(Seed(4))] {
            let trace = twin.forward(&log_mel, &labels, seed, false);
            let expected = twin.backward(&trace, &labels);
            for isa in Isa::available() {
                let case = format!("{isa:?}, {seed:?}, {:?}", network.spec);
                let mut trainer = trainer(&network, 7, 2, isa);
                let outcome = trainer.compute_gradient(&log_mel, &labels, seed).expect("a good batch");
                assert!(
                    (outcome.loss - trace.loss).abs() < 1e-5 * trace.loss,
                    "{case}: {} {}",
                    outcome.loss,
                    trace.loss
                );
                let worst = worst_difference(trainer.gradient(), &expected);
                assert!(worst < TOLERANCE, "{case}: {worst:e} of the largest value of a tensor");
                for (block, statistics) in trainer.blocks.iter().zip(&trace.statistics) {
                    for ((mean, variance), twin) in block.statistics.iter().zip(statistics) {
                        assert!((mean - twin.0).abs() < 1e-5 * twin.1.sqrt(), "{case}");
                        assert!((variance / twin.1 - 1.0).abs() < 1e-5, "{case}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_gain_of_one_percent_in_any_tensor_is_seen() {
    let network = network_of(tiled_spec());
    let (log_mel, labels) = batch(&network.spec, 7, 21);
    let twin = Twin::new(&network.spec, &network.parameters);
    let expected = twin.backward(&twin.forward(&log_mel, &labels, None, false), &labels);
    let mut trainer = trainer(&network, 7, 2, Isa::fastest());
    trainer.compute_gradient(&log_mel, &labels, None).expect("a good batch");
    let gradient = trainer.gradient();
    for (index, tensor) in gradient.tensors.iter().enumerate() {
        if tensor.values.iter().all(|&value| value == 0.0) {
            continue;
        }
        let mut wrong = gradient.clone();
        wrong.tensors[index].values.iter_mut().for_each(|value| *value *= 1.01);
        assert!(worst_difference(&wrong, &expected) > 50.0 * TOLERANCE, "{}", tensor.name);
    }
}

#[test]
fn a_forward_kernel_off_by_one_percent_is_seen_in_the_loss_and_in_the_gradients() {
    // A kernel whose sums are 1 % too large computes what weights 1 % larger would give: batch norm takes a gain of the
    // whole convolution back, so one tap is enough to stand for an error in a part of it.
    let network = network_of(tiled_spec());
    let (log_mel, labels) = batch(&network.spec, 7, 21);
    let twin = Twin::new(&network.spec, &network.parameters);
    let expected = twin.backward(&twin.forward(&log_mel, &labels, None, false), &labels);
    for name in
        ["block1.kernel", "block2.kernel", "block3.kernel", "lstm.kernel", "lstm.recurrent_kernel", "dense.kernel"]
    {
        let mut wrong = network.clone();
        let tensor = wrong.parameters.tensors.iter_mut().find(|tensor| tensor.name == name).expect("a tensor");
        let n = tensor.values.len();
        tensor.values[..n / 9].iter_mut().for_each(|value| *value *= 1.01);
        let mut trainer = trainer(&wrong, 7, 2, Isa::fastest());
        trainer.compute_gradient(&log_mel, &labels, None).expect("a good batch");
        let worst = worst_difference(trainer.gradient(), &expected);
        assert!(worst > TOLERANCE, "{name}: only {worst:e}");
    }
}

#[test]
fn predictions_match_the_twin_with_moving_statistics() {
    for spec in specs() {
        let network = network_of(spec);
        let (log_mel, labels) = batch(&network.spec, 7, 22);
        let trace = Twin::new(&network.spec, &network.parameters).forward(&log_mel, &labels, None, true);
        for isa in Isa::available() {
            let (mut probabilities, mut embedding) = (vec![0.0; 7 * 7], vec![0.0; 7 * network.spec.n_embedding()]);
            let mut trainer = trainer(&network, 1, 2, isa);
            trainer.predict_with_embedding(&log_mel, &mut probabilities, &mut embedding).expect("a good batch");
            let found = probabilities.iter().chain(&embedding);
            let expected = trace.probabilities.iter().flatten().chain(trace.embedding.iter().flatten());
            for (have, want) in found.zip(expected) {
                assert!((f64::from(*have) - want).abs() < 1e-5, "{isa:?}: {have} {want}, {:?}", network.spec);
            }
        }
    }
}

#[test]
fn fused_instruction_sets_agree_in_every_byte() {
    for spec in specs() {
        let network = network_of(spec);
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
}
