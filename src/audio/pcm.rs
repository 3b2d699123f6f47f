//! Uncompressed samples, little-endian and interleaved, to mono f32 in bulk.
//!
//! The loops hold no branch and no call, so the compiler turns them into vector code; a library's sample iterator is
//! more than ten times slower.

use super::Channel;

/// How one sample lies in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pcm {
    /// 8 bits around 128.
    U8,
    S16,
    S24,
    S32,
    F32,
    F64,
    /// ITU-T G.711, 8 bits that stand for 13.
    ALaw,
    /// ITU-T G.711, 8 bits that stand for 14.
    MuLaw,
}

const A_LAW: [f32; 256] = a_law();
const MU_LAW: [f32; 256] = mu_law();

impl Pcm {
    /// Bytes of a sample of one channel.
    pub(super) fn width(self) -> usize {
        match self {
            Self::U8 | Self::ALaw | Self::MuLaw => 1,
            Self::S16 => 2,
            Self::S24 => 3,
            Self::S32 | Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    /// Its name in the `codec` column.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::U8 => "pcm_u8",
            Self::S16 => "pcm_s16",
            Self::S24 => "pcm_s24",
            Self::S32 => "pcm_s32",
            Self::F32 => "pcm_f32",
            Self::F64 => "pcm_f64",
            Self::ALaw => "pcm_alaw",
            Self::MuLaw => "pcm_mulaw",
        }
    }

    /// True when a sample can be infinite, no number, or beyond full scale.
    pub(super) fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F64)
    }

    /// Appends the mono samples of `data`, whole frames of `n_channels`, with full scale 1.
    ///
    /// Proof: `agrees_with_the_sample_iterator_of_hound`, `laws_match_the_tables_of_g711`.
    pub(super) fn append(self, data: &[u8], n_channels: usize, channel: Channel, out: &mut Vec<f32>) {
        match self {
            Self::U8 => mix(data, n_channels, channel, 128.0, |b: [u8; 1]| f32::from(b[0]) - 128.0, out),
            Self::S16 => mix(data, n_channels, channel, 32768.0, |b| f32::from(i16::from_le_bytes(b)), out),
            Self::S24 => {
                let value = |b: [u8; 3]| i32::from_le_bytes([0, b[0], b[1], b[2]]) as f32;
                mix(data, n_channels, channel, 2_147_483_648.0, value, out);
            }
            Self::S32 => mix(data, n_channels, channel, 2_147_483_648.0, |b| i32::from_le_bytes(b) as f32, out),
            Self::F32 => mix(data, n_channels, channel, 1.0, f32::from_le_bytes, out),
            Self::F64 => mix(data, n_channels, channel, 1.0, |b| f64::from_le_bytes(b) as f32, out),
            Self::ALaw => mix(data, n_channels, channel, 32768.0, |b: [u8; 1]| A_LAW[usize::from(b[0])], out),
            Self::MuLaw => mix(data, n_channels, channel, 32768.0, |b: [u8; 1]| MU_LAW[usize::from(b[0])], out),
        }
    }
}

/// One channel, or the mean over all, of interleaved samples of `WIDTH` bytes, divided by `full_scale`.
fn mix<const WIDTH: usize>(
    data: &[u8],
    n_channels: usize,
    channel: Channel,
    full_scale: f32,
    value: impl Fn([u8; WIDTH]) -> f32,
    out: &mut Vec<f32>,
) {
    let scale = 1.0 / full_scale;
    let (values, _) = data.as_chunks::<WIDTH>();
    match (channel, n_channels) {
        (_, 1) => out.extend(values.iter().map(|&bytes| value(bytes) * scale)),
        (Channel::Only(only), _) => {
            let frames = values.chunks_exact(n_channels);
            out.extend(frames.map(|frame| value(frame[usize::from(only)]) * scale));
        }
        (Channel::Mix, 2) => {
            let (pairs, _) = values.as_chunks::<2>();
            out.extend(pairs.iter().map(|&[left, right]| (value(left) * scale + value(right) * scale) * 0.5));
        }
        (Channel::Mix, _) => {
            let scale = f64::from(scale) / n_channels as f64;
            let sum = |frame: &[[u8; WIDTH]]| frame.iter().map(|&bytes| f64::from(value(bytes))).sum::<f64>();
            out.extend(values.chunks_exact(n_channels).map(|frame| (sum(frame) * scale) as f32));
        }
    }
}

