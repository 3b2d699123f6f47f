//! WAV in every dialect: RIFF, RF64, BW64 and Wave64 around PCM, float, A-law and mu-law, which are converted here in
//! bulk; ADPCM, MPEG audio and FLAC inside go to the other decoder.

use std::borrow::Cow;

use super::wav_format::{Coding, WavFormat};
use super::{Budget, Channel, Decoded, Repairs, check_rate, check_usable, container, u32_at, u64_at};
use crate::error::{Error, Result};
use crate::units::SampleRate;

/// From this length on a data chunk longer than its file was written by a program that did not know the length: pipes
/// leave 0xFFFFFFFF, 0x7FFFFFFF or a little less.
const UNKNOWN_LENGTH: u64 = 0x7FFF_0000;

/// Families of chunked files that hold WAVE.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    /// RIFF, RF64, BW64: four letters, 32 bits of length, even positions.
    Riff,
    /// Sony Wave64: an identifier of 16 bytes that starts with the four letters, 64 bits of length that count the
    /// chunk's own head, positions in steps of 8.
    Wave64,
}

/// Head of one chunk.
struct Head {
    tag: [u8; 4],
    /// Bytes of the body, as declared.
    length: u64,
    /// Where the body starts.
    start: usize,
}

/// What a walk over the chunks finds.
struct Chunks<'a> {
    format: WavFormat,
    format_chunk: &'a [u8],
    /// Bodies of the data chunks, as far as they are there; seldom more than one.
    data: Vec<&'a [u8]>,
    /// Bytes of data according to the header.
    declared: u64,
    /// Frames that a `fact` chunk declares; ADPCM fills its last block with silence beyond them.
    fact: Option<u32>,
    /// The header's length is no length: the file was never closed, or written into a pipe.
    unfinished: bool,
}

impl Family {
    fn of(bytes: &[u8]) -> Option<Self> {
        match bytes.get(..4)? {
            b"RIFF" | b"RF64" | b"BW64" if bytes.get(8..12)? == b"WAVE" => Some(Self::Riff),
            b"riff" if bytes.get(24..28)? == b"wave" => Some(Self::Wave64),
            _ => None,
        }
    }

    /// Where the first chunk starts.
    fn first(self) -> usize {
        match self {
            Self::Riff => 12,
            Self::Wave64 => 40,
        }
    }

    fn head(self, bytes: &[u8], at: usize) -> Option<Head> {
        let tag = *bytes.get(at..)?.first_chunk()?;
        Some(match self {
            Self::Riff => Head { tag, length: u64::from(u32_at(bytes, at + 4)?), start: at + 8 },
            Self::Wave64 => Head { tag, length: u64_at(bytes, at + 16)?.saturating_sub(24), start: at + 24 },
        })
    }

    /// Where the chunk after a body that ends at `end` starts.
    fn next(self, bytes: &[u8], head: &Head, end: usize, repairs: &mut Repairs) -> usize {
        match self {
            Self::Wave64 => end.next_multiple_of(8),
            Self::Riff if head.length.is_multiple_of(2) => end,
            // The pad byte is zero; a chunk name never starts with zero, so writers that forget it are read too.
            Self::Riff if bytes.get(end).is_none_or(|&pad| pad == 0) => end + 1,
            Self::Riff => {
                let name = head.tag.escape_ascii();
                repairs.add(format!("chunk `{name}` of odd length {} without its pad byte", head.length));
                end
            }
        }
    }
}

/// Decodes `bytes` if they are WAV; `None` means another container. See [`super::decode`].
///
/// Errors: no format chunk before the data, no samples, a codec that cannot be read, samples that cannot be used.
pub(super) fn decode(
    bytes: &[u8],
    channel: Channel,
    budget: Budget,
    repairs: &mut Repairs,
    samples: &mut Vec<f32>,
) -> Option<Result<Decoded>> {
    let family = Family::of(bytes)?;
    Some(walk(bytes, family, repairs).and_then(|chunks| match chunks.format.coding {
        Coding::Pcm(_) => convert(&chunks, channel, budget, repairs, samples),
        Coding::Adpcm | Coding::Stream => hand_over(&chunks, channel, budget, repairs, samples),
    }))
}

