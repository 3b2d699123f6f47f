//! Runs a model file through ONNX Runtime, on the CPU or on CUDA; nothing else in the crate uses `ort`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use ndarray::ArrayView3;
use ort::ep::{CPU, CUDA, ExecutionProvider};
use ort::logging::LogLevel;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::value::{Outlet, TensorElementType, TensorRef, ValueType};

use crate::error::{Error, Result};
use crate::network::onnx::{INPUT, ModelCard, OUTPUT, golden_input};

/// ONNX Runtime allows one environment per process and `ort` does not hand it out twice, so the process keeps
/// it here: the only static of the crate. Beside it, the library it came from.
static ENVIRONMENT: Mutex<Option<(PathBuf, ort::environment::Environment)>> = Mutex::new(None);

/// Where a model runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// `CPUExecutionProvider`.
    Cpu,
    /// `CUDAExecutionProvider` on one device.
    Cuda {
        /// Number of the device, from 0.
        device: u32,
    },
}

impl FromStr for Provider {
    type Err = Error;

    /// Reads `cpu`, `cuda` (device 0) or `cuda:<device>`.
    fn from_str(text: &str) -> Result<Self> {
        let device = match text {
            "cpu" => return Ok(Self::Cpu),
            "cuda" => Some(0),
            // A leading plus sign would parse, but `cuda:+1` is nobody's device.
            _ => text
                .strip_prefix("cuda:")
                .filter(|d| d.starts_with(|c: char| c.is_ascii_digit()))
                .and_then(|d| d.parse().ok()),
        };
        let unknown =
            || Error::recipe(format!("unknown provider `{text}`")).hint("use `cpu`, `cuda` or `cuda:<device>`");
        device.map(|device| Self::Cuda { device }).ok_or_else(unknown)
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda { device } => write!(f, "cuda:{device}"),
        }
    }
}

