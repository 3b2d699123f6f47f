//! Training curves: loss and accuracy over the epochs, the best epoch marked.

use crate::pictures::{Anchor, Canvas, FAINT, INK, QUIET, tick_label, ticks};

/// One epoch of a training history.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EpochPoint {
    /// Number of the epoch, from 1.
    pub epoch: u32,
    /// Mean cross-entropy of the training set, in nats.
    pub train_loss: f64,
    /// Mean cross-entropy of the held-out side, in nats; not a number where there is none.
    pub held_out_loss: f64,
    /// Share of right predictions in the training set.
    pub train_accuracy: f64,
    /// Share of right predictions on the held-out side; not a number where there is none.
    pub held_out_accuracy: f64,
    /// Whether this epoch's network was kept.
    pub is_best: bool,
}

const TRAIN: &str = "#2563a8";
const HELD_OUT: &str = "#d9600b";
const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 412.0;
/// Plot area: top, height, width, and the left edge of both panels.
const TOP: f64 = 104.0;
const PANEL_HEIGHT: f64 = 246.0;
const PANEL_WIDTH: f64 = 382.0;
const LEFT: [f64; 2] = [76.0, 554.0];

type Value = fn(&EpochPoint) -> f64;

/// Two panels beside each other, 960 x 412: loss on the left, accuracy in percent on the right.
/// `held_out` names the side that is not trained on: it is `validation` or, where a protocol leaks, `test`.
/// A value that is not finite leaves a gap in its line.
pub fn curves_svg(history: &[EpochPoint], title: &str, held_out: &str) -> String {
    let mut canvas = Canvas::new(WIDTH, HEIGHT, title);
    legend(&mut canvas, held_out);
    let loss: [Value; 2] = [|point| point.train_loss, |point| point.held_out_loss];
    let accuracy: [Value; 2] = [|point| 100.0 * point.train_accuracy, |point| 100.0 * point.held_out_accuracy];
    panel(&mut canvas, history, LEFT[0], "loss (cross-entropy)", loss, None);
    panel(&mut canvas, history, LEFT[1], "accuracy (%)", accuracy, Some(100.0));
    canvas.finish()
}

