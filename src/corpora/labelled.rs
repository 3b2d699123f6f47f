//! The user's own labelled recordings: folders named after emotions, or a `labels.csv` in the root.
//!
//! Folders: the nearest folder above a recording whose name is a word for an emotion gives the label
//! (`take1/angry/0007.wav`, `Fearful/x.flac`). With a `labels.csv` folders mean nothing; its header names the columns:
//! `path,emotion` and any of `speaker,sex,intensity,statement,repetition`, in any order. Paths are relative to the
//! root, fields may be quoted as in RFC 4180, empty fields mean not known. Speakers are kept as written.

use std::collections::{BTreeSet, HashMap};
use std::path::{Component, Path};

use super::{Corpus, Example, ExpectedCounts, Label, Labeller, Sex, nearest, unreadable};
use crate::emotion::{plain_word, word_of};
use crate::error::{Error, ErrorKind, Result};
use crate::files;
use crate::units::Bytes;

/// Ten million recordings.
const LARGEST_TABLE: Bytes = Bytes(1_000_000_000);
const TABLE_NAME: &str = "labels.csv";
const COLUMNS: [&str; 7] = ["path", "emotion", "speaker", "sex", "intensity", "statement", "repetition"];

/// Folders or a CSV made by the user.
pub struct Labelled;

impl Corpus for Labelled {
    fn name(&self) -> &'static str {
        "labelled"
    }

    fn about(&self) -> &'static str {
        "your own recordings: folders named after emotions, or a labels.csv (path,emotion[,speaker,...])"
    }

    fn provenance(&self) -> &'static str {
        "The user's own recordings; labels come from folder names or from labels.csv in the root."
    }

    fn expected(&self) -> Option<ExpectedCounts> {
        None
    }

    fn examples(&self) -> &'static [Example] {
        const fn example(path: &'static str, emotion: &'static str, original: &'static str) -> Example {
            Example { path, speaker: None, sex: None, emotion: Some(emotion), emotion_original: Some(original) }
        }
        const {
            &[
                example("angry/0001.wav", "angry", "angry"),
                example("studio/Fearful/session 2/take.flac", "fear", "Fearful"),
                example("happy/sad/nearest wins.wav", "sad", "sad"),
            ]
        }
    }

    fn open(&self, root: &Path) -> Result<Box<dyn Labeller>> {
        let path = root.join(TABLE_NAME);
        let is_there = |relative: &Path| match files::again(|| root.join(relative).symlink_metadata()) {
            Ok(_) => Ok(true),
            Err(cause) if files::is_of_the_machine(&cause) => {
                Err(Error::reading("cannot be looked at", cause).at(root.join(relative)))
            }
            Err(_) => Ok(false),
        };
        match files::read_text(&path, LARGEST_TABLE.0) {
            Ok(text) => Ok(Box::new(Table::parse(&text, is_there).map_err(|error| error.or_at(&path))?)),
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(Box::new(Folders)),
            Err(cause) => {
                Err(Error::reading_named(ErrorKind::Input, "cannot read the table of labels", cause).at(path))
            }
        }
    }
}

/// Labels from folder names.
struct Folders;

impl Labeller for Folders {
    fn label(&self, relative: &Path) -> Result<Label> {
        let folders = relative.ancestors().skip(1).filter_map(|folder| folder.file_name()?.to_str());
        for name in folders {
            if let Some(emotion) = word_of(name) {
                let emotion_original = Some(name.to_owned());
                return Ok(Label { emotion: Some(emotion.to_owned()), emotion_original, ..Label::default() });
            }
        }
        let reason = "no folder above it is named after an emotion, such as angry";
        Err(unreadable(relative, reason).hint(format!("rename a folder, or list the recording in `{TABLE_NAME}`")))
    }
}

/// Labels from `labels.csv`: by path with `/` between folders, a label or what is wrong with its row.
struct Table {
    rows: HashMap<String, Row>,
}

