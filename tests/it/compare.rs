//! `sermill compare`: planted differences are found, and what cannot be compared is said or refused by name.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};
use sermill::tables::comparison::ComparisonRow;
use sermill::tables::flips::FlipRow;
use sermill::tables::manifest::Status;
use sermill::tables::predictions::{PredictionRow, Predictions};
use sermill::tables::read_rows;

use crate::mill::{Ended, Mill};

const CLASSES: [&str; 3] = ["angry", "happy", "sad"];
const SPEAKERS: usize = 8;
const ITEMS: usize = 30;

/// Writes predictions of `model`: 8 speakers of 30 recordings on the test side, where `wrong` says who is wrong with the next class.
fn arm(
    mill: &Mill,
    model: &str,
    wrong: impl Fn(usize, usize) -> bool,
    change: impl Fn(&mut Vec<PredictionRow>),
) -> String {
    let row = |speaker: usize, item: usize| {
        let truth = item % 3;
        let said = if wrong(speaker, item) { (truth + 1) % 3 } else { truth };
        let mut row = PredictionRow {
            recording_id: format!("own/{speaker:02}-{item:02}.wav"),
            corpus: if speaker < 6 { "own".into() } else { "other".into() },
            speaker: Some(format!("s{speaker}")),
            sex: Some(if speaker.is_multiple_of(2) { "female".into() } else { "male".into() }),
            content_hash: Some(format!("{speaker}-{item}")),
            split: Some("test".into()),
            emotion: Some(CLASSES[truth].into()),
            model_id: model.into(),
            ..PredictionRow::default()
        };
        let probabilities: Vec<f32> = (0..3).map(|class| if class == said { 0.8 } else { 0.1 }).collect();
        row.set_probabilities(&CLASSES.map(str::to_string), &probabilities);
        row
    };
    let mut rows = (0..SPEAKERS).flat_map(|s| (0..ITEMS).map(move |i| (s, i))).map(|(s, i)| row(s, i)).collect();
    change(&mut rows);
    write(mill, model, &CLASSES, rows)
}

fn write(mill: &Mill, model: &str, classes: &[&str], rows: Vec<PredictionRow>) -> String {
    let path = mill.path(&format!("{model}.parquet"));
    let classes: Vec<String> = classes.iter().map(|class| class.to_string()).collect();
    let mut bytes = Vec::new();
    Predictions { classes, rows }.write(&mut bytes).expect("written");
    std::fs::write(&path, bytes).expect("written");
    path.to_string_lossy().into_owned()
}

fn compare(mill: &Mill, a: &str, b: &str, more: &[&str]) -> Ended {
    mill.run(&[&["compare", a, b, "--resamples", "400"], more].concat())
}

fn done(mill: &Mill, a: &str, b: &str, more: &[&str]) -> (Value, String) {
    let ended = compare(mill, a, b, more);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    (ended.json(), ended.stdout)
}

fn refused(mill: &Mill, a: &str, b: &str, more: &[&str]) -> String {
    let ended = compare(mill, a, b, more);
    assert_eq!(ended.code, 2, "{}", ended.stdout);
    ended.stderr
}

fn nothing(_: &mut Vec<PredictionRow>) {}

fn is_close(value: &Value, wanted: f64) -> bool {
    value.as_f64().is_some_and(|value| (value - wanted).abs() < 1e-12)
}

