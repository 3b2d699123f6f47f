//! The small linear maps of Winograd's F(4x4, 3x3): tiles of 6 x 6 inputs, 4 x 4 outputs and 3 x 3 kernels to and from 36
//! products.
//!
//! With `B`, `G`, `A` of the points 0, +-P, +-Q and infinity, one tile of a convolution is
//! `Y = A' [(G g G') * (B' d B)] A`. Its transpose gives the weight gradient, `dg = G' [(B' d B) * (A dY A')] G`.
//! Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016.

use crate::simd::Lanes;

/// Side of an output tile.
pub const TILE: usize = 4;
/// Side of the input tile that an output tile sees.
pub const PATCH: usize = TILE + 2;
/// Products of one tile and pair of channels.
pub const POSITIONS: usize = PATCH * PATCH;

/// The interpolation points. They err 1.4 times as much as a direct sum does; the usual 1 and 2, six times as much.
/// Their squares and products are exact in `f32`.
const P: f32 = 0.75;
const Q: f32 = 1.5;
const P2: f32 = P * P;
const Q2: f32 = Q * Q;

/// `B' x`: six inputs to six products' left factors.
#[inline(always)]
pub fn input<L: Lanes>(lanes: L, x: [L::V; PATCH]) -> [L::V; PATCH] {
    let (near, far) = (lanes.splat(-Q2), lanes.splat(-P2));
    let (p_even, p_odd) = (lanes.mul_add(near, x[2], x[4]), lanes.mul_add(near, x[1], x[3]));
    let (q_even, q_odd) = (lanes.mul_add(far, x[2], x[4]), lanes.mul_add(far, x[1], x[3]));
    let (both, product) = (lanes.splat(-P2 - Q2), lanes.splat(P2 * Q2));
    [
        lanes.mul_add(product, x[0], lanes.mul_add(both, x[2], x[4])),
        lanes.mul_add(lanes.splat(P), p_odd, p_even),
        lanes.mul_add(lanes.splat(-P), p_odd, p_even),
        lanes.mul_add(lanes.splat(Q), q_odd, q_even),
        lanes.mul_add(lanes.splat(-Q), q_odd, q_even),
        lanes.mul_add(product, x[1], lanes.mul_add(both, x[3], x[5])),
    ]
}

/// `A' m`: six products to four outputs.
#[inline(always)]
pub fn output<L: Lanes>(lanes: L, m: [L::V; PATCH]) -> [L::V; TILE] {
    let (p_sum, p_difference) = (lanes.add(m[1], m[2]), lanes.sub(m[1], m[2]));
    let (q_sum, q_difference) = (lanes.add(m[3], m[4]), lanes.sub(m[3], m[4]));
    [
        lanes.add(lanes.add(m[0], p_sum), q_sum),
        lanes.mul_add(lanes.splat(P), p_difference, lanes.mul(lanes.splat(Q), q_difference)),
        lanes.mul_add(lanes.splat(P2), p_sum, lanes.mul(lanes.splat(Q2), q_sum)),
        lanes.mul_add(lanes.splat(P * P2), p_difference, lanes.mul_add(lanes.splat(Q * Q2), q_difference, m[5])),
    ]
}

/// `A y`: the transpose of [`output`].
#[inline(always)]
pub fn output_gradient<L: Lanes>(lanes: L, y: [L::V; TILE]) -> [L::V; PATCH] {
    let p_even = lanes.mul_add(lanes.splat(P2), y[2], y[0]);
    let p_odd = lanes.mul_add(lanes.splat(P * P2), y[3], lanes.mul(lanes.splat(P), y[1]));
    let q_even = lanes.mul_add(lanes.splat(Q2), y[2], y[0]);
    let q_odd = lanes.mul_add(lanes.splat(Q * Q2), y[3], lanes.mul(lanes.splat(Q), y[1]));
    [y[0], lanes.add(p_even, p_odd), lanes.sub(p_even, p_odd), lanes.add(q_even, q_odd), lanes.sub(q_even, q_odd), y[3]]
}