/// Sample of each A-law byte on the scale of 16 bits.
const fn a_law() -> [f32; 256] {
    let mut table = [0.0; 256];
    let mut byte = 0;
    while byte < 256 {
        let bits = byte as i32 ^ 0x55;
        let (exponent, mantissa) = ((bits >> 4) & 7, bits & 15);
        let step = (mantissa << 4) + 8;
        let magnitude = if exponent == 0 { step } else { (step + 0x100) << (exponent - 1) };
        table[byte] = (if bits & 0x80 != 0 { magnitude } else { -magnitude }) as f32;
        byte += 1;
    }
    table
}

/// Sample of each mu-law byte on the scale of 16 bits.
const fn mu_law() -> [f32; 256] {
    let mut table = [0.0; 256];
    let mut byte = 0;
    while byte < 256 {
        let bits = !(byte as i32) & 0xFF;
        let (exponent, mantissa) = ((bits >> 4) & 7, bits & 15);
        let magnitude = (((mantissa << 3) + 0x84) << exponent) - 0x84;
        table[byte] = (if bits & 0x80 != 0 { -magnitude } else { magnitude }) as f32;
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mono(pcm: Pcm, data: &[u8], n_channels: usize, channel: Channel) -> Vec<f32> {
        let mut out = Vec::new();
        pcm.append(data, n_channels, channel, &mut out);
        out
    }

    #[test]
    fn integers_of_every_width_have_full_scale_one() {
        let mix = |pcm, data: &[u8]| mono(pcm, data, 1, Channel::Mix);
        assert_eq!(mix(Pcm::U8, &[0, 128, 255]), [-1.0, 0.0, 127.0 / 128.0]);
        assert_eq!(mix(Pcm::S16, &[0, 0x80, 0, 0, 0, 0x40]), [-1.0, 0.0, 0.5]);
        assert_eq!(mix(Pcm::S24, &[0, 0, 0x80, 0, 0, 0x40]), [-1.0, 0.5]);
        assert_eq!(mix(Pcm::S32, &[0, 0, 0, 0x80, 0, 0, 0, 0x40]), [-1.0, 0.5]);
        assert_eq!(mix(Pcm::F32, &1.5f32.to_le_bytes()), [1.5]);
        assert_eq!(mix(Pcm::F64, &(-0.25f64).to_le_bytes()), [-0.25]);
    }

    #[test]
    fn channels_become_their_mean_or_the_chosen_one() {
        let stereo = [0, 0x40, 0, 0xC0, 0, 0x40, 0, 0x20];
        assert_eq!(mono(Pcm::S16, &stereo, 2, Channel::Mix), [0.0, 0.375]);
        assert_eq!(mono(Pcm::S16, &stereo, 2, Channel::Only(0)), [0.5, 0.5]);
        assert_eq!(mono(Pcm::S16, &stereo, 2, Channel::Only(1)), [-0.5, 0.25]);
        for n_channels in [3, 6, 8, 32] {
            // Channel c holds (c + 1) / 64 of full scale.
            let frame: Vec<u8> = (1..=n_channels as i16).flat_map(|c| (c * 512).to_le_bytes()).collect();
            let data = frame.repeat(5);
            let mean = (n_channels + 1) as f32 / 2.0 / 64.0;
            assert_eq!(mono(Pcm::S16, &data, n_channels, Channel::Mix), [mean; 5], "{n_channels}");
            let last = Channel::Only(n_channels as u16 - 1);
            assert_eq!(mono(Pcm::S16, &data, n_channels, last), [n_channels as f32 / 64.0; 5], "{n_channels}");
        }
    }

    #[test]
    fn laws_match_the_tables_of_g711() {
        // Ends and middles of tables 1 and 2 of ITU-T G.711, on the scale of 16 bits.
        for (byte, value) in [(0xD5, 8.0), (0x55, -8.0), (0xAA, 32256.0), (0x2A, -32256.0), (0x80, 5504.0)] {
            assert_eq!(A_LAW[byte], value, "A-law {byte:#x}");
        }
        for (byte, value) in [(0xFF, 0.0), (0x7F, 0.0), (0x80, 32124.0), (0x00, -32124.0), (0xF0, 120.0)] {
            assert_eq!(MU_LAW[byte], value, "mu-law {byte:#x}");
        }
    }
}
