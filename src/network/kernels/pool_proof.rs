//! What happens behind the convolution, there and back, against plain loops in `f64`, on every instruction set.

use crate::network::kernels::backward::{FirstBackward, Pooled, PooledFrom};
use crate::network::kernels::convolution_proof::{values, worst};
use crate::network::kernels::elementwise::{elu, elu_slope};
use crate::network::kernels::forward::{Activate, Affine};
use crate::network::kernels::geometry::Geometry;
use crate::network::kernels::patches::{MOST_TAPS, PatchSums, Patches, TAPS};
use crate::network::kernels::pool::{DROPPED, gradient_row, pixels, pixels_mut, pool_row};
use crate::network::kernels::{CHANNELS, Channels};
use crate::network::pool::Pool;
use crate::simd::{Isa, Job, Lanes};

/// A few operations of `f32` on each value.
const TOLERANCE: f64 = 1e-6;

struct PoolRow<'a> {
    rows: &'a [Channels],
    row: usize,
    pool: Pool,
    sign: &'a Channels,
    out: (&'a mut [Channels], &'a mut [[u8; CHANNELS]]),
    moments: &'a mut [[f64; CHANNELS]; 2],
}

impl Job for PoolRow<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        pool_row(lanes, self.rows, self.row, self.pool, self.sign, self.out, Some(self.moments));
    }
}

struct GradientRow<'a> {
    rows: &'a mut [Channels],
    row: usize,
    pool: Pool,
    peaks: (&'a [Channels], &'a [[u8; CHANNELS]]),
    constants: [&'a Channels; 4],
}

impl Job for GradientRow<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        gradient_row(lanes, self.rows, self.row, self.pool, self.peaks, self.constants);
    }
}

/// Pools that are not square, `(mel, time)`.
const PAIRS: [(usize, usize); 6] = [(1, 2), (2, 1), (2, 4), (4, 2), (1, 4), (4, 1)];

