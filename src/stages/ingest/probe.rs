//! What the bytes of one recording say, and the memory of it between two runs.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Instant;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{Found, REVISION};
use crate::audio::{Budget, Channel};
use crate::config::Pipeline;
use crate::error::{Error, ErrorKind, Result};
use crate::files;
use crate::progress::Meter;
use crate::recordings::{Buffers, Reader};
use crate::scan::{Obstacle, Stamp};
use crate::stages::shards::part::{Note, open_part, stage_part};
use crate::stages::shards::{Counted, Counts, Finish, Finished, Job};
use crate::stages::{Ctx, stage_bytes, stage_rows};
use crate::storage::commit::Commit;
use crate::storage::layout::Store;
use crate::storage::publish::{OutFile, stem_of};
use crate::tables::manifest::{ManifestRow, Status};
use crate::tables::probe_plan::ProbePlanRow;
use crate::tables::{TableFile, TableWriter};
use crate::units::{Bytes, SampleRate};

/// What of a recipe decides what is said of a recording, beside its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rules {
    /// Levels are those of this channel.
    channel: Channel,
    /// Memory that a recording may take.
    limit: u64,
    /// The rate that it would be taken to.
    rate: SampleRate,
}

impl Rules {
    pub(super) fn of(pipeline: &Pipeline) -> Self {
        let front_end = &pipeline.features.front_end;
        Self { channel: front_end.channel, limit: pipeline.recording_limit().0, rate: front_end.sample_rate }
    }

    fn reader(&self) -> Reader {
        Reader { channel: self.channel, budget: Budget::new(Bytes(self.limit), self.rate) }
    }
}

/// What the bytes of a shard's recordings say.
pub struct Probes {
    /// In the order of the plan; labels are not in them.
    pub(super) rows: Vec<ManifestRow>,
    pub(super) note: Note,
    n_bytes: u64,
}

impl Counted for Probes {
    fn counts(&self) -> Counts {
        let n_rejected = self.rows.iter().filter(|row| row.status == Status::Rejected).count() as u64;
        Counts { n_rows: self.rows.len() as u64, n_rejected, n_unread: self.note.n_unread, n_bytes: self.n_bytes }
    }
}

/// Opens the recordings of shards, side by side on the pool.
pub(super) fn make(ctx: &Ctx, jobs: &[Job<ProbePlanRow>], done: Finish<Probes>) -> Result<()> {
    let rules = Rules::of(&ctx.pipeline);
    let meter = ctx.progress.begin("ingest", jobs.iter().map(|job| job.n_rows as u64).sum());
    ctx.pool.install(|| {
        jobs.par_iter().enumerate().with_max_len(1).try_for_each(|(at, job)| {
            let (clock, rows) = (Instant::now(), job.rows()?);
            let finished = |was_there| Finished { was_there, seconds: clock.elapsed().as_secs_f64() };
            if let Some(made) = job.waits(|file| open(file, job.id, &rows))? {
                meter.advance(rows.len() as u64);
                return done(at, made, finished(true));
            }
            let mut made = probe_all(ctx, &rows, &rules, meter.as_ref())?;
            if job.is_kept {
                let (key, note) = made.note.entry()?;
                let content = stage_part(job, |out| {
                    let mut writer = TableWriter::<ManifestRow>::new(out)?;
                    made.rows.chunks(1024).try_for_each(|rows| writer.write(rows))?;
                    writer.note(key, &note);
                    writer.finish()
                })?;
                made.n_bytes = content.n_bytes;
            }
            done(at, made, finished(false))
        })
    })
}

