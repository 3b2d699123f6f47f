//! Labels from a table: which columns it has, which recording a row means, and the parts of a recording with several rows.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::path::{Component, Path};

use super::delimited::{self, MOST_COLUMNS};
use super::field::{Field, label_of, shown};
use super::options::Options;
use crate::corpora::{Label, Labeller, edits, unreadable};
use crate::error::{Error, Result};
use crate::files;

/// Where each field stands in the header.
pub(super) type Positions = [Option<usize>; Field::ALL.len()];

/// Labels by path with `/` between folders.
pub(super) struct Table {
    /// Its place below the root, as messages name it.
    name: String,
    rows: HashMap<String, Rows>,
}

/// What is said about one recording, or what is wrong with one of its rows.
struct Rows {
    place: Place,
    parts: std::result::Result<Vec<Part>, String>,
}

struct Part {
    place: Place,
    label: Label,
}

/// Where a row stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// A line of text, from 1.
    Line(usize),
    /// A row of a Parquet file, from 1.
    Row(usize),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}"),
            Self::Row(row) => write!(f, "row {row}"),
        }
    }
}

/// Makes a [`Table`] row by row.
pub(super) struct Builder<'a, F> {
    options: &'a Options,
    columns: Columns,
    is_there: F,
    table: Table,
}

/// The columns that are read.
pub(super) struct Columns {
    /// Names in the header, by field.
    names: [Option<String>; Field::ALL.len()],
    /// Positions in the header, by field.
    pub(super) positions: Positions,
}

impl Columns {
    /// Finds the columns of a header: the name as the recipe writes it, else the same in other case.
    ///
    /// Errors of kind `Input`: a column that is missing or there twice; where the recipe names no columns, one whose name is
    /// nearly that of a field.
    pub(super) fn find(header: &[&str], options: &Options) -> Result<Self> {
        if header.len() > MOST_COLUMNS {
            return Err(Error::input(format!("has {} columns, at most {MOST_COLUMNS} are read", header.len())));
        }
        let mut columns = Self { names: Default::default(), positions: Default::default() };
        for field in Field::ALL {
            let named = options.columns.get(field.name()).map(String::as_str);
            let wanted = named.unwrap_or(field.name());
            let Some(position) = position(header, wanted)? else {
                let is_needed = matches!(field, Field::Path | Field::Emotion) || named.is_some();
                if is_needed && !wanted.is_empty() {
                    return Err(missing(field, wanted, header));
                }
                continue;
            };
            columns.names[field as usize] = Some(header[position].to_owned());
            columns.positions[field as usize] = Some(position);
        }
        if options.columns.is_empty() {
            columns.check_near_misses(header)?;
        }
        Ok(columns)
    }

    /// Columns of other names mean nothing here, but those that are nearly a field are more likely mistyped than meant so.
    fn check_near_misses(&self, header: &[&str]) -> Result<()> {
        let absent = |field: &Field| self.positions[*field as usize].is_none();
        for name in header {
            let lower = name.to_lowercase();
            for field in Field::ALL.into_iter().filter(absent) {
                // Short words are near each other by chance: `id` and `end`, `page` and `age`.
                let most = field.name().len().saturating_sub(3).min(2);
                if lower.len().abs_diff(field.name().len()) <= most && edits(&lower, field.name()) <= most {
                    return Err(Error::input(format!(
                        "unknown column `{name}`, known are {}",
                        Field::names().join(", ")
                    ))
                    .hint(format!(
                        "did you mean `{}`? a table with columns of its own is read with `columns` in the recipe",
                        field.name()
                    )));
                }
            }
        }
        Ok(())
    }

    /// Name of a field's column.
    fn name(&self, field: Field) -> &str {
        self.names[field as usize].as_deref().unwrap_or(field.name())
    }
}

/// Where the column `wanted` stands; the empty name is no column.
fn position(header: &[&str], wanted: &str) -> Result<Option<usize>> {
    if wanted.is_empty() {
        return Ok(None);
    }
    let lower = wanted.to_lowercase();
    let exact = |name: &str| name == wanted;
    let alike = |name: &str| name.to_lowercase() == lower;
    let fits: &dyn Fn(&str) -> bool = if header.contains(&wanted) { &exact } else { &alike };
    let mut found = header.iter().enumerate().filter(|(_, name)| fits(name)).map(|(position, _)| position);
    let first = found.next();
    match found.next() {
        Some(_) => Err(Error::input(format!("column `{}` stands in the header twice", shown(wanted)))),
        None => Ok(first),
    }
}

