//! The definition: everything between the bytes of a recording and its stored spectrogram, in named parts.
//!
//! It is the one text whose hash is the fingerprint in `features`, in model files and in `predictions`; shards and model
//! files carry the text as well. Features and models go together only if it is the same.

use std::fmt;

use serde::Serialize;

use crate::audio::Channel;
use crate::audio::resample::{DESIGN, Design};
use crate::error::{Error, Result};
use crate::network::onnx::ModelCard;
use crate::signal::band_mean::BandMean;
use crate::signal::condition::Pad;
use crate::signal::profile::{FrontEnd, LogScale, MelNorm, MelScale, PowerScale, Window};
use crate::signal::speech::{RUN, Speech, Start};
use crate::signal::wide::{Resampling, WIDE, WideDesign};

/// Under which key shards and model files carry the text.
pub const METADATA_KEY: &str = "sermill.definition";

/// What the code decides, not the recipe.
#[derive(Clone, Debug, Serialize)]
struct Code {
    /// Raised when the same bytes would decode to other samples.
    decoder: u32,
    resampler: Design,
    wide: WideDesign,
    /// Raised when the same constants would give other values from a resampled wave.
    front_end: u32,
    /// Form of a stored spectrogram, as `tables::features::to_blob` writes it.
    storage: &'static str,
}

const CODE: Code = Code {
    decoder: 1,
    resampler: DESIGN,
    wide: WIDE,
    front_end: 2,
    storage: "float16, little-endian, [n_mels, n_frames] in C order, lowest band first",
};

/// Named parts in the order of the work; one line each as text.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    parts: Vec<(&'static str, String)>,
}

impl Definition {
    /// The definition that this program computes by.
    ///
    /// Proof: `any_other_constant_is_another_fingerprint`, `the_definition_is_the_frozen_one`.
    pub fn of(front_end: &FrontEnd) -> Self {
        Self::with(&CODE, front_end)
    }

    fn with(code: &Code, front_end: &FrontEnd) -> Self {
        // Taken apart by name, so that a new constant cannot be forgotten here.
        let Code { decoder, resampler, wide, front_end: revision, storage } = code;
        let FrontEnd { channel, sample_rate, offset_s, n_samples, n_fft, window_length, hop, window, .. } = front_end;
        let FrontEnd { power, n_mels, mel_scale, mel_norm, fmin_hz, fmax_hz, log, .. } = front_end;
        let FrontEnd { start, pad, band_mean, resampler: kind, .. } = front_end;
        let resampler = match kind {
            Resampling::Standard => resampler.definition(),
            Resampling::Wide => wide.definition(),
        };
        let channel = match channel {
            Channel::Mix => "mean over the channels".to_string(),
            Channel::Only(only) => format!("channel {only} alone, counted from 0"),
        };
        let window = match window {
            Window::HammingSymmetric => "symmetric Hamming",
            Window::HammingPeriodic => "periodic Hamming",
        };
        let power = match power {
            PowerScale::OverNFft => "|X|^2 / n_fft",
            PowerScale::Plain => "|X|^2",
        };
        let scale = match mel_scale {
            MelScale::Htk => "HTK",
            MelScale::Slaney => "Slaney",
        };
        let norm = match mel_norm {
            MelNorm::Peak => "peak 1",
            MelNorm::SlaneyArea => "area 1",
        };
        let (offset, level) = offset_and_level(start, *offset_s);
        let padding = match pad {
            Pad::Zeros => "zeros on the right",
            Pad::Repeat => "the recording again on the right, from its first sample, as often as it takes",
        };
        Self {
            parts: vec![
                ("decoder", format!("v{decoder}, f32 with full scale 1, {channel}")),
                ("offset", offset),
                ("resampler", format!("to {} Hz: {resampler}", sample_rate.0)),
                ("level", level.into()),
                ("length", format!("{n_samples} samples, cut or {padding}")),
                ("frames", format!("every {hop} samples, centred, zeros outside the wave")),
                ("window", format!("{window} of {window_length}, centred in the transform")),
                ("transform", format!("n_fft {n_fft}, {power}")),
                ("bank", format!("{n_mels} triangles on the {scale} scale, {norm}, {fmin_hz:?} to {fmax_hz:?} Hz")),
                ("log", logarithm(log, *band_mean, *pad)),
                ("arithmetic", format!("front end v{revision}, f32")),
                ("storage", (*storage).to_string()),
            ],
        }
    }

