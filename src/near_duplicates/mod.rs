//! Whether two recordings are the same sound: acoustic fingerprints of log-mel spectrograms, and the search for pairs.
//!
//! Made for recordings that differ in gain, noise, codec, sample rate, trimmed silence or a shift. Two takes of one sentence by one
//! speaker are told apart: their sounds follow each other at other times and levels.
//!
//! A fingerprint holds levels of few bands at few steps, and the loud peaks. Which fingerprints to compare, and at which shift, say
//! constellations of peaks that are looked up by hash (Wang, An Industrial-Strength Audio Search Algorithm, ISMIR 2003), so that
//! not all pairs are compared; whether a pair is the same sound says the share of its loud cells whose levels differ. Signs of
//! differences (Haitsma, Kalker, A Highly Robust Audio Fingerprinting System, ISMIR 2002) were tried first: with the same bands and
//! steps they cannot tell some takes from copies.

mod print;
mod search;

pub use print::{BANDS, LEAST_CELLS, Likeness, Print, PrintScratch, Printer, SAME_UP_TO, STEP_S};
pub use search::{Pair, Searched, find_pairs};
