//! Items by side, value of a slice, speaker, label and predicted class.

use std::collections::BTreeMap;

use polars::prelude::*;

use crate::evaluation::items::ITEM;
use crate::evaluation::slices::Slice;
use crate::metrics::{Cell, Confusion};

/// Sides in the order of the rows.
const SIDES: [&str; 4] = ["test", "validation", "train", "none"];

/// Columns of the query's answer beside `split`, `emotion` and `predicted`.
const SLICE: &str = "slice";
const VALUE: &str = "value";
const DRAWN_WITH: &str = "drawn_with";
const IS_SPEAKER: &str = "is_speaker";
const COUNT: &str = "count";

/// What the bootstrap draws whole: all items of a speaker, or, where no speaker is known, of a recording.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counted {
    /// How many items of which class were predicted as which, in the order of both.
    pub cells: Vec<Cell>,
    /// Numbers of these items, from the lowest.
    pub items: Vec<u32>,
}

/// What was counted of one side and one slice.
#[derive(Clone, Debug, PartialEq)]
pub struct SliceCounts {
    /// `train`, `validation`, `test`, or `none`.
    pub split: String,
    /// `all`, or `<slice>=<value>`.
    pub slice: String,
    /// Which slice it is a group of; none for all items.
    pub sliced_by: Option<&'static str>,
    /// Whether it holds one speaker alone.
    pub is_one_speaker: bool,
    /// Items of the side that were scored, labelled or not; known for all items of a side.
    pub n_scored: Option<u64>,
    /// Labelled items whose class and prediction the model knows.
    pub confusion: Confusion,
    /// The same items by speaker, or, where none is known, by recording.
    pub clusters: Vec<Counted>,
    /// What these are: `speakers`, `recordings`, or both where some speakers are unknown.
    pub drawn: &'static str,
}

/// How many items of each side were scored.
pub fn query_sides(scored: LazyFrame) -> PolarsResult<DataFrame> {
    scored.group_by([col("split").fill_null(lit("none"))]).agg([len().alias(COUNT)]).collect()
}

/// The items of each slice (its position, 0 for all items), side, value, speaker or recording, label and
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
        let count = items.clone().group_by_stable(keys.collect::<Vec<_>>()).agg([col(ITEM)]);
        count.with_columns([lit(slice as u32).cast(DataType::UInt32).alias(SLICE)])
    });
    concat(counted.collect::<Vec<_>>(), UnionArgs::default())?.collect()
}

/// The answers of [`query`] and [`query_sides`] as counts of `classes`; labels and predictions that are none of them count nowhere.
/// A side without a labelled item is there all the same, with none.
pub fn gather(
    counted: &DataFrame,
    sides: &DataFrame,
    slices: &[Slice],
    classes: &[String],
) -> PolarsResult<Vec<SliceCounts>> {
    let n_scored = sides.column("split")?.str()?.iter().zip(sides.column(COUNT)?.idx()?.iter());
    let n_scored: BTreeMap<Option<&str>, u64> =
        n_scored.map(|(side, count)| (side, count.map_or(0, u64::from))).collect();
    let mut groups: BTreeMap<Key, Group> =
        n_scored.keys().map(|side| ((0, *side, Some("")), Group::default())).collect();
    let texts = |name: &str| Ok::<_, PolarsError>(counted.column(name)?.str()?.iter());
    let numbers = counted.column(SLICE)?.u32()?.iter().map(Option::unwrap_or_default);
    let keys = numbers.zip(texts("split")?).zip(texts(VALUE)?);
    let items = counted.column(ITEM)?.list()?;
    let cells = texts("emotion")?.zip(texts("predicted")?).zip(items.amortized_iter());
    let drawn = texts(DRAWN_WITH)?.zip(counted.column(IS_SPEAKER)?.bool()?.iter());
    let class = |name: Option<&str>| classes.iter().position(|class| Some(class.as_str()) == name);
    for ((((slice, split), value), ((truth, said), items)), (drawn_with, is_speaker)) in keys.zip(cells).zip(drawn) {
        let group = groups.entry((slice, split, value)).or_default();
        // A value is one too if nothing of it counts.
        let (Some(truth), Some(said), Some(items)) = (class(truth), class(said), items) else { continue };
        let items = items.as_ref().u32()?.iter().flatten();
        group.add(drawn_with, is_speaker == Some(true), (truth, said), items);
    }
    Ok(in_order(groups, &n_scored, slices, classes.len()))
}

