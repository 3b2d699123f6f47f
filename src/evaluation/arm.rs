//! One side of a comparison: the predictions that a store, one of its models, or a file holds.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;

use crate::error::{Error, ErrorKind, Result};
use crate::files;
use crate::storage::commit::Commit;
use crate::storage::layout::Store;
use crate::storage::publish::stem_of;
use crate::storage::record::FileRecord;
use crate::tables::folds::{FoldRow, Sides};
use crate::tables::manifest::Status;
use crate::tables::predictions::{PredictionRow, Predictions};
use crate::tables::{TableFile, committed_rows, folder_of};

const HINT: &str = "name a store, STORE:MODEL_ID for a model that was scored on it, or a Parquet file of predictions";

/// What a comparison needs of a prediction; its fields are columns of `predictions`.
#[derive(Clone, Debug, Deserialize)]
pub struct Answer {
    pub recording_id: String,
    pub copy: u32,
    pub corpus: String,
    pub speaker: Option<String>,
    pub sex: Option<String>,
    pub content_hash: Option<String>,
    pub variant: Option<String>,
    pub split: Option<String>,
    pub emotion: Option<String>,
    pub predicted: Option<String>,
    pub confidence: Option<f32>,
    pub model_id: String,
    pub fingerprint: String,
    pub status: Status,
}

const COLUMNS: [&str; 14] = [
    "recording_id",
    "copy",
    "corpus",
    "speaker",
    "sex",
    "content_hash",
    "variant",
    "split",
    "emotion",
    "predicted",
    "confidence",
    "model_id",
    "fingerprint",
    "status",
];

/// Predictions with what is known of how they were made.
pub struct Arm {
    /// As it was named.
    pub name: String,
    /// Models that answered, by name; more than one where folds were pooled.
    pub models: BTreeSet<String>,
    /// Names of the models' classes, in their order.
    pub classes: Vec<String>,
    pub answers: Vec<Answer>,
    /// The store and what `score` last committed there, where they are of that score.
    pub made_by: Option<(Store, Commit)>,
    /// The store that the model may lie in.
    pub store: Option<Store>,
    /// Sides of the recordings that were not scored too, where the store has one fold of them.
    pub sides: Option<Sides>,
}

impl Arm {
    /// Opens what `name` means: a store (what `score` last committed there), `STORE:MODEL_ID`, or a Parquet file.
    ///
    /// Errors: kind `Input` for a name that is none of these, a store that was never scored, a model that has no predictions
    /// there, and files that hold none; `Unreadable` or `Machine` where they cannot be read.
    pub fn open(name: &str) -> Result<Self> {
        match kind_of(Path::new(name))? {
            Some(Kind::File) => return Self::of_file(name),
            Some(Kind::Folder) => return Self::of_store(name, Path::new(name), None),
            None => {}
        }
        if let Some((store, model)) = name.rsplit_once(':')
            && let Some(Kind::Folder) = kind_of(Path::new(store))?
        {
            return Self::of_store(name, Path::new(store), Some(model));
        }
        Err(Error::input("there is no such store and no such file").at(name).hint(HINT))
    }

    /// What stands for its model or models in a table.
    pub fn model(&self) -> String {
        match self.models.len() {
            1 => self.models.iter().next().cloned().unwrap_or_default(),
            n => self.committed_model().unwrap_or_else(|| format!("{n} models")),
        }
    }

    /// Protocol by which the sides were drawn, where that is known.
    pub fn protocol(&self) -> Option<&str> {
        self.made_by.as_ref().and_then(|(_, score)| score.evidence.protocol.as_deref())
    }

    fn committed_model(&self) -> Option<String> {
        self.made_by.as_ref().and_then(|(_, score)| score.evidence.model_id.clone())
    }

    fn of_file(name: &str) -> Result<Self> {
        let file = TableFile::open(Path::new(name)).map_err(|error| error.or_hint(HINT))?;
        Self::of_files(name, &[file])
    }

