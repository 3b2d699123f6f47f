//! How a synthetic speaker says a statement in an emotion: pitch, tempo, loudness, voice quality, over time.
//!
//! The directions of the emotions follow the reviews of Murray, Arnott (1993) and Scherer (2003) and the synthesis
//! experiments of Burkhardt, Sendlmeier (2000); the sizes are set so that single utterances of neighbouring
//! emotions overlap. Values in, values out: a [`Score`] is a pure function of a seed and an utterance.

use super::Sex;
use super::dice::Dice;
use super::statement::{Manner, Syllable, statement};
use super::synthetic::Utterance;
use crate::corpora::acted::Emotion;
use crate::units::Seed;

/// Control frames per second of a [`Score`].
pub(super) const CONTROL_RATE_HZ: f64 = 1000.0;
/// Formants of a control frame.
pub(super) const N_FORMANTS: usize = 5;

/// What the synthesiser does during one millisecond.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Control {
    pub f0_hz: f64,
    /// Amplitudes of the voiced pulses, of breath through the vocal tract, and of consonant noise: 0 to about 1.
    pub voice: f64,
    pub breath: f64,
    pub hiss: f64,
    /// Centre of the consonant noise.
    pub hiss_hz: f64,
    pub formants_hz: [f64; N_FORMANTS],
}

/// Everything the synthesiser needs for one utterance.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Score {
    /// One per millisecond, near-silence before and after the speech included.
    pub frames: Vec<Control>,
    /// The frames that hold speech.
    pub spoken: std::ops::Range<usize>,
    /// Level of the spoken part and of the noise under all of it, root mean square in dB of full scale.
    pub level_db: f64,
    pub floor_db: f64,
    /// Cut-off of the source's low-pass: low is soft and dull, high is tense and bright.
    pub tilt_hz: f64,
    /// Share of a period during which the glottis is open.
    pub open_quotient: f64,
    /// Standard deviations of period and amplitude from pulse to pulse, as fractions.
    pub jitter: f64,
    pub shimmer: f64,
    /// How much every second pulse is weakened, 0 to 1: a creaking voice.
    pub creak: f64,
}

/// Deviations from neutral speech at full expression.
#[derive(Clone, Copy)]
struct Prosody {
    /// Mean pitch, height of accents, change over the utterance, movement of its last quarter: semitones.
    pitch_st: f64,
    accent_st: f64,
    slope_st: f64,
    final_st: f64,
    /// Octaves of tempo, positive is faster.
    tempo: f64,
    level_db: f64,
    /// Octaves of the source's cut-off.
    tilt: f64,
    breath_db: f64,
    jitter: f64,
    tremor_st: f64,
    creak: f64,
    /// Chance of a pause between two syllables.
    pause: f64,
    /// Relative shift of the formants: lips spread in a smile raise them.
    smile: f64,
}

#[rustfmt::skip]
fn prosody_of(emotion: Emotion) -> Prosody {
    let row = |[pitch_st, accent_st, slope_st, final_st, tempo, level_db, tilt, rest @ ..]: [f64; 13]| {
        let [breath_db, jitter, tremor_st, creak, pause, smile] = rest;
        Prosody {
            pitch_st, accent_st, slope_st, final_st, tempo, level_db, tilt,
            breath_db, jitter, tremor_st, creak, pause, smile,
        }
    };
    match emotion {
        //                         pitch accent slope final  tempo level  tilt  breath jitter tremor creak pause smile
        Emotion::Angry    => row([   3.0,  3.0,  0.5, -2.0,  0.18,  7.0,  1.3, -3.0,  0.006,  0.0,  0.0, 0.00,  0.01]),
        Emotion::Disgust  => row([  -2.5, -0.4, -0.5, -2.0, -0.35, -2.0, -0.2,  0.0,  0.022,  0.0,  0.5, 0.12, -0.04]),
        Emotion::Fear     => row([   6.5, -1.0,  1.5,  0.5,  0.32, -1.0,  0.2,  5.0,  0.014,  0.7,  0.0, 0.12,  0.00]),
        Emotion::Happy    => row([   4.0,  4.0,  0.5,  0.5,  0.12,  3.5,  0.6,  0.0,  0.000,  0.0,  0.0, 0.00,  0.06]),
        Emotion::Neutral  => row([   0.0,  0.0,  0.0,  0.0,  0.00,  0.0,  0.0,  0.0,  0.000,  0.0,  0.0, 0.03,  0.00]),
        Emotion::Sad      => row([  -1.5, -1.4, -2.0, -1.0, -0.40, -6.0, -1.3,  5.0,  0.004,  0.1,  0.0, 0.18, -0.02]),
        Emotion::Surprise => row([   4.5,  2.5,  5.0,  6.0, -0.02,  2.0,  0.4,  2.0,  0.000,  0.0,  0.0, 0.02,  0.02]),
    }
}

