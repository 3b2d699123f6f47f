//! What the one writer leaves behind, and what it never touches.
#![allow(clippy::disallowed_methods)]

use super::*;

#[test]
fn a_failed_write_leaves_the_old_file_and_no_temporary() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let (staging, target) = (folder.path().join("staging"), folder.path().join("t/part.parquet"));
    publish_bytes(&staging, &target, b"old").expect("first write");
    let failure = publish(&staging, &target, |file| {
        file.write_all(b"half").expect("write");
        Err(Error::bug("stop"))
    });
    assert!(failure.is_err());
    assert_eq!(fs::read(&target).expect("read"), b"old");
    assert_eq!(entries(&staging).expect("listed").len(), 0);
}

#[test]
fn a_file_that_cannot_take_its_place_leaves_no_temporary() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let (staging, target) = (folder.path().join("staging"), folder.path().join("t"));
    create_folder(&target.join("in the way")).expect("a folder");
    publish_bytes(&staging, &target, b"new").expect_err("a folder is in the way");
    assert_eq!(entries(&staging).expect("listed").len(), 0);
    publish_beside(&target, b"new").expect_err("a folder is in the way");
    assert_eq!(entries(folder.path()).expect("listed"), [staging, target]);
}

#[test]
fn what_is_written_is_hashed_on_its_way() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let target = folder.path().join("a");
    let bytes: Vec<u8> = (0..3 * BUFFER).map(|at| (at * 7 % 251) as u8).collect();
    let content = publish(folder.path(), &target, |out| {
        bytes.chunks(99_991).try_for_each(|part| out.write_all(part)).map_err(|error| failed("", &target, error))
    });
    let expected = Content { n_bytes: bytes.len() as u64, blake3: blake3::hash(&bytes).to_hex().to_string() };
    assert_eq!(content.expect("written"), expected);
    assert_eq!(fs::read(&target).expect("read"), bytes);
}

#[test]
fn a_file_beside_others_touches_none_of_them() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = |name: &str| folder.path().join(name);
    for name in ["happy.staging", "happy.svg.partial", ".happy.svg"] {
        fs::write(path(name), "mine").expect("written");
    }
    publish_beside(&path("happy.svg"), b"<svg/>").expect("written");
    publish_beside(&path("new/folder/happy.svg"), b"<svg/>").expect("written");
    for name in ["happy.staging", "happy.svg.partial", ".happy.svg"] {
        assert_eq!(fs::read(path(name)).expect("still there"), b"mine");
    }
    assert_eq!(entries(folder.path()).expect("listed").len(), 5);
    assert!(publish_beside(Path::new("/"), b"x").is_err() && publish_beside(Path::new(".."), b"x").is_err());
}

#[test]
fn temporaries_have_names_of_their_own_and_are_cleared_by_them() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let aside = || write_aside(folder.path(), Path::new("t"), |_| Ok(())).expect("written");
    let (a, b) = (aside(), aside());
    assert_eq!(entries(folder.path()).expect("listed").len(), 2);
    drop(a);
    assert_eq!(entries(folder.path()).expect("listed").len(), 1);
    std::mem::forget(b);
    fs::write(folder.path().join("notes.txt"), "mine").expect("written");
    clear_temporaries(folder.path()).expect("cleared");
    assert_eq!(entries(folder.path()).expect("listed"), [folder.path().join("notes.txt")]);
}

#[test]
fn a_folder_that_cannot_be_made_is_a_machine_error_that_names_it() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let blocked = folder.path().join("file");
    fs::write(&blocked, "x").expect("write");
    let error = publish_bytes(&blocked.join("staging"), &blocked.join("t"), b"x").expect_err("a file is no folder");
    assert_eq!(error.kind().exit_code(), 3);
    assert!(error.to_string().contains("/file`"), "{error}");
}

#[test]
fn a_file_that_is_created_takes_no_other_place() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let target = folder.path().join("a/happy.wav");
    assert!(create_beside(&target, b"first").expect("free"));
    assert!(!create_beside(&target, b"second").expect("taken"));
    assert_eq!(fs::read(&target).expect("read"), b"first");
    publish_beside(&target, b"third").expect("replaced");
    assert_eq!(fs::read(&target).expect("read"), b"third");
    assert_eq!(entries(&folder.path().join("a")).expect("listed"), [target], "no temporary stays");
}

#[test]
fn names_of_temporaries_differ_in_what_neither_clock_nor_process_number_gives() {
    let random = || unique().rsplit('-').next().expect("three parts").to_string();
    let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(move || (0..500).map(|_| random()).collect())).collect();
    let all: Vec<Vec<String>> = threads.into_iter().map(|thread| thread.join().expect("no panic")).collect();
    let all: std::collections::BTreeSet<String> = all.into_iter().flatten().collect();
    assert_eq!(all.len(), 2000);
}
