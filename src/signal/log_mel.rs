//! Log-mel spectrogram of a recording: the whole front end in one pass, without an allocation.

use std::collections::BTreeMap;

use super::mel::MelBank;
use super::profile::{FrontEnd, LogScale, PowerScale};
use super::stft::{LANES, Stft, StftScratch};
use crate::error::Result;
use crate::simd::maths::ln;
use crate::simd::{Job, Lanes};

/// Plan of one front end: immutable, shared by threads.
pub struct MelPlan {
    stft: Stft,
    bands: Bands,
    /// Banks with other frequencies, by hundredths of the factor.
    warped: BTreeMap<u32, Bands>,
    log: LogScale,
    n_samples: usize,
    n_frames: usize,
    n_bins: usize,
}

/// Buffers of one thread; any plan's scratch fits that plan only.
pub struct MelScratch {
    stft: StftScratch,
    /// `[n_bins][LANES]` power spectra of a block of frames.
    power: Vec<[f32; LANES]>,
    /// `[n_mels][LANES]` their logarithms.
    logs: Vec<[f32; LANES]>,
}

/// The filter bank as the inner loop wants it: the power's scale is part of the weights.
struct Bands {
    /// First bin and number of bins of each band.
    spans: Vec<(usize, usize)>,
    /// The weights of all bands, one after the other.
    weights: Vec<f32>,
    /// Least mel power.
    floor: f32,
}

impl MelPlan {
    /// Plans a front end; errors are those of [`FrontEnd::check`].
    pub fn new(front_end: &FrontEnd) -> Result<Self> {
        let bank = MelBank::new(front_end)?;
        Ok(Self {
            stft: Stft::new(front_end),
            bands: Bands::new(&bank, front_end),
            warped: BTreeMap::new(),
            log: front_end.log,
            n_samples: front_end.n_samples,
            n_frames: front_end.n_frames(),
            n_bins: front_end.n_bins(),
        })
    }

    /// The same with banks that are warped by each of the factors, in hundredths, beside its own.
    pub fn with_warps(self, front_end: &FrontEnd, factors: &[f64]) -> Result<Self> {
        let one = |&factor: &f64| Ok((hundredths(factor), Bands::new(&MelBank::warped(front_end, factor)?, front_end)));
        Ok(Self { warped: factors.iter().map(one).collect::<Result<_>>()?, ..self })
    }

    /// Buffers for one thread.
    pub fn scratch(&self) -> MelScratch {
        MelScratch {
            stft: self.stft.scratch(),
            power: vec![[0.0; LANES]; self.n_bins],
            logs: vec![[0.0; LANES]; self.bands.spans.len()],
        }
    }

    /// Log-mel spectrogram of one conditioned wave.
    ///
    /// `wave`  `[n_samples]` mono at the front end's rate, finite.
    /// `out`   `[n_mels, n_frames]`, row 0 the lowest band; `ln(max(mel, floor))`, or decibels below the maximum.
    /// Panics  when a length is another one: the plan fixes both.
    /// Source  paper 2.2.2-2.2.6, equations 1-4; `lineage`: `librosa.power_to_db(ref=np.max)`.
    /// Proof   `log_mel_matches_the_f64_twin`, `log_mel_matches_librosa_and_torchaudio_golden`.
    pub fn log_mel(&self, wave: &[f32], scratch: &mut MelScratch, out: &mut [f32]) {
        self.log_mel_of(&self.bands, wave, scratch, out);
    }

    /// [`Self::log_mel`] through the bank that was warped by `factor`; `None` is the plain one.
    ///
    /// Proof `warped_spectrograms_match_the_f64_twin`.
    pub fn warped_log_mel(&self, factor: Option<f64>, wave: &[f32], scratch: &mut MelScratch, out: &mut [f32]) {
        let warped = |factor| self.warped.get(&hundredths(factor)).expect("every factor of the range was planned");
        self.log_mel_of(factor.map_or(&self.bands, warped), wave, scratch, out);
    }

