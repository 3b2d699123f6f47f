//! What goes wrong where work is shared out: other programs, missing and damaged shards, plans that are out of date, late workers.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use sermill::stages::shards::plan_file::PlanFile;
use sermill::storage::seal::sealed;
use sermill::tables::manifest::ManifestRow;

use crate::mill::Mill;
use crate::shards::{Recipe, commit, field, folder_of, same_store, shard, start, twin};
use crate::store::{files_below, flip, refused};

const DEMO: [&str; 2] = ["--set", "features.shard_recordings=3"];

/// A store with a manifest, and a plan of its features in ten shards.
fn planned() -> (Mill, Recipe, String) {
    let (mill, recipe) = (Mill::with_corpus(), Recipe::demo(&DEMO));
    recipe.done(&mill, "ingest", &[]);
    let plan = folder_of(&recipe.plan(&mill, "features", &[]));
    (mill, recipe, plan)
}

/// A store where one process made the features.
fn calm(mill: &Mill, recipe: &Recipe) -> Mill {
    let calm = twin(mill);
    std::fs::remove_dir_all(calm.store().join("plans")).expect("it has no plan");
    recipe.done(&calm, "features", &[]);
    calm
}

fn all(mill: &Mill, plan: &str) {
    let ended = shard(mill, plan, &["--index", "0", "--of", "1"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
}

/// Finished shards of a plan.
fn staged(mill: &Mill, plan: &str) -> Vec<PathBuf> {
    let id = Path::new(plan).file_name().expect("an id");
    let folder = mill.store().join("staging/features").join(id);
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.expect("entry").path()).collect();
    files.sort();
    files
}

fn rewrite(plan: &str, change: impl FnOnce(&mut PlanFile)) {
    let file = Path::new(plan).join("plan.json");
    let mut value: Value = serde_json::from_slice(&std::fs::read(&file).expect("read")).expect("JSON");
    value.as_object_mut().expect("an object").remove("blake3");
    let mut changed: PlanFile = serde_json::from_value(value).expect("a plan");
    change(&mut changed);
    changed.plan_id = changed.id();
    std::fs::write(file, sealed(&changed).unwrap_or_else(|error| panic!("{error}"))).expect("written");
}

#[test]
fn a_worker_of_another_program_refuses_and_names_both() {
    let (mill, recipe, plan) = planned();
    rewrite(&plan, |file| file.git_commit = "0123abc".into());
    let words = ["commit 0123abc", "this is 0.1.0", "sermill plan"];
    refused(&shard(&mill, &plan, &["--index", "0"]), &words);
    refused(&commit(&mill, &plan), &words);
    recipe.plan(&mill, "features", &[]);
    rewrite(&plan, |file| file.version = "9.9.9".into());
    refused(&shard(&mill, &plan, &["--index", "0"]), &["sermill 9.9.9", "this is 0.1.0"]);
    recipe.plan(&mill, "features", &[]);
    rewrite(&plan, |file| file.settings = file.settings.clone().with("revision", 1));
    refused(&shard(&mill, &plan, &["--index", "0"]), &["revision = 1", "this program has 7"]);
    assert!(staged(&mill, &plan).is_empty());
}

#[test]
fn missing_shards_are_named_and_nothing_is_changed() {
    let (mill, _, plan) = planned();
    let made = shard(&mill, &plan, &["--index", "2", "--of", "4"]);
    assert_eq!(made.stdout.lines().count(), 2, "shards 2 and 6");
    let done: Vec<String> = made.stdout.lines().map(|line| field(line, "shard")).collect();
    let before = files_below(&mill.store());
    let ended = commit(&mill, &plan);
    assert_eq!(ended.code, 3, "{}", ended.stderr);
    let missing: Vec<String> = serde_json::from_value(ended.json()["missing"].clone()).expect("ids");
    assert_eq!(missing.len(), 8);
    assert!(missing.iter().all(|id| !done.contains(id)) && ended.stderr.contains(&missing[0]), "{}", ended.stderr);
    let after = files_below(&mill.store());
    assert!(before.iter().all(|(path, bytes)| after.get(path) == Some(bytes)));
    let by_id = shard(&mill, &plan, &[&["--id"], &missing.iter().map(String::as_str).collect::<Vec<_>>()[..]].concat());
    assert_eq!(by_id.stdout.lines().count(), 8, "{}", by_id.stderr);
    assert_eq!(commit(&mill, &plan).code, 0);
    refused(&shard(&mill, "nowhere", &["--index", "0"]), &["there is no plan"]);
}

/// Does something to the bytes of a file.
type Damage<'a> = &'a dyn Fn(&mut Vec<u8>);

#[test]
fn damage_to_a_plan_is_refused_and_a_damaged_shard_is_made_again() {
    let (mill, recipe, plan) = planned();
    let calm = calm(&mill, &recipe);
    let part = "parts/part-00000.parquet";
    let cut = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() / 2);
    let flip_middle = |bytes: &mut Vec<u8>| *bytes.get_mut(900).expect("long enough") ^= 1;
    // A plan that can be read and names other recordings.
    let rename = |bytes: &mut Vec<u8>| {
        let found = bytes.windows(11).rposition(|window| window == b"speaker_01/").expect("a path");
        bytes[found + 9] = b'7';
    };
    let damages: [(&str, Damage); 4] =
        [("plan.json", &flip_middle), ("plan.json", &cut), (part, &cut), (part, &rename)];
    for (name, damage) in damages {
        let file = Path::new(&plan).join(name);
        let mut bytes = std::fs::read(&file).expect("read");
        damage(&mut bytes);
        std::fs::write(&file, bytes).expect("damaged");
        let ended = shard(&mill, &plan, &["--index", "0", "--of", "1"]);
        refused(&ended, &[name, "damaged", "sermill plan"]);
        assert_eq!(folder_of(&recipe.plan(&mill, "features", &[])), plan, "the same plan is written anew");
    }
    all(&mill, &plan);
    let broken = staged(&mill, &plan)[4].clone();
    flip(&broken);
    let ended = commit(&mill, &plan);
    let missing = ended.json()["missing"].clone();
    assert_eq!((ended.code, missing.as_array().map(Vec::len)), (3, Some(1)), "{}", ended.stderr);
    let again = shard(&mill, &plan, &["--index", "0", "--of", "1"]);
    assert_eq!(again.stdout.matches("\"made\"").count(), 1, "{}", again.stdout);
    assert_eq!(commit(&mill, &plan).code, 0);
    same_store(&calm, &mill);
}

