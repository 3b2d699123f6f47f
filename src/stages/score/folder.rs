//! Scoring a folder: from recordings to predictions without tables in between.

use std::collections::HashMap;
use std::path::Path;

use rayon::prelude::*;

use crate::definition::{Definition, front_end_of};
use crate::error::{Error, ErrorKind, Result};
use crate::extract::{Copy, ExtractScratch, Extractor};
use crate::files;
use crate::recordings::{self, Buffers};
use crate::scan::{Listing, ScannedFile};
use crate::signal::float16::stored_precision;
use crate::stages::score::{Key, Pending, Scorer, key_of};
use crate::storage::fingerprint::Fingerprint;
use crate::tables::features::variant_of_original;
use crate::tables::manifest::Status;
use crate::tables::predictions::PredictionRow;

impl Scorer<'_> {
    /// Scores the recordings that were found below `folder`, without tables in between.
    pub(super) fn folder(&mut self, folder: &Path, listing: &Listing) -> Result<Vec<PredictionRow>> {
        let (ctx, found) = (self.ctx, listing.recordings.as_slice());
        if let Some(text) = listing.passed_over.text() {
            ctx.progress.say(&format!("score: `{}`: {text}", files::text_of(folder)));
        }
        let card = self.session.card();
        let front_end = front_end_of(card)?;
        if found.is_empty() {
            return Err(Error::input("there is no recording to score").at(folder));
        }
        if Definition::of(&front_end).to_string() != Definition::of(&ctx.pipeline.features.front_end).to_string() {
            ctx.progress.say("score: the recordings go through the model's front end, which is not the recipe's");
        }
        let corpus = name_of(folder)?;
        let extractor =
            Extractor::new(&front_end, &[], ctx.pipeline.pipeline.seed)?.with_limit(ctx.pipeline.recording_limit());
        let meter = ctx.progress.begin("score", found.len() as u64);
        let mut rows = Vec::new();
        let mut first_unread: Option<PredictionRow> = None;
        for chunk in found.chunks(ctx.pipeline.score.batch) {
            let read: Vec<Read> = {
                let scorer = &*self;
                let blank = PredictionRow { corpus: corpus.clone(), ..scorer.blank() };
                ctx.pool.install(|| {
                    let read = |buffers: &mut (Buffers, ExtractScratch), one: &ScannedFile| {
                        read_one(&extractor, &scorer.known, blank.clone(), one, buffers)
                    };
                    let buffers = || (Buffers::default(), extractor.scratch());
                    chunk.par_iter().map_init(buffers, read).collect::<Result<_>>()
                })?
            };
            let mut pending = Pending::default();
            for one in read {
                match one {
                    Read::New(row, log_mel) => {
                        pending.rows.push(row);
                        pending.log_mel.extend_from_slice(&log_mel);
                    }
                    Read::Known(mut row) => {
                        self.reuse(&mut row);
                        rows.push(row);
                    }
                    Read::Rejected(row) => rows.push(row),
                    Read::Unread(row) => {
                        self.n_unread += 1;
                        first_unread.get_or_insert_with(|| row.clone());
                        rows.push(row);
                    }
                }
            }
            self.flush(&mut pending, &mut rows)?;
            meter.advance(chunk.len() as u64);
        }
        let first =
            first_unread.as_ref().map(|row| (row.path.as_str(), row.reject_reason.as_deref().unwrap_or_default()));
        recordings::check_unread(self.n_unread as usize, rows.len(), first)?;
        Ok(rows)
    }
}

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

/// One file of a scored folder.
enum Read {
    /// To be scored, with its spectrogram.
    New(PredictionRow, Vec<f32>),
    /// Scored before.
    Known(PredictionRow),
    /// Cannot be scored, with the reason.
    Rejected(PredictionRow),
    /// The machine failed at it.
    Unread(PredictionRow),
}

/// Reads one file of a scored folder.
///
/// Errors: those for which no file is to blame.
fn read_one(
    extractor: &Extractor,
    known: &HashMap<Key, PredictionRow>,
    blank: PredictionRow,
    found: &ScannedFile,
    (buffers, scratch): &mut (Buffers, ExtractScratch),
) -> Result<Read> {
    let mut row = PredictionRow {
        recording_id: format!("{}/{}", blank.corpus, found.relative),
        path: found.relative.clone(),
        ..blank
    };
    let reader = extractor.reader();
    let read = found.check().and_then(|()| reader.read(&found.file, buffers));
    let content_hash = match read {
        Ok(content_hash) => content_hash,
        Err(error) => return rejected(row, error, found),
    };
    row.content_hash = Some(content_hash.to_hex().to_string());
    row.variant = Some(variant_of_original(&row.fingerprint, &content_hash.to_hex(), None, None));
    if known.contains_key(&key_of(&row)) {
        return Ok(Read::Known(row));
    }
    let mut log_mel = Vec::new();
    let heard = reader.decode(None, buffers).and_then(|opened| opened.heard());
    let extracted = heard.and_then(|recording| {
        extractor.extract(&recording, &[Copy::ORIGINAL], scratch, |spectrogram| {
            // The stored form is rounded to float16; a folder is scored on the same values.
            log_mel = spectrogram.log_mel.to_vec();
            stored_precision(&mut log_mel);
            Ok(())
        })
    });
    match extracted {
        Ok(()) => Ok(Read::New(row, log_mel)),
        Err(error) => rejected(row, error, found),
    }
}

fn rejected(mut row: PredictionRow, error: Error, found: &ScannedFile) -> Result<Read> {
    row.status = Status::Rejected;
    row.reject_reason = Some(error.reason());
    match error.kind() {
        ErrorKind::Recording => Ok(Read::Rejected(row)),
        ErrorKind::Unreadable => Ok(Read::Unread(row)),
        _ => Err(error.or_at(&found.file)),
    }
}
