//! Finds the pairs among many fingerprints: constellations of peaks that two of them share say which to compare, and at which shift.

use rayon::prelude::*;

use super::print::{Likeness, Print};
use crate::error::{Error, Result};

/// A constellation is a peak and three of as many that follow.
const FOLLOWERS: usize = 5;
/// Steps between the first peak of a constellation and the others.
const FIRST_STEP: u32 = 2;
const LAST_STEP: u32 = 40;
/// Steps that are not told apart in a constellation: a peak moves by one or two when noise joins.
const STEPS_APART: u32 = 3;
/// Constellations that two recordings must share, at one shift, before they are compared.
const VOTES: usize = 2;
/// Two recordings further apart than this at the shift that most constellations name are not compared at others.
const FAR: f64 = 0.5;
/// A constellation that stands in more places than this is no hint; it also bounds the work for one recording.
const COMMON: usize = 1_000;
/// Bits of an entry of the index: hash, recording, step.
const HASH_BITS: u32 = 26;
const RECORDING_BITS: u32 = 26;
const STEP_BITS: u32 = 12;
const LAST_STEP_KEPT: u64 = (1 << STEP_BITS) - 1;

/// Two recordings, by position, that are the same sound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    pub a: u32,
    pub b: u32,
    pub likeness: Likeness,
}

/// What a search found, and what it cost.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Searched {
    /// Each once, the first recording first, in the order of the first and then of the second.
    pub pairs: Vec<Pair>,
    pub n_constellations: u64,
    /// Places in which constellations of one recording were found in another.
    pub n_votes: u64,
    /// Pairs that were compared.
    pub n_compared: u64,
}

impl Searched {
    fn and(mut self, mut other: Self) -> Self {
        self.pairs.append(&mut other.pairs);
        self.n_votes += other.n_votes;
        self.n_compared += other.n_compared;
        self
    }
}

/// All pairs whose likeness satisfies `is_same`, for what is usually [`Likeness::is_same`].
///
/// Time: constellations (some 220 a recording) times the places of each in the index, at most 1,000: quadratic with a small factor
/// where recordings share their sentences, linear once that limit is reached. Memory: 8 bytes a constellation.
/// Errors: kind `Input` for more than 67 million recordings.
pub fn find_pairs(prints: &[&Print], is_same: impl Fn(&Likeness) -> bool + Sync) -> Result<Searched> {
    if prints.len() >= 1 << RECORDING_BITS {
        return Err(Error::input(format!("{} recordings, at most 2^{RECORDING_BITS} are compared", prints.len())));
    }
    let index = Index::new(prints);
    let each = prints.par_iter().enumerate().map_init(Vec::new, |votes, (at, print)| {
        votes.clear();
        constellations(print, |hash, step| index.vote(at as u64, hash, step, votes));
        votes.sort_unstable();
        let mut found = Searched { n_votes: votes.len() as u64, ..Searched::default() };
        for group in votes.chunk_by(|a, b| a >> 32 == b >> 32) {
            let other = group[0] >> 32;
            let Some(shift) = shift_of(group) else { continue };
            found.n_compared += 1;
            if print.likeness(prints[other as usize], shift).difference > FAR {
                continue;
            }
            // Steps that are not told apart may hide the best shift.
            let tried = (shift - 2..=shift + 2).map(|shift| print.likeness(prints[other as usize], shift));
            let best = tried.min_by(|a, b| a.difference.total_cmp(&b.difference));
            if let Some(likeness) = best.filter(&is_same) {
                found.pairs.push(Pair { a: at as u32, b: other as u32, likeness });
            }
        }
        found
    });
    let found = each.reduce(Searched::default, Searched::and);
    Ok(Searched { n_constellations: index.entries.len() as u64, ..found })
}

