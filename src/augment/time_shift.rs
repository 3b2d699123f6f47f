//! An earlier or later beginning.

use super::{Augmentation, Call, Effect, Format, Parameter, Place, Ranges, Wave};
use crate::error::Result;
use crate::units::SampleRate;

/// Moves the wave later (positive) or earlier, zeros where nothing is left.
///
/// On the conditioned wave: zeros are its padding and its mean, so level and z-score stay, and what is moved later has
/// the padding to move into. At most half of what is recorded is moved out of the wave.
///
/// Proof: `a_shift_moves_samples_by_whole_samples_of_the_time_asked_for`.
pub(super) struct TimeShift;

static PARAMETERS: [Parameter; 1] = [Parameter {
    key: "shift_s",
    label: "shift",
    default: [-0.2, 0.2],
    limits: [-10.0, 10.0],
    step: 0.0,
    never: Some(0.0),
    source: "own choice: half a hop between two of the paper's windows (0.38 s)",
}];

struct Planned {
    sample_rate: SampleRate,
}

impl Augmentation for TimeShift {
    fn name(&self) -> &'static str {
        "time-shift"
    }

    fn about(&self) -> &'static str {
        "the recording begins earlier or later, zeros in the gap"
    }

    fn place(&self) -> Place {
        Place::Conditioned
    }

    fn parameters(&self) -> &'static [Parameter] {
        &PARAMETERS
    }

    fn plan(&self, _ranges: &Ranges, format: Format) -> Result<Box<dyn Effect>> {
        Ok(Box::new(Planned { sample_rate: format.sample_rate }))
    }
}

impl Effect for Planned {
    fn apply(&self, call: &mut Call, wave: &mut Wave) {
        let (rate, n) = (self.sample_rate.hz(), wave.samples.len());
        let asked = (call.drawn.of("shift_s") * rate).round() as i64;
        let most = (wave.valid / 2) as i64;
        // Later: what would be pushed over the end counts, not the padding that is pushed before it.
        let most_later = most + (n - wave.valid) as i64;
        let shift = asked.clamp(-most, most_later);
        let distance = shift.unsigned_abs() as usize;
        if shift >= 0 {
            wave.samples.copy_within(..n - distance, distance);
            wave.samples[..distance].fill(0.0);
            wave.valid = (wave.valid + distance).min(n);
        } else {
            wave.samples.copy_within(distance.., 0);
            wave.samples[n - distance..].fill(0.0);
            wave.valid -= distance;
        }
        call.drawn.set("shift_s", shift as f64 / rate);
    }
}
