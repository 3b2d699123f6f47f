//! Items counted by side, value of a slice, speaker, label and predicted class.

use std::collections::BTreeMap;

use polars::prelude::*;

use crate::evaluation::slices::Slice;
use crate::metrics::{Cluster, Confusion};

/// Sides in the order of the rows.
const SIDES: [&str; 4] = ["test", "validation", "train", "none"];

/// Columns of the query's answer beside `split`, `emotion` and `predicted`.
const SLICE: &str = "slice";
const VALUE: &str = "value";
const DRAWN_WITH: &str = "drawn_with";
const IS_SPEAKER: &str = "is_speaker";
const COUNT: &str = "count";

/// What was counted of one side and one slice.
#[derive(Clone, Debug, PartialEq)]
pub struct SliceCounts {
    /// `train`, `validation`, `test`, or `none`.
    pub split: String,
    /// `all`, or `<slice>=<value>`.
    pub slice: String,
    /// Labelled items whose class and prediction the model knows.
    pub confusion: Confusion,
    /// The same items by what the bootstrap draws: all of a speaker, or, where no speaker is known, of a recording.
    pub clusters: Vec<Cluster>,
    /// What that is: `speakers`, `recordings`, or both where some speakers are unknown.
    pub drawn: &'static str,
}

/// How many items there are of each slice (its position, 0 for all items), side, value, speaker or recording, label and
/// prediction; in each slice speakers come by name, then recordings. `items` are labelled and scored.
pub fn query(items: LazyFrame, slices: &[Slice]) -> PolarsResult<DataFrame> {
    let is_speaker = col("speaker").is_not_null();
    // Names of speakers are those of their corpus. Recordings come after all of them.
    let speaker = col("speaker") + lit("\n") + col("corpus");
    let recording = lit("\u{10ffff}") + col("recording_id");
    let items = items
        .with_columns([
            col("split").fill_null(lit("none")),
            when(is_speaker.clone()).then(speaker).otherwise(recording).alias(DRAWN_WITH),
            is_speaker.alias(IS_SPEAKER),
        ])
        // Names are sorted once; groups are told in the order in which they come up.
        .sort([DRAWN_WITH], SortMultipleOptions::default())
        .cache();
    let values = std::iter::once(lit("")).chain(slices.iter().map(|slice| (slice.value)()));
    let counted = values.enumerate().map(|(slice, value)| {
        let keys = ["split", DRAWN_WITH, IS_SPEAKER, "emotion", "predicted"].map(col);
        let keys = keys.into_iter().chain([value.cast(DataType::String).alias(VALUE)]);
        let count = items.clone().group_by_stable(keys.collect::<Vec<_>>()).agg([len().alias(COUNT)]);
        count.with_columns([lit(slice as u32).cast(DataType::UInt32).alias(SLICE)])
    });
    concat(counted.collect::<Vec<_>>(), UnionArgs::default())?.collect()
}

/// The answer of [`query`] as counts of `classes`; labels and predictions that are none of them count nowhere.
pub fn gather(counted: &DataFrame, slices: &[Slice], classes: &[String]) -> PolarsResult<Vec<SliceCounts>> {
    let mut groups: BTreeMap<Key, Group> = BTreeMap::new();
    let texts = |name: &str| Ok::<_, PolarsError>(counted.column(name)?.str()?.iter());
    let keys = counted.column(SLICE)?.u32()?.iter().zip(texts("split")?).zip(texts(VALUE)?);
    let cells = texts("emotion")?.zip(texts("predicted")?).zip(counted.column(COUNT)?.idx()?.iter());
    let drawn = texts(DRAWN_WITH)?.zip(counted.column(IS_SPEAKER)?.bool()?.iter());
    let class = |name: Option<&str>| classes.iter().position(|class| Some(class.as_str()) == name);
    for ((((slice, split), value), ((truth, said), count)), (drawn_with, is_speaker)) in keys.zip(cells).zip(drawn) {
        let group = groups.entry((slice, split, value)).or_default();
        // A value is one too if nothing of it counts.
        let (Some(truth), Some(said)) = (class(truth), class(said)) else { continue };
        group.add(drawn_with, is_speaker == Some(true), ((truth, said), u64::from(count.unwrap_or(0))));
    }
    Ok(in_order(groups, slices, classes.len()))
}

/// Position of a slice, 0 for all items; side; value.
type Key<'a> = (Option<u32>, Option<&'a str>, Option<&'a str>);

/// One side of one value of a slice.
#[derive(Default)]
struct Group<'a> {
    clusters: Vec<Cluster>,
    /// Whose cluster the last one is.
    last: Option<&'a str>,
    has_speaker: bool,
    has_recording: bool,
}

/// Side by side, with a slice only where it cuts something.
fn in_order(groups: BTreeMap<Key, Group>, slices: &[Slice], n_classes: usize) -> Vec<SliceCounts> {
    let mut n_values = BTreeMap::new();
    groups.keys().for_each(|(slice, split, _)| *n_values.entry((*slice, *split)).or_insert(0) += 1);
    let mut found: Vec<(usize, SliceCounts)> = Vec::new();
    for ((slice, split, value), group) in groups {
        // One value alone is all items again.
        let cuts = n_values[&(slice, split)] > 1;
        let side = SIDES.iter().position(|side| Some(*side) == split);
        let (Some(side), Some(slice), Some(value)) = (side, slice, value) else { continue };
        let slice = match slice as usize {
            0 => "all".to_string(),
            position if cuts => format!("{}={value}", slices[position - 1].name),
            _ => continue,
        };
        found.push((side, group.counts(SIDES[side], slice, n_classes)));
    }
    // Stable: within a side the order of the slices and their values stays.
    found.sort_by_key(|(side, _)| *side);
    found.into_iter().map(|(_, counts)| counts).collect()
}

impl<'a> Group<'a> {
    /// Adds a cell of who or what `drawn_with` names; names come in their order.
    fn add(&mut self, drawn_with: Option<&'a str>, is_speaker: bool, cell: ((usize, usize), u64)) {
        match self.clusters.last_mut() {
            Some(cluster) if self.last == drawn_with => cluster.push(cell),
            _ => self.clusters.push(vec![cell]),
        }
        self.last = drawn_with;
        *(if is_speaker { &mut self.has_speaker } else { &mut self.has_recording }) = true;
    }

    fn counts(mut self, split: &str, slice: String, n_classes: usize) -> SliceCounts {
        let mut confusion = Confusion::new(n_classes);
        for cells in &mut self.clusters {
            cells.sort_unstable();
            confusion.add_cells(cells);
        }
        let drawn = match (self.has_speaker, self.has_recording) {
            (_, false) => "speakers",
            (false, true) => "recordings",
            (true, true) => "speakers and recordings",
        };
        SliceCounts { split: split.into(), slice, confusion, clusters: self.clusters, drawn }
    }
}
