//! Tests of `session`: the exported model in ONNX Runtime and natively against a naive `f64` forward and each other,
//! and what a session refuses.

use super::*;
use crate::error::ErrorKind;
use crate::network::onnx::{Golden, export};
use crate::network::parameters::{BlockTensors, Parameters};
use crate::network::proof::{batch, network_of, specs};
use crate::network::spec::{BlockSpec, NetworkSpec};
use crate::network::twin::Twin;
use crate::units::Seed;

fn runtime() -> Runtime {
    Runtime::load(&default_library())
        .unwrap_or_else(|error| panic!("{error}\nhint: {}", error.hint_text().expect("a missing library has a hint")))
}

fn open(model: &[u8], provider: Provider, n_threads: usize) -> Result<Session> {
    Session::open(model, provider, n_threads, runtime().library())
}

/// Two blocks whose last images are 2 x 3 x 5, so that the order of the flatten matters; three windows.
fn small() -> NetworkSpec {
    NetworkSpec {
        n_mels: 8,
        n_frames: 29,
        window: 12,
        hop: 8,
        blocks: vec![BlockSpec { n_maps: 3, pool: 2.into() }, BlockSpec { n_maps: 5, pool: 2.into() }],
        lstm_units: 6,
        n_classes: 4,
        ..NetworkSpec::paper(8, 29)
    }
}

/// Random values of a size that keeps every gate and class alive; variances are positive.
fn random(spec: &NetworkSpec) -> Parameters {
    let mut parameters = Parameters::zeros(spec);
    for tensor in &mut parameters.tensors {
        let seed = Seed(11).derive(&tensor.name, &[]);
        let fan_in = (tensor.values.len() / tensor.shape.last().expect("every tensor has an axis")).max(4);
        let positive = tensor.name.ends_with("variance");
        for (i, value) in tensor.values.iter_mut().enumerate() {
            let uniform = 2.0 * seed.unit(i as u64) - 1.0;
            *value = if positive { 1.5 + uniform } else { 2.0 * uniform / (fan_in as f64).sqrt() } as f32;
        }
    }
    parameters
}

fn card(spec: &NetworkSpec, probabilities: Vec<f32>) -> ModelCard {
    ModelCard {
        labels: (0..spec.n_classes).map(|class| format!("class_{class}")).collect(),
        label_set: None,
        front_end: "{}".into(),
        definition: "d".into(),
        fingerprint: "f".into(),
        model_id: "m".into(),
        pipeline: "p".into(),
        protocol: "q".into(),
        network: spec.clone(),
        sermill_version: "0.1.0".into(),
        golden: Golden { seed: 42, probabilities },
        confidence: Default::default(),
        heard: Vec::new(),
        // Files are changed on purpose here.
        sealed: false,
    }
}

fn model(spec: &NetworkSpec, parameters: &Parameters) -> Vec<u8> {
    let golden = twin(spec, parameters, &golden_input(spec, 42));
    export(spec, parameters, &card(spec, golden)).expect("fits")
}

/// One block of the twin: `[height][width][maps]` in channels-last order.
fn twin_block(spec: &NetworkSpec, parameters: &Parameters, index: usize, image: &[f64]) -> Vec<f64> {
    let (height, width, maps_in) = spec.block_input(index);
    let BlockSpec { n_maps, pool } = spec.blocks[index];
    let BlockTensors { kernel, bias, gamma, beta, mean, variance } = parameters.block(index);
    let of = |tensor: &crate::network::parameters::Tensor, i: usize| f64::from(tensor.values[i]);
    let mut out = vec![f64::NEG_INFINITY; (height / pool.mel) * (width / pool.time) * n_maps];
    for (y, x, map) in (0..height * width * n_maps).map(|i| (i / n_maps / width, i / n_maps % width, i % n_maps)) {
        let mut sum = of(bias, map);
        for (dy, dx) in (0..9).map(|tap| (tap / 3, tap % 3)) {
            if (1..=height).contains(&(y + dy)) && (1..=width).contains(&(x + dx)) {
                for channel in 0..maps_in {
                    sum += image[((y + dy - 1) * width + x + dx - 1) * maps_in + channel]
                        * of(kernel, ((dy * 3 + dx) * maps_in + channel) * n_maps + map);
                }
            }
        }
        let scale = of(gamma, map) / (of(variance, map) + f64::from(spec.batch_norm_epsilon)).sqrt();
        let normed = (sum - of(mean, map)) * scale + of(beta, map);
        let elu = if normed > 0.0 { normed } else { normed.exp_m1() };
        let slot = &mut out[(y / pool.mel * (width / pool.time) + x / pool.time) * n_maps + map];
        *slot = slot.max(elu);
    }
    out
}

