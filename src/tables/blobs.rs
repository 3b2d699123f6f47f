//! Blobs of a table one at a time, in any order: where each lies in its Parquet file, and reading it from there.
//!
//! The writer of this module's parent stores binary columns plain and uncompressed, so a blob is one stretch of bytes
//! after its length. An index pass reads page heads only; a blob is then one positioned read.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use parquet::basic::{Compression, Type};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, ParquetMetaDataReader};

use crate::error::{Error, Result};
use crate::files;
use crate::tables::page::{self, Unread};
use crate::tables::ranged::RangedFile;
use crate::tables::reading::{AGAIN, cannot_read, damaged};

/// Bytes of the length before each blob.
const PREFIX: usize = 4;
/// What is read of a page at first, and at most: heads are some tens of bytes unless other writers put texts there.
const HEAD_BYTES: [usize; 2] = [4 << 10, 1 << 20];

/// One Parquet file whose blobs are read in any order, by any thread.
pub struct BlobFile {
    path: PathBuf,
    stamp: Stamp,
    /// Kept open: then the blobs stay readable when the file is replaced.
    held: Option<File>,
}

/// By what a file that changed is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    n_bytes: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    fn of(file: &File) -> std::io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self { n_bytes: metadata.len(), modified: metadata.modified().ok() })
    }
}

impl BlobFile {
    /// Finds the blobs of `column`: for each row where its blob begins, `None` where it has none.
    ///
    /// `lengths` says how many bytes a row's blob has, if it has one. `held` keeps the file open. A file that is cut or
    /// damaged, whose blobs have other lengths, or that is stored in another way is an input error.
    ///
    /// Proof: `blobs_are_found_where_the_parquet_reader_finds_them`, `no_damage_to_a_page_gives_wrong_bytes`.
    pub fn open(path: &Path, column: &str, lengths: &[usize], held: bool) -> Result<(Self, Vec<Option<u64>>)> {
        let file = files::open(path).map_err(|error| cannot_read(path, error))?;
        let stamp = Stamp::of(&file).map_err(|error| cannot_read(path, error))?;
        let ranged = file.try_clone().and_then(RangedFile::new).map_err(|error| cannot_read(path, error))?;
        let metadata = ParquetMetaDataReader::new().parse_and_finish(&ranged);
        let metadata = metadata.map_err(|error| match ranged.take_error() {
            Some(error) => cannot_read(path, error),
            None => damaged(path, error),
        })?;
        drop(ranged);
        let walk = Walk { file: &file, path, column, n_bytes: stamp.n_bytes };
        let places = walk.places(&metadata, lengths)?;
        Ok((Self { path: path.to_path_buf(), stamp, held: held.then_some(file) }, places))
    }

    /// A file whose blobs' places are known from elsewhere.
    ///
    /// Errors: kind `Input` when it is not there, `Unreadable` or `Machine` where it cannot be read.
    pub fn known(path: &Path, held: bool) -> Result<Self> {
        let file = files::open(path).map_err(|error| cannot_read(path, error))?;
        let stamp = Stamp::of(&file).map_err(|error| cannot_read(path, error))?;
        Ok(Self { path: path.to_path_buf(), stamp, held: held.then_some(file) })
    }

    /// [`BlobFile::read`] of a blob whose CRC-32, with its length before it, is known.
    ///
    /// Errors: as there, and kind `Input` for one that is damaged.
    pub fn read_checked<'a>(
        &self,
        place: u64,
        length: usize,
        crc32: u32,
        scratch: &'a mut Vec<u8>,
    ) -> Result<&'a [u8]> {
        self.read(place, length, scratch)?;
        if crc32fast::hash(scratch) != crc32 {
            return Err(broken(
                &self.path,
                &format!("the {length} bytes at byte {place} are not those that were written"),
            ));
        }
        Ok(&scratch[PREFIX..])
    }

    /// Reads a blob of `length` bytes that begins at `place`; `scratch` is reused from one blob to the next.
    ///
    /// A file that changed since [`BlobFile::open`], ends early, or has another length at this place is an error.
    pub fn read<'a>(&self, place: u64, length: usize, scratch: &'a mut Vec<u8>) -> Result<&'a [u8]> {
        let opened;
        let file = match &self.held {
            Some(file) => file,
            None => {
                opened = files::open(&self.path).map_err(|error| cannot_read(&self.path, error))?;
                &opened
            }
        };
        let now = Stamp::of(file).map_err(|error| cannot_read(&self.path, error))?;
        if now != self.stamp {
            return Err(Error::input("the table's file changed while it was read")
                .at(&self.path)
                .hint("wait until its stage has ended and run the same command again"));
        }
        scratch.resize(PREFIX + length, 0);
        files::again(|| file.read_exact_at(scratch, place)).map_err(|error| cannot_read(&self.path, error))?;
        let (prefix, blob) = scratch.split_at(PREFIX);
        if prefix != (length as u32).to_le_bytes() {
            return Err(broken(&self.path, &format!("there is no blob of {length} bytes at byte {place}")));
        }
        Ok(blob)
    }
}

