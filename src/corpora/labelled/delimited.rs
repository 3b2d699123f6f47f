//! Rows of a CSV or TSV file, with the line that each begins on.

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use crate::error::{Error, Result};

/// A row behind the last one: a quote that nothing closes swallows it.
const LAST: &str = "\n\u{1}end of the table";
/// More is no table of labels.
pub(super) const MOST_COLUMNS: usize = 100_000;

/// What stands between two fields: a tab in a `.tsv` file or a header with tabs, a semicolon in a header without commas.
fn separator(path: &str, text: &str) -> u8 {
    let header = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("");
    let lower = path.to_ascii_lowercase();
    if lower.ends_with(".tsv") || lower.ends_with(".tab") || header.contains('\t') {
        b'\t'
    } else if header.contains(';') && !header.contains(',') {
        b';'
    } else {
        b','
    }
}

/// The text of a table's bytes, without a byte order mark.
///
/// Errors of kind `Input` name the line that is not UTF-8.
pub(super) fn text_of(bytes: Vec<u8>) -> Result<String> {
    let mut text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..valid].iter().filter(|byte| **byte == b'\n').count();
        Error::input(format!("line {line} is not UTF-8 text")).hint("save the table as UTF-8")
    })?;
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    Ok(text)
}

/// The fields of one row.
pub(super) struct Record<'a> {
    text: &'a str,
    ends: &'a [usize],
}

impl<'a> Record<'a> {
    /// One field, without spaces around it.
    pub(super) fn field(&self, column: usize) -> &'a str {
        let begin = if column == 0 { 0 } else { self.ends[column - 1] };
        self.text[begin..self.ends[column]].trim()
    }

    /// All fields in order.
    pub(super) fn fields(&self) -> impl DoubleEndedIterator<Item = &'a str> {
        (0..self.ends.len()).map(|column| self.field(column))
    }
}

/// Gives `each` the header and then every row with anything in it, with its line counted from 1. Fields may be quoted as in
/// RFC 4180; spaces around them are left out.
///
/// Errors of kind `Input`: no header, a row of another width than the header, a quote that nothing closes.
pub(super) fn read(path: &str, text: &str, mut each: impl FnMut(usize, &Record<'_>) -> Result<()>) -> Result<()> {
    let reader = ReaderBuilder::new().delimiter(separator(path, text)).build();
    let mut source =
        Source { reader, rest: [text.as_bytes(), LAST.as_bytes()], fields: vec![0; 4096], ends: vec![0; 64] };
    let (mut lines, mut width) = (Lines { text, at: 0, line: 1 }, None);
    loop {
        let begins = text.len() - source.rest[0].len();
        let Some(record) = source.next()? else { break };
        let n_fields = record.ends.len();
        if record.fields().next() == Some(LAST.trim_start()) {
            break;
        }
        let line = lines.of(begins);
        if record.text.ends_with(LAST) {
            return Err(Error::input(format!("line {line} opens a double quote that nothing closes")));
        }
        // Spreadsheets write separators alone where rows were deleted.
        if record.fields().all(str::is_empty) {
            continue;
        }
        let wanted = *width.get_or_insert(n_fields);
        if n_fields > MOST_COLUMNS {
            return Err(Error::input(format!("line {line} has {n_fields} columns, at most {MOST_COLUMNS} are read")));
        }
        if n_fields != wanted {
            let what = format!("line {line} has {n_fields} fields, the header has {wanted}");
            return Err(Error::input(what).hint("put a field that contains a separator between double quotes"));
        }
        each(line, &record)?;
    }
    width.map(|_| ()).ok_or_else(|| Error::input("the table of labels is empty"))
}

/// The parser, what it has still to read, and the row that it is at.
struct Source<'a> {
    reader: Reader,
    rest: [&'a [u8]; 2],
    fields: Vec<u8>,
    ends: Vec<usize>,
}

impl Source<'_> {
    /// The next row; blank lines are none.
    fn next(&mut self) -> Result<Option<Record<'_>>> {
        let (mut n_bytes, mut n_ends) = (0, 0);
        loop {
            let input = if self.rest[0].is_empty() { &mut self.rest[1] } else { &mut self.rest[0] };
            let (result, n_read, n_written, n_ended) =
                self.reader.read_record(input, &mut self.fields[n_bytes..], &mut self.ends[n_ends..]);
            *input = &input[n_read..];
            (n_bytes, n_ends) = (n_bytes + n_written, n_ends + n_ended);
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => self.fields.resize(2 * self.fields.len(), 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(2 * self.ends.len(), 0),
                ReadRecordResult::Record => break,
                ReadRecordResult::End => return Ok(None),
            }
        }
        let text = std::str::from_utf8(&self.fields[..n_bytes]);
        let text = text.map_err(|error| Error::bug("a row of UTF-8 text is none").because(error))?;
        Ok(Some(Record { text, ends: &self.ends[..n_ends] }))
    }
}

/// Counts lines forward through a text.
struct Lines<'a> {
    text: &'a str,
    at: usize,
    line: usize,
}

impl Lines<'_> {
    /// The line of the row that the reader began at `begins`; it begins before what ends the row before, and before blank lines.
    fn of(&mut self, begins: usize) -> usize {
        let bytes = self.text.as_bytes();
        let is_blank = |byte: &u8| matches!(byte, b'\n' | b'\r');
        let begins = begins + bytes[begins.min(bytes.len())..].iter().take_while(|byte| is_blank(byte)).count();
        self.line += bytes[self.at..begins].iter().filter(|byte| **byte == b'\n').count();
        self.at = begins;
        self.line
    }
}
