//! From the samples of one recording to the log-mel spectrograms of its original and its augmented copies.
//!
//! skip the offset, or find the speech -> resample -> (augment the recording) -> z-score, cut or pad -> (augment the wave) ->
//! log-mel -> (take each band's mean away). The one path that feature extraction, fresh copies of training and the scoring of a folder take, so that a model always sees what
//! it was trained on. Nothing is opened here: recordings come decoded, and voices of a background from who asks.

use std::sync::Arc;

use crate::audio::{self, Budget};
use crate::augment::{Chain, Donor, Format, Place, Wanted, Wave};
use crate::error::{Error, Result};
use crate::recordings::{Reader, Recording};
use crate::signal::band_mean::{BandMean, remove_band_means};
use crate::signal::condition::{Conditioned, Pad, condition, kept, pad};
use crate::signal::log_mel::{MelPlan, MelScratch};
use crate::signal::profile::FrontEnd;
use crate::signal::rates::Rates;
use crate::signal::valid_frames;
use crate::units::{Bytes, Seed};

/// Immutable plan, shared by threads.
pub struct Extractor {
    front_end: FrontEnd,
    plan: MelPlan,
    chain: Chain,
    seed: Seed,
    budget: Budget,
    rates: Rates,
}

/// Buffers of one thread, reused from recording to recording.
pub struct ExtractScratch {
    /// What is left after the offset, at the front end's rate.
    resampled: Vec<f32>,
    /// The same, augmented.
    changed: Vec<f32>,
    /// The conditioned original.
    wave: Vec<f32>,
    /// A conditioned copy.
    copy: Vec<f32>,
    log_mel: Vec<f32>,
    mel: MelScratch,
}

/// Hands out the voices of other recordings.
pub trait Voices: Sync {
    /// The conditioned wave of a recording without its padding, as [`Extractor::voice`] makes it; `None` where it has no
    /// spectrogram of its own: one that is passed over, always the same.
    ///
    /// Errors: kind `Unreadable` where it cannot be read now or is no longer what was planned, because the copy would depend
    /// on when it was made.
    fn voice(&self, donor: &Donor) -> Result<Option<Arc<[f32]>>>;
}

/// Knows no voice.
pub struct Nobody;

impl Voices for Nobody {
    fn voice(&self, _donor: &Donor) -> Result<Option<Arc<[f32]>>> {
        Ok(None)
    }
}

/// One variant of a recording that is asked for.
#[derive(Clone, Copy)]
pub struct Copy<'a> {
    /// 0 the original, 1.. the augmented copies.
    pub number: u32,
    /// Recordings that its background may take voices from, best first.
    pub donors: &'a [Donor],
    /// Where their voices come from; no more of them are asked for than the copy needs.
    pub voices: &'a dyn Voices,
}

impl Copy<'_> {
    /// The recording as it is.
    pub const ORIGINAL: Self = Self { number: 0, donors: &[], voices: &Nobody };
}

/// One spectrogram, borrowed from the scratch.
pub struct Spectrogram<'a> {
    /// 0 the original, 1.. the augmented copies.
    pub copy: u32,
    /// `[n_mels, n_frames]`, row 0 the lowest band.
    pub log_mel: &'a [f32],
    /// What was done to a copy, with the values that it drew.
    pub augmentation: Option<String>,
    /// Signal-to-noise ratio that was asked for.
    pub snr_db: Option<f64>,
    /// Shape of the wave behind it.
    pub conditioned: &'a Conditioned,
    /// Frames centred on recorded samples.
    pub valid_frames: usize,
}

/// A copy's wave lies in the scratch; this is what else is known of it.
struct Changed {
    conditioned: Conditioned,
    augmentation: String,
    snr_db: Option<f64>,
    /// What the frequencies of its mel bank are multiplied by.
    warp: Option<f64>,
}

