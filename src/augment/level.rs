//! Adding a disturbance at a signal-to-noise ratio.

use crate::signal::condition::{Term, sum_of};
use crate::simd::Isa;
use crate::units::Decibels;

/// Mean square of the whole wave as it stands, padding included; 0 for none.
pub(super) fn power(wave: &[f32]) -> f64 {
    sum_of(Isa::fastest(), wave, Term::SquareFrom(0.0)) / wave.len().max(1) as f64
}

/// Adds `noise` (`[n_samples]`, any level), scaled so that the wave's power stands `snr_db` above its own.
///
/// Both powers are mean squares over the whole wave, padding included, as for white noise. Silent noise adds nothing.
/// Proof: the test over all augmentations that name a signal-to-noise ratio.
pub(super) fn add_at_snr(wave: &mut [f32], noise: &[f32], snr_db: f64) {
    let (signal, disturbance) = (power(wave), power(noise));
    if disturbance == 0.0 {
        return;
    }
    let gain = (signal / (disturbance * Decibels(snr_db).power_ratio())).sqrt() as f32;
    for (sample, noise) in wave.iter_mut().zip(noise) {
        *sample += gain * noise;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_by_hand() {
        // Signal power 4, noise power 100; 20 dB asks for a noise of power 0.04: a gain of 0.02.
        let mut wave = [2.0, -2.0, 2.0, -2.0];
        add_at_snr(&mut wave, &[10.0, 10.0, -10.0, -10.0], 20.0);
        let expected = [2.2f32, -1.8, 1.8, -2.2];
        assert!(wave.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{wave:?}");
        add_at_snr(&mut wave, &[0.0; 4], 20.0);
        assert!(wave.iter().all(|x| x.is_finite()));
    }
}
