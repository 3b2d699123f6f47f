//! What a scan finds among files that are no recordings, and what it makes of a machine that fails.

#![allow(clippy::disallowed_methods)]

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use super::*;

fn reason_of(found: &[ScannedFile], relative: &str) -> Option<(String, bool)> {
    let file =
        found.iter().find(|file| file.relative == relative).unwrap_or_else(|| panic!("no {relative}: {found:?}"));
    file.obstacle.as_ref().map(|obstacle| (obstacle.reason.clone(), obstacle.may_pass))
}

#[test]
fn what_is_no_recording_is_an_entry_or_passed_over() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = |name: &str| folder.path().join(name);
    std::fs::create_dir_all(path("deep/er.wav")).expect("folder");
    for name in ["a.wav", "deep/er.wav/b.flac", "notes.txt"] {
        std::fs::write(path(name), name).expect("written");
    }
    for pipe in ["pipe.wav", "pipe.txt"] {
        assert!(std::process::Command::new("mkfifo").arg(path(pipe)).status().expect("mkfifo runs").success());
    }
    let _socket = std::os::unix::net::UnixListener::bind(path("socket.wav")).expect("bound");
    for (target, link) in [
        ("/dev/null", "null.wav"),
        ("/dev/null", "null.txt"),
        ("pipe.txt", "to pipe.wav"),
        ("a.wav", "to a.wav"),
        ("nowhere", "gone.wav"),
        ("nowhere", "gone.txt"),
        ("itself.wav", "itself.wav"),
        ("itself.txt", "itself.txt"),
        ("a.wav/under", "under.wav"),
        ("..", "deep/up"),
    ] {
        symlink(target, path(link)).expect("a link");
    }
    let Listing { recordings: found, passed_over } = recordings_below(folder.path()).expect("listed");
    let names: Vec<&str> = found.iter().map(|file| file.relative.as_str()).collect();
    assert!(names.is_sorted());
    let fact = |text: &str| Some((text.to_string(), false));
    let nowhere = fact("cannot be read: it is a link that leads nowhere");
    let expected = [
        ("a.wav", None),
        ("deep/er.wav/b.flac", None),
        ("deep/up", fact("is a link to a folder above it")),
        ("gone.wav", nowhere.clone()),
        ("itself.wav", nowhere.clone()),
        ("null.wav", fact("is a device, not a file")),
        ("pipe.wav", fact("is a pipe, not a file")),
        ("socket.wav", fact("is a socket, not a file")),
        ("to a.wav", None),
        ("to pipe.wav", fact("is a pipe, not a file")),
        ("under.wav", nowhere),
    ];
    assert_eq!(names, expected.each_ref().map(|(name, _)| *name));
    for (name, obstacle) in expected {
        assert_eq!(reason_of(&found, name), obstacle, "{name}");
    }
    // A link to nowhere is no file.
    assert_eq!(passed_over.kinds(), [("txt", 3)]);
    assert_eq!(found[0].stamp, stamp_of(&path("a.wav")).expect("looked at").expect("there"));
    assert_eq!(found[0].stamp.size, 5);
    assert_eq!(stamp_of(&path("gone.wav")).expect("looked at"), None);
}

#[test]
fn every_name_is_a_recording_of_its_own() {
    let folder = tempfile::tempdir().expect("temporary folder");
    std::fs::create_dir(folder.path().join("a")).expect("folder");
    let names: [&[u8]; 5] = [b"a/b.wav", b"a\\b.wav", b"caf\xe9.wav", b"caf\xe8.wav", b"caf\\xe9.wav"];
    for name in names {
        std::fs::write(folder.path().join(std::ffi::OsStr::from_bytes(name)), name).expect("written");
    }
    let found = recordings_below(folder.path()).expect("listed").recordings;
    let relative: Vec<&str> = found.iter().map(|file| file.relative.as_str()).collect();
    assert_eq!(relative, ["a/b.wav", "a\\b.wav", "caf\\x5cxe9.wav", "caf\\xe8.wav", "caf\\xe9.wav"]);
    for file in &found {
        assert_eq!(folder.path().join(files::path_of(&file.relative)), file.file);
    }
}

#[test]
fn the_root_of_the_file_system_and_what_is_no_folder_are_refused_by_name() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let file = folder.path().join("a.wav");
    std::fs::write(&file, b"1").expect("written");
    symlink("/", folder.path().join("all")).expect("a link");
    for (place, words) in [
        (PathBuf::from("/"), "`/`: is the root"),
        (PathBuf::from("/usr/.."), "is the root"),
        (folder.path().join("all"), "is the root"),
        (file, "is no folder"),
        (folder.path().join("gone"), "cannot be listed"),
    ] {
        let error = recordings_below(&place).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Input);
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn a_change_that_keeps_size_and_time_is_another_stamp() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let file = folder.path().join("a.wav");
    let stamp = || stamp_of(&file).expect("looked at").expect("there");
    std::fs::write(&file, b"1").expect("written");
    let (first, time) = (stamp(), std::fs::metadata(&file).expect("there").modified().expect("a time"));
    std::thread::sleep(std::time::Duration::from_millis(30));
    std::fs::write(&file, b"2").expect("written");
    std::fs::File::options().write(true).open(&file).expect("opened").set_modified(time).expect("set back");
    let second = stamp();
    assert_eq!((first.size, first.changed_ns), (second.size, second.changed_ns));
    assert_ne!(first, second);
}

