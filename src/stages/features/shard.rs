//! One shard: a pure, idempotent function from a plan file to one file of spectrograms.

use std::path::{Path, PathBuf};

use crate::augment::Donor;
use crate::definition::{Definition, METADATA_KEY};
use crate::error::{Error, ErrorKind, Result};
use crate::extract::{Copy, ExtractScratch, Extractor, Spectrogram};
use crate::progress::Meter;
use crate::storage::atomic;
use crate::storage::fingerprint::Fingerprint;
use crate::tables::feature_plan::{FeaturePlanRow, PlannedDonor, donors_from_text};
use crate::tables::features::{FeatureRow, to_blob};
use crate::tables::manifest::Status;
use crate::tables::{TableWriter, read_columns, read_rows};

/// Where one shard comes from and goes to.
pub struct ShardJob {
    /// Its plan, a Parquet file of `feature_plan` rows.
    pub plan: PathBuf,
    /// Its one output file.
    pub output: PathBuf,
    /// Folder for its temporary.
    pub staging: PathBuf,
}

/// Computes one shard from its plan: a pure, idempotent function with one output file.
///
/// An output that is already there and whole is left alone. A recording that cannot be used becomes rows with a reason.
pub fn run_shard(
    extractor: &Extractor,
    fingerprint: &Fingerprint,
    corpora: &Path,
    n_copies: u32,
    job: &ShardJob,
    meter: &dyn Meter,
) -> Result<()> {
    let plan: Vec<FeaturePlanRow> = read_rows(&job.plan)?;
    if is_whole(&job.output, plan.len() * (n_copies as usize + 1), fingerprint) {
        meter.advance(plan.len() as u64);
        return Ok(());
    }
    atomic::publish(&job.staging, &job.output, |out| {
        let mut writer = TableWriter::<FeatureRow>::new(out)?;
        writer.note(METADATA_KEY, &Definition::of(extractor.front_end()).to_string());
        let mut scratch = extractor.scratch();
        for row in &plan {
            writer.write(&feature_rows(extractor, fingerprint, corpora, n_copies, row, &mut scratch)?)?;
            meter.advance(1);
        }
        writer.finish()
    })
}

fn is_whole(output: &Path, n_rows: usize, fingerprint: &Fingerprint) -> bool {
    if !output.exists() {
        return false;
    }
    let Ok(batches) = read_columns::<FeatureRow>(output, &["fingerprint"]) else { return false };
    let mut n_found = 0;
    for batch in batches {
        let Ok(batch) = batch else { return false };
        let column = batch.column(0).as_any().downcast_ref::<arrow::array::StringArray>();
        if column.is_none_or(|column| column.iter().any(|value| value != Some(fingerprint.as_str()))) {
            return false;
        }
        n_found += batch.num_rows();
    }
    n_found == n_rows
}

/// The rows of one recording: its original and its copies.
fn feature_rows(
    extractor: &Extractor,
    fingerprint: &Fingerprint,
    corpora: &Path,
    n_copies: u32,
    plan: &FeaturePlanRow,
    scratch: &mut ExtractScratch,
) -> Result<Vec<FeatureRow>> {
    let splits: Vec<&str> = plan.splits.split(',').collect();
    let blank = |copy: u32| FeatureRow {
        recording_id: plan.recording_id.clone(),
        corpus: plan.corpus.clone(),
        content_hash: plan.content_hash.clone(),
        copy,
        emotion: plan.emotion.clone(),
        split: splits.get(copy as usize).filter(|name| !name.is_empty()).map(|name| name.to_string()),
        fingerprint: fingerprint.to_string(),
        ..FeatureRow::default()
    };
    let path = corpora.join(&plan.path);
    let donors = planned_donors(corpora, plan)?;
    let donors_of = |copy: u32| copy.checked_sub(1).and_then(|first| donors.get(first as usize));
    let copies: Vec<Copy> =
        (0..=n_copies).map(|number| Copy { number, donors: donors_of(number).map_or(&[], Vec::as_slice) }).collect();
    let mut rows = Vec::with_capacity(n_copies as usize + 1);
    let extracted =
        std::fs::read(&path).map_err(|error| Error::recording("cannot be read").because(error)).and_then(|bytes| {
            if blake3::hash(&bytes).to_hex().as_str() != plan.content_hash {
                return Err(Error::recording("changed since ingest: run ingest again"));
            }
            extractor.extract(&bytes, &plan.content_hash, &copies, scratch, |spectrogram| {
                rows.push(fill(blank(spectrogram.copy), extractor, &spectrogram));
                Ok(())
            })
        });
    match extracted {
        Ok(()) => Ok(rows),
        Err(error) if error.kind() == ErrorKind::Recording => Ok((0..=n_copies)
            .map(|copy| FeatureRow { status: Status::Rejected, reject_reason: Some(error.reason()), ..blank(copy) })
            .collect()),
        Err(error) => Err(error.at(path)),
    }
}

/// Whose voices each copy may take, as files.
fn planned_donors(corpora: &Path, plan: &FeaturePlanRow) -> Result<Vec<Vec<Donor>>> {
    let file = |donor: PlannedDonor| Donor { content_hash: donor.content_hash, file: corpora.join(donor.path) };
    let of_copy = |donors: Vec<PlannedDonor>| donors.into_iter().map(file).collect();
    Ok(donors_from_text(&plan.donors)?.into_iter().map(of_copy).collect())
}

fn fill(mut row: FeatureRow, extractor: &Extractor, spectrogram: &Spectrogram) -> FeatureRow {
    let log_mel = spectrogram.log_mel;
    let n = log_mel.len() as f64;
    let mean = log_mel.iter().map(|&value| f64::from(value)).sum::<f64>() / n;
    let variance = log_mel.iter().map(|&value| (f64::from(value) - mean).powi(2)).sum::<f64>() / n;
    let (low, high) =
        log_mel.iter().fold((f32::MAX, f32::MIN), |(low, high), &value| (low.min(value), high.max(value)));
    row.augmentation = spectrogram.augmentation.clone();
    row.snr_db = spectrogram.snr_db;
    row.n_mels = extractor.front_end().n_mels as u32;
    row.n_frames = extractor.front_end().n_frames() as u32;
    row.valid_frames = spectrogram.valid_frames as u32;
    row.pad_fraction = spectrogram.conditioned.pad_fraction;
    row.truncated = spectrogram.conditioned.truncated;
    row.mel_mean = Some(mean);
    row.mel_std = Some(variance.sqrt());
    row.mel_min = Some(f64::from(low));
    row.mel_max = Some(f64::from(high));
    row.log_mel = Some(to_blob(log_mel));
    row
}
