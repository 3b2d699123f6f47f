//! Reliability diagram: how often a model is right when it is so sure, and how sure it is how often.

use crate::pictures::{Anchor, Canvas, FAINT, INK, QUIET, grouped, percent};

/// One bin of confidence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReliabilityPoint {
    /// Mean confidence of its items.
    pub confidence: f64,
    /// Share of its items that are right.
    pub accuracy: f64,
    /// The accuracy's 95 % interval, where there is one.
    pub interval: Option<(f64, f64)>,
}

/// What the picture shows of one side.
#[derive(Clone, Copy, Debug)]
pub struct ReliabilityView<'a> {
    pub title: &'a str,
    /// Bins from the least confident.
    pub points: &'a [ReliabilityPoint],
    /// Items by confidence, in ranges of equal width from 0 to 1.
    pub histogram: &'a [u64],
    /// Of all items.
    pub mean_confidence: Option<f64>,
    pub accuracy: Option<f64>,
    /// Expected calibration error, and what a perfectly calibrated model would show.
    pub ece: Option<f64>,
    pub ece_floor: Option<f64>,
}

const SURE: &str = "#2563a8";
const RIGHT: &str = "#d9600b";
const GAP: &str = "#f5cdb0";
const LEFT: f64 = 76.0;
const SIZE: f64 = 400.0;
const TOP: f64 = 76.0;
const HISTOGRAM_TOP: f64 = TOP + SIZE + 92.0;
const HISTOGRAM_HEIGHT: f64 = 110.0;
const BOTTOM: f64 = HISTOGRAM_TOP + HISTOGRAM_HEIGHT;

