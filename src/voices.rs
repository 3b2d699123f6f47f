//! Voices of backgrounds: other recordings, opened when a copy asks for them and kept for the next one that does.
//!
//! A recording is a voice of several copies, and opening it costs as much as extracting it. A voice follows from the content
//! of its recording alone, so what is kept changes how long a run takes and nothing else.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use crate::augment::Donor;
use crate::error::{Error, ErrorKind, Result};
use crate::extract::{ExtractScratch, Extractor, Voices};
use crate::files;
use crate::recordings::Buffers;
use crate::units::Bytes;

/// What one entry takes beside its samples: its hash twice, and its places in two maps.
const ENTRY_BYTES: usize = 400;

/// Voices that were heard last, of one extractor; shared by threads.
pub struct VoiceCache {
    limit: Bytes,
    known: Mutex<Known>,
    /// Buffers that no thread uses at the moment.
    idle: Mutex<Vec<(Buffers, ExtractScratch)>>,
}

/// A conditioned wave without padding; nothing for a recording without a spectrogram.
type Voice = Option<Arc<[f32]>>;

#[derive(Default)]
struct Known {
    /// By [`Donor::key`], with the time of the last use.
    voices: HashMap<String, (u64, Voice)>,
    /// Keys by that time.
    by_use: BTreeMap<u64, String>,
    n_bytes: usize,
    /// Counts uses.
    clock: u64,
}

impl VoiceCache {
    /// The usual limit: 256 voices of the paper's front end.
    pub const DEFAULT_LIMIT: Bytes = Bytes(1 << 26);

    /// An empty one that keeps up to `limit`.
    pub fn new(limit: Bytes) -> Self {
        Self { limit, known: Mutex::default(), idle: Mutex::default() }
    }

    /// The voices of recordings as `extractor` conditions them: always the same one for the same cache.
    pub fn of<'a>(&'a self, extractor: &'a Extractor) -> impl Voices + 'a {
        FromFiles { cache: self, extractor }
    }

    fn get(&self, content_hash: &str) -> Option<Voice> {
        self.known.lock().expect("no panic while voices are looked up").get(content_hash)
    }

    fn keep(&self, content_hash: &str, voice: &Voice) {
        self.known.lock().expect("no panic while voices are looked up").keep(content_hash, voice, self.limit);
    }
}

impl Known {
    fn get(&mut self, content_hash: &str) -> Option<Voice> {
        let (used, voice) = self.voices.get_mut(content_hash)?;
        self.clock += 1;
        let entry = self.by_use.remove(&*used)?;
        self.by_use.insert(self.clock, entry);
        *used = self.clock;
        Some(voice.clone())
    }

    /// Keeps a voice, and forgets those that were not heard for longest.
    fn keep(&mut self, content_hash: &str, voice: &Voice, limit: Bytes) {
        let n_bytes = bytes_of(voice);
        if self.voices.contains_key(content_hash) || n_bytes as u64 > limit.0 {
            return;
        }
        while (self.n_bytes + n_bytes) as u64 > limit.0 {
            let Some((_, oldest)) = self.by_use.pop_first() else { break };
            self.n_bytes -= self.voices.remove(&oldest).map_or(0, |(_, voice)| bytes_of(&voice));
        }
        self.clock += 1;
        self.by_use.insert(self.clock, content_hash.to_string());
        self.voices.insert(content_hash.to_string(), (self.clock, voice.clone()));
        self.n_bytes += n_bytes;
    }
}

fn bytes_of(voice: &Voice) -> usize {
    ENTRY_BYTES + voice.as_ref().map_or(0, |wave| size_of_val(&**wave))
}

struct FromFiles<'a> {
    cache: &'a VoiceCache,
    extractor: &'a Extractor,
}

impl Voices for FromFiles<'_> {
    fn voice(&self, donor: &Donor) -> Result<Voice> {
        let key = donor.key();
        if let Some(voice) = self.cache.get(&key) {
            return Ok(voice);
        }
        let idle = self.cache.idle.lock().expect("no panic while buffers are handed out").pop();
        let (mut buffers, mut scratch) = idle.unwrap_or_else(|| (Buffers::default(), self.extractor.scratch()));
        let voice = self.open(donor, &mut buffers, &mut scratch);
        self.cache.idle.lock().expect("no panic while buffers are handed out").push((buffers, scratch));
        if let Ok(voice) = &voice {
            self.cache.keep(&key, voice);
        }
        voice
    }
}

