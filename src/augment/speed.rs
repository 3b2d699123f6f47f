//! Faster or slower speech, pitch and all, as of a tape.

use std::collections::BTreeMap;

use super::{Augmentation, Call, Effect, Format, Parameter, Place, Ranges, Wave};
use crate::audio::Resampler;
use crate::error::Result;
use crate::units::SampleRate;

/// Plays the recording faster (factor above 1) or slower: durations divide by the factor, frequencies multiply by it.
///
/// Before the z-score, so that the statistics are those of what is heard. The room is kept: what gets shorter leaves
/// zeros behind it, what gets longer is cut at the room's end.
///
/// Proof: `speed_scales_time_and_frequency_by_its_factor`.
pub(super) struct Speed;

static PARAMETERS: [Parameter; 1] = [Parameter {
    key: "factor",
    label: "factor",
    default: [0.9, 1.1],
    limits: [0.5, 2.0],
    step: 0.01,
    never: Some(1.0),
    source: "T. Ko et al., Audio augmentation for speech recognition, Interspeech 2015: 0.9 and 1.1",
}];

/// The resampler of every factor in the range, by hundredths.
struct Planned {
    resamplers: BTreeMap<u32, Resampler>,
}

impl Augmentation for Speed {
    fn name(&self) -> &'static str {
        "speed"
    }

    fn about(&self) -> &'static str {
        "faster or slower by a factor, pitch and all"
    }

    fn place(&self) -> Place {
        Place::Recording
    }

    fn parameters(&self) -> &'static [Parameter] {
        &PARAMETERS
    }

    fn plan(&self, ranges: &Ranges, _format: Format) -> Result<Box<dyn Effect>> {
        let (parameter, range) = ranges.of("factor");
        let planned = parameter.values(range).map(hundredths).map(|factor| Ok((factor, faster(factor, 100)?)));
        Ok(Box::new(Planned { resamplers: planned.collect::<Result<_>>()? }))
    }
}

fn hundredths(factor: f64) -> u32 {
    (factor * 100.0).round() as u32
}

/// Plays faster by `numerator / denominator`: only the ratio of two rates counts.
pub(super) fn faster(numerator: u32, denominator: u32) -> Result<Resampler> {
    /// Lifts both into the rates that a resampler takes.
    const HZ: u32 = 100;
    Resampler::new(SampleRate(numerator * HZ), SampleRate(denominator * HZ))
}

impl Effect for Planned {
    fn apply(&self, call: &mut Call, wave: &mut Wave) {
        let factor = hundredths(call.drawn.of("factor"));
        let resampler = self.resamplers.get(&factor).expect("every factor of the range was planned");
        let mut played = Vec::new();
        resampler.resample(&wave.samples[..wave.valid], &mut played);
        wave.put(&played);
    }
}
