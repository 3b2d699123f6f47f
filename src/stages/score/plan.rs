//! What is to be scored, cut into shards, and which rows need no work.

use std::path::Path;

use crate::definition::{Definition, front_end_of};
use crate::error::{Error, ErrorKind, Result};
use crate::files;
use crate::labels::Labels;
use crate::network::onnx::ModelCard;
use crate::network::session::Provider;
use crate::scan::Listing;
use crate::split::Split;
use crate::stages::roster::{Entry, Roster};
use crate::stages::score::known::Known;
use crate::stages::score::models::{self, Models};
use crate::stages::score::{Score, Source, audio};
use crate::stages::shards::{Seen, shard_id};
use crate::stages::{Ctx, Inputs, Read, Stage};
use crate::storage::commit::Commit;
use crate::storage::fingerprint::Fingerprint;
use crate::tables::committed_rows;
use crate::tables::features::variant_of_original;
use crate::tables::manifest::{ManifestRow, Status};
use crate::tables::predictions::PredictionRow;
use crate::tables::score_plan::ScorePlanRow;
use crate::tables::spectrograms::FeatureIndex;

/// What there is to score.
pub struct ScorePlan {
    pub(super) card: ModelCard,
    /// Which words count as which of the model's classes.
    pub(super) labels: Labels,
    /// Name of the predictions' file, but for its hash.
    pub(super) stem: String,
    /// Ids and rows.
    pub(super) shards: Vec<(String, Vec<ScorePlanRow>)>,
    /// Rows that need no work.
    pub(super) standing: Vec<PredictionRow>,
    /// Those among them that were scored before.
    pub(super) n_reused: u64,
    /// What was read, where the driver may have looked at something else.
    pub(super) inputs: Option<Inputs>,
}

/// A row of the model's, before anything is known of what is scored.
pub(super) fn blank(ctx: &Ctx, card: &ModelCard) -> Result<PredictionRow> {
    let provider: Provider = ctx.pipeline.score.device.parse()?;
    Ok(PredictionRow {
        model_id: card.model_id.clone(),
        provider: provider.to_string(),
        fingerprint: card.fingerprint.clone(),
        ..PredictionRow::default()
    })
}

/// Name of the predictions' file, but for its hash.
pub(super) fn stem_of_predictions(ctx: &Ctx, card: &ModelCard) -> Result<String> {
    let source = match &ctx.input {
        Some(folder) => format!("-{}", audio::name_of(folder)?),
        None => String::new(),
    };
    Ok(format!("{}{source}", card.model_id))
}

pub(super) fn plan(ctx: &Ctx, read: &Read, seen: &Seen) -> Result<ScorePlan> {
    let models = Models::from_bytes(&seen.model)?;
    let card = models.card().map_err(|error| match (error.kind(), models::read(ctx, read)) {
        (ErrorKind::Input, Ok((path, _))) => error.at(path),
        _ => error,
    })?;
    let stem = stem_of_predictions(ctx, &card)?;
    let labels = card.meaning(&ctx.pipeline.labels).into_owned();
    let plan = ScorePlan { labels, stem, card, shards: Vec::new(), standing: Vec::new(), n_reused: 0, inputs: None };
    let mut planner = Planner { ctx, folds: models.folds(), known: Known::default(), open: Vec::new(), plan };
    if Source::of(ctx) != Source::Folder {
        let blank = blank(ctx, &planner.plan.card)?;
        planner.known = Known::read(ctx, &seen.model, &planner.plan.stem, &blank.provider)?;
    }
    match (Source::of(ctx), &ctx.input) {
        (Source::Folder, Some(folder)) => planner.folder(folder, seen)?,
        (Source::Audio, _) => planner.audio(read)?,
        _ => planner.features(read)?,
    }
    Ok(planner.cut())
}

struct Planner<'a> {
    ctx: &'a Ctx,
    /// The folds there are models of; `None` for one that belongs to no fold.
    folds: Vec<Option<u32>>,
    known: Known,
    /// Rows that must be worked on.
    open: Vec<ScorePlanRow>,
    plan: ScorePlan,
}

