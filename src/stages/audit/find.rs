//! What two sides of a fold have in common: counted recording by recording, in time that is linear in the rows of `folds`.

use std::collections::BTreeMap;
use std::collections::HashMap;

use serde::Deserialize;

use crate::leaks::{LeakKind, LeakKinds};
use crate::split::Split;
use crate::tables::duplicates::DuplicateRow;
use crate::tables::leaks::LeakRow;

/// Pairs of sides, the one that is learned from first.
const PAIRS: [(usize, usize); 3] = [(0, 1), (0, 2), (1, 2)];

/// What is asked of the manifest.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Entry {
    pub recording_id: String,
    pub corpus: String,
    pub speaker: Option<String>,
    pub statement: Option<String>,
}

/// What is asked of `folds`.
#[derive(Clone, Debug, Deserialize)]
pub struct Placed {
    pub recording_id: String,
    pub copy: u32,
    pub fold: u32,
    pub split: Split,
}

/// Recordings and what connects them, whatever side they are on.
pub struct Audit<'a> {
    /// In the order of their ids.
    entries: Vec<&'a Entry>,
    pairs: Vec<(usize, usize, &'a DuplicateRow)>,
    /// Recordings that are the same sound, directly or through others, each in order.
    sounds: Vec<Vec<usize>>,
    protocol: &'a str,
    allowed: LeakKinds,
}

/// Copies of one recording, or items of one group, on the three sides.
#[derive(Clone, Copy, Default)]
struct Sides {
    n_items: [u32; 3],
    /// The first recording and its first copy on each side.
    first: [Option<(usize, u32)>; 3],
}

impl Sides {
    fn add(&mut self, other: &Self) {
        for side in 0..3 {
            self.n_items[side] += other.n_items[side];
            self.first[side] = self.first[side].or(other.first[side]);
        }
    }
}

/// The same sound on two sides: kind, sides, a recording on each of them, and their own pair if they are one.
type Crossing<'a> = (LeakKind, (usize, usize), usize, usize, Option<&'a DuplicateRow>);

/// One fold as it is audited.
struct Fold<'a> {
    audit: &'a Audit<'a>,
    fold: u32,
    /// Of each recording.
    sides: Vec<Sides>,
    n_items: [u32; 3],
    rows: Vec<LeakRow>,
}

impl<'a> Audit<'a> {
    /// Brings together what the tables say.
    pub fn new(entries: &'a [Entry], pairs: &'a [DuplicateRow], protocol: &'a str, allowed: LeakKinds) -> Self {
        let mut entries: Vec<&Entry> = entries.iter().collect();
        entries.sort_by(|a, b| a.recording_id.cmp(&b.recording_id));
        let places: HashMap<&str, usize> =
            entries.iter().enumerate().map(|(at, entry)| (entry.recording_id.as_str(), at)).collect();
        let place = |id: &str| places.get(id).copied();
        let pairs: Vec<(usize, usize, &DuplicateRow)> = pairs
            .iter()
            .filter_map(|pair| Some((place(&pair.recording_a)?, place(&pair.recording_b)?, pair)))
            .collect();
        let sounds = connected(entries.len(), &pairs);
        Self { entries, pairs, sounds, protocol, allowed }
    }

    /// The leaks of every fold, in the order of folds, kinds and sides.
    pub fn leaks(&self, mut placed: Vec<Placed>) -> Vec<LeakRow> {
        placed.sort_by(|a, b| (a.fold, &a.recording_id, a.copy).cmp(&(b.fold, &b.recording_id, b.copy)));
        let mut rows = Vec::new();
        for fold in placed.chunk_by(|a, b| a.fold == b.fold) {
            let mut fold = Fold::new(self, fold);
            fold.duplicates();
            fold.twins();
            fold.groups(LeakKind::Speakers, |entry| entry.speaker.clone());
            fold.groups(LeakKind::Sentences, |entry| {
                entry.statement.as_ref().map(|statement| format!("{}: {statement}", entry.corpus))
            });
            rows.append(&mut fold.rows);
        }
        rows
    }
}

/// Groups of two and more that pairs connect.
fn connected(n: usize, pairs: &[(usize, usize, &DuplicateRow)]) -> Vec<Vec<usize>> {
    let mut root: Vec<usize> = (0..n).collect();
    fn find(root: &mut [usize], mut at: usize) -> usize {
        while root[at] != at {
            root[at] = root[root[at]];
            at = root[at];
        }
        at
    }
    for &(a, b, _) in pairs {
        let (a, b) = (find(&mut root, a), find(&mut root, b));
        root[a.max(b)] = a.min(b);
    }
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let mut members: Vec<usize> = pairs.iter().flat_map(|&(a, b, _)| [a, b]).collect();
    members.sort_unstable();
    members.dedup();
    for at in members {
        groups.entry(find(&mut root, at)).or_default().push(at);
    }
    groups.into_values().collect()
}

