//! Pictures of a run as SVG text: training curves, confusion matrix, reliability diagram, spectrogram, one recording as a whole; that one also
//! for a terminal. Pure: numbers in, text out.
//!
//! Every SVG has a light background, a `viewBox` and system fonts, and needs nothing outside itself.

pub mod confusion;
pub mod curves;
pub mod flow;
pub mod inspection;
pub mod mel_bank;
pub mod reliability;
pub mod spectrogram;
pub mod terminal;

use std::fmt::Write;

pub use confusion::confusion_svg;
pub use curves::{EpochPoint, curves_svg};
pub use flow::{Step, flow_svg};
pub use inspection::{InspectionView, WaveView, inspection_svg};
pub use mel_bank::{MelBankView, mel_bank_svg};
pub use reliability::{ReliabilityPoint, ReliabilityView, reliability_svg};
pub use spectrogram::{SpectrogramView, spectrogram_svg};
pub use terminal::{inspection_text, wrapped};

/// Text, axes and lines.
const INK: &str = "#1f2933";
/// Labels that may stay in the background.
const QUIET: &str = "#616e7c";
/// Grid lines.
const FAINT: &str = "#e4e7eb";

/// Where a text hangs on its point.
#[derive(Clone, Copy)]
enum Anchor {
    Start,
    Middle,
    End,
}

/// One SVG picture under construction; coordinates are pixels of its `viewBox`, y downwards.
struct Canvas {
    text: String,
}

impl Canvas {
    /// An empty picture with a white background, `title` in its upper left corner and as its accessible name.
    fn new(width: f64, height: f64, title: &str) -> Self {
        let mut canvas = Self { text: String::new() };
        canvas.line(format_args!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" font-family="system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'DejaVu Sans', sans-serif" font-size="12" fill="{INK}">"#
        ));
        canvas.line(format_args!("<title>{}</title>", escape(title)));
        canvas.line(format_args!(r##"<rect width="{width}" height="{height}" fill="#ffffff"/>"##));
        // Letters of this size are at most 10 pixels wide on average.
        let room = ((width - 48.0) / 10.0) as usize;
        canvas.label(24.0, 30.0, Anchor::Start, r#"font-size="17" font-weight="600""#, &shortened(title, room));
        canvas
    }

    /// Adds one line of SVG.
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.text, "{line}").expect("writing to a string cannot fail");
    }

    /// Adds a text; `style` holds further attributes.
    fn label(&mut self, x: f64, y: f64, anchor: Anchor, style: &str, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escape(text);
        self.line(format_args!(r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" {style}>{text}</text>"#));
    }

    /// Adds a straight line; `style` holds its stroke.
    fn stroke(&mut self, from: (f64, f64), to: (f64, f64), style: &str) {
        let ((x1, y1), (x2, y2)) = (from, to);
        self.line(format_args!(r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" {style}/>"#));
    }

    fn finish(mut self) -> String {
        self.text.push_str("</svg>\n");
        self.text
    }
}

/// Text as XML content or attribute value; characters that XML 1.0 forbids become U+FFFD.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\t' | '\n' | '\r' => out.push(' '),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// At most `room` characters, the last an ellipsis if some were cut.
fn shortened(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    text.chars().take(room.saturating_sub(1)).chain(['…']).collect()
}

/// Round numbers from at or below `low` to at or above `high`, about `n_wanted` steps apart by 1, 2 or 5 times
/// a power of ten; at least two.
fn ticks(low: f64, high: f64, n_wanted: usize) -> Vec<f64> {
    let span = if high > low { high - low } else { 1.0 };
    let rough = span / n_wanted.max(1) as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|step| *step >= rough * 0.999).unwrap_or(rough);
    let first = (low / step + 1e-9).floor() as i64;
    let last = ((low + span) / step - 1e-9).ceil() as i64;
    (first..=last.max(first + 1)).map(|i| i as f64 * step).collect()
}

/// A tick's number with as many decimals as the step between ticks needs.
fn tick_label(value: f64, step: f64) -> String {
    let decimals = (-step.log10() - 1e-9).ceil().max(0.0) as usize;
    let text = format!("{value:.decimals$}");
    if text.starts_with('-') && text[1..].chars().all(|c| matches!(c, '0' | '.')) { text[1..].to_owned() } else { text }
}

/// A count with a comma between thousands.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A share in percent, to a tenth.
pub fn percent(share: Option<f64>) -> Option<String> {
    share.map(|share| format!("{:.1}", 100.0 * share))
}

/// The colour at `share` in `[0, 1]` of a map given by evenly spaced colours.
fn colour_at(map: &[[u8; 3]], share: f64) -> [u8; 3] {
    let position = share.clamp(0.0, 1.0) * (map.len() - 1) as f64;
    let below = (position.floor() as usize).min(map.len() - 2);
    let weight = position - below as f64;
    std::array::from_fn(|i| {
        let (a, b) = (f64::from(map[below][i]), f64::from(map[below + 1][i]));
        (a + (b - a) * weight).round() as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_break_out_of_the_xml() {
        assert_eq!(escape("a<b> & \"c\" 'd'\u{0}"), "a&lt;b&gt; &amp; &quot;c&quot; &#39;d&#39;\u{fffd}");
        let svg = Canvas::new(400.0, 100.0, "</svg><script>").finish();
        assert!(!svg.contains("<script>"));
        assert_eq!(svg.matches("</svg>").count(), 1);
    }

    #[test]
    fn ticks_are_round_and_hold_the_range() {
        assert_eq!(ticks(0.0, 1.0, 5), [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]);
        assert_eq!(ticks(0.0, 95.0, 5), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        for (low, high) in [(0.0, 0.0), (-23.0, 4.5), (1.0, 100.0), (0.0, 1e-6), (3.0, 3.0), (0.41, 0.43)] {
            let ticks = ticks(low, high, 5);
            assert!((2..=8).contains(&ticks.len()), "{low} {high}: {ticks:?}");
            assert!(ticks[0] <= low + 1e-9 && ticks[ticks.len() - 1] >= high - 1e-9, "{low} {high}: {ticks:?}");
        }
    }

    #[test]
    fn numbers_are_written_as_people_read_them() {
        assert_eq!(tick_label(0.6000000000000001, 0.2), "0.6");
        assert_eq!(tick_label(-0.0, 0.5), "0.0");
        assert_eq!(tick_label(40.0, 20.0), "40");
        assert_eq!(["0", "999", "1,890", "1,234,567"], [0, 999, 1890, 1_234_567].map(grouped));
        assert_eq!(shortened("emotion", 4), "emo…");
        assert_eq!(shortened("emotion", 7), "emotion");
    }

    #[test]
    fn colours_run_from_end_to_end() {
        let map = [[0, 0, 0], [100, 0, 0], [100, 200, 0]];
        assert_eq!(colour_at(&map, -1.0), [0, 0, 0]);
        assert_eq!(colour_at(&map, 0.25), [50, 0, 0]);
        assert_eq!(colour_at(&map, 1.0), [100, 200, 0]);
    }
}
