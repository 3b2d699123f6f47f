//! Change of sample rate with a pass band up to 0.95 of the lower Nyquist frequency, by way of the spectrum.
//!
//! Two steps. The first cuts sharply at 0.975 of the lower Nyquist frequency and goes to a rate in between, `up / down` times the
//! recording's, one of both 1. It is a windowed sinc of 136 zero crossings on each side, four times as long as the standard resampler's;
//! transforms of 1,024 points, two blocks in each lane, make it as cheap. The second step, where the rate in between is not yet
//! the one that is wanted, has nothing left to cut but images far away, and is a short sum (`audio::Resampler::between`).
//! Arithmetic is that of `Lanes` without fused multiply-add: every instruction set gives the same bits.

use serde::{Deserialize, Serialize};

use super::frames::{add, load, store, times};
use super::transform::Transform;
use crate::audio::{Resampler, Window};
use crate::error::Result;
use crate::simd::{Isa, Job, Lanes};
use crate::units::SampleRate;

/// `[features.front_end] resampler`: which filter recordings of other rates go through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resampling {
    /// Pass band to 0.837 of the lower Nyquist frequency (`audio::Resampler`).
    #[default]
    Standard,
    /// Pass band to 0.95 of it.
    Wide,
}

impl Resampling {
    /// Whether recipes need not name it.
    pub(super) fn is_standard(&self) -> bool {
        *self == Self::Standard
    }
}

/// Every constant that decides an output value, for the definition. A change here is a change of results.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct WideDesign {
    /// Raised when the same constants would give other values.
    pub revision: u32,
    /// Zero crossings of the first step's sinc on each side.
    pub zero_crossings: f64,
    /// Of both steps: Kaiser's formula for a stop band of 108 dB.
    pub kaiser_beta: f64,
    /// Cutoff (-6 dB) of the first step as a share of the lower Nyquist frequency: pass band to 0.95 of it, stop band from it on.
    pub rolloff: f64,
    /// The rate in between is at least so many times the one that is wanted, unless it is equal.
    pub least_ratio: f64,
    /// Kaiser's formula for the second step: zero crossings are this over the share of the rate in between that lies between
    /// what passes and its first image, rounded up.
    pub crossings_of_transition: f64,
    /// Points of a transform.
    pub points: usize,
}

/// The design in force.
pub const WIDE: WideDesign = WideDesign {
    revision: 1,
    zero_crossings: 136.0,
    kaiser_beta: 10.94,
    rolloff: 0.975,
    least_ratio: 1.1,
    crossings_of_transition: 3.5,
    points: 1_024,
};

impl WideDesign {
    /// The design as one line.
    pub fn definition(&self) -> String {
        let Self { revision, zero_crossings, kaiser_beta, rolloff, least_ratio, crossings_of_transition, points } =
            self;
        format!(
            "wide v{revision}, two Kaiser windowed sincs, beta {kaiser_beta}; first to a rate in between, {zero_crossings} zero \
             crossings per side, cutoff {rolloff} of the lower Nyquist frequency, by transforms of {points} points; the rate \
             in between is the one wanted where one of both rates is a multiple of the other, else the lowest integer \
             fraction of the input's that is at least {least_ratio} times the one wanted, else the input's times the least \
             power of two with which it is; from there a cutoff at its Nyquist frequency with {crossings_of_transition} / \
             (1 - twice the lower Nyquist frequency / the rate in between) zero crossings per side, rounded up, exact rational \
             phases or polynomials as the standard resampler's; f32, zeros outside the input of each step, output n at time \
             n / to, ceil(n_in to / from) outputs"
        )
    }

    /// `up` and `down` of the rate in between.
    fn between(&self, from: u32, to: u32) -> (u32, u32) {
        if from.is_multiple_of(to) {
            return (1, from / to);
        }
        if to.is_multiple_of(from) {
            return (to / from, 1);
        }
        let least = self.least_ratio * f64::from(to);
        match (f64::from(from) / least) as u32 {
            0 => {
                let is_enough = |up: &u32| f64::from(*up) * f64::from(from) >= least;
                let up = (1..31).map(|power| 1 << power).find(is_enough);
                (up.expect("rates are below 2^30"), 1)
            }
            down => (1, down),
        }
    }
}

/// Plan for one pair of rates: immutable, shared by threads.
pub struct WideResampler {
    /// Nothing when the rates are equal.
    sharp: Option<Sharp>,
    /// From the rate in between to the one that is wanted, unless it is that.
    then: Option<Resampler>,
    from: u64,
    to: u64,
}

/// The first step: `up` times the samples, or one of `down`.
struct Sharp {
    transform: Transform,
    up: usize,
    down: usize,
    /// Points at both ends of a block where its filter is not whole.
    reach: usize,
    /// `[up][down][points]`: spectrum of each pair's taps, over the points.
    gains: Vec<[f32; 2]>,
    isa: Isa,
}

