//! `features`: one row per recording and copy, with its log-mel spectrogram.

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use parquet::arrow::arrow_writer::{ArrowRowGroupWriterFactory, compute_leaves};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::writer::SerializedFileWriter;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::signal::float16::{narrow, widen};
use crate::storage::atomic::Out;
use crate::storage::fingerprint::Fingerprint;
use crate::tables::blob_pages::{PageSink, bytes_of};
use crate::tables::feature_index::FeatureIndexRow;
use crate::tables::manifest::Status;
use crate::tables::{ROW_GROUP_ROWS, Row, arrow_writer, blob_pages, cannot_write, to_batch};

/// See `schemas/features.toml`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FeatureRow {
    pub recording_id: String,
    pub corpus: String,
    pub content_hash: String,
    pub copy: u32,
    pub augmentation: Option<String>,
    pub variant: Option<String>,
    pub snr_db: Option<f64>,
    pub n_mels: u32,
    pub n_frames: u32,
    pub valid_frames: u32,
    pub pad_fraction: f64,
    pub truncated: bool,
    pub mel_mean: Option<f64>,
    pub mel_std: Option<f64>,
    pub mel_min: Option<f64>,
    pub mel_max: Option<f64>,
    #[serde(with = "serde_bytes")]
    pub log_mel: Option<Vec<u8>>,
    pub fingerprint: String,
    pub status: Status,
    pub reject_reason: Option<String>,
}

impl Row for FeatureRow {
    const SCHEMA: &'static str = include_str!("../../schemas/features.toml");
}

/// Writes rows whose spectrograms are still f32, a row group at a time.
///
/// A spectrogram is narrowed to where its page is written from: no copy of it is made but the system's own.
/// Proof: `blobs_come_back_from_every_reader`.
pub struct FeatureWriter<'a> {
    schema: SchemaRef,
    file: SerializedFileWriter<PageSink<'a>>,
    columns: ArrowRowGroupWriterFactory,
    n_groups: usize,
    /// Which column holds the spectrograms.
    blobs: usize,
    rows: Vec<FeatureRow>,
    /// Of the rows that have been written.
    index: Vec<FeatureIndexRow>,
}

impl<'a> FeatureWriter<'a> {
    /// Begins a file in `out`.
    pub fn new(out: &'a mut Out) -> Result<Self> {
        Self::in_memory_of(Vec::new(), out)
    }

    /// [`FeatureWriter::new`], in the memory that the writer of another file gave back.
    pub fn in_memory_of(narrow: Vec<u16>, out: &'a mut Out) -> Result<Self> {
        let (schema, writer) = arrow_writer::<FeatureRow, _>(PageSink::new(narrow, out))?;
        let (file, columns) = writer.into_serialized_writer().map_err(cannot_write)?;
        let blobs =
            schema.index_of("log_mel").map_err(|error| Error::bug("no column of spectrograms").because(error))?;
        Ok(Self { schema, file, columns, n_groups: 0, blobs, rows: Vec::new(), index: Vec::new() })
    }

    /// Adds an entry to the file's own key-value metadata.
    pub fn note(&mut self, key: &str, text: &str) {
        self.file.append_key_value_metadata(KeyValue::new(key.to_string(), text.to_string()));
    }

    /// Rows that have been added and not been written.
    pub fn n_rows(&self) -> usize {
        self.rows.len()
    }

    /// Adds a row with its spectrogram; what stands in its own field `log_mel` is not looked at.
    pub fn push(&mut self, row: FeatureRow, log_mel: Option<&[f32]>) {
        let sink = self.file.inner_mut();
        match log_mel {
            Some(log_mel) => sink.push(log_mel.len(), |bits| narrow(log_mel, bits)),
            None => sink.push_none(),
        }
        self.rows.push(FeatureRow { log_mel: None, ..row });
    }

    /// Takes back all but the first `n_rows` of the rows that have not been written.
    pub fn take_back(&mut self, n_rows: usize) {
        self.rows.truncate(n_rows);
        self.file.inner_mut().truncate(n_rows);
    }

    /// Writes the rows when there are enough for a row group; they can then not be taken back.
    pub fn write_full_group(&mut self) -> Result<()> {
        if self.rows.len() < ROW_GROUP_ROWS { Ok(()) } else { self.write() }
    }

    /// Ends the file; gives the memory of a row group back, and what the index must know of each row.
    pub fn finish(mut self) -> Result<(Vec<u16>, Vec<FeatureIndexRow>)> {
        self.write()?;
        self.file.finish().map_err(cannot_write)?;
        Ok((self.file.inner_mut().take_memory(), self.index))
    }

