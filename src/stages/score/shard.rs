//! One shard of scoring: from rows of a plan to predictions.

use std::path::Path;
use std::time::Instant;

use rayon::prelude::*;

use crate::definition::front_end_of;
use crate::error::{Error, ErrorKind, Result};
use crate::extract::Extractor;
use crate::labels::Labels;
use crate::network::onnx::ModelCard;
use crate::network::session::{Provider, Session};
use crate::progress::Meter;
use crate::recordings::Buffers;
use crate::stages::Ctx;
use crate::stages::score::audio::{Heard, Listener};
use crate::stages::score::known::Known;
use crate::stages::score::models::Models;
use crate::stages::score::plan::{blank, stem_of_predictions};
use crate::stages::score::{Source, TRAINED};
use crate::stages::shards::part::{Note, open_part, stage_part};
use crate::stages::shards::{Counted, Counts, Finish, Finished, Job};
use crate::tables::manifest::Status;
use crate::tables::predictions::{PredictionRow, Predictions};
use crate::tables::score_plan::ScorePlanRow;
use crate::tables::spectrograms::{Place, Spectrograms};

/// A model whose own golden vector comes out further off than this is not run.
const GOLDEN_TOLERANCE: f32 = 1e-4;

/// What became of one shard.
pub struct Scored {
    pub(super) rows: Vec<PredictionRow>,
    pub(super) note: Note,
    /// What it took; `None` where another process made it.
    pub(super) seconds: Option<f64>,
    n_bytes: u64,
}

impl Counted for Scored {
    fn counts(&self) -> Counts {
        let n_rejected = self.rows.iter().filter(|row| row.status == Status::Rejected).count() as u64;
        Counts { n_rows: self.rows.len() as u64, n_rejected, n_unread: self.note.n_unread, n_bytes: self.n_bytes }
    }
}

/// Makes shards one after the other: all threads work on one batch.
pub(super) fn make(ctx: &Ctx, models: &Models, jobs: &[Job<ScorePlanRow>], done: Finish<Scored>) -> Result<()> {
    let meter = ctx.progress.begin("score", jobs.iter().map(|job| job.n_rows as u64).sum());
    let mut scorer: Option<Scorer> = None;
    for (at, job) in jobs.iter().enumerate() {
        let (clock, rows) = (Instant::now(), job.rows()?);
        let finished = |was_there| Finished { was_there, seconds: clock.elapsed().as_secs_f64() };
        if let Some(made) = job.waits(|file| open(file, job.id, &rows))? {
            meter.advance(rows.len() as u64);
            done(at, made, finished(true))?;
            continue;
        }
        let fold = rows.first().and_then(|row| row.fold);
        let scorer = match &mut scorer {
            Some(scorer) if scorer.fold == fold => scorer,
            other => other.insert(Scorer::new(ctx, models, fold)?),
        };
        let working = Instant::now();
        let mut made = scorer.score(&rows, meter.as_ref())?;
        made.seconds = Some(working.elapsed().as_secs_f64());
        if job.is_kept {
            let predictions = Predictions { classes: scorer.labels.classes.clone(), rows: made.rows };
            let note = made.note.entry()?;
            made.n_bytes = stage_part(job, |out| predictions.write_noting(out, Some(note)))?.n_bytes;
            made.rows = predictions.rows;
        }
        done(at, made, finished(false))?;
    }
    Ok(())
}

/// A finished shard that waits in `file`, if it is whole and of these rows.
pub(super) fn open(file: &Path, id: &str, rows: &[ScorePlanRow]) -> Result<Option<Scored>> {
    let Some((predictions, note, content)) = open_part(file, id, Predictions::read)? else { return Ok(None) };
    let mut found: Vec<(&str, u32, Option<u32>)> =
        predictions.rows.iter().map(|row| (row.recording_id.as_str(), row.copy, row.fold)).collect();
    let mut wanted: Vec<(&str, u32, Option<u32>)> =
        rows.iter().map(|row| (row.recording_id.as_str(), row.copy, row.fold)).collect();
    found.sort_unstable();
    wanted.sort_unstable();
    let is_of_rows = found == wanted;
    Ok(is_of_rows.then_some(Scored { rows: predictions.rows, note, seconds: None, n_bytes: content.n_bytes }))
}

