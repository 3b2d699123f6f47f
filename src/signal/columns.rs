//! A stretch of a wave as columns: what lets a register hold the same sample of consecutive frames.
//!
//! Consecutive frames begin `hop` samples apart. Cut into rows of `hop` samples and stored by columns, sample `k` of as many
//! frames as one likes lies side by side: frame `t` reads row `t + k / hop`, column `k % hop`.

#[cfg(target_arch = "x86_64")]
use crate::simd::Avx2;
use crate::simd::Isa;

/// Rows that are turned into columns together, and columns of them.
const TILE: usize = 8;

/// Immutable plan for one hop.
pub(super) struct Columns {
    hop: usize,
    n_rows: usize,
    n_columns: usize,
    /// Where sample `k` of the first frame lies; the next frame's lies behind it.
    offsets: Vec<usize>,
}

impl Columns {
    /// Plans columns for `n_frames` frames of which the first `n_read` samples are read.
    pub(super) fn new(hop: usize, n_read: usize, n_frames: usize) -> Self {
        let n_rows = n_frames + (n_read - 1) / hop;
        let offsets = (0..n_read).map(|k| k % hop * n_rows + k / hop).collect();
        Self { hop, n_rows, n_columns: hop.min(n_read), offsets }
    }

    /// Where sample `k` of the first frame lies.
    pub(super) fn offsets(&self) -> &[usize] {
        &self.offsets
    }

    /// Values in all columns.
    pub(super) fn len(&self) -> usize {
        self.n_rows * self.n_columns
    }

    /// Fills `columns` with what stands in `wave` from sample `begin` on, zeros outside of it.
    ///
    /// `columns`  `[n_columns][n_rows]`, any content.
    /// Proof      `columns_hold_every_sample_of_every_frame`.
    pub(super) fn fill(&self, isa: Isa, wave: &[f32], begin: isize, columns: &mut [f32]) {
        assert_eq!(columns.len(), self.len(), "values in columns");
        let mut row = 0;
        while row < self.n_rows {
            let first = begin + (row * self.hop) as isize;
            let tile = usize::try_from(first).ok().and_then(|first| wave.get(first..));
            let is_whole = row + TILE <= self.n_rows
                && tile.is_some_and(|tile| tile.len() >= (TILE - 1) * self.hop + self.n_columns);
            match tile {
                Some(tile) if is_whole => {
                    self.fill_tile(isa, tile, row, columns);
                    row += TILE;
                }
                _ => {
                    self.fill_row(wave, first, row, columns);
                    row += 1;
                }
            }
        }
    }

    /// Eight rows at once, which lie in `tile`.
    fn fill_tile(&self, isa: Isa, tile: &[f32], row: usize, columns: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        if let Some(proof) = isa.avx2() {
            // SAFETY: there is a proof that the processor has AVX2.
            return unsafe { self.fill_tile_avx2(proof, tile, row, columns) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = isa;
        (0..TILE).for_each(|index| self.fill_row(tile, (index * self.hop) as isize, row + index, columns));
    }

    /// One row, whose samples begin at `first`.
    fn fill_row(&self, wave: &[f32], first: isize, row: usize, columns: &mut [f32]) {
        let samples = usize::try_from(first).ok().and_then(|first| wave.get(first..first + self.n_columns));
        let cells = columns[row..].iter_mut().step_by(self.n_rows);
        match samples {
            Some(samples) => cells.zip(samples).for_each(|(cell, &sample)| *cell = sample),
            None => {
                for (column, cell) in cells.enumerate() {
                    let at = usize::try_from(first + column as isize).ok();
                    *cell = at.and_then(|at| wave.get(at)).copied().unwrap_or(0.0);
                }
            }
        }
    }

    /// Eight rows at once, in squares of eight.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn fill_tile_avx2(&self, _: Avx2, tile: &[f32], row: usize, columns: &mut [f32]) {
        let whole = self.n_columns / TILE * TILE;
        assert!(tile.len() >= (TILE - 1) * self.hop + self.n_columns);
        assert!(row + TILE <= self.n_rows && columns.len() == self.len());
        for column in (0..whole).step_by(TILE) {
            // SAFETY: both squares lie within their slices, as has just been checked.
            unsafe {
                let to = columns.as_mut_ptr().add(column * self.n_rows + row);
                x86::transpose(tile.as_ptr().add(column), self.hop, to, self.n_rows);
            }
        }
        for column in whole..self.n_columns {
            for index in 0..TILE {
                columns[column * self.n_rows + row + index] = tile[index * self.hop + column];
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    /// `to[j * to_stride + i] = from[i * from_stride + j]` for `i` and `j` below 8.
    ///
    /// # Safety
    /// Both squares are there.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn transpose(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        // SAFETY: row `i` of eight values is there.
        let row = |i: usize| unsafe { _mm256_loadu_ps(from.add(i * from_stride)) };
        let pairs = |i: usize| (_mm256_unpacklo_ps(row(i), row(i + 1)), _mm256_unpackhi_ps(row(i), row(i + 1)));
        let fours = |i: usize| {
            let ((low, high), (next_low, next_high)) = (pairs(i), pairs(i + 2));
            [
                _mm256_shuffle_ps::<0x44>(low, next_low),
                _mm256_shuffle_ps::<0xee>(low, next_low),
                _mm256_shuffle_ps::<0x44>(high, next_high),
                _mm256_shuffle_ps::<0xee>(high, next_high),
            ]
        };
        let (upper, lower) = (fours(0), fours(4));
        for j in 0..4 {
            let left = _mm256_permute2f128_ps::<0x20>(upper[j], lower[j]);
            let right = _mm256_permute2f128_ps::<0x31>(upper[j], lower[j]);
            // SAFETY: there is room for rows `j` and `j + 4`.
            unsafe {
                _mm256_storeu_ps(to.add(j * to_stride), left);
                _mm256_storeu_ps(to.add((j + 4) * to_stride), right);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_hold_every_sample_of_every_frame() {
        let wave: Vec<f32> = (1..=3_000u16).map(f32::from).collect();
        for (hop, n_read, n_frames) in
            [(128, 256, 16), (100, 256, 16), (7, 64, 8), (1, 9, 16), (300, 20, 4), (11, 11, 24)]
        {
            let plan = Columns::new(hop, n_read, n_frames);
            for begin in [-5_000, -130, -1, 0, 1, 77, 2_000, 2_999, 4_000] {
                for isa in Isa::available() {
                    let mut columns = vec![f32::NAN; plan.len()];
                    plan.fill(isa, &wave, begin, &mut columns);
                    for (frame, k) in (0..n_frames).flat_map(|frame| (0..n_read).map(move |k| (frame, k))) {
                        let at = usize::try_from(begin + (frame * hop + k) as isize).ok();
                        let expected = at.and_then(|at| wave.get(at)).copied().unwrap_or(0.0);
                        let found = columns[plan.offsets()[k] + frame];
                        assert_eq!(found, expected, "{isa:?}, hop {hop}, begin {begin}, frame {frame}, sample {k}");
                    }
                }
            }
        }
    }
}
