//! One shard: a pure, idempotent function from a plan file to one file of spectrograms.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use arrow::array::StringArray;
use arrow::record_batch::RecordBatch;

use crate::augment::Donor;
use crate::definition::{Definition, METADATA_KEY};
use crate::error::{Error, ErrorKind, Result};
use crate::extract::{Copy, ExtractScratch, Extractor, Spectrogram};
use crate::progress::Meter;
use crate::signal::summary::summary;
use crate::storage::atomic::{self, Written};
use crate::storage::fingerprint::Fingerprint;
use crate::tables::feature_plan::{FeaturePlanRow, PlannedDonor, donors_from_text};
use crate::tables::features::{FeatureRow, FeatureWriter};
use crate::tables::manifest::Status;
use crate::tables::{read_columns, read_rows};

/// Where one shard comes from and goes to.
pub struct ShardJob {
    /// Its plan, a Parquet file of `feature_plan` rows.
    pub plan: PathBuf,
    /// Its one output file.
    pub output: PathBuf,
    /// Folder for its temporary.
    pub staging: PathBuf,
}

/// What became of one shard.
pub struct Made {
    /// Its file, to be published; nothing when it was there and whole.
    pub written: Option<Written>,
    /// Rows without a spectrogram.
    pub n_rejected: u64,
}

/// What all shards of a run have in common.
pub struct ShardMaker<'a> {
    pub extractor: &'a Extractor,
    pub fingerprint: &'a Fingerprint,
    pub corpora: &'a Path,
    pub n_copies: u32,
    pub meter: &'a dyn Meter,
    buffers: Mutex<Vec<Buffers>>,
}

/// Buffers of one shard at a time, which go from shard to shard: fresh memory costs more than what is done to it.
struct Buffers {
    scratch: ExtractScratch,
    /// The file of a recording.
    bytes: Vec<u8>,
    /// The spectrograms of a row group.
    narrow: Vec<u16>,
}

impl<'a> ShardMaker<'a> {
    /// A maker without buffers; as many are made as shards are worked on at once.
    pub fn new(
        extractor: &'a Extractor,
        fingerprint: &'a Fingerprint,
        corpora: &'a Path,
        n_copies: u32,
        meter: &'a dyn Meter,
    ) -> Self {
        Self { extractor, fingerprint, corpora, n_copies, meter, buffers: Mutex::default() }
    }

    /// Computes one shard from its plan: a pure, idempotent function with one output file, which is visible once it is
    /// published.
    ///
    /// An output that is already there and whole is left alone. A recording that cannot be used becomes rows with a
    /// reason. Memory: one recording, and the spectrograms of one row group twice, however long the shard is.
    pub fn make(&self, job: &ShardJob) -> Result<Made> {
        let plan: Vec<FeaturePlanRow> = read_rows(&job.plan)?;
        let n_rows = plan.len() * (self.n_copies as usize + 1);
        if let Some(n_rejected) = rejected_of_whole(&job.output, n_rows, self.fingerprint) {
            self.meter.advance(plan.len() as u64);
            return Ok(Made { written: None, n_rejected });
        }
        let waiting = self.buffers.lock().expect("no panic while buffers are handed over").pop();
        let mut buffers = waiting.unwrap_or_else(|| Buffers {
            scratch: self.extractor.scratch(),
            bytes: Vec::new(),
            narrow: Vec::new(),
        });
        let mut n_rejected = 0;
        let written = atomic::write_aside(&job.staging, &job.output, |out| {
            let mut writer = FeatureWriter::in_memory_of(std::mem::take(&mut buffers.narrow), out)?;
            writer.note(METADATA_KEY, &Definition::of(self.extractor.front_end()).to_string());
            for row in &plan {
                n_rejected += self.add_rows(row, &mut buffers, &mut writer)?;
                writer.write_full_group()?;
                self.meter.advance(1);
            }
            buffers.narrow = writer.finish()?;
            Ok(())
        })?;
        self.buffers.lock().expect("no panic while buffers are handed over").push(buffers);
        Ok(Made { written: Some(written), n_rejected })
    }

    /// Adds the rows of one recording, its original and its copies; gives the number of rejected ones.
    fn add_rows(&self, plan: &FeaturePlanRow, buffers: &mut Buffers, writer: &mut FeatureWriter) -> Result<u64> {
        let n_before = writer.n_rows();
        match self.add_spectrograms(plan, buffers, writer) {
            Ok(()) => Ok(0),
            Err(error) if error.kind() == ErrorKind::Recording => {
                // Half a recording is none.
                writer.take_back(n_before);
                for copy in 0..=self.n_copies {
                    let blank = self.blank(plan, copy);
                    let reject_reason = Some(error.reason());
                    writer.push(FeatureRow { status: Status::Rejected, reject_reason, ..blank }, None);
                }
                Ok(u64::from(self.n_copies) + 1)
            }
            Err(error) => Err(error.at(self.corpora.join(&plan.path))),
        }
    }

