//! Sums over the 3x3 patches of an image of one channel, or of three: what block 1's batch statistics and the dense part of its
//! weight gradient are made of, in `f64`.

use crate::network::kernels::geometry::Geometry;
use crate::simd::{Job, Lanes};

/// Taps of a 3x3 patch.
pub const TAPS: usize = 9;
/// Taps of a patch of three channels, numbered as in a kernel: the channels of a tap side by side.
pub const MOST_TAPS: usize = 3 * TAPS;

/// `sum[t]` of the values under tap `t` and `product[t][u]` of pairs of taps, over all pixels; zero for taps that there are
/// none of.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PatchSums {
    pub sum: [f64; MOST_TAPS],
    pub product: [[f64; MOST_TAPS]; MOST_TAPS],
}

impl PatchSums {
    /// Adds the sums of another image.
    pub fn add(&mut self, other: &Self) {
        for tap in 0..MOST_TAPS {
            self.sum[tap] += other.sum[tap];
            for second in 0..MOST_TAPS {
                self.product[tap][second] += other.product[tap][second];
            }
        }
    }

    /// `product - sum sum' / n`: the products of values less their mean.
    pub fn centred(&self, n: f64) -> [[f64; MOST_TAPS]; MOST_TAPS] {
        let mut centred = self.product;
        for (row, sum) in centred.iter_mut().zip(self.sum) {
            for (product, second) in row.iter_mut().zip(self.sum) {
                *product -= sum * second / n;
            }
        }
        centred
    }
}

/// Sums over the patches of one image `[channels][height + 2][width + 2]`.
pub struct Patches<'a> {
    pub image: &'a [f32],
    pub geometry: Geometry,
    pub sums: &'a mut PatchSums,
}

impl Job for Patches<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, _: L) {
        let (width, stride) = (self.geometry.width, self.geometry.width + 2);
        *self.sums = PatchSums::default();
        let (n, plane) = (self.geometry.channels, (self.geometry.height + 2) * stride);
        for y in 0..self.geometry.height {
            let line = |tap: usize| {
                let (channel, tap) = (tap % n, tap / n);
                &self.image[channel * plane + (y + tap / 3) * stride + tap % 3..][..width]
            };
            for tap in 0..n * TAPS {
                self.sums.sum[tap] += sum(line(tap));
                for second in tap..n * TAPS {
                    self.sums.product[tap][second] += dot(line(tap), line(second));
                }
            }
        }
        for tap in 0..n * TAPS {
            for second in 0..tap {
                self.sums.product[tap][second] = self.sums.product[second][tap];
            }
        }
    }
}

const LANES: usize = 16;

#[inline(always)]
fn sum(values: &[f32]) -> f64 {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut sums = [0.0f64; LANES];
    for chunk in chunks {
        for lane in 0..LANES {
            sums[lane] += f64::from(chunk[lane]);
        }
    }
    sums.iter().sum::<f64>() + rest.iter().map(|&value| f64::from(value)).sum::<f64>()
}

#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f64 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = [0.0f64; LANES];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] += f64::from(a[lane]) * f64::from(b[lane]);
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Isa;

    #[test]
    fn sums_count_every_patch_once_with_zeros_around() {
        let geometry = Geometry { height: 2, width: 19, channels: 1 };
        let mut image = vec![0.0; 4 * 21];
        for y in 0..2 {
            for x in 0..19 {
                image[(y + 1) * 21 + x + 1] = (1 + x + 100 * y) as f32;
            }
        }
        for isa in Isa::available() {
            let mut sums = PatchSums { sum: [7.0; MOST_TAPS], ..PatchSums::default() };
            isa.run(Patches { image: &image, geometry, sums: &mut sums });
            let row0: f64 = (1..=19).map(f64::from).sum();
            let row1 = row0 + 1900.0;
            // The centre tap sees every pixel; the tap above it sees row 0 alone; the one to the left misses x = 18.
            assert_eq!((sums.sum[4], sums.sum[1], sums.sum[3]), (row0 + row1, row0, row0 + row1 - 19.0 - 119.0));
            let vertical: f64 = (1..=19).map(|x| f64::from(x) * f64::from(x + 100)).sum();
            assert_eq!((sums.product[1][4], sums.product[4][1]), (vertical, vertical));
        }
    }
}
