//! `sermill inspect`: text, picture, and reasons.

use sermill::tables::features::FeatureRow;
use sermill::tables::history::HistoryRow;
use sermill::tables::manifest::ManifestRow;
use sermill::tables::predictions::PredictionRow;

use crate::mill::{Ended, Mill};

/// The value of a fact, its lines joined.
fn fact(ended: &Ended, name: &str) -> String {
    let mut lines = ended.stdout.lines().skip_while(|line| !line.starts_with(&format!("{name:<12}")));
    let first = lines.next().unwrap_or_else(|| panic!("no `{name}` in {}", ended.stdout));
    let rest = lines.take_while(|line| line.starts_with("            "));
    [&first[12..]].into_iter().chain(rest.map(str::trim)).collect::<Vec<_>>().join(" ")
}

#[test]
fn an_inspection_says_what_the_tables_say() {
    let mill = Mill::with_corpus();
    mill.done("ingest", &[]);
    mill.done("features", &[]);
    let row = mill.rows::<ManifestRow>("manifest").remove(3);
    let features = mill.rows::<FeatureRow>("features");
    let feature = features.iter().find(|other| other.recording_id == row.recording_id && other.copy == 0);
    let feature = feature.expect("its spectrogram");
    let recipe = concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines/demo.toml");
    let file = mill.corpora().join(&row.path);
    let ended = mill.run(&["inspect", &file.to_string_lossy(), "--pipeline", recipe]);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    assert!(ended.stdout.lines().all(|line| line.chars().count() <= 80 && !line.contains('\u{1b}')));
    assert_eq!(fact(&ended, "fingerprint"), feature.fingerprint);
    assert_eq!(fact(&ended, "content"), row.content_hash.expect("a hash")[..32]);
    assert_eq!(fact(&ended, "decoder"), row.decoder.expect("a decoder"));
    assert_eq!(fact(&ended, "repaired"), row.repaired.unwrap_or("nothing".into()));
    let (rms, peak) = (row.rms_dbfs.expect("a level"), row.peak_dbfs.expect("a level"));
    assert_eq!(fact(&ended, "levels"), format!("RMS {rms:.1} dBFS, peak {peak:.1} dBFS"));
    assert!(fact(&ended, "duration").starts_with(&format!("{:.3} s", row.duration_s.expect("a length"))));
    assert_eq!(fact(&ended, "padding"), format!("{:.1} % of the wave", 100.0 * feature.pad_fraction));
    assert_eq!(fact(&ended, "truncated") == "no", !feature.truncated);
    assert!(fact(&ended, "sound").starts_with(&format!("{} of 313 frames", feature.valid_frames)));
    let (low, high) = (feature.mel_min.expect("values"), feature.mel_max.expect("values"));
    assert!(fact(&ended, "spectrogram").ends_with(&format!("{low:.2} to {high:.2}")));
    // 40,000 samples of the demo make 313 frames.
    assert_eq!(fact(&ended, "windows"), "3 of 128 frames, one every 64");
    assert!(["[1-", "[2-", "[3-"].iter().all(|window| ended.stdout.contains(window)) && !ended.stdout.contains("[4-"));
}

#[test]
fn the_picture_is_one_svg_and_every_front_end_can_be_shown() {
    let mill = Mill::with_corpus();
    let found = sermill::scan::recordings_below(&mill.corpora()).expect("listed").recordings;
    let file = found[0].file.to_string_lossy().into_owned();
    for (index, profile) in ["paper", "lineage", "full-rank-16k"].into_iter().enumerate() {
        let out = format!("pictures/{index}.svg");
        let ended = mill.run(&["inspect", &file, "--profile", profile, "--out", &out, "--definition"]);
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
        assert_eq!(fact(&ended, "picture"), out);
        assert!(fact(&ended, "resampler").contains("Kaiser") && fact(&ended, "storage").starts_with("float16"));
        let svg = std::fs::read_to_string(mill.path(&out)).expect("the picture");
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n") && svg.matches("data:image/png").count() == 1);
        for text in
            [">of full scale<", ">time in the recording (s)<", ">6</text>", &format!("front end: profile {profile}")]
        {
            assert!(svg.contains(text), "{text}");
        }
    }
    let mut left: Vec<_> = std::fs::read_dir(mill.path("pictures")).expect("folder").collect();
    assert_eq!(left.len(), 3, "nothing but pictures: {left:?}");
    left.clear();
    let ended = mill.run(&["inspect", &file, "--out", "picture.png"]);
    assert_eq!(ended.code, 2);
    assert!(ended.stderr.contains("picture.png") && ended.stderr.contains("hint:") && ended.stdout.is_empty());
}

