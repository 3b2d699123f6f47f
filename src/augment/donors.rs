//! Which other recordings a copy takes voices from: a choice by content and seed alone.

use std::path::PathBuf;

use crate::audio::Part;
use crate::units::Seed;

/// A recording whose voice may be heard in the background of another.
#[derive(Clone, Debug, PartialEq)]
pub struct Donor {
    /// BLAKE3 of its bytes, 64 hex digits.
    pub content_hash: String,
    /// What of it is heard; `None` for the whole.
    pub part: Option<Part>,
    /// Where it is.
    pub file: PathBuf,
}

impl Donor {
    /// Equal for equal sounds.
    pub fn key(&self) -> String {
        match self.part {
            Some(Part { start_s, end_s }) => format!("{}#{start_s}-{end_s}", self.content_hash),
            None => self.content_hash.clone(),
        }
    }
}

/// The recordings of one side, in the order of their content hashes, joined to a ring.
///
/// A copy draws points on the ring and takes the recording at or after each. So the choice knows neither names nor the
/// order of a scan, and a recording that joins or leaves changes only the few copies whose points fall before it.
pub struct Ring {
    members: Vec<(u64, Donor)>,
}

impl Ring {
    /// A ring of these recordings; the order in which they come does not matter. Of the parts of one file the first is a member.
    pub fn new(donors: impl IntoIterator<Item = Donor>) -> Self {
        let mut members: Vec<(u64, Donor)> = donors.into_iter().map(|donor| (place(&donor), donor)).collect();
        let start = |donor: &Donor| donor.part.map_or(0.0, |part| part.start_s);
        members.sort_by(|(_, a), (_, b)| a.content_hash.cmp(&b.content_hash).then(start(a).total_cmp(&start(b))));
        members.dedup_by(|a, b| a.1.content_hash == b.1.content_hash);
        Self { members }
    }

    /// Up to `n` different recordings other than `content_hash` itself, for its copy number `copy`.
    ///
    /// Fewer where the side has no more. Proof: `a_newcomer_changes_few_choices`.
    pub fn pick(&self, seed: Seed, content_hash: &str, copy: u32, n: usize) -> Vec<&Donor> {
        let seed = seed.derive("donors", &[content_hash.as_bytes(), &copy.to_le_bytes()]);
        let itself = self.members.binary_search_by(|(_, donor)| donor.content_hash.as_str().cmp(content_hash)).ok();
        let n_others = self.members.len() - usize::from(itself.is_some());
        let mut chosen: Vec<usize> = Vec::with_capacity(n);
        while chosen.len() < n.min(n_others) {
            let point = seed.bits(chosen.len() as u64);
            let mut at = self.members.partition_point(|&(place, _)| place < point) % self.members.len();
            while chosen.contains(&at) || itself == Some(at) {
                at = (at + 1) % self.members.len();
            }
            chosen.push(at);
        }
        chosen.into_iter().map(|at| &self.members[at].1).collect()
    }
}

/// The first 64 bits of the content hash: in the order of the hashes, and as even as they are.
fn place(donor: &Donor) -> u64 {
    let digits = donor.content_hash.get(..16).unwrap_or_default();
    u64::from_str_radix(digits, 16).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn donors(n: usize) -> Vec<Donor> {
        let hash = |i: usize| blake3::hash(&i.to_le_bytes()).to_hex().to_string();
        (0..n).map(|i| Donor { content_hash: hash(i), part: None, file: format!("{i}.wav").into() }).collect()
    }

    #[test]
    fn donors_are_others_differ_from_each_other_and_know_no_order() {
        let all = donors(40);
        let (ring, reversed) = (Ring::new(all.clone()), Ring::new(all.iter().rev().cloned()));
        for donor in &all {
            for copy in 1..4 {
                let chosen = ring.pick(Seed(5), &donor.content_hash, copy, 9);
                assert_eq!(chosen, reversed.pick(Seed(5), &donor.content_hash, copy, 9));
                let names: std::collections::BTreeSet<_> = chosen.iter().map(|one| &one.content_hash).collect();
                assert!(names.len() == 9 && !names.contains(&donor.content_hash));
            }
        }
        let of = |seed, copy| ring.pick(Seed(seed), &all[0].content_hash, copy, 9);
        assert!(of(5, 1) != of(5, 2) && of(5, 1) != of(6, 1));
    }

    #[test]
    fn nearly_every_recording_is_heard_somewhere() {
        let all = donors(30);
        let ring = Ring::new(all.clone());
        let heard: std::collections::BTreeSet<_> =
            (0..400).flat_map(|copy| ring.pick(Seed(1), &all[3].content_hash, copy, 3)).map(|one| &one.file).collect();
        // Shares of the ring differ as gaps between random points do: a few recordings have next to none.
        assert!((26..30).contains(&heard.len()), "{} of 29", heard.len());
    }

    #[test]
    fn a_newcomer_changes_few_choices() {
        let all = donors(1_001);
        let (before, after) = (Ring::new(all[..1_000].to_vec()), Ring::new(all.clone()));
        let changed = all[..1_000]
            .iter()
            .filter(|one| before.pick(Seed(1), &one.content_hash, 1, 5) != after.pick(Seed(1), &one.content_hash, 1, 5))
            .count();
        // Each of 1,000 copies has 5 points, and the newcomer has a thousandth of the ring on average.
        assert!(changed < 50, "{changed} of 1000");
    }

    #[test]
    fn a_side_with_too_few_gives_what_it_has() {
        let all = donors(3);
        let pick = |ring: &Ring| ring.pick(Seed(1), &all[0].content_hash, 1, 5).len();
        assert_eq!(pick(&Ring::new(all.clone())), 2);
        assert_eq!(pick(&Ring::new(all[..1].to_vec())), 0);
        assert_eq!(pick(&Ring::new([])), 0);
        assert_eq!(pick(&Ring::new(all[1..].to_vec())), 2, "a recording of another side");
    }
}
