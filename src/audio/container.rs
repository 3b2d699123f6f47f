//! Every container and codec that is not plain WAV: AIFF, FLAC, MP3, Ogg, MP4... through symphonia.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error as SymphoniaError;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::{MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::meta::MetadataOptions;

use super::{Decoded, first_not_finite};
use crate::error::{Error, Result};
use crate::units::SampleRate;

/// Longest recording taken from a compressed file (93 minutes at 48 kHz, 1 GiB as f32): a few
/// kilobytes of FLAC can stand for hours of silence.
const MAX_FRAMES: usize = 1 << 28;
/// More channels than any recording has; a damaged header asks for buffers of thousands.
const MAX_CHANNELS: usize = 64;
/// Longer packets than any codec has (FLAC: 65,535 frames); symphonia allocates what a header declares.
const MAX_FRAMES_PER_PACKET: u64 = 1 << 18;

/// Decodes any container that symphonia recognises by its content.
pub(super) fn decode(bytes: &[u8]) -> Result<Decoded> {
    let mended = aiff_with_true_length(bytes);
    let readable = mended.as_deref().unwrap_or(bytes);
    // A decoder of foreign bytes that breaks must cost one recording, not the run.
    let mut decoded = catch_unwind(AssertUnwindSafe(|| decode_guarded(readable)))
        .unwrap_or_else(|_| Err(Error::recording("decoder broke on malformed data")))?;
    if mended.is_some() {
        let n_frames = decoded.samples.len();
        decoded.repaired = Some(format!("data cut short: {n_frames} frames are there, fewer than declared"));
    }
    Ok(decoded)
}

fn decode_guarded(bytes: &[u8]) -> Result<Decoded> {
    let stream = MediaSourceStream::new(Box::new(Cursor::new(bytes)), MediaSourceStreamOptions::default());
    let mut format = symphonia::default::get_probe()
        .probe(&Hint::new(), stream, FormatOptions::default(), MetadataOptions::default())
        .map_err(|error| Error::recording("not a recording in a known format").because(error))?;
    let container = match format.format_info().short_name {
        "wave" => "wav",
        "isomp4" => "mp4",
        name => name,
    };
    let track = format.default_track(TrackType::Audio).ok_or_else(|| Error::recording("no audio track"))?;
    let track_id = track.id;
    let declared_frames = track.num_frames;
    let parameters = track
        .codec_params
        .as_ref()
        .and_then(|parameters| parameters.audio())
        .ok_or_else(|| Error::recording("no audio track"))?;
    let bits_per_sample = parameters.bits_per_sample.and_then(|bits| u16::try_from(bits).ok());
    let n_channels = parameters.channels.as_ref().map_or(1, |channels| channels.count());
    if n_channels == 0 || n_channels > MAX_CHANNELS {
        return Err(Error::recording(format!("{n_channels} channels, from 1 to {MAX_CHANNELS} can be read")));
    }
    if let Some(frames) = parameters.max_frames_per_packet.filter(|&frames| frames > MAX_FRAMES_PER_PACKET) {
        return Err(Error::recording(format!("packets of {frames} frames, up to {MAX_FRAMES_PER_PACKET} can be read")));
    }
    let mut decoder = symphonia::default::get_codecs()
        .make_audio_decoder(parameters, &AudioDecoderOptions::default())
        .map_err(|error| Error::recording("cannot decode this codec").because(error))?;
    let mut taken = Taken::default();
    taken.read(format.as_mut(), decoder.as_mut(), track_id)?;
    let repaired = taken.repaired(declared_frames);
    let (rate, n_channels) = taken.shape.ok_or_else(|| Error::recording("no samples"))?;
    if taken.mono.is_empty() {
        return Err(Error::recording("no samples"));
    }
    first_not_finite(&taken.mono)?;
    Ok(Decoded {
        samples: taken.mono,
        sample_rate: SampleRate(rate),
        n_channels,
        bits_per_sample,
        container: container.into(),
        codec: decoder.codec_info().short_name.into(),
        decoder: "symphonia",
        repaired,
    })
}

