//! Other people talking in the background.

use super::level::add_at_snr;
use super::{Augmentation, Call, Effect, Format, Parameter, Place, Ranges, Wave};
use crate::error::Result;

/// Other recordings of the same side, each from a place of its own and repeated as long as the wave, added together and
/// set to exactly the power that was asked for; it fills the padding, as noise does.
///
/// Every voice comes with the same level, because it is a conditioned wave itself. Who is heard follows from content
/// hashes and the seed ([`super::Ring`]); a side without other recordings leaves the wave as it is, and says 0 talkers.
///
/// Proof: `babble_is_the_sum_of_its_voices`, and the test over all that name a signal-to-noise ratio.
pub(super) struct Babble;

const SOURCE: &str = "babble of the x-vector recipe: D. Snyder et al., X-vectors, ICASSP 2018";

static PARAMETERS: [Parameter; 2] = [
    Parameter {
        key: "snr_db",
        label: "snr",
        default: [13.0, 20.0],
        limits: [-20.0, 80.0],
        step: 0.0,
        never: None,
        source: SOURCE,
    },
    Parameter {
        key: "talkers",
        label: "talkers",
        default: [3.0, 7.0],
        limits: [1.0, 16.0],
        step: 1.0,
        never: None,
        source: SOURCE,
    },
];

impl Augmentation for Babble {
    fn name(&self) -> &'static str {
        "babble"
    }

    fn about(&self) -> &'static str {
        "other recordings of the same side talking in the background"
    }

    fn place(&self) -> Place {
        Place::Conditioned
    }

    fn parameters(&self) -> &'static [Parameter] {
        &PARAMETERS
    }

    fn most_voices(&self, ranges: &Ranges) -> usize {
        ranges.of("talkers").1[1] as usize
    }

    fn plan(&self, _ranges: &Ranges, _format: Format) -> Result<Box<dyn Effect>> {
        Ok(Box::new(Self))
    }
}

impl Effect for Babble {
    fn apply(&self, call: &mut Call, wave: &mut Wave) {
        let n_talkers = call.voices.len().min(call.drawn.of("talkers") as usize);
        call.drawn.set("talkers", n_talkers as f64);
        if n_talkers == 0 {
            call.drawn.forget("snr_db");
            return;
        }
        let mut babble = vec![0.0f32; wave.samples.len()];
        let starts = call.seed.derive("starts", &[]);
        for (talker, voice) in call.voices[..n_talkers].iter().enumerate() {
            let start = starts.below(talker as u64, voice.len() as u64) as usize;
            let repeated = voice.iter().cycle().skip(start);
            babble.iter_mut().zip(repeated).for_each(|(sum, sample)| *sum += sample);
        }
        add_at_snr(wave.samples, &babble, call.drawn.of("snr_db"));
    }
}
