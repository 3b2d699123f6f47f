//! Typed rows and the Parquet files that hold them; the contract with readers is `schemas/*.toml`.
//!
//! Each table has one file with its row type; [`TABLES`] lists them. Rows become columns by name through serde, against the
//! schema of the contract: a column that is missing, of another type or null where it must not be is an error, when
//! written and when read.

mod blob_pages;
pub mod blobs;
pub mod confusion;
pub mod feature_plan;
pub mod features;
pub mod history;
pub mod manifest;
pub mod metrics;
mod page;
pub mod predictions;
mod ranged;
pub mod runs;
pub mod schema;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::reader::ChunkReader;
use parquet::schema::types::ColumnPath;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::files;
use crate::storage::atomic;
use crate::storage::commit::Commit;
use crate::storage::layout::Store;
use crate::storage::record::FileRecord;
use crate::tables::schema::{ColumnType, TableSchema};

/// A row type and the contract of its table.
pub trait Row: Serialize + DeserializeOwned {
    /// The table's file in `schemas/`.
    const SCHEMA: &'static str;
}

/// The contract of every table.
pub const TABLES: &[&str] = &[
    manifest::ManifestRow::SCHEMA,
    feature_plan::FeaturePlanRow::SCHEMA,
    features::FeatureRow::SCHEMA,
    history::HistoryRow::SCHEMA,
    predictions::PredictionRow::SCHEMA,
    metrics::MetricRow::SCHEMA,
    confusion::ConfusionRow::SCHEMA,
    runs::RunRow::SCHEMA,
];

/// The parsed contract of `R`.
pub fn schema_of<R: Row>() -> TableSchema {
    TableSchema::parse(R::SCHEMA).expect("every schema in schemas/ is tested to parse")
}

/// Folder of `R`'s files in a store.
pub fn folder_of<R: Row>(store: &Store) -> PathBuf {
    let schema = schema_of::<R>();
    store.table(&schema.table, schema.version)
}

/// What helps against a damaged table.
const AGAIN: &str = "run the stage that writes it again";

/// Rows in a row group: bounds what a reader holds of a table with spectrograms to some 8 MB.
const ROW_GROUP_ROWS: usize = 64;
/// Values in a page of a spectrogram column; the writer's default batch would make one page of a whole row group.
const BLOB_BATCH_ROWS: usize = 8;

/// Writes rows to one Parquet file, published whole. The same rows give the same bytes.
pub struct TableWriter<'a, R: Row> {
    schema: SchemaRef,
    writer: ArrowWriter<&'a mut (dyn std::io::Write + Send)>,
    row: std::marker::PhantomData<R>,
}

impl<'a, R: Row> TableWriter<'a, R> {
    /// Begins a file in `out`.
    pub fn new(out: &'a mut (dyn std::io::Write + Send)) -> Result<Self> {
        let (schema, writer) = arrow_writer::<R, _>(out)?;
        Ok(Self { schema, writer, row: std::marker::PhantomData })
    }

    /// Appends rows.
    pub fn write(&mut self, rows: &[R]) -> Result<()> {
        let batch = to_batch(&self.schema, rows)?;
        self.writer.write(&batch).map_err(|error| Error::machine("cannot write a Parquet file").because(error))
    }

    /// Ends the file.
    pub fn finish(self) -> Result<()> {
        self.writer.close().map(|_| ()).map_err(|error| Error::machine("cannot finish a Parquet file").because(error))
    }
}

/// Begins a Parquet file of the table `R` in `out`.
fn arrow_writer<R: Row, W: std::io::Write + Send>(out: W) -> Result<(SchemaRef, ArrowWriter<W>)> {
    let contract = schema_of::<R>();
    let schema = contract.arrow();
    let writer = ArrowWriter::try_new(out, schema.clone(), Some(writer_properties(&contract)))
        .map_err(|error| Error::bug("cannot begin a Parquet file").because(error))?;
    Ok((schema, writer))
}

