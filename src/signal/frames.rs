//! Real transforms of many frames at once, one frame per lane: what makes power spectra of powers of two fast.
//!
//! A frame of `2 n` real samples is a complex transform of `n` points (even samples real, odd ones imaginary), radix 4,
//! decimated in frequency, in place; a last step takes the halves apart and squares. The window's samples stand at the
//! beginning of the frame and not in its middle, which turns phases and leaves powers alone; so the points behind them are
//! zero, and the first pass is told how many quarters it need not read.

use std::f64::consts::TAU;

use crate::simd::Lanes;

/// Immutable plan for frames of a power of two; see the module.
pub(super) struct Frames {
    /// Complex points.
    n: usize,
    /// Quarters of the points that are not known to be zero: 1, 2 or 4.
    n_quarters: usize,
    /// Half the window function at each sample that is read: zero behind the window. Half, because the last step adds
    /// two of each.
    half_window: Vec<f32>,
    /// `w^j, w^2j, w^3j` as pairs, for `j` in the quarter of each pass, pass after pass.
    twiddles: Vec<[f32; 6]>,
    /// Where a point of the spectrum lies after the passes.
    output_offsets: Vec<usize>,
    /// `exp(-i pi k / n)` for `k` up to `n / 2`.
    split_twiddles: Vec<[f32; 2]>,
}

/// Where the samples of a block of frames lie: sample `k` of the frame in lane `l` at `offsets[k] + l`.
pub(super) struct Samples<'a> {
    pub(super) values: &'a [f32],
    pub(super) offsets: &'a [usize],
}

/// A complex number per lane.
pub(super) type Complex<V> = (V, V);

impl Frames {
    /// Plans frames of `n_fft` samples under `window`; nothing where `n_fft` is no power of two from 8 on.
    pub(super) fn new(n_fft: usize, window: &[f64]) -> Option<Self> {
        if n_fft < 8 || !n_fft.is_power_of_two() {
            return None;
        }
        let n = n_fft / 2;
        let n_quarters = window.len().div_ceil(2).div_ceil(n / 4).next_power_of_two();
        let mut half_window: Vec<f32> = window.iter().map(|value| (0.5 * value) as f32).collect();
        half_window.resize(n_quarters * (n / 4) * 2, 0.0);
        let root = |k: usize, of: usize| {
            let (sin, cos) = (-TAU * k as f64 / of as f64).sin_cos();
            [cos as f32, sin as f32]
        };
        let mut twiddles = Vec::new();
        let mut size = n;
        while size >= 4 {
            for j in 0..size / 4 {
                let [one, two, three] = [1, 2, 3].map(|times| root(times * j % size, size));
                twiddles.push([one[0], one[1], two[0], two[1], three[0], three[1]]);
            }
            size /= 4;
        }
        Some(Self {
            n,
            n_quarters,
            half_window,
            twiddles,
            output_offsets: (0..n).map(|k| output_offset(k, n)).collect(),
            split_twiddles: (0..=n / 2).map(|k| root(k, 2 * n)).collect(),
        })
    }

    /// Samples of a frame that are read: the window's, and zeros up to the end of a quarter.
    pub(super) fn n_read(&self) -> usize {
        self.half_window.len()
    }

    /// Values of f32 that `work` needs for registers of `N` lanes.
    pub(super) fn work_length(&self, n_lanes: usize) -> usize {
        2 * self.n * n_lanes
    }

    /// `|X|^2` of `L::N` frames: bin `k` of lane `l` goes to `power[k * stride + l]`.
    ///
    /// `work`   `[work_length(L::N)]`, any content.
    /// `power`  `[n_fft / 2 + 1]` rows of `stride` values, of which the first `L::N` are written.
    /// Proof    `power_matches_the_f64_twin`, `every_instruction_set_gives_the_same_bits`.
    #[inline(always)]
    pub(super) fn power<L: Lanes>(
        &self,
        lanes: L,
        samples: &Samples,
        work: &mut [f32],
        power: &mut [f32],
        stride: usize,
    ) {
        assert!(samples.offsets.len() >= self.n_read() && work.len() >= self.work_length(L::N));
        assert!(samples.offsets.iter().all(|offset| offset + L::N <= samples.values.len()));
        assert!(stride >= L::N && power.len() >= self.n * stride + L::N);
        // SAFETY: the lengths have just been checked.
        unsafe {
            self.first_pass(lanes, samples, work.as_mut_ptr());
            self.other_passes(lanes, work.as_mut_ptr());
            self.squares(lanes, work.as_ptr(), power.as_mut_ptr(), stride);
        }
    }

