//! Damages the recordings of `tests/samples` in thousands of ways: `cargo run --release --example mutate -- FOLDER 5000`
//! fills FOLDER, and an ingest of it must have one row for each file. The tests use the same damage.

// The tests take `mutated` alone, and write where the program may not.
#![allow(dead_code, clippy::disallowed_methods)]

use std::path::{Path, PathBuf};

/// Values that lengths and counts of damaged headers have.
const EXTREMES: [u64; 9] =
    [0, 1, 2, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 0xFFFF_FFFE, 0x7FFF_FFFF_FFFF_FFFF, u64::MAX];
/// Headers, where lengths lie, end within this many bytes.
const HEADER: usize = 160;

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// A place in the header, or anywhere.
    fn place(&mut self, length: usize) -> usize {
        let reach = if self.below(3) == 0 { length } else { length.min(HEADER) };
        self.below(reach)
    }

    /// Start and end of a part of at most `longest` bytes.
    fn part(&mut self, length: usize, longest: usize) -> std::ops::Range<usize> {
        let start = self.place(length);
        start..(start + 1 + self.below(longest)).min(length)
    }
}

/// The sample files, in the order of their names.
pub fn samples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples");
    let is_sample = |path: &PathBuf| !path.extension().is_some_and(|ending| ending == "py" || ending == "md");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("samples")
        .map(|entry| entry.expect("entry").path())
        .filter(is_sample)
        .collect();
    files.sort();
    files
}

/// `original` with one to three kinds of damage; `other` is what a splice takes its end from. The same `round` gives the
/// same bytes.
pub fn mutated(original: &[u8], other: &[u8], round: u64) -> Vec<u8> {
    let mut dice = Dice(round);
    let mut bytes = original.to_vec();
    for _ in 0..=dice.below(3) {
        damage(&mut bytes, other, &mut dice);
    }
    bytes
}

fn damage(bytes: &mut Vec<u8>, other: &[u8], dice: &mut Dice) {
    let length = bytes.len();
    if length == 0 {
        return;
    }
    match dice.below(11) {
        0 => (0..=dice.below(8)).for_each(|_| bytes[dice.place(length)] ^= 1 << dice.below(8)),
        1 => (0..=dice.below(8)).for_each(|_| bytes[dice.place(length)] = dice.next() as u8),
        2 => bytes.truncate(dice.below(length)),
        3 => drop(bytes.drain(..dice.place(length))),
        4 => drop(bytes.drain(dice.part(length, 64))),
        5 => {
            let more: Vec<u8> = (0..=dice.below(64)).map(|_| dice.next() as u8).collect();
            let at = dice.place(length);
            drop(bytes.splice(at..at, more));
        }
        6 => bytes[dice.part(length, 400)].fill(0),
        7 => bytes[dice.part(length, 400)].fill(0xFF),
        8 => overwrite(bytes, dice),
        9 => {
            let again = bytes[dice.part(length, 400)].to_vec();
            let at = dice.place(length);
            drop(bytes.splice(at..at, again));
        }
        _ => {
            bytes.truncate(dice.place(length) + 1);
            bytes.extend_from_slice(&other[dice.below(other.len())..]);
        }
    }
}

/// A length or count in either byte order becomes an extreme, or is off by a little.
fn overwrite(bytes: &mut [u8], dice: &mut Dice) {
    let width = [1, 2, 3, 4, 4, 4, 8][dice.below(7)].min(bytes.len());
    let at = dice.place(bytes.len() - width + 1);
    let value = match dice.below(3) {
        0 => bytes.len() as u64 + dice.below(5) as u64,
        1 => u64::from(bytes[at]).wrapping_sub(2).wrapping_add(dice.below(5) as u64),
        _ => EXTREMES[dice.below(EXTREMES.len())],
    };
    let (little, big) = (value.to_le_bytes(), value.to_be_bytes());
    let new = if dice.below(2) == 0 { &little[..width] } else { &big[8 - width..] };
    bytes[at..at + width].copy_from_slice(new);
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(folder), Some(count)) = (arguments.next(), arguments.next().and_then(|count| count.parse().ok())) else {
        eprintln!("usage: mutate FOLDER COUNT");
        std::process::exit(2);
    };
    let files = samples();
    let contents: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).expect("a sample")).collect();
    std::fs::create_dir_all(&folder).expect("a folder to write to");
    for round in 0..count {
        let idx = round as usize % files.len();
        let other = &contents[(round as usize / files.len() + idx + 1) % files.len()];
        let name = files[idx].file_name().expect("a name").to_string_lossy();
        let file = Path::new(&folder).join(format!("{round:06}-{name}"));
        std::fs::write(file, mutated(&contents[idx], other, round)).expect("room for a small file");
    }
}
