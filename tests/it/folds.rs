//! Protocols with several folds: each fold a model, each recording tested once by a model that never heard its group.

use std::collections::{BTreeMap, BTreeSet};

use sermill::split::Split;
use sermill::tables::calibration::CalibrationRow;
use sermill::tables::folds::FoldRow;
use sermill::tables::history::HistoryRow;
use sermill::tables::predictions::PredictionRow;

use crate::mill::Mill;

/// Three speakers of fourteen recordings, one copy of each.
fn mill() -> Mill {
    let mill = Mill::new();
    let corpus = mill.corpora().join("synthetic");
    let args = ["synth", &corpus.to_string_lossy(), "--speakers", "3", "--statements", "2", "--repetitions", "1"];
    assert_eq!(mill.run(&args).code, 0);
    mill
}

/// Settings of a run by speakers, with what follows laid over.
fn by_speaker<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec!["split.protocol=\"speaker-independent\"", "split.folds={any=\"leave-one-out\"}"];
    all.extend(["split.validation_fraction=0.2", "train.epochs=1", "score.splits=[\"test\"]", "features.copies=1"]);
    all.extend(["score.device=\"native\""]);
    all.extend(more);
    all.into_iter().flat_map(|item| ["--set", item]).collect()
}

/// Test items by recording: how often each was scored, and by which fold.
fn tested(mill: &Mill) -> BTreeMap<String, Vec<u32>> {
    let mut tested: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for row in mill.predictions() {
        assert_eq!((row.split.as_deref(), row.copy), (Some("test"), 0));
        tested.entry(row.recording_id).or_default().push(row.fold.expect("a fold"));
    }
    tested
}

#[test]
fn each_recording_is_tested_once_by_a_model_that_never_heard_its_speaker() {
    let mill = mill();
    let set = by_speaker(&[]);
    mill.done("ingest", &set);
    let folds = mill.done("folds", &set);
    assert_eq!(folds["folds"], 3);
    mill.done("features", &set);
    let train = mill.done("train", &set);
    assert_eq!(train["models"], 3);
    let model = train["model_id"].as_str().expect("an id").to_string();
    for fold in 0..3 {
        assert!(mill.path(&format!("store/models/{model}/fold-{fold}/model.onnx")).exists(), "fold {fold}");
    }
    let epochs: Vec<HistoryRow> = mill.rows("history");
    assert_eq!(epochs.iter().map(|row| row.fold).collect::<Vec<_>>(), [Some(0), Some(1), Some(2)]);
    mill.done("score", &set);
    let rows: Vec<FoldRow> = mill.rows("folds");
    let speakers: BTreeMap<String, Option<String>> =
        mill.predictions().into_iter().map(|row: PredictionRow| (row.recording_id, row.speaker)).collect();
    let found = tested(&mill);
    assert_eq!(found.len(), 42);
    for (recording, folds) in &found {
        assert_eq!(folds.len(), 1, "{recording}");
        let of_fold = rows.iter().filter(|row| row.fold == folds[0] && row.split != Split::Test);
        let heard: BTreeSet<_> = of_fold.map(|row| &speakers[&row.recording_id]).collect();
        assert!(heard.len() == 2 && !heard.contains(&speakers[recording]), "{recording}");
    }
    assert!(rows.iter().all(|row| row.copy == 0 || row.split == Split::Train), "copies only train");
    let report = mill.done("report", &set);
    assert_eq!(
        (report["sides"]["test"]["items"].as_u64(), report["protocol"].as_str()),
        (Some(42), Some("speaker-independent"))
    );
    // Nothing is done twice.
    for stage in ["train", "score", "report"] {
        assert_eq!(mill.done(stage, &set)["fresh"], true, "{stage}");
    }
}

#[test]
fn folds_are_trained_as_they_are_asked_for_and_not_again() {
    let (mill, all) = (mill(), by_speaker(&[]));
    let one = by_speaker(&["train.folds=[1]"]);
    for stage in ["ingest", "features", "train", "score"] {
        mill.done(stage, &one);
    }
    assert!(tested(&mill).values().all(|folds| folds == &[1]) && tested(&mill).len() == 14);
    let ended = mill.stage("train", &all);
    assert!(ended.code == 0 && ended.stderr.contains("fold 1: goes on after epoch 1"), "{}", ended.stderr);
    let (first, again) = (mill.done("train", &one), ended.json());
    assert_eq!(first["model_id"], again["model_id"], "more folds are the same run");
    let unknown = mill.stage("train", &by_speaker(&["train.folds=[3]"]));
    assert!(unknown.code == 2 && unknown.stderr.contains("names fold 3, the protocol has 3"), "{}", unknown.stderr);
}