fn probe_all(ctx: &Ctx, rows: &[ProbePlanRow], rules: &Rules, meter: &dyn Meter) -> Result<Probes> {
    let look = |buffers: &mut Buffers, row: &ProbePlanRow| {
        let probed = probe(row, &ctx.corpora.join(files::path_of(&row.path)), rules, buffers);
        meter.advance(1);
        probed
    };
    let probed: Vec<(ManifestRow, bool)> = rows.par_iter().map_init(Buffers::default, look).collect::<Result<_>>()?;
    let mut note = Note { n_done: rows.len() as u64, ..Note::default() };
    for (row, _) in probed.iter().filter(|(_, is_unread)| *is_unread) {
        note.unread(&row.path, row.reject_reason.as_deref().unwrap_or_default());
    }
    Ok(Probes { rows: probed.into_iter().map(|(row, _)| row).collect(), note, n_bytes: 0 })
}

/// A finished shard that waits in `file`, if it is whole and of these rows.
pub(super) fn open(file: &Path, id: &str, rows: &[ProbePlanRow]) -> Result<Option<Probes>> {
    let Some((found, note, content)) = open_part(file, id, TableFile::rows::<ManifestRow>)? else { return Ok(None) };
    let is_of_rows = found.iter().map(|row| &row.recording_id).eq(rows.iter().map(|row| &row.recording_id));
    Ok(is_of_rows.then_some(Probes { rows: found, note, n_bytes: content.n_bytes }))
}

/// Everything about a recording that its bytes alone say, and whether the machine failed at it: then the reason of its row may be
/// gone the next time.
///
/// Errors: those for which no recording is to blame.
fn probe(plan: &ProbePlanRow, file: &Path, rules: &Rules, buffers: &mut Buffers) -> Result<(ManifestRow, bool)> {
    let mut row = ManifestRow {
        recording_id: plan.recording_id.clone(),
        path: plan.path.clone(),
        file_size: plan.file_size,
        ..ManifestRow::default()
    };
    let Err(error) = fill(&mut row, plan, file, rules, buffers) else { return Ok((row, false)) };
    let is_unread = match error.kind() {
        ErrorKind::Recording => false,
        ErrorKind::Unreadable => true,
        _ => return Err(error.or_at(file)),
    };
    Ok((reject(row, error.reason()), is_unread))
}

/// Fills what can be said, until an error says why no more can.
fn fill(row: &mut ManifestRow, plan: &ProbePlanRow, file: &Path, rules: &Rules, buffers: &mut Buffers) -> Result<()> {
    if let Some(reason) = &plan.obstacle {
        Obstacle { reason: reason.clone(), may_pass: plan.may_pass }.check()?;
    }
    let content_hash = rules.reader().read(file, buffers)?;
    row.content_hash = Some(content_hash.to_hex().to_string());
    let opened = rules.reader().decode(None, buffers)?;
    let (decoded, n_samples, levels) = (&opened.decoded, opened.n_samples(), opened.levels());
    row.container = Some(decoded.container.clone());
    row.codec = Some(decoded.codec.clone());
    row.decoder = Some(decoded.decoder.to_string());
    row.repaired = decoded.repaired.clone();
    row.sample_rate_hz = Some(decoded.sample_rate.0);
    row.n_channels = Some(u32::from(decoded.n_channels));
    row.bits_per_sample = decoded.bits_per_sample.map(u32::from);
    row.n_samples = Some(n_samples as u64);
    row.duration_s = Some(decoded.sample_rate.seconds(n_samples));
    row.rms_dbfs = Some(levels.rms_dbfs);
    row.peak_dbfs = Some(levels.peak_dbfs);
    row.clipped_fraction = Some(levels.clipped_fraction);
    row.leading_silence_s = Some(levels.leading_silence_s);
    row.trailing_silence_s = Some(levels.trailing_silence_s);
    opened.heard().map(|_| ())
}

fn reject(mut row: ManifestRow, reason: String) -> ManifestRow {
    row.status = Status::Rejected;
    row.reject_reason = Some(reason);
    row
}

/// What is kept of the last scan so that unchanged recordings are not opened again.
#[derive(Serialize, Deserialize)]
struct CacheFile {
    revision: u32,
    rules: Rules,
    stamps: BTreeMap<String, Stamp>,
}

