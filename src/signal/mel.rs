//! The mel filter bank, stored sparsely, and its own account of the bands that do not work.

use super::profile::{FrontEnd, MelNorm, MelScale};
use crate::error::Result;
use crate::units::SampleRate;

/// One band's triangle: the bins where it is above zero.
#[derive(Clone, Debug, PartialEq)]
pub struct MelRow {
    /// First bin with a weight; 0 when the row is empty.
    pub first_bin: usize,
    /// Weights of `first_bin..`, all above zero; none when no bin lies inside the triangle.
    pub weights: Vec<f64>,
}

/// `[n_mels, n_bins]` triangles over the bins of a power spectrum, row 0 the lowest band.
///
/// Source  paper, equation 4; `librosa.filters.mel` with `htk` and `norm` set alike.
/// Proof   `the_sparse_bank_is_the_dense_twin`, `log_mel_matches_librosa_and_torchaudio_golden`.
pub struct MelBank {
    n_bins: usize,
    rows: Vec<MelRow>,
}

/// What is wrong with a bank, if anything.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnosis {
    pub n_mels: usize,
    /// Bands without a bin: always at the floor.
    pub empty_rows: Vec<usize>,
    /// Bands that see one bin only; two such bands on the same bin say the same thing.
    pub n_single_bin_rows: usize,
    /// Bands that are linearly independent.
    pub rank: usize,
}

impl MelBank {
    /// Builds the bank; errors are those of [`FrontEnd::check`].
    pub fn new(front_end: &FrontEnd) -> Result<Self> {
        Self::of_edges(front_end, &edges_hz(front_end))
    }

    /// The bank with all its edges warped, as of speakers with another vocal tract.
    ///
    /// Source: as [`warped_hz`]. Proof: `warped_banks_are_the_dense_twins`.
    pub fn warped(front_end: &FrontEnd, factor: f64) -> Result<Self> {
        let edges = edges_hz(front_end).into_iter().map(|hz| warped_hz(hz, factor, front_end.sample_rate));
        Self::of_edges(front_end, &edges.collect::<Vec<_>>())
    }

    fn of_edges(front_end: &FrontEnd, edges: &[f64]) -> Result<Self> {
        front_end.check()?;
        let bin_hz = front_end.sample_rate.hz() / front_end.n_fft as f64;
        let rows = edges.windows(3).map(|edges| row(edges, front_end.mel_norm, bin_hz, front_end.n_bins())).collect();
        Ok(Self { n_bins: front_end.n_bins(), rows })
    }

    /// The bands from low to high.
    pub fn rows(&self) -> &[MelRow] {
        &self.rows
    }

    /// Bands without a bin.
    pub fn empty_rows(&self) -> Vec<usize> {
        self.rows_with(0)
    }

    /// Bands with exactly one bin.
    pub fn single_bin_rows(&self) -> Vec<usize> {
        self.rows_with(1)
    }

    /// What is wrong with the bank.
    pub fn diagnosis(&self) -> Diagnosis {
        Diagnosis {
            n_mels: self.rows.len(),
            empty_rows: self.empty_rows(),
            n_single_bin_rows: self.single_bin_rows().len(),
            rank: self.rank(),
        }
    }

    fn rows_with(&self, n_bins: usize) -> Vec<usize> {
        (0..self.rows.len()).filter(|&mel| self.rows[mel].weights.len() == n_bins).collect()
    }

    /// Number of independent rows, by Gaussian elimination on rows of greatest weight 1.
    fn rank(&self) -> usize {
        // Independent rows of a bank keep pivots far above this; rounding leaves dependent ones far below.
        const ZERO: f64 = 1e-9;
        let mut rows: Vec<Vec<f64>> = self.rows.iter().map(|row| dense_of_peak_one(row, self.n_bins)).collect();
        let mut rank = 0;
        for bin in 0..self.n_bins {
            let below = rank..rows.len();
            let Some(pivot) = below.max_by(|&a, &b| rows[a][bin].abs().total_cmp(&rows[b][bin].abs())) else { break };
            if rows[pivot][bin].abs() < ZERO {
                continue;
            }
            rows.swap(rank, pivot);
            let (done, rest) = rows.split_at_mut(rank + 1);
            let pivot = &done[rank];
            for row in rest.iter_mut().filter(|row| row[bin] != 0.0) {
                let factor = row[bin] / pivot[bin];
                row.iter_mut().zip(pivot).skip(bin).for_each(|(value, pivot)| *value -= factor * pivot);
            }
            rank += 1;
        }
        rank
    }
}

