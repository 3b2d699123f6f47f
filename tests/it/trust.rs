//! Whether numbers can be believed: every stage goes by how its input was made, and not by the recipe of the day.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use prost::Message;
use serde_json::Value;
use sermill::labels::Labels;
use sermill::network::onnx::proto::ModelProto;
use sermill::tables::confusion::ConfusionRow;
use sermill::tables::features::FeatureRow;
use sermill::tables::folds::{FoldRow, Sides};
use sermill::tables::metrics::MetricRow;
use sermill::tables::predictions::PredictionRow;
use sermill::tables::runs::RunRow;

use crate::mill::{Mill, TWINS};
use crate::store::{commit, committed, differences, files_below, flip, index, refused, verdict};

/// Another front end that gives spectrograms of the same shape.
const OTHER: [&str; 4] = ["--set", "features.profile=mine", "--set", "features.front_end.fmin_hz=80.0"];
/// Scores that every recording has.
const ALL: [&str; 2] = ["--set", "score.splits=[\"train\",\"validation\",\"test\"]"];

/// A model that the store has trained, copied away, as an argument of `--set`.
fn model_elsewhere(mill: &Mill) -> String {
    let id = commit(mill, "train")["evidence"]["model_id"].as_str().expect("an id").to_string();
    std::fs::copy(mill.store().join("models").join(id).join("model.onnx"), mill.path("copy.onnx")).expect("copied");
    format!("score.model={}", mill.path("copy.onnx").display())
}

#[test]
fn features_of_another_front_end_or_split_train_no_model() {
    let mill = Mill::with_corpus();
    mill.done("ingest", &[]);
    let features = mill.done("features", &[]);
    let made = features["fingerprint"].as_str().expect("a fingerprint").to_string();
    let wanted = {
        let other = Mill::with_corpus();
        other.done("ingest", &OTHER);
        other.done("features", &OTHER)["fingerprint"].as_str().expect("a fingerprint").to_string()
    };
    assert_ne!(made, wanted);
    let splits = [
        ("pipeline.seed=7", "`features` was run with pipeline.seed = 1, the recipe says 7"),
        ("features.copies=2", "`features` was run with features.copies = 1, the recipe says 2"),
        ("features.front_end.hop=129", "`features` was run with features.front_end.hop = 128, the recipe says 129"),
    ];
    let refused_all = || {
        let words =
            ["features.front_end.fmin_hz = 0.0, the recipe says 80.0", "run `sermill features` with this recipe first"];
        refused(&mill.stage("train", &OTHER), &words);
        for (set, words) in splits {
            refused(&mill.stage("train", &["--set", set]), &[words, "run `sermill features` with this recipe first"]);
        }
    };
    refused_all();
    assert!(!mill.store().join("models").exists() && mill.table("history").is_empty());
    // A model of the features that are there does not stand for a recipe of others either.
    mill.done("train", &[]);
    let before = files_below(&mill.store());
    refused_all();
    assert_eq!(differences(&before, &files_below(&mill.store())), Vec::<String>::new());
    // Features ask the same of the manifest.
    let words = ["`ingest` was run with ingest.max_recording_mb = 256, the recipe says 100", "run `sermill ingest`"];
    refused(&mill.stage("features", &["--set", "ingest.max_recording_mb=100"]), &words);
    // The command that mends it does.
    mill.done("features", &OTHER);
    let trained = mill.done("train", &OTHER);
    let model = mill.store().join("models").join(trained["model_id"].as_str().expect("an id")).join("model.onnx");
    let card = sermill::network::onnx::ModelCard::from_model(&std::fs::read(model).expect("a model"));
    assert_eq!(card.unwrap_or_else(|error| panic!("{error}")).fingerprint, wanted);
}

