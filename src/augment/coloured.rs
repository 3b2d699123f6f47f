//! Noise whose power falls or rises with frequency: pink, brown, blue.

use super::level::add_at_snr;
use super::noise::add_noise;
use super::{Augmentation, Call, Effect, Format, Parameter, Place, Ranges, Wave};
use crate::error::Result;
use crate::signal::fourier::Fourier;
use crate::simd::Isa;

/// Gaussian noise with a power density proportional to `f^exponent` from 20 Hz up.
///
/// White normal values, their spectrum shaped, scaled to exactly the power that was asked for over the padded wave; like
/// white noise it fills the padding, because a room does not fall silent when the talker does. Nothing below 20 Hz:
/// nearly all power of brown noise would lie where no ear and no mel band is.
///
/// Proof: `coloured_noise_has_the_slope_of_its_colour`.
pub(super) struct ColouredNoise {
    name: &'static str,
    about: &'static str,
    /// Of the power density.
    exponent: f64,
}

pub(super) const PINK: ColouredNoise = ColouredNoise {
    name: "pink-noise",
    about: "Gaussian noise whose power density falls by 3 dB an octave above 20 Hz",
    exponent: -1.0,
};
pub(super) const BROWN: ColouredNoise = ColouredNoise {
    name: "brown-noise",
    about: "Gaussian noise whose power density falls by 6 dB an octave above 20 Hz",
    exponent: -2.0,
};
pub(super) const BLUE: ColouredNoise = ColouredNoise {
    name: "blue-noise",
    about: "Gaussian noise whose power density rises by 3 dB an octave above 20 Hz",
    exponent: 1.0,
};

const LOWEST_HZ: f64 = 20.0;

static PARAMETERS: [Parameter; 1] = [Parameter {
    key: "snr_db",
    label: "snr",
    default: [5.0, 20.0],
    limits: [-20.0, 80.0],
    step: 0.0,
    never: None,
    source: "own choice: the x-vector recipe (Snyder et al. 2018) has 0 to 15 dB for noises, the paper's family 15 to 29",
}];

struct Shaped {
    fourier: Fourier,
    /// `[n_bins]` of amplitude.
    gains: Vec<f32>,
}

impl Augmentation for ColouredNoise {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn place(&self) -> Place {
        Place::Conditioned
    }

    fn parameters(&self) -> &'static [Parameter] {
        &PARAMETERS
    }

    fn plan(&self, _ranges: &Ranges, format: Format) -> Result<Box<dyn Effect>> {
        // Long enough for a bin below the lowest frequency, even where the wave is a few samples.
        let least = format.n_samples.max((format.sample_rate.hz() / LOWEST_HZ) as usize);
        let n = least.next_power_of_two();
        let gain = |bin: usize| {
            let hz = bin as f64 * format.sample_rate.hz() / n as f64;
            if hz < LOWEST_HZ { 0.0 } else { (hz / 1000.0).powf(self.exponent / 2.0) as f32 }
        };
        Ok(Box::new(Shaped { fourier: Fourier::new(n), gains: (0..=n / 2).map(gain).collect() }))
    }
}

impl Effect for Shaped {
    fn apply(&self, call: &mut Call, wave: &mut Wave) {
        let mut noise = vec![0.0; self.fourier.len()];
        add_noise(Isa::fastest(), call.seed.derive("noise", &[]), 1.0, &mut noise);
        self.fourier.shape(&mut noise, &self.gains);
        add_at_snr(wave.samples, &noise[..wave.samples.len()], call.drawn.of("snr_db"));
    }
}
