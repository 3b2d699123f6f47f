//! `features`: one row per recording and copy, with its log-mel spectrogram.

use std::sync::Arc;

use arrow::array::BinaryArray;
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::tables::manifest::Status;
use crate::tables::{ROW_GROUP_ROWS, Row, TableWriter, to_batch};

/// See `schemas/features.toml`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FeatureRow {
    pub recording_id: String,
    pub corpus: String,
    pub content_hash: String,
    pub copy: u32,
    pub augmentation: Option<String>,
    pub snr_db: Option<f64>,
    pub emotion: Option<String>,
    pub split: Option<String>,
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
/// A spectrogram is narrowed to where the column's array wants it, and is not copied on its way through serde. The file is
/// the one that [`TableWriter`] writes of the same rows. Proof: `spectrograms_aside_give_the_same_file`.
pub struct FeatureWriter<'a> {
    table: TableWriter<'a, FeatureRow>,
    rows: Vec<FeatureRow>,
    /// Stored forms of all spectrograms of these rows.
    narrow: Vec<u16>,
    /// Where each row's begins, in bytes, and where the last one ends.
    offsets: Vec<i32>,
}

impl<'a> FeatureWriter<'a> {
    /// Begins a file in `out`.
    pub fn new(out: &'a mut (dyn std::io::Write + Send)) -> Result<Self> {
        Self::in_memory_of(Vec::new(), out)
    }

    /// [`FeatureWriter::new`], in the memory that the writer of another file gave back.
    pub fn in_memory_of(narrow: Vec<u16>, out: &'a mut (dyn std::io::Write + Send)) -> Result<Self> {
        Ok(Self { table: TableWriter::new(out)?, rows: Vec::new(), narrow, offsets: vec![0] })
    }

    /// Adds an entry to the file's own key-value metadata.
    pub fn note(&mut self, key: &str, text: &str) {
        self.table.note(key, text);
    }

    /// Rows that have been added and not been written.
    pub fn n_rows(&self) -> usize {
        self.rows.len()
    }

    /// Adds a row with its spectrogram; what stands in its own field `log_mel` is not looked at.
    pub fn push(&mut self, row: FeatureRow, log_mel: Option<&[f32]>) {
        let begin = self.narrow.len();
        if let Some(log_mel) = log_mel {
            self.narrow.resize(begin + log_mel.len(), 0);
            narrow(log_mel, &mut self.narrow[begin..]);
        }
        self.offsets.push((2 * self.narrow.len()) as i32);
        self.rows.push(FeatureRow { log_mel: None, ..row });
    }

    /// Takes back all but the first `n_rows` of the rows that have not been written.
    pub fn take_back(&mut self, n_rows: usize) {
        self.rows.truncate(n_rows);
        self.offsets.truncate(n_rows + 1);
        self.narrow.truncate(self.offsets[self.offsets.len() - 1] as usize / 2);
    }

    /// Writes the rows when there are enough for a row group; they can then not be taken back.
    pub fn write_full_group(&mut self) -> Result<()> {
        if self.rows.len() < ROW_GROUP_ROWS { Ok(()) } else { self.write() }
    }

    /// Ends the file; gives the memory of a row group back.
    pub fn finish(mut self) -> Result<Vec<u16>> {
        self.write()?;
        self.table.finish()?;
        Ok(self.narrow)
    }

    fn write(&mut self) -> Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let batch = to_batch(&self.table.schema, &self.rows)?;
        let column = self.table.schema.index_of("log_mel").expect("the contract has this column");
        let bytes = Buffer::from_vec(std::mem::take(&mut self.narrow));
        let has_one: Vec<bool> = self.offsets.windows(2).map(|ends| ends[0] < ends[1]).collect();
        let offsets = OffsetBuffer::new(ScalarBuffer::from(std::mem::replace(&mut self.offsets, vec![0])));
        let mut columns = batch.columns().to_vec();
        columns[column] = Arc::new(BinaryArray::new(offsets, bytes.clone(), Some(NullBuffer::from(has_one))));
        self.table.write_columns(columns)?;
        self.rows.clear();
        // The same memory serves the next row group: fresh pages cost more than what is written to them.
        self.narrow = bytes.into_vec().unwrap_or_default();
        self.narrow.clear();
        Ok(())
    }
}

/// Narrows values to the bits of little-endian float16.
fn narrow(log_mel: &[f32], bits: &mut [u16]) {
    bits.reinterpret_cast_mut::<f16>().convert_from_f32_slice(log_mel);
    if cfg!(target_endian = "big") {
        bits.iter_mut().for_each(|bits| *bits = bits.to_le());
    }
}

/// Stored form of a spectrogram: little-endian float16, C order.
pub fn to_blob(log_mel: &[f32]) -> Vec<u8> {
    let mut narrow = vec![f16::ZERO; log_mel.len()];
    narrow.convert_from_f32_slice(log_mel);
    narrow.iter().flat_map(|value| value.to_le_bytes()).collect()
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
    // Slices are widened by the processor's own instruction, single values by arithmetic.
    let mut narrow = [f16::ZERO; 512];
    for (values, bytes) in log_mel.chunks_mut(narrow.len()).zip(blob.chunks(2 * narrow.len())) {
        let narrow = &mut narrow[..values.len()];
        for (value, bytes) in narrow.iter_mut().zip(bytes.as_chunks().0) {
            *value = f16::from_le_bytes(*bytes);
        }
        narrow.convert_to_f32_slice(values);
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
    use super::*;

    #[test]
    fn a_blob_comes_back_within_half_a_unit_of_float16() {
        let log_mel: Vec<f32> = (0..1000).map(|i| -23.0 + 0.03 * i as f32).collect();
        let mut back = vec![0.0; 1000];
        from_blob(&to_blob(&log_mel), &mut back).expect("same size");
        // Between 16 and 32 float16 has steps of 1/64; rounding errs by half a step at most.
        assert!(log_mel.iter().zip(&back).all(|(a, b)| (a - b).abs() <= 1.0 / 128.0));
        assert_eq!(to_blob(&[1.0]), [0x00, 0x3c]);
        assert!(from_blob(&[0; 6], &mut back).is_err());
    }

    #[test]
    fn spectrograms_aside_give_the_same_file() {
        let log_mel = |row: usize| -> Vec<f32> { (0..2_000).map(|i| (row * 7 + i) as f32 * 0.01 - 20.0).collect() };
        let has_one = |row: usize| row % 5 != 3;
        let (mut whole, mut aside) = (Vec::new(), Vec::new());
        let mut by_rows = TableWriter::<FeatureRow>::new(&mut whole).expect("begun");
        let mut writer = FeatureWriter::new(&mut aside).expect("begun");
        for group in [0..64, 64..65, 65..150] {
            let row = |row: usize| FeatureRow { copy: row as u32, ..FeatureRow::example() };
            let blob = |row: usize| has_one(row).then(|| to_blob(&log_mel(row)));
            let rows: Vec<FeatureRow> = group.clone().map(|at| FeatureRow { log_mel: blob(at), ..row(at) }).collect();
            by_rows.write(&rows).expect("written");
            for at in group {
                let before = writer.n_rows();
                writer.push(row(999), Some(&log_mel(5)));
                writer.push(row(1_000), None);
                writer.take_back(before);
                writer.push(row(at), has_one(at).then(|| log_mel(at)).as_deref());
                writer.write_full_group().expect("written");
            }
        }
        by_rows.finish().expect("ended");
        writer.finish().expect("ended");
        assert!(whole == aside, "{} and {} bytes", whole.len(), aside.len());
    }
}