#[test]
fn a_report_says_the_protocol_of_its_predictions_whatever_the_recipe_says() {
    for (protocol, warning) in [("source-disjoint", "every speaker is on both sides"), ("paper", "leaks")] {
        let mill = Mill::with_corpus();
        let set = format!("split.protocol={protocol}");
        mill.done("run", &["--set", &set, "--set", TWINS]);
        for claimed in ["unsplit", "source-disjoint", "paper"] {
            // Another number of resamples, so that it has to run.
            let bootstrap = format!("report.bootstrap={}", 60 + claimed.len());
            let claimed = format!("split.protocol={claimed}");
            let ended = mill.stage("report", &["--set", &claimed, "--set", &bootstrap]);
            assert_eq!(ended.code, 0, "{}", ended.stderr);
            let summary = ended.json();
            assert_eq!((&summary["fresh"], &summary["protocol"]), (&false.into(), &protocol.into()), "{claimed}");
            let said = summary["warning"].as_str().expect("a warning");
            assert!(said.contains(warning) && ended.stderr.contains(warning), "{claimed}: {said}");
            assert_eq!(said.contains("leaks"), protocol == "paper");
            let page = std::fs::read_to_string(summary["report"].as_str().expect("a page")).expect("a page");
            assert!(page.contains(&format!("protocol `{protocol}`")) && page.contains(warning), "{page}");
            assert!(["unsplit", "source-disjoint", "paper"].iter().all(|name| {
                *name == protocol || !page.contains(&format!("protocol {name}")) && !page.contains(&format!("`{name}`"))
            }));
            assert!(mill.rows::<MetricRow>("metrics").iter().all(|row| row.protocol == protocol), "{claimed}");
            let runs = mill.rows::<RunRow>("runs").into_iter().filter(|row| row.stage == "report");
            assert!(runs.map(|row| row.protocol).all(|named| named == protocol), "{claimed}");
            assert!(mill.rows::<ConfusionRow>("confusion").iter().all(|row| row.protocol == protocol), "{claimed}");
        }
    }
}

#[test]
fn new_copies_are_scored_anew_and_the_originals_are_not() {
    let mill = Mill::with_corpus();
    mill.done("run", &[]);
    let model = model_elsewhere(&mill);
    let score = |more: &[&str]| mill.done("score", &[&ALL[..], &["--set", &model], more].concat());
    let rows = || -> BTreeMap<(String, u32), PredictionRow> {
        let rows = mill.predictions().into_iter();
        rows.map(|row| ((row.recording_id.clone(), row.copy), row)).collect()
    };
    let first = score(&[]);
    assert_eq!((&first["n_done"], &first["n_reused"]), (&38.into(), &18.into()), "a copy of a model is the same model");
    let mut before = rows();
    for (more, n_reused) in [
        (&["--set", "features.augmentations=[\"pink-noise\"]"][..], 28),
        (&["--set", "pipeline.seed=2"], 28),
        // What was there before the last run is not remembered.
        (&[], 28),
    ] {
        mill.done("ingest", more);
        mill.done("features", more);
        let summary = score(more);
        assert_eq!((&summary["n_reused"], &summary["n_done"]), (&n_reused.into(), &28.into()), "{more:?}");
        let after = rows();
        assert_eq!(after.len(), 56);
        let made = mill.rows::<FeatureRow>("features").into_iter();
        let made: BTreeMap<_, _> = made.map(|row| ((row.recording_id, row.copy), row.variant)).collect();
        let sides = Sides::of(mill.rows::<FoldRow>("folds"), 0);
        for (key, row) in &after {
            let is_same = row.probabilities == before[key].probabilities;
            assert_eq!((is_same, row.variant == before[key].variant), (key.1 == 0, key.1 == 0), "{key:?} {more:?}");
            let side = sides.get(&key.0, key.1).map(|side| side.name().to_string());
            assert_eq!((&row.variant, &row.split), (&made[key], &side), "as the tables say today");
        }
        before = after;
    }
    mill.done("features", &[]);
    assert_eq!(score(&[])["fresh"], true);
}

/// Writes the `labels.csv` of a corpus; `who` gives speaker and sex of each recording by its number.
fn label(corpus: &Path, who: impl Fn(usize) -> (&'static str, &'static str)) {
    let found = sermill::scan::recordings_below(corpus).expect("listed").recordings;
    let mut text = "path,emotion,speaker,sex\n".to_string();
    for (number, file) in found.iter().enumerate() {
        let emotion = file.relative.split('-').nth(1).expect("the grammar of `synth`");
        let (speaker, sex) = who(number);
        text += &format!("{},{emotion},{speaker},{sex}\n", file.relative);
    }
    std::fs::write(corpus.join("labels.csv"), text).expect("written");
}

