//! How sure the networks of a run may be: asked of recordings whose speakers they never heard, and fitted across folds.

use std::collections::{BTreeMap, BTreeSet};

use crate::confidence::{Calibration, Confidence, Domain, OutOfFold, Statistics, calibrate};
use crate::error::Result;
use crate::metrics::{Bins, ItemScore, Tally, noise_floor};
use crate::network::onnx::HeardCorpus;
use crate::network::parameters::Parameters;
use crate::network::predictor::Predictor;
use crate::network::spec::NetworkSpec;
use crate::split::{Protocol, Split};
use crate::stages::Ctx;
use crate::stages::roster::Roster;
use crate::stages::train::Trained;
use crate::stages::train::finish::POPULATION_ITEMS;
use crate::stages::train::wanted::Wanted;
use crate::storage::commit::Commit;
use crate::tables::calibration::CalibrationRow;
use crate::tables::manifest::Status;
use crate::tables::spectrograms::{FeatureIndex, Place};

/// Recordings that go through the network together.
const BATCH: usize = 32;

/// What a network says of recordings, and what it heard.
#[derive(Default)]
pub(super) struct Asked {
    /// Recordings of the side that it was not trained on.
    items: Vec<OutOfFold>,
    /// Of its training side.
    domain: Option<Domain>,
    heard: Vec<HeardCorpus>,
}

/// The side whose recordings a run may calibrate on: test sides that other folds train on, or a validation side; `None` where nothing
/// is left that may be looked at.
fn side(ctx: &Ctx, n_folds: u32) -> Option<Split> {
    let split = &ctx.pipeline.split;
    match split.protocol {
        Protocol::Paper | Protocol::Unsplit => None,
        _ if n_folds > 1 => Some(Split::Test),
        _ => split.monitored(),
    }
}

/// One original with its class.
struct Original {
    place: Place,
    class: usize,
    speaker: Option<String>,
    corpus: String,
}

/// Asks a trained network; nothing unless the recipe wants it calibrated.
pub(super) fn ask(
    ctx: &Ctx,
    spec: &NetworkSpec,
    parameters: &Parameters,
    (features, roster): (&Commit, &Roster),
    wanted: Wanted,
) -> Result<Asked> {
    if !ctx.pipeline.train.calibrate {
        return Ok(Asked::default());
    }
    let side = side(ctx, roster.n_folds()).filter(|_| wanted.sides.is_some());
    let index = FeatureIndex::read(&ctx.store, features)?;
    let files = index.spectrograms(&ctx.store)?;
    let mut rows: Vec<usize> = (0..index.rows.len()).filter(|&at| index.rows[at].copy == 0).collect();
    // Shards keep the order in which recordings arrived; the fit must not know it.
    rows.sort_by(|&a, &b| index.rows[a].recording_id.cmp(&index.rows[b].recording_id));
    let (mut heard, mut unheard) = (Vec::new(), Vec::new());
    for at in rows {
        let row = &index.rows[at];
        let (Some(place), Status::Ok) = (index.place(at), row.status) else { continue };
        let Some(entry) = roster.entry(&row.recording_id) else { continue };
        let Some(class) = ctx.pipeline.labels.class_of(entry.emotion.as_deref()) else { continue };
        let own = Original { place, class, speaker: entry.speaker.clone(), corpus: row.corpus.clone() };
        match roster.side(&row.recording_id, 0) {
            Some(Split::Train) => heard.push(own),
            found if found.is_some() && found == side => unheard.push(own),
            _ => {}
        }
    }
    let told = heard_corpora(&heard);
    // As many as batch statistics are measured on tell a cloud; they are taken evenly from all.
    let step = heard.len().div_ceil(POPULATION_ITEMS).max(1);
    let sample: Vec<Original> = heard.into_iter().step_by(step).collect();
    let mut predictor = Predictor::new(spec.clone(), parameters.clone(), ctx.n_threads())?;
    let mut read = |place: Place, scratch: &mut Vec<u8>, log_mel: &mut [f32]| files.read(place, scratch, log_mel);
    let heard = views(spec, &mut predictor, &sample, &mut read)?;
    let classes: Vec<usize> =
        heard.iter().zip(&sample).filter(|(view, _)| view.statistics.is_some()).map(|(_, one)| one.class).collect();
    let (statistics, embeddings): (Vec<Statistics>, Vec<Vec<f32>>) =
        heard.into_iter().filter_map(|view| Some((view.statistics?, view.embedding))).unzip();
    let domain = Domain::fit(&statistics, Some((&embeddings, &classes)));
    let mut items = Vec::with_capacity(unheard.len());
    for (view, one) in views(spec, &mut predictor, &unheard, &mut read)?.into_iter().zip(unheard) {
        let distances = domain.as_ref().zip(view.statistics.as_ref());
        let distances = distances.map(|(domain, own)| (domain.distances(own, Some(&view.embedding)), own.n_frames));
        let (speaker, class, probabilities) = (one.speaker, one.class, view.probabilities);
        items.push(OutOfFold { speaker, class, probabilities, distances });
    }
    Ok(Asked { items, domain, heard: told })
}

/// Corpora, speakers and recordings that a network was trained on.
fn heard_corpora(heard: &[Original]) -> Vec<HeardCorpus> {
    let mut corpora: BTreeMap<&str, (BTreeSet<&str>, u64)> = BTreeMap::new();
    for one in heard {
        let (speakers, n) = corpora.entry(&one.corpus).or_default();
        speakers.extend(one.speaker.as_deref());
        *n += 1;
    }
    let told = |(corpus, (speakers, n)): (&str, (BTreeSet<&str>, u64))| HeardCorpus {
        corpus: corpus.into(),
        n_speakers: speakers.len() as u64,
        n_recordings: n,
    };
    corpora.into_iter().map(told).collect()
}

