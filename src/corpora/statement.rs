//! What the synthetic voice says: statements as sequences of syllables.

use super::dice::Dice;
use crate::units::Seed;

/// A consonant and a vowel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Syllable {
    pub manner: Manner,
    /// Second formant's locus and centre of the noise, hertz.
    pub place: (f64, f64),
    /// First three formants of the vowel, hertz.
    pub vowel: [f64; 3],
    pub stressed: bool,
}

/// Ways of making a consonant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Manner {
    Stop { voiced: bool },
    Fricative { voiced: bool },
    Nasal,
    Glide,
}

/// The sounds of a statement: the same for every speaker and every seed, as a sentence is.
pub(super) fn statement(number: usize) -> Vec<Syllable> {
    let mut dice = Dice::new(Seed(0).derive("synthetic statement", &[&(number as u64).to_le_bytes()]));
    let n_syllables = 6 + dice.below(3);
    let first_stress = dice.below(2);
    (0..n_syllables)
        .map(|i| Syllable {
            manner: MANNERS[dice.below(MANNERS.len())],
            place: PLACES_HZ[dice.below(PLACES_HZ.len())],
            vowel: VOWELS_HZ[dice.below(VOWELS_HZ.len())],
            stressed: i % 2 == first_stress,
        })
        .collect()
}

/// First three formants of an adult male, hertz: i ɛ ɑ ɔ u æ (Peterson, Barney 1952), and ə of a uniform tube.
const VOWELS_HZ: [[f64; 3]; 7] = [
    [270.0, 2290.0, 3010.0],
    [530.0, 1840.0, 2480.0],
    [730.0, 1090.0, 2440.0],
    [570.0, 840.0, 2410.0],
    [300.0, 870.0, 2240.0],
    [660.0, 1720.0, 2410.0],
    [500.0, 1500.0, 2500.0],
];

const MANNERS: [Manner; 6] = [
    Manner::Stop { voiced: false },
    Manner::Stop { voiced: true },
    Manner::Fricative { voiced: false },
    Manner::Fricative { voiced: true },
    Manner::Nasal,
    Manner::Glide,
];

/// Where a consonant is made: second formant's locus and centre of its noise, hertz (lips, teeth ridge, palate).
const PLACES_HZ: [(f64, f64); 3] = [(900.0, 1800.0), (1750.0, 5200.0), (2200.0, 3000.0)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_differ_and_are_six_to_eight_syllables_with_every_second_stressed() {
        for number in 1..=20 {
            let syllables = statement(number);
            assert!((6..=8).contains(&syllables.len()));
            assert!(syllables.windows(2).all(|pair| pair[0].stressed != pair[1].stressed));
            assert!((1..number).all(|other| statement(other) != syllables));
        }
    }
}