#[test]
fn a_corrected_speaker_and_sex_reach_predictions_and_slices() {
    let mill = Mill::with_corpus();
    let corpus = mill.corpora().join("synthetic");
    let labelled = ["--set", "ingest.corpus=[{kind=\"labelled\",name=\"own\",root=\"synthetic\"}]"];
    let all = [&labelled[..], &ALL].concat();
    label(&corpus, |number| if number < 14 { ("ann", "female") } else { ("bob", "male") });
    mill.done("run", &all);
    let sexes = || {
        let metrics: Vec<MetricRow> = mill.rows("metrics");
        let slices = metrics.into_iter().filter(|row| row.metric == "accuracy" && row.split == "train");
        slices.map(|row| (row.slice, row.support)).filter(|(slice, _)| slice.starts_with("sex")).collect::<Vec<_>>()
    };
    let before = sexes();
    label(&corpus, |number| if number < 7 { ("eve", "male") } else { ("bob", "male") });
    let ended = mill.stage("run", &all);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let summaries: Vec<Value> = ended.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(summaries[1]["n_done"], 0, "no spectrogram says who speaks");
    assert_eq!((&summaries[2]["fresh"], &summaries[3]["n_reused"]), (&true.into(), &56.into()));
    let rows: Vec<PredictionRow> = mill.rows("predictions");
    for name in ["own-eve", "own-bob"] {
        let of_one = rows.iter().filter(|row| row.speaker.as_deref() == Some(name));
        assert_eq!(of_one.count(), if name == "own-eve" { 14 } else { 42 });
    }
    assert!(rows.iter().all(|row| row.sex.as_deref() == Some("male")));
    assert_eq!((before.len(), sexes().len()), (2, 0), "one sex alone is no slice");
}

#[test]
fn a_run_that_would_lose_most_of_its_recordings_stops_until_it_is_meant() {
    let mill = Mill::with_corpus();
    let optional = ["--set", "ingest.require_all=false"];
    let corpora =
        "ingest.corpus=[{kind=\"synthetic\",name=\"a\",root=\"synthetic\"},{kind=\"synthetic\",name=\"b\",root=\"b\"}]";
    let two = [&optional[..], &["--set", corpora]].concat();
    let accepted = [&two[..], &["--accept-loss"]].concat();
    // Sixteen in one folder and twelve in the other.
    std::fs::create_dir_all(mill.corpora().join("b")).expect("made");
    std::fs::rename(mill.corpora().join("synthetic/speaker_02"), mill.corpora().join("b/speaker_02")).expect("moved");
    std::fs::remove_file(mill.corpora().join("b/speaker_02/02-sad-s1-r1.wav")).expect("removed");
    mill.done("run", &two);
    let before = files_below(&mill.store());
    let unchanged = |when: &str| {
        let after = files_below(&mill.store());
        let changed = differences(&before, &after).into_iter().filter(|path| !path.starts_with("staging/"));
        assert_eq!(changed.collect::<Vec<_>>(), Vec::<String>::new(), "{when}");
    };
    // 13 of 27 are left when the first folder is not mounted.
    let (place, away) = (mill.corpora().join("synthetic"), mill.path("away"));
    std::fs::rename(&place, &away).expect("not mounted");
    for stage in ["ingest", "run"] {
        let words = ["`ingest` would keep 13 usable recordings where the last run had 27", "--accept-loss"];
        refused(&mill.stage(stage, &two), &words);
        unchanged(stage);
    }
    std::fs::rename(&away, &place).expect("mounted");
    assert_eq!(mill.done("ingest", &two)["fresh"], true);
    unchanged("mounted again");
    // Deleted, and meant; every stage asks.
    std::fs::remove_dir_all(&place).expect("deleted");
    refused(&mill.stage("ingest", &two), &["would keep 13"]);
    assert_eq!(mill.done("ingest", &accepted)["recordings"], 13);
    refused(&mill.stage("features", &two), &["`features` would keep 13 usable", "where the last run had 27"]);
    assert_eq!(mill.rows::<FeatureRow>("features").len(), 54, "as long as it is not meant");
    mill.done("run", &accepted);
    assert_eq!(mill.rows::<FeatureRow>("features").len(), 26);
    assert_eq!(verdict(&mill), (0, Vec::new()));
    // Half of it is no loss to ask for.
    for name in ["angry", "disgust", "fear"] {
        for statement in ["s1", "s2"] {
            let file = mill.corpora().join(format!("b/speaker_02/02-{name}-{statement}-r1.wav"));
            std::fs::remove_file(file).expect("removed");
        }
    }
    assert_eq!(mill.done("ingest", &two)["recordings"], 7);
}

