//! Short-time power spectra, sixteen frames side by side.

use std::sync::Arc;

use realfft::{RealFftPlanner, RealToComplex};
use rustfft::num_complex::Complex32;

use super::columns::Columns;
use super::frames::{Frames, Samples};
use super::profile::FrontEnd;
use super::window::window;
use crate::simd::{Isa, Job, Lanes};

/// Frames that are worked on together: one vector register of AVX-512, two of AVX2.
pub(super) const LANES: usize = 16;

/// Plan of one front end's transform: immutable, shared by threads.
pub struct Stft {
    /// How transforms of powers of two are done.
    together: Option<Together>,
    /// How all others are.
    fft: Arc<dyn RealToComplex<f32>>,
    /// `[window_length]`.
    window: Vec<f32>,
    n_samples: usize,
    n_fft: usize,
    hop: usize,
    /// The window's samples begin this far into a frame of n_fft.
    window_start: usize,
    pub(super) isa: Isa,
}

/// All frames of a block at once.
struct Together {
    frames: Frames,
    columns: Columns,
}

/// Buffers of one thread.
pub struct StftScratch {
    /// `[n_fft]`.
    frame: Vec<f32>,
    /// `[n_bins]`.
    spectrum: Vec<Complex32>,
    fft: Vec<Complex32>,
    columns: Vec<f32>,
    work: Vec<f32>,
}

impl Stft {
    /// Plans a front end that has been checked.
    pub(super) fn new(front_end: &FrontEnd) -> Self {
        let window = window(front_end.window, front_end.window_length);
        let together = Frames::new(front_end.n_fft, &window).map(|frames| {
            let columns = Columns::new(front_end.hop, frames.n_read(), LANES);
            Together { frames, columns }
        });
        Self {
            together,
            fft: RealFftPlanner::new().plan_fft_forward(front_end.n_fft),
            window: window.into_iter().map(|value| value as f32).collect(),
            n_samples: front_end.n_samples,
            n_fft: front_end.n_fft,
            hop: front_end.hop,
            window_start: (front_end.n_fft - front_end.window_length) / 2,
            isa: Isa::fastest(),
        }
    }

    pub(super) fn scratch(&self) -> StftScratch {
        let together = self.together.as_ref();
        StftScratch {
            frame: self.fft.make_input_vec(),
            spectrum: self.fft.make_output_vec(),
            fft: self.fft.make_scratch_vec(),
            columns: vec![0.0; together.map_or(0, |together| together.columns.len())],
            work: vec![0.0; together.map_or(0, |together| together.frames.work_length(LANES))],
        }
    }

    /// `|X|^2` of frames `first_frame..first_frame + n_lanes`, unscaled; false when they hold nothing but zeros, and then
    /// `power` is left as it was.
    ///
    /// `wave`   `[n_samples]`. Frame `t` is centred on sample `t * hop`; there are zeros before and after the wave.
    /// `power`  `[n_bins][LANES]`; what lanes from `n_lanes` on hold afterwards has no meaning.
    /// Source   paper, equations 1-3; `librosa.stft` with `center=True, pad_mode="constant"`.
    /// Proof    `power_matches_the_f64_twin`.
    pub(super) fn power(
        &self,
        wave: &[f32],
        first_frame: usize,
        n_lanes: usize,
        scratch: &mut StftScratch,
        power: &mut [[f32; LANES]],
    ) -> bool {
        debug_assert_eq!(wave.len(), self.n_samples);
        // Padding is a third of all frames, and needs no transform.
        if self.is_silent(wave, first_frame, n_lanes) {
            return false;
        }
        match &self.together {
            Some(together) => {
                let begin = (first_frame * self.hop + self.window_start) as isize - (self.n_fft / 2) as isize;
                together.columns.fill(self.isa, wave, begin, &mut scratch.columns);
                let samples = Samples { values: &scratch.columns, offsets: together.columns.offsets() };
                let (frames, work) = (&together.frames, scratch.work.as_mut_slice());
                self.isa.run(PowerOfBlock { frames, samples, work, power: power.as_flattened_mut() });
            }
            None => self.power_one_by_one(wave, first_frame, n_lanes, scratch, power),
        }
        true
    }

