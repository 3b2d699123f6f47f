//! How far the groups of a slice lie apart: the largest UAR less the smallest, on the classes that all of them have.
//!
//! Strong and normal recordings of RAVDESS, say, differ by the neutral ones too, which are never strong: a mean recall over other classes
//! would be no gap between groups. There is no interval: the two groups are picked after looking, and one for a picked
//! difference would be too narrow.

use crate::evaluation::{About, SliceCounts};
use crate::tables::metrics::MetricRow;

/// Items that a group needs to be compared.
pub const GAP_ITEMS: u64 = 20;
/// Speakers (or recordings, where no speaker is known) that it needs, unless the groups are speakers.
pub const GAP_SPEAKERS: usize = 2;

/// A row for each slice of each side that has groups; without a value where fewer than two of them are large enough, or have no class in
/// common.
pub fn gap_rows(counts: &[SliceCounts], about: &About) -> Vec<MetricRow> {
    let same = |a: &SliceCounts, b: &SliceCounts| a.split == b.split && a.sliced_by == b.sliced_by;
    let slices = counts.chunk_by(same).filter(|groups| groups[0].sliced_by.is_some());
    slices.map(|groups| gap_row(groups, about)).collect()
}

fn gap_row(groups: &[SliceCounts], about: &About) -> MetricRow {
    let is_large = |group: &&SliceCounts| {
        group.confusion.total() >= GAP_ITEMS && (group.is_one_speaker || group.clusters.len() >= GAP_SPEAKERS)
    };
    let large: Vec<&SliceCounts> = groups.iter().filter(is_large).collect();
    let is_common = |class: usize| large.iter().all(|group| group.confusion.class(class).support > 0);
    let common: Vec<bool> = (0..about.classes.len()).map(is_common).collect();
    let mut ranked: Vec<(f64, &SliceCounts)> = Vec::new();
    if large.len() > 1 {
        ranked.extend(large.iter().filter_map(|group| Some((group.confusion.uar_of(&common)?, *group))));
    }
    // Stable: of equal ones the first by name.
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut row = groups[0].blank(about, "uar_gap");
    row.slice = groups[0].sliced_by.unwrap_or_default().into();
    row.n_classes = Some(0);
    if let (Some((most, best)), Some((least, worst))) = (ranked.first(), ranked.last()) {
        row.value = Some(most - least);
        row.groups = Some(format!("{} over {}", best.group(), worst.group()));
        row.n_classes = Some(common.iter().filter(|is_common| **is_common).count() as u32);
        row.support = best.confusion.total() + worst.confusion.total();
    }
    row
}

impl SliceCounts {
    /// The value of its slice, such as `female`.
    fn group(&self) -> &str {
        self.slice.split_once('=').map_or(self.slice.as_str(), |(_, value)| value)
    }
}
