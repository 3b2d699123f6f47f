//! Front ends: every constant between a decoded recording and its log-mel spectrogram, and the ones that have a name.

use serde::{Deserialize, Serialize};

use super::band_mean::BandMean;
use super::condition::Pad;
use super::speech::{Speech, Start};
use super::wide::Resampling;
use crate::audio::Channel;
use crate::error::{Error, Result};
use crate::units::SampleRate;

/// Taper of a frame: `0.54 - 0.46 cos(2 pi n / d)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Window {
    /// d = N - 1: the first and the last value are equal.
    HammingSymmetric,
    /// d = N: one period of a window that repeats.
    HammingPeriodic,
}

/// What a frame's `|X|^2` is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PowerScale {
    /// `|X|^2 / n_fft`.
    OverNFft,
    /// `|X|^2`.
    Plain,
}

/// Which curve the bands are equally spaced on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MelScale {
    /// `2595 log10(1 + f / 700)`.
    Htk,
    /// Linear below 1 kHz, logarithmic above (Slaney's Auditory Toolbox; librosa's default).
    Slaney,
}

/// Height of a band's triangle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MelNorm {
    /// 1 at the centre.
    Peak,
    /// `2 / width in Hz`: every triangle has area 1.
    SlaneyArea,
}

/// From mel power to the stored value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum LogScale {
    /// `ln(max(mel, floor))`.
    Natural { floor: f64 },
    /// `10 log10` of `max(mel, amin)` over the recording's maximum, at least `-top_db`: values in `[-top_db, 0]`.
    DecibelsBelowMax { amin: f64, top_db: f64 },
}

/// All constants of a front end; only what came later has a default, and that is what there was before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrontEnd {
    /// Channels of a recording that are used.
    pub channel: Channel,
    /// Rate that recordings are resampled to, 1 kHz to 768 kHz.
    pub sample_rate: SampleRate,
    /// What brings them there.
    #[serde(default, skip_serializing_if = "Resampling::is_standard")]
    pub resampler: Resampling,
    /// Seconds skipped at the start of a recording; 0 where it starts with the speech.
    pub offset_s: f64,
    /// What the first sample is.
    #[serde(default, skip_serializing_if = "Start::is_offset")]
    pub start: Start,
    /// Samples after truncation or padding.
    pub n_samples: usize,
    /// What stands behind a recording that is shorter.
    #[serde(default, skip_serializing_if = "Pad::is_zeros")]
    pub pad: Pad,
    /// Samples of a frame's transform; even.
    pub n_fft: usize,
    /// Samples of the taper, centred in the transform.
    pub window_length: usize,
    /// Samples between two frames.
    pub hop: usize,
    pub window: Window,
    pub power: PowerScale,
    /// Bands.
    pub n_mels: usize,
    pub mel_scale: MelScale,
    pub mel_norm: MelNorm,
    /// Lower edge of the lowest band.
    pub fmin_hz: f64,
    /// Upper edge of the highest band, at most half the sample rate.
    pub fmax_hz: f64,
    pub log: LogScale,
    /// What is taken from each band at last.
    #[serde(default, skip_serializing_if = "BandMean::is_none")]
    pub band_mean: BandMean,
}

/// A front end that has a name.
pub struct Profile {
    pub name: &'static str,
    pub about: &'static str,
    /// Where the constants come from.
    pub source: &'static str,
    pub front_end: FrontEnd,
}

const PAPER: FrontEnd = FrontEnd {
    channel: Channel::Mix,
    sample_rate: SampleRate(21_500),
    resampler: Resampling::Standard,
    offset_s: 0.5,
    start: Start::Offset,
    n_samples: 65_000,
    pad: Pad::Zeros,
    n_fft: 512,
    window_length: 256,
    hop: 128,
    window: Window::HammingSymmetric,
    power: PowerScale::OverNFft,
    n_mels: 128,
    mel_scale: MelScale::Htk,
    mel_norm: MelNorm::Peak,
    fmin_hz: 0.0,
    fmax_hz: 10_750.0,
    log: LogScale::Natural { floor: 1e-10 },
    band_mean: BandMean::None,
};

