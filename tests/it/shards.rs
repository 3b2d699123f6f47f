//! Work shared out among processes: whatever becomes of them, the tables have the bytes of a run in one process.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use sermill::tables::manifest::{ManifestRow, Status};

use crate::mill::{Ended, Mill};
use crate::store::{differences, outputs};

/// Every recording is scored, natively.
pub const ALL: [&str; 4] =
    ["--set", "score.splits=[\"train\",\"validation\",\"test\"]", "--set", "score.device=native"];

/// A recipe made small.
pub struct Recipe {
    pub pipeline: &'static str,
    pub more: Vec<&'static str>,
}

impl Recipe {
    pub fn demo(more: &[&'static str]) -> Self {
        Self { pipeline: "demo", more: more.to_vec() }
    }

    pub fn done(&self, mill: &Mill, stage: &str, more: &[&str]) -> Value {
        let ended = mill.stage_of(stage, self.pipeline, &[&self.more[..], more].concat());
        assert_eq!(ended.code, 0, "{stage}: {}", ended.stderr);
        ended.json()
    }

    /// The line that `sermill plan` prints.
    pub fn plan(&self, mill: &Mill, stage: &str, more: &[&str]) -> Value {
        self.done(mill, "plan", &[more, &[stage]].concat())
    }
}

pub fn folder_of(planned: &Value) -> String {
    planned["plan"].as_str().expect("a plan").to_string()
}

fn worker(mill: &Mill, plan: &str, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sermill"));
    command.current_dir(mill.path("")).args(["shard", "--quiet", "--threads", "1", "--plan", plan]).args(args);
    command
}

/// Starts a worker whose output nobody reads.
pub fn start(mill: &Mill, plan: &str, args: &[&str]) -> Child {
    worker(mill, plan, args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts")
}

pub fn shard(mill: &Mill, plan: &str, args: &[&str]) -> Ended {
    mill.run(&[&["shard", "--quiet", "--plan", plan], args].concat())
}

pub fn commit(mill: &Mill, plan: &str) -> Ended {
    mill.run(&["commit", "--quiet", "--plan", plan])
}

/// One more store on the same recordings, as it is now.
pub fn twin(of: &Mill) -> Mill {
    let mill = Mill::new();
    std::os::unix::fs::symlink(of.corpora(), mill.corpora()).expect("a link");
    if of.store().exists() {
        copy(&of.store(), &mill.store());
    }
    mill
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("listed") {
        let path = entry.expect("entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() { copy(&path, &target) } else { std::fs::copy(&path, &target).map(|_| ()).expect("copied") }
    }
}

/// Numbers below `n`, the same ones for a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// Workers come and go: shares overlap, some are killed before they have finished. At last one does what is left.
fn work_badly(mill: &Mill, plan: &str, seed: u64) {
    let (mut dice, mut running) = (Dice(seed), Vec::<Child>::new());
    for _ in 0..8 {
        let of = 1 + dice.below(3);
        let (index, of) = (dice.below(of).to_string(), of.to_string());
        running.push(start(mill, plan, &["--index", &index, "--of", &of]));
        std::thread::sleep(Duration::from_millis(dice.below(60)));
        if dice.below(3) > 0 {
            let mut child = running.remove(dice.below(running.len() as u64) as usize);
            // One that has ended already is fine.
            let _ = child.kill();
            child.wait().expect("gone");
        }
    }
    for mut child in running {
        assert!(child.wait().expect("ended").success());
    }
    let last = shard(mill, plan, &["--index", "0", "--of", "1"]);
    assert_eq!(last.code, 0, "{}", last.stderr);
    let states: BTreeSet<String> = last.stdout.lines().map(|line| field(line, "state")).collect();
    assert!(states.iter().all(|state| state == "there" || state == "made"), "{states:?}");
}

pub fn field(line: &str, key: &str) -> String {
    let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    value[key].as_str().unwrap_or_else(|| panic!("no `{key}`: {line}")).to_string()
}

/// What both stores hold is the same, and no plan is left.
#[track_caller]
pub fn same_store(one: &Mill, many: &Mill) {
    assert_eq!(differences(&outputs(one), &outputs(many)), Vec::<String>::new());
    let verdict = many.run(&["verify", "--store", &many.store().to_string_lossy()]);
    assert_eq!(verdict.code, 0, "{}", verdict.stdout);
}

/// The same fields but for those that tell of clocks and places.
#[track_caller]
fn same_summary(one: &Value, many: &Value, without: &[&str]) {
    let fields = |value: &Value| -> BTreeMap<String, Value> {
        let fields = value.as_object().expect("an object").clone().into_iter();
        fields.filter(|(key, _)| !without.contains(&key.as_str()) && key != "seconds" && key != "run_id").collect()
    };
    assert_eq!(fields(one), fields(many));
}

#[test]
fn features_of_many_killed_and_doubled_processes_have_the_bytes_of_one() {
    let one = Mill::with_corpus();
    let babble = "features.augmentations=[\"babble\",\"white-noise\"]";
    let recipe = Recipe::demo(&["--set", babble, "--set", "features.shard_recordings=3"]);
    recipe.done(&one, "ingest", &[]);
    let many = twin(&one);
    let expected = recipe.done(&one, "features", &[]);
    let planned = recipe.plan(&many, "features", &[]);
    assert_eq!((&planned["shards"], &planned["todo"], &planned["stage"]), (&10.into(), &10.into(), &"features".into()));
    let plan = folder_of(&planned);
    work_badly(&many, &plan, 7);
    let again = recipe.plan(&many, "features", &[]);
    assert_eq!((&again["plan_id"], &again["todo"]), (&planned["plan_id"], &0.into()), "planning twice is one plan");
    let ended = commit(&many, &plan);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    same_summary(&expected, &ended.json(), &[]);
    same_store(&one, &many);
    assert!(!Path::new(&plan).exists() && !many.store().join("staging/features").exists(), "nothing is left");
    assert_eq!(recipe.done(&many, "features", &[])["fresh"], true);
    let fresh = recipe.plan(&many, "features", &[]);
    assert_eq!((&fresh["plan"], &fresh["shards"], &fresh["fresh"]), (&Value::Null, &0.into(), &true.into()));
    // Who comes too late is told, and does no harm.
    assert_eq!(commit(&many, &plan).json()["fresh"], true);
    let late = shard(&many, &plan, &["--index", "0"]);
    assert_eq!((late.code, late.stdout.as_str()), (0, ""), "{}", late.stderr);
}

#[test]
fn scores_of_many_processes_have_the_bytes_of_one_from_every_source() {
    let one = Mill::with_corpus();
    let recipe = Recipe::demo(&ALL);
    ["ingest", "features", "train"].iter().for_each(|stage| {
        recipe.done(&one, stage, &[]);
    });
    let input = one.corpora().join("synthetic").to_string_lossy().into_owned();
    let sources: [&[&str]; 3] = [&[], &["--from", "audio"], &["--input", &input]];
    let mut of_source = Vec::new();
    for (more, device) in sources.iter().flat_map(|more| [(more, "native"), (more, "cpu")]) {
        let more = [more, &["--device", device, "--set", "score.batch=3"][..]].concat();
        let (calm, many) = (twin(&one), twin(&one));
        let expected = recipe.done(&calm, "score", &more);
        let planned = recipe.plan(&many, "score", &[&more[..], &["--shard-recordings", "5"]].concat());
        assert_eq!(planned["shards"], if more[0] == "--device" { 19 } else { 10 }, "whole batches: {planned}");
        let plan = folder_of(&planned);
        work_badly(&many, &plan, 11);
        let ended = commit(&many, &plan);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let elsewhere = ["predictions", "recordings_per_s"];
        same_summary(&expected, &ended.json(), &elsewhere);
        same_store(&calm, &many);
        assert_eq!(recipe.done(&many, "score", &more)["fresh"], true);
        of_source.push((device, many.predictions()));
    }
    // Natively a row does not depend on its batch: straight from audio it is what it is from the stored spectrogram.
    let originals: Vec<_> = of_source[0].1.iter().filter(|row| row.copy == 0).cloned().collect();
    assert_eq!(originals.len(), 28);
    assert!(of_source[2].0 == "native" && of_source[2].1 == originals);
}

#[test]
fn scoring_audio_needs_no_stored_spectrogram_and_asks_only_for_what_is_new() {
    let trained = Mill::with_corpus();
    let recipe = Recipe::demo(&ALL);
    ["ingest", "features", "train"].iter().for_each(|stage| {
        recipe.done(&trained, stage, &[]);
    });
    let model = recipe.done(&trained, "score", &[])["model_id"].as_str().expect("an id").to_string();
    let model = format!("score.model={}", trained.store().join("models").join(model).join("model.onnx").display());
    let more = ["--set", &model, "--from", "audio", "--set", "split.protocol=unsplit"];
    let mill = Mill::new();
    let corpus = mill.corpora().join("synthetic").to_string_lossy().into_owned();
    let synth = |n: &str| mill.run(&["synth", &corpus, "--speakers", n, "--statements", "1", "--repetitions", "1"]);
    for (speakers, n_new) in [("1", 7), ("2", 7)] {
        assert_eq!(synth(speakers).code, 0);
        recipe.done(&mill, "ingest", &more[4..]);
        let planned = recipe.plan(&mill, "score", &more);
        let plan = folder_of(&planned);
        let made = shard(&mill, &plan, &["--index", "0"]);
        assert_eq!((made.code, made.stdout.contains("\"rows\":7")), (0, true), "{} {}", made.stdout, made.stderr);
        assert_eq!(commit(&mill, &plan).json()["n_done"], n_new);
    }
    assert!(mill.table("features").is_empty());
    assert_eq!(mill.predictions().len(), 14);
    let reported = recipe.done(&mill, "report", &["--set", "split.protocol=unsplit"]);
    assert_eq!((&reported["fresh"], &reported["protocol"]), (&false.into(), &"unsplit".into()), "without pictures");
    // From features everything is known already.
    recipe.done(&mill, "features", &["--set", "split.protocol=unsplit", "--set", "features.copies=0"]);
    let from_features = ["--set", &model, "--set", "split.protocol=unsplit", "--set", "features.copies=0"];
    let scored = recipe.done(&mill, "score", &from_features);
    assert_eq!((&scored["n_done"], &scored["n_reused"]), (&0.into(), &14.into()));
}

#[test]
fn a_manifest_of_many_processes_has_the_bytes_of_one() {
    let one = Mill::with_corpus();
    let folder = one.corpora().join("synthetic");
    std::fs::write(folder.join("noise.wav"), b"no recording").expect("written");
    std::fs::write(folder.join("notes.txt"), b"notes").expect("written");
    std::fs::copy(folder.join("speaker_01/01-sad-s1-r1.wav"), folder.join("again.wav")).expect("a duplicate");
    let many = twin(&one);
    let recipe = Recipe::demo(&[]);
    let ended = one.stage("ingest", &[]);
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    let planned = recipe.plan(&many, "ingest", &["--shard-recordings", "4"]);
    assert_eq!(planned["shards"], 8);
    let plan = folder_of(&planned);
    work_badly(&many, &plan, 3);
    let committed = commit(&many, &plan);
    assert_eq!(committed.code, 1, "rejects are told: {}", committed.stderr);
    same_summary(&ended.json(), &committed.json(), &[]);
    same_store(&one, &many);
    // A file that vanishes and one that comes after the plan: the commit is of what was planned.
    std::fs::copy(folder.join("noise.wav"), folder.join("noise-2.wav")).expect("a new file");
    std::fs::copy(folder.join("again.wav"), folder.join("gone.wav")).expect("a new file");
    let planned = recipe.plan(&many, "ingest", &[]);
    std::fs::remove_file(folder.join("gone.wav")).expect("removed");
    std::fs::copy(folder.join("again.wav"), folder.join("late.wav")).expect("a new file");
    let plan = folder_of(&planned);
    let made = shard(&many, &plan, &["--index", "0"]);
    assert!(made.stdout.contains("\"rows\":2") && made.stdout.contains("\"unread\":1"), "{}", made.stdout);
    let committed = commit(&many, &plan).json();
    assert_eq!(
        (&committed["n_done"], &committed["unread"], &committed["recordings"]),
        (&2.into(), &Value::Null, &32.into())
    );
    let rows: Vec<ManifestRow> = many.rows("manifest");
    let gone = rows.iter().find(|row| row.path.ends_with("gone.wav")).expect("a row");
    assert_eq!(gone.status, Status::Rejected);
    assert!(rows.iter().all(|row| !row.path.ends_with("late.wav")));
    assert_eq!(recipe_ingest(&many)["recordings"], 32, "one is gone and one came late");
}

fn recipe_ingest(mill: &Mill) -> Value {
    let ended = mill.stage("ingest", &[]);
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    ended.json()
}