    fn log_mel_of(&self, bands: &Bands, wave: &[f32], scratch: &mut MelScratch, out: &mut [f32]) {
        assert_eq!(wave.len(), self.n_samples, "samples of a wave");
        assert_eq!(out.len(), bands.spans.len() * self.n_frames, "values of a spectrogram");
        let MelScratch { stft, power, logs } = scratch;
        self.each_block(wave, stft, power, |first_frame, n_lanes, power| {
            let rows = out.chunks_exact_mut(self.n_frames);
            let Some(power) = power else {
                let silence = ln(bands.floor);
                rows.for_each(|row| row[first_frame..first_frame + n_lanes].fill(silence));
                return;
            };
            self.stft.isa.run(LogMel { bands, power, logs });
            for (row, logs) in rows.zip(&*logs) {
                match row[first_frame..].first_chunk_mut() {
                    // Of a length that is known, this is one store and no call.
                    Some(whole) => *whole = *logs,
                    None => row[first_frame..].copy_from_slice(&logs[..n_lanes]),
                }
            }
        });
        if let LogScale::DecibelsBelowMax { top_db, .. } = self.log {
            decibels_below_max(out, top_db as f32);
        }
    }

    /// The power spectra of one wave alone, left in the scratch: the first half of [`MelPlan::log_mel`], for measurements.
    pub fn power(&self, wave: &[f32], scratch: &mut MelScratch) {
        assert_eq!(wave.len(), self.n_samples, "samples of a wave");
        self.each_block(wave, &mut scratch.stft, &mut scratch.power, |_, _, _| {});
    }

    /// Hands each block of frames to `sink`: its first frame, its frames, and their powers unless they are all zero.
    fn each_block(
        &self,
        wave: &[f32],
        scratch: &mut StftScratch,
        power: &mut [[f32; LANES]],
        mut sink: impl FnMut(usize, usize, Option<&[[f32; LANES]]>),
    ) {
        for first_frame in (0..self.n_frames).step_by(LANES) {
            let n_lanes = LANES.min(self.n_frames - first_frame);
            let is_heard = self.stft.power(wave, first_frame, n_lanes, scratch, power);
            sink(first_frame, n_lanes, is_heard.then_some(&*power));
        }
    }
}

fn hundredths(factor: f64) -> u32 {
    (factor * 100.0).round() as u32
}

/// From natural logarithms to decibels below the greatest one, at least `-top_db`.
fn decibels_below_max(logs: &mut [f32], top_db: f32) {
    const DECIBELS: f32 = 10.0 / std::f32::consts::LN_10;
    let greatest = logs.iter().copied().fold(f32::MIN, f32::max);
    for value in logs {
        *value = ((*value - greatest) * DECIBELS).max(-top_db);
    }
}

impl Bands {
    fn new(bank: &MelBank, front_end: &FrontEnd) -> Self {
        let scale = match front_end.power {
            PowerScale::OverNFft => 1.0 / front_end.n_fft as f64,
            PowerScale::Plain => 1.0,
        };
        let rows = bank.rows();
        Self {
            spans: rows.iter().map(|row| (row.first_bin, row.weights.len())).collect(),
            weights: rows.iter().flat_map(|row| &row.weights).map(|weight| (weight * scale) as f32).collect(),
            floor: match front_end.log {
                LogScale::Natural { floor } => floor as f32,
                LogScale::DecibelsBelowMax { amin, .. } => amin as f32,
            },
        }
    }

    /// `ln(max(weights x power, floor))` of a block of frames, one frame per lane.
    #[inline(always)]
    fn log_mel_inline(&self, power: &[[f32; LANES]], logs: &mut [[f32; LANES]]) {
        let mut weights = self.weights.as_slice();
        for (&(first_bin, n_bins), logs) in self.spans.iter().zip(logs) {
            let (own, rest) = weights.split_at(n_bins);
            weights = rest;
            let mut mel = [0.0f32; LANES];
            for (weight, power) in own.iter().zip(&power[first_bin..]) {
                for lane in 0..LANES {
                    mel[lane] += weight * power[lane];
                }
            }
            for lane in 0..LANES {
                // Not f32::max, which asks for NaN to be passed over and costs twice as much.
                logs[lane] = ln(if mel[lane] > self.floor { mel[lane] } else { self.floor });
            }
        }
    }
}

/// [`Bands::log_mel_inline`] of a block of frames.
struct LogMel<'a> {
    bands: &'a Bands,
    power: &'a [[f32; LANES]],
    logs: &'a mut [[f32; LANES]],
}

