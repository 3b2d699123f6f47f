//! The leak audit on whole stores: twins of the paper's protocol, planted duplicates, silence where nothing is shared, the gate.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use sermill::leaks::LeakKind;
use sermill::split::Split;
use sermill::tables::duplicates::DuplicateRow;
use sermill::tables::folds::FoldRow;
use sermill::tables::leaks::LeakRow;
use sermill::tables::runs::RunRow;

use crate::mill::{Mill, TWINS};

const PAPER: [&str; 4] = ["--set", "split.protocol=paper", "--set", TWINS];
const NOTHING: [&str; 2] = ["--set", "split.allow_leaks=[]"];

fn leaks(mill: &Mill, protocol: &str) -> Vec<LeakRow> {
    mill.rows::<LeakRow>("leaks").into_iter().filter(|row| row.protocol == protocol).collect()
}

/// Changes the samples of a file that `synth` wrote: 44 bytes of head, 16 bits a sample.
fn alter(from: &Path, to: &Path, change: impl Fn(usize, f64) -> f64) {
    let mut bytes = std::fs::read(from).expect("a recording");
    for (at, sample) in bytes[44..].chunks_exact_mut(2).enumerate() {
        let value = change(at, f64::from(i16::from_le_bytes([sample[0], sample[1]])));
        sample.copy_from_slice(&(value.round().clamp(-32_768.0, 32_767.0) as i16).to_le_bytes());
    }
    std::fs::write(to, bytes).expect("written");
}

#[test]
fn the_twin_of_every_test_item_that_has_one_is_found_under_the_papers_protocol() {
    let mill = Mill::with_corpus();
    mill.done("ingest", &PAPER);
    mill.done("features", &PAPER);
    let ended = mill.stage("audit", &PAPER);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    // The truth, counted from the sides alone: items of the test side that have another copy in training.
    let mut sides: BTreeMap<String, Vec<Split>> = BTreeMap::new();
    for row in mill.rows::<FoldRow>("folds").into_iter().filter(|row| row.protocol == "paper") {
        sides.entry(row.recording_id).or_default().push(row.split);
    }
    let torn = sides.iter().filter(|(_, copies)| copies.contains(&Split::Train) && copies.contains(&Split::Test));
    let truth: BTreeSet<&String> = torn.map(|(id, _)| id).collect();
    let leaks = leaks(&mill, "paper");
    let twins: BTreeSet<&String> =
        leaks.iter().filter(|row| row.kind == LeakKind::Twins).map(|row| &row.recording_b).collect();
    assert!(!truth.is_empty() && twins == truth, "{twins:?} {truth:?}");
    let of = |kind| leaks.iter().filter(|row| row.kind == kind).count();
    assert_eq!((of(LeakKind::Speakers), of(LeakKind::Sentences)), (2, 2), "both speakers and both sentences");
    assert_eq!((of(LeakKind::Duplicates), of(LeakKind::NearDuplicates)), (0, 0), "{leaks:?}");
    let line = format!("\"leaks\":\"twins\",\"n\":{}", truth.len());
    assert!(ended.stdout.contains(&line) && ended.stdout.contains("\"allowed\":true"), "{}", ended.stdout);
    assert!(ended.stderr.contains("twins between train and test (allowed)"), "{}", ended.stderr);
}