const FULL_RANK: FrontEnd = FrontEnd { n_fft: 1_024, mel_scale: MelScale::Slaney, ..PAPER };

const FULL_RANK_16K: FrontEnd = FrontEnd { sample_rate: SampleRate(16_000), fmax_hz: 8_000.0, ..FULL_RANK };

/// For unknown speakers and corpora: nothing in it depends on how long somebody waited before speaking, how loud, over which
/// microphone, or at which rate they were recorded.
const SPEECH_64: FrontEnd = FrontEnd {
    resampler: Resampling::Wide,
    offset_s: 0.0,
    start: Start::Speech(Speech::DEFAULT),
    // 3.03 s, as long as the paper's; 304 frames divide by 16, four pools of 2.
    n_samples: 303 * 160,
    // What is shorter is heard again: corpora have sentences of a length of their own, and the silence behind would tell it.
    pad: Pad::Repeat,
    n_fft: 512,
    // 32 ms: two periods and more of every voice from 63 Hz on.
    window_length: 512,
    // 10 ms, as everywhere in speech recognition.
    hop: 160,
    window: Window::HammingPeriodic,
    n_mels: 64,
    band_mean: BandMean::None,
    ..FULL_RANK_16K
};

/// All front ends that have a name.
pub const PROFILES: &[Profile] = &[
    Profile {
        name: "paper",
        about: "the paper's equations 1 to 4: symmetric Hamming, power / n_fft, HTK mel to half the rate, ln",
        source: "Salian, Narvade, Tambewagh, Bharne, Speech Emotion Recognition using Time Distributed CNN and LSTM, \
                 sections 2.2.1-2.2.6; the text names no upper limit of the mel bands, so it is half the sample rate; \
                 650,000 samples are read as 65,000, which gives the paper's six images",
        front_end: PAPER,
    },
    Profile {
        name: "lineage",
        about: "what the code of the paper's family computes: periodic Hamming, Slaney mel to 4 kHz, decibels",
        source: "Multimodal-Emotion-Recognition (2019), through the defaults of librosa",
        front_end: FrontEnd {
            window: Window::HammingPeriodic,
            power: PowerScale::Plain,
            mel_scale: MelScale::Slaney,
            mel_norm: MelNorm::SlaneyArea,
            fmax_hz: 4_000.0,
            log: LogScale::DecibelsBelowMax { amin: 1e-10, top_db: 80.0 },
            ..PAPER
        },
    },
    Profile {
        name: "full-rank",
        about: "`paper` with a transform twice as long and the Slaney scale: no band is empty, all 128 are independent",
        source: "ours: the banks of `paper` and `lineage` have rank 111 and 84; HTK's narrow low bands need n_fft 2048",
        front_end: FULL_RANK,
    },
    Profile {
        name: "full-rank-16k",
        about: "`full-rank` at 16 kHz, the rate of most speech models: up to 4.06 s, mel to 8 kHz",
        source: "ours: samples, hop and window are the paper's, so that frames and images are as many; rank 128",
        front_end: FULL_RANK_16K,
    },
    Profile {
        name: "full-rank-16k-wide",
        about: "`full-rank-16k` with the resampler that passes 0.95 of 8 kHz in place of 0.837",
        source: "ours: between 6.7 and 7.6 kHz lies the noise of s, f and sh, which recordings of other rates lose otherwise",
        front_end: FrontEnd { resampler: Resampling::Wide, ..FULL_RANK_16K },
    },
    Profile {
        name: "full-rank-22k",
        about: "`full-rank` at 22.05 kHz, librosa's rate: up to 2.95 s, mel to 11,025 Hz",
        source: "ours: samples, hop and window are the paper's, so that frames and images are as many; rank 128",
        front_end: FrontEnd { sample_rate: SampleRate(22_050), fmax_hz: 11_025.0, ..FULL_RANK },
    },
    Profile {
        name: "speech-64",
        about: "16 kHz from the first speech on, 64 bands of frames of 32 ms every 10 ms: 304 frames of 3.03 s, for models \
                that meet unknown speakers and corpora",
        source: "ours: frames and bands of speech recognition; 64 bands have rank 64 from 512 points on, and half the \
                 work of 128 (networks of 28,000 to 109,000 parameters are equal on unknown speakers)",
        front_end: SPEECH_64,
    },
    Profile {
        name: "speech-128",
        about: "16 kHz from the first speech on, 128 bands of frames of 64 ms every 10 ms: 304 frames of 3.03 s, where single \
                harmonics are to be seen",
        source: "ours: 128 bands to 8 kHz are independent from 1,024 points on, whose window resolves the harmonics of \
                 every voice from 60 Hz on",
        front_end: FrontEnd { n_fft: 1_024, window_length: 1_024, n_mels: 128, ..SPEECH_64 },
    },
];