/// How one person speaks, whatever the emotion.
struct Speaker {
    f0_hz: f64,
    formant_scale: f64,
    breath_db: f64,
    level_db: f64,
    floor_db: f64,
    tilt: f64,
    tempo: f64,
    /// How strongly this person uses each of pitch, accents, tempo, level, voice quality.
    habits: [f64; 5],
}

impl Speaker {
    fn new(seed: Seed, utterance: &Utterance) -> Self {
        let mut dice = Dice::new(seed.derive("synthetic speaker", &[&(utterance.speaker as u64).to_le_bytes()]));
        let (f0_hz, formant_scale) = match utterance.sex() {
            Sex::Male => (112.0, 1.0),
            Sex::Female => (198.0, 1.16),
        };
        Self {
            f0_hz: f0_hz * (0.11 * dice.normal()).exp(),
            formant_scale: formant_scale * (0.03 * dice.normal()).exp(),
            breath_db: 2.0 * dice.normal(),
            level_db: -25.0 + 1.5 * dice.normal(),
            floor_db: -66.0 + 2.0 * dice.normal(),
            tilt: 0.25 * dice.normal(),
            tempo: 0.08 * dice.normal(),
            habits: std::array::from_fn(|_| dice.between(0.75, 1.25)),
        }
    }
}

impl Prosody {
    /// The prosody of one utterance: stronger or weaker than the pattern, by person and by chance.
    fn acted(emotion: Emotion, speaker: &Speaker, dice: &mut Dice) -> Self {
        let full = prosody_of(emotion);
        let strength = (1.0 + 0.28 * dice.normal()).clamp(0.35, 1.5);
        let [pitch, accent, tempo, level, quality] = speaker.habits.map(|habit| habit * strength);
        Self {
            pitch_st: full.pitch_st * pitch + 1.0 * dice.normal(),
            accent_st: (2.2 + full.accent_st * accent).max(0.4) * (0.2 * dice.normal()).exp(),
            slope_st: -2.0 + full.slope_st * accent + 0.9 * dice.normal(),
            final_st: -1.5 + full.final_st * accent + 0.9 * dice.normal(),
            tempo: full.tempo * tempo + speaker.tempo + 0.09 * dice.normal(),
            level_db: full.level_db * level + speaker.level_db + 1.5 * dice.normal(),
            tilt: full.tilt * quality + speaker.tilt + 0.3 * dice.normal(),
            breath_db: full.breath_db * quality + speaker.breath_db + 1.2 * dice.normal(),
            jitter: (0.006 + full.jitter * quality) * (0.3 * dice.normal()).exp(),
            tremor_st: full.tremor_st * quality,
            creak: (full.creak * quality + 0.08 * dice.normal()).clamp(0.0, 0.8),
            pause: full.pause * strength,
            smile: full.smile * quality + 0.012 * dice.normal(),
        }
    }
}

/// A stretch of constant targets.
struct Segment {
    seconds: f64,
    voice: f64,
    breath: f64,
    hiss: f64,
    hiss_hz: f64,
    formants_hz: [f64; 3],
    /// The vowel of a stressed syllable carries an accent of the pitch.
    accented: bool,
}

