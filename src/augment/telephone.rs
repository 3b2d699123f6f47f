//! Speech as it comes out of a telephone line.

use super::filter::band_pass;
use super::{Augmentation, Call, Effect, Format, Parameter, Place, Ranges, Wave};
use crate::audio::Resampler;
use crate::error::Result;
use crate::signal::fourier::Fourier;
use crate::units::SampleRate;

/// What a line does: 8 kHz, a band from 300 to 3,400 Hz (-6 dB at both), 8 bits a sample by A-law, and back.
///
/// On the recording with its own level, full scale 1: A-law is coarser for soft speech and saturates on loud speech.
/// Nothing is drawn: every copy of a recording is the same, unless `gain` or another comes before it.
///
/// Source: ITU-T G.711 (A-law), G.712 (band). Proof: `a_telephone_passes_its_band_and_nothing_else`,
/// `a_law_keeps_38_db_over_a_wide_range_of_levels`, `a_law_levels_are_those_of_g_711`.
pub(super) struct Telephone;

const LINE: SampleRate = SampleRate(8_000);
const BAND_HZ: [f64; 2] = [300.0, 3_400.0];
/// Taps on each side, 16 ms: from -0.1 to -70 dB within 173 Hz.
const HALF: usize = 127;

struct Planned {
    down: Resampler,
    up: Resampler,
    band: Vec<f32>,
    fourier: Fourier,
}

impl Augmentation for Telephone {
    fn name(&self) -> &'static str {
        "telephone"
    }

    fn about(&self) -> &'static str {
        "a telephone line: 300 to 3,400 Hz, 8 kHz, A-law (ITU-T G.711, G.712)"
    }

    fn place(&self) -> Place {
        Place::Recording
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[]
    }

    fn depends_on_level(&self) -> bool {
        true
    }

    fn plan(&self, _ranges: &Ranges, format: Format) -> Result<Box<dyn Effect>> {
        let band = band_pass(BAND_HZ[0], BAND_HZ[1], LINE.hz(), HALF);
        Ok(Box::new(Planned {
            down: Resampler::new(format.sample_rate, LINE)?,
            up: Resampler::new(LINE, format.sample_rate)?,
            band: band.into_iter().map(|tap| tap as f32).collect(),
            fourier: Fourier::new(2048),
        }))
    }
}

impl Effect for Planned {
    fn apply(&self, _call: &mut Call, wave: &mut Wave) {
        let (mut line, mut heard) = (Vec::new(), Vec::new());
        self.down.resample(&wave.samples[..wave.valid], &mut line);
        self.fourier.convolve(&mut line, &self.band, HALF);
        line.iter_mut().for_each(|sample| *sample = a_law(*sample));
        self.up.resample(&line, &mut heard);
        heard.truncate(wave.valid);
        wave.put(&heard);
    }
}

/// The sample after A-law encoding and decoding; full scale is 1.
///
/// Twelve bits of magnitude; each doubling of it above 1/64 of full scale has sixteen levels, and so has all below.
fn a_law(sample: f32) -> f32 {
    const FULL_SCALE: f32 = 4096.0;
    let magnitude = (sample.abs() * FULL_SCALE).min(FULL_SCALE - 1.0) as u32;
    // Below 64 steps of 2, then 4 from 64, 8 from 128 ... 128 from 2048.
    let shift = magnitude.checked_ilog2().unwrap_or(0).max(5) - 4;
    let level = ((magnitude >> shift) << shift) as f32 + (1 << shift) as f32 / 2.0;
    (level / FULL_SCALE).copysign(sample)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_law_levels_are_those_of_g_711() {
        // Decoder output values of G.711 table 1a (decision and decoder values, of 4096): y1 = 1, y33 = 66, y128 = 4032.
        for (input, level) in [(0.0f32, 1.0f32), (1.9, 1.0), (2.0, 3.0), (63.9, 63.0), (64.0, 66.0), (127.0, 126.0)] {
            assert_eq!(a_law(input / 4096.0), level / 4096.0, "{input}");
        }
        for (input, level) in [(2_048.0f32, 2_112.0f32), (3_968.0, 4_032.0), (4_096.0, 4_032.0), (90_000.0, 4_032.0)] {
            assert_eq!(a_law(-input / 4096.0), -level / 4096.0, "{input}");
        }
        let levels: std::collections::BTreeSet<u32> =
            (-40_960..=40_960).map(|i| a_law(i as f32 / 40_960.0).to_bits()).collect();
        assert_eq!(levels.len(), 256, "8 bits");
    }

    #[test]
    fn a_law_keeps_38_db_over_a_wide_range_of_levels() {
        for level_db in [-30.0, -24.0, -18.0, -12.0, -6.0] {
            let amplitude = 10f64.powf(level_db / 20.0);
            let sine = |i: u32| amplitude * (0.613 * f64::from(i)).sin();
            let (mut signal, mut error) = (0.0, 0.0);
            for i in 0..20_000 {
                signal += sine(i).powi(2);
                error += (f64::from(a_law(sine(i) as f32)) - sine(i)).powi(2);
            }
            let snr_db = 10.0 * f64::log10(signal / error);
            // 38 dB on average; a sine meets more or fewer steps as its peak lies in its segment.
            assert!((36.0..40.0).contains(&snr_db), "{level_db} dB: {snr_db}");
        }
    }
}
