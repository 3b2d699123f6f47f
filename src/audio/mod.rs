//! Opens recordings: any container and codec to mono samples, their levels, and a change of sample rate.

mod container;
mod dot;
mod kaiser;
pub mod levels;
pub mod resample;
mod walk;
mod wav;
mod write;

use std::path::Path;

pub use levels::{Levels, is_silent, levels};
pub use resample::Resampler;
pub use write::write_wav;

use crate::error::{Error, Result};
use crate::units::SampleRate;

/// Endings of file names, lower case and without the dot, that count as recordings when a folder is scanned.
pub const EXTENSIONS: &[&str] = &[
    "wav", "wave", "rf64", "bwf", "aif", "aiff", "aifc", "caf", "flac", "mp3", "mp2", "ogg", "oga", "m4a", "mp4",
    "aac", "mka", "webm",
];

/// What came out of one recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// Mono: mean over the channels; full scale is 1. At least one sample, all finite.
    pub samples: Vec<f32>,
    pub sample_rate: SampleRate,
    /// Channels in the file, before the mean.
    pub n_channels: u16,
    /// Bits of a sample in the file; unknown for most lossy codecs.
    pub bits_per_sample: Option<u16>,
    /// By content, not by name: `wav`, `aiff`, `flac`, `mp3`, `ogg`, `mp4`...
    pub container: String,
    /// `pcm_s16`, `pcm_f32`, `flac`, `vorbis`...
    pub codec: String,
    /// The library that read it: `hound` or `symphonia`.
    pub decoder: &'static str,
    /// What was mended, such as data cut short.
    pub repaired: Option<String>,
}

/// Decodes one recording; the content decides how, never a name.
///
/// Errors: kind `Recording` with the reason: unknown format, no samples, samples that are not finite.
/// Never panics and never allocates what a header merely declares.
/// Proof: `every_dialect_decodes_to_the_same_tone`, `no_byte_string_panics`.
pub fn decode(bytes: &[u8]) -> Result<Decoded> {
    if bytes.is_empty() {
        return Err(Error::recording("file is empty"));
    }
    wav::decode(bytes).unwrap_or_else(|| container::decode(bytes))
}

/// Reads the file and decodes it; errors name the path.
pub fn decode_file(path: &Path) -> Result<Decoded> {
    let bytes =
        std::fs::read(path).map_err(|error| Error::recording("cannot read recording").because(error).at(path))?;
    decode(&bytes).map_err(|error| error.at(path))
}

/// True when the ending of the name is one of [`EXTENSIONS`], in any case.
pub fn looks_like_recording(path: &Path) -> bool {
    let Some(extension) = path.extension().and_then(|extension| extension.to_str()) else {
        return false;
    };
    EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(extension))
}