impl FromFiles<'_> {
    fn open(&self, donor: &Donor, buffers: &mut Buffers, scratch: &mut ExtractScratch) -> Result<Voice> {
        let reader = self.extractor.reader();
        reader.read_known(&donor.file, &donor.content_hash, buffers).map_err(|error| {
            // The reason goes into a row of the recording, so it names the other one itself.
            let place = files::text_of(&donor.file);
            let what = format!("a voice of its background, `{place}`: {}", error.reason());
            // It may change back, or come back: this says nothing for good about the recording.
            let kind = if error.kind() == ErrorKind::Recording { ErrorKind::Unreadable } else { error.kind() };
            Error::new(kind, what)
        })?;
        let heard = reader.decode(donor.part, buffers).and_then(|opened| opened.heard());
        match heard.and_then(|recording| self.extractor.voice(&recording, scratch)) {
            Ok(wave) => Ok(Some(wave)),
            Err(error) if error.kind() == ErrorKind::Recording => Ok(None),
            Err(error) => Err(error.at(&donor.file)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::audio::write_wav;
    use crate::augment::Wanted;
    use crate::extract::Copy;
    use crate::signal::profile::{FrontEnd, profile};
    use crate::storage::atomic;
    use crate::units::{SampleRate, Seed};

    fn recording(seed: u64, n_samples: usize) -> Vec<u8> {
        let wave: Vec<f32> = (0..n_samples).map(|i| 0.1 * Seed(seed).unit(i as u64) as f32).collect();
        write_wav(&wave, SampleRate(16_000)).expect("a file")
    }

    fn put(folder: &Path, name: &str, bytes: &[u8]) -> Donor {
        let file = folder.join(format!("{name}.wav"));
        atomic::publish_bytes(folder, &file, bytes).expect("written");
        Donor { content_hash: blake3::hash(bytes).to_hex().to_string(), part: None, file }
    }

    fn donor(folder: &Path, seed: u64, n_samples: usize) -> Donor {
        put(folder, &seed.to_string(), &recording(seed, n_samples))
    }

    fn extractor() -> Extractor {
        let front_end = FrontEnd { n_samples: 20_000, ..profile("paper").expect("known") };
        Extractor::new(&front_end, &[Wanted::Named("babble".into())], Seed(1)).expect("an extractor")
    }

    /// Copy `number` of a recording, with the voices of `donors` out of `cache`.
    fn babble(extractor: &Extractor, cache: &VoiceCache, donors: &[Donor], number: u32) -> Result<(Vec<f32>, String)> {
        let mut made = (Vec::new(), String::new());
        let mut buffers = Buffers::holding(recording(1, 20_000));
        let recording = extractor.reader().decode(None, &mut buffers)?.heard()?;
        let copy = Copy { number, donors, voices: &cache.of(extractor) };
        extractor.extract(&recording, &[copy], &mut extractor.scratch(), |one| {
            made = (one.log_mel.to_vec(), one.augmentation.unwrap_or_default());
            Ok(())
        })?;
        Ok(made)
    }

    fn babbling(donors: &[Donor]) -> Result<(Vec<f32>, String)> {
        babble(&extractor(), &VoiceCache::new(VoiceCache::DEFAULT_LIMIT), donors, 1)
    }

    #[test]
    fn a_voice_is_opened_once_and_what_is_kept_changes_no_copy() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let mut donors: Vec<Donor> = (2..11).map(|seed| donor(folder.path(), seed, 20_000)).collect();
        donors.insert(3, donor(folder.path(), 99, 8_000));
        let extractor = extractor();
        let copies = |limit: u64, n_passes: u32| -> Vec<_> {
            let cache = VoiceCache::new(Bytes(limit));
            let numbers = (0..n_passes).flat_map(|_| 1..6);
            numbers.map(|number| babble(&extractor, &cache, &donors, number).expect("babble")).collect()
        };
        let fresh = copies(0, 1);
        // Room for two voices, for five, for all.
        for limit in [100_000, 300_000, 1 << 26] {
            assert!(copies(limit, 2) == [&fresh[..], &fresh].concat(), "{limit} bytes");
        }
        let cache = VoiceCache::new(VoiceCache::DEFAULT_LIMIT);
        let voices = cache.of(&extractor);
        let first: Vec<Voice> = donors.iter().map(|donor| voices.voice(donor).expect("opened")).collect();
        donors.iter().for_each(|donor| atomic::remove_file(&donor.file).expect("removed"));
        let second: Vec<Voice> = donors.iter().map(|donor| voices.voice(donor).expect("kept")).collect();
        assert!(first == second && first.iter().filter(|voice| voice.is_none()).count() == 1);
    }

    #[test]
    fn what_is_kept_stays_within_its_limit_and_is_what_was_heard_last() {
        let mut known = Known::default();
        let limit = Bytes(10 * (400 + 4_000));
        let voice: Voice = Some(vec![0.5; 1_000].into());
        for number in 0..100 {
            known.keep(&format!("{number}"), &voice, limit);
            assert!(known.get("0").is_some(), "what is heard again and again stays");
            assert!(known.n_bytes as u64 <= limit.0 && known.voices.len() == known.by_use.len());
        }
        assert!(known.voices.len() == 10 && known.get("99").is_some() && known.get("50").is_none());
        known.keep("long", &Some(vec![0.5; 20_000].into()), limit);
        assert!(
            known.get("long").is_none() && known.voices.len() == 10,
            "a voice beyond the limit drives out no other"
        );
        known.keep("none", &None, limit);
        assert_eq!(known.get("none"), Some(None));
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
    fn a_silent_donor_is_no_voice() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let silence: Vec<f32> = (0..20_000).map(|i| (i % 2) as f32 / 32_767.0).collect();
        let silent = put(folder.path(), "silent", &write_wav(&silence, SampleRate(16_000)).expect("a file"));
        let (cache, extractor) = (VoiceCache::new(VoiceCache::DEFAULT_LIMIT), extractor());
        assert_eq!(cache.of(&extractor).voice(&silent).expect("read"), None);
    }
}
