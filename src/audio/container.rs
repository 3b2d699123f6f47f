//! Every container and codec that is not plain WAV: AIFF, FLAC, MP3, Ogg, MP4, Matroska... through symphonia.

use std::io::Cursor;

use symphonia::core::codecs::audio::well_known::CODEC_ID_OPUS;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error as SymphoniaError;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::{MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::meta::MetadataOptions;
use symphonia::core::packet::Packet;

use super::opus::{self, OpusStream};
use super::{Budget, Channel, Decoded, Repairs, check_channels, check_rate, check_usable};
use crate::error::{Error, Result};
use crate::units::SampleRate;

/// Samples of all channels in a packet: more than any codec has (FLAC: 65,535 frames of 8 channels); symphonia
/// allocates what a header declares.
const MAX_PACKET_SAMPLES: u64 = 1 << 22;

/// Decodes any container that symphonia recognises by its content. See [`super::decode`].
///
/// A few kilobytes can stand for hours: decoding ends where `budget` does.
pub(super) fn decode(
    bytes: &[u8],
    channel: Channel,
    budget: Budget,
    repairs: &mut Repairs,
    samples: &mut Vec<f32>,
) -> Result<Decoded> {
    let mended = aiff_with_true_length(bytes);
    let budget = budget.holding(mended.as_ref().map_or(0, |mended| mended.len() as u64));
    let bytes = mended.as_deref().unwrap_or(bytes);
    let stream = MediaSourceStream::new(Box::new(Cursor::new(bytes)), MediaSourceStreamOptions::default());
    let mut format = symphonia::default::get_probe()
        .probe(&Hint::new(), stream, FormatOptions::default(), MetadataOptions::default())
        .map_err(not_opened)?;
    let container = match format.format_info().short_name {
        "wave" => "wav",
        "isomp4" => "mp4",
        name => name,
    };
    let track = format.default_track(TrackType::Audio).ok_or_else(|| Error::recording("no audio track"))?;
    let parameters = track
        .codec_params
        .as_ref()
        .and_then(|parameters| parameters.audio())
        .ok_or_else(|| Error::recording("no audio track"))?;
    let bits_per_sample = parameters.bits_per_sample.and_then(|bits| u16::try_from(bits).ok());
    let mut codec = Codec::new(parameters)?;
    let (track_id, declared_frames) = (track.id, track.num_frames.map(|frames| codec.played(frames)));
    let mut taken = Taken::new(channel, budget, samples, bytes.len());
    taken.read(format.as_mut(), &mut codec, track_id)?;
    taken.say(declared_frames.filter(|_| mended.is_none()), repairs);
    if mended.is_some() {
        let n_frames = taken.mono.len();
        repairs.add(format!("data cut short: {n_frames} frames are there, fewer than declared"));
    }
    if container == "ogg" && ogg_is_cut(bytes) && taken.ended_early.is_none() {
        repairs.add(format!("data cut short: took {} frames, the end of the stream is missing", taken.mono.len()));
    }
    let (rate, n_channels) =
        taken.shape.filter(|_| !taken.mono.is_empty()).ok_or_else(|| Error::recording("no samples"))?;
    check_usable(samples)?;
    let (codec, decoder) = codec.names();
    // Matroska declares bits for lossy codecs too.
    let is_lossless = ["pcm", "flac", "alac"].iter().any(|name| codec.starts_with(name));
    Ok(Decoded {
        sample_rate: SampleRate(rate),
        n_channels,
        bits_per_sample: bits_per_sample.filter(|_| is_lossless),
        container: container.into(),
        codec: codec.into(),
        decoder,
        repaired: None,
    })
}

/// Tells bytes that are something else from a recording whose head is damaged.
fn not_opened(error: SymphoniaError) -> Error {
    match error {
        SymphoniaError::Unsupported(why) if why.contains("no suitable format reader") => {
            Error::recording("not a recording in a known format")
        }
        error => Error::recording("its head cannot be read").because(error),
    }
}

/// What turns packets into samples.
enum Codec {
    Symphonia(Box<dyn AudioDecoder>),
    Opus(OpusStream),
}

impl Codec {
    fn new(parameters: &AudioCodecParameters) -> Result<Self> {
        let n_channels = parameters.channels.as_ref().map_or(1, |channels| channels.count());
        check_channels(n_channels)?;
        let n_samples = parameters.max_frames_per_packet.unwrap_or(0).saturating_mul(n_channels as u64);
        if n_samples > MAX_PACKET_SAMPLES {
            return Err(Error::recording(format!(
                "packets of {n_samples} samples in the header, up to {MAX_PACKET_SAMPLES} can be read"
            )));
        }
        if parameters.codec == CODEC_ID_OPUS {
            return OpusStream::new(parameters.extra_data.as_deref().unwrap_or_default()).map(Self::Opus);
        }
        symphonia::default::get_codecs()
            .make_audio_decoder(parameters, &AudioDecoderOptions::default())
            .map(Self::Symphonia)
            .map_err(|error| Error::recording("cannot decode this codec").because(error))
    }

    /// Frames that are heard of those that are declared: Ogg counts the delay of Opus too.
    fn played(&self, declared: u64) -> u64 {
        match self {
            Self::Symphonia(_) => declared,
            Self::Opus(stream) => declared.saturating_sub(stream.skip() as u64),
        }
    }

    /// Name of the codec, and of the library that decodes it.
    fn names(&self) -> (&'static str, &'static str) {
        match self {
            Self::Symphonia(decoder) => (decoder.codec_info().short_name, "symphonia"),
            Self::Opus(_) => ("opus", "opus-pure"),
        }
    }

    /// Sample rate, channels and interleaved samples of a packet; `None` when it is damaged.
    fn decode<'a>(&'a mut self, packet: &Packet, buffer: &'a mut Vec<f32>) -> Result<Option<(u32, usize, &'a [f32])>> {
        match self {
            Self::Symphonia(decoder) => match decoder.decode(packet) {
                Ok(decoded) => {
                    let (rate, n_channels) = (decoded.spec().rate(), decoded.num_planes());
                    decoded.copy_to_vec_interleaved::<f32>(buffer);
                    Ok(Some((rate, n_channels, buffer)))
                }
                Err(SymphoniaError::DecodeError(_) | SymphoniaError::IoError(_)) => Ok(None),
                Err(error) => Err(Error::recording("cannot decode").because(error)),
            },
            Self::Opus(stream) => {
                let (n_channels, trim_end) = (stream.n_channels(), packet.trim_end.get() as usize);
                Ok(stream.decode(&packet.data, trim_end).map(|decoded| (opus::RATE, n_channels, decoded)))
            }
        }
    }
}

