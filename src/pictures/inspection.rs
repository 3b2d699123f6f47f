//! What the pipeline makes of one recording: waveform, spectrogram with windows, facts, probabilities.

use std::ops::Range;

use crate::error::Result;
use crate::pictures::spectrogram::{self, LEFT, PICTURE_WIDTH, SpectrogramView, WIDTH};
use crate::pictures::{Anchor, Canvas, FAINT, INK, QUIET, shortened, tick_label, ticks};

/// What is shown of one recording.
#[derive(Clone, Copy, Debug)]
pub struct InspectionView<'a> {
    /// Name of the recording.
    pub title: &'a str,
    /// Whose front end and windows these are.
    pub source: &'a str,
    pub wave: WaveView<'a>,
    pub spectrogram: SpectrogramView<'a>,
    /// Name and value of each fact, in order.
    pub facts: &'a [(&'static str, String)],
    /// Class and probability, where a model was asked; else none.
    pub probabilities: &'a [(String, f32)],
}

/// The decoded recording.
#[derive(Clone, Copy, Debug)]
pub struct WaveView<'a> {
    /// Mono at its own rate, full scale 1, at least one.
    pub samples: &'a [f32],
    /// Seconds of all samples.
    pub seconds: f64,
    /// First sample that is used, and the one after the last.
    pub used: (usize, usize),
    /// Magnitude from which a sample counts as clipped.
    pub clipped_from: f32,
}

impl WaveView<'_> {
    /// Largest magnitude; never 0.
    pub(super) fn peak(&self) -> f32 {
        self.samples.iter().fold(f32::MIN_POSITIVE, |peak, sample| peak.max(sample.abs()))
    }

    /// Samples of each of `n` columns of equal width; at least one in each.
    pub(super) fn columns(&self, n: usize) -> impl Iterator<Item = Range<usize>> {
        let n_samples = self.samples.len();
        (0..n).map(move |column| {
            let begin = (column * n_samples / n).min(n_samples - 1);
            begin..((column + 1) * n_samples / n).max(begin + 1)
        })
    }
}

const WAVE_TOP: f64 = 88.0;
const WAVE_HEIGHT: f64 = 110.0;
const WAVE: &str = "#2563a8";
const CLIPPED: &str = "#c81e1e";
const ROW: f64 = 20.0;
/// Characters of a fact's value that fit beside its name in half a picture.
const VALUE_ROOM: usize = 56;

