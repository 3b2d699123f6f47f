//! What a table or a pattern can say about a recording, and how its texts become a [`Label`].

use super::options::Options;
use crate::corpora::{Label, Sex};

/// Longest text of a field, in bytes: more is no label.
const LONGEST: usize = 1000;
/// Longest word for an emotion, in bytes.
const LONGEST_WORD: usize = 100;

/// One thing that is said about a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Path,
    Emotion,
    Speaker,
    Sex,
    Age,
    Language,
    Intensity,
    Statement,
    Repetition,
    Fold,
    Split,
    Start,
    End,
}

impl Field {
    pub(super) const ALL: [Self; 13] = [
        Self::Path,
        Self::Emotion,
        Self::Speaker,
        Self::Sex,
        Self::Age,
        Self::Language,
        Self::Intensity,
        Self::Statement,
        Self::Repetition,
        Self::Fold,
        Self::Split,
        Self::Start,
        Self::End,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Emotion => "emotion",
            Self::Speaker => "speaker",
            Self::Sex => "sex",
            Self::Age => "age",
            Self::Language => "language",
            Self::Intensity => "intensity",
            Self::Statement => "statement",
            Self::Repetition => "repetition",
            Self::Fold => "fold",
            Self::Split => "split",
            Self::Start => "start",
            Self::End => "end",
        }
    }

    pub(super) fn names() -> [&'static str; Self::ALL.len()] {
        Self::ALL.map(Self::name)
    }

    pub(super) fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.name() == name)
    }

    /// Whether a path can say it.
    pub(super) fn is_of_a_path(self) -> bool {
        !matches!(self, Self::Path | Self::Start | Self::End)
    }
}

/// What is wrong with one field: it names itself, so that its place can be added behind.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) field: Field,
    pub(super) reason: String,
}

/// The label that texts say; `text` gives that of a field, empty where nothing is known.
///
/// Proof: `every_field_of_a_label_is_read_and_checked`.
pub(super) fn label_of<'a>(options: &Options, text: impl Fn(Field) -> &'a str) -> Result<Label, Wrong> {
    for field in Field::ALL {
        let limit = if field == Field::Emotion { LONGEST_WORD } else { LONGEST };
        let n_bytes = text(field).len();
        if field != Field::Path && n_bytes > limit {
            let reason =
                format!("{} `{}` has {n_bytes} bytes, at most {limit} are read", field.name(), shown(text(field)));
            return Err(Wrong { field, reason });
        }
    }
    let known = |field: Field| Some(text(field)).filter(|text| !text.is_empty());
    let wrong = |field: Field, why: &str| {
        let reason = format!("{} `{}` {why}", field.name(), shown(text(field)));
        Wrong { field, reason }
    };
    let sex = known(Field::Sex)
        .map(|word| Sex::from_word(word).ok_or_else(|| wrong(Field::Sex, "is neither female nor male")))
        .transpose()?;
    let repetition = known(Field::Repetition)
        .map(|text| whole(text).ok_or_else(|| wrong(Field::Repetition, "is not a whole number")))
        .transpose()?;
    let split = known(Field::Split)
        .map(|word| side(word).ok_or_else(|| wrong(Field::Split, "is none of train, validation, test")))
        .transpose()?;
    let second = |field: Field| {
        // The sum turns -0 into 0.
        let read =
            |text: &str| text.parse().map(|second: f64| second + 0.0).ok().filter(|s| s.is_finite() && *s >= 0.0);
        known(field).map(|text| read(text).ok_or_else(|| wrong(field, "is not a number of seconds from 0"))).transpose()
    };
    let (start_s, end_s) = (second(Field::Start)?, second(Field::End)?);
    match (start_s, end_s) {
        (Some(_), None) => return Err(wrong(Field::Start, "has no end")),
        (None, Some(_)) => return Err(wrong(Field::End, "has no start")),
        (Some(start), Some(end)) if start >= end => {
            return Err(wrong(Field::End, &format!("is not after start `{}`", shown(text(Field::Start)))));
        }
        _ => {}
    }
    let (emotion, emotion_original) = options.emotion(text(Field::Emotion));
    let owned = |field: Field| known(field).map(str::to_owned);
    Ok(Label {
        speaker: owned(Field::Speaker),
        sex,
        emotion,
        emotion_original,
        intensity: owned(Field::Intensity),
        statement: owned(Field::Statement),
        repetition,
        age: owned(Field::Age),
        language: owned(Field::Language),
        fold: owned(Field::Fold),
        split: split.map(str::to_owned),
        start_s,
        end_s,
    })
}

