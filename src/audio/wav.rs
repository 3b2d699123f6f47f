//! PCM and float WAV: hound reads the format, the data bytes are converted in bulk
//! (its sample iterator is more than ten times slower).

use std::io::Cursor;

use hound::{SampleFormat, WavReader};

use super::{Decoded, first_not_finite};
use crate::error::{Error, Result};
use crate::units::SampleRate;

/// Length field of a writer that did not know the length, as pipes leave it.
const UNKNOWN_LENGTH: u64 = 0xFFFF_FFFF;

/// What a walk over the chunks finds: the `fmt ` chunk whole and where the data lies.
struct Chunks<'a> {
    format: &'a [u8],
    data: &'a [u8],
    /// Bytes of data according to the header.
    declared: u64,
    /// The file was closed before its lengths were written.
    unfinished: bool,
}

/// Decodes `bytes` if they are a WAV dialect that hound knows.
///
/// `None` means another container or codec (AIFF, float 64, A-law...), for the other decoder.
/// Errors: a RIFF/WAVE file without data, without samples, or with samples that are not finite.
pub(super) fn decode(bytes: &[u8]) -> Option<Result<Decoded>> {
    let tag = bytes.get(..4)?;
    if !(tag == b"RIFF" || tag == b"RF64" || tag == b"BW64") || bytes.get(8..12)? != b"WAVE" {
        return None;
    }
    let chunks = match walk(bytes) {
        Ok(chunks) => chunks,
        Err(error) => return Some(Err(error)),
    };
    // hound sees the format chunk alone: its own walk stumbles over odd chunk lengths and refuses
    // data lengths that do not fit, which are mended here instead.
    let mut header = b"RIFF\0\0\0\0WAVEfmt ".to_vec();
    header.extend_from_slice(&(chunks.format.len() as u32).to_le_bytes());
    header.extend_from_slice(chunks.format);
    header.extend_from_slice(b"data\0\0\0\0");
    let spec = WavReader::new(Cursor::new(header)).ok()?.spec();
    let block = usize::from(u16_at(chunks.format, 12)?);
    let width = block / usize::from(spec.channels);
    if usize::from(spec.bits_per_sample).div_ceil(8) != width || block % width != 0 {
        return None;
    }
    let codec = match (spec.sample_format, width) {
        (SampleFormat::Int, 1) => "pcm_u8",
        (SampleFormat::Int, 2) => "pcm_s16",
        (SampleFormat::Int, 3) => "pcm_s24",
        (SampleFormat::Int, 4) => "pcm_s32",
        (SampleFormat::Float, 4) => "pcm_f32",
        _ => return None,
    };
    Some(convert(&chunks, spec, block, codec))
}

fn convert(chunks: &Chunks<'_>, spec: hound::WavSpec, block: usize, codec: &str) -> Result<Decoded> {
    let n_channels = usize::from(spec.channels);
    let n_frames = chunks.data.len() / block;
    if spec.sample_rate == 0 {
        return Err(Error::recording("sample rate 0 in the header"));
    }
    if n_frames == 0 {
        return Err(Error::recording("no samples"));
    }
    let data = &chunks.data[..n_frames * block];
    let samples = match codec {
        "pcm_u8" => mix(data, n_channels, 128.0, |b: [u8; 1]| f32::from(b[0]) - 128.0),
        "pcm_s16" => mix(data, n_channels, 32768.0, |b| f32::from(i16::from_le_bytes(b))),
        "pcm_s24" => {
            mix(data, n_channels, 2_147_483_648.0, |b: [u8; 3]| i32::from_le_bytes([0, b[0], b[1], b[2]]) as f32)
        }
        "pcm_s32" => mix(data, n_channels, 2_147_483_648.0, |b| i32::from_le_bytes(b) as f32),
        _ => mix(data, n_channels, 1.0, f32::from_le_bytes),
    };
    if codec == "pcm_f32" {
        first_not_finite(&samples)?;
    }
    Ok(Decoded {
        samples,
        sample_rate: SampleRate(spec.sample_rate),
        n_channels: spec.channels,
        bits_per_sample: Some(spec.bits_per_sample),
        container: "wav".into(),
        codec: codec.into(),
        decoder: "hound",
        repaired: repaired(chunks, n_frames, block),
    })
}