/// The score of one utterance; total length 1.5 to 3.5 s, of which the first 0.5 to 0.7 s are near-silence.
pub(super) fn score(seed: Seed, utterance: &Utterance) -> Score {
    let speaker = Speaker::new(seed, utterance);
    let mut dice = Dice::new(utterance.seed(seed, "synthetic utterance"));
    let acted = Prosody::acted(utterance.emotion, &speaker, &mut dice);
    let mut segments = segments(&statement(utterance.statement), &acted, &mut dice);
    let (before, after) = (dice.between(0.52, 0.68), dice.between(0.15, 0.30));
    let spoken_seconds: f64 = segments.iter().map(|segment| segment.seconds).sum();
    let fitted = spoken_seconds.clamp(0.95, 3.45 - before - after) / spoken_seconds;
    for segment in &mut segments {
        segment.seconds *= fitted;
    }
    let (mut frames, spoken) = targets(&segments, before, after);
    let f0 = pitch_contour(&segments, &acted, spoken.len(), &mut dice);
    let scale = speaker.formant_scale * (1.0 + acted.smile);
    let breath = 0.06 * 10f64.powf(acted.breath_db / 20.0);
    for (at, frame) in frames.iter_mut().enumerate() {
        let within = at.saturating_sub(spoken.start).min(spoken.len() - 1);
        frame.f0_hz = (speaker.f0_hz * f0[within]).clamp(55.0, 700.0);
        frame.breath *= breath;
        frame.formants_hz = frame.formants_hz.map(|hz| hz * scale);
    }
    smooth(&mut frames);
    Score {
        frames,
        spoken,
        level_db: acted.level_db,
        floor_db: speaker.floor_db,
        tilt_hz: 1400.0 * acted.tilt.exp2(),
        open_quotient: (0.58 - 0.07 * acted.tilt).clamp(0.4, 0.75),
        jitter: acted.jitter,
        shimmer: 0.04 + 4.0 * acted.jitter,
        creak: acted.creak,
    }
}

/// The syllables laid out in time, with pauses between some of them.
fn segments(syllables: &[Syllable], acted: &Prosody, dice: &mut Dice) -> Vec<Segment> {
    let slower = (-acted.tempo).exp2();
    let mut segments = Vec::with_capacity(3 * syllables.len());
    for (i, syllable) in syllables.iter().enumerate() {
        let base = Segment {
            seconds: 0.0,
            voice: 0.0,
            breath: 0.0,
            hiss: 0.0,
            hiss_hz: syllable.place.1,
            formants_hz: [300.0, syllable.place.0, 2500.0],
            accented: false,
        };
        if i > 0 && dice.unit() < acted.pause {
            segments.push(Segment { seconds: dice.between(0.10, 0.25), ..base });
        }
        let mut vary = || slower * (0.12 * dice.normal()).exp();
        match syllable.manner {
            Manner::Stop { voiced } => {
                let voice = if voiced { 0.12 } else { 0.0 };
                segments.push(Segment { seconds: 0.055 * vary(), voice, ..base });
                let breath = if voiced { 1.0 } else { 4.0 };
                let seconds = if voiced { 0.012 } else { 0.030 };
                segments.push(Segment { seconds, hiss: 0.8, breath, ..base });
            }
            Manner::Fricative { voiced } => {
                let (voice, hiss) = if voiced { (0.35, 0.3) } else { (0.0, 0.6) };
                segments.push(Segment { seconds: 0.085 * vary(), voice, hiss, breath: 1.0, ..base });
            }
            Manner::Nasal => segments.push(Segment { seconds: 0.065 * vary(), voice: 0.4, breath: 0.3, ..base }),
            Manner::Glide => segments.push(Segment { seconds: 0.055 * vary(), voice: 0.65, breath: 0.6, ..base }),
        }
        let last = if i + 1 == syllables.len() { 1.4 } else { 1.0 };
        let (seconds, voice) = if syllable.stressed { (0.145, 1.0) } else { (0.090, 0.7) };
        segments.push(Segment {
            seconds: seconds * last * vary(),
            voice,
            breath: 1.0,
            hiss: 0.0,
            hiss_hz: syllable.place.1,
            formants_hz: syllable.vowel,
            accented: syllable.stressed,
        });
    }
    segments
}

