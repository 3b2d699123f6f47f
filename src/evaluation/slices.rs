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
    /// Whether a group is one speaker: there may be thousands, so it has no rows by class, and no interval.
    pub is_one_speaker: bool,
}

/// Every slice, in the order of their rows in `metrics`.
pub const SLICES: &[Slice] = &[
    by("corpus", || col("corpus")),
    Slice { is_one_speaker: true, ..by("speaker", || col("speaker")) },
    by("sex", || col("sex")),
    by("age", || decade(col("age"))),
    by("language", || col("language")),
    by("intensity", || col("intensity")),
    by("duration_s", || ranged(col("duration_s"), &[1.0, 2.0, 3.0, 4.0, 6.0])),
    by("rms_dbfs", || ranged(col("rms_dbfs"), &[-40.0, -30.0, -20.0])),
    by("fold", || col("fold")),
    by("copies", || when(col("copy").eq(lit(0))).then(lit("original")).otherwise(lit("augmented"))),
];

/// A slice by what `value` says.
pub const fn by(name: &'static str, value: fn() -> Expr) -> Slice {
    Slice { name, value, is_one_speaker: false }
}

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

/// The decade of an age in years (`30s`); an age that is no number stays as the corpus says it.
fn decade(age: Expr) -> Expr {
    let years = age.clone().cast(DataType::Float64);
    let tens = (years / lit(10.0)).cast(DataType::Int64) * lit(10);
    let text = tens.clone().cast(DataType::String) + lit("s");
    when(tens.is_not_null()).then(text).otherwise(age)
}

/// Which of the ranges between `edges` a number lies in: `below 1`, `1 to 2`, ..., `from 6`; an edge belongs to the range above it.
fn ranged(number: Expr, edges: &[f64]) -> Expr {
    let (Some(first), Some(last)) = (edges.first(), edges.last()) else { return lit(NULL) };
    let between = edges.windows(2).map(|pair| (pair[1], format!("{} to {}", pair[0], pair[1])));
    let below: Vec<(f64, String)> = std::iter::once((*first, format!("below {first}"))).chain(between).collect();
    let number = when(number.clone().is_finite()).then(number).otherwise(lit(NULL));
    let above = when(number.clone().gt_eq(lit(*last))).then(lit(format!("from {last}"))).otherwise(lit(NULL));
    // The lowest range that it is below of counts, so it is asked for last.
    below
        .into_iter()
        .rev()
        .fold(above, |rest, (edge, name)| when(number.clone().lt(lit(edge))).then(lit(name)).otherwise(rest))
}
