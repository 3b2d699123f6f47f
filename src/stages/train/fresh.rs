//! Copies that are drawn anew for each epoch, made from the recordings themselves; nothing of them is stored.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::audio::Part;
use crate::augment::{Donor, Ring};
use crate::error::{Error, ErrorKind, Result};
use crate::extract::{Copy, ExtractScratch, Extractor};
use crate::files;
use crate::recordings::Buffers;
use crate::signal::float16::stored_precision;
use crate::split::Split;
use crate::stages::Ctx;
use crate::stages::roster::Roster;
use crate::tables::manifest::sound_hash;
use crate::units::Seed;
use crate::voices::VoiceCache;

/// Makes fresh copies of recordings of the training side; shared by threads.
pub(super) struct Fresh {
    extractor: Extractor,
    seed: Seed,
    n_copies: u32,
    /// Where each recording is, by the hash of its sound.
    recordings: HashMap<String, Donor>,
    /// The originals of the training side.
    ring: Ring,
    /// Buffers that no thread uses at the moment.
    scratches: Mutex<Vec<(Buffers, ExtractScratch)>>,
    voices: VoiceCache,
}

impl Fresh {
    /// Plans the copies of a recipe that draws them anew; `None` for one that stores them.
    pub(super) fn open(ctx: &Ctx, roster: &Roster, seed: Seed) -> Result<Option<Self>> {
        let (config, n_copies) = (&ctx.pipeline.features, ctx.pipeline.fresh_copies());
        if n_copies == 0 {
            return Ok(None);
        }
        let mut recordings = HashMap::new();
        for entry in roster.entries().filter(|entry| roster.side(&entry.recording_id, 0) == Some(Split::Train)) {
            let Some(content_hash) = entry.content_hash.clone() else { continue };
            let sound = sound_hash(&content_hash, entry.start_s, entry.end_s)?;
            let part = entry.start_s.zip(entry.end_s).map(|(start_s, end_s)| Part { start_s, end_s });
            let file = ctx.corpora.join(files::path_of(&entry.path));
            recordings.insert(sound.to_hex().to_string(), Donor { content_hash, part, file });
        }
        Ok(Some(Self {
            extractor: Extractor::new(&config.front_end, &config.augmentations, seed)?
                .with_limit(ctx.pipeline.recording_limit()),
            seed,
            n_copies,
            ring: Ring::new(recordings.values().cloned()),
            recordings,
            scratches: Mutex::new(Vec::new()),
            voices: VoiceCache::new(VoiceCache::DEFAULT_LIMIT),
        }))
    }

    /// Fresh copies of each recording in an epoch.
    pub(super) fn n_copies(&self) -> u32 {
        self.n_copies
    }

    /// Bytes that it holds, at most: names and places of recordings, voices, and the buffers of `n_threads`.
    pub(super) fn bytes(&self, n_threads: usize) -> usize {
        /// Two hashes as text and two paths of up to 200 bytes.
        const RECORDING: usize = 600;
        /// Half a minute of speech at 48 kHz and resampled, and the waves of a copy with its voices.
        const THREAD: usize = 12_000_000;
        let (voice, n) = (size_of::<f32>() * self.extractor.front_end().n_samples, self.recordings.len());
        let voices = if self.extractor.chain().n_donors() == 0 { 0 } else { n * voice };
        n * RECORDING + voices.min(VoiceCache::DEFAULT_LIMIT.0 as usize) + n_threads * THREAD
    }

    /// Number of copy `which` (from 1) of `epoch` (from 1): copies are counted on from epoch to epoch, so those of the
    /// first epoch are the ones that `features` would store.
    pub(super) fn number(&self, epoch: u32, which: u32) -> u32 {
        (epoch - 1) * self.n_copies + which
    }

