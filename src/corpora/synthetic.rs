//! The synthetic corpus: the design of what is spoken, and its file names, `speaker_03/03-angry-s2-r1.wav`.
//!
//! Fields: speaker, emotion name, statement after `s`, repetition after `r`, all numbers from 1. Odd speakers are
//! male, even ones female. [`crate::corpora::synthesise`] makes the sound of an [`Utterance`].

use std::path::{Path, PathBuf};

use super::{ColumnReader, Corpus, Example, ExpectedCounts, Label, Labeller, Options, Sex, stem, unreadable};
use crate::corpora::acted::Emotion;
use crate::error::Result;
use crate::units::Seed;

/// One recording of the synthetic corpus; all numbers count from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Utterance {
    /// `speaker_03/03-angry-s2-r1.wav`, below the root of the corpus.
    pub relative: PathBuf,
    pub speaker: usize,
    pub emotion: Emotion,
    pub statement: usize,
    pub repetition: usize,
}

impl Utterance {
    /// The utterance and its file name.
    pub fn new(speaker: usize, emotion: Emotion, statement: usize, repetition: usize) -> Self {
        let name = format!("{speaker:02}-{emotion}-s{statement}-r{repetition}.wav");
        let relative = PathBuf::from(format!("speaker_{speaker:02}")).join(name);
        Self { relative, speaker, emotion, statement, repetition }
    }

    /// The seed of one purpose for this utterance alone; it does not depend on how paths are written.
    pub(super) fn seed(&self, corpus: Seed, purpose: &str) -> Seed {
        let numbers = [self.speaker, self.statement, self.repetition].map(|number| (number as u64).to_le_bytes());
        corpus.derive(purpose, &[&numbers[0], self.emotion.name().as_bytes(), &numbers[1], &numbers[2]])
    }

    /// Odd speakers are male, even ones female.
    pub fn sex(&self) -> Sex {
        if self.speaker % 2 == 1 { Sex::Male } else { Sex::Female }
    }
}

/// The full crossing of speakers, seven emotions, statements and repetitions, ordered by speaker, then emotion.
pub fn design(n_speakers: usize, n_statements: usize, n_repetitions: usize) -> Vec<Utterance> {
    let mut utterances = Vec::with_capacity(n_speakers * Emotion::ALL.len() * n_statements * n_repetitions);
    for speaker in 1..=n_speakers {
        for emotion in Emotion::ALL {
            for statement in 1..=n_statements {
                for repetition in 1..=n_repetitions {
                    utterances.push(Utterance::new(speaker, emotion, statement, repetition));
                }
            }
        }
    }
    utterances
}

/// What `sermill synth` writes.
pub struct Synthetic;

impl Corpus for Synthetic {
    fn name(&self) -> &'static str {
        "synthetic"
    }

    fn about(&self) -> &'static str {
        "what `sermill synth` writes: synthetic voices with acted prosody, for demos and tests"
    }

    fn provenance(&self) -> &'static str {
        "Made by this program: a source-filter synthesiser whose emotions differ in prosody only (Murray, Arnott 1993; \
         Scherer 2003; Burkhardt, Sendlmeier 2000). Numbers reached on it say nothing about human speech."
    }

    fn expected(&self) -> Option<ExpectedCounts> {
        None
    }

    fn examples(&self) -> &'static [Example] {
        &[
            Example {
                path: "speaker_03/03-angry-s2-r1.wav",
                speaker: Some("synthetic-03"),
                sex: Some(Sex::Male),
                emotion: Some("angry"),
                emotion_original: Some("angry"),
            },
            Example {
                path: "speaker_10/10-surprise-s1-r12.wav",
                speaker: Some("synthetic-10"),
                sex: Some(Sex::Female),
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
        let fields: Vec<&str> = stem.split('-').collect();
        let &[speaker, emotion, statement, repetition] = fields.as_slice() else {
            let reason = format!("file name `{stem}`, the synthetic corpus has SPEAKER-emotion-sN-rN");
            return Err(unreadable(relative, reason));
        };
        let number = |what: &str, text: &str, prefix: &str| match text.strip_prefix(prefix).map(str::parse::<u32>) {
            Some(Ok(value)) if value >= 1 => Ok(value),
            _ => Err(unreadable(relative, format!("{what} `{text}`, wanted is {prefix}1 or more"))),
        };
        let speaker = number("speaker", speaker, "")? as usize;
        let Some(emotion) = Emotion::from_name(emotion) else {
            let seven = Emotion::ALL.map(Emotion::name).join(" ");
            return Err(unreadable(relative, format!("emotion `{emotion}` is none of {seven}")));
        };
        let statement = number("statement", statement, "s")? as usize;
        let repetition = number("repetition", repetition, "r")?;
        Ok(Label {
            speaker: Some(format!("synthetic-{speaker:02}")),
            sex: Some(Utterance::new(speaker, emotion, statement, repetition as usize).sex()),
            emotion: Some(emotion.name().to_owned()),
            emotion_original: Some(emotion.name().to_owned()),
            statement: Some(format!("synthetic-s{statement}")),
            repetition: Some(repetition),
            ..Label::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn synthetic_design_is_a_full_crossing_of_unique_paths() {
        let utterances = design(3, 4, 2);
        assert_eq!(utterances.len(), 3 * 7 * 4 * 2);
        let paths: BTreeSet<&Path> = utterances.iter().map(|utterance| utterance.relative.as_path()).collect();
        assert_eq!(paths.len(), utterances.len());
        assert!(design(0, 4, 2).is_empty());
    }

    #[test]
    fn synthetic_names_read_back_as_they_were_designed() {
        for utterance in design(11, 2, 2) {
            let label = Grammar.label(&utterance.relative).unwrap();
            assert_eq!(label.emotion.as_deref(), Some(utterance.emotion.name()));
            assert_eq!(label.sex, Some(utterance.sex()));
            assert_eq!(label.speaker, Some(format!("synthetic-{:02}", utterance.speaker)));
            assert_eq!(label.statement, Some(format!("synthetic-s{}", utterance.statement)));
            assert_eq!(label.repetition, Some(utterance.repetition as u32));
        }
    }

    #[test]
    fn synthetic_wrong_parts_are_named_with_what_is_allowed() {
        let reason = |name: &str| Grammar.label(Path::new(name)).unwrap_err().reason();
        assert_eq!(reason("03-angry-2-r1.wav"), "statement `2`, wanted is s1 or more");
        assert_eq!(reason("00-angry-s2-r1.wav"), "speaker `00`, wanted is 1 or more");
        assert!(reason("03-bored-s2-r1.wav").starts_with("emotion `bored` is none of angry"));
        assert_eq!(reason("angry.wav"), "file name `angry`, the synthetic corpus has SPEAKER-emotion-sN-rN");
    }
}
