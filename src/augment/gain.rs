//! A louder or softer recording.

use super::{Augmentation, Call, Effect, Format, Parameter, Place, Ranges, Wave};
use crate::error::Result;

/// Multiplies the recording by a gain.
///
/// The z-score undoes it, and the front end hears nothing of it, unless something between the two depends on the level:
/// `telephone`, whose A-law is coarser for soft speech and saturates on loud speech. A recipe where nothing does is
/// told so when features are made. It does not limit at full scale: samples are numbers here, not yet bits.
///
/// Proof: `gain_is_the_decibels_that_were_asked_for`, `gain_without_anything_that_hears_it_is_noted`.
pub(super) struct Gain;

static PARAMETERS: [Parameter; 1] = [Parameter {
    key: "gain_db",
    label: "gain",
    default: [-12.0, 12.0],
    limits: [-60.0, 60.0],
    step: 0.0,
    never: Some(0.0),
    source: "the default of audiomentations' `Gain`",
}];

impl Augmentation for Gain {
    fn name(&self) -> &'static str {
        "gain"
    }

    fn about(&self) -> &'static str {
        "another level of the recording; undone by the z-score unless `telephone` follows"
    }

    fn place(&self) -> Place {
        Place::Recording
    }

    fn parameters(&self) -> &'static [Parameter] {
        &PARAMETERS
    }

    fn plan(&self, _ranges: &Ranges, _format: Format) -> Result<Box<dyn Effect>> {
        Ok(Box::new(Self))
    }
}

impl Effect for Gain {
    fn apply(&self, call: &mut Call, wave: &mut Wave) {
        let factor = 10f64.powf(call.drawn.of("gain_db") / 20.0) as f32;
        wave.samples.iter_mut().for_each(|sample| *sample *= factor);
    }
}