    /// Fills `log_mel` (`[n_mels, n_frames]`) with copy `number` of the recording of that sound, rounded as if it had been stored.
    ///
    /// Errors: kind `Input` where the recording, or a voice of its background, changed since ingest; kind `Unreadable` where it
    /// is gone or the machine failed at it.
    /// Proof: `the_first_epoch_of_fresh_copies_is_what_features_would_store`.
    pub(super) fn fill(&self, sound: &str, number: u32, log_mel: &mut [f32]) -> Result<()> {
        let Donor { content_hash, part, file } = self.recordings.get(sound).ok_or_else(|| {
            Error::input(format!("the manifest has no training recording with content {sound}"))
                .hint("run `sermill features` with this pipeline")
        })?;
        let stale = |error: Error| match error.kind() {
            ErrorKind::Recording => {
                Error::input(error.reason()).at(file).hint("run `sermill ingest` and `sermill features`")
            }
            ErrorKind::Unreadable => {
                error.or_at(file).or_hint("see whether the recording is there, then run the same command again")
            }
            _ => error.or_at(file),
        };
        let n_donors = self.extractor.chain().n_donors();
        let donors: Vec<Donor> =
            self.ring.pick(self.seed, content_hash, number, n_donors).into_iter().cloned().collect();
        let idle = self.scratches.lock().expect("no panic while buffers are handed out").pop();
        let (mut buffers, mut scratch) = idle.unwrap_or_else(|| (Buffers::default(), self.extractor.scratch()));
        let (reader, voices) = (self.extractor.reader(), self.voices.of(&self.extractor));
        let copy = Copy { number, donors: &donors, voices: &voices };
        let read = reader.read_known(file, content_hash, &mut buffers);
        let heard = read.and_then(|()| reader.decode(*part, &mut buffers)?.heard());
        let made = heard.and_then(|recording| {
            self.extractor.extract(&recording, &[copy], &mut scratch, |spectrogram| {
                log_mel.copy_from_slice(spectrogram.log_mel);
                stored_precision(log_mel);
                Ok(())
            })
        });
        self.scratches.lock().expect("no panic while buffers are handed out").push((buffers, scratch));
        made.map_err(stale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::write_wav;
    use crate::augment::When;
    use crate::config::Pipeline;
    use crate::corpora;
    use crate::progress::Silent;
    use crate::stages::{self, drive};
    use crate::storage::atomic;
    use crate::storage::commit::Commit;
    use crate::storage::layout::Store;
    use crate::tables::committed_rows;
    use crate::tables::features::{FeatureRow, from_blob};
    use crate::units::SampleRate;
    use std::path::PathBuf;

    /// 28 synthetic recordings and the augmented recipe, with copies that are stored.
    fn context(folder: &std::path::Path) -> Ctx {
        let rate = SampleRate(16_000);
        for utterance in corpora::design(2, 2, 1) {
            let bytes = write_wav(&corpora::synthesise(Seed(1), &utterance, rate), rate).expect("a file");
            let target = folder.join("corpora/synthetic").join(&utterance.relative);
            atomic::publish_bytes(&folder.join("corpora.staging"), &target, &bytes).expect("written");
        }
        let set = [
            "ingest.corpus=[{kind=\"synthetic\",name=\"synthetic\",root=\"synthetic\"}]",
            "features.copies=2",
            "augment.when=features",
        ];
        let text = include_str!("../../../pipelines/augmented.toml");
        Ctx {
            pipeline: Pipeline::parse(text, &set.map(str::to_string)).expect("a recipe"),
            store: Store::new(folder.join("store")),
            corpora: folder.join("corpora"),
            input: None,
            runtime_library: PathBuf::new(),
            shard_recordings: 1,
            memory_limit: crate::units::Bytes(4_000_000_000),
            accept_loss: false,
            progress: Box::new(Silent),
            pool: rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("threads"),
        }
    }

    fn roster(ctx: &Ctx) -> Roster {
        let commit = |stage: &str| Commit::require(&ctx.store, stage).unwrap_or_else(|error| panic!("{error}"));
        Roster::read(&ctx.store, &commit("ingest"), Some(&commit("folds"))).expect("read")
    }

    #[test]
    fn the_first_epoch_of_fresh_copies_is_what_features_would_store() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let mut ctx = context(folder.path());
        for name in ["ingest", "features"] {
            drive(&ctx, stages::stage(name).expect("known")).unwrap_or_else(|error| panic!("{error}"));
        }
        assert!(Fresh::open(&ctx, &roster(&ctx), ctx.pipeline.pipeline.seed).expect("a recipe that stores").is_none());
        ctx.pipeline.augment.when = When::Epoch;
        let fresh =
            Fresh::open(&ctx, &roster(&ctx), ctx.pipeline.pipeline.seed).expect("planned").expect("fresh copies");
        let (mut n_compared, mut n_babble) = (0, 0);
        let features = Commit::require(&ctx.store, "features").expect("committed");
        for row in committed_rows::<FeatureRow>(&ctx.store, &features).expect("rows") {
            if row.copy == 0 || roster(&ctx).side(&row.recording_id, row.copy) != Some(Split::Train) {
                continue;
            }
            let mut stored = vec![0.0; (row.n_mels * row.n_frames) as usize];
            let (mut first, mut second) = (stored.clone(), stored.clone());
            from_blob(&row.log_mel.expect("a spectrogram"), &mut stored).expect("its shape");
            fresh.fill(&row.content_hash, fresh.number(1, row.copy), &mut first).expect("a copy");
            fresh.fill(&row.content_hash, fresh.number(2, row.copy), &mut second).expect("a copy");
            assert!(first == stored, "{} copy {}: {:?}", row.recording_id, row.copy, row.augmentation);
            assert!(second != first, "another epoch has another copy");
            n_compared += 1;
            n_babble += u32::from(row.augmentation.is_some_and(|text| text.contains("babble")));
        }
        assert!(n_compared == 38 && n_babble > 0, "{n_compared} copies of 19 recordings, {n_babble} with babble");
    }

    #[test]
    fn a_silent_recording_has_no_fresh_copy_for_the_reason_of_every_command() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let mut ctx = context(folder.path());
        ctx.pipeline.augment.when = When::Epoch;
        for name in ["ingest", "folds"] {
            drive(&ctx, stages::stage(name).expect("known")).unwrap_or_else(|error| panic!("{error}"));
        }
        let mut fresh =
            Fresh::open(&ctx, &roster(&ctx), ctx.pipeline.pipeline.seed).expect("planned").expect("fresh copies");
        let silence: Vec<f32> = (0..40_000).map(|i| (i % 2) as f32 / 32_767.0).collect();
        let bytes = write_wav(&silence, SampleRate(16_000)).expect("a file");
        let (file, content_hash) = (folder.path().join("silence.wav"), blake3::hash(&bytes).to_hex().to_string());
        atomic::publish_bytes(&folder.path().join("staging"), &file, &bytes).expect("written");
        fresh.recordings.insert(content_hash.clone(), Donor { content_hash: content_hash.clone(), part: None, file });
        let error = fresh.fill(&content_hash, 1, &mut vec![0.0; 128 * 508]).expect_err("silent");
        assert!(error.to_string().ends_with("silence.wav`: silent: its peak is -90.3 dBFS"), "{error}");
    }

