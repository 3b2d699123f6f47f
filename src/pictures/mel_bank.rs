//! The mel filter bank: every triangle as the transform's bins sample it, and the bands that no bin falls into.

use crate::pictures::{Anchor, Canvas, FAINT, INK, QUIET, grouped, tick_label, ticks};
use crate::signal::mel::MelRow;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 76.0;
const TOP: f64 = 82.0;
const PLOT_WIDTH: f64 = 860.0;
const PLOT_HEIGHT: f64 = 210.0;
/// Neighbours are told apart by their colours.
const COLOURS: [&str; 3] = ["#2563a8", "#3a9d6e", "#8a5ab8"];
const EMPTY: &str = "#d9600b";

/// What is drawn.
#[derive(Clone, Copy, Debug)]
pub struct MelBankView<'a> {
    pub title: &'a str,
    /// Band 0 first.
    pub rows: &'a [MelRow],
    /// Where each band is centred, in Hz.
    pub centres_hz: &'a [f64],
    /// Hz from one bin of the transform to the next.
    pub bin_hz: f64,
    /// Half the sample rate, where the axis ends.
    pub nyquist_hz: f64,
}

/// Weight over frequency, 960 x 360: a polygon for each band, whose corners are the bins; a mark where a band has none.
pub fn mel_bank_svg(view: &MelBankView<'_>) -> String {
    let mut canvas = Canvas::new(WIDTH, HEIGHT, view.title);
    let weights = view.rows.iter().flat_map(|row| &row.weights);
    let highest = weights.fold(0.0_f64, |highest, weight| highest.max(*weight)).max(f64::MIN_POSITIVE);
    let n_empty = view.rows.iter().filter(|row| row.weights.is_empty()).count();
    let n_single = view.rows.iter().filter(|row| row.weights.len() == 1).count();
    let quiet = format!(r#"fill="{QUIET}""#);
    let said = format!("{} bands, {n_single} with a single bin of the transform, {n_empty} with none", view.rows.len());
    canvas.label(24.0, 54.0, Anchor::Start, &quiet, &said);
    let bottom = TOP + PLOT_HEIGHT;
    let x_of = |hz: f64| LEFT + PLOT_WIDTH * hz / view.nyquist_hz.max(f64::MIN_POSITIVE);
    let y_of = |weight: f64| bottom - PLOT_HEIGHT * weight / highest;
    let marks = ticks(0.0, highest, 4);
    for &mark in marks.iter().filter(|mark| **mark <= highest * 1.001) {
        canvas.stroke((LEFT, y_of(mark)), (LEFT + PLOT_WIDTH, y_of(mark)), &format!(r#"stroke="{FAINT}""#));
        canvas.label(LEFT - 8.0, y_of(mark) + 4.0, Anchor::End, &quiet, &tick_label(mark, marks[1] - marks[0]));
    }
    for (index, row) in view.rows.iter().enumerate() {
        band(&mut canvas, row, COLOURS[index % COLOURS.len()], |bin, weight| (x_of(bin * view.bin_hz), y_of(weight)));
    }
    for (_, centre) in view.rows.iter().zip(view.centres_hz).filter(|(row, _)| row.weights.is_empty()) {
        let x = x_of(*centre);
        canvas.line(format_args!(
            r#"<polygon points="{x:.1},{bottom:.1} {:.1},{:.1} {:.1},{:.1}" fill="{EMPTY}"/>"#,
            x - 4.0,
            bottom + 8.0,
            x + 4.0,
            bottom + 8.0
        ));
    }
    canvas.stroke((LEFT, bottom), (LEFT + PLOT_WIDTH, bottom), &format!(r#"stroke="{INK}""#));
    for hz in ticks(0.0, view.nyquist_hz, 10).into_iter().filter(|hz| *hz <= view.nyquist_hz) {
        canvas.label(x_of(hz), bottom + 24.0, Anchor::Middle, &quiet, &grouped(hz as u64));
    }
    canvas.label(LEFT + PLOT_WIDTH / 2.0, bottom + 46.0, Anchor::Middle, "", "frequency (Hz)");
    let turned = format!(r#"transform="rotate(-90 26 {0})""#, TOP + PLOT_HEIGHT / 2.0);
    canvas.label(26.0, TOP + PLOT_HEIGHT / 2.0, Anchor::Middle, &turned, "weight");
    canvas.finish()
}

/// The bins of one band, from the one before its first to the one after its last.
fn band(canvas: &mut Canvas, row: &MelRow, colour: &str, place: impl Fn(f64, f64) -> (f64, f64)) {
    if row.weights.is_empty() {
        return;
    }
    let first = row.first_bin as f64;
    let inner = row.weights.iter().enumerate().map(|(at, &weight)| (first + at as f64, weight));
    let ends = [(first - 1.0, 0.0), (first + row.weights.len() as f64, 0.0)];
    let corners = std::iter::once(ends[0]).chain(inner).chain([ends[1]]);
    let points: Vec<String> = corners
        .map(|(bin, weight)| {
            let (x, y) = place(bin.max(0.0), weight);
            format!("{x:.1},{y:.1}")
        })
        .collect();
    canvas.line(format_args!(
        r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="1"/>"#,
        points.join(" ")
    ));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::mel::{MelBank, band_centres_hz};
    use crate::signal::profile::profile;

    #[test]
    fn every_band_that_hears_something_is_a_line_and_every_other_one_a_mark() {
        for (name, n_empty) in [("paper", 3), ("lineage", 8), ("full-rank", 0)] {
            let front_end = profile(name).expect("a profile");
            let bank = MelBank::new(&front_end).expect("a bank");
            let svg = mel_bank_svg(&MelBankView {
                title: name,
                rows: bank.rows(),
                centres_hz: &band_centres_hz(&front_end),
                bin_hz: front_end.sample_rate.hz() / front_end.n_fft as f64,
                nyquist_hz: front_end.sample_rate.hz() / 2.0,
            });
            assert_eq!((svg.matches("<polyline").count(), svg.matches("<polygon").count()), (128 - n_empty, n_empty));
            assert!(!svg.contains("NaN") && svg.contains(&format!("{n_empty} with none")), "{name}");
        }
    }
}
