//! Reads Parquet files back as rows: from memory, when a commit says what they hold; by ranges, where a column of blobs shall not
//! be read. Errors tell damage from a machine that fails.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;
use parquet::file::reader::ChunkReader;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::files;
use crate::storage::commit::Commit;
use crate::storage::layout::Store;
use crate::storage::record::FileRecord;
use crate::tables::ranged::RangedFile;
use crate::tables::schema::TableSchema;
use crate::tables::{ROW_GROUP_ROWS, Row, folder_of, schema_of};

/// What helps against a damaged table.
pub(super) const AGAIN: &str = "run the stage that writes it again";

/// A Parquet file in memory: what is read of it is what was there, and hashed, when it was read.
pub struct TableFile {
    path: PathBuf,
    bytes: Bytes,
}

impl TableFile {
    /// A file that a stage committed; see [`FileRecord::read`] for errors.
    pub fn committed(store: &Store, record: &FileRecord, stage: &str) -> Result<Self> {
        Ok(Self { path: record.file(store), bytes: record.read(store, stage)? })
    }

    /// A file that no commit names.
    ///
    /// Errors: kind `Input` when it is not there, `Unreadable` or `Machine` where it cannot be read.
    pub fn open(path: &Path) -> Result<Self> {
        match files::read(path, u64::MAX) {
            Ok(bytes) => Ok(Self { path: path.to_path_buf(), bytes: bytes.into() }),
            Err(error) => Err(cannot_read(path, error)),
        }
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The columns whose names begin with `head`, in their order, each as the arrays of its batches.
    pub(super) fn columns(&self, head: &str) -> Result<Vec<(String, Vec<ArrayRef>)>> {
        let builder = self.builder()?;
        let names: Vec<String> = builder.schema().fields().iter().map(|field| field.name().clone()).collect();
        let names: Vec<String> = names.into_iter().filter(|name| name.starts_with(head)).collect();
        let mask = ProjectionMask::columns(builder.parquet_schema(), names.iter().map(String::as_str));
        let reader = guarded(&self.path, || builder.with_projection(mask).with_batch_size(ROW_GROUP_ROWS).build())?;
        let mut columns: Vec<(String, Vec<ArrayRef>)> = names.into_iter().map(|name| (name, Vec::new())).collect();
        for batch in (Batches { reader, path: self.path.clone() }) {
            let batch = batch?;
            columns.iter_mut().zip(batch.columns()).for_each(|((_, parts), part)| parts.push(part.clone()));
        }
        Ok(columns)
    }

    /// Names of all its columns.
    pub fn column_names(&self) -> Result<Vec<String>> {
        Ok(self.builder()?.schema().fields().iter().map(|field| field.name().clone()).collect())
    }

    /// The columns whose names begin with `head`, in their order, without reading them.
    pub(super) fn names(&self, head: &str) -> Result<Vec<String>> {
        let builder = self.builder()?;
        let names = builder.schema().fields().iter().map(|field| field.name().clone());
        Ok(names.filter(|name| name.starts_with(head)).collect())
    }

    /// Its bytes, for another library.
    pub fn bytes(&self) -> Bytes {
        self.bytes.clone()
    }

    /// Refuses a file that is none of the table `R`, before another library reads it.
    ///
    /// Errors: kind `Input` for another table, another version, or a footer that cannot be read.
    pub fn check<R: Row>(&self) -> Result<()> {
        check_schema(&schema_of::<R>(), self.builder()?.schema()).map_err(|error| error.at(&self.path))
    }

    /// Number of rows, from its footer.
    pub fn n_rows(&self) -> Result<u64> {
        Ok(self.builder()?.metadata().file_metadata().num_rows().max(0) as u64)
    }

    /// An entry of its key-value metadata.
    pub fn note(&self, key: &str) -> Result<Option<String>> {
        let builder = self.builder()?;
        let entries = builder.metadata().file_metadata().key_value_metadata();
        Ok(entries.and_then(|entries| entries.iter().find(|entry| entry.key == key)?.value.clone()))
    }

    /// Its rows in batches of `ROW_GROUP_ROWS`.
    pub fn batches<R: Row>(&self) -> Result<impl Iterator<Item = Result<Vec<R>>>> {
        let (reader, path) = (self.reader::<R>(None)?, self.path.clone());
        Ok(reader.map(move |batch| serde_arrow::from_record_batch(&batch?).map_err(|error| damaged(&path, error))))
    }

    /// All rows.
    pub fn rows<R: Row>(&self) -> Result<Vec<R>> {
        let mut rows = Vec::new();
        for batch in self.batches::<R>()? {
            rows.extend(batch?);
        }
        Ok(rows)
    }

    /// Its rows with the columns `names` only; the fields of `P` name them.
    pub fn part<R: Row, P: DeserializeOwned>(&self, names: &[&str]) -> Result<Vec<P>> {
        let mut rows: Vec<P> = Vec::new();
        for batch in self.reader::<R>(Some(names))? {
            rows.extend(serde_arrow::from_record_batch::<Vec<P>>(&batch?).map_err(|error| damaged(&self.path, error))?);
        }
        Ok(rows)
    }

    fn builder(&self) -> Result<ParquetRecordBatchReaderBuilder<Bytes>> {
        begin(self.bytes.clone(), &self.path)
    }

    fn reader<R: Row>(&self, columns: Option<&[&str]>) -> Result<Batches> {
        reader_of::<R, _>(self.builder()?, &self.path, columns)
    }
}

/// Rows of one file with the columns `names` only, without reading the others; the fields of `P` name them.
pub fn read_part<R: Row, P: DeserializeOwned>(path: &Path, names: &[&str]) -> Result<Vec<P>> {
    read_ranges::<R, P>(path, Some(names), None)
}

/// Rows of one row group, without reading the others.
pub fn read_group<R: Row>(path: &Path, group: usize) -> Result<Vec<R>> {
    read_ranges::<R, R>(path, None, Some(group))
}

fn read_ranges<R: Row, P: DeserializeOwned>(
    path: &Path,
    columns: Option<&[&str]>,
    group: Option<usize>,
) -> Result<Vec<P>> {
    let file = files::open(path).map_err(|error| cannot_read(path, error))?;
    let file = RangedFile::new(file).map_err(|error| cannot_read(path, error))?;
    let read = || {
        let mut builder = begin(file.clone(), path)?;
        if let Some(group) = group {
            if group >= builder.metadata().num_row_groups() {
                return Err(Error::input("the table is damaged: it has fewer row groups").at(path).hint(AGAIN));
            }
            builder = builder.with_row_groups(vec![group]);
        }
        let mut rows: Vec<P> = Vec::new();
        for batch in reader_of::<R, _>(builder, path, columns)? {
            rows.extend(serde_arrow::from_record_batch::<Vec<P>>(&batch?).map_err(|error| damaged(path, error))?);
        }
        Ok(rows)
    };
    // Parquet's reader turns errors of the system into texts; the file itself remembers them.
    read().map_err(|error| match file.take_error() {
        Some(error) => cannot_read(path, error),
        None => error,
    })
}

/// Types follow from Parquet's own schema: the Arrow schema beside it says nothing more, and one that is damaged can make the
/// library panic.
pub(super) fn begin<T: ChunkReader + 'static>(source: T, path: &Path) -> Result<ParquetRecordBatchReaderBuilder<T>> {
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    guarded(path, || ParquetRecordBatchReaderBuilder::try_new_with_options(source, options))
}

