//! `score`: a model reads spectrograms and names emotions, from the features table or straight from a folder.
//!
//! What was scored before with the same model, front end and provider is kept; only the rest is computed.

mod folder;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Instant;

use bytes::Bytes;
use serde_json::{Map, json};

use crate::error::{Error, ErrorKind, Result};
use crate::files;
use crate::labels::Labels;
use crate::network::onnx::read_model;
use crate::network::session::{Provider, Session};
use crate::scan::recordings_below;
use crate::split::{Protocol, Split};
use crate::stages::roster::Roster;
use crate::stages::{Ctx, Done, Inputs, Needs, Read, Stage, last_of, stage_table};
use crate::storage::commit::{Commit, Evidence};
use crate::storage::fingerprint::Fingerprint;
use crate::storage::publish::stem_of;
use crate::storage::settings::Settings;
use crate::tables::feature_index::FeatureIndexRow;
use crate::tables::manifest::Status;
use crate::tables::predictions::{PredictionRow, Predictions};
use crate::tables::spectrograms::FeatureIndex;
use crate::tables::{TableFile, folder_of};

/// Raised when the same model and features would give other rows.
const REVISION: u32 = 3;
/// A model whose own golden vector comes out further off than this is not run.
const GOLDEN_TOLERANCE: f32 = 1e-4;

/// See the module.
pub struct Score;

impl Stage for Score {
    fn name(&self) -> &'static str {
        "score"
    }

    fn slot(&self, ctx: &Ctx) -> String {
        // Scoring a folder leaves the scores of the features as they are.
        if ctx.input.is_some() { "score-input".into() } else { self.name().into() }
    }

    fn about(&self) -> &'static str {
        "name the emotion of recordings with a trained model"
    }

    fn flow(&self) -> &'static str {
        "features (or a folder) + model -> predictions"
    }

    fn check(&self, ctx: &Ctx) -> Result<()> {
        ctx.pipeline.score.device.parse::<Provider>()?;
        let Some(folder) = &ctx.input else { return Ok(()) };
        match files::again(|| std::fs::metadata(folder)) {
            Ok(metadata) if metadata.is_dir() => Ok(()),
            Ok(_) => Err(Error::input("there is no such folder to score").at(folder)),
            Err(error) => {
                let what = "there is no such folder to score";
                Err(Error::reading_named(ErrorKind::Input, what, error).at(folder))
            }
        }
    }

    fn settings(&self, ctx: &Ctx) -> Settings {
        let settings = Settings::of_revision(REVISION)
            .with("score", &ctx.pipeline.score)
            .with("labels", &ctx.pipeline.labels)
            .with("split.protocol", ctx.pipeline.split.protocol);
        match &ctx.input {
            Some(folder) => settings.with("input", folder).with("limit", ctx.pipeline.recording_limit().0),
            None => settings,
        }
    }

    fn reads(&self, ctx: &Ctx) -> Vec<(&'static str, Needs)> {
        let mut reads = Vec::new();
        if ctx.pipeline.score.model == TRAINED {
            reads.push(("train", Needs::Same));
        }
        if ctx.input.is_none() {
            reads.extend([("ingest", Needs::Same), ("features", Needs::Same)]);
            if ctx.pipeline.split.protocol != Protocol::Unsplit {
                reads.push(("folds", Needs::Same));
            }
        }
        reads
    }

    fn inputs(&self, ctx: &Ctx, read: &Read) -> Result<Inputs> {
        let mut inputs = read.outputs();
        // The model's bytes count, and not which run made them.
        inputs.remove("train");
        inputs.insert("model".into(), Fingerprint::of([model_bytes(ctx, read)?.1]));
        if let Some(folder) = &ctx.input {
            inputs.insert("recordings".into(), folder::fingerprint(&recordings_below(folder)?.recordings));
        }
        Ok(inputs)
    }

    fn run(&self, ctx: &Ctx, read: &Read, inputs: &Inputs) -> Result<Done> {
        let provider: Provider = ctx.pipeline.score.device.parse()?;
        let (path, bytes) = model_bytes(ctx, read)?;
        let mut session = Session::open(&bytes, provider, ctx.n_threads(), &ctx.runtime_library)
            .map_err(|error| if error.kind() == ErrorKind::Input { error.at(&path) } else { error })?;
        let off = session.verify_golden(GOLDEN_TOLERANCE)?;
        let mut scorer = Scorer::new(ctx, &mut session, provider, &inputs["model"])?;
        let clock = Instant::now();
        let (rows, listed) = match &ctx.input {
            Some(folder) => {
                let found = recordings_below(folder)?;
                let rows = scorer.folder(folder, &found)?;
                // What the driver looked at may have changed since.
                (rows, Some(Inputs::from([("recordings".into(), folder::fingerprint(&found.recordings))])))
            }
            None => (scorer.features(read)?, None),
        };
        let seconds = clock.elapsed().as_secs_f64();
        let done = scorer.publish(read, rows, seconds, off)?;
        Ok(Done { inputs: listed, ..done })
    }
}