/// Title, waveform with what is not used in grey, spectrogram with its windows, facts in two columns, and a bar for each
/// class where there are probabilities.
///
/// # Errors
/// A bug if the lengths of the spectrogram do not fit.
pub fn inspection_svg(view: &InspectionView<'_>) -> Result<String> {
    let spectrogram_top = WAVE_TOP + WAVE_HEIGHT + 58.0;
    let facts_top = spectrogram_top + spectrogram::height(&view.spectrogram) + 16.0;
    let n_rows = view.facts.len().div_ceil(2);
    let bars_top = facts_top + ROW * n_rows as f64 + 22.0;
    let bars = if view.probabilities.is_empty() { 0.0 } else { 30.0 + ROW * view.probabilities.len() as f64 };
    let mut canvas = Canvas::new(PICTURE_WIDTH, bars_top + bars, view.title);
    canvas.label(24.0, 52.0, Anchor::Start, &format!(r#"fill="{QUIET}""#), &shortened(view.source, 130));
    waveform(&mut canvas, &view.wave);
    spectrogram::draw(&mut canvas, &view.spectrogram, spectrogram_top)?;
    for (index, (name, value)) in view.facts.iter().enumerate() {
        let x = 24.0 + (index / n_rows) as f64 * (PICTURE_WIDTH / 2.0 - 12.0);
        let y = facts_top + ROW * (index % n_rows) as f64;
        canvas.label(x, y, Anchor::Start, &format!(r#"fill="{QUIET}""#), name);
        canvas.label(x + 84.0, y, Anchor::Start, "", &shortened(value, VALUE_ROOM));
    }
    if !view.probabilities.is_empty() {
        probabilities(&mut canvas, view.probabilities, bars_top);
    }
    Ok(canvas.finish())
}

/// Envelope of the whole recording over its own time.
fn waveform(canvas: &mut Canvas, wave: &WaveView<'_>) {
    let (bottom, middle, half) = (WAVE_TOP + WAVE_HEIGHT, WAVE_TOP + WAVE_HEIGHT / 2.0, WAVE_HEIGHT / 2.0 - 4.0);
    let peak = f64::from(wave.peak());
    let (quiet, ink) = (format!(r#"fill="{QUIET}""#), format!(r#"stroke="{INK}""#));
    let y_of = |value: f64| middle - half * value / peak;
    let x_of = |sample: usize| LEFT + WIDTH * sample as f64 / wave.samples.len() as f64;
    let (first, last) = wave.used;
    unused(canvas, (LEFT, x_of(first)), "skipped");
    unused(canvas, (x_of(last), LEFT + WIDTH), "cut off");
    let levels = ticks(-peak, peak, 4);
    for &level in levels.iter().filter(|level| level.abs() <= peak) {
        canvas.stroke((LEFT, y_of(level)), (LEFT + WIDTH, y_of(level)), &format!(r#"stroke="{FAINT}""#));
        let label = tick_label(level, levels[1] - levels[0]);
        canvas.label(LEFT - 9.0, y_of(level) + 4.0, Anchor::End, &quiet, &label);
    }
    let (mut above, mut below, mut clipped) = (Vec::new(), Vec::new(), Vec::new());
    for (column, samples) in wave.columns(WIDTH as usize).enumerate() {
        let samples = &wave.samples[samples];
        let high = samples.iter().copied().fold(f32::MIN, f32::max);
        let low = samples.iter().copied().fold(f32::MAX, f32::min);
        let x = LEFT + column as f64 + 0.5;
        // A line that is thinner than a pixel would vanish.
        above.push(format!("{x:.1},{:.1}", y_of(f64::from(high)) - 0.4));
        below.push(format!("{x:.1},{:.1}", y_of(f64::from(low)) + 0.4));
        if high.max(-low) >= wave.clipped_from {
            clipped.push(x);
        }
    }
    below.reverse();
    canvas.line(format_args!(r#"<polygon points="{} {}" fill="{WAVE}"/>"#, above.join(" "), below.join(" ")));
    for x in &clipped {
        canvas.stroke((*x, WAVE_TOP - 6.0), (*x, WAVE_TOP), &format!(r#"stroke="{CLIPPED}""#));
    }
    if !clipped.is_empty() {
        let style = format!(r#"fill="{CLIPPED}""#);
        canvas.label(LEFT + WIDTH, WAVE_TOP - 10.0, Anchor::End, &style, "clipped samples");
    }
    canvas.line(format_args!(
        r#"<rect x="{LEFT}" y="{WAVE_TOP}" width="{WIDTH}" height="{WAVE_HEIGHT}" fill="none" stroke="{QUIET}"/>"#
    ));
    let times = ticks(0.0, wave.seconds, 8);
    for &time in times.iter().filter(|time| **time <= wave.seconds) {
        let x = LEFT + WIDTH * time / wave.seconds;
        canvas.stroke((x, bottom), (x, bottom + 5.0), &ink);
        canvas.label(x, bottom + 19.0, Anchor::Middle, &quiet, &tick_label(time, times[1] - times[0]));
    }
    canvas.label(LEFT + WIDTH / 2.0, bottom + 38.0, Anchor::Middle, "", "time in the recording (s)");
    let turned = format!(r#"transform="rotate(-90 28 {middle})""#);
    canvas.label(28.0, middle, Anchor::Middle, &turned, "of full scale");
}

/// Greys what no spectrogram is made of.
fn unused(canvas: &mut Canvas, (from, to): (f64, f64), why: &str) {
    let width = to - from;
    if width <= 0.0 {
        return;
    }
    canvas.line(format_args!(
        r##"<rect x="{from:.1}" y="{WAVE_TOP}" width="{width:.1}" height="{WAVE_HEIGHT}" fill="#e4e7eb"/>"##
    ));
    if width > 50.0 {
        let style = format!(r#"fill="{QUIET}" font-size="11""#);
        canvas.label((from + to) / 2.0, WAVE_TOP + 14.0, Anchor::Middle, &style, why);
    }
}

/// One bar a class, the longest for 100 %.
fn probabilities(canvas: &mut Canvas, probabilities: &[(String, f32)], top: f64) {
    let best = probabilities.iter().map(|(_, share)| *share).fold(f32::MIN, f32::max);
    canvas.label(24.0, top, Anchor::Start, r#"font-weight="600""#, "probability of each class");
    for (index, (class, share)) in probabilities.iter().enumerate() {
        let y = top + 24.0 + ROW * index as f64;
        let width = 560.0 * f64::from(*share);
        let (weight, colour) = if *share == best { (r#"font-weight="600""#, WAVE) } else { ("", "#aac4e0") };
        canvas.label(24.0, y, Anchor::Start, weight, class);
        canvas.line(format_args!(
            r#"<rect x="108" y="{:.1}" width="{width:.1}" height="13" rx="2" fill="{colour}"/>"#,
            y - 11.0
        ));
        canvas.label(116.0 + width, y, Anchor::Start, weight, &format!("{:.1} %", 100.0 * share));
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A second of a swelling tone at 1 kHz with a clipped sample; the first 200 samples skipped, the last 100 cut off.
    pub(in crate::pictures) fn samples() -> Vec<f32> {
        let mut samples: Vec<f32> = (0..1000).map(|i| (i as f32 * 0.3).sin() * i as f32 / 2000.0).collect();
        samples[500] = -1.0;
        samples
    }

    /// Eight bands of forty frames with a ridge in the middle.
    pub(in crate::pictures) fn log_mel() -> Vec<f32> {
        (0..8 * 40).map(|i| -((i / 40) as f32 - 4.0).abs() - (i % 40) as f32 / 40.0).collect()
    }

    pub(in crate::pictures) fn view<'a>(samples: &'a [f32], log_mel: &'a [f32]) -> InspectionView<'a> {
        InspectionView {
            title: "a & b.wav",
            source: "profile paper",
            wave: WaveView { samples, seconds: 1.0, used: (200, 900), clipped_from: 0.999 },
            spectrogram: SpectrogramView {
                title: "",
                log_mel,
                n_mels: 8,
                n_frames: 40,
                valid_frames: 30,
                frame_seconds: 0.02,
                first_second: 0.2,
                centres_hz: &[100.0, 200.0, 400.0, 800.0, 1000.0, 2000.0, 3000.0, 4000.0],
                window: 10,
                hop: 5,
            },
            facts: &[],
            probabilities: &[],
        }
    }

    #[test]
    fn every_part_of_the_picture_is_there() {
        let facts = [("duration", "1.000 s".to_string()), ("repaired", "an <odd> header".to_string())];
        let probabilities = [("angry".to_string(), 0.25), ("sad".to_string(), 0.75)];
        let (samples, log_mel) = (samples(), log_mel());
        let svg = inspection_svg(&InspectionView {
            facts: &facts,
            probabilities: &probabilities,
            ..view(&samples, &log_mel)
        });
        let svg = svg.expect("it fits");
        for text in [
            "<title>a &amp; b.wav</title>",
            ">profile paper<",
            ">of full scale<",
            ">skipped<",
            ">cut off<",
            ">clipped samples<",
            ">windows<",
            ">7</text>",
            ">padding<",
            ">centre of mel band (kHz)<",
            ">1.000 s<",
            ">an &lt;odd&gt; header<",
            ">75.0 %<",
        ] {
            assert!(svg.contains(text), "{text}");
        }
        assert_eq!(svg.matches(">time in the recording (s)<").count(), 2);
        assert!(svg.ends_with("</svg>\n") && !svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn a_recording_that_is_used_whole_has_nothing_grey_and_no_bars() {
        let (samples, log_mel) = (vec![0.1; 50], log_mel());
        let mut view = view(&samples, &log_mel);
        view.wave.used = (0, 50);
        let svg = inspection_svg(&view).expect("it fits");
        assert!(
            !svg.contains("skipped") && !svg.contains("cut off") && !svg.contains("clipped") && !svg.contains(" %<")
        );
        assert!(!svg.contains("NaN"), "fewer samples than columns");
    }

    #[test]
    fn columns_cover_every_sample_and_are_never_empty() {
        for n_samples in [1, 2, 69, 70, 71, 1000] {
            let samples = vec![0.0; n_samples];
            let wave = WaveView { samples: &samples, seconds: 1.0, used: (0, n_samples), clipped_from: 1.0 };
            let mut seen = vec![false; n_samples];
            for column in wave.columns(70) {
                assert!(!column.is_empty());
                seen[column].fill(true);
            }
            assert!(seen.into_iter().all(|seen| seen), "{n_samples}");
        }
    }
}