    #[test]
    fn a_recording_that_changed_since_ingest_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let mut ctx = context(folder.path());
        ctx.pipeline.augment.when = When::Epoch;
        for name in ["ingest", "folds"] {
            drive(&ctx, stages::stage(name).expect("known")).unwrap_or_else(|error| panic!("{error}"));
        }
        let fresh =
            Fresh::open(&ctx, &roster(&ctx), ctx.pipeline.pipeline.seed).expect("planned").expect("fresh copies");
        let (content_hash, Donor { file, .. }) = fresh.recordings.iter().next().expect("a recording");
        let mut log_mel = vec![0.0; 128 * 508];
        fresh.fill(content_hash, 1, &mut log_mel).expect("a copy");
        atomic::publish_bytes(&folder.path().join("staging"), file, b"other bytes").expect("written");
        let error = fresh.fill(content_hash, 1, &mut log_mel).expect_err("changed");
        assert!(error.to_string().contains("changed since ingest") && error.to_string().contains(".wav"), "{error}");
        atomic::remove_file(file).expect("removed");
        let error = fresh.fill(content_hash, 1, &mut log_mel).expect_err("gone");
        assert_eq!((error.kind(), error.kind().exit_code()), (ErrorKind::Unreadable, 3));
        assert!(error.to_string().contains(".wav") && error.hint_text().is_some(), "{error}");
        assert!(fresh.fill("00", 1, &mut log_mel).expect_err("unknown").hint_text().is_some());
    }
}
