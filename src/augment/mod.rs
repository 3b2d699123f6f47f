//! Augmentations: changed copies of a recording. One file each; the list below is all there is to extend.
//!
//! A recipe names them (`recipe`), a `Chain` plans them for a front end, every copy draws its own values (`parameter`).
//! SpecAugment and mixup are no part of the list: they change spectrograms when training reads them (`spec_augment`, `mixup`).

mod babble;
mod band_limit;
mod chain;
mod clipping;
mod coloured;
mod donors;
#[cfg(test)]
mod effect_proof;
mod filter;
mod gain;
mod level;
#[cfg(test)]
mod list_proof;
pub mod mixup;
mod noise;
mod parameter;
mod pitch;
mod recipe;
mod room;
mod settings;
pub mod spec_augment;
mod speed;
mod telephone;
mod time_shift;
#[cfg(test)]
mod trial_proof;
mod vtlp;
mod wsola;

use crate::error::{Error, Result};
use crate::units::{SampleRate, Seed};

pub use chain::{Chain, Draws};
pub use donors::{Donor, Ring};
pub use parameter::{Drawn, Parameter, Ranges};
pub use recipe::{Setting, Wanted, definition};
pub use settings::{AugmentConfig, When};

/// Where an augmentation has its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On the resampled recording with its own level, before the z-score: what happens between a mouth and a file.
    Recording,
    /// On the wave after z-score and padding, where a signal-to-noise ratio means the same for every recording.
    Conditioned,
    /// On the mel bank of the copy, wherever it is named: a factor, `warp`, for its frequencies. The wave stays as it is.
    Bank,
}

/// What all waves of a front end have in common.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Format {
    pub sample_rate: SampleRate,
    /// Samples of a conditioned wave.
    pub n_samples: usize,
}

/// A wave in the room that it may use.
pub struct Wave<'a> {
    /// Mono; zeros from `valid` on. A recording has at least the room of a conditioned wave: what gets longer, such as
    /// slower speech or the tail of a room, is cut at the end of the room.
    pub samples: &'a mut [f32],
    /// Samples that come from the recording.
    pub valid: usize,
}

impl Wave<'_> {
    /// Puts another recording in the place of this one; what does not fit into the room is cut.
    fn put(&mut self, recording: &[f32]) {
        let n = recording.len().min(self.samples.len());
        self.samples[..n].copy_from_slice(&recording[..n]);
        self.end_at(n);
    }

    /// Says that the recording ends before sample `valid`, or with the room, and clears what stands behind.
    fn end_at(&mut self, valid: usize) {
        self.valid = valid.min(self.samples.len());
        self.samples[self.valid..].fill(0.0);
    }
}

/// One application: where its chance comes from, what was drawn, who else may be heard.
pub struct Call<'a> {
    pub seed: Seed,
    /// What the copy drew; an augmentation that does otherwise says so here.
    pub drawn: &'a mut Drawn,
    /// Conditioned waves of other recordings without their padding; empty unless `talkers` is among the parameters.
    pub voices: &'a [&'a [f32]],
}

/// A kind of change.
pub trait Augmentation: Sync {
    /// What recipes call it; lower-case words with dashes.
    fn name(&self) -> &'static str;

    /// What it does and where it comes from, in one line.
    fn about(&self) -> &'static str;

    /// Where it is applied.
    fn place(&self) -> Place;

    /// What a recipe may set.
    fn parameters(&self) -> &'static [Parameter];

    /// Raised when the same seed and values would give other samples.
    fn revision(&self) -> u32 {
        1
    }

    /// Whether it does something else to a louder recording.
    fn depends_on_level(&self) -> bool {
        false
    }

    /// Other recordings that one copy takes voices from, at most.
    fn most_voices(&self, _ranges: &Ranges) -> usize {
        0
    }

    /// Prepares it for waves of one format; errors say which range does not go with it.
    fn plan(&self, ranges: &Ranges, format: Format) -> Result<Box<dyn Effect>>;
}

/// A planned change: immutable, shared by threads.
pub trait Effect: Send + Sync {
    /// Changes `wave` in place; the same seed, values, voices and wave give the same bytes.
    fn apply(&self, call: &mut Call, wave: &mut Wave);
}

/// All augmentations.
pub const AUGMENTATIONS: &[&dyn Augmentation] = &[
    &noise::WhiteNoise,
    &coloured::PINK,
    &coloured::BROWN,
    &coloured::BLUE,
    &babble::Babble,
    &gain::Gain,
    &time_shift::TimeShift,
    &speed::Speed,
    &pitch::Pitch,
    &room::Room,
    &band_limit::BandLimit,
    &telephone::Telephone,
    &clipping::Clipping,
    &vtlp::Vtlp,
];

/// The augmentation of that name; the error lists the known ones.
pub fn augmentation(name: &str) -> Result<&'static dyn Augmentation> {
    let known = AUGMENTATIONS.iter().find(|augmentation| augmentation.name() == name);
    known.copied().ok_or_else(|| {
        let names: Vec<&str> = AUGMENTATIONS.iter().map(|augmentation| augmentation.name()).collect();
        Error::recipe(format!("augmentation `{name}` is not known"))
            .hint(format!("known augmentations: {}", names.join(", ")))
    })
}
