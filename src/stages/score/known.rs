//! What an earlier run scored, and what need not be asked again.

use std::collections::HashMap;

use crate::error::{ErrorKind, Result};
use crate::stages::score::Score;
use crate::stages::{Ctx, last_of};
use crate::storage::fingerprint::Fingerprint;
use crate::storage::publish::stem_of;
use crate::tables::manifest::Status;
use crate::tables::predictions::{PredictionRow, Predictions};
use crate::tables::{TableFile, folder_of};

/// Key of one scored item, with its fold, its content and its variant; rows with equal keys and equal model are the same work.
type Key = (String, u32, Option<u32>, Option<String>, Option<String>);

fn key_of(row: &PredictionRow) -> Key {
    (row.recording_id.clone(), row.copy, row.fold, row.content_hash.clone(), row.variant.clone())
}

/// Rows of an earlier run by the same model bytes and provider.
#[derive(Default)]
pub(super) struct Known(HashMap<Key, PredictionRow>);

impl Known {
    /// Those that the stage last committed; files that are damaged are done again.
    ///
    /// `stem`  the predictions' file, but for its hash.
    pub(super) fn read(ctx: &Ctx, model: &[u8], stem: &str, provider: &str) -> Result<Self> {
        let model = Fingerprint::of([model]);
        let Some(last) = last_of(ctx, &Score)?.filter(|last| last.inputs.get("model") == Some(&model)) else {
            return Ok(Self::default());
        };
        let path = ctx.store.relative(&folder_of::<PredictionRow>(&ctx.store).join(stem));
        let mut known = HashMap::new();
        for record in last.files.iter().filter(|file| stem_of(&file.path) == path) {
            let predictions = match TableFile::committed(&ctx.store, record, "score") {
                Err(error) if error.kind() == ErrorKind::Input => continue,
                file => Predictions::read(&file?)?,
            };
            let usable =
                predictions.rows.into_iter().filter(|row| row.status == Status::Ok && row.provider == provider);
            known.extend(usable.map(|row| (key_of(&row), row)));
        }
        Ok(Self(known))
    }

    pub(super) fn has(&self, row: &PredictionRow) -> bool {
        self.0.contains_key(&key_of(row))
    }

    /// Takes the scores of an earlier run for this row; what the manifest says is taken from today.
    pub(super) fn reuse(&self, row: &mut PredictionRow) -> bool {
        let Some(known) = self.0.get(&key_of(row)) else { return false };
        let today = std::mem::take(row);
        *row = PredictionRow {
            path: today.path,
            speaker: today.speaker,
            sex: today.sex,
            split: today.split,
            emotion: today.emotion,
            ..known.clone()
        };
        true
    }
}
