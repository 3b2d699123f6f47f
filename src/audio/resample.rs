//! Change of sample rate with a frozen polyphase Kaiser windowed-sinc filter.
//!
//! Output sample `n` is the band-limited signal at time `n / to`, without delay:
//! `sum_i input[i] h(n from / to - i)` with `h(x) = c sinc(c x) kaiser(c x / 32)`,
//! `c = 0.91 min(1, to / from)`, zeros outside the input.
//! Sums run in 16 fixed lanes without fused multiply-add, so that every kernel gives the same bits.

use super::dot::{Kernel, LANES, Taps, dot_four, dot_two_four, edge_dot};
#[cfg(target_arch = "x86_64")]
use super::dot::{avx2, avx512};
use super::kaiser::{KAISER_BETA, Window, ZERO_CROSSINGS};
use super::walk::{Step, Walk};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::units::SampleRate;

/// Cutoff (-6 dB) as a share of the lower Nyquist frequency. With this window the stop band starts
/// at Nyquist and the pass band ends at 0.82 of it (8.8 kHz of 10.75 kHz; -0.02 dB at 9 kHz).
const ROLLOFF: f64 = 0.91;
/// Up to this many phases each has its own row of taps.
const MAX_EXACT_PHASES: u64 = 4096;
/// Otherwise rows for this many phases, and linear interpolation between neighbours (-116 dB).
const INTERPOLATED_PHASES: u64 = 512;
const LOWEST_RATE: u32 = 1_000;
const HIGHEST_RATE: u32 = 768_000;

/// Every constant that decides an output value, for the definition. A change here is a change of results.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Design {
    /// Raised when the same constants would give other values.
    pub revision: u32,
    pub zero_crossings: f64,
    pub kaiser_beta: f64,
    pub rolloff: f64,
    pub exact_phases: u64,
    pub interpolated_phases: u64,
    pub lanes: usize,
}

/// The design in force.
pub const DESIGN: Design = Design {
    revision: 1,
    zero_crossings: ZERO_CROSSINGS,
    kaiser_beta: KAISER_BETA,
    rolloff: ROLLOFF,
    exact_phases: MAX_EXACT_PHASES,
    interpolated_phases: INTERPOLATED_PHASES,
    lanes: LANES,
};

impl Design {
    /// The design as one line.
    pub fn definition(&self) -> String {
        let Self { revision, zero_crossings, kaiser_beta, rolloff, exact_phases, interpolated_phases, lanes } = self;
        format!(
            "v{revision}, polyphase Kaiser windowed sinc, {zero_crossings} zero crossings per side, beta {kaiser_beta}, \
             cutoff {rolloff} of the lower Nyquist frequency, exact rational phases up to {exact_phases}, else \
             {interpolated_phases} phases interpolated linearly, f32 taps, {lanes} partial sums without fused \
             multiply-add, zeros outside the input, output n at time n / to, ceil(n_in to / from) outputs"
        )
    }
}

/// Plan for one pair of rates: immutable, shared by threads.
pub struct Resampler {
    /// `from / to` in lowest terms.
    from: u64,
    to: u64,
    /// Rows of taps, `[n_rows, row_length / LANES]`, in the order of the input samples they meet.
    taps: Vec<Taps>,
    row_length: usize,
    /// Taps on each side of the output's time; row element `k` meets input `floor(t) - half + 1 + k`.
    half: usize,
    interpolated: bool,
    walk: Walk,
    kernel: Kernel,
}

impl Resampler {
    /// Plans `from` to `to`, both from 1 kHz to 768 kHz.
    pub fn new(from: SampleRate, to: SampleRate) -> Result<Self> {
        for rate in [from, to] {
            if !(LOWEST_RATE..=HIGHEST_RATE).contains(&rate.0) {
                let limits = format!("can be resampled from {LOWEST_RATE} to {HIGHEST_RATE} Hz");
                return Err(Error::recording(format!("sample rate {} Hz, {limits}", rate.0)));
            }
        }
        let divisor = greatest_common_divisor(from.0, to.0);
        let (from, to) = (u64::from(from.0 / divisor), u64::from(to.0 / divisor));
        let cutoff = ROLLOFF * (to as f64 / from as f64).min(1.0);
        let half = (ZERO_CROSSINGS / cutoff).floor() as usize + 1;
        let row_length = (2 * half).next_multiple_of(LANES);
        let interpolated = to > MAX_EXACT_PHASES;
        // Interpolation needs the row after the last phase.
        let (phases, n_rows) = if interpolated { (INTERPOLATED_PHASES, INTERPOLATED_PHASES + 1) } else { (to, to) };
        let window = Window::new();
        let n_rows = if from == to { 0 } else { n_rows as usize };
        let mut taps = vec![Taps([0.0; LANES]); n_rows * row_length / LANES];
        for (phase, row) in taps.chunks_exact_mut(row_length / LANES).enumerate() {
            let fraction = phase as f64 / phases as f64;
            for (k, tap) in row.iter_mut().flat_map(|taps| &mut taps.0).take(2 * half).enumerate() {
                *tap = window.impulse(cutoff, fraction + (half as f64 - 1.0 - k as f64)) as f32;
            }
        }
        let walk = Walk::new(from, to, phases);
        Ok(Self { from, to, taps, row_length, half, interpolated, walk, kernel: Kernel::fastest() })
    }

