//! Each direction of the convolution against plain loops in `f64`: every method, on every instruction set, at sizes that
//! leave every rest of a tile and of a block, from buffers full of rubbish.

use crate::network::kernels::CHANNELS;
use crate::network::kernels::convolution::{Convolution, Method};
use crate::network::kernels::geometry::{Geometry, Rows};
use crate::simd::{Isa, Job, Lanes};
use crate::units::Seed;

/// Height, width, channels in, channels out, and the pool behind: it has a say in the method.
const SHAPES: [(usize, usize, usize, usize, usize); 11] = [
    (5, 7, 1, 20, 2),
    (3, 17, 1, 16, 1),
    (1, 1, 3, 2, 1),
    (4, 13, 20, 34, 2),
    (6, 8, 33, 16, 3),
    // Winograd's products: one group of tiles, two groups of which the last is smaller, one tile in a row.
    (8, 16, 20, 34, 2),
    (12, 32, 16, 5, 4),
    (32, 4, 17, 18, 1),
    // Tiles that stand out to the right, below, on both sides.
    (8, 30, 20, 34, 2),
    (30, 8, 16, 5, 2),
    (11, 19, 17, 18, 1),
];

/// What sums of some hundred products err by in `f32`, relative to the largest of them; Winograd's maps 1.4 times as much.
const TOLERANCE: f64 = 3e-6;

pub(super) fn values(seed: u64, n: usize) -> Vec<f32> {
    (0..n).map(|i| Seed(seed).normal_pair(i as u64).0 as f32).collect()
}

/// Largest difference, relative to the largest expected value.
pub(super) fn worst(have: &[f32], want: &[f64]) -> f64 {
    assert_eq!(have.len(), want.len());
    let largest = want.iter().fold(0.0f64, |top, value| top.max(value.abs()));
    let off = |(have, want): (&f32, &f64)| {
        let off = (f64::from(*have) - want).abs();
        if off.is_nan() { f64::INFINITY } else { off }
    };
    have.iter().zip(want).map(off).fold(0.0, f64::max) / largest
}

/// `[height][width][channels]` as an image of blocks of `stored` channels in zeros.
fn padded(geometry: Geometry, stored: usize, image: &[f32]) -> Vec<f32> {
    let Geometry { height, width, channels } = geometry;
    let mut out = vec![0.0; channels.div_ceil(stored) * (height + 2) * (width + 2) * stored];
    for (at, &value) in image.iter().enumerate() {
        let (y, x, channel) = (at / channels / width, at / channels % width, at % channels);
        let row = channel / stored * (height + 2) + y + 1;
        out[(row * (width + 2) + x + 1) * stored + channel % stored] = value;
    }
    out
}

/// `[blocks][height][width][16]` as `[height][width][channels]`.
fn plain(geometry: Geometry, image: &[f32]) -> Vec<f32> {
    let value = |at: usize| {
        let (pixel, channel) = (at / geometry.channels, at % geometry.channels);
        image[channel / CHANNELS * geometry.plane() + pixel * CHANNELS + channel % CHANNELS]
    };
    (0..geometry.n_pixels() * geometry.channels).map(value).collect()
}

/// One convolution with what flows through it in either direction, `[height][width][channels]`.
struct Case {
    method: Method,
    input: Geometry,
    output: Geometry,
    image: Vec<f32>,
    /// `[3, 3, channels_in, channels_out]`
    kernel: Vec<f32>,
    bias: Vec<f32>,
    gradient: Vec<f32>,
}

impl Case {
    fn new((height, width, channels_in, channels_out, pool): (usize, usize, usize, usize, usize)) -> Self {
        let input = Geometry { height, width, channels: channels_in };
        Self {
            method: Method::choose(input, pool.into()),
            input,
            output: Geometry { channels: channels_out, ..input },
            image: values(1, height * width * channels_in),
            kernel: values(2, 9 * channels_in * channels_out),
            bias: values(3, channels_out),
            gradient: values(4, height * width * channels_out),
        }
    }

