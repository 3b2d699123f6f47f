//! A higher or lower voice at the same pace.

use std::collections::BTreeMap;

use super::speed::faster;
use super::wsola::Wsola;
use super::{Augmentation, Call, Effect, Format, Parameter, Place, Ranges, Wave};
use crate::audio::Resampler;
use crate::error::Result;

/// Multiplies all frequencies by `2^(semitones / 12)` and keeps durations: stretched in time by WSOLA, then played
/// faster by as much. Formants move with the pitch, as on a tape.
///
/// Before the z-score, as all that changes the voice itself. Length stays to the sample.
///
/// Source: J. Salamon, J. Bello, Deep convolutional neural networks and data augmentation for environmental sound
/// classification, 2017. Proof: `pitch_moves_a_tone_by_its_semitones_and_keeps_its_length`.
pub(super) struct Pitch;

static PARAMETERS: [Parameter; 1] = [Parameter {
    key: "semitones",
    label: "semitones",
    default: [-2.0, 2.0],
    limits: [-12.0, 12.0],
    step: 0.5,
    never: Some(0.0),
    source: "Salamon and Bello 2017, set PS1: -2, -1, 1, 2",
}];

/// Ratios are rounded to shares of it: three cents off at most, an octave down.
const DENOMINATOR: u32 = 600;

struct Planned {
    wsola: Wsola,
    /// Ratio in shares of `DENOMINATOR` -> the resampler that plays faster by it.
    resamplers: BTreeMap<u32, Resampler>,
}

impl Augmentation for Pitch {
    fn name(&self) -> &'static str {
        "pitch"
    }

    fn about(&self) -> &'static str {
        "higher or lower by semitones at the same pace (WSOLA, then resampling)"
    }

    fn place(&self) -> Place {
        Place::Recording
    }

    fn parameters(&self) -> &'static [Parameter] {
        &PARAMETERS
    }

    fn plan(&self, ranges: &Ranges, format: Format) -> Result<Box<dyn Effect>> {
        let (parameter, range) = ranges.of("semitones");
        let planned = parameter.values(range).map(shares).map(|ratio| Ok((ratio, faster(ratio, DENOMINATOR)?)));
        let resamplers = planned.collect::<Result<_>>()?;
        Ok(Box::new(Planned { wsola: Wsola::new(format.sample_rate), resamplers }))
    }
}

fn shares(semitones: f64) -> u32 {
    (f64::from(DENOMINATOR) * (semitones / 12.0).exp2()).round() as u32
}

impl Effect for Planned {
    fn apply(&self, call: &mut Call, wave: &mut Wave) {
        let ratio = shares(call.drawn.of("semitones"));
        let resampler = self.resamplers.get(&ratio).expect("every step of the range was planned");
        let stretched = self.wsola.stretch(&wave.samples[..wave.valid], f64::from(ratio) / f64::from(DENOMINATOR));
        let mut played = Vec::new();
        resampler.resample(&stretched, &mut played);
        played.resize(wave.valid, 0.0);
        wave.put(&played);
    }
}