impl Extractor {
    /// Plans a front end and the augmentations of its copies; recordings may take [`Budget::DEFAULT_LIMIT`].
    pub fn new(front_end: &FrontEnd, augmentations: &[Wanted], seed: Seed) -> Result<Self> {
        let format = Format { sample_rate: front_end.sample_rate, n_samples: front_end.n_samples };
        let chain = Chain::new(augmentations, format)?;
        Ok(Self {
            front_end: front_end.clone(),
            plan: MelPlan::new(front_end)?.with_warps(front_end, &chain.warps())?,
            chain,
            seed,
            budget: Budget::new(Budget::DEFAULT_LIMIT, front_end.sample_rate),
            rates: Rates::new(front_end),
        })
    }

    /// The same with another limit of what one recording may take.
    pub fn with_limit(self, limit: Bytes) -> Self {
        Self { budget: Budget::new(limit, self.front_end.sample_rate), ..self }
    }

    /// How the recordings that it takes are opened.
    pub fn reader(&self) -> Reader {
        Reader { channel: self.front_end.channel, budget: self.budget }
    }

    /// Buffers for one thread.
    pub fn scratch(&self) -> ExtractScratch {
        let size = self.front_end.n_mels * self.front_end.n_frames();
        ExtractScratch {
            resampled: Vec::new(),
            changed: Vec::new(),
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

    /// The augmentations of its copies.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Hands the spectrograms of `copies` to `sink`, in order.
    ///
    /// What a copy is depends on the seed, the content of the recording, what part of it was cut out, the copy's number and
    /// its donors alone. Errors of kind `Recording` say why a recording has no spectrogram.
    pub fn extract(
        &self,
        recording: &Recording,
        copies: &[Copy],
        scratch: &mut ExtractScratch,
        mut sink: impl FnMut(Spectrogram<'_>) -> Result<()>,
    ) -> Result<()> {
        self.resample(recording, &mut scratch.resampled)?;
        let original = condition(&scratch.resampled, &self.front_end, &mut scratch.wave)?;
        for (at, copy) in copies.iter().enumerate() {
            let is_last = at + 1 == copies.len();
            let changed = match copy.number {
                0 => None,
                _ => Some(self.change(recording, (copy, is_last), &original, scratch)?),
            };
            let conditioned = changed.as_ref().map_or(&original, |changed| &changed.conditioned);
            let ExtractScratch { wave, copy: copied, mel, log_mel, .. } = scratch;
            let wave = if changed.is_some() { copied } else { wave };
            pad(wave, conditioned.valid_samples, self.front_end.pad);
            self.plan.warped_log_mel(changed.as_ref().and_then(|changed| changed.warp), wave, mel, log_mel);
            self.remove_band_means(conditioned, log_mel);
            sink(Spectrogram {
                copy: copy.number,
                log_mel,
                augmentation: changed.as_ref().map(|changed| changed.augmentation.clone()),
                snr_db: changed.as_ref().and_then(|changed| changed.snr_db),
                conditioned,
                valid_frames: valid_frames(&self.front_end, conditioned.valid_samples),
            })?;
        }
        Ok(())
    }

    /// What `band_mean` says, on one spectrogram.
    fn remove_band_means(&self, conditioned: &Conditioned, log_mel: &mut [f32]) {
        let front_end = &self.front_end;
        let n_signal = match front_end.pad {
            Pad::Zeros => valid_frames(front_end, conditioned.valid_samples),
            Pad::Repeat => front_end.n_frames(),
        };
        match front_end.band_mean {
            BandMean::None => {}
            BandMean::Recording => remove_band_means(log_mel, front_end.n_frames(), n_signal),
        }
    }

    /// The wave of a recording as others may hear it in their background: conditioned, without padding. `scratch` loses what it
    /// held.
    ///
    /// Errors: kind `Recording` where the recording has no spectrogram.
    pub fn voice(&self, recording: &Recording, scratch: &mut ExtractScratch) -> Result<Arc<[f32]>> {
        self.resample(recording, &mut scratch.resampled)?;
        let shape = condition(&scratch.resampled, &self.front_end, &mut scratch.wave)?;
        Ok(scratch.wave[..shape.valid_samples].into())
    }

    /// Fills `resampled` with what the front end sees of a recording: after the offset, at its rate.
    fn resample(&self, recording: &Recording, resampled: &mut Vec<f32>) -> Result<()> {
        resampled.truncate(audio::KEPT_SAMPLES);
        resampled.shrink_to(audio::KEPT_SAMPLES);
        let (samples, rate) = (recording.samples(), recording.sample_rate());
        let kept = &samples[kept(samples, rate, &self.front_end)];
        if kept.is_empty() {
            let (length, offset) = (rate.seconds(samples.len()), self.front_end.offset_s);
            return Err(Error::recording(format!("too short: {length:.3} s, and the first {offset} s are skipped")));
        }
        self.rates.from(rate)?.resample(kept, resampled);
        Ok(())
    }

    /// The seed of a copy. Two parts of one file have copies of their own.
    fn seed_of(&self, recording: &Recording, number: u32) -> Seed {
        let (content_hash, number) = (recording.content_hash().as_bytes(), number.to_le_bytes());
        match recording.part() {
            None => self.seed.derive("augment", &[content_hash, &number]),
            Some(part) => {
                let (start, end) = (part.start_s.to_le_bytes(), part.end_s.to_le_bytes());
                self.seed.derive("augment", &[content_hash, &number, &start, &end])
            }
        }
    }

    /// Fills `scratch.copy` with an augmented copy; the last one takes the memory of the original with it.
    fn change(
        &self,
        recording: &Recording,
        (copy, is_last): (&Copy, bool),
        original: &Conditioned,
        scratch: &mut ExtractScratch,
    ) -> Result<Changed> {
        let mut draws = self.chain.draw(self.seed_of(recording, copy.number));
        let heard = voices_of(copy, draws.n_voices())?;
        let voices: Vec<&[f32]> = heard.iter().map(|voice| &**voice).collect();
        let mut conditioned = original.clone();
        if self.chain.has(Place::Recording, &draws) {
            let room = scratch.resampled.len().max(self.front_end.n_samples);
            scratch.changed.clone_from(&scratch.resampled);
            scratch.changed.shrink_to(room.max(audio::KEPT_SAMPLES));
            scratch.changed.resize(room, 0.0);
            let mut wave = Wave { samples: &mut scratch.changed, valid: scratch.resampled.len() };
            self.chain.apply(Place::Recording, &mut draws, &voices, &mut wave);
            let valid = wave.valid;
            conditioned = condition(&scratch.changed[..valid], &self.front_end, &mut scratch.copy)?;
        } else if is_last {
            std::mem::swap(&mut scratch.copy, &mut scratch.wave);
        } else {
            scratch.copy.clone_from(&scratch.wave);
        }
        if self.front_end.pad == Pad::Repeat {
            // What is done to a wave is done to the recording; its repetition follows.
            scratch.copy[conditioned.valid_samples..].fill(0.0);
        }
        let n_samples = self.front_end.n_samples;
        let mut wave = Wave { samples: &mut scratch.copy, valid: conditioned.valid_samples };
        self.chain.apply(Place::Conditioned, &mut draws, &voices, &mut wave);
        conditioned.valid_samples = wave.valid;
        conditioned.pad_fraction = (n_samples - wave.valid) as f64 / n_samples as f64;
        Ok(Changed { conditioned, augmentation: self.chain.text(&draws), snr_db: draws.snr_db(), warp: draws.warp() })
    }
}

/// Voices of the first `n` donors that have one.
fn voices_of(copy: &Copy, n: usize) -> Result<Vec<Arc<[f32]>>> {
    let mut voices = Vec::with_capacity(n);
    for donor in copy.donors {
        if voices.len() == n {
            break;
        }
        voices.extend(copy.voices.voice(donor)?);
    }
    Ok(voices)
}

#[cfg(test)]
#[path = "extract_proof.rs"]
mod proof;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::{Part, write_wav};
    use crate::recordings::Buffers;
    use crate::signal::profile::profile;
    use crate::units::SampleRate;

    const RATE: SampleRate = SampleRate(16_000);

    fn noise_of(seed: u64, n_samples: usize) -> Vec<f32> {
        (0..n_samples).map(|i| 0.1 * Seed(seed).unit(i as u64) as f32).collect()
    }

    #[test]
    fn a_recording_that_nobody_hears_or_that_does_not_fit_has_no_spectrogram() {
        let front_end = FrontEnd { n_samples: 1_000, ..profile("paper").expect("known") };
        let extractor = Extractor::new(&front_end, &[], Seed(1)).expect("an extractor");
        let reason = |extractor: &Extractor, bytes: &[u8]| {
            let mut buffers = Buffers::holding(bytes.to_vec());
            let recording = extractor.reader().decode(None, &mut buffers).and_then(|opened| opened.heard());
            let originals = [Copy::ORIGINAL];
            let made =
                recording.and_then(|one| extractor.extract(&one, &originals, &mut extractor.scratch(), |_| Ok(())));
            made.map_err(|error| error.reason())
        };
        let silence: Vec<f32> = (0..20_000).map(|i| (i % 2) as f32 / 32_767.0).collect();
        let silence = write_wav(&silence, RATE).expect("a file");
        assert_eq!(reason(&extractor, &silence), Err("silent: its peak is -90.3 dBFS".into()));
        let heard = write_wav(&noise_of(1, 20_000), RATE).expect("a file");
        assert_eq!(reason(&extractor, &heard), Ok(()));
        let small = extractor.with_limit(Bytes(100_000));
        assert!(reason(&small, &heard).is_err_and(|reason| reason.contains("the limit is 100.0 kB")));
    }

    #[test]
    fn a_part_has_the_spectrogram_of_a_file_of_its_own_and_copies_of_its_own() {
        let front_end = FrontEnd { n_samples: 10_000, ..profile("paper").expect("known") };
        let noise = [Wanted::Named("white-noise".into())];
        let extractor = Extractor::new(&front_end, &noise, Seed(1)).expect("an extractor");
        let made = |bytes: Vec<u8>, part: Option<Part>| {
            let (mut buffers, mut made) = (Buffers::holding(bytes), Vec::new());
            let recording = extractor.reader().decode(part, &mut buffers)?.heard()?;
            let copies = [Copy::ORIGINAL, Copy { number: 1, ..Copy::ORIGINAL }];
            extractor.extract(&recording, &copies, &mut extractor.scratch(), |one| {
                made.push((one.log_mel.to_vec(), one.conditioned.valid_samples, one.augmentation));
                Ok(())
            })?;
            Ok::<_, Error>(made)
        };
        // Two utterances of a second in one file, the same sound, and between them another.
        let (spoken, other) = (noise_of(1, 16_000), noise_of(2, 8_000));
        let wave = [&spoken[..], &other, &spoken].concat();
        let whole = write_wav(&wave, RATE).expect("a file");
        let part = |start_s, end_s| made(whole.clone(), Some(Part { start_s, end_s }));
        let (first, second) = (part(0.0, 1.0).expect("made"), part(1.5, 2.5).expect("made"));
        let alone = made(write_wav(&spoken, RATE).expect("a file"), None).expect("made");
        assert!(first[0] == alone[0] && second[0] == alone[0]);
        assert!(first[1].0 != second[1].0 && first[1].2 != second[1].2, "copies of parts draw for themselves");
        assert_ne!(made(whole.clone(), None).expect("made")[0], alone[0]);
        let short = part(1.0, 1.4).expect_err("the offset takes half a second of the part");
        assert_eq!(short.reason(), "too short: 0.400 s, and the first 0.5 s are skipped");
        let far = part(2.0, 3.0).expect_err("beyond the end");
        assert!(far.reason().starts_with("the part from 2 s to 3 s ends behind the recording"), "{far}");
    }
}
