//! One image through one block: convolution and pool, then (after the batch barrier) norm, ELU and dropout.

use crate::network::dropout::Dropout;
use crate::network::kernels::conv::{Source, conv_row};
use crate::network::kernels::elementwise::elu;
use crate::network::kernels::geometry::Geometry;
use crate::network::kernels::pool::{DROPPED, add_row_moments, pixels, pixels_mut, pool_row};
use crate::network::kernels::{Job, Lanes, MAPS, Maps};

/// Where the convolution's raw rows go: a whole image that backward will read, or a few rows that are overwritten.
#[derive(Clone, Copy, Debug)]
pub struct RawRows {
    /// First float of pixel (0, 0) in block 0.
    first: usize,
    /// Floats from one row to the next.
    row: usize,
    /// Floats from one block to the next.
    plane: usize,
    /// Floats from one row of pool cells to the next.
    cell_row: usize,
}

impl RawRows {
    /// An image with halo.
    pub fn whole(geometry: Geometry, pool: usize) -> Self {
        let row = geometry.haloed_row();
        Self { first: geometry.haloed_at(0, 0), row, plane: geometry.haloed_plane(), cell_row: pool * row }
    }

    /// `[blocks][pool][width][16]`, used again for every row of cells.
    pub fn strip(geometry: Geometry, pool: usize) -> Self {
        let row = geometry.width * MAPS;
        Self { first: 0, row, plane: pool * row, cell_row: 0 }
    }

    /// Floats that [`RawRows::strip`] needs.
    pub fn strip_len(geometry: Geometry, pool: usize) -> usize {
        geometry.n_blocks() * pool * geometry.width * MAPS
    }
}

/// Convolution, moments and pool of one image.
pub struct ConvPool<'a, const S: usize> {
    /// The image that enters, with halo.
    pub source: Source<'a, S>,
    /// Shape of the convolution's output.
    pub geometry: Geometry,
    /// Side of the pool.
    pub pool: usize,
    /// Packed weights.
    pub weights: &'a [f32],
    /// `[blocks * 16]`.
    pub bias: &'a [f32],
    /// `[blocks * 16]`, 1 where the pool wants the largest raw value, -1 where the smallest.
    pub sign: &'a [f32],
    /// Where raw rows go.
    pub rows: RawRows,
    /// The raw rows.
    pub y: &'a mut [f32],
    /// Out: pooled raw values `[blocks][height / pool][width / pool][16]`.
    pub raw: &'a mut [f32],
    /// Out: their places in the cells, same shape.
    pub place: &'a mut [u8],
    /// Out: sum and sum of squares of the raw values, `[blocks][2][16]`, if they are wanted.
    pub moments: Option<&'a mut [[[f64; MAPS]; 2]]>,
}

impl<const S: usize> Job for ConvPool<'_, S> {
    #[inline(always)]
    fn run<L: Lanes>(mut self) {
        let pooled = self.geometry.pooled(self.pool);
        if let Some(moments) = &mut self.moments {
            moments.fill([[0.0; MAPS]; 2]);
        }
        for cell_row in 0..pooled.height {
            let first = self.rows.first + cell_row * self.rows.cell_row;
            for y in 0..self.pool {
                let out = &mut self.y[first + y * self.rows.row..];
                // SAFETY: `Isa::run` chose lanes that the machine has.
                unsafe {
                    let y = cell_row * self.pool + y;
                    conv_row::<L, S>(self.source, y, self.weights, self.bias, out, self.rows.plane);
                }
            }
            for block in 0..self.geometry.n_blocks() {
                let rows = pixels(&self.y[first + block * self.rows.plane..]);
                let row = self.rows.row / MAPS;
                if let Some(moments) = &mut self.moments {
                    for y in 0..self.pool {
                        add_row_moments(&rows[y * row..][..self.geometry.width], &mut moments[block]);
                    }
                }
                let at = (block * pooled.n_pixels() + cell_row * pooled.width) * MAPS;
                let length = pooled.width * MAPS;
                pool_row(
                    rows,
                    row,
                    self.pool,
                    &pixels(self.sign)[block],
                    pixels_mut(&mut self.raw[at..at + length]),
                    self.place[at..at + length].as_chunks_mut().0,
                );
            }
        }
    }
}

/// Per-map constants of batch norm, `[blocks * 16]` each, zero for padded maps.
#[derive(Clone, Copy)]
pub struct Affine<'a> {
    pub mean: &'a [f32],
    /// `1 / sqrt(variance + epsilon)`.
    pub inverse_deviation: &'a [f32],
    /// `gamma * inverse_deviation`.
    pub scale: &'a [f32],
    pub beta: &'a [f32],
}

impl Affine<'_> {
    /// The four constants of one block: mean, inverse deviation, scale, beta.
    #[inline(always)]
    pub fn block(&self, block: usize) -> [&Maps; 4] {
        [self.mean, self.inverse_deviation, self.scale, self.beta].map(|values| &pixels(values)[block])
    }
}

/// Batch norm, ELU and dropout of one image's pooled values.
pub struct Activate<'a> {
    /// Shape of the pooled image.
    pub geometry: Geometry,
    pub affine: Affine<'a>,
    pub dropout: Dropout,
    /// Number of the image in the batch: part of the place dropout looks at.
    pub image: usize,
    /// Pooled raw values.
    pub raw: &'a [f32],
    /// Their places; [`DROPPED`] is set where dropout removed the value.
    pub place: &'a mut [u8],
    /// Out: the image with halo (the halo is not written).
    pub out: &'a mut [f32],
}

impl Job for Activate<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let geometry = self.geometry;
        for block in 0..geometry.n_blocks() {
            let [mean, _, scale, beta] = self.affine.block(block);
            for y in 0..geometry.height {
                let first = block * geometry.n_pixels() + y * geometry.width;
                let raw = &pixels(self.raw)[first..first + geometry.width];
                let place: &mut [[u8; MAPS]] = &mut self.place.as_chunks_mut().0[first..first + geometry.width];
                let out = pixels_mut(&mut self.out[block * geometry.haloed_plane() + geometry.haloed_at(y, 0)..]);
                let dropout_at = self.image * geometry.n_blocks() * geometry.n_pixels() + first;
                for (x, ((raw, place), out)) in raw.iter().zip(place).zip(out).enumerate() {
                    let dropped = self.dropout.dropped(dropout_at + x);
                    for map in 0..MAPS {
                        let value = elu((raw[map] - mean[map]) * scale[map] + beta[map]) * self.dropout.scale;
                        out[map] = if dropped[map] { 0.0 } else { value };
                        place[map] |= if dropped[map] { DROPPED } else { 0 };
                    }
                }
            }
        }
    }
}
