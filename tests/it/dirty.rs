//! Dirty folders: a bad recording is a row with a reason, and the run goes on.

use std::collections::BTreeSet;
use std::path::Path;

use sermill::audio::{self, Channel};
use sermill::tables::features::FeatureRow;
use sermill::tables::manifest::{ManifestRow, Status};
use sermill::tables::predictions::PredictionRow;

use crate::mill::Mill;

#[allow(clippy::duplicate_mod)]
#[path = "../../examples/mutate.rs"]
mod mutate;

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
    let rows: Vec<&PredictionRow> = rows.iter().filter(|row| row.corpus.starts_with("folder-")).collect();
    assert_eq!(rows.len(), 2);
    assert!(rows[0].predicted.is_some() && rows[1].predicted.is_none() && rows[1].reject_reason.is_some());
}

#[test]
fn what_a_recording_is_follows_from_its_bytes_and_not_from_its_name() {
    let mill = Mill::new();
    let files = mutate::samples();
    // Names follow the order of the samples; their endings follow nothing.
    for (idx, file) in files.iter().enumerate() {
        let bytes = std::fs::read(file).expect("a sample");
        let ending = audio::EXTENSIONS[idx % audio::EXTENSIONS.len()];
        put(&mill.corpora(), &format!("{idx:02}.{ending}"), &bytes);
    }
    let ended = mill.stage_of("ingest", "nightly", &[]);
    assert_eq!(ended.code, 1, "GSM is rejected: {}", ended.stderr);
    let rows: Vec<ManifestRow> = mill.rows("manifest");
    assert_eq!(rows.len(), files.len());
    for (row, file) in rows.iter().zip(&files) {
        let bytes = std::fs::read(file).expect("a sample");
        match audio::decode(&bytes, Channel::Mix, &mut Vec::new()) {
            Ok(decoded) => {
                let found = (row.container.clone(), row.codec.clone(), row.decoder.clone(), row.repaired.clone());
                let expected =
                    (Some(decoded.container), Some(decoded.codec), Some(decoded.decoder.into()), decoded.repaired);
                assert_eq!(found, expected, "{}", row.path);
            }
            Err(error) => assert_eq!(row.reject_reason, Some(error.reason()), "{}", row.path),
        }
    }
}

#[test]
fn a_chosen_channel_gives_other_levels_and_other_features() {
    let mill = Mill::new();
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples");
    for name in ["stereo_s16.wav", "pcm_s16.wav"] {
        put(&mill.corpora(), name, &std::fs::read(samples.join(name)).expect("a sample"));
    }
    let rms = |channel: &str| {
        let channel = format!("features.front_end.channel={channel}");
        let set = ["--set", &channel, "--set", "features.profile=mine"];
        let code = mill.stage_of("ingest", "nightly", &set).code;
        let rows: Vec<ManifestRow> = mill.rows("manifest");
        (code, rows[0].reject_reason.clone(), rows[1].rms_dbfs.expect("stereo is last"))
    };
    // Left is 1.6 and right 0.4 times the mean.
    let (_, _, mix) = rms("\"mix\"");
    let (code, _, left) = rms("{ only = 0 }");
    assert_eq!(code, 0);
    assert!((left - mix - 20.0 * 1.6f64.log10()).abs() < 1e-2, "{left} dB and {mix} dB");
    let (code, reason, right) = rms("{ only = 1 }");
    assert_eq!((code, reason.as_deref()), (1, Some("channel 1 (counted from 0) is asked for, there are 1")));
    assert!((right - mix - 20.0 * 0.4f64.log10()).abs() < 1e-2, "{right} dB and {mix} dB");
}

#[test]
fn damaged_recordings_have_one_row_each_in_the_manifest_and_in_the_features() {
    const N_FILES: usize = 230;
    let mill = Mill::new();
    let contents: Vec<Vec<u8>> = mutate::samples().iter().map(|file| std::fs::read(file).expect("a sample")).collect();
    for round in 0..N_FILES {
        let (original, other) = (&contents[round % contents.len()], &contents[(7 * round + 1) % contents.len()]);
        put(&mill.corpora(), &format!("{round:04}.wav"), &mutate::mutated(original, other, round as u64));
    }
    // The samples are shorter than the offset of the paper.
    let set = ["--set", "features.front_end.offset_s=0.0", "--set", "features.profile=mine"];
    let ended = mill.stage_of("ingest", "nightly", &set);
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    let rows: Vec<ManifestRow> = mill.rows("manifest");
    assert_eq!(rows.len(), N_FILES);
    for row in &rows {
        let reason = row.reject_reason.as_deref().unwrap_or_default();
        assert_eq!(row.status == Status::Rejected, !reason.is_empty(), "{}", row.path);
        assert!(!reason.contains("panicked"), "{}: {reason}", row.path);
    }
    assert!(mill.stage_of("features", "nightly", &set).code <= 1);
    let ids = |rows: Vec<String>| (rows.len(), rows.into_iter().collect::<BTreeSet<_>>());
    let features: Vec<FeatureRow> = mill.rows("features");
    let wanted = ids(rows.into_iter().filter(ManifestRow::is_eligible).map(|row| row.recording_id).collect());
    assert!(wanted.0 > N_FILES / 4, "damage leaves some readable: {}", wanted.0);
    assert_eq!(ids(features.into_iter().map(|row| row.recording_id).collect()), wanted);
}