/// The shift that most of the votes of one recording name, give or take a step, when these are enough.
fn shift_of(votes: &[u64]) -> Option<i32> {
    let shift = |vote: u64| (vote & u64::from(u32::MAX)) as i64 - LAST_STEP_KEPT as i64;
    let (mut most, mut best, mut end) = (0, 0, 0);
    for (begin, &vote) in votes.iter().enumerate() {
        let from = shift(vote);
        while votes.get(end).is_some_and(|&other| shift(other) <= from + 2) {
            end += 1;
        }
        if end - begin > most {
            (most, best) = (end - begin, from + 1);
        }
    }
    (most >= VOTES).then_some(best as i32)
}

/// Calls `found` with the hash of each constellation and the step of its first peak.
fn constellations(print: &Print, mut found: impl FnMut(u32, u32)) {
    for (first, &anchor) in print.peaks.iter().enumerate() {
        let (step, band) = (anchor / 64, anchor % 64);
        let mut near = [0; FOLLOWERS];
        let mut n_near = 0;
        for &peak in &print.peaks[first + 1..] {
            let lag = peak / 64 - step;
            if lag > LAST_STEP || n_near == FOLLOWERS {
                break;
            }
            if lag >= FIRST_STEP {
                near[n_near] = peak;
                n_near += 1;
            }
        }
        for (i, &second) in near[..n_near].iter().enumerate() {
            for (j, &third) in near[..n_near].iter().enumerate().skip(i + 1) {
                for &fourth in &near[j + 1..n_near] {
                    let with = |key: u64, peak: u32| {
                        (key * 64 + u64::from(peak % 64)) * 16 + u64::from((peak / 64 - step) / STEPS_APART)
                    };
                    let key = [second, third, fourth].into_iter().fold(u64::from(band), with);
                    // Multiplied by 2^64 over the golden ratio, the upper bits depend on all of the key (Knuth 1998, 6.4).
                    found((key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - HASH_BITS)) as u32, step);
                }
            }
        }
    }
}

/// Where each constellation stands.
struct Index {
    /// Hash, recording and step, sorted.
    entries: Vec<u64>,
    /// For each value of the first bits of an entry, where it begins.
    starts: Vec<u64>,
    /// Bits that are not looked up in `starts`.
    shift: u32,
}

impl Index {
    fn new(prints: &[&Print]) -> Self {
        let of = |(at, print): (usize, &&Print)| {
            let mut own = Vec::new();
            constellations(print, |hash, step| {
                let step = u64::from(step).min(LAST_STEP_KEPT);
                own.push((u64::from(hash) << RECORDING_BITS | at as u64) << STEP_BITS | step);
            });
            own
        };
        let mut entries: Vec<u64> = prints.par_iter().enumerate().flat_map_iter(of).collect();
        entries.par_sort_unstable();
        let bits = (entries.len().max(1).ilog2()).clamp(8, HASH_BITS);
        let shift = u64::BITS - bits;
        let mut starts = Vec::with_capacity((1 << bits) + 1);
        let mut at = 0;
        for head in 0..1_u64 << bits {
            while entries.get(at).is_some_and(|entry| entry >> shift < head) {
                at += 1;
            }
            starts.push(at as u64);
        }
        starts.push(entries.len() as u64);
        Self { entries, starts, shift }
    }

    /// Adds a vote (recording, and its step less `step`) for each later recording in which `hash` stands.
    fn vote(&self, own: u64, hash: u32, step: u32, votes: &mut Vec<u64>) {
        let key = u64::from(hash) << (RECORDING_BITS + STEP_BITS);
        let head = (key >> self.shift) as usize;
        let bucket = &self.entries[self.starts[head] as usize..self.starts[head + 1] as usize];
        let run = &bucket[bucket.partition_point(|&entry| entry < key)..];
        let is_of = |entry: u64| entry >> (RECORDING_BITS + STEP_BITS) == u64::from(hash);
        if run.get(COMMON).is_some_and(|&entry| is_of(entry)) {
            return;
        }
        let step = u64::from(step).min(LAST_STEP_KEPT);
        for &entry in run.iter().take_while(|&&entry| is_of(entry)) {
            let other = entry >> STEP_BITS & ((1 << RECORDING_BITS) - 1);
            if other > own {
                votes.push(other << 32 | ((entry & LAST_STEP_KEPT) + LAST_STEP_KEPT - step));
            }
        }
    }
}
