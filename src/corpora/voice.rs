//! The synthetic voice: glottal pulses and noise through moving formants (source and filter, Fant 1960; Klatt 1980).

use std::f64::consts::{PI, TAU};

use super::dice::Dice;
use super::prosody::{CONTROL_RATE_HZ, Control, N_FORMANTS, Score, score};
use super::synthetic::Utterance;
use crate::units::{SampleRate, Seed};

/// Nothing is louder than this, of full scale.
const PEAK: f64 = 0.89;
/// Bandwidths of the formants.
const BANDWIDTHS_HZ: [f64; N_FORMANTS] = [70.0, 90.0, 140.0, 220.0, 300.0];
/// Resonators above this share of the sample rate are left out.
const HIGHEST_RESONANCE: f64 = 0.45;

/// One utterance as mono samples in `(-0.9, 0.9)` at `rate`, 1.5 to 3.5 s, the first 0.5 s a low noise floor.
///
/// A pure function of its arguments: `seed` is the corpus's, speakers and takes differ by their numbers.
/// Proof   `synthesis_is_a_pure_function_of_its_arguments`, `synthetic_emotions_differ_as_the_literature_says`.
pub fn synthesise(seed: Seed, utterance: &Utterance, rate: SampleRate) -> Vec<f32> {
    let score = score(seed, utterance);
    let noise = utterance.seed(seed, "synthetic noise");
    let speech = speak(&score, noise, rate);
    with_level_and_floor(&score, &speech, noise, rate)
}

/// The speech at an arbitrary level, without the noise floor.
fn speak(score: &Score, noise: Seed, rate: SampleRate) -> Vec<f64> {
    let n_samples = (score.frames.len() as f64 / CONTROL_RATE_HZ * rate.hz()) as usize;
    let frames_per_sample = CONTROL_RATE_HZ / rate.hz();
    let mut source = Source::new(score, noise, rate);
    let mut tract = [Resonator::default(); N_FORMANTS];
    let mut hiss = Resonator::default();
    let mut tuned_for = usize::MAX;
    (0..n_samples)
        .map(|n| {
            let place = n as f64 * frames_per_sample;
            let at = place as usize;
            let frame = &score.frames[at];
            if at != tuned_for {
                tuned_for = at;
                for (i, resonator) in tract.iter_mut().enumerate() {
                    resonator.tune(frame.formants_hz[i], BANDWIDTHS_HZ[i], rate);
                }
                hiss.tune(frame.hiss_hz, 0.3 * frame.hiss_hz, rate);
            }
            let control = between(frame, &score.frames[(at + 1).min(score.frames.len() - 1)], place - at as f64);
            let white = 2.0 * noise.unit(n as u64) - 1.0;
            let excitation = source.next(&control, white);
            let vowel = tract.iter_mut().fold(excitation, |wave, resonator| resonator.next(wave));
            vowel + hiss.next(white * control.hiss)
        })
        .collect()
}

/// The controls that change within a frame, interpolated; formants step from frame to frame.
fn between(frame: &Control, next: &Control, share: f64) -> Control {
    let mix = |a: f64, b: f64| a + (b - a) * share;
    Control {
        f0_hz: mix(frame.f0_hz, next.f0_hz),
        voice: mix(frame.voice, next.voice),
        breath: mix(frame.breath, next.breath),
        hiss: mix(frame.hiss, next.hiss),
        ..*frame
    }
}

/// The glottis: pulses with jitter, shimmer and creak, breath noise, and a low-pass for the spectral tilt.
struct Source<'a> {
    score: &'a Score,
    dice: Dice,
    seconds_per_sample: f64,
    /// Position in the current period, 0 to 1, and what this period's chance made of it.
    phase: f64,
    speed: f64,
    strength: f64,
    odd: bool,
    low_pass: [f64; 2],
    keep: f64,
}

