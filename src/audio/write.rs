//! Writes synthesised recordings as WAV.

use std::io::Cursor;

use hound::{SampleFormat, WavSpec, WavWriter};

use crate::error::{Error, Result};
use crate::units::SampleRate;

/// A 16-bit mono WAV file; `samples` have full scale 1 and are clipped there.
pub fn write_wav(samples: &[f32], rate: SampleRate) -> Result<Vec<u8>> {
    let failed = |error: hound::Error| Error::bug("cannot make a WAV file").because(error);
    let spec = WavSpec { channels: 1, sample_rate: rate.0, bits_per_sample: 16, sample_format: SampleFormat::Int };
    let mut bytes = Cursor::new(Vec::with_capacity(44 + 2 * samples.len()));
    let mut writer = WavWriter::new(&mut bytes, spec).map_err(failed)?;
    for &sample in samples {
        writer.write_sample((sample.clamp(-1.0, 1.0) * f32::from(i16::MAX)).round() as i16).map_err(failed)?;
    }
    writer.finalize().map_err(failed)?;
    Ok(bytes.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::{Channel, decode};

    #[test]
    fn a_written_recording_decodes_to_its_samples() {
        let samples: Vec<f32> = (0..500).map(|i| (i as f32 * 0.1).sin() * 0.5).collect();
        let (bytes, mut read) = (write_wav(&samples, SampleRate(16_000)).expect("written"), Vec::new());
        let decoded = decode(&bytes, Channel::Mix, &mut read).expect("decoded");
        assert_eq!((decoded.sample_rate, decoded.n_channels, read.len()), (SampleRate(16_000), 1, 500));
        assert!(samples.iter().zip(&read).all(|(a, b)| (a - b).abs() < 1e-4));
    }
}