/// Names the first sample that no later stage could use.
fn first_not_finite(samples: &[f32]) -> Result<()> {
    match samples.iter().position(|sample| !sample.is_finite()) {
        Some(index) => Err(Error::recording(format!("sample {index} is not finite"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::units::Seed;

    /// File, container, codec, decoder, and the largest error against the tone that its codec explains.
    const DIALECTS: &[(&str, &str, &str, &str, f32)] = &[
        ("pcm_u8.wav", "wav", "pcm_u8", "hound", 1e-2),
        ("pcm_s16.wav", "wav", "pcm_s16", "hound", 4e-5),
        ("pcm_s24.wav", "wav", "pcm_s24", "hound", 3e-7),
        ("pcm_s32.wav", "wav", "pcm_s32", "hound", 1e-7),
        ("pcm_f32.wav", "wav", "pcm_f32", "hound", 1e-7),
        ("pcm_f64.wav", "wav", "pcm_f64le", "symphonia", 1e-7),
        ("stereo_s16.wav", "wav", "pcm_s16", "hound", 4e-5),
        ("extensible_s24_stereo.wav", "wav", "pcm_s24", "hound", 3e-7),
        ("foreign_chunks.wav", "wav", "pcm_s16", "hound", 4e-5),
        ("no_pad_byte.wav", "wav", "pcm_s16", "hound", 4e-5),
        ("long_rf64.wav", "wav", "pcm_s16", "hound", 4e-5),
        ("unfinished.wav", "wav", "pcm_s16", "hound", 4e-5),
        ("cut_short.wav", "wav", "pcm_s16", "hound", 4e-5),
        ("aiff_named.wav", "aiff", "pcm_s16be", "symphonia", 4e-5),
        ("big_endian.aiff", "aiff", "pcm_s16be", "symphonia", 4e-5),
        ("core_audio.caf", "caf", "pcm_s16be", "symphonia", 4e-5),
        ("lossless.flac", "flac", "flac", "symphonia", 4e-5),
        ("a_law.wav", "wav", "pcm_alaw", "symphonia", 2e-2),
        ("mu_law.wav", "wav", "pcm_mulaw", "symphonia", 2e-2),
        ("vorbis.ogg", "ogg", "vorbis", "symphonia", 6e-2),
    ];

    fn sample_path(name: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples").join(name)
    }

    fn tone(i: usize) -> f32 {
        (0.5 * (std::f64::consts::TAU * 440.0 * i as f64 / 8000.0).sin()) as f32
    }

    #[test]
    fn every_dialect_decodes_to_the_same_tone() {
        for &(name, container, codec, decoder, tolerance) in DIALECTS {
            let decoded = decode_file(&sample_path(name)).unwrap();
            let found = (decoded.container.as_str(), decoded.codec.as_str(), decoded.decoder);
            assert_eq!(found, (container, codec, decoder), "{name}");
            assert_eq!(decoded.sample_rate, SampleRate(8000), "{name}");
            assert_eq!(decoded.n_channels, if name.contains("stereo") { 2 } else { 1 }, "{name}");
            assert_eq!(decoded.samples.len(), if name == "cut_short.wav" { 499 } else { 800 }, "{name}");
            let mended = name == "cut_short.wav" || name == "unfinished.wav";
            assert_eq!(decoded.repaired.is_some(), mended, "{name}: {:?}", decoded.repaired);
            for (i, &sample) in decoded.samples.iter().enumerate() {
                assert!((sample - tone(i)).abs() < tolerance, "{name}: sample {i} is {sample}, not {}", tone(i));
            }
        }
    }

    #[test]
    fn silent_mpeg_frames_decode_as_mp3() {
        // MPEG-1 layer III, 32 kbit/s, 44.1 kHz, mono: a frame of zeros after its header is silence.
        let mut frame = [0u8; 104];
        frame[..4].copy_from_slice(&[0xFF, 0xFB, 0x10, 0xC4]);
        let decoded = decode(&frame.repeat(20)).unwrap();
        assert_eq!((decoded.container.as_str(), decoded.codec.as_str()), ("mp3", "mp3"));
        assert_eq!((decoded.sample_rate, decoded.n_channels), (SampleRate(44_100), 1));
        assert!(decoded.samples.len() >= 18 * 1152 && decoded.samples.iter().all(|&sample| sample == 0.0));
    }

    #[test]
    fn bytes_that_are_no_recording_say_why() {
        let text = b"speaker,emotion\n1,calm\n".repeat(400);
        for (bytes, reason) in [
            (&b""[..], "file is empty"),
            (b"RIFF", "not a recording in a known format"),
            (&text, "not a recording in a known format"),
            (&[0; 5000], "not a recording in a known format"),
        ] {
            let error = decode(bytes).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Recording);
            assert!(error.reason().starts_with(reason), "{error}");
        }
    }

    #[test]
    fn errors_of_a_file_name_its_path() {
        let error = decode_file(&sample_path("README.md")).unwrap_err();
        assert!(error.to_string().contains("README.md"), "{error}");
        let error = decode_file(&sample_path("not_there.wav")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Recording);
        assert!(error.to_string().contains("not_there.wav"), "{error}");
    }

    #[test]
    fn data_cut_short_is_mended_and_said() {
        for name in ["pcm_s16.wav", "pcm_f64.wav", "a_law.wav", "aiff_named.wav", "big_endian.aiff"] {
            let bytes = std::fs::read(sample_path(name)).unwrap();
            let decoded = decode(&bytes[..bytes.len() * 3 / 4]).unwrap();
            assert!((500..600).contains(&decoded.samples.len()), "{name}: {} samples", decoded.samples.len());
            assert!(decoded.repaired.is_some_and(|note| note.starts_with("data cut short")), "{name}");
            assert!(decoded.samples.iter().enumerate().all(|(i, x)| (x - tone(i)).abs() < 2e-2), "{name}");
        }
    }

    #[test]
    fn no_part_of_a_recording_passes_for_the_whole() {
        for &(name, ..) in DIALECTS {
            let bytes = std::fs::read(sample_path(name)).unwrap();
            for sixteenths in 1..14 {
                if let Ok(part) = decode(&bytes[..bytes.len() * sixteenths / 16]) {
                    assert!(part.samples.len() == 800 || part.repaired.is_some(), "{name}, {sixteenths}/16");
                }
            }
        }
    }

    #[test]
    fn declared_sizes_are_not_allocated() {
        let mut bytes = std::fs::read(sample_path("core_audio.caf")).unwrap();
        // Frames per packet of the `desc` chunk: a billion.
        assert_eq!(bytes[40..44], [0, 0, 0, 1]);
        bytes[40] = 0x40;
        assert!(decode(&bytes).unwrap_err().reason().starts_with("packets of 1073741825 frames"));
    }

    #[test]
    fn no_byte_string_panics() {
        for (file, &(name, ..)) in DIALECTS.iter().enumerate() {
            let original = std::fs::read(sample_path(name)).unwrap();
            for round in 0..200u64 {
                let seed = Seed(9).derive("mutation", &[&[file as u8], &round.to_le_bytes()]);
                let mut bytes = original.clone();
                let n_changes = 1 + seed.below(0, 6);
                for change in 0..n_changes {
                    // Headers are where lengths and counts lie.
                    let reach = if seed.below(10 + change, 4) == 0 { bytes.len() } else { bytes.len().min(120) };
                    let at = seed.below(20 + change, reach as u64) as usize;
                    bytes[at] = [0x00, 0xFF, 0x7F, 0x80, 0x01, seed.bits(30 + change) as u8]
                        [seed.below(40 + change, 6) as usize];
                }
                if round % 3 == 0 {
                    bytes.truncate(seed.below(50, bytes.len() as u64) as usize);
                }
                match decode(&bytes) {
                    Ok(decoded) => {
                        assert!(!decoded.samples.is_empty() && decoded.samples.iter().all(|x| x.is_finite()));
                        assert!(decoded.sample_rate.0 > 0 && decoded.n_channels > 0);
                    }
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Recording);
                        assert!(!error.reason().contains("decoder broke"), "{name}, round {round}: a decoder panicked");
                    }
                }
            }
        }
    }

    #[test]
    fn recordings_are_recognised_by_the_ending_in_any_case() {
        for name in ["a.wav", "b/C.WAV", "d.Flac", "e.x.aiff"] {
            assert!(looks_like_recording(Path::new(name)), "{name}");
        }
        for name in ["wav", "a.txt", "a.wav.part", ".wav", "a."] {
            assert!(!looks_like_recording(Path::new(name)), "{name}");
        }
    }
}
