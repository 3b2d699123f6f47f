//! `ingest`: folders of recordings become the manifest, one row per recording, usable or rejected with a reason.
//!
//! A recording is opened again only when its size or its time of change differs from the
//! last run; labels and sides are worked out anew each time, because they cost nothing.

mod probe;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Component, Path, PathBuf};

use rayon::prelude::*;
use serde_json::{Map, Value, json};

use crate::audio::{self, Channel};
use crate::config::CorpusRoot;
use crate::corpora::{self, Corpus, Label, Labeller};
use crate::emotion::Emotion;
use crate::error::{Error, Result};
use crate::scan::{ScannedFile, recordings_below, stamp_of};
use crate::stages::{Ctx, Done, Inputs, Stage, evidence_of_split, last_of, stage_rows};
use crate::storage::fingerprint::Fingerprint;
use crate::tables::manifest::{ManifestRow, Status, sides};

use probe::{Buffers, Cache, probe};

/// Raised when the same recordings would give other rows.
const REVISION: u32 = 2;
/// Name of the manifest's file, but for its hash.
const MANIFEST: &str = "part-00000";

/// See the module.
pub struct Ingest;

/// A scanned file and the row it will be.
struct Found {
    recording_id: String,
    corpus_idx: usize,
    path: String,
    scanned: ScannedFile,
}

/// A corpus folder, opened.
struct Opened<'a> {
    root: &'a CorpusRoot,
    corpus: &'static dyn Corpus,
    labeller: Box<dyn Labeller>,
}

impl Stage for Ingest {
    fn name(&self) -> &'static str {
        "ingest"
    }

    fn about(&self) -> &'static str {
        "scan folders of recordings into the manifest"
    }

    fn flow(&self) -> &'static str {
        "corpora -> manifest"
    }

    fn check(&self, ctx: &Ctx) -> Result<()> {
        if ctx.pipeline.ingest.corpus.is_empty() {
            return Err(Error::recipe("there is no [[ingest.corpus]]").hint("name at least one folder of recordings"));
        }
        ctx.pipeline.ingest.corpus.iter().try_for_each(|root| corpora::corpus(&root.kind).map(|_| ()))
    }

    fn settings(&self, ctx: &Ctx) -> Fingerprint {
        let pipeline = &ctx.pipeline;
        Fingerprint::of_value(&(
            REVISION,
            &pipeline.ingest,
            &pipeline.split,
            pipeline.pipeline.seed,
            pipeline.features.copies,
            pipeline.features.front_end.channel,
        ))
    }

    fn inputs(&self, ctx: &Ctx) -> Result<Inputs> {
        let opened = open_corpora(ctx)?;
        let found = scan(ctx, &opened);
        let stamps: Vec<_> =
            found.iter().map(|found| (&found.recording_id, found.scanned.stamp, &found.scanned.unreadable)).collect();
        // A CSV of labels is no recording, but rows follow from it.
        let labels: Vec<_> =
            opened.iter().map(|opened| stamp_of(&folder(ctx, opened.root).join("labels.csv"))).collect();
        Ok(Inputs::from([("recordings".to_string(), Fingerprint::of_value(&(stamps, labels)))]))
    }

    fn run(&self, ctx: &Ctx, _settings: &Fingerprint, _inputs: &Inputs) -> Result<Done> {
        let opened = open_corpora(ctx)?;
        for root in ctx.pipeline.ingest.corpus.iter().filter(|root| !folder(ctx, root).is_dir()) {
            let place = folder(ctx, root);
            ctx.progress.say(&format!(
                "ingest: corpus `{}` is left out: `{}` is not there",
                root.name,
                place.display()
            ));
        }
        let found = scan(ctx, &opened);
        if found.is_empty() {
            let folders: Vec<String> = opened.iter().map(|one| folder(ctx, one.root).display().to_string()).collect();
            return Err(Error::input("there is no recording").at_place(folders.join("`, `")).hint(format!(
                "recordings end in {}; choose another folder with --corpora",
                audio::EXTENSIONS.join(", ")
            )));
        }
        let channel = ctx.pipeline.features.front_end.channel;
        let cache = Cache::read(&ctx.store, last_of(ctx, self)?.as_ref(), channel)?;
        let meter = ctx.progress.begin("ingest", found.len() as u64);
        let probed: Vec<(ManifestRow, bool)> = ctx.pool.install(|| {
            found
                .par_iter()
                .map_init(Buffers::default, |buffers, found| {
                    let row = cache.get(found).map(|row| (row, true));
                    let row = row.unwrap_or_else(|| (probe(found, channel, buffers), false));
                    meter.advance(1);
                    row
                })
                .collect()
        });
        drop(meter);
        let n_reused = probed.iter().filter(|(_, reused)| *reused).count() as u64;
        let probes: Vec<ManifestRow> = probed.into_iter().map(|(row, _)| row).collect();
        let mut rows = probes.clone();
        for (row, found) in rows.iter_mut().zip(&found) {
            label(row, &opened[found.corpus_idx], Path::new(&found.scanned.relative));
        }
        mark_duplicates(&mut rows);
        place(ctx, &mut rows);
        publish(ctx, channel, &found, &probes, &rows, n_reused, &opened)
    }
}

