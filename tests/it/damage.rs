//! Accidents in a store: bits that flip, files that go, runs that are killed, files that somebody else put there.

use std::path::Path;

use sermill::tables::features::FeatureRow;
use sermill::tables::manifest::ManifestRow;
use sermill::tables::runs::RunRow;

use crate::mill::{Mill, below_store};
use crate::store::{commit, committed, differences, files_below, flip, index, outputs, refused, verdict};

/// Each kind of committed file: how its path begins, its stage, and the stages that read it.
const KINDS: [(&str, &str, &[&str]); 14] = [
    ("tables/manifest/v3/", "ingest", &["features", "score", "report"]),
    ("index/ingest/stamps.json", "ingest", &[]),
    ("index/ingest/probes-", "ingest", &[]),
    ("tables/features/v3/", "features", &["train"]),
    ("index/features/rows-", "features", &["train", "score", "report"]),
    ("tables/history/v3/", "train", &["report"]),
    ("models/demo-/model.onnx", "train", &["score"]),
    ("models/demo-/curves.svg", "train", &[]),
    ("tables/predictions/v4/", "score", &["report"]),
    ("tables/metrics/v3/", "report", &[]),
    ("tables/confusion/v2/", "report", &[]),
    ("tables/reliability/v1/", "report", &[]),
    ("reports/demo-/report.md", "report", &[]),
    ("reports/demo-/", "report", &[]),
];

const STAGES: [&str; 5] = ["ingest", "features", "train", "score", "report"];

/// Which of [`KINDS`] a committed file is; folders of models and reports are named after the model.
fn kind_of(path: &str) -> usize {
    let mut parts: Vec<&str> = path.split('/').collect();
    if let Some(part) = parts.get_mut(1).filter(|part| part.starts_with("demo-")) {
        *part = "demo-";
    }
    let path = parts.join("/");
    KINDS.iter().position(|(start, ..)| path.starts_with(start)).unwrap_or_else(|| panic!("{path} is of no kind"))
}

