//! Complex transforms of a power of two, one in each lane: the same bits from registers of any width.

use std::f64::consts::TAU;

use super::frames::{add, butterfly, load, output_offset, store, store_twiddled, sub};
use crate::simd::Lanes;

/// Plan of a transform: immutable, shared by threads. Radix 4, decimated in frequency, in place, a last pass of radix 2 where
/// it takes one.
pub(super) struct Transform {
    n: usize,
    /// `w^j, w^2j, w^3j` as pairs, for `j` in the quarter of each pass, pass after pass.
    twiddles: Vec<[f32; 6]>,
    offsets: Vec<usize>,
}

impl Transform {
    /// Plans `n` points, a power of two from 4 on.
    pub(super) fn new(n: usize) -> Self {
        debug_assert!(n >= 4 && n.is_power_of_two(), "{n} points");
        let root = |k: usize, of: usize| {
            let (sin, cos) = (-TAU * (k % of) as f64 / of as f64).sin_cos();
            [cos as f32, sin as f32]
        };
        let mut twiddles = Vec::new();
        let mut size = n;
        while size >= 4 {
            for j in 0..size / 4 {
                let [one, two, three] = [1, 2, 3].map(|times| root(times * j, size));
                twiddles.push([one[0], one[1], two[0], two[1], three[0], three[1]]);
            }
            size /= 4;
        }
        Self { n, twiddles, offsets: (0..n).map(|k| output_offset(k, n)).collect() }
    }

    /// Points.
    pub(super) fn len(&self) -> usize {
        self.n
    }

    /// Where point `k` of the spectrum lies afterwards.
    pub(super) fn offsets(&self) -> &[usize] {
        &self.offsets
    }

    /// `X[k] = sum_i x[i] exp(-2 pi i k / n)` of each lane, in place; the inverse, times `n`, with both halves exchanged.
    ///
    /// `work`  `[n][2][L::N]`: points in their order, real and imaginary halves; afterwards point `k` at `offsets()[k]`.
    /// Proof   `a_transform_is_the_sum`.
    #[inline(always)]
    pub(super) fn forward<L: Lanes>(&self, lanes: L, work: &mut [f32]) {
        assert_eq!(work.len(), 2 * self.n * L::N);
        let work = work.as_mut_ptr();
        // Quarters after the first pass are worked on one after the other, because one fits the first-level cache.
        let quarter = self.n / 4;
        // SAFETY: `work` holds `n` points, as has just been checked.
        unsafe {
            self.passes(lanes, work, (0, self.n), (self.n, quarter), 0);
            for begin in (0..self.n).step_by(quarter) {
                self.passes(lanes, work, (begin, begin + quarter), (quarter, 0), quarter);
            }
        }
    }

    /// Passes over the points from `begin` to `end` in blocks of `size` points and of quarters of them, down to more than `least`;
    /// `first` is where the twiddles of the first begin.
    ///
    /// # Safety
    /// `work` holds `end` points.
    #[inline(always)]
    unsafe fn passes<L: Lanes>(
        &self,
        lanes: L,
        work: *mut f32,
        (begin, end): (usize, usize),
        (mut size, least): (usize, usize),
        mut first: usize,
    ) {
        // SAFETY: every index stays below `end`.
        unsafe {
            while size >= 4 && size > least {
                let quarter = size / 4;
                for j in 0..quarter {
                    let twiddles = self.twiddles.get_unchecked(first + j);
                    for at in (begin + j..end).step_by(size) {
                        let point = |index: usize| load(lanes, work, at + index * quarter);
                        let four = butterfly(lanes, [point(0), point(1), point(2), point(3)]);
                        if j == 0 {
                            for (index, z) in four.into_iter().enumerate() {
                                store(lanes, z, work, at + index * quarter);
                            }
                        } else {
                            store_twiddled(lanes, four, twiddles, work, at, quarter);
                        }
                    }
                }
                (size, first) = (quarter, first + quarter);
            }
            if size == 2 && size > least {
                for at in (begin..end).step_by(2) {
                    let (a, b) = (load(lanes, work, at), load(lanes, work, at + 1));
                    store(lanes, add(lanes, a, b), work, at);
                    store(lanes, sub(lanes, a, b), work, at + 1);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Isa, Job};
    use crate::units::Seed;

    struct Forward<'a> {
        plan: &'a Transform,
        /// `[n]` pairs; in lane `l` they are turned by `l` points.
        points: &'a [(f32, f32)],
    }

    impl Job for Forward<'_> {
        type Output = Vec<Vec<(f32, f32)>>;

        #[inline(always)]
        fn run<L: Lanes>(self, lanes: L) -> Self::Output {
            let (n, mut work) = (self.plan.len(), vec![0.0; 2 * self.plan.len() * L::N]);
            for (at, lane) in (0..n).flat_map(|at| (0..L::N).map(move |lane| (at, lane))) {
                let point = self.points[(at + lane) % n];
                (work[2 * at * L::N + lane], work[(2 * at + 1) * L::N + lane]) = point;
            }
            self.plan.forward(lanes, &mut work);
            let found = |lane: usize, at: usize| (work[2 * at * L::N + lane], work[(2 * at + 1) * L::N + lane]);
            (0..L::N).map(|lane| self.plan.offsets().iter().map(|&at| found(lane, at)).collect()).collect()
        }
    }

    #[test]
    fn a_transform_is_the_sum() {
        for n in [4, 8, 16, 32, 64, 1_024] {
            let points: Vec<(f32, f32)> =
                (0..n).map(|i| Seed(3).normal_pair(i as u64)).map(|(a, b)| (a as f32, b as f32)).collect();
            let plan = Transform::new(n);
            let portable = Isa::Portable.run(Forward { plan: &plan, points: &points });
            for isa in Isa::available() {
                let found = isa.run(Forward { plan: &plan, points: &points });
                assert!(found.iter().zip(&portable).all(|(a, b)| a == b), "{isa:?}, {n}");
            }
            for (lane, found) in portable.iter().enumerate() {
                for k in (0..n).step_by(n.div_ceil(64)) {
                    let (mut re, mut im) = (0.0, 0.0);
                    for i in 0..n {
                        let (x, y) = points[(i + lane) % n];
                        let (sin, cos) = (-TAU * (i * k % n) as f64 / n as f64).sin_cos();
                        re += f64::from(x) * cos - f64::from(y) * sin;
                        im += f64::from(x) * sin + f64::from(y) * cos;
                    }
                    let error = (f64::from(found[k].0) - re).hypot(f64::from(found[k].1) - im);
                    assert!(error < 1e-6 * (n as f64).sqrt() * 4.0, "{n} points, lane {lane}, bin {k}: {error}");
                }
            }
        }
    }
}