    fn channels(&self) -> (usize, usize) {
        (self.input.channels, self.output.channels)
    }

    /// Calls with the numbers of an input value, of a weight and of an output value for each product of the convolution.
    fn products(&self, mut each: impl FnMut(usize, usize, usize)) {
        let ((channels_in, channels_out), Geometry { height, width, .. }) = (self.channels(), self.input);
        for (y, x, tap) in (0..9 * height * width).map(|at| (at / 9 / width, at / 9 % width, at % 9)) {
            let (from_y, from_x) = (y + tap / 3, x + tap % 3);
            if !(1..=height).contains(&from_y) || !(1..=width).contains(&from_x) {
                continue;
            }
            let from = (from_y - 1) * width + from_x - 1;
            for (i, o) in (0..channels_in * channels_out).map(|at| (at / channels_out, at % channels_out)) {
                each(
                    from * channels_in + i,
                    (tap * channels_in + i) * channels_out + o,
                    (y * width + x) * channels_out + o,
                );
            }
        }
    }

    fn forward_twin(&self, image: &[f32]) -> Vec<f64> {
        let n = self.output.n_pixels() * self.output.channels;
        let mut out: Vec<f64> = (0..n).map(|at| f64::from(self.bias[at % self.output.channels])).collect();
        self.products(|i, k, o| out[o] += f64::from(image[i]) * f64::from(self.kernel[k]));
        out
    }

    fn kernel_gradient_twin(&self, image: &[f32]) -> Vec<f64> {
        let mut out = vec![0.0; self.kernel.len()];
        self.products(|i, k, o| out[k] += f64::from(image[i]) * f64::from(self.gradient[o]));
        out
    }

    fn input_gradient_twin(&self, gradient: &[f32]) -> Vec<f64> {
        let mut out = vec![0.0; self.image.len()];
        self.products(|i, k, o| out[i] += f64::from(self.kernel[k]) * f64::from(gradient[o]));
        out
    }

    fn scratch(&self) -> Vec<f32> {
        vec![f32::NAN; self.method.scratch_len(self.input.channels, self.output.channels)]
    }

    fn forward(&self, isa: Isa) -> Vec<f32> {
        let mut weights = vec![0.0; self.method.packed_len(self.input.channels, self.output.channels)];
        self.method.pack(isa, &self.kernel, self.channels(), &mut weights);
        let mut bias = vec![0.0; self.output.n_blocks() * CHANNELS];
        bias[..self.output.channels].copy_from_slice(&self.bias);
        let (image, scratch) = (padded(self.input, self.method.stored(), &self.image), &mut self.scratch());
        let convolution = Convolution { method: self.method, image: &image, input: self.input, scratch };
        let mut out = vec![f32::NAN; self.output.n_floats()];
        isa.run(Forward { convolution, output: self.output, weights: &weights, bias: &bias, out: &mut out });
        plain(self.output, &out)
    }

    fn input_gradient(&self, isa: Isa) -> Vec<f32> {
        let mut weights = vec![0.0; self.method.packed_len(self.output.channels, self.input.channels)];
        self.method.pack_transposed(isa, &self.kernel, self.channels(), &mut weights);
        let (gradient, scratch) = (padded(self.output, CHANNELS, &self.gradient), &mut self.scratch());
        let convolution = Convolution { method: self.method, image: &gradient, input: self.output, scratch };
        let mut out = vec![f32::NAN; self.input.n_floats()];
        let bias = vec![0.0; self.input.n_blocks() * CHANNELS];
        isa.run(Forward { convolution, output: self.input, weights: &weights, bias: &bias, out: &mut out });
        plain(self.input, &out)
    }

