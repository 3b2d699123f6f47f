//! Runs a model file: through ONNX Runtime on the CPU or on CUDA, or natively; nothing else in the crate uses `ort`.

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
use crate::network::onnx::{self, EMBEDDING, INPUT, ModelCard, OUTPUT, golden_input};
use crate::network::predictor::Predictor;

/// ONNX Runtime allows one environment per process and `ort` does not hand it out twice, so the process keeps
/// it here: the only static of the crate. Beside it, the library it came from.
static ENVIRONMENT: Mutex<Option<(PathBuf, ort::environment::Environment)>> = Mutex::new(None);

/// What runs a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// ONNX Runtime's `CPUExecutionProvider`.
    Cpu,
    /// ONNX Runtime's `CUDAExecutionProvider` on one device.
    Cuda {
        /// Number of the device, from 0.
        device: u32,
    },
    /// The kernels that train, on the CPU; no ONNX Runtime is needed.
    Native,
}

impl FromStr for Provider {
    type Err = Error;

    /// Reads `cpu`, `cuda` (device 0), `cuda:<device>` or `native`.
    fn from_str(text: &str) -> Result<Self> {
        let device = match text {
            "cpu" => return Ok(Self::Cpu),
            "native" => return Ok(Self::Native),
            "cuda" => Some(0),
            // A leading plus sign would parse, but `cuda:+1` is nobody's device.
            _ => text
                .strip_prefix("cuda:")
                .filter(|d| d.starts_with(|c: char| c.is_ascii_digit()))
                .and_then(|d| d.parse().ok()),
        };
        let unknown = || {
            Error::recipe(format!("unknown provider `{text}`")).hint("use `cpu`, `cuda`, `cuda:<device>` or `native`")
        };
        device.map(|device| Self::Cuda { device }).ok_or_else(unknown)
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda { device } => write!(f, "cuda:{device}"),
            Self::Native => f.write_str("native"),
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
pub struct Session {
    engine: Engine,
    card: ModelCard,
    provider: Provider,
}

enum Engine {
    OnnxRuntime(Box<ort::session::Session>),
    Native(Box<Predictor>),
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({} on {})", self.card.model_id, self.provider)
    }
}

impl Session {
    /// Makes a model file ready.
    ///
    /// `n_threads`  threads that share the work of one batch on the CPU.
    /// `library`    the ONNX Runtime library; [`Provider::Native`] does not look for it.
    ///
    /// # Errors
    /// Wrong input: not an ONNX file, not written by sermill, or a graph that its metadata do not describe; natively
    /// also any file that is not byte for byte what [`onnx::export`] writes.
    /// The machine: no library, or CUDA asked for and not there; it never falls back to the CPU.
    ///
    /// Proof: `every_provider_and_the_f64_twin_agree`, `native_and_onnx_runtime_agree`.
    pub fn open(model: &[u8], provider: Provider, n_threads: usize, library: &Path) -> Result<Self> {
        let card = ModelCard::from_model(model)?;
        let engine = match provider {
            Provider::Native => {
                let parameters = onnx::import(model, &card)?;
                Engine::Native(Box::new(Predictor::new(card.network.clone(), parameters, n_threads)?))
            }
            Provider::Cpu => Engine::OnnxRuntime(open_runtime(model, &card, None, n_threads, library)?),
            Provider::Cuda { device } => {
                Engine::OnnxRuntime(open_runtime(model, &card, Some(device), n_threads, library)?)
            }
        };
        Ok(Self { engine, card, provider })
    }

    /// What the model says about itself.
    pub fn card(&self) -> &ModelCard {
        &self.card
    }

    /// What runs the model.
    pub fn provider(&self) -> Provider {
        self.provider
    }

    /// Class probabilities of a batch.
    ///
    /// `log_mel`  `[batch, n_mels, n_frames]`, made by the front end of the card.
    /// `out`      `[batch, n_classes]`, classes in the order of the card's labels.
    ///
    /// # Errors
    /// A bug if a length is wrong; the machine if ONNX Runtime fails, for want of memory for example; wrong input if
    /// a value is not finite (natively; ONNX Runtime computes on).
    pub fn run(&mut self, log_mel: &[f32], batch: usize, out: &mut [f32]) -> Result<()> {
        self.run_into(log_mel, batch, out, None)
    }

    /// Whether the model gives its embedding: models that older versions wrote do not on ONNX Runtime.
    pub fn has_embedding(&self) -> bool {
        match &self.engine {
            Engine::OnnxRuntime(session) => session.outputs().iter().any(|outlet| outlet.name() == EMBEDDING),
            Engine::Native(_) => true,
        }
    }