impl Job for LogMel<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, _: L) {
        self.bands.log_mel_inline(self.power, self.logs);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::profile::{MelNorm, MelScale, PROFILES, Window, profile};
    use crate::signal::twin;
    use crate::simd::Isa;
    use crate::units::{SampleRate, Seed};

    /// Noise that swells and fades, with zeros on the right.
    fn wave(seed: u64, n_samples: usize) -> Vec<f32> {
        let valid = n_samples * 4 / 5;
        let swell = |i: usize| (i as f64 * 0.001).sin();
        let value = |i: usize| (Seed(seed).normal_pair(i as u64).0 * swell(i)) as f32;
        (0..n_samples).map(|i| if i < valid { value(i) } else { 0.0 }).collect()
    }

    fn dirty(plan: &MelPlan) -> MelScratch {
        let mut scratch = plan.scratch();
        scratch.power.fill([f32::NAN; LANES]);
        scratch.logs.fill([3e30; LANES]);
        scratch
    }

    fn spectrogram(plan: &MelPlan, wave: &[f32], scratch: &mut MelScratch) -> Vec<f32> {
        let mut out = vec![f32::NAN; plan.bands.spans.len() * plan.n_frames];
        plan.log_mel(wave, scratch, &mut out);
        out
    }

    fn worst(values: &[f32], expected: &[f64]) -> f64 {
        assert_eq!(values.len(), expected.len());
        values.iter().zip(expected).map(|(&a, b)| (f64::from(a) - b).abs()).fold(0.0, f64::max)
    }

    #[test]
    fn log_mel_matches_the_f64_twin() {
        for known in PROFILES {
            let mut scratch = None;
            for n_samples in [1, 127, 128, 1_920, 2_047, 2_048, 4_500, 9_001] {
                let front_end = FrontEnd { n_samples, ..known.front_end.clone() };
                let plan = MelPlan::new(&front_end).expect("valid");
                // The next length works in the buffers that the last one left behind.
                let scratch = scratch.get_or_insert_with(|| dirty(&plan));
                let wave = wave(n_samples as u64, n_samples);
                let error = worst(&spectrogram(&plan, &wave, scratch), &twin::log_mel(&wave, &front_end));
                // Worst where a band holds a thousandth of the amplitude of its frame: f32 errs by 1e-7 of that.
                assert!(error < 1e-3, "{}, {n_samples} samples: {error}", known.name);
            }
        }
    }

    #[test]
    fn log_mel_matches_the_f64_twin_for_other_shapes() {
        let paper = profile("paper").expect("known");
        let other = FrontEnd {
            sample_rate: SampleRate(16_000),
            n_samples: 3_333,
            n_fft: 400,
            window_length: 399,
            hop: 160,
            window: Window::HammingPeriodic,
            n_mels: 23,
            mel_scale: MelScale::Slaney,
            mel_norm: MelNorm::SlaneyArea,
            fmin_hz: 50.0,
            fmax_hz: 7_600.0,
            ..paper
        };
        let plan = MelPlan::new(&other).expect("valid");
        let wave = wave(5, 3_333);
        let error = worst(&spectrogram(&plan, &wave, &mut dirty(&plan)), &twin::log_mel(&wave, &other));
        assert!(error < 1e-3, "{error}");
    }

    #[test]
    fn warped_spectrograms_match_the_f64_twin() {
        for name in ["paper", "full-rank-16k"] {
            let front_end = FrontEnd { n_samples: 3_000, ..profile(name).expect("known") };
            let plan = MelPlan::new(&front_end).and_then(|plan| plan.with_warps(&front_end, &[0.9, 1.07]));
            let (plan, wave) = (plan.expect("valid"), wave(6, 3_000));
            let mut out = vec![0.0; front_end.n_mels * front_end.n_frames()];
            let plain = spectrogram(&plan, &wave, &mut dirty(&plan));
            for factor in [0.9, 1.07] {
                plan.warped_log_mel(Some(factor), &wave, &mut dirty(&plan), &mut out);
                let error = worst(&out, &twin::warped_log_mel(&wave, &front_end, factor));
                assert!(error < 1e-3, "{name}, {factor}: {error}");
                assert!(worst(&out, &twin::warped_log_mel(&wave, &front_end, factor + 0.01)) > 0.1, "another factor");
            }
            plan.warped_log_mel(None, &wave, &mut dirty(&plan), &mut out);
            assert_eq!(out, plain);
        }
    }