/// Publishes `rows` as the Parquet file `target`.
pub fn publish_rows<R: Row>(staging: &Path, target: &Path, rows: &[R]) -> Result<()> {
    atomic::publish(staging, target, |out| write_rows(out, rows)).map(|_| ())
}

/// Writes `rows` as a Parquet file.
pub fn write_rows<R: Row>(out: &mut (dyn std::io::Write + Send), rows: &[R]) -> Result<()> {
    let mut writer = TableWriter::<R>::new(out)?;
    for chunk in rows.chunks(1024) {
        writer.write(chunk)?;
    }
    writer.finish()
}

fn to_batch<R: Row>(schema: &SchemaRef, rows: &[R]) -> Result<RecordBatch> {
    let batch = serde_arrow::to_record_batch(schema.fields(), &rows)
        .map_err(|error| Error::bug("rows do not fit their schema").because(error))?;
    // The schema's metadata (version, units) travels with the batch.
    RecordBatch::try_new(schema.clone(), batch.columns().to_vec())
        .map_err(|error| Error::bug("rows do not fit their schema").because(error))
}

fn writer_properties(contract: &TableSchema) -> WriterProperties {
    let mut properties = WriterProperties::builder().set_created_by("sermill".into());
    if contract.columns.iter().any(|column| column.kind == ColumnType::Binary) {
        // Beside the spectrograms of a row group its other columns are nothing, and a compressor for each of them costs
        // more than they do.
        properties = properties
            .set_compression(Compression::UNCOMPRESSED)
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .set_write_batch_size(BLOB_BATCH_ROWS);
    } else {
        let zstd = Compression::ZSTD(ZstdLevel::try_new(3).expect("3 is a zstd level"));
        properties = properties.set_compression(zstd);
    }
    for column in contract.columns.iter().filter(|column| column.kind == ColumnType::Binary) {
        let path = ColumnPath::from(column.name.as_str());
        properties = properties
            .set_column_encoding(path.clone(), Encoding::PLAIN)
            .set_column_dictionary_enabled(path.clone(), false)
            .set_column_statistics_enabled(path, EnabledStatistics::None);
    }
    properties.build()
}

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

    /// Its bytes, for another library.
    pub fn bytes(&self) -> Bytes {
        self.bytes.clone()
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
        Ok(reader.map(move |batch| {
            let batch = batch.map_err(|error| damaged(&path, error))?;
            serde_arrow::from_record_batch(&batch).map_err(|error| damaged(&path, error))
        }))
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
            let batch = batch.map_err(|error| damaged(&self.path, error))?;
            rows.extend(serde_arrow::from_record_batch::<Vec<P>>(&batch).map_err(|error| damaged(&self.path, error))?);
        }
        Ok(rows)
    }

    fn builder(&self) -> Result<ParquetRecordBatchReaderBuilder<Bytes>> {
        begin(self.bytes.clone(), &self.path)
    }

    fn reader<R: Row>(&self, columns: Option<&[&str]>) -> Result<ParquetRecordBatchReader> {
        reader_of::<R, _>(self.builder()?, &self.path, columns)
    }
}