fn legend(canvas: &mut Canvas, held_out: &str) {
    for (x, colour, name) in [(LEFT[0], TRAIN, "training"), (LEFT[0] + 100.0, HELD_OUT, held_out)] {
        canvas.stroke((x, 54.0), (x + 24.0, 54.0), &format!(r#"stroke="{colour}" stroke-width="2.5""#));
        canvas.label(x + 31.0, 58.0, Anchor::Start, "", name);
    }
    let x = LEFT[0] + 212.0;
    canvas.stroke((x, 46.0), (x, 62.0), &format!(r#"stroke="{QUIET}" stroke-dasharray="4 3""#));
    canvas.label(x + 9.0, 58.0, Anchor::Start, "", "epoch that was kept");
}

/// One panel: axes, grid, both lines, the best epoch. `limit` caps the axis where values cannot go beyond it.
fn panel(canvas: &mut Canvas, history: &[EpochPoint], left: f64, name: &str, values: [Value; 2], limit: Option<f64>) {
    let (bottom, right) = (TOP + PANEL_HEIGHT, left + PANEL_WIDTH);
    canvas.label(left, TOP - 10.0, Anchor::Start, r#"font-weight="600""#, name);
    let finite = history.iter().flat_map(|point| values.map(|value| value(point))).filter(|value| value.is_finite());
    let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), value| (a.min(value), b.max(value)));
    // A loss near zero should look near zero, so its axis starts there; an accuracy's axis spends its room on
    // the range that occurs, but not on less than ten points, which would make noise look like news.
    let (low, high) = match limit {
        _ if low > high => (0.0, limit.unwrap_or(1.0)),
        Some(limit) => ((low.min(high - 10.0)).max(0.0), high.max(low + 10.0).min(limit)),
        None => (low.min(0.0), high),
    };
    let rows: Vec<f64> =
        ticks(low, high, 5).into_iter().filter(|&row| limit.is_none_or(|limit| row <= limit)).collect();
    let (low, high) = (rows[0], rows[rows.len() - 1].max(rows[0] + f64::EPSILON));
    let first = history.iter().map(|point| point.epoch).min().unwrap_or(1);
    let last = history.iter().map(|point| point.epoch).max().unwrap_or(1).max(first + 1);
    let x_of = |epoch: u32| left + 8.0 + (PANEL_WIDTH - 16.0) * f64::from(epoch - first) / f64::from(last - first);
    let y_of = |value: f64| bottom - PANEL_HEIGHT * (value - low) / (high - low);
    for &row in &rows {
        canvas.stroke((left, y_of(row)), (right, y_of(row)), &format!(r#"stroke="{FAINT}""#));
        let label = tick_label(row, rows[1] - rows[0]);
        canvas.label(left - 8.0, y_of(row) + 4.0, Anchor::End, &format!(r#"fill="{QUIET}""#), &label);
    }
    canvas.stroke((left, bottom), (right, bottom), &format!(r#"stroke="{INK}""#));
    let n_epochs = history.iter().map(|point| point.epoch).max().unwrap_or(0);
    for epoch in epoch_ticks(first, last).into_iter().filter(|&epoch| epoch <= n_epochs) {
        canvas.stroke((x_of(epoch), bottom), (x_of(epoch), bottom + 5.0), &format!(r#"stroke="{INK}""#));
        let style = format!(r#"fill="{QUIET}""#);
        canvas.label(x_of(epoch), bottom + 19.0, Anchor::Middle, &style, &epoch.to_string());
    }
    canvas.label((left + right) / 2.0, bottom + 40.0, Anchor::Middle, "", "epoch");
    if history.is_empty() {
        canvas.label((left + right) / 2.0, TOP + PANEL_HEIGHT / 2.0, Anchor::Middle, "", "no epochs yet");
    }
    if let Some(best) = history.iter().find(|point| point.is_best) {
        let x = x_of(best.epoch);
        canvas.stroke((x, TOP), (x, bottom), &format!(r#"stroke="{QUIET}" stroke-dasharray="4 3""#));
    }
    for (value, colour) in values.into_iter().zip([TRAIN, HELD_OUT]) {
        curve(canvas, history, colour, |point| (x_of(point.epoch), y_of(value(point))));
    }
    if let Some(best) = history.iter().find(|point| point.is_best && values[1](point).is_finite()) {
        mark_best(canvas, best, values[1](best), (x_of(best.epoch), y_of(values[1](best))), right);
    }
}

/// A ring on the held-out line, and its number in the panel's upper corner, where no line runs.
fn mark_best(canvas: &mut Canvas, best: &EpochPoint, value: f64, (x, y): (f64, f64), right: f64) {
    canvas.line(format_args!(
        r##"<circle cx="{x:.1}" cy="{y:.1}" r="5" fill="#ffffff" stroke="{HELD_OUT}" stroke-width="2.5"/>"##
    ));
    let number = if value >= 10.0 { format!("{value:.1}") } else { format!("{value:.3}") };
    let text = format!("epoch {}: {number}", best.epoch);
    canvas.label(right, TOP - 10.0, Anchor::End, &format!(r#"fill="{HELD_OUT}" font-weight="600""#), &text);
}

/// One line through all finite points; dots as well when there are few.
fn curve(canvas: &mut Canvas, history: &[EpochPoint], colour: &str, place: impl Fn(&EpochPoint) -> (f64, f64)) {
    let places: Vec<(f64, f64)> = history.iter().map(place).collect();
    for run in places.split(|(_, y)| !y.is_finite()).filter(|run| !run.is_empty()) {
        let points: Vec<String> = run.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        canvas.line(format_args!(
            r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2" stroke-linejoin="round"/>"#,
            points.join(" ")
        ));
        if history.len() <= 30 {
            for (x, y) in run {
                canvas.line(format_args!(r#"<circle cx="{x:.1}" cy="{y:.1}" r="2.5" fill="{colour}"/>"#));
            }
        }
    }
}

/// Whole epochs only, inside the range.
fn epoch_ticks(first: u32, last: u32) -> Vec<u32> {
    let places = ticks(f64::from(first), f64::from(last), 8);
    let whole = places.into_iter().filter(|place| place.fract() == 0.0 && *place >= f64::from(first));
    let mut epochs: Vec<u32> = whole.map(|place| place as u32).filter(|epoch| *epoch <= last).collect();
    // The first epoch is worth a label unless the next one would touch it.
    if epochs.first().is_none_or(|&next| f64::from(next - first) > 0.05 * f64::from(last - first)) {
        epochs.insert(0, first);
    }
    epochs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(n: u32) -> Vec<EpochPoint> {
        let point = |epoch: u32| EpochPoint {
            epoch,
            train_loss: 2.0 / f64::from(epoch),
            held_out_loss: 2.0 / f64::from(epoch) + 0.1,
            train_accuracy: 0.9,
            held_out_accuracy: 0.8,
            is_best: epoch == 3,
        };
        (1..=n).map(point).collect()
    }

    #[test]
    fn each_panel_has_two_lines_and_the_best_epoch() {
        let svg = curves_svg(&history(40), "paper", "validation");
        assert_eq!(svg.matches("<polyline").count(), 4);
        assert!(svg.contains("epoch 3: 80.0") && svg.contains("epoch 3: 0.767"));
    }

    #[test]
    fn a_number_that_is_not_finite_leaves_a_gap_and_no_nan() {
        let mut points = history(10);
        points[4].train_loss = f64::NAN;
        points[7].held_out_loss = f64::INFINITY;
        let svg = curves_svg(&points, "gap", "validation");
        assert_eq!(svg.matches("<polyline").count(), 6);
        assert!(!svg.contains("NaN") && !svg.contains("inf,"));
    }

    #[test]
    fn short_histories_are_drawn_as_well() {
        for n in [0, 1, 2] {
            let svg = curves_svg(&history(n), "short", "validation");
            assert!(!svg.contains("NaN") && svg.ends_with("</svg>\n"), "{n}");
        }
        assert!(curves_svg(&[], "none", "validation").contains("no epochs yet"));
    }

    #[test]
    fn epochs_on_the_axis_are_whole_and_inside() {
        for (first, last) in [(1, 2), (1, 3), (1, 37), (1, 100), (5, 6)] {
            let ticks = epoch_ticks(first, last);
            assert!(ticks.is_sorted() && ticks.iter().all(|epoch| (first..=last).contains(epoch)), "{ticks:?}");
            assert_eq!(ticks[0], first);
        }
    }
}