fn broken(path: &Path, what: &str) -> Error {
    Error::input(format!("the table is damaged: {what}")).at(path).hint(AGAIN)
}

/// One pass over the page heads of a column.
struct Walk<'a> {
    file: &'a File,
    path: &'a Path,
    column: &'a str,
    n_bytes: u64,
}

impl Walk<'_> {
    fn places(&self, metadata: &ParquetMetaData, lengths: &[usize]) -> Result<Vec<Option<u64>>> {
        let columns = metadata.file_metadata().schema_descr();
        let index = (0..columns.num_columns())
            .find(|&index| columns.column(index).path().string() == self.column)
            .ok_or_else(|| self.foreign("there is no such column"))?;
        let about = columns.column(index);
        if about.physical_type() != Type::BYTE_ARRAY || about.max_rep_level() > 0 || about.max_def_level() > 1 {
            return Err(self.foreign("it is no flat column of blobs"));
        }
        let mut places = Vec::with_capacity(lengths.len());
        for group in metadata.row_groups() {
            let n_rows = usize::try_from(group.num_rows()).unwrap_or(usize::MAX);
            let rest = lengths.get(places.len()..).unwrap_or_default();
            let lengths = rest.get(..n_rows).ok_or_else(|| broken(self.path, "it has more rows than were read"))?;
            self.chunk(group.column(index), about.max_def_level() == 1, lengths, &mut places)?;
        }
        if places.len() != lengths.len() {
            return Err(broken(self.path, &format!("{} rows were read, it has {}", lengths.len(), places.len())));
        }
        Ok(places)
    }

    fn foreign(&self, what: &str) -> Error {
        Error::input(format!("column `{}` cannot be read by place: {what}", self.column))
            .at(self.path)
            .hint("it was not written by this program, or is damaged: run the stage that writes it again")
    }

    /// Finds the blobs of one column chunk, page by page.
    fn chunk(
        &self,
        chunk: &ColumnChunkMetaData,
        nullable: bool,
        lengths: &[usize],
        places: &mut Vec<Option<u64>>,
    ) -> Result<()> {
        if chunk.compression() != Compression::UNCOMPRESSED {
            return Err(self.foreign(&format!("it is compressed ({})", chunk.compression())));
        }
        if chunk.dictionary_page_offset().is_some() {
            return Err(self.foreign("it has a dictionary"));
        }
        let range = u64::try_from(chunk.data_page_offset()).ok().zip(u64::try_from(chunk.compressed_size()).ok());
        let (mut at, end) = range
            .and_then(|(start, length)| Some((start, start.checked_add(length).filter(|&end| end <= self.n_bytes)?)))
            .ok_or_else(|| broken(self.path, "its pages lie outside the file"))?;
        let mut lengths = lengths;
        while !lengths.is_empty() {
            let page = self.page(at, end, nullable, lengths.len())?;
            let (here, rest) = lengths.split_at(page.present.len());
            let (mut value, page_end) = (at + page.values.start as u64, at + page.values.end as u64);
            for (&length, present) in here.iter().zip(&page.present) {
                places.push(present.then_some(value));
                value += if *present { (PREFIX + length) as u64 } else { 0 };
            }
            if value != page_end || page_end > end || here.is_empty() {
                let what = format!("blobs of the page at byte {at} end at byte {value}, the page at {page_end}");
                return Err(broken(self.path, &what));
            }
            (at, lengths) = (page_end, rest);
        }
        if at == end { Ok(()) } else { Err(broken(self.path, &format!("bytes {at} to {end} belong to no row"))) }
    }

    /// Head of the page at `at`.
    fn page(&self, at: u64, end: u64, nullable: bool, max_rows: usize) -> Result<page::DataPage> {
        let mut head = Vec::new();
        for n in HEAD_BYTES {
            head.resize(usize::try_from(end - at).unwrap_or(n).min(n), 0);
            files::again(|| self.file.read_exact_at(&mut head, at)).map_err(|error| cannot_read(self.path, error))?;
            match page::parse(&head, nullable, max_rows) {
                Ok(page) => return Ok(page),
                Err(Unread::Foreign(what)) => return Err(self.foreign(&what)),
                Err(Unread::Short) => {}
            }
        }
        Err(broken(self.path, &format!("the head of the page at byte {at} does not end")))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use parquet::arrow::ArrowWriter;
    use parquet::basic::{Encoding, ZstdLevel};
    use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder, WriterVersion};

    use super::*;
    use crate::tables::features::FeatureRow;
    use crate::tables::{TableWriter, read_rows, schema_of, to_batch};

    const COLUMN: &str = "log_mel";

    /// Rows with blobs of different lengths; every fifth has none.
    fn rows(n: usize, length: usize) -> Vec<FeatureRow> {
        let blob = |row: usize| (0..length + row % 3).map(|at| (row * 31 + at * 7) as u8).collect();
        (0..n)
            .map(|row| FeatureRow {
                recording_id: format!("c/{row}.wav"),
                log_mel: (row % 5 != 4).then(|| blob(row)),
                ..FeatureRow::default()
            })
            .collect()
    }

    fn lengths(rows: &[FeatureRow]) -> Vec<usize> {
        rows.iter().map(|row| row.log_mel.as_ref().map_or(999, Vec::len)).collect()
    }

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("temporary file");
        file.write_all(bytes).expect("written");
        file
    }

    fn table(rows: &[FeatureRow]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = TableWriter::<FeatureRow>::new(&mut bytes).expect("a writer");
        writer.write(rows).and_then(|()| writer.finish()).expect("in memory");
        bytes
    }

    /// The same rows as another writer could store them.
    fn stored(rows: &[FeatureRow], how: impl Fn(WriterPropertiesBuilder) -> WriterPropertiesBuilder) -> Vec<u8> {
        let plain = WriterProperties::builder()
            .set_compression(Compression::UNCOMPRESSED)
            .set_dictionary_enabled(false)
            .set_encoding(Encoding::PLAIN);
        let (schema, mut bytes) = (schema_of::<FeatureRow>().arrow(), Vec::new());
        let mut writer =
            ArrowWriter::try_new(&mut bytes, Arc::clone(&schema), Some(how(plain).build())).expect("a writer");
        writer.write(&to_batch(&schema, rows).expect("rows")).expect("in memory");
        writer.close().expect("in memory");
        bytes
    }

    /// Every blob of a file by its place, in the order from last to first.
    fn by_place(path: &Path, lengths: &[usize], held: bool) -> Result<Vec<Option<Vec<u8>>>> {
        let (file, places) = BlobFile::open(path, COLUMN, lengths, held)?;
        let mut scratch = Vec::new();
        let mut blobs = vec![None; places.len()];
        for (row, place) in places.iter().enumerate().rev() {
            if let Some(place) = place {
                blobs[row] = Some(file.read(*place, lengths[row], &mut scratch)?.to_vec());
            }
        }
        Ok(blobs)
    }

    #[test]
    fn blobs_are_found_where_the_parquet_reader_finds_them() {
        // Row groups hold 64 rows; blobs of 300 kB make pages of their own, blobs of 9 bytes share one.
        for (n, length) in [(1, 9), (200, 9), (70, 300_000), (64, 2000)] {
            let rows = rows(n, length);
            let file = file(&table(&rows));
            let read = read_rows::<FeatureRow>(file.path()).expect("its own table");
            let expected: Vec<_> = read.into_iter().map(|row| row.log_mel).collect();
            for held in [false, true] {
                let blobs = by_place(file.path(), &lengths(&rows), held).unwrap_or_else(|error| panic!("{error}"));
                assert!(blobs == expected, "{n} rows of {length} bytes, held {held}");
            }
        }
    }

    #[test]
    fn pages_of_both_versions_with_statistics_are_read() {
        let rows = rows(40, 50);
        let expected: Vec<_> = rows.iter().map(|row| row.log_mel.clone()).collect();
        for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
            let file =
                file(&stored(&rows, |how| how.set_writer_version(version).set_write_page_header_statistics(true)));
            assert!(by_place(file.path(), &lengths(&rows), true).expect("plain pages") == expected, "{version:?}");
        }
    }

    #[test]
    fn other_layouts_are_refused_with_file_and_hint() {
        let rows = rows(40, 50);
        let zstd = Compression::ZSTD(ZstdLevel::try_new(1).expect("a level"));
        let layouts = [
            ("compressed", stored(&rows, |how| how.set_compression(zstd))),
            ("dictionary", stored(&rows, |how| how.set_dictionary_enabled(true))),
            (
                "encoding 6",
                stored(&rows, |how| how.set_column_encoding(COLUMN.into(), Encoding::DELTA_LENGTH_BYTE_ARRAY)),
            ),
            ("encoding 7", stored(&rows, |how| how.set_column_encoding(COLUMN.into(), Encoding::DELTA_BYTE_ARRAY))),
        ];
        for (what, bytes) in layouts {
            let file = file(&bytes);
            let error = by_place(file.path(), &lengths(&rows), true).expect_err(what);
            assert!(error.to_string().contains(what), "{what}: {error}");
            assert!(error.to_string().contains(&*file.path().to_string_lossy()), "{error}");
            assert!(error.hint_text().is_some_and(|hint| hint.contains("run the stage")), "{error}");
        }
    }

    #[test]
    fn wrong_lengths_missing_rows_and_missing_columns_are_refused() {
        let rows = rows(40, 50);
        let (file, right) = (file(&table(&rows)), lengths(&rows));
        let open = |column: &str, lengths: &[usize]| BlobFile::open(file.path(), column, lengths, true).map(|_| ());
        open(COLUMN, &right).expect("as written");
        let mut longer = right.clone();
        longer[7] += 1;
        for (column, lengths) in
            [(COLUMN, &longer[..]), (COLUMN, &right[..39]), ("log_mal", &right[..]), ("status", &right[..])]
        {
            assert_eq!(open(column, lengths).expect_err("not as written").kind().exit_code(), 2);
        }
        open(COLUMN, &[&right[..], &[50]].concat()).expect_err("more rows than there are");
    }

    #[test]
    fn no_damage_to_a_page_gives_wrong_bytes() {
        let rows = rows(12, 40);
        let (bytes, lengths) = (table(&rows), lengths(&rows));
        let sound = file(&bytes);
        let expected = by_place(sound.path(), &lengths, false).expect("sound");
        let (_, places) = BlobFile::open(sound.path(), COLUMN, &lengths, false).expect("sound");
        let within = |at: usize| {
            let inside = |(place, length): (&Option<u64>, &usize)| {
                place.is_some_and(|place| (place as usize + PREFIX..place as usize + PREFIX + length).contains(&at))
            };
            places.iter().zip(&lengths).any(inside)
        };
        let metadata = ParquetMetaDataReader::new().parse_and_finish(sound.as_file()).expect("metadata");
        let column = schema_of::<FeatureRow>().columns.iter().position(|column| column.name == COLUMN).expect("there");
        let (start, length) = metadata.row_group(0).column(column).byte_range();
        let (start, length) = (start as usize, length as usize);
        let outside: Vec<usize> = (start..start + length).filter(|&at| !within(at)).collect();
        assert!(outside.len() > 9 * PREFIX, "prefixes and heads");
        for at in outside {
            for flip in [0x01, 0x02, 0x10, 0x80, 0xff] {
                let mut bytes = bytes.clone();
                bytes[at] ^= flip;
                let read = by_place(file(&bytes).path(), &lengths, false);
                assert!(read.is_err() || read.is_ok_and(|blobs| blobs == expected), "byte {at} ^ {flip:#x}");
            }
        }
        for cut in (0..bytes.len()).step_by(13) {
            assert!(by_place(file(&bytes[..cut]).path(), &lengths, false).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_file_that_changes_after_the_index_is_refused_and_a_held_one_stays_readable() {
        let rows = rows(12, 40);
        let (bytes, lengths) = (table(&rows), lengths(&rows));
        for held in [false, true] {
            let mut scratch = Vec::new();
            let mut cut = file(&bytes);
            let (blobs, places) = BlobFile::open(cut.path(), COLUMN, &lengths, held).expect("sound");
            let place = places[0].expect("the first row has a blob");
            cut.as_file_mut().set_len(bytes.len() as u64 / 2).expect("cut");
            let error = blobs.read(place, lengths[0], &mut scratch).expect_err("cut after the index");
            assert!(error.to_string().contains("changed"), "{error}");

            let gone = file(&bytes);
            let (blobs, places) = BlobFile::open(gone.path(), COLUMN, &lengths, held).expect("sound");
            gone.close().expect("removed");
            let read = blobs.read(places[0].expect("a blob"), lengths[0], &mut scratch).map(<[u8]>::to_vec);
            assert_eq!(read.ok(), rows[0].log_mel.clone().filter(|_| held));
        }
    }
}