    /// Samples that come out of `n_in` samples: `ceil(n_in to / from)`.
    pub fn output_length(&self, n_in: usize) -> usize {
        (n_in as u128 * u128::from(self.to)).div_ceil(u128::from(self.from)) as usize
    }

    /// Clears `output` and fills it with `input` at the new rate.
    ///
    /// `input`   `[n_in]`, finite
    /// `output`  `[output_length(n_in)]`; the samples themselves when the rates are equal
    /// Proof     `matches_the_f64_twin`, `a_ramp_keeps_its_time`, `tones_of_the_pass_band_keep_gain_and_time_and_gain_no_distortion`
    pub fn resample(&self, input: &[f32], output: &mut Vec<f32>) {
        output.clear();
        if self.from == self.to {
            output.extend_from_slice(input);
            return;
        }
        output.resize(self.output_length(input.len()), 0.0);
        match self.kernel {
            Kernel::Portable => self.fill(input, output, dot_four, dot_two_four),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: this kernel is chosen only where the processor has AVX2.
            Kernel::Avx2 => unsafe { self.fill_avx2(input, output) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: this kernel is chosen only where the processor has AVX-512.
            Kernel::Avx512 => unsafe { self.fill_avx512(input, output) },
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn fill_avx2(&self, input: &[f32], output: &mut [f32]) {
        self.fill(
            input,
            output,
            |row, input, places| avx2::dot_four(row, input, places),
            |low, high, input, places| avx2::dot_two_four(low, high, input, places),
        );
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx2")]
    fn fill_avx512(&self, input: &[f32], output: &mut [f32]) {
        self.fill(
            input,
            output,
            |row, input, places| avx512::dot_four(row, input, places),
            |low, high, input, places| avx512::dot_two_four(low, high, input, places),
        );
    }

    /// Makes the outputs row by row, four at a time where the filter lies wholly within the input.
    #[inline(always)]
    fn fill(
        &self,
        input: &[f32],
        output: &mut [f32],
        dot_four: impl Fn(&[Taps], &[f32], [usize; 4]) -> [f32; 4],
        dot_two_four: impl Fn(&[Taps], &[Taps], &[f32], [usize; 4]) -> ([f32; 4], [f32; 4]),
    ) {
        // Row element 0 meets input `position - before`; the padding of a row counts as part of it.
        let before = self.half - 1;
        let n_stretches = output.len().div_ceil(self.walk.n_outputs);
        for stretch in 0..n_stretches {
            let (first, outputs) = (stretch * self.walk.n_inputs, &mut output[stretch * self.walk.n_outputs..]);
            for (row, steps) in self.walk.rows() {
                let (edges, inside) = self.edges_and_inside(steps, first, input.len());
                edges.for_each(|step| self.edge_value(input, row, step, first, outputs));
                let (low, high) = (self.row(row), if self.interpolated { self.row(row + 1) } else { &[] });
                for index in (0..inside.len()).step_by(4) {
                    // What is missing of the last four is made once more.
                    let at = |i: usize| inside[(index + i).min(inside.len() - 1)];
                    let four = inside[index..].first_chunk().copied().unwrap_or_else(|| [at(0), at(1), at(2), at(3)]);
                    let place = |i: usize| first + four[i].position as usize - before;
                    let places = [place(0), place(1), place(2), place(3)];
                    let values = if self.interpolated {
                        let (low, high) = dot_two_four(low, high, input, places);
                        let between = |i: usize| low[i] + four[i].share * (high[i] - low[i]);
                        [between(0), between(1), between(2), between(3)]
                    } else {
                        dot_four(low, input, places)
                    };
                    for (step, value) in four.iter().zip(values) {
                        outputs[step.output as usize] = value;
                    }
                }
            }
        }
    }

    /// A row's outputs, in order of time, by whether their filter reaches over an end of the input.
    #[inline(always)]
    fn edges_and_inside<'s>(
        &self,
        steps: &'s [Step],
        first: usize,
        n_in: usize,
    ) -> (impl Iterator<Item = &'s Step>, &'s [Step]) {
        let begin = |step: &Step| first + step.position as usize + 1;
        let n_early = steps.iter().take_while(|step| begin(step) < self.half).count();
        let (early, others) = steps.split_at(n_early);
        let is_late = |step: &Step| begin(step) - self.half + self.row_length > n_in;
        let n_late = others.iter().rev().take_while(|step| is_late(step)).count();
        let (inside, late) = others.split_at(others.len() - n_late);
        (early.iter().chain(late), inside)
    }

    /// One output, also where its filter reaches over an end of the input, or nothing where it is behind the last one.
    #[inline(never)]
    fn edge_value(&self, input: &[f32], row: usize, step: &Step, first: usize, outputs: &mut [f32]) {
        let Some(value) = outputs.get_mut(step.output as usize) else { return };
        let (position, before) = (first + step.position as usize, self.half - 1);
        *value = edge_dot(self.row(row), input, position, before);
        if self.interpolated {
            *value += step.share * (edge_dot(self.row(row + 1), input, position, before) - *value);
        }
    }

    #[inline(always)]
    fn row(&self, index: usize) -> &[Taps] {
        let length = self.row_length / LANES;
        &self.taps[index * length..][..length]
    }
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Seed;
    use std::f64::consts::TAU;

    /// Rates of the corpora and others, to the paper's 21.5 kHz and back up.
    const PAIRS: &[(u32, u32)] = &[
        (48_000, 21_500),
        (24_414, 21_500),
        (44_100, 21_500),
        (16_000, 21_500),
        (96_000, 21_500),
        (22_050, 16_000),
        (8_000, 48_000),
        (21_500, 24_413),
    ];

    fn plan(from: u32, to: u32) -> Resampler {
        Resampler::new(SampleRate(from), SampleRate(to)).unwrap()
    }

    fn resampled(from: u32, to: u32, input: &[f32]) -> Vec<f32> {
        let mut output = vec![7.0; 3];
        plan(from, to).resample(input, &mut output);
        output
    }

    fn sine(hz: f64, rate: u32, n: usize) -> Vec<f32> {
        (0..n).map(|i| (TAU * hz * i as f64 / f64::from(rate)).sin() as f32).collect()
    }

    /// Output samples whose filter lies wholly within the input.
    fn interior(plan: &Resampler, n_in: usize) -> std::ops::Range<usize> {
        let margin = plan.output_length(plan.half + 1);
        margin..plan.output_length(n_in) - margin
    }

    fn rms_db(values: impl ExactSizeIterator<Item = f64>) -> f64 {
        let n = values.len() as f64;
        10.0 * (values.map(|x| x * x).sum::<f64>() / n).log10()
    }

    /// The definition, evaluated at every output time in f64.
    fn twin(from: u32, to: u32, input: &[f32]) -> Vec<f64> {
        let cutoff = 0.91 * (f64::from(to) / f64::from(from)).min(1.0);
        let window = Window::new();
        let n_out = (input.len() * to as usize).div_ceil(from as usize);
        let value = |n: usize| {
            let time = (n as u64 * u64::from(from)) as f64 / f64::from(to);
            input.iter().enumerate().map(|(i, &x)| f64::from(x) * window.impulse(cutoff, time - i as f64)).sum()
        };
        (0..n_out).map(value).collect()
    }

    #[test]
    fn matches_the_f64_twin() {
        for &(from, to) in PAIRS {
            let input: Vec<f32> = (0..1500).map(|i| Seed(1).normal_pair(i).0 as f32).collect();
            let expected = twin(from, to, &input);
            let output = resampled(from, to, &input);
            assert_eq!(output.len(), expected.len());
            // White noise of deviation 1: f32 sums stay under 3e-6, 512 interpolated phases under 1.5e-5.
            let tolerance = if plan(from, to).interpolated { 1.5e-5 } else { 3e-6 };
            let distance =
                |a: &[f32], b: &[f64]| a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - b).abs()).fold(0.0, f64::max);
            let error = distance(&output, &expected);
            assert!(error < tolerance, "{from} -> {to}: {error}");
            assert!(distance(&output[1..], &expected) > 100.0 * tolerance, "a shift of one sample must fail");
            let louder: Vec<f32> = output.iter().map(|x| 1.01 * x).collect();
            assert!(distance(&louder, &expected) > 100.0 * tolerance, "a gain of 1 % must fail");
        }
    }

    #[test]
    fn a_constant_stays_constant() {
        for &(from, to) in PAIRS {
            let output = resampled(from, to, &vec![0.5; 4000]);
            let inside = interior(&plan(from, to), 4000);
            let error = output[inside].iter().map(|x| (x - 0.5).abs()).fold(0.0, f32::max);
            assert!(error < 1e-5, "{from} -> {to}: {error}");
        }
    }

    #[test]
    fn a_ramp_keeps_its_time() {
        for &(from, to) in PAIRS {
            let input: Vec<f32> = (0..4000).map(|i| i as f32 / 4000.0).collect();
            let output = resampled(from, to, &input);
            for n in interior(&plan(from, to), 4000) {
                let time = n as f64 * f64::from(from) / f64::from(to);
                let delay = time - f64::from(output[n]) * 4000.0;
                // f32 resolves 1/4000 of the ramp to 2e-4 samples; the gain error of 1e-5 adds up to 0.04 at its end.
                assert!(delay.abs() < 0.01 + 1.2e-5 * time, "{from} -> {to}: output {n} is {delay} samples late");
            }
        }
    }

    #[test]
    fn the_pass_band_is_flat_to_9_khz() {
        for from in [48_000, 24_414, 44_100] {
            let output = resampled(from, 21_500, &sine(9_000.0, from, 20_000));
            let gain = rms_db(output[interior(&plan(from, 21_500), 20_000)].iter().map(|&x| f64::from(x))) + 3.0103;
            assert!(gain.abs() < 0.03, "{from}: {gain} dB");
        }
    }

    #[test]
    fn aliases_stay_under_minus_95_db() {
        for (from, tones) in [
            (48_000, &[10_800.0, 11_500.0, 13_000.0, 18_000.0, 23_000.0][..]),
            (44_100, &[10_800.0, 11_500.0, 13_000.0, 18_000.0, 21_900.0]),
            (24_414, &[10_800.0, 11_200.0, 11_800.0, 12_150.0]),
            (96_000, &[10_800.0, 21_500.0, 30_000.0, 47_000.0]),
        ] {
            for &hz in tones {
                let output = resampled(from, 21_500, &sine(hz, from, 12_000));
                let inside = interior(&plan(from, 21_500), 12_000);
                let alias = rms_db(output[inside].iter().map(|&x| f64::from(x))) + 3.0103;
                assert!(alias < -95.0, "{from}: a tone of {hz} Hz comes back at {alias} dB");
            }
        }
    }

    #[test]
    fn kernels_give_the_same_bits() {
        let input: Vec<f32> = (0..3000).map(|i| Seed(8).normal_pair(i).1 as f32).collect();
        for &(from, to) in PAIRS {
            let (mut fast, mut portable) = (Vec::new(), Vec::new());
            let mut plan = plan(from, to);
            plan.kernel = Kernel::Portable;
            plan.resample(&input, &mut portable);
            for kernel in Kernel::known() {
                plan.kernel = kernel;
                plan.resample(&input, &mut fast);
                assert_eq!(fast, portable, "{from} -> {to}, {kernel:?}");
            }
        }
    }

    #[test]
    fn length_is_the_ceiling_of_the_ratio_at_every_length() {
        for &(from, to) in PAIRS {
            for n_in in (0..200).chain([1_000, 10_001]) {
                let expected = (n_in as f64 * f64::from(to) / f64::from(from) - 1e-9).ceil() as usize;
                assert_eq!(resampled(from, to, &vec![1.0; n_in]).len(), expected, "{from} -> {to}, {n_in}");
            }
        }
    }

    #[test]
    fn equal_rates_copy_and_nothing_stays_nothing() {
        assert_eq!(resampled(21_500, 21_500, &[0.1, -0.2, 0.3]), [0.1, -0.2, 0.3]);
        assert!([21_500, 48_000].iter().all(|&from| resampled(from, 21_500, &[]).is_empty()));
    }

    #[test]
    fn rates_out_of_range_are_refused_by_name() {
        for (from, to) in [(0, 21_500), (999, 21_500), (48_000, 800_000)] {
            let error = Resampler::new(SampleRate(from), SampleRate(to)).map(|_| ()).unwrap_err();
            assert!(error.reason().contains("can be resampled from 1000 to 768000 Hz"), "{error}");
        }
    }
}
