//! Filters by way of the spectrum: shaping by real gains, and convolution with a response of any length.

use std::sync::Arc;

use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use rustfft::num_complex::Complex32;

/// Plan of a transform there and back: immutable, shared by threads.
pub(crate) struct Fourier {
    n: usize,
    forward: Arc<dyn RealToComplex<f32>>,
    inverse: Arc<dyn ComplexToReal<f32>>,
}

impl Fourier {
    /// Plans transforms of `n` samples, `n` even.
    pub(crate) fn new(n: usize) -> Self {
        debug_assert!(n > 0 && n.is_multiple_of(2), "an even number of samples, not {n}");
        let mut planner = RealFftPlanner::new();
        Self { n, forward: planner.plan_fft_forward(n), inverse: planner.plan_fft_inverse(n) }
    }

    /// Samples of a transform.
    pub(crate) fn len(&self) -> usize {
        self.n
    }

    /// Multiplies the spectrum of `samples` by `gains`, in place.
    ///
    /// `samples`  `[n]`, taken as one period: what is filtered over the end comes back at the beginning.
    /// `gains`    `[n / 2 + 1]`, of bin `i * rate / n` Hz; no phase is turned.
    /// Proof      `shaping_scales_each_tone_by_its_gain`.
    pub(crate) fn shape(&self, samples: &mut [f32], gains: &[f32]) {
        let mut spectrum = self.forward(samples);
        for (value, gain) in spectrum.iter_mut().zip(gains) {
            *value *= gain / self.n as f32;
        }
        self.inverse(&mut spectrum, samples);
    }

    /// Convolves `wave` with `response` in place: `out[i] = sum_k response[k] wave[i + delay - k]`, zeros outside.
    ///
    /// `wave`      any length, which it keeps; `response` up to `n / 2` samples, `delay` within it.
    /// Overlap-add in blocks of `n + 1 - response.len()` samples; errors 1e-6 of the largest value.
    /// Proof       `convolution_matches_the_sum`.
    pub(crate) fn convolve(&self, wave: &mut [f32], response: &[f32], delay: usize) {
        debug_assert!(response.len() <= self.n / 2 && delay < response.len().max(1));
        let mut block = vec![0.0f32; self.n];
        block[..response.len()].copy_from_slice(response);
        let mut filter = self.forward(&mut block);
        filter.iter_mut().for_each(|value| *value *= 1.0 / self.n as f32);
        let mut out = vec![0.0f32; wave.len()];
        let length = self.n + 1 - response.len();
        for (block_idx, part) in wave.chunks(length).enumerate() {
            if part.iter().all(|&sample| sample == 0.0) {
                continue;
            }
            block[..part.len()].copy_from_slice(part);
            block[part.len()..].fill(0.0);
            let mut spectrum = self.forward(&mut block);
            spectrum.iter_mut().zip(&filter).for_each(|(value, filter)| *value *= filter);
            self.inverse(&mut spectrum, &mut block);
            // Sample 0 of the block belongs to sample `begin - delay` of the output.
            let begin = block_idx * length;
            let skip = delay.saturating_sub(begin);
            let from = (begin + skip - delay).min(out.len());
            out[from..].iter_mut().zip(&block[skip..]).for_each(|(sum, sample)| *sum += sample);
        }
        wave.copy_from_slice(&out);
    }

    /// `[n / 2 + 1]`; leaves other values in `samples`.
    fn forward(&self, samples: &mut [f32]) -> Vec<Complex32> {
        let mut spectrum = self.forward.make_output_vec();
        self.forward.process(samples, &mut spectrum).expect("buffers have the plan's length");
        spectrum
    }

    /// Unscaled: `n` times the samples.
    fn inverse(&self, spectrum: &mut [Complex32], samples: &mut [f32]) {
        // A real signal has no imaginary part there; rounding must not leave one.
        spectrum[0].im = 0.0;
        spectrum[self.n / 2].im = 0.0;
        self.inverse.process(spectrum, samples).expect("buffers have the plan's length");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Seed;

    fn noise(seed: u64, n: usize) -> Vec<f32> {
        (0..n).map(|i| Seed(seed).normal_pair(i as u64).0 as f32).collect()
    }

    #[test]
    fn convolution_matches_the_sum() {
        for (n, n_response, n_wave) in [(16, 1, 5), (16, 8, 100), (16, 5, 12), (64, 31, 33), (64, 32, 1_000), (8, 4, 1)]
        {
            let (wave, response) = (noise(1, n_wave), noise(2, n_response));
            for delay in [0, n_response / 2, n_response - 1] {
                let mut out = wave.clone();
                Fourier::new(n).convolve(&mut out, &response, delay);
                let sum = |i: usize| -> f64 {
                    let terms = response.iter().enumerate().map(|(k, &tap)| {
                        let at = (i + delay).checked_sub(k).and_then(|at| wave.get(at));
                        f64::from(tap) * f64::from(at.copied().unwrap_or(0.0))
                    });
                    terms.sum()
                };
                for (i, &value) in out.iter().enumerate() {
                    // Some ten terms of size one to ten, each rounded to 6e-8 of the largest in the block.
                    assert!((f64::from(value) - sum(i)).abs() < 2e-5, "{n} {n_response} {n_wave} {delay}: sample {i}");
                }
            }
        }
    }

    #[test]
    fn shaping_scales_each_tone_by_its_gain() {
        let n = 256;
        let tone = |bin: usize, i: usize| (std::f64::consts::TAU * (bin * i) as f64 / n as f64 + 0.3).cos();
        let mut wave: Vec<f32> = (0..n).map(|i| (tone(0, i) + tone(5, i) + tone(90, i)) as f32).collect();
        let mut gains = vec![1.0f32; n / 2 + 1];
        (gains[0], gains[5], gains[90]) = (0.0, 0.5, 2.0);
        Fourier::new(n).shape(&mut wave, &gains);
        let expected = |i: usize| 0.5 * tone(5, i) + 2.0 * tone(90, i);
        assert!(wave.iter().enumerate().all(|(i, &x)| (f64::from(x) - expected(i)).abs() < 1e-5));
    }
}