impl Planner<'_> {
    /// Stored spectrograms on the sides that the recipe asks for.
    fn features(&mut self, read: &Read) -> Result<()> {
        let (ctx, features) = (self.ctx, read.commit("features")?);
        self.check_front_end(features)?;
        let roster = self.roster(read)?;
        let index = FeatureIndex::read(&ctx.store, features)?;
        let blank = blank(ctx, &self.plan.card)?;
        let mut n_of_no_fold = 0;
        for (at, indexed) in index.rows.iter().enumerate() {
            let asked = self.asked(&roster, &indexed.recording_id, indexed.copy);
            n_of_no_fold += u64::from(asked.is_empty() && !roster.has_side(&indexed.recording_id));
            for (fold, side) in asked {
                let known = roster.entry(&indexed.recording_id).cloned().unwrap_or_default();
                let mut row = self.row_of(known, &indexed.corpus, (fold, side));
                row.recording_id.clone_from(&indexed.recording_id);
                row.copy = indexed.copy;
                row.content_hash = Some(indexed.content_hash.clone());
                row.variant.clone_from(&indexed.variant);
                (row.start_s, row.end_s) = (None, None);
                let Some(place) = index.place(at).filter(|_| indexed.status == Status::Ok) else {
                    let (status, reject_reason) = (Status::Rejected, indexed.reject_reason.clone());
                    self.plan.standing.push(PredictionRow { status, reject_reason, ..row.prediction(&blank) });
                    continue;
                };
                row.shard = Some(index.shard(at).to_string());
                (row.offset, row.crc32) = (Some(place.offset), Some(place.crc32));
                self.add(row, &blank);
            }
        }
        self.say_passed_over(n_of_no_fold);
        Ok(())
    }

    /// Recordings of the manifest on the sides that the recipe asks for.
    fn audio(&mut self, read: &Read) -> Result<()> {
        let ctx = self.ctx;
        self.say_front_end()?;
        let roster = self.roster(read)?;
        let blank = blank(ctx, &self.plan.card)?;
        let manifest: Vec<ManifestRow> = committed_rows(&ctx.store, read.commit("ingest")?)?;
        let mut n_of_no_fold = 0;
        for row in manifest.into_iter().filter(ManifestRow::is_eligible) {
            let asked = self.asked(&roster, &row.recording_id, 0);
            n_of_no_fold += u64::from(asked.is_empty() && !roster.has_side(&row.recording_id));
            let Some(content_hash) = row.content_hash.filter(|_| !asked.is_empty()) else { continue };
            let fingerprint = &self.plan.card.fingerprint;
            let variant = variant_of_original(fingerprint, &content_hash, row.start_s, row.end_s);
            let known = Entry {
                recording_id: row.recording_id,
                path: row.path,
                speaker: row.speaker,
                sex: row.sex,
                emotion: row.emotion,
                content_hash: Some(content_hash),
                start_s: row.start_s,
                end_s: row.end_s,
            };
            for place in asked {
                let row = self.row_of(known.clone(), &row.corpus, place);
                self.add(ScorePlanRow { variant: Some(variant.clone()), ..row }, &blank);
            }
        }
        self.say_passed_over(n_of_no_fold);
        Ok(())
    }

    /// Recordings of a folder; which of them are known is found out when they are read.
    fn folder(&mut self, folder: &Path, seen: &Seen) -> Result<()> {
        let nothing = Listing::default();
        let listing = seen.folders.first().map_or(&nothing, |(_, listing)| listing);
        if let Some(text) = listing.passed_over.text() {
            self.ctx.progress.say(&format!("score: `{}`: {text}", files::text_of(folder)));
        }
        if listing.recordings.is_empty() {
            return Err(Error::input("there is no recording to score").at(folder));
        }
        self.say_front_end()?;
        let corpus = audio::name_of(folder)?;
        self.open = listing.recordings.iter().map(|found| audio::row_of(&corpus, found)).collect();
        // What the driver looked at may have changed since.
        let recordings = audio::fingerprint(&listing.recordings);
        self.plan.inputs = Some(Inputs::from([("recordings".into(), recordings)]));
        Ok(())
    }

    fn say_front_end(&self) -> Result<()> {
        let front_end = front_end_of(&self.plan.card)?;
        let recipe = &self.ctx.pipeline.features.front_end;
        if Definition::of(&front_end).to_string() != Definition::of(recipe).to_string() {
            let what = "the recordings go through the model's front end, which is not the recipe's";
            self.ctx.progress.say(&format!("score: {what}"));
        }
        Ok(())
    }

    /// Refuses features that the model was not trained on.
    fn check_front_end(&self, features: &Commit) -> Result<()> {
        let card = &self.plan.card;
        let found = features.evidence.fingerprint.as_ref().map_or("none", Fingerprint::as_str);
        if found == card.fingerprint {
            return Ok(());
        }
        Err(Error::input(format!("the model was trained on features {}, these are {found}", card.fingerprint))
            .at(self.ctx.store.root())
            .hint("use the [features.front_end] of the pipeline that trained the model, then run `sermill features` again"))
    }

    fn roster(&self, read: &Read) -> Result<Roster> {
        let folds = read.all().find(|(stage, _)| *stage == "folds").map(|(_, commit)| commit);
        Roster::read(&self.ctx.store, read.commit("ingest")?, folds)
    }

    /// Says how many recordings belong to no fold and are left unscored, because every model belongs to one.
    fn say_passed_over(&self, n: u64) {
        if n > 0 {
            let mend = "train.final_model = true makes a model for them";
            self.ctx
                .progress
                .say(&format!("score: {n} recordings and copies belong to no fold and are not scored: {mend}"));
        }
    }

    /// The models that a copy is scored with: each by its fold, with the side that the copy has there; none where it is not asked for.
    ///
    /// Models of folds are asked of what has a side in their fold, and the one that was trained on everything of what has none in any.
    fn asked(&self, roster: &Roster, recording_id: &str, copy: u32) -> Vec<(Option<u32>, Option<Split>)> {
        let is_asked = |side: &Split| self.ctx.pipeline.score.splits.contains(side);
        let has_folds = self.folds.iter().any(Option::is_some);
        let mut asked = Vec::new();
        for &fold in &self.folds {
            let side = match fold {
                None if has_folds => None,
                fold => roster.in_fold(fold.or(Some(0))).side(recording_id, copy),
            };
            let is_free = fold.is_none() && side.is_none() && !roster.has_side(recording_id);
            if side.as_ref().is_some_and(is_asked) || is_free {
                asked.push((fold, side));
            }
        }
        asked
    }

    /// What the manifest says of an item.
    fn row_of(&self, known: Entry, corpus: &str, (fold, side): (Option<u32>, Option<Split>)) -> ScorePlanRow {
        ScorePlanRow {
            recording_id: known.recording_id,
            path: known.path,
            corpus: corpus.to_string(),
            speaker: known.speaker,
            sex: known.sex,
            content_hash: known.content_hash,
            split: side.map(|side| side.name().to_string()),
            fold,
            emotion: self.plan.labels.name_of(known.emotion.as_deref()).map(str::to_string),
            start_s: known.start_s,
            end_s: known.end_s,
            ..ScorePlanRow::default()
        }
    }

    /// One more item, unless it was scored before.
    fn add(&mut self, row: ScorePlanRow, blank: &PredictionRow) {
        let mut prediction = row.prediction(blank);
        if self.known.reuse(&mut prediction) {
            self.plan.n_reused += 1;
            self.plan.standing.push(prediction);
        } else {
            self.open.push(row);
        }
    }

    /// Cuts what is open into shards of whole batches, so that the model is asked the same, however many there are.
    fn cut(mut self) -> ScorePlan {
        let batch = self.ctx.pipeline.score.batch;
        let n_rows = (self.ctx.shard_recordings / batch).max(1) * batch;
        let settings = Score.settings(self.ctx).fingerprint();
        // A shard asks one model: rows of a fold stand side by side.
        self.open.sort_by_key(|row| row.fold);
        for of_fold in self.open.chunk_by(|a, b| a.fold == b.fold) {
            for rows in of_fold.chunks(n_rows) {
                let fingerprints: Vec<Fingerprint> = rows.iter().map(Fingerprint::of_value).collect();
                self.plan.shards.push((shard_id(&settings, &fingerprints), rows.to_vec()));
            }
        }
        self.plan
    }
}
