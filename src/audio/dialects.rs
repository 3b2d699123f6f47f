//! Every container, codec and defect of `tests/samples`, decoded.

use std::path::{Path, PathBuf};

use super::*;
use crate::error::ErrorKind;
use crate::units::Bytes;

#[path = "../../examples/mutate.rs"]
mod mutate;

/// A lossless or nearly lossless sample of 800 frames of the tone.
struct Dialect {
    name: &'static str,
    container: &'static str,
    codec: &'static str,
    /// Largest error against the tone that its codec explains.
    tolerance: f32,
    repaired: Option<&'static str>,
}

const fn dialect(name: &'static str, container: &'static str, codec: &'static str, tolerance: f32) -> Dialect {
    Dialect { name, container, codec, tolerance, repaired: None }
}

const fn mended(name: &'static str, repaired: &'static str) -> Dialect {
    Dialect { repaired: Some(repaired), ..dialect(name, "wav", "pcm_s16", 4e-5) }
}

const DIALECTS: &[Dialect] = &[
    dialect("pcm_u8.wav", "wav", "pcm_u8", 1e-2),
    dialect("pcm_s16.wav", "wav", "pcm_s16", 4e-5),
    dialect("pcm_s24.wav", "wav", "pcm_s24", 3e-7),
    dialect("pcm_s32.wav", "wav", "pcm_s32", 1e-7),
    dialect("pcm_f32.wav", "wav", "pcm_f32", 1e-7),
    dialect("pcm_f64.wav", "wav", "pcm_f64", 1e-7),
    dialect("a_law.wav", "wav", "pcm_alaw", 2e-2),
    dialect("mu_law.wav", "wav", "pcm_mulaw", 2e-2),
    dialect("ms_adpcm.wav", "wav", "adpcm_ms", 3e-2),
    dialect("ima_adpcm.wav", "wav", "adpcm_ima_wav", 5e-2),
    dialect("stereo_s16.wav", "wav", "pcm_s16", 4e-5),
    dialect("six_channels_s16.wav", "wav", "pcm_s16", 4e-5),
    dialect("extensible_s24_stereo.wav", "wav", "pcm_s24", 3e-7),
    dialect("foreign_chunks.wav", "wav", "pcm_s16", 4e-5),
    dialect("long_rf64.wav", "wav", "pcm_s16", 4e-5),
    dialect("bw64.wav", "wav", "pcm_s16", 4e-5),
    dialect("wave64.w64", "wav", "pcm_s16", 4e-5),
    dialect("aiff_named.wav", "aiff", "pcm_s16be", 4e-5),
    dialect("big_endian.aiff", "aiff", "pcm_s16be", 4e-5),
    dialect("sowt.aifc", "aiff", "pcm_s16le", 4e-5),
    dialect("fl32.aifc", "aiff", "pcm_f32be", 1e-7),
    dialect("core_audio.caf", "caf", "pcm_s16be", 4e-5),
    dialect("lossless.flac", "flac", "flac", 4e-5),
    dialect("alac.m4a", "mp4", "alac", 4e-5),
    dialect("vorbis.ogg", "ogg", "vorbis", 6e-2),
    dialect("mpeg_layer_3.mp3", "mp3", "mp3", 6e-2),
    dialect("mp3_inside.wav", "wav", "mp3", 6e-2),
    mended("no_pad_byte.wav", "chunk `LIST` of odd length 5 without its pad byte"),
    mended("short_format.wav", "no bits per sample in the header, 16 follow from the block align"),
    mended("two_data_chunks.wav", "joined 2 data chunks"),
    mended("id3_before.wav", "left out an ID3 tag of 25 bytes before the recording"),
    mended("streamed.wav", "data length 4294967295 in the header, took the 800 frames that are there"),
    mended("unfinished.wav", "data length 0 in the header, took the 800 frames that are there"),
    mended("cut_short.wav", "data cut short: header declares 800 frames, 499 are there"),
];

