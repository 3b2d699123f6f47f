//! Typed rows and the Parquet files that hold them; the contract with readers is `schemas/*.toml`.
//!
//! Each table has one file with its row type; [`TABLES`] lists them. Rows become columns by name through serde, against the
//! schema of the contract: a column that is missing, of another type or null where it must not be is an error, when
//! written and when read.

pub mod acoustic_prints;
mod blob_pages;
pub mod blobs;
pub mod calibration;
pub mod comparison;
pub mod confusion;
pub mod duplicates;
pub mod feature_index;
pub mod feature_plan;
pub mod features;
pub mod flips;
pub mod folds;
pub mod foreign;
pub mod history;
pub mod leaks;
pub mod listing;
pub mod manifest;
pub mod metrics;
mod page;
pub mod predictions;
pub mod probe_plan;
mod ranged;
mod reading;
pub mod reliability;
pub mod runs;
pub mod schema;
pub mod score_plan;
pub mod scorecard;
pub mod spectrograms;
pub mod trials;

use std::path::{Path, PathBuf};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::storage::atomic;
use crate::storage::layout::Store;
use crate::tables::schema::{ColumnType, TableSchema};

pub use reading::{TableFile, committed_files, committed_parts, committed_rows, read_group, read_part, read_rows};

/// A row type and the contract of its table.
pub trait Row: Serialize + DeserializeOwned {
    /// The table's file in `schemas/`.
    const SCHEMA: &'static str;
}

/// The contract of every table.
pub const TABLES: &[&str] = &[
    manifest::ManifestRow::SCHEMA,
    folds::FoldRow::SCHEMA,
    feature_plan::FeaturePlanRow::SCHEMA,
    features::FeatureRow::SCHEMA,
    feature_index::FeatureIndexRow::SCHEMA,
    acoustic_prints::AcousticPrintRow::SCHEMA,
    duplicates::DuplicateRow::SCHEMA,
    leaks::LeakRow::SCHEMA,
    history::HistoryRow::SCHEMA,
    listing::ListingRow::SCHEMA,
    probe_plan::ProbePlanRow::SCHEMA,
    score_plan::ScorePlanRow::SCHEMA,
    predictions::PredictionRow::SCHEMA,
    metrics::MetricRow::SCHEMA,
    calibration::CalibrationRow::SCHEMA,
    confusion::ConfusionRow::SCHEMA,
    reliability::ReliabilityRow::SCHEMA,
    runs::RunRow::SCHEMA,
    scorecard::ScorecardRow::SCHEMA,
    trials::TrialRow::SCHEMA,
    comparison::ComparisonRow::SCHEMA,
    flips::FlipRow::SCHEMA,
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
        self.writer.write(&batch).map_err(cannot_write)
    }

    /// Adds an entry to the file's key-value metadata.
    pub fn note(&mut self, key: &str, value: &str) {
        self.writer.append_key_value_metadata(KeyValue::new(key.to_string(), value.to_string()));
    }

    /// Ends a row group: who reads it alone reads what was written since the last one.
    pub fn end_group(&mut self) -> Result<()> {
        self.writer.flush().map_err(cannot_write)
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
    Ok((schema.clone(), arrow_writer_of(&contract, schema, out)?))
}

/// Begins a Parquet file of a table in `out`, with the columns of `schema`.
fn arrow_writer_of<W: std::io::Write + Send>(
    contract: &TableSchema,
    schema: SchemaRef,
    out: W,
) -> Result<ArrowWriter<W>> {
    ArrowWriter::try_new(out, schema, Some(writer_properties(contract)))
        .map_err(|error| Error::bug("cannot begin a Parquet file").because(error))
}

fn cannot_write(error: ParquetError) -> Error {
    Error::machine("cannot write a Parquet file").because(error)
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
    } else if !contract.transient {
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
        check(folds::FoldRow::example());
        check(feature_index::FeatureIndexRow::example());
        check(feature_plan::FeaturePlanRow::example());
        check(features::FeatureRow::example());
        check(acoustic_prints::AcousticPrintRow::example());
        check(duplicates::DuplicateRow::example());
        check(leaks::LeakRow::example());
        check(history::HistoryRow::example());
        check(listing::ListingRow::example());
        check(probe_plan::ProbePlanRow::example());
        check(score_plan::ScorePlanRow::example());
        check(predictions::PredictionRow::example());
        check(metrics::MetricRow::example());
        check(reliability::ReliabilityRow::example());
        check(calibration::CalibrationRow::example());
        check(confusion::ConfusionRow::example());
        check(runs::RunRow::example());
        check(scorecard::ScorecardRow::example());
        check(trials::TrialRow::example());
        check(comparison::ComparisonRow::example());
        check(flips::FlipRow::example());
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