    fn write(&mut self) -> Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let batch = to_batch(&self.schema, &self.rows)?;
        self.write_group(&batch).map_err(cannot_write)?;
        self.n_groups += 1;
        let placed = self.file.inner_mut().take_placed();
        self.index.extend(self.rows.iter().zip(placed).map(|(row, placed)| FeatureIndexRow {
            offset: placed.map(|placed| placed.offset),
            crc32: placed.map(|placed| placed.crc32),
            ..FeatureIndexRow::of(row, "", "")
        }));
        self.rows.clear();
        self.file.inner_mut().truncate(0);
        Ok(())
    }

    fn write_group(&mut self, batch: &RecordBatch) -> std::result::Result<(), ParquetError> {
        let writers = self.columns.create_column_writers(self.n_groups)?;
        let about = self.file.schema_descr().columns().to_vec();
        let mut chunks = Vec::with_capacity(writers.len());
        for (index, mut writer) in writers.into_iter().enumerate() {
            if index == self.blobs {
                chunks.push(None);
                continue;
            }
            for leaf in compute_leaves(self.schema.field(index), batch.column(index))? {
                writer.write(&leaf)?;
            }
            chunks.push(Some(writer.close()?));
        }
        let before = chunks[..self.blobs].iter().flatten();
        let n_before: i64 = before.map(|chunk| chunk.close().metadata.compressed_size()).sum();
        let start = self.file.bytes_written() + n_before as usize;
        // Of the row group before, some bytes may still lie in the writer's buffer.
        self.file.flush()?;
        let plan = self.file.inner_mut().plan(start)?;
        let mut group = self.file.next_row_group()?;
        for (chunk, about) in chunks.into_iter().zip(about) {
            match chunk {
                Some(chunk) => chunk.append_to_row_group(&mut group)?,
                None => blob_pages::append(&mut group, about, &plan)?,
            }
        }
        group.close().map(|_| ())
    }
}

/// What the spectrogram of an original is made from: its front end's definition, the recording's content, and what part of it.
pub fn variant_of_original(fingerprint: &str, content_hash: &str, start_s: Option<f64>, end_s: Option<f64>) -> String {
    let part = start_s.zip(end_s).map(|(start_s, end_s)| format!("{start_s}-{end_s}"));
    Fingerprint::of([fingerprint, content_hash, part.as_deref().unwrap_or_default()]).to_string()
}

/// Stored form of a spectrogram: little-endian float16, C order.
pub fn to_blob(log_mel: &[f32]) -> Vec<u8> {
    let mut bits = vec![0; log_mel.len()];
    narrow(log_mel, &mut bits);
    bytes_of(&bits).to_vec()
}

/// Fills `log_mel` from its stored form; a blob of another size is an error.
pub fn from_blob(blob: &[u8], log_mel: &mut [f32]) -> Result<()> {
    if blob.len() != 2 * log_mel.len() {
        return Err(Error::input(format!(
            "a spectrogram of {} bytes where {} were expected",
            blob.len(),
            2 * log_mel.len()
        )));
    }
    let mut bits = [0; 512];
    for (values, bytes) in log_mel.chunks_mut(bits.len()).zip(blob.chunks(2 * bits.len())) {
        let bits = &mut bits[..values.len()];
        bits.iter_mut().zip(bytes.as_chunks().0).for_each(|(bits, bytes)| *bits = u16::from_ne_bytes(*bytes));
        widen(bits, values);
    }
    Ok(())
}