#[test]
fn every_planted_duplicate_is_found_and_nothing_else() {
    let mill = Mill::with_corpus();
    let folder = mill.corpora().join("synthetic/speaker_01");
    let original = |emotion: &str| folder.join(format!("01-{emotion}-s1-r1.wav"));
    let mut planted = BTreeSet::new();
    let mut plant = |emotion: &str, take: u32, change: &dyn Fn(usize, f64) -> f64| {
        let copy = folder.join(format!("01-{emotion}-s1-r{take}.wav"));
        alter(&original(emotion), &copy, change);
        let id = |take: u32| format!("synthetic/speaker_01/01-{emotion}-s1-r{take}.wav");
        planted.insert((id(1), id(take)));
    };
    plant("angry", 2, &|_, x| x / 2.0);
    let noise = |at: usize| (0..12).map(|i| sermill::units::Seed(9).unit((12 * at + i) as u64) - 0.5).sum::<f64>();
    let samples = std::fs::read(original("sad")).expect("a recording")[44..].to_vec();
    let samples = samples.chunks_exact(2).map(|sample| f64::from(i16::from_le_bytes([sample[0], sample[1]])));
    let power = samples.clone().map(|x| x * x).sum::<f64>() / samples.len() as f64;
    // 15 dB below the recording.
    let level = power.sqrt() * 10_f64.powf(-15.0 / 20.0);
    plant("sad", 2, &|at, x| x + level * noise(at));
    // Eight bits, as a bad codec leaves them.
    plant("happy", 2, &|_, x| (x / 256.0).round() * 256.0);
    mill.done("ingest", &[]);
    mill.done("features", &[]);
    let found: BTreeSet<(String, String)> = {
        mill.done("duplicates", &[]);
        let rows = mill.rows::<DuplicateRow>("duplicates");
        rows.into_iter().map(|row| (row.recording_a, row.recording_b)).collect()
    };
    assert_eq!(found, planted);
    // Another fold or protocol looks for no duplicate again, and new recordings leave the fingerprints of the others.
    mill.stage("audit", &["--set", "split.test_fraction=0.4"]);
    mill.stage("audit", &PAPER);
    let searches = |mill: &Mill| mill.rows::<RunRow>("runs").iter().filter(|row| row.stage == "duplicates").count();
    assert_eq!(searches(&mill), 1);
    alter(&original("fear"), &folder.join("01-fear-s1-r2.wav"), |_, x| -x);
    mill.done("ingest", &[]);
    mill.done("features", &[]);
    let again = mill.done("duplicates", &[]);
    assert_eq!((&again["n_done"], &again["n_reused"], &again["exact"]), (&1.into(), &31.into(), &1.into()));
}

#[test]
fn sides_of_different_speakers_and_sentences_share_nothing() {
    let mill = Mill::with_corpus();
    let corpus = mill.corpora().join("synthetic");
    // A label for each, and nothing of who speaks or what.
    let mut text = "path,emotion\n".to_string();
    for file in &sermill::scan::recordings_below(&corpus).expect("listed").recordings {
        text += &format!("{},{}\n", file.relative, file.relative.split('-').nth(1).expect("the grammar of `synth`"));
    }
    std::fs::write(corpus.join("labels.csv"), text).expect("written");
    let labelled =
        ["--set", "ingest.corpus=[{kind=\"labelled\",name=\"own\",root=\"synthetic\",table=\"labels.csv\"}]"];
    let more = [&labelled[..], &NOTHING].concat();
    mill.done("ingest", &more);
    mill.done("features", &more);
    let summary = mill.done("audit", &more);
    assert_eq!((&summary["leaks"], &summary["unknown_speakers"]), (&0.into(), &28.into()));
    mill.done("train", &more);
}

#[test]
fn training_refuses_what_the_recipe_does_not_allow_also_where_a_model_stands() {
    let mill = Mill::with_corpus();
    mill.done("ingest", &[]);
    mill.done("features", &[]);
    let trained = mill.done("train", &[]);
    for (more, kinds) in [
        (&NOTHING[..], "allow_leaks = [\"speakers\", \"sentences\"]"),
        (&["--set", "split.allow_leaks=[\"sentences\"]"], "allow_leaks = [\"speakers\", \"sentences\"]"),
    ] {
        let refused = mill.stage("train", more);
        assert_eq!(refused.code, 2, "{}", refused.stderr);
        for word in ["the split leaks: ", "speakers between train and", "speaker_01/", "(train) and `", kinds] {
            assert!(refused.stderr.contains(word), "{word}: {}", refused.stderr);
        }
        let audit = mill.stage("audit", more);
        assert_eq!(audit.code, 1, "leaks that are not allowed: {}", audit.stderr);
        assert!(audit.stdout.contains("\"allowed\":false"), "{}", audit.stdout);
        assert!(mill.stage("status", more).stdout.contains("the split leaks"));
    }
    let again = mill.done("train", &[]);
    assert_eq!((&again["fresh"], &again["run_id"]), (&true.into(), &trained["run_id"]));
    let wrong = mill.stage("train", &["--set", "split.allow_leaks=[\"speaker\"]"]);
    assert!(wrong.code == 2 && wrong.stderr.contains("allow_leaks names `speaker`"), "{}", wrong.stderr);
}
