//! What the bytes of one recording say, and the memory of it between two runs.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Found, REVISION};
use crate::audio::{self, Channel};
use crate::error::{Error, Result};
use crate::scan::Stamp;
use crate::storage::atomic;
use crate::storage::layout::Store;
use crate::tables::manifest::{ManifestRow, Status};
use crate::tables::{publish_rows, read_rows};

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
    /// An unreadable cache is an empty one: it only saves work.
    pub(super) fn read(store: &Store, channel: Channel) -> Self {
        let nothing = Self { stamps: BTreeMap::new(), rows: HashMap::new() };
        let Ok(text) = std::fs::read(store.side_index("ingest", STAMPS)) else { return nothing };
        let Ok(file) = serde_json::from_slice::<CacheFile>(&text) else { return nothing };
        let Ok(rows) = read_rows::<ManifestRow>(&store.side_index("ingest", PROBES)) else { return nothing };
        if file.revision != REVISION || file.channel != channel {
            return nothing;
        }
        Self { stamps: file.stamps, rows: rows.into_iter().map(|row| (row.recording_id.clone(), row)).collect() }
    }

    pub(super) fn get(&self, found: &Found) -> Option<ManifestRow> {
        // A file that could not be read may be readable now, though its stamp is the same.
        let row = self.rows.get(&found.recording_id).filter(|row| row.content_hash.is_some())?;
        let same =
            self.stamps.get(&found.recording_id) == Some(&found.scanned.stamp) && found.scanned.unreadable.is_none();
        (same && row.path == found.path).then(|| row.clone())
    }

    pub(super) fn publish(store: &Store, channel: Channel, found: &[Found], probes: &[ManifestRow]) -> Result<()> {
        let staging = store.staging("ingest");
        let stamps = found.iter().map(|found| (found.recording_id.clone(), found.scanned.stamp)).collect();
        let file = CacheFile { revision: REVISION, channel, stamps };
        let text = serde_json::to_vec(&file).map_err(|error| Error::bug("stamps have no JSON form").because(error))?;
        publish_rows(&staging, &store.side_index("ingest", PROBES), probes)?;
        atomic::publish_bytes(&staging, &store.side_index("ingest", STAMPS), &text)
    }
}
