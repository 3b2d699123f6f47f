//! Views of row-major `f32` matrices and their product, for the small layers after the convolutions.
//!
//! Every output is summed over the inner index in order, so a row of the product depends neither on the other rows nor
//! on threads: a recording's probabilities are the same alone and in any batch. (General matrix libraries take other
//! paths for other numbers of rows.)

use rayon::prelude::*;

use crate::network::kernels::CHANNELS;
use crate::network::kernels::outer::{load_channels, outer_strided, store_channels};
use crate::simd::{Isa, Job, Lanes};

/// Columns of one packed panel of the right factor.
const PANEL: usize = 2 * CHANNELS;

/// A matrix inside a slice; rows and columns may lie any number of floats apart.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    values: &'a [f32],
    shape: (usize, usize),
    strides: (usize, usize),
}

impl<'a> Matrix<'a> {
    /// `rows x columns` with rows `row_stride` floats apart.
    pub fn new(values: &'a [f32], (rows, columns): (usize, usize), row_stride: usize) -> Self {
        assert!(rows == 0 || values.len() >= (rows - 1) * row_stride + columns, "matrix does not fit its slice");
        Self { values, shape: (rows, columns), strides: (row_stride, 1) }
    }

    /// The same values with rows and columns exchanged.
    pub fn transposed(self) -> Self {
        let ((rows, columns), (row, column)) = (self.shape, self.strides);
        Self { values: self.values, shape: (columns, rows), strides: (column, row) }
    }

    /// Up to `n` rows from row `first` on.
    fn rows(self, first: usize, n: usize) -> Self {
        let n = n.min(self.shape.0 - first);
        Self { values: &self.values[first * self.strides.0..], shape: (n, self.shape.1), ..self }
    }

    /// Copies columns `first..` into a panel `[2][rows][16]`, with zeros beyond the last column.
    #[inline(always)]
    fn pack(&self, first: usize, panel: &mut [f32]) {
        let (rows, columns) = self.shape;
        for (half, panel) in panel.chunks_exact_mut(rows * CHANNELS).enumerate() {
            let start = (first + half * CHANNELS).min(columns);
            for (row, out) in panel.as_chunks_mut::<CHANNELS>().0.iter_mut().enumerate() {
                let at = row * self.strides.0 + start;
                let n = columns.saturating_sub(start).min(CHANNELS);
                out[n..].fill(0.0);
                out[..n].copy_from_slice(&self.values[at..at + n]);
            }
        }
    }

    /// [`Matrix::pack`] for a transposed view, whose columns lie side by side.
    #[inline(always)]
    fn pack_columns(&self, first: usize, panel: &mut [f32]) {
        let (rows, columns) = self.shape;
        for (half, panel) in panel.chunks_exact_mut(rows * CHANNELS).enumerate() {
            for column in 0..CHANNELS {
                let cells = panel.as_chunks_mut::<CHANNELS>().0.iter_mut().map(|row| &mut row[column]);
                let at = first + half * CHANNELS + column;
                if at < columns {
                    let values = &self.values[at * self.strides.1..][..rows];
                    cells.zip(values).for_each(|(cell, value)| *cell = *value);
                } else {
                    cells.for_each(|cell| *cell = 0.0);
                }
            }
        }
    }
}

/// Multiplies matrices; keeps the memory that packing needs.
pub struct Multiplier {
    isa: Isa,
    /// One per part.
    panels: Vec<f32>,
}

/// Parts that the rows of a product are cut into, for threads to share.
const PARTS: usize = 8;
/// Parts have a multiple of this many rows: each packs the right factor for itself.
const PART_ROWS: usize = 8;
/// Rows of one tile of a product: with 32 registers eight sums hide each other's latency. The order of no sum depends on it.
const ROWS: usize = 8;

impl Multiplier {
    /// A multiplier with the kernels of `isa`; its memory grows to the longest inner size and stays.
    pub fn new(isa: Isa) -> Self {
        Self { isa, panels: Vec::new() }
    }

    /// `out = keep out + a b`, where `keep` is 1 or 0; rows of `out` lie `row_stride` floats apart.
    pub fn multiply(&mut self, out: &mut [f32], row_stride: usize, keep: bool, a: Matrix<'_>, b: Matrix<'_>) {
        let ((m, k), (k_b, n)) = (a.shape, b.shape);
        assert_eq!(k, k_b, "inner sizes differ");
        if m == 0 || n == 0 {
            return;
        }
        assert!(out.len() >= (m - 1) * row_stride + n, "product does not fit its slice");
        let rows = m.div_ceil(PARTS).next_multiple_of(PART_ROWS);
        if self.panels.len() < PARTS * k * PANEL {
            self.panels.resize(PARTS * k * PANEL, 0.0);
        }
        let parts = out.par_chunks_mut(rows * row_stride).zip(self.panels.par_chunks_mut(k * PANEL));
        parts.enumerate().take(m.div_ceil(rows)).for_each(|(part, (out, panel))| {
            let a = a.rows(part * rows, rows);
            self.isa.run(Product { out, row_stride, keep, a, b, panel });
        });
    }
}