/// Runs Parquet's reader, which gives an error for most damage and panics at some.
pub(super) fn guarded<T>(path: &Path, read: impl FnOnce() -> std::result::Result<T, ParquetError>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(read) => read.map_err(|error| damaged(path, error)),
        Err(_) => Err(Error::input("the table is damaged: its reader broke off").at(path).hint(AGAIN)),
    }
}

/// The batches of one file.
struct Batches {
    reader: ParquetRecordBatchReader,
    path: PathBuf,
}

impl Iterator for Batches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        guarded(&self.path, || self.reader.next().transpose().map_err(ParquetError::from)).transpose()
    }
}

fn reader_of<R: Row, T: ChunkReader + 'static>(
    mut builder: ParquetRecordBatchReaderBuilder<T>,
    path: &Path,
    columns: Option<&[&str]>,
) -> Result<Batches> {
    check_schema(&schema_of::<R>(), builder.schema()).map_err(|error| error.at(path))?;
    if let Some(columns) = columns {
        let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
        builder = builder.with_projection(mask);
    }
    let reader = guarded(path, || builder.with_batch_size(ROW_GROUP_ROWS).build())?;
    Ok(Batches { reader, path: path.to_path_buf() })
}

/// All rows of a file that no commit names.
pub fn read_rows<R: Row>(path: &Path) -> Result<Vec<R>> {
    TableFile::open(path)?.rows()
}

/// The files of the table `R` among those of a commit, each read when it is asked for.
pub fn committed_files<R: Row>(store: &Store, commit: &Commit) -> impl Iterator<Item = Result<TableFile>> {
    let folder = store.relative(&folder_of::<R>(store)) + "/";
    let own = commit.files.iter().filter(move |record| record.path.starts_with(&folder));
    own.map(|record| TableFile::committed(store, record, &commit.stage))
}

/// All rows of the files of a commit.
pub fn committed_rows<R: Row>(store: &Store, commit: &Commit) -> Result<Vec<R>> {
    let mut rows = Vec::new();
    for file in committed_files::<R>(store, commit) {
        rows.extend(file?.rows::<R>()?);
    }
    Ok(rows)
}

/// [`committed_rows`] with the columns `names` only; the fields of `P` name them.
pub fn committed_parts<R: Row, P: DeserializeOwned>(store: &Store, commit: &Commit, names: &[&str]) -> Result<Vec<P>> {
    let mut rows = Vec::new();
    for file in committed_files::<R>(store, commit) {
        rows.extend(file?.part::<R, P>(names)?);
    }
    Ok(rows)
}

fn check_schema(contract: &TableSchema, found: &Arc<Schema>) -> Result<()> {
    let wanted = contract.arrow();
    for (index, field) in wanted.fields().iter().enumerate() {
        let same = found
            .fields()
            .get(index)
            .is_some_and(|other| other.name() == field.name() && other.data_type() == field.data_type());
        if !same {
            let other = found
                .fields()
                .get(index)
                .map_or("nothing".into(), |other| format!("{} {}", other.name(), other.data_type()));
            return Err(Error::input(format!(
                "is not a `{}` table of version {}: column {index} is {other}, not {} {}",
                contract.table,
                contract.version,
                field.name(),
                field.data_type()
            ))
            .hint("it was written by another version: run its stage again"));
        }
    }
    Ok(())
}

/// An error of the system: the machine's, a file that ends early, or one that is not there.
pub(super) fn cannot_read(path: &Path, error: std::io::Error) -> Error {
    if error.kind() == std::io::ErrorKind::UnexpectedEof {
        return Error::input("the table is damaged: it ends early").at(path).hint(AGAIN);
    }
    if files::is_nothing(&error) {
        return Error::input("cannot read table").at(path).because(error).hint(AGAIN);
    }
    Error::reading("cannot read table", error).at(path)
}

pub(super) fn damaged(path: &Path, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::input("the table is damaged").at(path).because(error).hint(AGAIN)
}
