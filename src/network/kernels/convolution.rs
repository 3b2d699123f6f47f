//! The 3x3 convolution of a block by the method that fits its shape, some rows at a time.

use crate::network::kernels::CHANNELS;
use crate::network::kernels::conv::{self, Source, conv_row};
use crate::network::kernels::geometry::{Geometry, Rows};
use crate::network::kernels::winograd::{self, Pack, Scratch, TILE, Tiling, Unpack};
use crate::network::pool::Pool;
use crate::simd::{Isa, Lanes};

/// How a convolution is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Direct sums over the planes of a first block's few channels.
    Narrow,
    /// Direct sums over blocks of 16 channels.
    Direct,
    /// Winograd's F(4x4, 3x3).
    Winograd(Tiling),
}

impl Method {
    /// The method for images `input` whose outputs are pooled by `pool`.
    pub fn choose(input: Geometry, pool: Pool) -> Self {
        match Tiling::new(input) {
            _ if input.channels == 1 => Self::Narrow,
            Some(tiling) if TILE.is_multiple_of(pool.mel) => Self::Winograd(tiling),
            _ => Self::Direct,
        }
    }

    /// Channels stored side by side in the images that enter: 1 or 16.
    pub fn stored(self) -> usize {
        if self == Self::Narrow { 1 } else { CHANNELS }
    }

    /// Floats of the packed weights, and of their packed gradient.
    pub fn packed_len(self, channels_in: usize, channels_out: usize) -> usize {
        match self {
            Self::Winograd(_) => winograd::packed_len(channels_in, channels_out),
            _ => conv::packed_len(channels_in, channels_out, self.stored()),
        }
    }

    /// Packs a kernel `[3, 3, channels_in, channels_out]`.
    pub fn pack(self, isa: Isa, kernel: &[f32], (channels_in, channels_out): (usize, usize), packed: &mut [f32]) {
        match self {
            Self::Winograd(_) => isa.run(Pack { kernel, channels_in, channels_out, transposed: false, packed }),
            _ => conv::pack(kernel, channels_in, channels_out, self.stored(), packed),
        }
    }

    /// Packs the kernel of the input gradient: taps turned around, channels in and out exchanged.
    pub fn pack_transposed(
        self,
        isa: Isa,
        kernel: &[f32],
        (channels_in, channels_out): (usize, usize),
        packed: &mut [f32],
    ) {
        match self {
            Self::Winograd(_) => isa.run(Pack { kernel, channels_in, channels_out, transposed: true, packed }),
            _ => conv::pack_transposed(kernel, channels_in, channels_out, packed),
        }
    }

    /// The gradient of a kernel `[3, 3, channels_in, channels_out]` out of its packed form.
    pub fn unpack(self, isa: Isa, packed: &[f32], (channels_in, channels_out): (usize, usize), gradient: &mut [f32]) {
        match self {
            Self::Winograd(_) => isa.run(Unpack { packed, channels_in, channels_out, gradient }),
            _ => conv::unpack(packed, channels_in, channels_out, self.stored(), gradient),
        }
    }

    /// Output rows that are best computed together, a multiple of the `pool` rows of a cell; the last step of an image may
    /// have fewer.
    pub fn step_height(self, pool: usize) -> usize {
        match self {
            Self::Winograd(tiling) => tiling.group_height(),
            _ => pool,
        }
    }

    /// Floats of scratch that one image needs, in either direction.
    pub fn scratch_len(self, channels_in: usize, channels_out: usize) -> usize {
        match self {
            Self::Winograd(tiling) => 2 * tiling.transformed_len(channels_in.max(channels_out).div_ceil(CHANNELS)),
            _ => 0,
        }
    }
}

/// One image on its way through a convolution.
pub struct Convolution<'a> {
    pub method: Method,
    /// The image that enters, with padding.
    pub image: &'a [f32],
    /// Its shape.
    pub input: Geometry,
    /// [`Method::scratch_len`] floats.
    pub scratch: &'a mut [f32],
}

impl Convolution<'_> {
    /// Output rows `y0..y1` into `out`, which starts at the first pixel of the first row.
    ///
    /// `weights` packed, `bias` `[blocks * 16]` of the output channels. `y0` is a multiple of [`Method::step_height`], and
    /// `y1` the end of that step.
    ///
    /// Panics when a length does not fit.
    #[inline(always)]
    pub fn rows<L: Lanes>(
        &mut self,
        lanes: L,
        (y0, y1): (usize, usize),
        (weights, bias): (&[f32], &[f32]),
        (out, rows): (&mut [f32], Rows),
    ) {
        match self.method {
            Method::Narrow => {
                let source = Source::<1>::new(self.image, self.input);
                for y in y0..y1 {
                    conv_row::<L, 1>(lanes, source, y, weights, bias, &mut out[(y - y0) * rows.row..], rows.plane);
                }
            }
            Method::Direct => {
                let source = Source::<CHANNELS>::new(self.image, self.input);
                for y in y0..y1 {
                    conv_row::<L, CHANNELS>(
                        lanes,
                        source,
                        y,
                        weights,
                        bias,
                        &mut out[(y - y0) * rows.row..],
                        rows.plane,
                    );
                }
            }
            Method::Winograd(tiling) => {
                let source = Source::<CHANNELS>::new(self.image, self.input);
                let tiles = (y0 / TILE, y1.div_ceil(TILE));
                let (left, right) = self.scratch.split_at_mut(self.scratch.len() / 2);
                let mut scratch = Scratch { left, right };
                winograd::conv_rows(lanes, tiling, source, tiles, (weights, bias), &mut scratch, (out, rows));
            }
        }
    }

    /// Adds the gradient of the weights from output rows `y0..y1` to `sums` (packed like the weights).
    ///
    /// `gradient` starts at the first pixel of the first row of the gradient of the convolution's output. Rows as in
    /// [`Convolution::rows`], or any for the direct methods.
    ///
    /// Panics when a length does not fit.
    #[inline(always)]
    pub fn weight_gradient_rows<L: Lanes>(
        &mut self,
        lanes: L,
        (y0, y1): (usize, usize),
        (gradient, rows): (&[f32], Rows),
        sums: &mut [f32],
    ) {
        let strides = (rows.row, rows.plane);
        match self.method {
            Method::Narrow => {
                let source = Source::<1>::new(self.image, self.input);
                conv::weight_gradient_rows::<L, 1>(lanes, source, (y0, y1), gradient, strides, sums);
            }
            Method::Direct => {
                let source = Source::<CHANNELS>::new(self.image, self.input);
                conv::weight_gradient_rows::<L, CHANNELS>(lanes, source, (y0, y1), gradient, strides, sums);
            }
            Method::Winograd(tiling) => {
                let source = Source::<CHANNELS>::new(self.image, self.input);
                let tiles = (y0 / TILE, y1.div_ceil(TILE));
                let (left, right) = self.scratch.split_at_mut(self.scratch.len() / 2);
                let mut scratch = Scratch { left, right };
                winograd::weight_gradient_rows(lanes, tiling, source, tiles, (gradient, rows), &mut scratch, sums);
            }
        }
    }
}