/// Position of a slice, 0 for all items; side; value.
type Key<'a> = (u32, Option<&'a str>, Option<&'a str>);

/// One side of one value of a slice.
#[derive(Default)]
struct Group<'a> {
    clusters: Vec<Counted>,
    /// Whose cluster the last one is.
    last: Option<&'a str>,
    has_speaker: bool,
    has_recording: bool,
}

/// Side by side, with a slice only where it cuts something.
fn in_order(
    groups: BTreeMap<Key, Group>,
    n_scored: &BTreeMap<Option<&str>, u64>,
    slices: &[Slice],
    n_classes: usize,
) -> Vec<SliceCounts> {
    let mut n_values = BTreeMap::new();
    groups.keys().for_each(|(slice, split, _)| *n_values.entry((*slice, *split)).or_insert(0) += 1);
    let mut found: Vec<(usize, SliceCounts)> = Vec::new();
    for ((number, split, value), group) in groups {
        // One value alone is all items again.
        let cuts = n_values[&(number, split)] > 1;
        let side = SIDES.iter().position(|side| Some(*side) == split);
        let (Some(side), Some(value)) = (side, value) else { continue };
        let counts = group.counts(SIDES[side], n_classes);
        let counts = match number as usize {
            0 => SliceCounts { n_scored: n_scored.get(&split).copied(), ..counts },
            position if cuts => {
                let slice = slices[position - 1];
                SliceCounts {
                    slice: format!("{}={value}", slice.name),
                    sliced_by: Some(slice.name),
                    is_one_speaker: slice.is_one_speaker,
                    ..counts
                }
            }
            _ => continue,
        };
        found.push((side, counts));
    }
    // Stable: within a side the order of the slices and their values stays.
    found.sort_by_key(|(side, _)| *side);
    found.into_iter().map(|(_, counts)| counts).collect()
}

impl<'a> Group<'a> {
    /// Adds items of a cell of who or what `drawn_with` names; names come in their order, each cell of one once.
    fn add(
        &mut self,
        drawn_with: Option<&'a str>,
        is_speaker: bool,
        cell: (usize, usize),
        items: impl Iterator<Item = u32>,
    ) {
        if self.clusters.is_empty() || self.last != drawn_with {
            self.clusters.push(Counted::default());
        }
        self.last = drawn_with;
        *(if is_speaker { &mut self.has_speaker } else { &mut self.has_recording }) = true;
        if let Some(cluster) = self.clusters.last_mut() {
            let n_before = cluster.items.len();
            cluster.items.extend(items);
            cluster.cells.push((cell, (cluster.items.len() - n_before) as u64));
        }
    }

    /// All items of a side.
    fn counts(mut self, split: &str, n_classes: usize) -> SliceCounts {
        let mut confusion = Confusion::new(n_classes);
        for cluster in &mut self.clusters {
            cluster.cells.sort_unstable();
            // In whatever order they were counted, they are summed up in one.
            cluster.items.sort_unstable();
            confusion.add_cells(&cluster.cells);
        }
        let drawn = match (self.has_speaker, self.has_recording) {
            (_, false) => "speakers",
            (false, true) => "recordings",
            (true, true) => "speakers and recordings",
        };
        SliceCounts {
            split: split.into(),
            slice: "all".into(),
            sliced_by: None,
            is_one_speaker: false,
            n_scored: None,
            confusion,
            clusters: self.clusters,
            drawn,
        }
    }
}
