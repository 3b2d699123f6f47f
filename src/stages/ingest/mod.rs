//! `ingest`: folders of recordings become the manifest, one row per recording, usable or rejected with a reason.
//!
//! A recording is opened again only when its size or one of its times differs from the
//! last run; labels are worked out anew each time, because they cost nothing.

mod probe;
mod said;

use std::collections::{BTreeSet, HashMap};
use std::io::ErrorKind as IoErrorKind;
use std::path::{Component, Path, PathBuf};

use crate::audio;
use crate::config::CorpusRoot;
use crate::corpora::{self, Corpus, Label, Labeller};
use crate::error::{Error, ErrorKind, Result};
use crate::files;
use crate::recordings;
use crate::scan::{Listing, PassedOver, ScannedFile, recordings_below, stamp_of};
use crate::stages::shards::{self, Finish, Job, Seen, Shard, Sharded, shard_id};
use crate::stages::{Ctx, Done, Inputs, Read, Stage, last_of, stage_rows};
use crate::storage::commit::Evidence;
use crate::storage::fingerprint::Fingerprint;
use crate::storage::settings::Settings;
use crate::tables::foreign::columns_as_text;
use crate::tables::manifest::{ManifestRow, Status, sound_key};
use crate::tables::probe_plan::ProbePlanRow;

use probe::{Cache, Probes, Rules};

/// Raised when the same recordings would give other rows.
const REVISION: u32 = 4;
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
struct Opened {
    root: CorpusRoot,
    corpus: &'static dyn Corpus,
    labeller: Box<dyn Labeller>,
    /// Lines of its labels that no recording was found for.
    unmatched: Vec<String>,
    /// Files that are no recordings.
    passed_over: PassedOver,
}

/// All that a run reads: folders, labels, recordings.
struct Scan {
    opened: Vec<Opened>,
    /// Corpora whose folders are not there.
    absent: Vec<CorpusRoot>,
    /// In the order of their ids.
    found: Vec<Found>,
    inputs: Inputs,
}

/// What there is to open.
pub struct IngestPlan {
    scan: Scan,
    rules: Rules,
    /// Of each recording, what is known of it from the last run.
    known: Vec<Option<ManifestRow>>,
    /// The others: ids and rows.
    shards: Vec<(String, Vec<ProbePlanRow>)>,
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
        ctx.pipeline.ingest.corpus.iter().try_for_each(|root| corpora::corpus(&root.kind)?.check(&root.options()))
    }

    fn settings(&self, ctx: &Ctx) -> Settings {
        let rules = Rules::of(&ctx.pipeline);
        Settings::of_revision(REVISION).with("ingest", &ctx.pipeline.ingest).with("ingest.rules", rules)
    }

    fn inputs(&self, ctx: &Ctx, read: &Read) -> Result<Inputs> {
        let mut seen = self.look(ctx, read)?;
        scan(ctx, &mut seen).map(|scan| scan.inputs)
    }

    fn run(&self, ctx: &Ctx, read: &Read, _inputs: &Inputs) -> Result<Done> {
        shards::run(self, ctx, read)
    }
}

impl Sharded for Ingest {
    type Row = ProbePlanRow;
    type Plan = IngestPlan;
    type Made = Probes;

    fn look(&self, ctx: &Ctx, _read: &Read) -> Result<Seen> {
        Ok(Seen { folders: look(ctx)?, ..Seen::default() })
    }

    fn plan(&self, ctx: &Ctx, _read: &Read, seen: &mut Seen) -> Result<IngestPlan> {
        let scan = scan(ctx, seen)?;
        said::before(ctx, &scan);
        if scan.found.is_empty() {
            let folders: Vec<String> = scan.opened.iter().map(|one| files::text_of(&folder(ctx, &one.root))).collect();
            return Err(Error::input("there is no recording").at_place(folders.join("`, `")).hint(format!(
                "recordings end in {}; choose another folder with --corpora",
                audio::EXTENSIONS.join(", ")
            )));
        }
        let rules = Rules::of(&ctx.pipeline);
        let cache = Cache::read(&ctx.store, last_of(ctx, self)?.as_ref(), rules)?;
        let known: Vec<Option<ManifestRow>> = scan.found.iter().map(|found| cache.get(found)).collect();
        let open = scan.found.iter().zip(&known).filter(|(_, known)| known.is_none()).map(|(found, _)| found.to_row());
        let settings = self.settings(ctx).fingerprint();
        let shards = cut(open.collect(), ctx.shard_recordings, &settings);
        Ok(IngestPlan { scan, rules, known, shards })
    }

