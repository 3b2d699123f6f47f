//! From a recording to the spectrogram that the model is asked about; nothing is stored.

use std::path::Path;

use crate::audio::Part;
use crate::error::{Error, ErrorKind, Result};
use crate::extract::{Copy, ExtractScratch, Extractor};
use crate::files;
use crate::recordings::Buffers;
use crate::scan::{Obstacle, ScannedFile};
use crate::signal::float16::stored_precision;
use crate::stages::score::known::Known;
use crate::storage::fingerprint::Fingerprint;
use crate::tables::features::variant_of_original;
use crate::tables::manifest::Status;
use crate::tables::predictions::PredictionRow;
use crate::tables::score_plan::ScorePlanRow;

/// Fingerprint of what a folder holds, by names and stamps.
pub(super) fn fingerprint(found: &[ScannedFile]) -> Fingerprint {
    Fingerprint::of_value(&found.iter().map(|one| (&one.relative, one.stamp, &one.obstacle)).collect::<Vec<_>>())
}

/// What stands for a scored folder in tables: its own name would be that of others, and its path is nobody's business.
pub(super) fn name_of(folder: &Path) -> Result<String> {
    let real = files::again(|| std::fs::canonicalize(folder));
    let real = real.map_err(|error| Error::reading("cannot be looked at", error).at(folder))?;
    Ok(format!("folder-{}", &blake3::hash(real.as_os_str().as_encoded_bytes()).to_hex()[..8]))
}

/// The plan row of a file of a scored folder.
pub(super) fn row_of(corpus: &str, found: &ScannedFile) -> ScorePlanRow {
    ScorePlanRow {
        recording_id: format!("{corpus}/{}", found.relative),
        path: found.relative.clone(),
        corpus: corpus.to_string(),
        file_size: found.stamp.size,
        changed_ns: found.stamp.changed_ns,
        status_ns: found.stamp.status_ns,
        obstacle: found.obstacle.as_ref().map(|obstacle| obstacle.reason.clone()),
        may_pass: found.obstacle.as_ref().is_some_and(|obstacle| obstacle.may_pass),
        ..ScorePlanRow::default()
    }
}

/// What became of one recording.
pub(super) enum Heard {
    /// To be scored, with its spectrogram.
    New(PredictionRow, Vec<f32>),
    /// Scored before.
    Known(PredictionRow),
    /// Cannot be scored, with the reason.
    Rejected(PredictionRow),
    /// The machine failed at it.
    Unread(PredictionRow),
}

/// All that reading a recording takes.
pub(super) struct Listener<'a> {
    pub(super) extractor: &'a Extractor,
    /// Folder that paths are below.
    pub(super) root: &'a Path,
    pub(super) known: &'a Known,
    pub(super) blank: &'a PredictionRow,
}

impl Listener<'_> {
    /// Reads one recording.
    ///
    /// Errors: those for which no recording is to blame.
    pub(super) fn hear(&self, plan: &ScorePlanRow, buffers: &mut (Buffers, ExtractScratch)) -> Result<Heard> {
        let file = self.root.join(files::path_of(&plan.path));
        let mut row = plan.prediction(self.blank);
        let mut log_mel = Vec::new();
        match self.listen(plan, &file, &mut row, &mut log_mel, buffers) {
            Ok(true) => Ok(Heard::Known(row)),
            Ok(false) => Ok(Heard::New(row, log_mel)),
            Err(error) => {
                row.status = Status::Rejected;
                row.reject_reason = Some(error.reason());
                if plan.content_hash.is_some() {
                    // As `features` says it of a recording without a spectrogram.
                    row.variant = None;
                }
                match error.kind() {
                    ErrorKind::Recording => Ok(Heard::Rejected(row)),
                    ErrorKind::Unreadable => Ok(Heard::Unread(row)),
                    _ => Err(error.or_at(&file)),
                }
            }
        }
    }

    /// Fills the row and the spectrogram; gives whether it was scored before.
    fn listen(
        &self,
        plan: &ScorePlanRow,
        file: &Path,
        row: &mut PredictionRow,
        log_mel: &mut Vec<f32>,
        (buffers, scratch): &mut (Buffers, ExtractScratch),
    ) -> Result<bool> {
        if let Some(reason) = &plan.obstacle {
            Obstacle { reason: reason.clone(), may_pass: plan.may_pass }.check()?;
        }
        let reader = self.extractor.reader();
        let found = reader.read(file, buffers)?.to_hex();
        match plan.content_hash.as_deref() {
            // It may change back, so this is no fact about the recording.
            Some(planned) if planned != found.as_str() => {
                return Err(Error::new(ErrorKind::Unreadable, "changed since ingest: run ingest again"));
            }
            Some(_) => {}
            None => {
                row.content_hash = Some(found.to_string());
                row.variant = Some(variant_of_original(&row.fingerprint, &found, None, None));
                if self.known.has(row) {
                    return Ok(true);
                }
            }
        }
        let part = plan.start_s.zip(plan.end_s).map(|(start_s, end_s)| Part { start_s, end_s });
        let recording = reader.decode(part, buffers)?.heard()?;
        self.extractor.extract(&recording, &[Copy::ORIGINAL], scratch, |spectrogram| {
            // The stored form is rounded to float16; recordings are scored on the same values.
            *log_mel = spectrogram.log_mel.to_vec();
            stored_precision(log_mel);
            Ok(())
        })?;
        Ok(false)
    }
}
