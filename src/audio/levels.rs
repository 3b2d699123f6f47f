//! How loud a recording is, how much of it is clipped, and how much silence lies around the speech.

use crate::error::{Error, Result};
use crate::units::{Decibels, SampleRate};

/// Stands for minus infinity, so that tables hold finite numbers only.
pub const FLOOR_DBFS: f64 = -200.0;
/// Magnitude from which a sample counts as clipped (full scale is 1).
pub const CLIPPED_FROM: f32 = 0.999;
/// A frame is silent when it lies this far below the loudest frame of the same recording. A relative
/// rule, because whole corpora are recorded at -40 dBFS and less.
pub const SILENCE_BELOW_LOUDEST_DB: f64 = 40.0;
/// Frames of silence detection per second: 10 ms each.
pub const FRAMES_PER_SECOND: u32 = 100;
/// A recording whose peak lies below this is silent: at most one step of 16 bits (-90.3 dBFS).
pub const SILENT_PEAK_DBFS: f64 = -90.0;

const LANES: usize = 16;

/// Levels of one mono recording; full scale (magnitude 1) is 0 dBFS, so a full-scale sine has an RMS of -3.01 dBFS.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Levels {
    /// RMS over the whole recording, at least [`FLOOR_DBFS`].
    pub rms_dbfs: f64,
    /// Largest magnitude, at least [`FLOOR_DBFS`].
    pub peak_dbfs: f64,
    /// Share of samples with a magnitude of [`CLIPPED_FROM`] or more, from 0 to 1.
    pub clipped_fraction: f64,
    /// Seconds before the first frame that is not silent; the whole length if every sample is zero.
    pub leading_silence_s: f64,
    /// Seconds after the last frame that is not silent; 0 if every sample is zero.
    pub trailing_silence_s: f64,
}

/// Levels of `samples` (mono, finite, full scale 1) at `rate`; an empty recording is silent and 0 s long.
pub fn levels(samples: &[f32], rate: SampleRate) -> Levels {
    let frame_length = (rate.0 / FRAMES_PER_SECOND).max(1) as usize;
    let mut powers = Vec::with_capacity(samples.len().div_ceil(frame_length));
    let (mut energy, mut peak, mut n_clipped) = (0.0f64, 0.0f32, 0usize);
    for frame in samples.chunks(frame_length) {
        let sums = Sums::of(frame);
        energy += sums.squares;
        peak = peak.max(sums.peak);
        n_clipped += sums.n_clipped;
        powers.push(sums.squares / frame.len() as f64);
    }
    let n = samples.len().max(1) as f64;
    let loudest = powers.iter().copied().fold(0.0, f64::max);
    let threshold = loudest * Decibels(-SILENCE_BELOW_LOUDEST_DB).power_ratio();
    let heard = |power: &f64| *power > 0.0 && *power >= threshold;
    let first = powers.iter().position(heard);
    let last = powers.iter().rposition(heard);
    let leading = first.map_or(samples.len(), |frame| frame * frame_length);
    let trailing = last.map_or(0, |frame| samples.len().saturating_sub((frame + 1) * frame_length));
    Levels {
        rms_dbfs: dbfs((energy / n).sqrt()),
        peak_dbfs: dbfs(f64::from(peak)),
        clipped_fraction: n_clipped as f64 / n,
        leading_silence_s: rate.seconds(leading),
        trailing_silence_s: rate.seconds(trailing),
    }
}

/// Refuses a recording of which nothing but the last bit of 16 ever moves.
///
/// Errors: kind `Recording`, with the peak. Looks no further than the first sample that is heard.
pub fn check_heard(samples: &[f32]) -> Result<()> {
    /// Above the limit by far more than a logarithm can err.
    const HEARD: f32 = 3.2e-5;
    if samples.iter().any(|sample| sample.abs() > HEARD) {
        return Ok(());
    }
    let peak = dbfs(f64::from(samples.iter().fold(0.0f32, |peak, sample| peak.max(sample.abs()))));
    if peak < SILENT_PEAK_DBFS {
        return Err(Error::recording(format!("silent: its peak is {peak:.1} dBFS")));
    }
    Ok(())
}

fn dbfs(amplitude: f64) -> f64 {
    Decibels::from_amplitude(amplitude).0.max(FLOOR_DBFS)
}

/// Sums over one frame: f32 within a frame of some hundred samples, f64 over frames.
struct Sums {
    squares: f64,
    peak: f32,
    n_clipped: usize,
}

