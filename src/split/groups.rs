//! Which members are tested in which fold.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::split::draw::draw;
use crate::units::Seed;

/// Folds that a recipe may name; each is a file in `pipelines/folds/`.
pub const FOLD_SETS: &[(&str, &str)] = &[
    ("emobox-ravdess", include_str!("../../pipelines/folds/emobox-ravdess.toml")),
    ("inner-ravdess", include_str!("../../pipelines/folds/inner-ravdess.toml")),
    ("luna-jimenez-ravdess", include_str!("../../pipelines/folds/luna-jimenez-ravdess.toml")),
];

/// A fold for each member.
pub(super) const LEAVE_ONE_OUT: &str = "leave-one-out";

/// One value of `[split.folds]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Groups {
    /// So many folds of about as many recordings.
    Count(usize),
    /// `leave-one-out`, or a set of [`FOLD_SETS`].
    Named(String),
    /// The members that each fold tests; all others always train.
    Listed(Vec<Vec<String>>),
}

impl Groups {
    /// Refuses names that no set has and lists that make no folds.
    pub(super) fn check(&self, key: &str) -> Result<()> {
        let place = format!("[split.folds] {key}");
        match self {
            Self::Count(0 | 1) => Err(Error::recipe(format!("{place}: a number of folds is at least 2"))
                .hint("leave the key out for one draw by test_fraction")),
            Self::Named(name) if name != LEAVE_ONE_OUT => shipped(name).map(|_| ()),
            Self::Listed(folds) => {
                let mut seen = std::collections::BTreeSet::new();
                if folds.is_empty() || folds.iter().any(Vec::is_empty) {
                    return Err(Error::recipe(format!("{place}: a fold without a name tests nothing")));
                }
                match folds.iter().flatten().find(|name| !seen.insert(name.as_str())) {
                    Some(twice) => Err(Error::recipe(format!("{place}: `{twice}` is tested twice"))),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    /// The fold that tests each of `members` (name, number of recordings; sorted by name), with the number of folds; `None` for
    /// members that always train. Names that are listed and not there are the last result.
    pub(super) fn place(&self, members: &[(&str, usize)], what: &str, seed: Seed) -> Result<Placed> {
        let listed = match self {
            Self::Named(name) if name == LEAVE_ONE_OUT => {
                let folds = (0..members.len()).map(Some).collect();
                return Ok(Placed { folds, n_folds: members.len(), absent: Vec::new() });
            }
            Self::Count(n_folds) => return balanced(*n_folds, members, what, seed),
            Self::Named(name) => shipped(name)?,
            Self::Listed(folds) => folds.clone(),
        };
        let fold_of = |member: &str| listed.iter().position(|fold| fold.iter().any(|name| name == member));
        let absent = listed.iter().flatten().filter(|name| members.iter().all(|(member, _)| member != name));
        Ok(Placed {
            folds: members.iter().map(|(member, _)| fold_of(member)).collect(),
            n_folds: listed.len(),
            absent: absent.cloned().collect(),
        })
    }
}

/// What [`Groups::place`] found.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Placed {
    pub folds: Vec<Option<usize>>,
    pub n_folds: usize,
    pub absent: Vec<String>,
}

/// The largest members first, each to the fold with the fewest recordings; equals in a drawn order.
fn balanced(n_folds: usize, members: &[(&str, usize)], what: &str, seed: Seed) -> Result<Placed> {
    if members.len() < n_folds {
        return Err(Error::recipe(format!("{n_folds} folds are asked of {} {what}", members.len()))
            .hint("give a smaller number in [split.folds], or \"leave-one-out\""));
    }
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_by_key(|&at| (std::cmp::Reverse(members[at].1), draw(seed, members[at].0, 0)));
    let (mut folds, mut sizes) = (vec![None; members.len()], vec![0; n_folds]);
    for at in order {
        let fold = (0..n_folds).min_by_key(|&fold| sizes[fold]).unwrap_or(0);
        folds[at] = Some(fold);
        sizes[fold] += members[at].1;
    }
    Ok(Placed { folds, n_folds, absent: Vec::new() })
}

/// The folds of a set that sermill ships.
fn shipped(name: &str) -> Result<Vec<Vec<String>>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        #[allow(dead_code)] // For the reader of the file.
        source: String,
        folds: Vec<Vec<String>>,
    }
    let Some((_, text)) = FOLD_SETS.iter().find(|(known, _)| *known == name) else {
        let known: Vec<&str> = FOLD_SETS.iter().map(|(name, _)| *name).collect();
        return Err(Error::recipe(format!("[split.folds]: there are no folds called `{name}`"))
            .hint(format!("give \"{LEAVE_ONE_OUT}\", a number, lists of names, or one of {}", known.join(", "))));
    };
    let file: File = toml::from_str(text).map_err(|error| Error::bug("shipped folds are wrong").because(error))?;
    Ok(file.folds)
}