/// The network in f64 with plain loops, from Keras' definitions of its layers.
fn twin(spec: &NetworkSpec, parameters: &Parameters, log_mel: &[f32]) -> Vec<f32> {
    let values = |name: &str| &parameters.get(name).expect("named tensor").values;
    let units = spec.lstm_units;
    let (mut hidden, mut cell) = (vec![0f64; units], vec![0f64; units]);
    for window in 0..spec.n_windows() {
        let mut image = Vec::new();
        for mel in 0..spec.n_mels {
            let first = mel * spec.n_frames + window * spec.hop;
            image.extend(log_mel[first..first + spec.window].iter().map(|&value| f64::from(value)));
        }
        let image = (0..spec.blocks.len()).fold(image, |image, i| twin_block(spec, parameters, i, &image));
        let gate = |gate: usize, unit: usize, hidden: &[f64]| {
            let column = gate * units + unit;
            let dot = |vector: &[f64], kernel: &[f32]| {
                vector.iter().enumerate().map(|(row, x)| x * f64::from(kernel[row * 4 * units + column])).sum::<f64>()
            };
            let bias = f64::from(values("lstm.bias")[column]);
            bias + dot(&image, values("lstm.kernel")) + dot(hidden, values("lstm.recurrent_kernel"))
        };
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let before = hidden.clone();
        for unit in 0..units {
            let [input, forget, output] = [0, 1, 3].map(|g| sigmoid(gate(g, unit, &before)));
            cell[unit] = forget * cell[unit] + input * gate(2, unit, &before).tanh();
            hidden[unit] = output * cell[unit].tanh();
        }
    }
    let logit = |class: usize| {
        let kernel = values("dense.kernel");
        let products = hidden.iter().enumerate().map(|(unit, h)| h * f64::from(kernel[unit * spec.n_classes + class]));
        (products.sum::<f64>() + f64::from(values("dense.bias")[class])).exp()
    };
    let exponentials: Vec<f64> = (0..spec.n_classes).map(logit).collect();
    let total: f64 = exponentials.iter().sum();
    exponentials.iter().map(|value| (value / total) as f32).collect()
}

/// 1e-6: probabilities near 1 carry 6e-8 of rounding, and a few hundred sums of f32 lie before them.
const TOLERANCE: f32 = 1e-6;

/// What computes on the CPU, on every machine.
const ON_CPU: [Provider; 2] = [Provider::Cpu, Provider::Native];

/// Probabilities of `n` spectrograms one after the other.
fn scores(session: &mut Session, inputs: &[Vec<f32>]) -> Vec<f32> {
    let mut found = vec![0.0; inputs.len() * session.card().network.n_classes];
    session.run(&inputs.concat(), inputs.len(), &mut found).expect("runs");
    found
}