    /// [`Session::run`], and what enters the model's dense layer into `embedding` `[batch, n_embedding]`
    /// ([`NetworkSpec::n_embedding`](crate::network::NetworkSpec::n_embedding) of the card's network).
    ///
    /// # Errors
    /// As [`Session::run`]; wrong input if the model does not give it ([`Session::has_embedding`]).
    pub fn run_with_embedding(
        &mut self,
        log_mel: &[f32],
        batch: usize,
        out: &mut [f32],
        embedding: &mut [f32],
    ) -> Result<()> {
        let width = self.card.network.n_embedding();
        if embedding.len() != batch * width {
            let text =
                format!("a batch of {batch} has {} values of its embedding, not {}", batch * width, embedding.len());
            return Err(Error::bug(text));
        }
        if !self.has_embedding() {
            return Err(Error::input("the model gives no embedding: an older version wrote it")
                .hint("run it with the provider `native`, or train it again"));
        }
        self.run_into(log_mel, batch, out, Some(embedding))
    }

    fn run_into(
        &mut self,
        log_mel: &[f32],
        batch: usize,
        out: &mut [f32],
        embedding: Option<&mut [f32]>,
    ) -> Result<()> {
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
        match &mut self.engine {
            Engine::OnnxRuntime(session) => {
                run_on_runtime(session, [batch, network.n_mels, network.n_frames], log_mel, (out, embedding))
            }
            Engine::Native(predictor) => match embedding {
                None => predictor.predict(log_mel, out),
                Some(embedding) => predictor.predict_with_embedding(log_mel, out, embedding),
            },
        }
    }

    /// Runs the golden vector of the card; returns the largest absolute difference of a probability.
    ///
    /// # Errors
    /// The machine, if the difference is above `tolerance`: this provider computes something else than the network
    /// that was trained.
    pub fn verify_golden(&mut self, tolerance: f32) -> Result<f32> {
        let mut found = vec![0.0; self.card.network.n_classes];
        self.run(&golden_input(&self.card.network, self.card.golden.seed), 1, &mut found)?;
        let differences = found.iter().zip(&self.card.golden.probabilities).map(|(a, b)| (a - b).abs());
        // NaN must not pass, and `f32::max` would drop it.
        let worst = differences.fold(0.0, |worst: f32, d| if d.is_nan() || d > worst { d } else { worst });
        if worst <= tolerance {
            return Ok(worst);
        }
        let hint = match self.engine {
            Engine::OnnxRuntime(_) => "run `make runtime` to fetch the tested version",
            Engine::Native(_) => "score with `--provider cpu`, and train the model again with this version",
        };
        Err(Error::machine(format!(
            "provider {} differs from the trained network by {worst:.1e} on the golden vector, limit {tolerance:.1e}",
            self.provider
        ))
        .hint(hint))
    }
}

/// A session of ONNX Runtime on the CPU or a CUDA device, its input and output checked against the card.
fn open_runtime(
    model: &[u8],
    card: &ModelCard,
    cuda_device: Option<u32>,
    n_threads: usize,
    library: &Path,
) -> Result<Box<ort::session::Session>> {
    let runtime = Runtime::load(library)?;
    let mut options = session_options(&runtime, n_threads)
        .map_err(|e| Error::machine("cannot set up an ONNX Runtime session").because(e))?;
    let refused = |e| Error::input("ONNX Runtime refuses the model").because(e);
    let session = match cuda_device {
        None => options.commit_from_memory(model).map_err(refused)?,
        Some(device) => commit_on_cuda(&runtime, options, model, device)?,
    };
    let network = &card.network;
    let wanted = [-1, network.n_mels as i64, network.n_frames as i64];
    check_outlet("input", session.inputs(), INPUT, &wanted)?;
    let (output, embedding) = session.outputs().split_at(session.outputs().len().min(1));
    check_outlet("output", output, OUTPUT, &[-1, network.n_classes as i64])?;
    if !embedding.is_empty() {
        check_outlet("second output", embedding, EMBEDDING, &[-1, network.n_embedding() as i64])?;
    }
    Ok(Box::new(session))
}

fn run_on_runtime(
    session: &mut ort::session::Session,
    shape: [usize; 3],
    log_mel: &[f32],
    (out, embedding): (&mut [f32], Option<&mut [f32]>),
) -> Result<()> {
    let failed = |e| Error::machine("ONNX Runtime cannot run the model").because(e);
    let view =
        ArrayView3::from_shape(shape, log_mel).map_err(|e| Error::bug("a batch has no such shape").because(e))?;
    let tensor = TensorRef::from_array_view(view).map_err(failed)?;
    let outputs = session.run(ort::inputs![INPUT => tensor]).map_err(failed)?;
    let wanted = [(OUTPUT, Some(out)), (EMBEDDING, embedding)];
    for (name, out) in wanted.into_iter().filter_map(|(name, out)| Some((name, out?))) {
        let (_, values) = outputs[name].try_extract_tensor::<f32>().map_err(failed)?;
        if values.len() != out.len() {
            return Err(Error::bug(format!("the model gave {} values, not {}", values.len(), out.len())));
        }
        out.copy_from_slice(values);
    }
    Ok(())
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
#[path = "session_proof.rs"]
mod tests;
