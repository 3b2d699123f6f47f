//! Longer or shorter speech at the same pitch: waveform-similarity overlap-add.

use crate::units::SampleRate;

/// Length of a piece: a few periods of any voice.
const PIECE_S: f64 = 0.030;
/// How far a piece may be sought around its place: a period of a voice of 62 Hz lies within the whole reach.
const REACH_S: f64 = 0.008;
/// The first pass looks at every fourth place, the second at all around the best one.
const COARSE: usize = 4;

/// Plan for one sample rate.
///
/// Pieces under a Hann window are laid half a piece apart. Each is taken near its place in the recording, where it is
/// most like what followed the piece before it (normalised correlation), so that waves go on without a jump.
///
/// Source: W. Verhelst, M. Roelands, An overlap-add technique based on waveform similarity (WSOLA), ICASSP 1993.
/// Proof: `a_stretched_tone_keeps_its_frequency`, and those of `pitch`.
pub(super) struct Wsola {
    /// `[2 hop]`; two halves add up to one.
    window: Vec<f32>,
    hop: usize,
    reach: usize,
}

impl Wsola {
    pub(super) fn new(sample_rate: SampleRate) -> Self {
        let hop = ((PIECE_S / 2.0 * sample_rate.hz()) as usize).max(2);
        let turn = std::f64::consts::TAU / (2 * hop) as f64;
        let window = (0..2 * hop).map(|i| (0.5 - 0.5 * (turn * i as f64).cos()) as f32).collect();
        Self { window, hop, reach: (REACH_S * sample_rate.hz()) as usize }
    }

    /// `round(n ratio)` samples that sound like the `n` of `wave`, `ratio` times as long.
    pub(super) fn stretch(&self, wave: &[f32], ratio: f64) -> Vec<f32> {
        let (hop, n_out) = (self.hop, (wave.len() as f64 * ratio).round() as usize);
        // Silence on both sides: half a piece before, so that the first sample has a whole window, and room to seek after.
        let mut source = vec![0.0f32; hop];
        source.extend_from_slice(wave);
        source.resize(source.len() + 4 * hop + 2 * self.reach, 0.0);
        let last = source.len() - 3 * hop;
        let mut out = vec![0.0f32; n_out + 3 * hop];
        let mut from = 0;
        for piece in 0..=n_out / hop + 1 {
            let place = ((piece * hop) as f64 / ratio).round() as usize;
            if piece > 0 {
                // What would follow the last piece if nothing were stretched.
                let wanted = (from + hop).min(last);
                from = self.most_alike(&source, wanted, place.min(last), last);
            }
            let laid = out[piece * hop..].iter_mut().zip(&source[from..from + 2 * hop]).zip(&self.window);
            laid.for_each(|((out, sample), taper)| *out += sample * taper);
        }
        // The first sample of the wave stands half a piece into the output.
        out.drain(..hop);
        out.truncate(n_out);
        out
    }

    /// Where around `place` the source is most like itself at `wanted`.
    fn most_alike(&self, source: &[f32], wanted: usize, place: usize, last: usize) -> usize {
        let (first, end) = (place.saturating_sub(self.reach), (place + self.reach).min(last));
        let model = &source[wanted..wanted + 2 * self.hop];
        let best_of = |places: &mut dyn Iterator<Item = usize>| {
            let mut best = (f32::NEG_INFINITY, place);
            for at in places {
                let likeness = likeness(model, &source[at..at + 2 * self.hop]);
                if likeness > best.0 {
                    best = (likeness, at);
                }
            }
            best.1
        };
        let near = best_of(&mut (first..=end).step_by(COARSE));
        best_of(&mut (near.saturating_sub(COARSE - 1).max(first)..=(near + COARSE - 1).min(end)))
    }
}

/// Correlation over the square root of the candidate's energy: the model's own is the same for all.
fn likeness(model: &[f32], candidate: &[f32]) -> f32 {
    const LANES: usize = 16;
    let (mut products, mut squares) = ([0.0f32; LANES], [0.0f32; LANES]);
    for (model, candidate) in model.as_chunks::<LANES>().0.iter().zip(candidate.as_chunks::<LANES>().0) {
        for lane in 0..LANES {
            products[lane] += model[lane] * candidate[lane];
            squares[lane] += candidate[lane] * candidate[lane];
        }
    }
    products.iter().sum::<f32>() / (squares.iter().sum::<f32>() + f32::MIN_POSITIVE).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: SampleRate = SampleRate(21_500);

    fn tone(hz: f64, n: usize) -> Vec<f32> {
        (0..n).map(|i| (std::f64::consts::TAU * hz * i as f64 / RATE.hz()).sin() as f32).collect()
    }

    #[test]
    fn a_stretched_tone_keeps_its_frequency_and_its_level() {
        let wsola = Wsola::new(RATE);
        for hz in [110.0, 233.0, 1_000.0] {
            for ratio in [0.7, 0.9, 1.1, 1.5] {
                let out = wsola.stretch(&tone(hz, 21_500), ratio);
                assert_eq!(out.len(), (21_500.0 * ratio).round() as usize);
                let inner = &out[1_000..out.len() - 1_000];
                let crossings = inner.windows(2).filter(|pair| pair[0] < 0.0 && pair[1] >= 0.0).count();
                let found = crossings as f64 * RATE.hz() / inner.len() as f64;
                // One crossing more or less at the ends is 1.6 Hz.
                assert!((found - hz).abs() < 0.005 * hz + 1.7, "{hz} Hz, {ratio}: {found}");
                let power = inner.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / inner.len() as f64;
                assert!((power / 0.5 - 1.0).abs() < 0.05, "{hz} Hz, {ratio}: power {power}");
            }
        }
    }

    #[test]
    fn a_ratio_of_one_gives_the_wave_back() {
        let wave = tone(300.0, 5_000);
        let out = Wsola::new(RATE).stretch(&wave, 1.0);
        assert!(out.iter().zip(&wave).all(|(a, b)| (a - b).abs() < 1e-5));
    }

    #[test]
    fn waves_of_any_length_can_be_stretched() {
        for n in [0, 1, 2, 100, 321, 322, 323, 1_000] {
            for ratio in [0.5, 2.0] {
                let out = Wsola::new(RATE).stretch(&tone(200.0, n), ratio);
                assert_eq!(out.len(), (n as f64 * ratio).round() as usize);
                assert!(out.iter().all(|x| x.is_finite()));
            }
        }
    }
}
