//! Anybody's labelled recordings: folders named after emotions, a table of labels, or a pattern of paths.
//!
//! A recipe says where labels stand ([`Options`]). A table is CSV, TSV or Parquet below the root, one row a recording, or a
//! row for each labelled part of one; `labels.csv` in the root is read without being named. A pattern says which part of a
//! path is what. Else the nearest folder above a recording whose name is a word for an emotion gives the label
//! (`take1/angry/0007.wav`, `Fearful/x.flac`). With a table or a pattern, folders mean nothing.
//!
//! Any word is a label: the vocabulary's canonical one where it knows the text, else [`crate::emotion::plain_word`] of it. No
//! word is no label: the recording is scored and never trained on.

mod delimited;
mod field;
mod options;
mod pattern;
mod table;

use std::path::Path;

use super::{ColumnReader, Corpus, Example, ExpectedCounts, Label, Labeller, unreadable};
use crate::emotion::word_of;
use crate::error::{Error, ErrorKind, Result};
use crate::files;
use crate::units::Bytes;

pub use options::Options;

use pattern::{Paths, Pattern};
use table::{Builder, Columns, Place, Table};

/// Ten million recordings.
const LARGEST_TABLE: Bytes = Bytes(1_000_000_000);

/// Recordings with labels of the user's own.
pub struct Labelled;

impl Corpus for Labelled {
    fn name(&self) -> &'static str {
        "labelled"
    }

    fn about(&self) -> &'static str {
        "your own recordings: folders named after emotions, a table of labels, or a pattern of paths"
    }

    fn provenance(&self) -> &'static str {
        "The user's own recordings; labels come from folder names, a table or a pattern that the recipe names."
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

    fn has_own_speakers(&self) -> bool {
        false
    }

    fn check(&self, options: &Options) -> Result<()> {
        options.check()
    }

    fn open(&self, root: &Path, options: &Options, parquet: ColumnReader) -> Result<Box<dyn Labeller>> {
        options.check()?;
        if let Some(pattern) = &options.pattern {
            return Ok(Box::new(Paths { pattern: Pattern::parse(pattern)?, options: options.clone() }));
        }
        let path = root.join(options.table_path());
        let is_parquet = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("parquet"));
        let read =
            if is_parquet { read_parquet(root, &path, options, parquet) } else { read_text(root, &path, options) };
        match read.map_err(|error| error.or_at(&path))? {
            Some(table) => Ok(Box::new(table)),
            None => Ok(Box::new(Folders { options: options.clone() })),
        }
    }
}

/// The table of labels as text; `None` when there is none and the recipe names none.
fn read_text(root: &Path, path: &Path, options: &Options) -> Result<Option<Table>> {
    match files::read(path, LARGEST_TABLE.0) {
        Ok(bytes) => {
            table::read_text(&delimited::text_of(bytes)?, options, |relative| is_there(root, relative)).map(Some)
        }
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound && !options.names_a_table() => Ok(None),
        Err(cause) => Err(Error::reading_named(ErrorKind::Input, "cannot read the table of labels", cause).at(path)),
    }
}

fn read_parquet(root: &Path, path: &Path, options: &Options, parquet: ColumnReader) -> Result<Option<Table>> {
    let mut columns = None;
    let texts = parquet(path, &mut |header| {
        let found = Columns::find(header, options)?;
        let mut positions: Vec<usize> = found.positions.iter().flatten().copied().collect();
        positions.sort_unstable();
        positions.dedup();
        columns = Some((found, positions.clone()));
        Ok(positions)
    })?;
    let (columns, positions) = columns.ok_or_else(|| Error::bug("the columns of a table of labels were not chosen"))?;
    let n_rows = texts.first().map_or(0, Vec::len);
    let mut builder = Builder::new(options, columns, |relative: &Path| is_there(root, relative));
    for row in 1..=n_rows {
        let text = |column: usize| {
            let at = positions.binary_search(&column).expect("every column of a field was chosen");
            texts[at][row - 1].as_deref().map_or("", str::trim)
        };
        builder.add(Place::Row(row), text)?;
    }
    builder.finish().map(Some)
}

/// Whether a file lies below the root.
fn is_there(root: &Path, relative: &Path) -> Result<bool> {
    match files::again(|| root.join(relative).symlink_metadata()) {
        Ok(_) => Ok(true),
        Err(cause) if files::is_of_the_machine(&cause) => {
            Err(Error::reading("cannot be looked at", cause).at(root.join(relative)))
        }
        Err(_) => Ok(false),
    }
}

/// Labels from folder names.
struct Folders {
    options: Options,
}

impl Labeller for Folders {
    fn label(&self, relative: &Path) -> Result<Label> {
        let folders = relative.ancestors().skip(1).filter_map(|folder| folder.file_name()?.to_str());
        for name in folders {
            if self.options.words.contains_key(name) || word_of(name).is_some() {
                let (emotion, emotion_original) = self.options.emotion(name);
                return Ok(Label { emotion, emotion_original, ..Label::default() });
            }
        }
        let reason = "no folder above it is named after an emotion, such as angry";
        Err(unreadable(relative, reason)
            .hint("say in the recipe what its paths mean (pattern), or list it in a table of labels"))
    }
}

#[cfg(test)]
#[path = "open_proof.rs"]
mod proof;