/// Control frames with each segment's targets, unsmoothed, and the range that holds speech.
fn targets(segments: &[Segment], before: f64, after: f64) -> (Vec<Control>, std::ops::Range<usize>) {
    let silence = |like: &Segment| Control {
        f0_hz: 0.0,
        voice: 0.0,
        breath: 0.0,
        hiss: 0.0,
        hiss_hz: like.hiss_hz,
        formants_hz: [like.formants_hz[0], like.formants_hz[1], like.formants_hz[2], 3500.0, 4500.0],
    };
    let n_frames = |seconds: f64| (seconds * CONTROL_RATE_HZ).round() as usize;
    let (first, last) = (&segments[0], &segments[segments.len() - 1]);
    let mut frames = vec![silence(first); n_frames(before)];
    let start = frames.len();
    for segment in segments {
        let Segment { voice, breath, hiss, .. } = *segment;
        let frame = Control { voice, breath, hiss, ..silence(segment) };
        frames.resize(frames.len() + n_frames(segment.seconds), frame);
    }
    let spoken = start..frames.len();
    frames.resize(frames.len() + n_frames(after), silence(last));
    (frames, spoken)
}

/// Pitch over the spoken frames as a ratio to the speaker's own: slope, accents, final movement, tremor, wander.
fn pitch_contour(segments: &[Segment], acted: &Prosody, n_frames: usize, dice: &mut Dice) -> Vec<f64> {
    let mut accents = Vec::new();
    let mut at = 0.0;
    for segment in segments {
        if segment.accented {
            let height = acted.accent_st * (0.25 * dice.normal()).exp();
            accents.push((at + 0.4 * segment.seconds, 0.6 * segment.seconds + 0.02, height));
        }
        at += segment.seconds;
    }
    let tremor_hz = dice.between(6.0, 9.0);
    let (wander_hz, wander_phase) = (dice.between(1.5, 3.0), dice.between(0.0, std::f64::consts::TAU));
    let contour = (0..n_frames).map(|frame| {
        let seconds = frame as f64 / CONTROL_RATE_HZ;
        let place = frame as f64 / n_frames as f64;
        let end = ((place - 0.75) / 0.25).max(0.0);
        let mut semitones = acted.pitch_st + acted.slope_st * (place - 0.5) + acted.final_st * end * end;
        for &(centre, width, height) in &accents {
            let distance = (seconds - centre) / width;
            semitones += height * (-distance * distance).exp();
        }
        semitones += acted.tremor_st * (std::f64::consts::TAU * tremor_hz * seconds).sin();
        semitones += 0.25 * (std::f64::consts::TAU * wander_hz * seconds + wander_phase).sin();
        (semitones / 12.0).exp2()
    });
    contour.collect()
}

/// Moves every control towards its targets as articulators do: formants in about 18 ms, amplitudes in 6 ms.
fn smooth(frames: &mut [Control]) {
    let keep = |tau_ms: f64| (-1000.0 / (CONTROL_RATE_HZ * tau_ms)).exp();
    let (slow, fast) = (keep(18.0), keep(6.0));
    let towards = |state: &mut f64, target: &mut f64, keep: f64| {
        *state = keep * *state + (1.0 - keep) * *target;
        *target = *state;
    };
    let mut state = frames[0];
    for frame in frames {
        for (state, target) in state.formants_hz.iter_mut().zip(&mut frame.formants_hz) {
            towards(state, target, slow);
        }
        towards(&mut state.voice, &mut frame.voice, fast);
        towards(&mut state.breath, &mut frame.breath, fast);
        towards(&mut state.hiss, &mut frame.hiss, 0.7 * fast);
        towards(&mut state.hiss_hz, &mut frame.hiss_hz, slow);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_take_changes_the_prosody_and_a_seed_changes_the_person() {
        let utterance = |repetition| Utterance::new(1, Emotion::Happy, 1, repetition);
        let first = score(Seed(1), &utterance(1));
        assert_eq!(first, score(Seed(1), &utterance(1)));
        assert_ne!(first.level_db, score(Seed(1), &utterance(2)).level_db);
        assert_eq!(first.floor_db, score(Seed(1), &utterance(2)).floor_db);
        assert_ne!(first.floor_db, score(Seed(2), &utterance(1)).floor_db);
    }

    #[test]
    fn lengths_hold_for_the_slowest_and_the_fastest_statements() {
        for statement in 1..=12 {
            for emotion in [Emotion::Sad, Emotion::Disgust, Emotion::Fear] {
                for repetition in 1..=10 {
                    let score = score(Seed(3), &Utterance::new(1, emotion, statement, repetition));
                    assert!((1500..=3500).contains(&score.frames.len()), "{}", score.frames.len());
                    assert!((500..700).contains(&score.spoken.start));
                }
            }
        }
    }
}