fn missing(field: Field, wanted: &str, header: &[&str]) -> Error {
    let error = Error::input(format!("column `{}` is missing from the header", shown(wanted)));
    let lower = wanted.to_lowercase();
    let close =
        header.iter().map(|name| (edits(&name.to_lowercase(), &lower), name)).min().filter(|close| close.0 <= 2);
    if let Some((_, close)) = close {
        return error.hint(format!("is it `{}`?", shown(close)));
    }
    let there: Vec<String> = header.iter().take(20).map(|name| shown(name)).collect();
    let more = if header.len() > there.len() { ", ..." } else { "" };
    error.hint(format!(
        "say in the recipe which column it is: columns = {{ {} = \"...\" }}; there are {}{more}",
        field.name(),
        there.join(", ")
    ))
}

impl<'a, F: Fn(&Path) -> Result<bool>> Builder<'a, F> {
    /// Begins a table; `is_there` says whether a file lies below the root.
    pub(super) fn new(options: &'a Options, columns: Columns, is_there: F) -> Self {
        let table = Table { name: options.table_path().to_owned(), rows: HashMap::new() };
        Self { options, columns, is_there, table }
    }

    /// Adds a row; `text` gives that of a column by its position in the header, without spaces around it.
    ///
    /// Errors of kind `Input`: a path that leads out of the root, a side of no known name, a recording that is listed twice
    /// without parts of its own. Any other wrong value is kept as that recording's reject reason.
    pub(super) fn add<'t>(&mut self, place: Place, text: impl Fn(usize) -> &'t str) -> Result<()> {
        let field = |field: Field| self.columns.positions[field as usize].map_or("", &text);
        let written = field(Field::Path);
        let at = |field: Field| format!("{place}, column `{}`", self.columns.name(field));
        let path = listed_path(written, &self.is_there)?.map_err(|why| wrong_path(&at(Field::Path), written, why))?;
        let label = match label_of(self.options, field) {
            Ok(label) => Ok(label),
            Err(wrong) if wrong.field == Field::Split => {
                let what = format!("{}: {}", at(Field::Split), wrong.reason);
                return Err(
                    Error::input(what).hint("a column of another meaning is left out with columns = { split = \"\" }")
                );
            }
            Err(wrong) => Err(format!("{} ({} {})", wrong.reason, self.table.name, at(wrong.field))),
        };
        self.table.enter(path, place, label)
    }

    /// Ends the table, the parts of each recording in the order of their starts.
    ///
    /// Errors of kind `Input`: a part that is listed twice.
    pub(super) fn finish(mut self) -> Result<Table> {
        let mut twice: Option<(Place, String)> = None;
        for (path, rows) in &mut self.table.rows {
            let Ok(parts) = &mut rows.parts else { continue };
            let span = |part: &Part| [part.label.start_s, part.label.end_s].map(Option::unwrap_or_default);
            let by_span = |a: &Part, b: &Part| {
                let ([a0, a1], [b0, b1]) = (span(a), span(b));
                a0.total_cmp(&b0).then(a1.total_cmp(&b1)).then(a.place.cmp(&b.place))
            };
            parts.sort_by(by_span);
            for pair in parts.windows(2).filter(|pair| span(&pair[0]) == span(&pair[1])) {
                let [start, end] = span(&pair[1]);
                let what = format!("lists `{}` from {start} to {end} s a second time", shown(path));
                // Of several the first in the table is told, whatever the order of this map.
                if twice.as_ref().is_none_or(|(place, _)| pair[1].place < *place) {
                    twice = Some((pair[1].place, what));
                }
            }
        }
        match twice {
            Some((place, what)) => Err(Error::input(format!("{place} {what}"))),
            None => Ok(self.table),
        }
    }
}

impl Table {
    /// Adds what one row says.
    fn enter(&mut self, path: String, place: Place, label: std::result::Result<Label, String>) -> Result<()> {
        match self.rows.entry(path) {
            Entry::Vacant(free) => {
                free.insert(Rows { place, parts: label.map(|label| vec![Part { place, label }]) });
            }
            Entry::Occupied(mut taken) => {
                let path = shown(taken.key());
                let Rows { place: first, parts } = taken.get_mut();
                match (parts, label) {
                    // One wrong row rejects its recording; the first is the one that is told.
                    (Err(_), _) => {}
                    (parts @ Ok(_), Err(reason)) => *parts = Err(reason),
                    (Ok(parts), Ok(label)) => {
                        if label.start_s.is_none() || parts.iter().take(1).any(|part| part.label.start_s.is_none()) {
                            let what = format!("{place} lists `{path}` a second time, after {first}");
                            return Err(Error::input(what).hint("parts of one recording have a start and an end each"));
                        }
                        parts.push(Part { place, label });
                    }
                }
            }
        }
        Ok(())
    }