struct Product<'a> {
    out: &'a mut [f32],
    row_stride: usize,
    keep: bool,
    a: Matrix<'a>,
    b: Matrix<'a>,
    panel: &'a mut [f32],
}

impl Job for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self, lanes: L) {
        let (m, n) = (self.a.shape.0, self.b.shape.1);
        for first in (0..n).step_by(PANEL) {
            match self.b.strides {
                (_, 1) => self.b.pack(first, self.panel),
                _ => self.b.pack_columns(first, self.panel),
            }
            for half in 0..PANEL.min(n - first).div_ceil(CHANNELS) {
                let mut row = 0;
                while row < m {
                    let tile = (row, first + half * CHANNELS, half);
                    // SAFETY: the rows of the tile exist.
                    row += unsafe {
                        match (CHANNELS / L::N, m - row >= ROWS) {
                            (1, true) => self.tile::<L, 1, ROWS>(lanes, tile),
                            (1, false) => self.tile::<L, 1, 1>(lanes, tile),
                            (2, _) if m - row >= 4 => self.tile::<L, 2, 4>(lanes, tile),
                            (2, _) => self.tile::<L, 2, 1>(lanes, tile),
                            (_, _) if m - row >= 4 => self.tile::<L, 4, 4>(lanes, tile),
                            (_, _) => self.tile::<L, 4, 1>(lanes, tile),
                        }
                    };
                }
            }
        }
    }
}

impl Product<'_> {
    /// `P` rows of up to 16 columns; returns `P`.
    ///
    /// # Safety
    /// the rows exist.
    #[inline(always)]
    unsafe fn tile<L: Lanes, const V: usize, const P: usize>(
        &mut self,
        lanes: L,
        (row, column, half): (usize, usize, usize),
    ) -> usize {
        let (k, n) = (self.a.shape.1, self.b.shape.1);
        let width = CHANNELS.min(n - column);
        let mut rows = [[0.0f32; CHANNELS]; P];
        if self.keep {
            for (p, values) in rows.iter_mut().enumerate() {
                let at = (row + p) * self.row_stride + column;
                values[..width].copy_from_slice(&self.out[at..at + width]);
            }
        }
        // SAFETY: rows row..row + P of `a` lie in its slice (checked when the view was made), the panel has k rows.
        unsafe {
            let mut acc = [load_channels::<L, V>(lanes, rows[0].as_ptr(), 0); P];
            for (acc, values) in acc.iter_mut().zip(&rows) {
                *acc = load_channels::<L, V>(lanes, values.as_ptr(), 0);
            }
            let a = self.a.values.as_ptr().wrapping_add(row * self.a.strides.0);
            let panel = self.panel.as_ptr().wrapping_add(half * k * CHANNELS);
            outer_strided::<L, P, V>(lanes, &mut acc, a, self.a.strides, panel, k);
            for (acc, values) in acc.into_iter().zip(&mut rows) {
                store_channels::<L, V>(lanes, values.as_mut_ptr(), 0, acc);
            }
        }
        for (p, values) in rows.iter().enumerate() {
            let at = (row + p) * self.row_stride + column;
            self.out[at..at + width].copy_from_slice(&values[..width]);
        }
        P
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn product_of_strided_and_transposed_views_is_the_hand_value() {
        let a = [1.0, 2.0, 99.0, 3.0, 4.0, 99.0];
        let b = [5.0, 6.0, 7.0, 8.0];
        let (a, b) = (Matrix::new(&a, (2, 2), 3), Matrix::new(&b, (2, 2), 2));
        for isa in Isa::available() {
            let (mut out, mut multiplier) = ([1.0; 4], Multiplier::new(isa));
            multiplier.multiply(&mut out, 2, false, a, b);
            assert_eq!(out, [19.0, 22.0, 43.0, 50.0]);
            multiplier.multiply(&mut out, 2, true, a.transposed(), b.transposed());
            assert_eq!(out, [19.0 + 23.0, 22.0 + 31.0, 43.0 + 34.0, 50.0 + 46.0]);
        }
    }

    #[test]
    fn every_size_around_the_tiles_equals_the_plain_sum() {
        for (m, k, n) in [(1, 1, 1), (3, 5, 15), (4, 3, 16), (5, 7, 17), (9, 2, 33), (6, 4, 48), (2, 40, 70)] {
            let value = |i: usize| ((i * 7919) % 23) as f32 - 11.0;
            let (a, b): (Vec<f32>, Vec<f32>) = ((0..m * k).map(value).collect(), (0..k * n).map(value).collect());
            for isa in Isa::available() {
                let mut out = vec![f32::NAN; m * n];
                let (left, right) = (Matrix::new(&a, (m, k), k), Matrix::new(&b, (k, n), n));
                Multiplier::new(isa).multiply(&mut out, n, false, left, right);
                for (at, have) in out.iter().enumerate() {
                    let want: f32 = (0..k).map(|i| a[at / n * k + i] * b[i * n + at % n]).sum();
                    assert_eq!(*have, want, "{isa:?} {m} x {k} x {n} at {at}");
                }
            }
        }
    }
}
