//! The mean of each band taken away: what a microphone, a room and a line do to all frames alike.

use serde::{Deserialize, Serialize};

use super::condition::{Term, sum_of};
use crate::simd::Isa;

/// `[features.front_end] band_mean`: what is taken from each band of a spectrogram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BandMean {
    /// Nothing.
    #[default]
    None,
    /// The band's mean over the frames with signal of the same recording.
    Recording,
}

impl BandMean {
    /// Whether recipes need not name it.
    pub(super) fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// Takes from each band its mean over the first `n_signal` frames; the frames behind them, which are padding, stay what they
/// are: what is taken away would name the recording's channel there.
///
/// `log_mel`  `[n_mels, n_frames]`, in place. A filter that does not change over time multiplies the power of a band by
/// one number in all frames, and is a constant in its logarithm.
/// Source     cepstral mean subtraction, B. Atal, J. Acoust. Soc. Am. 55 (1974), in the spectral domain.
/// Proof      `means_by_hand`, `a_gain_of_a_band_is_gone`.
pub fn remove_band_means(log_mel: &mut [f32], n_frames: usize, n_signal: usize) {
    let n_signal = n_signal.min(n_frames);
    if n_signal == 0 {
        return;
    }
    let isa = Isa::fastest();
    for band in log_mel.chunks_exact_mut(n_frames) {
        let signal = &mut band[..n_signal];
        let mean = (sum_of(isa, signal, Term::Value) / n_signal as f64) as f32;
        signal.iter_mut().for_each(|value| *value -= mean);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Seed;

    #[test]
    fn means_by_hand() {
        let mut log_mel = [1.0, 3.0, -23.0, -4.0, -6.0, -23.0];
        remove_band_means(&mut log_mel, 3, 2);
        assert_eq!(log_mel, [-1.0, 1.0, -23.0, 1.0, -1.0, -23.0], "padding stays");
        let mut all = [1.0, 2.0, 6.0];
        remove_band_means(&mut all, 3, 99);
        assert_eq!(all, [-2.0, -1.0, 3.0]);
        remove_band_means(&mut all, 3, 0);
        assert_eq!(all, [-2.0, -1.0, 3.0], "of no frame there is no mean");
    }

    #[test]
    fn a_gain_of_a_band_is_gone() {
        let values: Vec<f32> = (0..8 * 500).map(|i| Seed(5).normal_pair(i).0 as f32 * 3.0 - 5.0).collect();
        let mut heard: Vec<f32> = values.iter().enumerate().map(|(i, x)| x + (i / 500) as f32 * 1.5 - 4.0).collect();
        let mut plain = values;
        remove_band_means(&mut plain, 500, 400);
        remove_band_means(&mut heard, 500, 400);
        for (at, (a, b)) in plain.iter().zip(&heard).enumerate().filter(|(at, _)| at % 500 < 400) {
            assert!((a - b).abs() < 4e-6, "{at}: {a} {b}");
        }
        for band in plain.chunks_exact(500) {
            assert!(band[..400].iter().map(|&x| f64::from(x)).sum::<f64>().abs() < 400.0 * 1e-6);
        }
    }
}