    fn shards<'p>(&self, plan: &'p IngestPlan) -> Vec<Shard<'p, ProbePlanRow>> {
        plan.shards.iter().map(|(id, rows)| Shard { id, rows }).collect()
    }

    fn make(&self, ctx: &Ctx, _seen: &Seen, jobs: &[Job<ProbePlanRow>], done: Finish<Probes>) -> Result<()> {
        probe::make(ctx, jobs, done)
    }

    fn open(&self, _ctx: &Ctx, file: &Path, id: &str, rows: &[ProbePlanRow]) -> Result<Option<Probes>> {
        probe::open(file, id, rows)
    }

    fn fold(&self, ctx: &Ctx, _read: &Read, plan: IngestPlan, made: Vec<Probes>) -> Result<Done> {
        let IngestPlan { scan, rules, known, .. } = plan;
        let n_unread: u64 = made.iter().map(|made| made.note.n_unread).sum();
        let first = made.iter().find_map(|made| made.note.first_unread.clone());
        let first = first.as_ref().map(|(path, reason)| (path.as_str(), reason.as_str()));
        recordings::check_unread(n_unread as usize, known.len(), first)?;
        let n_reused = known.iter().flatten().count() as u64;
        let mut made = made.into_iter().flat_map(|made| made.rows);
        let probes: Option<Vec<ManifestRow>> = known.into_iter().map(|known| known.or_else(|| made.next())).collect();
        let probes = probes.ok_or_else(|| Error::bug("a recording that was not opened"))?;
        let mut rows = Vec::with_capacity(probes.len());
        for (row, found) in probes.iter().zip(&scan.found) {
            let opened = &scan.opened[found.corpus_idx];
            rows.extend(labelled(row.clone(), opened, Path::new(&found.scanned.relative)));
        }
        mark_duplicates(&mut rows);
        let mut files = vec![stage_rows(&ctx.store, "ingest", MANIFEST, &rows)?];
        files.extend(Cache::stage(&ctx.store, rules, &scan.found, &probes)?);
        Ok(Done {
            output: Fingerprint::of_value(&rows),
            files,
            is_whole: true,
            evidence: Evidence::default(),
            // What the driver looked at may have changed since.
            inputs: Some(scan.inputs.clone()),
            n_usable: rows.iter().filter(|row| row.is_eligible()).count() as u64,
            n_done: scan.found.len() as u64 - n_reused,
            n_reused,
            n_rejected: rows.iter().filter(|row| row.status == Status::Rejected).count() as u64,
            n_unread,
            summary: said::after(ctx, &scan.opened, &rows, n_unread),
        })
    }
}

/// Recordings that must be opened, as shards.
fn cut(open: Vec<ProbePlanRow>, shard_recordings: usize, settings: &Fingerprint) -> Vec<(String, Vec<ProbePlanRow>)> {
    let mut open = open.into_iter().peekable();
    let mut shards = Vec::new();
    while open.peek().is_some() {
        let rows: Vec<ProbePlanRow> = open.by_ref().take(shard_recordings).collect();
        let fingerprints: Vec<Fingerprint> = rows.iter().map(Fingerprint::of_value).collect();
        shards.push((shard_id(settings, &fingerprints), rows));
    }
    shards
}

fn folder(ctx: &Ctx, root: &CorpusRoot) -> PathBuf {
    ctx.corpora.join(&root.root)
}

/// Whether a folder is there; one that cannot be looked at is an error and not missing.
fn is_folder(place: &Path) -> Result<bool> {
    match files::again(|| std::fs::metadata(place)) {
        Ok(metadata) => Ok(metadata.is_dir()),
        Err(error) if matches!(error.kind(), IoErrorKind::NotFound | IoErrorKind::NotADirectory) => Ok(false),
        Err(error) => Err(Error::reading_named(ErrorKind::Input, "cannot be looked at", error).at(place)),
    }
}

/// Lists all folders once; those that are not there are an error, or left out if the recipe allows it.
fn look(ctx: &Ctx) -> Result<Vec<(String, Listing)>> {
    let mut folders = Vec::new();
    for root in &ctx.pipeline.ingest.corpus {
        let place = folder(ctx, root);
        if is_folder(&place)? {
            folders.push((root.name.clone(), recordings_below(&place)?));
        } else if ctx.pipeline.ingest.require_all {
            return Err(Error::input(format!("the folder of corpus `{}` is not there", root.name))
                .at(&place)
                .hint("choose another place with --corpora, or set [ingest] require_all = false"));
        }
    }
    if folders.is_empty() {
        return Err(Error::input("no corpus folder is there")
            .at(&ctx.corpora)
            .hint("choose another place with --corpora"));
    }
    Ok(folders)
}

