//! Corpora: what a file name (or a folder, or a CSV) says about a recording; one file and one line of [`CORPORA`] each.
//!
//! A corpus never opens a recording. It turns a path relative to the corpus root into a [`Label`], or says in one line
//! why it cannot; that line becomes the `reject_reason` of the recording's manifest row.

use std::collections::BTreeSet;
use std::path::Path;

use crate::error::{Error, Result};

mod acted;
mod cremad;
mod dice;
mod emodb;
mod labelled;
mod prosody;
mod ravdess;
mod savee;
mod statement;
mod synthetic;
mod tess;
mod unlabelled;
mod voice;

pub use labelled::Options;
pub use synthetic::{Utterance, design};
pub use voice::synthesise;

/// Every corpus that a pipeline file can name.
pub const CORPORA: &[&dyn Corpus] = &[
    &ravdess::Ravdess,
    &tess::Tess,
    &savee::Savee,
    &cremad::CremaD,
    &emodb::EmoDb,
    &labelled::Labelled,
    &unlabelled::Unlabelled,
    &synthetic::Synthetic,
];

/// What a corpus says about one recording.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Label {
    /// Unique across the corpora named here: `<corpus>-<id>`, such as `ravdess-12`.
    pub speaker: Option<String>,
    pub sex: Option<Sex>,
    /// What is acted or felt, as a word of [`crate::emotion::VOCABULARY`] where that has one for it; classes are made of words
    /// later.
    pub emotion: Option<String>,
    /// The corpus's own word or code, spelt out: `calm`, `pleasant surprise`, `Ärger`.
    pub emotion_original: Option<String>,
    /// The corpus's own word for how strongly it is acted: `normal`, `strong`, `low`...
    pub intensity: Option<String>,
    /// What is said: the sentence where it is known, else an id; equal values mean equal words, across corpora too.
    pub statement: Option<String>,
    /// Which take of the same statement, from 1.
    pub repetition: Option<u32>,
    /// The speaker's age as the corpus writes it: `27`, `20s`.
    pub age: Option<String>,
    /// What is spoken, as the corpus writes it: `en`, `German`.
    pub language: Option<String>,
    /// The fold of a cross-validation that the corpus puts it in.
    pub fold: Option<String>,
    /// The side that the corpus puts it on: `train`, `validation` or `test`.
    pub split: Option<String>,
    /// Where the labelled part of the recording begins, in seconds from its start; with [`Self::end_s`].
    pub start_s: Option<f64>,
    /// Where it ends: beyond its start.
    pub end_s: Option<f64>,
}

/// Sex of a speaker, as the corpus states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sex {
    Female,
    Male,
}

impl Sex {
    /// The name used in every table: `female` or `male`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Female => "female",
            Self::Male => "male",
        }
    }

    /// Reads `female`, `f`, `male` or `m` in any case.
    pub fn from_word(word: &str) -> Option<Self> {
        match word.to_ascii_lowercase().as_str() {
            "female" | "f" => Some(Self::Female),
            "male" | "m" => Some(Self::Male),
            _ => None,
        }
    }
}

/// Counts of the complete corpus, to check an ingest against.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExpectedCounts {
    /// Recordings on disk.
    pub recordings: usize,
    pub speakers: usize,
    /// Recordings per word, in the order of the words.
    pub per_emotion: &'static [(&'static str, usize)],
}

/// An example for documentation and tests: a relative path and the label it must give.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Example {
    pub path: &'static str,
    pub speaker: Option<&'static str>,
    pub sex: Option<Sex>,
    pub emotion: Option<&'static str>,
    pub emotion_original: Option<&'static str>,
}

