//! Max pool on raw convolution outputs, the argmax, the moments of rows, and the way back.
//!
//! ELU and batch norm's affine map are monotone, so the maximum after them is the maximum of the raw values where
//! gamma is not negative, and the minimum where it is: only pooled values ever need the affine map and the ELU.

use crate::network::kernels::dropout::Dropout;
use crate::network::kernels::{CHANNELS, Channels};
use crate::network::pool::Pool;
use crate::simd::Lanes;

/// Set in the byte of an argmax index when dropout removed the pooled value.
pub const DROPPED: u8 = 0x80;

/// 0 where dropout removed the value, else 1. (Bytes apart from floats: together they do not become vector instructions.)
#[inline(always)]
pub fn kept(argmax: &[u8; CHANNELS]) -> Channels {
    std::array::from_fn(|channel| f32::from(1 - (argmax[channel] >> 7)))
}

/// Sets [`DROPPED`] where `dropout` removes a value; `first` is the position of the first pixel in the batch.
#[inline(always)]
pub fn drop_indices(dropout: Dropout, first: usize, argmax: &mut [[u8; CHANNELS]]) {
    if dropout.scale == 1.0 {
        return;
    }
    for (pixel, argmax) in argmax.iter_mut().enumerate() {
        let dropped = dropout.dropped(first + pixel);
        for channel in 0..CHANNELS {
            argmax[channel] |= u8::from(dropped[channel]) << 7;
        }
    }
}

/// Views floats as pixels of one block.
#[inline(always)]
pub fn pixels(values: &[f32]) -> &[Channels] {
    values.as_chunks::<CHANNELS>().0
}

/// Views floats as pixels of one block.
#[inline(always)]
pub fn pixels_mut(values: &mut [f32]) -> &mut [Channels] {
    values.as_chunks_mut::<CHANNELS>().0
}

/// Pools one row of cells of one block and, if they are wanted, adds the sum and sum of squares of its values to `moments`
/// `[2][16]`.
///
/// `rows` starts at the cells' first row; its rows are `row` pixels apart. `sign` is 1 where the largest value is
/// wanted and -1 where the smallest. Out: the value and its index in the cell (`y * pool.time + x`, the first of equals).
/// Moments are summed in `f32` as differences from the first pixel, so a large mean costs no precision.
///
/// Panics when a length does not fit.
#[inline(always)]
pub fn pool_row<L: Lanes>(
    lanes: L,
    rows: &[Channels],
    row: usize,
    pool: Pool,
    sign: &Channels,
    (raw, argmax): (&mut [Channels], &mut [[u8; CHANNELS]]),
    moments: Option<&mut [[f64; CHANNELS]; 2]>,
) {
    let width = raw.len() * pool.time;
    assert!(width > 0 && argmax.len() == raw.len() && rows.len() >= (pool.mel - 1) * row + width, "cells of a row");
    let mut sums = [[0.0f32; CHANNELS]; 2];
    for lane in (0..CHANNELS).step_by(L::N) {
        // SAFETY: pixels within the lengths checked above.
        unsafe {
            let sign = lanes.load(sign.as_ptr().add(lane));
            let shift = lanes.load(rows.as_ptr().cast::<f32>().add(lane));
            let (mut sum, mut squares) = (lanes.splat(0.0), lanes.splat(0.0));
            for (cell, (raw, argmax)) in raw.iter_mut().zip(argmax.iter_mut()).enumerate() {
                let mut best = (lanes.splat(f32::NEG_INFINITY), lanes.index(0));
                for y in 0..pool.mel {
                    for x in 0..pool.time {
                        let value =
                            lanes.load(rows.as_ptr().add(y * row + cell * pool.time + x).cast::<f32>().add(lane));
                        let difference = lanes.sub(value, shift);
                        sum = lanes.add(sum, difference);
                        squares = lanes.mul_add(difference, difference, squares);
                        best = lanes.keep_larger(best, lanes.mul(value, sign), lanes.index((y * pool.time + x) as u8));
                    }
                }
                lanes.store(raw.as_mut_ptr().add(lane), lanes.mul(best.0, sign));
                lanes.store_indices(argmax.as_mut_ptr().add(lane), best.1);
            }
            lanes.store(sums[0].as_mut_ptr().add(lane), sum);
            lanes.store(sums[1].as_mut_ptr().add(lane), squares);
        }
    }
    let Some(moments) = moments else { return };
    let n = (width * pool.mel) as f64;
    for channel in 0..CHANNELS {
        let (sum, squares, shift) =
            (f64::from(sums[0][channel]), f64::from(sums[1][channel]), f64::from(rows[0][channel]));
        moments[0][channel] += sum + n * shift;
        moments[1][channel] += squares + shift * (2.0 * sum + n * shift);
    }
}