/// Opens the labels of all folders that were listed, and gives each recording its id. The listings are taken.
fn scan(ctx: &Ctx, seen: &mut Seen) -> Result<Scan> {
    let skip: BTreeSet<&str> = ctx.pipeline.ingest.skip.iter().map(String::as_str).collect();
    let (mut opened, mut absent, mut found, mut labels) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut listings: HashMap<String, Listing> = std::mem::take(&mut seen.folders).into_iter().collect();
    for root in &ctx.pipeline.ingest.corpus {
        let corpus = corpora::corpus(&root.kind)?;
        let Some(Listing { recordings: scanned, mut passed_over }) = listings.remove(&root.name) else {
            absent.push(root.clone());
            continue;
        };
        // A table of labels is no recording, but rows follow from it. Its stamp is older than what is read of it.
        let (options, place) = (root.options(), folder(ctx, root));
        let table = place.join(options.table_path());
        labels.push(stamp_of(&table)?);
        let labeller = corpus.open(&place, &options, columns_as_text)?;
        if !corpus.has_own_speakers() && labels.last().is_some_and(Option::is_some) {
            passed_over.leave_out(&table);
        }
        let unmatched = labeller.unmatched(&scanned.iter().map(|scanned| scanned.relative.as_str()).collect());
        let rows = scanned.into_iter().map(|scanned| row_of(root, opened.len(), scanned));
        found.extend(rows.filter(|found| !skip.contains(found.recording_id.as_str())));
        opened.push(Opened { root: root.clone(), corpus, labeller, unmatched, passed_over });
    }
    found.sort_by(|a, b| a.recording_id.cmp(&b.recording_id));
    let stamps: Vec<_> =
        found.iter().map(|found| (&found.recording_id, found.scanned.stamp, &found.scanned.obstacle)).collect();
    let inputs = Inputs::from([("recordings".to_string(), Fingerprint::of_value(&(stamps, labels)))]);
    Ok(Scan { opened, absent, found, inputs })
}

/// A file that was found, and the names that its row will have.
fn row_of(root: &CorpusRoot, corpus_idx: usize, scanned: ScannedFile) -> Found {
    let recording_id = format!("{}/{}", root.name, scanned.relative);
    // A root of `.` adds nothing to a path.
    let path = root.root.join(files::path_of(&scanned.relative));
    let path: PathBuf = path.components().filter(|part| *part != Component::CurDir).collect();
    Found { recording_id, corpus_idx, path: files::text_of(&path), scanned }
}

impl Found {
    /// What a shard says of it.
    fn to_row(&self) -> ProbePlanRow {
        let ScannedFile { stamp, obstacle, .. } = &self.scanned;
        ProbePlanRow {
            recording_id: self.recording_id.clone(),
            path: self.path.clone(),
            file_size: stamp.size,
            changed_ns: stamp.changed_ns,
            status_ns: stamp.status_ns,
            obstacle: obstacle.as_ref().map(|obstacle| obstacle.reason.clone()),
            may_pass: obstacle.as_ref().is_some_and(|obstacle| obstacle.may_pass),
        }
    }
}

/// The rows of a recording: one, or one for each part that its corpus labels; what is wrong with a label is a reason.
fn labelled(row: ManifestRow, opened: &Opened, relative: &Path) -> Vec<ManifestRow> {
    let row = ManifestRow { corpus: opened.root.name.clone(), ..row };
    match opened.labeller.labels(relative) {
        Ok(labels) => labels.into_iter().map(|label| with_label(row.clone(), label, opened)).collect(),
        Err(_) if row.status == Status::Rejected => vec![row],
        Err(error) => {
            vec![ManifestRow { status: Status::Rejected, reject_reason: Some(error.reason()), ..row }]
        }
    }
}

fn with_label(row: ManifestRow, label: Label, opened: &Opened) -> ManifestRow {
    let recording_id = match label.start_s.zip(label.end_s) {
        Some((start_s, end_s)) => format!("{}#{start_s}-{end_s}", row.recording_id),
        None => row.recording_id.clone(),
    };
    let speaker = match opened.corpus.has_own_speakers() {
        true => label.speaker,
        false => label.speaker.map(|speaker| format!("{}-{speaker}", row.corpus)),
    };
    ManifestRow {
        recording_id,
        speaker,
        sex: label.sex.map(|sex| sex.name().to_string()),
        age: label.age,
        language: label.language,
        emotion: label.emotion,
        emotion_original: label.emotion_original,
        intensity: label.intensity,
        statement: label.statement,
        repetition: label.repetition,
        given_split: label.split,
        given_fold: label.fold,
        start_s: label.start_s,
        end_s: label.end_s,
        ..row
    }
}

/// Of usable recordings with the same sound the first by id goes on; the others name it.
fn mark_duplicates(rows: &mut [ManifestRow]) {
    let mut first: HashMap<String, String> = HashMap::new();
    for row in rows.iter_mut().filter(|row| row.status == Status::Ok) {
        let Some(hash) = &row.content_hash else { continue };
        let sound = sound_key(hash, row.start_s, row.end_s);
        match first.get(&sound) {
            Some(original) => row.duplicate_of = Some(original.clone()),
            None => {
                first.insert(sound, row.recording_id.clone());
            }
        }
    }
}