fn folder(ctx: &Ctx, root: &CorpusRoot) -> PathBuf {
    ctx.corpora.join(&root.root)
}

/// The corpora whose folders are there; those that are not are an error, or left out if the recipe allows it.
fn open_corpora(ctx: &Ctx) -> Result<Vec<Opened<'_>>> {
    let mut opened = Vec::new();
    for root in &ctx.pipeline.ingest.corpus {
        let corpus = corpora::corpus(&root.kind)?;
        let place = folder(ctx, root);
        if !place.is_dir() {
            let missing = Error::input(format!("the folder of corpus `{}` is not there", root.name))
                .at(&place)
                .hint("choose another place with --corpora, or set [ingest] require_all = false");
            if ctx.pipeline.ingest.require_all {
                return Err(missing);
            }
            continue;
        }
        opened.push(Opened { root, corpus, labeller: corpus.open(&place)? });
    }
    if opened.is_empty() {
        return Err(Error::input("no corpus folder is there")
            .at(&ctx.corpora)
            .hint("choose another place with --corpora"));
    }
    Ok(opened)
}

/// All recordings below the corpora, in the order of their ids.
fn scan(ctx: &Ctx, opened: &[Opened]) -> Vec<Found> {
    let skip: BTreeSet<&str> = ctx.pipeline.ingest.skip.iter().map(String::as_str).collect();
    let mut all = Vec::new();
    for (corpus_idx, one) in opened.iter().enumerate() {
        for scanned in recordings_below(&folder(ctx, one.root)) {
            let recording_id = format!("{}/{}", one.root.name, scanned.relative);
            if skip.contains(recording_id.as_str()) {
                continue;
            }
            // A root of `.` adds nothing to a path.
            let path: PathBuf =
                one.root.root.join(&scanned.relative).components().filter(|part| *part != Component::CurDir).collect();
            let path = path.to_string_lossy().replace('\\', "/");
            all.push(Found { recording_id, corpus_idx, path, scanned });
        }
    }
    all.sort_by(|a, b| a.recording_id.cmp(&b.recording_id));
    all
}

fn label(row: &mut ManifestRow, opened: &Opened, relative: &Path) {
    row.corpus = opened.root.name.clone();
    let label = match opened.labeller.label(relative) {
        Ok(label) => label,
        Err(error) => {
            if row.status == Status::Ok {
                row.status = Status::Rejected;
                row.reject_reason = Some(error.reason());
            }
            return;
        }
    };
    let Label { speaker, sex, emotion, emotion_original, intensity, statement, repetition } = label;
    row.speaker = speaker;
    row.sex = sex.map(|sex| sex.name().to_string());
    row.emotion = emotion.map(|emotion| emotion.name().to_string());
    row.emotion_original = emotion_original;
    row.intensity = intensity;
    row.statement = statement;
    row.repetition = repetition;
}

/// Of usable recordings with the same bytes the first by id goes on; the others name it.
fn mark_duplicates(rows: &mut [ManifestRow]) {
    let mut first: HashMap<String, String> = HashMap::new();
    for row in rows.iter_mut().filter(|row| row.status == Status::Ok) {
        let Some(hash) = &row.content_hash else { continue };
        match first.get(hash) {
            Some(original) => row.duplicate_of = Some(original.clone()),
            None => {
                first.insert(hash.clone(), row.recording_id.clone());
            }
        }
    }
}