/// Signs of both kinds, one for each channel.
fn signs() -> Channels {
    std::array::from_fn(|channel| if channel % 3 == 1 { -1.0 } else { 1.0 })
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

/// Indices of the cell of a pooled value, with the flag of dropout on some.
fn indices(n: usize, pool: Pool) -> Vec<u8> {
    (0..n).map(|at| (at * 7 % pool.cells()) as u8 | if at % 5 == 2 { DROPPED } else { 0 }).collect()
}

#[test]
fn pooled_values_indices_and_moments_are_those_of_plain_loops() {
    let sign = signs();
    let squares = [(1, 1, 0), (1, 9, 2), (2, 7, 2), (3, 4, 0), (4, 2, 5), (11, 1, 1)];
    let squares = squares.map(|(pool, width, gap)| (Pool::from(pool), width, gap));
    let pairs = PAIRS.map(|(mel, time)| (Pool { mel, time }, 5, 2));
    for (pool, width, gap) in squares.into_iter().chain(pairs) {
        let row = width * pool.time + gap;
        let rows = values(1, pool.mel * row * CHANNELS);
        let cell = |cell: usize, index: usize, channel: usize| {
            rows[(index / pool.time * row + cell * pool.time + index % pool.time) * CHANNELS + channel]
        };
        let mut wanted = (Vec::new(), Vec::new(), vec![vec![0.0f64; CHANNELS]; 2]);
        for (at, channel) in (0..width * CHANNELS).map(|at| (at / CHANNELS, at % CHANNELS)) {
            let larger =
                |a: usize, b: usize| sign[channel] * cell(at, b, channel) > sign[channel] * cell(at, a, channel);
            let best = (0..pool.cells()).reduce(|a, b| if larger(a, b) { b } else { a }).expect("a cell");
            wanted.0.push(cell(at, best, channel));
            wanted.1.push(best as u8);
            for value in (0..pool.cells()).map(|index| f64::from(cell(at, index, channel))) {
                wanted.2[0][channel] += value;
                wanted.2[1][channel] += value * value;
            }
        }
        for isa in Isa::available() {
            let (mut raw, mut argmax) = (vec![f32::NAN; width * CHANNELS], vec![0xFF; width * CHANNELS]);
            // Moments are added to those of other rows.
            let mut moments = [[3.0; CHANNELS]; 2];
            let out = (pixels_mut(&mut raw), argmax.as_chunks_mut().0);
            isa.run(PoolRow { rows: pixels(&rows), row, pool, sign: &sign, out, moments: &mut moments });
            assert_eq!((&raw, &argmax), (&wanted.0, &wanted.1), "{isa:?}, pool {pool}");
            for (moments, wanted) in moments.iter().zip(&wanted.2) {
                let found: Vec<f32> = moments.iter().map(|sum| (sum - 3.0) as f32).collect();
                // Summed as squares of distances from the first pixel, which can be ten times as large.
                assert!(worst(&found, wanted) < 10.0 * TOLERANCE, "{isa:?}, pool {pool}: {:e}", worst(&found, wanted));
                let louder: Vec<f32> = found.iter().map(|sum| 1.01 * sum).collect();
                assert!(worst(&louder, wanted) > 1_000.0 * TOLERANCE, "a gain of 1 % must fail");
            }
        }
    }
}

#[test]
fn the_gradient_behind_batch_norm_is_that_of_plain_loops() {
    let constants: [Channels; 4] = [11, 12, 13, 14].map(|seed| pixels(&values(seed, CHANNELS))[0]);
    let [mean, scale_term, shift_term, scale] = constants;
    let squares = [(1, 3, 2), (2, 5, 0), (3, 2, 4), (4, 1, 1)];
    let squares = squares.map(|(pool, width, gap)| (Pool::from(pool), width, gap));
    let pairs = PAIRS.map(|(mel, time)| (Pool { mel, time }, 3, 2));
    for (pool, width, gap) in squares.into_iter().chain(pairs) {
        let row = width * pool.time + gap;
        let (rows, gradient) = (values(1, pool.mel * row * CHANNELS), values(2, width * CHANNELS));
        let argmax = indices(width * CHANNELS, pool);
        let mut wanted = wide(&rows);
        let across = width * pool.time;
        for (y, x, channel) in (0..pool.mel * across * CHANNELS)
            .map(|at| (at / (across * CHANNELS), at / CHANNELS % across, at % CHANNELS))
        {
            let (value, pooled) = (&mut wanted[(y * row + x) * CHANNELS + channel], x / pool.time * CHANNELS + channel);
            *value =
                f64::from(scale_term[channel]) * (*value - f64::from(mean[channel])) + f64::from(shift_term[channel]);
            if usize::from(argmax[pooled] & !DROPPED) == y * pool.time + x % pool.time {
                *value += f64::from(scale[channel]) * f64::from(gradient[pooled]);
            }
        }
        for isa in Isa::available() {
            let mut found = rows.clone();
            let peaks = (pixels(&gradient), argmax.as_chunks().0);
            let constants = constants.each_ref();
            isa.run(GradientRow { rows: pixels_mut(&mut found), row, pool, peaks, constants });
            assert!(worst(&found, &wanted) < TOLERANCE, "{isa:?}, pool {pool}: {:e}", worst(&found, &wanted));
            found.rotate_right(CHANNELS);
            assert!(worst(&found, &wanted) > 1_000.0 * TOLERANCE, "a shift of one pixel must fail");
        }
    }
}

/// A pooled image of 20 channels with its batch norm.
struct Image {
    geometry: Geometry,
    raw: Vec<f32>,
    argmax: Vec<u8>,
    /// Mean, inverse deviation, scale, beta.
    norm: [Vec<f32>; 4],
}

const DROPOUT_SCALE: f32 = 1.25;

impl Image {
    fn new() -> Self {
        let geometry = Geometry { height: 3, width: 5, channels: 20 };
        let n = geometry.n_floats();
        Self {
            geometry,
            raw: values(21, n),
            argmax: indices(n, 2.into()),
            norm: [22, 23, 24, 25].map(|seed| values(seed, 32)),
        }
    }

    fn affine(&self) -> Affine<'_> {
        let [mean, inverse_deviation, scale, beta] = &self.norm;
        Affine { mean, inverse_deviation, scale, beta }
    }

    /// Of pooled value `at`: centred, before the ELU, and what dropout multiplies it with.
    fn of(&self, at: usize) -> (f64, f64, f64) {
        let channel = at / self.geometry.plane() * CHANNELS + at % CHANNELS;
        let [mean, _, scale, beta] = self.norm.each_ref().map(|values| f64::from(values[channel]));
        let centred = f64::from(self.raw[at]) - mean;
        let factor = if self.argmax[at] & DROPPED == 0 { f64::from(DROPOUT_SCALE) } else { 0.0 };
        (centred, centred * scale + beta, factor)
    }
}

