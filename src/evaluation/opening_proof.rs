//! What is opened: examples of the classes, and files that are gone, damaged or of another table.

// Files are damaged here.
#![allow(clippy::disallowed_methods)]

use super::twin_proof::{SEVEN, Scored, of_known_age, row, seven};
use super::*;
use crate::error::ErrorKind;
use crate::tables::manifest::Status;

#[test]
fn the_example_of_a_class_is_its_first_original_that_was_scored() {
    let labelled = |number: usize, copy, emotion: Option<&str>, status| PredictionRow {
        copy,
        emotion: emotion.map(str::to_string),
        status,
        ..row(number, "a", None)
    };
    let rows = [
        labelled(1, 1, Some("sad"), Status::Ok),
        labelled(2, 0, Some("sad"), Status::Rejected),
        labelled(4, 0, Some("sad"), Status::Ok),
        labelled(3, 0, Some("sad"), Status::Ok),
        labelled(5, 0, None, Status::Ok),
        labelled(6, 0, Some("bored"), Status::Ok),
        labelled(7, 2, Some("angry"), Status::Ok),
    ];
    let found = Scored::of(&[(&SEVEN, &rows[..3]), (&["sad"; 1], &rows[3..])]).alone(&seven());
    let wanted = [("bored", "a/06.wav"), ("sad", "a/03.wav")].map(|(class, id)| (class.into(), id.into()));
    assert_eq!(found.examples().expect("examples"), wanted.into());
}

#[test]
fn a_file_that_is_gone_damaged_or_of_another_table_is_named() {
    let (rows, manifest) = of_known_age();
    let mut scored = Scored::of(&[(&SEVEN, &rows[..4]), (&SEVEN, &rows[4..])]).with_manifest(&manifest);
    let record = scored.score.files[1].clone();
    let file = scored.folder.path().join(&record.path);
    let sound = std::fs::read(&file).expect("a file");
    let refused = |scored: &Scored, words: &str| {
        let error = scored.open(SLICES).err().expect(words);
        assert_eq!(error.kind(), ErrorKind::Input, "{error}");
        assert!(error.to_string().contains(&record.path) && error.hint_text().is_some(), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    };
    let mut bytes = sound.clone();
    bytes[100] ^= 1;
    std::fs::write(&file, &bytes).expect("written");
    refused(&scored, "");
    std::fs::remove_file(&file).expect("removed");
    refused(&scored, "");
    // What was committed, and yet another table.
    let other = std::fs::read(scored.folder.path().join(&scored.ingest.files[0].path)).expect("a manifest");
    std::fs::write(&file, &other).expect("written");
    scored.score.files[1].content = scored.ingest.files[0].content.clone();
    refused(&scored, "is not a `predictions` table");
    scored.score.files.clear();
    let error = scored.open(SLICES).err().expect("no file");
    assert!(error.to_string().contains("predictions") && error.hint_text().is_some(), "{error}");
}