#[test]
fn a_model_with_a_hostile_name_is_refused_and_moves_no_file() {
    let mill = Mill::with_corpus();
    mill.done("run", &[]);
    let model = model_elsewhere(&mill);
    let model = Path::new(model.trim_start_matches("score.model="));
    let recording = mill.corpora().join("synthetic/speaker_01/01-sad-s1-r1.wav").to_string_lossy().into_owned();
    let folder = mill.corpora().join("synthetic").to_string_lossy().into_owned();
    let set = format!("score.model={}", model.display());
    let mut proto = ModelProto::decode(std::fs::read(model).expect("a model").as_slice()).expect("an ONNX file");
    proto.metadata_props.retain(|entry| entry.key != "sermill.blake3");
    let mut write = |key: &str, value: &str| {
        proto.metadata_props.iter_mut().filter(|entry| entry.key == key).for_each(|entry| entry.value = value.into());
        std::fs::write(model, proto.encode_to_vec()).expect("written");
    };
    write("sermill.format", "2");
    mill.done("score", &["--set", &set]);
    let before = files_below(&mill.path("."));
    let long = "x".repeat(300);
    let outside = mill.path("evil").to_string_lossy().into_owned();
    for id in ["../models", "../../tables", "..", ".", "", "a/b", "a\\b", "a\0b", &outside, &long, "a\u{1b}[2J"] {
        write("sermill.model_id", id);
        let inspected =
            mill.run(&["inspect", &recording, "--model", &model.to_string_lossy(), "--out", "inspected.svg"]);
        let scored = ["cpu", "native"].into_iter().flat_map(|provider| {
            let set = ["--set", set.as_str(), "--provider", provider];
            [mill.stage("score", &set), mill.stage("score", &[&set[..], &["--input", &folder]].concat())]
        });
        for ended in scored.chain([inspected]) {
            refused(&ended, &["copy.onnx", "is no name of a model"]);
            assert!(!ended.stderr.contains('\u{1b}') && ended.stderr.len() < 1_000, "{}", ended.stderr);
        }
        write("sermill.model_id", "demo-1");
        let changed = differences(&before, &files_below(&mill.path("."))).into_iter();
        let changed = changed.filter(|path| !path.ends_with("copy.onnx") && !path.contains("/locks/"));
        assert_eq!(changed.collect::<Vec<_>>(), Vec::<String>::new(), "{id:?}");
    }
    assert_eq!(verdict(&mill).0, 0);
}

/// Three corpora of their own recordings: speakers known for all, for some, and for none.
fn corpora_of_known_and_unknown_speakers() -> Mill {
    let mill = Mill::new();
    let place = mill.path("made").to_string_lossy().into_owned();
    let synth = ["synth", &place, "--speakers", "3", "--statements", "2", "--repetitions", "1"];
    assert_eq!(mill.run(&synth).code, 0);
    std::fs::create_dir_all(mill.corpora()).expect("made");
    for (speaker, corpus) in [("speaker_01", "all"), ("speaker_02", "some"), ("speaker_03", "none")] {
        std::fs::rename(mill.path("made").join(speaker), mill.corpora().join(corpus)).expect("moved");
    }
    let of = |number: usize| (if number.is_multiple_of(2) { "1" } else { "2" }, "female");
    label(&mill.corpora().join("all"), of);
    label(&mill.corpora().join("some"), |number| if number < 6 { of(number) } else { ("", "male") });
    label(&mill.corpora().join("none"), |_| ("", ""));
    mill
}

