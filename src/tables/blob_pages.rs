//! A column of blobs as Parquet pages, from the memory in which the blobs were made.
//!
//! Parquet's own writer copies every value into a page, and every page into another buffer, in memory that is fresh each
//! time; for blobs of 130 kB that takes longer than to compute them. Plain pages are simple enough to be written by hand: a
//! head, a level per row that says whether it has a blob, and each blob after its length.

use std::io::{Cursor, Read, Write};

use parquet::basic::{Compression, Encoding, PageType};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, OffsetIndexBuilder, PageEncodingStats};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::writer::SerializedRowGroupWriter;
use parquet::schema::types::ColumnDescPtr;

use crate::tables::BLOB_BATCH_ROWS;

/// Adds the next column of a row group.
///
/// `values`  the blobs that there are, in order, each after its length in four bytes, little-endian.
/// `ends`    for each row where its blob ends in `values`; a row whose end is the one before has none.
/// Proof     `blobs_come_back_from_every_reader`.
pub(super) fn append<W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    column: ColumnDescPtr,
    values: &[u8],
    ends: &[usize],
) -> Result<(), ParquetError> {
    let (mut pages, mut offsets) = (Vec::new(), OffsetIndexBuilder::new());
    let (mut begin, mut n_bytes) = (0, 0);
    for ends in ends.chunks(BLOB_BATCH_ROWS) {
        let mut bits = 0u8;
        let mut before = begin;
        for (row, &end) in ends.iter().enumerate() {
            bits |= u8::from(end > before) << row;
            before = end;
        }
        let page = Page::new(ends.len(), bits, &values[begin..before]);
        offsets.append_row_count(ends.len() as i64);
        offsets.append_offset_and_size(n_bytes as i64, page.len() as i32);
        (begin, n_bytes) = (before, n_bytes + page.len());
        pages.push(page);
    }
    let encodings =
        PageEncodingStats { page_type: PageType::DATA_PAGE, encoding: Encoding::PLAIN, count: pages.len() as i32 };
    let metadata = ColumnChunkMetaData::builder(column)
        .set_compression(Compression::UNCOMPRESSED)
        .set_encodings(vec![Encoding::PLAIN, Encoding::RLE])
        .set_page_encoding_stats(vec![encodings])
        .set_total_compressed_size(n_bytes as i64)
        .set_total_uncompressed_size(n_bytes as i64)
        .set_num_values(ends.len() as i64)
        .set_data_page_offset(0)
        .build()?;
    let close = ColumnCloseResult {
        bytes_written: n_bytes as u64,
        rows_written: ends.len() as u64,
        metadata,
        bloom_filter: None,
        column_index: None,
        offset_index: Some(offsets.build()),
    };
    group.append_column(&Pages(&pages), close)
}

/// One data page of version 1, in two parts.
struct Page<'a> {
    /// Its head and its levels.
    head: Vec<u8>,
    values: &'a [u8],
}

impl<'a> Page<'a> {
    /// A page of up to eight rows; bit `row` of `bits` says whether that row has a blob.
    fn new(n_rows: usize, bits: u8, values: &'a [u8]) -> Self {
        // Levels of one bit: their length in bytes, one group of eight packed ones, the group.
        let levels = [2, 0, 0, 0, 1 << 1 | 1, bits];
        let size = zigzag((levels.len() + values.len()) as u64);
        let mut head = vec![0x15, 0x00];
        for _ in 0..2 {
            head.push(0x15);
            head.extend_from_slice(&size);
        }
        head.extend_from_slice(&[0x2c, 0x15]);
        head.extend_from_slice(&zigzag(n_rows as u64));
        // Plain values, both kinds of levels as runs and groups, the end of the inner and of the outer structure.
        head.extend_from_slice(&[0x15, 0x00, 0x15, 0x06, 0x15, 0x06, 0x00, 0x00]);
        head.extend_from_slice(&levels);
        Self { head, values }
    }

    fn len(&self) -> usize {
        self.head.len() + self.values.len()
    }
}

/// A number as Thrift's compact protocol writes it: twice itself, seven bits a byte, the lowest first.
fn zigzag(number: u64) -> Vec<u8> {
    let mut rest = number << 1;
    let mut bytes = Vec::new();
    while rest >= 0x80 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}

/// What Parquet's writer copies the column from.
struct Pages<'a>(&'a [Page<'a>]);

impl Length for Pages<'_> {
    fn len(&self) -> u64 {
        self.0.iter().map(|page| page.len() as u64).sum()
    }
}

impl<'a> ChunkReader for Pages<'a> {
    type T = PagesRead<'a>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        let parts = self.0.iter().flat_map(|page| [page.head.as_slice(), page.values]);
        let mut read = PagesRead(parts.map(Cursor::new).collect(), 0);
        std::io::copy(&mut read.by_ref().take(start), &mut std::io::sink())?;
        Ok(read)
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<bytes::Bytes, ParquetError> {
        let mut found = vec![0; length];
        self.get_read(start)?.read_exact(&mut found)?;
        Ok(found.into())
    }
}

/// The parts of all pages, and which one is next.
struct PagesRead<'a>(Vec<Cursor<&'a [u8]>>, usize);

impl Read for PagesRead<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        while let Some(part) = self.0.get_mut(self.1) {
            let n = part.read(out)?;
            if n > 0 || out.is_empty() {
                return Ok(n);
            }
            self.1 += 1;
        }
        Ok(0)
    }
}
