//! Feeds damaged bytes to everything that reads bytes from outside, in a plain loop:
//! `cargo run --release --example fuzz -- [TARGET|all] [ROUNDS] [SEED]`, 20,000 rounds of each unless said otherwise.
//!
//! A target panics, or it gives an error or a value; nothing else is looked at. The bytes of a round that panics are written to
//! `fuzz-TARGET-ROUND.bin` in the current folder. The last line of stdout is JSON: rounds and panics of each target. The
//! tests of the whole program run some hundred rounds of each.

// The tests take `run` alone, and write where the program may not.
#![allow(dead_code, clippy::disallowed_methods)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use sermill::audio::{self, Channel};
use sermill::config::Pipeline;
use sermill::corpora::{Options, corpus};
use sermill::network::network::Network;
use sermill::network::onnx::{self, Golden, ModelCard};
use sermill::network::spec::{BlockSpec, NetworkSpec};
use sermill::stages::train::check_checkpoint;
use sermill::storage::commit::{Commit, blank};
use sermill::storage::fingerprint::Fingerprint;
use sermill::storage::layout::Store;
use sermill::storage::settings::Settings;
use sermill::tables::blobs::BlobFile;
use sermill::tables::features::{FeatureRow, to_blob};
use sermill::tables::foreign::columns_as_text;
use sermill::tables::{TableFile, publish_rows};
use sermill::units::Seed;

// The tests load it a second time, for recordings alone.
#[allow(clippy::duplicate_mod)]
#[path = "mutate.rs"]
mod mutate;

/// What a target does with the bytes of one round; `folder` is its own.
type Feed = fn(&[u8], &Path);

/// Name, sound examples to damage, and what they are fed to.
struct Target {
    name: &'static str,
    examples: fn(&Path) -> Vec<Vec<u8>>,
    feed: Feed,
}

const TARGETS: &[Target] = &[
    Target { name: "decoder", examples: recordings, feed: decode },
    Target { name: "table", examples: shard, feed: read_table },
    Target { name: "page", examples: shard, feed: read_pages },
    Target { name: "recipe", examples: recipes, feed: parse_recipe },
    Target { name: "labels", examples: labels, feed: read_labels },
    Target { name: "card", examples: model, feed: read_card },
    Target { name: "commit", examples: commit, feed: read_commit },
    Target { name: "checkpoint", examples: checkpoint, feed: read_checkpoint },
];

/// Rows of the shard that is damaged, and values of each spectrogram.
const SHARD: (usize, usize) = (20, 300);

fn recordings(_folder: &Path) -> Vec<Vec<u8>> {
    mutate::samples().iter().map(|file| std::fs::read(file).expect("a sample")).collect()
}

fn decode(bytes: &[u8], _folder: &Path) {
    for channel in [Channel::Mix, Channel::Only(0)] {
        let mut samples = Vec::new();
        if audio::decode(bytes, channel, &mut samples).is_ok() {
            assert!(!samples.is_empty() && samples.iter().all(|sample| sample.abs() <= 1e9));
        }
    }
}

fn shard(folder: &Path) -> Vec<Vec<u8>> {
    let (n_rows, n_values) = SHARD;
    let blob = |row: usize| to_blob(&(0..n_values).map(|i| (row * 7 + i) as f32 * 0.01).collect::<Vec<f32>>());
    let row = |row: usize| FeatureRow {
        recording_id: format!("a/{row}.wav"),
        log_mel: (row % 5 != 3).then(|| blob(row)),
        ..FeatureRow::default()
    };
    let path = folder.join("sound.parquet");
    publish_rows(folder, &path, &(0..n_rows).map(row).collect::<Vec<_>>()).expect("written");
    vec![std::fs::read(path).expect("read")]
}

fn read_table(bytes: &[u8], folder: &Path) {
    let path = written(bytes, folder);
    // A panic of the library on damaged bytes would be one of ours: nothing stands between.
    let _ = TableFile::open(&path).and_then(|file| file.rows::<FeatureRow>());
    let _ = TableFile::open(&path).and_then(|file| file.n_rows());
}

fn read_pages(bytes: &[u8], folder: &Path) {
    let path = written(bytes, folder);
    let Ok((file, places)) = BlobFile::open(&path, "log_mel", &vec![2 * SHARD.1; SHARD.0], true) else { return };
    let mut scratch = Vec::new();
    for place in places.into_iter().flatten() {
        let _ = file.read(place, 2 * SHARD.1, &mut scratch);
    }
}

fn recipes(_folder: &Path) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines");
    let files = std::fs::read_dir(folder).expect("pipelines/").map(|entry| entry.expect("an entry").path());
    files.filter(|file| file.is_file()).map(|file| std::fs::read(file).expect("a recipe")).collect()
}

fn parse_recipe(bytes: &[u8], _folder: &Path) {
    let _ = Pipeline::parse(&String::from_utf8_lossy(bytes), &[]);
}

fn labels(_folder: &Path) -> Vec<Vec<u8>> {
    let text = "path,emotion,speaker,sex,intensity,statement,repetition\n\"a, \"\"b\"\".wav\",angry,s1,female,strong,,1\n\
                c\\d.wav,Fearful,,,,x,2\r\n\u{e9}.wav,neutral,s2,male,,,\n";
    vec![text.into(), format!("\u{feff}{text}").into()]
}

fn read_labels(bytes: &[u8], folder: &Path) {
    std::fs::write(folder.join("labels.csv"), bytes).expect("written");
    if let Ok(labeller) = corpus("labelled").expect("known").open(folder, &Options::default(), columns_as_text) {
        for name in ["a, \"b\".wav", "c/d.wav", "\u{e9}.wav", "none.wav"] {
            let _ = labeller.label(Path::new(name));
        }
    }
}

