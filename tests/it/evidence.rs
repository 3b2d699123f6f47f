//! What tables say apart from each other: spectrograms nothing of labels and sides, commits all that they were made by, and
//! predictions the classes of their model.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use sermill::labels::Labels;
use sermill::split::Split;
use sermill::tables::features::FeatureRow;
use sermill::tables::folds::{FoldRow, Sides};
use sermill::tables::manifest::ManifestRow;
use sermill::tables::metrics::MetricRow;

use crate::mill::{Mill, TWINS};
use crate::store::{commit, verdict};

/// A `labels.csv` of the synthetic corpus; `word` says what each recording is called.
fn label(mill: &Mill, word: impl Fn(usize, &str) -> String) {
    let corpus = mill.corpora().join("synthetic");
    let found = sermill::scan::recordings_below(&corpus).expect("listed").recordings;
    let mut text = "path,emotion\n".to_string();
    for (number, file) in found.iter().enumerate() {
        let acted = file.relative.split('-').nth(1).expect("the grammar of `synth`");
        text += &format!("{},{}\n", file.relative, word(number, acted));
    }
    std::fs::write(corpus.join("labels.csv"), text).expect("written");
}

const LABELLED: [&str; 2] = ["--set", "ingest.corpus=[{kind=\"labelled\",name=\"own\",root=\"synthetic\"}]"];
const EIGHT: [&str; 2] = ["--set", "labels.set=ravdess-8"];
const ALL: [&str; 2] = ["--set", "score.splits=[\"train\",\"validation\",\"test\"]"];

