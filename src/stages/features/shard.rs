//! One shard: a pure, idempotent function from rows of a plan to one file of spectrograms.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::audio::Part;
use crate::augment::Donor;
use crate::definition::{Definition, METADATA_KEY};
use crate::error::{Error, ErrorKind, Result};
use crate::extract::{Copy, ExtractScratch, Extractor, Spectrogram};
use crate::files;
use crate::progress::Meter;
use crate::recordings;
use crate::signal::summary::summary;
use crate::stages::shards;
use crate::storage::atomic::{self, Written};
use crate::storage::fingerprint::Fingerprint;
use crate::storage::publish::content_named;
use crate::storage::record::Content;
use crate::tables::TableFile;
use crate::tables::feature_index::{FeatureIndexRow, index_of_shard};
use crate::tables::feature_plan::{FeaturePlanRow, PlannedDonor, donors_from_text};
use crate::tables::features::{FeatureRow, FeatureWriter, variant_of_original};
use crate::tables::manifest::Status;
use crate::tables::spectrograms::shard_stem;
use crate::voices::VoiceCache;

/// Key of the note in a shard that says how many of its rows the machine failed at.
pub(super) const UNREAD: &str = "sermill.unread";
/// Key of the note that says at which recording it failed first, and how; only where it did.
const FIRST_UNREAD: &str = "sermill.first_unread";

/// Where one shard comes from and goes to.
pub struct ShardJob<'a> {
    pub id: &'a str,
    /// Its recordings.
    pub rows: &'a [FeaturePlanRow],
    /// Folder where the output waits for its place.
    pub staging: PathBuf,
}

/// What became of one shard.
pub struct Made {
    /// Its file, to be synced and renamed to [`Made::staged`]; nothing when it was there and whole.
    pub written: Option<Written>,
    /// Where it waits.
    pub staged: PathBuf,
    /// Size and hash of the file.
    pub content: Content,
    pub n_rows: u64,
    /// Rows without a spectrogram.
    pub n_rejected: u64,
    /// Those among them that the machine failed at.
    pub n_unread: u64,
    /// Path of the first recording that the machine failed at, and how.
    pub first_unread: Option<(String, String)>,
    /// Where its spectrograms lie; the plan rows that they were made from are not in it yet.
    pub index: Vec<FeatureIndexRow>,
}

/// What became of the rows of one recording.
enum Added {
    All,
    /// So many rows without a spectrogram.
    Rejected(u64),
    /// The same, because the machine failed at it, and how.
    Unread(u64, String),
}

/// What all shards of a run have in common.
pub struct ShardMaker<'a> {
    pub extractor: &'a Extractor,
    pub fingerprint: &'a Fingerprint,
    /// Fingerprint of what copies go through, and of their seed.
    pub copies: &'a Fingerprint,
    pub corpora: &'a Path,
    pub n_copies: u32,
    pub meter: &'a dyn Meter,
    buffers: Mutex<Vec<Buffers>>,
    voices: VoiceCache,
}

/// Buffers of one shard at a time, which go from shard to shard: fresh memory costs more than what is done to it.
struct Buffers {
    scratch: ExtractScratch,
    recording: recordings::Buffers,
    /// The spectrograms of a row group.
    narrow: Vec<u16>,
}