/// Turns raw convolution outputs of one row of cells into their gradient, in place:
/// `scale_term * (value - mean) + shift_term`, and `scale * gradient` more where values were pooled.
///
/// Panics when a length does not fit.
#[inline(always)]
pub fn gradient_row<L: Lanes>(
    lanes: L,
    rows: &mut [Channels],
    row: usize,
    pool: Pool,
    (gradient, argmax): (&[Channels], &[[u8; CHANNELS]]),
    constants: [&Channels; 4],
) {
    let width = gradient.len() * pool.time;
    assert!(argmax.len() == gradient.len() && rows.len() >= (pool.mel - 1) * row + width, "cells of a row");
    for lane in (0..CHANNELS).step_by(L::N) {
        // SAFETY: pixels within the lengths checked above.
        unsafe {
            let [mean, scale_term, shift_term, scale] = constants.map(|values| lanes.load(values.as_ptr().add(lane)));
            for (cell, (gradient, argmax)) in gradient.iter().zip(argmax).enumerate() {
                let peak = lanes.mul(scale, lanes.load(gradient.as_ptr().add(lane)));
                let indices = lanes.load_indices(argmax.as_ptr().add(lane));
                for y in 0..pool.mel {
                    for x in 0..pool.time {
                        let at = rows.as_mut_ptr().add(y * row + cell * pool.time + x).cast::<f32>().add(lane);
                        let dense = lanes.mul_add(scale_term, lanes.sub(lanes.load(at), mean), shift_term);
                        let here = lanes.index((y * pool.time + x) as u8);
                        lanes.store(at, lanes.add(dense, lanes.keep_where(indices, here, peak)));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Isa, Job};

    struct Row<'a> {
        rows: &'a [Channels],
        pool: Pool,
        sign: &'a Channels,
        raw: &'a mut [Channels],
        argmax: &'a mut [[u8; CHANNELS]],
        moments: &'a mut [[f64; CHANNELS]; 2],
    }

    impl Job for Row<'_> {
        type Output = ();

        #[inline(always)]
        fn run<L: Lanes>(self, lanes: L) {
            let row = self.raw.len() * self.pool.time;
            let out = (self.raw, self.argmax);
            pool_row(lanes, self.rows, row, self.pool, self.sign, out, Some(self.moments));
        }
    }

    #[test]
    fn pool_takes_the_largest_or_the_smallest_and_names_the_first_of_equals() {
        let rows: Vec<Channels> = [1.0f32, 3.0, 3.0, -2.0].iter().map(|&value| [value; CHANNELS]).collect();
        let mut sign = [1.0; CHANNELS];
        sign[5] = -1.0;
        for isa in Isa::available() {
            let (mut raw, mut argmax, mut moments) = ([[9.0; CHANNELS]], [[9u8; CHANNELS]], [[0.0; CHANNELS]; 2]);
            isa.run(Row {
                rows: &rows,
                pool: 2.into(),
                sign: &sign,
                raw: &mut raw,
                argmax: &mut argmax,
                moments: &mut moments,
            });
            assert_eq!((raw[0][0], argmax[0][0]), (3.0, 1), "{isa:?}");
            assert_eq!((raw[0][5], argmax[0][5]), (-2.0, 3), "{isa:?}");
            assert_eq!((moments[0][7], moments[1][7]), (5.0, 23.0), "{isa:?}");
        }
    }

    #[test]
    fn moments_survive_a_large_mean() {
        let rows: Vec<Channels> = (0..64).map(|i| [10_000.0 + (i % 2) as f32; CHANNELS]).collect();
        for isa in Isa::available() {
            let (mut raw, mut argmax, mut moments) =
                ([[0.0; CHANNELS]; 16], [[0u8; CHANNELS]; 16], [[0.0; CHANNELS]; 2]);
            let sign = &[1.0; CHANNELS];
            isa.run(Row {
                rows: &rows,
                pool: 2.into(),
                sign,
                raw: &mut raw,
                argmax: &mut argmax,
                moments: &mut moments,
            });
            let mean = moments[0][3] / 64.0;
            assert_eq!((mean, moments[1][3] / 64.0 - mean * mean), (10_000.5, 0.25), "{isa:?}");
        }
    }
}