/// The outcome of a listing of one recording and `failure` at `place`.
fn listing(place: Option<&str>, code: i32) -> io::Result<Vec<ScannedFile>> {
    let folder = tempfile::tempdir().expect("temporary folder");
    let file = folder.path().join("a.wav");
    std::fs::write(&file, b"1").expect("written");
    let place = place.map(|place| folder.path().join(place));
    let listed = [Listed::File(file), Listed::Failed(place, io::Error::from_raw_os_error(code))];
    let look = |file: &Path| std::fs::metadata(file);
    collect(folder.path(), listed.into_iter(), &look, &mut PathBuf::new()).map(|found| found.recordings)
}

#[test]
fn a_listing_that_fails_is_never_a_shorter_list() {
    for code in [libc::EIO, libc::EMFILE, libc::ENOMEM, libc::ESTALE] {
        for place in [None, Some("speaker_01"), Some("b.wav")] {
            assert_eq!(listing(place, code).expect_err("no list").raw_os_error(), Some(code), "{place:?}");
        }
    }
    // The folder itself, whatever is wrong with it.
    for code in [libc::EACCES, libc::ENOENT, libc::EIO] {
        assert!(listing(Some(""), code).is_err());
    }
    let forbidden = listing(Some("speaker_01"), libc::EACCES).expect("a list");
    let (reason, may_pass) = reason_of(&forbidden, "speaker_01").expect("an obstacle");
    assert!(reason.starts_with("cannot be listed: Permission denied") && may_pass, "{reason}");
    assert_eq!(forbidden[1].check().expect_err("an obstacle").kind(), ErrorKind::Unreadable);
    let too_long = listing(Some("speaker_01"), libc::ENAMETOOLONG).expect("a list");
    assert_eq!(too_long[1].check().expect_err("an obstacle").kind(), ErrorKind::Recording);
    // Gone since its folder was listed.
    assert_eq!(listing(Some("b.wav"), libc::ENOENT).expect("a list").len(), 1);
}

#[test]
fn a_recording_that_cannot_be_looked_at_is_said_or_ends_the_scan() {
    let look = |code: i32| {
        let listed = std::iter::once(Listed::File("x/a.wav".into()));
        let failing = move |_: &Path| Err(io::Error::from_raw_os_error(code));
        let mut failed_at = PathBuf::new();
        collect(Path::new("x"), listed, &failing, &mut failed_at).map_err(|error| (error.raw_os_error(), failed_at))
    };
    assert_eq!(look(libc::EMFILE), Err((Some(libc::EMFILE), "x/a.wav".into())));
    for code in [libc::EACCES, libc::EIO, libc::ESTALE] {
        let found = look(code).expect("a list");
        assert_eq!(found.recordings[0].relative, "a.wav");
        assert!(found.recordings[0].obstacle.as_ref().is_some_and(|obstacle| obstacle.may_pass));
    }
}

#[test]
fn every_file_is_a_recording_or_counted() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let names =
        ["a.WAV", "b.TXT", "deep/c.txt", "deep/d.txt", "labels.csv", "deep/e.csv", "README", ".hidden", "f.wav.bak"];
    std::fs::create_dir(folder.path().join("deep")).expect("folder");
    for name in names {
        std::fs::write(folder.path().join(name), name).expect("written");
    }
    let mut found = recordings_below(folder.path()).expect("listed");
    assert_eq!(found.recordings.len() as u64 + found.passed_over.n_files(), names.len() as u64);
    found.passed_over.leave_out(&folder.path().join("labels.csv"));
    assert_eq!(found.passed_over.kinds(), [("txt", 3), ("none", 2), ("bak", 1), ("csv", 1)]);
    let text = found.passed_over.text().expect("said");
    assert_eq!(text, "7 files below it are no recordings by their names: txt 3, none 2, bak 1, csv 1");
    let mut one = PassedOver::default();
    assert_eq!(one.text(), None);
    one.add(Path::new("a.pdf"));
    assert_eq!(one.text().as_deref(), Some("1 file below it is no recording by its name: pdf 1"));
    one.leave_out(Path::new("a.pdf"));
    assert_eq!(one, PassedOver::default());
}

#[test]
fn the_kinds_of_files_that_are_named_are_not_without_end() {
    let mut many = PassedOver::default();
    (0..1_000).for_each(|i| many.add(Path::new(&format!("a.{i}"))));
    (0..5).for_each(|_| many.add(Path::new("a.txt")));
    let (kinds, mut twice) = (many.kinds(), many.clone());
    assert!(kinds.len() == 21 && kinds[0] == ("txt", 5) && kinds[20] == ("others", 981), "{kinds:?}");
    twice.join(&many);
    assert_eq!((twice.n_files(), twice.kinds()[0]), (2_010, ("txt", 10)));
}
