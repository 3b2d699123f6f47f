//! Columns of a Parquet file that somebody else wrote, as text.

use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Float16Type, Float32Type, Float64Type};
use parquet::arrow::ProjectionMask;

use super::ranged::RangedFile;
use super::reading::{begin, cannot_read, guarded};
use crate::error::{Error, Result};
use crate::files;

/// Rows in memory at a time, beside the texts.
const BATCH_ROWS: usize = 8192;
/// Ten million recordings: a few bytes of a file can say that a value comes again any number of times.
const MOST_ROWS: usize = 10_000_000;
const MOST_BYTES: usize = 1_000_000_000;

/// The columns that `choose` picks among the names, as texts: a list per column, `None` where a value is missing.
///
/// Only the chosen columns are read, so that recordings in a column of their own cost nothing. Whole numbers are written without
/// a point, also those that a program keeps as fractions; a number that is none is missing.
/// Errors of kind `Input`: no file, a damaged one, a chosen column that is neither text nor number; what `choose` answers.
pub fn columns_as_text(
    path: &Path,
    choose: &mut dyn FnMut(&[&str]) -> Result<Vec<usize>>,
) -> Result<Vec<Vec<Option<String>>>> {
    let cannot = |error| mended(cannot_read(path, error));
    let file = files::open(path).map_err(cannot)?;
    let file = RangedFile::new(file).map_err(cannot)?;
    // Parquet's reader turns errors of the system into texts; the file itself remembers them.
    read(&file, path, choose).map_err(|error| match file.take_error() {
        Some(error) => cannot(error),
        None => error,
    })
}

/// What helps is not to run a stage again.
fn mended(error: Error) -> Error {
    error.hint("write the table again with the program that made it, or name another one in the recipe")
}

fn read(
    file: &RangedFile,
    path: &Path,
    choose: &mut dyn FnMut(&[&str]) -> Result<Vec<usize>>,
) -> Result<Vec<Vec<Option<String>>>> {
    let builder = begin(file.clone(), path).map_err(mended)?;
    let names: Vec<String> = builder.schema().fields().iter().map(|field| field.name().clone()).collect();
    let chosen = choose(&names.iter().map(String::as_str).collect::<Vec<_>>())?;
    for &column in &chosen {
        let field = builder.schema().field(column);
        if !is_readable(field.data_type()) {
            let what = format!("column `{}` holds {}, neither text nor numbers", field.name(), field.data_type());
            return Err(Error::input(what).at(path));
        }
    }
    let mask = ProjectionMask::roots(builder.parquet_schema(), chosen.iter().copied());
    let mut reader =
        guarded(path, || builder.with_projection(mask).with_batch_size(BATCH_ROWS).build()).map_err(mended)?;
    let mut columns: Vec<Vec<Option<String>>> = vec![Vec::new(); chosen.len()];
    let (mut n_rows, mut n_bytes) = (0, 0);
    while let Some(batch) = guarded(path, || Ok(reader.next().transpose()?)).map_err(mended)? {
        n_rows += batch.num_rows();
        for (values, array) in columns.iter_mut().zip(batch.columns()) {
            let texts =
                texts(array).map_err(|error| mended(Error::input("the table is damaged").at(path).because(error)))?;
            n_bytes += texts.iter().flatten().map(String::len).sum::<usize>();
            values.extend(texts);
        }
        if n_rows > MOST_ROWS || n_bytes > MOST_BYTES {
            let what =
                format!("has more than {MOST_ROWS} rows, or {MOST_BYTES} bytes of text in the columns that are read");
            return Err(Error::input(what).at(path));
        }
    }
    Ok(columns)
}

fn is_readable(kind: &DataType) -> bool {
    use DataType as Kind;
    match kind {
        Kind::Dictionary(_, values) => is_readable(values),
        Kind::Utf8 | Kind::LargeUtf8 | Kind::Utf8View | Kind::Binary | Kind::LargeBinary | Kind::BinaryView => true,
        Kind::Boolean | Kind::Null => true,
        kind => kind.is_integer() || kind.is_floating(),
    }
}