/// What was taken from the packets so far.
struct Taken<'a> {
    channel: Channel,
    budget: Budget,
    mono: &'a mut Vec<f32>,
    /// Sample rate and channels of the first packet.
    shape: Option<(u32, u16)>,
    n_packets: usize,
    /// No container has more packets than bytes; a table of a damaged one can repeat a packet for ever.
    max_packets: usize,
    n_damaged: usize,
    /// Why reading ended before the end of the stream.
    ended_early: Option<String>,
}

impl<'a> Taken<'a> {
    fn new(channel: Channel, budget: Budget, mono: &'a mut Vec<f32>, n_bytes: usize) -> Self {
        let (n_packets, n_damaged) = (0, 0);
        Self { channel, budget, mono, shape: None, n_packets, max_packets: n_bytes, n_damaged, ended_early: None }
    }

    fn read(&mut self, format: &mut dyn FormatReader, codec: &mut Codec, track_id: u32) -> Result<()> {
        let mut buffer = Vec::new();
        loop {
            let packet = match format.next_packet() {
                Ok(Some(packet)) => packet,
                Ok(None) => break,
                Err(error) => {
                    self.ended_early = Some(error.to_string());
                    break;
                }
            };
            self.n_packets += 1;
            if self.n_packets > self.max_packets {
                return Err(Error::recording(format!("more than {} packets, one for each byte", self.max_packets)));
            }
            if packet.track_id != track_id {
                continue;
            }
            match codec.decode(&packet, &mut buffer)? {
                Some((rate, n_channels, interleaved)) => self.append(rate, n_channels, interleaved)?,
                None => self.n_damaged += 1,
            }
        }
        // Text and noise can pass for MPEG audio at first sight.
        if 2 * self.n_damaged > self.n_packets {
            let (damaged, packets) = (self.n_damaged, self.n_packets);
            return Err(Error::recording(format!("{damaged} of {packets} packets are damaged")));
        }
        Ok(())
    }

    fn append(&mut self, rate: u32, n_channels: usize, interleaved: &[f32]) -> Result<()> {
        check_rate(rate)?;
        check_channels(n_channels)?;
        let shape = (rate, n_channels as u16);
        if *self.shape.get_or_insert(shape) != shape {
            return Err(Error::recording("sample rate or number of channels changes within the recording"));
        }
        self.channel.check(n_channels)?;
        let frames = interleaved.chunks_exact(n_channels);
        if self.mono.len() + frames.len() > self.budget.max_frames(SampleRate(rate)) {
            return Err(self.budget.exceeded("more memory than it may take"));
        }
        match self.channel {
            Channel::Only(only) => self.mono.extend(frames.map(|frame| frame[usize::from(only)])),
            Channel::Mix => {
                let scale = 1.0 / n_channels as f32;
                self.mono.extend(frames.map(|frame| frame.iter().sum::<f32>() * scale));
            }
        }
        Ok(())
    }

    fn say(&self, declared_frames: Option<u64>, repairs: &mut Repairs) {
        let n_frames = self.mono.len() as u64;
        if let Some(why) = &self.ended_early {
            repairs.add(format!("data cut short after {n_frames} frames ({why})"));
        } else if let Some(declared) = declared_frames.filter(|&declared| declared > n_frames) {
            repairs.add(format!("data cut short: header declares {declared} frames, {n_frames} are there"));
        }
        if self.n_damaged > 0 {
            repairs.add(format!("left out {} damaged packets of {}", self.n_damaged, self.n_packets));
        }
    }
}

/// True when the last page of an Ogg file is not whole, or is not marked as the last one (RFC 3533 section 6).
fn ogg_is_cut(bytes: &[u8]) -> bool {
    let Some(at) = bytes.windows(4).rposition(|four| four == b"OggS") else { return true };
    let page = &bytes[at..];
    let (Some(flags), Some(&n_segments)) = (page.get(5), page.get(26)) else { return true };
    let body = 27 + usize::from(n_segments);
    let Some(segments) = page.get(27..body) else { return true };
    let length: usize = segments.iter().map(|&length| usize::from(length)).sum();
    flags & 0x04 == 0 || page.len() < body + length
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