    /// What `score` last committed in a store, or what it keeps of a model that was scored there; `name` is what the arm is called.
    ///
    /// Errors: as those of [`Arm::open`].
    pub fn of_store(name: &str, root: &Path, model: Option<&str>) -> Result<Self> {
        let store = Store::new(root);
        let score = Commit::require(&store, "score")?;
        let is_last = model.is_none() || model == score.evidence.model_id.as_deref();
        let records: Vec<&FileRecord> = match model {
            Some(model) if !is_last => vec![of_model(&store, &score, model)?],
            _ => predictions_among(&store, &score.files).collect(),
        };
        let files = records.into_iter().map(|record| TableFile::committed(&store, record, "score"));
        let arm = Self::of_files(name, &files.collect::<Result<Vec<_>>>()?)?;
        let sides = if is_last { sides(&store, &score)? } else { None };
        let made_by = is_last.then(|| (store.clone(), score));
        Ok(Self { made_by, store: Some(store), sides, ..arm })
    }

    fn of_files(name: &str, files: &[TableFile]) -> Result<Self> {
        let (mut classes, mut answers): (Vec<String>, Vec<Answer>) = (Vec::new(), Vec::new());
        for file in files {
            answers.extend(file.part::<PredictionRow, Answer>(&COLUMNS)?);
            let own = Predictions::classes_of(file)?;
            if !classes.is_empty() && classes != own {
                let what = format!("its files have other classes: {}, and {}", classes.join(", "), own.join(", "));
                return Err(Error::input(what).at(name).hint("name one of its models: STORE:MODEL_ID"));
            }
            classes = own;
        }
        let models = answers.iter().map(|answer| answer.model_id.clone()).collect();
        if answers.is_empty() {
            return Err(Error::input("holds no predictions").at(name).hint("run `sermill score`, or name another"));
        }
        Ok(Self { name: name.into(), models, classes, answers, made_by: None, store: None, sides: None })
    }
}

/// Where `score` took its sides from, if that still stands and has one fold.
fn sides(store: &Store, score: &Commit) -> Result<Option<Sides>> {
    let Some(read) = score.reads.get("folds") else { return Ok(None) };
    let Some(folds) = Commit::read(store, "folds")?.filter(|folds| folds.run_id == read.run_id) else {
        return Ok(None);
    };
    let rows: Vec<FoldRow> = committed_rows(store, &folds)?;
    let is_one = rows.iter().all(|row| row.fold == 0);
    Ok(is_one.then(|| Sides::of(rows, 0)))
}

enum Kind {
    File,
    Folder,
}

/// What lies at a path; `None` where nothing does.
fn kind_of(path: &Path) -> Result<Option<Kind>> {
    match files::again(|| std::fs::metadata(path)) {
        Ok(found) if found.is_dir() => Ok(Some(Kind::Folder)),
        Ok(_) => Ok(Some(Kind::File)),
        Err(error) if files::is_nothing(&error) => Ok(None),
        Err(error) => Err(Error::reading_named(ErrorKind::Input, "cannot be looked at", error).at(path).hint(HINT)),
    }
}

fn predictions_among<'a>(store: &Store, files: &'a [FileRecord]) -> impl Iterator<Item = &'a FileRecord> {
    let folder = store.relative(&folder_of::<PredictionRow>(store)) + "/";
    files.iter().filter(move |record| record.path.starts_with(&folder))
}

/// Models whose predictions `score` keeps in a store, by name.
pub fn models_of(store: &Store, score: &Commit) -> BTreeSet<String> {
    all_predictions(store, score).map(name_of).collect()
}

fn all_predictions<'a>(store: &Store, score: &'a Commit) -> impl Iterator<Item = &'a FileRecord> {
    predictions_among(store, &score.files).chain(predictions_among(store, &score.earlier))
}

fn name_of(record: &FileRecord) -> String {
    let stem = stem_of(&record.path);
    stem.rsplit_once('/').map_or(stem, |(_, name)| name).to_string()
}

/// The file of a model that was scored before the last one.
fn of_model<'a>(store: &Store, score: &'a Commit, model: &str) -> Result<&'a FileRecord> {
    all_predictions(store, score).find(|record| name_of(record) == model).ok_or_else(|| {
        let names: Vec<String> = models_of(store, score).into_iter().collect();
        Error::input(format!("model `{}` has no predictions on this store", model.escape_debug()))
            .at(store.root())
            .hint(format!("there are those of {}", names.join(", ")))
    })
}