    /// What is said about the recording at `relative`.
    fn find(&self, relative: &Path) -> Result<&[Part]> {
        let parts: Option<Vec<&str>> = relative
            .components()
            .filter(|part| !matches!(part, Component::CurDir))
            .map(|part| part.as_os_str().to_str())
            .collect();
        let key = parts.ok_or_else(|| unreadable(relative, "path is not valid UTF-8"))?.join("/");
        match self.rows.get(&key).map(|rows| &rows.parts) {
            Some(Ok(parts)) => Ok(parts),
            Some(Err(reason)) => Err(unreadable(relative, reason.as_str())),
            None => Err(unreadable(relative, format!("not listed in {}", self.name))),
        }
    }
}

impl Labeller for Table {
    fn label(&self, relative: &Path) -> Result<Label> {
        match self.find(relative)? {
            [one] => Ok(one.label.clone()),
            parts => Err(unreadable(relative, format!("{} lists {} parts of it", self.name, parts.len()))),
        }
    }

    fn labels(&self, relative: &Path) -> Result<Vec<Label>> {
        Ok(self.find(relative)?.iter().map(|part| part.label.clone()).collect())
    }

    fn unmatched(&self, recordings: &BTreeSet<&str>) -> Vec<String> {
        let absent = self.rows.iter().filter(|(path, _)| !recordings.contains(path.as_str()));
        let mut places: Vec<(Place, &str)> = absent.map(|(path, rows)| (rows.place, path.as_str())).collect();
        places.sort_unstable();
        places.into_iter().map(|(place, path)| format!("{} {place} `{path}`", self.name)).collect()
    }
}

/// Reads the text of a CSV or TSV file.
pub(super) fn read_text(text: &str, options: &Options, is_there: impl Fn(&Path) -> Result<bool>) -> Result<Table> {
    let (mut builder, mut is_there) = (None, Some(is_there));
    delimited::read(options.table_path(), text, |line, record| {
        if let Some(is_there) = is_there.take() {
            let columns = Columns::find(&record.fields().collect::<Vec<_>>(), options)?;
            builder = Some(Builder::new(options, columns, is_there));
            return Ok(());
        }
        let builder: &mut Builder<'_, _> = builder.as_mut().expect("the header comes first");
        builder.add(Place::Line(line), |column| record.field(column))
    })?;
    builder.expect("a table without a header is an error").finish()
}

fn wrong_path(at: &str, written: &str, why: &str) -> Error {
    Error::input(format!("{at}: `{}` {why}", shown(written)))
        .hint("paths in a table of labels are relative to the folder of the corpus")
}

/// The recording that a row means, as [`files::text_of`] writes it: the file of that very name, else the file whose name
/// stands in the manifest so, else backslashes are those of another system, between folders. The inner error says why the
/// path cannot be meant.
fn listed_path(
    written: &str,
    is_there: impl Fn(&Path) -> Result<bool>,
) -> Result<std::result::Result<String, &'static str>> {
    if let Some(why) = outside(written) {
        return Ok(Err(why));
    }
    let path = if !written.contains('\\') {
        written.to_owned()
    } else if is_there(Path::new(written))? {
        files::text_of(Path::new(written))
    } else if is_there(&files::path_of(written))? {
        written.to_owned()
    } else {
        written.replace('\\', "/")
    };
    if let Some(why) = outside(&path) {
        return Ok(Err(why));
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    Ok(if parts.is_empty() { Err("names no file") } else { Ok(parts.join("/")) })
}

/// Why a path cannot lie below the root.
fn outside(path: &str) -> Option<&'static str> {
    if path.is_empty() {
        Some("is empty")
    } else if path.contains('\0') {
        Some("holds a NUL character")
    } else if path.starts_with('/') {
        Some("is an absolute path")
    } else if path.split('/').any(|part| part == "..") {
        Some("leads upwards by `..`")
    } else {
        None
    }
}

#[cfg(test)]
#[path = "table_proof.rs"]
mod proof;