    fn add_spectrograms(&self, plan: &FeaturePlanRow, buffers: &mut Buffers, writer: &mut FeatureWriter) -> Result<()> {
        let donors = planned_donors(self.corpora, plan)?;
        let donors_of = |copy: u32| copy.checked_sub(1).and_then(|first| donors.get(first as usize));
        let copy = |number| Copy { number, donors: donors_of(number).map_or(&[], Vec::as_slice) };
        let copies: Vec<Copy> = (0..=self.n_copies).map(copy).collect();
        read_into(&self.corpora.join(&plan.path), &mut buffers.bytes)
            .map_err(|error| Error::recording("cannot be read").because(error))?;
        if blake3::hash(&buffers.bytes).to_hex().as_str() != plan.content_hash {
            return Err(Error::recording("changed since ingest: run ingest again"));
        }
        self.extractor.extract(&buffers.bytes, &plan.content_hash, &copies, &mut buffers.scratch, |spectrogram| {
            let row = fill(self.blank(plan, spectrogram.copy), self.extractor, &spectrogram);
            writer.push(row, Some(spectrogram.log_mel));
            Ok(())
        })
    }

    /// A row without a spectrogram.
    fn blank(&self, plan: &FeaturePlanRow, copy: u32) -> FeatureRow {
        let side = plan.splits.split(',').nth(copy as usize).filter(|name| !name.is_empty());
        FeatureRow {
            recording_id: plan.recording_id.clone(),
            corpus: plan.corpus.clone(),
            content_hash: plan.content_hash.clone(),
            copy,
            emotion: plan.emotion.clone(),
            split: side.map(str::to_string),
            fingerprint: self.fingerprint.to_string(),
            ..FeatureRow::default()
        }
    }
}

/// The rejected rows of an output that is there and whole.
fn rejected_of_whole(output: &Path, n_rows: usize, fingerprint: &Fingerprint) -> Option<u64> {
    if !output.exists() {
        return None;
    }
    let (mut n_found, mut n_rejected) = (0, 0);
    for batch in read_columns::<FeatureRow>(output, &["fingerprint", "status"]).ok()? {
        let batch = batch.ok()?;
        let is_ours = |value: Option<&str>| value == Some(fingerprint.as_str());
        if !strings(&batch, "fingerprint")?.iter().all(is_ours) {
            return None;
        }
        n_found += batch.num_rows();
        n_rejected += n_rejected_of(&batch)?;
    }
    (n_found == n_rows).then_some(n_rejected)
}

/// The rejected rows among some with their column `status`.
pub(super) fn n_rejected_of(batch: &RecordBatch) -> Option<u64> {
    let statuses = strings(batch, "status")?;
    Some(statuses.iter().filter(|status| *status == Some("rejected")).count() as u64)
}

fn strings<'b>(batch: &'b RecordBatch, column: &str) -> Option<&'b StringArray> {
    batch.column_by_name(column)?.as_any().downcast_ref()
}

/// A recording's file, into memory that is used again; what one long recording took is given back at the next.
fn read_into(path: &Path, bytes: &mut Vec<u8>) -> std::io::Result<()> {
    /// 30 seconds of stereo at 96 kHz and 24 bits.
    const KEPT: usize = 16 << 20;
    bytes.clear();
    bytes.shrink_to(KEPT);
    let mut file = File::open(path)?;
    bytes.reserve(usize::try_from(file.metadata()?.len()).unwrap_or(0));
    file.read_to_end(bytes).map(|_| ())
}

/// Whose voices each copy may take, as files.
fn planned_donors(corpora: &Path, plan: &FeaturePlanRow) -> Result<Vec<Vec<Donor>>> {
    let file = |donor: PlannedDonor| Donor { content_hash: donor.content_hash, file: corpora.join(donor.path) };
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
    use crate::tables::{count_rows, publish_rows};
    use crate::units::{SampleRate, Seed};

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
            ..FeaturePlanRow::example()
        };
        let front_end = FrontEnd { n_samples: 4_000, ..profile("paper").expect("known") };
        let noise = [Wanted::Named("white-noise".into())];
        let extractor = Extractor::new(&front_end, &noise, Seed(1)).expect("an extractor");
        let fingerprint = Fingerprint::of(["test"]);
        let maker = ShardMaker::new(&extractor, &fingerprint, folder.path(), 1, &Silent);
        let value_bytes = 2 * front_end.n_mels * front_end.n_frames();
        // Two rows a recording: row groups are written when they are full, and nothing is kept but room for one.
        for n_recordings in [40, 400, 40] {
            let [plan, output] = ["plan", "shard"].map(|name| path(&format!("{n_recordings}.{name}")));
            publish_rows(folder.path(), &plan, &vec![row.clone(); n_recordings]).expect("written");
            let job = ShardJob { plan, output: output.clone(), staging: folder.path().join("staging") };
            if let Some(written) = maker.make(&job).expect("made").written {
                written.publish().expect("published");
            }
            assert_eq!(count_rows(&output).expect("a table"), 2 * n_recordings as u64);
            let buffers = maker.buffers.lock().expect("no panic");
            assert_eq!(buffers.len(), 1, "one shard at a time, one set of buffers");
            let kept = 2 * buffers[0].narrow.capacity();
            let group = 64 * (value_bytes + 4);
            assert!(
                (group..=2 * group).contains(&kept),
                "{n_recordings} recordings keep {kept} bytes, a row group has {group}"
            );
        }
        assert!(
            maker
                .make(&ShardJob { plan: path("40.plan"), output: path("40.shard"), staging: path("staging") })
                .expect("made")
                .written
                .is_none()
        );
    }
}