    /// Name and text of each part.
    pub fn parts(&self) -> &[(&'static str, String)] {
        &self.parts
    }

    /// Names of the parts that another definition's text has otherwise, or not at all.
    pub fn parts_unlike(&self, other: &str) -> Vec<&'static str> {
        let lines: Vec<&str> = other.lines().collect();
        let differs = |(name, text): &(&str, String)| !lines.contains(&format!("{name}: {text}").as_str());
        self.parts.iter().filter(|part| differs(part)).map(|(name, _)| *name).collect()
    }
}

fn offset_and_level(start: &Start, offset_s: f64) -> (String, &'static str) {
    match start {
        Start::Offset => (
            format!("the first {offset_s:?} s are skipped, whole samples, before resampling"),
            "z-score over all that is left, population deviation, f64 sums",
        ),
        Start::Speech(how) => (speech(how), "z-score over the samples that are kept, population deviation, f64 sums"),
    }
}

fn logarithm(log: &LogScale, band_mean: BandMean, pad: Pad) -> String {
    let log = match log {
        LogScale::Natural { floor } => format!("ln(max(mel, {floor:?}))"),
        LogScale::DecibelsBelowMax { amin, top_db } => {
            format!("10 log10(max(mel, {amin:?})) below the maximum of the recording, at least -{top_db:?}")
        }
    };
    let less = match (band_mean, pad) {
        (BandMean::None, _) => "",
        (BandMean::Recording, Pad::Repeat) => ", less the band's mean over all frames, f64 sums",
        (BandMean::Recording, Pad::Zeros) => {
            ", less the band's mean over the frames centred on samples of the recording, f64 sums; other frames as they are"
        }
    };
    log + less
}

/// What is kept of a recording that is looked at from its first speech to its last.
fn speech(how: &Speech) -> String {
    let Speech { threshold_db, margin_s, frame_s } = how;
    format!(
        "from {margin_s:?} s before the first speech to {margin_s:?} s after the last, whole samples, before resampling; speech \
         is {RUN} frames in a row, counted from the first sample, of {frame_s:?} s, whole samples, the last one what is left, \
         the quietest of which has a power about its own mean at most {:?} dB below that of the loudest such {RUN}; all \
         samples where there is none",
        -threshold_db
    )
}

impl fmt::Display for Definition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|(name, text)| writeln!(f, "{name}: {text}"))
    }
}