#[test]
fn planted_flips_are_found_one_by_one_and_counted_in_every_slice() {
    let mill = Mill::new();
    // A is wrong in every tenth item. B too, but is right in item 0 of every speaker, and wrong in item 1 of speakers 0 to 2.
    let a = arm(&mill, "a", |_, item| item % 10 == 0, nothing);
    let b = arm(
        &mill,
        "b",
        |s, item| item % 10 == 0 && item > 0 || item == 1 && s < 3,
        |rows| {
            // Item 10 is wrong in both, by another class here.
            rows.iter_mut().filter(|row| row.recording_id.ends_with("-10.wav")).for_each(|row| {
                row.predicted = Some("angry".into());
            });
        },
    );
    let (table, flips) = (mill.path("t/table.parquet"), mill.path("flips.parquet"));
    let to = |path: &PathBuf| path.to_string_lossy().into_owned();
    let (found, text) = done(&mill, &a, &b, &["--out", &to(&table), "--flips", &to(&flips)]);
    assert_eq!((&found["compared"], &found["split"]), (&json!(240), &json!("test")));
    assert_eq!(
        [&found["right_to_wrong"], &found["wrong_to_right"], &found["changed_wrong"]],
        [3, 8, 8].map(Value::from).each_ref()
    );
    assert!(is_close(&found["accuracy"]["difference"], 5.0 / 240.0), "{found}");
    assert_eq!([&found["gain"], &found["lose"], &found["stay"]], [5, 0, 3].map(Value::from).each_ref());
    // Eleven coins with three heads or fewer, twice.
    assert!(is_close(&found["mcnemar_exact"], 2.0 * 232.0 / 2048.0), "{found}");
    let low = found["accuracy"]["low"].as_f64().expect("eight speakers");
    let high = found["accuracy"]["high"].as_f64().expect("eight speakers");
    assert!(low > 0.0 && low < 5.0 / 240.0 && high > 5.0 / 240.0 && high < 1.0 / 30.0, "{found}");
    assert!(text.contains("It takes recordings as independent"), "{text}");

    let rows: Vec<FlipRow> = read_rows(&flips).expect("flips");
    let of =
        |kind: &str| rows.iter().filter(|row| row.flip == kind).map(|row| row.recording_id.clone()).collect::<Vec<_>>();
    assert_eq!(of("right_to_wrong"), ["own/00-01.wav", "own/01-01.wav", "own/02-01.wav"]);
    assert_eq!(of("wrong_to_right"), (0..8).map(|s| format!("own/{s:02}-00.wav")).collect::<Vec<_>>());
    assert_eq!(of("changed_wrong"), (0..8).map(|s| format!("own/{s:02}-10.wav")).collect::<Vec<_>>());
    assert!(rows.iter().all(|row| row.model_a == "a" && row.model_b == "b" && row.predicted_a != row.predicted_b));

    let rows: Vec<ComparisonRow> = read_rows(&table).expect("table");
    let accuracy: BTreeMap<&str, &ComparisonRow> =
        rows.iter().filter(|row| row.metric == "accuracy").map(|row| (row.slice.as_str(), row)).collect();
    let slices: Vec<&str> = accuracy.keys().copied().collect();
    let speakers = (0..6).map(|s| format!("speaker=own/s{s}")).chain((6..8).map(|s| format!("speaker=other/s{s}")));
    let mut wanted: Vec<String> = ["all", "corpus=other", "corpus=own", "sex=female", "sex=male"]
        .map(String::from)
        .into_iter()
        .chain(speakers)
        .collect();
    wanted.sort();
    assert_eq!(slices, wanted);
    let near = |value: Option<f64>, wanted: f64| (value.expect("a number") - wanted).abs() < 1e-12;
    assert!(
        near(accuracy["corpus=own"].difference, 3.0 / 180.0) && near(accuracy["corpus=other"].difference, 2.0 / 60.0)
    );
    assert!(
        near(accuracy["speaker=own/s0"].difference, 0.0) && near(accuracy["speaker=own/s4"].difference, 1.0 / 30.0)
    );
    let bounded: Vec<&str> = slices.into_iter().filter(|slice| accuracy[slice].low.is_some()).collect();
    assert_eq!(bounded, ["all", "corpus=own"], "no bounds of fewer than five speakers");
    assert_eq!(accuracy["sex=male"].n_drawn, 4);
    let recall = |class: &str| rows.iter().find(|row| row.slice == "all" && row.class == class).expect("a class");
    assert!(near(recall("angry").difference, 8.0 / 80.0) && near(recall("happy").difference, -3.0 / 80.0));
    assert_eq!((recall("sad").difference, recall("sad").support), (Some(0.0), 80));
    let note = sermill::tables::TableFile::open(&table).expect("there").note("sermill.comparison").expect("read");
    assert_eq!(serde_json::from_str::<Value>(&note.expect("a note")).expect("JSON"), found);
}

#[test]
fn the_other_way_round_is_the_negative_and_twice_is_the_same() {
    let mill = Mill::new();
    let a = arm(&mill, "a", |s, item| (7 * s + 5 * item) % 11 < 3, nothing);
    let b = arm(&mill, "b", |s, item| (3 * s + 4 * item + s * s) % 13 < 3, nothing);
    let (ab, ba) = (done(&mill, &a, &b, &[]).0, done(&mill, &b, &a, &[]).0);
    for metric in ["accuracy", "uar", "macro_f1"] {
        let number = |from: &Value, key: &str| from[metric][key].as_f64().expect("a number");
        assert!((number(&ab, "difference") + number(&ba, "difference")).abs() < 1e-12);
        assert!((number(&ab, "low") + number(&ba, "high")).abs() < 1e-12, "the same draws for both");
    }
    assert_eq!((&ab["right_to_wrong"], &ab["mcnemar_mid"]), (&ba["wrong_to_right"], &ba["mcnemar_mid"]));
    assert_eq!(done(&mill, &a, &b, &[]).0, ab);
    let same = done(&mill, &a, &a, &[]).0;
    assert_eq!(
        (&same["accuracy"]["difference"], &same["mcnemar_exact"], &same["stay"]),
        (&0.0.into(), &1.0.into(), &8.into())
    );
}

