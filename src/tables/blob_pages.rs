//! A column of blobs as Parquet pages, from the memory in which the blobs were made.
//!
//! Parquet's own writer copies every value into a page, and every page into another buffer, in memory that is fresh each
//! time; for blobs of 130 kB that takes longer than to compute them. Plain pages are simple enough to be written by hand: a
//! head, a level per row that says whether it has a blob, and each blob after its length.

use std::io::{self, IoSlice, Read, Write};
use std::ops::Range;

use arrow::datatypes::ToByteSlice;
use parquet::basic::{Compression, Encoding, PageType};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, OffsetIndexBuilder, PageEncodingStats};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::writer::SerializedRowGroupWriter;
use parquet::schema::types::ColumnDescPtr;

use crate::storage::atomic::Out;
use crate::tables::BLOB_BATCH_ROWS;

/// Where a file with blobs is written: what passes through it goes to `out`, but for the pages of a column of blobs, which go
/// there from the memory that they lie in.
///
/// Parquet's writer copies a column that is appended to it through eight kilobytes of its stack and into a buffer. It is
/// given as many bytes as the pages have ([`Announced`]), and the pages themselves take their place here.
pub(super) struct PageSink<'a> {
    out: &'a mut Out,
    /// The blobs of the rows so far, each after its length in four bytes, little-endian; what lies behind them is of rows written
    /// before.
    values: Vec<u16>,
    /// Where the blob of each row ends in the bytes of `values`; a row whose end is the one before has none.
    ends: Vec<usize>,
    /// Of each row's bytes, taken while they are still near.
    crcs: Vec<crc32fast::Hasher>,
    pages: Vec<Page>,
    /// Of each row whose page has been planned.
    placed: Vec<Option<Placed>>,
    /// Bytes that have come so far.
    position: usize,
    /// The stretch of them that stands for the pages.
    announced: Range<usize>,
}

impl<'a> PageSink<'a> {
    pub(super) fn new(values: Vec<u16>, out: &'a mut Out) -> Self {
        Self {
            out,
            values,
            ends: Vec::new(),
            crcs: Vec::new(),
            pages: Vec::new(),
            placed: Vec::new(),
            position: 0,
            announced: 0..0,
        }
    }

    /// Adds a row without a blob.
    pub(super) fn push_none(&mut self) {
        self.ends.push(self.ends.last().copied().unwrap_or(0));
        self.crcs.push(crc32fast::Hasher::new());
    }

    /// Adds a row with a blob of `n` values, which `fill` writes.
    pub(super) fn push(&mut self, n: usize, fill: impl FnOnce(&mut [u16])) {
        let begin = self.ends.last().map_or(0, |end| end / 2);
        let end = begin + 2 + n;
        if self.values.len() < end {
            self.values.resize(end, 0);
        }
        let length = (2 * n) as u32;
        self.values[begin..begin + 2].copy_from_slice(&[length as u16, (length >> 16) as u16].map(u16::to_le));
        fill(&mut self.values[begin + 2..end]);
        let mut crc = crc32fast::Hasher::new();
        crc.update(bytes_of(&self.values[begin..end]));
        self.ends.push(2 * end);
        self.crcs.push(crc);
    }

    /// Takes back all but the first `n_rows` rows.
    pub(super) fn truncate(&mut self, n_rows: usize) {
        self.ends.truncate(n_rows);
        self.crcs.truncate(n_rows);
    }

    /// Where each row's blob has its place; those of all planned rows, once.
    pub(super) fn take_placed(&mut self) -> Vec<Option<Placed>> {
        std::mem::take(&mut self.placed)
    }

    /// The memory of the blobs, for the next file.
    pub(super) fn take_memory(&mut self) -> Vec<u16> {
        std::mem::take(&mut self.values)
    }

    /// Plans the pages of the rows so far, which begin at byte `start` of the file; all that was written before has come.
    pub(super) fn plan(&mut self, start: usize) -> Result<Plan, ParquetError> {
        debug_assert!(self.position >= self.announced.end, "bytes that stand for older pages are still to come");
        let (mut begin, mut offset) = (0, start);
        self.pages.clear();
        for (ends, crcs) in self.ends.chunks(BLOB_BATCH_ROWS).zip(self.crcs.chunks(BLOB_BATCH_ROWS)) {
            let page = Page::new(begin, ends, crcs)?;
            offset += page.head.len();
            for (&end, crc) in ends.iter().zip(crcs) {
                let placed = Placed { offset: offset as u64, crc32: crc.clone().finalize() };
                self.placed.push((end > begin).then_some(placed));
                offset += end - begin;
                begin = end;
            }
            self.pages.push(page);
        }
        let n_bytes: Vec<usize> = self.pages.iter().map(Page::len).collect();
        self.announced = start..start + n_bytes.iter().sum::<usize>();
        Ok(Plan { n_rows: self.ends.len(), n_bytes })
    }

    /// Writes all pages, past the buffer of `out`; a page at a time, so that it is near when it is hashed.
    fn write_pages(&mut self) -> io::Result<()> {
        self.out.flush()?;
        let (file, values) = (self.out.get_mut(), bytes_of(&self.values));
        for page in self.pages.drain(..) {
            let mut slices = [IoSlice::new(&page.head), IoSlice::new(&values[page.values])];
            let mut rest = slices.as_mut_slice();
            while !rest.is_empty() {
                match file.write_vectored(rest)? {
                    0 => return Err(io::ErrorKind::WriteZero.into()),
                    n => IoSlice::advance_slices(&mut rest, n),
                }
            }
        }
        Ok(())
    }
}

