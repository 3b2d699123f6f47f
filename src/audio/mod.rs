//! Opens recordings: any container and codec to mono samples, their levels, and a change of sample rate.

mod blocks;
pub mod budget;
mod container;
#[cfg(test)]
mod dialects;
mod filter_bank;
pub mod head;
mod kaiser;
pub mod levels;
mod opus;
mod part;
mod pcm;
mod phases;
pub mod resample;
mod resample_kernel;
#[cfg(test)]
mod resample_proof;
mod schedule;
mod wav;
mod wav_format;
mod write;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use serde::{Deserialize, Serialize};

pub use budget::Budget;
pub(crate) use kaiser::Window;
pub use levels::{Levels, check_heard, levels};
pub use part::Part;
pub use resample::Resampler;
pub use write::write_wav;

use crate::error::{Error, Result};
use crate::units::SampleRate;

/// Endings of file names, lower case and without the dot, that count as recordings when a folder is scanned.
pub const EXTENSIONS: &[&str] = &[
    "wav", "wave", "rf64", "bwf", "w64", "aif", "aiff", "aifc", "caf", "flac", "mp3", "mp2", "mp1", "ogg", "oga",
    "opus", "m4a", "mp4", "aac", "mka", "mkv", "webm",
];

/// Slowest rate that a recording may have, in Hz: half of telephone speech.
pub const LOWEST_RATE: u32 = 4_000;
/// Fastest rate that a recording may have, in Hz: the fastest of audio converters.
pub const HIGHEST_RATE: u32 = 384_000;
/// Most channels that a recording may have: as many as Vorbis and Opus can declare.
pub const MAX_CHANNELS: usize = 255;
/// A buffer that is used again keeps room for this many samples (3 minutes at 48 kHz, 34 MB) and gives back the rest.
pub const KEPT_SAMPLES: usize = 1 << 23;
/// Largest magnitude of a float sample, full scale 1: beyond it (180 dB) the sums of later stages leave the range of f32.
const MAX_MAGNITUDE: f32 = 1e9;

/// Which channels of a recording are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Channel {
    /// The mean over all.
    Mix,
    /// One, counted from 0; a recording without it is rejected.
    Only(u16),
}

impl Channel {
    fn check(self, n_channels: usize) -> Result<()> {
        match self {
            Self::Only(only) if usize::from(only) >= n_channels => {
                Err(Error::recording(format!("channel {only} (counted from 0) is asked for, there are {n_channels}")))
            }
            _ => Ok(()),
        }
    }
}

/// What a recording is; its samples lie in the caller's buffer.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    pub sample_rate: SampleRate,
    /// Channels in the file, before they became one.
    pub n_channels: u16,
    /// Bits of a sample in the file; unknown for most lossy codecs.
    pub bits_per_sample: Option<u16>,
    /// By content, not by name: `wav`, `aiff`, `flac`, `mp3`, `ogg`, `mp4`...
    pub container: String,
    /// `pcm_s16`, `pcm_f32`, `flac`, `vorbis`...
    pub codec: String,
    /// What read it: `sermill` for uncompressed WAV, else the library `symphonia` or `opus-pure`.
    pub decoder: &'static str,
    /// What was mended, such as data cut short; several things are joined by `; `.
    pub repaired: Option<String>,
}

