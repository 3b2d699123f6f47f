//! The `fmt ` chunk of a WAV file: what its samples are.

use super::pcm::Pcm;
use super::{Repairs, check_channels, u16_at, u32_at};
use crate::error::{Error, Result};

/// What stands in the data chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Pcm(Pcm),
    /// Microsoft or IMA ADPCM: blocks whose layout the `fmt ` chunk describes.
    Adpcm,
    /// A stream that describes itself: MPEG audio or FLAC.
    Stream,
}

/// Shape of the samples, mended where fields contradict each other.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct WavFormat {
    pub(super) coding: Coding,
    pub(super) n_channels: u16,
    pub(super) sample_rate: u32,
    /// Bytes from one frame to the next.
    pub(super) block: usize,
    pub(super) bits: u16,
}

const EXTENSIBLE: u16 = 0xFFFE;
/// Tails of the subformats that repeat a format tag: `KSDATAFORMAT_SUBTYPE_*`, and the same for Ambisonic B-format.
const SUBFORMAT_TAILS: [&[u8; 14]; 2] = [
    b"\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71",
    b"\x00\x00\x21\x07\xd3\x11\x86\x44\xc8\xc1\xca\x00\x00\x00",
];
/// Format tags that recordings are met with and that no decoder here reads.
const UNREADABLE: &[(u16, &str)] = &[
    (0x0031, "GSM 6.10"),
    (0x0040, "G.721 ADPCM"),
    (0x0045, "G.726 ADPCM"),
    (0x0064, "G.726 ADPCM"),
    (0x0092, "AC-3 over S/PDIF"),
    (0x00FF, "AAC"),
    (0x0160, "Windows Media Audio"),
    (0x0161, "Windows Media Audio"),
    (0x0162, "Windows Media Audio"),
    (0x2000, "AC-3"),
    (0x674F, "Vorbis"),
    (0x704F, "Opus"),
];

impl WavFormat {
    /// Reads the body of a `fmt ` chunk; contradictions that have one sensible reading go to `repairs`.
    ///
    /// Errors: too short, no or too many channels, a codec that cannot be read; the reason names the value.
    pub(super) fn parse(chunk: &[u8], repairs: &mut Repairs) -> Result<Self> {
        let field = |at| u16_at(chunk, at);
        let (Some(tag), Some(n_channels), Some(sample_rate), Some(bytes_per_second), Some(block)) =
            (field(0), field(2), u32_at(chunk, 4), u32_at(chunk, 8), field(12))
        else {
            return Err(Error::recording(format!("wav format chunk of {} bytes, at least 14 are needed", chunk.len())));
        };
        check_channels(usize::from(n_channels))?;
        let container_bits = field(14).unwrap_or(0);
        let (tag, bits) = if tag == EXTENSIBLE { extended(chunk, container_bits)? } else { (tag, container_bits) };
        let coding = match tag {
            0x0002 | 0x0011 => Coding::Adpcm,
            0x0050 | 0x0055 | 0xF1AC => Coding::Stream,
            _ => Coding::Pcm(pcm(tag, container_bits, n_channels, block, bytes_per_second, sample_rate, repairs)?),
        };
        let mut format = Self { coding, n_channels, sample_rate, block: usize::from(block), bits };
        if let Coding::Pcm(pcm) = coding {
            let expected = pcm.width() * usize::from(n_channels);
            if format.block != expected {
                repairs.add(format!("block align {block} in the header, {expected} follows from channels and bits"));
                format.block = expected;
            }
            if bits == 0 || usize::from(bits) > 8 * pcm.width() {
                format.bits = 8 * pcm.width() as u16;
            }
        }
        Ok(format)
    }
}