/// Refuses PCM that does not fit `budget`, from the `head` of a file of `size` bytes; what the head does not tell is left to
/// [`decode`].
pub(super) fn check_head(head: &[u8], size: u64, budget: Budget) -> Result<()> {
    let chunks = Family::of(head).map(|family| walk(head, family, &mut Repairs::default()));
    let Some(Ok(Chunks { format, declared, unfinished, .. })) = chunks else { return Ok(()) };
    if !matches!(format.coding, Coding::Pcm(_)) || check_rate(format.sample_rate).is_err() {
        return Ok(());
    }
    let n_bytes = if unfinished { size } else { declared.min(size) };
    budget.check(n_bytes / format.block as u64, SampleRate(format.sample_rate))
}

fn convert(
    chunks: &Chunks<'_>,
    channel: Channel,
    budget: Budget,
    repairs: &mut Repairs,
    samples: &mut Vec<f32>,
) -> Result<Decoded> {
    let format = &chunks.format;
    let Coding::Pcm(pcm) = format.coding else { return Err(Error::bug("only PCM is converted here")) };
    check_rate(format.sample_rate)?;
    channel.check(usize::from(format.n_channels))?;
    let n_frames: usize = chunks.data.iter().map(|data| data.len() / format.block).sum();
    budget.check(n_frames as u64, SampleRate(format.sample_rate))?;
    for data in &chunks.data {
        let whole = data.len() - data.len() % format.block;
        pcm.append(&data[..whole], usize::from(format.n_channels), channel, samples);
    }
    if pcm.is_float() {
        check_usable(samples)?;
    }
    chunks.say(samples.len(), repairs);
    Ok(Decoded {
        sample_rate: SampleRate(format.sample_rate),
        n_channels: format.n_channels,
        bits_per_sample: Some(format.bits),
        container: "wav".into(),
        codec: pcm.name().into(),
        decoder: "sermill",
        repaired: None,
    })
}

/// ADPCM in a plain header of its own, so that what was mended here stays mended; other streams bare.
fn hand_over(
    chunks: &Chunks<'_>,
    channel: Channel,
    budget: Budget,
    repairs: &mut Repairs,
    samples: &mut Vec<f32>,
) -> Result<Decoded> {
    let data = match chunks.data.as_slice() {
        [data] => Cow::Borrowed(*data),
        parts => Cow::Owned(parts.concat()),
    };
    if data.is_empty() {
        return Err(Error::recording("no samples"));
    }
    if chunks.unfinished {
        repairs.add(format!(
            "data length {} in the header, took the {} bytes that are there",
            chunks.declared,
            data.len()
        ));
    } else if chunks.declared > data.len() as u64 {
        repairs.add(format!("data cut short: header declares {} bytes, {} are there", chunks.declared, data.len()));
    }
    let (n_bytes, is_adpcm) = (data.len(), chunks.format.coding == Coding::Adpcm);
    let stream = if is_adpcm { Cow::Owned(plain(chunks.format_chunk, &data)) } else { data };
    let n_copied = if matches!(stream, Cow::Owned(_)) { stream.len() as u64 } else { 0 };
    let decoded = container::decode(&stream, channel, budget.holding(n_copied), repairs, samples)?;
    if let Some(n_frames) = chunks.fact.map(|fact| fact as usize).filter(|&n_frames| is_adpcm && n_frames > 0) {
        let frames_per_block = (samples.len() * chunks.format.block).div_ceil(n_bytes);
        if n_frames + frames_per_block > samples.len() {
            samples.truncate(n_frames);
        }
    }
    Ok(Decoded { container: "wav".into(), ..decoded })
}

/// A WAV file of nothing but a format and data.
fn plain(format: &[u8], data: &[u8]) -> Vec<u8> {
    let mut bytes = b"RIFF\xff\xff\xff\xffWAVE".to_vec();
    for (tag, body) in [(b"fmt ", format), (b"data", data)] {
        bytes.extend_from_slice(tag);
        bytes.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend_from_slice(body);
        if body.len() % 2 == 1 {
            bytes.push(0);
        }
    }
    bytes
}