/// A number of takes; programs that know no missing whole numbers write `2.0`.
fn whole(text: &str) -> Option<u32> {
    let digits =
        text.split_once('.').filter(|(_, rest)| rest.bytes().all(|byte| byte == b'0')).map_or(text, |(whole, _)| whole);
    digits.parse().ok()
}

/// The side that a word names.
fn side(word: &str) -> Option<&'static str> {
    match word.to_ascii_lowercase().as_str() {
        "train" | "training" => Some("train"),
        "validation" | "valid" | "val" | "dev" | "development" => Some("validation"),
        "test" | "testing" => Some("test"),
        _ => None,
    }
}

/// A value as a message shows it: the beginning, where it is long.
pub(super) fn shown(text: &str) -> String {
    const MOST: usize = 80;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(fields: &[(Field, &'static str)]) -> Result<Label, Wrong> {
        label_of(&Options::default(), |wanted| {
            fields.iter().find(|(field, _)| *field == wanted).map_or("", |(_, text)| text)
        })
    }

    #[test]
    fn every_field_of_a_label_is_read_and_checked() {
        let label = read(&[
            (Field::Emotion, "Anger"),
            (Field::Sex, "F"),
            (Field::Age, "20s"),
            (Field::Repetition, "2.0"),
            (Field::Split, "Dev"),
            (Field::Start, "0"),
            (Field::End, "1e1"),
        ]);
        let expected = Label {
            sex: Some(Sex::Female),
            emotion: Some("angry".into()),
            emotion_original: Some("Anger".into()),
            age: Some("20s".into()),
            repetition: Some(2),
            split: Some("validation".into()),
            start_s: Some(0.0),
            end_s: Some(10.0),
            ..Label::default()
        };
        assert_eq!(label.unwrap(), expected);
        assert_eq!(read(&[]).unwrap(), Label::default());
        for (fields, reason) in [
            (vec![(Field::Sex, "x")], "sex `x` is neither female nor male"),
            (vec![(Field::Repetition, "99999999999")], "repetition `99999999999` is not a whole number"),
            (vec![(Field::Repetition, "1.5")], "repetition `1.5` is not a whole number"),
            (vec![(Field::Split, "tset")], "split `tset` is none of train, validation, test"),
            (vec![(Field::Start, "1e999"), (Field::End, "1")], "start `1e999` is not a number of seconds from 0"),
            (vec![(Field::Start, "-1"), (Field::End, "1")], "start `-1` is not a number of seconds from 0"),
            (vec![(Field::Start, "nan"), (Field::End, "1")], "start `nan` is not a number of seconds from 0"),
            (vec![(Field::Start, "1")], "start `1` has no end"),
            (vec![(Field::End, "1")], "end `1` has no start"),
            (vec![(Field::Start, "2"), (Field::End, "2.0")], "end `2.0` is not after start `2`"),
        ] {
            assert_eq!(read(&fields).unwrap_err().reason, reason);
        }
        let long: &'static str = Box::leak("ä".repeat(600).into_boxed_str());
        let wrong = read(&[(Field::Statement, long)]).unwrap_err();
        assert_eq!(wrong.reason, format!("statement `{}...` has 1200 bytes, at most 1000 are read", "ä".repeat(80)));
        assert_eq!(read(&[(Field::Emotion, long)]).unwrap_err().field, Field::Emotion);
    }
}
