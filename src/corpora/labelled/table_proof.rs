//! What tables of labels are read as, and what of them is refused.

use super::*;
use crate::corpora::Sex;
use crate::error::ErrorKind;

/// Where nothing lies below the root.
fn nowhere(_: &Path) -> Result<bool> {
    Ok(false)
}

fn read(table: &str, options: &Options) -> Result<Table> {
    read_text(table, options, nowhere)
}

fn label(table: &str, path: &str) -> Result<Label> {
    read(table, &Options::default())?.label(Path::new(path))
}

/// Options with these columns, as `name=column`.
fn columns(pairs: &[&str]) -> Options {
    let pairs = pairs.iter().filter_map(|pair| pair.split_once('='));
    Options { columns: pairs.map(|(name, column)| (name.into(), column.into())).collect(), ..Options::default() }
}

fn refused(table: &str, options: &Options) -> Error {
    let error = read(table, options).err().unwrap_or_else(|| panic!("{table:?} was read"));
    assert_eq!(error.kind(), ErrorKind::Input);
    error
}

#[test]
fn a_table_gives_every_column_in_any_order() {
    let table = "\u{feff}emotion,path,Speaker,sex,intensity,statement,repetition,age,language,fold,split\r\n\
                 Joy,\"a, b/1.wav\",s1,F,low,\"he said \"\"no\"\"\nand left\",2,31,en,3,dev\r\n\r\n\
                 ps,./c\\2.wav,,,,,,,,,\r\n,,,,,,,,,,\r\n";
    let table = delimited::text_of(table.as_bytes().to_vec()).unwrap();
    let expected = Label {
        speaker: Some("s1".into()),
        sex: Some(Sex::Female),
        emotion: Some("happy".into()),
        emotion_original: Some("Joy".into()),
        intensity: Some("low".into()),
        statement: Some("he said \"no\"\nand left".into()),
        repetition: Some(2),
        age: Some("31".into()),
        language: Some("en".into()),
        fold: Some("3".into()),
        split: Some("validation".into()),
        ..Label::default()
    };
    assert_eq!(label(&table, "a, b/1.wav").unwrap(), expected);
    let second = label(&table, "./c/2.wav").unwrap();
    assert_eq!((second.emotion.as_deref(), second.speaker), (Some("surprise"), None));
}

#[test]
fn tabs_and_semicolons_part_fields_as_commas_do() {
    for separator in [",", "\t", ";"] {
        let table = "path|emotion|speaker\na.wav|sad|s 1\n".replace('|', separator);
        let label = label(&table, "a.wav").unwrap();
        assert_eq!((label.emotion.as_deref(), label.speaker.as_deref()), (Some("sad"), Some("s 1")), "{separator:?}");
    }
    let options = Options {
        table: Some("meta/labels.TSV".into()),
        columns: columns(&["emotion="]).columns,
        ..Options::default()
    };
    assert!(read("path\na,b.wav\n", &options).unwrap().label(Path::new("a,b.wav")).is_ok());
}

#[test]
fn columns_of_any_name_are_read_and_others_are_left_alone() {
    let table = "id,File_Name,cat,emotion,spk,set\n1,a.wav,Anger,7,12,fold1\n";
    let options = columns(&["path=file_name", "emotion=cat", "speaker=spk"]);
    let found = read(table, &options).unwrap().label(Path::new("a.wav")).unwrap();
    assert_eq!((found.emotion.as_deref(), found.speaker.as_deref()), (Some("angry"), Some("12")));
    let without = columns(&["path=File_Name", "emotion="]);
    assert_eq!(read(table, &without).unwrap().label(Path::new("a.wav")).unwrap(), Label::default());
    // A field that is not named is in the column of its own name.
    let other =
        read("file,emotion,sex\na.wav,sad,f\n", &columns(&["path=file"])).unwrap().label(Path::new("a.wav")).unwrap();
    assert_eq!((other.emotion.as_deref(), other.sex), (Some("sad"), Some(Sex::Female)));
    let error = refused(table, &columns(&["path=file", "emotion=cat"]));
    assert_eq!(error.reason(), "column `file` is missing from the header");
    assert!(
        error.hint_text().unwrap().contains("columns = { path = \"...\" }; there are id, File_Name, cat"),
        "{error}"
    );
    assert_eq!(refused(table, &columns(&["path=FileName", "emotion=cat"])).hint_text(), Some("is it `File_Name`?"));
    assert_eq!(refused(table, &columns(&["path=file_name", "age=cta"])).hint_text(), Some("is it `cat`?"));
}