impl Diagnosis {
    /// One line about bands that do not work; nothing when every band is of its own.
    pub fn note(&self) -> Option<String> {
        if self.empty_rows.is_empty() && self.rank == self.n_mels {
            return None;
        }
        let empty: Vec<String> = self.empty_rows.iter().map(usize::to_string).collect();
        let which = if empty.is_empty() { String::new() } else { format!(" (rows {})", empty.join(", ")) };
        Some(format!(
            "the mel bank has rank {} of {}: {} bands without an FFT bin{which}, {} with a single one",
            self.rank,
            self.n_mels,
            empty.len(),
            self.n_single_bin_rows
        ))
    }
}

/// `[n_mels]` frequencies in Hz at which the bands' triangles peak, lowest first.
pub fn band_centres_hz(front_end: &FrontEnd) -> Vec<f64> {
    edges_hz(front_end)[1..=front_end.n_mels].to_vec()
}

/// Up to here formants lie, which move together; less where the rate does not reach so far.
const HIGHEST_FORMANT_HZ: f64 = 4_800.0;
/// The same as a share of half the rate, at most: above it there must be room for the rest.
const HIGHEST_FORMANT_SHARE: f64 = 0.6;

/// Where a frequency lies after a warp by `factor`: multiplied by it up to the highest formant (before the warp or after it,
/// whichever is lower), then on a straight line to half the rate, which stays where it is.
///
/// Source  N. Jaitly, G. Hinton, Vocal tract length perturbation (VTLP) improves speech recognition, ICML workshop 2013,
/// section 3: `F_hi` of 4,800 Hz at 16 kHz.
/// Proof   `a_warp_by_hand`.
pub fn warped_hz(hz: f64, factor: f64, rate: SampleRate) -> f64 {
    let nyquist = rate.hz() / 2.0;
    let highest = HIGHEST_FORMANT_HZ.min(HIGHEST_FORMANT_SHARE * nyquist) * factor.min(1.0);
    let knee = highest / factor;
    if hz <= knee { hz * factor } else { nyquist - (nyquist - highest) / (nyquist - knee) * (nyquist - hz) }
}

/// `n_mels + 2` frequencies, equally spaced on the mel scale: each band's lower edge, centre and upper edge.
fn edges_hz(front_end: &FrontEnd) -> Vec<f64> {
    let scale = front_end.mel_scale;
    let (low, high) = (to_mel(scale, front_end.fmin_hz), to_mel(scale, front_end.fmax_hz));
    let step = (high - low) / (front_end.n_mels + 1) as f64;
    (0..front_end.n_mels + 2).map(|edge| to_hz(scale, low + step * edge as f64)).collect()
}

fn row(edges: &[f64], norm: MelNorm, bin_hz: f64, n_bins: usize) -> MelRow {
    let &[low, centre, high] = edges else { unreachable!("windows of three") };
    let height = match norm {
        MelNorm::Peak => 1.0,
        MelNorm::SlaneyArea => 2.0 / (high - low),
    };
    let weight = |bin: usize| {
        let hz = bin as f64 * bin_hz;
        height * ((hz - low) / (centre - low)).min((high - hz) / (high - centre))
    };
    let inside: Vec<usize> = (0..n_bins).filter(|&bin| weight(bin) > 0.0).collect();
    MelRow { first_bin: inside.first().copied().unwrap_or(0), weights: inside.into_iter().map(weight).collect() }
}

fn dense_of_peak_one(row: &MelRow, n_bins: usize) -> Vec<f64> {
    let peak = row.weights.iter().copied().fold(0.0, f64::max);
    let mut dense = vec![0.0; n_bins];
    for (value, weight) in dense[row.first_bin..].iter_mut().zip(&row.weights) {
        *value = weight / peak;
    }
    dense
}

/// Slaney's scale: 3 mel per 200 Hz up to 1 kHz, then 27 mel per factor of 6.4.
const SLANEY_HZ_PER_MEL: f64 = 200.0 / 3.0;
const SLANEY_KNEE_HZ: f64 = 1000.0;
const SLANEY_KNEE_MEL: f64 = SLANEY_KNEE_HZ / SLANEY_HZ_PER_MEL;

fn slaney_log_step() -> f64 {
    6.4f64.ln() / 27.0
}

