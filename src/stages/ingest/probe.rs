//! What the bytes of one recording say, and the memory of it between two runs.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Found, REVISION};
use crate::audio::{self, Channel};
use crate::error::{Error, ErrorKind, Result};
use crate::scan::Stamp;
use crate::stages::{stage_bytes, stage_rows};
use crate::storage::commit::Commit;
use crate::storage::layout::Store;
use crate::storage::publish::{OutFile, stem_of};
use crate::tables::TableFile;
use crate::tables::manifest::{ManifestRow, Status};

/// Bytes and samples of the recording that a thread is at; first use of fresh memory would cost more than the decoding.
#[derive(Default)]
pub(super) struct Buffers {
    bytes: Vec<u8>,
    samples: Vec<f32>,
}

impl Buffers {
    /// The file's bytes, read once.
    fn read(&mut self, file: &Path) -> std::io::Result<()> {
        self.bytes.clear();
        self.bytes.shrink_to(size_of::<f32>() * audio::KEPT_SAMPLES);
        self.samples.clear();
        self.samples.shrink_to(audio::KEPT_SAMPLES);
        File::open(file)?.read_to_end(&mut self.bytes).map(|_| ())
    }
}

/// Everything about a recording that its bytes alone say.
pub(super) fn probe(found: &Found, channel: Channel, buffers: &mut Buffers) -> ManifestRow {
    let mut row = ManifestRow {
        recording_id: found.recording_id.clone(),
        path: found.path.clone(),
        file_size: found.scanned.stamp.size,
        ..ManifestRow::default()
    };
    if let Some(reason) = &found.scanned.unreadable {
        return reject(row, reason.clone());
    }
    if let Err(error) = buffers.read(&found.scanned.file) {
        return reject(row, format!("cannot be read: {error}"));
    }
    let Buffers { bytes, samples } = buffers;
    row.content_hash = Some(blake3::hash(bytes).to_hex().to_string());
    let decoded = match audio::decode(bytes, channel, samples) {
        Ok(decoded) => decoded,
        Err(error) => return reject(row, error.reason()),
    };
    let levels = audio::levels(samples, decoded.sample_rate);
    row.container = Some(decoded.container.clone());
    row.codec = Some(decoded.codec.clone());
    row.decoder = Some(decoded.decoder.to_string());
    row.repaired = decoded.repaired.clone();
    row.sample_rate_hz = Some(decoded.sample_rate.0);
    row.n_channels = Some(u32::from(decoded.n_channels));
    row.bits_per_sample = decoded.bits_per_sample.map(u32::from);
    row.n_samples = Some(samples.len() as u64);
    row.duration_s = Some(decoded.sample_rate.seconds(samples.len()));
    row.rms_dbfs = Some(levels.rms_dbfs);
    row.peak_dbfs = Some(levels.peak_dbfs);
    row.clipped_fraction = Some(levels.clipped_fraction);
    row.leading_silence_s = Some(levels.leading_silence_s);
    row.trailing_silence_s = Some(levels.trailing_silence_s);
    if audio::is_silent(&levels) {
        let peak = levels.peak_dbfs;
        return reject(row, format!("silent: its peak is {peak:.1} dBFS"));
    }
    row
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
    /// Levels are those of this channel.
    channel: Channel,
    stamps: BTreeMap<String, Stamp>,
}

pub(super) struct Cache {
    stamps: BTreeMap<String, Stamp>,
    rows: HashMap<String, ManifestRow>,
}

const STAMPS: &str = "stamps.json";
const PROBES: &str = "probes";

impl Cache {
    /// The cache that `last` committed. It only saves work: one that is gone, damaged or of other settings is an empty one.
    ///
    /// Errors: where the machine fails to read it.
    pub(super) fn read(store: &Store, last: Option<&Commit>, channel: Channel) -> Result<Self> {
        let nothing = Self { stamps: BTreeMap::new(), rows: HashMap::new() };
        let committed =
            |path: &str| last.into_iter().flat_map(|last| &last.files).find(|file| stem_of(&file.path) == path);
        let (stamps, probes) = (store.relative(&store.side_index("ingest", STAMPS)), probes_path(store));
        let (Some(stamps), Some(probes)) = (committed(&stamps), committed(&probes)) else { return Ok(nothing) };
        let read = stamps.read(store, "ingest").and_then(|text| {
            let file = serde_json::from_slice::<CacheFile>(&text);
            let file = file.map_err(|error| Error::input("the stamps are damaged").because(error))?;
            Ok((file, TableFile::committed(store, probes, "ingest")?.rows::<ManifestRow>()?))
        });
        let (file, rows) = match read {
            Err(error) if error.kind() == ErrorKind::Input => return Ok(nothing),
            read => read?,
        };
        if file.revision != REVISION || file.channel != channel {
            return Ok(nothing);
        }
        let rows = rows.into_iter().map(|row| (row.recording_id.clone(), row)).collect();
        Ok(Self { stamps: file.stamps, rows })
    }

    pub(super) fn get(&self, found: &Found) -> Option<ManifestRow> {
        // A file that could not be read may be readable now, though its stamp is the same.
        let row = self.rows.get(&found.recording_id).filter(|row| row.content_hash.is_some())?;
        let same =
            self.stamps.get(&found.recording_id) == Some(&found.scanned.stamp) && found.scanned.unreadable.is_none();
        (same && row.path == found.path).then(|| row.clone())
    }

    /// Writes the cache of this run, as files of the stage's output.
    pub(super) fn stage(
        store: &Store,
        channel: Channel,
        found: &[Found],
        probes: &[ManifestRow],
    ) -> Result<[OutFile; 2]> {
        let stamps = found.iter().map(|found| (found.recording_id.clone(), found.scanned.stamp)).collect();
        let file = CacheFile { revision: REVISION, channel, stamps };
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