/// One committed file of each kind, with its stage and the stages that read it.
fn one_of_each(mill: &Mill) -> Vec<(String, &'static str, &'static [&'static str])> {
    let all: Vec<String> = STAGES.iter().flat_map(|stage| committed(mill, stage)).collect();
    let first = |kind: usize| all.iter().find(|path| kind_of(path) == kind).expect("one of this kind").clone();
    (0..KINDS.len()).map(|kind| (first(kind), KINDS[kind].1, KINDS[kind].2)).collect()
}

/// The file of the last run of a stage in the ledger.
fn ledger_row(mill: &Mill, stage: &str) -> String {
    let id = commit(mill, stage)["run_id"].as_str().expect("an id").to_string();
    let is_row = |path: &String| path.starts_with(&format!("tables/runs/v2/{id}-"));
    let mut rows: Vec<String> = files_below(&mill.store()).into_keys().filter(is_row).collect();
    assert_eq!(rows.len(), 1, "{stage}: {rows:?}");
    rows.remove(0)
}

fn full() -> Mill {
    let mill = Mill::with_corpus();
    mill.done("run", &[]);
    assert_eq!(verdict(&mill), (0, Vec::new()), "a store that was just made is whole");
    mill
}

#[test]
fn every_damage_to_a_committed_file_is_named() {
    let mill = full();
    let found = |path: &str, state: &str, heal: &str| (2, vec![[path.to_string(), state.into(), heal.into()]]);
    let mut seen = [false; KINDS.len()];
    for stage in STAGES {
        for path in committed(&mill, stage) {
            let kind = kind_of(&path);
            assert_eq!(KINDS[kind].1, stage, "{path}");
            seen[kind] = true;
            let file = mill.store().join(&path);
            let before = flip(&file);
            let heal = format!("sermill {stage}");
            assert_eq!(verdict(&mill), found(&path, "damaged", &heal));
            std::fs::write(&file, &before[1..]).expect("cut");
            assert_eq!(verdict(&mill), found(&path, "damaged", &heal));
            std::fs::remove_file(&file).expect("removed");
            assert_eq!(verdict(&mill), found(&path, "gone", &heal));
            std::fs::write(&file, before).expect("written");
        }
        // The commit itself.
        let before = flip(&index(&mill, stage));
        assert_eq!(verdict(&mill), found(&format!("index/{stage}.json"), "damaged", &format!("sermill {stage}")));
        std::fs::write(index(&mill, stage), before).expect("written");
    }
    assert_eq!(seen, [true; KINDS.len()]);
    for stage in STAGES {
        let row = ledger_row(&mill, stage);
        let before = flip(&mill.store().join(&row));
        assert_eq!(verdict(&mill), found(&row, "damaged", &format!("sermill {stage}")));
        assert_eq!(mill.done(stage, &[])["fresh"], true);
        assert!(std::fs::read(mill.store().join(&row)).expect("entered again") == before, "{stage}");
    }
    let checkpoint = std::fs::read_dir(mill.store().join("index/train")).expect("listed").next().expect("one");
    let checkpoint = checkpoint.expect("entry").path();
    let before = flip(&checkpoint);
    let (code, findings) = verdict(&mill);
    assert_eq!((code, findings.len(), findings[0][1].as_str()), (2, 1, "damaged"));
    assert!(checkpoint.ends_with(&findings[0][0]) && findings[0][2].contains("move it away"), "{findings:?}");
    std::fs::write(&checkpoint, &before).expect("written");
    assert_eq!(verdict(&mill), (0, Vec::new()));
}

#[test]
fn a_damaged_file_is_refused_by_its_readers_and_made_anew_to_the_byte_by_run() {
    let mill = full();
    let before = outputs(&mill);
    for (path, stage, readers) in one_of_each(&mill) {
        flip(&mill.store().join(&path));
        for reader in readers {
            // Without its commit a stage has to run.
            let commit = std::fs::read(index(&mill, reader)).expect("a commit");
            std::fs::remove_file(index(&mill, reader)).expect("removed");
            let name = path.rsplit('/').next().expect("a name");
            refused(&mill.stage(reader, &[]), &[name, "damaged", &format!("sermill {stage}")]);
            std::fs::write(index(&mill, reader), commit).expect("written");
        }
        let ended = mill.stage("run", &[]);
        assert_eq!(ended.code, 0, "{path}: {}", ended.stderr);
        assert!(ended.stderr.contains(&format!("{stage}: its output {path} is damaged")), "{}", ended.stderr);
        let fresh = ended.stdout.lines().filter(|line| line.contains("\"fresh\":true")).count();
        assert_eq!(fresh, 4, "{path}: no stage but its own has to run: {}", ended.stdout);
        assert_eq!(differences(&before, &outputs(&mill)), Vec::<String>::new(), "{path}");
    }
    for stage in STAGES {
        flip(&index(&mill, stage));
        if let Some(next) = STAGES.iter().skip_while(|name| **name != stage).nth(1) {
            let ended = mill.stage(next, &[]);
            refused(&ended, &[&format!("index/{stage}.json`: the index is damaged"), &format!("sermill {stage}")]);
        }
        let ended = mill.stage("run", &[]);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        assert!(ended.stderr.contains(&format!("{stage}: its index is damaged")), "{}", ended.stderr);
        assert_eq!(differences(&before, &outputs(&mill)), Vec::<String>::new(), "{stage}");
    }
    assert_eq!(verdict(&mill), (0, Vec::new()));
}

#[test]
fn an_output_that_was_deleted_is_made_again_by_the_same_run() {
    let mill = full();
    let before = outputs(&mill);
    for (path, stage, _) in one_of_each(&mill) {
        std::fs::remove_file(mill.store().join(&path)).expect("removed");
        let ended = mill.stage("run", &[]);
        assert_eq!(ended.code, 0, "{path}: {}", ended.stderr);
        assert!(ended.stderr.contains(&format!("{stage}: its output {path} is gone")), "{}", ended.stderr);
        assert_eq!(differences(&before, &outputs(&mill)), Vec::<String>::new(), "{path}");
    }
    for folder in ["tables/features", "models", "reports", "index/ingest"] {
        std::fs::remove_dir_all(mill.store().join(folder)).expect("removed");
        mill.done("run", &[]);
        assert_eq!(differences(&before, &outputs(&mill)), Vec::<String>::new(), "{folder}");
    }
    assert_eq!(verdict(&mill), (0, Vec::new()));
}

#[test]
fn a_generation_whose_commit_is_lost_leaves_its_table() {
    let mill = full();
    let settings = ["--set", "train.epochs=1"];
    mill.done("run", &settings);
    let n_models = mill.table("history").len();
    let own = mill.store().join("tables/features/v3/part-0123-0123456789ab.parquet");
    std::fs::write(&own, "mine, whatever its name says").expect("written");
    let tables = ["manifest", "features", "history", "predictions", "metrics", "confusion"];
    for stage in STAGES {
        if stage == "features" {
            flip(&index(&mill, stage));
        } else {
            std::fs::remove_file(index(&mill, stage)).expect("removed");
        }
    }
    let (code, findings) = verdict(&mill);
    let lost: Vec<&str> =
        findings.iter().filter(|finding| finding[1] != "unknown").map(|one| one[0].as_str()).collect();
    assert_eq!(code, 2);
    assert!(STAGES.iter().all(|stage| lost.contains(&format!("index/{stage}.json").as_str())), "{lost:?}");
    // What was made with the lost commits is no longer what the folder gives.
    std::fs::remove_file(mill.corpora().join("synthetic/speaker_01/01-angry-s1-r1.wav")).expect("removed");
    mill.done("run", &settings);
    assert_eq!(std::fs::read(&own).expect("still there"), b"mine, whatever its name says");
    std::fs::remove_file(&own).expect("removed");
    assert_eq!(mill.rows::<ManifestRow>("manifest").len(), 27);
    assert_eq!(mill.rows::<FeatureRow>("features").len(), 54);
    // Other models may have rows of their own; they stay.
    assert_eq!((n_models, mill.table("history").len()), (2, 3));
    for table in &tables[..2] {
        let folder = format!("{}/", below_store(table));
        let stage = if *table == "manifest" { "ingest" } else { "features" };
        let expected = committed(&mill, stage).into_iter().filter(|path| path.starts_with(&folder)).count();
        assert_eq!(mill.table(table).len(), expected, "{table}");
    }
    // The same model again, with other numbers: one file takes the place of the other.
    for stage in ["score", "report"] {
        std::fs::remove_file(index(&mill, stage)).expect("removed");
    }
    let n_files = |table: &str| mill.table(table).len();
    let before = tables.map(n_files);
    let test = ["--set", "score.splits=[\"test\"]"];
    mill.done("run", &[&settings[..], &test].concat());
    assert_eq!(tables.map(n_files), before);
}

#[test]
fn a_picture_that_a_report_no_longer_shows_leaves_its_folder() {
    let mill = full();
    let id = commit(&mill, "train")["evidence"]["model_id"].as_str().expect("an id").to_string();
    let names = || -> Vec<String> { files_below(&mill.store().join("reports").join(&id)).into_keys().collect() };
    let picture = "confusion-validation.svg".to_string();
    assert!(names().contains(&picture));
    mill.done("run", &["--set", "score.splits=[\"test\"]"]);
    assert!(!names().contains(&picture) && names().contains(&"confusion-test.svg".to_string()), "{:?}", names());
    let page = std::fs::read_to_string(mill.store().join("reports").join(&id).join("report.md")).expect("a page");
    let shown: Vec<String> = names().into_iter().filter(|name| name.ends_with(".svg")).collect();
    assert!(shown.iter().all(|name| page.contains(&format!("({name})"))), "{shown:?}");
    assert_eq!(page.matches("![").count(), shown.len());
    // The report of another model is none of this one's business.
    mill.done("run", &["--set", "train.epochs=1"]);
    assert!(!names().is_empty());
    assert_eq!(verdict(&mill), (0, Vec::new()));
}

#[test]
fn what_a_user_put_into_a_store_survives_every_stage() {
    let mill = full();
    let id = commit(&mill, "train")["evidence"]["model_id"].as_str().expect("an id").to_string();
    let folders = ["manifest", "features", "history", "predictions", "metrics", "confusion", "runs"]
        .map(below_store)
        .into_iter()
        .chain([format!("models/{id}"), format!("reports/{id}"), "index/features".into(), "index/ingest".into()])
        .chain(STAGES.iter().map(|stage| format!("staging/{stage}")));
    let mut own = Vec::new();
    for folder in folders {
        // One of them is called like a file of ours.
        for name in ["notes.txt", "deep/er/notes.txt", "part-0123-ba9876543210.txt", ".hidden"] {
            let file = mill.store().join(&folder).join(name);
            std::fs::create_dir_all(file.parent().expect("a folder")).expect("made");
            std::fs::write(&file, format!("mine in {folder}")).expect("written");
            own.push((file, format!("mine in {folder}")));
        }
    }
    let check = |when: &str| {
        for (file, text) in &own {
            let there = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{when}: {error} {file:?}"));
            assert_eq!(&there, text, "{when}");
        }
    };
    let (code, findings) = verdict(&mill);
    assert!(code == 0 && findings.iter().all(|finding| finding[1] == "unknown"), "{findings:?}");
    // All of it made again as it was, then every stage with other settings, then with other recordings.
    for folder in ["index/ingest.json", "index/features.json", "index/train.json", "index/score.json"] {
        std::fs::remove_file(mill.store().join(folder)).expect("removed");
    }
    std::fs::remove_file(index(&mill, "report")).expect("removed");
    mill.done("run", &[]);
    check("after everything was made again");
    let other = ["--set", "pipeline.seed=2", "--set", "features.shard_recordings=5", "--set", "train.epochs=1"];
    mill.done("run", &other);
    check("after other settings");
    std::fs::remove_file(mill.corpora().join("synthetic/speaker_01/01-angry-s1-r1.wav")).expect("removed");
    mill.done("run", &other);
    check("after other recordings");
    let features: Vec<FeatureRow> = committed(&mill, "features")
        .iter()
        .filter(|path| path.starts_with("tables/"))
        .flat_map(|path| sermill::tables::read_rows(&mill.store().join(path)).unwrap_or_else(|error| panic!("{error}")))
        .collect();
    assert_eq!(features.len(), 54);
}

#[test]
fn a_store_of_version_0_1_0_is_carried_on_and_its_files_are_left_alone() {
    let mill = Mill::with_corpus();
    let store = mill.store();
    let put = |path: &str, bytes: &[u8]| {
        let file = store.join(path);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("made");
        std::fs::write(file, bytes).expect("written");
    };
    for stage in STAGES {
        let index = format!(
            "{{\"stage\":\"{stage}\",\"run_id\":\"20260101T000000.000Z-{stage}\",\"settings\":\"b3:00\",\"inputs\":{{}},\
             \"output\":\"b3:00\",\"files\":[\"tables/manifest/v1/part-00000.parquet\"],\"facts\":{{}},\"n_rejected\":0}}"
        );
        put(&format!("index/{stage}.json"), index.as_bytes());
    }
    // The private files of that version, too: they have no hash, and nothing of them is believed.
    put("index/ingest/stamps.json", b"{\"revision\":1,\"stamps\":{}}");
    put("index/ingest/probes.parquet", b"PAR1 of 0.1.0");
    put("index/features/shards.json", b"{\"settings\":\"b3:00\",\"shards\":{}}");
    put("index/train/0123456789ab.checkpoint", b"SERMILLC of 0.1.0");
    for table in ["manifest", "features", "history", "predictions", "metrics", "confusion", "runs"] {
        put(&format!("tables/{table}/v1/part-00000.parquet"), b"PAR1 of 0.1.0");
    }
    put("models/demo-old/model.onnx", b"a model of 0.1.0");
    let is_old = |path: &String| {
        path.ends_with("/v1/part-00000.parquet") || path.contains("demo-old") || path.ends_with("9ab.checkpoint")
    };
    let old = |files: std::collections::BTreeMap<String, Vec<u8>>| -> Vec<(String, Vec<u8>)> {
        files.into_iter().filter(|(path, _)| is_old(path)).collect()
    };
    let before = old(files_below(&store));
    assert_eq!(before.len(), 9);
    let status = mill.stage("status", &[]);
    assert!(status.code == 0 && status.stdout.matches("\"stale\":true").count() == 8, "{}", status.stdout);
    let ended = mill.stage("run", &[]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(!ended.stdout.contains("\"fresh\":true"), "{}", ended.stdout);
    assert_eq!(old(files_below(&store)), before);
    assert!(mill.stage("run", &[]).stdout.lines().all(|line| line.contains("\"fresh\":true")));
    assert_eq!(verdict(&mill), (0, Vec::new()), "an old file is not a damaged one");
}

#[test]
fn a_run_that_was_killed_before_the_ledger_stands_in_it_once() {
    let mill = full();
    let ids = || {
        let mut ids: Vec<String> = mill.rows::<RunRow>("runs").into_iter().map(|row| row.run_id).collect();
        ids.sort();
        ids
    };
    let (before, ledger) = (ids(), files_below(&mill.store().join("tables/runs/v2")));
    assert_eq!(before.len(), 8);
    for stage in STAGES {
        std::fs::remove_file(mill.store().join(ledger_row(&mill, stage))).expect("its row");
        let (code, findings) = verdict(&mill);
        assert_eq!((code, findings.len(), findings[0][1].as_str()), (2, 1, "gone"), "{findings:?}");
        assert_eq!(mill.done(stage, &[])["fresh"], true, "{stage}");
        assert_eq!(ids(), before);
    }
    assert_eq!(differences(&ledger, &files_below(&mill.store().join("tables/runs/v2"))), Vec::<String>::new());
    // And when the next run finds work to do.
    std::fs::remove_file(mill.store().join(ledger_row(&mill, "report"))).expect("its row");
    assert_eq!(mill.done("report", &["--set", "report.bootstrap=60"])["fresh"], false);
    assert_eq!(ids().len(), 9);
    assert!(before.iter().all(|id| ids().contains(id)));
}

#[test]
fn a_recording_that_was_away_for_a_moment_is_not_lost() {
    let mill = Mill::with_corpus();
    mill.done("ingest", &[]);
    let (place, away) = (mill.corpora().join("synthetic/speaker_01/01-sad-s1-r1.wav"), mill.path("away.wav"));
    std::fs::rename(&place, &away).expect("moved away");
    let ended = mill.stage("features", &[]);
    assert_eq!((ended.code, &ended.json()["n_rejected"], &ended.json()["unread"]), (1, &2.into(), &2.into()));
    let again = mill.stage("features", &[]);
    assert_eq!((again.code, &again.json()["fresh"]), (1, &false.into()), "it is looked for again");
    std::fs::rename(&away, &place).expect("moved back");
    let ended = mill.stage("features", &[]);
    assert_eq!((ended.code, &ended.json()["fresh"]), (0, &false.into()), "{}", ended.stderr);
    assert_eq!(ended.json()["n_done"], 8, "the one shard that lacked it");
    let rows: Vec<FeatureRow> = mill.rows("features");
    assert!(rows.len() == 56 && rows.iter().all(|row| row.log_mel.is_some()));
    assert_eq!(mill.done("features", &[])["fresh"], true);

    // At ingest: a link whose target is away is a row with a reason, until it is back.
    std::fs::rename(&place, &away).expect("moved away");
    std::os::unix::fs::symlink(&away, &place).expect("a link");
    assert_eq!(mill.stage("ingest", &[]).code, 0, "behind a link it is as good as before");
    std::fs::rename(&away, mill.path("gone.wav")).expect("away");
    assert_eq!(mill.stage("ingest", &[]).json()["n_rejected"], 1);
    std::fs::rename(mill.path("gone.wav"), &away).expect("back");
    let ended = mill.stage("ingest", &[]);
    assert_eq!((ended.code, &ended.json()["fresh"], &ended.json()["n_rejected"]), (0, &false.into(), &0.into()));
    assert!(mill.rows::<ManifestRow>("manifest").iter().all(ManifestRow::is_eligible));
    assert!(Path::new(&away).exists());
}