/// The front end of that name; the error lists the known ones.
pub fn profile(name: &str) -> Result<FrontEnd> {
    let known = PROFILES.iter().find(|profile| profile.name == name);
    known.map(|profile| profile.front_end.clone()).ok_or_else(|| {
        let names: Vec<&str> = PROFILES.iter().map(|profile| profile.name).collect();
        Error::recipe(format!("front end `{name}` is not known"))
            .hint(format!("known front ends: {}", names.join(", ")))
    })
}

impl FrontEnd {
    /// Frames of a recording: `1 + n_samples div hop`. Frame `t` is centred on sample `t * hop`.
    ///
    /// The only place that counts frames.
    pub fn n_frames(&self) -> usize {
        1 + self.n_samples / self.hop
    }

    /// Bins of a power spectrum: `n_fft / 2 + 1`, the first at 0 Hz, the last at half the sample rate.
    pub fn n_bins(&self) -> usize {
        self.n_fft / 2 + 1
    }

    /// Refuses constants that no spectrogram can be made with; the error names the constant, its value and its range.
    pub fn check(&self) -> Result<()> {
        let nyquist = self.sample_rate.hz() / 2.0;
        whole("sample_rate", self.sample_rate.0 as usize, 1_000, 768_000)?;
        real("offset_s", self.offset_s, 0.0, 3_600.0)?;
        if let Start::Speech(Speech { threshold_db, margin_s, frame_s }) = self.start {
            if self.offset_s != 0.0 {
                return Err(wrong("offset_s", self.offset_s, "must be 0 where `start` looks for the speech"));
            }
            real("start.speech.threshold_db", threshold_db, -120.0, -1.0)?;
            real("start.speech.margin_s", margin_s, 0.0, 10.0)?;
            real("start.speech.frame_s", frame_s, 0.001, 1.0)?;
        }
        whole("n_samples", self.n_samples, 1, 100_000_000)?;
        whole("n_fft", self.n_fft, 2, 65_536)?;
        if !self.n_fft.is_multiple_of(2) {
            return Err(wrong("n_fft", self.n_fft, "must be even"));
        }
        whole("window_length", self.window_length, 2, self.n_fft)?;
        whole("hop", self.hop, 1, self.n_fft)?;
        whole("n_mels", self.n_mels, 1, 1_024)?;
        real("fmax_hz", self.fmax_hz, 0.0, nyquist)?;
        real("fmin_hz", self.fmin_hz, 0.0, self.fmax_hz)?;
        if self.fmin_hz == self.fmax_hz {
            return Err(wrong("fmin_hz", self.fmin_hz, "must be below fmax_hz"));
        }
        // Powers are kept in f32: what stands below must be one of its normal numbers.
        match self.log {
            LogScale::Natural { floor } => real("log.natural.floor", floor, 1e-30, 1.0),
            LogScale::DecibelsBelowMax { amin, top_db } => {
                real("log.decibels-below-max.amin", amin, 1e-30, 1.0)?;
                real("log.decibels-below-max.top_db", top_db, 1.0, 300.0)
            }
        }
    }
}

fn whole(name: &str, value: usize, low: usize, high: usize) -> Result<()> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(wrong(name, value, &format!("must be from {low} to {high}")))
}

