//! What stands in a folder decides where its labels come from.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, StringArray};
use arrow::record_batch::RecordBatch;

use super::*;
use crate::corpora::{CORPORA, corpus};
use crate::tables::foreign::columns_as_text;

fn root(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = root.path().join(name);
        crate::storage::atomic::create_folder(path.parent().unwrap()).unwrap();
        crate::storage::atomic::publish_bytes(root.path(), &path, bytes).unwrap();
    }
    root
}

fn open(root: &tempfile::TempDir, options: &Options) -> Result<Box<dyn Labeller>> {
    Labelled.open(root.path(), options, columns_as_text)
}

fn word(labeller: &dyn Labeller, path: &str) -> Option<String> {
    labeller.label(Path::new(path)).unwrap().emotion
}

fn with_table(name: &str) -> Options {
    Options { table: Some(name.into()), ..Options::default() }
}

fn parquet(columns: &[(&str, ArrayRef)]) -> Vec<u8> {
    let columns = columns.iter().map(|(name, array)| (*name, array.clone(), true));
    let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    let mut bytes = Vec::new();
    let mut writer = parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

#[test]
fn a_table_in_the_root_wins_over_folders_and_a_named_one_over_it() {
    let root = root(&[
        ("labels.csv", b"path,emotion\nangry/1.wav,sad\n"),
        ("meta/own.tsv", b"path\temotion\nangry/1.wav\tfear\n"),
    ]);
    let usual = open(&root, &Options::default()).unwrap();
    assert_eq!(word(usual.as_ref(), "angry/1.wav").as_deref(), Some("sad"));
    assert!(usual.label(Path::new("angry/2.wav")).is_err());
    let named = open(&root, &with_table("meta/own.tsv")).unwrap();
    assert_eq!(word(named.as_ref(), "angry/1.wav").as_deref(), Some("fear"));
    assert_eq!(named.label(Path::new("x.wav")).unwrap_err().reason(), "not listed in meta/own.tsv");
    let pattern = Options { pattern: Some("{emotion}/*".into()), ..Options::default() };
    assert_eq!(word(open(&root, &pattern).unwrap().as_ref(), "Odd/1.wav").as_deref(), Some("odd"));
}

#[test]
fn a_named_table_that_is_not_there_is_no_reason_to_read_folders() {
    let root = root(&[]);
    assert!(open(&root, &Options::default()).is_ok());
    let columns = Options { columns: BTreeMap::from([("path".into(), "file".into())]), ..Options::default() };
    for (options, name) in
        [(with_table("l.csv"), "l.csv"), (columns, "labels.csv"), (with_table("l.parquet"), "l.parquet")]
    {
        let error = open(&root, &options).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Input);
        assert!(error.to_string().contains(&format!("{name}`: cannot read")), "{error}");
    }
}

#[test]
fn a_parquet_table_is_read_as_a_text_one_is() {
    let text = |values: &[Option<&str>]| Arc::new(StringArray::from(values.to_vec())) as ArrayRef;
    let numbers = |values: &[Option<f64>]| Arc::new(Float64Array::from(values.to_vec())) as ArrayRef;
    let table = parquet(&[
        ("spk", numbers(&[Some(7.0), None, Some(8.0)])),
        ("file", text(&[Some("a.wav"), Some("b.wav"), Some(" b.wav ")])),
        ("t0", numbers(&[None, Some(0.5), Some(0.0)])),
        ("t1", numbers(&[None, Some(1.5), Some(0.5)])),
        ("emotion", text(&[Some("Wut"), None, Some("joy")])),
    ]);
    let root = root(&[("meta/l.Parquet", &table)]);
    let columns = [("path", "file"), ("speaker", "spk"), ("start", "t0"), ("end", "t1")];
    let columns = columns.map(|(field, column)| (field.to_owned(), column.to_owned())).into();
    let options = Options { columns, ..with_table("meta/l.Parquet") };
    let labeller = open(&root, &options).unwrap();
    let first = labeller.label(Path::new("a.wav")).unwrap();
    assert_eq!((first.emotion.as_deref(), first.speaker.as_deref()), (Some("angry"), Some("7")));
    let parts = labeller.labels(Path::new("b.wav")).unwrap();
    let said = parts.iter().map(|part| (part.emotion.as_deref(), part.start_s, part.speaker.as_deref()));
    assert!(said.eq([(Some("happy"), Some(0.0), Some("8")), (None, Some(0.5), None)]));
    let error = open(&root, &with_table("meta/l.Parquet")).err().unwrap();
    assert!(error.to_string().contains("l.Parquet`: column `path` is missing"), "{error}");
}

