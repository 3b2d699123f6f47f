//! RAVDESS: seven two-digit fields in the file name, `03-01-05-01-02-01-12.wav`.
//!
//! | field | values |
//! |---|---|
//! | modality | 01 audio and video, 02 video only, 03 audio only |
//! | vocal channel | 01 speech, 02 song |
//! | emotion | 01 neutral, 02 calm, 03 happy, 04 sad, 05 angry, 06 fearful, 07 disgust, 08 surprised |
//! | intensity | 01 normal, 02 strong (never with neutral) |
//! | statement | 01 "Kids are talking by the door", 02 "Dogs are sitting by the door" |
//! | repetition | 01, 02 |
//! | actor | 01 to 24, odd male, even female |

use std::path::Path;

use super::{ColumnReader, Corpus, Example, ExpectedCounts, Label, Labeller, Options, Sex, stem, unreadable};
use crate::emotion::plain_word;
use crate::error::Result;

/// The words of the emotion field, by code from 01.
const EMOTIONS: [&str; 8] = ["neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised"];
const INTENSITIES: [&str; 2] = ["normal", "strong"];
const STATEMENTS: [&str; 2] = ["Kids are talking by the door", "Dogs are sitting by the door"];
const N_ACTORS: usize = 24;

/// The Ryerson Audio-Visual Database of Emotional Speech and Song, speech part.
pub struct Ravdess;

impl Corpus for Ravdess {
    fn name(&self) -> &'static str {
        "ravdess"
    }

    fn about(&self) -> &'static str {
        "RAVDESS speech: 24 North American actors, 2 sentences, 8 emotions"
    }

    fn provenance(&self) -> &'static str {
        "Livingstone, Russo (2018), The Ryerson Audio-Visual Database of Emotional Speech and Song, PLoS ONE 13(5) \
         e0196391; doi 10.5281/zenodo.1188976 (Audio_Speech_Actors_01-24.zip); CC BY-NC-SA 4.0. File-name grammar from \
         the record's description."
    }

    fn expected(&self) -> Option<ExpectedCounts> {
        Some(ExpectedCounts {
            recordings: 1440,
            speakers: N_ACTORS,
            per_emotion: &[
                ("angry", 192),
                ("calm", 192),
                ("disgust", 192),
                ("fear", 192),
                ("happy", 192),
                ("neutral", 96),
                ("sad", 192),
                ("surprise", 192),
            ],
        })
    }

    fn examples(&self) -> &'static [Example] {
        &[
            Example {
                path: "Actor_12/03-01-05-01-02-01-12.wav",
                speaker: Some("ravdess-12"),
                sex: Some(Sex::Female),
                emotion: Some("angry"),
                emotion_original: Some("angry"),
            },
            Example {
                path: "audio_speech_actors_01-24/Actor_01/03-01-02-02-01-02-01.wav",
                speaker: Some("ravdess-01"),
                sex: Some(Sex::Male),
                emotion: Some("calm"),
                emotion_original: Some("calm"),
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
        let fields: Vec<&str> = stem(relative)?.split('-').collect();
        let &[modality, channel, emotion, intensity, statement, repetition, actor] = fields.as_slice() else {
            let reason = format!("file name has {} fields between dashes, RAVDESS has 7", fields.len());
            return Err(unreadable(relative, reason));
        };
        let read = |name: &str, text: &str, last: usize| code(relative, name, text, last);
        if read("modality", modality, 3)? != 3 {
            let what = if modality == "02" { "video only" } else { "audio and video" };
            return Err(unreadable(relative, format!("modality {modality} is {what}, wanted is 03, audio only")));
        }
        if read("vocal channel", channel, 2)? != 1 {
            return Err(unreadable(relative, format!("vocal channel {channel} is song, wanted is 01, speech")));
        }
        let word = EMOTIONS[read("emotion", emotion, EMOTIONS.len())? - 1];
        let intensity = INTENSITIES[read("intensity", intensity, INTENSITIES.len())? - 1];
        let statement = STATEMENTS[read("statement", statement, STATEMENTS.len())? - 1];
        let repetition = read("repetition", repetition, 2)?;
        let actor = read("actor", actor, N_ACTORS)?;
        Ok(Label {
            speaker: Some(format!("ravdess-{actor:02}")),
            sex: Some(if actor % 2 == 1 { Sex::Male } else { Sex::Female }),
            emotion: Some(plain_word(word)),
            emotion_original: Some(word.to_owned()),
            intensity: Some(intensity.to_owned()),
            statement: Some(statement.to_owned()),
            repetition: Some(repetition as u32),
            ..Label::default()
        })
    }
}

/// Reads a two-digit field in `01..=last`.
fn code(relative: &Path, name: &str, text: &str, last: usize) -> Result<usize> {
    let two_digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse::<usize>() {
        Ok(value) if two_digits && (1..=last).contains(&value) => Ok(value),
        _ => Err(unreadable(relative, format!("{name} code {text}, RAVDESS has 01 to {last:02}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(name: &str) -> String {
        Grammar.label(Path::new(name)).unwrap_err().reason()
    }

    #[test]
    fn ravdess_calm_is_a_word_of_its_own() {
        let label = Grammar.label(Path::new("03-01-02-01-01-02-24.wav")).unwrap();
        assert_eq!(label.emotion.as_deref(), Some("calm"));
        assert_eq!(label.emotion_original.as_deref(), Some("calm"));
        assert_eq!(label.intensity.as_deref(), Some("normal"));
        assert_eq!(label.statement.as_deref(), Some("Kids are talking by the door"));
        assert_eq!(label.repetition, Some(2));
    }

    #[test]
    fn ravdess_codes_map_to_the_published_emotions() {
        let expected = ["neutral", "calm", "happy", "sad", "angry", "fear", "disgust", "surprise"];
        for (index, emotion) in expected.into_iter().enumerate() {
            let name = format!("03-01-{:02}-01-01-01-01.wav", index + 1);
            assert_eq!(Grammar.label(Path::new(&name)).unwrap().emotion.as_deref(), Some(emotion), "{name}");
        }
    }

    #[test]
    fn ravdess_wrong_codes_name_the_field_and_the_limit() {
        assert_eq!(reason("03-01-09-01-02-01-01.wav"), "emotion code 09, RAVDESS has 01 to 08");
        assert_eq!(reason("03-01-00-01-02-01-01.wav"), "emotion code 00, RAVDESS has 01 to 08");
        assert_eq!(reason("03-01-05-03-02-01-01.wav"), "intensity code 03, RAVDESS has 01 to 02");
        assert_eq!(reason("03-01-05-01-02-01-25.wav"), "actor code 25, RAVDESS has 01 to 24");
        assert_eq!(reason("03-01-05-01-02-01-+1.wav"), "actor code +1, RAVDESS has 01 to 24");
        assert_eq!(reason("03-01-05-01-02-01.wav"), "file name has 6 fields between dashes, RAVDESS has 7");
    }

    #[test]
    fn ravdess_song_and_video_are_rejected_by_name() {
        assert_eq!(reason("03-02-05-01-02-01-01.wav"), "vocal channel 02 is song, wanted is 01, speech");
        assert_eq!(reason("01-01-05-01-02-01-01.mp4"), "modality 01 is audio and video, wanted is 03, audio only");
        assert_eq!(reason("02-01-05-01-02-01-01.mp4"), "modality 02 is video only, wanted is 03, audio only");
    }
}