/// The front end that a model was trained on.
///
/// Errors: wrong input when it cannot be read, or when this program computes it otherwise; the message names the parts.
pub fn front_end_of(card: &ModelCard) -> Result<FrontEnd> {
    let front_end: FrontEnd = serde_json::from_str(&card.front_end)
        .map_err(|error| Error::input("the model's front end cannot be read").because(error))?;
    let unlike = Definition::of(&front_end).parts_unlike(&card.definition);
    if unlike.is_empty() {
        return Ok(front_end);
    }
    Err(Error::input(format!("the model was trained on spectrograms of another {}", unlike.join(", another ")))
        .hint("train it again with this version, or score with the version that trained it"))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::signal::profile::{PROFILES, profile};
    use crate::storage::fingerprint::Fingerprint;
    use crate::tables::features::to_blob;
    use crate::units::SampleRate;

    fn fingerprint(code: &Code, front_end: &FrontEnd) -> Fingerprint {
        Fingerprint::of([Definition::with(code, front_end).to_string()])
    }

    /// Name of a constant, the part that it belongs to, and a change of it.
    type Change<T> = (&'static str, &'static str, fn(&mut T));

    /// One change per field, in the order of declaration.
    #[rustfmt::skip]
    fn changes() -> Vec<Change<FrontEnd>> {
        vec![
            ("channel", "decoder", |f| f.channel = Channel::Only(0)),
            ("sample_rate", "resampler", |f| f.sample_rate = SampleRate(22_050)),
            ("offset_s", "offset", |f| f.offset_s = 0.25),
            ("n_samples", "length", |f| f.n_samples += 1),
            ("pad", "length", |f| f.pad = Pad::Repeat),
            ("resampler", "resampler", |f| f.resampler = Resampling::Wide),
            ("band_mean", "log", |f| f.band_mean = BandMean::Recording),
            ("n_fft", "transform", |f| f.n_fft = 256),
            ("window_length", "window", |f| f.window_length = 255),
            ("hop", "frames", |f| f.hop = 64),
            ("window", "window", |f| f.window = Window::HammingPeriodic),
            ("power", "transform", |f| f.power = PowerScale::Plain),
            ("n_mels", "bank", |f| f.n_mels = 64),
            ("mel_scale", "bank", |f| f.mel_scale = MelScale::Slaney),
            ("mel_norm", "bank", |f| f.mel_norm = MelNorm::SlaneyArea),
            ("fmin_hz", "bank", |f| f.fmin_hz = 20.0),
            ("fmax_hz", "bank", |f| f.fmax_hz = 8_000.0),
            ("log", "log", |f| f.log = LogScale::Natural { floor: 1e-9 }),
        ]
    }

    #[rustfmt::skip]
    fn code_changes() -> Vec<Change<Code>> {
        vec![
            ("decoder", "decoder", |c| c.decoder += 1),
            ("front_end", "arithmetic", |c| c.front_end += 1),
            ("storage", "storage", |c| c.storage = "float32, little-endian, [n_mels, n_frames] in C order"),
            ("resampler.revision", "resampler", |c| c.resampler.revision += 1),
            ("resampler.zero_crossings", "resampler", |c| c.resampler.zero_crossings = 31.0),
            ("resampler.kaiser_beta", "resampler", |c| c.resampler.kaiser_beta = 10.061),
            ("resampler.rolloff", "resampler", |c| c.resampler.rolloff = 0.92),
            ("resampler.exact_phases", "resampler", |c| c.resampler.exact_phases = 4_095),
            ("resampler.segments", "resampler", |c| c.resampler.segments = 128),
            ("resampler.degree", "resampler", |c| c.resampler.degree = 1),
            ("resampler.block", "resampler", |c| c.resampler.block = 8),
        ]
    }

    /// The paper's front end with another value for every key that came later, so that all are spelled out.
    fn heard() -> FrontEnd {
        let (start, pad, band_mean) = (Start::Speech(Speech::DEFAULT), Pad::Repeat, BandMean::Recording);
        let resampler = Resampling::Wide;
        FrontEnd { resampler, offset_s: 0.0, start, pad, band_mean, ..profile("paper").expect("known") }
    }

    #[test]
    fn any_other_rule_of_what_is_speech_is_another_fingerprint() {
        let heard = heard();
        let Start::Speech(how) = heard.start else { unreachable!("as made") };
        let with = |start| FrontEnd { start, ..heard.clone() };
        let others = [
            with(Start::Offset),
            with(Start::Speech(Speech { threshold_db: -39.0, ..how })),
            with(Start::Speech(Speech { margin_s: 0.1, ..how })),
            with(Start::Speech(Speech { frame_s: 0.01, ..how })),
        ];
        let text = Definition::of(&heard).to_string();
        for other in &others {
            let parts = if other.start == Start::Offset { vec!["offset", "level"] } else { vec!["offset"] };
            assert_eq!(Definition::of(other).parts_unlike(&text), parts, "{:?}", other.start);
        }
        let of_padding = FrontEnd { pad: Pad::Zeros, ..heard.clone() };
        assert_eq!(Definition::of(&of_padding).parts_unlike(&text), ["length", "log"]);
        assert!(text.contains("at most 40.0 dB below") && text.contains("3 frames in a row"), "{text}");
    }

    #[rustfmt::skip]
    fn wide_changes() -> Vec<Change<WideDesign>> {
        vec![
            ("revision", "resampler", |c| c.revision += 1),
            ("zero_crossings", "resampler", |c| c.zero_crossings = 135.0),
            ("kaiser_beta", "resampler", |c| c.kaiser_beta = 10.95),
            ("rolloff", "resampler", |c| c.rolloff = 0.97),
            ("least_ratio", "resampler", |c| c.least_ratio = 1.2),
            ("crossings_of_transition", "resampler", |c| c.crossings_of_transition = 3.6),
            ("points", "resampler", |c| c.points = 512),
        ]
    }

    #[test]
    fn the_wide_resampler_counts_where_it_is_used_and_nowhere_else() {
        let (wide, paper) = (heard(), profile("paper").expect("known"));
        let text = Definition::of(&wide).to_string();
        for (name, part, change) in wide_changes() {
            let mut other = CODE;
            change(&mut other.wide);
            assert_eq!(Definition::with(&other, &wide).parts_unlike(&text), [part], "{name}");
            assert_eq!(Definition::with(&other, &paper), Definition::of(&paper), "{name}");
        }
        let standard = Code { resampler: Design { revision: 99, ..DESIGN }, ..CODE };
        assert_eq!(Definition::with(&standard, &wide), Definition::of(&wide));
    }

    fn names(value: serde_json::Value) -> HashSet<String> {
        value.as_object().expect("a struct").keys().cloned().collect()
    }

    #[test]
    fn any_other_constant_is_another_fingerprint() {
        let paper = profile("paper").expect("known");
        let text = Definition::of(&paper).to_string();
        let mut seen = HashSet::from([fingerprint(&CODE, &paper)]);
        let mut check = |name: &str, part: &str, code: &Code, front_end: &FrontEnd| {
            assert!(seen.insert(fingerprint(code, front_end)), "{name} is not in the definition");
            assert_eq!(Definition::with(code, front_end).parts_unlike(&text), [part], "{name}");
        };
        for (name, part, change) in changes() {
            let mut other = paper.clone();
            change(&mut other);
            other.check().expect(name);
            check(name, part, &CODE, &other);
        }
        for (amin, top_db) in [(1e-10, 80.0), (1e-9, 80.0), (1e-10, 60.0)] {
            let log = LogScale::DecibelsBelowMax { amin, top_db };
            check("decibels", "log", &CODE, &FrontEnd { log, ..paper.clone() });
        }
        for (name, part, change) in code_changes() {
            let mut other = CODE;
            change(&mut other);
            check(name, part, &other, &paper);
        }
    }

    #[test]
    fn every_constant_is_changed_in_the_test_above() {
        let every = serde_json::to_value(heard()).expect("plain values");
        let changed = changes().iter().map(|(name, ..)| name.to_string()).chain(["start".to_string()]).collect();
        assert_eq!(names(every), changed);
        let paper = serde_json::to_string(&profile("paper").expect("known")).expect("plain values");
        let later = ["resampler", "start", "pad", "band_mean"];
        assert!(later.iter().all(|key| !paper.contains(&format!("\"{key}\""))), "old settings stay what they were");
        let mut code = names(serde_json::to_value(CODE).expect("plain values"));
        assert!(code.remove("resampler") && code.remove("wide"));
        let resampler = names(serde_json::to_value(DESIGN).expect("plain values"));
        code.extend(resampler.iter().map(|name| format!("resampler.{name}")));
        let wide = names(serde_json::to_value(WIDE).expect("plain values"));
        assert_eq!(wide, wide_changes().iter().map(|(name, ..)| name.to_string()).collect());
        assert_eq!(code, code_changes().iter().map(|(name, ..)| name.to_string()).collect());
    }

    #[test]
    fn the_definition_is_the_frozen_one() {
        // Stored features are compared by the hash of this text: when it moves, they are all made again.
        let expected = "\
decoder: v1, f32 with full scale 1, mean over the channels
offset: the first 0.5 s are skipped, whole samples, before resampling
resampler: to 21500 Hz: v2, polyphase Kaiser windowed sinc, 32 zero crossings per side, beta 10.06, cutoff 0.91 of the \
lower Nyquist frequency, exact rational phases up to 4096, else polynomials of degree 2 through Chebyshev nodes of 64 \
segments of the phase of each 16 outputs, f32 taps, sums in order of time without fused multiply-add, zeros outside the \
input, output n at time n / to, ceil(n_in to / from) outputs
level: z-score over all that is left, population deviation, f64 sums
length: 65000 samples, cut or zeros on the right
frames: every 128 samples, centred, zeros outside the wave
window: symmetric Hamming of 256, centred in the transform
transform: n_fft 512, |X|^2 / n_fft
bank: 128 triangles on the HTK scale, peak 1, 0.0 to 10750.0 Hz
log: ln(max(mel, 1e-10))
arithmetic: front end v2, f32
storage: float16, little-endian, [n_mels, n_frames] in C order, lowest band first
";
        assert_eq!(Definition::of(&profile("paper").expect("known")).to_string(), expected);
    }

    #[test]
    fn the_stored_form_is_the_one_that_is_named() {
        // 1.0 and -2.0 as float16, low byte first, in the order given.
        assert!(CODE.storage.starts_with("float16, little-endian"));
        assert_eq!(to_blob(&[1.0, -2.0]), [0x00, 0x3c, 0x00, 0xc0]);
    }

    #[test]
    fn every_profile_has_a_definition_of_its_own() {
        let texts: HashSet<String> =
            PROFILES.iter().map(|known| Definition::of(&known.front_end).to_string()).collect();
        assert_eq!(texts.len(), PROFILES.len());
        assert!(texts.iter().all(|text| text.lines().count() == 12));
    }
}