/// Reads columns of a table of another format than text: gives `choose` the names of its columns and then the texts of the chosen
/// ones, a list per column in the order of `choose`'s answer, `None` for a missing value. It lives with the tables, on a floor above.
pub type ColumnReader = fn(&Path, ChooseColumns<'_>) -> Result<Vec<Vec<Option<String>>>>;

/// Positions of the wanted columns among names; each at most once, in rising order.
pub type ChooseColumns<'a> = &'a mut dyn FnMut(&[&str]) -> Result<Vec<usize>>;

/// Reads labels under one opened corpus root.
pub trait Labeller: Send + Sync {
    /// The label of the recording at `relative`, a path below the root; the file itself is not opened.
    ///
    /// Errors of kind `Recording` say what in the path is wrong: they become the row's reject reason.
    fn label(&self, relative: &Path) -> Result<Label>;

    /// The labels of the recording at `relative`: one, or one for each of its labelled parts, by the order of their starts.
    ///
    /// Errors: those of [`Self::label`], which refuses a recording of several parts.
    fn labels(&self, relative: &Path) -> Result<Vec<Label>> {
        self.label(relative).map(|label| vec![label])
    }

    /// What a table of labels lists beside `recordings` (paths below the root), in its order, each as one phrase.
    fn unmatched(&self, _recordings: &BTreeSet<&str>) -> Vec<String> {
        Vec::new()
    }
}

/// One corpus: its name, its history, and how its paths are read.
pub trait Corpus: Sync {
    /// Lower-case name, as written in a pipeline file.
    fn name(&self) -> &'static str;

    /// One line for `--help` and the README.
    fn about(&self) -> &'static str;

    /// Citation, licence, and where the grammar of its paths comes from.
    fn provenance(&self) -> &'static str;

    /// Counts of the complete corpus, where it has a fixed size.
    fn expected(&self) -> Option<ExpectedCounts>;

    /// Paths and the labels they give.
    fn examples(&self) -> &'static [Example];

    /// Refuses optional keys of the recipe, by name where the corpus takes none.
    ///
    /// Errors: kind `Recipe`.
    fn check(&self, options: &Options) -> Result<()> {
        match options.given().first() {
            Some(key) => Err(Error::recipe(format!("[[ingest.corpus]] of kind `{}` takes no `{key}`", self.name()))
                .hint("only kind `labelled` does")),
            None => Ok(()),
        }
    }

    /// Prepares to label the recordings below `root`. Only `labelled` looks into the folder, for its table of labels, and into
    /// the options; a Parquet file is read through `parquet`.
    fn open(&self, root: &Path, options: &Options, parquet: ColumnReader) -> Result<Box<dyn Labeller>>;

    /// Whether its speakers have names that no other corpus uses; if not, the corpus' name in the recipe goes before them.
    fn has_own_speakers(&self) -> bool {
        true
    }

    /// Whether its recordings carry emotions, so that they can be trained on.
    fn labelled(&self) -> bool {
        true
    }
}

/// The corpus of that name.
///
/// Errors: a recipe error that lists the known names, with a hint when one of them is close.
pub fn corpus(name: &str) -> Result<&'static dyn Corpus> {
    if let Some(corpus) = CORPORA.iter().find(|corpus| corpus.name() == name) {
        return Ok(*corpus);
    }
    let known: Vec<&str> = CORPORA.iter().map(|corpus| corpus.name()).collect();
    let error = Error::recipe(format!("unknown corpus `{name}`, known are {}", known.join(", ")));
    Err(match nearest(name, &known) {
        Some(close) => error.hint(format!("did you mean `{close}`?")),
        None => error.hint(
            "use `labelled` for recordings in folders named after emotions, with a table of labels, or with a pattern",
        ),
    })
}

/// The known word at most two edits away from `word`, case and punctuation ignored; the closest if there are several.
fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let plain: String = word.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    known.iter().map(|&name| (edits(&plain, name), name)).filter(|&(distance, _)| distance <= 2).min().map(|hit| hit.1)
}

