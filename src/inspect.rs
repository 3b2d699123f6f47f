//! What the pipeline makes of one recording: the same decoder, front end and windows as the stages, looked at closely.

use std::path::{Path, PathBuf};

use crate::audio::levels::CLIPPED_FROM;
use crate::audio::{Budget, Decoded, Levels};
use crate::config::Pipeline;
use crate::definition::{Definition, front_end_of};
use crate::error::{Error, ErrorKind, Result, printable};
use crate::extract::{Copy, Extractor};
use crate::files;
use crate::network::NetworkSpec;
use crate::network::dense::argmax;
use crate::network::onnx::ModelCard;
use crate::network::session::{Provider, Session};
use crate::pictures::{InspectionView, SpectrogramView, WaveView, grouped};
use crate::recordings::Buffers;
use crate::signal::condition::{Conditioned, kept};
use crate::signal::float16::stored_precision;
use crate::signal::mel::{MelBank, band_centres_hz};
use crate::signal::profile::{FrontEnd, profile};
use crate::signal::tiles::n_windows;
use crate::storage::fingerprint::Fingerprint;
use crate::units::{Bytes, SampleRate, Seed};

/// More than any model that this program can run.
const LARGEST_MODEL: Bytes = Bytes(4_000_000_000);

/// Whose front end and windows are taken.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// A named front end, with the windows of the paper's network.
    Profile(String),
    /// A pipeline file with values laid over it.
    Pipeline { file: PathBuf, overrides: Vec<String> },
    /// A model file; it is also asked for its probabilities, with the native provider.
    Model(PathBuf),
}

