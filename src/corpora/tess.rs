//! TESS: speaker, word and emotion in the file name, `OAF_back_angry.wav`.
//!
//! Speakers: OAF, the older actress (64), and YAF, the younger (26). Words: 200, each in the carrier phrase "Say the
//! word ...". Emotions: angry disgust fear happy neutral ps sad, where `ps` is pleasant surprise. Folders come spelt
//! `OAF_Pleasant_surprise`, `YAF_pleasant_surprised`, `OAF_Fear`...; the file name alone is read. One file of the
//! original is misspelt: `OA_bite_neutral.wav` is OAF's.

use std::path::Path;

use super::{ColumnReader, Corpus, Example, ExpectedCounts, Label, Labeller, Options, Sex, stem, unreadable};
use crate::error::Result;

/// The Toronto emotional speech set.
pub struct Tess;

impl Corpus for Tess {
    fn name(&self) -> &'static str {
        "tess"
    }

    fn about(&self) -> &'static str {
        "TESS: 2 Canadian actresses (64 and 26 years), 200 words in a carrier phrase, 7 emotions"
    }

    fn provenance(&self) -> &'static str {
        "Pichora-Fuller, Dupuis (2020), Toronto emotional speech set (TESS), Borealis, doi 10.5683/SP2/E8H2MF; \
         CC BY-NC-ND 4.0. File-name grammar from the record's description and the files themselves."
    }

    fn expected(&self) -> Option<ExpectedCounts> {
        Some(ExpectedCounts {
            recordings: 2800,
            speakers: 2,
            per_emotion: &[
                ("angry", 400),
                ("disgust", 400),
                ("fear", 400),
                ("happy", 400),
                ("neutral", 400),
                ("sad", 400),
                ("surprise", 400),
            ],
        })
    }

    fn examples(&self) -> &'static [Example] {
        const fn example(
            path: &'static str,
            speaker: &'static str,
            emotion: &'static str,
            original: &'static str,
        ) -> Example {
            Example {
                path,
                speaker: Some(speaker),
                sex: Some(Sex::Female),
                emotion: Some(emotion),
                emotion_original: Some(original),
            }
        }
        const {
            &[
                example("OAF_angry/OAF_back_angry.wav", "tess-oaf", "angry", "angry"),
                example("YAF_pleasant_surprised/YAF_juice_ps.wav", "tess-yaf", "surprise", "pleasant surprise"),
                example("OAF_neutral/OA_bite_neutral.wav", "tess-oaf", "neutral", "neutral"),
            ]
        }
    }

    fn open(&self, _root: &Path, _options: &Options, _parquet: ColumnReader) -> Result<Box<dyn Labeller>> {
        Ok(Box::new(Grammar))
    }
}

struct Grammar;

impl Labeller for Grammar {
    fn label(&self, relative: &Path) -> Result<Label> {
        let stem = stem(relative)?.to_lowercase();
        let mut parts = stem.splitn(3, '_');
        let (Some(speaker), Some(word), Some(code)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(unreadable(relative, format!("file name `{stem}`, TESS has SPEAKER_word_emotion")));
        };
        let speaker = match speaker {
            "oaf" | "oa" => "tess-oaf",
            "yaf" => "tess-yaf",
            other => return Err(unreadable(relative, format!("speaker `{other}`, TESS has OAF and YAF"))),
        };
        if word.is_empty() || !word.chars().all(char::is_alphabetic) {
            return Err(unreadable(relative, format!("word `{word}`, TESS has one word of letters")));
        }
        let (emotion, original) = match code {
            "angry" => ("angry", "angry"),
            "disgust" => ("disgust", "disgust"),
            "fear" => ("fear", "fear"),
            "happy" => ("happy", "happy"),
            "neutral" => ("neutral", "neutral"),
            "ps" | "pleasant_surprise" | "pleasant_surprised" => ("surprise", "pleasant surprise"),
            "sad" => ("sad", "sad"),
            other => {
                let reason = format!("emotion `{other}`, TESS has angry disgust fear happy neutral ps sad");
                return Err(unreadable(relative, reason));
            }
        };
        Ok(Label {
            speaker: Some(speaker.to_owned()),
            sex: Some(Sex::Female),
            emotion: Some(emotion.to_owned()),
            emotion_original: Some(original.to_owned()),
            statement: Some(format!("Say the word {word}")),
            ..Label::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(name: &str) -> String {
        Grammar.label(Path::new(name)).unwrap_err().reason()
    }

    #[test]
    fn tess_folder_spellings_do_not_change_the_label() {
        for folder in ["OAF_Pleasant_surprise", "TESS Toronto emotional speech set data/OAF_pleasant_surprised", "."] {
            let label = Grammar.label(&Path::new(folder).join("OAF_home_ps.wav")).unwrap();
            assert_eq!(label.emotion.as_deref(), Some("surprise"), "{folder}");
            assert_eq!(label.statement.as_deref(), Some("Say the word home"));
        }
    }

    #[test]
    fn tess_misspelt_oa_file_belongs_to_the_older_actress() {
        let label = Grammar.label(Path::new("OA_bite_neutral.wav")).unwrap();
        assert_eq!(label.speaker.as_deref(), Some("tess-oaf"));
    }

    #[test]
    fn tess_wrong_parts_are_named_with_what_is_allowed() {
        assert_eq!(reason("OAF_back_bored.wav"), "emotion `bored`, TESS has angry disgust fear happy neutral ps sad");
        assert_eq!(reason("MAF_back_sad.wav"), "speaker `maf`, TESS has OAF and YAF");
        assert_eq!(reason("OAF__sad.wav"), "word ``, TESS has one word of letters");
        assert_eq!(reason("OAF_sad.wav"), "file name `oaf_sad`, TESS has SPEAKER_word_emotion");
    }
}