/// Rows waiting for their probabilities, with their spectrograms one after the other.
#[derive(Default)]
struct Pending {
    rows: Vec<PredictionRow>,
    log_mel: Vec<f32>,
}

/// The networks of a fold, ready.
struct Scorer<'a> {
    ctx: &'a Ctx,
    fold: Option<u32>,
    /// One for each member of an ensemble.
    sessions: Vec<Session>,
    card: ModelCard,
    labels: Labels,
    blank: PredictionRow,
    golden_difference: f32,
    known: Known,
}

impl<'a> Scorer<'a> {
    fn new(ctx: &'a Ctx, models: &Models, fold: Option<u32>) -> Result<Self> {
        let provider: Provider = ctx.pipeline.score.device.parse()?;
        let (mut sessions, mut golden_difference) = (Vec::new(), 0_f32);
        for model in models.of_fold(fold) {
            let mut session = Session::open(model, provider, ctx.n_threads(), &ctx.runtime_library)
                .map_err(|error| if error.kind() == ErrorKind::Input { error.at_place(place(ctx)) } else { error })?;
            golden_difference = golden_difference.max(session.verify_golden(GOLDEN_TOLERANCE)?);
            sessions.push(session);
        }
        let card = models.card()?;
        let (labels, blank) = (card.meaning(&ctx.pipeline.labels).into_owned(), blank(ctx, &card)?);
        // Of others it is known before they are read.
        let known = match Source::of(ctx) {
            Source::Folder => Known::read(ctx, models.bytes(), &stem_of_predictions(ctx, &card)?, &blank.provider)?,
            Source::Audio | Source::Features => Known::default(),
        };
        Ok(Self { ctx, fold, sessions, card, labels, blank, golden_difference, known })
    }

    fn score(&mut self, rows: &[ScorePlanRow], meter: &dyn Meter) -> Result<Scored> {
        let note = Note { golden_difference: Some(self.golden_difference), ..Note::default() };
        let mut scored = Scored { rows: Vec::with_capacity(rows.len()), note, seconds: None, n_bytes: 0 };
        match Source::of(self.ctx) {
            Source::Features => self.features(rows, &mut scored, meter)?,
            Source::Audio | Source::Folder => self.audio(rows, &mut scored, meter)?,
        }
        Ok(scored)
    }

    /// Stored spectrograms, each by one positioned read.
    fn features(&mut self, rows: &[ScorePlanRow], scored: &mut Scored, meter: &dyn Meter) -> Result<()> {
        let mut shards: Vec<&str> = rows.iter().filter_map(|row| row.shard.as_deref()).collect();
        shards.sort_unstable();
        shards.dedup();
        let paths: Vec<_> = shards.iter().map(|key| self.ctx.store.root().join(key)).collect();
        let spectrograms = Spectrograms::open(&paths)?;
        let network = &self.card.network;
        let (size, mut scratch, mut pending) = (network.n_mels * network.n_frames, Vec::new(), Pending::default());
        for chunk in rows.chunks(self.ctx.pipeline.score.batch) {
            for row in chunk {
                let file = row.shard.as_deref().and_then(|key| shards.binary_search(&key).ok());
                let place = file.zip(row.offset).zip(row.crc32);
                let ((file, offset), crc32) = place.ok_or_else(|| Error::bug("a spectrogram without a place"))?;
                let begin = pending.log_mel.len();
                pending.log_mel.resize(begin + size, 0.0);
                let place = Place { offset, file: file as u32, crc32 };
                spectrograms.read(place, &mut scratch, &mut pending.log_mel[begin..])?;
                pending.rows.push(row.prediction(&self.blank));
            }
            self.flush(&mut pending, scored)?;
            meter.advance(chunk.len() as u64);
        }
        Ok(())
    }

