//! The 3x3 convolutions of the inner blocks on one thread: direct sums against Winograd's products, forward and weight
//! gradient, with their errors against sums in `f64`.
//!
//!     cargo bench --bench kernels

use std::time::Instant;

use sermill::network::kernels::CHANNELS;
use sermill::network::kernels::convolution::{Convolution, Method};
use sermill::network::kernels::geometry::{Geometry, Rows};
use sermill::simd::{Isa, Job, Lanes};
use sermill::units::Seed;

/// Height and width, channels in, channels out: blocks 2 and 3 of the paper, and the input gradient of block 3.
const SHAPES: [(usize, usize, usize); 3] = [(64, 64, 64), (16, 64, 128), (16, 128, 64)];
/// Timed calls, of which the fastest counts.
const CALLS: usize = 9;

struct Shape {
    input: Geometry,
    output: Geometry,
    image: Vec<f32>,
    kernel: Vec<f32>,
    bias: Vec<f32>,
}

/// Forward of one image, or with `gradient` the gradient of its weights.
struct Pass<'a> {
    shape: &'a Shape,
    method: Method,
    weights: &'a [f32],
    gradient: Option<&'a [f32]>,
    scratch: &'a mut [f32],
    out: &'a mut [f32],
}

impl Job for Pass<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Shape { input, output, image, bias, .. } = self.shape;
        let rows = Rows::strip(*output, output.height);
        let mut convolution = Convolution { method: self.method, image, input: *input, scratch: self.scratch };
        let height = self.method.step_height(if self.gradient.is_some() { 128 / output.width } else { 1 });
        for y0 in (0..output.height).step_by(height) {
            let (steps, at) = ((y0, (y0 + height).min(output.height)), y0 * rows.row);
            match self.gradient {
                None => convolution.rows(lanes, steps, (self.weights, bias), (&mut self.out[at..], rows)),
                Some(gradient) => {
                    convolution.weight_gradient_rows(lanes, steps, (&gradient[at..], rows), self.out);
                }
            }
        }
    }
}

fn values(seed: u64, n: usize) -> Vec<f32> {
    (0..n).map(|i| Seed(seed).normal_pair(i as u64).0 as f32).collect()
}

fn shape((side, channels_in, channels_out): (usize, usize, usize)) -> Shape {
    let input = Geometry { height: side, width: side, channels: channels_in };
    let mut image = values(1, input.padded_len());
    for (at, value) in image.iter_mut().enumerate() {
        let (y, x) = (at % input.padded_plane() / input.padded_row(), at % input.padded_row() / CHANNELS);
        let inside = (1..=side).contains(&y) && (1..=side).contains(&x);
        *value *= f32::from(u8::from(inside));
    }
    let kernel = values(2, 9 * channels_in * channels_out).into_iter().map(|value| 0.1 * value).collect();
    Shape { input, output: Geometry { channels: channels_out, ..input }, image, kernel, bias: values(3, channels_out) }
}

/// Seconds of the fastest call.
fn seconds(mut call: impl FnMut()) -> f64 {
    call();
    let times = (0..CALLS).map(|_| {
        let clock = Instant::now();
        call();
        clock.elapsed().as_secs_f64()
    });
    times.fold(f64::INFINITY, f64::min)
}

/// Largest difference of 2,000 outputs to sums in `f64`, relative to the largest of them.
fn forward_error(shape: &Shape, out: &[f32]) -> f64 {
    let (input, output) = (shape.input, shape.output);
    let (mut worst, mut largest) = (0.0f64, 0.0f64);
    for draw in 0..2_000 {
        let pixel = Seed(7).below(draw, output.n_pixels() as u64) as usize;
        let (y, x, o) =
            (pixel / output.width, pixel % output.width, Seed(8).below(draw, output.channels as u64) as usize);
        let mut sum = f64::from(shape.bias[o]);
        for tap in 0..9 {
            for i in 0..input.channels {
                let plane = i / CHANNELS * input.padded_plane() + (y + tap / 3) * input.padded_row();
                let value = shape.image[plane + (x + tap % 3) * CHANNELS + i % CHANNELS];
                sum += f64::from(value) * f64::from(shape.kernel[(tap * input.channels + i) * output.channels + o]);
            }
        }
        let have = out[o / CHANNELS * output.plane() + pixel * CHANNELS + o % CHANNELS];
        (worst, largest) = (worst.max((f64::from(have) - sum).abs()), largest.max(sum.abs()));
    }
    worst / largest
}

fn main() {
    println!(
        "GFLOP/s of direct arithmetic on one thread, fastest of {CALLS} calls; error relative to the largest output"
    );
    for sizes in SHAPES {
        let shape = shape(sizes);
        let channels = (sizes.1, sizes.2);
        let flop = (2 * 9 * sizes.0 * sizes.0 * sizes.1 * sizes.2) as f64;
        for isa in Isa::available() {
            for method in [Method::Direct, Method::choose(shape.input, 4.into())] {
                let mut weights = vec![0.0; method.packed_len(sizes.1, sizes.2)];
                method.pack(isa, &shape.kernel, channels, &mut weights);
                let mut scratch = vec![0.0; method.scratch_len(sizes.1, sizes.2)];
                let (mut out, mut sums) = (vec![0.0; shape.output.n_floats()], vec![0.0; weights.len()]);
                let pass = |gradient, scratch: &mut [f32], out: &mut [f32]| {
                    isa.run(Pass { shape: &shape, method, weights: &weights, gradient, scratch, out });
                };
                let forward = seconds(|| pass(None, &mut scratch, &mut out));
                let backward = seconds(|| pass(Some(&out), &mut scratch, &mut sums));
                println!(
                    "{0} x {0}, {1:3} -> {2:3} channels, {3:8} {4:8}: forward {5:5.0} (error {6:.1e}), weight gradient {7:5.0}",
                    sizes.0,
                    sizes.1,
                    sizes.2,
                    format!("{isa:?}").to_lowercase(),
                    if method == Method::Direct { "direct" } else { "winograd" },
                    flop / forward / 1e9,
                    forward_error(&shape, &out),
                    flop / backward / 1e9,
                );
            }
        }
    }
}