#[test]
fn what_cannot_be_compared_is_counted_and_said() {
    let mill = Mill::new();
    let a = arm(&mill, "a", |_, _| false, nothing);
    let b = arm(
        &mill,
        "b",
        |_, _| false,
        |rows| {
            let at = |s: usize, item: usize| s * ITEMS + item;
            (0..4).for_each(|item| rows[at(0, item)].split = Some("train".into()));
            rows[at(1, 0)].content_hash = Some("other".into());
            rows[at(1, 1)].emotion = Some("sad".into());
            rows[at(1, 2)].emotion = None;
            rows[at(2, 0)].predicted = None;
            rows[at(2, 0)].status = Status::Rejected;
            rows.truncate(at(7, 28));
        },
    );
    let (found, text) = done(&mill, &a, &b, &[]);
    assert_eq!(found["compared"], 240 - 4 - 1 - 2 - 1 - 2);
    assert_eq!((&found["a"]["elsewhere_in_the_other"], &found["a"]["only_here"]), (&json!({ "train": 4 }), &json!(2)));
    assert_eq!(
        [&found["other_content"], &found["other_label"], &found["unanswered"]],
        [1, 2, 1].map(Value::from).each_ref()
    );
    for said in [
        "4 on the test side of A, on train side in B",
        "2 on the test side of A alone",
        "1 with other bytes under the same name",
        "2 with another label",
        "1 rejected by one of them",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
}

#[test]
fn models_of_other_classes_are_compared_over_those_that_both_know() {
    let mill = Mill::new();
    let a = arm(&mill, "a", |_, item| item % 10 == 0, nothing);
    // This one knows no `sad`, and `calm` instead: it says so to what A calls sad, and once a speaker to an angry one.
    let rows = |rows: &mut Vec<PredictionRow>| {
        for row in rows.iter_mut() {
            if row.emotion.as_deref() == Some("sad") || row.recording_id.ends_with("-03.wav") {
                row.predicted = Some("calm".into());
            }
            if row.emotion.as_deref() == Some("sad") {
                row.emotion = Some("calm".into());
            }
        }
    };
    let path = arm(&mill, "b", |_, _| false, rows);
    let read = sermill::tables::TableFile::open(path.as_ref()).and_then(|file| Predictions::read(&file)).expect("rows");
    let b = write(&mill, "b", &["angry", "happy", "calm"], read.rows);
    let (found, text) = done(&mill, &a, &b, &[]);
    assert_eq!((&found["classes"], &found["compared"]), (&json!(["angry", "happy"]), &json!(160)));
    assert_eq!(
        (&found["a"]["classes_only_here"], &found["b"]["classes_only_here"]),
        (&json!(["sad"]), &json!(["calm"]))
    );
    // A misses items 0 and 10, B item 3 of the twenty.
    assert!(is_close(&found["accuracy"]["a"], 0.9) && is_close(&found["accuracy"]["b"], 0.95), "{found}");
    assert_eq!(
        (&found["right_to_wrong"], &found["wrong_to_right"], &found["other_label"]),
        (&8.into(), &16.into(), &80.into())
    );
    assert!(
        text.contains("compared over the 2 that both know (angry, happy); A alone knows sad, B alone calm"),
        "{text}"
    );
}

#[test]
fn fewer_than_five_speakers_are_said_and_give_no_bounds() {
    let mill = Mill::new();
    let few = |rows: &mut Vec<PredictionRow>| rows.truncate(2 * ITEMS);
    let (a, b) = (arm(&mill, "a", |_, item| item == 0, few), arm(&mill, "b", |_, item| item < 4, few));
    let (found, text) = done(&mill, &a, &b, &[]);
    assert_eq!((&found["accuracy"]["low"], &found["n_drawn"]), (&Value::Null, &json!(2)));
    assert!(text.contains("intervals: none. There are 2 speakers, and fewer than 5 say nothing"), "{text}");
    let unknown = |rows: &mut Vec<PredictionRow>| rows.iter_mut().for_each(|row| row.speaker = None);
    let (a, b) = (arm(&mill, "a", |_, item| item == 0, unknown), arm(&mill, "b", |_, item| item < 4, unknown));
    let (found, text) = done(&mill, &a, &b, &[]);
    assert_eq!((&found["drawn"], &found["n_drawn"]), (&json!("recordings"), &json!(240)));
    assert!(text.contains("bootstrap over 240 recordings") && found["accuracy"]["low"].is_number(), "{text}");
}

#[test]
fn what_is_no_comparison_is_refused_by_name() {
    let mill = Mill::new();
    let a = arm(&mill, "a", |_, _| false, nothing);
    let said = |model: &str, change: fn(&mut Vec<PredictionRow>), more: &[&str], wanted: &str| {
        let b = arm(&mill, model, |_, _| false, change);
        let error = refused(&mill, &a, &b, more);
        assert!(error.contains(wanted), "{wanted}: {error}");
    };
    let rename = |rows: &mut Vec<PredictionRow>| rows.iter_mut().for_each(|row| row.recording_id.insert(0, 'x'));
    said("b", rename, &[], "have no recording of the test side in common: 240 on the test side of the first alone");
    said("b", nothing, &["--split", "train"], "have no recording on the train side");
    let move_all = |rows: &mut Vec<PredictionRow>| rows.iter_mut().for_each(|row| row.split = Some("train".into()));
    said("b", move_all, &[], "share no side: scored are test, and train");
    said("b", |rows| rows.push(rows[3].clone()), &[], "copy 0 of `own/00-03.wav` has two answers on the test side");
    said("b", |rows| rows.clear(), &[], "holds no predictions");
    let bare = |rows: &mut Vec<PredictionRow>| rows.iter_mut().for_each(|row| row.emotion = None);
    let (c, d) = (arm(&mill, "c", |_, _| false, bare), arm(&mill, "d", |_, _| false, bare));
    let error = refused(&mill, &c, &d, &[]);
    assert!(error.contains("have no label for any of the 240 recordings that both answer"), "{error}");
    let other = write(&mill, "e", &["calm", "bored"], Vec::new());
    assert!(refused(&mill, &a, &other, &[]).contains("holds no predictions"));

    assert!(refused(&mill, &a, "nowhere", &[]).contains("`nowhere`: there is no such store and no such file"));
    std::fs::write(mill.path("text.parquet"), "no table").expect("written");
    assert!(refused(&mill, &a, "text.parquet", &[]).contains("text.parquet"));
    assert!(refused(&mill, &a, &a, &["--out", "table.csv"]).contains("its file must be named so"));
    std::fs::create_dir(mill.path("empty")).expect("made");
    assert!(refused(&mill, &a, "empty", &[]).contains("`score` has not been run on this store"));
}

#[test]
fn two_models_of_one_store_are_compared_and_what_was_set_otherwise_is_named() {
    let mill = Mill::with_corpus();
    let first = mill.done("run", &["--set", "score.splits=[\"test\",\"validation\",\"train\"]"]);
    let more = ["--set", "score.splits=[\"test\",\"validation\",\"train\"]", "--set", "train.learning_rate=0.1"];
    let ended = mill.stage("run", &more);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let (old, new) =
        (first["model_id"].as_str().expect("a model"), ended.json()["model_id"].as_str().expect("a model").to_string());
    let before = format!("store:{old}");
    let (found, text) = done(&mill, &before, "store", &["--split", "train"]);
    assert_eq!((&found["a"]["model_id"], &found["b"]["model_id"]), (&json!(old), &json!(new)));
    assert!(text.contains("fewer than 5") && found["n_drawn"] == 2, "{text}");
    assert!(text.contains("a commit keeps the settings of the last model alone"), "{text}");
    let error = refused(&mill, "store:nobody", "store", &[]);
    assert!(error.contains("model `nobody` has no predictions on this store") && error.contains(old), "{error}");

    // A store that knows how it was made says what was set otherwise, and nothing else of the recipe.
    let other = Mill::with_corpus();
    other.done("run", &["--set", "score.splits=[\"test\",\"validation\",\"train\"]", "--set", "train.epochs=1"]);
    let there = other.store().to_string_lossy().into_owned();
    let (found, text) = done(&mill, "store", &there, &[]);
    assert_eq!((&found["a"]["protocol"], &found["unknown"]), (&json!("source-disjoint"), &json!([])));
    let changes: Vec<[&str; 4]> = found["changes"]
        .as_array()
        .expect("changes")
        .iter()
        .map(|change| ["stage", "name", "a", "b"].map(|key| change[key].as_str().expect("text")))
        .collect();
    let of_train: Vec<&[&str; 4]> = changes.iter().filter(|change| change[0] == "train").collect();
    let wanted = [["train", "train.learning_rate", "0.1", "0.03"], ["train", "train.epochs", "2", "1"]];
    assert!(wanted.iter().all(|one| of_train.contains(&one)) && of_train.len() == 2, "{changes:?}");
    assert!(changes.iter().all(|change| ["train", "score"].contains(&change[0])), "the same recordings: {changes:?}");
    assert!(text.contains("train.learning_rate: 0.1 | 0.03"), "{text}");
}