fn to_mel(scale: MelScale, hz: f64) -> f64 {
    match scale {
        MelScale::Htk => 2595.0 * (1.0 + hz / 700.0).log10(),
        MelScale::Slaney if hz < SLANEY_KNEE_HZ => hz / SLANEY_HZ_PER_MEL,
        MelScale::Slaney => SLANEY_KNEE_MEL + (hz / SLANEY_KNEE_HZ).ln() / slaney_log_step(),
    }
}

fn to_hz(scale: MelScale, mel: f64) -> f64 {
    match scale {
        MelScale::Htk => 700.0 * (10f64.powf(mel / 2595.0) - 1.0),
        MelScale::Slaney if mel < SLANEY_KNEE_MEL => mel * SLANEY_HZ_PER_MEL,
        MelScale::Slaney => SLANEY_KNEE_HZ * ((mel - SLANEY_KNEE_MEL) * slaney_log_step()).exp(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::profile::{PROFILES, profile};
    use crate::signal::twin;
    use crate::units::SampleRate;

    fn bank(name: &str) -> MelBank {
        MelBank::new(&profile(name).expect("known")).expect("valid")
    }

    #[test]
    fn mel_scales_by_hand() {
        // Both scales are made so that 1 kHz is a round number: 1000 (to 2e-5) and 15 mel.
        assert!((to_mel(MelScale::Htk, 1000.0) - 999.985_537).abs() < 1e-6);
        assert!((to_mel(MelScale::Htk, 6300.0) - 2595.0).abs() < 1e-9);
        assert!((to_mel(MelScale::Slaney, 1000.0) - 15.0).abs() < 1e-12);
        assert_eq!(to_mel(MelScale::Slaney, 200.0), 3.0);
        assert!((to_mel(MelScale::Slaney, 6400.0) - 42.0).abs() < 1e-12);
        for scale in [MelScale::Htk, MelScale::Slaney] {
            for hz in [0.0, 10.0, 999.0, 1000.0, 1001.0, 4000.0, 10_750.0] {
                assert!((to_hz(scale, to_mel(scale, hz)) - hz).abs() < 1e-9, "{scale:?} {hz}");
            }
        }
    }

    #[test]
    fn a_small_bank_by_hand() {
        // Slaney's scale is linear below 1 kHz: edges at 0, 200, 400, 600 Hz; bins every 100 Hz.
        let front_end = FrontEnd {
            sample_rate: SampleRate(2000),
            n_fft: 20,
            window_length: 20,
            hop: 10,
            n_mels: 2,
            mel_scale: MelScale::Slaney,
            fmax_hz: 600.0,
            ..profile("paper").expect("known")
        };
        let rows = |norm| MelBank::new(&FrontEnd { mel_norm: norm, ..front_end.clone() }).expect("valid").rows;
        let close = |row: &MelRow, first_bin, weights: [f64; 3]| {
            row.first_bin == first_bin
                && row.weights.len() == 3
                && row.weights.iter().zip(weights).all(|(a, b)| (a - b).abs() < 1e-12)
        };
        let peak = rows(MelNorm::Peak);
        assert!(close(&peak[0], 1, [0.5, 1.0, 0.5]) && close(&peak[1], 3, [0.5, 1.0, 0.5]), "{peak:?}");
        // Area 1 over 400 Hz: height 2 / 400.
        assert!(close(&rows(MelNorm::SlaneyArea)[1], 3, [0.0025, 0.005, 0.0025]));
    }

    #[test]
    fn the_sparse_bank_is_the_dense_twin() {
        for known in PROFILES {
            let bank = MelBank::new(&known.front_end).expect("valid");
            let dense = twin::dense_bank(&known.front_end);
            for (row, expected) in bank.rows.iter().zip(&dense) {
                for (bin, &expected) in expected.iter().enumerate() {
                    let weight = bin.checked_sub(row.first_bin).and_then(|at| row.weights.get(at)).unwrap_or(&0.0);
                    assert!((weight - expected).abs() < 1e-12, "{}, bin {bin}", known.name);
                }
            }
            assert_eq!(bank.rows.len(), dense.len());
        }
    }

    #[test]
    fn the_papers_bank_has_3_empty_rows_and_29_of_a_single_bin() {
        let expected = Diagnosis { n_mels: 128, empty_rows: vec![0, 3, 10], n_single_bin_rows: 29, rank: 111 };
        assert_eq!(bank("paper").diagnosis(), expected);
        assert_eq!(
            expected.note().as_deref(),
            Some("the mel bank has rank 111 of 128: 3 bands without an FFT bin (rows 0, 3, 10), 29 with a single one")
        );
    }

    #[test]
    fn the_lineage_bank_has_8_empty_rows_and_73_of_a_single_bin() {
        let diagnosis = bank("lineage").diagnosis();
        assert_eq!(diagnosis.empty_rows, [0, 7, 14, 21, 28, 37, 44, 51]);
        assert_eq!((diagnosis.n_single_bin_rows, diagnosis.rank), (73, 84));
    }

    #[test]
    fn the_full_rank_banks_have_full_rank_reach_8_khz_and_have_nothing_to_say() {
        let names = ["full-rank", "full-rank-16k", "full-rank-16k-wide", "full-rank-22k", "speech-64", "speech-128"];
        for name in names {
            let diagnosis = bank(name).diagnosis();
            let n_mels = profile(name).expect("known").n_mels;
            assert_eq!((diagnosis.rank, diagnosis.empty_rows.len()), (n_mels, 0), "{name}");
            assert_eq!(diagnosis.note(), None);
            assert!(profile(name).expect("known").fmax_hz >= 8_000.0);
        }
    }

    #[test]
    fn band_centres_are_the_peaks_of_the_triangles() {
        let front_end = profile("full-rank").expect("known");
        let centres = band_centres_hz(&front_end);
        let bin_hz = front_end.sample_rate.hz() / front_end.n_fft as f64;
        for (centre, row) in centres.iter().zip(bank("full-rank").rows()) {
            let heaviest = (0..row.weights.len()).max_by(|&a, &b| row.weights[a].total_cmp(&row.weights[b]));
            let peak_hz = (row.first_bin + heaviest.expect("no band is empty")) as f64 * bin_hz;
            assert!((centre - peak_hz).abs() <= bin_hz, "{centre} and {peak_hz}");
        }
        assert!(centres.is_sorted() && centres.len() == 128);
    }

    #[test]
    fn a_warp_by_hand() {
        let at = |hz: f64, factor: f64| warped_hz(hz, factor, SampleRate(16_000));
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        // Down: 4,800 Hz become 4,320; between them and 8,000 Hz a line of slope 3,680 / 3,200.
        assert!(close(at(1_000.0, 0.9), 900.0) && close(at(4_800.0, 0.9), 4_320.0));
        assert!(close(at(6_400.0, 0.9), 4_320.0 + 1_600.0 * 3_680.0 / 3_200.0));
        // Up: what becomes 4,800 Hz is 4,363.6.
        assert!(close(at(1_000.0, 1.1), 1_100.0) && close(at(4_800.0 / 1.1, 1.1), 4_800.0));
        for factor in [0.8, 0.9, 1.0, 1.1, 1.25] {
            assert!(close(at(0.0, factor), 0.0) && close(at(8_000.0, factor), 8_000.0));
            let warped: Vec<f64> = (0..=800).map(|i| at(f64::from(i) * 10.0, factor)).collect();
            assert!(warped.windows(2).all(|pair| pair[0] < pair[1]), "{factor}: frequencies keep their order");
        }
        assert!(close(warped_hz(2_400.0, 0.9, SampleRate(8_000)), 2_160.0), "0.6 of half the rate");
        assert!(close(at(3_333.0, 1.0), 3_333.0) && close(at(7_777.0, 1.0), 7_777.0));
    }

    #[test]
    fn warped_banks_are_the_dense_twins() {
        for known in PROFILES {
            for factor in [0.9, 0.97, 1.0, 1.1] {
                let bank = MelBank::warped(&known.front_end, factor).expect("valid");
                let dense = twin::warped_bank(&known.front_end, factor);
                for (row, expected) in bank.rows.iter().zip(&dense) {
                    for (bin, &expected) in expected.iter().enumerate() {
                        let weight = bin.checked_sub(row.first_bin).and_then(|at| row.weights.get(at)).unwrap_or(&0.0);
                        assert!((weight - expected).abs() < 1e-11, "{}, {factor}, bin {bin}", known.name);
                    }
                }
            }
        }
    }

    #[test]
    fn a_bank_that_cannot_be_is_refused() {
        assert!(MelBank::new(&FrontEnd { n_mels: 0, ..profile("paper").expect("known") }).is_err());
    }
}