impl WideResampler {
    /// Plans `from` to `to`; both as [`Resampler::new`] takes them.
    pub fn new(from: SampleRate, to: SampleRate) -> Result<Self> {
        Resampler::check(from, to)?;
        let (rates, plan) = ((u64::from(from.0), u64::from(to.0)), |sharp, then| Self {
            sharp,
            then,
            from: u64::from(from.0),
            to: u64::from(to.0),
        });
        if rates.0 == rates.1 {
            return Ok(plan(None, None));
        }
        let (up, down) = WIDE.between(from.0, to.0);
        let sharp = Sharp::new(from, to, up as usize, down as usize);
        // Both rates times `down`, so that the one in between is whole.
        let (between, wanted) = (rates.0 * u64::from(up), rates.1 * u64::from(down));
        if between == wanted {
            return Ok(plan(Some(sharp), None));
        }
        let passed = rates.0.min(rates.1) as f64 * f64::from(down) / between as f64;
        let crossings = (WIDE.crossings_of_transition / (1.0 - passed)).ceil();
        let then = Resampler::between(between, wanted, &Window::new(crossings, WIDE.kaiser_beta));
        Ok(plan(Some(sharp), Some(then)))
    }

    /// Samples that come out of `n_in` samples: `ceil(n_in to / from)`.
    pub fn output_length(&self, n_in: usize) -> usize {
        (n_in as u128 * u128::from(self.to)).div_ceil(u128::from(self.from)) as usize
    }

    /// Memory that the plan takes.
    pub fn n_bytes(&self) -> usize {
        let sharp = self.sharp.as_ref().map_or(0, |sharp| size_of_val(sharp.gains.as_slice()));
        sharp + self.then.as_ref().map_or(0, Resampler::n_bytes)
    }

    /// Replaces `output` by `input` at the new rate.
    ///
    /// `input`   `[n_in]`, finite
    /// `output`  `[output_length(n_in)]`; the samples themselves when the rates are equal
    /// Proof     `matches_the_f64_twin`, `the_pass_band_is_flat_to_0_95_and_nothing_stands_above_1` in `wide_proof`
    pub fn resample(&self, input: &[f32], output: &mut Vec<f32>) {
        let n_out = self.output_length(input.len());
        match (&self.sharp, &self.then) {
            (None, _) => {
                output.clear();
                output.extend_from_slice(input);
            }
            (Some(sharp), None) => sharp.resample(input, output),
            (Some(sharp), Some(then)) => {
                let mut between = Vec::new();
                sharp.resample(input, &mut between);
                then.resample(&between, output);
            }
        }
        // The rate in between may round up where the whole way does not.
        output.truncate(n_out);
    }

    #[cfg(test)]
    pub(super) fn set_isa(&mut self, isa: Isa) {
        self.sharp.iter_mut().for_each(|sharp| sharp.isa = isa);
        self.then.iter_mut().for_each(|then| then.set_isa(isa));
    }
}

impl Sharp {
    fn new(from: SampleRate, to: SampleRate, up: usize, down: usize) -> Self {
        let window = Window::new(WIDE.zero_crossings, WIDE.kaiser_beta);
        let cutoff = WIDE.rolloff * (to.hz() / from.hz()).min(1.0);
        let half = WIDE.zero_crossings / cutoff;
        let reach = (half / down as f64) as usize + 1;
        let transform = Transform::new(WIDE.points);
        let n = transform.len();
        assert!(2 * reach < n, "a filter of 2 x {reach} points is shorter than {n}");
        // Taps of f64 transformed in f64: what is rounded to f32 is the spectrum.
        let roots: Vec<(f64, f64)> = (0..n).map(|i| (-std::f64::consts::TAU * i as f64 / n as f64).sin_cos()).collect();
        let mut gains = Vec::with_capacity(up * down * n);
        for (u, d) in (0..up).flat_map(|u| (0..down).map(move |d| (u, d))) {
            // An output at point k hears the sample of point 0 from k down + u / up - d input samples away.
            let tap = |k: isize| window.impulse(cutoff, k as f64 * down as f64 + u as f64 / up as f64 - d as f64);
            let taps: Vec<(usize, f64)> =
                (-(reach as isize)..=reach as isize).map(|k| (k.rem_euclid(n as isize) as usize, tap(k))).collect();
            gains.extend((0..n).map(|bin| {
                let sums = taps.iter().fold((0.0, 0.0), |(re, im), &(k, tap)| {
                    let (sin, cos) = roots[bin * k % n];
                    (re + tap * cos, im + tap * sin)
                });
                [(sums.0 / n as f64) as f32, (sums.1 / n as f64) as f32]
            }));
        }
        Self { transform, up, down, reach, gains, isa: Isa::fastest() }
    }

    fn resample(&self, input: &[f32], output: &mut Vec<f32>) {
        let n_out = (input.len() * self.up).div_ceil(self.down);
        output.clear();
        output.resize(n_out, 0.0);
        self.isa.run(Blocks { plan: self, input, output });
    }