impl<'a> ShardMaker<'a> {
    /// A maker without buffers; as many are made as shards are worked on at once.
    pub fn new(
        extractor: &'a Extractor,
        [fingerprint, copies]: [&'a Fingerprint; 2],
        corpora: &'a Path,
        n_copies: u32,
        meter: &'a dyn Meter,
    ) -> Self {
        Self {
            extractor,
            fingerprint,
            copies,
            corpora,
            n_copies,
            meter,
            buffers: Mutex::default(),
            voices: VoiceCache::new(VoiceCache::DEFAULT_LIMIT),
        }
    }

    /// Computes one shard from its plan: a pure, idempotent function with one output file, which is visible once it is
    /// published.
    ///
    /// A recording that cannot be used becomes rows with a reason. Memory: one recording, the spectrograms of one row group twice, and the voices of a
    /// [`VoiceCache`], however long the shard is.
    pub fn make(&self, job: &ShardJob) -> Result<Made> {
        let n_rows = (job.rows.len() * (self.n_copies as usize + 1)) as u64;
        let waiting = self.buffers.lock().expect("no panic while buffers are handed over").pop();
        let mut buffers = waiting.unwrap_or_else(|| Buffers {
            scratch: self.extractor.scratch(),
            recording: recordings::Buffers::default(),
            narrow: Vec::new(),
        });
        let (mut n_rejected, mut n_unread, mut first_unread) = (0, 0, None);
        let (stem, mut index) = (shard_stem(job.id), Vec::new());
        let target = job.staging.join(format!("{stem}.parquet"));
        let written = atomic::write_aside(&job.staging, &target, |out| {
            let mut writer = FeatureWriter::in_memory_of(std::mem::take(&mut buffers.narrow), out)?;
            writer.note(METADATA_KEY, &Definition::of(self.extractor.front_end()).to_string());
            for row in job.rows {
                match self.add_rows(row, &mut buffers, &mut writer)? {
                    Added::All => {}
                    Added::Rejected(n) => n_rejected += n,
                    Added::Unread(n, reason) => {
                        (n_rejected, n_unread) = (n_rejected + n, n_unread + n);
                        first_unread.get_or_insert_with(|| (row.path.clone(), reason));
                    }
                }
                writer.write_full_group()?;
                self.meter.advance(1);
            }
            writer.note(UNREAD, &n_unread.to_string());
            if let Some(first) = &first_unread {
                writer.note(FIRST_UNREAD, &serde_json::json!(first).to_string());
            }
            (buffers.narrow, index) = writer.finish()?;
            Ok(())
        })?;
        self.buffers.lock().expect("no panic while buffers are handed over").push(buffers);
        index.iter_mut().for_each(|row| row.shard = job.id.to_string());
        let content = written.content().clone();
        let staged = job.staging.join(content_named(&stem, &content));
        Ok(Made { written: Some(written), staged, content, n_rows, n_rejected, n_unread, first_unread, index })
    }

    /// Adds the rows of one recording, its original and its copies.
    fn add_rows(&self, plan: &FeaturePlanRow, buffers: &mut Buffers, writer: &mut FeatureWriter) -> Result<Added> {
        let n_before = writer.n_rows();
        match self.add_spectrograms(plan, buffers, writer) {
            Ok(()) => Ok(Added::All),
            Err(error) if matches!(error.kind(), ErrorKind::Recording | ErrorKind::Unreadable) => {
                // Part of a recording's rows would pass for all of them.
                writer.take_back(n_before);
                for copy in 0..=self.n_copies {
                    let blank = self.blank(plan, copy);
                    let reject_reason = Some(error.reason());
                    writer.push(FeatureRow { status: Status::Rejected, reject_reason, ..blank }, None);
                }
                let n = u64::from(self.n_copies) + 1;
                Ok(match error.kind() {
                    ErrorKind::Unreadable => Added::Unread(n, error.reason()),
                    _ => Added::Rejected(n),
                })
            }
            Err(error) => Err(error.or_at(self.corpora.join(files::path_of(&plan.path)))),
        }
    }

    fn add_spectrograms(&self, plan: &FeaturePlanRow, buffers: &mut Buffers, writer: &mut FeatureWriter) -> Result<()> {
        let donors = planned_donors(self.corpora, plan)?;
        let (reader, voices) = (self.extractor.reader(), self.voices.of(self.extractor));
        let donors_of = |copy: u32| copy.checked_sub(1).and_then(|first| donors.get(first as usize));
        let copy = |number| Copy { number, donors: donors_of(number).map_or(&[], Vec::as_slice), voices: &voices };
        let copies: Vec<Copy> = (0..=self.n_copies).map(copy).collect();
        let file = self.corpora.join(files::path_of(&plan.path));
        let content_hash = reader.read(&file, &mut buffers.recording)?;
        if content_hash.to_hex().as_str() != plan.content_hash {
            // It may change back, so this is no fact about the recording.
            return Err(Error::new(ErrorKind::Unreadable, "changed since ingest: run ingest again"));
        }
        let part = part_of(plan.start_s, plan.end_s);
        let recording = reader.decode(part, &mut buffers.recording)?.heard()?;
        self.extractor.extract(&recording, &copies, &mut buffers.scratch, |spectrogram| {
            let mut row = fill(self.blank(plan, spectrogram.copy), self.extractor, &spectrogram);
            row.variant = Some(self.variant_of(plan, &donors, spectrogram.copy));
            writer.push(row, Some(spectrogram.log_mel));
            Ok(())
        })
    }

    /// What a spectrogram was made from: two rows with equal variants have equal spectrograms.
    fn variant_of(&self, plan: &FeaturePlanRow, donors: &[Vec<Donor>], copy: u32) -> String {
        let original = variant_of_original(self.fingerprint.as_str(), &plan.content_hash, plan.start_s, plan.end_s);
        let Some(first) = copy.checked_sub(1) else { return original };
        let heard = donors.get(first as usize).into_iter().flatten().map(Donor::key);
        let own = [original, self.copies.to_string(), copy.to_string()];
        Fingerprint::of(own.into_iter().chain(heard)).to_string()
    }

    /// A row without a spectrogram.
    fn blank(&self, plan: &FeaturePlanRow, copy: u32) -> FeatureRow {
        FeatureRow {
            recording_id: plan.recording_id.clone(),
            corpus: plan.corpus.clone(),
            content_hash: plan.content_hash.clone(),
            copy,
            fingerprint: self.fingerprint.to_string(),
            ..FeatureRow::default()
        }
    }
}

/// An output of these rows that waits, if it is whole; anything else is made anew.
///
/// Errors: those that say nothing about the file, because the machine failed at it.
pub(super) fn whole(waiting: &Path, id: &str, rows: &[FeaturePlanRow], n_copies: u32) -> Result<Option<Made>> {
    match opened(waiting, id) {
        Ok(made) => Ok(made.filter(|made| is_of(made, rows, n_copies))),
        Err(error) if error.kind() == ErrorKind::Input => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a shard has each copy of each recording, in order.
fn is_of(made: &Made, rows: &[FeaturePlanRow], n_copies: u32) -> bool {
    let wanted = rows.iter().flat_map(|row| (0..=n_copies).map(move |copy| (row.recording_id.as_str(), copy)));
    made.index.iter().map(|row| (row.recording_id.as_str(), row.copy)).eq(wanted)
}

fn opened(waiting: &Path, id: &str) -> Result<Option<Made>> {
    let Some(content) = shards::whole(waiting, id)? else { return Ok(None) };
    let file = TableFile::open(waiting)?;
    let Some(n_unread) = file.note(UNREAD)?.and_then(|n| n.parse().ok()) else { return Ok(None) };
    let first = file.note(FIRST_UNREAD)?;
    let index = index_of_shard(waiting, id)?;
    Ok(Some(Made {
        written: None,
        staged: waiting.to_path_buf(),
        content,
        n_rows: index.len() as u64,
        n_rejected: index.iter().filter(|row| row.status == Status::Rejected).count() as u64,
        n_unread,
        first_unread: first.and_then(|text| serde_json::from_str(&text).ok()),
        index,
    }))
}

fn part_of(start_s: Option<f64>, end_s: Option<f64>) -> Option<Part> {
    start_s.zip(end_s).map(|(start_s, end_s)| Part { start_s, end_s })
}

/// Whose voices each copy may take, as files.
fn planned_donors(corpora: &Path, plan: &FeaturePlanRow) -> Result<Vec<Vec<Donor>>> {
    let file = |donor: PlannedDonor| Donor {
        part: part_of(donor.start_s, donor.end_s),
        content_hash: donor.content_hash,
        file: corpora.join(files::path_of(&donor.path)),
    };
    let of_copy = |donors: Vec<PlannedDonor>| donors.into_iter().map(file).collect();
    Ok(donors_from_text(&plan.donors)?.into_iter().map(of_copy).collect())
}

fn fill(mut row: FeatureRow, extractor: &Extractor, spectrogram: &Spectrogram) -> FeatureRow {
    let found = summary(spectrogram.log_mel);
    row.augmentation = spectrogram.augmentation.clone();
    row.snr_db = spectrogram.snr_db;
    row.n_mels = extractor.front_end().n_mels as u32;
    row.n_frames = extractor.front_end().n_frames() as u32;
    row.valid_frames = spectrogram.valid_frames as u32;
    row.pad_fraction = spectrogram.conditioned.pad_fraction;
    row.truncated = spectrogram.conditioned.truncated;
    row.mel_mean = Some(found.mean);
    row.mel_std = Some(found.deviation);
    row.mel_min = Some(f64::from(found.least));
    row.mel_max = Some(f64::from(found.greatest));
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::write_wav;
    use crate::augment::Wanted;
    use crate::progress::Silent;
    use crate::signal::profile::{FrontEnd, profile};
    use crate::units::{SampleRate, Seed};

    #[test]
    fn a_silent_recording_of_a_plan_is_a_row_with_the_reason_of_every_command() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = |name: &str| folder.path().join(name);
        let silence: Vec<f32> = (0..12_000).map(|i| (i % 2) as f32 / 32_767.0).collect();
        let bytes = write_wav(&silence, SampleRate(16_000)).expect("a file");
        atomic::publish_bytes(folder.path(), &path("a.wav"), &bytes).expect("written");
        let content_hash = blake3::hash(&bytes).to_hex().to_string();
        let row = FeaturePlanRow { path: "a.wav".into(), content_hash, ..FeaturePlanRow::whole() };
        let front_end = FrontEnd { n_samples: 4_000, ..profile("paper").expect("known") };
        let extractor = Extractor::new(&front_end, &[], Seed(1)).expect("an extractor");
        let fingerprint = Fingerprint::of(["test"]);
        let maker = ShardMaker::new(&extractor, [&fingerprint, &fingerprint], folder.path(), 0, &Silent);
        let job = ShardJob { id: "1", rows: &[row], staging: path("staging") };
        let made = maker.make(&job).expect("made");
        assert_eq!((made.n_rows, made.n_rejected, made.n_unread), (1, 1, 0));
        made.written.expect("nothing waits").publish(&made.staged).expect("published");
        let rows: Vec<FeatureRow> = crate::tables::read_rows(&made.staged).expect("rows");
        assert_eq!(rows[0].reject_reason.as_deref(), Some("silent: its peak is -90.3 dBFS"));
    }

    #[test]
    fn memory_of_a_shard_does_not_depend_on_its_recordings() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = |name: &str| folder.path().join(name);
        let wave: Vec<f32> = (0..12_000).map(|i| 0.1 * Seed(1).unit(i) as f32).collect();
        let bytes = write_wav(&wave, SampleRate(16_000)).expect("a file");
        atomic::publish_bytes(folder.path(), &path("a.wav"), &bytes).expect("written");
        let row = FeaturePlanRow {
            path: "a.wav".into(),
            content_hash: blake3::hash(&bytes).to_hex().to_string(),
            ..FeaturePlanRow::whole()
        };
        let front_end = FrontEnd { n_samples: 4_000, ..profile("paper").expect("known") };
        let noise = [Wanted::Named("white-noise".into())];
        let extractor = Extractor::new(&front_end, &noise, Seed(1)).expect("an extractor");
        let fingerprint = Fingerprint::of(["test"]);
        let maker = ShardMaker::new(&extractor, [&fingerprint, &fingerprint], folder.path(), 1, &Silent);
        let value_bytes = 2 * front_end.n_mels * front_end.n_frames();
        let plans = [40, 400].map(|n_recordings| vec![row.clone(); n_recordings]);
        let job = |n_recordings: usize| {
            let n = plans.iter().position(|plan| plan.len() == n_recordings).expect("planned");
            ShardJob { id: ["a", "b"][n], rows: &plans[n], staging: path("staging") }
        };
        let mut waiting = None;
        // Two rows a recording: row groups are written when they are full, and nothing is kept but room for one.
        for n_recordings in [40, 400, 40] {
            let made = maker.make(&job(n_recordings)).expect("made");
            made.written.expect("nothing waits").publish(&made.staged).expect("published");
            assert_eq!(TableFile::open(&made.staged).and_then(|file| file.n_rows()).expect("a table"), made.n_rows);
            assert_eq!((made.n_rows, made.n_rejected, made.n_unread), (2 * n_recordings as u64, 0, 0));
            waiting = Some((made.staged, made.content));
            let buffers = maker.buffers.lock().expect("no panic");
            assert_eq!(buffers.len(), 1, "one shard at a time, one set of buffers");
            let kept = 2 * buffers[0].narrow.capacity();
            let group = 64 * (value_bytes + 4);
            assert!(
                (group..=2 * group).contains(&kept),
                "{n_recordings} recordings keep {kept} bytes, a row group has {group}"
            );
        }
        // What waits is taken when it is whole and of these rows, and made anew when a bit of it is off.
        let (file, content) = waiting.expect("the last one");
        let waits = |n: usize| whole(&file, "a", &plans[n], 1).expect("read").map(|made| made.content);
        assert_eq!((waits(0), waits(1)), (Some(content.clone()), None));
        let mut bytes = std::fs::read(&file).expect("read");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        atomic::publish_bytes(folder.path(), &file, &bytes).expect("damaged");
        assert_eq!(waits(0), None);
        assert!(maker.make(&job(40)).expect("made").content == content);
    }
}
