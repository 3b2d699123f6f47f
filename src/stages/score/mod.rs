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
use crate::network::onnx::read_model;
use crate::network::session::{Provider, Session};
use crate::scan::recordings_below;
use crate::stages::{Ctx, Done, Inputs, Stage, last_of, stage_rows};
use crate::storage::commit::{Commit, Evidence};
use crate::storage::fingerprint::Fingerprint;
use crate::storage::publish::stem_of;
use crate::storage::record::FileRecord;
use crate::tables::features::{FeatureRow, from_blob};
use crate::tables::manifest::{ManifestRow, Status};
use crate::tables::predictions::PredictionRow;
use crate::tables::{TableFile, committed_rows, folder_of};

/// Raised when the same model and features would give other rows.
const REVISION: u32 = 2;
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

    fn settings(&self, ctx: &Ctx) -> Fingerprint {
        let limit = ctx.input.as_ref().map(|_| ctx.pipeline.recording_limit().0);
        Fingerprint::of_value(&(REVISION, &ctx.pipeline.score, &ctx.input, limit))
    }

    fn inputs(&self, ctx: &Ctx) -> Result<Inputs> {
        let model = ("model".to_string(), Fingerprint::of([model_bytes(ctx)?.1]));
        let source = match &ctx.input {
            Some(folder) => ("recordings".to_string(), folder::fingerprint(&recordings_below(folder)?.recordings)),
            None => ("features".to_string(), Commit::require(&ctx.store, "features")?.output),
        };
        let mut inputs = Inputs::from([model, source]);
        if ctx.input.is_none() {
            // Speakers and sexes come from there.
            inputs.insert("manifest".into(), Commit::require(&ctx.store, "ingest")?.output);
        }
        Ok(inputs)
    }

    fn run(&self, ctx: &Ctx, _settings: &Fingerprint, inputs: &Inputs) -> Result<Done> {
        let provider: Provider = ctx.pipeline.score.device.parse()?;
        let (path, bytes) = model_bytes(ctx)?;
        let mut session = Session::open(&bytes, provider, ctx.n_threads(), &ctx.runtime_library)
            .map_err(|error| if error.kind() == ErrorKind::Input { error.at(&path) } else { error })?;
        session.card().emotions()?;
        let off = session.verify_golden(GOLDEN_TOLERANCE)?;
        let mut scorer = Scorer::new(ctx, &mut session, provider, &inputs["model"])?;
        let clock = Instant::now();
        let mut read = inputs.clone();
        let rows = match &ctx.input {
            Some(folder) => {
                let found = recordings_below(folder)?;
                // What the driver looked at may have changed since.
                read.insert("recordings".into(), folder::fingerprint(&found.recordings));
                scorer.folder(folder, &found)?
            }
            None => scorer.features()?,
        };
        let seconds = clock.elapsed().as_secs_f64();
        let (n_done, n_reused) = (scorer.n_done, scorer.n_reused);
        let done = scorer.publish(rows, n_done, n_reused, seconds, off)?;
        Ok(Done { inputs: Some(read), ..done })
    }
}

/// The model file that the recipe names, and its bytes: those that `train` committed, or those of a file from elsewhere.
fn model_bytes(ctx: &Ctx) -> Result<(PathBuf, Bytes)> {
    if ctx.pipeline.score.model != "trained" {
        let path = PathBuf::from(&ctx.pipeline.score.model);
        return read_model(&path).map(|bytes| (path, bytes.into()));
    }
    let commit = Commit::require(&ctx.store, "train")?;
    let file = commit.files.iter().find(|file| file.path.ends_with("/model.onnx"));
    let file = file.ok_or_else(|| Error::bug("train committed no model"))?;
    Ok((file.file(&ctx.store), file.read(&ctx.store, "train")?))
}

/// Key of one scored item, with its content and its variant; rows with equal keys and equal model are the same work.
type Key = (String, u32, Option<String>, Option<String>);

fn key_of(row: &PredictionRow) -> Key {
    (row.recording_id.clone(), row.copy, row.content_hash.clone(), row.variant.clone())
}

/// A row waiting for its probabilities, with its spectrogram.
struct Pending {
    row: PredictionRow,
    log_mel: Vec<f32>,
}

