//! From the bytes of one recording to the log-mel spectrograms of its original and its augmented copies.
//!
//! decode -> skip the offset -> resample -> (augment the recording) -> z-score, cut or pad -> (augment the wave) ->
//! log-mel. The one path that feature extraction, fresh copies of training and the scoring of a folder take, so that a
//! model always sees what it was trained on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::audio::{self, Budget, Decoded, Resampler};
use crate::augment::{Chain, Donor, Format, Place, Wanted, Wave};
use crate::error::{Error, ErrorKind, Result};
use crate::files;
use crate::recordings;
use crate::signal::condition::{Conditioned, condition, skip_offset};
use crate::signal::log_mel::{MelPlan, MelScratch};
use crate::signal::profile::FrontEnd;
use crate::signal::valid_frames;
use crate::units::{Bytes, SampleRate, Seed};

/// Plans of rates are kept up to so many bytes: corpora have a handful of 1 MB, folders of damaged recordings any number, of
/// up to 20 MB.
const RESAMPLERS_BYTES: usize = 64 << 20;

/// Immutable plan, shared by threads.
pub struct Extractor {
    front_end: FrontEnd,
    plan: MelPlan,
    chain: Chain,
    seed: Seed,
    budget: Budget,
    // Corpora have a handful of rates; each plan is made once and then only read.
    resamplers: Mutex<HashMap<SampleRate, Arc<Resampler>>>,
}

/// Buffers of one thread, reused from recording to recording.
pub struct ExtractScratch {
    /// What the recording is, and its samples.
    decoded: Option<Decoded>,
    samples: Vec<f32>,
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

impl ExtractScratch {
    /// What the recording was that was extracted last, and its mono samples at its own rate.
    pub fn into_recording(self) -> Option<(Decoded, Vec<f32>)> {
        self.decoded.map(|decoded| (decoded, self.samples))
    }
}

/// One variant of a recording that is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Copy<'a> {
    /// 0 the original, 1.. the augmented copies.
    pub number: u32,
    /// Recordings that its background may take voices from, best first.
    pub donors: &'a [Donor],
}

impl Copy<'_> {
    /// The recording as it is.
    pub const ORIGINAL: Self = Self { number: 0, donors: &[] };
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
}

impl Extractor {
    /// Plans a front end and the augmentations of its copies; recordings may take [`Budget::DEFAULT_LIMIT`].
    pub fn new(front_end: &FrontEnd, augmentations: &[Wanted], seed: Seed) -> Result<Self> {
        let format = Format { sample_rate: front_end.sample_rate, n_samples: front_end.n_samples };
        Ok(Self {
            front_end: front_end.clone(),
            plan: MelPlan::new(front_end)?,
            chain: Chain::new(augmentations, format)?,
            seed,
            budget: Budget::new(Budget::DEFAULT_LIMIT, front_end.sample_rate),
            resamplers: Mutex::new(HashMap::new()),
        })
    }

    /// The same with another limit of what one recording may take.
    pub fn with_limit(self, limit: Bytes) -> Self {
        Self { budget: Budget::new(limit, self.front_end.sample_rate), ..self }
    }

    /// What one recording may take, for whoever reads it.
    pub fn budget(&self) -> Budget {
        self.budget
    }