pub(super) struct Cache {
    /// Those of today, and whether the cache was made with the same.
    rules: Rules,
    has_same_rules: bool,
    stamps: BTreeMap<String, Stamp>,
    rows: HashMap<String, ManifestRow>,
}

const STAMPS: &str = "stamps.json";
const PROBES: &str = "probes";

impl Cache {
    /// The cache that `last` committed. It only saves work: one that is gone, damaged or of other settings is an empty one.
    ///
    /// Errors: the machine failed at it, so that all recordings would be opened again.
    pub(super) fn read(store: &Store, last: Option<&Commit>, rules: Rules) -> Result<Self> {
        let mut cache = Self { rules, has_same_rules: false, stamps: BTreeMap::new(), rows: HashMap::new() };
        let committed =
            |path: &str| last.into_iter().flat_map(|last| &last.files).find(|file| stem_of(&file.path) == path);
        let (stamps, probes) = (store.relative(&store.side_index("ingest", STAMPS)), probes_path(store));
        let (Some(stamps), Some(probes)) = (committed(&stamps), committed(&probes)) else { return Ok(cache) };
        let read = stamps.read(store, "ingest").and_then(|text| {
            let file = serde_json::from_slice::<CacheFile>(&text);
            let file = file.map_err(|error| Error::input("the stamps are damaged").because(error))?;
            Ok((file, TableFile::committed(store, probes, "ingest")?.rows::<ManifestRow>()?))
        });
        let Some((file, rows)) = unless_damaged(read)? else { return Ok(cache) };
        if file.revision != REVISION || file.rules.channel != rules.channel {
            return Ok(cache);
        }
        cache.has_same_rules = file.rules == rules;
        cache.stamps = file.stamps;
        cache.rows = rows.into_iter().map(|row| (row.recording_id.clone(), row)).collect();
        Ok(cache)
    }

    /// The row of a recording that was read before and has not changed.
    pub(super) fn get(&self, found: &Found) -> Option<ManifestRow> {
        // A file that could not be read may be readable now, though its stamp is the same.
        let row = self.rows.get(&found.recording_id).filter(|row| row.content_hash.is_some())?;
        let same =
            self.stamps.get(&found.recording_id) == Some(&found.scanned.stamp) && found.scanned.obstacle.is_none();
        let still_fits = match (row.n_samples, row.sample_rate_hz) {
            (Some(n_samples), Some(rate)) => {
                self.rules.reader().budget.holding(row.file_size).check(n_samples, SampleRate(rate)).is_ok()
            }
            _ => self.has_same_rules,
        };
        (same && still_fits && row.path == found.path).then(|| row.clone())
    }

    /// Writes the cache of this run, as files of the stage's output.
    pub(super) fn stage(store: &Store, rules: Rules, found: &[Found], probes: &[ManifestRow]) -> Result<[OutFile; 2]> {
        let stamps = found.iter().map(|found| (found.recording_id.clone(), found.scanned.stamp)).collect();
        let file = CacheFile { revision: REVISION, rules, stamps };
        let text = serde_json::to_vec(&file).map_err(|error| Error::bug("stamps have no JSON form").because(error))?;
        let mut rows = stage_rows(store, "ingest", PROBES, probes)?;
        // The rows are a manifest's, the place is private.
        rows.record.path = format!("{}-{}.parquet", probes_path(store), rows.record.content.short());
        let stamps = store.relative(&store.side_index("ingest", STAMPS));
        Ok([rows, stage_bytes(store, "ingest", stamps, &text)?])
    }
}

/// Path of the probes in the store, but for their hash.
fn probes_path(store: &Store) -> String {
    store.relative(&store.side_index("ingest", PROBES))
}

/// What was read, or nothing where the file is missing or damaged and can be made again; the machine's errors stay errors.
fn unless_damaged<T>(read: Result<T>) -> Result<Option<T>> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if matches!(error.kind(), ErrorKind::Machine | ErrorKind::Unreadable | ErrorKind::Bug) => Err(error),
        Err(_) => Ok(None),
    }
}
