//! Dirty folders: a bad recording is a row with a reason, and the run goes on.

use std::path::Path;

use sermill::tables::features::FeatureRow;
use sermill::tables::manifest::{ManifestRow, Status};
use sermill::tables::predictions::PredictionRow;

use crate::mill::Mill;

/// The smallest WAV header around `data`: 16-bit mono at 16 kHz, or float when `float` is set.
fn wav(data: &[u8], float: bool) -> Vec<u8> {
    let (format, bytes_per_sample) = if float { (3u16, 4u16) } else { (1, 2) };
    let mut bytes = b"RIFF".to_vec();
    bytes.extend((36 + data.len() as u32).to_le_bytes());
    bytes.extend(b"WAVEfmt ");
    bytes.extend(16u32.to_le_bytes());
    bytes.extend(format.to_le_bytes());
    bytes.extend(1u16.to_le_bytes());
    bytes.extend(16_000u32.to_le_bytes());
    bytes.extend((16_000 * u32::from(bytes_per_sample)).to_le_bytes());
    bytes.extend(bytes_per_sample.to_le_bytes());
    bytes.extend((8 * bytes_per_sample).to_le_bytes());
    bytes.extend(b"data");
    bytes.extend((data.len() as u32).to_le_bytes());
    bytes.extend(data);
    bytes
}

fn put(folder: &Path, name: &str, bytes: &[u8]) {
    std::fs::create_dir_all(folder).expect("folder");
    std::fs::write(folder.join(name), bytes).expect("written");
}

#[test]
fn every_kind_of_bad_recording_is_a_row_with_a_reason() {
    let mill = Mill::with_corpus();
    let folder = mill.corpora().join("synthetic/speaker_01");
    let good = std::fs::read(folder.join("01-angry-s1-r1.wav")).expect("a good one");
    let nan: Vec<u8> = std::iter::repeat_n(f32::NAN.to_le_bytes(), 16_000).flatten().collect();
    put(&folder, "01-fear-s3-r1.wav", b"");
    put(&folder, "01-fear-s4-r1.wav", b"this is no recording at all, whatever its name says");
    put(&folder, "01-fear-s5-r1.wav", &wav(&[0; 32_000], false));
    put(&folder, "01-fear-s6-r1.wav", &wav(&nan, true));
    put(&folder, "01-fear-s7-r1.wav", &wav(&[], false));
    put(&folder, "not-the-grammar.wav", &good);
    put(&folder, "01-fear-s8-r1.wav", &good[..good.len() / 2]);
    put(&folder, "notes.txt", b"no recording, and no row");
    std::os::unix::fs::symlink("nowhere", folder.join("01-fear-s9-r1.wav")).expect("a link");

    let ended = mill.stage("ingest", &[]);
    assert_eq!(ended.code, 1, "done with rejects: {}", ended.stderr);
    let rows: Vec<ManifestRow> = mill.rows("manifest");
    let reason = |name: &str| {
        let row = rows.iter().find(|row| row.path.ends_with(name)).unwrap_or_else(|| panic!("no row for {name}"));
        (row.status, row.reject_reason.clone().unwrap_or_default(), row.repaired.clone().unwrap_or_default())
    };
    for (name, words) in [
        ("01-fear-s3-r1.wav", "empty"),
        ("01-fear-s4-r1.wav", "format"),
        ("01-fear-s5-r1.wav", "silent"),
        ("01-fear-s6-r1.wav", "not finite"),
        ("01-fear-s7-r1.wav", "no samples"),
        ("01-fear-s9-r1.wav", "cannot be"),
        ("not-the-grammar.wav", "not-the-grammar"),
    ] {
        let (status, reason, _) = reason(name);
        assert_eq!(status, Status::Rejected, "{name}");
        assert!(reason.contains(words), "{name}: {reason}");
    }
    let (status, _, repaired) = reason("01-fear-s8-r1.wav");
    assert_eq!(status, Status::Ok, "half a recording is a recording");
    assert!(!repaired.is_empty(), "and the row says that it was cut short");
    assert!(!rows.iter().any(|row| row.path.ends_with("notes.txt")));
    assert_eq!(mill.stage("ingest", &[]).code, 1, "a fresh manifest with rejects still says so");

    let features = mill.done("features", &[]);
    assert_eq!(features["recordings"], 29);
}

#[test]
fn a_recording_shorter_than_the_offset_is_a_rejected_feature_row() {
    let mill = Mill::with_corpus();
    let short: Vec<u8> = (0..4000i16).flat_map(|i| (i % 100 * 100).to_le_bytes()).collect();
    put(&mill.corpora().join("synthetic/speaker_01"), "01-fear-s3-r1.wav", &wav(&short, false));
    mill.done("ingest", &[]);
    let ended = mill.stage("features", &[]);
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    let rows: Vec<FeatureRow> = mill.rows("features");
    let bad: Vec<&FeatureRow> = rows.iter().filter(|row| row.status == Status::Rejected).collect();
    assert_eq!(bad.len(), 2, "the original and its copy");
    for row in bad {
        let reason = row.reject_reason.as_deref().expect("a reason");
        assert!(reason.contains("0.250 s") && reason.contains("0.5 s"), "value and limit: {reason}");
        assert!(row.log_mel.is_none());
    }
    let trained = mill.stage("train", &[]);
    assert_eq!(trained.code, 0, "{}", trained.stderr);
}

#[test]
fn the_same_bytes_twice_go_on_once() {
    let mill = Mill::with_corpus();
    let folder = mill.corpora().join("synthetic");
    std::fs::copy(folder.join("speaker_01/01-happy-s1-r1.wav"), folder.join("speaker_02/02-happy-s9-r1.wav"))
        .expect("copied");
    let summary = mill.done("ingest", &[]);
    assert_eq!((&summary["recordings"], &summary["duplicates"]), (&29.into(), &1.into()));
    let rows: Vec<ManifestRow> = mill.rows("manifest");
    let double = rows.iter().find(|row| row.duplicate_of.is_some()).expect("a duplicate");
    assert!(double.path.ends_with("02-happy-s9-r1.wav"));
    assert_eq!(double.duplicate_of.as_deref(), Some("synthetic/speaker_01/01-happy-s1-r1.wav"));
    assert_eq!(double.split, None);
    assert_eq!(mill.done("features", &[])["recordings"], 28);
}

#[test]
fn a_scored_folder_with_bad_recordings_has_a_row_for_each() {
    let mill = Mill::with_corpus();
    assert_eq!(mill.stage("run", &[]).code, 0);
    let incoming = mill.path("incoming");
    put(
        &incoming,
        "a.wav",
        &std::fs::read(mill.corpora().join("synthetic/speaker_01/01-sad-s1-r1.wav")).expect("good"),
    );
    put(&incoming, "b.wav", b"RIFFnothing");
    let ended = mill.stage("score", &["--input", &incoming.to_string_lossy()]);
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    let rows: Vec<PredictionRow> = mill.rows("predictions");
    let rows: Vec<&PredictionRow> = rows.iter().filter(|row| row.corpus == "folder").collect();
    assert_eq!(rows.len(), 2);
    assert!(rows[0].predicted.is_some() && rows[1].predicted.is_none() && rows[1].reject_reason.is_some());
}