/// Mean over the channels of interleaved samples of `WIDTH` bytes, divided by `full_scale`.
fn mix<const WIDTH: usize>(
    data: &[u8],
    n_channels: usize,
    full_scale: f32,
    value: impl Fn([u8; WIDTH]) -> f32,
) -> Vec<f32> {
    let scale = 1.0 / full_scale;
    let (values, _) = data.as_chunks::<WIDTH>();
    match n_channels {
        1 => values.iter().map(|&bytes| value(bytes) * scale).collect(),
        2 => {
            let (pairs, _) = values.as_chunks::<2>();
            pairs.iter().map(|&[left, right]| (value(left) * scale + value(right) * scale) * 0.5).collect()
        }
        _ => {
            let scale = f64::from(scale) / n_channels as f64;
            let frame = |frame: &[[u8; WIDTH]]| frame.iter().map(|&bytes| f64::from(value(bytes))).sum::<f64>();
            values.chunks_exact(n_channels).map(|values| (frame(values) * scale) as f32).collect()
        }
    }
}

fn repaired(chunks: &Chunks<'_>, n_frames: usize, block: usize) -> Option<String> {
    let declared_frames = chunks.declared / block as u64;
    if chunks.unfinished {
        Some(format!("header without a data length, took the {n_frames} frames that follow it"))
    } else if declared_frames > n_frames as u64 {
        Some(format!("data cut short: header declares {declared_frames} frames, {n_frames} are there"))
    } else if !chunks.declared.is_multiple_of(block as u64) {
        Some(format!("data length {} is not a whole number of frames, left out the rest", chunks.declared))
    } else {
        None
    }
}

/// Finds `fmt ` and `data`, skipping foreign chunks with or without the pad byte after odd lengths.
fn walk(bytes: &[u8]) -> Result<Chunks<'_>> {
    let riff_length = u32_at(bytes, 4).unwrap_or(0);
    let mut format = None;
    let mut long_length = None;
    let mut at = 12usize;
    while let (Some(tag), Some(length)) = (bytes.get(at..at + 4), u32_at(bytes, at + 4)) {
        let start = at + 8;
        let body = &bytes[start..];
        let end = (length as usize).min(body.len());
        match tag {
            b"fmt " => format = Some(&body[..end]),
            b"ds64" => long_length = u32_at(body, 8).zip(u32_at(body, 12)).map(|(low, high)| join(low, high)),
            b"data" => {
                let format =
                    format.ok_or_else(|| Error::recording("wav file without a format chunk before its data"))?;
                let declared = match (u64::from(length), long_length) {
                    (UNKNOWN_LENGTH, Some(long)) => long,
                    (length, _) => length,
                };
                let never_closed = length == 0 && (riff_length == 0 || riff_length as usize + 8 == start);
                let unfinished = never_closed || declared == UNKNOWN_LENGTH;
                let available = body.len() as u64;
                let used = if unfinished { available } else { declared.min(available) };
                return Ok(Chunks { format, data: &body[..used as usize], declared, unfinished });
            }
            _ => {}
        }
        at = start + end;
        // The pad byte is zero; a chunk name never starts with zero, so writers that forget it are read too.
        if length % 2 == 1 && bytes.get(at) == Some(&0) {
            at += 1;
        }
    }
    Err(Error::recording("wav header without data"))
}