#[test]
fn every_interval_says_what_was_drawn_or_why_there_is_none_and_every_mean_over_how_many_classes() {
    let mill = corpora_of_known_and_unknown_speakers();
    let of = |name: &str| format!("{{kind=\"labelled\",name=\"{name}\",root=\"{name}\"}}");
    let corpora = format!("ingest.corpus=[{},{},{}]", of("all"), of("some"), of("none"));
    let set = [&["--set", &corpora, "--set", "split.test_fraction=0.5"], &ALL[..]].concat();
    mill.done("run", &set);
    let metrics: Vec<MetricRow> = mill.rows("metrics");
    let predictions: Vec<PredictionRow> = mill.rows("predictions");
    let mut n_seen = BTreeMap::new();
    let by_predictions = ["all", "corpus", "speaker", "sex", "copies"];
    for row in metrics.iter().filter(|row| by_predictions.iter().any(|name| row.slice.split('=').next() == Some(name)))
    {
        let in_slice = |one: &&PredictionRow| {
            let value = row.slice.split_once('=').map_or("", |(_, value)| value);
            one.split.as_deref() == Some(&row.split)
                && match row.slice.split('=').next() {
                    Some("corpus") => one.corpus == value,
                    Some("sex") => one.sex.as_deref() == Some(value),
                    Some("speaker") => one.speaker.as_deref() == Some(value),
                    Some("copies") => (one.copy == 0) == (value == "original"),
                    _ => true,
                }
        };
        let items: Vec<&PredictionRow> = predictions.iter().filter(in_slice).collect();
        let n_known = items.iter().filter(|one| one.speaker.is_some()).count();
        let drawn = match n_known {
            0 => "recordings",
            n if n == items.len() => "speakers",
            _ => "speakers and recordings",
        };
        let who = |one: &&PredictionRow| (one.corpus.clone(), one.speaker.clone().ok_or(one.recording_id.clone()));
        let n_drawn = items.iter().map(who).collect::<BTreeSet<_>>().len();
        let place = format!("{} {} {} {}", row.split, row.slice, row.metric, row.class);
        let expected = match row.metric.as_str() {
            "accuracy" | "uar" | "macro_f1" | "ece" | "brier" | "log_loss" if n_drawn < 5 => {
                vec![Some(format!("too few {drawn}"))]
            }
            // Where all resamples agree.
            "accuracy" | "uar" | "macro_f1" | "ece" | "brier" | "log_loss" => {
                vec![Some(drawn.to_string()), Some("no spread".to_string())]
            }
            "precision" | "recall" | "f1" => {
                let why = [None, Some("no spread".to_string()), Some(format!("too few {drawn}"))];
                why.into_iter().chain([Some(drawn.to_string())]).collect()
            }
            _ => vec![None],
        };
        assert!(expected.contains(&row.interval), "{place}: {:?}", row.interval);
        let has_ends = row.interval.as_deref() == Some(drawn);
        assert_eq!((row.low.is_some(), row.high.is_some()), (has_ends, has_ends), "{place}");
        *n_seen.entry(row.interval.clone().unwrap_or_default()).or_insert(0) += 1;
        let is_there = |class: &&String| items.iter().any(|one| one.emotion.as_ref() == Some(class));
        let seven = Labels::shipped("seven").expect("shipped");
        let n_classes = seven.classes.iter().filter(is_there).count() as u32;
        if row.metric == "uar_gap" {
            continue;
        }
        let is_over_classes = ["uar", "macro_f1", "chance_uar"].contains(&row.metric.as_str());
        assert_eq!(row.n_classes, is_over_classes.then_some(n_classes), "{place}");
        let of_class = |one: &&&PredictionRow| row.class == "all" || one.emotion.as_deref() == Some(&row.class);
        assert_eq!(row.support as usize, items.iter().filter(of_class).count(), "{place}");
    }
    for interval in ["too few speakers", "recordings", "speakers and recordings", ""] {
        assert!(n_seen.get(interval).is_some_and(|&n| n >= 2), "{interval}: {n_seen:?}");
    }
    assert!(metrics.iter().any(|row| row.n_classes.is_some_and(|n| n < 7)), "a side without a class");
}

#[test]
fn a_lost_memory_of_shards_changes_no_feature_of_a_store_that_has_grown() {
    let mill = Mill::with_corpus();
    let unsplit = ["--set", "split.protocol=unsplit"];
    let place = mill.corpora().join("synthetic").to_string_lossy().into_owned();
    mill.done("ingest", &unsplit);
    mill.done("features", &unsplit);
    let grown = ["synth", &place, "--speakers", "3", "--statements", "2", "--repetitions", "1"];
    assert_eq!(mill.run(&grown).code, 0);
    mill.done("ingest", &unsplit);
    mill.done("features", &unsplit);
    let before = mill.table("features");
    // One bit of what the stage remembers, then its whole commit: the shards themselves say what they hold.
    let rows = committed(&mill, "features").into_iter().find(|path| path.starts_with("index/features/rows-"));
    flip(&mill.store().join(rows.expect("an index")));
    let healed = mill.done("features", &unsplit);
    assert_eq!((&healed["n_done"], mill.table("features") == before), (&0.into(), true));
    std::fs::remove_file(index(&mill, "features")).expect("removed");
    let healed = mill.done("features", &unsplit);
    assert_eq!((&healed["n_done"], mill.table("features") == before), (&0.into(), true));
}