/// Format tag and valid bits of a WAVE_FORMAT_EXTENSIBLE chunk.
fn extended(chunk: &[u8], container_bits: u16) -> Result<(u16, u16)> {
    let (Some(valid_bits), Some(tag), Some(tail)) = (u16_at(chunk, 18), u16_at(chunk, 24), chunk.get(26..40)) else {
        let length = chunk.len();
        return Err(Error::recording(format!("extensible wav format chunk of {length} bytes, 40 are needed")));
    };
    if !SUBFORMAT_TAILS.iter().any(|known| known.as_slice() == tail) {
        return Err(Error::recording(format!("wav subformat 0x{tag:04x} with an unknown identifier cannot be read")));
    }
    Ok((tag, if valid_bits == 0 { container_bits } else { valid_bits }))
}

/// The sample type of a format tag and its bits. Integers of odd widths are left-justified in their bytes.
fn pcm(
    tag: u16,
    bits: u16,
    n_channels: u16,
    block: u16,
    bytes_per_second: u32,
    sample_rate: u32,
    repairs: &mut Repairs,
) -> Result<Pcm> {
    // 24 bits in 4 bytes, or no bits at all: the block says how wide a sample is, if the byte rate agrees.
    let agrees = u64::from(bytes_per_second) == u64::from(block) * u64::from(sample_rate);
    let spacious = if agrees && block.is_multiple_of(n_channels) { 8 * (block / n_channels) } else { 0 };
    let wide = match (tag, bits) {
        (1, 0) if (8..=32).contains(&spacious) => {
            repairs.add(format!("no bits per sample in the header, {spacious} follow from the block align"));
            spacious
        }
        (1, 1..=32) if spacious > bits && spacious <= 32 => spacious,
        _ => bits,
    };
    match (tag, wide) {
        (1, 1..=8) => Ok(Pcm::U8),
        (1, 9..=16) => Ok(Pcm::S16),
        (1, 17..=24) => Ok(Pcm::S24),
        (1, 25..=32) => Ok(Pcm::S32),
        (1, bits) => Err(Error::recording(format!("wav integers of {bits} bits, 1 to 32 can be read"))),
        (3, 32) => Ok(Pcm::F32),
        (3, 64) => Ok(Pcm::F64),
        (3, bits) => Err(Error::recording(format!("wav floats of {bits} bits, 32 and 64 can be read"))),
        (6, _) => Ok(Pcm::ALaw),
        (7, _) => Ok(Pcm::MuLaw),
        (tag, _) => {
            let name = UNREADABLE.iter().find(|(known, _)| *known == tag).map(|(_, name)| format!(" ({name})"));
            let name = name.unwrap_or_default();
            Err(Error::recording(format!("wav codec 0x{tag:04x}{name} cannot be read")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A `fmt ` body of 16 bytes at 16 kHz whose block and byte rate fit.
    fn body(tag: u16, n_channels: u16, bits: u16) -> Vec<u8> {
        let block = n_channels * bits.div_ceil(8);
        let mut body = [tag.to_le_bytes(), n_channels.to_le_bytes()].concat();
        body.extend_from_slice(&16_000u32.to_le_bytes());
        body.extend_from_slice(&(16_000 * u32::from(block)).to_le_bytes());
        body.extend_from_slice(&[block.to_le_bytes(), bits.to_le_bytes()].concat());
        body
    }

    fn extensible(tag: u16, bits: u16, valid: u16, tail: &[u8; 14]) -> Vec<u8> {
        let mut body = body(EXTENSIBLE, 2, bits);
        body.extend_from_slice(&[22u16.to_le_bytes(), valid.to_le_bytes(), 3u16.to_le_bytes(), [0, 0]].concat());
        body.extend_from_slice(&tag.to_le_bytes());
        body.extend_from_slice(tail);
        body
    }

    fn parsed(body: &[u8]) -> (WavFormat, Option<String>) {
        let mut repairs = Repairs::default();
        (WavFormat::parse(body, &mut repairs).expect("readable"), repairs.text())
    }

    fn reason(body: &[u8]) -> String {
        WavFormat::parse(body, &mut Repairs::default()).expect_err("not readable").reason()
    }

    #[test]
    fn every_format_tag_that_can_be_read_is_named() {
        for (tag, bits, coding) in [
            (1, 8, Coding::Pcm(Pcm::U8)),
            (1, 12, Coding::Pcm(Pcm::S16)),
            (1, 20, Coding::Pcm(Pcm::S24)),
            (1, 32, Coding::Pcm(Pcm::S32)),
            (3, 32, Coding::Pcm(Pcm::F32)),
            (3, 64, Coding::Pcm(Pcm::F64)),
            (6, 8, Coding::Pcm(Pcm::ALaw)),
            (7, 8, Coding::Pcm(Pcm::MuLaw)),
            (2, 4, Coding::Adpcm),
            (0x11, 4, Coding::Adpcm),
            (0x55, 0, Coding::Stream),
        ] {
            let (format, repaired) = parsed(&body(tag, 2, bits));
            assert_eq!((format.coding, format.n_channels, format.sample_rate), (coding, 2, 16_000), "tag {tag}");
            assert_eq!((format.bits, repaired), (bits, None), "tag {tag}");
        }
        for (tag, name) in [(0x31, "wav codec 0x0031 (GSM 6.10)"), (0x1234, "wav codec 0x1234 cannot be read")] {
            assert!(reason(&body(tag, 1, 8)).starts_with(name), "{}", reason(&body(tag, 1, 8)));
        }
    }

    #[test]
    fn extensible_formats_say_their_codec_and_their_valid_bits() {
        for tail in SUBFORMAT_TAILS {
            let (format, repaired) = parsed(&extensible(1, 32, 24, tail));
            assert_eq!((format.coding, format.bits, repaired), (Coding::Pcm(Pcm::S32), 24, None));
        }
        assert_eq!(parsed(&extensible(7, 8, 8, SUBFORMAT_TAILS[0])).0.coding, Coding::Pcm(Pcm::MuLaw));
        assert_eq!(parsed(&extensible(3, 64, 0, SUBFORMAT_TAILS[0])).0.bits, 64);
        assert!(reason(&extensible(1, 16, 16, &[7; 14])).starts_with("wav subformat 0x0001"));
        let cut = reason(&extensible(1, 16, 16, SUBFORMAT_TAILS[0])[..38]);
        assert_eq!(cut, "extensible wav format chunk of 38 bytes, 40 are needed");
    }

    #[test]
    fn chunks_of_every_length_in_use_are_read() {
        for length in [16, 18, 20, 40] {
            let mut longer = body(1, 1, 16);
            longer.resize(length, 0);
            assert_eq!(parsed(&longer), parsed(&body(1, 1, 16)), "{length} bytes");
        }
        let (format, repaired) = parsed(&body(1, 2, 16)[..14]);
        assert_eq!((format.coding, format.bits), (Coding::Pcm(Pcm::S16), 16));
        assert_eq!(repaired.as_deref(), Some("no bits per sample in the header, 16 follow from the block align"));
        assert_eq!(reason(&body(1, 2, 16)[..13]), "wav format chunk of 13 bytes, at least 14 are needed");
    }

    #[test]
    fn a_block_that_contradicts_its_bits_is_mended() {
        let mut wrong = body(1, 2, 16);
        wrong[12] = 3;
        let (format, repaired) = parsed(&wrong);
        assert_eq!(format.block, 4);
        assert_eq!(repaired.as_deref(), Some("block align 3 in the header, 4 follows from channels and bits"));
        // 24 bits in 4 bytes: block and byte rate agree, so nothing is wrong.
        let mut roomy = body(1, 1, 32);
        roomy[14] = 24;
        let (format, repaired) = parsed(&roomy);
        assert_eq!((format.coding, format.block, format.bits, repaired), (Coding::Pcm(Pcm::S32), 4, 24, None));
    }

    #[test]
    fn impossible_shapes_say_value_and_limit() {
        for (body, words) in [
            (body(1, 0, 16), "0 channels"),
            (body(1, 300, 16), "300 channels"),
            (body(1, 1, 64), "wav integers of 64 bits, 1 to 32 can be read"),
            (body(1, 1, 0), "wav integers of 0 bits"),
            (body(3, 1, 16), "wav floats of 16 bits, 32 and 64 can be read"),
        ] {
            assert!(reason(&body).starts_with(words), "{}", reason(&body));
        }
    }
}