/// `[score] model` of the recipe that trained it.
const TRAINED: &str = "trained";

/// The model file that the recipe names, and its bytes: those that `train` committed, or those of a file from elsewhere.
fn model_bytes(ctx: &Ctx, read: &Read) -> Result<(PathBuf, Bytes)> {
    if ctx.pipeline.score.model != TRAINED {
        let path = PathBuf::from(&ctx.pipeline.score.model);
        return read_model(&path).map(|bytes| (path, bytes.into()));
    }
    let commit = read.commit("train")?;
    let file = commit.files.iter().find(|file| file.path.ends_with("/model.onnx"));
    let file = file.ok_or_else(|| Error::bug("train committed no model"))?;
    Ok((file.file(&ctx.store), file.read(&ctx.store, "train")?))
}

/// Key of one scored item, with its content and its variant; rows with equal keys and equal model are the same work.
type Key = (String, u32, Option<String>, Option<String>);

fn key_of(row: &PredictionRow) -> Key {
    (row.recording_id.clone(), row.copy, row.content_hash.clone(), row.variant.clone())
}

/// Rows waiting for their probabilities, with their spectrograms one after the other.
#[derive(Default)]
struct Pending {
    rows: Vec<PredictionRow>,
    log_mel: Vec<f32>,
}

struct Scorer<'a> {
    ctx: &'a Ctx,
    session: &'a mut Session,
    model_fingerprint: Fingerprint,
    provider: String,
    /// Which words count as which of the model's classes.
    labels: Labels,
    known: HashMap<Key, PredictionRow>,
    /// Name of the predictions' file, but for its hash.
    stem: String,
    n_done: u64,
    n_reused: u64,
    n_unread: u64,
}

impl<'a> Scorer<'a> {
    fn new(ctx: &'a Ctx, session: &'a mut Session, provider: Provider, model: &Fingerprint) -> Result<Self> {
        let source = match &ctx.input {
            Some(folder) => format!("-{}", folder::name_of(folder)?),
            None => String::new(),
        };
        let stem = format!("{}{source}", session.card().model_id);
        let labels = session.card().meaning(&ctx.pipeline.labels).into_owned();
        let mut scorer = Self {
            ctx,
            session,
            model_fingerprint: model.clone(),
            provider: provider.to_string(),
            labels,
            known: HashMap::new(),
            stem,
            n_done: 0,
            n_reused: 0,
            n_unread: 0,
        };
        scorer.known = scorer.known_rows()?;
        Ok(scorer)
    }

