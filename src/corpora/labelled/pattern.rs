//! Labels from paths: `{speaker}/{emotion}_*.wav`.
//!
//! A pattern stands for the whole path below the root, part by part between slashes. In a part, `{name}` takes the text of a
//! field, at least one character and as few as fit; `{name:2}` takes exactly two characters; `*` takes any number, also none;
//! all else stands for itself. A field that comes twice must be the same text both times. `**` as a part of its own, at most
//! once, takes any number of folders, also none.

use std::fmt;
use std::path::Path;

use super::field::{Field, label_of, shown};
use super::options::Options;
use crate::corpora::{Label, Labeller, nearest, unreadable};
use crate::error::{Error, Result};

/// One piece of a part.
#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Letter(char),
    Any,
    Take { field: Field, width: Option<usize> },
}

/// A part of a path, as written and in pieces.
#[derive(Clone, Debug, PartialEq)]
struct Part {
    written: String,
    pieces: Vec<Piece>,
}

/// A parsed pattern.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pattern {
    written: String,
    before: Vec<Part>,
    /// The parts behind `**`, where there is one.
    behind: Option<Vec<Part>>,
}

/// The texts of the fields of one path.
type Texts = [Option<String>; Field::ALL.len()];

impl Pattern {
    /// Reads a pattern.
    ///
    /// Errors of kind `Recipe`: an unknown field, a brace that nothing closes, no `{emotion}`, two pieces side by side between
    /// which nothing says where one ends.
    pub(super) fn parse(written: &str) -> Result<Self> {
        let wrong = |why: &str| Error::recipe(format!("[[ingest.corpus]] pattern = `{}`: {why}", shown(written)));
        let (mut before, mut behind): (Vec<Part>, Option<Vec<Part>>) = (Vec::new(), None);
        for text in written.split('/') {
            match text {
                "" | "." | ".." => {
                    return Err(wrong("its parts are names of folders and, at last, of files below the root"));
                }
                "**" if behind.is_some() => return Err(wrong("has `**` twice")),
                "**" => behind = Some(Vec::new()),
                _ => behind.as_mut().unwrap_or(&mut before).push(part(text).map_err(|error| match error {
                    Bad::Why(why) => wrong(&why),
                    Bad::Field(name) => unknown_field(wrong, &name),
                })?),
            }
        }
        let pattern = Self { written: written.to_owned(), before, behind };
        if pattern.behind.as_ref().is_some_and(Vec::is_empty) {
            return Err(wrong("`**` stands for folders: a name of files must follow, such as `*`"));
        }
        let takes_emotion = |piece: &Piece| matches!(piece, Piece::Take { field: Field::Emotion, .. });
        if !pattern.parts().flat_map(|part| &part.pieces).any(takes_emotion) {
            return Err(wrong("has no {emotion}").hint("kind `unlabelled` takes recordings without labels"));
        }
        Ok(pattern)
    }

    fn parts(&self) -> impl Iterator<Item = &Part> {
        self.before.iter().chain(self.behind.iter().flatten())
    }

