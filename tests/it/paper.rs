//! `sermill paper`: the tables and figures are those of the store's own tables.

use sermill::tables::manifest::ManifestRow;
use sermill::tables::metrics::MetricRow;

use crate::mill::{Mill, TWINS};

/// Cells of the row of a Markdown table that begins with `head`.
fn cells(page: &str, head: &str) -> Vec<String> {
    let line =
        page.lines().find(|line| line.starts_with(&format!("| {head} |"))).unwrap_or_else(|| panic!("{head}: {page}"));
    line.trim_matches('|').split('|').skip(1).map(|cell| cell.trim().to_string()).collect()
}

#[test]
fn the_papers_tables_and_figures_are_made_of_what_the_store_holds() {
    let mill = Mill::with_corpus();
    let summary = mill.done("run", &["--set", "split.protocol=paper", "--set", TWINS]);
    let ended = mill.run(&["paper", "--store", "store", "--out", "out/paper"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(ended.json()["figures"], 6);
    let page = std::fs::read_to_string(mill.path("out/paper/paper.md")).expect("a page");

    let manifest: Vec<ManifestRow> = mill.rows("manifest");
    let of = |class: &str| manifest.iter().filter(|row| row.emotion.as_deref() == Some(class)).count().to_string();
    let printed = ["happy", "sad", "angry", "disgust", "fear", "surprise", "neutral"];
    let wanted: Vec<String> = printed.iter().map(|class| of(class)).chain(["28".to_string()]).collect();
    assert_eq!((cells(&page, "Org"), cells(&page, "Aug")), (wanted.clone(), wanted));
    assert_eq!(cells(&page, "Total")[7], "56");
    assert_eq!(cells(&page, "the paper, Org and Aug each"), ["652", "652", "655", "652", "652", "652", "808", "4723"]);

    let metrics: Vec<MetricRow> = mill.rows("metrics");
    let value = |class: &str, metric: &str| {
        let mut own = metrics.iter().filter(|row| row.split == "test" && row.slice == "all" && row.class == class);
        let row = own.find(|row| row.metric == metric).expect("a row");
        row.value.map_or("-".into(), |value| format!("{:.0}", 100.0 * value))
    };
    for (class, name) in [("neutral", "Neutral"), ("sad", "Sad"), ("surprise", "Surprise")] {
        let wanted = ["precision", "recall", "f1"].map(|metric| value(class, metric));
        assert_eq!(cells(&page, name)[..3], wanted, "{name}");
    }
    assert_eq!(cells(&page, "Sad")[4..], ["92", "81", "86"]);
    let model_id = summary["model_id"].as_str().expect("a model");
    let row = cells(&page, model_id);
    let accuracy = summary["sides"]["test"]["accuracy"].as_f64().expect("a number");
    assert_eq!(
        (row[0].as_str(), &row[4]),
        ("time distributed CNN (4, 4, 6, 6) + LSTM (8)", &format!("{:.2} %", 100.0 * accuracy))
    );
    assert!(page.contains("leaks") && page.contains("sad recordings are taken for neutral"), "{page}");

    for (file, said) in [
        ("figure-1.svg", "Periodogram"),
        ("figure-2.svg", "29 with a single bin of the transform, 3 with none"),
        ("figure-3.svg", "Learning module 4"),
        ("figure-4.svg", "ELU"),
        ("figure-5-6.svg", "loss (cross-entropy)"),
        ("figure-7.svg", "Confusion matrix, test side, protocol paper"),
    ] {
        let picture = std::fs::read_to_string(mill.path("out/paper").join(file)).expect("a picture");
        assert!(picture.contains(said) && page.contains(&format!("({file})")), "{file}");
    }
}

#[test]
fn a_store_that_was_never_scored_has_no_tables() {
    let mill = Mill::new();
    std::fs::create_dir(mill.path("store")).expect("made");
    let ended = mill.run(&["paper", "--store", "store", "--out", "out"]);
    assert!(ended.code == 2 && ended.stderr.contains("`score` has not been run on this store"), "{}", ended.stderr);
    assert!(!mill.path("out").exists());
}
