//! The one error type: what failed, where, why, and the command or edit that mends it.
//!
//! `kind` decides the exit code and whether a stage may turn the error into a row of its table;
//! messages are one lower-case line, the hint follows on a line of its own.

use std::fmt;
use std::path::Path;

use crate::files;

/// Short form used by every fallible function of the crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Who can mend an error. [`ErrorKind::exit_code`] follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// One recording is silent, truncated, of an unknown format...: a row with a reason, never the end of a run.
    Recording,
    /// The machine failed at one file. It may not fail the next time: a stage over many recordings goes on without the
    /// file and is not up to date until it has been read; anybody else ends here.
    Unreadable,
    /// The input as a whole is wrong: missing folder, empty corpus, foreign model.
    Input,
    /// The pipeline file or the command line is wrong.
    Recipe,
    /// The machine failed: disk full, permission, missing library.
    Machine,
    /// A promise inside this program was broken.
    Bug,
}

impl ErrorKind {
    /// 2 when the user's input or recipe is wrong, 3 when the machine or the program is.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Recording | Self::Input | Self::Recipe => 2,
            Self::Unreadable | Self::Machine | Self::Bug => 3,
        }
    }
}

/// An error that names the file, the value, the limit and a hint.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    what: String,
    place: Option<String>,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// A new error; `what` is a lower-case phrase such as `cannot read recording`.
    pub fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), place: None, hint: None, source: None }
    }

    /// One recording cannot be used.
    pub fn recording(what: impl Into<String>) -> Self {
        Self::new(ErrorKind::Recording, what)
    }

    /// The input as a whole cannot be used.
    pub fn input(what: impl Into<String>) -> Self {
        Self::new(ErrorKind::Input, what)
    }

    /// The pipeline file or the command line is wrong.
    pub fn recipe(what: impl Into<String>) -> Self {
        Self::new(ErrorKind::Recipe, what)
    }

    /// A file could not be read: the machine's fault, of this file alone or of the whole process.
    pub fn reading(what: impl Into<String>, error: std::io::Error) -> Self {
        let kind = if files::is_of_the_process(&error) { ErrorKind::Machine } else { ErrorKind::Unreadable };
        Self::new(kind, what).because(error)
    }

    /// A file that the user named could not be read: kind `kind` where naming another or mending it helps (it is missing,
    /// forbidden, no file, too large, no text), else as [`Self::reading`].
    pub fn reading_named(kind: ErrorKind, what: impl Into<String>, error: std::io::Error) -> Self {
        if files::is_of_the_machine(&error) { Self::reading(what, error) } else { Self::new(kind, what).because(error) }
    }

    /// The machine failed.
    pub fn machine(what: impl Into<String>) -> Self {
        Self::new(ErrorKind::Machine, what)
    }

    /// A promise inside this program was broken.
    pub fn bug(what: impl Into<String>) -> Self {
        Self::new(ErrorKind::Bug, what)
    }

    /// Names the file or setting the error is about.
    pub fn at(self, path: impl AsRef<Path>) -> Self {
        self.at_place(files::text_of(path.as_ref()))
    }

    /// Names a place that is not a file: a setting, a column, a tensor.
    pub fn at_place(mut self, place: impl Into<String>) -> Self {
        self.place = Some(place.into());
        self
    }

    /// Names the file when no closer place is named yet.
    pub fn or_at(self, path: impl AsRef<Path>) -> Self {
        if self.place.is_some() { self } else { self.at(path) }
    }

    /// Says what to do about it when nothing closer is said yet.
    pub fn or_hint(self, hint: &str) -> Self {
        if self.hint.is_some() { self } else { self.hint(hint) }
    }

    /// Says what to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Keeps the library error that caused this one; its text joins the message.
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Who can mend it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The hint, if there is one.
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The message without its place, for a `reject_reason` column that stands beside a `path` column.
    pub fn reason(&self) -> String {
        match &self.source {
            Some(source) => format!("{}: {source}", self.what),
            None => self.what.clone(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "`{place}`: {}", self.reason()),
            None => f.write_str(&self.reason()),
        }
    }
}