fn worst(found: &[f32], wanted: &[f32]) -> f32 {
    assert_eq!(found.len(), wanted.len());
    found.iter().zip(wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn every_provider_and_the_f64_twin_agree() {
    let spec = small();
    let parameters = random(&spec);
    let inputs: Vec<Vec<f32>> = (0..5).map(|seed| golden_input(&spec, seed)).collect();
    for provider in ON_CPU {
        let mut session = open(&model(&spec, &parameters), provider, 1).expect("own model");
        for (input, found) in inputs.iter().zip(scores(&mut session, &inputs).chunks(spec.n_classes)) {
            let wanted = twin(&spec, &parameters, input);
            assert!(wanted.iter().all(|p| (0.02..0.9).contains(p)), "a saturated test tests nothing: {wanted:?}");
            assert!(worst(found, &wanted) < TOLERANCE, "{provider}: {wanted:?} {found:?}");
        }
        assert!(session.verify_golden(TOLERANCE).expect("golden agrees") < TOLERANCE);
    }
}

#[test]
fn native_and_onnx_runtime_agree() {
    // The limit that `train` sets before it publishes a model; both are within 1e-6 of the twin where it is small.
    const LIMIT: f32 = 1e-5;
    for spec in [small(), NetworkSpec::paper(128, 508)] {
        let parameters = random(&spec);
        let bytes = export(&spec, &parameters, &card(&spec, vec![0.0; spec.n_classes])).expect("fits");
        let [mut runtime, mut native] = ON_CPU.map(|provider| open(&bytes, provider, 2).expect("own model"));
        for batch in [1, 3, 16] {
            let inputs: Vec<Vec<f32>> = (0..batch).map(|seed| golden_input(&spec, seed)).collect();
            let (theirs, own) = (scores(&mut runtime, &inputs), scores(&mut native, &inputs));
            assert!(worst(&own, &theirs) <= LIMIT, "batch {batch}: {own:?} {theirs:?}");
            assert!(own.iter().all(|p| (1e-3..0.99).contains(p)), "a saturated test tests nothing: {own:?}");
            let louder: Vec<Vec<f32>> =
                inputs.iter().map(|input| input.iter().map(|value| value * 1.01).collect()).collect();
            assert!(worst(&scores(&mut native, &louder), &theirs) > LIMIT, "a gain of 1 % would pass");
        }
    }
}

#[test]
fn every_structure_gives_what_onnx_runtime_and_the_twin_give_and_its_embedding() {
    for spec in specs() {
        let network = network_of(spec);
        let (spec, n) = (&network.spec, 5);
        let card = card(spec, vec![0.0; spec.n_classes]);
        let bytes = export(spec, &network.parameters, &card).expect("fits");
        let (log_mel, labels) = batch(spec, n, 22);
        let trace = Twin::new(spec, &network.parameters).forward(&log_mel, &labels, None, true);
        for provider in ON_CPU {
            let mut session = open(&bytes, provider, 2).expect("own model");
            assert!(session.has_embedding());
            let (mut found, mut embedding) = (vec![0.0; n * spec.n_classes], vec![0.0; n * spec.n_embedding()]);
            session.run_with_embedding(&log_mel, n, &mut found, &mut embedding).expect("runs");
            let wanted = trace.probabilities.iter().flatten().chain(trace.embedding.iter().flatten());
            for (found, wanted) in found.iter().chain(&embedding).zip(wanted) {
                let error = (f64::from(*found) - wanted).abs();
                // Statistics of the spectrogram itself are as large as 10.
                assert!(error < 1e-5 * wanted.abs().max(1.0), "{provider}: {found} {wanted}, {spec:?}");
            }
            assert!(session.run_with_embedding(&log_mel, n, &mut found, &mut [0.0]).is_err());
        }
    }
}

#[test]
fn the_native_provider_needs_no_library() {
    let spec = small();
    let nowhere = Path::new("nowhere/libonnxruntime.so");
    let bytes = model(&spec, &random(&spec));
    let mut session = Session::open(&bytes, Provider::Native, 2, nowhere).expect("no library is looked for");
    assert!(session.verify_golden(TOLERANCE).is_ok());
    let error = Session::open(&bytes, Provider::Cpu, 2, nowhere).expect_err("no library");
    assert_eq!(error.kind(), ErrorKind::Machine);
}

#[test]
fn values_that_are_not_finite_are_refused_natively() {
    let spec = small();
    let mut session = open(&model(&spec, &random(&spec)), Provider::Native, 1).expect("own model");
    let mut input = golden_input(&spec, 1);
    input[5] = f32::NAN;
    let error = session.run(&input, 1, &mut vec![0.0; spec.n_classes]).expect_err("NaN");
    assert_eq!(error.kind(), ErrorKind::Input);
}

#[test]
fn a_shift_by_one_frame_or_a_gain_of_one_percent_is_seen() {
    let spec = small();
    let parameters = random(&spec);
    let input = golden_input(&spec, 1);
    let wanted = twin(&spec, &parameters, &input);
    let mut shifted = input.clone();
    shifted.rotate_right(1);
    let louder: Vec<f32> = input.iter().map(|value| value * 1.01).collect();
    for provider in ON_CPU {
        let mut session = open(&model(&spec, &parameters), provider, 1).expect("own model");
        for changed in [&shifted, &louder] {
            let worst = worst(&scores(&mut session, std::slice::from_ref(changed)), &wanted);
            assert!(worst > 10.0 * TOLERANCE, "{provider}: {worst}");
        }
    }
}

#[test]
fn a_result_does_not_depend_on_the_batch_it_is_in() {
    let spec = small();
    let inputs: Vec<Vec<f32>> = (0..7).map(|seed| golden_input(&spec, seed)).collect();
    for provider in ON_CPU {
        let mut session = open(&model(&spec, &random(&spec)), provider, 2).expect("own model");
        let together = scores(&mut session, &inputs);
        for (input, together) in inputs.iter().zip(together.chunks(spec.n_classes)) {
            let alone = scores(&mut session, std::slice::from_ref(input));
            assert!(worst(&alone, together) < TOLERANCE, "{provider}: {alone:?} {together:?}");
        }
        session.run(&[], 0, &mut []).expect("an empty batch is no work");
        assert_eq!(session.run(&[0.0], 1, &mut []).expect_err("lengths").kind(), ErrorKind::Bug);
    }
}

#[test]
fn a_false_golden_vector_is_found_out() {
    let spec = small();
    let parameters = random(&spec);
    let mut probabilities = twin(&spec, &parameters, &golden_input(&spec, 42));
    probabilities.rotate_left(1);
    let bytes = export(&spec, &parameters, &card(&spec, probabilities)).expect("fits");
    for provider in ON_CPU {
        let error = open(&bytes, provider, 1).expect("own model").verify_golden(1e-3).expect_err("differs");
        assert_eq!(error.kind(), ErrorKind::Machine);
        assert!(error.to_string().contains(&provider.to_string()), "{error}");
    }
}

#[test]
fn a_card_that_does_not_fit_its_graph_is_wrong_input() {
    use crate::network::onnx::proto::ModelProto;
    use prost::Message;
    let (spec, other) = (small(), NetworkSpec { n_frames: 37, ..small() });
    let mut proto = ModelProto::decode(&model(&spec, &random(&spec))[..]).expect("own file");
    proto.metadata_props = ModelProto::decode(&model(&other, &random(&other))[..]).expect("own file").metadata_props;
    let error = open(&proto.encode_to_vec(), Provider::Cpu, 1).expect_err("contradiction");
    assert_eq!(error.kind(), ErrorKind::Input);
    assert!(error.to_string().contains(INPUT), "{error}");
    let mut broken = ModelProto::decode(&model(&spec, &random(&spec))[..]).expect("own file");
    broken.graph.as_mut().expect("a graph").node.remove(1);
    let error = open(&broken.encode_to_vec(), Provider::Cpu, 1).expect_err("a broken graph");
    assert_eq!(error.kind(), ErrorKind::Input);
    let error = open(b"not a model", Provider::Cpu, 1).expect_err("no ONNX");
    assert_eq!(error.kind(), ErrorKind::Input);
}

#[test]
fn the_library_loads_twice_and_a_missing_one_names_make_runtime() {
    let (first, second) = (runtime(), runtime());
    assert_eq!(first.library(), second.library());
    assert!(first.version().starts_with("1.32 ("), "{}", first.version());
    assert!(first.available_providers().contains(&"cpu".to_owned()));
    let error = Runtime::load(Path::new("nowhere/libonnxruntime.so")).expect_err("missing");
    assert_eq!(error.kind(), ErrorKind::Machine);
    assert!(error.to_string().contains("nowhere/libonnxruntime.so"), "{error}");
    assert_eq!(error.hint_text(), Some("run `make runtime`"));
}

#[test]
fn cuda_that_is_not_there_is_an_error_and_no_fall_back() {
    let spec = small();
    // Device 4096 exists nowhere, so the promise holds on machines with a GPU as well.
    let error = open(&model(&spec, &random(&spec)), Provider::Cuda { device: 4096 }, 1).expect_err("no such device");
    assert_eq!(error.kind(), ErrorKind::Machine);
    assert!(error.to_string().contains("cuda:4096 was asked for, but"), "{error}");
    assert!(error.hint_text().is_some());
}

#[test]
fn providers_are_read_as_they_are_written() {
    for (text, provider) in [
        ("cpu", Provider::Cpu),
        ("cuda:0", Provider::Cuda { device: 0 }),
        ("cuda:12", Provider::Cuda { device: 12 }),
        ("native", Provider::Native),
    ] {
        assert_eq!(text.parse::<Provider>().expect(text), provider);
        assert_eq!(provider.to_string(), text);
    }
    assert_eq!("cuda".parse::<Provider>().expect("cuda"), Provider::Cuda { device: 0 });
    for text in ["", "CPU", "cuda:", "cuda:x", "cuda:-1", "cuda:+1", "cpu:0", "native:0", "rocm"] {
        let error = text.parse::<Provider>().expect_err(text);
        assert_eq!(error.kind(), ErrorKind::Recipe);
    }
}