#[test]
fn an_ensemble_is_the_mean_of_its_members_and_a_folder_belongs_to_no_fold() {
    let mill = mill();
    let set = by_speaker(&["train.members=2", "train.folds=[0]"]);
    for stage in ["ingest", "features", "train", "score"] {
        mill.done(stage, &set);
    }
    let model = mill.done("train", &set);
    assert_eq!(model["fresh"], true);
    let both = mill.predictions();
    let members: Vec<Vec<PredictionRow>> = (0..2)
        .map(|member| {
            let folder =
                std::fs::read_dir(mill.path("store/models")).expect("models").next().expect("one").expect("entry");
            let file = folder.path().join(format!("fold-0/member-{member}/model.onnx"));
            let corpus = mill.corpora().join("synthetic");
            let model = format!("score.model={}", file.display());
            let args = ["--input", &corpus.to_string_lossy(), "--set", &model, "--set", "score.device=\"native\""];
            mill.done("score", &args);
            mill.predictions().into_iter().filter(|row| row.model_id.ends_with(&format!("member-{member}"))).collect()
        })
        .collect();
    for row in &both {
        let name = row.path.rsplit('/').next().expect("a name");
        let own = |member: usize| members[member].iter().find(|one| one.path.ends_with(name)).expect("scored");
        let (a, b) = (own(0), own(1));
        assert_ne!(a.probabilities, b.probabilities);
        for (class, mean) in row.probabilities.iter().enumerate() {
            let wanted = f32::midpoint(a.probabilities[class], b.probabilities[class]);
            assert!((mean - wanted).abs() < 1e-6, "{name}: {mean} {wanted}");
        }
    }
    let corpus = mill.corpora().join("synthetic");
    let mut args = set.clone();
    let corpus = corpus.to_string_lossy().to_string();
    args.extend(["--input", &corpus]);
    let ended = mill.stage("score", &args);
    assert!(ended.code == 2 && ended.stderr.contains("train.final_model=true"), "{}", ended.stderr);
}

#[test]
fn folds_that_cannot_be_made_are_refused_before_anything_is_computed() {
    let mill = mill();
    for (more, words) in [
        ("split.folds={any=4}", "4 folds are asked of 3 speakers of corpus `synthetic`"),
        ("split.folds={any=\"emobox\"}", "no folds called `emobox`"),
        ("split.folds={any=[[\"nobody\"]]}", "fold 0 has no recording on the test side"),
        ("split.protocol=\"cross-corpus\"", "no recording on the train side"),
    ] {
        let set = by_speaker(&[more]);
        mill.stage("ingest", &set);
        let ended = mill.stage("folds", &set);
        assert!(ended.code == 2 && ended.stderr.contains(words), "{more}: {}", ended.stderr);
    }
}

#[test]
fn models_know_how_sure_they_may_be_and_the_last_one_knows_everything() {
    let mill = Mill::new();
    let corpus = mill.corpora().join("synthetic");
    let args = ["synth", &corpus.to_string_lossy(), "--speakers", "3", "--statements", "8", "--repetitions", "1"];
    assert_eq!(mill.run(&args).code, 0);
    let last =
        ["split.validation_fraction=0.0", "train.keep=\"last\"", "train.final_model=true", "train.calibrate=true"];
    let set = by_speaker(&last);
    for stage in ["ingest", "features", "train", "score"] {
        mill.done(stage, &set);
    }
    let rows: Vec<CalibrationRow> = mill.rows("calibration");
    let value = |metric: &str| rows.iter().find(|row| row.metric == metric).and_then(|row| row.value);
    assert!(value("temperature").is_some_and(|temperature| temperature > 0.0), "{rows:?}");
    assert!(
        value("coverage").is_some() && value("ece_after").is_some() && value("ece_floor_after").is_some(),
        "{rows:?}"
    );
    let scored = mill.predictions();
    assert_eq!(scored.len(), 168);
    assert!(scored.iter().all(|row| row.prediction_set.is_some() && row.domain_distance.is_some()), "{:?}", scored[0]);
    // A folder belongs to no fold: it is asked of the model that knows everything.
    let folder = corpus.to_string_lossy().to_string();
    let mut input = set.clone();
    input.extend(["--input", &folder]);
    let summary = mill.done("score", &input);
    assert_eq!((summary["rows"].as_u64(), summary["stage"].as_str()), (Some(168), Some("score")));
    let first = mill.done("train", &set);
    assert_eq!(first["fresh"], true);
}
