//! WAV by hand: what is read, what is mended, what is refused.

use std::io::Cursor;

use super::*;
use crate::units::Bytes;

fn chunk(tag: &[u8; 4], body: &[u8]) -> Vec<u8> {
    [tag.as_slice(), &(body.len() as u32).to_le_bytes(), body].concat()
}

fn format(tag: u16, n_channels: u16, bits: u16) -> Vec<u8> {
    let block = n_channels * bits / 8;
    let mut body = [tag.to_le_bytes(), n_channels.to_le_bytes()].concat();
    body.extend_from_slice(&16_000u32.to_le_bytes());
    body.extend_from_slice(&(16_000 * u32::from(block)).to_le_bytes());
    body.extend_from_slice(&[block.to_le_bytes(), bits.to_le_bytes()].concat());
    chunk(b"fmt ", &body)
}

fn riff(chunks: &[Vec<u8>]) -> Vec<u8> {
    let body = [b"WAVE".to_vec(), chunks.concat()].concat();
    chunk(b"RIFF", &body)
}

fn wav(tag: u16, n_channels: u16, bits: u16, data: &[u8]) -> Vec<u8> {
    riff(&[format(tag, n_channels, bits), chunk(b"data", data)])
}

fn floats(values: &[f32]) -> Vec<u8> {
    wav(3, 1, 32, &values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>())
}

/// Enough for what is tested here.
fn budget() -> Budget {
    Budget::new(Bytes(1 << 20), SampleRate(16_000))
}

/// Samples and repairs.
fn decoded(bytes: &[u8]) -> (Vec<f32>, Option<String>) {
    let (mut samples, mut repairs) = (Vec::new(), Repairs::default());
    decode(bytes, Channel::Mix, budget(), &mut repairs, &mut samples).expect("a dialect of WAV").unwrap();
    (samples, repairs.text())
}

fn reason(bytes: &[u8]) -> String {
    let decoded = decode(bytes, Channel::Mix, budget(), &mut Repairs::default(), &mut Vec::new());
    decoded.expect("a dialect of WAV").unwrap_err().reason()
}

#[test]
fn agrees_with_the_sample_iterator_of_hound() {
    let data: Vec<u8> = (0..4800).map(|i| crate::units::Seed(2).bits(i) as u8).collect();
    for bits in [8, 16, 24, 32] {
        let bytes = wav(1, 1, bits, &data);
        let full_scale = f64::from(bits - 1).exp2();
        let mut reader = hound::WavReader::new(Cursor::new(&bytes)).unwrap();
        let expected: Vec<f32> =
            reader.samples::<i32>().map(|value| (f64::from(value.unwrap()) / full_scale) as f32).collect();
        assert_eq!(decoded(&bytes), (expected, None), "{bits} bits");
    }
}

#[test]
fn data_shorter_than_declared_is_taken_as_far_as_it_goes() {
    let whole = wav(1, 2, 16, &[1; 400]);
    let (samples, repaired) = decoded(&whole[..whole.len() - 201]);
    assert_eq!(samples.len(), 49);
    assert_eq!(repaired.unwrap(), "data cut short: header declares 100 frames, 49 are there");
    assert_eq!(decoded(&whole).1, None);
}

#[test]
fn lengths_of_writers_into_pipes_take_what_is_there() {
    for declared in [0xFFFF_FFFFu32, 0x7FFF_FFFF, 0x7FFF_F000, 0x8000_0000, 0] {
        let mut bytes = wav(1, 1, 16, &[7; 10]);
        bytes[40..44].copy_from_slice(&declared.to_le_bytes());
        let (samples, repaired) = decoded(&bytes);
        assert_eq!(samples.len(), 5);
        assert!(samples.capacity() < 1000, "a length that is merely declared is not allocated");
        let note = format!("data length {declared} in the header, took the 5 frames that are there");
        assert_eq!(repaired, Some(note));
    }
}

#[test]
fn data_that_is_no_whole_number_of_frames_loses_the_rest() {
    let (samples, repaired) = decoded(&wav(1, 2, 16, &[1; 11]));
    assert_eq!(samples.len(), 2);
    assert_eq!(repaired.unwrap(), "data length 11 is not a whole number of frames, left out the rest");
}

#[test]
fn several_data_chunks_are_one_recording() {
    let parts = [[1u8, 0].as_slice(), &[], &[2, 0, 3, 0]];
    let mut chunks = vec![format(1, 1, 16)];
    chunks.extend(parts.iter().map(|part| chunk(b"data", part)));
    let (samples, repaired) = decoded(&riff(&chunks));
    assert_eq!(samples, [1.0, 2.0, 3.0].map(|value: f32| value / 32768.0));
    assert_eq!(repaired.unwrap(), "joined 2 data chunks");
}

#[test]
fn recordings_without_samples_say_so() {
    let followed = riff(&[format(1, 1, 16), chunk(b"data", &[]), chunk(b"LIST", b"INFO")]);
    for bytes in [wav(1, 1, 16, &[]), wav(1, 1, 16, &[1]), followed, wav(0x55, 1, 0, &[])] {
        assert_eq!(reason(&bytes), "no samples");
    }
    let bytes = wav(1, 1, 16, &[1, 2]);
    assert_eq!(reason(&bytes[..36]), "wav header without data");
    assert_eq!(reason(&bytes[..14]), "wav header without format and data");
    let backwards = riff(&[chunk(b"data", &[1, 2]), format(1, 1, 16)]);
    assert_eq!(reason(&backwards), "wav file without a format chunk before its data");
}

#[test]
fn samples_that_cannot_be_used_are_named_and_loud_ones_are_kept() {
    assert_eq!(reason(&floats(&[0.0, 0.5, f32::NAN])), "sample 2 is not finite");
    assert_eq!(reason(&floats(&[0.0, f32::NEG_INFINITY])), "sample 1 is not finite");
    assert_eq!(reason(&floats(&[-2e9])), "sample 0 is -2e9, magnitudes up to 1e9 can be used");
    assert_eq!(decoded(&floats(&[1.5, -40.0])).0, [1.5, -40.0]);
}

#[test]
fn rates_outside_the_limits_are_refused_with_value_and_limit() {
    let mut bytes = wav(1, 1, 16, &[1, 2]);
    for (rate, fits) in [(0u32, false), (3_999, false), (4_000, true), (384_000, true), (384_001, false)] {
        bytes[24..28].copy_from_slice(&rate.to_le_bytes());
        if fits {
            assert_eq!(decoded(&bytes).0.len(), 1, "{rate} Hz");
        } else {
            assert_eq!(reason(&bytes), format!("sample rate {rate} Hz, from 4000 to 384000 Hz can be read"));
        }
    }
}

#[test]
fn other_containers_are_left_to_the_other_decoder() {
    for bytes in [b"FORM\0\0\0\x10AIFFCOMM".as_slice(), b"RIFF", b"RIFF\0\0\0\0AVI LIST"] {
        assert!(decode(bytes, Channel::Mix, budget(), &mut Repairs::default(), &mut Vec::new()).is_none());
    }
}