impl<'a> Source<'a> {
    fn new(score: &'a Score, noise: Seed, rate: SampleRate) -> Self {
        let cutoff = score.tilt_hz.min(HIGHEST_RESONANCE * rate.hz());
        Self {
            score,
            dice: Dice::new(noise.derive("pulses", &[])),
            seconds_per_sample: 1.0 / rate.hz(),
            phase: 0.0,
            speed: 1.0,
            strength: 1.0,
            odd: false,
            low_pass: [0.0; 2],
            keep: (-TAU * cutoff / rate.hz()).exp(),
        }
    }

    fn next(&mut self, control: &Control, white: f64) -> f64 {
        self.phase += control.f0_hz * self.speed * self.seconds_per_sample;
        if self.phase >= 1.0 {
            self.phase -= 1.0;
            self.odd = !self.odd;
            self.speed = 1.0 + (self.score.jitter * self.dice.normal()).clamp(-0.3, 0.3);
            let creak = if self.odd { 1.0 - self.score.creak } else { 1.0 };
            self.strength = creak * (1.0 + (self.score.shimmer * self.dice.normal()).clamp(-0.5, 0.5));
        }
        let (pulse, open) = rosenberg(self.phase, self.score.open_quotient);
        // Two gentle poles: the first alone would leave a soft voice brighter than it is.
        let mut wave = pulse * self.strength * control.voice;
        for state in &mut self.low_pass {
            *state = self.keep * *state + (1.0 - self.keep) * wave;
            wave = *state;
        }
        wave + white * control.breath * if open { 1.0 } else { 0.4 }
    }
}

/// Derivative of a Rosenberg (1971) C pulse at `phase` of the period, most negative -1 at closure, and whether the
/// glottis is open; opening takes 70 % of the open phase.
fn rosenberg(phase: f64, open_quotient: f64) -> (f64, bool) {
    let opening = 0.7 * open_quotient;
    let closing = 0.3 * open_quotient;
    if phase < opening {
        ((closing / opening) * (PI * phase / opening).sin(), true)
    } else if phase < open_quotient {
        (-(0.5 * PI * (phase - opening) / closing).sin(), true)
    } else {
        (0.0, false)
    }
}

/// Two-pole resonator with gain 1 at 0 Hz (Klatt 1980, eq. 1); at rest it passes its input.
#[derive(Clone, Copy)]
struct Resonator {
    gain: f64,
    feedback: [f64; 2],
    state: [f64; 2],
}

impl Default for Resonator {
    fn default() -> Self {
        Self { gain: 1.0, feedback: [0.0; 2], state: [0.0; 2] }
    }
}

impl Resonator {
    fn tune(&mut self, centre_hz: f64, bandwidth_hz: f64, rate: SampleRate) {
        if centre_hz > HIGHEST_RESONANCE * rate.hz() {
            (self.gain, self.feedback) = (1.0, [0.0; 2]);
            return;
        }
        let radius = (-PI * bandwidth_hz / rate.hz()).exp();
        self.feedback = [2.0 * radius * (TAU * centre_hz / rate.hz()).cos(), -radius * radius];
        self.gain = 1.0 - self.feedback[0] - self.feedback[1];
    }

    fn next(&mut self, input: f64) -> f64 {
        let [newer, older] = self.state;
        let output = self.gain * input + self.feedback[0] * newer + self.feedback[1] * older;
        self.state = [output, newer];
        output
    }
}

/// Scales the spoken part to its level, keeps the peak in range, adds the noise floor.
fn with_level_and_floor(score: &Score, speech: &[f64], noise: Seed, rate: SampleRate) -> Vec<f32> {
    let sample_at = |frame: usize| ((frame as f64 / CONTROL_RATE_HZ * rate.hz()) as usize).min(speech.len());
    let spoken = &speech[sample_at(score.spoken.start)..sample_at(score.spoken.end)];
    let power = spoken.iter().map(|x| x * x).sum::<f64>() / spoken.len().max(1) as f64;
    let peak = speech.iter().fold(0f64, |peak, x| peak.max(x.abs()));
    let floor = 10f64.powf(score.floor_db / 20.0) * 3f64.sqrt();
    let gain = (10f64.powf(score.level_db / 20.0) / power.sqrt()).min((PEAK - floor) / peak);
    let floor_noise = noise.derive("floor", &[]);
    let sample = |(n, wave): (usize, &f64)| (gain * wave + floor * (2.0 * floor_noise.unit(n as u64) - 1.0)) as f32;
    speech.iter().enumerate().map(sample).collect()
}

