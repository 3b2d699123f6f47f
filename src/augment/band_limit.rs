//! A recording without its upper frequencies.

use super::filter::low_pass;
use super::{Augmentation, Call, Effect, Format, Parameter, Place, Ranges, Wave};
use crate::error::{Error, Result};
use crate::signal::fourier::Fourier;
use crate::units::SampleRate;

/// Low pass with a cutoff (-6 dB) drawn per copy, linear phase, no delay.
///
/// Bandwidth gives a corpus away (TESS ends at 12 kHz, telephone speech at 3.4): copies with other limits take that
/// from a network. Before the z-score, so that what is left is brought back to the level that all recordings have.
///
/// Proof: `band_limit_passes_below_and_stops_above_its_cutoff`.
pub(super) struct BandLimit;

static PARAMETERS: [Parameter; 1] = [Parameter {
    key: "cutoff_hz",
    label: "cutoff",
    default: [3_400.0, 7_000.0],
    limits: [500.0, 96_000.0],
    step: 0.0,
    never: None,
    source: "from the upper edge of telephone speech (ITU-T G.712) to that of wideband speech (ITU-T G.722)",
}];

/// Taps on each side: from -0.1 to -70 dB within 2.2 % of the sample rate, 464 Hz of the paper's.
const HALF: usize = 127;

struct Planned {
    sample_rate: SampleRate,
    fourier: Fourier,
}

impl Augmentation for BandLimit {
    fn name(&self) -> &'static str {
        "band-limit"
    }

    fn about(&self) -> &'static str {
        "a low pass with a cutoff drawn per copy"
    }

    fn place(&self) -> Place {
        Place::Recording
    }

    fn parameters(&self) -> &'static [Parameter] {
        &PARAMETERS
    }

    fn plan(&self, ranges: &Ranges, format: Format) -> Result<Box<dyn Effect>> {
        let (highest, nyquist) = (ranges.of("cutoff_hz").1[1], format.sample_rate.hz() / 2.0);
        if highest >= nyquist {
            return Err(Error::recipe(format!(
                "augmentation `band-limit`: cutoff_hz up to {highest}: must be under half the sample rate, {nyquist} Hz"
            )));
        }
        Ok(Box::new(Planned { sample_rate: format.sample_rate, fourier: Fourier::new(2048) }))
    }
}

impl Effect for Planned {
    fn apply(&self, call: &mut Call, wave: &mut Wave) {
        let taps = low_pass(call.drawn.of("cutoff_hz"), self.sample_rate.hz(), HALF);
        let taps: Vec<f32> = taps.into_iter().map(|tap| tap as f32).collect();
        self.fourier.convolve(wave.samples, &taps, HALF);
        wave.end_at(wave.valid);
    }
}