#[test]
fn names_that_are_nearly_those_of_fields_are_told_and_foreign_ones_are_left_alone() {
    assert!(read("path,emotion,id,page,text,word,name,role,valence,arousal\n", &Options::default()).is_ok());
    for (name, close) in [("speakr", "speaker"), ("languge", "language"), ("splits", "split"), ("folds", "fold")] {
        let error = refused(&format!("path,emotion,{name}\n"), &Options::default());
        assert!(error.reason().starts_with(&format!("unknown column `{name}`, known are path, emotion")), "{error}");
        assert!(error.hint_text().unwrap().starts_with(&format!("did you mean `{close}`?")), "{error}");
        assert!(read(&format!("path,emotion,{name}\n"), &columns(&["path=path"])).is_ok());
        assert!(read(&format!("path,emotion,{name},{close}\n"), &Options::default()).is_ok());
    }
}

#[test]
fn a_wrong_value_rejects_only_its_row_and_no_word_is_no_reject() {
    let table = "path,emotion,sex,repetition\na.wav,bored,,\nb.wav,sad,x,\nc.wav,sad,m,\nd.wav,Very Odd,,\ne.wav,,,\nf.wav,sad,,1e9\n";
    let reason = |path: &str| label(table, path).unwrap_err().reason();
    let words = |path: &str| label(table, path).map(|label| (label.emotion, label.emotion_original)).unwrap();
    assert_eq!(words("a.wav"), (Some("boredom".into()), Some("bored".into())));
    assert_eq!(words("d.wav"), (Some("very_odd".into()), Some("Very Odd".into())));
    assert_eq!(words("e.wav"), (None, None));
    assert_eq!(reason("b.wav"), "sex `x` is neither female nor male (labels.csv line 3, column `sex`)");
    assert_eq!(reason("f.wav"), "repetition `1e9` is not a whole number (labels.csv line 7, column `repetition`)");
    assert_eq!(reason("g.wav"), "not listed in labels.csv");
    assert_eq!(label(table, "g.wav").unwrap_err().kind(), ErrorKind::Recording);
    assert!(label(table, "c.wav").is_ok());
    let renamed = read("path,emotion,gender\na.wav,sad,x\n", &columns(&["sex=gender"])).unwrap();
    let reason = renamed.label(Path::new("a.wav")).unwrap_err().reason();
    assert_eq!(reason, "sex `x` is neither female nor male (labels.csv line 2, column `gender`)");
}

#[test]
fn codes_of_a_corpus_mean_what_the_recipe_says() {
    let words = [("A", "Anger"), ("N", "calm"), ("xxx", ""), ("sad", "grief")];
    let words = words.map(|(code, word)| (code.to_owned(), word.to_owned())).into();
    let table =
        read("path,emotion\n1,A\n2,N\n3,xxx\n4,sad\n5,a\n6,happy\n", &Options { words, ..Options::default() }).unwrap();
    let word = |path: &str| table.label(Path::new(path)).unwrap().emotion;
    let expected = [Some("angry"), Some("calm"), None, Some("grief"), Some("a"), Some("happy")];
    assert_eq!(["1", "2", "3", "4", "5", "6"].map(word), expected.map(|word| word.map(str::to_owned)));
    assert_eq!(table.label(Path::new("1")).unwrap().emotion_original.as_deref(), Some("A"));
}

#[test]
fn a_wrong_shape_is_an_input_error_with_its_line() {
    let parse = |table: &str| refused(table, &Options::default());
    assert_eq!(parse("").to_string(), "the table of labels is empty");
    assert_eq!(parse("\n\r\n \n").to_string(), "the table of labels is empty");
    assert_eq!(parse("path,emotion\na.wav,sad,x").reason(), "line 2 has 3 fields, the header has 2");
    assert_eq!(parse("path,emotion\r\n\r\n\r\na,sad\r\nb\r\n").reason(), "line 5 has 1 fields, the header has 2");
    assert_eq!(parse("path,emotion\n\"a\nb\",sad\nc").reason(), "line 4 has 1 fields, the header has 2");
    assert_eq!(parse("path,emotion\na,sad\n./a,sad").reason(), "line 3 lists `a` a second time, after line 2");
    assert_eq!(parse("path,emotion\na,\"sad\nb,sad\n").to_string(), "line 2 opens a double quote that nothing closes");
    assert_eq!(parse("path,emotion,path").to_string(), "column `path` stands in the header twice");
    assert_eq!(parse("path,speaker\n").reason(), "column `emotion` is missing from the header");
    assert_eq!(parse("path,emotoin\n").hint_text(), Some("is it `emotoin`?"));
    let reason = parse("path,emotion,split\na,sad,train\nb,sad,tset\n").reason();
    assert_eq!(reason, "line 3, column `split`: split `tset` is none of train, validation, test");
}

#[test]
fn paths_that_lead_out_of_the_corpus_are_refused_with_line_column_and_value() {
    for (path, why) in [
        ("/etc/passwd", "is an absolute path"),
        ("../b.wav", "leads upwards by `..`"),
        ("a/../../b.wav", "leads upwards by `..`"),
        ("a\\..\\b.wav", "leads upwards by `..`"),
        ("\\\\server\\b.wav", "is an absolute path"),
        ("a\0.wav", "holds a NUL character"),
        ("", "is empty"),
        ("./", "names no file"),
    ] {
        let error = refused(&format!("path,emotion\nfirst.wav,sad\n{path},sad\n"), &Options::default());
        assert_eq!(error.reason(), format!("line 3, column `path`: `{path}` {why}"));
    }
    assert!(label("path,emotion\na//b/./c.wav,sad\n", "a/b/c.wav").is_ok());
}