#[cfg(test)]
mod tests {
    use super::super::synthetic::design;
    use super::*;
    use crate::corpora::acted::Emotion;

    const RATE: SampleRate = SampleRate(16_000);

    fn rms(wave: &[f32]) -> f64 {
        (wave.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / wave.len() as f64).sqrt()
    }

    fn say(emotion: Emotion, speaker: usize, statement: usize) -> Vec<f32> {
        synthesise(Seed(1), &Utterance::new(speaker, emotion, statement, 1), RATE)
    }

    /// Mean of a measure of an utterance's score over 6 speakers and 4 statements.
    fn mean(emotion: Emotion, measure: impl Fn(&Score) -> f64) -> f64 {
        let utterances = design(6, 4, 1);
        let measured: Vec<f64> = utterances
            .iter()
            .filter(|utterance| utterance.emotion == emotion)
            .map(|utterance| measure(&score(Seed(1), utterance)))
            .collect();
        measured.iter().sum::<f64>() / measured.len() as f64
    }

    #[test]
    fn synthesis_is_a_pure_function_of_its_arguments() {
        let utterance = Utterance::new(2, Emotion::Fear, 1, 1);
        let first = synthesise(Seed(5), &utterance, RATE);
        assert_eq!(first, synthesise(Seed(5), &utterance, RATE));
        assert_ne!(first, synthesise(Seed(6), &utterance, RATE));
        assert_ne!(first, synthesise(Seed(5), &Utterance::new(2, Emotion::Fear, 1, 2), RATE));
    }

    #[test]
    fn every_utterance_is_finite_within_range_and_starts_with_a_noise_floor() {
        for rate in [SampleRate(8_000), SampleRate(16_000), SampleRate(44_100)] {
            for utterance in design(2, 3, 1) {
                let wave = synthesise(Seed(9), &utterance, rate);
                let name = utterance.relative.display();
                let seconds = rate.seconds(wave.len());
                assert!((1.5..=3.5).contains(&seconds), "{name}: {seconds} s");
                let peak = wave.iter().fold(0f32, |peak, x| peak.max(x.abs()));
                assert!(wave.iter().all(|x| x.is_finite()) && peak < 0.9, "{name}: {peak}");
                let start = &wave[..(0.5 * rate.hz()) as usize];
                let floor_db = 20.0 * rms(start).log10();
                assert!((-80.0..-55.0).contains(&floor_db), "{name}: {floor_db} dB");
                assert!(rms(&wave) > 20.0 * rms(start), "{name}");
            }
        }
    }

    #[test]
    fn synthetic_emotions_differ_as_the_literature_says() {
        use Emotion::*;
        let level = |emotion| mean(emotion, |score| score.level_db);
        assert!(level(Angry) > level(Neutral) + 3.0 && level(Sad) < level(Neutral) - 3.0);
        let tilt = |emotion| mean(emotion, |score| score.tilt_hz.log2());
        assert!(tilt(Angry) > tilt(Happy) && tilt(Happy) > tilt(Neutral) && tilt(Neutral) > tilt(Sad));
        let seconds = |emotion| mean(emotion, |score| score.spoken.len() as f64);
        assert!(seconds(Fear) < seconds(Neutral) && seconds(Neutral) < seconds(Sad));
        let pitch = |emotion| {
            mean(emotion, |score| {
                let spoken = &score.frames[score.spoken.clone()];
                spoken.iter().map(|frame| frame.f0_hz).sum::<f64>() / spoken.len() as f64
            })
        };
        assert!(pitch(Fear) > pitch(Neutral) * 1.2 && pitch(Disgust) < pitch(Neutral) && pitch(Sad) < pitch(Neutral));
        let rise = |emotion| {
            mean(emotion, |score| score.frames[score.spoken.end - 30].f0_hz / score.frames[score.spoken.start].f0_hz)
        };
        assert!(rise(Surprise) > rise(Happy) * 1.2 && rise(Happy) > rise(Sad));
    }