#[test]
fn norm_elu_and_dropout_are_those_of_plain_loops() {
    let image = Image::new();
    let geometry = image.geometry;
    let wanted: Vec<f64> = (0..image.raw.len())
        .map(|at| image.of(at))
        .map(|(_, z, factor)| factor * if z > 0.0 { z } else { z.exp_m1() })
        .collect();
    for isa in Isa::available() {
        let mut out = vec![7.0; geometry.padded_len()];
        let (affine, raw, argmax) = (image.affine(), &image.raw, &image.argmax);
        isa.run(Activate { geometry, affine, dropout_scale: DROPOUT_SCALE, raw, argmax, out: &mut out });
        let row = |row: usize| {
            let (block, y) = (row / geometry.height, row % geometry.height);
            block * geometry.padded_plane() + geometry.padded_at(y, 0)
        };
        let rows = (0..geometry.n_blocks() * geometry.height).map(row);
        let found: Vec<f32> = rows.flat_map(|at| out[at..at + geometry.width * CHANNELS].to_vec()).collect();
        assert!(worst(&found, &wanted) < TOLERANCE, "{isa:?}: {:e}", worst(&found, &wanted));
        let louder: Vec<f32> = found.iter().map(|value| 1.01 * value).collect();
        assert!(worst(&louder, &wanted) > 1_000.0 * TOLERANCE, "a gain of 1 % must fail");
        let n_written = out.iter().filter(|&&value| value != 7.0).count();
        assert_eq!(n_written, geometry.n_floats(), "the padding is not written");
    }
}

#[test]
fn the_gradient_of_pooled_values_and_its_sums_are_those_of_plain_loops() {
    let image = Image::new();
    let (geometry, n) = (image.geometry, image.raw.len());
    let gradient = values(31, n);
    let (mut wanted, mut sums) = (Vec::new(), vec![[0.0f64; 32]; 2]);
    for (at, &gradient) in gradient.iter().enumerate() {
        let ((centred, z, factor), channel) = (image.of(at), at / geometry.plane() * CHANNELS + at % CHANNELS);
        let value = f64::from(gradient) * factor * if z > 0.0 { 1.0 } else { z.exp() };
        sums[0][channel] += value;
        sums[1][channel] += value * centred * f64::from(image.norm[1][channel]);
        wanted.push(value);
    }
    for isa in Isa::available() {
        let (mut raw, mut found) = (image.raw.clone(), [[[f64::NAN; CHANNELS]; 2]; 2]);
        let (affine, argmax, dropout_scale) = (image.affine(), &image.argmax, DROPOUT_SCALE);
        let pooled = Pooled { geometry, affine, dropout_scale, raw: &mut raw, argmax, sums: &mut found };
        isa.run(PooledFrom { pooled, gradient: &gradient });
        assert!(worst(&raw, &wanted) < TOLERANCE, "{isa:?}: {:e}", worst(&raw, &wanted));
        for which in 0..2 {
            let found: Vec<f32> = found.iter().flat_map(|block| block[which].map(|sum| sum as f32)).collect();
            assert!(worst(&found, &sums[which]) < TOLERANCE, "{isa:?}: sums {which}");
        }
        raw.rotate_right(1);
        assert!(worst(&raw, &wanted) > 1_000.0 * TOLERANCE, "a shift by one must fail");
    }
}