struct Scorer<'a> {
    ctx: &'a Ctx,
    session: &'a mut Session,
    model_fingerprint: Fingerprint,
    provider: String,
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
        let mut scorer = Self {
            ctx,
            session,
            model_fingerprint: model.clone(),
            provider: provider.to_string(),
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
            let rows = match TableFile::committed(&self.ctx.store, record, "score") {
                Err(error) if error.kind() == ErrorKind::Input => continue,
                file => file?.rows::<PredictionRow>()?,
            };
            let usable = rows.into_iter().filter(|row| row.status == Status::Ok && row.provider == self.provider);
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

    /// Scores the rows of the features table that the recipe's sides ask for.
    fn features(&mut self) -> Result<Vec<PredictionRow>> {
        let ctx = self.ctx;
        let features = Commit::require(&ctx.store, "features")?;
        let manifest = committed_rows::<ManifestRow>(&ctx.store, &Commit::require(&ctx.store, "ingest")?)?;
        let manifest = manifest.into_iter().map(|row| (row.recording_id.clone(), row)).collect();
        let sides: Vec<&str> = ctx.pipeline.score.splits.iter().map(|side| side.name()).collect();
        let is_wanted = |row: &FeatureRow| row.split.as_deref().is_none_or(|side| sides.contains(&side));
        let folder = ctx.store.relative(&folder_of::<FeatureRow>(&ctx.store));
        let shards: Vec<&FileRecord> = features.files.iter().filter(|file| file.path.starts_with(&folder)).collect();
        let meter = ctx.progress.begin("score", features.n_usable + features.n_rejected);
        let mut rows = Vec::new();
        let mut pending = Vec::new();
        for shard in shards {
            let file = TableFile::committed(&ctx.store, shard, "features")?;
            for batch in file.batches::<FeatureRow>()? {
                let batch = batch?;
                meter.advance(batch.len() as u64);
                for feature in batch.into_iter().filter(is_wanted) {
                    self.take(feature, &manifest, &mut rows, &mut pending)?;
                    if pending.len() == ctx.pipeline.score.batch {
                        self.flush(&mut pending, &mut rows)?;
                    }
                }
            }
        }
        self.flush(&mut pending, &mut rows)?;
        Ok(rows)
    }

    fn take(
        &mut self,
        feature: FeatureRow,
        manifest: &HashMap<String, ManifestRow>,
        rows: &mut Vec<PredictionRow>,
        pending: &mut Vec<Pending>,
    ) -> Result<()> {
        let card = self.session.card();
        if feature.fingerprint != card.fingerprint {
            return Err(Error::input(format!(
                "the model was trained on features {}, these are {}",
                card.fingerprint, feature.fingerprint
            ))
            .at_place(format!("features of `{}`", feature.recording_id))
            .hint("use the [features.front_end] of the pipeline that trained the model, then run `sermill features` again"));
        }
        let mut row = self.blank();
        if let Some(known) = manifest.get(&feature.recording_id) {
            (row.path, row.speaker, row.sex) = (known.path.clone(), known.speaker.clone(), known.sex.clone());
        }
        row.recording_id = feature.recording_id;
        row.copy = feature.copy;
        row.corpus = feature.corpus;
        row.content_hash = Some(feature.content_hash);
        row.variant = feature.variant;
        row.split = feature.split;
        row.emotion = feature.emotion;
        if feature.status == Status::Rejected {
            row.status = Status::Rejected;
            row.reject_reason = feature.reject_reason;
            rows.push(row);
            return Ok(());
        }
        if self.reuse(&mut row) {
            rows.push(row);
            return Ok(());
        }
        let network = &self.session.card().network;
        let mut log_mel = vec![0.0; network.n_mels * network.n_frames];
        let blob = feature.log_mel.as_deref().unwrap_or_default();
        from_blob(blob, &mut log_mel).map_err(|error| error.at_place(format!("features of `{}`", row.recording_id)))?;
        pending.push(Pending { row, log_mel });
        Ok(())
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
    fn flush(&mut self, pending: &mut Vec<Pending>, rows: &mut Vec<PredictionRow>) -> Result<()> {
        if pending.is_empty() {
            return Ok(());
        }
        let n_classes = self.session.card().network.n_classes;
        let input: Vec<f32> = pending.iter().flat_map(|one| one.log_mel.iter().copied()).collect();
        let mut probabilities = vec![0.0; pending.len() * n_classes];
        self.session.run(&input, pending.len(), &mut probabilities)?;
        self.n_done += pending.len() as u64;
        for (one, probabilities) in pending.drain(..).zip(probabilities.chunks_exact(n_classes)) {
            let mut row = one.row;
            row.set_probabilities(probabilities);
            rows.push(row);
        }
        Ok(())
    }

    fn publish(
        &self,
        mut rows: Vec<PredictionRow>,
        n_done: u64,
        n_reused: u64,
        seconds: f64,
        golden_off: f32,
    ) -> Result<Done> {
        let store = &self.ctx.store;
        rows.sort_by(|a, b| (&a.recording_id, a.copy).cmp(&(&b.recording_id, b.copy)));
        let slot = Score.slot(self.ctx);
        let file = stage_rows(store, &slot, &self.stem, &rows)?;
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
        summary.insert("recordings_per_s".into(), json!((n_done as f64 / seconds.max(1e-9) * 10.0).round() / 10.0));
        summary.insert("predictions".into(), file.record.file(store).display().to_string().into());
        let card = self.session.card();
        let of_sides = match self.ctx.input {
            Some(_) => Evidence::default(),
            None => Commit::require(store, "features")?.evidence,
        };
        Ok(Done {
            output: Fingerprint::of_value(&rows),
            files: vec![file],
            is_whole: false,
            evidence: Evidence {
                model_id: Some(card.model_id.clone()),
                model_protocol: Some(card.protocol.clone()),
                fingerprint: None,
                windows: Some((card.network.window, card.network.hop)),
                ..of_sides
            },
            inputs: None,
            n_usable: rows.len() as u64 - n_rejected,
            n_done,
            n_reused,
            n_rejected,
            n_unread: self.n_unread,
            summary,
        })
    }
}
