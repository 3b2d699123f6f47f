//! Quantities that must not be mixed up: sample rates, decibels, and the seed of all randomness.

use serde::{Deserialize, Serialize};

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