impl Chunks<'_> {
    /// Notes what the length of the data chunk got wrong.
    fn say(&self, n_frames: usize, repairs: &mut Repairs) {
        let block = self.format.block as u64;
        let declared_frames = self.declared / block;
        if self.unfinished {
            let declared = self.declared;
            repairs.add(format!("data length {declared} in the header, took the {n_frames} frames that are there"));
        } else if declared_frames > n_frames as u64 {
            repairs.add(format!("data cut short: header declares {declared_frames} frames, {n_frames} are there"));
        } else if let Some(odd) =
            self.data.iter().map(|data| data.len()).find(|&length| !(length as u64).is_multiple_of(block))
        {
            repairs.add(format!("data length {odd} is not a whole number of frames, left out the rest"));
        }
        if self.data.len() > 1 {
            repairs.add(format!("joined {} data chunks", self.data.len()));
        }
    }
}

/// Finds `fmt ` and the data, past foreign chunks with or without the pad byte after odd lengths.
fn walk<'a>(bytes: &'a [u8], family: Family, repairs: &mut Repairs) -> Result<Chunks<'a>> {
    let (mut format, mut long_length, mut fact) = (None, None, None);
    let (mut data, mut total, mut unfinished, mut seen) = (Vec::new(), 0u64, false, false);
    let mut at = family.first();
    while let Some(head) = family.head(bytes, at) {
        let body = bytes.get(head.start..).unwrap_or_default();
        let length = if &head.tag == b"data" { declared_length(&head, long_length) } else { head.length };
        let end = length.min(body.len() as u64) as usize;
        match &head.tag {
            b"fmt " if format.is_none() => format = Some(&body[..end]),
            b"fact" => fact = u32_at(&body[..end], 0),
            b"ds64" => long_length = u64_at(body, 8),
            b"data" => {
                if format.is_none() {
                    return Err(Error::recording("wav file without a format chunk before its data"));
                }
                if !seen && has_no_length(bytes, family, &head, length) {
                    (data, total, unfinished) = (vec![body], length, true);
                    break;
                }
                seen = true;
                total = total.saturating_add(length);
                if end > 0 {
                    data.push(&body[..end]);
                }
            }
            _ => {}
        }
        at = family.next(bytes, &Head { length, ..head }, head.start + end, repairs);
    }
    let format_chunk = format.ok_or_else(|| Error::recording("wav header without format and data"))?;
    if !seen && !unfinished {
        return Err(Error::recording("wav header without data"));
    }
    let format = WavFormat::parse(format_chunk, repairs)?;
    let shortest = if matches!(format.coding, Coding::Pcm(_)) { format.block } else { 1 };
    if data.iter().all(|data| data.len() < shortest) {
        return Err(Error::recording("no samples"));
    }
    Ok(Chunks { format, format_chunk, data, declared: total, fact, unfinished })
}

/// Length of a data chunk; RF64 and BW64 keep those beyond 4 GB in `ds64`.
fn declared_length(head: &Head, long_length: Option<u64>) -> u64 {
    match (head.length, long_length) {
        (0xFFFF_FFFF, Some(long)) => long,
        (length, _) => length,
    }
}

/// True when the data chunk's length was never filled in, so that the data goes on to the end of the file.
fn has_no_length(bytes: &[u8], family: Family, head: &Head, length: u64) -> bool {
    let rest = bytes.get(head.start..).unwrap_or_default();
    if length > rest.len() as u64 {
        return length >= UNKNOWN_LENGTH;
    }
    // Zero is honest when another chunk follows, or nothing at all.
    let outer = u32_at(bytes, 4).unwrap_or(0);
    let ends_here = family == Family::Riff && (outer == 0 || u64::from(outer) + 8 == head.start as u64);
    let is_chunk = rest.first_chunk::<4>().is_some_and(|tag| tag.iter().all(|byte| (b' '..=b'~').contains(byte)));
    length == 0 && !rest.is_empty() && (ends_here || !is_chunk)
}

#[cfg(test)]
#[path = "wav_proof.rs"]
mod proof;