/// One line of it.
struct Row {
    line: usize,
    label: std::result::Result<Label, String>,
}

impl Table {
    /// Reads the whole table.
    ///
    /// Errors of kind `Input`: no header, an unknown or missing column, a row of the wrong width, a path listed twice.
    /// A row with a wrong value is kept as that recording's reject reason. `is_there` says whether a file lies below the root.
    fn parse(text: &str, is_there: impl Fn(&Path) -> Result<bool>) -> Result<Self> {
        let mut lines = read_csv(text.strip_prefix('\u{feff}').unwrap_or(text))?.into_iter();
        let (_, header) = lines.next().ok_or_else(|| Error::input("the table of labels is empty"))?;
        let header: Vec<String> = header.iter().map(|name| name.trim().to_lowercase()).collect();
        let positions = column_positions(&header)?;
        let mut rows = HashMap::new();
        for (line, fields) in lines {
            if fields.len() != header.len() {
                let what = format!("line {line} has {} fields, the header has {}", fields.len(), header.len());
                return Err(Error::input(what).hint("put a field that contains a comma between double quotes"));
            }
            let field = |column: usize| positions[column].map_or("", |at| fields[at].trim());
            let path = listed_path(field(0), &is_there)?;
            let label = read_row(field).map_err(|reason| format!("{reason} ({TABLE_NAME} line {line})"));
            if let Some(_earlier) = rows.insert(path.clone(), Row { line, label }) {
                return Err(Error::input(format!("line {line} lists `{path}` a second time")));
            }
        }
        Ok(Self { rows })
    }
}

impl Labeller for Table {
    fn label(&self, relative: &Path) -> Result<Label> {
        let parts: Option<Vec<&str>> = relative
            .components()
            .filter(|part| !matches!(part, Component::CurDir))
            .map(|part| part.as_os_str().to_str())
            .collect();
        let key = parts.ok_or_else(|| unreadable(relative, "path is not valid UTF-8"))?.join("/");
        match self.rows.get(&key).map(|row| &row.label) {
            Some(Ok(label)) => Ok(label.clone()),
            Some(Err(reason)) => Err(unreadable(relative, reason.as_str())),
            None => Err(unreadable(relative, format!("not listed in {TABLE_NAME}"))),
        }
    }

    fn unmatched(&self, recordings: &BTreeSet<&str>) -> Vec<String> {
        let mut lines: Vec<(usize, &str)> = self
            .rows
            .iter()
            .map(|(path, row)| (row.line, path.as_str()))
            .filter(|(_, path)| !recordings.contains(path))
            .collect();
        lines.sort_unstable();
        lines.into_iter().map(|(line, path)| format!("{TABLE_NAME} line {line} `{path}`")).collect()
    }
}

/// The recording that a line means, as [`files::text_of`] writes it: the file of that very name, else the file whose name
/// stands in the manifest so, else backslashes are those of another system, between folders.
fn listed_path(written: &str, is_there: impl Fn(&Path) -> Result<bool>) -> Result<String> {
    let written = written.strip_prefix("./").unwrap_or(written);
    if !written.contains('\\') {
        return Ok(written.to_owned());
    }
    if is_there(Path::new(written))? {
        return Ok(files::text_of(Path::new(written)));
    }
    if is_there(&files::path_of(written))? {
        return Ok(written.to_owned());
    }
    let path = written.replace('\\', "/");
    Ok(path.strip_prefix("./").unwrap_or(&path).to_owned())
}

