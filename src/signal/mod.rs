//! From a resampled wave to its log-mel spectrogram.
//!
//! | room          | what happens there                                                            |
//! |---------------|-------------------------------------------------------------------------------|
//! | [`profile`]   | every constant of a front end, and the named ones: `paper`, `lineage`...      |
//! | [`speech`]    | where speech begins and ends                                                  |
//! | [`condition`] | skip the offset, z-score, truncate or pad                                     |
//! | [`window`]    | the window function of a frame                                                     |
//! | [`stft`]      | short-time power spectrum                                                     |
//! | `fourier`     | filters by way of the spectrum; with `stft` the only user of the FFT library   |
//! | [`rates`]     | the resampler of each rate that recordings come at                            |
//! | [`wide`]      | the resampler with the wide pass band, by `transform`, many blocks at once     |
//! | `frames`      | transforms of powers of two, many frames at once; `columns` feeds it                    |
//! | [`mel`]       | the sparse filter bank, and what is wrong with it                             |
//! | [`log_mel`]   | all of it per recording: immutable plan, scratch of the caller, no allocation |
//! | [`band_mean`] | the mean of each band taken away                                              |
//! | [`float16`]   | the precision that spectrograms are stored in                                 |
//! | [`summary`]   | mean, deviation and extremes of a spectrogram                                  |
//! | [`tiles`]     | the windows of frames that the network sees                                   |
//!
//! Trust: hand values prove the slow f64 twins (`twin`), the twins prove the fast path, and numbers computed by
//! librosa and torchaudio (`golden`) prove both.

pub mod band_mean;
mod columns;
pub mod condition;
pub mod float16;
pub(crate) mod fourier;
mod frames;
pub mod log_mel;
pub mod mel;
pub mod profile;
pub mod rates;
pub mod speech;
pub mod stft;
pub mod summary;
pub mod tiles;
mod transform;
pub mod wide;
pub mod window;

#[cfg(test)]
mod golden;
#[cfg(test)]
pub(crate) mod twin;

use profile::FrontEnd;

/// Frames whose centre lies on one of the first `valid_samples` samples; the others are centred on padding.
///
/// Frame `t` is centred on sample `t * hop`.
pub fn valid_frames(front_end: &FrontEnd, valid_samples: usize) -> usize {
    valid_samples.div_ceil(front_end.hop).min(front_end.n_frames())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_valid_when_its_centre_is_a_sample() {
        let front_end = profile::profile("paper").expect("known");
        let expected = [(0, 0), (1, 1), (128, 1), (129, 2), (64_896, 507), (64_897, 508), (65_000, 508), (99_999, 508)];
        for (samples, frames) in expected {
            assert_eq!(valid_frames(&front_end, samples), frames, "{samples} samples");
        }
    }
}