    /// Reads the samples, multiplies them by the window, and does the first pass on the quarters that are there.
    #[inline(always)]
    unsafe fn first_pass<L: Lanes>(&self, lanes: L, samples: &Samples, work: *mut f32) {
        let quarter = self.n / 4;
        // SAFETY: `power` has checked that each offset leaves room for a register, and that `work` holds all points.
        unsafe {
            let point = |index: usize| -> Complex<L::V> {
                let value = |k: usize| {
                    let sample = lanes.load(samples.values.as_ptr().add(*samples.offsets.get_unchecked(k)));
                    lanes.mul(sample, lanes.splat(*self.half_window.get_unchecked(k)))
                };
                (value(2 * index), value(2 * index + 1))
            };
            for j in 0..quarter {
                let twiddles = self.twiddles.get_unchecked(j);
                let four = match self.n_quarters {
                    1 => [point(j); 4],
                    2 => {
                        let (a, b) = (point(j), point(j + quarter));
                        [add(lanes, a, b), sub_i(lanes, a, b), sub(lanes, a, b), add_i(lanes, a, b)]
                    }
                    _ => {
                        butterfly(lanes, [point(j), point(j + quarter), point(j + 2 * quarter), point(j + 3 * quarter)])
                    }
                };
                store_twiddled(lanes, four, twiddles, work, j, quarter);
            }
        }
    }

    #[inline(always)]
    unsafe fn other_passes<L: Lanes>(&self, lanes: L, work: *mut f32) {
        let (mut size, mut first) = (self.n / 4, self.n / 4);
        // SAFETY: every index stays below `n`, and `work` holds `n` points.
        unsafe {
            while size >= 4 {
                let quarter = size / 4;
                for j in 0..quarter {
                    let twiddles = self.twiddles.get_unchecked(first + j);
                    for at in (j..self.n).step_by(size) {
                        let point = |index: usize| load(lanes, work, at + index * quarter);
                        let four = butterfly(lanes, [point(0), point(1), point(2), point(3)]);
                        if j == 0 {
                            four.into_iter()
                                .enumerate()
                                .for_each(|(index, z)| store(lanes, z, work, at + index * quarter));
                        } else {
                            store_twiddled(lanes, four, twiddles, work, at, quarter);
                        }
                    }
                }
                (size, first) = (quarter, first + quarter);
            }
            if size == 2 {
                for at in (0..self.n).step_by(2) {
                    let (a, b) = (load(lanes, work, at), load(lanes, work, at + 1));
                    store(lanes, add(lanes, a, b), work, at);
                    store(lanes, sub(lanes, a, b), work, at + 1);
                }
            }
        }
    }

    /// Takes the spectra of even and odd samples apart, puts the frame's together, and squares.
    #[inline(always)]
    unsafe fn squares<L: Lanes>(&self, lanes: L, work: *const f32, power: *mut f32, stride: usize) {
        let n = self.n;
        // SAFETY: offsets are below `n`; `power` has checked that rows 0 to `n` are there.
        unsafe {
            for (k, twiddle) in self.split_twiddles.iter().enumerate() {
                let a = load(lanes, work, *self.output_offsets.get_unchecked(k));
                let b = load(lanes, work, *self.output_offsets.get_unchecked((n - k) % n));
                let even = (lanes.add(a.0, b.0), lanes.sub(a.1, b.1));
                // -i (a - conj b)
                let odd = (lanes.add(a.1, b.1), lanes.sub(b.0, a.0));
                let odd = times(lanes, odd, twiddle[0], twiddle[1]);
                let square = |z: Complex<L::V>| lanes.add(lanes.mul(z.0, z.0), lanes.mul(z.1, z.1));
                lanes.store(power.add(k * stride), square(add(lanes, even, odd)));
                lanes.store(power.add((n - k) * stride), square(sub(lanes, even, odd)));
            }
        }
    }
}