#[test]
fn the_first_blocks_gradient_and_patch_sums_are_those_of_plain_loops() {
    let squares = [(1, 3, 5), (2, 4, 6), (3, 6, 21)].map(|(pool, height, width)| (Pool::from(pool), height, width));
    let pairs = PAIRS.map(|(mel, time)| (Pool { mel, time }, 4, 12));
    for (pool, height, width) in squares.into_iter().chain(pairs) {
        let geometry = Geometry { height, width, channels: 20 };
        let (pooled, stride) = (geometry.pooled(pool), width + 2);
        let image = values(41, (height + 2) * stride);
        let (gradient, argmax) = (values(42, pooled.n_floats()), indices(pooled.n_floats(), pool));
        let pixel = |y: usize, x: usize, tap: usize| f64::from(image[(y + tap / 3) * stride + x + tap % 3]);
        let (mut wanted, mut patches) = (vec![0.25; 2 * TAPS * CHANNELS], vec![0.0; TAPS + TAPS * TAPS]);
        for (at, tap) in (0..gradient.len() * TAPS).map(|at| (at / TAPS, at % TAPS)) {
            let (block, cell, channel) = (at / pooled.plane(), at / CHANNELS % pooled.n_pixels(), at % CHANNELS);
            let index = usize::from(argmax[at] & !DROPPED);
            let (y, x) = (
                cell / pooled.width * pool.mel + index / pool.time,
                cell % pooled.width * pool.time + index % pool.time,
            );
            wanted[(block * TAPS + tap) * CHANNELS + channel] += f64::from(gradient[at]) * pixel(y, x, tap);
        }
        for (y, x, tap) in (0..height * width * TAPS).map(|at| (at / TAPS / width, at / TAPS % width, at % TAPS)) {
            patches[tap] += pixel(y, x, tap);
            (0..TAPS).for_each(|other| patches[TAPS * (1 + tap) + other] += pixel(y, x, tap) * pixel(y, x, other));
        }
        for isa in Isa::available() {
            // It adds to the sums of other images.
            let mut found = vec![0.25; wanted.len()];
            let weight_gradient = &mut found;
            let (image, gradient, argmax) = (&image, &gradient, &argmax);
            isa.run(FirstBackward { image, geometry, pool, gradient, argmax, weight_gradient });
            assert!(worst(&found, &wanted) < TOLERANCE, "{isa:?}, pool {pool}: {:e}", worst(&found, &wanted));
            found.rotate_right(1);
            assert!(worst(&found, &wanted) > 1_000.0 * TOLERANCE, "a shift by one must fail");
            let mut sums = PatchSums { sum: [9.0; MOST_TAPS], ..PatchSums::default() };
            isa.run(Patches { image, geometry: Geometry { channels: 1, ..geometry }, sums: &mut sums });
            let products = sums.product[..TAPS].iter().flat_map(|row| &row[..TAPS]);
            let all = sums.sum[..TAPS].iter().chain(products);
            // Products and sums are in f64: only the order differs.
            for (found, wanted) in all.zip(&patches) {
                assert!((found - wanted).abs() < 1e-11 * (height * width) as f64, "{isa:?}: {found} {wanted}");
            }
        }
    }
}

#[test]
fn elu_and_its_slope_are_those_of_f64() {
    for i in -40_000..=40_000 {
        let z = i as f32 * 5e-4;
        let (exact, slope) = if z > 0.0 { (f64::from(z), 1.0) } else { (f64::from(z).exp_m1(), f64::from(z).exp()) };
        // The exponential errs by two units in the last place of a number below one.
        assert!((f64::from(elu(z)) - exact).abs() < 1.8e-7, "elu({z})");
        assert!((f64::from(elu_slope(z)) - slope).abs() < 1.8e-7, "slope at {z}");
    }
}