    /// True when the windows of these frames lie on zeros only.
    fn is_silent(&self, wave: &[f32], first_frame: usize, n_lanes: usize) -> bool {
        let begin = first_frame * self.hop + self.window_start;
        let end = begin + (n_lanes - 1) * self.hop + self.window.len();
        let within = |at: usize| at.saturating_sub(self.n_fft / 2).min(wave.len());
        // Whole vectors by their bits: a search for the first one that is not zero ends at once where there is a signal.
        wave[within(begin)..within(end)].chunks(64).all(|part| part.iter().fold(0, |any, x| any | x.to_bits()) == 0)
    }

    fn power_one_by_one(
        &self,
        wave: &[f32],
        first_frame: usize,
        n_lanes: usize,
        scratch: &mut StftScratch,
        power: &mut [[f32; LANES]],
    ) {
        for lane in 0..n_lanes {
            self.fill_frame(wave, first_frame + lane, &mut scratch.frame);
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
        frame.fill(0.0);
        // Where the window begins, counted from n_fft / 2 zeros before the wave.
        let begin = frame_idx * self.hop + self.window_start;
        let before = frame.len() / 2;
        let skip = before.saturating_sub(begin).min(self.window.len());
        let from = (begin + skip).saturating_sub(before).min(wave.len());
        let inside = self.window[skip..].iter().zip(&wave[from..]);
        for (value, (weight, sample)) in frame[self.window_start + skip..].iter_mut().zip(inside) {
            *value = weight * sample;
        }
    }
}

/// `|X|^2` of a block of frames, as many at a time as a register holds.
struct PowerOfBlock<'a> {
    frames: &'a Frames,
    samples: Samples<'a>,
    work: &'a mut [f32],
    /// `[n_bins][LANES]`.
    power: &'a mut [f32],
}

impl Job for PowerOfBlock<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        for lane in (0..LANES).step_by(L::N) {
            let samples = Samples { values: &self.samples.values[lane..], offsets: self.samples.offsets };
            self.frames.power(lanes, &samples, self.work, &mut self.power[lane..], LANES);
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
    fn power_of(front_end: &FrontEnd, wave: &[f32], isa: Isa) -> Vec<Vec<f32>> {
        let stft = Stft { isa, ..Stft::new(front_end) };
        let mut scratch = stft.scratch();
        let mut frames = Vec::new();
        for first in (0..front_end.n_frames()).step_by(LANES) {
            scratch.frame.fill(7e7);
            scratch.spectrum.fill(Complex32::new(f32::NAN, 3.0));
            scratch.fft.fill(Complex32::new(-5e5, f32::NAN));
            let mut power = vec![[f32::NAN; LANES]; front_end.n_bins()];
            let n_lanes = LANES.min(front_end.n_frames() - first);
            scratch.columns.fill(-3e8);
            scratch.work.fill(f32::NAN);
            if !stft.power(wave, first, n_lanes, &mut scratch, &mut power) {
                power.fill([0.0; LANES]);
            }
            frames.extend((0..n_lanes).map(|lane| power.iter().map(|bin| bin[lane]).collect::<Vec<f32>>()));
        }
        frames
    }

    #[test]
    fn power_matches_the_f64_twin() {
        let paper = profile("paper").expect("known");
        let shapes = [(512, 256, 128), (512, 512, 100), (1_024, 256, 128), (64, 63, 64), (30, 7, 5), (8, 8, 1)];
        for (n_fft, window_length, hop) in shapes.into_iter().chain([(400, 399, 160), (128, 33, 128), (256, 129, 60)]) {
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
                    let power = power_of(&front_end, &wave, Isa::Portable);
                    for isa in Isa::available() {
                        assert_eq!(power, power_of(&front_end, &wave, isa), "{isa:?}, {n_fft} {n_samples}");
                    }
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
        let power = power_of(&paper, &wave, Isa::fastest());
        // Frame 9 reaches to sample 9 * 128 - 128 = 1024 on its left.
        assert!(power[9..].iter().flatten().all(|&value| value == 0.0));
        assert!(power[..8].iter().all(|frame| frame.iter().all(|&value| value > 0.0)));
    }
}