fn summaries(mill: &Mill, more: &[&str]) -> Vec<Value> {
    let ended = mill.stage("run", more);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    ended.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn other_labels_and_other_protocols_compute_no_spectrogram() {
    let mill = Mill::with_corpus();
    label(&mill, |_, acted| acted.into());
    summaries(&mill, &LABELLED);
    let shards = mill.table("features");
    let stands = |more: &[&str], what: &str| {
        let made = summaries(&mill, &[&LABELLED[..], more].concat());
        assert_eq!(made[1]["n_done"], 0, "{what}");
        assert_eq!(mill.table("features"), shards, "{what}: the very files");
        assert_eq!(made[2]["fresh"], false, "{what}: another training");
    };
    for protocol in ["paper", "source-disjoint"] {
        let protocol = format!("split.protocol={protocol}");
        stands(&["--set", &protocol, "--set", "split.test_fraction=0.3", "--set", TWINS], &protocol);
    }
    stands(&["--set", "split.validation_fraction=0.2"], "another share");
    // A corrected label, and a word that the set leaves out.
    label(&mill, |number, acted| if number == 3 { "sad".into() } else { acted.into() });
    stands(&[], "a corrected label");
    label(&mill, |number, acted| if number == 3 { "boredom".into() } else { acted.into() });
    stands(&[], "a word that is left out");
    let sides = Sides::of(mill.rows::<FoldRow>("folds").into_iter().filter(|row| row.protocol == "source-disjoint"), 0);
    let manifest: Vec<ManifestRow> = mill.rows("manifest");
    for row in &manifest {
        assert_eq!(sides.get(&row.recording_id, 0).is_some(), row.emotion.as_deref() != Some("boredom"));
    }
    stands(&EIGHT, "another label set");
    let fields: BTreeSet<String> = {
        let file = std::fs::File::open(&shards[0]).expect("a shard");
        let metadata = parquet::file::metadata::ParquetMetaDataReader::new().parse_and_finish(&file).expect("Parquet");
        let schema = metadata.file_metadata().schema_descr().columns().to_vec();
        schema.iter().map(|column| column.name().to_string()).collect()
    };
    assert!(!fields.contains("emotion") && !fields.contains("split"), "{fields:?}");
}

#[test]
fn a_word_that_no_class_takes_is_said_and_its_recordings_are_scored() {
    let mill = Mill::with_corpus();
    label(&mill, |number, acted| if number % 7 == 0 { "smug".into() } else { acted.into() });
    let ended = mill.stage("ingest", &LABELLED);
    assert!(ended.stderr.contains("label set `seven` has no class for `smug` (4)"), "{}", ended.stderr);
    assert_eq!(ended.json()["corpora"][0]["without_class"], serde_json::json!({ "smug": 4 }));
    let made = summaries(&mill, &[&LABELLED[..], &ALL].concat());
    let train = mill.rows::<FoldRow>("folds").iter().filter(|row| row.split == Split::Train).count();
    assert_eq!((&made[1]["recordings"], &made[2]["train_items"]), (&28.into(), &train.into()));
    assert_eq!(mill.rows::<FoldRow>("folds").len(), 48, "24 recordings with a copy each");
    let scored = mill.predictions();
    let of_none = scored.iter().filter(|row| row.emotion.is_none());
    assert_eq!((scored.len(), of_none.clone().count()), (56, 8));
    assert!(of_none.into_iter().all(|row| row.predicted.is_some() && row.split.is_none()));
    // The recipe may say what it means.
    let words = "labels={set=\"own\",classes=[\"bad\",\"good\"],words={smug=\"good\",happy=\"good\",sad=\"bad\",angry=\"bad\",\
                 disgust={left_out=\"rare\"},fear={left_out=\"rare\"},neutral={left_out=\"rare\"},surprise={left_out=\"rare\"}}}";
    let ended = mill.stage("run", &[&LABELLED[..], &["--set", words], &ALL].concat());
    assert!(ended.code == 0 && !ended.stderr.contains("has no class"), "{}", ended.stderr);
    let two: Vec<_> = mill.predictions().into_iter().filter(|row| row.probabilities.len() == 2).collect();
    assert_eq!(two.len(), 56);
    assert!(two.iter().all(|row| matches!(row.predicted.as_deref(), Some("good" | "bad"))));
}

#[test]
fn models_of_other_classes_lie_side_by_side_and_are_read_together() {
    let mill = Mill::with_corpus();
    label(&mill, |number, acted| if acted == "neutral" && number % 2 == 0 { "calm".into() } else { acted.into() });
    let seven = summaries(&mill, &[&LABELLED[..], &ALL].concat());
    let eight = summaries(&mill, &[&LABELLED[..], &EIGHT, &ALL].concat());
    assert_eq!(eight[1]["n_done"], 0, "the same spectrograms");
    assert_ne!(seven[2]["model_id"], eight[2]["model_id"]);
    let mut classes: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
    for row in mill.predictions() {
        classes.entry(row.model_id).or_default().insert(row.probabilities.len());
    }
    let of = |made: &[Value]| classes[made[2]["model_id"].as_str().expect("an id")].clone();
    assert_eq!((of(&seven), of(&eight)), (BTreeSet::from([7]), BTreeSet::from([8])));
    let words: BTreeMap<String, String> = mill
        .rows::<ManifestRow>("manifest")
        .into_iter()
        .map(|row| (row.recording_id, row.emotion.expect("a word")))
        .collect();
    for row in mill.predictions() {
        let calm = if row.probabilities.len() == 8 { "calm" } else { "neutral" };
        let word = words[&row.recording_id].as_str();
        assert_eq!(row.emotion.as_deref(), Some(if word == "calm" { calm } else { word }));
    }
    let cells = |model: &[Value]| {
        let metrics: Vec<MetricRow> = mill.rows("metrics");
        let id = model[2]["model_id"].as_str().expect("an id");
        let own = metrics.into_iter().filter(|row| row.model_id == id && row.metric == "recall" && row.slice == "all");
        own.map(|row| row.class).collect::<BTreeSet<_>>()
    };
    assert!(!cells(&seven).contains("calm") && cells(&eight).contains("calm"));
    assert_eq!(verdict(&mill), (0, Vec::new()));
    // Each model knows its own words, whatever the recipe says.
    let model = mill.store().join("models").join(eight[2]["model_id"].as_str().expect("an id")).join("model.onnx");
    std::fs::copy(&model, mill.path("eight.onnx")).expect("copied");
    let elsewhere = format!("score.model={}", mill.path("eight.onnx").display());
    mill.done("score", &[&LABELLED[..], &ALL, &["--set", &elsewhere]].concat());
    assert!(mill.predictions().iter().any(|row| row.emotion.as_deref() == Some("calm")));
    let card = sermill::network::onnx::ModelCard::from_model(&std::fs::read(&model).expect("a model")).expect("sound");
    assert_eq!(card.label_set, Some(Labels::shipped("ravdess-8").expect("shipped")));
}

#[test]
fn a_commit_says_by_what_its_output_was_made_and_what_it_read() {
    let mill = Mill::with_corpus();
    mill.done("run", &[]);
    for (stage, reads) in [
        ("ingest", &[][..]),
        ("folds", &["ingest"]),
        ("features", &["ingest"]),
        ("duplicates", &["features"]),
        ("audit", &["duplicates", "folds", "ingest"]),
        ("train", &["audit", "features", "folds", "ingest"]),
        ("score", &["features", "folds", "ingest", "train"]),
        ("report", &["features", "ingest", "score"]),
    ] {
        let made = commit(&mill, stage);
        let named: Vec<&String> = made["reads"].as_object().expect("commits").keys().collect();
        assert_eq!(named, reads, "{stage}");
        for read in reads {
            assert_eq!(made["reads"][*read]["run_id"], commit(&mill, read)["run_id"], "{stage} read {read}");
        }
        assert_eq!(made["version"], env!("CARGO_PKG_VERSION"));
        assert!(made["git_commit"].as_str().is_some_and(|commit| !commit.is_empty()));
        assert!(made["settings"]["revision"].as_u64().is_some(), "{stage}");
    }
    let features = commit(&mill, "features");
    assert_eq!(features["evidence"]["copies"], 1);
    assert!(features["evidence"]["definition"].as_str().is_some_and(|text| text.contains("window")));
    assert!(features["evidence"]["augmentations"].as_str().is_some_and(|text| text.contains("white-noise")));
    let train = commit(&mill, "train");
    assert_eq!((&train["evidence"]["protocol"], &train["evidence"]["seed"]), (&"source-disjoint".into(), &1.into()));
    assert_eq!(train["evidence"]["labels"]["set"], "seven");
    // `status` shows the chain.
    let ended = mill.stage("status", &[]);
    let chain: Vec<Value> = ended.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let of = |stage: &str| chain.iter().find(|line| line["stage"] == stage).unwrap_or_else(|| panic!("{stage}"));
    assert!(chain.iter().all(|line| line["stale"] == false), "{}", ended.stdout);
    assert_eq!(of("train")["run_id"], train["run_id"]);
    assert_eq!(of("train")["reads"]["features"], features["run_id"]);
    assert_eq!(of("folds")["protocol"], "source-disjoint");
}

#[test]
fn parts_of_one_file_are_recordings_of_their_own() {
    let mill = Mill::with_corpus();
    let corpus = mill.corpora().join("synthetic");
    let found = sermill::scan::recordings_below(&corpus).expect("listed").recordings;
    let mut text = "path,emotion,start,end\n".to_string();
    for file in &found {
        let acted = file.relative.split('-').nth(1).expect("the grammar of `synth`");
        text += &format!("{0},{acted},0,0.9\n{0},sad,0.5,1.5\n", file.relative);
    }
    std::fs::write(corpus.join("labels.csv"), text).expect("written");
    let made = summaries(&mill, &[&LABELLED[..], &ALL].concat());
    assert_eq!((&made[0]["recordings"], &made[1]["rows"]), (&56.into(), &112.into()));
    let rows: Vec<FeatureRow> = mill.rows("features");
    let mut of_one: Vec<&FeatureRow> =
        rows.iter().filter(|row| row.content_hash == rows[0].content_hash && row.copy == 0).collect();
    of_one.sort_by(|a, b| a.recording_id.cmp(&b.recording_id));
    assert_eq!(of_one.len(), 2);
    assert!(of_one[0].recording_id.ends_with("#0-0.9") && of_one[1].recording_id.ends_with("#0.5-1.5"));
    assert!(of_one[0].log_mel != of_one[1].log_mel && of_one[0].variant != of_one[1].variant);
    let sides = Sides::of(mill.rows::<FoldRow>("folds"), 0);
    assert!(
        rows.iter().all(|row| sides.get(&row.recording_id, row.copy).is_some_and(|side| Split::ALL.contains(&side)))
    );
    // Another end is another spectrogram, and another score.
    let text = std::fs::read_to_string(corpus.join("labels.csv")).expect("read").replace("0.5,1.5", "0.5,1.6");
    std::fs::write(corpus.join("labels.csv"), text).expect("written");
    let again = summaries(&mill, &[&LABELLED[..], &ALL].concat());
    assert_eq!(again[3]["n_reused"], 0, "another model");
    assert_eq!(mill.rows::<FeatureRow>("features").len(), 112);
}

#[test]
fn verify_names_the_spectrogram_that_is_damaged() {
    let mill = Mill::with_corpus();
    mill.done("ingest", &[]);
    mill.done("features", &[]);
    let shard = mill.table("features").remove(0);
    let rows = sermill::tables::read_rows::<FeatureRow>(&shard).unwrap_or_else(|error| panic!("{error}"));
    let row = rows.iter().find(|row| row.copy == 1).expect("a copy");
    let (blob, mut bytes) = (row.log_mel.as_ref().expect("a spectrogram"), std::fs::read(&shard).expect("a shard"));
    let at = bytes.windows(blob.len()).position(|window| window == blob).expect("stored as it is");
    bytes[at + 77] ^= 1;
    std::fs::write(&shard, &bytes).expect("written");
    let ended = mill.run(&["verify", "--store", &mill.store().to_string_lossy()]);
    let found: Value = serde_json::from_str(ended.stdout.lines().next().expect("a finding")).expect("JSON");
    assert_eq!((ended.code, &found["state"]), (2, &"damaged".into()));
    assert_eq!(found["spectrograms"], serde_json::json!([format!("{} copy 1", row.recording_id)]));
}
