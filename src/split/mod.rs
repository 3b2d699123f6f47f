//! Which recordings train, which choose the best epoch, which are tested: the protocols.
//!
//! A draw depends on the seed and on what is drawn alone: a recording's content, the name of a speaker, a sentence or a corpus. It
//! never knows where a recording lies or in which order it was found.

mod draw;
mod groups;
#[cfg(test)]
mod proof;
mod protocol;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::leaks::LeakKinds;
use crate::units::Seed;

pub use groups::{FOLD_SETS, Groups};
pub use protocol::Protocol;

/// The side a recording, or one copy of it, stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    Train,
    Validation,
    Test,
}

impl Split {
    /// All sides.
    pub const ALL: [Self; 3] = [Self::Train, Self::Validation, Self::Test];

    /// The name used in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }

    /// Reads a side from its table name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|split| split.name() == name)
    }
}

/// Key of `[split.folds]` for every corpus that has none of its own.
pub const ANY: &str = "any";

/// Each fold is a training: more than these are a mistake.
pub const LARGEST_N_FOLDS: usize = 64;

/// `[split]`: how the sides are drawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitConfig {
    /// What stays together on one side.
    pub protocol: Protocol,
    /// Share of the test side where no folds are asked for: rounded up for `paper`; whole speakers, sentences are drawn until it
    /// is reached.
    pub test_fraction: f64,
    /// Share of the training side that is carved out to choose the best epoch, by the same rule as the test side; 0: there is no
    /// validation side. Not used by `paper`. Where the user's table gives the sides, above 0 says that its validation side is used.
    pub validation_fraction: f64,
    /// Which speakers, sentences, corpora or recordings are tested in which fold: by corpus, or `any` for all of them; the protocols
    /// whose members are corpora or given folds know `any` alone. Without it there is one fold, drawn by `test_fraction`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub folds: BTreeMap<String, Groups>,
    /// What two sides may have in common; `train` refuses sides that share anything else.
    #[serde(default, skip_serializing_if = "LeakKinds::is_empty")]
    pub allow_leaks: LeakKinds,
}

impl SplitConfig {
    /// The side on which training can choose its best epoch; `None` where there is none.
    pub fn monitored(&self) -> Option<Split> {
        match self.protocol {
            Protocol::Paper => Some(Split::Test),
            _ => (self.validation_fraction > 0.0).then_some(Split::Validation),
        }
    }

    /// Refuses shares and folds that place nothing.
    pub fn check(&self) -> Result<()> {
        for (key, value) in [("test_fraction", self.test_fraction), ("validation_fraction", self.validation_fraction)] {
            if !(0.0..1.0).contains(&value) {
                return Err(Error::recipe(format!("[split] {key} = {value}: must be at least 0 and under 1")));
            }
        }
        let key = self.folds.keys().next().map_or("", String::as_str);
        let refuse = |why: &str| Err(Error::recipe(format!("[split.folds] {key}: {why}")));
        match self.protocol {
            Protocol::Paper | Protocol::Unsplit if !self.folds.is_empty() => {
                return refuse(&format!("protocol `{}` has no folds", self.protocol.name()));
            }
            Protocol::CrossCorpus | Protocol::Given if self.folds.keys().any(|key| key != ANY) => {
                return refuse(&format!("protocol `{}` knows the key `{ANY}` alone", self.protocol.name()));
            }
            Protocol::SourceDisjoint if self.folds.values().any(|groups| !matches!(groups, Groups::Count(_))) => {
                return refuse("folds of recordings are a number");
            }
            _ => {}
        }
        self.folds.iter().try_for_each(|(key, groups)| groups.check(key))
    }

    /// Groups of the protocols that have folds without being asked.
    fn default_groups(&self) -> Option<Groups> {
        matches!(self.protocol, Protocol::CrossCorpus | Protocol::Given)
            .then(|| Groups::Named(groups::LEAVE_ONE_OUT.into()))
    }
}

/// A recording to be placed.
#[derive(Clone, Debug, Default)]
pub struct Candidate<'a> {
    /// BLAKE3 of its bytes, with its part of them where it is not the whole; unique among the candidates.
    pub content_hash: &'a str,
    /// Its corpus.
    pub corpus: &'a str,
    /// Position of its class.
    pub class: usize,
    /// Who speaks.
    pub speaker: Option<&'a str>,
    /// What is said.
    pub statement: Option<&'a str>,
    /// The side that the user's table gives.
    pub given_split: Option<&'a str>,
    /// The fold that the user's table gives.
    pub given_fold: Option<&'a str>,
}