/// What a network makes of one recording.
struct View {
    probabilities: Vec<f32>,
    embedding: Vec<f32>,
    statistics: Option<Statistics>,
}

fn views(
    spec: &NetworkSpec,
    predictor: &mut Predictor,
    originals: &[Original],
    read: &mut impl FnMut(Place, &mut Vec<u8>, &mut [f32]) -> Result<()>,
) -> Result<Vec<View>> {
    let (size, mut scratch, mut views) = (spec.n_mels * spec.n_frames, Vec::new(), Vec::with_capacity(originals.len()));
    for chunk in originals.chunks(BATCH) {
        let mut log_mel = vec![0.0; chunk.len() * size];
        for (one, log_mel) in chunk.iter().zip(log_mel.chunks_exact_mut(size)) {
            read(one.place, &mut scratch, log_mel)?;
        }
        let (n_classes, width) = (spec.n_classes, spec.n_embedding());
        let (mut probabilities, mut embeddings) = (vec![0.0; chunk.len() * n_classes], vec![0.0; chunk.len() * width]);
        predictor.predict_with_embedding(&log_mel, &mut probabilities, &mut embeddings)?;
        let rows = probabilities.chunks_exact(n_classes).zip(embeddings.chunks_exact(width));
        for ((probabilities, embedding), log_mel) in rows.zip(log_mel.chunks_exact(size)) {
            let statistics = Statistics::of(log_mel, spec.n_mels);
            views.push(View { probabilities: probabilities.to_vec(), embedding: embedding.to_vec(), statistics });
        }
    }
    Ok(views)
}

/// What the file of one network keeps: fitted on what the networks of *other* folds say, so that its own test side has no say; of a
/// network that is alone on its validation side, of one that knows everything on all folds.
pub(super) fn of_network(all: &[Trained], one: &Trained) -> Option<(Confidence, Vec<HeardCorpus>)> {
    let is_alone = one.wanted.fold.is_none() && one.wanted.sides.is_some();
    let items = pooled(all, |other| is_alone || other.wanted.sides != one.wanted.sides);
    let (domain, heard) = (one.asked.domain.clone(), one.asked.heard.clone());
    if items.is_empty() {
        return (!heard.is_empty()).then_some((Confidence::default(), heard));
    }
    Some((calibrate(&items).confidence(domain), heard))
}

/// The items of all folds that `is_wanted`. Members of a fold were asked the same recordings: what they say is averaged, as scoring does;
/// only that scoring averages what each says at the temperature, and the distances are those of the first.
fn pooled(all: &[Trained], is_wanted: impl Fn(&Trained) -> bool) -> Vec<OutOfFold> {
    let mut items = Vec::new();
    for members in all.chunk_by(|a, b| a.wanted.sides == b.wanted.sides).filter(|members| is_wanted(&members[0])) {
        let mut own = members[0].asked.items.clone();
        for (at, item) in own.iter_mut().enumerate() {
            for (class, probability) in item.probabilities.iter_mut().enumerate() {
                let said = members.iter().map(|member| member.asked.items[at].probabilities[class]);
                *probability = said.sum::<f32>() / members.len() as f32;
            }
        }
        items.extend(own);
    }
    items
}

/// The rows of the table `calibration`, with speakers left out, of all folds; what could not be done is said.
pub(super) fn rows(ctx: &Ctx, model_id: &str, all: &[Trained]) -> Vec<CalibrationRow> {
    let items = pooled(all, |_| true);
    if items.is_empty() {
        return Vec::new();
    }
    let calibration = calibrate(&items);
    calibration.notes.iter().for_each(|note| ctx.progress.say(&format!("train: calibration: {note}")));
    let blank = CalibrationRow {
        model_id: model_id.into(),
        pipeline: ctx.pipeline.pipeline.name.clone(),
        protocol: ctx.pipeline.split.protocol.name().into(),
        ..CalibrationRow::default()
    };
    let before = error_of(items.iter().map(|item| (item.probabilities.as_slice(), item.class)));
    let after = after(&calibration, &items);
    let more = [
        ("ece_before", before.map(|(ece, _)| ece)),
        ("ece_floor_before", before.map(|(_, floor)| floor)),
        ("ece_after", after.map(|(ece, _)| ece)),
        ("ece_floor_after", after.map(|(_, floor)| floor)),
    ];
    CalibrationRow::all(&blank, &calibration, &more)
}

fn after(calibration: &Calibration, items: &[OutOfFold]) -> Option<(f64, f64)> {
    let measured = calibration.measured.as_ref().filter(|measured| measured.probabilities.len() == items.len())?;
    error_of(
        measured.probabilities.iter().zip(items).map(|(probabilities, item)| (probabilities.as_slice(), item.class)),
    )
}

/// Expected calibration error and its noise floor.
fn error_of<'a>(items: impl Iterator<Item = (&'a [f32], usize)>) -> Option<(f64, f64)> {
    let scores: Vec<ItemScore> =
        items.filter_map(|(probabilities, class)| ItemScore::of(probabilities, class)).collect();
    let bins = Bins::of_equal_mass(scores.iter().map(|score| score.confidence))?;
    let floor = noise_floor(&bins, scores.iter().map(|score| score.confidence))?;
    Some((Tally::of(&bins, &scores).ece()?, floor))
}
