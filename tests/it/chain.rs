//! The chain on a synthetic corpus: what it makes, what it does not do twice, what survives a kill.

use std::process::Stdio;
use std::time::{Duration, Instant};

use sermill::labels::Labels;
use sermill::split::Split;
use sermill::tables::features::{FeatureRow, from_blob};
use sermill::tables::folds::{FoldRow, Sides};
use sermill::tables::history::HistoryRow;
use sermill::tables::manifest::{ManifestRow, Status};
use sermill::tables::metrics::MetricRow;
use sermill::tables::predictions::PredictionRow;
use sermill::tables::runs::RunRow;

use crate::mill::Mill;

#[test]
fn the_five_stages_fill_every_table_and_a_second_run_does_nothing() {
    let mill = Mill::with_corpus();
    let ended = mill.stage("run", &[]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(ended.stdout.lines().count(), 5, "one summary a stage: {}", ended.stdout);

    let manifest: Vec<ManifestRow> = mill.rows("manifest");
    assert_eq!(manifest.len(), 28);
    assert!(manifest.iter().all(|row| row.status == Status::Ok && row.speaker.is_some()));
    let sides = Sides::of(mill.rows::<FoldRow>("folds"), 0);
    assert!(manifest.iter().all(|row| sides.get(&row.recording_id, 0).is_some()));

    let features: Vec<FeatureRow> = mill.rows("features");
    assert_eq!(features.len(), 56, "an original and a copy each");
    for row in &features {
        let mut log_mel = vec![0.0; (row.n_mels * row.n_frames) as usize];
        from_blob(row.log_mel.as_deref().expect("a spectrogram"), &mut log_mel).expect("its shape");
        assert!(log_mel.iter().all(|value| value.is_finite()));
        assert_eq!(row.snr_db.is_some(), row.copy == 1);
        let side = |copy| sides.get(&row.recording_id, copy);
        assert_eq!(side(row.copy), side(0), "a copy stands where its original stands");
    }

    let history: Vec<HistoryRow> = mill.rows("history");
    assert_eq!(history.iter().map(|row| row.epoch).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(history.iter().filter(|row| row.is_best).count(), 1);
    assert!(history.iter().all(|row| row.monitored_split == "validation"));

    let predictions = mill.predictions();
    assert!(!predictions.is_empty());
    for row in &predictions {
        let sum: f32 = row.probabilities.iter().sum();
        assert_eq!(row.probabilities.len(), 7);
        assert!((sum - 1.0).abs() < 1e-5, "probabilities of {} sum to {sum}", row.recording_id);
        assert_ne!(row.split.as_deref(), Some("train"), "the demo scores what is held out");
    }

    let metrics: Vec<MetricRow> = mill.rows("metrics");
    let n_right =
        predictions.iter().filter(|row| row.split.as_deref() == Some("test") && row.emotion == row.predicted).count();
    let accuracy = metrics
        .iter()
        .find(|row| row.split == "test" && row.slice == "all" && row.metric == "accuracy")
        .expect("accuracy of the test side");
    assert_eq!((accuracy.value.expect("a value") * accuracy.support as f64).round() as usize, n_right);
    assert_eq!(mill.rows::<RunRow>("runs").len(), 8, "sides are assigned and audited on the way");

    let report = mill.store().join("reports").join(&predictions[0].model_id);
    let page = std::fs::read_to_string(report.join("report.md")).expect("report.md");
    assert!(page.contains("source-disjoint"), "a number is quoted with its protocol");
    for picture in ["curves", "confusion-test", "reliability-test", "spectrogram-angry", "spectrogram-surprise"] {
        let svg = std::fs::read_to_string(report.join(format!("{picture}.svg"))).expect("a picture");
        assert!(svg.starts_with("<svg"), "{picture}");
    }

    let again = mill.stage("run", &[]);
    assert_eq!(again.code, 0);
    assert!(again.stdout.lines().all(|line| line.contains("\"fresh\":true")), "{}", again.stdout);
    assert_eq!(mill.rows::<RunRow>("runs").len(), 8, "a run that did nothing is no run");
}

#[test]
fn tables_hold_finished_parquet_files_and_nothing_else() {
    let mill = Mill::with_corpus();
    assert_eq!(mill.stage("run", &[]).code, 0);
    let mut open = vec![mill.store().join("tables")];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).expect("listed") {
            let path = entry.expect("entry").path();
            if path.is_dir() {
                open.push(path);
            } else {
                assert_eq!(path.extension().and_then(|end| end.to_str()), Some("parquet"), "{}", path.display());
            }
        }
    }
}

#[test]
fn features_have_the_same_bytes_for_any_number_of_threads() {
    let mill = Mill::with_corpus();
    mill.done("ingest", &[]);
    let mut bytes = Vec::new();
    for threads in ["1", "2", "8"] {
        mill.done("features", &["--threads", threads]);
        let files = mill.table("features");
        assert_eq!(files.len(), 4);
        bytes.push(files.iter().map(|file| (file.clone(), std::fs::read(file).expect("shard"))).collect::<Vec<_>>());
        std::fs::remove_dir_all(mill.store().join("tables/features")).expect("thrown away");
    }
    assert!(bytes[0] == bytes[1] && bytes[0] == bytes[2]);
}

