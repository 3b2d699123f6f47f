//! What lies in folders beside good recordings: pipes, links, odd names, too much of it. Each is told, and none holds a run.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use sermill::files;
use sermill::tables::features::FeatureRow;
use sermill::tables::manifest::{ManifestRow, Status};
use sermill::tables::predictions::PredictionRow;
use sermill::units::SampleRate;

use crate::mill::Mill;

/// A tone of so many samples at 16 kHz, another for each number.
fn tone(number: usize, n_samples: usize) -> Vec<u8> {
    let wave: Vec<f32> = (0..n_samples).map(|i| 0.3 * (i as f32 * (0.1 + 0.01 * number as f32)).sin()).collect();
    sermill::audio::write_wav(&wave, SampleRate(16_000)).expect("a file")
}

fn put(file: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(file.parent().expect("a folder")).expect("folder");
    std::fs::write(file, bytes).expect("written");
}

fn pipe(file: &Path) {
    assert!(std::process::Command::new("mkfifo").arg(file).status().expect("mkfifo runs").success());
}

fn reason(rows: &[ManifestRow], path: &str) -> String {
    let row = rows.iter().find(|row| row.path == path).unwrap_or_else(|| panic!("no row for {path}"));
    assert_eq!(row.status, Status::Rejected, "{path}");
    row.reject_reason.clone().unwrap_or_default()
}

#[test]
fn what_is_no_file_is_a_row_and_is_never_opened() {
    let mill = Mill::new();
    let place = |name: &str| mill.corpora().join(name);
    put(&place("good.wav"), &tone(1, 40_000));
    pipe(&place("pipe.wav"));
    pipe(&place("pipe.txt"));
    let _socket = std::os::unix::net::UnixListener::bind(place("socket.wav")).expect("bound");
    symlink("/dev/zero", place("zero.wav")).expect("a link");
    symlink("nowhere", place("gone.wav")).expect("a link");
    symlink("nowhere", place("gone.txt")).expect("a link");
    let ended = mill.stage_of("ingest", "nightly", &[]);
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    let rows: Vec<ManifestRow> = mill.rows("manifest");
    assert_eq!(rows.len(), 5);
    assert_eq!(reason(&rows, "pipe.wav"), "is a pipe, not a file");
    assert_eq!(reason(&rows, "socket.wav"), "is a socket, not a file");
    assert_eq!(reason(&rows, "zero.wav"), "is a device, not a file");
    assert_eq!(reason(&rows, "gone.wav"), "cannot be read: it is a link that leads nowhere");
    assert_eq!(mill.stage_of("ingest", "nightly", &[]).json()["fresh"], true);
}