impl<'a> Fold<'a> {
    /// `placed` are the rows of one fold, in the order of recordings and copies.
    fn new(audit: &'a Audit<'a>, placed: &[Placed]) -> Self {
        let mut sides = vec![Sides::default(); audit.entries.len()];
        let (mut n_items, mut at) = ([0; 3], 0);
        for row in placed {
            // Both are in the order of ids.
            while audit.entries.get(at).is_some_and(|entry| entry.recording_id < row.recording_id) {
                at += 1;
            }
            if audit.entries.get(at).is_none_or(|entry| entry.recording_id != row.recording_id) {
                continue;
            }
            let side = row.split as usize;
            n_items[side] += 1;
            sides[at].n_items[side] += 1;
            sides[at].first[side].get_or_insert((at, row.copy));
        }
        let fold = placed.first().map_or(0, |row| row.fold);
        Self { audit, fold, sides, n_items, rows: Vec::new() }
    }

    fn add(&mut self, kind: LeakKind, (a, b): (usize, usize), sides: [&Sides; 2], row: impl FnOnce(&mut LeakRow)) {
        let (Some((first_a, copy_a)), Some((first_b, copy_b))) = (sides[0].first[a], sides[1].first[b]) else { return };
        let id = |at: usize| self.audit.entries[at].recording_id.clone();
        let n_b = sides[1].n_items[b];
        let evidence = f64::from(n_b) / f64::from(self.n_items[b].max(1));
        let mut leak = LeakRow {
            protocol: self.audit.protocol.into(),
            fold: self.fold,
            kind,
            shared: None,
            side_a: Split::ALL[a],
            recording_a: id(first_a),
            copy_a,
            n_a: sides[0].n_items[a],
            side_b: Split::ALL[b],
            recording_b: id(first_b),
            copy_b,
            n_b,
            evidence,
            because: format!("{n_b} of {} items of {}", self.n_items[b], Split::ALL[b].name()),
            allowed: self.audit.allowed.has(kind),
        };
        row(&mut leak);
        self.rows.push(leak);
    }

    /// Copies of one recording on two sides.
    fn twins(&mut self) {
        for at in 0..self.sides.len() {
            let sides = self.sides[at];
            for pair in PAIRS {
                self.add(LeakKind::Twins, pair, [&sides, &sides], |leak| {
                    leak.because = format!("{} and {} copies of one recording; {}", leak.n_a, leak.n_b, leak.because);
                });
            }
        }
    }

    /// Recordings with the same `key` on two sides: one row for each key.
    fn groups(&mut self, kind: LeakKind, key: impl Fn(&Entry) -> Option<String>) {
        let mut groups: BTreeMap<String, Sides> = BTreeMap::new();
        for (entry, sides) in self.audit.entries.iter().zip(&self.sides) {
            if sides.n_items != [0; 3]
                && let Some(key) = key(entry)
            {
                groups.entry(key).or_default().add(sides);
            }
        }
        for pair in PAIRS {
            for (key, sides) in &groups {
                self.add(kind, pair, [sides, sides], |leak| leak.shared = Some(key.clone()));
            }
        }
    }

    /// The same sound on two sides: one row for each recording on the second of them.
    fn duplicates(&mut self) {
        let audit = self.audit;
        let mut beside: HashMap<usize, Vec<(usize, &DuplicateRow)>> = HashMap::new();
        for &(a, b, pair) in &audit.pairs {
            beside.entry(a).or_default().push((b, pair));
            beside.entry(b).or_default().push((a, pair));
        }
        // Equal spectrograms stand beside the first of them.
        let exact = audit.pairs.iter().filter(|(_, _, pair)| pair.is_exact);
        let first_of: HashMap<usize, usize> = exact.flat_map(|&(a, b, _)| [(b, a), (a, a)]).collect();
        let mut found: Vec<Crossing> = Vec::new();
        let sides = &self.sides;
        for sound in &audit.sounds {
            for (a, b) in PAIRS {
                let on = |side: usize| sound.iter().copied().filter(move |&at| sides[at].n_items[side] > 0);
                for at in on(b) {
                    let first = first_of.get(&at);
                    let equal = first.and_then(|_| on(a).find(|other| *other != at && first_of.get(other) == first));
                    if let Some(other) = equal {
                        found.push((LeakKind::Duplicates, (a, b), other, at, None));
                        continue;
                    }
                    let own = beside.get(&at).into_iter().flatten().filter(|(other, _)| sides[*other].n_items[a] > 0);
                    let closest = own.min_by(|x, y| x.1.difference.total_cmp(&y.1.difference));
                    let closest = closest.map(|&(other, pair)| (other, Some(pair)));
                    // Through others, when none of its own pairs is on that side.
                    if let Some((other, pair)) =
                        closest.or_else(|| on(a).find(|&other| other != at).map(|other| (other, None)))
                    {
                        found.push((LeakKind::NearDuplicates, (a, b), other, at, pair));
                    }
                }
            }
        }
        found.sort_by_key(|&(kind, pair, _, at, _)| (kind, pair, at));
        for (kind, pair, other, at, row) in found {
            let (first, second) = (self.sides[other], self.sides[at]);
            self.add(kind, pair, [&first, &second], |leak| {
                (leak.evidence, leak.because) = match (kind, row) {
                    (LeakKind::Duplicates, _) => (0.0, "spectrograms are equal to the bit".into()),
                    (_, Some(DuplicateRow { difference, n_cells, .. })) => {
                        (*difference, format!("{:.1} % of {n_cells} loud cells differ", 100.0 * difference))
                    }
                    (_, None) => (1.0, "both are the same sound as a third recording".into()),
                };
            });
        }
    }
}

#[cfg(test)]
#[path = "find_proof.rs"]
mod proof;
