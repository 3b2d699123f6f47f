//! What predictions are cut by: one line of [`SLICES`] each.

use std::collections::BTreeSet;

use polars::prelude::*;

/// One way to cut items into groups, each of which gets metrics of its own.
#[derive(Clone, Copy)]
pub struct Slice {
    /// What stands before the `=` in the column `slice` of `metrics`.
    pub name: &'static str,
    /// The group of an item, from columns of `predictions` and, by recording, of `manifest`; an item without one is in no group.
    pub value: fn() -> Expr,
}

/// Every slice, in the order of their rows in `metrics`.
pub const SLICES: &[Slice] = &[
    Slice { name: "corpus", value: || col("corpus") },
    Slice { name: "sex", value: || col("sex") },
    Slice { name: "copies", value: || when(col("copy").eq(lit(0))).then(lit("original")).otherwise(lit("augmented")) },
];

/// Columns that the values of `slices` are made of.
pub fn columns(slices: &[Slice]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for slice in slices {
        for part in &(slice.value)() {
            if let Expr::Column(name) = part {
                names.insert(name.to_string());
            }
        }
    }
    names
}
