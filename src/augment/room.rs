//! The sound of a room around the talker.

use super::noise::add_noise;
use super::{Augmentation, Call, Effect, Format, Parameter, Place, Ranges, Wave};
use crate::error::Result;
use crate::signal::fourier::Fourier;
use crate::simd::Isa;
use crate::units::{Decibels, SampleRate};

/// Convolves the recording with a room impulse response made for the copy: the direct sound, then 2.5 ms later Gaussian
/// noise that decays by 60 dB in the reverberation time, `drr_db` weaker than the direct sound in energy.
///
/// A model of late reverberation, not of a real room: no single echoes, all frequencies decay alike. Before the z-score,
/// so that the level follows from what is heard; the tail rings on into the room behind the recording.
///
/// Source: exponentially decaying noise: J. Moorer, About this reverberation business, 1979; J. Polack 1988.
/// Proof: `a_room_decays_by_60_db_in_its_reverberation_time`.
pub(super) struct Room;

static PARAMETERS: [Parameter; 2] = [
    Parameter {
        key: "rt60_s",
        label: "rt60",
        default: [0.2, 0.7],
        limits: [0.05, 3.0],
        step: 0.0,
        never: None,
        source: "rooms of the REVERB challenge (Kinoshita et al. 2013): 0.25, 0.5 and 0.7 s",
    },
    Parameter {
        key: "drr_db",
        label: "drr",
        default: [0.0, 10.0],
        limits: [-20.0, 40.0],
        step: 0.0,
        never: None,
        source: "own choice: talkers from half a metre to the distance where direct and reverberant energy are equal",
    },
];

/// From the direct sound to the first of the others: a detour of 0.86 m.
const GAP_S: f64 = 0.0025;

struct Planned {
    sample_rate: SampleRate,
    fourier: Fourier,
}

impl Augmentation for Room {
    fn name(&self) -> &'static str {
        "room"
    }

    fn about(&self) -> &'static str {
        "reverberation: a generated impulse response of exponentially decaying noise"
    }

    fn place(&self) -> Place {
        Place::Recording
    }

    fn parameters(&self) -> &'static [Parameter] {
        &PARAMETERS
    }

    fn plan(&self, ranges: &Ranges, format: Format) -> Result<Box<dyn Effect>> {
        let longest = response_length(ranges.of("rt60_s").1[1], format.sample_rate);
        let fourier = Fourier::new((2 * longest).next_power_of_two());
        Ok(Box::new(Planned { sample_rate: format.sample_rate, fourier }))
    }
}

/// Samples until the response has decayed by 60 dB.
fn response_length(rt60_s: f64, sample_rate: SampleRate) -> usize {
    ((rt60_s + GAP_S) * sample_rate.hz()).ceil() as usize + 1
}

impl Effect for Planned {
    fn apply(&self, call: &mut Call, wave: &mut Wave) {
        let (rt60_s, rate) = (call.drawn.of("rt60_s"), self.sample_rate);
        let n = response_length(rt60_s, rate);
        let gap = ((GAP_S * rate.hz()) as usize).max(1);
        let mut response = vec![0.0f32; n];
        add_noise(Isa::fastest(), call.seed.derive("response", &[]), 1.0, &mut response[gap..]);
        // Amplitude falls by a factor of 1000 in rt60.
        let decay = 10f64.powf(-3.0 / (rt60_s * rate.hz()));
        let (mut envelope, mut energy) = (1.0f64, 0.0f64);
        for sample in &mut response[gap..] {
            *sample *= envelope as f32;
            energy += f64::from(*sample).powi(2);
            envelope *= decay;
        }
        let gain = (1.0 / (energy.max(f64::MIN_POSITIVE) * Decibels(call.drawn.of("drr_db")).power_ratio())).sqrt();
        response[gap..].iter_mut().for_each(|sample| *sample *= gain as f32);
        response[0] = 1.0;
        self.fourier.convolve(wave.samples, &response, 0);
        wave.end_at(wave.valid + n - 1);
    }
}
