//! Scoring a folder: from recordings to predictions without tables in between.

use std::collections::HashMap;
use std::path::Path;

use rayon::prelude::*;

use crate::definition::front_end_of;
use crate::error::{Error, ErrorKind, Result};
use crate::extract::{Copy, Extractor};
use crate::scan::{ScannedFile, recordings_below};
use crate::stages::score::{Key, Pending, Scorer, key_of};
use crate::tables::manifest::Status;
use crate::tables::predictions::PredictionRow;

impl Scorer<'_> {
    /// Scores every recording below `folder`, without tables in between.
    pub(super) fn folder(&mut self, folder: &Path) -> Result<Vec<PredictionRow>> {
        let ctx = self.ctx;
        let card = self.session.card();
        let front_end = front_end_of(card)?;
        let found = recordings_below(folder);
        if found.is_empty() {
            return Err(Error::input("there is no recording to score").at(folder));
        }
        let extractor = Extractor::new(&front_end, &[], ctx.pipeline.pipeline.seed)?;
        let meter = ctx.progress.begin("score", found.len() as u64);
        let mut rows = Vec::new();
        for chunk in found.chunks(ctx.pipeline.score.batch) {
            let read: Vec<(PredictionRow, Option<Vec<f32>>)> = {
                let scorer = &*self;
                let blank = scorer.blank();
                ctx.pool.install(|| {
                    let read = |one: &ScannedFile| read_one(&extractor, &scorer.known, blank.clone(), one);
                    chunk.par_iter().map(read).collect::<Result<_>>()
                })?
            };
            let mut pending = Vec::new();
            for (mut row, log_mel) in read {
                match log_mel {
                    Some(log_mel) => pending.push(Pending { row, log_mel }),
                    None => {
                        self.reuse(&mut row);
                        rows.push(row);
                    }
                }
            }
            self.flush(&mut pending, &mut rows)?;
            meter.advance(chunk.len() as u64);
        }
        Ok(rows)
    }
}

/// Reads one file of a scored folder: a row to be scored with its spectrogram, or a row that is done.
fn read_one(
    extractor: &Extractor,
    known: &HashMap<Key, PredictionRow>,
    blank: PredictionRow,
    found: &ScannedFile,
) -> Result<(PredictionRow, Option<Vec<f32>>)> {
    let mut row = PredictionRow {
        recording_id: format!("folder/{}", found.relative),
        path: found.relative.clone(),
        corpus: "folder".into(),
        ..blank
    };
    let bytes = match (&found.unreadable, std::fs::read(&found.file)) {
        (Some(reason), _) => return Ok((rejected(row, reason.clone()), None)),
        (None, Err(error)) => return Ok((rejected(row, format!("cannot be read: {error}")), None)),
        (None, Ok(bytes)) => bytes,
    };
    let content_hash = blake3::hash(&bytes).to_hex().to_string();
    row.content_hash = Some(content_hash.clone());
    if known.contains_key(&key_of(&row)) {
        return Ok((row, None));
    }
    let mut log_mel = Vec::new();
    let extracted =
        extractor.extract(&bytes, &content_hash, &[Copy::ORIGINAL], &mut extractor.scratch(), |spectrogram| {
            // The stored form is rounded to float16; a folder is scored on the same values.
            log_mel = spectrogram.log_mel.iter().map(|&value| half::f16::from_f32(value).to_f32()).collect();
            Ok(())
        });
    match extracted {
        Ok(()) => Ok((row, Some(log_mel))),
        Err(error) if error.kind() == ErrorKind::Recording => Ok((rejected(row, error.reason()), None)),
        Err(error) => Err(error.at(&found.file)),
    }
}

fn rejected(mut row: PredictionRow, reason: String) -> PredictionRow {
    row.status = Status::Rejected;
    row.reject_reason = Some(reason);
    row
}
