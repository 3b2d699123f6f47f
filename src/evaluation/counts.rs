//! Items counted by side, value of a slice, speaker, label and predicted class.

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
/// prediction; in the order of the first four. `items` are labelled and scored.
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
        .cache();
    let values = std::iter::once(lit("")).chain(slices.iter().map(|slice| (slice.value)()));
    let counted = values.enumerate().map(|(slice, value)| {
        let keys = ["split", DRAWN_WITH, IS_SPEAKER, "emotion", "predicted"].map(col);
        let keys = keys.into_iter().chain([value.cast(DataType::String).alias(VALUE)]);
        let count = items.clone().group_by(keys.collect::<Vec<_>>()).agg([len().alias(COUNT)]);
        count.with_columns([lit(slice as u32).cast(DataType::UInt32).alias(SLICE)])
    });
    concat(counted.collect::<Vec<_>>(), UnionArgs::default())?
        .sort([SLICE, "split", VALUE, DRAWN_WITH], SortMultipleOptions::default())
        .collect()
}

/// The answer of [`query`] as counts of `classes`; labels and predictions that are none of them count nowhere.
pub fn gather(counted: &DataFrame, slices: &[Slice], classes: &[String]) -> PolarsResult<Vec<SliceCounts>> {
    let mut groups: Vec<Group> = Vec::new();
    let texts = |name: &str| Ok::<_, PolarsError>(counted.column(name)?.str()?.iter());
    let keys = counted.column(SLICE)?.u32()?.iter().zip(texts("split")?).zip(texts(VALUE)?);
    let cells = texts("emotion")?.zip(texts("predicted")?).zip(counted.column(COUNT)?.idx()?.iter());
    let drawn = texts(DRAWN_WITH)?.zip(counted.column(IS_SPEAKER)?.bool()?.iter());
    let class = |name: Option<&str>| classes.iter().position(|class| Some(class.as_str()) == name);
    let mut last_drawn = None;
    for ((((slice, split), value), ((truth, said), count)), (drawn_with, is_speaker)) in keys.zip(cells).zip(drawn) {
        let key = (slice.unwrap_or(0) as usize, split.unwrap_or_default(), value);
        if groups.last().is_none_or(|group| group.key != key) {
            groups.push(Group { key, clusters: Vec::new(), has_speaker: false, has_recording: false });
            last_drawn = None;
        }
        let group = groups.last_mut().expect("one was pushed");
        let (Some(truth), Some(said)) = (class(truth), class(said)) else { continue };
        if group.clusters.is_empty() || last_drawn != Some(drawn_with) {
            group.clusters.push(Cluster::new());
            last_drawn = Some(drawn_with);
        }
        let cluster = group.clusters.last_mut().expect("one was pushed");
        cluster.push(((truth, said), u64::from(count.unwrap_or(0))));
        *(if is_speaker == Some(true) { &mut group.has_speaker } else { &mut group.has_recording }) = true;
    }
    Ok(in_order(groups, slices, classes.len()))
}

/// One side of one value of a slice.
struct Group<'a> {
    /// Position of the slice, 0 for all items; side; value.
    key: (usize, &'a str, Option<&'a str>),
    clusters: Vec<Cluster>,
    has_speaker: bool,
    has_recording: bool,
}

/// Side by side, with a slice only where it cuts something.
fn in_order(groups: Vec<Group>, slices: &[Slice], n_classes: usize) -> Vec<SliceCounts> {
    let cut = groups.chunk_by(|a, b| (a.key.0, a.key.1) == (b.key.0, b.key.1));
    let n_values: Vec<usize> = cut.flat_map(|values| values.iter().map(|_| values.len())).collect();
    let mut found: Vec<(usize, SliceCounts)> = Vec::new();
    for (group, n_values) in groups.into_iter().zip(n_values) {
        let (position, split, value) = group.key;
        let (Some(side), Some(value)) = (SIDES.iter().position(|side| *side == split), value) else { continue };
        let slice = match position {
            0 => "all".to_string(),
            // One value alone is all items again.
            _ if n_values < 2 => continue,
            _ => format!("{}={value}", slices[position - 1].name),
        };
        found.push((side, group.counts(slice, n_classes)));
    }
    // Stable: within a side the order of the slices and their values stays.
    found.sort_by_key(|(side, _)| *side);
    found.into_iter().map(|(_, counts)| counts).collect()
}

impl Group<'_> {
    fn counts(mut self, slice: String, n_classes: usize) -> SliceCounts {
        let mut confusion = Confusion::new(n_classes);
        self.clusters.iter_mut().for_each(|cells| cells.sort_unstable());
        self.clusters.iter().for_each(|cells| confusion.add_cells(cells));
        let drawn = match (self.has_speaker, self.has_recording) {
            (_, false) => "speakers",
            (false, true) => "recordings",
            (true, true) => "speakers and recordings",
        };
        SliceCounts { split: self.key.1.into(), slice, confusion, clusters: self.clusters, drawn }
    }
}
