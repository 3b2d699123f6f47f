//! SAVEE: speaker, emotion code and sentence number, `DC/a01.wav` or flat `DC_a01.wav`.
//!
//! Speakers DC, JE, JK, KL, all male. Codes: a anger, d disgust, f fear, h happiness, n neutral, sa sadness,
//! su surprise. Numbers: 01 to 15, neutral 01 to 30. The numbering is per emotion: `a04` and `d04` are different
//! sentences, and the three sentences common to all emotions carry no mark, so a statement here is code and number.

use std::path::Path;

use super::{ColumnReader, Corpus, Example, ExpectedCounts, Label, Labeller, Options, Sex, stem, unreadable};
use crate::error::Result;

const SPEAKERS: [&str; 4] = ["DC", "JE", "JK", "KL"];

/// Surrey Audio-Visual Expressed Emotion, audio part.
pub struct Savee;

impl Corpus for Savee {
    fn name(&self) -> &'static str {
        "savee"
    }

    fn about(&self) -> &'static str {
        "SAVEE: 4 male English speakers, TIMIT sentences, 7 emotions"
    }

    fn provenance(&self) -> &'static str {
        "Haq, Jackson (2010), Multimodal emotion recognition, in Machine Audition, IGI Global, 398-423; Surrey \
         Audio-Visual Expressed Emotion database; free for research after registration. File-name grammar from its \
         web page."
    }

    fn expected(&self) -> Option<ExpectedCounts> {
        Some(ExpectedCounts {
            recordings: 480,
            speakers: SPEAKERS.len(),
            per_emotion: &[
                ("angry", 60),
                ("disgust", 60),
                ("fear", 60),
                ("happy", 60),
                ("neutral", 120),
                ("sad", 60),
                ("surprise", 60),
            ],
        })
    }

    fn examples(&self) -> &'static [Example] {
        &[
            Example {
                path: "AudioData/DC/a01.wav",
                speaker: Some("savee-dc"),
                sex: Some(Sex::Male),
                emotion: Some("angry"),
                emotion_original: Some("anger"),
            },
            Example {
                path: "ALL/KL_su15.wav",
                speaker: Some("savee-kl"),
                sex: Some(Sex::Male),
                emotion: Some("surprise"),
                emotion_original: Some("surprise"),
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
        let (speaker, text) = match stem.split_once('_') {
            Some((speaker, text)) => (speaker, text),
            None => (parent_name(relative), stem),
        };
        let speaker = speaker.to_ascii_uppercase();
        if !SPEAKERS.contains(&speaker.as_str()) {
            let reason = format!("speaker `{speaker}` of file name or folder, SAVEE has DC JE JK KL");
            return Err(unreadable(relative, reason));
        }
        let text = text.to_ascii_lowercase();
        let (code, number) = text.split_at(text.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(text.len()));
        let (emotion, original, last) = match code {
            "a" => ("angry", "anger", 15),
            "d" => ("disgust", "disgust", 15),
            "f" => ("fear", "fear", 15),
            "h" => ("happy", "happiness", 15),
            "n" => ("neutral", "neutral", 30),
            "sa" => ("sad", "sadness", 15),
            "su" => ("surprise", "surprise", 15),
            other => {
                let reason = format!("emotion code `{other}`, SAVEE has a d f h n sa su");
                return Err(unreadable(relative, reason));
            }
        };
        let two_digits = number.len() == 2 && number.bytes().all(|byte| byte.is_ascii_digit());
        if !two_digits || !number.parse().is_ok_and(|value: u32| (1..=last).contains(&value)) {
            let reason = format!("sentence number `{number}`, SAVEE has {code}01 to {code}{last}");
            return Err(unreadable(relative, reason));
        }
        Ok(Label {
            speaker: Some(format!("savee-{}", speaker.to_ascii_lowercase())),
            sex: Some(Sex::Male),
            emotion: Some(emotion.to_owned()),
            emotion_original: Some(original.to_owned()),
            statement: Some(format!("savee-{code}{number}")),
            ..Label::default()
        })
    }
}

/// The name of the folder a file lies in, empty when there is none.
fn parent_name(relative: &Path) -> &str {
    relative.parent().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(name: &str) -> String {
        Grammar.label(Path::new(name)).unwrap_err().reason()
    }

    #[test]
    fn savee_flat_and_foldered_names_give_the_same_label() {
        let flat = Grammar.label(Path::new("JK_sa03.wav")).unwrap();
        assert_eq!(flat, Grammar.label(Path::new("AudioData/JK/sa03.wav")).unwrap());
        assert_eq!(flat.emotion.as_deref(), Some("sad"));
        assert_eq!(flat.statement.as_deref(), Some("savee-sa03"));
    }

    #[test]
    fn savee_wrong_parts_are_named_with_what_is_allowed() {
        assert_eq!(reason("XY_a01.wav"), "speaker `XY` of file name or folder, SAVEE has DC JE JK KL");
        assert_eq!(reason("a01.wav"), "speaker `` of file name or folder, SAVEE has DC JE JK KL");
        assert_eq!(reason("DC_s01.wav"), "emotion code `s`, SAVEE has a d f h n sa su");
        assert_eq!(reason("DC_a16.wav"), "sentence number `16`, SAVEE has a01 to a15");
        assert_eq!(reason("DC_n00.wav"), "sentence number `00`, SAVEE has n01 to n30");
        assert!(Grammar.label(Path::new("DC_n30.wav")).is_ok());
    }
}