#[test]
fn hostile_tables_are_refused_quickly_and_shown_shortly() {
    let wide = format!("path,emotion{}\n", ",x".repeat(1_000_000));
    assert_eq!(refused(&wide, &Options::default()).reason(), "line 1 has 1000002 columns, at most 100000 are read");
    let wide = format!("path,emotion{}\n", (0..99_000).map(|i| format!(",c{i}")).collect::<String>());
    assert!(read(&wide, &Options::default()).is_ok());
    let long = "x".repeat(1_000_000);
    let reason = label(&format!("path,emotion\na.wav,{long}\n"), "a.wav").unwrap_err().reason();
    assert!(
        reason.len() < 300 && reason.contains("has 1000000 bytes, at most 100 are read (labels.csv line 2"),
        "{reason}"
    );
    assert!(refused(&format!("path,emotion\n/{long},sad\n"), &Options::default()).reason().len() < 300);
    assert!(refused(&format!("path,{long}\n"), &columns(&["emotion=cat"])).hint_text().unwrap().len() < 300);
    let again = format!("path,emotion,start,end\n{}", "a,sad,0,1\n".repeat(20_000));
    assert_eq!(refused(&again, &Options::default()).reason(), "line 3 lists `a` from 0 to 1 s a second time");
}

#[test]
fn a_recording_of_several_parts_has_a_label_for_each_in_their_order() {
    let table =
        "path,emotion,start,end\nb,sad,0,1\na,happy,2.5,4\na,angry,0,2.5\na,fear,0,1\nc,sad,,\nd,sad,3,1\nd,sad,1,2\n";
    let table = read(table, &Options::default()).unwrap();
    let parts = |path: &str| table.labels(Path::new(path)).unwrap();
    let spans: Vec<_> = parts("a").into_iter().map(|part| (part.emotion.unwrap(), part.start_s, part.end_s)).collect();
    let part = |word: &str, start: f64, end: f64| (word.to_owned(), Some(start), Some(end));
    assert_eq!(spans, [part("fear", 0.0, 1.0), part("angry", 0.0, 2.5), part("happy", 2.5, 4.0)]);
    assert_eq!((parts("b").len(), parts("c")[0].start_s), (1, None));
    assert_eq!(table.label(Path::new("b")).unwrap(), parts("b")[0]);
    assert_eq!(table.label(Path::new("a")).unwrap_err().reason(), "labels.csv lists 3 parts of it");
    let reason = table.labels(Path::new("d")).unwrap_err().reason();
    assert_eq!(reason, "end `1` is not after start `3` (labels.csv line 7, column `end`)");
    for rows in ["a,sad,0,1\na,sad,,\n", "a,sad,,\na,sad,0,1\n"] {
        let error = refused(&format!("path,emotion,start,end\n{rows}"), &Options::default());
        assert_eq!(error.reason(), "line 3 lists `a` a second time, after line 2");
        assert_eq!(error.hint_text(), Some("parts of one recording have a start and an end each"));
    }
    let error = refused("path,emotion,start,end\nb,sad,1,2\na,sad,0,1\nb,sad,1.0,2\na,sad,0,1\n", &Options::default());
    assert_eq!(error.reason(), "line 4 lists `b` from 1 to 2 s a second time", "the first of several");
}

#[test]
fn a_backslash_is_part_of_a_name_where_such_a_file_is_and_else_parts_folders() {
    let there = |path: &Path| Ok(["a\\b.wav", "x\\x41.wav"].contains(&path.to_str().unwrap()));
    let table = "path,emotion\na\\b.wav,sad\nc\\d.wav,happy\nx\\x41.wav,fear\n.\\e\\f.wav,angry\n";
    let table = read_text(table, &Options::default(), there).unwrap();
    let emotion = |path: &str| table.label(Path::new(path)).ok().and_then(|label| label.emotion);
    let word = |word: &str| Some(word.to_owned());
    assert_eq!((emotion("a\\b.wav"), emotion("a/b.wav")), (word("sad"), None));
    assert_eq!((emotion("c/d.wav"), emotion("e/f.wav")), (word("happy"), word("angry")));
    assert_eq!(emotion("x\\x5cx41.wav"), word("fear"), "as the manifest writes that name");
    let unmatched = table.unmatched(&BTreeSet::from(["c/d.wav", "other.wav", "e/f.wav"]));
    assert_eq!(unmatched, ["labels.csv line 2 `a\\b.wav`", "labels.csv line 4 `x\\x5cx41.wav`"]);
}