#[test]
fn a_model_is_asked_and_answers_as_in_the_predictions() {
    let mill = Mill::with_corpus();
    mill.done("run", &[]);
    let model_id = mill.rows::<HistoryRow>("history")[0].model_id.clone();
    let model = mill.store().join("models").join(model_id).join("model.onnx");
    let predictions = mill.rows::<PredictionRow>("predictions");
    let row = predictions.iter().find(|row| row.copy == 0).expect("an original was scored");
    let file = mill.corpora().join(&row.path);
    let ended = mill.run(&["inspect", &file.to_string_lossy(), "--model", &model.to_string_lossy()]);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    let (predicted, confidence) = (row.predicted.as_deref().expect("a class"), row.confidence.expect("a probability"));
    assert!(fact(&ended, "predicted").starts_with(predicted), "{}", ended.stdout);
    let percent = |name: &str| {
        let value = fact(&ended, name);
        value.split('%').next().and_then(|number| number.trim().parse::<f32>().ok()).expect("a number")
    };
    // Printed with one decimal; ONNX Runtime and the native kernels differ by 1e-5 at most.
    assert!((percent(predicted) - 100.0 * confidence).abs() < 0.06);
    let sum: f32 =
        sermill::labels::Labels::shipped("seven").expect("shipped").classes.iter().map(|class| percent(class)).sum();
    assert!((sum - 100.0).abs() < 0.5, "{sum}");
}

#[test]
fn what_cannot_be_shown_has_a_reason_and_code_2() {
    let mill = Mill::new();
    std::fs::write(mill.path("empty.wav"), b"").expect("written");
    std::fs::write(mill.path("text.wav"), b"these are only words, and no recording at all").expect("written");
    let silence = sermill::audio::write_wav(&[0.0; 40_000], sermill::units::SampleRate(16_000)).expect("a file");
    std::fs::write(mill.path("silence.wav"), silence).expect("written");
    let short: Vec<f32> = (0..4_000).map(|i| (i as f32 * 0.1).sin()).collect();
    let short = sermill::audio::write_wav(&short, sermill::units::SampleRate(16_000)).expect("a file");
    std::fs::write(mill.path("short.wav"), short).expect("written");
    for (args, reason) in [
        (vec!["gone.wav"], "cannot read recording"),
        (vec!["empty.wav"], "file is empty"),
        (vec!["text.wav"], ""),
        (vec!["silence.wav"], "silent: its peak is"),
        (vec!["short.wav"], "too short: 0.250 s, and the first 0.5 s are skipped"),
        (vec!["short.wav", "--profile", "papr"], "known front ends: paper"),
        (vec!["short.wav", "--pipeline", "gone.toml"], "gone.toml"),
        (vec!["short.wav", "--model", "gone.onnx"], "gone.onnx"),
        (vec!["short.wav", "--model", "text.wav"], "text.wav"),
    ] {
        let ended = mill.run(&[&["inspect", "--out", "out.svg"], args.as_slice()].concat());
        assert_eq!(ended.code, 2, "{args:?}: {}", ended.stderr);
        assert!(ended.stderr.starts_with("error: ") && ended.stderr.contains(reason), "{args:?}: {}", ended.stderr);
        assert!(args.len() > 1 || ended.stderr.contains(args[0]), "the file is named: {}", ended.stderr);
        assert!(!ended.stderr.contains("panicked") && ended.stdout.is_empty());
        assert!(!mill.path("out.svg").exists() && !mill.path("out.staging").exists());
    }
}