/// The values of one batch of a column; text of old writers is not marked as such, and must be UTF-8 all the same.
fn texts(array: &ArrayRef) -> std::result::Result<Vec<Option<String>>, arrow::error::ArrowError> {
    let written = |value: Option<f64>| value.filter(|value| !value.is_nan()).map(|value| value.to_string());
    Ok(match array.data_type() {
        DataType::Float16 => array.as_primitive::<Float16Type>().iter().map(|v| written(v.map(f64::from))).collect(),
        // A number of 32 bits has its own shortest decimals.
        DataType::Float32 => {
            let values = array.as_primitive::<Float32Type>().iter();
            values.map(|value| value.filter(|value| !value.is_nan()).map(|value| value.to_string())).collect()
        }
        DataType::Float64 => array.as_primitive::<Float64Type>().iter().map(written).collect(),
        _ => {
            let text =
                cast_with_options(array, &DataType::Utf8, &CastOptions { safe: false, ..CastOptions::default() })?;
            text.as_string::<i32>().iter().map(|value| value.map(str::to_owned)).collect()
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{DictionaryArray, Float64Array, Int64Array, ListArray, StringArray};
    use arrow::datatypes::Int32Type;
    use arrow::record_batch::RecordBatch;
    use parquet::arrow::ArrowWriter;

    use super::*;

    fn table() -> Vec<u8> {
        let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1)]), None, None]);
        let words: DictionaryArray<Int32Type> = [Some("Anger"), None, Some("Ärger")].into_iter().collect();
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("file", Arc::new(StringArray::from(vec!["a.wav", "b.wav", "c.wav"])) as ArrayRef, true),
            ("word", Arc::new(words) as ArrayRef, true),
            ("take", Arc::new(Float64Array::from(vec![Some(2.0), Some(f64::NAN), Some(0.25)])) as ArrayRef, true),
            ("age", Arc::new(Int64Array::from(vec![Some(-1), None, Some(i64::MAX)])) as ArrayRef, true),
            ("pieces", Arc::new(list) as ArrayRef, true),
        ]);
        let batch = batch.expect("a table");
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).expect("begun");
        writer.write(&batch).expect("written");
        writer.close().expect("finished");
        bytes
    }

    fn put(bytes: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("labels.parquet");
        crate::storage::atomic::publish_bytes(folder.path(), &path, bytes).expect("written");
        (folder, path)
    }

    #[test]
    fn columns_of_every_kind_become_text_and_the_others_are_not_read() {
        let (_folder, path) = put(&table());
        let texts = columns_as_text(&path, &mut |names| {
            assert_eq!(names, ["file", "word", "take", "age", "pieces"]);
            Ok(vec![1, 2, 3])
        });
        let text = |text: &str| Some(text.to_owned());
        let expected = [
            vec![text("Anger"), None, text("Ärger")],
            vec![text("2"), None, text("0.25")],
            vec![text("-1"), None, text("9223372036854775807")],
        ];
        assert_eq!(texts.expect("read"), expected);
        let error = columns_as_text(&path, &mut |_| Ok(vec![4])).expect_err("a list");
        assert!(error.to_string().contains("column `pieces` holds List"), "{error}");
    }

    #[test]
    fn no_damage_to_a_foreign_table_panics_and_the_file_is_named() {
        let bytes = table();
        let (folder, path) = put(&bytes);
        for at in (0..bytes.len()).step_by(3) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x55;
            crate::storage::atomic::publish_bytes(folder.path(), &path, &damaged).expect("written");
            if let Err(error) = columns_as_text(&path, &mut |names| Ok((0..names.len().min(4)).collect())) {
                assert!(error.to_string().contains("labels.parquet"), "{error}");
            }
        }
        let error = columns_as_text(&path.with_extension("none"), &mut |_| Ok(vec![0])).expect_err("no file");
        assert_eq!(error.kind(), crate::error::ErrorKind::Input);
    }
}
