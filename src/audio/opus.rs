//! Opus packets to samples at 48 kHz, through opus-pure; the container's reader finds the packets.

use opus_pure::{ChannelLayout, MAX_PACKET_SAMPLES, OpusDecoder, OpusMSDecoder};

use super::{check_channels, u16_at};
use crate::error::{Error, Result};

/// Rate of every Opus stream, whatever was recorded.
pub(super) const RATE: u32 = 48_000;

/// Decodes the packets of one stream in their order.
pub(super) struct OpusStream {
    decoder: Inner,
    n_channels: usize,
    buffer: Vec<f32>,
    /// Frames still to leave out at the start: the encoder's delay.
    skip: usize,
}

enum Inner {
    /// Mono or stereo.
    Plain(Box<OpusDecoder>),
    /// Three to eight channels, Vorbis order.
    Surround(Box<OpusMSDecoder>),
}

impl OpusStream {
    /// `head` is the stream's identification header (RFC 7845 section 5.1), which every container carries.
    ///
    /// Errors: kind `Recording`, and the reason names Opus.
    pub(super) fn new(head: &[u8]) -> Result<Self> {
        let wrong = |why: String| Error::recording(format!("Opus: {why}"));
        let (Some(&n_channels), Some(skip), Some(gain), Some(&family)) =
            (head.get(9), u16_at(head, 10), u16_at(head, 16), head.get(18))
        else {
            return Err(wrong(format!("header of {} bytes, at least 19 are needed", head.len())));
        };
        let (n_channels, gain) = (usize::from(n_channels), i32::from(gain.cast_signed()));
        check_channels(n_channels)?;
        let failed = |error: opus_pure::Error| wrong("cannot decode this stream".into()).because(error.to_string());
        let decoder = if family == 0 {
            let mut decoder = OpusDecoder::new(RATE as i32, n_channels).map_err(failed)?;
            decoder.gain_q8 = gain;
            Inner::Plain(Box::new(decoder))
        } else {
            let layout = ChannelLayout::surround(n_channels, family).map_err(failed)?;
            let order = head.get(21..21 + n_channels);
            let usual = [layout.nb_streams as u8, layout.nb_coupled_streams as u8];
            if head.get(19..21) != Some(usual.as_slice()) || order != Some(layout.mapping.as_slice()) {
                return Err(wrong(format!("{n_channels} channels in an unusual order cannot be decoded")));
            }
            let mut decoder = OpusMSDecoder::new(RATE as i32, n_channels, family).map_err(failed)?;
            decoder.streams_mut().iter_mut().for_each(|stream| stream.gain_q8 = gain);
            Inner::Surround(Box::new(decoder))
        };
        let buffer = vec![0.0; MAX_PACKET_SAMPLES * n_channels];
        Ok(Self { decoder, n_channels, buffer, skip: usize::from(skip) })
    }

    pub(super) fn n_channels(&self) -> usize {
        self.n_channels
    }

    /// Frames still to be left out at the start.
    pub(super) fn skip(&self) -> usize {
        self.skip
    }

    /// Interleaved samples of the next packet, without the encoder's delay and without the last `trim_end` frames.
    /// `None` when the packet is damaged.
    pub(super) fn decode(&mut self, packet: &[u8], trim_end: usize) -> Option<&[f32]> {
        if packet.is_empty() {
            return None;
        }
        let n_frames = match &mut self.decoder {
            Inner::Plain(decoder) => decoder.decode(packet, MAX_PACKET_SAMPLES, &mut self.buffer),
            Inner::Surround(decoder) => decoder.decode(packet, MAX_PACKET_SAMPLES, &mut self.buffer),
        }
        .ok()?;
        let end = n_frames.saturating_sub(trim_end);
        let start = self.skip.min(end);
        self.skip -= self.skip.min(n_frames);
        self.buffer.get(start * self.n_channels..end * self.n_channels)
    }
}