    fn kernel_gradient(&self, isa: Isa) -> Vec<f32> {
        let (image, scratch) = (padded(self.input, self.method.stored(), &self.image), &mut self.scratch());
        let convolution = Convolution { method: self.method, image: &image, input: self.input, scratch };
        let mut sums = vec![0.0; self.method.packed_len(self.input.channels, self.output.channels)];
        let gradient = &padded(self.output, CHANNELS, &self.gradient);
        isa.run(KernelGradient { convolution, output: self.output, gradient, sums: &mut sums });
        let mut gradient = vec![f32::NAN; self.kernel.len()];
        self.method.unpack(isa, &sums, self.channels(), &mut gradient);
        gradient
    }
}

/// All rows of one image, as many at a time as the method likes.
struct Forward<'a> {
    convolution: Convolution<'a>,
    output: Geometry,
    weights: &'a [f32],
    bias: &'a [f32],
    out: &'a mut [f32],
}

impl Job for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self, lanes: L) {
        let rows = Rows::strip(self.output, self.output.height);
        let height = self.convolution.method.step_height(1);
        for y0 in (0..self.output.height).step_by(height) {
            let y1 = (y0 + height).min(self.output.height);
            let out = &mut self.out[y0 * rows.row..];
            self.convolution.rows(lanes, (y0, y1), (self.weights, self.bias), (out, rows));
        }
    }
}

struct KernelGradient<'a> {
    convolution: Convolution<'a>,
    output: Geometry,
    /// With padding.
    gradient: &'a [f32],
    sums: &'a mut [f32],
}

impl Job for KernelGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self, lanes: L) {
        let rows = Rows { row: self.output.padded_row(), plane: self.output.padded_plane() };
        let height = self.convolution.method.step_height(2);
        for y0 in (0..self.output.height).step_by(height) {
            let y1 = (y0 + height).min(self.output.height);
            let gradient = &self.gradient[self.output.padded_at(y0, 0)..];
            self.convolution.weight_gradient_rows(lanes, (y0, y1), (gradient, rows), self.sums);
        }
    }
}

/// The same values one step further, as an error of one pixel or one channel would have them.
fn shifted(values: &[f32]) -> Vec<f32> {
    let mut values = values.to_vec();
    values.rotate_right(1);
    values
}

fn louder(values: &[f32]) -> Vec<f32> {
    values.iter().map(|value| 1.01 * value).collect()
}

/// `have` is the twin's `want`; what is off by a sample or by 1 % is not.
fn check(case: &str, have: &[f32], want: &[f64], of_shifted: &[f64]) {
    let error = worst(have, want);
    assert!(error < TOLERANCE, "{case}: {error:e}");
    assert!(have.len() < 20 || worst(have, of_shifted) > 100.0 * TOLERANCE, "{case}: a shift by one must fail");
    assert!(worst(&louder(have), want) > 100.0 * TOLERANCE, "{case}: a gain of 1 % must fail");
}

#[test]
fn every_direction_of_every_convolution_is_the_plain_sum() {
    let cases: Vec<Case> = SHAPES.map(Case::new).into_iter().collect();
    let n_winograd = cases.iter().filter(|case| matches!(case.method, Method::Winograd(_))).count();
    assert_eq!(n_winograd, 6, "the shapes that are there for it are computed by Winograd's products");
    for case in cases {
        let (forward, kernel_gradient) = (case.forward_twin(&case.image), case.kernel_gradient_twin(&case.image));
        let input_gradient = case.input_gradient_twin(&case.gradient);
        let (image, gradient) = (shifted(&case.image), shifted(&case.gradient));
        for isa in Isa::available() {
            let name =
                |what: &str| format!("{what}, {:?} {:?} to {}, {isa:?}", case.method, case.input, case.output.channels);
            check(&name("forward"), &case.forward(isa), &forward, &case.forward_twin(&image));
            let of_shifted = case.kernel_gradient_twin(&image);
            check(&name("kernel gradient"), &case.kernel_gradient(isa), &kernel_gradient, &of_shifted);
            // The first block's input is data: its gradient is never asked for.
            if case.method != Method::Narrow {
                let of_shifted = case.input_gradient_twin(&gradient);
                check(&name("input gradient"), &case.input_gradient(isa), &input_gradient, &of_shifted);
            }
        }
    }
}