#[cfg(test)]
impl FeatureRow {
    pub(crate) fn example() -> Self {
        Self {
            recording_id: "a/b.wav".into(),
            log_mel: Some(to_blob(&[1.5, -23.0])),
            snr_db: Some(15.0),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;
    use crate::storage::atomic;
    use crate::tables::blobs::BlobFile;
    use crate::tables::feature_index::index_of_shard;
    use crate::tables::{publish_rows, read_rows};

    #[test]
    fn a_blob_comes_back_within_half_a_unit_of_float16() {
        let log_mel: Vec<f32> = (0..1000).map(|i| -23.0 + 0.03 * i as f32).collect();
        let mut back = vec![0.0; 1000];
        from_blob(&to_blob(&log_mel), &mut back).expect("same size");
        // Between 16 and 32 float16 has steps of 1/64; rounding errs by half a step at most.
        assert!(log_mel.iter().zip(&back).all(|(a, b)| (a - b).abs() <= 1.0 / 128.0));
        assert_eq!(to_blob(&[1.0]), [0x00, 0x3c]);
        // One by one by arithmetic, many by the processor's own instruction: halves of a step go to the even one in both.
        let ties: Vec<f32> = (0..100u16).map(|i| 16.0 + f32::from(i) / 128.0).collect();
        let one_by_one: Vec<u8> = ties.iter().flat_map(|&value| f16::from_f32_const(value).to_le_bytes()).collect();
        assert_eq!(to_blob(&ties), one_by_one);
        assert!(from_blob(&[0; 6], &mut back).is_err());
    }

    /// Pages carry the format's own CRC, for readers that know nothing of commits.
    fn other_readers_notice_a_flipped_bit(path: &std::path::Path) {
        let bytes = std::fs::read(path).expect("read");
        // The third value of the fifth blob's first kind, wherever it lies: blobs are plain.
        let blob = to_blob(&(0..2_000).map(|i| (4 * 7 + i) as f32 * 0.01 - 20.0).collect::<Vec<f32>>());
        let Some(at) = bytes.windows(blob.len()).position(|window| window == blob) else { return };
        for bit in [0, 7] {
            let mut damaged = bytes.clone();
            damaged[at + 1_000] ^= 1 << bit;
            let folder = tempfile::tempdir().expect("temporary folder");
            let copy = folder.path().join("damaged.parquet");
            atomic::publish_bytes(folder.path(), &copy, &damaged).expect("written");
            let error = read_rows::<FeatureRow>(&copy).expect_err("one bit is off");
            assert!(error.to_string().to_lowercase().contains("crc"), "{error}");
        }
    }

    #[test]
    fn blobs_come_back_from_every_reader() {
        let log_mel = |row: usize| -> Vec<f32> { (0..2_000).map(|i| (row * 7 + i) as f32 * 0.01 - 20.0).collect() };
        let has_one = |row: usize| row % 5 != 3;
        let status = |row: usize| if has_one(row) { Status::Ok } else { Status::Rejected };
        let shape = FeatureRow { n_mels: 40, n_frames: 50, ..FeatureRow::example() };
        let row = |row: usize| FeatureRow { copy: row as u32, status: status(row), ..shape.clone() };
        let blob = |row: usize| has_one(row).then(|| to_blob(&log_mel(row)));
        let folder = tempfile::tempdir().expect("temporary folder");
        // A last page of one row, of all rows, of none; row groups of 64 and of what is left.
        for n_rows in [0, 1, 8, 64, 65, 150] {
            let [aside, plain] = ["aside", "plain"].map(|name| folder.path().join(format!("{name}{n_rows}.parquet")));
            let mut index = Vec::new();
            atomic::publish(folder.path(), &aside, |out| {
                let mut writer = FeatureWriter::new(out)?;
                for at in 0..n_rows {
                    let before = writer.n_rows();
                    writer.push(row(999), Some(&log_mel(5)));
                    writer.push(row(1_000), None);
                    writer.take_back(before);
                    writer.push(row(at), has_one(at).then(|| log_mel(at)).as_deref());
                    writer.write_full_group()?;
                }
                index = writer.finish()?.1;
                Ok(())
            })
            .expect("written");
            assert_eq!(index, index_of_shard(&aside, "").expect("sound"), "{n_rows} rows");
            let rows: Vec<FeatureRow> = (0..n_rows).map(|at| FeatureRow { log_mel: blob(at), ..row(at) }).collect();
            publish_rows(folder.path(), &plain, &rows).expect("written");
            assert_eq!(read_rows::<FeatureRow>(&aside).expect("read"), rows);
            let lengths = vec![4_000; n_rows];
            let (file, places) = BlobFile::open(&aside, "log_mel", &lengths, false).expect("opened");
            assert_eq!(
                places.iter().filter(|place| place.is_some()).count(),
                (0..n_rows).filter(|&at| has_one(at)).count()
            );
            let mut scratch = Vec::new();
            for (at, place) in places.into_iter().enumerate() {
                let found = place.map(|place| file.read(place, 4_000, &mut scratch).expect("read").to_vec());
                assert_eq!(found, blob(at), "row {at} of {n_rows}");
            }
            other_readers_notice_a_flipped_bit(&aside);
            // All but the pages of the blobs is what Parquet's own writer makes of the same rows.
            let sizes = [aside, plain].map(|path| std::fs::metadata(path).expect("there").len());
            assert!(sizes[0].abs_diff(sizes[1]) < 1_000, "{n_rows} rows: {sizes:?} bytes");
        }
    }
}