/// Rows of one file with the columns `names` only, without reading the others; the fields of `P` name them.
pub fn read_part<R: Row, P: DeserializeOwned>(path: &Path, names: &[&str]) -> Result<Vec<P>> {
    let file = files::open(path).map_err(|error| cannot_read(path, error))?;
    let file = ranged::RangedFile::new(file).map_err(|error| cannot_read(path, error))?;
    let read = || {
        let builder = begin(file.clone(), path)?;
        let mut rows: Vec<P> = Vec::new();
        for batch in reader_of::<R, _>(builder, path, Some(names))? {
            let batch = batch.map_err(|error| damaged(path, error))?;
            rows.extend(serde_arrow::from_record_batch::<Vec<P>>(&batch).map_err(|error| damaged(path, error))?);
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
fn begin<T: ChunkReader + 'static>(source: T, path: &Path) -> Result<ParquetRecordBatchReaderBuilder<T>> {
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    ParquetRecordBatchReaderBuilder::try_new_with_options(source, options).map_err(|error| damaged(path, error))
}

fn reader_of<R: Row, T: ChunkReader + 'static>(
    mut builder: ParquetRecordBatchReaderBuilder<T>,
    path: &Path,
    columns: Option<&[&str]>,
) -> Result<ParquetRecordBatchReader> {
    check_schema(&schema_of::<R>(), builder.schema()).map_err(|error| error.at(path))?;
    if let Some(columns) = columns {
        let mask = parquet::arrow::ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
        builder = builder.with_projection(mask);
    }
    builder.with_batch_size(ROW_GROUP_ROWS).build().map_err(|error| damaged(path, error))
}

/// All rows of a file that no commit names.
pub fn read_rows<R: Row>(path: &Path) -> Result<Vec<R>> {
    TableFile::open(path)?.rows()
}

/// All rows of the files of a commit.
pub fn committed_rows<R: Row>(store: &Store, commit: &Commit) -> Result<Vec<R>> {
    let folder = store.relative(&folder_of::<R>(store));
    let mut rows = Vec::new();
    for record in commit.files.iter().filter(|record| record.path.starts_with(&folder)) {
        rows.extend(TableFile::committed(store, record, &commit.stage)?.rows::<R>()?);
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
fn cannot_read(path: &Path, error: std::io::Error) -> Error {
    if error.kind() == std::io::ErrorKind::UnexpectedEof {
        return Error::input("the table is damaged: it ends early").at(path).hint(AGAIN);
    }
    if files::is_nothing(&error) {
        return Error::input("cannot read table").at(path).because(error).hint(AGAIN);
    }
    Error::reading("cannot read table", error).at(path)
}

fn damaged(path: &Path, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::input("the table is damaged").at(path).because(error).hint(AGAIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schema_in_the_folder_is_listed_and_parses() {
        let mut names: Vec<String> = TABLES
            .iter()
            .map(|text| TableSchema::parse(text).unwrap_or_else(|error| panic!("{error}")).table)
            .collect();
        names.sort();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .expect("schemas/")
            .map(|entry| entry.expect("entry").path().file_stem().expect("name").to_string_lossy().into_owned())
            .collect();
        files.sort();
        assert_eq!(names, files);
    }

    #[test]
    fn rows_of_every_table_come_back_as_they_went_and_twice_the_same_bytes() {
        fn check<R: Row + Clone + PartialEq + std::fmt::Debug>(example: R) {
            let folder = tempfile::tempdir().expect("temporary folder");
            let rows = vec![example; 70];
            let (a, b) = (folder.path().join("a.parquet"), folder.path().join("b.parquet"));
            for target in [&a, &b] {
                publish_rows(&folder.path().join("staging"), target, &rows).unwrap_or_else(|error| panic!("{error}"));
            }
            assert_eq!(read_rows::<R>(&a).unwrap_or_else(|error| panic!("{error}")), rows);
            assert_eq!(std::fs::read(a).expect("a"), std::fs::read(b).expect("b"));
        }
        check(manifest::ManifestRow::example());
        check(feature_plan::FeaturePlanRow::example());
        check(features::FeatureRow::example());
        check(history::HistoryRow::example());
        check(predictions::PredictionRow::example());
        check(metrics::MetricRow::example());
        check(confusion::ConfusionRow::example());
        check(runs::RunRow::example());
    }

    #[test]
    fn a_file_of_another_table_and_a_damaged_file_are_refused_by_name() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("runs.parquet");
        publish_rows(folder.path(), &path, &[runs::RunRow::example()]).expect("written");
        let error = read_rows::<history::HistoryRow>(&path).expect_err("another table");
        assert!(error.to_string().contains("is not a `history` table"), "{error}");
        let bytes = std::fs::read(&path).expect("read");
        atomic::publish_bytes(folder.path(), &path, &bytes[..bytes.len() / 2]).expect("cut");
        let error = read_rows::<runs::RunRow>(&path).expect_err("cut short");
        assert!(error.to_string().contains("runs.parquet"), "{error}");
        assert_eq!(error.kind().exit_code(), 2);
    }
}
