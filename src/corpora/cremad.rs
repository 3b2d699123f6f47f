//! CREMA-D: actor, sentence, emotion and intensity, `1001_DFA_ANG_XX.wav`.
//!
//! Actors 1001 to 1091; 12 sentences by three letters; emotions ANG DIS FEA HAP NEU SAD; intensity LO, MD, HI, or XX
//! where none was asked for (one file, `1040_ITH_SAD_X.wav`, has a single X). `1076_MTI_SAD_XX.wav` holds no sound.

use std::path::Path;

use super::{ColumnReader, Corpus, Example, ExpectedCounts, Label, Labeller, Options, Sex, stem, unreadable};
use crate::error::Result;

const FIRST_ACTOR: u32 = 1001;
const LAST_ACTOR: u32 = 1091;

/// The 43 actresses, as numbers above 1000 (source: `VideoDemographics.csv` of the corpus); the other 48 are men.
const FEMALE: [u32; 43] = [
    2, 3, 4, 6, 7, 8, 9, 10, 12, 13, 18, 20, 21, 24, 25, 28, 29, 30, 37, 43, 46, 47, 49, 52, 53, 54, 55, 56, 58, 60,
    61, 63, 72, 73, 74, 75, 76, 78, 79, 82, 84, 89, 91,
];

const SENTENCES: [(&str, &str); 12] = [
    ("DFA", "Don't forget a jacket"),
    ("IEO", "It's eleven o'clock"),
    ("IOM", "I'm on my way to the meeting"),
    ("ITH", "I think I have a doctor's appointment"),
    ("ITS", "I think I've seen this before"),
    ("IWL", "I would like a new alarm clock"),
    ("IWW", "I wonder what this is about"),
    ("MTI", "Maybe tomorrow it will be cold"),
    ("TAI", "The airplane is almost full"),
    ("TIE", "That is exactly what happened"),
    ("TSI", "The surface is slick"),
    ("WSI", "We'll stop in a couple of minutes"),
];

/// The Crowd-sourced Emotional Multimodal Actors Dataset, audio part.
pub struct CremaD;

impl Corpus for CremaD {
    fn name(&self) -> &'static str {
        "cremad"
    }

    fn about(&self) -> &'static str {
        "CREMA-D: 91 American actors, 12 sentences, 6 emotions (no surprise), 3 intensities"
    }

    fn provenance(&self) -> &'static str {
        "Cao, Cooper, Keutmann, Gur, Nenkova, Verma (2014), CREMA-D, IEEE Transactions on Affective Computing 5(4) \
         377-390, doi 10.1109/TAFFC.2014.2336244; Open Database License. File-name grammar and the actors' sex from \
         the README and VideoDemographics.csv of its repository (CheyneyComputerScience/CREMA-D)."
    }

    fn expected(&self) -> Option<ExpectedCounts> {
        Some(ExpectedCounts {
            recordings: 7442,
            speakers: 91,
            per_emotion: &[
                ("angry", 1271),
                ("disgust", 1271),
                ("fear", 1271),
                ("happy", 1271),
                ("neutral", 1087),
                ("sad", 1271),
            ],
        })
    }

    fn examples(&self) -> &'static [Example] {
        &[
            Example {
                path: "AudioWAV/1001_DFA_ANG_XX.wav",
                speaker: Some("cremad-1001"),
                sex: Some(Sex::Male),
                emotion: Some("angry"),
                emotion_original: Some("anger"),
            },
            Example {
                path: "1091_IEO_SAD_HI.wav",
                speaker: Some("cremad-1091"),
                sex: Some(Sex::Female),
                emotion: Some("sad"),
                emotion_original: Some("sadness"),
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
        let fields: Vec<&str> = stem(relative)?.split('_').collect();
        let &[actor_text, sentence, emotion, intensity] = fields.as_slice() else {
            let reason = format!("file name has {} fields between underscores, CREMA-D has 4", fields.len());
            return Err(unreadable(relative, reason));
        };
        let wrong = |what: &str, text: &str, allowed: &str| {
            Err(unreadable(relative, format!("{what} `{text}`, CREMA-D has {allowed}")))
        };
        let actor = match actor_text.parse::<u32>() {
            Ok(actor) if (FIRST_ACTOR..=LAST_ACTOR).contains(&actor) && actor_text.len() == 4 => actor,
            _ => return wrong("actor", actor_text, "1001 to 1091"),
        };
        let Some((_, statement)) = SENTENCES.iter().find(|(code, _)| *code == sentence) else {
            return wrong("sentence", sentence, "DFA IEO IOM ITH ITS IWL IWW MTI TAI TIE TSI WSI");
        };
        let (emotion, original) = match emotion {
            "ANG" => ("angry", "anger"),
            "DIS" => ("disgust", "disgust"),
            "FEA" => ("fear", "fear"),
            "HAP" => ("happy", "happy"),
            "NEU" => ("neutral", "neutral"),
            "SAD" => ("sad", "sadness"),
            other => return wrong("emotion", other, "ANG DIS FEA HAP NEU SAD"),
        };
        let intensity = match intensity {
            "LO" => "low",
            "MD" => "medium",
            "HI" => "high",
            "XX" | "X" => "unspecified",
            other => return wrong("intensity", other, "LO MD HI XX"),
        };
        let female = FEMALE.contains(&(actor - 1000));
        Ok(Label {
            speaker: Some(format!("cremad-{actor}")),
            sex: Some(if female { Sex::Female } else { Sex::Male }),
            emotion: Some(emotion.to_owned()),
            emotion_original: Some(original.to_owned()),
            intensity: Some(intensity.to_owned()),
            statement: Some((*statement).to_owned()),
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
    fn cremad_has_43_women_and_48_men() {
        let sex = |actor: u32| Grammar.label(Path::new(&format!("{actor}_IEO_NEU_XX.wav"))).unwrap().sex;
        let n_female = (FIRST_ACTOR..=LAST_ACTOR).filter(|&actor| sex(actor) == Some(Sex::Female)).count();
        assert_eq!(n_female, 43);
        assert!(FEMALE.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn cremad_single_x_is_read_as_unspecified_intensity() {
        let label = Grammar.label(Path::new("1040_ITH_SAD_X.wav")).unwrap();
        assert_eq!(label.intensity.as_deref(), Some("unspecified"));
        assert_eq!(label.statement.as_deref(), Some("I think I have a doctor's appointment"));
    }

    #[test]
    fn cremad_wrong_parts_are_named_with_what_is_allowed() {
        assert_eq!(reason("1092_IEO_SAD_HI.wav"), "actor `1092`, CREMA-D has 1001 to 1091");
        assert_eq!(reason("1001_IEO_SUR_HI.wav"), "emotion `SUR`, CREMA-D has ANG DIS FEA HAP NEU SAD");
        assert_eq!(reason("1001_IEO_SAD_VH.wav"), "intensity `VH`, CREMA-D has LO MD HI XX");
        assert!(reason("1001_XYZ_SAD_HI.wav").starts_with("sentence `XYZ`, CREMA-D has DFA IEO"));
        assert_eq!(reason("1001_IEO_SAD.wav"), "file name has 3 fields between underscores, CREMA-D has 4");
    }
}