/// Where each of [`COLUMNS`] stands in the header.
fn column_positions(header: &[String]) -> Result<[Option<usize>; COLUMNS.len()]> {
    let mut positions = [None; COLUMNS.len()];
    for (at, name) in header.iter().enumerate() {
        let Some(column) = COLUMNS.iter().position(|column| column == name) else {
            let error = Error::input(format!("unknown column `{name}`, known are {}", COLUMNS.join(", ")));
            return Err(match nearest(name, &COLUMNS) {
                Some(close) => error.hint(format!("did you mean `{close}`?")),
                None => error.hint("remove the column"),
            });
        };
        if positions[column].replace(at).is_some() {
            return Err(Error::input(format!("column `{name}` stands in the header twice")));
        }
    }
    for (column, name) in COLUMNS.iter().enumerate().take(2) {
        if positions[column].is_none() {
            return Err(Error::input(format!("column `{name}` is missing from the header"))
                .hint("the first line must be a header such as `path,emotion,speaker`"));
        }
    }
    Ok(positions)
}

/// One row's label; `field` gives the text of a column of [`COLUMNS`]. The error is a reject reason.
fn read_row<'a>(field: impl Fn(usize) -> &'a str) -> std::result::Result<Label, String> {
    let known = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let word = field(1);
    let sex = match field(3) {
        "" => None,
        word => Some(Sex::from_word(word).ok_or_else(|| format!("sex `{word}` is neither female nor male"))?),
    };
    let repetition = match field(6) {
        "" => None,
        text => Some(text.parse().map_err(|_| format!("repetition `{text}` is not a whole number"))?),
    };
    Ok(Label {
        speaker: known(field(2)),
        sex,
        emotion: known(&plain_word(word)),
        emotion_original: known(word),
        intensity: known(field(4)),
        statement: known(field(5)),
        repetition,
        ..Label::default()
    })
}

/// RFC 4180: rows of fields with the line each starts on; blank lines are skipped.
fn read_csv(text: &str) -> Result<Vec<(usize, Vec<String>)>> {
    let mut rows = Vec::new();
    let (mut row, mut field) = (Vec::new(), String::new());
    let (mut line, mut start, mut quoted) = (1, 1, false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        line += usize::from(c == '\n');
        match c {
            '"' if quoted && chars.next_if_eq(&'"').is_some() => field.push('"'),
            '"' if quoted => quoted = false,
            _ if quoted => field.push(c),
            '"' if field.is_empty() => quoted = true,
            ',' => row.push(std::mem::take(&mut field)),
            '\r' if chars.peek() == Some(&'\n') => {}
            '\n' => {
                finish_row(&mut rows, &mut row, &mut field, start);
                start = line;
            }
            _ => field.push(c),
        }
    }
    if quoted {
        return Err(Error::input(format!("line {start} opens a double quote that nothing closes")));
    }
    finish_row(&mut rows, &mut row, &mut field, start);
    Ok(rows)
}

