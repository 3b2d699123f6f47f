//! EMO-DB: speaker, text, emotion letter and version, seven characters: `03a01Fa.wav`.
//!
//! Speakers 03 08 to 16; texts a01 a02 a04 a05 a07 b01 b02 b03 b09 b10; the letter is the German word's: W Ärger
//! (Wut), L Langeweile, E Ekel, A Angst, F Freude, T Trauer, N neutral; versions a, b, c...

use std::path::Path;

use super::{ColumnReader, Corpus, Example, ExpectedCounts, Label, Labeller, Options, Sex, stem, unreadable};
use crate::error::Result;

const MALE: [&str; 5] = ["03", "10", "11", "12", "15"];
const FEMALE: [&str; 5] = ["08", "09", "13", "14", "16"];

const TEXTS: [(&str, &str); 10] = [
    ("a01", "Der Lappen liegt auf dem Eisschrank"),
    ("a02", "Das will sie am Mittwoch abgeben"),
    ("a04", "Heute abend könnte ich es ihm sagen"),
    ("a05", "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück"),
    ("a07", "In sieben Stunden wird es soweit sein"),
    ("b01", "Was sind denn das für Tüten, die da unter dem Tisch stehen"),
    ("b02", "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter"),
    ("b03", "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht"),
    ("b09", "Ich will das eben wegbringen und dann mit Karl was trinken gehen"),
    ("b10", "Die wird auf dem Platz sein, wo wir sie immer hinlegen"),
];

/// The Berlin database of emotional speech.
pub struct EmoDb;

impl Corpus for EmoDb {
    fn name(&self) -> &'static str {
        "emodb"
    }

    fn about(&self) -> &'static str {
        "EMO-DB: 10 German actors, 10 sentences, 7 emotions (boredom is one, surprise is not)"
    }

    fn provenance(&self) -> &'static str {
        "Burkhardt, Paeschke, Rolfes, Sendlmeier, Weiss (2005), A database of German emotional speech, Interspeech, \
         1517-1520; free to use, to be cited. File-name grammar, texts and speakers from its web page."
    }

    fn expected(&self) -> Option<ExpectedCounts> {
        Some(ExpectedCounts {
            recordings: 535,
            speakers: 10,
            per_emotion: &[
                ("angry", 127),
                ("boredom", 81),
                ("disgust", 46),
                ("fear", 69),
                ("happy", 71),
                ("neutral", 79),
                ("sad", 62),
            ],
        })
    }

    fn examples(&self) -> &'static [Example] {
        &[
            Example {
                path: "wav/03a01Fa.wav",
                speaker: Some("emodb-03"),
                sex: Some(Sex::Male),
                emotion: Some("happy"),
                emotion_original: Some("Freude"),
            },
            Example {
                path: "wav/16b10Wb.wav",
                speaker: Some("emodb-16"),
                sex: Some(Sex::Female),
                emotion: Some("angry"),
                emotion_original: Some("Ärger"),
            },
        ]
    }

    fn open(&self, _root: &Path, _options: &Options, _parquet: ColumnReader) -> Result<Box<dyn Labeller>> {
        Ok(Box::new(Grammar))
    }
}

struct Grammar;

impl Labeller for Grammar {
    fn label(&self, relative: &Path) -> Result<Label> {
        let stem = stem(relative)?;
        if stem.len() != 7 || !stem.is_ascii() {
            let reason = format!("file name `{stem}`, EMO-DB has seven characters such as 03a01Fa");
            return Err(unreadable(relative, reason));
        }
        let (speaker, text, letter, version) = (&stem[..2], &stem[2..5], &stem[5..6], &stem[6..]);
        let sex = if MALE.contains(&speaker) {
            Sex::Male
        } else if FEMALE.contains(&speaker) {
            Sex::Female
        } else {
            return Err(unreadable(relative, format!("speaker `{speaker}`, EMO-DB has 03 and 08 to 16")));
        };
        let Some((_, statement)) = TEXTS.iter().find(|(code, _)| *code == text) else {
            let reason = format!("text `{text}`, EMO-DB has a01 a02 a04 a05 a07 b01 b02 b03 b09 b10");
            return Err(unreadable(relative, reason));
        };
        let (emotion, original) = match letter {
            "W" => ("angry", "Ärger"),
            "E" => ("disgust", "Ekel"),
            "A" => ("fear", "Angst"),
            "F" => ("happy", "Freude"),
            "N" => ("neutral", "neutral"),
            "T" => ("sad", "Trauer"),
            "L" => ("boredom", "Langeweile"),
            other => return Err(unreadable(relative, format!("emotion letter `{other}`, EMO-DB has W L E A F T N"))),
        };
        let take = version.as_bytes()[0];
        if !take.is_ascii_lowercase() {
            return Err(unreadable(relative, format!("version `{version}`, EMO-DB has a lower-case letter")));
        }
        Ok(Label {
            speaker: Some(format!("emodb-{speaker}")),
            sex: Some(sex),
            emotion: Some(emotion.to_owned()),
            emotion_original: Some(original.to_owned()),
            statement: Some((*statement).to_owned()),
            repetition: Some(u32::from(take - b'a') + 1),
            ..Label::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emotion::word_of;

    fn reason(name: &str) -> String {
        Grammar.label(Path::new(name)).unwrap_err().reason()
    }

    #[test]
    fn emodb_letters_are_the_german_words() {
        let words = ["angry", "disgust", "fear", "happy", "sad", "neutral", "boredom"];
        for (letter, emotion) in "WEAFTNL".chars().zip(words) {
            let label = Grammar.label(Path::new(&format!("08b02{letter}c.wav"))).unwrap();
            assert_eq!(label.emotion.as_deref(), Some(emotion));
            assert_eq!(word_of(label.emotion_original.as_deref().unwrap()), Some(emotion));
            assert_eq!((label.sex, label.repetition), (Some(Sex::Female), Some(3)));
        }
    }

    #[test]
    fn emodb_wrong_parts_are_named_with_what_is_allowed() {
        assert_eq!(reason("07a01Fa.wav"), "speaker `07`, EMO-DB has 03 and 08 to 16");
        assert!(reason("03a03Fa.wav").starts_with("text `a03`, EMO-DB has a01 a02"));
        assert_eq!(reason("03a01Xa.wav"), "emotion letter `X`, EMO-DB has W L E A F T N");
        assert_eq!(reason("03a01F1.wav"), "version `1`, EMO-DB has a lower-case letter");
        assert_eq!(reason("03a01F.wav"), "file name `03a01F`, EMO-DB has seven characters such as 03a01Fa");
    }
}
