//! Augmented copies through the whole chain: stored ones, ones drawn anew for each epoch, and what is refused.

use sermill::tables::features::FeatureRow;

use crate::mill::{Ended, Mill};

const SYNTHETIC: [&str; 4] = [
    "--set",
    "ingest.corpus=[{kind=\"synthetic\",name=\"synthetic\",root=\"synthetic\"}]",
    "--set",
    "score.splits=[\"test\"]",
];

fn run(mill: &Mill, name: &str, more: &[&str]) -> Ended {
    mill.stage_of(name, "augmented", &[&SYNTHETIC, more].concat())
}

#[track_caller]
fn done(mill: &Mill, name: &str, more: &[&str]) -> serde_json::Value {
    let ended = run(mill, name, more);
    assert_eq!(ended.code, 0, "{name}: {}", ended.stderr);
    ended.json()
}

#[test]
fn stored_copies_have_the_same_bytes_for_any_number_of_threads_and_say_what_was_done() {
    let mill = Mill::with_corpus();
    let stored = ["--set", "augment.when=features"];
    done(&mill, "ingest", &stored);
    let mut bytes = Vec::new();
    for threads in ["1", "3"] {
        done(&mill, "features", &[&stored[..], &["--threads", threads]].concat());
        bytes.push(mill.table("features").iter().map(|file| std::fs::read(file).expect("shard")).collect::<Vec<_>>());
        if threads == "1" {
            std::fs::remove_dir_all(mill.store().join("tables/features")).expect("thrown away");
        }
    }
    assert!(bytes[0] == bytes[1]);
    let rows: Vec<FeatureRow> = mill.rows("features");
    assert_eq!(rows.len(), 56);
    for row in rows {
        let text = row.augmentation.unwrap_or_default();
        assert_eq!((row.copy == 1, row.copy == 1), (text.contains("white-noise(snr="), row.snr_db.is_some()), "{text}");
    }
}

#[test]
fn fresh_copies_need_no_disk_and_make_the_same_model_for_any_number_of_threads_and_after_a_stop() {
    let model = |mill: &Mill, trained: &serde_json::Value| {
        let id = trained["model_id"].as_str().expect("id");
        std::fs::read(mill.store().join("models").join(id).join("model.onnx")).expect("model")
    };
    let (straight, stopped) = (Mill::with_corpus(), Mill::with_corpus());
    for mill in [&straight, &stopped] {
        done(mill, "ingest", &[]);
        done(mill, "features", &[]);
        let rows: Vec<FeatureRow> = mill.rows("features");
        assert!(rows.len() == 28 && rows.iter().all(|row| row.copy == 0), "nothing but originals is stored");
    }
    let trained = done(&straight, "train", &["--threads", "1"]);
    assert_eq!(trained["train_items"], 38, "19 originals and a fresh copy of each");
    assert_eq!(trained["monitored_items"], 2, "the validation side is as it was recorded");
    done(&stopped, "train", &["--threads", "3", "--set", "train.epochs=1"]);
    let resumed = done(&stopped, "train", &["--threads", "3"]);
    assert!(model(&straight, &trained) == model(&stopped, &resumed));
    let other = done(&stopped, "train", &["--set", "augment.spec_augment.max_freq=20"]);
    assert_ne!(other["model_id"], resumed["model_id"], "other masks are another training");
    done(&straight, "score", &[]);
    done(&straight, "report", &[]);
}

#[test]
fn another_augmentation_leaves_stored_originals_alone() {
    let mill = Mill::with_corpus();
    done(&mill, "ingest", &[]);
    done(&mill, "features", &[]);
    let other = ["--set", "features.augmentations=[\"telephone\"]"];
    assert_eq!(done(&mill, "features", &other)["fresh"], true);
}

#[test]
fn copies_stored_and_drawn_anew_are_not_mixed() {
    let mill = Mill::with_corpus();
    done(&mill, "ingest", &[]);
    done(&mill, "features", &["--set", "augment.when=features"]);
    let ended = run(&mill, "train", &[]);
    assert_eq!(ended.code, 2, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("`features` was run with features.augmentations")
            && ended.stderr.contains("sermill features"),
        "{}",
        ended.stderr
    );
    let ended = run(&mill, "features", &["--set", "split.protocol=paper"]);
    assert_eq!(ended.code, 2, "{}", ended.stderr);
    assert!(ended.stderr.contains("augment.when=features"), "{}", ended.stderr);
}

#[test]
fn a_gain_that_nothing_hears_is_said_aloud() {
    let mill = Mill::with_corpus();
    let gain = ["--set", "augment.when=features", "--set", "features.augmentations=[\"gain\"]"];
    done(&mill, "ingest", &gain);
    let ended = run(&mill, "features", &gain);
    assert!(ended.code == 0 && ended.stderr.contains("undone by the z-score"), "{}", ended.stderr);
}

#[test]
fn babble_follows_the_recordings_that_are_there() {
    let babble = ["--set", "augment.when=features", "--set", "features.augmentations=[\"babble\"]"];
    let rows = |mill: &Mill| {
        let mut rows: Vec<FeatureRow> = mill.rows("features");
        rows.sort_by(|a, b| (&a.recording_id, a.copy).cmp(&(&b.recording_id, b.copy)));
        rows
    };
    let (grown, anew) = (Mill::with_corpus(), Mill::with_corpus());
    done(&grown, "ingest", &babble);
    done(&grown, "features", &babble);
    let before = rows(&grown);
    let talkers = |row: &FeatureRow| row.augmentation.as_ref().is_some_and(|text| text.contains("talkers="));
    assert_eq!(before.iter().filter(|row| talkers(row) && row.snr_db.is_some()).count(), 28);
    for mill in [&grown, &anew] {
        std::fs::remove_file(mill.corpora().join("synthetic/speaker_01/01-angry-s1-r1.wav")).expect("removed");
        done(mill, "ingest", &babble);
        done(mill, "features", &babble);
    }
    // Copies that heard the one that is gone were made anew; all are as if it had never been there.
    let (grown, anew) = (rows(&grown), rows(&anew));
    assert!(grown.len() == 54 && grown == anew);
    assert!(grown.iter().any(|row| {
        before
            .iter()
            .any(|old| (&old.recording_id, old.copy) == (&row.recording_id, row.copy) && old.log_mel != row.log_mel)
    }));
}
