//! A recording whose loudest samples are cut off.

use super::{Augmentation, Call, Effect, Format, Parameter, Place, Ranges, Wave};
use crate::error::Result;

/// Limits the recording to the magnitude that a share of its samples reaches.
///
/// The share is asked for, not a level, so that soft and loud recordings are distorted alike. Before the z-score, as the
/// microphone and the converter that clip are.
///
/// Proof: `clipping_limits_the_share_of_samples_that_was_asked_for`.
pub(super) struct Clipping;

static PARAMETERS: [Parameter; 1] = [Parameter {
    key: "fraction",
    label: "fraction",
    default: [0.01, 0.1],
    limits: [0.0001, 0.5],
    step: 0.0,
    never: None,
    source: "own choice: from just heard to rough (audiomentations' `ClippingDistortion` goes to 0.4)",
}];

impl Augmentation for Clipping {
    fn name(&self) -> &'static str {
        "clipping"
    }

    fn about(&self) -> &'static str {
        "the loudest samples, a share of all, cut to one magnitude"
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

impl Effect for Clipping {
    fn apply(&self, call: &mut Call, wave: &mut Wave) {
        let recorded = &mut wave.samples[..wave.valid];
        let n_clipped = (call.drawn.of("fraction") * recorded.len() as f64).ceil() as usize;
        if n_clipped >= recorded.len() {
            return;
        }
        let mut magnitudes: Vec<f32> = recorded.iter().map(|sample| sample.abs()).collect();
        // The loudest one that stays as it is sets the limit.
        let (_, &mut limit, _) = magnitudes.select_nth_unstable_by(n_clipped, |a, b| b.total_cmp(a));
        recorded.iter_mut().for_each(|sample| *sample = sample.clamp(-limit, limit));
    }
}