impl std::error::Error for Error {
    /// That of the library error, whose own text stands in the message already: who prints the chain says nothing twice.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().and_then(|source| source.source())
    }
}

/// A line as it may go to a terminal: control characters and those that turn the direction of text are escaped, and of more
/// than a thousand characters the middle is left out. Whatever is printed goes through here, because names of files hold
/// anything.
pub fn printable(line: &str) -> String {
    let is_hidden = |letter: char| {
        letter.is_control()
            || matches!(letter, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
    };
    let mut text = String::with_capacity(line.len());
    for letter in line.chars() {
        match letter {
            hidden if is_hidden(hidden) => text.extend(hidden.escape_default()),
            letter => text.push(letter),
        }
    }
    let n_letters = text.chars().count();
    if n_letters <= LONGEST_LINE {
        return text;
    }
    let (begin, end) = (LONGEST_LINE * 3 / 5, LONGEST_LINE * 2 / 5);
    let tail = text.chars().skip(n_letters - end);
    text.chars().take(begin).chain("...".chars()).chain(tail).collect()
}

/// Characters of a line that is printed whole: a path may have four times as many.
const LONGEST_LINE: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_moves_no_cursor_and_floods_no_screen() {
        assert_eq!(printable("`a b \u{e4}\u{1f600}.wav`: 3 \u{b5}s"), "`a b \u{e4}\u{1f600}.wav`: 3 \u{b5}s");
        assert_eq!(printable("\u{1b}[2J\r\n\u{7}\u{9b}\u{7f}"), "\\u{1b}[2J\\r\\n\\u{7}\\u{9b}\\u{7f}");
        assert_eq!(printable("wav.\u{202e}exe\u{2066}"), "wav.\\u{202e}exe\\u{2066}");
        let long = format!("`{}`: no recording", "\u{e4}/".repeat(2_500));
        let cut = printable(&long);
        assert!(cut.chars().count() < 1_010 && cut.contains("..."), "{}", cut.chars().count());
        assert!(cut.starts_with("`\u{e4}/") && cut.ends_with("/`: no recording"), "{cut}");
    }

    #[test]
    fn a_file_that_was_named_wrongly_is_not_the_fault_of_the_machine() {
        let kind = |code: i32| {
            let error = std::io::Error::from_raw_os_error(code);
            Error::reading_named(ErrorKind::Input, "cannot read the model", error).kind()
        };
        let wrong = [libc::ENOENT, libc::EACCES, libc::ENOTDIR, libc::EISDIR, libc::ELOOP];
        assert!(wrong.iter().all(|&code| kind(code) == ErrorKind::Input));
        assert_eq!((kind(libc::EIO), kind(libc::EMFILE)), (ErrorKind::Unreadable, ErrorKind::Machine));
    }

    #[test]
    fn message_names_place_and_cause_and_keeps_the_hint_apart() {
        let error = Error::recording("emotion code 09, RAVDESS has 01 to 08")
            .at("Actor_01/x.wav")
            .because("bad field")
            .hint("remove the file");
        assert_eq!(error.to_string(), "`Actor_01/x.wav`: emotion code 09, RAVDESS has 01 to 08: bad field");
        assert_eq!(error.hint_text(), Some("remove the file"));
        assert_eq!(error.reason(), "emotion code 09, RAVDESS has 01 to 08: bad field");
    }

    #[test]
    fn exit_codes_tell_wrong_input_from_a_failing_machine() {
        assert_eq!(ErrorKind::Input.exit_code(), 2);
        assert_eq!(ErrorKind::Recipe.exit_code(), 2);
        assert_eq!(ErrorKind::Unreadable.exit_code(), 3);
        assert_eq!(ErrorKind::Machine.exit_code(), 3);
        assert_eq!(ErrorKind::Bug.exit_code(), 3);
    }
}
