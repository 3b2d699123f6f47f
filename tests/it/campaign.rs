//! Protocols side by side, and configurations that are tried: each run in a store of its own, each number in a table.

use std::path::PathBuf;

use sermill::tables::read_rows;
use sermill::tables::scorecard::ScorecardRow;
use sermill::tables::trials::TrialRow;

use crate::mill::{Mill, below_store};

/// Three speakers, and the demo recipe under two protocols.
fn mill() -> (Mill, Vec<PathBuf>) {
    let mill = Mill::new();
    let corpus = mill.corpora().join("synthetic");
    let args = ["synth", &corpus.to_string_lossy(), "--speakers", "3", "--statements", "1", "--repetitions", "1"];
    assert_eq!(mill.run(&args).code, 0);
    let demo = include_str!("../../pipelines/demo.toml");
    let by_speaker = demo.replace("name = \"demo\"", "name = \"by-speaker\"").replace(
        "protocol = \"source-disjoint\"",
        "protocol = \"speaker-independent\"\nfolds = { any = \"leave-one-out\" }",
    );
    assert_ne!(demo, by_speaker);
    let recipes = [("demo", demo.to_string()), ("by-speaker", by_speaker)];
    let files = recipes.map(|(name, text)| {
        let file = mill.path(&format!("{name}.toml"));
        std::fs::write(&file, text).expect("written");
        file
    });
    (mill, files.into())
}

fn campaign<'a>(mill: &'a Mill, command: &'a str, more: &[&'a str]) -> crate::mill::Ended {
    let (corpora, store) = (mill.corpora(), mill.path("campaign"));
    let mut args = vec![command.to_string(), "--corpora".into(), corpora.display().to_string()];
    args.extend(["--store".to_string(), store.display().to_string()]);
    for item in ["train.network.maps=[4,4,6,6]", "train.network.lstm_units=8", "train.epochs=1", "train.batch=8"] {
        args.extend(["--set".to_string(), item.into()]);
    }
    for item in ["report.bootstrap=20", "score.device=native"] {
        args.extend(["--set".to_string(), item.into()]);
    }
    args.extend(more.iter().map(ToString::to_string));
    mill.run(&args.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn a_scorecard_says_what_unseen_speakers_take_away() {
    let (mill, recipes) = mill();
    let recipes: Vec<String> = recipes.iter().map(|file| file.display().to_string()).collect();
    let typed = ["--pipeline", &recipes[0], "--pipeline", &recipes[1]];
    let ended = campaign(&mill, "scorecard", &typed);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let file = mill.path("campaign").join(below_store("scorecard")).join("scorecard.parquet");
    let rows: Vec<ScorecardRow> = read_rows(&file).expect("a scorecard");
    let uar: Vec<&ScorecardRow> = rows.iter().filter(|row| row.metric == "uar").collect();
    assert_eq!(uar.iter().map(|row| row.pipeline.as_str()).collect::<Vec<_>>(), ["by-speaker", "demo"]);
    assert_eq!((uar[0].n, uar[0].n_folds, uar[0].optimism), (21, 3, None), "unseen speakers first");
    let (unseen, seen) = (uar[0].value.expect("a number"), uar[1].value.expect("a number"));
    assert!((uar[1].optimism.expect("a difference") - (seen - unseen)).abs() < 1e-12);
    assert!(!uar[1].warning.is_empty() && uar[0].warning.is_empty());
    assert!(ended.stdout.contains("| speaker-independent (`by-speaker`) | 21 |"), "{}", ended.stdout);
    let again = campaign(&mill, "scorecard", &typed);
    assert_eq!(again.json(), ended.json(), "what was done stands");
    assert!(!again.stderr.contains("epoch 1"), "{}", again.stderr);
    let under = ["--pipeline", &recipes[1], "--protocol", "speaker-independent", "--protocol", "text-disjoint"];
    let text_disjoint = campaign(&mill, "scorecard", &[&under[..], &["--set", "train.keep=last"]].concat());
    assert_eq!(text_disjoint.code, 2, "one sentence cannot be on two sides: {}", text_disjoint.stderr);
    let under = ["--pipeline", &recipes[1], "--protocol", "speaker-independent", "--protocol", "paper"];
    let ended = campaign(&mill, "scorecard", &[&under[..], &["--set", "features.copies=1"]].concat());
    assert!(ended.stdout.contains("| paper (`by-speaker-paper`) | 9 |"), "{}{}", ended.stdout, ended.stderr);
    let twice = campaign(&mill, "scorecard", &["--pipeline", &recipes[0], "--pipeline", &recipes[0]]);
    assert!(twice.code == 2 && twice.stderr.contains("two pipelines are called `demo`"), "{}", twice.stderr);
}

#[test]
fn a_trial_is_entered_before_it_runs_and_keeps_its_settings() {
    let (mill, recipes) = mill();
    let recipe = recipes[1].display().to_string();
    let typed = ["b1", "--why", "wider", "--against", "b0", "--pipeline", &recipe, "--seeds", "1,2"];
    let rows = || -> Vec<TrialRow> {
        read_rows(&mill.path("campaign").join(below_store("trials")).join("b1.parquet")).expect("trials")
    };
    let corpora = mill.corpora();
    std::fs::rename(&corpora, mill.path("away")).expect("moved");
    let ended = campaign(&mill, "trial", &typed);
    assert_eq!(ended.code, 2, "{}", ended.stderr);
    assert_eq!(rows().iter().map(|row| row.state.as_str()).collect::<Vec<_>>(), ["failed", "entered"]);
    assert!(rows()[0].reason.as_deref().is_some_and(|reason| reason.contains("synthetic")), "{:?}", rows()[0]);
    std::fs::rename(mill.path("away"), &corpora).expect("moved back");
    let ended = campaign(&mill, "trial", &typed);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let done = rows();
    assert!(done.iter().all(|row| row.state == "done" && row.n == 21 && row.uar.is_some()), "{done:?}");
    assert_eq!(done[0].uar_seven, done[0].uar, "the demo has the seven classes");
    assert_eq!((done[0].against.as_deref(), done[0].folds.as_str()), (Some("b0"), "all"));
    assert!(done[0].by_speaker.matches(':').count() == 3 && done[0].items > 0, "{:?}", done[0]);
    assert_ne!(done[0].model_id, done[1].model_id);
    let other = campaign(&mill, "trial", &[&typed[..], &["--set", "train.batch=4"]].concat());
    assert!(other.code == 2 && other.stderr.contains("trial `b1` was entered with"), "{}", other.stderr);
    let path = campaign(&mill, "trial", &[&["../b1"], &typed[1..]].concat());
    assert!(path.code == 2 && path.stderr.contains("is no name of a trial"), "{}", path.stderr);
}
