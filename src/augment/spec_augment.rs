//! SpecAugment: masks over time and frequency, laid on spectrograms when training reads them.
//!
//! Not one of `AUGMENTATIONS`: those change waves and can be stored; a mask is drawn anew each epoch and costs nothing.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::units::Seed;

/// `[augment.spec_augment]`: what training masks on its own side. No masks: off.
///
/// Source: D. Park et al., SpecAugment, Interspeech 2019, section 2, without the time warp, which they found to matter
/// least.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpecAugment {
    /// Masks over time in a spectrogram.
    pub n_time_masks: u32,
    /// Frames that one of them covers at most.
    pub max_time: usize,
    /// Masks over frequency in a spectrogram.
    pub n_freq_masks: u32,
    /// Mel bands that one of them covers at most.
    pub max_freq: usize,
    /// What stands under a mask.
    pub fill: Fill,
}

/// What stands under a mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fill {
    /// The mean of the spectrogram: what zeros are in Park's, which have mean 0.
    Mean,
    /// Its smallest value: silence.
    Minimum,
}

impl SpecAugment {
    /// No masks.
    pub const OFF: Self = Self { n_time_masks: 0, max_time: 0, n_freq_masks: 0, max_freq: 0, fill: Fill::Mean };

    /// Whether spectrograms stay as they are.
    pub fn is_off(&self) -> bool {
        self.n_time_masks == 0 && self.n_freq_masks == 0
    }

    /// Refuses masks that reach over a spectrogram `[n_mels, n_frames]`, and masks without a width.
    pub fn check(&self, n_mels: usize, n_frames: usize) -> Result<()> {
        for (count, n_masks, key, width, most) in [
            ("n_time_masks", self.n_time_masks, "max_time", self.max_time, n_frames),
            ("n_freq_masks", self.n_freq_masks, "max_freq", self.max_freq, n_mels),
        ] {
            if width > most {
                return Err(Error::recipe(format!("[augment.spec_augment] {key} = {width}: must be at most {most}")));
            }
            if n_masks > 0 && width == 0 {
                return Err(Error::recipe(format!(
                    "[augment.spec_augment] {count} = {n_masks} with {key} = 0 masks nothing"
                ))
                .hint(format!("set {count} = 0, or {key} to at least 1")));
            }
        }
        Ok(())
    }

    /// The seed of one reading of one copy.
    pub fn seed(pipeline: Seed, content_hash: &str, copy: u32, epoch: u32) -> Seed {
        let parts = [content_hash.as_bytes(), &copy.to_le_bytes(), &epoch.to_le_bytes()];
        pipeline.derive("spec-augment", &parts)
    }

    /// Masks one spectrogram in place.
    ///
    /// `log_mel`  `[n_mels, n_frames]`. Each mask has a width drawn from 0 to its most, and a place drawn from all that
    /// keep it inside. All masks stand on the values before the first of them.
    /// Proof      `masks_are_rectangles_of_the_fill_within_their_widths`, `widths_and_places_are_drawn_evenly`.
    pub fn apply(&self, seed: Seed, n_frames: usize, log_mel: &mut [f32]) {
        if self.is_off() || log_mel.is_empty() {
            return;
        }
        let fill = match self.fill {
            Fill::Mean => (log_mel.iter().map(|&value| f64::from(value)).sum::<f64>() / log_mel.len() as f64) as f32,
            Fill::Minimum => log_mel.iter().copied().fold(f32::INFINITY, f32::min),
        };
        let n_mels = log_mel.len() / n_frames;
        for mask in 0..self.n_time_masks {
            let span = span(seed.derive("time", &[&mask.to_le_bytes()]), self.max_time, n_frames);
            log_mel.chunks_exact_mut(n_frames).for_each(|band| band[span.clone()].fill(fill));
        }
        for mask in 0..self.n_freq_masks {
            let span = span(seed.derive("freq", &[&mask.to_le_bytes()]), self.max_freq, n_mels);
            log_mel[span.start * n_frames..span.end * n_frames].fill(fill);
        }
    }
}

/// A width of 0 to `most`, somewhere within `0..n`.
fn span(seed: Seed, most: usize, n: usize) -> std::ops::Range<usize> {
    let width = seed.below(0, most.min(n) as u64 + 1) as usize;
    let start = seed.below(1, (n - width) as u64 + 1) as usize;
    start..start + width
}

#[cfg(test)]
mod tests {
    use super::*;

    const N_MELS: usize = 20;
    const N_FRAMES: usize = 50;

    fn spectrogram() -> Vec<f32> {
        (0..N_MELS * N_FRAMES).map(|i| Seed(2).unit(i as u64) as f32 - 0.25).collect()
    }