    /// Points of a block that are outputs of it.
    fn hop(&self) -> usize {
        self.transform.len() - 2 * self.reach
    }
}

/// All blocks of one call, two neighbours in each lane: one as real, one as imaginary halves, which a real filter keeps apart but
/// for rounding; so who is whose neighbour must not depend on the number of lanes.
struct Blocks<'a> {
    plan: &'a Sharp,
    input: &'a [f32],
    output: &'a mut [f32],
}

impl Job for Blocks<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self, lanes: L) {
        let Sharp { transform, up, down, .. } = self.plan;
        let n = transform.len();
        let (mut points, mut sums) = (vec![0.0; 2 * n * L::N], vec![0.0; 2 * n * L::N]);
        let n_blocks = self.output.len().div_ceil(*up).div_ceil(self.plan.hop());
        for first in (0..n_blocks).step_by(2 * L::N) {
            for u in 0..*up {
                for d in 0..*down {
                    // One of both is 1: what goes up has one spectrum for all its outputs.
                    if u == 0 {
                        self.fill(first, d, L::N, &mut points);
                        transform.forward(lanes, &mut points);
                    }
                    let gains = &self.plan.gains[(u * down + d) * n..][..n];
                    multiply(lanes, (transform.offsets(), gains), &points, d > 0, &mut sums);
                }
                transform.forward(lanes, &mut sums);
                self.put(first, u, L::N, &sums);
            }
        }
    }
}

/// Points that are filled or read for all lanes before the next: as many lines of the cache as the first level holds with ease.
const STRETCH: usize = 64;

impl Blocks<'_> {
    /// Samples `d, d + down, ..` of each lane's two blocks.
    #[inline(always)]
    fn fill(&self, first: usize, d: usize, n_lanes: usize, points: &mut [f32]) {
        let Sharp { down, reach, .. } = self.plan;
        let row = 2 * n_lanes;
        for (stretch, rows) in points.chunks_mut(STRETCH * row).enumerate() {
            for index in 0..row {
                // May begin before the input.
                let begin = ((first + index) * self.plan.hop() + stretch * STRETCH) as isize - *reach as isize;
                let cells = rows[index % 2 * n_lanes + index / 2..].iter_mut().step_by(row);
                let whole = usize::try_from(begin).ok().map(|begin| begin * down + d);
                match whole.and_then(|begin| self.input.get(begin..begin + (cells.len() - 1) * down + 1)) {
                    Some(samples) => {
                        cells.zip(samples.iter().step_by(*down)).for_each(|(cell, &sample)| *cell = sample)
                    }
                    None => {
                        for (at, cell) in cells.enumerate() {
                            let place = usize::try_from(begin + at as isize).ok().map(|place| place * down + d);
                            *cell = place.and_then(|place| self.input.get(place)).copied().unwrap_or(0.0);
                        }
                    }
                }
            }
        }
    }

    /// Outputs `u, u + up, ..` of each lane's two blocks.
    #[inline(always)]
    fn put(&mut self, first: usize, u: usize, n_lanes: usize, sums: &[f32]) {
        let Sharp { transform, up, reach, .. } = self.plan;
        let hop = self.plan.hop();
        let offsets = &transform.offsets()[*reach..reach + hop];
        for (stretch, offsets) in offsets.chunks(STRETCH).enumerate() {
            for index in 0..2 * n_lanes {
                let (half, lane) = (index % 2, index / 2);
                let begin = ((first + index) * hop + stretch * STRETCH) * up + u;
                let Some(outputs) = self.output.get_mut(begin..) else { break };
                for (output, &at) in outputs.iter_mut().step_by(*up).zip(offsets) {
                    // Halves have changed places.
                    *output = sums[(2 * at + 1 - half) * n_lanes + lane];
                }
            }
        }
    }
}

/// Spectra times gains, halves exchanged, for the transform back; added to what is there or put in its place.
#[inline(always)]
fn multiply<L: Lanes>(
    lanes: L,
    (offsets, gains): (&[usize], &[[f32; 2]]),
    points: &[f32],
    is_added: bool,
    sums: &mut [f32],
) {
    assert!(points.len() == 2 * offsets.len() * L::N && sums.len() == points.len() && gains.len() == offsets.len());
    let sums = sums.as_mut_ptr();
    for (bin, (&at, gain)) in offsets.iter().zip(gains).enumerate() {
        // SAFETY: offsets are a permutation of the points, and both buffers hold all points, as has just been checked.
        unsafe {
            let (re, im) = times(lanes, load(lanes, points.as_ptr(), at), gain[0], gain[1]);
            let exchanged = (im, re);
            let sum = if is_added { add(lanes, load(lanes, sums, bin), exchanged) } else { exchanged };
            store(lanes, sum, sums, bin);
        }
    }
}

#[cfg(test)]
#[path = "wide_proof.rs"]
pub(crate) mod proof;