fn real(name: &str, value: f64, low: f64, high: f64) -> Result<()> {
    // NaN lies in no range.
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(wrong(name, value, &format!("must be from {low} to {high}")))
}

fn wrong(name: &str, value: impl std::fmt::Display, limit: &str) -> Error {
    Error::recipe(format!("front end: {name} = {value}: {limit}")).at_place("[features.front_end]")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    type Change = fn(&mut FrontEnd);

    #[test]
    fn every_profile_is_valid_and_has_508_frames_of_128_bands_or_304_of_its_own() {
        for known in PROFILES {
            known.front_end.check().expect(known.name);
            let shape = match known.name {
                "speech-64" => (64, 304),
                "speech-128" => (128, 304),
                _ => (128, 508),
            };
            assert_eq!((known.front_end.n_mels, known.front_end.n_frames()), shape, "{}", known.name);
            assert_eq!(profile(known.name).expect("listed"), known.front_end);
            assert!(!known.about.is_empty() && !known.source.is_empty());
        }
        let names: HashSet<&str> = PROFILES.iter().map(|profile| profile.name).collect();
        assert_eq!(names.len(), PROFILES.len());
    }

    #[test]
    fn an_unknown_profile_is_answered_with_the_known_ones() {
        let error = profile("papr").expect_err("a slip");
        assert_eq!(error.kind().exit_code(), 2);
        assert_eq!(
            error.hint_text(),
            Some(
                "known front ends: paper, lineage, full-rank, full-rank-16k, full-rank-16k-wide, full-rank-22k, speech-64, \
                 speech-128"
            )
        );
    }

    #[test]
    fn profiles_come_back_from_json_and_unknown_keys_are_refused() {
        for known in PROFILES {
            let text = serde_json::to_string(&known.front_end).expect("plain values");
            assert_eq!(serde_json::from_str::<FrontEnd>(&text).expect("own text"), known.front_end);
            assert!(serde_json::from_str::<FrontEnd>(&text.replacen("hop", "hopp", 1)).is_err());
            assert!(serde_json::from_str::<FrontEnd>(&text.replacen('{', "{\"more\":1,", 1)).is_err());
        }
        let text = serde_json::to_string(&PAPER).expect("plain values");
        for part in
            ["\"hamming-symmetric\"", "\"over-n-fft\"", "\"htk\"", "\"peak\"", "{\"natural\":{\"floor\":1e-10}}"]
        {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn constants_out_of_range_are_refused_with_value_and_limit() {
        let wrong: Vec<(Change, &str)> = vec![
            (|f| f.sample_rate = SampleRate(0), "sample_rate = 0: must be from 1000 to 768000"),
            (|f| f.offset_s = f64::NAN, "offset_s = NaN: must be from 0 to 3600"),
            (|f| f.n_samples = 0, "n_samples = 0: must be from 1"),
            (|f| f.n_fft = 511, "n_fft = 511: must be even"),
            (|f| f.n_fft = 0, "n_fft = 0: must be from 2 to 65536"),
            (|f| f.window_length = 513, "window_length = 513: must be from 2 to 512"),
            (|f| f.hop = 0, "hop = 0: must be from 1"),
            (|f| f.n_mels = 0, "n_mels = 0: must be from 1"),
            (|f| f.fmax_hz = 10_751.0, "fmax_hz = 10751: must be from 0 to 10750"),
            (|f| f.fmin_hz = 10_750.0, "fmin_hz = 10750: must be below fmax_hz"),
            (|f| f.log = LogScale::Natural { floor: 0.0 }, "log.natural.floor = 0"),
            (|f| f.log = LogScale::DecibelsBelowMax { amin: 1e-10, top_db: -1.0 }, "top_db = -1"),
        ];
        for (change, message) in wrong {
            let mut front_end = PAPER;
            change(&mut front_end);
            let error = front_end.check().expect_err(message);
            assert!(error.to_string().contains(message), "{error}");
            assert_eq!(error.kind().exit_code(), 2);
        }
    }
}
