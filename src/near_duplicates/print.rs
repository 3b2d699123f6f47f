//! The acoustic fingerprint of one recording, and how alike two are.

use std::ops::Range;

use crate::signal::mel::band_centres_hz;
use crate::signal::profile::{FrontEnd, LogScale};

/// Bands in which peaks are looked for.
const FINE_BANDS: usize = 34;
/// Bands whose levels are kept: means of two fine ones.
pub const BANDS: usize = FINE_BANDS / 2;
/// What speech keeps through telephones, codecs and resampling, hertz.
const HEARD_HZ: Range<f64> = 200.0..3_700.0;
/// Seconds between two places of a peak, a step; levels are kept for every second one.
pub const STEP_S: f64 = 0.012;
/// Levels are means over about this time: longer than a frame, so that a shift by part of a step changes little.
const SMOOTH_S: f64 = 0.072;
/// One unit of a kept level, decibels; 255 stands for the loudest.
const UNIT_DB: f64 = 0.2;
/// Cells that are less than this below the loudest are compared, decibels: noise 15 dB below a recording stays below them.
const LOUD_DB: f64 = 25.0;
/// Levels further apart than this differ, decibels.
const DIFFERENT_DB: f64 = 3.0;
/// A peak is no further below the mean power of its recording than this, decibels.
const PEAK_DB: f64 = 6.0;
/// A peak is the loudest among its neighbours: so many bands and steps to each side.
const PEAK_BANDS: usize = 2;
const PEAK_STEPS: usize = 3;

/// Up to this share of differing cells, two recordings are the same sound.
///
/// Measured with the front ends `paper` and `full-rank-16k` on 2,373 recordings of RAVDESS and TESS and 19 altered copies of each of
/// 180 of them (noise at 15 and 20 dB, A-law at 8 kHz, mu-law, a transform codec, 16 kHz, gain, cuts and shifts up to 0.32 s, silence
/// trimmed, some of these together): of an altered copy and its original at most 0.111 of the cells differ, of two different
/// recordings at least 0.183, and of two takes of one sentence by one actor of RAVDESS at least 0.256.
pub const SAME_UP_TO: f64 = 0.14;
/// Fewer cells are no evidence.
pub const LEAST_CELLS: u32 = 80;

/// Makes fingerprints of the spectrograms of one front end.
pub struct Printer {
    n_frames: usize,
    /// Rows of the spectrogram in each fine band.
    bands: Vec<Range<usize>>,
    /// Makes natural logarithms of power of stored values.
    to_nepers: f32,
    /// Frames of one of the two means that smooth a level.
    mean_frames: usize,
    /// Seconds between two frames.
    frame_s: f64,
}

/// Buffers of a [`Printer`].
#[derive(Default)]
pub struct PrintScratch {
    /// `[fine band][step]`, nepers of power below the loudest.
    levels: Vec<f32>,
    row: Vec<f32>,
    once: Vec<f32>,
    twice: Vec<f32>,
}

/// The acoustic fingerprint of a recording; some two kilobytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Print {
    /// `[step][band]` in units of 0.2 dB, 255 the loudest.
    pub levels: Vec<u8>,
    /// Loud peaks as `step * 64 + fine band`, in that order; two of these steps for each of `levels`.
    pub peaks: Vec<u32>,
}

/// How alike two fingerprints are at one shift.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Likeness {
    /// Share of the compared cells whose levels differ, 0 to 1, after the gain between the two is taken out.
    pub difference: f64,
    /// Cells that were compared: those that are loud in one of the two.
    pub n_cells: u32,
    /// By how many steps of a peak the sound comes later in the second one.
    pub shift: i32,
}

impl Likeness {
    /// Whether the two are the same sound.
    pub fn is_same(&self) -> bool {
        self.difference <= SAME_UP_TO && self.n_cells >= LEAST_CELLS
    }
}

impl Printer {
    /// For the spectrograms `[n_mels, n_frames]` of a front end.
    pub fn new(front_end: &FrontEnd) -> Self {
        let centres = band_centres_hz(front_end);
        let heard = |hz: &f64| HEARD_HZ.contains(hz);
        let rows = match (centres.iter().position(heard), centres.iter().rposition(heard)) {
            (Some(first), Some(last)) => first..last + 1,
            _ => 0..centres.len(),
        };
        // Where there are fewer rows than bands, neighbouring bands share one.
        let start = |band: usize| rows.start + band * rows.len() / FINE_BANDS;
        let band = |band: usize| start(band)..start(band + 1).max(start(band) + 1);
        let frame_s = front_end.hop as f64 / front_end.sample_rate.hz();
        Self {
            n_frames: front_end.n_frames(),
            bands: (0..FINE_BANDS).map(band).collect(),
            to_nepers: match front_end.log {
                LogScale::Natural { .. } => 1.0,
                LogScale::DecibelsBelowMax { .. } => std::f32::consts::LN_10 / 10.0,
            },
            mean_frames: (SMOOTH_S / 2.0 / frame_s).round().max(1.0) as usize,
            frame_s,
        }
    }

    /// The fingerprint of a spectrogram of which `valid_frames` are no padding; an empty one for a shorter one than 50 ms.
    pub fn print(&self, log_mel: &[f32], valid_frames: usize, scratch: &mut PrintScratch) -> Print {
        let n_steps = (valid_frames.min(self.n_frames) as f64 * self.frame_s / STEP_S) as usize;
        if n_steps < 4 {
            return Print::default();
        }
        self.fill_levels(log_mel, n_steps, scratch);
        let levels = &scratch.levels;
        let kept = |step: usize, band: usize| {
            let mean = (levels[2 * band * n_steps + step] + levels[(2 * band + 1) * n_steps + step]) / 2.0;
            (255.0 + decibels(mean) / UNIT_DB).round().clamp(0.0, 255.0) as u8
        };
        let cells = (0..n_steps).step_by(2).flat_map(|step| (0..BANDS).map(move |band| kept(step, band)));
        Print { levels: cells.collect(), peaks: peaks(levels, n_steps) }
    }

