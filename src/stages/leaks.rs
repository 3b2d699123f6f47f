//! Leaks that an audit found: summed up by kind and sides, and refused where the recipe does not allow them.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::leaks::{LeakKind, LeakKinds};
use crate::split::{Split, SplitConfig};
use crate::storage::commit::Commit;
use crate::storage::layout::Store;
use crate::tables::committed_rows;
use crate::tables::leaks::LeakRow;

/// Examples that are shown of one kind between two sides.
const EXAMPLES: usize = 3;

/// The leaks of one kind between two sides, over all folds.
pub struct Shared {
    pub kind: LeakKind,
    pub sides: (Split, Split),
    /// Folds in which there are any.
    pub n_folds: usize,
    /// Rows of `leaks`.
    pub n: usize,
    /// Items of the second side, summed over the folds.
    pub n_items: u64,
    pub allowed: bool,
    /// The first ones.
    pub examples: Vec<LeakRow>,
}

impl Shared {
    /// Sums rows up, in the order of kinds and sides.
    pub fn of(rows: &[LeakRow]) -> Vec<Self> {
        let key = |row: &LeakRow| (row.kind, (row.side_a, row.side_b));
        let keys: BTreeSet<_> = rows.iter().map(key).collect();
        let sum = |(kind, sides)| {
            let own: Vec<&LeakRow> = rows.iter().filter(|row| key(row) == (kind, sides)).collect();
            Self {
                kind,
                sides,
                n_folds: own.iter().map(|row| row.fold).collect::<BTreeSet<_>>().len(),
                n: own.len(),
                n_items: own.iter().map(|row| u64::from(row.n_b)).sum(),
                allowed: own.iter().all(|row| row.allowed),
                examples: own.into_iter().take(EXAMPLES).cloned().collect(),
            }
        };
        keys.into_iter().map(sum).collect()
    }

    /// Such as `1512 twins between train and test`.
    pub fn count(&self) -> String {
        let folds = if self.n_folds > 1 { format!(" in {} folds", self.n_folds) } else { String::new() };
        format!("{} {} between {} and {}{folds}", self.n, self.kind.name(), self.sides.0.name(), self.sides.1.name())
    }

    /// The first one, with the names of its recordings.
    pub fn example(&self) -> String {
        self.examples.first().map(described).unwrap_or_default()
    }

    /// One line of `sermill audit`.
    pub fn to_json(&self) -> Value {
        let example = |row: &LeakRow| {
            json!({ "shared": row.shared, "a": named(&row.recording_a, row.copy_a),
                "b": named(&row.recording_b, row.copy_b), "because": row.because, "fold": row.fold })
        };
        json!({
            "leaks": self.kind, "sides": [self.sides.0, self.sides.1], "n": self.n, "folds": self.n_folds,
            "items": self.n_items, "allowed": self.allowed,
            "examples": self.examples.iter().map(example).collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let allowed = if self.allowed { "allowed" } else { "not allowed" };
        write!(f, "{} ({allowed}): ", self.count())?;
        let examples: Vec<String> = self.examples.iter().map(described).collect();
        f.write_str(&examples.join("; "))?;
        f.write_str(if self.n > EXAMPLES { "; ..." } else { "" })
    }
}

fn named(recording_id: &str, copy: u32) -> String {
    if copy == 0 { recording_id.into() } else { format!("{recording_id} copy {copy}") }
}

fn described(row: &LeakRow) -> String {
    let shared = row.shared.as_ref().map(|shared| format!("{shared}, ")).unwrap_or_default();
    format!(
        "{shared}`{}` ({}) and `{}` ({}): {}",
        named(&row.recording_a, row.copy_a),
        row.side_a.name(),
        named(&row.recording_b, row.copy_b),
        row.side_b.name(),
        row.because
    )
}

/// Refuses sides that share more than the recipe allows.
///
/// Errors: kind `Input`, with what is shared, an example, and the line that would allow it.
pub fn refuse_leaks(store: &Store, split: &SplitConfig, audit: &Commit) -> Result<()> {
    // What is allowed is the recipe's word of today; the rows may have been found under another.
    let allowed = split.allow_leaks;
    let leaks = committed_rows::<LeakRow>(store, audit)?;
    let refused: Vec<LeakRow> = leaks.into_iter().filter(|leak| !allowed.has(leak.kind)).collect();
    let shared = Shared::of(&refused);
    let Some(worst) = shared.first() else { return Ok(()) };
    let all: Vec<String> = shared.iter().map(Shared::count).collect();
    let needed: LeakKinds = allowed.iter().chain(shared.iter().map(|shared| shared.kind)).collect();
    Err(Error::input(format!(
        "the split leaks: {}; such as {}",
        all.join(", "),
        worst.example()
    ))
    .at_place(format!("[split] protocol = \"{}\"", split.protocol.name()))
    .hint(format!(
        "`sermill audit` shows them all; choose another protocol or leave recordings out, or, if that is meant, write below [split]: \
         allow_leaks = {}",
        needed.list()
    )))
}