/// Levenshtein distance in characters.
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &b) in to.iter().enumerate() {
            let substituted = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

/// The file name without its extension; all grammars read this part.
fn stem(relative: &Path) -> Result<&str> {
    match relative.file_stem().map(|stem| stem.to_str()) {
        Some(Some(stem)) => Ok(stem),
        Some(None) => Err(Error::recording("file name is not valid UTF-8").at(relative)),
        None => Err(Error::recording("path has no file name").at(relative)),
    }
}

/// The error of every grammar: the place is the path, the reason names the wrong part and what is allowed.
fn unreadable(relative: &Path, reason: impl Into<String>) -> Error {
    Error::recording(reason).at(relative)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emotion::word_of;
    use crate::error::ErrorKind;

    /// For corpora without tables.
    fn no_parquet(path: &Path, _choose: ChooseColumns<'_>) -> Result<Vec<Vec<Option<String>>>> {
        Err(Error::bug("no table is read here").at(path))
    }

    #[test]
    fn names_are_unique_and_lower_case() {
        let names: BTreeSet<&str> = CORPORA.iter().map(|corpus| corpus.name()).collect();
        assert_eq!(names.len(), CORPORA.len());
        assert!(names.iter().all(|name| name.chars().all(|c| c.is_ascii_lowercase())));
    }

    #[test]
    fn every_corpus_describes_itself() {
        for corpus in CORPORA {
            assert!(!corpus.about().is_empty() && !corpus.about().contains('\n'), "{}", corpus.name());
            assert!(corpus.provenance().len() > 40, "{}", corpus.name());
            assert!(!corpus.examples().is_empty(), "{}", corpus.name());
        }
    }

    #[test]
    fn every_example_gives_its_label() {
        for corpus in CORPORA {
            let labeller = corpus.open(Path::new("no such folder"), &Options::default(), no_parquet).unwrap();
            for example in corpus.examples() {
                let label = labeller.label(Path::new(example.path)).unwrap();
                assert_eq!(label.speaker.as_deref(), example.speaker, "{}", example.path);
                assert_eq!(label.sex, example.sex, "{}", example.path);
                assert_eq!(label.emotion.as_deref(), example.emotion, "{}", example.path);
                assert_eq!(label.emotion_original.as_deref(), example.emotion_original, "{}", example.path);
                assert_eq!(label.emotion.is_some(), corpus.labelled(), "{}", corpus.name());
            }
        }
    }

    #[test]
    fn speakers_of_different_corpora_never_share_a_name() {
        for corpus in CORPORA {
            let prefix = format!("{}-", corpus.name());
            for speaker in corpus.examples().iter().filter_map(|example| example.speaker) {
                assert!(speaker.starts_with(&prefix), "{speaker}");
            }
        }
    }

    #[test]
    fn expected_counts_add_up() {
        for corpus in CORPORA {
            let Some(expected) = corpus.expected() else { continue };
            let sum: usize = expected.per_emotion.iter().map(|(_, n)| n).sum();
            assert_eq!(sum, expected.recordings, "{}", corpus.name());
            assert!(expected.per_emotion.is_sorted_by(|a, b| a.0 < b.0), "{}", corpus.name());
            for (word, _) in expected.per_emotion {
                assert_eq!(word_of(word), Some(*word), "{}", corpus.name());
            }
        }
    }

    #[test]
    fn a_foreign_file_name_is_a_recording_error_that_names_the_file() {
        for corpus in CORPORA.iter().filter(|corpus| corpus.labelled()) {
            let labeller = corpus.open(Path::new("no such folder"), &Options::default(), no_parquet).unwrap();
            for path in ["nonsense.wav", "a/b/.wav", "03-01.wav", "_.wav", "ä_ö_ü.wav", "ääääää.wav", "1001_DFA.wav"]
            {
                let error = labeller.label(Path::new(path)).expect_err(path);
                assert_eq!(error.kind(), ErrorKind::Recording, "{}: {error}", corpus.name());
                assert!(error.to_string().starts_with(&format!("`{path}`: ")), "{}: {error}", corpus.name());
                assert!(!error.reason().contains('\n'));
            }
        }
    }

    #[test]
    fn an_unknown_corpus_is_a_recipe_error_with_the_close_name() {
        let error = corpus("RAVDES").err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Recipe);
        assert!(error.to_string().contains("known are ravdess, tess, savee"), "{error}");
        assert_eq!(error.hint_text(), Some("did you mean `ravdess`?"));
        assert_eq!(corpus("crema-d").err().unwrap().hint_text(), Some("did you mean `cremad`?"));
        assert!(corpus("iemocap").err().unwrap().hint_text().unwrap().contains("labelled"));
        assert_eq!(corpus("tess").unwrap().name(), "tess");
    }

    #[test]
    fn edits_counts_insertions_deletions_and_substitutions() {
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("", "tess"), 4);
        assert_eq!(edits("tess", "tess"), 0);
    }
}