/// Ends a row: its last field joins it, and it joins the rows unless the line was blank.
fn finish_row(rows: &mut Vec<(usize, Vec<String>)>, row: &mut Vec<String>, field: &mut String, start: usize) {
    if !row.is_empty() || !field.trim().is_empty() {
        row.push(std::mem::take(field));
        rows.push((start, std::mem::take(row)));
    }
    field.clear();
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// Where nothing lies below the root.
    fn nowhere(_: &Path) -> Result<bool> {
        Ok(false)
    }

    fn label(table: &str, path: &str) -> Result<Label> {
        Table::parse(table, nowhere)?.label(Path::new(path))
    }

    #[test]
    fn labels_csv_gives_every_column_in_any_order() {
        let table = "\u{feff}emotion,path,Speaker,sex,intensity,statement,repetition\r\n\
                     Joy,\"a, b/1.wav\",s1,F,low,\"he said \"\"no\"\"\nand left\",2\r\n\r\nps,./c\\2.wav,,,,,\r\n";
        let first = label(table, "a, b/1.wav").unwrap();
        let expected = Label {
            speaker: Some("s1".into()),
            sex: Some(Sex::Female),
            emotion: Some("happy".into()),
            emotion_original: Some("Joy".into()),
            intensity: Some("low".into()),
            statement: Some("he said \"no\"\nand left".into()),
            repetition: Some(2),
            ..Label::default()
        };
        assert_eq!(first, expected);
        let second = label(table, "./c/2.wav").unwrap();
        assert_eq!((second.emotion.as_deref(), second.speaker), (Some("surprise"), None));
    }

    #[test]
    fn labels_csv_wrong_value_rejects_only_its_row() {
        let table = "path,emotion,sex\na.wav,bored,\nb.wav,sad,x\nc.wav,sad,m\n";
        let reason = |path: &str| label(table, path).unwrap_err().reason();
        assert_eq!(label(table, "a.wav").unwrap().emotion.as_deref(), Some("boredom"));
        assert_eq!(reason("b.wav"), "sex `x` is neither female nor male (labels.csv line 3)");
        assert_eq!(reason("d.wav"), "not listed in labels.csv");
        assert_eq!(label(table, "d.wav").unwrap_err().kind(), ErrorKind::Recording);
        assert!(label(table, "c.wav").is_ok());
    }

    #[test]
    fn labels_csv_wrong_shape_is_an_input_error_with_its_line() {
        let parse = |table: &str| {
            let error = Table::parse(table, nowhere).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Input);
            error
        };
        assert_eq!(parse("").to_string(), "the table of labels is empty");
        assert_eq!(parse("path,emotion\na.wav,sad,x").to_string(), "line 2 has 3 fields, the header has 2");
        assert_eq!(parse("path,emotion\na,sad\n./a,sad").to_string(), "line 3 lists `a` a second time");
        assert_eq!(parse("path,emotion\na,\"sad\n").to_string(), "line 2 opens a double quote that nothing closes");
        assert_eq!(parse("path,emotion,path").to_string(), "column `path` stands in the header twice");
        assert_eq!(parse("path,speaker\n").to_string(), "column `emotion` is missing from the header");
        assert_eq!(parse("path,emotoin\n").hint_text(), Some("did you mean `emotion`?"));
    }

    #[test]
    fn labels_csv_in_the_root_wins_over_folders() {
        let root = tempfile::tempdir().unwrap();
        let mut file = tempfile::Builder::new().prefix(TABLE_NAME).rand_bytes(0).tempfile_in(root.path()).unwrap();
        file.write_all(b"path,emotion\nangry/1.wav,sad\n").unwrap();
        let labeller = Labelled.open(root.path()).unwrap();
        assert_eq!(labeller.label(Path::new("angry/1.wav")).unwrap().emotion.as_deref(), Some("sad"));
        assert!(labeller.label(Path::new("angry/2.wav")).is_err());
    }

    #[test]
    fn a_backslash_is_part_of_a_name_where_such_a_file_is_and_else_parts_folders() {
        let there = |path: &Path| Ok(["a\\b.wav", "x\\x41.wav"].contains(&path.to_str().unwrap()));
        let table = "path,emotion\na\\b.wav,sad\nc\\d.wav,happy\nx\\x41.wav,fear\n.\\e\\f.wav,angry\n";
        let table = Table::parse(table, there).unwrap();
        let emotion = |path: &str| table.label(Path::new(path)).ok().and_then(|label| label.emotion);
        let word = |word: &str| Some(word.to_owned());
        assert_eq!((emotion("a\\b.wav"), emotion("a/b.wav")), (word("sad"), None));
        assert_eq!((emotion("c/d.wav"), emotion("e/f.wav")), (word("happy"), word("angry")));
        assert_eq!(emotion("x\\x5cx41.wav"), word("fear"), "as the manifest writes that name");
        let unmatched = table.unmatched(&BTreeSet::from(["c/d.wav", "other.wav", "e/f.wav"]));
        assert_eq!(unmatched, ["labels.csv line 2 `a\\b.wav`", "labels.csv line 4 `x\\x5cx41.wav`"]);
    }

    #[test]
    fn folders_without_an_emotion_are_rejected() {
        let error = Folders.label(Path::new("angry.wav")).unwrap_err();
        assert_eq!(error.reason(), "no folder above it is named after an emotion, such as angry");
    }
}