    fn masked(config: &SpecAugment, seed: u64) -> Vec<f32> {
        let mut log_mel = spectrogram();
        config.apply(Seed(seed), N_FRAMES, &mut log_mel);
        log_mel
    }

    const TIME: SpecAugment = SpecAugment { n_time_masks: 1, max_time: 9, ..SpecAugment::OFF };
    const FREQ: SpecAugment = SpecAugment { n_freq_masks: 1, max_freq: 6, ..SpecAugment::OFF };

    /// Frames, then bands, in which every value is the fill.
    fn covered(log_mel: &[f32], fill: f32) -> (Vec<usize>, Vec<usize>) {
        let at = |band: usize, frame: usize| log_mel[band * N_FRAMES + frame] == fill;
        let frames = (0..N_FRAMES).filter(|&frame| (0..N_MELS).all(|band| at(band, frame))).collect();
        let bands = (0..N_MELS).filter(|&band| (0..N_FRAMES).all(|frame| at(band, frame))).collect();
        (frames, bands)
    }

    fn is_run(places: &[usize]) -> bool {
        places.windows(2).all(|pair| pair[1] == pair[0] + 1)
    }

    #[test]
    fn masks_are_rectangles_of_the_fill_within_their_widths() {
        let before = spectrogram();
        let mean = (before.iter().map(|&x| f64::from(x)).sum::<f64>() / before.len() as f64) as f32;
        let least = before.iter().copied().fold(f32::INFINITY, f32::min);
        for seed in 0..200 {
            for (fill, value) in [(Fill::Mean, mean), (Fill::Minimum, least)] {
                let after = masked(&SpecAugment { fill, ..TIME }, seed);
                let (frames, _) = covered(&after, value);
                assert!(frames.len() <= 9 && is_run(&frames));
                let changed = before.iter().zip(&after).filter(|(a, b)| a != b).count();
                assert!(changed <= frames.len() * N_MELS && changed + 1 >= frames.len() * N_MELS);
                let after = masked(&SpecAugment { fill, ..FREQ }, seed);
                let (_, bands) = covered(&after, value);
                assert!(bands.len() <= 6 && is_run(&bands));
                let changed = before.iter().zip(&after).filter(|(a, b)| a != b).count();
                assert!(changed <= bands.len() * N_FRAMES && changed + 1 >= bands.len() * N_FRAMES);
            }
        }
    }

    #[test]
    fn widths_and_places_are_drawn_evenly() {
        let mean = 0.0;
        let (mut widths, mut first, mut last) = ([0u32; 10], 0, 0);
        for seed in 0..5_000 {
            let mut log_mel: Vec<f32> = (0..N_MELS * N_FRAMES).map(|i| if i % 2 == 0 { 1.0 } else { -1.0 }).collect();
            TIME.apply(Seed(seed), N_FRAMES, &mut log_mel);
            let (frames, _) = covered(&log_mel, mean);
            widths[frames.len()] += 1;
            first += u32::from(frames.contains(&0));
            last += u32::from(frames.contains(&(N_FRAMES - 1)));
        }
        // 500 each with a standard deviation of 21.
        assert!(widths.iter().all(|count| (410..590).contains(count)), "{widths:?}");
        // Both ends are covered alike: about once in fifty.
        assert!((70..140).contains(&first) && (70..140).contains(&last), "{first}, {last}");
    }

    #[test]
    fn every_reading_draws_its_own_masks_and_always_the_same() {
        let config = SpecAugment { n_time_masks: 2, n_freq_masks: 2, max_freq: 6, ..TIME };
        let seed = |hash: &str, copy, epoch| SpecAugment::seed(Seed(1), hash, copy, epoch);
        let seeds = [seed("a", 0, 1), seed("a", 1, 1), seed("a", 0, 2), seed("b", 0, 1)];
        let results: Vec<Vec<f32>> = seeds.iter().map(|seed| masked(&config, seed.0)).collect();
        for (i, result) in results.iter().enumerate() {
            assert_eq!(*result, masked(&config, seeds[i].0));
            assert!(results[..i].iter().all(|other| other != result));
        }
        assert_eq!(masked(&SpecAugment::OFF, 3), spectrogram());
    }

    #[test]
    fn masks_that_reach_over_the_spectrogram_or_have_no_width_are_refused() {
        let refused = |config: SpecAugment| config.check(N_MELS, N_FRAMES).expect_err("refused").to_string();
        assert!(refused(SpecAugment { max_time: 51, ..TIME }).contains("max_time = 51: must be at most 50"));
        assert!(refused(SpecAugment { max_freq: 0, ..FREQ }).contains("n_freq_masks = 1 with max_freq = 0"));
        assert!(TIME.check(N_MELS, N_FRAMES).is_ok() && SpecAugment::OFF.check(N_MELS, N_FRAMES).is_ok());
    }
}