fn model(_folder: &Path) -> Vec<Vec<u8>> {
    let block = |n_maps| BlockSpec { n_maps, pool: 2.into() };
    let spec = NetworkSpec {
        n_frames: 28,
        window: 12,
        hop: 8,
        blocks: vec![block(3), block(4)],
        lstm_units: 4,
        ..NetworkSpec::paper(8, 28)
    };
    let network = Network::initialise(spec.clone(), Seed(1)).expect("shapes divide");
    let model = |sealed| {
        let card = ModelCard {
            labels: (0..spec.n_classes).map(|class| format!("class_{class}")).collect(),
            label_set: None,
            front_end: "{}".into(),
            definition: "d".into(),
            fingerprint: "f".into(),
            model_id: "m".into(),
            pipeline: "p".into(),
            protocol: "q".into(),
            network: spec.clone(),
            sermill_version: "0.1.0".into(),
            golden: Golden { seed: 1, probabilities: vec![0.0; spec.n_classes] },
            confidence: Default::default(),
            heard: Vec::new(),
            sealed,
        };
        onnx::export(&spec, &network.parameters, &card).expect("fits")
    };
    // The seal refuses nearly everything at once; behind it stands what reads files of version 0.1.0.
    vec![model(true), model(false), model(false), model(false)]
}

fn read_card(bytes: &[u8], _folder: &Path) {
    let Ok(card) = ModelCard::from_model(bytes) else { return };
    let _ = (card.labels.len(), sermill::definition::front_end_of(&card), Store::model(&card.model_id).expect("plain"));
    let _ = onnx::import(bytes, &card);
}

fn commit(folder: &Path) -> Vec<Vec<u8>> {
    let mut commit = blank("fuzz", Settings::of_revision(1), Fingerprint::of(["output"]));
    commit.orphans = ["tables/t/v2/a.parquet".to_string(), "models/m/model.onnx".to_string()].into();
    let store = Store::new(folder);
    commit.announce(&store).and_then(|()| commit.publish(&store)).expect("written");
    vec![std::fs::read(store.index("fuzz")).expect("read")]
}

fn read_commit(bytes: &[u8], folder: &Path) {
    let store = Store::new(folder);
    std::fs::write(store.index("fuzz"), bytes).expect("written");
    if let Ok(Some(commit)) = Commit::read(&store, "fuzz") {
        let _ = (commit.damage(&store), commit.paths());
    }
}

/// Of the right form: nobody but the program makes sealed ones.
fn checkpoint(_folder: &Path) -> Vec<Vec<u8>> {
    let mut bytes = b"SERMILLD".to_vec();
    for part in [br#"{"history":[]}"#.as_slice(), &[1; 40], &[2; 40]] {
        bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
        bytes.extend_from_slice(part);
    }
    vec![bytes]
}

fn read_checkpoint(bytes: &[u8], folder: &Path) {
    // With a seal that fits, so that what lies behind it is reached.
    let sealed = [bytes, blake3::hash(bytes).as_bytes()].concat();
    for bytes in [bytes, &sealed] {
        let _ = check_checkpoint(&written(bytes, folder));
    }
}

fn written(bytes: &[u8], folder: &Path) -> std::path::PathBuf {
    let path = folder.join("damaged");
    std::fs::write(&path, bytes).expect("written");
    path
}

/// Runs `n_rounds` of the target `name`, or of all; gives for each its rounds and those that panicked.
pub fn run(name: &str, n_rounds: u64, seed: u64) -> Vec<(&'static str, u64, Vec<u64>)> {
    let wanted = TARGETS.iter().filter(|target| name == "all" || target.name == name);
    wanted.map(|target| (target.name, n_rounds, rounds(target, n_rounds, seed))).collect()
}

fn rounds(target: &Target, n_rounds: u64, seed: u64) -> Vec<u64> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let examples = (target.examples)(folder.path());
    let mut panicked = Vec::new();
    for round in 0..n_rounds {
        let example = &examples[round as usize % examples.len()];
        let other = &examples[(round as usize / examples.len()) % examples.len()];
        let bytes = mutate::mutated(example, other, seed.wrapping_mul(1 << 32).wrapping_add(round));
        if catch_unwind(AssertUnwindSafe(|| (target.feed)(&bytes, folder.path()))).is_err() {
            std::fs::write(format!("fuzz-{}-{round}.bin", target.name), &bytes).expect("room for a small file");
            panicked.push(round);
        }
    }
    panicked
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, usual: u64| arguments.get(at).map_or(Some(usual), |text| text.parse().ok());
    let name = arguments.first().map_or("all", String::as_str);
    let known = name == "all" || TARGETS.iter().any(|target| target.name == name);
    let (true, Some(n_rounds), Some(seed)) = (known, number(1, 20_000), number(2, 1)) else {
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        eprintln!("usage: fuzz [all|{}] [ROUNDS] [SEED]", names.join("|"));
        std::process::exit(2);
    };
    eprintln!("fuzz: seed {seed}, {n_rounds} rounds of each target");
    let results = run(name, n_rounds, seed);
    let one = |(name, n_rounds, panicked): &(&str, u64, Vec<u64>)| {
        format!("\"{name}\":{{\"points\":{n_rounds},\"failures\":{}}}", panicked.len())
    };
    println!("{{{}}}", results.iter().map(one).collect::<Vec<_>>().join(","));
    std::process::exit(i32::from(results.iter().any(|(_, _, panicked)| !panicked.is_empty())));
}