    fn fill_levels(&self, log_mel: &[f32], n_steps: usize, scratch: &mut PrintScratch) {
        let PrintScratch { levels, row, once, twice } = scratch;
        // Those of the last step, and one more to be weighed against.
        let n_frames = (self.place(n_steps - 1) as usize + 2).min(self.n_frames);
        levels.clear();
        for band in &self.bands {
            row.clear();
            row.resize(n_frames, 0.0);
            for mel in band.clone() {
                let frames = &log_mel[mel * self.n_frames..][..n_frames];
                row.iter_mut().zip(frames).for_each(|(power, &value)| *power += (value * self.to_nepers).exp());
            }
            // The mean of a mean weighs like a triangle, so that a peak has a point.
            once.clear();
            once.extend(means(row, self.mean_frames));
            twice.clear();
            twice.extend(means(once, self.mean_frames));
            // Steps last as long with every front end; frames do not.
            levels.extend((0..n_steps).map(|step| {
                let place = self.place(step);
                let (at, share) = (place as usize, place.fract() as f32);
                let next = twice.get(at + 1).unwrap_or(&twice[at]);
                twice[at] + share * (next - twice[at])
            }));
        }
        let loudest = levels.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
        levels.iter_mut().for_each(|level| *level = (level.max(f32::MIN_POSITIVE) / loudest).ln());
    }

    /// Where a step stands among the frames.
    fn place(&self, step: usize) -> f64 {
        step as f64 * STEP_S / self.frame_s
    }
}

fn decibels(nepers_of_power: f32) -> f64 {
    f64::from(nepers_of_power) * 10.0 / std::f64::consts::LN_10
}

/// Mean of the `n` values around each; fewer at the ends.
fn means(row: &[f32], n: usize) -> impl Iterator<Item = f32> {
    (0..row.len()).map(move |at| {
        let near = &row[at.saturating_sub(n / 2)..(at + n.div_ceil(2)).min(row.len())];
        near.iter().sum::<f32>() / n as f32
    })
}

/// Local maxima that are about as loud as the recording is on the whole, or louder.
fn peaks(levels: &[f32], n_steps: usize) -> Vec<u32> {
    let mean = levels.iter().map(|level| level.exp()).sum::<f32>() / levels.len() as f32;
    let least = mean.ln() - (PEAK_DB * std::f64::consts::LN_10 / 10.0) as f32;
    let is_peak = |step: usize, band: usize, level: f32| {
        let (from, to) = (step.saturating_sub(PEAK_STEPS), (step + PEAK_STEPS + 1).min(n_steps));
        let mut bands = band.saturating_sub(PEAK_BANDS)..(band + PEAK_BANDS + 1).min(FINE_BANDS);
        bands.all(|other| {
            // Of two that are equally loud the first is the peak.
            let near = levels[other * n_steps..][from..to].iter().enumerate();
            near.into_iter().all(|(at, &near)| near < level || (near == level && (from + at, other) >= (step, band)))
        })
    };
    let mut peaks = Vec::new();
    for step in 1..n_steps - 1 {
        for band in 0..FINE_BANDS {
            let level = levels[band * n_steps + step];
            if level >= least && is_peak(step, band, level) {
                peaks.push((step * 64 + band) as u32);
            }
        }
    }
    peaks
}

impl Print {
    /// How alike the two are when a sound of `self` comes `shift` steps later in `other`.
    pub fn likeness(&self, other: &Self, shift: i32) -> Likeness {
        let whole = shift.div_euclid(2);
        let start = whole.min(0).unsigned_abs() as usize;
        let own = self.levels.get(start * BANDS..).unwrap_or_default();
        let theirs = other.levels.get(whole.max(0) as usize * BANDS..).unwrap_or_default();
        // Levels are kept for every second step; between two the level is their mean.
        let next = if shift.rem_euclid(2) == 1 { theirs.get(BANDS..).unwrap_or_default() } else { theirs };
        let least = (2.0 * (255.0 - LOUD_DB / UNIT_DB)) as i32;
        let mut counts = [0_u32; 2 * CENTRE];
        let mut n_cells = 0;
        for ((&a, &b), &c) in own.iter().zip(theirs).zip(next) {
            let (a, b) = (2 * i32::from(a), i32::from(b) + i32::from(c));
            if a.max(b) >= least {
                counts[(a - b + CENTRE as i32) as usize] += 1;
                n_cells += 1;
            }
        }
        if n_cells == 0 {
            return Likeness { difference: 1.0, n_cells, shift };
        }
        // The median difference is the gain between the two.
        let mut n_below = 0;
        let gain = counts.iter().position(|&n| {
            n_below += n;
            2 * n_below >= n_cells
        });
        let (gain, reach) = (gain.unwrap_or(CENTRE), (2.0 * DIFFERENT_DB / UNIT_DB) as usize);
        let n_near: u32 = counts[gain.saturating_sub(reach)..(gain + reach + 1).min(counts.len())].iter().sum();
        Likeness { difference: f64::from(n_cells - n_near) / f64::from(n_cells), n_cells, shift }
    }
}

/// Where no difference is counted; above twice the largest level.
const CENTRE: usize = 512;

#[cfg(test)]
#[path = "proof.rs"]
mod proof;