/// `G`: `point^k / product of differences to the other finite points`.
const G: [[f32; 3]; 3] = {
    let (p, q) = (P as f64, Q as f64);
    let (n_p, n_q) = (2.0 * p * p * (p * p - q * q), 2.0 * q * q * (q * q - p * p));
    [
        [(1.0 / (p * p * q * q)) as f32, 0.0, 0.0],
        [(1.0 / n_p) as f32, (p / n_p) as f32, (p * p / n_p) as f32],
        [(1.0 / n_q) as f32, (q / n_q) as f32, (q * q / n_q) as f32],
    ]
};

/// `G g`: three taps to six products' right factors.
#[inline(always)]
pub fn kernel<L: Lanes>(lanes: L, g: [L::V; 3]) -> [L::V; PATCH] {
    let [zero, p, q] = G.map(|row| row.map(|value| lanes.splat(value)));
    let (p_even, p_odd) = (lanes.mul_add(p[2], g[2], lanes.mul(p[0], g[0])), lanes.mul(p[1], g[1]));
    let (q_even, q_odd) = (lanes.mul_add(q[2], g[2], lanes.mul(q[0], g[0])), lanes.mul(q[1], g[1]));
    [
        lanes.mul(zero[0], g[0]),
        lanes.add(p_even, p_odd),
        lanes.sub(p_even, p_odd),
        lanes.add(q_even, q_odd),
        lanes.sub(q_even, q_odd),
        g[2],
    ]
}

/// `G' m`: the transpose of [`kernel`].
#[inline(always)]
pub fn kernel_gradient<L: Lanes>(lanes: L, m: [L::V; PATCH]) -> [L::V; 3] {
    let [zero, p, q] = G.map(|row| row.map(|value| lanes.splat(value)));
    let (p_sum, p_difference) = (lanes.add(m[1], m[2]), lanes.sub(m[1], m[2]));
    let (q_sum, q_difference) = (lanes.add(m[3], m[4]), lanes.sub(m[3], m[4]));
    [
        lanes.mul_add(zero[0], m[0], lanes.mul_add(p[0], p_sum, lanes.mul(q[0], q_sum))),
        lanes.mul_add(p[1], p_difference, lanes.mul(q[1], q_difference)),
        lanes.mul_add(p[2], p_sum, lanes.mul_add(q[2], q_sum, m[5])),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Portable;

    type V = <Portable as Lanes>::V;

    fn values<const N: usize>(seed: usize) -> [V; N] {
        std::array::from_fn(|i| [((7 * i + 3 * seed) % 11) as f32 - 5.0; 4])
    }

    fn dot<const N: usize>(a: [V; N], b: [V; N]) -> f32 {
        a.iter().zip(b).map(|(a, b)| a[0] * b[0]).sum()
    }

    #[test]
    fn four_outputs_of_three_taps_are_the_hand_convolution() {
        let (x, g) = (values::<6>(1), values::<3>(2));
        let (left, right) = (input(Portable, x), kernel(Portable, g));
        let out = output(Portable, std::array::from_fn(|i| Portable.mul(left[i], right[i])));
        for (y, out) in out.iter().enumerate() {
            let want: f32 = (0..3).map(|tap| x[y + tap][0] * g[tap][0]).sum();
            assert!((out[0] - want).abs() < 1e-4, "output {y}: {} instead of {want}", out[0]);
        }
    }

    #[test]
    fn gradients_are_the_transposed_maps() {
        let (m, y, g) = (values::<6>(4), values::<4>(5), values::<3>(6));
        let (one, other) = (dot(output(Portable, m), y), dot(m, output_gradient(Portable, y)));
        assert!((one - other).abs() < 1e-3, "{one} {other}");
        let (one, other) = (dot(kernel(Portable, g), m), dot(g, kernel_gradient(Portable, m)));
        assert!((one - other).abs() < 1e-3, "{one} {other}");
    }
}