    /// Buffers for one thread.
    pub fn scratch(&self) -> ExtractScratch {
        let size = self.front_end.n_mels * self.front_end.n_frames();
        ExtractScratch {
            decoded: None,
            samples: Vec::new(),
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
    /// What a copy is depends on the seed, `content_hash`, its number and its donors alone. Errors of kind `Recording` say
    /// why a recording has no spectrogram.
    pub fn extract(
        &self,
        bytes: &[u8],
        content_hash: &str,
        copies: &[Copy],
        scratch: &mut ExtractScratch,
        mut sink: impl FnMut(Spectrogram<'_>) -> Result<()>,
    ) -> Result<()> {
        scratch.decoded = Some(self.read(bytes, &mut scratch.samples, &mut scratch.resampled)?);
        let original = condition(&scratch.resampled, &self.front_end, &mut scratch.wave)?;
        for (at, copy) in copies.iter().enumerate() {
            let is_last = at + 1 == copies.len();
            let changed = match copy.number {
                0 => None,
                _ => Some(self.change(content_hash, (copy, is_last), &original, scratch)?),
            };
            let wave = if changed.is_some() { &scratch.copy } else { &scratch.wave };
            let conditioned = changed.as_ref().map_or(&original, |changed| &changed.conditioned);
            self.plan.log_mel(wave, &mut scratch.mel, &mut scratch.log_mel);
            sink(Spectrogram {
                copy: copy.number,
                log_mel: &scratch.log_mel,
                augmentation: changed.as_ref().map(|changed| changed.augmentation.clone()),
                snr_db: changed.as_ref().and_then(|changed| changed.snr_db),
                conditioned,
                valid_frames: valid_frames(&self.front_end, conditioned.valid_samples),
            })?;
        }
        Ok(())
    }

    /// Fills `resampled` with what the front end sees of a recording: after the offset, at its rate.
    fn read(&self, bytes: &[u8], samples: &mut Vec<f32>, resampled: &mut Vec<f32>) -> Result<Decoded> {
        for buffer in [&mut *samples, resampled] {
            buffer.truncate(audio::KEPT_SAMPLES);
            buffer.shrink_to(audio::KEPT_SAMPLES);
        }
        let decoded = audio::decode_within(bytes, self.front_end.channel, self.budget, samples)?;
        audio::check_heard(samples)?;
        let rate = decoded.sample_rate;
        let kept = skip_offset(samples, rate, self.front_end.offset_s);
        if kept.is_empty() {
            let (length, offset) = (rate.seconds(samples.len()), self.front_end.offset_s);
            return Err(Error::recording(format!("too short: {length:.3} s, and the first {offset} s are skipped")));
        }
        self.resampler(rate)?.resample(kept, resampled);
        Ok(decoded)
    }

    /// Fills `scratch.copy` with an augmented copy; the last one takes the memory of the original with it.
    fn change(
        &self,
        content_hash: &str,
        (copy, is_last): (&Copy, bool),
        original: &Conditioned,
        scratch: &mut ExtractScratch,
    ) -> Result<Changed> {
        let seed = self.seed.derive("augment", &[content_hash.as_bytes(), &copy.number.to_le_bytes()]);
        let mut draws = self.chain.draw(seed);
        let voices = self.voices(copy.donors, draws.n_voices())?;
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
        let n_samples = self.front_end.n_samples;
        let mut wave = Wave { samples: &mut scratch.copy, valid: conditioned.valid_samples };
        self.chain.apply(Place::Conditioned, &mut draws, &voices, &mut wave);
        conditioned.valid_samples = wave.valid;
        conditioned.pad_fraction = (n_samples - wave.valid) as f64 / n_samples as f64;
        Ok(Changed { conditioned, augmentation: self.chain.text(&draws), snr_db: draws.snr_db() })
    }

    /// Conditioned waves, without their padding, of the first `n` donors that can be used.
    ///
    /// One that can be read but has no spectrogram of its own is passed over, always the same; one that is no longer what
    /// was planned, or that cannot be read now, is an error of kind `Unreadable`, because the copy would depend on when it was
    /// made.
    fn voices(&self, donors: &[Donor], n: usize) -> Result<Vec<Vec<f32>>> {
        let mut voices = Vec::with_capacity(n);
        let (mut bytes, mut samples, mut resampled) = (Vec::new(), Vec::new(), Vec::new());
        for donor in donors {
            if voices.len() == n {
                break;
            }
            recordings::read_known(&donor.file, &donor.content_hash, self.budget, &mut bytes).map_err(|error| {
                // The reason goes into a row of the recording, so it names the other one itself.
                let place = files::text_of(&donor.file);
                let what = format!("a voice of its background, `{place}`: {}", error.reason());
                // It may change back, or come back: this says nothing for good about the recording.
                let kind = if error.kind() == ErrorKind::Recording { ErrorKind::Unreadable } else { error.kind() };
                Error::new(kind, what)
            })?;
            let mut voice = Vec::new();
            let read = self.read(&bytes, &mut samples, &mut resampled);
            let read = read.and_then(|_| condition(&resampled, &self.front_end, &mut voice));
            match read {
                Ok(shape) => {
                    voice.truncate(shape.valid_samples);
                    voices.push(voice);
                }
                Err(error) if error.kind() == ErrorKind::Recording => {}
                Err(error) => return Err(error.at(&donor.file)),
            }
        }
        Ok(voices)
    }

    fn resampler(&self, from: SampleRate) -> Result<Arc<Resampler>> {
        let known = || self.resamplers.lock().expect("no panic while plans are looked up");
        if let Some(resampler) = known().get(&from) {
            return Ok(resampler.clone());
        }
        // Planned without the lock: other rates need not wait, and what two threads plan at once is the same.
        let resampler = Arc::new(Resampler::new(from, self.front_end.sample_rate)?);
        let mut known = known();
        let n_bytes: usize = known.values().map(|known| known.n_bytes()).sum();
        if n_bytes + resampler.n_bytes() > RESAMPLERS_BYTES {
            known.clear();
        }
        known.insert(from, resampler.clone());
        Ok(resampler)
    }
}

#[cfg(test)]
#[path = "extract_proof.rs"]
mod proof;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::audio::write_wav;
    use crate::signal::profile::profile;
    use crate::storage::atomic;

    const RATE: SampleRate = SampleRate(16_000);

    fn recording(seed: u64, n_samples: usize) -> Vec<u8> {
        let wave: Vec<f32> = (0..n_samples).map(|i| 0.1 * Seed(seed).unit(i as u64) as f32).collect();
        write_wav(&wave, RATE).expect("a file")
    }

    fn donor(folder: &Path, seed: u64, n_samples: usize) -> Donor {
        let (bytes, file) = (recording(seed, n_samples), folder.join(format!("{seed}.wav")));
        atomic::publish_bytes(folder, &file, &bytes).expect("written");
        Donor { content_hash: blake3::hash(&bytes).to_hex().to_string(), file }
    }

    fn babbling(donors: &[Donor]) -> Result<(Vec<f32>, String)> {
        let front_end = FrontEnd { n_samples: 20_000, ..profile("paper").expect("known") };
        let wanted: Vec<Wanted> = vec![Wanted::Named("babble".into())];
        let extractor = Extractor::new(&front_end, &wanted, Seed(1)).expect("an extractor");
        let mut made = (Vec::new(), String::new());
        let copy = Copy { number: 1, donors };
        extractor.extract(&recording(1, 20_000), "00", &[copy], &mut extractor.scratch(), |one| {
            made = (one.log_mel.to_vec(), one.augmentation.unwrap_or_default());
            Ok(())
        })?;
        Ok(made)
    }

    #[test]
    fn plans_of_rates_are_kept_within_a_limit() {
        let front_end = FrontEnd { n_samples: 1_000, ..profile("paper").expect("known") };
        let extractor = Extractor::new(&front_end, &[], Seed(1)).expect("an extractor");
        let kept = || extractor.resamplers.lock().expect("no panic").values().map(|plan| plan.n_bytes()).sum::<usize>();
        let usual: Vec<_> = [48_000, 24_414, 44_100, 16_000].map(|rate| extractor.resampler(SampleRate(rate))).into();
        assert!(usual.iter().all(Result::is_ok) && kept() < 4 << 20, "{} bytes for the usual rates", kept());
        for rate in (0..8).map(|i| 383_990 - 7 * i) {
            extractor.resampler(SampleRate(rate)).expect("a plan");
            assert!((1 << 20..=RESAMPLERS_BYTES).contains(&kept()), "{} bytes with {rate} Hz", kept());
        }
    }

    #[test]
    fn a_donor_without_a_spectrogram_is_passed_over_always_the_same() {
        let folder = tempfile::tempdir().expect("temporary folder");
        // The first half second is skipped, so that the second of these has nothing left.
        let mut donors: Vec<Donor> = (2..11).map(|seed| donor(folder.path(), seed, 20_000)).collect();
        let expected = babbling(&donors).expect("babble");
        donors.insert(1, donor(folder.path(), 99, 8_000));
        assert_eq!(babbling(&donors).expect("babble"), expected);
        donors.remove(0);
        assert_ne!(babbling(&donors).expect("babble").0, expected.0, "who is heard is heard");
        let two = babbling(&donors[..3]).expect("babble").1;
        assert!(two.contains("talkers=2"), "one of the three cannot be used: {two}");
    }

    #[test]
    fn a_donor_that_changed_is_told_from_one_that_is_gone() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let donors: Vec<Donor> = (2..11).map(|seed| donor(folder.path(), seed, 20_000)).collect();
        for (change, kind, words) in [
            (Some(b"other bytes".as_slice()), ErrorKind::Unreadable, "changed since ingest: run ingest again"),
            (None, ErrorKind::Unreadable, "cannot be read: "),
        ] {
            match change {
                Some(bytes) => atomic::publish_beside(&donors[0].file, bytes).expect("written"),
                None => atomic::remove_file(&donors[0].file).expect("removed"),
            }
            let error = babbling(&donors).expect_err("not what was planned");
            assert_eq!(error.kind(), kind);
            assert!(error.reason().contains("2.wav") && error.reason().contains(words), "{error}");
        }
    }

    #[test]
    fn a_recording_that_nobody_hears_or_that_does_not_fit_has_no_spectrogram() {
        let front_end = FrontEnd { n_samples: 1_000, ..profile("paper").expect("known") };
        let extractor = Extractor::new(&front_end, &[], Seed(1)).expect("an extractor");
        let reason = |extractor: &Extractor, bytes: &[u8]| {
            let made = extractor.extract(bytes, "", &[Copy::ORIGINAL], &mut extractor.scratch(), |_| Ok(()));
            made.map_err(|error| error.reason())
        };
        let silence: Vec<f32> = (0..20_000).map(|i| (i % 2) as f32 / 32_767.0).collect();
        let silence = write_wav(&silence, RATE).expect("a file");
        assert_eq!(reason(&extractor, &silence), Err("silent: its peak is -90.3 dBFS".into()));
        let heard = recording(1, 20_000);
        assert_eq!(reason(&extractor, &heard), Ok(()));
        let small = extractor.with_limit(Bytes(100_000));
        assert!(reason(&small, &heard).is_err_and(|reason| reason.contains("the limit is 100.0 kB")));
    }
}
