//! Max pool on raw convolution outputs, its place, the moments of rows, and the way back.
//!
//! ELU and batch norm's affine map are monotone, so the maximum after them is the maximum of the raw values where
//! gamma is not negative, and the minimum where it is: only pooled values ever need the affine map and the ELU.

use crate::network::kernels::{MAPS, Maps};

/// Set in a place byte when dropout removed the pooled value.
pub const DROPPED: u8 = 0x80;

/// Views floats as pixels of one block.
#[inline(always)]
pub fn pixels(values: &[f32]) -> &[Maps] {
    values.as_chunks::<MAPS>().0
}

/// Views floats as pixels of one block.
#[inline(always)]
pub fn pixels_mut(values: &mut [f32]) -> &mut [Maps] {
    values.as_chunks_mut::<MAPS>().0
}

/// Pools one row of cells of one block.
///
/// `rows` starts at the cells' first row; its rows are `row` pixels apart. `sign` is 1 where the largest value is
/// wanted and -1 where the smallest. Out: the value and its index in the cell (`y * pool + x`, the first of equals).
#[inline(always)]
pub fn pool_row(rows: &[Maps], row: usize, pool: usize, sign: &Maps, raw: &mut [Maps], place: &mut [[u8; MAPS]]) {
    for (cell, (raw, place)) in raw.iter_mut().zip(place).enumerate() {
        let mut best = [f32::NEG_INFINITY; MAPS];
        let mut best_at = [0u32; MAPS];
        for y in 0..pool {
            let line = &rows[y * row + cell * pool..][..pool];
            for (x, values) in line.iter().enumerate() {
                let here = (y * pool + x) as u32;
                for map in 0..MAPS {
                    let value = values[map] * sign[map];
                    let better = value > best[map];
                    best[map] = if better { value } else { best[map] };
                    best_at[map] = if better { here } else { best_at[map] };
                }
            }
        }
        for map in 0..MAPS {
            raw[map] = best[map] * sign[map];
            place[map] = best_at[map] as u8;
        }
    }
}

/// Adds a row's sum and sum of squares to `moments` `[2][16]`.
///
/// Differences from the row's first pixel are summed in `f32`, so a large mean costs no precision.
#[inline(always)]
pub fn add_row_moments(row: &[Maps], moments: &mut [[f64; MAPS]; 2]) {
    let shift = row[0];
    let (mut sum, mut squares) = ([0.0f32; MAPS], [0.0f32; MAPS]);
    for values in row {
        for map in 0..MAPS {
            let difference = values[map] - shift[map];
            sum[map] += difference;
            squares[map] += difference * difference;
        }
    }
    let n = row.len() as f64;
    for map in 0..MAPS {
        let (sum, squares, shift) = (f64::from(sum[map]), f64::from(squares[map]), f64::from(shift[map]));
        moments[0][map] += sum + n * shift;
        moments[1][map] += squares + shift * (2.0 * sum + n * shift);
    }
}

/// Spreads pooled gradients of one row of cells to their places; everything else becomes zero.
///
/// `out` `[pool][width]` pixels.
#[inline(always)]
pub fn unpool_row(gradient: &[Maps], place: &[[u8; MAPS]], pool: usize, out: &mut [Maps]) {
    let width = gradient.len() * pool;
    for (cell, (gradient, place)) in gradient.iter().zip(place).enumerate() {
        for y in 0..pool {
            for (x, out) in out[y * width + cell * pool..][..pool].iter_mut().enumerate() {
                let here = (y * pool + x) as u8;
                for map in 0..MAPS {
                    out[map] = if place[map] & !DROPPED == here { gradient[map] } else { 0.0 };
                }
            }
        }
    }
}

/// Turns raw convolution outputs of one row of cells into their gradient, in place:
/// `slope * (value - mean) + offset`, and `scale * gradient` more at the pooled places.
#[inline(always)]
pub fn gradient_row(
    rows: &mut [Maps],
    row: usize,
    pool: usize,
    (gradient, place): (&[Maps], &[[u8; MAPS]]),
    [mean, slope, offset, scale]: [&Maps; 4],
) {
    for (cell, (gradient, place)) in gradient.iter().zip(place).enumerate() {
        let mut peak = [0.0f32; MAPS];
        let mut peak_at = [0u32; MAPS];
        for map in 0..MAPS {
            peak[map] = scale[map] * gradient[map];
            peak_at[map] = u32::from(place[map] & !DROPPED);
        }
        for y in 0..pool {
            for (x, values) in rows[y * row + cell * pool..][..pool].iter_mut().enumerate() {
                let here = (y * pool + x) as u32;
                for map in 0..MAPS {
                    let dense = slope[map] * (values[map] - mean[map]) + offset[map];
                    values[map] = dense + if peak_at[map] == here { peak[map] } else { 0.0 };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pool_takes_the_largest_or_the_smallest_and_names_the_first_of_equals() {
        let rows: Vec<Maps> = [1.0f32, 3.0, 3.0, -2.0].iter().map(|&value| [value; MAPS]).collect();
        let mut sign = [1.0; MAPS];
        sign[5] = -1.0;
        let (mut raw, mut place) = ([[9.0; MAPS]], [[9u8; MAPS]]);
        pool_row(&rows, 2, 2, &sign, &mut raw, &mut place);
        assert_eq!((raw[0][0], place[0][0]), (3.0, 1));
        assert_eq!((raw[0][5], place[0][5]), (-2.0, 3));
        let mut out = vec![[7.0; MAPS]; 4];
        unpool_row(&raw, &place, 2, &mut out);
        assert_eq!(out.iter().map(|pixel| pixel[0]).collect::<Vec<_>>(), [0.0, 3.0, 0.0, 0.0]);
        assert_eq!(out.iter().map(|pixel| pixel[5]).collect::<Vec<_>>(), [0.0, 0.0, 0.0, -2.0]);
    }

    #[test]
    fn moments_survive_a_large_mean() {
        let row: Vec<Maps> = (0..64).map(|i| [10_000.0 + (i % 2) as f32; MAPS]).collect();
        let mut moments = [[0.0; MAPS]; 2];
        add_row_moments(&row, &mut moments);
        let mean = moments[0][3] / 64.0;
        assert_eq!((mean, moments[1][3] / 64.0 - mean * mean), (10_000.5, 0.25));
    }
}