#[test]
fn files_with_odd_names_are_recordings_of_their_own() {
    let mill = Mill::new();
    let names: [&[u8]; 5] = [b"a/b.wav", b"a\\b.wav", b"caf\xe9.wav", b"caf\xe8.wav", b"caf\\xe9.wav"];
    for (number, name) in names.iter().enumerate() {
        put(&mill.corpora().join(OsStr::from_bytes(name)), &tone(number, 40_000));
    }
    let ended = mill.stage_of("ingest", "nightly", &[]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let rows: Vec<ManifestRow> = mill.rows("manifest");
    let paths: Vec<&str> = rows.iter().map(|row| row.path.as_str()).collect();
    assert_eq!(paths, ["a/b.wav", "a\\b.wav", "caf\\x5cxe9.wav", "caf\\xe8.wav", "caf\\xe9.wav"]);
    for row in &rows {
        let bytes = std::fs::read(mill.corpora().join(files::path_of(&row.path))).expect("the path leads back");
        assert_eq!(row.content_hash.as_deref(), Some(blake3_of(&bytes).as_str()), "{}", row.path);
    }
}

fn blake3_of(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().expect("temporary folder");
    let file = folder.path().join("a");
    std::fs::write(&file, bytes).expect("written");
    let budget = sermill::audio::Budget::new(sermill::audio::Budget::DEFAULT_LIMIT, SampleRate(16_000));
    let reader = sermill::recordings::Reader { channel: sermill::audio::Channel::Mix, budget };
    reader.read(&file, &mut Default::default()).expect("read").to_hex().to_string()
}

#[test]
fn a_recording_over_the_limit_is_rejected_by_every_command_with_the_same_reason() {
    let mill = Mill::with_corpus();
    mill.done("run", &[]);
    let incoming = mill.path("incoming");
    put(&incoming.join("short.wav"), &tone(1, 40_000));
    put(&incoming.join("long.wav"), &tone(2, 1_000_000));
    let sparse = std::fs::File::create(incoming.join("sparse.wav")).expect("made");
    sparse.set_len(100_000_000_000).expect("a hole of 100 GB");
    let limit = ["--set", "ingest.max_recording_mb=10"];
    let begun = std::time::Instant::now();
    let input = incoming.to_string_lossy().into_owned();
    let ended = mill.stage("score", &[&limit[..], &["--input", &input]].concat());
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    let rows: Vec<PredictionRow> = mill.rows("predictions");
    let reason = |name: &str| rows.iter().find(|row| row.path == name).and_then(|row| row.reject_reason.clone());
    assert_eq!(reason("short.wav"), None);
    assert_eq!(reason("sparse.wav").as_deref(), Some("not a recording in a known format"));
    let long = reason("long.wav").expect("too long");
    // 2 bytes in the file and 4 in memory a sample, and 4 for 1.34 at the front end's rate.
    assert!(long.starts_with("needs 11.4 MB of memory, the limit is 10.0 MB: cut it, or raise"), "{long}");

    let nightly = Mill::new();
    for name in ["short.wav", "long.wav"] {
        put(&nightly.corpora().join(name), &std::fs::read(incoming.join(name)).expect("there"));
    }
    assert_eq!(nightly.stage_of("ingest", "nightly", &limit).code, 1);
    assert_eq!(self::reason(&nightly.rows("manifest"), "long.wav"), long);
    let file = nightly.corpora().join("long.wav").to_string_lossy().into_owned();
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/nightly.toml").to_string_lossy().into_owned();
    let ended = mill.run(&[&["inspect", &file, "--pipeline", &recipe], &limit[..]].concat());
    assert_eq!(ended.code, 2);
    assert!(ended.stderr.contains(&long), "{}", ended.stderr);
    // A higher limit is another recipe: what did not fit is read, what did is not opened again.
    let summary = nightly.stage_of("ingest", "nightly", &[]).json();
    assert_eq!((&summary["n_done"], &summary["n_reused"], &summary["ok"]), (&1.into(), &1.into(), &2.into()));
    assert!(begun.elapsed().as_secs() < 60, "nothing was read that need not be");
}

#[test]
fn silence_is_rejected_by_every_command_with_the_same_reason() {
    let mill = Mill::with_corpus();
    mill.done("run", &[]);
    // The last bit of 16 moves, and nothing else.
    let wave: Vec<f32> = (0..40_000).map(|i| (i % 2) as f32 / 32_767.0).collect();
    let silence = sermill::audio::write_wav(&wave, SampleRate(16_000)).expect("a file");
    put(&mill.path("incoming/silence.wav"), &silence);
    put(&mill.corpora().join("synthetic/speaker_01/01-fear-s9-r1.wav"), &silence);
    let ended = mill.stage("score", &["--input", &mill.path("incoming").to_string_lossy()]);
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    let rows: Vec<PredictionRow> = mill.rows("predictions");
    let scored = rows.iter().find(|row| row.path == "silence.wav").expect("a row");
    let words = "silent: its peak is -90.3 dBFS";
    assert_eq!((scored.predicted.as_deref(), scored.reject_reason.as_deref()), (None, Some(words)));
    assert_eq!(mill.stage("ingest", &[]).code, 1);
    assert_eq!(reason(&mill.rows("manifest"), "synthetic/speaker_01/01-fear-s9-r1.wav"), words);
    let inspected = mill.run(&["inspect", "incoming/silence.wav"]);
    assert!(inspected.code == 2 && inspected.stderr.contains(words), "{}", inspected.stderr);
}

#[test]
fn every_file_has_a_row_or_is_counted_and_what_is_counted_makes_nothing_stale() {
    let mill = Mill::new();
    put(&mill.corpora().join("a.wav"), &tone(1, 40_000));
    for name in ["notes.TXT", "deep/more.txt", "session.pdf", "README"] {
        put(&mill.corpora().join(name), b"words");
    }
    let ended = mill.stage_of("ingest", "nightly", &[]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(ended.json()["passed_over"], serde_json::json!({ "txt": 2, "pdf": 1, "none": 1 }));
    assert!(ended.stderr.contains("4 files below it are no recordings by their names: txt 2, "), "{}", ended.stderr);
    put(&mill.corpora().join("other.txt"), b"words");
    assert_eq!(mill.stage_of("ingest", "nightly", &[]).json()["fresh"], true);

    let mill = Mill::with_corpus();
    mill.done("run", &[]);
    put(&mill.path("incoming/a.wav"), &tone(1, 40_000));
    put(&mill.path("incoming/a.txt"), b"words");
    let ended = mill.stage("score", &["--input", &mill.path("incoming").to_string_lossy()]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stderr.contains("1 file below it is no recording by its name: txt 1"), "{}", ended.stderr);
}

#[test]
fn two_scored_folders_never_share_an_id() {
    let mill = Mill::with_corpus();
    mill.done("run", &[]);
    for (number, folder) in ["monday", "tuesday"].iter().enumerate() {
        put(&mill.path(folder).join("x.wav"), &tone(number, 40_000));
        assert_eq!(mill.stage("score", &["--input", &mill.path(folder).to_string_lossy()]).code, 0);
    }
    let rows: Vec<PredictionRow> = mill.rows("predictions");
    let scored: Vec<&PredictionRow> = rows.iter().filter(|row| row.path == "x.wav").collect();
    assert_eq!(scored.len(), 2);
    assert_ne!(scored[0].recording_id, scored[1].recording_id);
    for row in scored {
        assert_eq!(row.recording_id, format!("{}/x.wav", row.corpus));
        assert!(row.corpus.starts_with("folder-") && row.corpus.len() == 15, "{}", row.corpus);
    }
}

#[test]
fn escape_sequences_in_names_reach_no_terminal() {
    let mill = Mill::new();
    let name = "a\u{1b}]0;owned\u{7}\u{1b}[2J\u{202e}\n.wav";
    put(&mill.corpora().join(name), b"no recording");
    let ended = mill.stage_of("ingest", "nightly", &[]);
    assert_eq!(ended.code, 1);
    let shown = "a\\u{1b}]0;owned\\u{7}\\u{1b}[2J\\u{202e}\\n.wav";
    assert!(ended.stderr.contains(shown), "{}", ended.stderr);
    put(&mill.path(name), &tone(1, 40_000));
    let inspected = mill.run(&["inspect", name]);
    assert_eq!(inspected.code, 0, "{}", inspected.stderr);
    assert!(inspected.stdout.contains(shown), "{}", inspected.stdout);
    put(&mill.path(name), b"no recording");
    let refused = mill.run(&["inspect", name]);
    assert!(refused.code == 2 && refused.stderr.contains(shown), "{}", refused.stderr);
    for text in [ended.stderr, inspected.stdout, refused.stderr] {
        let raw: Vec<char> = text.chars().filter(|&c| c.is_control() && c != '\n' || c == '\u{202e}').collect();
        assert!(raw.is_empty(), "{raw:?}");
    }
    // A path that would fill the screen.
    let long = vec!["x".repeat(200); 12].join("/");
    put(&mill.corpora().join(&long).join("a.wav"), b"no recording");
    let ended = mill.stage_of("ingest", "nightly", &[]);
    assert!(ended.stderr.lines().all(|line| line.chars().count() < 1_100), "{}", ended.stderr);
    assert!(ended.stderr.contains("xxx...xxx"), "{}", ended.stderr);
}

#[test]
fn pipes_in_place_of_files_that_are_named_are_refused_at_once() {
    let mill = Mill::with_corpus();
    for name in ["pipe.wav", "pipe.toml", "pipe.onnx", "corpora/synthetic/labels.csv"] {
        pipe(&mill.path(name));
    }
    let labelled = "ingest.corpus=[{kind=\"labelled\",name=\"own\",root=\"synthetic\"}]";
    let all = "ingest.corpus=[{kind=\"unlabelled\",name=\"all\",root=\"/\"}]";
    let file = mill.corpora().join("synthetic/speaker_01/01-sad-s1-r1.wav").to_string_lossy().into_owned();
    for (ended, words) in [
        (mill.run(&["inspect", "pipe.wav"]), "`pipe.wav`: cannot read recording: is a pipe, not a file"),
        (mill.run(&["inspect", &file, "--pipeline", "pipe.toml"]), "pipe.toml`: cannot read pipeline file: is a pipe"),
        (mill.run(&["inspect", &file, "--model", "pipe.onnx"]), "pipe.onnx`: cannot read the model: is a pipe"),
        (mill.run(&["ingest", "--pipeline", "pipe.toml"]), "is a pipe, not a file"),
        (mill.stage("ingest", &["--set", labelled]), "labels.csv`: cannot read the table of labels: is a pipe"),
        (mill.stage("ingest", &["--set", all]), "`/`: is the root of the file system"),
    ] {
        assert_eq!(ended.code, 2, "{}", ended.stderr);
        assert!(ended.stderr.contains(words), "`{words}` is not in {}", ended.stderr);
    }
}

#[test]
fn labels_of_recordings_that_are_not_there_are_said() {
    let mill = Mill::new();
    put(&mill.corpora().join("own/a.wav"), &tone(1, 40_000));
    put(&mill.corpora().join("own/b\\c.wav"), &tone(2, 40_000));
    let table = "path,emotion\na.wav,sad\nb\\c.wav,happy\nd.wav,sad\ne/f.wav,sad\ng.wav,sad\nh.wav,sad\n";
    put(&mill.corpora().join("own/labels.csv"), table.as_bytes());
    let corpus = "ingest.corpus=[{kind=\"labelled\",name=\"own\",root=\"own\"}]";
    let ended = mill.stage("ingest", &["--set", corpus]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let words = "corpus `own` lists 4 recordings that are not there: labels.csv line 4 `d.wav`, \
                 labels.csv line 5 `e/f.wav`, labels.csv line 6 `g.wav`, ...";
    assert!(ended.stderr.contains(words), "{}", ended.stderr);
    let rows: Vec<ManifestRow> = mill.rows("manifest");
    let emotions: Vec<&str> = rows.iter().filter_map(|row| row.emotion.as_deref()).collect();
    assert_eq!(emotions, ["sad", "happy"]);
}

#[test]
fn a_recording_that_may_not_be_read_is_read_once_it_may() {
    let mill = Mill::new();
    put(&mill.corpora().join("a.wav"), &tone(1, 40_000));
    // No folder is closed to root; `a_listing_that_fails_is_never_a_shorter_list` is the same for everybody.
    let closed = mill.corpora().join("closed");
    put(&closed.join("b.wav"), &tone(2, 40_000));
    let mode = |bits: u32| {
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(bits);
        std::fs::set_permissions(&closed, permissions).expect("changed");
    };
    mode(0o000);
    let is_root = std::fs::read_dir(&closed).is_ok();
    let ended = mill.stage_of("ingest", "nightly", &[]);
    mode(0o755);
    if !is_root {
        assert_eq!(ended.code, 1, "{}", ended.stderr);
        assert!(reason(&mill.rows("manifest"), "closed").contains("Permission denied"));
    }
    let ended = mill.stage_of("ingest", "nightly", &[]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(ended.json()["fresh"], is_root);
    assert_eq!(mill.rows::<ManifestRow>("manifest").len(), 2);
}

#[test]
fn other_bytes_of_the_same_size_and_time_are_found() {
    let mill = Mill::new();
    let file = mill.corpora().join("a.wav");
    put(&file, &tone(1, 40_000));
    let hash = || mill.rows::<ManifestRow>("manifest")[0].content_hash.clone();
    assert_eq!(mill.stage_of("ingest", "nightly", &[]).code, 0);
    let (before, time) = (hash(), std::fs::metadata(&file).expect("there").modified().expect("a time"));
    std::thread::sleep(std::time::Duration::from_millis(30));
    put(&file, &tone(2, 40_000));
    std::fs::File::options().write(true).open(&file).expect("opened").set_modified(time).expect("set back");
    assert_eq!(mill.stage_of("ingest", "nightly", &[]).json()["fresh"], false);
    assert_ne!(hash(), before);
}

#[test]
fn synth_and_inspect_touch_nothing_but_what_they_write() {
    let mill = Mill::new();
    let synth =
        |folder: &str| mill.run(&["synth", folder, "--speakers", "1", "--statements", "1", "--repetitions", "1"]);
    put(&mill.path("precious.txt"), b"precious");
    put(&mill.path("x.staging/precious.txt"), b"precious");
    put(&mill.path("happy.staging/precious.txt"), b"precious");
    for folder in [".", "x.v1", "deep/..", "new/folder"] {
        assert_eq!(synth(folder).code, 0, "{folder}");
    }
    let file = "speaker_01/01-sad-s1-r1.wav";
    let changed = || std::fs::metadata(mill.path(file)).expect("there").modified().expect("a time");
    let time = changed();
    assert_eq!((synth(".").code, changed()), (0, time), "equal files are left as they are");
    let ended = mill.run(&["inspect", file, "--out", "happy.svg"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(std::fs::read_to_string(mill.path("happy.svg")).expect("a picture").starts_with("<svg"));

    put(&mill.path(file), b"somebody's own");
    let ended = synth(".");
    assert_eq!(ended.code, 2);
    for words in ["01-sad-s1-r1.wav`: is there already, and is another file", "hint: choose another folder"] {
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
    }
    assert_eq!(std::fs::read(mill.path(file)).expect("there"), b"somebody's own");
    for name in ["precious.txt", "x.staging/precious.txt", "happy.staging/precious.txt"] {
        assert_eq!(std::fs::read(mill.path(name)).expect("there"), b"precious");
    }
    let left: Vec<String> = std::fs::read_dir(mill.path("."))
        .expect("listed")
        .map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with("partial"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_silent_or_long_recording_never_reaches_the_features() {
    let mill = Mill::with_corpus();
    let folder = mill.corpora().join("synthetic/speaker_01");
    put(&folder.join("01-fear-s8-r1.wav"), &tone(1, 4_000_000));
    let limit = ["--set", "ingest.max_recording_mb=10"];
    assert_eq!(mill.stage("ingest", &limit).code, 1);
    assert_eq!(mill.stage("features", &limit).code, 0);
    let rows: Vec<FeatureRow> = mill.rows("features");
    assert!(rows.iter().all(|row| row.status == Status::Ok && !row.recording_id.ends_with("01-fear-s8-r1.wav")));
}