#[test]
fn ten_new_recordings_are_ten_recordings_of_work() {
    let mill = Mill::new();
    let corpus = mill.corpora().join("synthetic");
    let place = corpus.to_string_lossy().into_owned();
    let synth = |speakers: &str| {
        mill.run(&["synth", &place, "--speakers", speakers, "--statements", "2", "--repetitions", "1"])
    };
    // Without sides, nothing that is there already moves when recordings join.
    let unsplit = ["--set", "split.protocol=unsplit"];
    assert_eq!(synth("2").code, 0);
    assert_eq!(mill.done("ingest", &unsplit)["n_done"], 28);
    assert_eq!(mill.done("features", &unsplit)["n_done"], 28);
    let before = mill.table("features");
    assert_eq!(synth("3").code, 0);
    let ingest = mill.done("ingest", &unsplit);
    // Synthesis wrote the old files anew: their stamps changed, their bytes did not.
    assert_eq!(ingest["recordings"], 42);
    let features = mill.done("features", &unsplit);
    assert_eq!((&features["n_done"], &features["n_reused"]), (&14.into(), &28.into()));
    let after = mill.table("features");
    assert!(before.iter().all(|file| after.contains(file)), "old shards stay as they are");
    assert_eq!(mill.done("ingest", &unsplit)["fresh"], true);
}

#[test]
fn a_recording_that_is_gone_leaves_the_tables() {
    let mill = Mill::with_corpus();
    mill.done("ingest", &[]);
    mill.done("features", &[]);
    std::fs::remove_file(mill.corpora().join("synthetic/speaker_01/01-angry-s1-r1.wav")).expect("removed");
    assert_eq!(mill.done("ingest", &[])["recordings"], 27);
    mill.done("features", &[]);
    let rows: Vec<FeatureRow> = mill.rows("features");
    assert_eq!(rows.len(), 54);
    assert!(rows.iter().all(|row| !row.recording_id.contains("speaker_01/01-angry-s1")));
}