    #[test]
    fn a_warped_bank_hears_a_tone_where_the_plain_one_hears_the_warped_tone() {
        let front_end = profile("full-rank-16k").expect("known");
        let factors = [0.9, 1.1];
        let plan = MelPlan::new(&front_end).and_then(|plan| plan.with_warps(&front_end, &factors)).expect("valid");
        let loudest = |hz: f64, factor: Option<f64>| {
            let wave: Vec<f32> = (0..front_end.n_samples)
                .map(|i| (std::f64::consts::TAU * hz * i as f64 / 16_000.0).sin() as f32)
                .collect();
            let mut out = vec![0.0; 128 * 508];
            plan.warped_log_mel(factor, &wave, &mut plan.scratch(), &mut out);
            let at = |band: usize| out[band * 508 + 200];
            (0..128).max_by(|&a, &b| at(a).total_cmp(&at(b))).expect("bands")
        };
        for factor in factors {
            for hz in [800.0, 1_500.0, 3_000.0, 4_200.0, 6_500.0] {
                let warped = crate::signal::mel::warped_hz(hz, factor, SampleRate(16_000));
                let (moved, plain) = (loudest(warped, Some(factor)), loudest(hz, None));
                assert!(moved.abs_diff(plain) <= 1, "{factor}, {hz} Hz: band {moved} and {plain}");
                assert_ne!(loudest(hz, Some(factor)), plain, "the tone itself lies elsewhere");
            }
        }
    }

    #[test]
    fn empty_bands_and_padding_are_exactly_the_floor() {
        let paper = profile("paper").expect("known");
        let plan = MelPlan::new(&paper).expect("valid");
        let out = spectrogram(&plan, &wave(1, paper.n_samples), &mut dirty(&plan));
        let floor = ln(1e-10);
        assert!((f64::from(floor) - 1e-10f64.ln()).abs() < 1e-6);
        for mel in [0, 3, 10] {
            assert!(out[mel * 508..(mel + 1) * 508].iter().all(|&value| value == floor), "row {mel}");
        }
        // Samples from 52,000 on are padding; frame 408 begins at 52,096.
        assert!(out.chunks_exact(508).all(|row| row[408..].iter().all(|&value| value == floor)));
        assert!(out[20 * 508..20 * 508 + 400].iter().all(|&value| value > floor));
    }

    #[test]
    fn decibels_lie_between_minus_80_and_a_maximum_of_0() {
        let lineage = profile("lineage").expect("known");
        let plan = MelPlan::new(&lineage).expect("valid");
        let out = spectrogram(&plan, &wave(2, lineage.n_samples), &mut dirty(&plan));
        assert_eq!(out.iter().copied().fold(f32::MIN, f32::max), 0.0);
        assert_eq!(out.iter().copied().fold(f32::MAX, f32::min), -80.0);
        let silent = spectrogram(&plan, &vec![0.0; lineage.n_samples], &mut dirty(&plan));
        assert!(silent.iter().all(|&value| value == 0.0), "as librosa: nothing is below a maximum of amin");
    }

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        for known in PROFILES {
            let mut plan = MelPlan::new(&known.front_end).expect("valid");
            let wave = wave(3, known.front_end.n_samples);
            let fast = spectrogram(&plan, &wave, &mut dirty(&plan));
            for isa in Isa::available() {
                plan.stft.isa = isa;
                assert_eq!(fast, spectrogram(&plan, &wave, &mut dirty(&plan)), "{}, {isa:?}", known.name);
            }
        }
    }

    #[test]
    fn one_plan_serves_many_threads_with_the_same_bits() {
        let paper = profile("paper").expect("known");
        let plan = MelPlan::new(&paper).expect("valid");
        let waves: Vec<Vec<f32>> = (0..4).map(|seed| wave(seed, paper.n_samples)).collect();
        let mut scratch = plan.scratch();
        let alone: Vec<Vec<f32>> = waves.iter().map(|wave| spectrogram(&plan, wave, &mut scratch)).collect();
        let together: Vec<Vec<f32>> = std::thread::scope(|scope| {
            let plan = &plan;
            let threads: Vec<_> =
                waves.iter().map(|wave| scope.spawn(move || spectrogram(plan, wave, &mut dirty(plan)))).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        assert_eq!(alone, together);
    }
}