/// Decodes one recording into `samples`; the content decides how, never a name.
///
/// `samples` is cleared first and then holds mono with full scale 1: at least one sample, all finite, no magnitude above
/// 1e9. Floats beyond full scale are kept.
/// Errors: kind `Recording` with the reason: unknown format, no samples, samples that are not finite, a rate outside
/// [`LOWEST_RATE`] to [`HIGHEST_RATE`]. A decoder that panics is such an error too.
/// Never allocates what a header merely declares, and stops where `budget` ends, which `bytes` count to.
/// Proof: `every_dialect_decodes_to_the_same_tone`, `no_mutation_of_a_sample_panics`,
/// `no_recording_takes_more_than_its_budget`.
pub fn decode_within(bytes: &[u8], channel: Channel, budget: Budget, samples: &mut Vec<f32>) -> Result<Decoded> {
    samples.clear();
    let budget = budget.holding(bytes.len() as u64);
    if bytes.is_empty() {
        return Err(Error::recording("file is empty"));
    }
    let (id3_length, recording) = behind_id3(bytes);
    let mut repairs = Repairs::default();
    // A decoder of foreign bytes that breaks must cost one recording, not the run.
    let decoded = catch_unwind(AssertUnwindSafe(|| {
        wav::decode(recording, channel, budget, &mut repairs, samples)
            .unwrap_or_else(|| container::decode(recording, channel, budget, &mut repairs, samples))
    }))
    .unwrap_or_else(|_| Err(Error::recording("decoder panicked on malformed data")))?;
    // MPEG audio and AAC have no other place for a tag.
    if id3_length > 0 && !matches!(decoded.container.as_str(), "mp1" | "mp2" | "mp3" | "aac") {
        repairs.add(format!("left out an ID3 tag of {id3_length} bytes before the recording"));
    }
    Ok(Decoded { repaired: repairs.text(), ..decoded })
}

/// [`decode_within`] the limit where no recipe says another, for samples that keep their rate.
pub fn decode(bytes: &[u8], channel: Channel, samples: &mut Vec<f32>) -> Result<Decoded> {
    decode_within(bytes, channel, Budget::new(Budget::DEFAULT_LIMIT, SampleRate(0)), samples)
}

/// True when the ending of the name is one of [`EXTENSIONS`], in any case.
pub fn looks_like_recording(path: &Path) -> bool {
    let Some(extension) = path.extension().and_then(|extension| extension.to_str()) else {
        return false;
    };
    EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(extension))
}

/// What was mended on the way.
#[derive(Debug, Default)]
struct Repairs(Vec<String>);

impl Repairs {
    fn add(&mut self, note: String) {
        self.0.push(note);
    }

    fn text(&self) -> Option<String> {
        (!self.0.is_empty()).then(|| self.0.join("; "))
    }
}

/// Length of the ID3v2 tags at the start, and what follows them.
fn behind_id3(bytes: &[u8]) -> (usize, &[u8]) {
    let mut at = 0;
    while let Some(&[b'I', b'D', b'3', major, _, flags, a, b, c, d]) =
        bytes.get(at..).and_then(|rest| rest.first_chunk())
        && major < 0xFF
        && [a, b, c, d].iter().all(|byte| *byte < 0x80)
    {
        let length = [a, b, c, d].iter().fold(0usize, |length, &byte| length << 7 | usize::from(byte));
        let footer = if flags & 0x10 != 0 { 10 } else { 0 };
        at += 10 + length + footer;
    }
    // A tag that is longer than its file is none.
    bytes.get(at..).filter(|rest| !rest.is_empty()).map_or((0, bytes), |rest| (at, rest))
}

fn check_rate(rate: u32) -> Result<()> {
    if (LOWEST_RATE..=HIGHEST_RATE).contains(&rate) {
        return Ok(());
    }
    Err(Error::recording(format!("sample rate {rate} Hz, from {LOWEST_RATE} to {HIGHEST_RATE} Hz can be read")))
}

fn check_channels(n_channels: usize) -> Result<()> {
    if (1..=MAX_CHANNELS).contains(&n_channels) {
        return Ok(());
    }
    Err(Error::recording(format!("{n_channels} channels, from 1 to {MAX_CHANNELS} can be read")))
}

/// Names the first sample that no later stage could use.
fn check_usable(samples: &[f32]) -> Result<()> {
    // NaN compares as false.
    let usable = |sample: &f32| sample.abs() <= MAX_MAGNITUDE;
    match samples.iter().position(|sample| !usable(sample)) {
        Some(index) if samples[index].is_finite() => {
            let value = samples[index];
            Err(Error::recording(format!(
                "sample {index} is {value:e}, magnitudes up to {MAX_MAGNITUDE:e} can be used"
            )))
        }
        Some(index) => Err(Error::recording(format!("sample {index} is not finite"))),
        None => Ok(()),
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|b| u16::from_le_bytes(*b))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|b| u32::from_le_bytes(*b))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|b| u64::from_le_bytes(*b))
}
