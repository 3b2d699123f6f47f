//! The protocols: what stays together on one side, and what speaks against a number made so.

use serde::{Deserialize, Serialize};

use crate::split::Candidate;

/// How the sides are drawn; every number is quoted with its protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// The paper's: a random draw over originals and noisy copies together, best epoch chosen on the test set. It leaks.
    Paper,
    /// A draw over recordings, stratified by corpus and class; copies stay with their original.
    SourceDisjoint,
    /// A speaker stands on one side with all that was recorded of them.
    SpeakerIndependent,
    /// A corpus stands on one side as a whole.
    CrossCorpus,
    /// A sentence stands on one side, whoever speaks it.
    TextDisjoint,
    /// The folds or sides that the user's own table gives.
    Given,
    /// No sides: recordings are only scored.
    Unsplit,
}

impl Protocol {
    /// All protocols.
    pub const ALL: [Self; 7] = [
        Self::Paper,
        Self::SourceDisjoint,
        Self::SpeakerIndependent,
        Self::CrossCorpus,
        Self::TextDisjoint,
        Self::Given,
        Self::Unsplit,
    ];

    /// The name used in tables and pipeline files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Paper => "paper",
            Self::SourceDisjoint => "source-disjoint",
            Self::SpeakerIndependent => "speaker-independent",
            Self::CrossCorpus => "cross-corpus",
            Self::TextDisjoint => "text-disjoint",
            Self::Given => "given",
            Self::Unsplit => "unsplit",
        }
    }

    /// The protocol called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.name() == name)
    }

    /// What a reader of the number must know; empty when nothing speaks against it.
    pub fn warning(self) -> &'static str {
        match self {
            Self::Paper => {
                "protocol `paper` leaks: noisy copies and their originals stand on both sides, every speaker is on both \
                 sides, and the best epoch is chosen on the test set; read its numbers as a replication, not as accuracy \
                 on new recordings"
            }
            Self::SourceDisjoint => {
                "protocol `source-disjoint` keeps copies with their originals, but every speaker is on both sides"
            }
            Self::TextDisjoint => "protocol `text-disjoint` keeps sentences apart, but every speaker is on both sides",
            Self::SpeakerIndependent | Self::CrossCorpus | Self::Given | Self::Unsplit => "",
        }
    }

    /// What is held out together, in the plural; `None` where nothing is or where copies are drawn for themselves.
    pub fn held_together(self) -> Option<&'static str> {
        match self {
            Self::Paper | Self::Unsplit => None,
            Self::SourceDisjoint => Some("recordings"),
            Self::SpeakerIndependent => Some("speakers"),
            Self::CrossCorpus => Some("corpora"),
            Self::TextDisjoint => Some("sentences"),
            Self::Given => Some("given folds"),
        }
    }

    /// What a recording is held out with; `None` where the tables do not say it.
    pub(super) fn member<'a>(self, candidate: &Candidate<'a>) -> Option<&'a str> {
        match self {
            Self::Paper | Self::Unsplit | Self::SourceDisjoint => Some(candidate.content_hash),
            Self::SpeakerIndependent => candidate.speaker,
            Self::CrossCorpus => Some(candidate.corpus),
            Self::TextDisjoint => candidate.statement,
            Self::Given => candidate.given_fold,
        }
    }

    /// Among which others a member is drawn, so that each side gets its share of them: a corpus, one of its classes, or all.
    pub(super) fn stratum<'a>(self, candidate: &Candidate<'a>) -> (&'a str, usize) {
        match self {
            Self::SourceDisjoint => (candidate.corpus, candidate.class),
            Self::SpeakerIndependent | Self::TextDisjoint => (candidate.corpus, 0),
            Self::Paper | Self::CrossCorpus | Self::Given | Self::Unsplit => ("", 0),
        }
    }
}
