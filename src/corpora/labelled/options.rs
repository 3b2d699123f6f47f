//! What a recipe says about a corpus of kind `labelled` beyond its folder: where its labels stand and what they are called.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use super::field::Field;
use super::pattern::Pattern;
use crate::corpora::nearest;
use crate::emotion::plain_word;
use crate::error::{Error, Result};

/// The table that is read when it is there and the recipe names neither a table nor a pattern.
const USUAL_TABLE: &str = "labels.csv";

/// The optional keys of an `[[ingest.corpus]]`; only kind `labelled` takes any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// A table of labels below the root: CSV, TSV or Parquet.
    pub table: Option<String>,
    /// Which column of the table holds a field; fields that are not named here are read from the column of their own name, and
    /// `""` leaves one out.
    pub columns: BTreeMap<String, String>,
    /// How paths below the root say the labels: `{speaker}/{emotion}_*.wav`.
    pub pattern: Option<String>,
    /// Words for the corpus' own codes, looked up before the vocabulary; `""` stands for no label.
    pub words: BTreeMap<String, String>,
}

impl Options {
    /// Where the table of labels lies below the root, or would lie.
    pub fn table_path(&self) -> &str {
        self.table.as_deref().unwrap_or(USUAL_TABLE)
    }

    /// Whether the recipe says that there is a table.
    pub(super) fn names_a_table(&self) -> bool {
        self.table.is_some() || !self.columns.is_empty()
    }

    /// The keys that are set.
    pub(in crate::corpora) fn given(&self) -> Vec<&'static str> {
        let keys = [
            ("table", self.table.is_some()),
            ("columns", !self.columns.is_empty()),
            ("pattern", self.pattern.is_some()),
            ("words", !self.words.is_empty()),
        ];
        keys.into_iter().filter(|(_, is_given)| *is_given).map(|(key, _)| key).collect()
    }

    /// Refuses what no folder could make right.
    ///
    /// Errors: kind `Recipe`.
    pub(super) fn check(&self) -> Result<()> {
        let wrong =
            |key: &str, value: &str, why: &str| Error::recipe(format!("[[ingest.corpus]] {key} = `{value}`: {why}"));
        if let Some(pattern) = &self.pattern {
            if self.table.is_some() || !self.columns.is_empty() {
                return Err(wrong("pattern", pattern, "labels come from a pattern or from a table, not from both"));
            }
            Pattern::parse(pattern)?;
        }
        if let Some(table) = &self.table {
            let is_below =
                Path::new(table).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
            if !is_below || Path::new(table).file_name().is_none() || table.contains('\0') {
                return Err(wrong("table", table, "must be a file below the corpus' folder, without `..`"));
            }
        }
        for (name, column) in &self.columns {
            if Field::of(name).is_none() {
                let error =
                    wrong(&format!("columns.{name}"), column, &format!("known are {}", Field::names().join(", ")));
                return Err(match nearest(name, &Field::names()) {
                    Some(close) => error.hint(format!("did you mean `{close}`?")),
                    None => error,
                });
            }
        }
        if self.columns.get(Field::Path.name()).is_some_and(String::is_empty) {
            return Err(wrong("columns.path", "", "a table of labels must name its recordings"));
        }
        Ok(())
    }

    /// What the corpus' own `text` means: the canonical word, and the text; nothing when there is none.
    pub(super) fn emotion(&self, text: &str) -> (Option<String>, Option<String>) {
        let word = plain_word(self.words.get(text).map_or(text, String::as_str));
        let known = |text: String| (!text.is_empty()).then_some(text);
        (known(word), known(text.to_owned()))
    }
}