/// Codecs that delay or fill up the tone: file, container, codec, rate, and the number of frames.
const LOSSY: &[(&str, &str, &str, u32, usize)] = &[
    ("speech.opus", "ogg", "opus", 48_000, 4_800),
    ("music.opus", "ogg", "opus", 48_000, 4_800),
    ("six_channels.opus", "ogg", "opus", 48_000, 4_800),
    ("opus.webm", "matroska", "opus", 48_000, 5_448),
    ("vorbis.mka", "matroska", "vorbis", 8_000, 1_024),
    ("aac.m4a", "mp4", "aac", 8_000, 2_048),
    ("adts.aac", "aac", "aac", 8_000, 2_048),
    ("mpeg_layer_2.mp2", "mp2", "mp2", 16_000, 2_304),
];

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples").join(name)
}

fn bytes_of(name: &str) -> Vec<u8> {
    std::fs::read(sample(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn tone(i: usize) -> f32 {
    (0.5 * (std::f64::consts::TAU * 440.0 * i as f64 / 8000.0).sin()) as f32
}

/// What the bytes are, and their samples.
fn decoded(bytes: &[u8], channel: Channel) -> Result<(Decoded, Vec<f32>)> {
    // What lay in the buffer before must not matter.
    let mut samples = vec![f32::NAN; 7];
    decode(bytes, channel, &mut samples).map(|decoded| (decoded, samples))
}

fn reason(bytes: &[u8], channel: Channel) -> String {
    let error = decoded(bytes, channel).expect_err("not readable");
    assert_eq!(error.kind(), ErrorKind::Recording);
    error.reason()
}

fn n_channels(name: &str) -> u16 {
    match name {
        "music.opus" => 2,
        name if name.contains("stereo") => 2,
        name if name.contains("six") => 6,
        _ => 1,
    }
}

#[test]
fn every_dialect_decodes_to_the_same_tone() {
    for dialect in DIALECTS {
        let name = dialect.name;
        let (found, samples) = decoded(&bytes_of(name), Channel::Mix).expect("readable");
        assert_eq!((found.container.as_str(), found.codec.as_str()), (dialect.container, dialect.codec), "{name}");
        assert_eq!((found.sample_rate, found.n_channels), (SampleRate(8000), n_channels(name)), "{name}");
        let own = dialect.container == "wav" && dialect.codec.starts_with("pcm");
        assert_eq!(found.decoder, if own { "sermill" } else { "symphonia" }, "{name}");
        assert_eq!(found.repaired.as_deref(), dialect.repaired, "{name}");
        assert_eq!(samples.len(), if name == "cut_short.wav" { 499 } else { 800 }, "{name}");
        for (i, &value) in samples.iter().enumerate() {
            assert!((value - tone(i)).abs() < dialect.tolerance, "{name}: sample {i} is {value}, not {}", tone(i));
        }
    }
}

#[test]
fn lossy_codecs_keep_rate_length_and_level() {
    for &(name, container, codec, rate, n_frames) in LOSSY {
        let (found, samples) = decoded(&bytes_of(name), Channel::Mix).expect("readable");
        assert_eq!((found.container.as_str(), found.codec.as_str()), (container, codec), "{name}");
        assert_eq!(found.decoder, if codec == "opus" { "opus-pure" } else { "symphonia" }, "{name}");
        assert_eq!((found.sample_rate, found.n_channels), (SampleRate(rate), n_channels(name)), "{name}");
        assert_eq!((samples.len(), found.bits_per_sample, found.repaired), (n_frames, None, None), "{name}");
        // The energy of 0.1 s of the tone, however much silence stands around it.
        let energy = samples.iter().map(|value| f64::from(value * value)).sum::<f64>() / f64::from(rate);
        assert!((energy / 0.0125 - 1.0).abs() < 0.15, "{name}: energy {energy}");
    }
}

#[test]
fn opus_at_48_khz_is_the_tone_in_time() {
    // SILK, CELT stereo and CELT surround; what the encoder changed is far below a shift of one period.
    for name in ["speech.opus", "music.opus", "six_channels.opus"] {
        let (_, samples) = decoded(&bytes_of(name), Channel::Mix).expect("readable");
        let expected = |i: usize| 0.5 * (std::f64::consts::TAU * 440.0 * i as f64 / 48_000.0).sin();
        let (mut product, mut own, mut other) = (0.0, 0.0, 0.0);
        for (i, &value) in samples.iter().enumerate() {
            product += f64::from(value) * expected(i);
            own += f64::from(value).powi(2);
            other += expected(i).powi(2);
        }
        let correlation = product / (own * other).sqrt();
        assert!(correlation > 0.97, "{name}: {correlation}");
    }
}

#[test]
fn one_channel_can_be_chosen_and_must_be_there() {
    let gains = |name: &str| if name.contains("six") { vec![1.5, 0.5, 1.75, 0.25, 1.25, 0.75] } else { vec![1.6, 0.4] };
    for name in ["stereo_s16.wav", "extensible_s24_stereo.wav", "six_channels_s16.wav"] {
        for (only, gain) in gains(name).into_iter().enumerate() {
            let (found, samples) = decoded(&bytes_of(name), Channel::Only(only as u16)).expect("readable");
            assert_eq!(found.n_channels, n_channels(name));
            assert!(
                samples.iter().enumerate().all(|(i, value)| (value - gain * tone(i)).abs() < 4e-5),
                "{name} {only}"
            );
        }
    }
    let energy =
        |channel| decoded(&bytes_of("music.opus"), channel).expect("readable").1.iter().map(|x| x * x).sum::<f32>();
    let ratio = energy(Channel::Only(0)) / energy(Channel::Only(1));
    assert!((ratio / 16.0 - 1.0).abs() < 0.2, "left is four times the right: {ratio}");
    for name in ["stereo_s16.wav", "music.opus"] {
        let refused = "channel 2 (counted from 0) is asked for, there are 2";
        assert_eq!(reason(&bytes_of(name), Channel::Only(2)), refused);
    }
    assert!(decoded(&bytes_of("lossless.flac"), Channel::Only(0)).is_ok(), "mono has a first channel");
}

#[test]
fn an_id3_tag_before_any_recording_is_passed_over() {
    let tag = [b"ID3\x04\0\0\0\0\x02\x00".as_slice(), &[b'x'; 256]].concat();
    for name in ["lossless.flac", "big_endian.aiff", "mpeg_layer_3.mp3", "adts.aac", "wave64.w64"] {
        let bytes = [tag.clone(), bytes_of(name)].concat();
        let (found, samples) = decoded(&bytes, Channel::Mix).expect("readable");
        assert_eq!(samples, decoded(&bytes_of(name), Channel::Mix).expect("readable").1, "{name}");
        let said = found.repaired.is_some_and(|note| note.contains("ID3 tag of 266 bytes"));
        assert_eq!(said, !matches!(found.container.as_str(), "mp3" | "aac"), "{name}");
    }
}

#[test]
fn bytes_that_are_no_recording_say_why() {
    let text = b"speaker,emotion\n1,calm\n".repeat(400);
    for (bytes, words) in [
        (&b""[..], "file is empty"),
        (b"RIFF", "not a recording in a known format"),
        (b"ID3\x03\0\0\0\0\0\x7f", "not a recording in a known format"),
        (b"OggS\0\x02\0\0\0\0\0\0\0\0\0\0\0\0", "its head cannot be read"),
        (&text, "not a recording in a known format"),
        (&[0; 5000], "not a recording in a known format"),
        (&bytes_of("gsm.wav"), "wav codec 0x0031 (GSM 6.10) cannot be read"),
    ] {
        let reason = reason(bytes, Channel::Mix);
        assert!(reason.starts_with(words), "{reason}");
    }
}

#[test]
fn opus_that_cannot_be_decoded_says_opus() {
    let original = bytes_of("six_channels.opus");
    let head = original.windows(8).position(|eight| eight == b"OpusHead").expect("a head");
    for (at, value, words) in [(18, 255, "Opus: cannot decode this stream"), (21, 3, "Opus: 6 channels in an unusual")]
    {
        let mut bytes = original.clone();
        bytes[head + at] = value;
        let reason = opus::OpusStream::new(&bytes[head..head + 27]).err().expect("not readable").reason();
        assert!(reason.starts_with(words), "{reason}");
    }
    let reason = opus::OpusStream::new(b"OpusHead").err().expect("not readable").reason();
    assert_eq!(reason, "Opus: header of 8 bytes, at least 19 are needed");
}

#[test]
fn no_recording_takes_more_than_its_budget() {
    for dialect in DIALECTS {
        let (bytes, mut samples) = (bytes_of(dialect.name), Vec::new());
        let mut within = |limit: u64| {
            let budget = Budget::new(Bytes(limit), SampleRate(8_000));
            decode_within(&bytes, Channel::Mix, budget, &mut samples).map(|_| samples.len())
        };
        // Bytes of the file, and those of a copy that some need; 800 samples, and what fills the last packet, three times.
        within(2 * bytes.len() as u64 + 3 * 4 * (800 + 2_000))
            .unwrap_or_else(|error| panic!("{}: {error}", dialect.name));
        for limit in [0, 100, bytes.len() as u64, bytes.len() as u64 + 4 * 400] {
            let error = within(limit).expect_err(dialect.name);
            assert_eq!(error.kind(), ErrorKind::Recording);
            assert!(error.reason().contains("raise [ingest] max_recording_mb"), "{}: {error}", dialect.name);
        }
    }
}

#[test]
fn data_cut_short_is_mended_and_said() {
    for name in ["pcm_s16.wav", "pcm_f64.wav", "a_law.wav", "aiff_named.wav", "big_endian.aiff", "wave64.w64"] {
        let bytes = bytes_of(name);
        let (found, samples) = decoded(&bytes[..bytes.len() * 3 / 4], Channel::Mix).expect("readable");
        assert!((500..600).contains(&samples.len()), "{name}: {} samples", samples.len());
        assert!(found.repaired.is_some_and(|note| note.starts_with("data cut short")), "{name}");
        assert!(samples.iter().enumerate().all(|(i, x)| (x - tone(i)).abs() < 2e-2), "{name}");
    }
}

#[test]
fn no_part_of_a_recording_passes_for_the_whole() {
    // Raw MPEG audio and AAC without a table declare no length: a part of them is a whole.
    let undeclared = ["adts.aac", "mpeg_layer_2.mp2", "streamed.wav", "unfinished.wav"];
    let names = DIALECTS.iter().map(|dialect| dialect.name).chain(LOSSY.iter().map(|lossy| lossy.0));
    for name in names.filter(|name| !undeclared.contains(name)) {
        let bytes = bytes_of(name);
        let whole = decoded(&bytes, Channel::Mix).expect("readable");
        for sixteenths in 1..14 {
            if let Ok((part, samples)) = decoded(&bytes[..bytes.len() * sixteenths / 16], Channel::Mix) {
                let said = part.repaired.is_some() && part.repaired != whole.0.repaired;
                assert!(samples.len() == whole.1.len() || said, "{name}, {sixteenths}/16");
            }
        }
    }
}

#[test]
fn declared_sizes_are_not_allocated() {
    let mut bytes = bytes_of("core_audio.caf");
    // Frames per packet of the `desc` chunk: a billion.
    assert_eq!(bytes[40..44], [0, 0, 0, 1]);
    bytes[40] = 0x40;
    let reason = reason(&bytes, Channel::Mix);
    assert!(reason.starts_with("packets of 1073741825 samples in the header"), "{reason}");
}

#[test]
fn no_mutation_of_a_sample_panics() {
    let contents: Vec<Vec<u8>> = mutate::samples().iter().map(|file| std::fs::read(file).expect("a sample")).collect();
    for (idx, original) in contents.iter().enumerate() {
        for round in 0..16 {
            let seed = (1 << 32) + (idx * 16 + round) as u64;
            let bytes = mutate::mutated(original, &contents[(idx + round + 1) % contents.len()], seed);
            match decoded(&bytes, Channel::Mix) {
                Ok((found, samples)) => {
                    assert!(!samples.is_empty() && samples.iter().all(|x| x.abs() <= MAX_MAGNITUDE));
                    assert!((LOWEST_RATE..=HIGHEST_RATE).contains(&found.sample_rate.0) && found.n_channels > 0);
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Recording);
                    let name = mutate::samples()[idx].display().to_string();
                    assert!(!error.reason().contains("panicked"), "{name}, round {round}");
                }
            }
        }
    }
}

#[test]
fn recordings_are_recognised_by_the_ending_in_any_case() {
    for name in ["a.wav", "b/C.WAV", "d.Flac", "e.x.aiff", "f.OPUS"] {
        assert!(looks_like_recording(Path::new(name)), "{name}");
    }
    for name in ["wav", "a.txt", "a.wav.part", ".wav", "a."] {
        assert!(!looks_like_recording(Path::new(name)), "{name}");
    }
    assert!(mutate::samples().iter().all(|file| looks_like_recording(file)));
}
