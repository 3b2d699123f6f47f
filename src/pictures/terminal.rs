//! One recording as text of 80 columns: readable without colour, in any terminal that has block characters.

use std::fmt::Write;

use crate::pictures::inspection::{InspectionView, WaveView};
use crate::pictures::spectrogram::{SpectrogramView, n_window_rows, window_starts};
use crate::pictures::{tick_label, ticks};

/// Columns of a line.
const LINE: usize = 80;
/// Columns of a plot, after its margin.
const WIDTH: usize = 70;
const MARGIN: usize = LINE - WIDTH - 1;
const WAVE_ROWS: usize = 4;
const BAND_ROWS: usize = 16;
/// Heights of a cell in eighths.
const EIGHTHS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// From silence to the loudest.
const SHADES: [char; 5] = [' ', '░', '▒', '▓', '█'];

/// Waveform, spectrogram with its windows, facts, and the probabilities where there are some; lines of at most 80 columns.
pub fn inspection_text(view: &InspectionView<'_>) -> String {
    let mut out = format!("{}\n{}\n\n", view.title, view.source);
    waveform(&mut out, &view.wave);
    out.push('\n');
    spectrogram(&mut out, &view.spectrogram);
    out.push('\n');
    for (name, value) in view.facts {
        out.push_str(&wrapped(name, value));
    }
    if !view.probabilities.is_empty() {
        out.push('\n');
    }
    for (class, share) in view.probabilities {
        let bar = "█".repeat((share * 50.0).round() as usize);
        line(&mut out, &format!("{class:<12}{:>6.1} %  {bar}", 100.0 * share));
    }
    out
}