#[test]
fn errors_in_a_parquet_table_name_file_row_column_and_value() {
    let text = |values: &[&str]| Arc::new(StringArray::from(values.to_vec())) as ArrayRef;
    let table = parquet(&[
        ("path", text(&["a.wav", "../b.wav"])),
        ("emotion", text(&["sad", "sad"])),
        ("sex", text(&["x", "f"])),
    ]);
    let root = root(&[("l.parquet", &table), ("cut.parquet", &table[..table.len() / 2])]);
    let error = open(&root, &with_table("l.parquet")).err().unwrap().to_string();
    assert!(error.contains("l.parquet`: row 2, column `path`: `../b.wav` leads upwards"), "{error}");
    let error = open(&root, &with_table("cut.parquet")).err().unwrap();
    assert!(error.to_string().contains("cut.parquet`: the table is damaged"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Input);
}

#[test]
fn a_table_that_is_not_utf8_is_refused_with_its_line() {
    let root = root(&[("labels.csv", b"path,emotion\na.wav,sad\n\xe9.wav,sad\n"), ("wide.csv", b"\xff\xfep\0a\0")]);
    let error = open(&root, &Options::default()).err().unwrap();
    assert!(error.to_string().contains("labels.csv`: line 3 is not UTF-8 text"), "{error}");
    let error = open(&root, &with_table("wide.csv")).err().unwrap();
    assert!(error.to_string().contains("wide.csv`: line 1 is not UTF-8 text"), "{error}");
}

#[test]
fn wrong_keys_are_recipe_errors_and_other_kinds_take_none() {
    let check = |options: &Options| {
        let error = Labelled.check(options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Recipe);
        error
    };
    for table in ["/etc/labels.csv", "../labels.csv", "a/../b.csv", "", ".", "a\0.csv"] {
        let reason = check(&with_table(table)).reason();
        assert_eq!(
            reason,
            format!("[[ingest.corpus]] table = `{table}`: must be a file below the corpus' folder, without `..`")
        );
    }
    let column =
        |name: &str, column: &str| Options { columns: [(name.into(), column.into())].into(), ..Options::default() };
    assert_eq!(check(&column("emotoin", "x")).hint_text(), Some("did you mean `emotion`?"));
    assert!(check(&column("path", "")).reason().contains("must name its recordings"));
    let both = Options { pattern: Some("{emotion}/*".into()), ..with_table("a.csv") };
    assert!(check(&both).reason().ends_with("from a pattern or from a table, not from both"));
    assert!(check(&Options { pattern: Some("x".into()), ..Options::default() }).reason().contains("has no {emotion}"));
    for other in CORPORA.iter().filter(|other| other.name() != "labelled") {
        let words = Options { words: [("A".into(), "angry".into())].into(), ..Options::default() };
        for (options, key) in [(with_table("a.csv"), "table"), (words, "words"), (column("path", "x"), "columns")] {
            let reason = other.check(&options).unwrap_err().reason();
            assert_eq!(reason, format!("[[ingest.corpus]] of kind `{}` takes no `{key}`", other.name()));
        }
        assert!(other.check(&Options::default()).is_ok());
    }
    assert!(corpus("labelled").unwrap().check(&with_table("meta/labels.tsv")).is_ok());
}

#[test]
fn folders_without_an_emotion_are_rejected_and_codes_of_the_recipe_are_words() {
    let folders = |words: &[(&str, &str)]| {
        let words = words.iter().map(|(code, word)| (code.to_string(), word.to_string())).collect();
        Folders { options: Options { words, ..Options::default() } }
    };
    let error = folders(&[]).label(Path::new("angry.wav")).unwrap_err();
    assert_eq!(error.reason(), "no folder above it is named after an emotion, such as angry");
    assert!(error.hint_text().unwrap().contains("pattern"));
    let own = folders(&[("F2", "Furious"), ("none", "")]);
    assert_eq!(word(&own, "sad/F2/1.wav").as_deref(), Some("furious"));
    assert_eq!(word(&own, "sad/none/1.wav"), None);
    assert_eq!(word(&own, "sad/f2/1.wav").as_deref(), Some("sad"));
}