/// Where the ONNX Runtime library is looked for unless the user names another: beside the running program
/// (`libonnxruntime.so`, or the name of this operating system), and for test programs, which lie in `deps/`,
/// one folder above. The file need not exist.
pub fn default_library() -> PathBuf {
    let name = format!("{}onnxruntime{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let program = std::env::current_exe().unwrap_or_default();
    let folder = program.parent().unwrap_or(Path::new(""));
    match folder.parent() {
        Some(above) if folder.ends_with("deps") && !folder.join(&name).exists() => above.join(name),
        _ => folder.join(name),
    }
}

/// The loaded ONNX Runtime library.
#[derive(Clone, Debug)]
pub struct Runtime {
    environment: ort::environment::Environment,
    library: PathBuf,
}

impl Runtime {
    /// Loads the library at `path`; a second call with the same file returns the same library.
    ///
    /// # Errors
    /// The machine: the file is missing, no ONNX Runtime or too old, or another library was loaded before.
    pub fn load(path: &Path) -> Result<Self> {
        let broken = |what: &str| Error::machine(what).at(path).hint("run `make runtime`");
        let library = path.canonicalize().map_err(|e| broken("cannot find the ONNX Runtime library").because(e))?;
        let mut current = ENVIRONMENT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((loaded, environment)) = &*current {
            if *loaded != library {
                let what = format!("cannot load a second ONNX Runtime; `{}` is loaded", loaded.display());
                return Err(Error::machine(what).at(path));
            }
            return Ok(Self { environment: environment.clone(), library });
        }
        let builder =
            ort::init_from(&library).map_err(|e| broken("cannot load the ONNX Runtime library").because(e))?;
        let built = builder.with_name("sermill").with_telemetry(false).build();
        let environment = built.map_err(|e| broken("cannot start ONNX Runtime").because(e))?;
        // What goes wrong comes back as an error; the library's own lines on stderr would say it twice.
        environment.set_log_level(LogLevel::Fatal);
        *current = Some((library.clone(), environment.clone()));
        Ok(Self { environment, library })
    }

    /// The library file.
    pub fn library(&self) -> &Path {
        &self.library
    }

    /// Version of the library without its patch level, `1.32` for example, and its build in its own words.
    pub fn version(&self) -> String {
        let minor = ort::util::probe(&self.library).map_or("?".to_owned(), |minor| minor.to_string());
        format!("1.{minor} ({})", ort::info())
    }

    /// Which of the providers that sermill knows this library was built with. A provider in this list may still
    /// fail on a machine without its device or driver.
    pub fn available_providers(&self) -> Vec<String> {
        let known = [("cpu", CPU::is_available()), ("cuda", CUDA::is_available())];
        known.into_iter().filter(|(_, there)| matches!(there, Ok(true))).map(|(name, _)| name.to_owned()).collect()
    }
}

/// A model ready to run.
#[derive(Debug)]
pub struct Session {
    inner: ort::session::Session,
    card: ModelCard,
    provider: Provider,
}

impl Session {
    /// Makes a model file ready; `n_threads` is the number of threads inside one operator on the CPU.
    ///
    /// # Errors
    /// Wrong input: not an ONNX file, not written by sermill, or a graph that its metadata do not describe.
    /// The machine: CUDA asked for and not there; it never falls back to the CPU.
    pub fn open(runtime: &Runtime, model: &[u8], provider: Provider, n_threads: usize) -> Result<Self> {
        let card = ModelCard::from_model(model)?;
        let options = session_options(runtime, n_threads)
            .map_err(|e| Error::machine("cannot set up an ONNX Runtime session").because(e))?;
        let inner = match provider {
            Provider::Cpu => {
                let mut options = options;
                let refused = |e| Error::input("ONNX Runtime refuses the model").because(e);
                options.commit_from_memory(model).map_err(refused)?
            }
            Provider::Cuda { device } => commit_on_cuda(runtime, options, model, device)?,
        };
        let network = &card.network;
        let wanted = [-1, network.n_mels as i64, network.n_frames as i64];
        check_outlet("input", inner.inputs(), INPUT, &wanted)?;
        check_outlet("output", inner.outputs(), OUTPUT, &[-1, network.n_classes as i64])?;
        Ok(Self { inner, card, provider })
    }

    /// What the model says about itself.
    pub fn card(&self) -> &ModelCard {
        &self.card
    }

    /// Where the model runs.
    pub fn provider(&self) -> Provider {
        self.provider
    }

    /// Class probabilities of a batch.
    ///
    /// `log_mel`  `[batch, n_mels, n_frames]`, made by the front end of the card.
    /// `out`      `[batch, n_classes]`, classes in the order of the card's labels.
    ///
    /// # Errors
    /// A bug if a length is wrong; the machine if ONNX Runtime fails, for want of memory for example.
    pub fn run(&mut self, log_mel: &[f32], batch: usize, out: &mut [f32]) -> Result<()> {
        let network = &self.card.network;
        let (n_in, n_out) = (batch * network.n_mels * network.n_frames, batch * network.n_classes);
        if log_mel.len() != n_in || out.len() != n_out {
            let (found_in, found_out) = (log_mel.len(), out.len());
            return Err(Error::bug(format!(
                "a batch of {batch} takes {n_in} values and gives {n_out}, not {found_in} and {found_out}"
            )));
        }
        if batch == 0 {
            return Ok(());
        }
        let failed = |e| Error::machine("ONNX Runtime cannot run the model").because(e);
        let view = ArrayView3::from_shape((batch, network.n_mels, network.n_frames), log_mel)
            .map_err(|e| Error::bug("a batch has no such shape").because(e))?;
        let tensor = TensorRef::from_array_view(view).map_err(failed)?;
        let outputs = self.inner.run(ort::inputs![INPUT => tensor]).map_err(failed)?;
        let (_, probabilities) = outputs[OUTPUT].try_extract_tensor::<f32>().map_err(failed)?;
        if probabilities.len() != out.len() {
            return Err(Error::bug(format!("the model gave {} values, not {n_out}", probabilities.len())));
        }
        out.copy_from_slice(probabilities);
        Ok(())
    }

    /// Runs the golden vector of the card; returns the largest absolute difference of a probability.
    ///
    /// # Errors
    /// The machine, if the difference is above `tolerance`: this runtime computes something else than the
    /// network that was trained.
    pub fn verify_golden(&mut self, tolerance: f32) -> Result<f32> {
        let mut found = vec![0.0; self.card.network.n_classes];
        self.run(&golden_input(&self.card.network, self.card.golden.seed), 1, &mut found)?;
        let differences = found.iter().zip(&self.card.golden.probabilities).map(|(a, b)| (a - b).abs());
        // NaN must not pass, and `f32::max` would drop it.
        let worst = differences.fold(0.0, |worst: f32, d| if d.is_nan() || d > worst { d } else { worst });
        if worst <= tolerance {
            return Ok(worst);
        }
        Err(Error::machine(format!(
            "ONNX Runtime on {} differs from the trained network by {worst:.1e} on the golden vector, limit {tolerance:.1e}",
            self.provider
        ))
        .hint("run `make runtime` to fetch the tested version"))
    }
}

/// All graph optimisations, one operator after the other, the memory arena on (the default; it doubles the speed
/// of large batches).
fn session_options(runtime: &Runtime, n_threads: usize) -> ort::Result<SessionBuilder> {
    let builder = SessionBuilder::new(&runtime.environment)?;
    let builder = builder.with_optimization_level(GraphOptimizationLevel::All)?;
    Ok(builder.with_intra_threads(n_threads.max(1))?.with_inter_threads(1)?)
}

fn commit_on_cuda(
    runtime: &Runtime,
    options: SessionBuilder,
    model: &[u8],
    device: u32,
) -> Result<ort::session::Session> {
    let missing = |what: &str| {
        Error::machine(format!("cuda:{device} was asked for, but {what}"))
            .at(&runtime.library)
            .hint("use `cpu`, or a GPU build of ONNX Runtime with its CUDA and cuDNN libraries on the search path")
    };
    if !matches!(CUDA::is_available(), Ok(true)) {
        return Err(missing("this ONNX Runtime was built without CUDA"));
    }
    let id = i32::try_from(device).map_err(|_| missing("there is no device of that number"))?;
    // TF32 would round the factors of every convolution to 10 bits; scores must not depend on the provider.
    let cuda = CUDA::default().with_device_id(id).with_tf32(false).build().error_on_failure();
    let mut options = options
        .with_execution_providers([cuda])
        .map_err(|e| missing("its provider cannot be loaded").because(e.to_string()))?;
    options.commit_from_memory(model).map_err(|e| missing("no session can be made on it").because(e))
}

/// Whether the only outlet is the wanted float tensor; -1 stands for a free axis.
fn check_outlet(kind: &str, outlets: &[Outlet], name: &str, shape: &[i64]) -> Result<()> {
    let wrong = |found: String| {
        Err(Error::input(format!("the model's {kind} is {found}, its metadata say `{name}` {shape:?}"))
            .hint("use the model.onnx that `sermill train` wrote"))
    };
    match outlets {
        [outlet] => match outlet.dtype() {
            ValueType::Tensor { ty: TensorElementType::Float32, shape: found, .. }
                if outlet.name() == name && found[..] == *shape =>
            {
                Ok(())
            }
            other => wrong(format!("`{}` {other}", outlet.name())),
        },
        _ => wrong(format!("{} tensors", outlets.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::network::onnx::{Golden, export};
    use crate::network::parameters::Parameters;
    use crate::network::spec::{BlockSpec, NetworkSpec};
    use crate::units::Seed;

    fn runtime() -> Runtime {
        Runtime::load(&default_library()).unwrap_or_else(|error| {
            panic!("{error}\nhint: {}", error.hint_text().expect("a missing library has a hint"))
        })
    }

    /// Two blocks whose last images are 2 x 3 x 5, so that the order of the flatten matters; three windows.
    fn small() -> NetworkSpec {
        NetworkSpec {
            n_mels: 8,
            n_frames: 29,
            window: 12,
            hop: 8,
            blocks: vec![BlockSpec { n_maps: 3, pool: 2 }, BlockSpec { n_maps: 5, pool: 2 }],
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
            labels: (0..spec.n_classes).map(|class| format!("class {class}")).collect(),
            front_end: "{}".into(),
            fingerprint: "f".into(),
            model_id: "m".into(),
            pipeline: "p".into(),
            protocol: "q".into(),
            network: spec.clone(),
            sermill_version: "0.1.0".into(),
            golden: Golden { seed: 42, probabilities },
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
        let [kernel, bias, gamma, beta, mean, variance] = parameters.block(index) else { panic!("six tensors") };
        let of = |tensor: &crate::network::parameters::Tensor, i: usize| f64::from(tensor.values[i]);
        let mut out = vec![f64::NEG_INFINITY; (height / pool) * (width / pool) * n_maps];
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
            let slot = &mut out[(y / pool * (width / pool) + x / pool) * n_maps + map];
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
                    vector
                        .iter()
                        .enumerate()
                        .map(|(row, x)| x * f64::from(kernel[row * 4 * units + column]))
                        .sum::<f64>()
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
            let products =
                hidden.iter().enumerate().map(|(unit, h)| h * f64::from(kernel[unit * spec.n_classes + class]));
            (products.sum::<f64>() + f64::from(values("dense.bias")[class])).exp()
        };
        let exponentials: Vec<f64> = (0..spec.n_classes).map(logit).collect();
        let total: f64 = exponentials.iter().sum();
        exponentials.iter().map(|value| (value / total) as f32).collect()
    }

    /// 1e-6: probabilities near 1 carry 6e-8 of rounding, and a few hundred sums of f32 lie before them.
    const TOLERANCE: f32 = 1e-6;

    #[test]
    fn onnx_runtime_and_the_f64_twin_agree() {
        let spec = small();
        let parameters = random(&spec);
        let mut session = Session::open(&runtime(), &model(&spec, &parameters), Provider::Cpu, 1).expect("own model");
        let inputs: Vec<Vec<f32>> = (0..5).map(|seed| golden_input(&spec, seed)).collect();
        let mut found = vec![0.0; 5 * spec.n_classes];
        session.run(&inputs.concat(), 5, &mut found).expect("runs");
        for (input, found) in inputs.iter().zip(found.chunks(spec.n_classes)) {
            let wanted = twin(&spec, &parameters, input);
            assert!(wanted.iter().all(|p| (0.02..0.9).contains(p)), "a saturated test tests nothing: {wanted:?}");
            for (wanted, found) in wanted.iter().zip(found) {
                assert!((wanted - found).abs() < TOLERANCE, "{wanted} {found}");
            }
        }
        assert!(session.verify_golden(TOLERANCE).expect("golden agrees") < TOLERANCE);
    }

    #[test]
    fn a_shift_by_one_frame_or_a_gain_of_one_percent_is_seen() {
        let spec = small();
        let parameters = random(&spec);
        let input = golden_input(&spec, 1);
        let wanted = twin(&spec, &parameters, &input);
        let mut session = Session::open(&runtime(), &model(&spec, &parameters), Provider::Cpu, 1).expect("own model");
        let mut shifted = input.clone();
        shifted.rotate_right(1);
        let louder: Vec<f32> = input.iter().map(|value| value * 1.01).collect();
        for changed in [shifted, louder] {
            let mut found = vec![0.0; spec.n_classes];
            session.run(&changed, 1, &mut found).expect("runs");
            let worst = wanted.iter().zip(&found).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst > 10.0 * TOLERANCE, "{worst}");
        }
    }

    #[test]
    fn a_result_does_not_depend_on_the_batch_it_is_in() {
        let spec = small();
        let mut session =
            Session::open(&runtime(), &model(&spec, &random(&spec)), Provider::Cpu, 2).expect("own model");
        let inputs: Vec<Vec<f32>> = (0..7).map(|seed| golden_input(&spec, seed)).collect();
        let mut together = vec![0.0; 7 * spec.n_classes];
        session.run(&inputs.concat(), 7, &mut together).expect("runs");
        for (input, together) in inputs.iter().zip(together.chunks(spec.n_classes)) {
            let mut alone = vec![0.0; spec.n_classes];
            session.run(input, 1, &mut alone).expect("runs");
            let same = alone.iter().zip(together).all(|(a, b)| (a - b).abs() < TOLERANCE);
            assert!(same, "{alone:?} {together:?}");
        }
        session.run(&[], 0, &mut []).expect("an empty batch is no work");
        assert_eq!(session.run(&[0.0], 1, &mut []).expect_err("lengths").kind(), ErrorKind::Bug);
    }

    #[test]
    fn a_false_golden_vector_is_found_out() {
        let spec = small();
        let parameters = random(&spec);
        let mut probabilities = twin(&spec, &parameters, &golden_input(&spec, 42));
        probabilities.rotate_left(1);
        let bytes = export(&spec, &parameters, &card(&spec, probabilities)).expect("fits");
        let mut session = Session::open(&runtime(), &bytes, Provider::Cpu, 1).expect("own model");
        assert_eq!(session.verify_golden(1e-3).expect_err("differs").kind(), ErrorKind::Machine);
    }

    #[test]
    fn a_card_that_does_not_fit_its_graph_is_wrong_input() {
        use crate::network::onnx::proto::ModelProto;
        use prost::Message;
        let (spec, other) = (small(), NetworkSpec { n_frames: 37, ..small() });
        let mut proto = ModelProto::decode(&model(&spec, &random(&spec))[..]).expect("own file");
        proto.metadata_props =
            ModelProto::decode(&model(&other, &random(&other))[..]).expect("own file").metadata_props;
        let error = Session::open(&runtime(), &proto.encode_to_vec(), Provider::Cpu, 1).expect_err("contradiction");
        assert_eq!(error.kind(), ErrorKind::Input);
        assert!(error.to_string().contains(INPUT), "{error}");
        let mut broken = ModelProto::decode(&model(&spec, &random(&spec))[..]).expect("own file");
        broken.graph.as_mut().expect("a graph").node.remove(1);
        let error = Session::open(&runtime(), &broken.encode_to_vec(), Provider::Cpu, 1).expect_err("a broken graph");
        assert_eq!(error.kind(), ErrorKind::Input);
        let error = Session::open(&runtime(), b"not a model", Provider::Cpu, 1).expect_err("no ONNX");
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
        let error = Session::open(&runtime(), &model(&spec, &random(&spec)), Provider::Cuda { device: 4096 }, 1)
            .expect_err("no such device");
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
        ] {
            assert_eq!(text.parse::<Provider>().expect(text), provider);
            assert_eq!(provider.to_string(), text);
        }
        assert_eq!("cuda".parse::<Provider>().expect("cuda"), Provider::Cuda { device: 0 });
        for text in ["", "CPU", "cuda:", "cuda:x", "cuda:-1", "cuda:+1", "cpu:0", "rocm"] {
            let error = text.parse::<Provider>().expect_err(text);
            assert_eq!(error.kind(), ErrorKind::Recipe);
        }
    }
}