    /// Rows of an earlier run that need no work: same model bytes, same provider. Those that are damaged are done again.
    fn known_rows(&self) -> Result<HashMap<Key, PredictionRow>> {
        let last = last_of(self.ctx, &Score)?;
        let Some(last) = last.filter(|last| last.inputs.get("model") == Some(&self.model_fingerprint)) else {
            return Ok(HashMap::new());
        };
        let path = self.ctx.store.relative(&folder_of::<PredictionRow>(&self.ctx.store).join(&self.stem));
        let mut known = HashMap::new();
        for record in last.files.iter().filter(|file| stem_of(&file.path) == path) {
            let predictions = match TableFile::committed(&self.ctx.store, record, "score") {
                Err(error) if error.kind() == ErrorKind::Input => continue,
                file => Predictions::read(&file?)?,
            };
            let usable =
                predictions.rows.into_iter().filter(|row| row.status == Status::Ok && row.provider == self.provider);
            known.extend(usable.map(|row| (key_of(&row), row)));
        }
        Ok(known)
    }

    fn blank(&self) -> PredictionRow {
        let card = self.session.card();
        PredictionRow {
            model_id: card.model_id.clone(),
            provider: self.provider.clone(),
            fingerprint: card.fingerprint.clone(),
            ..PredictionRow::default()
        }
    }

    /// Scores the spectrograms that the recipe's sides ask for; of those that were scored before nothing is read.
    fn features(&mut self, read: &Read) -> Result<Vec<PredictionRow>> {
        let (ctx, features) = (self.ctx, read.commit("features")?);
        self.check_front_end(features)?;
        let folds = read.all().find(|(stage, _)| *stage == "folds").map(|(_, commit)| commit);
        let roster = Roster::read(&ctx.store, read.commit("ingest")?, folds)?;
        let index = FeatureIndex::read(&ctx.store, features)?;
        let spectrograms = index.spectrograms(&ctx.store)?;
        let wanted = &ctx.pipeline.score.splits;
        let meter = ctx.progress.begin("score", index.rows.len() as u64);
        let (mut rows, mut pending, mut scratch) = (Vec::new(), Pending::default(), Vec::new());
        let size = self.session.card().network.n_mels * self.session.card().network.n_frames;
        for (at, indexed) in index.rows.iter().enumerate() {
            meter.advance(1);
            let side = roster.side(&indexed.recording_id, indexed.copy);
            if side.is_some_and(|side| !wanted.contains(&side)) {
                continue;
            }
            let mut row = self.row_of(indexed, &roster, side);
            let Some(place) = index.place(at).filter(|_| indexed.status == Status::Ok) else {
                row.status = Status::Rejected;
                row.reject_reason = indexed.reject_reason.clone();
                rows.push(row);
                continue;
            };
            if self.reuse(&mut row) {
                rows.push(row);
                continue;
            }
            let begin = pending.log_mel.len();
            pending.log_mel.resize(begin + size, 0.0);
            spectrograms.read(place, &mut scratch, &mut pending.log_mel[begin..])?;
            pending.rows.push(row);
            if pending.rows.len() == ctx.pipeline.score.batch {
                self.flush(&mut pending, &mut rows)?;
            }
        }
        self.flush(&mut pending, &mut rows)?;
        Ok(rows)
    }

    /// Refuses features that the model was not trained on.
    fn check_front_end(&self, features: &Commit) -> Result<()> {
        let card = self.session.card();
        let found = features.evidence.fingerprint.as_ref().map_or("none", Fingerprint::as_str);
        if found == card.fingerprint {
            return Ok(());
        }
        Err(Error::input(format!("the model was trained on features {}, these are {found}", card.fingerprint))
            .at(self.ctx.store.root())
            .hint("use the [features.front_end] of the pipeline that trained the model, then run `sermill features` again"))
    }

    /// What is known of an item before it is scored.
    fn row_of(&self, indexed: &FeatureIndexRow, roster: &Roster, side: Option<Split>) -> PredictionRow {
        let known = roster.entry(&indexed.recording_id).cloned().unwrap_or_default();
        PredictionRow {
            recording_id: indexed.recording_id.clone(),
            copy: indexed.copy,
            path: known.path,
            corpus: indexed.corpus.clone(),
            speaker: known.speaker,
            sex: known.sex,
            content_hash: Some(indexed.content_hash.clone()),
            variant: indexed.variant.clone(),
            split: side.map(|side| side.name().to_string()),
            emotion: self.labels.name_of(known.emotion.as_deref()).map(str::to_string),
            ..self.blank()
        }
    }