impl Sums {
    fn of(frame: &[f32]) -> Self {
        let (chunks, rest) = frame.as_chunks::<LANES>();
        let (mut squares, mut peaks, mut clipped) = ([0.0f32; LANES], [0.0f32; LANES], [0u32; LANES]);
        for chunk in chunks {
            for lane in 0..LANES {
                let magnitude = chunk[lane].abs();
                squares[lane] += magnitude * magnitude;
                peaks[lane] = if magnitude > peaks[lane] { magnitude } else { peaks[lane] };
                clipped[lane] += u32::from(magnitude >= CLIPPED_FROM);
            }
        }
        let mut sums = Self {
            squares: squares.iter().map(|&square| f64::from(square)).sum(),
            peak: peaks.into_iter().fold(0.0, f32::max),
            n_clipped: clipped.iter().sum::<u32>() as usize,
        };
        for sample in rest {
            sums.squares += f64::from(sample * sample);
            sums.peak = sums.peak.max(sample.abs());
            sums.n_clipped += usize::from(sample.abs() >= CLIPPED_FROM);
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Seed;

    const RATE: SampleRate = SampleRate(16_000);

    fn sine(amplitude: f32, n: usize) -> Vec<f32> {
        (0..n).map(|i| amplitude * (std::f32::consts::TAU * i as f32 / 16.0).sin()).collect()
    }

    #[test]
    fn full_scale_sine_has_rms_of_minus_3_db_and_peak_of_0_db() {
        let levels = levels(&sine(1.0, 16_000), RATE);
        assert!((levels.rms_dbfs + 3.0103).abs() < 1e-3, "{levels:?}");
        assert!(levels.peak_dbfs.abs() < 1e-5, "{levels:?}");
        // Two of the sixteen samples of each period lie on the peaks.
        assert!((levels.clipped_fraction - 0.125).abs() < 1e-12, "{levels:?}");
    }

    #[test]
    fn levels_match_the_f64_twin_at_every_length() {
        for n in [1, 2, 15, 16, 17, 159, 160, 161, 1000, 4801] {
            let wave: Vec<f32> = (0..n).map(|i| Seed(5).normal_pair(i as u64).0 as f32 * 0.4).collect();
            let energy: f64 = wave.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
            let peak = wave.iter().map(|x| f64::from(x.abs())).fold(0.0, f64::max);
            let clipped = wave.iter().filter(|x| x.abs() >= CLIPPED_FROM).count();
            let levels = levels(&wave, RATE);
            assert!((levels.rms_dbfs - 10.0 * (energy / n as f64).log10()).abs() < 1e-4, "{n}: {levels:?}");
            assert!((levels.peak_dbfs - 20.0 * peak.log10()).abs() < 1e-9, "{n}: {levels:?}");
            assert_eq!(levels.clipped_fraction, clipped as f64 / n as f64, "{n}");
        }
    }

    #[test]
    fn silence_around_speech_is_measured_at_any_recording_level() {
        for gain in [1.0, 1e-3] {
            let mut wave: Vec<f32> = sine(0.001, 4_800);
            wave.extend(sine(0.5, 8_000));
            wave.extend(sine(0.001, 3_200 + 7));
            wave.iter_mut().for_each(|x| *x *= gain);
            let levels = levels(&wave, RATE);
            assert!((levels.leading_silence_s - 0.3).abs() < 1e-9, "{levels:?}");
            assert!((levels.trailing_silence_s - 3_207.0 / 16_000.0).abs() < 1e-9, "{levels:?}");
        }
    }

    #[test]
    fn pause_within_speech_is_not_leading_or_trailing() {
        let mut wave = sine(0.5, 1_600);
        wave.extend(vec![0.0; 16_000]);
        wave.extend(sine(0.5, 1_600));
        let levels = levels(&wave, RATE);
        assert_eq!((levels.leading_silence_s, levels.trailing_silence_s), (0.0, 0.0));
    }

    #[test]
    fn silent_recording_has_finite_levels() {
        for n in [0, 1, 1_000] {
            let levels = levels(&vec![0.0; n], RATE);
            assert_eq!((levels.rms_dbfs, levels.peak_dbfs), (FLOOR_DBFS, FLOOR_DBFS));
            assert_eq!((levels.leading_silence_s, levels.trailing_silence_s), (RATE.seconds(n), 0.0));
            let error = check_heard(&vec![0.0; n]).expect_err("silent");
            assert_eq!(error.reason(), "silent: its peak is -200.0 dBFS");
        }
    }

    #[test]
    fn one_step_of_16_bits_is_silent_and_two_are_not() {
        assert!(check_heard(&[1.0 / 32768.0, 0.0, -1.0 / 32768.0]).is_err());
        check_heard(&[0.0, -2.0 / 32768.0]).expect("heard");
        let limit = 10f32.powf(SILENT_PEAK_DBFS as f32 / 20.0);
        check_heard(&[limit * 1.001]).expect("heard");
        assert!(check_heard(&[limit * 0.999]).is_err());
    }
}