    #[test]
    fn the_samples_carry_what_the_score_asks_for() {
        let utterance = Utterance::new(1, Emotion::Neutral, 1, 1);
        let plan = score(Seed(1), &utterance);
        let wave = say(Emotion::Neutral, 1, 1);
        let samples = plan.spoken.start * 16..plan.spoken.end * 16;
        let level_db = 20.0 * rms(&wave[samples]).log10();
        assert!((level_db - plan.level_db).abs() < 0.1, "{level_db} for {}", plan.level_db);

        let mean_rms = |emotion| (1..=4).map(|speaker| rms(&say(emotion, speaker, 2))).sum::<f64>();
        assert!(mean_rms(Emotion::Angry) > 2.0 * mean_rms(Emotion::Sad));
    }

    #[test]
    fn the_pitch_of_the_samples_is_the_pitch_of_the_score() {
        for (emotion, speaker) in [(Emotion::Neutral, 1), (Emotion::Neutral, 2), (Emotion::Fear, 1), (Emotion::Sad, 2)]
        {
            let plan = score(Seed(1), &Utterance::new(speaker, emotion, 1, 1));
            let wave = say(emotion, speaker, 1);
            // 50 ms in the middle of the first full vowel, where the voice has been steady for as long.
            let steady = |at: &usize| plan.frames[*at..at + 50].iter().all(|frame| frame.voice > 0.9);
            let at = plan.spoken.clone().find(steady).unwrap();
            let part = &wave[16 * at..16 * (at + 50)];
            let expected = 1.0 / plan.frames[at + 25].f0_hz;
            let likeness = |lag: usize| {
                let pairs = part.iter().zip(&part[lag..]);
                let powers = rms(&part[..part.len() - lag]) * rms(&part[lag..]);
                pairs.map(|(&a, &b)| f64::from(a * b)).sum::<f64>() / (part.len() - lag) as f64 / powers
            };
            let lags = (0.6 * expected * RATE.hz()) as usize..(1.5 * expected * RATE.hz()) as usize;
            let period = lags.max_by(|&a, &b| likeness(a).total_cmp(&likeness(b))).unwrap() as f64 / RATE.hz();
            assert!((period / expected - 1.0).abs() < 0.06, "{emotion} {speaker}: {period} for {expected}");
        }
    }

    #[test]
    fn a_resonator_rings_at_its_centre_and_passes_zero_hertz() {
        let gain_at = |hz: f64| {
            let mut resonator = Resonator::default();
            resonator.tune(1000.0, 80.0, RATE);
            let wave: Vec<f64> = (0..8000).map(|n| resonator.next((TAU * hz * n as f64 / RATE.hz()).cos())).collect();
            wave[4000..].iter().fold(0f64, |peak, x| peak.max(x.abs()))
        };
        assert!((gain_at(0.0) - 1.0).abs() < 1e-6);
        assert!(gain_at(1000.0) > 8.0 && gain_at(1000.0) > 3.0 * gain_at(1200.0));
    }

    #[test]
    fn speakers_differ_in_pitch_by_sex() {
        let f0 = |speaker: usize| score(Seed(1), &Utterance::new(speaker, Emotion::Neutral, 1, 1)).frames[700].f0_hz;
        assert!(f0(1).max(f0(3)) < f0(2).min(f0(4)));
        assert_ne!(f0(1), f0(3));
    }
}