/// What was taken from the packets so far.
#[derive(Default)]
struct Taken {
    mono: Vec<f32>,
    /// Sample rate and channels of the first packet.
    shape: Option<(u32, u16)>,
    n_packets: usize,
    n_damaged: usize,
    /// Why reading ended before the end of the stream.
    ended_early: Option<String>,
}

impl Taken {
    fn read(&mut self, format: &mut dyn FormatReader, decoder: &mut dyn AudioDecoder, track_id: u32) -> Result<()> {
        let mut interleaved = Vec::new();
        loop {
            let packet = match format.next_packet() {
                Ok(Some(packet)) => packet,
                Ok(None) => break,
                Err(error) => {
                    self.ended_early = Some(error.to_string());
                    break;
                }
            };
            if packet.track_id != track_id {
                continue;
            }
            self.n_packets += 1;
            match decoder.decode(&packet) {
                Ok(buffer) => {
                    let shape = (buffer.spec().rate(), buffer.num_planes() as u16);
                    buffer.copy_to_vec_interleaved::<f32>(&mut interleaved);
                    self.append(shape, &interleaved)?;
                }
                Err(SymphoniaError::DecodeError(_) | SymphoniaError::IoError(_)) => self.n_damaged += 1,
                Err(error) => return Err(Error::recording("cannot decode").because(error)),
            }
        }
        // Text and noise can pass for MPEG audio at first sight.
        if 2 * self.n_damaged > self.n_packets {
            let (damaged, packets) = (self.n_damaged, self.n_packets);
            return Err(Error::recording(format!("{damaged} of {packets} packets are damaged")));
        }
        Ok(())
    }

    fn append(&mut self, shape: (u32, u16), interleaved: &[f32]) -> Result<()> {
        let (rate, n_channels) = shape;
        if rate == 0 || n_channels == 0 {
            return Err(Error::recording(format!("{n_channels} channels at {rate} Hz")));
        }
        if *self.shape.get_or_insert(shape) != shape {
            return Err(Error::recording("sample rate or number of channels changes within the recording"));
        }
        let scale = 1.0 / f32::from(n_channels);
        let frames = interleaved.chunks_exact(usize::from(n_channels));
        if self.mono.len() + frames.len() > MAX_FRAMES {
            return Err(Error::recording(format!("longer than {MAX_FRAMES} samples")));
        }
        self.mono.extend(frames.map(|frame| frame.iter().sum::<f32>() * scale));
        Ok(())
    }

    fn repaired(&self, declared_frames: Option<u64>) -> Option<String> {
        let n_frames = self.mono.len() as u64;
        let mut notes = Vec::new();
        if let Some(why) = &self.ended_early {
            notes.push(format!("data cut short after {n_frames} frames ({why})"));
        } else if let Some(declared) = declared_frames.filter(|&declared| declared > n_frames) {
            notes.push(format!("data cut short: header declares {declared} frames, {n_frames} are there"));
        }
        if self.n_damaged > 0 {
            notes.push(format!("left out {} damaged packets of {}", self.n_damaged, self.n_packets));
        }
        (!notes.is_empty()).then(|| notes.join("; "))
    }
}

/// An AIFF file cut short, with its lengths set to what is there: symphonia seeks to the declared end
/// before it decodes anything. `None` when nothing is missing.
fn aiff_with_true_length(bytes: &[u8]) -> Option<Vec<u8>> {
    if bytes.get(..4)? != b"FORM" || !matches!(bytes.get(8..12)?, b"AIFF" | b"AIFC") {
        return None;
    }
    let mut at = 12usize;
    loop {
        let tag = bytes.get(at..at + 4)?;
        let length = u32::from_be_bytes(*bytes.get(at + 4..)?.first_chunk()?) as usize;
        let available = bytes.len() - (at + 8);
        if tag == b"SSND" && length > available {
            let mut mended = bytes.to_vec();
            mended[4..8].copy_from_slice(&((bytes.len() - 8) as u32).to_be_bytes());
            mended[at + 4..at + 8].copy_from_slice(&(available as u32).to_be_bytes());
            return Some(mended);
        }
        at = (at + 8).checked_add(length)?.checked_add(length % 2)?;
    }
}