/// Everything that is known of one recording.
pub struct Inspection {
    title: String,
    source: String,
    definition: Definition,
    facts: Vec<(&'static str, String)>,
    probabilities: Vec<(String, f32)>,
    front_end: FrontEnd,
    /// Frames of a window, and between two.
    windows: (usize, usize),
    centres_hz: Vec<f64>,
    samples: Vec<f32>,
    seconds: f64,
    /// First sample that is used, and the one after the last.
    used: (usize, usize),
    /// `[n_mels, n_frames]`.
    log_mel: Vec<f32>,
    valid_frames: usize,
}

/// A front end, its windows, and the model that wants them, if there is one.
struct Plan {
    name: String,
    front_end: FrontEnd,
    windows: (usize, usize),
    model: Option<Vec<u8>>,
    /// What the recording may take.
    limit: Bytes,
}

/// Looks at the recording `file`.
///
/// Errors: kind `Recording` with the reason for which the stages would reject it; those of reading recipe or model.
/// Proof: `an_inspection_says_what_the_tables_say`, `a_model_is_asked_and_answers_as_in_the_predictions`.
pub fn inspect(file: &Path, source: &Source) -> Result<Inspection> {
    let plan = plan(source)?;
    of_file(plan, file)
        .map_err(|error| if error.kind() == ErrorKind::Recording { error.at(file) } else { error.or_at(file) })
}

fn plan(source: &Source) -> Result<Plan> {
    match source {
        Source::Profile(name) => {
            let front_end = profile(name)?;
            let paper = NetworkSpec::paper(front_end.n_mels, front_end.n_frames());
            let windows = (paper.window, paper.hop);
            let (name, limit) = (format!("profile {name}"), Budget::DEFAULT_LIMIT);
            Ok(Plan { name, front_end, windows, model: None, limit })
        }
        Source::Pipeline { file, overrides } => {
            let pipeline = Pipeline::read(file, overrides)?;
            let limit = pipeline.recording_limit();
            let network = &pipeline.train.network;
            Ok(Plan {
                name: format!("pipeline {}, front end {}", pipeline.pipeline.name, pipeline.features.profile),
                windows: (network.window, network.hop),
                front_end: pipeline.features.front_end,
                model: None,
                limit,
            })
        }
        Source::Model(file) => {
            let hint = "use the model.onnx that `sermill train` wrote";
            let bytes = files::read(file, LARGEST_MODEL.0).map_err(|error| {
                Error::reading_named(ErrorKind::Input, "cannot read the model", error).at(file).hint(hint)
            })?;
            let card = ModelCard::from_model(&bytes).map_err(|error| error.at(file))?;
            let front_end = front_end_of(&card).map_err(|error| error.at(file))?;
            let windows = (card.network.window, card.network.hop);
            let (name, limit) = (format!("model {}", card.model_id), Budget::DEFAULT_LIMIT);
            Ok(Plan { name, front_end, windows, model: Some(bytes), limit })
        }
    }
}

fn of_file(plan: Plan, file: &Path) -> Result<Inspection> {
    let Plan { name, front_end, windows, model, limit } = plan;
    let extractor = Extractor::new(&front_end, &[], Seed(0))?.with_limit(limit);
    let (mut log_mel, mut valid_frames, mut shape) = (Vec::new(), 0, None);
    let (reader, mut buffers) = (extractor.reader(), Buffers::default());
    let content_hash = reader.read_named(file, &mut buffers)?.to_hex();
    let recording = reader.decode(None, &mut buffers)?.heard()?;
    extractor.extract(&recording, &[Copy::ORIGINAL], &mut extractor.scratch(), |spectrogram| {
        log_mel = spectrogram.log_mel.to_vec();
        valid_frames = spectrogram.valid_frames;
        shape = Some(spectrogram.conditioned.clone());
        Ok(())
    })?;
    let (decoded, levels) = (recording.decoded().clone(), recording.levels());
    let samples = buffers.into_samples();
    let shape = shape.ok_or_else(|| Error::bug("an original has no spectrogram"))?;
    let rate = decoded.sample_rate;
    let kept = kept(&samples, rate, &front_end);
    let longest = (front_end.n_samples as f64 / front_end.sample_rate.hz() * rate.hz()).ceil() as usize;
    let used = (kept.start, (kept.start + longest).min(kept.end));
    let definition = Definition::of(&front_end);
    let fingerprint = Fingerprint::of([definition.to_string()]);
    let mut facts = facts_of_recording(&decoded, samples.len(), &levels);
    facts.extend(facts_of_use(&front_end, &shape, rate, used, kept.end));
    facts.extend(facts_of_spectrogram(&front_end, windows, &log_mel, valid_frames)?);
    facts.push(("fingerprint", fingerprint.to_string()));
    facts.push(("content", content_hash[..32].to_string()));
    let probabilities = match model {
        Some(model) => ask(&model, &log_mel, &mut facts)?,
        None => Vec::new(),
    };
    Ok(Inspection {
        title: printable(&files::text_of(Path::new(file.file_name().unwrap_or(file.as_os_str())))),
        source: printable(&format!("front end: {name}")),
        definition,
        facts,
        probabilities,
        windows,
        centres_hz: band_centres_hz(&front_end),
        seconds: rate.seconds(samples.len()),
        samples,
        used,
        log_mel,
        valid_frames,
        front_end,
    })
}

fn facts_of_recording(decoded: &Decoded, n_samples: usize, levels: &Levels) -> Vec<(&'static str, String)> {
    let channels =
        if decoded.n_channels == 1 { "1 channel".into() } else { format!("{} channels", decoded.n_channels) };
    let bits = decoded.bits_per_sample.map_or(String::new(), |bits| format!(", {bits} bits"));
    let (rate, codec, container) = (grouped(decoded.sample_rate.0.into()), &decoded.codec, &decoded.container);
    let clipped = match levels.clipped_fraction {
        0.0 => "no".to_string(),
        share => format!("{:.3} % of the samples", 100.0 * share),
    };
    let seconds = decoded.sample_rate.seconds(n_samples);
    vec![
        ("recording", format!("{rate} Hz, {channels}, {codec} in {container}{bits}")),
        ("decoder", decoded.decoder.to_string()),
        ("repaired", decoded.repaired.clone().unwrap_or_else(|| "nothing".into())),
        ("duration", format!("{seconds:.3} s, {} samples", grouped(n_samples as u64))),
        ("levels", format!("RMS {:.1} dBFS, peak {:.1} dBFS", levels.rms_dbfs, levels.peak_dbfs)),
        ("clipped", clipped),
        ("silence", format!("{:.2} s before, {:.2} s after", levels.leading_silence_s, levels.trailing_silence_s)),
    ]
}

/// What goes into the spectrogram, of what ends at sample `end`.
fn facts_of_use(
    front_end: &FrontEnd,
    shape: &Conditioned,
    rate: SampleRate,
    (first, last): (usize, usize),
    end: usize,
) -> [(&'static str, String); 3] {
    let (from, seconds) = (rate.seconds(first), rate.seconds(last - first));
    let cut = if shape.truncated { format!("{:.3} s at the end", rate.seconds(end - last)) } else { "no".into() };
    [
        ("used", format!("{seconds:.3} s, from {from:.3} s on, at {} Hz", grouped(front_end.sample_rate.0.into()))),
        ("truncated", cut),
        ("padding", format!("{:.1} % of the wave", 100.0 * shape.pad_fraction)),
    ]
}

fn facts_of_spectrogram(
    front_end: &FrontEnd,
    (window, hop): (usize, usize),
    log_mel: &[f32],
    valid_frames: usize,
) -> Result<Vec<(&'static str, String)>> {
    let n_frames = front_end.n_frames();
    let (low, high) =
        log_mel.iter().fold((f32::MAX, f32::MIN), |(low, high), &value| (low.min(value), high.max(value)));
    let diagnosis = MelBank::new(front_end)?.diagnosis();
    let (rank, n_mels, n_empty) = (diagnosis.rank, diagnosis.n_mels, diagnosis.empty_rows.len());
    Ok(vec![
        ("spectrogram", format!("{n_mels} bands x {n_frames} frames, {low:.2} to {high:.2}")),
        ("sound", format!("{valid_frames} of {n_frames} frames, what follows is padding")),
        ("windows", format!("{} of {window} frames, one every {hop}", n_windows(n_frames, window, hop))),
        ("mel bank", format!("rank {rank} of {n_mels}, {n_empty} bands without an FFT bin")),
    ])
}

/// Probabilities of each class by the model, from the spectrogram as tables hold it.
fn ask(model: &[u8], log_mel: &[f32], facts: &mut Vec<(&'static str, String)>) -> Result<Vec<(String, f32)>> {
    // The native provider looks for no library.
    let mut session = Session::open(model, Provider::Native, 1, Path::new(""))?;
    let mut stored = log_mel.to_vec();
    stored_precision(&mut stored);
    let mut probabilities = vec![0.0; session.card().network.n_classes];
    session.run(&stored, 1, &mut probabilities)?;
    let labels = session.card().labels.clone();
    let best = argmax(&probabilities).ok_or_else(|| Error::bug("the model gives a probability that is no number"))?;
    facts.push(("predicted", format!("{}, {:.1} %, provider native", labels[best], 100.0 * probabilities[best])));
    Ok(labels.into_iter().zip(probabilities).collect())
}

impl Inspection {
    /// As a picture or as text.
    pub fn view(&self) -> InspectionView<'_> {
        InspectionView {
            title: &self.title,
            source: &self.source,
            wave: WaveView {
                samples: &self.samples,
                seconds: self.seconds,
                used: self.used,
                clipped_from: CLIPPED_FROM,
            },
            spectrogram: SpectrogramView {
                title: &self.title,
                log_mel: &self.log_mel,
                n_mels: self.front_end.n_mels,
                n_frames: self.front_end.n_frames(),
                valid_frames: self.valid_frames,
                frame_seconds: self.front_end.hop as f64 / self.front_end.sample_rate.hz(),
                first_second: self.seconds * self.used.0 as f64 / self.samples.len().max(1) as f64,
                centres_hz: &self.centres_hz,
                window: self.windows.0,
                hop: self.windows.1,
            },
            facts: &self.facts,
            probabilities: &self.probabilities,
        }
    }

    /// Everything that the spectrogram depends on.
    pub fn definition(&self) -> &Definition {
        &self.definition
    }
}