/// A name and its text, broken between words so that no line is longer than 80 columns; further lines are indented. A word
/// that is too long for a line is broken where the line ends.
pub fn wrapped(name: &str, text: &str) -> String {
    const INDENT: usize = 12;
    let mut out = format!("{name:<INDENT$}");
    let mut used = INDENT;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if used > INDENT && used + 1 + length > LINE {
            let _ = write!(out, "\n{:INDENT$}", "");
            used = INDENT;
        }
        if used > INDENT {
            out.push(' ');
            used += 1;
        }
        for letter in word.chars() {
            if used == LINE {
                let _ = write!(out, "\n{:INDENT$}", "");
                used = INDENT;
            }
            out.push(letter);
            used += 1;
        }
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

/// Peak magnitude of each column, scaled to the largest; below it what of the recording is used.
fn waveform(out: &mut String, wave: &WaveView<'_>) {
    let peak = wave.peak();
    let (mut heights, mut ruler) = (Vec::new(), String::new());
    for samples in wave.columns(WIDTH) {
        let middle = (samples.start + samples.end - 1) / 2;
        let magnitude = wave.samples[samples].iter().fold(0.0f32, |peak, sample| peak.max(sample.abs()));
        heights.push((magnitude / peak * (8 * WAVE_ROWS) as f32).round() as usize);
        ruler.push(match middle {
            middle if middle < wave.used.0 => '.',
            middle if middle >= wave.used.1 => 'x',
            _ => '=',
        });
    }
    for row in (0..WAVE_ROWS).rev() {
        let label = if row == WAVE_ROWS - 1 { format!("{peak:.3}") } else { String::new() };
        let cells = heights.iter().map(|height| EIGHTHS[height.saturating_sub(8 * row).min(8)]);
        row_of(out, &label, &cells.collect::<String>());
    }
    row_of(out, "used", &ruler);
    time_axis(out, 0.0, wave.seconds);
    legend(out, &ruler, &[('=', "used"), ('.', "skipped"), ('x', "cut off")]);
}

/// Means of blocks of bands and frames as shades, the highest bands on top; below it the windows.
fn spectrogram(out: &mut String, view: &SpectrogramView<'_>) {
    let (low, high) = shown_range(view);
    let n_rows = BAND_ROWS.min(view.n_mels);
    for row in (0..n_rows).rev() {
        let bands = row * view.n_mels / n_rows..(row + 1) * view.n_mels / n_rows;
        let cell = |column: usize| {
            let first = column * view.n_frames / WIDTH;
            let frames = first..((column + 1) * view.n_frames / WIDTH).max(first + 1).min(view.n_frames);
            let values = bands.clone().flat_map(|band| &view.log_mel[band * view.n_frames..][frames.clone()]);
            let finite: Vec<f32> = values.copied().filter(|value| value.is_finite()).collect();
            let mean = finite.iter().sum::<f32>() / finite.len().max(1) as f32;
            let share = ((mean - low) / (high - low)).clamp(0.0, 1.0);
            // Padding is blank, whatever the front end makes of zeros.
            if first >= view.valid_frames || finite.is_empty() { ' ' } else { SHADES[(share * 4.0).round() as usize] }
        };
        let is_named = row == 0 || row + 1 == n_rows || row % 4 == 0;
        let label = match view.centres_hz.get(bands.start) {
            Some(hz) if is_named => format!("{:.2} kHz", hz / 1000.0),
            _ => String::new(),
        };
        row_of(out, &label, &(0..WIDTH).map(cell).collect::<String>());
    }
    let ruler: String =
        (0..WIDTH).map(|column| if column * view.n_frames / WIDTH < view.valid_frames { '=' } else { '-' }).collect();
    row_of(out, "sound", &ruler);
    let starts = window_starts(view);
    let n_rows = n_window_rows(view);
    for row in 0..n_rows.min(starts.len()) {
        let mut cells = vec![' '; WIDTH];
        for (index, start) in starts.iter().enumerate().skip(row).step_by(n_rows) {
            window(&mut cells, index + 1, start * WIDTH / view.n_frames, (start + view.window) * WIDTH / view.n_frames);
        }
        row_of(out, if row == 0 { "windows" } else { "" }, &cells.iter().collect::<String>());
    }
    time_axis(out, view.first_second, view.first_second + view.frame_seconds * view.n_frames as f64);
    legend(out, &ruler, &[('=', "sound"), ('-', "padding")]);
}

/// From the quietest fifth to the loudest hundredth of the sound: five shades have no room for what is rarer.
fn shown_range(view: &SpectrogramView<'_>) -> (f32, f32) {
    let shown = if view.valid_frames == 0 { view.n_frames } else { view.valid_frames };
    let rows = view.log_mel.chunks(view.n_frames).flat_map(|row| &row[..shown]);
    let mut values: Vec<f32> = rows.copied().filter(|value| value.is_finite()).collect();
    values.sort_unstable_by(f32::total_cmp);
    match (values.get(values.len() / 5), values.get(values.len() * 99 / 100)) {
        (Some(&low), Some(&high)) if low < high => (low, high),
        (Some(&low), _) => (low - 0.5, low + 0.5),
        _ => (0.0, 1.0),
    }
}

/// `[3------]` over the columns of one window.
fn window(cells: &mut [char], number: usize, from: usize, to: usize) {
    let to = to.clamp(from + 1, cells.len());
    cells[from..to].fill('-');
    cells[from] = '[';
    cells[to - 1] = ']';
    let number = number.to_string();
    if number.len() + 2 <= to - from {
        cells[from + 1..].iter_mut().zip(number.chars()).for_each(|(cell, digit)| *cell = digit);
    }
}

fn time_axis(out: &mut String, first: f64, last: f64) {
    let times = ticks(first, last, 7);
    let mut cells = vec![' '; WIDTH];
    for &time in times.iter().filter(|time| (first - 1e-9..=last).contains(*time)) {
        let label = tick_label(time, times[1] - times[0]) + " s";
        let at = ((time - first) / (last - first) * WIDTH as f64).round() as usize;
        // A label that would run over the edge or into its neighbour is left out.
        let room = cells.get(at..at + label.len() + 1).is_some_and(|cells| cells.iter().all(|cell| *cell == ' '));
        if room {
            cells[at] = '|';
            cells[at + 1..].iter_mut().zip(label.chars()).for_each(|(cell, letter)| *cell = letter);
        }
    }
    row_of(out, "", &cells.iter().collect::<String>());
}

/// What the signs of a ruler mean; those that do not occur are left out.
fn legend(out: &mut String, ruler: &str, signs: &[(char, &str)]) {
    let known = signs.iter().filter(|(sign, _)| ruler.contains(*sign));
    let texts: Vec<String> = known.map(|(sign, name)| format!("{sign} {name}")).collect();
    row_of(out, "", &texts.join("   "));
}

fn row_of(out: &mut String, label: &str, cells: &str) {
    line(out, &format!("{label:>MARGIN$} {cells}"));
}

fn line(out: &mut String, text: &str) {
    out.push_str(text.trim_end());
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pictures::inspection::tests::{log_mel, samples, view};

    fn text() -> String {
        let facts = [("duration", "1.000 s".to_string()), ("repaired", "word ".repeat(40))];
        let probabilities = [("angry".to_string(), 0.25), ("sad".to_string(), 0.75)];
        let (samples, log_mel) = (samples(), log_mel());
        inspection_text(&InspectionView { facts: &facts, probabilities: &probabilities, ..view(&samples, &log_mel) })
    }

    #[test]
    fn no_line_is_longer_than_80_columns_or_ends_in_blanks() {
        for line in text().lines() {
            assert!(line.chars().count() <= 80 && line.trim_end() == line, "{line:?}");
            assert!(!line.contains('\u{1b}'), "no colours");
        }
    }

    #[test]
    fn the_waveform_is_as_high_as_its_loudest_column_and_says_what_is_used() {
        let text = text();
        let rows: Vec<&str> = text.lines().skip(3).collect();
        // The clipped sample, in the column of the middle, is the only one that reaches the top.
        let top: Vec<char> = rows[0].chars().collect();
        assert_eq!(top.iter().filter(|&&cell| cell == '█').count(), 1, "{text}");
        assert_eq!(top.iter().position(|&cell| cell == '█'), Some(MARGIN + 1 + 35));
        let used = rows[WAVE_ROWS];
        assert_eq!(used.matches('.').count(), 14, "200 of 1,000 samples are skipped: {used}");
        assert_eq!(used.matches('x').count(), 7, "100 of 1,000 samples are cut off: {used}");
        assert!(text.contains("= used   . skipped   x cut off"));
    }

    #[test]
    fn the_ridge_of_the_spectrogram_is_the_darkest_row_and_padding_is_blank() {
        let text = text();
        let rows: Vec<&str> = text.lines().filter(|line| line.contains("kHz") || line.contains('▓')).collect();
        let ridge = text.lines().find(|line| line.contains("1.00 kHz")).expect("the fifth band has a name");
        assert!(ridge.contains('█'), "{text}");
        // 30 of 40 frames hold sound: 53 of 70 columns begin among them.
        assert!(rows.iter().all(|row| row.chars().count() <= MARGIN + 1 + 53), "{text}");
        assert!(text.contains("= sound   - padding"));
    }

    #[test]
    fn every_window_is_marked_once() {
        let text = text();
        for number in 1..=7 {
            assert_eq!(text.matches(&format!("[{number}-")).count(), 1, "{text}");
        }
        assert_eq!(text.matches(']').count(), 7);
    }

    #[test]
    fn facts_are_broken_between_words_and_bars_are_as_long_as_their_share() {
        let text = text();
        assert!(text.contains("\n            word word"), "{text}");
        assert_eq!(text.matches("word").count(), 40);
        let bar = |class: &str| text.lines().find(|line| line.starts_with(class)).map(|line| line.matches('█').count());
        assert_eq!((bar("angry"), bar("sad")), (Some(13), Some(38)));
        let long = wrapped("hash", &"f".repeat(200));
        assert!(long.lines().all(|line| line.chars().count() <= 80) && long.matches('f').count() == 200);
    }
}
