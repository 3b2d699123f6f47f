//! `folds`: which recording stands on which side, assigned once and joined wherever a side is asked for.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::split::Split;
use crate::tables::Row;

/// See `schemas/folds.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FoldRow {
    pub recording_id: String,
    pub copy: u32,
    pub fold: u32,
    pub split: Split,
    pub protocol: String,
    pub seed: i64,
    pub labels: String,
}

impl Row for FoldRow {
    const SCHEMA: &'static str = include_str!("../../schemas/folds.toml");
}

/// The side of each copy of each recording, in one fold.
#[derive(Clone, Debug, Default)]
pub struct Sides(HashMap<String, Vec<Option<Split>>>);

impl Sides {
    /// Those of `fold`.
    pub fn of(rows: impl IntoIterator<Item = FoldRow>, fold: u32) -> Self {
        let mut sides = Self::default();
        rows.into_iter().filter(|row| row.fold == fold).for_each(|row| sides.add(row));
        sides
    }

    /// Those of every fold.
    pub fn by_fold(rows: impl IntoIterator<Item = FoldRow>) -> Vec<Self> {
        let mut folds: Vec<Self> = Vec::new();
        for row in rows {
            let fold = row.fold as usize;
            if folds.len() <= fold {
                folds.resize(fold + 1, Self::default());
            }
            folds[fold].add(row);
        }
        folds
    }

    fn add(&mut self, row: FoldRow) {
        let copies = self.0.entry(row.recording_id).or_default();
        let copy = row.copy as usize;
        if copies.len() <= copy {
            copies.resize(copy + 1, None);
        }
        copies[copy] = Some(row.split);
    }

    /// Whether any copy of a recording stands on a side.
    pub fn has(&self, recording_id: &str) -> bool {
        self.0.contains_key(recording_id)
    }

    /// The side of one copy, 0 the original; `None` for a recording on no side.
    pub fn get(&self, recording_id: &str, copy: u32) -> Option<Split> {
        self.0.get(recording_id)?.get(copy as usize).copied().flatten()
    }
}

#[cfg(test)]
impl FoldRow {
    pub(crate) fn example() -> Self {
        Self {
            recording_id: "a/b.wav".into(),
            copy: 1,
            fold: 0,
            split: Split::Validation,
            protocol: "source-disjoint".into(),
            seed: 1,
            labels: "seven".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_are_those_of_one_fold_and_copy() {
        let row = |recording_id: &str, copy, fold, split| FoldRow {
            recording_id: recording_id.into(),
            copy,
            fold,
            split,
            ..FoldRow::example()
        };
        let rows = [row("a", 0, 0, Split::Train), row("a", 2, 0, Split::Test), row("a", 0, 1, Split::Test)];
        let sides = Sides::of(rows.clone(), 0);
        let found = [0, 1, 2, 3].map(|copy| sides.get("a", copy));
        assert_eq!(found, [Some(Split::Train), None, Some(Split::Test), None]);
        assert_eq!((Sides::of(rows.clone(), 1).get("a", 0), sides.get("b", 0)), (Some(Split::Test), None));
        let folds = Sides::by_fold(rows);
        assert_eq!(
            (folds.len(), folds[0].get("a", 2), folds[1].get("a", 0)),
            (2, sides.get("a", 2), Some(Split::Test))
        );
    }
}