/// Upper panel: accuracy over mean confidence of each bin, with intervals, and how far both lie apart; the dashed line is a model that is
/// right as often as it says. Lower panel: items by confidence, with the mean confidence and the accuracy of all.
pub fn reliability_svg(view: &ReliabilityView) -> String {
    let mut canvas = Canvas::new(LEFT + SIZE + 44.0, BOTTOM + 52.0, view.title);
    let n_items: u64 = view.histogram.iter().sum();
    let said = |share: Option<f64>| percent(share).map_or("–".into(), |share| format!("{share} %"));
    let summary = format!(
        "{} items · calibration error {} · {} if perfectly calibrated",
        grouped(n_items),
        said(view.ece),
        said(view.ece_floor)
    );
    canvas.label(24.0, 54.0, Anchor::Start, &format!(r#"fill="{QUIET}""#), &summary);
    axes(&mut canvas);
    if n_items == 0 {
        canvas.label(LEFT + SIZE / 2.0, TOP + SIZE / 2.0 - 30.0, Anchor::Middle, "", "no labelled items");
    }
    points(&mut canvas, view.points);
    histogram(&mut canvas, view);
    canvas.finish()
}

fn x_of(confidence: f64) -> f64 {
    LEFT + SIZE * confidence.clamp(0.0, 1.0)
}

fn y_of(accuracy: f64) -> f64 {
    TOP + SIZE * (1.0 - accuracy.clamp(0.0, 1.0))
}

fn axes(canvas: &mut Canvas) {
    let quiet = format!(r#"fill="{QUIET}""#);
    let faint = format!(r#"stroke="{FAINT}""#);
    for tick in 0..=5 {
        let share = f64::from(tick) / 5.0;
        let text = format!("{}", 20 * tick);
        canvas.stroke((LEFT, y_of(share)), (LEFT + SIZE, y_of(share)), &faint);
        canvas.stroke((x_of(share), TOP), (x_of(share), TOP + SIZE), &faint);
        canvas.label(LEFT - 8.0, y_of(share) + 4.0, Anchor::End, &quiet, &text);
        canvas.label(x_of(share), TOP + SIZE + 19.0, Anchor::Middle, &quiet, &text);
        canvas.label(x_of(share), BOTTOM + 19.0, Anchor::Middle, &quiet, &text);
    }
    let middle = TOP + SIZE / 2.0;
    let turned = format!(r#"font-weight="600" transform="rotate(-90 32 {middle})""#);
    canvas.label(32.0, middle, Anchor::Middle, &turned, "accuracy (%)");
    canvas.label(
        LEFT + SIZE / 2.0,
        TOP + SIZE + 38.0,
        Anchor::Middle,
        "",
        "mean confidence of a tenth of the items (%)",
    );
    canvas.label(LEFT + SIZE / 2.0, BOTTOM + 38.0, Anchor::Middle, "", "confidence of an item (%)");
    let dashed = format!(r#"stroke="{QUIET}" stroke-dasharray="4 3""#);
    canvas.stroke((x_of(0.0), y_of(0.0)), (x_of(1.0), y_of(1.0)), &dashed);
}

fn points(canvas: &mut Canvas, points: &[ReliabilityPoint]) {
    for point in points {
        let x = x_of(point.confidence);
        let gap = format!(r#"stroke="{GAP}" stroke-width="7""#);
        canvas.stroke((x, y_of(point.confidence)), (x, y_of(point.accuracy)), &gap);
    }
    for point in points {
        let (x, style) = (x_of(point.confidence), format!(r#"stroke="{SURE}" stroke-width="1.5""#));
        let Some((low, high)) = point.interval else { continue };
        canvas.stroke((x, y_of(low)), (x, y_of(high)), &style);
        for end in [low, high] {
            canvas.stroke((x - 4.0, y_of(end)), (x + 4.0, y_of(end)), &style);
        }
    }
    let places: Vec<String> =
        points.iter().map(|point| format!("{:.1},{:.1}", x_of(point.confidence), y_of(point.accuracy))).collect();
    canvas.line(format_args!(
        r#"<polyline points="{}" fill="none" stroke="{SURE}" stroke-width="2" stroke-linejoin="round"/>"#,
        places.join(" ")
    ));
    for point in points {
        let (x, y) = (x_of(point.confidence), y_of(point.accuracy));
        canvas.line(format_args!(r#"<circle cx="{x:.1}" cy="{y:.1}" r="3.5" fill="{SURE}"/>"#));
    }
}

fn histogram(canvas: &mut Canvas, view: &ReliabilityView) {
    let most = view.histogram.iter().copied().max().unwrap_or(0).max(1);
    let width = SIZE / view.histogram.len().max(1) as f64;
    for (number, &count) in view.histogram.iter().enumerate().filter(|(_, count)| **count > 0) {
        let height = HISTOGRAM_HEIGHT * count as f64 / most as f64;
        let (x, y) = (LEFT + number as f64 * width, BOTTOM - height);
        canvas.line(format_args!(
            r##"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" fill="#c9d9ea" stroke="#ffffff"/>"##
        ));
    }
    canvas.stroke((LEFT, BOTTOM), (LEFT + SIZE, BOTTOM), &format!(r#"stroke="{INK}""#));
    canvas.label(LEFT - 8.0, HISTOGRAM_TOP + 8.0, Anchor::End, &format!(r#"fill="{QUIET}""#), &grouped(most));
    let marks = [(view.accuracy, RIGHT, "accuracy"), (view.mean_confidence, SURE, "mean confidence")];
    for (rank, (share, colour, name)) in marks.into_iter().enumerate() {
        let Some(share) = share else { continue };
        let x = x_of(share);
        canvas.stroke((x, HISTOGRAM_TOP - 6.0), (x, BOTTOM), &format!(r#"stroke="{colour}" stroke-width="2""#));
        // A line for each above the bars, away from the border that is near.
        let (anchor, y) =
            (if share > 0.5 { Anchor::End } else { Anchor::Start }, HISTOGRAM_TOP - 27.0 + 15.0 * rank as f64);
        let text = format!("{name} {} %", percent(Some(share)).unwrap_or_default());
        canvas.label(x, y, anchor, &format!(r#"fill="{colour}" font-weight="600""#), &text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points() -> Vec<ReliabilityPoint> {
        let point = |bin: u32| {
            let confidence = 0.3 + 0.07 * f64::from(bin);
            let accuracy = 0.2 + 0.06 * f64::from(bin);
            ReliabilityPoint { confidence, accuracy, interval: Some((accuracy - 0.08, accuracy + 0.07)) }
        };
        (0..10).map(point).collect()
    }

    fn view<'a>(points: &'a [ReliabilityPoint], histogram: &'a [u64]) -> ReliabilityView<'a> {
        ReliabilityView {
            title: "Reliability, test side",
            points,
            histogram,
            mean_confidence: Some(0.625),
            accuracy: Some(0.47),
            ece: Some(0.155),
            ece_floor: Some(0.031),
        }
    }

    #[test]
    fn every_bin_has_a_dot_an_interval_and_a_gap() {
        let mut points = points();
        let mut histogram = [0u64; 20];
        (5..20).for_each(|bar| histogram[bar] = 10 + 7 * bar as u64 % 40);
        let svg = reliability_svg(&view(&points, &histogram));
        assert_eq!((svg.matches("<circle").count(), svg.matches(GAP).count()), (10, 10));
        assert_eq!(svg.matches("<rect").count(), 1 + 15, "the background and a bar for each range with items");
        assert!(svg.contains("calibration error 15.5 %") && svg.contains("3.1 % if perfectly calibrated"));
        assert!(svg.contains("mean confidence 62.5") && svg.contains("accuracy 47.0"));
        let n_strokes = svg.matches("<line").count();
        points.iter_mut().for_each(|point| point.interval = None);
        let without = reliability_svg(&view(&points, &histogram));
        assert_eq!(without.matches("<line").count(), n_strokes - 30);
    }

    #[test]
    fn a_side_without_items_is_drawn_without_a_number_that_is_none() {
        let none = ReliabilityView {
            mean_confidence: None,
            accuracy: None,
            ece: None,
            ece_floor: None,
            ..view(&[], &[0; 20])
        };
        let svg = reliability_svg(&none);
        assert!(!svg.contains("NaN") && svg.contains("calibration error –") && svg.contains("no labelled items"));
        assert!(!reliability_svg(&view(&[], &[])).contains("NaN"));
    }
}
