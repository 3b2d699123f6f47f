//! Anybody's labels: a table with columns of its own, a pattern of paths, and what a recipe may not say.

use std::path::Path;

use sermill::tables::manifest::{ManifestRow, Status};
use sermill::units::SampleRate;

use crate::mill::Mill;

fn put_tone(file: &Path, number: usize) {
    let wave: Vec<f32> = (0..40_000).map(|i| 0.3 * (i as f32 * (0.1 + 0.01 * number as f32)).sin()).collect();
    std::fs::create_dir_all(file.parent().expect("a folder")).expect("folder");
    std::fs::write(file, sermill::audio::write_wav(&wave, SampleRate(16_000)).expect("a file")).expect("written");
}

/// Three recordings of two speakers.
fn mill() -> Mill {
    let mill = Mill::new();
    for (number, name) in ["s1/A_1.wav", "s1/W_2.wav", "s2/xxx_1.wav"].into_iter().enumerate() {
        put_tone(&mill.corpora().join("own").join(name), number);
    }
    mill
}

fn corpus(keys: &str) -> String {
    format!("ingest.corpus=[{{kind=\"labelled\",name=\"own\",root=\"own\",{keys}}}]")
}

/// Path, word and speaker of each row.
fn said(mill: &Mill) -> Vec<(String, String, String)> {
    let text = |text: Option<String>| text.unwrap_or_default();
    let rows: Vec<ManifestRow> = mill.rows("manifest");
    assert!(rows.iter().all(|row| row.status == Status::Ok), "{rows:?}");
    rows.into_iter().map(|row| (row.path, text(row.emotion), text(row.speaker))).collect()
}

fn expected(rows: [(&str, &str, &str); 3]) -> Vec<(String, String, String)> {
    rows.map(|(path, word, speaker)| (format!("own/{path}"), word.into(), speaker.into())).into()
}

#[test]
fn a_pattern_gives_words_and_speakers_that_carry_the_name_of_the_corpus() {
    let mill = mill();
    let keys = "pattern=\"{speaker}/{emotion}_{repetition}.wav\",words={A=\"Angst\",W=\"Zorn\",xxx=\"\"}";
    let summary = mill.done("ingest", &["--set", &corpus(keys)]);
    let rows = [("s1/A_1.wav", "fear", "own-s1"), ("s1/W_2.wav", "zorn", "own-s1"), ("s2/xxx_1.wav", "", "own-s2")];
    assert_eq!(said(&mill), expected(rows));
    assert_eq!(summary["corpora"][0]["per_emotion"], serde_json::json!({ "fear": 1, "zorn": 1 }));
    assert_eq!(summary["corpora"][0]["speakers"], 2);
}

#[test]
fn a_table_of_ones_own_is_read_and_read_again_when_it_changes() {
    let mill = mill();
    let table = mill.corpora().join("own/meta.tsv");
    let text = "file\tlabel\tspk\tnote\ns1/A_1.wav\tJoy\t1\t\ns1/W_2.wav\tcalm\t1\t\ns2/xxx_1.wav\t\t\tx\n";
    std::fs::write(&table, text).expect("written");
    let keys = "table=\"meta.tsv\",columns={path=\"file\",emotion=\"label\",speaker=\"spk\"}";
    let set = corpus(keys);
    mill.done("ingest", &["--set", &set]);
    let rows = [("s1/A_1.wav", "happy", "own-1"), ("s1/W_2.wav", "calm", "own-1"), ("s2/xxx_1.wav", "", "")];
    assert_eq!(said(&mill), expected(rows));
    assert_eq!(mill.done("ingest", &["--set", &set])["fresh"], true);
    std::fs::write(&table, text.replace("Joy", "boredom")).expect("written");
    assert_eq!(mill.done("ingest", &["--set", &set])["fresh"], false);
    assert_eq!(said(&mill)[0].1, "boredom");
}

#[test]
fn keys_that_mean_nothing_are_refused_before_anything_is_read() {
    let mill = mill();
    let other = "ingest.corpus=[{kind=\"tess\",name=\"own\",root=\"own\",words={A=\"sad\"}}]".to_string();
    for (set, words) in [
        (corpus("table=\"../labels.csv\""), "[[ingest.corpus]] table = `../labels.csv`: must be a file below"),
        (corpus("pattern=\"{emotoin}/*\""), "there is no field {emotoin}"),
        (corpus("columns={emotoin=\"x\"}"), "did you mean `emotion`?"),
        (corpus("tabel=\"x\""), "unknown field `tabel`"),
        (other, "[[ingest.corpus]] of kind `tess` takes no `words`"),
        (corpus("table=\"none.csv\""), "own/none.csv`: cannot read the table of labels"),
    ] {
        let ended = mill.stage("ingest", &["--set", &set]);
        assert_eq!(ended.code, 2, "{}", ended.stderr);
        assert!(ended.stderr.contains(words), "`{words}` is not in {}", ended.stderr);
    }
}