/// Sides in every fold.
#[derive(Clone, Debug, PartialEq)]
pub struct Assigned {
    /// `[fold][candidate][copy]`, copy 0 the original; nothing for `unsplit`.
    pub folds: Vec<Vec<Vec<Option<Split>>>>,
    /// What the user should know of them.
    pub notes: Vec<String>,
}

/// The side of every copy of every candidate in every fold.
///
/// Errors: kind `Input` where recordings lack what the protocol keeps together; kind `Recipe` for folds that cannot be made of them, and
/// for a fold that tests or trains nothing.
pub fn assign(config: &SplitConfig, seed: Seed, candidates: &[Candidate], n_copies: u32) -> Result<Assigned> {
    let n_variants = n_copies as usize + 1;
    let one = |sides| Assigned { folds: vec![sides], notes: Vec::new() };
    let mut assigned = match config.protocol {
        Protocol::Unsplit => return Ok(Assigned { folds: Vec::new(), notes: Vec::new() }),
        Protocol::Paper => return Ok(one(draw::paper(config, seed, candidates, n_variants))),
        Protocol::SourceDisjoint if config.folds.is_empty() => {
            return Ok(one(draw::by_recording(config, seed, candidates, n_variants)));
        }
        Protocol::Given if candidates.iter().any(|candidate| candidate.given_split.is_some()) => {
            one(given(candidates, n_variants)?)
        }
        _ => draw::by_member(config, seed, candidates, n_variants)?,
    };
    let n_folds = assigned.folds.len();
    for fold in 0..n_folds {
        let sides = &assigned.folds[fold];
        check_fold(config, fold, sides)?;
        assigned.notes.extend(missing_classes(candidates, fold, sides));
    }
    Ok(assigned)
}

/// The sides of the user's own table; recordings without one stand on none.
fn given(candidates: &[Candidate], n_variants: usize) -> Result<Vec<Vec<Option<Split>>>> {
    if candidates.iter().any(|candidate| candidate.given_fold.is_some()) {
        return Err(Error::input("the tables of labels give both sides and folds")
            .hint("leave one out with columns = { split = \"\" } or columns = { fold = \"\" }"));
    }
    let side = |candidate: &Candidate| candidate.given_split.and_then(Split::from_name);
    Ok(candidates.iter().map(|candidate| vec![side(candidate); n_variants]).collect())
}

/// Refuses a fold without a training or a test side, where one is wanted.
fn check_fold(config: &SplitConfig, fold: usize, sides: &[Vec<Option<Split>>]) -> Result<()> {
    let is_wanted = |side| side != Split::Test || config.test_fraction > 0.0 || !config.folds.is_empty();
    for side in [Split::Train, Split::Test] {
        if is_wanted(side) && !sides.iter().any(|copies| copies.first() == Some(&Some(side))) {
            let protocol = config.protocol.name();
            let text = format!("protocol `{protocol}`: fold {fold} has no recording on the {} side", side.name());
            return Err(Error::input(text)
                .hint("look at `[split]`, and at what the manifest says of corpora, speakers and statements"));
        }
    }
    Ok(())
}

/// Says which classes a side of a fold lacks, that others have.
fn missing_classes(candidates: &[Candidate], fold: usize, sides: &[Vec<Option<Split>>]) -> Vec<String> {
    let classes = |wanted: Option<Split>| -> std::collections::BTreeSet<usize> {
        let on = sides.iter().zip(candidates);
        let on = on.filter(|(copies, _)| wanted.is_none_or(|wanted| copies.first() == Some(&Some(wanted))));
        on.map(|(_, candidate)| candidate.class).collect()
    };
    let all = classes(None);
    let mut notes = Vec::new();
    for side in [Split::Train, Split::Test] {
        let own = classes(Some(side));
        if !own.is_empty() && own != all {
            let n = all.difference(&own).count();
            notes.push(format!(
                "fold {fold}: {n} of {} classes have no recording on the {} side",
                all.len(),
                side.name()
            ));
        }
    }
    notes
}
