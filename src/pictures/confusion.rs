//! The confusion matrix as a heat map with counts and the percentage of each row.

use crate::metrics::Confusion;
use crate::pictures::{Anchor, Canvas, INK, QUIET, colour_at, grouped};

const CELL_WIDTH: f64 = 78.0;
const CELL_HEIGHT: f64 = 54.0;
const LEFT: f64 = 126.0;
const TOP: f64 = 118.0;

/// White to dark blue; lightness falls evenly.
const BLUES: [[u8; 3]; 6] =
    [[255, 255, 255], [219, 233, 246], [171, 207, 229], [106, 174, 214], [43, 115, 180], [8, 48, 107]];

/// Rows are the truth, columns the prediction; colour and percentage are shares of the row, so the diagonal
/// shows the recall of each class. Right and below: how often each class occurs and is predicted.
pub fn confusion_svg(confusion: &Confusion, classes: &[String], title: &str) -> String {
    let n = classes.len() as f64;
    let (right, bottom) = (LEFT + n * CELL_WIDTH, TOP + n * CELL_HEIGHT);
    let mut canvas = Canvas::new(right + 84.0, bottom + 56.0, title);
    let quiet = format!(r#"fill="{QUIET}""#);
    canvas.label(24.0, 54.0, Anchor::Start, &quiet, &summary(confusion));
    canvas.label((LEFT + right) / 2.0, TOP - 30.0, Anchor::Middle, r#"font-weight="600""#, "predicted");
    let middle = (TOP + bottom) / 2.0;
    let turned = format!(r#"font-weight="600" transform="rotate(-90 32 {middle})""#);
    canvas.label(32.0, middle, Anchor::Middle, &turned, "true");
    canvas.label(right + 42.0, TOP - 10.0, Anchor::Middle, &quiet, "count");
    canvas.label(LEFT - 12.0, bottom + 24.0, Anchor::End, &quiet, "count");
    for (index, class) in classes.iter().enumerate() {
        let (x, y) = (LEFT + index as f64 * CELL_WIDTH, TOP + index as f64 * CELL_HEIGHT);
        let score = confusion.class(index);
        canvas.label(x + CELL_WIDTH / 2.0, TOP - 10.0, Anchor::Middle, "", class);
        canvas.label(LEFT - 12.0, y + CELL_HEIGHT / 2.0 + 4.0, Anchor::End, "", class);
        canvas.label(x + CELL_WIDTH / 2.0, bottom + 24.0, Anchor::Middle, &quiet, &grouped(score.predicted));
        canvas.label(right + 42.0, y + CELL_HEIGHT / 2.0 + 4.0, Anchor::Middle, &quiet, &grouped(score.support));
        for column in 0..classes.len() {
            cell(&mut canvas, confusion.count(index, column), score.support, (column, index));
        }
    }
    let (width, height) = (right - LEFT, bottom - TOP);
    canvas.line(format_args!(
        r#"<rect x="{LEFT}" y="{TOP}" width="{width}" height="{height}" fill="none" stroke="{QUIET}"/>"#
    ));
    canvas.finish()
}

fn cell(canvas: &mut Canvas, count: u64, support: u64, (column, row): (usize, usize)) {
    let (x, y) = (LEFT + column as f64 * CELL_WIDTH, TOP + row as f64 * CELL_HEIGHT);
    let share = if support > 0 { count as f64 / support as f64 } else { 0.0 };
    let [red, green, blue] = colour_at(&BLUES, share);
    canvas.line(format_args!(
        r##"<rect x="{x:.1}" y="{y:.1}" width="{CELL_WIDTH}" height="{CELL_HEIGHT}" fill="#{red:02x}{green:02x}{blue:02x}" stroke="#ffffff"/>"##
    ));
    let ink = match (count, share > 0.6) {
        (0, _) => "#9aa5b1",
        (_, true) => "#ffffff",
        _ => INK,
    };
    let middle = x + CELL_WIDTH / 2.0;
    if count == 0 {
        return canvas.label(middle, y + 31.0, Anchor::Middle, &format!(r#"fill="{ink}""#), "0");
    }
    let weight = if column == row { r#" font-weight="600""# } else { "" };
    let style = format!(r#"font-size="15" fill="{ink}"{weight}"#);
    canvas.label(middle, y + 25.0, Anchor::Middle, &style, &grouped(count));
    let style = format!(r#"font-size="11" fill="{ink}""#);
    canvas.label(middle, y + 42.0, Anchor::Middle, &style, &format!("{:.1} %", 100.0 * share));
}

fn summary(confusion: &Confusion) -> String {
    let percent = |share: Option<f64>| share.map_or("–".into(), |share| format!("{:.2} %", 100.0 * share));
    let (accuracy, uar) = (percent(confusion.accuracy()), percent(confusion.uar()));
    format!("{} recordings · accuracy {accuracy} · unweighted average recall {uar}", grouped(confusion.total()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::Labels;

    #[test]
    fn every_count_and_row_percentage_is_written() {
        let classes = Labels::shipped("seven").expect("shipped").classes;
        let mut confusion = Confusion::new(7);
        confusion.add(0, 0, 1234);
        confusion.add(0, 3, 1);
        let svg = confusion_svg(&confusion, &classes, "one row");
        assert!(svg.contains(">1,234<") && svg.contains(">99.9 %<") && svg.contains(">0.1 %<"));
        assert_eq!(svg.matches(">0</text>").count(), 47 + 6 + 5, "cells, empty rows, empty columns");
        assert!(svg.contains("1,235 recordings") && svg.contains("accuracy 99.92 %"));
        assert!(classes.iter().all(|class| svg.matches(&format!(">{class}<")).count() == 2));
    }

    #[test]
    fn an_empty_matrix_is_drawn_without_a_number_that_is_none() {
        let svg = confusion_svg(&Confusion::new(2), &["a".to_string(), "b".to_string()], "empty");
        assert!(!svg.contains("NaN") && svg.contains("accuracy –"));
    }
}
