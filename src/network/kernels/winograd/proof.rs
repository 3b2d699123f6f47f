//! The parts of Winograd's convolution against plain loops in `f64`, on every instruction set.

use crate::network::kernels::CHANNELS;
use crate::network::kernels::convolution_proof::{values, worst};
use crate::network::kernels::winograd::transform::POSITIONS;
use crate::network::kernels::winograd::{Pack, Unpack, packed_len, product};
use crate::simd::{Isa, Job, Lanes};

/// What sums of fifty products err by in `f32`, relative to the largest.
const TOLERANCE: f64 = 1e-6;

struct Multiply<'a> {
    left: &'a [f32],
    right: &'a [f32],
    out: &'a mut [f32],
    n_tiles: usize,
    blocks: (usize, usize),
    is_gradient: bool,
}

impl Job for Multiply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Self { left, right, out, n_tiles, blocks, .. } = self;
        if self.is_gradient {
            product::add_gradient(lanes, left, right, out, n_tiles, blocks);
        } else {
            product::multiply(lanes, left, right, out, n_tiles, blocks);
        }
    }
}

/// Index of a channel of a tile in `[blocks][tiles][16]`.
fn at(n_tiles: usize, tile: usize, channel: usize) -> usize {
    (channel / CHANNELS * n_tiles + tile) * CHANNELS + channel % CHANNELS
}

/// Index of a weight in `[blocks out][channels in][16]`.
fn weight_at(n_in: usize, i: usize, o: usize) -> usize {
    (o / CHANNELS * n_in * CHANNELS + i) * CHANNELS + o % CHANNELS
}

#[test]
fn products_and_their_gradient_are_plain_sums() {
    for (n_tiles, n_in, n_out) in [(1, 1, 1), (2, 3, 2), (7, 1, 3), (16, 2, 1), (19, 2, 4)] {
        let (left, weights) = (values(1, n_tiles * n_in * CHANNELS), values(2, n_in * n_out * CHANNELS * CHANNELS));
        let right = values(3, n_tiles * n_out * CHANNELS);
        let (mut product, mut gradient) = (vec![0.0; right.len()], vec![0.5; weights.len()]);
        for (tile, i, o) in (0..n_tiles * n_in * n_out * 256).map(|index| {
            (index / (n_in * n_out * 256), index / (n_out * CHANNELS) % (n_in * CHANNELS), index % (n_out * CHANNELS))
        }) {
            let (left, to, weight) =
                (f64::from(left[at(n_tiles, tile, i)]), at(n_tiles, tile, o), weight_at(n_in, i, o));
            product[to] += left * f64::from(weights[weight]);
            gradient[weight] += left * f64::from(right[to]);
        }
        for isa in Isa::available() {
            let blocks = (n_in, n_out);
            let mut out = vec![f32::NAN; right.len()];
            isa.run(Multiply { left: &left, right: &weights, out: &mut out, n_tiles, blocks, is_gradient: false });
            assert!(worst(&out, &product) < TOLERANCE, "{isa:?} {n_tiles} {blocks:?}: {:e}", worst(&out, &product));
            out.rotate_right(1);
            assert!(worst(&out, &product) > 1_000.0 * TOLERANCE, "a shift by one must fail");
            // It adds to what is there.
            let mut sums = vec![0.5; weights.len()];
            isa.run(Multiply { left: &left, right: &right, out: &mut sums, n_tiles, blocks, is_gradient: true });
            assert!(worst(&sums, &gradient) < TOLERANCE, "{isa:?} {n_tiles} {blocks:?}: {:e}", worst(&sums, &gradient));
            sums.iter_mut().for_each(|sum| *sum *= 1.01);
            assert!(worst(&sums, &gradient) > 1_000.0 * TOLERANCE, "a gain of 1 % must fail");
        }
    }
}

#[test]
fn unpacking_a_gradient_is_the_transpose_of_packing_a_kernel() {
    for (channels_in, channels_out) in [(1, 1), (16, 16), (17, 5), (20, 34)] {
        let (kernel, packed) =
            (values(4, 9 * channels_in * channels_out), values(5, packed_len(channels_in, channels_out)));
        for isa in Isa::available() {
            // Padded channels are not written: zeros stay.
            let mut right = vec![0.0; packed.len()];
            isa.run(Pack { kernel: &kernel, channels_in, channels_out, transposed: false, packed: &mut right });
            let mut gradient = vec![f32::NAN; kernel.len()];
            isa.run(Unpack { packed: &packed, channels_in, channels_out, gradient: &mut gradient });
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
            let (one, other) = (dot(&right, &packed), dot(&kernel, &gradient));
            let size = (dot(&right, &right) * dot(&packed, &packed)).sqrt();
            assert!((one - other).abs() < TOLERANCE * size, "{isa:?} {channels_in} {channels_out}: {one} {other}");
            assert_eq!(
                right.len() / POSITIONS,
                channels_out.div_ceil(CHANNELS) * channels_in.next_multiple_of(CHANNELS) * CHANNELS
            );
            // The same channels in and out exchanged, taps turned around: what the input gradient is computed with.
            let exchanged = |tap: usize, i: usize, o: usize| kernel[((8 - tap) * channels_in + o) * channels_out + i];
            let turned: Vec<f32> = (0..kernel.len())
                .map(|at| {
                    exchanged(at / (channels_in * channels_out), at / channels_in % channels_out, at % channels_in)
                })
                .collect();
            let (mut one, mut other) =
                (vec![0.0; packed_len(channels_out, channels_in)], vec![0.0; packed_len(channels_out, channels_in)]);
            isa.run(Pack { kernel: &kernel, channels_in, channels_out, transposed: true, packed: &mut one });
            isa.run(Pack {
                kernel: &turned,
                channels_in: channels_out,
                channels_out: channels_in,
                transposed: false,
                packed: &mut other,
            });
            assert_eq!(one, other, "{isa:?} {channels_in} {channels_out}");
        }
    }
}