    /// Takes the scores of an earlier run for this row; what the manifest says is taken from today.
    fn reuse(&mut self, row: &mut PredictionRow) -> bool {
        let Some(known) = self.known.get(&key_of(row)) else { return false };
        let today = std::mem::take(row);
        *row = PredictionRow {
            path: today.path,
            speaker: today.speaker,
            sex: today.sex,
            split: today.split,
            emotion: today.emotion,
            ..known.clone()
        };
        self.n_reused += 1;
        true
    }

    /// Runs the model on what is pending.
    fn flush(&mut self, pending: &mut Pending, rows: &mut Vec<PredictionRow>) -> Result<()> {
        if pending.rows.is_empty() {
            return Ok(());
        }
        let n_classes = self.session.card().network.n_classes;
        let mut probabilities = vec![0.0; pending.rows.len() * n_classes];
        self.session.run(&pending.log_mel, pending.rows.len(), &mut probabilities)?;
        self.n_done += pending.rows.len() as u64;
        for (mut row, probabilities) in pending.rows.drain(..).zip(probabilities.chunks_exact(n_classes)) {
            row.set_probabilities(&self.labels.classes, probabilities);
            rows.push(row);
        }
        pending.log_mel.clear();
        Ok(())
    }

    fn publish(&self, read: &Read, mut rows: Vec<PredictionRow>, seconds: f64, golden_off: f32) -> Result<Done> {
        let store = &self.ctx.store;
        rows.sort_by(|a, b| (&a.recording_id, a.copy).cmp(&(&b.recording_id, b.copy)));
        let slot = Score.slot(self.ctx);
        let predictions = Predictions { classes: self.labels.classes.clone(), rows };
        let place = folder_of::<PredictionRow>(store).join(&self.stem);
        let file = stage_table(store, &slot, &place, |out| predictions.write(out))?;
        let rows = &predictions.rows;
        let n_rejected = rows.iter().filter(|row| row.status == Status::Rejected).count() as u64;
        let right = |row: &&PredictionRow| row.emotion.is_some() && row.emotion == row.predicted;
        let n_labelled = rows.iter().filter(|row| row.emotion.is_some() && row.predicted.is_some()).count();
        let mut summary = Map::new();
        summary.insert("rows".into(), rows.len().into());
        summary.insert("model_id".into(), self.session.card().model_id.clone().into());
        summary.insert("provider".into(), self.provider.clone().into());
        summary.insert("labelled".into(), n_labelled.into());
        summary.insert("correct".into(), rows.iter().filter(right).count().into());
        summary.insert("golden_difference".into(), json!(golden_off));
        summary
            .insert("recordings_per_s".into(), json!((self.n_done as f64 / seconds.max(1e-9) * 10.0).round() / 10.0));
        summary.insert("predictions".into(), file.record.file(store).display().to_string().into());
        let card = self.session.card();
        let of_features = match self.ctx.input {
            Some(_) => Evidence::default(),
            None => Evidence {
                protocol: Some(self.ctx.pipeline.split.protocol.name().into()),
                ..read.commit("features")?.evidence.clone()
            },
        };
        Ok(Done {
            output: Fingerprint::of([&file.record.content.blake3]),
            files: vec![file],
            is_whole: false,
            evidence: Evidence {
                labels: Some(self.labels.clone()),
                model_id: Some(card.model_id.clone()),
                model_protocol: Some(card.protocol.clone()),
                windows: Some((card.network.window, card.network.hop)),
                ..of_features
            },
            inputs: None,
            n_usable: rows.len() as u64 - n_rejected,
            n_done: self.n_done,
            n_reused: self.n_reused,
            n_rejected,
            n_unread: self.n_unread,
            summary,
        })
    }
}
