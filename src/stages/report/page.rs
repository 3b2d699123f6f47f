//! The report as a Markdown page that stands beside its pictures.

use std::fmt::Write;

use crate::metrics::Confusion;
use crate::tables::history::HistoryRow;
use crate::tables::metrics::MetricRow;

/// What the page tells.
pub struct Page<'a> {
    pub model_id: &'a str,
    pub pipeline: &'a str,
    pub protocol: &'a str,
    /// What speaks against the numbers.
    pub warning: &'a str,
    /// Names of the classes, in their order.
    pub classes: &'a [String],
    pub metrics: &'a [MetricRow],
    /// Side and confusion of the slice `all` of each side.
    pub confusions: &'a [(String, Confusion)],
    pub history: &'a [HistoryRow],
    /// File names of the pictures beside the page, with a caption each.
    pub pictures: &'a [(String, String)],
}

/// The page's text.
pub fn markdown(page: &Page) -> String {
    let mut text = String::new();
    let mut line = |args: std::fmt::Arguments| writeln!(text, "{args}").expect("writing to a string cannot fail");
    line(format_args!("# {}\n", page.model_id));
    line(format_args!("Pipeline `{}`, protocol `{}`.\n", page.pipeline, page.protocol));
    if !page.warning.is_empty() {
        line(format_args!("> **Note:** {}.\n", page.warning));
    }
    line(format_args!("## Overall\n\n| side | slice | items | classes | accuracy | UAR | drawn by | macro F1 |"));
    line(format_args!("|---|---|---|---|---|---|---|---|"));
    for overall in page.metrics.iter().filter(|row| row.metric == "accuracy") {
        let other = |metric: &str| {
            page.metrics.iter().find(|row| {
                row.metric == metric && row.class == "all" && row.split == overall.split && row.slice == overall.slice
            })
        };
        line(format_args!(
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            overall.split,
            overall.slice,
            overall.support,
            other("uar").and_then(|uar| uar.n_classes).unwrap_or(0),
            percent(Some(overall)),
            percent(other("uar")),
            other("uar").and_then(|uar| uar.interval.as_deref()).unwrap_or("-"),
            percent(other("macro_f1"))
        ));
    }
    line(format_args!(
        "\nIn percent; intervals are 95 %: Wilson's for the accuracy (items taken as independent), a bootstrap for the UAR, \
         which draws what \"drawn by\" says. UAR and macro F1 are means over the classes that occur: a class without an item \
         is left out, where other tools count it as 0."
    ));
    for (split, confusion) in page.confusions {
        line(format_args!(
            "\n## Classes, {split} side\n\n| class | precision | recall | F1 | support |\n|---|---|---|---|---|"
        ));
        for (index, class) in page.classes.iter().enumerate() {
            let score = confusion.class(index);
            let show = |value: Option<f64>| value.map_or("-".into(), |value| format!("{:.1}", 100.0 * value));
            let (precision, recall, f1) = (show(score.precision), show(score.recall), show(score.f1));
            line(format_args!("| {class} | {precision} | {recall} | {f1} | {} |", score.support));
        }
    }
    if !page.history.is_empty() {
        line(format_args!(
            "\n## Epochs\n\n| epoch | train loss | train accuracy | monitored loss | monitored accuracy | seconds |"
        ));
        line(format_args!("|---|---|---|---|---|---|"));
        let show = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.4}"));
        for row in page.history {
            let best = if row.is_best { " (best)" } else { "" };
            line(format_args!(
                "| {}{best} | {:.4} | {:.4} | {} | {} | {:.1} |",
                row.epoch,
                row.train_loss,
                row.train_accuracy,
                show(row.monitored_loss),
                show(row.monitored_accuracy),
                row.seconds
            ));
        }
        line(format_args!("\nMonitored side: {}.", page.history[0].monitored_split));
    }
    line(format_args!("\n## Pictures"));
    for (file, caption) in page.pictures {
        line(format_args!("\n{caption}\n\n![{caption}]({file})"));
    }
    text
}

/// A value in percent, with its interval where there is one.
pub fn percent(row: Option<&MetricRow>) -> String {
    let Some(value) = row.and_then(|row| row.value) else { return "-".into() };
    match row.and_then(|row| row.low.zip(row.high)) {
        Some((low, high)) => format!("{:.1} [{:.1}, {:.1}]", 100.0 * value, 100.0 * low, 100.0 * high),
        None => format!("{:.1}", 100.0 * value),
    }
}
