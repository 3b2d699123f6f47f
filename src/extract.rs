//! From the bytes of one recording to the log-mel spectrograms of its original and its augmented copies.
//!
//! decode -> skip the offset -> resample -> z-score, cut or pad -> (augment) -> log-mel. The one path that both
//! feature extraction and the scoring of a folder take, so that a model always sees what it was trained on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::audio::{self, Resampler};
use crate::augment::{self, Augmentation};
use crate::error::{Error, Result};
use crate::signal::condition::{Conditioned, condition, skip_offset};
use crate::signal::log_mel::{MelPlan, MelScratch};
use crate::signal::profile::FrontEnd;
use crate::signal::valid_frames;
use crate::units::{SampleRate, Seed};

/// Plans of so many rates are kept (some MB each); corpora have a handful, folders of damaged recordings any number.
const MAX_RESAMPLERS: usize = 64;

/// The front end as text: every constant that a stored spectrogram depends on. Its hash is the fingerprint.
pub fn definition(front_end: &FrontEnd) -> String {
    format!("{}; resampler: {}", front_end.definition(), audio::resample::definition())
}

/// Immutable plan, shared by threads.
pub struct Extractor {
    front_end: FrontEnd,
    plan: MelPlan,
    augmentations: Vec<&'static dyn Augmentation>,
    seed: Seed,
    // Corpora have a handful of rates; each plan is made once and then only read.
    resamplers: Mutex<HashMap<SampleRate, Arc<Resampler>>>,
}

/// Buffers of one thread, reused from recording to recording.
pub struct ExtractScratch {
    decoded: Vec<f32>,
    resampled: Vec<f32>,
    wave: Vec<f32>,
    copy: Vec<f32>,
    log_mel: Vec<f32>,
    mel: MelScratch,
}

/// One spectrogram, borrowed from the scratch.
pub struct Spectrogram<'a> {
    /// 0 the original, 1.. the augmented copies.
    pub copy: u32,
    /// `[n_mels, n_frames]`, row 0 the lowest band.
    pub log_mel: &'a [f32],
    /// Signal-to-noise ratio that was asked for.
    pub snr_db: Option<f64>,
    /// Shape of the wave behind it.
    pub conditioned: &'a Conditioned,
    /// Frames centred on recorded samples.
    pub valid_frames: usize,
}

impl Extractor {
    /// Plans a front end and the augmentations of its copies.
    pub fn new(front_end: &FrontEnd, augmentations: &[String], seed: Seed) -> Result<Self> {
        Ok(Self {
            front_end: front_end.clone(),
            plan: MelPlan::new(front_end)?,
            augmentations: augmentations.iter().map(|name| augment::augmentation(name)).collect::<Result<_>>()?,
            seed,
            resamplers: Mutex::new(HashMap::new()),
        })
    }

    /// Buffers for one thread.
    pub fn scratch(&self) -> ExtractScratch {
        let size = self.front_end.n_mels * self.front_end.n_frames();
        ExtractScratch {
            decoded: Vec::new(),
            resampled: Vec::new(),
            wave: Vec::new(),
            copy: Vec::new(),
            log_mel: vec![0.0; size],
            mel: self.plan.scratch(),
        }
    }

    /// The front end it was planned for.
    pub fn front_end(&self) -> &FrontEnd {
        &self.front_end
    }

    /// Names of the augmentations of a copy, joined by `+`.
    pub fn augmentation_names(&self) -> String {
        self.augmentations.iter().map(|augmentation| augmentation.name()).collect::<Vec<_>>().join("+")
    }

    /// Hands the spectrograms of copies `0..=n_copies` to `sink`, in order.
    ///
    /// What a copy is depends on the seed, `content_hash` and its number alone. Errors of kind `Recording` say why a
    /// recording has no spectrogram.
    pub fn extract(
        &self,
        bytes: &[u8],
        content_hash: &str,
        n_copies: u32,
        scratch: &mut ExtractScratch,
        mut sink: impl FnMut(Spectrogram<'_>) -> Result<()>,
    ) -> Result<()> {
        scratch.decoded.shrink_to(audio::KEPT_SAMPLES);
        let rate = audio::decode(bytes, self.front_end.channel, &mut scratch.decoded)?.sample_rate;
        let kept = skip_offset(&scratch.decoded, rate, self.front_end.offset_s);
        if kept.is_empty() {
            let (length, offset) = (rate.seconds(scratch.decoded.len()), self.front_end.offset_s);
            return Err(Error::recording(format!("too short: {length:.3} s, and the first {offset} s are skipped")));
        }
        self.resampler(rate)?.resample(kept, &mut scratch.resampled);
        let conditioned = condition(&scratch.resampled, &self.front_end, &mut scratch.wave)?;
        let valid_frames = valid_frames(&self.front_end, conditioned.valid_samples);
        for copy in 0..=n_copies {
            let mut snr_db = None;
            let wave = if copy == 0 {
                &scratch.wave
            } else {
                scratch.copy.clone_from(&scratch.wave);
                let seed = self.seed.derive("augment", &[content_hash.as_bytes(), &copy.to_le_bytes()]);
                for augmentation in &self.augmentations {
                    let seed = seed.derive(augmentation.name(), &[]);
                    snr_db = augmentation.apply(seed, &mut scratch.copy).snr_db.or(snr_db);
                }
                &scratch.copy
            };
            self.plan.log_mel(wave, &mut scratch.mel, &mut scratch.log_mel);
            sink(Spectrogram { copy, log_mel: &scratch.log_mel, snr_db, conditioned: &conditioned, valid_frames })?;
        }
        Ok(())
    }

    fn resampler(&self, from: SampleRate) -> Result<Arc<Resampler>> {
        let mut known = self.resamplers.lock().expect("no panic while a resampler is planned");
        if let Some(resampler) = known.get(&from) {
            return Ok(resampler.clone());
        }
        let resampler = Arc::new(Resampler::new(from, self.front_end.sample_rate)?);
        if known.len() >= MAX_RESAMPLERS {
            known.clear();
        }
        known.insert(from, resampler.clone());
        Ok(resampler)
    }
}