fn place(ctx: &Ctx, rows: &mut [ManifestRow]) {
    let config = &ctx.pipeline;
    let sides = sides(&config.split, config.pipeline.seed, config.features.copies, rows);
    for row in rows.iter_mut() {
        row.split = sides.get(&row.recording_id).and_then(|copies| copies[0]).map(|side| side.name().to_string());
    }
}

fn publish(
    ctx: &Ctx,
    channel: Channel,
    found: &[Found],
    probes: &[ManifestRow],
    rows: &[ManifestRow],
    n_reused: u64,
    opened: &[Opened],
) -> Result<Done> {
    let mut files = vec![stage_rows(&ctx.store, "ingest", MANIFEST, rows)?];
    files.extend(Cache::stage(&ctx.store, channel, found, probes)?);
    let rejected: Vec<&ManifestRow> = rows.iter().filter(|row| row.status == Status::Rejected).collect();
    for row in rejected.iter().take(20) {
        ctx.progress.say(&format!(
            "ingest: rejected `{}`: {}",
            row.path,
            row.reject_reason.as_deref().unwrap_or_default()
        ));
    }
    if rejected.len() > 20 {
        ctx.progress.say(&format!("ingest: and {} more, see reject_reason in the manifest", rejected.len() - 20));
    }
    let count = |test: &dyn Fn(&ManifestRow) -> bool| rows.iter().filter(|row| test(row)).count();
    let mut summary = Map::new();
    summary.insert("recordings".into(), rows.len().into());
    summary.insert("ok".into(), count(&|row| row.status == Status::Ok).into());
    summary.insert("duplicates".into(), count(&|row| row.duplicate_of.is_some()).into());
    let n_repaired = count(&|row| row.repaired.is_some());
    if n_repaired > 0 {
        ctx.progress.say(&format!("ingest: {n_repaired} recordings were repaired, see repaired in the manifest"));
    }
    summary.insert("repaired".into(), n_repaired.into());
    let mut decoders: BTreeMap<&str, usize> = BTreeMap::new();
    rows.iter().filter_map(|row| row.decoder.as_deref()).for_each(|name| *decoders.entry(name).or_default() += 1);
    summary.insert("decoders".into(), json!(decoders));
    let hours = rows.iter().filter_map(|row| row.duration_s).fold(0.0, |sum, seconds| sum + seconds) / 3600.0;
    summary.insert("hours".into(), json!((hours * 1000.0).round() / 1000.0));
    summary.insert("corpora".into(), opened.iter().map(|one| corpus_summary(ctx, one, rows)).collect());
    Ok(Done {
        output: Fingerprint::of_value(&rows),
        files,
        is_whole: true,
        evidence: evidence_of_split(ctx),
        n_usable: count(&|row| row.goes_on()) as u64,
        n_done: rows.len() as u64 - n_reused,
        n_reused,
        n_rejected: rejected.len() as u64,
        n_unread: 0,
        summary,
    })
}

/// Counts of one corpus beside those of the complete one.
fn corpus_summary(ctx: &Ctx, opened: &Opened, rows: &[ManifestRow]) -> Value {
    let own: Vec<&ManifestRow> = rows.iter().filter(|row| row.corpus == opened.root.name).collect();
    let speakers: BTreeSet<_> = own.iter().filter_map(|row| row.speaker.as_ref()).collect();
    let mut per_emotion = Map::new();
    for emotion in Emotion::ALL {
        let n = own.iter().filter(|row| row.emotion.as_deref() == Some(emotion.name())).count();
        per_emotion.insert(emotion.name().into(), n.into());
    }
    let expected = opened.corpus.expected();
    if let Some(expected) = expected
        && expected.recordings != own.len()
    {
        let (name, n, all) = (&opened.root.name, own.len(), expected.recordings);
        ctx.progress.say(&format!("ingest: corpus `{name}` holds {n} recordings here, {all} when complete"));
    }
    json!({
        "corpus": opened.root.name,
        "kind": opened.corpus.name(),
        "recordings": own.len(),
        "expected": expected.map(|expected| expected.recordings),
        "speakers": speakers.len(),
        "rejected": own.iter().filter(|row| row.status == Status::Rejected).count(),
        "duplicates": own.iter().filter(|row| row.duplicate_of.is_some()).count(),
        "per_emotion": per_emotion,
    })
}
