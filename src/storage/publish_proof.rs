//! What the stages' files may and may not do to the store.

use super::*;

fn staged(store: &Store, stem: &str, bytes: &[u8]) -> OutFile {
    let staged = store.staging("s").join(format!("{}.staged", stem.replace('/', "~")));
    let content = atomic::publish_bytes(&store.staging("s"), &staged, bytes).expect("written");
    OutFile { record: FileRecord { path: content_named(stem, &content), content }, staged: Some(staged) }
}

#[test]
fn a_name_below_tables_is_written_once() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let store = Store::new(folder.path());
    let first = staged(&store, "tables/t/v1/a", b"first");
    let inode = |file: &OutFile| {
        std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(file.record.file(&store)).expect("there"))
    };
    publish(&store, "s", std::slice::from_ref(&first), &BTreeSet::new()).expect("published");
    let made = inode(&first);
    // The same bytes again: the file that stands there is left alone.
    publish(&store, "s", &[staged(&store, "tables/t/v1/a", b"first")], &BTreeSet::new()).expect("nothing to do");
    assert_eq!(inode(&first), made);
    // Other bytes under its name.
    let mut other = staged(&store, "tables/t/v1/a", b"other");
    other.record.path = first.record.path.clone();
    let error = publish(&store, "s", std::slice::from_ref(&other), &BTreeSet::new()).expect_err("another name's bytes");
    assert!(error.to_string().contains("hash of its bytes"), "{error}");
    assert_eq!(store.depot().read(&first.record.path, 10).expect("there"), b"first");
    // Nor under one without a hash, or with part of it.
    for path in ["tables/t/v1/a", "tables/t/v1/a.parquet", "tables/t/v1/a-0123.parquet"] {
        other.record.path = path.into();
        publish(&store, "s", std::slice::from_ref(&other), &BTreeSet::new()).expect_err("no hash in its name");
    }
    // What is damaged is no longer what its name says, and is made whole.
    std::fs::write(first.record.file(&store), "fir\0t").expect("damaged");
    publish(&store, "s", &[staged(&store, "tables/t/v1/a", b"first")], &BTreeSet::new()).expect("healed");
    assert_eq!(store.depot().read(&first.record.path, 10).expect("there"), b"first");
}

#[test]
fn files_of_two_contents_whose_hashes_begin_alike_are_refused() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let store = Store::new(folder.path());
    let file = staged(&store, "tables/t/v1/a", b"bytes");
    publish(&store, "s", std::slice::from_ref(&file), &BTreeSet::new()).expect("published");
    // Nobody can make two such files; a record may say so.
    let mut other = staged(&store, "tables/t/v1/a", b"bytes");
    other.record.content.blake3.replace_range(12.., &"0".repeat(52));
    let error = publish(&store, "s", &[other], &BTreeSet::new()).expect_err("refused");
    assert!(error.to_string().contains("begin alike"), "{error}");
}

#[test]
fn a_path_that_leads_out_of_the_store_is_refused_before_anything_changes() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let store = Store::new(folder.path().join("store"));
    std::fs::write(folder.path().join("mine"), "mine").expect("written");
    let file = staged(&store, "tables/t/v1/a", b"bytes");
    publish(&store, "s", &[file], &["../mine".to_string()].into()).expect_err("no key");
    assert_eq!(store.depot().list("tables/t/v1").expect("listed"), Vec::<String>::new());
    assert!(folder.path().join("mine").exists());
}

#[test]
fn a_stem_is_a_name_without_its_hash() {
    assert_eq!(stem_of("t/part-00000-0123456789ab.parquet"), "t/part-00000");
    assert_eq!(stem_of("models/paper-0123456789ab/model.onnx"), "models/paper-0123456789ab/model.onnx");
}