impl Write for PageSink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = if self.announced.contains(&self.position) {
            if self.position == self.announced.start {
                self.write_pages()?;
            }
            bytes.len().min(self.announced.end - self.position)
        } else {
            // Not beyond the first byte that stands for another.
            let limit = self.announced.start.checked_sub(self.position).filter(|&limit| limit > 0);
            self.out.write(&bytes[..bytes.len().min(limit.unwrap_or(bytes.len()))])?
        };
        self.position += n;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        // Nothing is held back here; whoever owns `out` flushes it.
        Ok(())
    }
}

/// Where a blob lies in its file, its length before it, and what it is checked by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) offset: u64,
    /// Of the length and the blob.
    pub(super) crc32: u32,
}

/// The pages of one column of one row group, as Parquet's writer must know them.
pub(super) struct Plan {
    n_rows: usize,
    /// Of each page, with its head.
    n_bytes: Vec<usize>,
}

/// Adds the column that was planned in the [`PageSink`] behind `group`.
///
/// Proof: `blobs_come_back_from_every_reader`, `other_readers_notice_a_flipped_bit`.
pub(super) fn append<W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    column: ColumnDescPtr,
    plan: &Plan,
) -> Result<(), ParquetError> {
    let mut offsets = OffsetIndexBuilder::new();
    let mut n_bytes = 0;
    for (page, &length) in plan.n_bytes.iter().enumerate() {
        let n_rows = (plan.n_rows - page * BLOB_BATCH_ROWS).min(BLOB_BATCH_ROWS);
        offsets.append_row_count(n_rows as i64);
        offsets.append_offset_and_size(n_bytes as i64, i32::try_from(length).map_err(|_| too_long(length))?);
        n_bytes += length;
    }
    let encodings = PageEncodingStats {
        page_type: PageType::DATA_PAGE,
        encoding: Encoding::PLAIN,
        count: plan.n_bytes.len() as i32,
    };
    let metadata = ColumnChunkMetaData::builder(column)
        .set_compression(Compression::UNCOMPRESSED)
        .set_encodings(vec![Encoding::PLAIN, Encoding::RLE])
        .set_page_encoding_stats(vec![encodings])
        .set_total_compressed_size(n_bytes as i64)
        .set_total_uncompressed_size(n_bytes as i64)
        .set_num_values(plan.n_rows as i64)
        .set_data_page_offset(0)
        .build()?;
    let close = ColumnCloseResult {
        bytes_written: n_bytes as u64,
        rows_written: plan.n_rows as u64,
        metadata,
        bloom_filter: None,
        column_index: None,
        offset_index: Some(offsets.build()),
    };
    group.append_column(&Announced(n_bytes), close)
}

/// One data page of version 1: its head and its levels, and where its values lie.
struct Page {
    head: Vec<u8>,
    values: Range<usize>,
}

impl Page {
    /// A page of up to eight rows, whose blobs end at `ends`; the first begins at `begin`.
    fn new(begin: usize, ends: &[usize], crcs: &[crc32fast::Hasher]) -> Result<Self, ParquetError> {
        let (mut bits, mut before) = (0u8, begin);
        for (row, &end) in ends.iter().enumerate() {
            bits |= u8::from(end > before) << row;
            before = end;
        }
        // Levels of one bit: their length in bytes, one group of eight packed ones, the group.
        let levels = [2, 0, 0, 0, 1 << 1 | 1, bits];
        let length = levels.len() + before - begin;
        let size = zigzag(i32::try_from(length).map_err(|_| too_long(length))?);
        let mut crc = crc32fast::Hasher::new();
        crc.update(&levels);
        crcs.iter().for_each(|row| crc.combine(row));
        let mut head = vec![0x15, 0x00];
        for number in [&size, &size, &zigzag(crc.finalize().cast_signed())] {
            head.push(0x15);
            head.extend_from_slice(number);
        }
        head.extend_from_slice(&[0x1c, 0x15]);
        head.extend_from_slice(&zigzag(ends.len() as i32));
        // Plain values, both kinds of levels as runs and groups, the end of the inner and of the outer structure.
        head.extend_from_slice(&[0x15, 0x00, 0x15, 0x06, 0x15, 0x06, 0x00, 0x00]);
        head.extend_from_slice(&levels);
        Ok(Self { head, values: begin..before })
    }

    fn len(&self) -> usize {
        self.head.len() + self.values.len()
    }
}

fn too_long(length: usize) -> ParquetError {
    ParquetError::General(format!("a page of {length} bytes, the format ends at {}", i32::MAX))
}

/// The bytes of values that are little-endian already.
pub(super) fn bytes_of(values: &[u16]) -> &[u8] {
    values.to_byte_slice()
}

/// A number as Thrift's compact protocol writes it: zigzag, then seven bits a byte, the lowest first.
fn zigzag(number: i32) -> Vec<u8> {
    let mut rest = (number << 1 ^ number >> 31).cast_unsigned();
    let mut bytes = Vec::new();
    while rest >= 0x80 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}

/// What Parquet's writer copies the column from: as many bytes as the pages have, whichever; the [`PageSink`] puts the pages
/// in their place.
struct Announced(usize);

impl Length for Announced {
    fn len(&self) -> u64 {
        self.0 as u64
    }
}

impl ChunkReader for Announced {
    type T = io::Take<Whatever>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(Whatever.take(self.len() - start))
    }

    fn get_bytes(&self, _start: u64, _length: usize) -> Result<bytes::Bytes, ParquetError> {
        Err(ParquetError::General("pages are written and never read here".into()))
    }
}

/// Bytes that nobody looks at: what stands in the buffer stays in it.
struct Whatever;

impl Read for Whatever {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        Ok(out.len())
    }
}
