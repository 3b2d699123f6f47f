//! What a folder promises as a depot.

use std::fs;
use std::os::unix::ffi::OsStrExt;

use super::*;

fn bytes<'a>(bytes: &'a [u8]) -> New<'a> {
    New::Bytes { room: "staging/s", bytes }
}

#[test]
fn no_operation_takes_a_key_that_leads_out_of_the_store() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let depot = Folder::new(folder.path().join("store"));
    fs::write(folder.path().join("mine"), "mine").expect("written");
    for key in ["../mine", "a/../../mine", "/mine", "", "a//b", "a\0", "a\\b"] {
        assert_eq!(depot.file(key), None, "{key:?}");
        assert!(depot.read(key, 10).is_err() && depot.open(key).is_err() && depot.stat(key).is_err(), "{key:?}");
        assert!(depot.list(key).is_err() && depot.remove(key).is_err(), "{key:?}");
        assert!(depot.put(key, bytes(b"x"), Mode::Replace).is_err(), "{key:?}");
        assert!(depot.rename(key, "a/b").is_err() && depot.rename("a/b", key).is_err(), "{key:?}");
        assert!(depot.reveal("staging/s", &Change::of(key)).is_err(), "{key:?}");
    }
    assert_eq!(fs::read(folder.path().join("mine")).expect("there"), b"mine");
}

#[test]
fn of_many_that_create_a_key_one_succeeds_and_its_bytes_stay() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let depot = Folder::new(folder.path());
    let all: Vec<Put> = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..8_u8)
            .map(|racer| {
                let depot = &depot;
                scope.spawn(move || depot.put("t/a", bytes(&[racer; 1000]), Mode::Create).expect("no error"))
            })
            .collect();
        racers.into_iter().map(|racer| racer.join().expect("no panic")).collect()
    });
    assert_eq!(all.iter().filter(|put| **put == Put::Made).count(), 1);
    let winner = all.iter().position(|put| *put == Put::Made).expect("one") as u8;
    assert_eq!(depot.read("t/a", 1000).expect("read"), [winner; 1000]);
    assert_eq!(depot.put("t/a", bytes(b"late"), Mode::Create).expect("no error"), Put::Taken);
    assert_eq!(depot.read("t/a", 1000).expect("read"), [winner; 1000]);
    assert_eq!(depot.list("staging/s").expect("listed"), Vec::<String>::new(), "no temporary stays");
    let written = atomic::write_bytes_aside(&folder.path().join("staging/s"), Path::new("a"), b"new").expect("written");
    assert_eq!(depot.put("t/a", New::Written(written), Mode::Replace).expect("replaced"), Put::Made);
    assert_eq!(depot.read("t/a", 3).expect("read"), b"new");
}

#[test]
fn an_open_object_is_one_version() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let depot = Folder::new(folder.path());
    depot.put("t/a", bytes(b"old bytes"), Mode::Replace).expect("put");
    assert_eq!(depot.stat("t/a").expect("there"), Some(Stat { n_bytes: 9 }));
    let object = depot.open("t/a").expect("open");
    depot.put("t/a", bytes(b"other"), Mode::Replace).expect("put");
    let mut part = [0; 5];
    object.read_at(4, &mut part).expect("read");
    assert_eq!((&part, object.n_bytes()), (b"bytes", 9));
    assert_eq!(object.read_at(5, &mut part).expect_err("beyond its end").kind(), io::ErrorKind::UnexpectedEof);
    depot.remove("t/a").expect("removed");
    depot.remove("t/a").expect("nothing there is fine");
    assert_eq!(depot.stat("t/a").expect("nothing"), None);
    assert_eq!(depot.open("t/a").map(|_| ()).expect_err("nothing").kind(), io::ErrorKind::NotFound);
}

#[test]
fn a_listing_is_in_order_and_one_that_fails_is_no_empty_folder() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let depot = Folder::new(folder.path());
    assert_eq!(depot.list("t").expect("no folder"), Vec::<String>::new());
    for name in [&b"b"[..], b"a", b"caf\xe9"] {
        atomic::create_folder(&folder.path().join("t")).expect("made");
        fs::write(folder.path().join("t").join(std::ffi::OsStr::from_bytes(name)), "").expect("written");
    }
    assert_eq!(depot.list("t").expect("listed"), ["a", "b", "caf\\xe9"]);
    let error = depot.list("t/a").expect_err("a file has no entries");
    assert!(error.kind().exit_code() == 3 && error.to_string().contains("t/a"), "{error}");
    let change = Change { added: vec![("staging/s/x".into(), "x".into())], ..Change::of("t/a") };
    depot.reveal("staging/s", &change).expect_err("nor can it change");
    fs::create_dir_all(folder.path().join("staging")).expect("made");
    fs::write(folder.path().join("staging/s"), "").expect("a file in place of the room");
    depot.kept("staging/s", None).expect_err("what is kept cannot be listed");
}
