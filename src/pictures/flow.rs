//! Steps of a chain as boxes with arrows between them.

use crate::pictures::{Anchor, Canvas, INK, QUIET, shortened};

/// One box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What happens.
    pub name: String,
    /// With which numbers; a line of the box each; what does not fit is cut.
    pub details: Vec<String>,
}

impl Step {
    pub fn new(name: impl Into<String>, details: impl IntoIterator<Item = String>) -> Self {
        Self { name: name.into(), details: details.into_iter().collect() }
    }
}

const BOX_WIDTH: f64 = 190.0;
/// Letters that a line of a box has room for.
const ROOM: usize = 29;
const GAP: f64 = 34.0;
const LEFT: f64 = 24.0;
const TOP: f64 = 58.0;
const LINE: f64 = 17.0;

/// Boxes in the order of reading, `n_columns` beside each other; a row is as high as its fullest box.
pub fn flow_svg(title: &str, steps: &[Step], n_columns: usize) -> String {
    let n_columns = n_columns.clamp(1, steps.len().max(1));
    let width = 2.0 * LEFT + n_columns as f64 * (BOX_WIDTH + GAP) - GAP;
    let rows: Vec<&[Step]> = steps.chunks(n_columns).collect();
    let height_of =
        |row: &[Step]| 40.0 + LINE * row.iter().map(|step| step.details.len()).max().unwrap_or_default() as f64;
    let height = rows.iter().map(|row| height_of(row) + GAP).sum::<f64>();
    let mut canvas = Canvas::new(width, TOP + height - GAP + 24.0, title);
    let mut top = TOP;
    for (index, row) in rows.iter().enumerate() {
        let height = height_of(row);
        for (column, step) in row.iter().enumerate() {
            let left = LEFT + column as f64 * (BOX_WIDTH + GAP);
            draw(&mut canvas, step, (left, top), height);
            if column + 1 < row.len() {
                let middle = top + height / 2.0;
                arrow(&mut canvas, &[(left + BOX_WIDTH, middle), (left + BOX_WIDTH + GAP, middle)]);
            }
        }
        if index + 1 < rows.len() {
            let from = LEFT + (row.len() - 1) as f64 * (BOX_WIDTH + GAP) + BOX_WIDTH / 2.0;
            let (to, half) = (LEFT + BOX_WIDTH / 2.0, top + height + GAP / 2.0);
            arrow(&mut canvas, &[(from, top + height), (from, half), (to, half), (to, top + height + GAP)]);
        }
        top += height + GAP;
    }
    canvas.finish()
}

fn draw(canvas: &mut Canvas, step: &Step, (left, top): (f64, f64), height: f64) {
    canvas.line(format_args!(
        r##"<rect x="{left:.1}" y="{top:.1}" width="{BOX_WIDTH}" height="{height:.1}" rx="6" fill="#eef4fb" stroke="#2563a8"/>"##
    ));
    let middle = left + BOX_WIDTH / 2.0;
    canvas.label(middle, top + 24.0, Anchor::Middle, &format!(r#"font-weight="600" fill="{INK}""#), &step.name);
    for (index, line) in step.details.iter().enumerate() {
        let y = top + 26.0 + LINE * (index + 1) as f64;
        canvas.label(middle, y, Anchor::Middle, &format!(r#"fill="{QUIET}""#), &shortened(line, ROOM));
    }
}

/// A line through `points` with a head at its end.
fn arrow(canvas: &mut Canvas, points: &[(f64, f64)]) {
    let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    canvas
        .line(format_args!(r#"<polyline points="{}" fill="none" stroke="{INK}" stroke-width="1.5"/>"#, path.join(" ")));
    if let [.., (x0, y0), (x, y)] = points {
        // The last stretch runs to the right or down.
        let (dx, dy) = if (x - x0).abs() > (y - y0).abs() { (-8.0, 4.0) } else { (4.0, -8.0) };
        let (a, b) = if dx < 0.0 { ((x + dx, y - dy), (x + dx, y + dy)) } else { ((x - dx, y + dy), (x + dx, y + dy)) };
        canvas.line(format_args!(
            r#"<polygon points="{x:.1},{y:.1} {:.1},{:.1} {:.1},{:.1}" fill="{INK}"/>"#,
            a.0, a.1, b.0, b.1
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_is_a_box_and_leads_to_the_next_one() {
        let steps: Vec<Step> = (0..7).map(|i| Step::new(format!("step {i}"), [format!("detail <{i}>")])).collect();
        let svg = flow_svg("seven", &steps, 3);
        assert_eq!((svg.matches("rx=").count(), svg.matches("<polygon").count()), (7, 6));
        assert!((0..7).all(|i| svg.contains(&format!("detail &lt;{i}&gt;"))));
        assert!(flow_svg("none", &[], 3).ends_with("</svg>\n"));
    }
}
