//! Another length of the vocal tract: the frequencies of the mel bank are warped.

use super::{Augmentation, Call, Effect, Format, Parameter, Place, Ranges, Wave};
use crate::error::Result;

/// Vocal tract length perturbation: the mel bank of a copy has its edges at other frequencies, by one factor below the
/// formants' end and linearly on from there to half the rate, which stays (`signal::mel::warped_hz`).
///
/// A factor above 1 lets a band hear higher frequencies, so that formants lie lower in the spectrogram, as of a longer vocal
/// tract; pitch and pace stay. On the mel bank itself and not between the bands of a finished spectrogram: nothing is smeared, and a
/// copy costs what its original does.
///
/// Proof: `a_warped_bank_hears_a_tone_where_the_plain_one_hears_the_warped_tone`, `warped_banks_are_the_dense_twins`.
pub(super) struct Vtlp;

static PARAMETERS: [Parameter; 1] = [Parameter {
    key: "warp",
    label: "warp",
    default: [0.9, 1.1],
    limits: [0.8, 1.25],
    step: 0.01,
    never: Some(1.0),
    source: "N. Jaitly, G. Hinton, Vocal tract length perturbation (VTLP) improves speech recognition, ICML workshop 2013: \
             0.9 to 1.1",
}];

/// Nothing is done to a wave.
struct Planned;

impl Augmentation for Vtlp {
    fn name(&self) -> &'static str {
        "vtlp"
    }

    fn about(&self) -> &'static str {
        "a longer or shorter vocal tract: formants move, pitch and pace stay"
    }

    fn place(&self) -> Place {
        Place::Bank
    }

    fn parameters(&self) -> &'static [Parameter] {
        &PARAMETERS
    }

    fn plan(&self, _ranges: &Ranges, _format: Format) -> Result<Box<dyn Effect>> {
        Ok(Box::new(Planned))
    }
}

impl Effect for Planned {
    fn apply(&self, _call: &mut Call, _wave: &mut Wave) {}
}