fn join(low: u32, high: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|b| u16::from_le_bytes(*b))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|b| u32::from_le_bytes(*b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wav(format_tag: u16, n_channels: u16, bits: u16, data: &[u8]) -> Vec<u8> {
        let block = n_channels * bits / 8;
        let mut bytes = b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0".to_vec();
        bytes.extend_from_slice(&format_tag.to_le_bytes());
        bytes.extend_from_slice(&n_channels.to_le_bytes());
        bytes.extend_from_slice(&16_000u32.to_le_bytes());
        bytes.extend_from_slice(&(16_000 * u32::from(block)).to_le_bytes());
        bytes.extend_from_slice(&block.to_le_bytes());
        bytes.extend_from_slice(&bits.to_le_bytes());
        bytes.extend_from_slice(b"data");
        bytes.extend_from_slice(&(data.len() as u32).to_le_bytes());
        bytes.extend_from_slice(data);
        bytes
    }

    fn floats(values: &[f32]) -> Vec<u8> {
        wav(3, 1, 32, &values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>())
    }

    fn decoded(bytes: &[u8]) -> Decoded {
        decode(bytes).expect("a dialect of WAV").unwrap()
    }

    fn reason(bytes: &[u8]) -> String {
        decode(bytes).expect("a dialect of WAV").unwrap_err().reason()
    }

    #[test]
    fn integers_of_every_width_have_full_scale_one() {
        assert_eq!(decoded(&wav(1, 1, 8, &[0, 128, 255])).samples, [-1.0, 0.0, 127.0 / 128.0]);
        assert_eq!(decoded(&wav(1, 1, 16, &[0, 0x80, 0, 0, 0, 0x40])).samples, [-1.0, 0.0, 0.5]);
        assert_eq!(decoded(&wav(1, 1, 24, &[0, 0, 0x80, 0, 0, 0x40])).samples, [-1.0, 0.5]);
        assert_eq!(decoded(&wav(1, 1, 32, &[0, 0, 0, 0x80, 0, 0, 0, 0x40])).samples, [-1.0, 0.5]);
        assert_eq!(decoded(&floats(&[1.5, -0.25])).samples, [1.5, -0.25]);
    }

    #[test]
    fn channels_become_their_mean() {
        assert_eq!(decoded(&wav(1, 2, 16, &[0, 0x40, 0, 0xC0, 0, 0x40, 0, 0x20])).samples, [0.0, 0.375]);
        let four = decoded(&wav(1, 4, 16, &[0, 0x40, 0, 0x40, 0, 0, 0, 0]));
        assert_eq!((four.samples, four.n_channels), (vec![0.25], 4));
    }

    #[test]
    fn agrees_with_the_sample_iterator_of_hound() {
        let data: Vec<u8> = (0..4800).map(|i| crate::units::Seed(2).bits(i) as u8).collect();
        for bits in [8, 16, 24, 32] {
            let bytes = wav(1, 1, bits, &data);
            let full_scale = f64::from(bits - 1).exp2();
            let mut reader = WavReader::new(Cursor::new(&bytes)).unwrap();
            let expected: Vec<f32> =
                reader.samples::<i32>().map(|value| (f64::from(value.unwrap()) / full_scale) as f32).collect();
            assert_eq!(decoded(&bytes).samples, expected, "{bits} bits");
        }
    }

    #[test]
    fn data_shorter_than_declared_is_taken_as_far_as_it_goes() {
        let whole = wav(1, 2, 16, &[1; 400]);
        let cut = decoded(&whole[..whole.len() - 201]);
        assert_eq!(cut.samples.len(), 49);
        assert_eq!(cut.repaired.unwrap(), "data cut short: header declares 100 frames, 49 are there");
        assert_eq!(decoded(&whole).repaired, None);
    }

    #[test]
    fn a_header_that_declares_gigabytes_takes_what_is_there() {
        for declared in [0xFFFF_FFFFu32, 0x7FFF_FFF0] {
            let mut bytes = wav(1, 1, 16, &[7; 10]);
            bytes[40..44].copy_from_slice(&declared.to_le_bytes());
            let mended = decoded(&bytes);
            assert_eq!(mended.samples.len(), 5);
            assert!(mended.samples.capacity() < 1000 && mended.repaired.is_some());
        }
    }

    #[test]
    fn data_that_is_no_whole_number_of_frames_loses_the_rest() {
        let odd = decoded(&wav(1, 2, 16, &[1; 11]));
        assert_eq!(odd.samples.len(), 2);
        assert_eq!(odd.repaired.unwrap(), "data length 11 is not a whole number of frames, left out the rest");
    }

    #[test]
    fn recordings_without_samples_say_so() {
        let mut followed = wav(1, 1, 16, &[]);
        followed[4..8].copy_from_slice(&60u32.to_le_bytes());
        followed.extend_from_slice(b"LIST\x04\0\0\0INFO");
        for bytes in [wav(1, 1, 16, &[]), wav(1, 1, 16, &[1]), followed] {
            assert_eq!(reason(&bytes), "no samples");
        }
        let bytes = wav(1, 1, 16, &[1, 2]);
        assert_eq!(reason(&bytes[..36]), "wav header without data");
        assert_eq!(reason(&bytes[..30]), "wav header without data");
    }

    #[test]
    fn samples_that_are_not_finite_are_named() {
        assert_eq!(reason(&floats(&[0.0, 0.5, f32::NAN])), "sample 2 is not finite");
        assert_eq!(reason(&floats(&[0.0, f32::NEG_INFINITY])), "sample 1 is not finite");
    }

    #[test]
    fn sample_rate_zero_is_refused() {
        let mut bytes = wav(1, 1, 16, &[1, 2]);
        bytes[24..32].fill(0);
        assert_eq!(reason(&bytes), "sample rate 0 in the header");
    }

    #[test]
    fn other_containers_and_codecs_are_left_to_the_other_decoder() {
        assert!(decode(b"FORM\0\0\0\x10AIFFCOMM").is_none());
        assert!(decode(&wav(6, 1, 8, &[1, 2])).is_none(), "A-law");
        assert!(decode(&wav(3, 1, 64, &[0; 8])).is_none(), "float 64");
        assert!(decode(b"RIFF").is_none());
    }
}