/// Where point `k` of a spectrum of `size` points lies after passes of radix 4 and a last one of radix 2.
pub(super) fn output_offset(k: usize, size: usize) -> usize {
    if size < 4 { k } else { k % 4 * (size / 4) + output_offset(k / 4, size / 4) }
}

#[inline(always)]
pub(super) fn add<L: Lanes>(lanes: L, a: Complex<L::V>, b: Complex<L::V>) -> Complex<L::V> {
    (lanes.add(a.0, b.0), lanes.add(a.1, b.1))
}

#[inline(always)]
pub(super) fn sub<L: Lanes>(lanes: L, a: Complex<L::V>, b: Complex<L::V>) -> Complex<L::V> {
    (lanes.sub(a.0, b.0), lanes.sub(a.1, b.1))
}

/// `a - i b`.
#[inline(always)]
fn sub_i<L: Lanes>(lanes: L, a: Complex<L::V>, b: Complex<L::V>) -> Complex<L::V> {
    (lanes.add(a.0, b.1), lanes.sub(a.1, b.0))
}

/// `a + i b`.
#[inline(always)]
fn add_i<L: Lanes>(lanes: L, a: Complex<L::V>, b: Complex<L::V>) -> Complex<L::V> {
    (lanes.sub(a.0, b.1), lanes.add(a.1, b.0))
}

/// The transform of four points.
#[inline(always)]
pub(super) fn butterfly<L: Lanes>(lanes: L, [a, b, c, d]: [Complex<L::V>; 4]) -> [Complex<L::V>; 4] {
    let (even, odd) = ((add(lanes, a, c), sub(lanes, a, c)), (add(lanes, b, d), sub(lanes, b, d)));
    [add(lanes, even.0, odd.0), sub_i(lanes, even.1, odd.1), sub(lanes, even.0, odd.0), add_i(lanes, even.1, odd.1)]
}

/// `z (re + i im)`.
#[inline(always)]
pub(super) fn times<L: Lanes>(lanes: L, z: Complex<L::V>, re: f32, im: f32) -> Complex<L::V> {
    let (re, im) = (lanes.splat(re), lanes.splat(im));
    (lanes.sub(lanes.mul(z.0, re), lanes.mul(z.1, im)), lanes.add(lanes.mul(z.0, im), lanes.mul(z.1, re)))
}

/// # Safety
/// `work` holds point `at`.
#[inline(always)]
pub(super) unsafe fn load<L: Lanes>(lanes: L, work: *const f32, at: usize) -> Complex<L::V> {
    // SAFETY: the caller's contract; a point is two registers.
    unsafe { (lanes.load(work.add(2 * at * L::N)), lanes.load(work.add((2 * at + 1) * L::N))) }
}

/// # Safety
/// `work` holds point `at`.
#[inline(always)]
pub(super) unsafe fn store<L: Lanes>(lanes: L, z: Complex<L::V>, work: *mut f32, at: usize) {
    // SAFETY: the caller's contract; a point is two registers.
    unsafe {
        lanes.store(work.add(2 * at * L::N), z.0);
        lanes.store(work.add((2 * at + 1) * L::N), z.1);
    }
}

/// Stores four points a quarter apart, multiplied by their twiddles.
///
/// # Safety
/// `work` holds them.
#[inline(always)]
pub(super) unsafe fn store_twiddled<L: Lanes>(
    lanes: L,
    four: [Complex<L::V>; 4],
    twiddles: &[f32; 6],
    work: *mut f32,
    at: usize,
    quarter: usize,
) {
    let [w1_re, w1_im, w2_re, w2_im, w3_re, w3_im] = *twiddles;
    // SAFETY: the caller's contract.
    unsafe {
        store(lanes, four[0], work, at);
        store(lanes, times(lanes, four[1], w1_re, w1_im), work, at + quarter);
        store(lanes, times(lanes, four[2], w2_re, w2_im), work, at + 2 * quarter);
        store(lanes, times(lanes, four[3], w3_re, w3_im), work, at + 3 * quarter);
    }
}
