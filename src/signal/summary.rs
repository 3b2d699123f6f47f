//! Mean, deviation and extremes of a spectrogram, in one pass.

use crate::simd::{Isa, Job, Lanes};

/// Partial sums, so that the loop does not wait for itself.
const LANES: usize = 16;

/// What the typed columns beside a spectrogram say of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    pub mean: f64,
    /// Population deviation.
    pub deviation: f64,
    pub least: f32,
    pub greatest: f32,
}

/// Summary of at least one finite value.
///
/// Sums are in f64 and in a fixed order: the same bits on every machine. The deviation comes from the mean of squares,
/// which for values of one size loses nothing that f32 had.
/// Proof: `a_summary_by_hand_and_at_every_length`, `every_instruction_set_gives_the_same_bits`.
pub fn summary(values: &[f32]) -> Summary {
    summary_by(Isa::fastest(), values)
}

fn summary_by(isa: Isa, values: &[f32]) -> Summary {
    isa.run(Summarise(values))
}

struct Summarise<'a>(&'a [f32]);

impl Job for Summarise<'_> {
    type Output = Summary;

    #[inline(always)]
    fn run<L: Lanes>(self, _: L) -> Summary {
        summary_inline(self.0)
    }
}

#[inline(always)]
fn summary_inline(values: &[f32]) -> Summary {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let (mut sums, mut squares) = ([0.0f64; LANES], [0.0f64; LANES]);
    let (mut least, mut greatest) = ([f32::INFINITY; LANES], [f32::NEG_INFINITY; LANES]);
    for chunk in chunks {
        for lane in 0..LANES {
            let (narrow, wide) = (chunk[lane], f64::from(chunk[lane]));
            sums[lane] += wide;
            squares[lane] += wide * wide;
            // Not f32::min, which asks for NaN to be passed over and costs twice as much.
            least[lane] = if narrow < least[lane] { narrow } else { least[lane] };
            greatest[lane] = if narrow > greatest[lane] { narrow } else { greatest[lane] };
        }
    }
    let wide = || rest.iter().map(|&value| f64::from(value));
    let n = values.len() as f64;
    let mean = (sums.iter().sum::<f64>() + wide().sum::<f64>()) / n;
    let square = (squares.iter().sum::<f64>() + wide().map(|value| value * value).sum::<f64>()) / n;
    let edges =
        |lanes: [f32; LANES], choose: fn(f32, f32) -> f32| lanes.iter().chain(rest).copied().fold(lanes[0], choose);
    Summary {
        mean,
        deviation: (square - mean * mean).max(0.0).sqrt(),
        least: edges(least, f32::min),
        greatest: edges(greatest, f32::max),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Seed;

    fn noise(n: usize) -> Vec<f32> {
        (0..n).map(|i| (Seed(9).normal_pair(i as u64).0 * 4.0 - 12.0) as f32).collect()
    }

    #[test]
    fn a_summary_by_hand_and_at_every_length() {
        let by_hand = Summary { mean: 2.0, deviation: 1.0, least: 1.0, greatest: 3.0 };
        assert_eq!(summary(&[1.0, 3.0]), by_hand);
        assert_eq!(summary(&[1.0, 3.0].repeat(40)), by_hand);
        for n in [1, 2, 15, 16, 17, 31, 32, 1_000, 65_024] {
            let values = noise(n);
            let found = summary(&values);
            let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / n as f64;
            let variance = values.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n as f64;
            assert!((found.mean - mean).abs() < 1e-12 && (found.deviation - variance.sqrt()).abs() < 1e-6, "{n}");
            assert_eq!(found.least, values.iter().copied().fold(f32::MAX, f32::min), "{n}");
            assert_eq!(found.greatest, values.iter().copied().fold(f32::MIN, f32::max), "{n}");
        }
    }

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        for n in [7, 16, 1_003] {
            let values = noise(n);
            for isa in Isa::available() {
                assert_eq!(summary_by(isa, &values), summary_by(Isa::Portable, &values), "{isa:?}, {n}");
            }
        }
    }
}
