//! Quantities that must not be mixed up: sample rates, decibels, sizes of memory, and the seed of all randomness.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Samples per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SampleRate(pub u32);

impl SampleRate {
    /// The rate in hertz.
    pub fn hz(self) -> f64 {
        f64::from(self.0)
    }

    /// Length in seconds of `n_samples` at this rate.
    pub fn seconds(self, n_samples: usize) -> f64 {
        n_samples as f64 / self.hz()
    }
}

/// A level or a ratio in decibels.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Decibels(pub f64);

impl Decibels {
    /// `10^(dB / 10)`: the ratio of two powers.
    pub fn power_ratio(self) -> f64 {
        10f64.powf(self.0 / 10.0)
    }

    /// `20 log10(amplitude)`; an amplitude of zero gives minus infinity.
    pub fn from_amplitude(amplitude: f64) -> Self {
        Self(20.0 * amplitude.log10())
    }
}

/// A size in memory or on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

/// Units of [`Bytes`]: those of a disk's label (1000) and those of a memory bar (1024).
const BYTE_UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("kB", 1000),
    ("MB", 1000_u64.pow(2)),
    ("GB", 1000_u64.pow(3)),
    ("TB", 1000_u64.pow(4)),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

impl Bytes {
    /// Reads a size such as `2GB`, `1.5 GB`, `1500MB` or `2GiB`; the unit is needed, its case is not.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |why: &str| Error::recipe(format!("`{text}` is no size: {why}; write 2GB, 1500MB or 2GiB"));
        let at = text.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(at);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        if whole.is_empty() || fraction.is_empty() || fraction.contains('.') {
            return Err(wrong("it does not begin with a number"));
        }
        let unit = unit.strip_prefix(' ').unwrap_or(unit);
        let known = BYTE_UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit));
        let (_, scale) = known.ok_or_else(|| wrong("its unit is not B, kB, MB, GB, TB or KiB, MiB, GiB, TiB"))?;
        let value = number.parse::<f64>().map_err(|error| wrong("its number cannot be read").because(error))?;
        let bytes = (value * *scale as f64).round();
        // 2^63 bytes are beyond any machine, and an f64 of that size still converts exactly.
        if !(1.0..(1_u64 << 63) as f64).contains(&bytes) {
            return Err(wrong("it must be at least one byte and under 2^63"));
        }
        Ok(Self(bytes as u64))
    }

    /// In units of 10^6 bytes.
    pub fn megabytes(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0..1_000 => write!(f, "{} B", self.0),
            1_000..1_000_000 => write!(f, "{:.1} kB", self.0 as f64 / 1e3),
            1_000_000..1_000_000_000 => write!(f, "{:.1} MB", self.megabytes()),
            _ => write!(f, "{:.2} GB", self.0 as f64 / 1e9),
        }
    }
}

/// Where every random number comes from: value `i` of a seed is a pure function of `(seed, i)`,
/// so results depend neither on order nor on threads.
///
/// Generator: SplitMix64's finaliser over `seed + (i + 1) * golden ratio` (Steele, Lea, Flood 2014).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seed(pub u64);

impl Seed {
    /// A seed for one purpose and one thing: `(pipeline seed, purpose, parts...)` hashed with BLAKE3.
    pub fn derive(self, purpose: &str, parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.0.to_le_bytes());
        for part in std::iter::once(purpose.as_bytes()).chain(parts.iter().copied()) {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let mut head = [0u8; 8];
        head.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        Self(u64::from_le_bytes(head))
    }

    /// 64 uniform bits at position `i`.
    #[inline]
    pub fn bits(self, i: u64) -> u64 {
        let mut z = self.0.wrapping_add(i.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in `[0, 1)` with 53 bits.
    #[inline]
    pub fn unit(self, i: u64) -> f64 {
        (self.bits(i) >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform integer in `0..n`; the bias is under `n / 2^64`.
    #[inline]
    pub fn below(self, i: u64, n: u64) -> u64 {
        ((u128::from(self.bits(i)) * u128::from(n)) >> 64) as u64
    }

    /// Two independent standard normal values (Box-Muller) at position `i`.
    #[inline]
    pub fn normal_pair(self, i: u64) -> (f64, f64) {
        let radius = (-2.0 * (1.0 - self.unit(2 * i)).ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * self.unit(2 * i + 1)).sin_cos();
        (radius * cos, radius * sin)
    }

    /// A permutation of `0..n` (Fisher-Yates).
    pub fn permutation(self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for last in (1..n).rev() {
            order.swap(last, self.below(last as u64, last as u64 + 1) as usize);
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_of_different_purposes_and_parts_differ() {
        let seed = Seed(7);
        assert_ne!(seed.derive("noise", &[b"a", b"bc"]), seed.derive("noise", &[b"ab", b"c"]));
        assert_ne!(seed.derive("noise", &[b"a"]), seed.derive("split", &[b"a"]));
        assert_eq!(seed.derive("noise", &[b"a"]), Seed(7).derive("noise", &[b"a"]));
    }

    #[test]
    fn sizes_are_read_in_both_families_of_units_and_said_in_the_first() {
        let sizes = [
            ("2GB", 2_000_000_000, "2.00 GB"),
            ("1.5 gb", 1_500_000_000, "1.50 GB"),
            ("1500MB", 1_500_000_000, "1.50 GB"),
            ("2GiB", 1 << 31, "2.15 GB"),
            ("0.5kib", 512, "512 B"),
            ("64 KB", 64_000, "64.0 kB"),
            ("2.5MB", 2_500_000, "2.5 MB"),
            ("7b", 7, "7 B"),
        ];
        for (text, bytes, said) in sizes {
            let size = Bytes::parse(text).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!((size.0, size.to_string().as_str()), (bytes, said), "{text}");
        }
        for (unit, scale) in BYTE_UNITS {
            for number in [1, 3, 17, 999, 1000] {
                let typed = [format!("{number}{unit}"), format!("{number} {}", unit.to_lowercase())];
                for text in typed.iter().chain([&format!("{number}.0{}", unit.to_uppercase())]) {
                    assert_eq!(Bytes::parse(text).expect("a size"), Bytes(number * scale), "{text}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_size_is_refused_with_an_example() {
        let wrong = [
            "",
            " ",
            "2",
            "2.",
            ".5GB",
            "2.GB",
            "GB",
            "-2GB",
            "+2GB",
            "2e9B",
            "2 G",
            "2 GBB",
            "2GB ",
            " 2GB",
            "1.2.3GB",
            "0GB",
            "0.0000001B",
            "9999999999TB",
            "NaN",
            "inf",
            "1_000MB",
            "1,5GB",
            "two GB",
            "2\u{a0}GB",
            "2GB2",
        ];
        for text in wrong {
            let error = Bytes::parse(text).expect_err(text);
            assert!(error.to_string().contains("1500MB"), "{error}");
            assert_eq!(error.kind().exit_code(), 2);
        }
    }

    #[test]
    fn normal_values_have_mean_zero_and_deviation_one() {
        let n = 200_000u64;
        let (mut sum, mut squares) = (0.0, 0.0);
        for i in 0..n {
            let (a, b) = Seed(3).normal_pair(i);
            sum += a + b;
            squares += a * a + b * b;
        }
        let mean = sum / (2 * n) as f64;
        assert!(mean.abs() < 5e-3, "mean {mean}");
        assert!((squares / (2 * n) as f64 - 1.0).abs() < 1e-2);
    }

    #[test]
    fn permutation_holds_every_index_once() {
        let mut order = Seed(1).permutation(1000);
        assert_ne!(order, (0..1000).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..1000).collect::<Vec<_>>());
    }
}
