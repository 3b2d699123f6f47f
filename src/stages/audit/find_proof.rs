//! Leaks by hand: a small split with one of each kind.

use super::*;

fn entry(recording_id: &str, speaker: Option<&str>, statement: Option<&str>) -> Entry {
    Entry {
        recording_id: recording_id.into(),
        corpus: "c".into(),
        speaker: speaker.map(str::to_string),
        statement: statement.map(str::to_string),
    }
}

fn placed(recording_id: &str, copy: u32, fold: u32, split: Split) -> Placed {
    Placed { recording_id: recording_id.into(), copy, fold, split }
}

fn pair(a: &str, b: &str, is_exact: bool, difference: f64) -> DuplicateRow {
    let (recording_a, recording_b) = (a.into(), b.into());
    DuplicateRow { recording_a, recording_b, is_exact, difference, n_cells: 300, shift_s: 0.0 }
}

/// Kind, what is shared, the two recordings with their sides, and the counts.
fn told(row: &LeakRow) -> (LeakKind, Option<&str>, [&str; 2], [Split; 2], [u32; 2]) {
    let recordings = [row.recording_a.as_str(), row.recording_b.as_str()];
    (row.kind, row.shared.as_deref(), recordings, [row.side_a, row.side_b], [row.n_a, row.n_b])
}

#[test]
fn twins_speakers_and_sentences_are_counted_by_fold() {
    use Split::{Test, Train};
    let entries =
        [entry("a", Some("x"), Some("1")), entry("b", Some("x"), Some("2")), entry("c", Some("y"), Some("2"))];
    let rows = [
        placed("a", 0, 0, Train),
        placed("a", 1, 0, Test),
        placed("b", 0, 0, Train),
        placed("c", 0, 0, Train),
        placed("a", 0, 1, Train),
        placed("b", 0, 1, Train),
        placed("c", 0, 1, Test),
        placed("a", 0, 2, Train),
    ];
    let leaks = Audit::new(&entries, &[], "p", LeakKinds::default().with(LeakKind::Twins)).leaks(rows.to_vec());
    let sides = [Train, Test];
    let by_fold = |fold| leaks.iter().filter(|row| row.fold == fold).map(told).collect::<Vec<_>>();
    assert_eq!(
        by_fold(0),
        [
            (LeakKind::Twins, None, ["a", "a"], sides, [1, 1]),
            (LeakKind::Speakers, Some("x"), ["a", "a"], sides, [2, 1]),
            (LeakKind::Sentences, Some("c: 1"), ["a", "a"], sides, [1, 1]),
        ]
    );
    assert_eq!(by_fold(1), [(LeakKind::Sentences, Some("c: 2"), ["b", "c"], sides, [1, 1])]);
    assert!(by_fold(2).is_empty());
    assert_eq!(leaks.iter().map(|row| row.allowed).collect::<Vec<_>>(), [true, false, false, false]);
    assert_eq!((leaks[0].copy_a, leaks[0].copy_b, leaks[0].evidence), (0, 1, 1.0));
}

#[test]
fn unknown_speakers_and_sentences_are_nobodys_and_the_same_sentence_of_two_corpora_is_two() {
    let mut other = entry("b", None, Some("1"));
    other.corpus = "d".into();
    let entries = [entry("a", None, Some("1")), other];
    let rows = vec![placed("a", 0, 0, Split::Train), placed("b", 0, 0, Split::Test)];
    assert_eq!(Audit::new(&entries, &[], "p", LeakKinds::default()).leaks(rows), []);
}

#[test]
fn a_duplicate_is_a_leak_where_it_crosses_sides_also_through_a_third_recording() {
    use Split::{Test, Train, Validation};
    let entries: Vec<Entry> = ["a", "b", "c", "d", "e", "f"].map(|id| entry(id, None, None)).to_vec();
    let pairs =
        [pair("a", "b", true, 0.0), pair("a", "c", true, 0.0), pair("d", "e", false, 0.1), pair("e", "f", false, 0.05)];
    let sides = [("a", Train), ("b", Validation), ("c", Test), ("d", Train), ("e", Train), ("f", Test)];
    let rows = sides.map(|(id, side)| placed(id, 0, 0, side)).to_vec();
    let leaks = Audit::new(&entries, &pairs, "p", LeakKinds::default()).leaks(rows);
    assert_eq!(
        leaks.iter().map(told).collect::<Vec<_>>(),
        [
            (LeakKind::Duplicates, None, ["a", "b"], [Train, Validation], [1, 1]),
            (LeakKind::Duplicates, None, ["a", "c"], [Train, Test], [1, 1]),
            (LeakKind::Duplicates, None, ["b", "c"], [Validation, Test], [1, 1]),
            (LeakKind::NearDuplicates, None, ["e", "f"], [Train, Test], [1, 1]),
        ]
    );
    assert_eq!(leaks[3].evidence, 0.05);
    let apart = [("d", Train), ("f", Test)].map(|(id, side)| placed(id, 0, 0, side)).to_vec();
    let leaks = Audit::new(&entries, &pairs, "p", LeakKinds::default()).leaks(apart);
    assert_eq!(
        leaks.iter().map(told).collect::<Vec<_>>(),
        [(LeakKind::NearDuplicates, None, ["d", "f"], [Train, Test], [1, 1])]
    );
    assert!(leaks[0].because.contains("third"), "{}", leaks[0].because);
    let together = sides.map(|(id, _)| placed(id, 0, 0, Train)).to_vec();
    assert_eq!(Audit::new(&entries, &pairs, "p", LeakKinds::default()).leaks(together), []);
}