    /// The texts that a path gives, or which part of it does not fit.
    fn texts(&self, path: &str) -> std::result::Result<Texts, String> {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        let (n_before, n_behind) = (self.before.len(), self.behind.as_ref().map_or(0, Vec::len));
        let fits = if self.behind.is_some() { parts.len() >= n_before + n_behind } else { parts.len() == n_before };
        if !fits {
            let most = if self.behind.is_some() { " or more" } else { "" };
            return Err(format!("has {} parts between slashes, not {}{most}", parts.len(), n_before + n_behind));
        }
        let mut texts = Texts::default();
        let ends = parts[..n_before].iter().chain(&parts[parts.len() - n_behind..]);
        for (part, text) in self.parts().zip(ends) {
            part.take(text, &mut texts).ok_or_else(|| format!("`{}` does not fit `{}`", shown(text), part.written))?;
        }
        Ok(texts)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

/// Why a part cannot be read.
enum Bad {
    Why(String),
    Field(String),
}

fn unknown_field(wrong: impl Fn(&str) -> Error, name: &str) -> Error {
    let known: Vec<&str> = Field::ALL.into_iter().filter(|field| field.is_of_a_path()).map(Field::name).collect();
    let error = wrong(&format!("there is no field {{{}}}, known are {}", shown(name), known.join(", ")));
    match nearest(name, &known) {
        Some(close) => error.hint(format!("did you mean {{{close}}}?")),
        None => error.hint("`*` stands for what means nothing"),
    }
}

/// Reads one part between slashes.
fn part(written: &str) -> std::result::Result<Part, Bad> {
    let mut pieces = Vec::new();
    let mut rest = written;
    while let Some(letter) = rest.chars().next() {
        rest = &rest[letter.len_utf8()..];
        pieces.push(match letter {
            '*' => Piece::Any,
            '}' => return Err(Bad::Why("`}` closes nothing".into())),
            '{' => {
                let (inside, behind) = rest.split_once('}').ok_or_else(|| Bad::Why("`{` is not closed".into()))?;
                rest = behind;
                take(inside)?
            }
            letter => Piece::Letter(letter),
        });
    }
    let has_open_end = |piece: &Piece| matches!(piece, Piece::Any | Piece::Take { width: None, .. });
    if pieces.windows(2).any(|pair| pair.iter().all(has_open_end)) {
        let why = format!("in `{}` nothing says where one field ends and the next begins", shown(written));
        return Err(Bad::Why(format!("{why}: write what stands between them, or a width such as {{emotion:1}}")));
    }
    Ok(Part { written: written.to_owned(), pieces })
}

/// Reads what stands between braces: a field, and a number of characters if there is one.
fn take(inside: &str) -> std::result::Result<Piece, Bad> {
    let (name, width) = match inside.split_once(':') {
        None => (inside, None),
        Some((name, width)) => match width.parse() {
            Ok(width @ 1..=255) => (name, Some(width)),
            _ => return Err(Bad::Why(format!("`{}` is no number of characters from 1 to 255", shown(width)))),
        },
    };
    let field = Field::of(name).filter(|field| field.is_of_a_path()).ok_or_else(|| Bad::Field(name.to_owned()))?;
    Ok(Piece::Take { field, width })
}

impl Part {
    /// Adds the texts that `text` gives; nothing when it does not fit.
    ///
    /// First it is worked out from the back which pieces can follow from where, so that the way forward never goes back: the
    /// time is pieces times characters, whatever the pattern.
    fn take(&self, text: &str, texts: &mut Texts) -> Option<()> {
        let letters: Vec<char> = text.chars().collect();
        let fits = self.fits(&letters);
        let mut at = 0;
        for (number, piece) in self.pieces.iter().enumerate() {
            let begin = at;
            at = match piece {
                Piece::Letter(_) => at + 1,
                Piece::Take { width: Some(width), .. } => at + width,
                Piece::Any | Piece::Take { width: None, .. } => {
                    let first = at + usize::from(*piece != Piece::Any);
                    (first..=letters.len()).find(|&end| fits[number + 1][end])?
                }
            };
            if !fits[number][begin] {
                return None;
            }
            if let Piece::Take { field, .. } = piece {
                let taken: String = letters[begin..at].iter().collect();
                match &mut texts[*field as usize] {
                    Some(earlier) if *earlier != taken => return None,
                    slot => *slot = Some(taken),
                }
            }
        }
        fits[self.pieces.len()][at].then_some(())
    }

    /// Whether the pieces from the n-th on fit the letters from the m-th on, by n and m.
    fn fits(&self, letters: &[char]) -> Vec<Vec<bool>> {
        let n_letters = letters.len();
        let mut fits = vec![vec![false; n_letters + 1]; self.pieces.len() + 1];
        fits[self.pieces.len()][n_letters] = true;
        for (number, piece) in self.pieces.iter().enumerate().rev() {
            let mut any_behind = false;
            for at in (0..=n_letters).rev() {
                let behind = |end: usize| fits[number + 1].get(end).copied().unwrap_or(false);
                let fit = match piece {
                    Piece::Letter(letter) => letters.get(at) == Some(letter) && behind(at + 1),
                    Piece::Take { width: Some(width), .. } => behind(at + width),
                    Piece::Take { width: None, .. } => any_behind,
                    Piece::Any => any_behind || behind(at),
                };
                any_behind |= behind(at);
                fits[number][at] = fit;
            }
        }
        fits
    }
}

/// Labels from a pattern.
pub(super) struct Paths {
    pub(super) pattern: Pattern,
    pub(super) options: Options,
}

impl Labeller for Paths {
    fn label(&self, relative: &Path) -> Result<Label> {
        let path = relative.to_str().ok_or_else(|| unreadable(relative, "path is not valid UTF-8"))?;
        let texts = self.pattern.texts(path).map_err(|why| {
            let reason = format!("does not match the pattern `{}`: {why}", self.pattern);
            unreadable(relative, reason)
                .hint("correct the pattern in the recipe, or leave the recording out with [ingest] skip")
        })?;
        let text = |field: Field| texts[field as usize].as_deref().unwrap_or("");
        label_of(&self.options, text)
            .map_err(|wrong| unreadable(relative, format!("{} (by the pattern `{}`)", wrong.reason, self.pattern)))
    }
}

#[cfg(test)]
#[path = "pattern_proof.rs"]
mod proof;
