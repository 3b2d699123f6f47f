//! Short-time power spectra, sixteen frames side by side.

use std::sync::Arc;

use realfft::{RealFftPlanner, RealToComplex};
use rustfft::num_complex::Complex32;

use super::profile::FrontEnd;
use super::window::window;

/// Frames that are worked on together: two vector registers of eight.
pub(super) const LANES: usize = 16;

/// Plan of one front end's transform: immutable, shared by threads.
pub(super) struct Stft {
    fft: Arc<dyn RealToComplex<f32>>,
    /// `[window_length]`.
    window: Vec<f32>,
    n_samples: usize,
    hop: usize,
    /// The window's samples begin this far into a frame of n_fft.
    window_start: usize,
}

/// Buffers of one thread.
pub(super) struct StftScratch {
    /// `[n_fft]`.
    frame: Vec<f32>,
    /// `[n_bins]`.
    spectrum: Vec<Complex32>,
    fft: Vec<Complex32>,
}

impl Stft {
    /// Plans a front end that has been checked.
    pub(super) fn new(front_end: &FrontEnd) -> Self {
        Self {
            fft: RealFftPlanner::new().plan_fft_forward(front_end.n_fft),
            window: window(front_end.window, front_end.window_length).into_iter().map(|value| value as f32).collect(),
            n_samples: front_end.n_samples,
            hop: front_end.hop,
            window_start: (front_end.n_fft - front_end.window_length) / 2,
        }
    }

    pub(super) fn scratch(&self) -> StftScratch {
        StftScratch {
            frame: self.fft.make_input_vec(),
            spectrum: self.fft.make_output_vec(),
            fft: self.fft.make_scratch_vec(),
        }
    }

    /// `|X|^2` of frames `first_frame..first_frame + n_lanes`, unscaled.
    ///
    /// `wave`   `[n_samples]`. Frame `t` is centred on sample `t * hop`; there are zeros before and after the wave.
    /// `power`  `[n_bins][LANES]`; lanes from `n_lanes` on keep what they held.
    /// Source   paper, equations 1-3; `librosa.stft` with `center=True, pad_mode="constant"`.
    /// Proof    `power_matches_the_f64_twin`.
    pub(super) fn power(
        &self,
        wave: &[f32],
        first_frame: usize,
        n_lanes: usize,
        scratch: &mut StftScratch,
        power: &mut [[f32; LANES]],
    ) {
        for lane in 0..n_lanes {
            self.fill_frame(wave, first_frame + lane, &mut scratch.frame);
            // Padding is a third of all frames, and needs no transform.
            if scratch.frame.iter().fold(0, |any, sample| any | sample.to_bits()) == 0 {
                power.iter_mut().for_each(|power| power[lane] = 0.0);
                continue;
            }
            self.fft
                .process_with_scratch(&mut scratch.frame, &mut scratch.spectrum, &mut scratch.fft)
                .expect("buffers were made by this plan");
            for (power, value) in power.iter_mut().zip(&scratch.spectrum) {
                power[lane] = value.re * value.re + value.im * value.im;
            }
        }
    }

    /// The windowed samples of one frame, in zeros; the transform left other values in there.
    fn fill_frame(&self, wave: &[f32], frame_idx: usize, frame: &mut [f32]) {
        debug_assert_eq!(wave.len(), self.n_samples);
        frame.fill(0.0);
        // Where the window begins, counted from n_fft / 2 zeros before the wave.
        let begin = frame_idx * self.hop + self.window_start;
        let before = frame.len() / 2;
        let skip = before.saturating_sub(begin).min(self.window.len());
        let from = (begin + skip).saturating_sub(before).min(wave.len());
        let inside = self.window[skip..].iter().zip(&wave[from..]);
        for (value, (taper, sample)) in frame[self.window_start + skip..].iter_mut().zip(inside) {
            *value = taper * sample;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::profile::{PowerScale, Window, profile};
    use crate::signal::twin;
    use crate::units::Seed;

    fn noise(n: usize) -> Vec<f32> {
        (0..n).map(|i| Seed(11).normal_pair(i as u64).0 as f32).collect()
    }

    /// `[n_frames][n_bins]`, from buffers full of rubbish.
    fn power_of(front_end: &FrontEnd, wave: &[f32]) -> Vec<Vec<f32>> {
        let stft = Stft::new(front_end);
        let mut scratch = stft.scratch();
        let mut frames = Vec::new();
        for first in (0..front_end.n_frames()).step_by(LANES) {
            scratch.frame.fill(7e7);
            scratch.spectrum.fill(Complex32::new(f32::NAN, 3.0));
            scratch.fft.fill(Complex32::new(-5e5, f32::NAN));
            let mut power = vec![[f32::NAN; LANES]; front_end.n_bins()];
            let n_lanes = LANES.min(front_end.n_frames() - first);
            stft.power(wave, first, n_lanes, &mut scratch, &mut power);
            assert!(power.iter().all(|bin| bin[n_lanes..].iter().all(|value| value.is_nan())));
            frames.extend((0..n_lanes).map(|lane| power.iter().map(|bin| bin[lane]).collect::<Vec<f32>>()));
        }
        frames
    }

    #[test]
    fn power_matches_the_f64_twin() {
        let paper = profile("paper").expect("known");
        for (n_fft, window_length, hop) in [(512, 256, 128), (512, 512, 100), (64, 63, 64), (30, 7, 5), (8, 8, 1)] {
            for n_samples in [1, 3, 100, 129, 700, 2_100] {
                for window in [Window::HammingSymmetric, Window::HammingPeriodic] {
                    let front_end = FrontEnd {
                        n_samples,
                        n_fft,
                        window_length,
                        hop,
                        window,
                        power: PowerScale::Plain,
                        ..paper.clone()
                    };
                    let wave = noise(n_samples);
                    let expected = twin::power(&wave, &front_end);
                    let power = power_of(&front_end, &wave);
                    assert_eq!(power.len(), expected.len());
                    let largest = expected.iter().flatten().copied().fold(0.0, f64::max);
                    for (power, expected) in power.iter().flatten().zip(expected.iter().flatten()) {
                        // f32 errs by 6e-8 per step of about log2(n_fft) steps, relative to the largest amplitude.
                        assert!(
                            (f64::from(*power) - expected).abs() < 1e-6 * largest,
                            "{n_fft} {n_samples}: {power} {expected}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_frame_of_zeros_has_no_power_at_all() {
        let paper = profile("paper").expect("known");
        let mut wave = vec![0.0; paper.n_samples];
        wave[..1000].copy_from_slice(&noise(1000));
        let power = power_of(&paper, &wave);
        // Frame 9 reaches to sample 9 * 128 - 128 = 1024 on its left.
        assert!(power[9..].iter().flatten().all(|&value| value == 0.0));
        assert!(power[..8].iter().all(|frame| frame.iter().all(|&value| value > 0.0)));
    }
}
