//! `features`: one row per recording and copy, with its log-mel spectrogram.

use half::f16;
use half::slice::HalfFloatSliceExt;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::tables::Row;
use crate::tables::manifest::Status;

/// See `schemas/features.toml`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FeatureRow {
    pub recording_id: String,
    pub corpus: String,
    pub content_hash: String,
    pub copy: u32,
    pub augmentation: Option<String>,
    pub snr_db: Option<f64>,
    pub emotion: Option<String>,
    pub split: Option<String>,
    pub n_mels: u32,
    pub n_frames: u32,
    pub valid_frames: u32,
    pub pad_fraction: f64,
    pub truncated: bool,
    pub mel_mean: Option<f64>,
    pub mel_std: Option<f64>,
    pub mel_min: Option<f64>,
    pub mel_max: Option<f64>,
    #[serde(with = "serde_bytes")]
    pub log_mel: Option<Vec<u8>>,
    pub fingerprint: String,
    pub status: Status,
    pub reject_reason: Option<String>,
}

impl Row for FeatureRow {
    const SCHEMA: &'static str = include_str!("../../schemas/features.toml");
}

/// Stored form of a spectrogram: little-endian float16, C order.
pub fn to_blob(log_mel: &[f32]) -> Vec<u8> {
    let mut narrow = vec![f16::ZERO; log_mel.len()];
    narrow.convert_from_f32_slice(log_mel);
    narrow.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Fills `log_mel` from its stored form; a blob of another size is an error.
pub fn from_blob(blob: &[u8], log_mel: &mut [f32]) -> Result<()> {
    if blob.len() != 2 * log_mel.len() {
        return Err(Error::input(format!(
            "a spectrogram of {} bytes where {} were expected",
            blob.len(),
            2 * log_mel.len()
        )));
    }
    // Slices are widened by the processor's own instruction, single values by arithmetic.
    let mut narrow = [f16::ZERO; 512];
    for (values, bytes) in log_mel.chunks_mut(narrow.len()).zip(blob.chunks(2 * narrow.len())) {
        let narrow = &mut narrow[..values.len()];
        for (value, bytes) in narrow.iter_mut().zip(bytes.as_chunks().0) {
            *value = f16::from_le_bytes(*bytes);
        }
        narrow.convert_to_f32_slice(values);
    }
    Ok(())
}

#[cfg(test)]
impl FeatureRow {
    pub(crate) fn example() -> Self {
        Self {
            recording_id: "a/b.wav".into(),
            log_mel: Some(to_blob(&[1.5, -23.0])),
            snr_db: Some(15.0),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_comes_back_within_half_a_unit_of_float16() {
        let log_mel: Vec<f32> = (0..1000).map(|i| -23.0 + 0.03 * i as f32).collect();
        let mut back = vec![0.0; 1000];
        from_blob(&to_blob(&log_mel), &mut back).expect("same size");
        // Between 16 and 32 float16 has steps of 1/64; rounding errs by half a step at most.
        assert!(log_mel.iter().zip(&back).all(|(a, b)| (a - b).abs() <= 1.0 / 128.0));
        assert_eq!(to_blob(&[1.0]), [0x00, 0x3c]);
        assert!(from_blob(&[0; 6], &mut back).is_err());
    }
}
