//! How a recipe says that a network learns: every key at once survives a kill, the last epoch needs no monitored side, and
//! statistics are measured on weights that are there already.

use std::process::Stdio;
use std::time::{Duration, Instant};

use sermill::tables::history::HistoryRow;

use crate::mill::Mill;

/// Everything that `[train]` and `[augment]` have beyond the paper's.
const EVERYTHING: [&str; 20] = [
    "--set",
    "train.epochs=4",
    "--set",
    "train.keep=last",
    "--set",
    "train.schedule={cosine={warmup_epochs=1,floor=0.01}}",
    "--set",
    "train.optimiser={adamw={weight_decay=0.05}}",
    "--set",
    "train.average={ema=0.9}",
    "--set",
    "train.batch_norm=re-estimated",
    "--set",
    "train.loss.smoothing=0.1",
    "--set",
    "train.loss.class_weights=balanced",
    "--set",
    "train.sample={corpus=\"equal\",class=\"equal\"}",
    "--set",
    "augment.mixup=0.3",
];

fn with_features() -> Mill {
    let mill = Mill::with_corpus();
    mill.done("ingest", &[]);
    mill.done("features", &[]);
    mill
}

fn model(mill: &Mill, summary: &serde_json::Value) -> Vec<u8> {
    let id = summary["model_id"].as_str().expect("a model");
    std::fs::read(mill.store().join("models").join(id).join("model.onnx")).expect("a model")
}

#[test]
fn a_killed_training_with_every_key_goes_on_to_the_same_bytes() {
    let (whole, torn) = (with_features(), with_features());
    let expected = whole.done("train", &EVERYTHING);
    let command = &mut torn.command("train", "demo", &EVERYTHING);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
    let (index, begun) = (torn.store().join("index/train"), Instant::now());
    // Kill it once a checkpoint is there; a run that ended before only makes the test easier.
    while begun.elapsed() < Duration::from_secs(60) && child.try_wait().expect("state").is_none() {
        if std::fs::read_dir(&index).is_ok_and(|mut files| files.next().is_some()) {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().expect("killed");
    child.wait().expect("gone");
    // Another number of threads is the same training.
    let mut again = EVERYTHING.to_vec();
    again.extend(["--threads", "1"]);
    let resumed = torn.done("train", &again);
    assert_eq!((&resumed["model_id"], &resumed["epochs"]), (&expected["model_id"], &4.into()));
    assert_eq!(resumed["best_epoch"], 4, "the last epoch is the model");
    assert!(model(&torn, &resumed) == model(&whole, &expected), "bit-equal to the uninterrupted run");
    let curve = |mill: &Mill| -> Vec<(f64, f64, Option<f64>, f64)> {
        let rows: Vec<HistoryRow> = mill.rows("history");
        let of = |row: &HistoryRow| (row.train_loss, row.train_accuracy, row.monitored_loss, row.learning_rate);
        rows.iter().map(of).collect()
    };
    assert_eq!(curve(&torn), curve(&whole));
    assert!(curve(&whole).iter().all(|(loss, ..)| loss.is_finite()));
}

#[test]
fn the_last_epoch_needs_no_monitored_side_and_nothing_that_is_not_a_number_spreads() {
    let mill = Mill::with_corpus();
    let none = ["--set", "split.validation_fraction=0"];
    let refused = mill.stage("train", &none);
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("validation_fraction") && refused.stderr.contains("keep"), "{}", refused.stderr);
    let last = [none[0], none[1], "--set", "train.keep=last", "--set", "train.patience=1"];
    let ended = mill.stage("run", &last);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let history: Vec<HistoryRow> = mill.rows("history");
    assert_eq!(history.iter().map(|row| row.is_best).collect::<Vec<_>>(), [false, true], "patience is not looked at");
    assert!(history.iter().all(|row| row.monitored_loss.is_none() && row.monitored_accuracy.is_none()));
    let model = mill.store().join("models").join(&history[0].model_id);
    let curves = std::fs::read_to_string(model.join("curves.svg")).expect("curves");
    let report = mill.store().join("reports").join(&history[0].model_id);
    let page = std::fs::read_to_string(report.join("report.md")).expect("a report");
    for text in [&curves, &page, &ended.stdout] {
        assert!(!text.contains("NaN"), "{text}");
    }
    assert!(page.contains("| 2 (best) |") && page.contains("| - | - |"), "{page}");
    assert!(ended.stdout.contains("\"monitored_accuracy\":null"), "{}", ended.stdout);
}

#[test]
fn statistics_are_measured_on_kept_weights_without_training_again() {
    let mill = with_features();
    let moving = mill.done("train", &[]);
    let args = ["--set", "train.batch_norm=re-estimated"];
    let ended = mill.stage("train", &args);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stderr.contains("goes on after epoch 2"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("epoch 1:") && !ended.stderr.contains("epoch 3:"), "{}", ended.stderr);
    assert!(ended.stderr.contains("batch statistics of"), "{}", ended.stderr);
    let measured = ended.json();
    assert_ne!(measured["model_id"], moving["model_id"]);
    assert_eq!(measured["monitored_accuracy"], moving["monitored_accuracy"], "of the epoch, with moving statistics");
    assert!(model(&mill, &measured) != model(&mill, &moving));
    assert_eq!(mill.done("train", &args)["fresh"], true);
}

#[test]
fn the_keys_are_settings_only_where_a_recipe_has_them() {
    let mill = with_features();
    let plain = mill.done("train", &[]);
    let spelled = ["--set", "train.keep=best", "--set", "augment.mixup=0.0", "--set", "train.average=none"];
    assert_eq!(mill.done("train", &spelled)["fresh"], true, "what they mean left out, spelled out");
    let other = mill.done("train", &["--set", "augment.mixup=0.2"]);
    assert_ne!(other["model_id"], plain["model_id"]);
}