#[test]
fn a_plan_that_is_out_of_date_is_refused() {
    let (mill, recipe, plan) = planned();
    all(&mill, &plan);
    // Its own stage has committed since.
    recipe.done(&mill, "features", &[]);
    refused(&commit(&mill, &plan), &["out of date", "`features` has been run since", "sermill plan"]);
    // What it reads has changed.
    std::fs::remove_file(mill.corpora().join("synthetic/speaker_01/01-sad-s1-r1.wav")).expect("removed");
    recipe.done(&mill, "ingest", &[]);
    let plan = folder_of(&recipe.plan(&mill, "features", &[]));
    all(&mill, &plan);
    std::fs::remove_file(mill.corpora().join("synthetic/speaker_01/01-sad-s2-r1.wav")).expect("removed");
    recipe.done(&mill, "ingest", &[]);
    refused(&commit(&mill, &plan), &["out of date", "`ingest` has been run since"]);
    assert_eq!(mill.rows::<ManifestRow>("manifest").len(), 26);
}

#[test]
fn a_worker_that_wakes_after_the_commit_harms_nothing() {
    let (mill, recipe, plan) = planned();
    let calm = calm(&mill, &recipe);
    let signal = |child: &std::process::Child, name: &str| {
        let sent = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    };
    let mut zombies = Vec::new();
    for milliseconds in [5, 15, 30, 45] {
        let child = start(&mill, &plan, &["--index", "0", "--of", "1"]);
        std::thread::sleep(Duration::from_millis(milliseconds));
        signal(&child, "STOP");
        zombies.push(child);
    }
    all(&mill, &plan);
    assert_eq!(commit(&mill, &plan).code, 0);
    for mut zombie in zombies {
        signal(&zombie, "CONT");
        zombie.wait().expect("ended");
    }
    let verdict = mill.run(&["verify", "--store", &mill.store().to_string_lossy()]);
    assert_eq!(verdict.code, 0, "{}", verdict.stdout);
    let swept = mill.run(&["sweep", "--store", &mill.store().to_string_lossy(), "--older", "0s"]);
    assert_eq!(swept.code, 0, "{}", swept.stderr);
    same_store(&calm, &mill);
    assert_eq!(recipe.done(&mill, "features", &[])["fresh"], true);
}

#[test]
fn of_two_committers_one_commits_and_the_other_says_so() {
    let (mill, recipe, plan) = planned();
    let calm = calm(&mill, &recipe);
    all(&mill, &plan);
    let start = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sermill"));
        command.args(["commit", "--quiet", "--plan", &plan]).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("starts")
    };
    let ended = [start(), start()].map(|child| child.wait_with_output().expect("ended"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut n_commits = 0;
    for output in &ended {
        match output.status.code() {
            Some(0) if text(&output.stdout).contains("\"fresh\":false") => n_commits += 1,
            Some(0) => assert!(text(&output.stdout).contains("\"fresh\":true")),
            code => assert!(code == Some(3) && text(&output.stderr).contains("another process runs `features`")),
        }
    }
    assert_eq!(n_commits, 1);
    let again = commit(&mill, &plan);
    assert_eq!((again.code, &again.json()["fresh"]), (0, &true.into()));
    same_store(&calm, &mill);
}

#[test]
fn a_sweep_removes_old_plans_and_nothing_of_others() {
    let (mill, _, plan) = planned();
    all(&mill, &plan);
    let store = mill.store().to_string_lossy().into_owned();
    let sweep = |older: &str| mill.run(&["sweep", "--store", &store, "--older", older]).json();
    assert_eq!(sweep("1h")["plans"], 0, "it may be at work");
    let notes = [Path::new(&plan).join("notes.txt"), staged(&mill, &plan)[0].with_file_name("notes.txt")];
    let elsewhere = [mill.store().join("plans/mine/notes.txt"), mill.store().join("plans/features/notes.txt")];
    for file in notes.iter().chain(&elsewhere) {
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("made");
        std::fs::write(file, b"mine").expect("written");
    }
    let swept = sweep("0s");
    assert_eq!((&swept["plans"], &swept["files"]), (&1.into(), &12.into()), "ten shards, the plan, its rows");
    assert!(notes.iter().chain(&elsewhere).all(|file| file.exists()));
    assert_eq!(staged(&mill, &plan).len(), 1);
    assert_eq!(shard(&mill, &plan, &["--index", "0"]).code, 2);
    assert_eq!(sweep("0s")["plans"], 0);
}