    /// Recordings: read, and made into spectrograms as they are stored, a batch at a time.
    fn audio(&mut self, rows: &[ScorePlanRow], scored: &mut Scored, meter: &dyn Meter) -> Result<()> {
        let (ctx, front_end) = (self.ctx, front_end_of(&self.card)?);
        let extractor =
            Extractor::new(&front_end, &[], ctx.pipeline.pipeline.seed)?.with_limit(ctx.pipeline.recording_limit());
        let root = ctx.input.clone().unwrap_or_else(|| ctx.corpora.clone());
        let mut pending = Pending::default();
        for chunk in rows.chunks(ctx.pipeline.score.batch) {
            let heard: Vec<Heard> = {
                let (extractor, root, known, blank) = (&extractor, &root, &self.known, &self.blank);
                let listener = Listener { extractor, root, known, blank };
                ctx.pool.install(|| {
                    let buffers = || (Buffers::default(), extractor.scratch());
                    chunk
                        .par_iter()
                        .map_init(buffers, |buffers, row| listener.hear(row, buffers))
                        .collect::<Result<_>>()
                })?
            };
            for one in heard {
                match one {
                    Heard::New(row, log_mel) => {
                        pending.rows.push(row);
                        pending.log_mel.extend_from_slice(&log_mel);
                    }
                    Heard::Known(mut row) => {
                        self.known.reuse(&mut row);
                        scored.note.n_reused += 1;
                        scored.rows.push(row);
                    }
                    Heard::Rejected(row) => scored.rows.push(row),
                    Heard::Unread(row) => {
                        scored.note.unread(&row.path, row.reject_reason.as_deref().unwrap_or_default());
                        scored.rows.push(row);
                    }
                }
            }
            self.flush(&mut pending, scored)?;
            meter.advance(chunk.len() as u64);
        }
        Ok(())
    }

    /// Runs the model on what is pending.
    fn flush(&mut self, pending: &mut Pending, scored: &mut Scored) -> Result<()> {
        if pending.rows.is_empty() {
            return Ok(());
        }
        let (n_classes, n_mels) = (self.card.network.n_classes, self.card.network.n_mels);
        let mut probabilities = vec![0.0; pending.rows.len() * n_classes];
        let embeddings = self.run(&pending.log_mel, &mut probabilities)?;
        scored.note.n_done += pending.rows.len() as u64;
        // Each fold has thresholds and a domain of its own; members of an ensemble share their training set.
        let confidence = self.sessions.first().map(|session| &session.card().confidence);
        let confidence = confidence.filter(|confidence| !confidence.is_empty());
        let spectrograms = pending.log_mel.chunks_exact(pending.log_mel.len() / pending.rows.len());
        let width = self.card.network.n_embedding();
        let made = probabilities.chunks_exact(n_classes).zip(spectrograms);
        for (at, (mut row, (probabilities, log_mel))) in pending.rows.drain(..).zip(made).enumerate() {
            row.set_probabilities(&self.labels.classes, probabilities);
            if let Some(confidence) = confidence {
                let judgement =
                    confidence.judge(probabilities, (log_mel, n_mels), embeddings.get(at * width..(at + 1) * width));
                row.set_judgement(&self.labels.classes, &judgement);
            }
            scored.rows.push(row);
        }
        pending.log_mel.clear();
        Ok(())
    }
}

impl Scorer<'_> {
    /// The mean of what the networks say, `[items, classes]`; gives the embeddings of the first, `[items, n_embedding]`, where its
    /// model judges by them.
    fn run(&mut self, log_mel: &[f32], probabilities: &mut [f32]) -> Result<Vec<f32>> {
        let (network, n_sessions) = (&self.card.network, self.sessions.len());
        let (n_items, width) = (probabilities.len() / network.n_classes, network.n_embedding());
        let mut embeddings = Vec::new();
        let mut own = vec![0.0; if n_sessions > 1 { probabilities.len() } else { 0 }];
        for (at, session) in self.sessions.iter_mut().enumerate() {
            let domain = session.card().confidence.domain.as_ref();
            let is_judged =
                at == 0 && domain.is_some_and(|domain| domain.embedding.is_some()) && session.has_embedding();
            let out = if n_sessions > 1 { own.as_mut_slice() } else { &mut *probabilities };
            if is_judged {
                embeddings.resize(n_items * width, 0.0);
                session.run_with_embedding(log_mel, n_items, out, &mut embeddings)?;
            } else {
                session.run(log_mel, n_items, out)?;
            }
            probabilities.iter_mut().zip(&own).for_each(|(sum, own)| *sum += own / n_sessions as f32);
        }
        Ok(embeddings)
    }
}

/// What a model file that is refused is called.
fn place(ctx: &Ctx) -> String {
    match ctx.pipeline.score.model.as_str() {
        TRAINED => "the trained model".into(),
        path => path.into(),
    }
}