#[test]
fn a_killed_training_goes_on_to_the_same_model() {
    let whole = Mill::with_corpus();
    let torn = Mill::with_corpus();
    let four = ["--set", "train.epochs=4"];
    for mill in [&whole, &torn] {
        mill.done("ingest", &[]);
        mill.done("features", &[]);
    }
    let expected = whole.done("train", &four);

    let mut child =
        torn.command("train", "demo", &four).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
    let index = torn.store().join("index/train");
    let begun = Instant::now();
    // Kill it once a checkpoint is there; a run that ended before only makes the test easier.
    while begun.elapsed() < Duration::from_secs(60) && child.try_wait().expect("state").is_none() {
        if std::fs::read_dir(&index).is_ok_and(|mut files| files.next().is_some()) {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().expect("killed");
    child.wait().expect("gone");
    let resumed = torn.done("train", &four);
    assert_eq!(resumed["model_id"], expected["model_id"]);
    let model = |mill: &Mill| {
        std::fs::read(
            expected["model_id"]
                .as_str()
                .map(|id| mill.store().join("models").join(id).join("model.onnx"))
                .expect("id"),
        )
    };
    assert_eq!(model(&torn).expect("model"), model(&whole).expect("model"), "bit-equal to the uninterrupted run");
}

#[test]
fn the_memory_limit_is_said_and_changes_neither_model_nor_freshness() {
    let mill = Mill::with_corpus();
    mill.done("ingest", &[]);
    mill.done("features", &[]);
    let ended = mill.stage("train", &["--memory-limit", "300MB"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stderr.contains("of the memory limit of 300.0 MB"), "{}", ended.stderr);
    let summary = ended.json();
    assert_eq!(summary["memory_limit_mb"], 300.0);
    let planned = summary["memory_planned_mb"].as_f64().expect("a number");
    assert!((20.0..300.0).contains(&planned), "{planned}");
    if cfg!(target_os = "linux") {
        let peak = summary["memory_peak_mb"].as_f64().expect("a number");
        assert!((5.0..planned).contains(&peak), "{peak} MB taken, {planned} MB planned");
    }
    assert_eq!(mill.done("train", &["--memory-limit", "4GB"])["fresh"], true);
}

#[test]
fn more_epochs_go_on_with_the_same_run() {
    let mill = Mill::with_corpus();
    mill.done("ingest", &[]);
    mill.done("features", &[]);
    mill.done("train", &["--set", "train.epochs=1"]);
    let ended = mill.stage("train", &["--set", "train.epochs=3"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stderr.contains("goes on after epoch 1"), "{}", ended.stderr);
    assert_eq!(ended.json()["epochs"], 3);
}

#[test]
fn scores_do_not_depend_on_the_batch_and_a_folder_scores_like_the_features() {
    let mill = Mill::with_corpus();
    mill.done("run", &[]);
    let all = ["--set", "score.splits=[\"train\",\"validation\",\"test\"]"];
    let scored = |batch: &str| {
        mill.done("score", &[&all[..], &["--set", batch]].concat());
        mill.rows::<PredictionRow>("predictions").into_iter().filter(|row| row.copy == 0).collect::<Vec<_>>()
    };
    let by_five = scored("score.batch=5");
    assert_eq!(by_five.len(), 28);
    // Another provider or model would not be reused; force the work by removing what is known.
    std::fs::remove_dir_all(mill.store().join("tables/predictions")).expect("thrown away");
    let by_sixteen = scored("score.batch=16");
    let folder = mill.corpora().join("synthetic");
    std::fs::remove_dir_all(mill.store().join("tables/predictions")).expect("thrown away");
    mill.done("score", &["--input", &folder.to_string_lossy()]);
    let direct: Vec<PredictionRow> = mill.rows("predictions");
    assert_eq!(direct.len(), 28);
    for (a, b) in by_five.iter().zip(&by_sixteen) {
        assert_eq!((&a.recording_id, &a.predicted), (&b.recording_id, &b.predicted));
        assert!((a.confidence.expect("a") - b.confidence.expect("b")).abs() <= 1e-6);
        let c = direct.iter().find(|row| row.content_hash == a.content_hash).expect("the same recording");
        assert!((a.confidence.expect("a") - c.confidence.expect("c")).abs() <= 1e-6);
        let seven = Labels::shipped("seven").expect("shipped");
        assert!(seven.classes.contains(c.predicted.as_ref().expect("a class")));
    }
    let again = mill.done("score", &["--input", &folder.to_string_lossy()]);
    assert_eq!(again["fresh"], true);
    std::fs::copy(folder.join("speaker_01/01-sad-s1-r1.wav"), folder.join("new.wav")).expect("a new recording");
    let grown = mill.done("score", &["--input", &folder.to_string_lossy()]);
    assert_eq!((&grown["n_done"], &grown["n_reused"]), (&1.into(), &28.into()));
}

#[test]
fn the_native_provider_scores_the_same_without_onnx_runtime_and_neither_takes_the_others_rows() {
    let mill = Mill::with_corpus();
    mill.done("run", &[]);
    let by_runtime = mill.predictions();
    let no_library = ["--provider", "native", "--runtime", "nowhere/libonnxruntime.so"];
    let summary = mill.done("score", &no_library);
    assert_eq!((&summary["provider"], &summary["n_reused"]), (&"native".into(), &0.into()));
    let natively = mill.predictions();
    assert_eq!(natively.len(), by_runtime.len());
    for (own, theirs) in natively.iter().zip(&by_runtime) {
        assert_eq!((own.probabilities.len(), theirs.probabilities.len()), (7, 7));
        for (own, theirs) in own.probabilities.iter().zip(&theirs.probabilities) {
            assert!((own - theirs).abs() <= 1e-5, "{own} {theirs}");
        }
        assert_eq!((own.provider.as_str(), theirs.provider.as_str()), ("native", "cpu"));
        // All that is left of a row is the same.
        let mut as_theirs = own.clone();
        as_theirs.set_probabilities(&Labels::shipped("seven").expect("shipped").classes, &theirs.probabilities);
        as_theirs.provider.clone_from(&theirs.provider);
        assert_eq!(&as_theirs, theirs);
    }
    assert_eq!(mill.done("score", &no_library)["fresh"], true);
    let back = mill.done("score", &["--device", "cpu"]);
    assert_eq!((&back["provider"], &back["n_reused"]), (&"cpu".into(), &0.into()));
    assert_eq!(mill.predictions(), by_runtime);
}

#[test]
fn the_paper_protocol_says_aloud_that_it_leaks() {
    let mill = Mill::with_corpus();
    let more = ["--set", "ingest.corpus=[{kind=\"synthetic\",name=\"synthetic\",root=\"synthetic\"}]"];
    let ended = mill.stage_of("run", "paper", &more);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stderr.contains("leaks") && ended.json()["warning"].as_str().expect("a warning").contains("leaks"));
    let model_id = ended.json()["model_id"].as_str().expect("id").to_string();
    let page = std::fs::read_to_string(mill.store().join("reports").join(model_id).join("report.md")).expect("report");
    assert!(page.contains("leaks"));
    let features: Vec<FeatureRow> = mill.rows("features");
    let sides = Sides::of(mill.rows::<FoldRow>("folds"), 0);
    let n_test = features.iter().filter(|row| sides.get(&row.recording_id, row.copy) == Some(Split::Test)).count();
    assert_eq!(n_test, 12, "a fifth of 56, rounded up");
}

#[test]
fn status_says_what_is_stale_and_why() {
    let mill = Mill::with_corpus();
    let before = mill.stage("status", &[]).stdout;
    assert_eq!(before.matches("\"stale\":true").count(), 8, "{before}");
    mill.done("ingest", &[]);
    mill.done("features", &[]);
    let after = mill.stage("status", &[]).stdout;
    assert_eq!(after.matches("\"stale\":true").count(), 6, "sides are assigned and audited for who asks: {after}");
    let changed = mill.stage("status", &["--set", "features.copies=2"]).stdout;
    assert!(changed.contains("it was run with features.copies = 1, the recipe says 2"), "{changed}");
}
