//! The report as a Markdown page that stands beside its pictures.

use std::fmt::Write;

use crate::evaluation::{GAP_ITEMS, GAP_SPEAKERS};
use crate::metrics::{FEWEST, N_BINS};
use crate::stages::report::show::{Overall, number, percent};
use crate::tables::history::HistoryRow;
use crate::tables::metrics::MetricRow;

/// Groups of one slice that the page shows; the table has all.
const MOST_GROUPS: usize = 40;

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
    pub history: &'a [HistoryRow],
    /// File names of the pictures beside the page, with a caption each.
    pub pictures: &'a [(String, String)],
}

/// Lines of the page under construction.
#[derive(Default)]
struct Text(String);

impl Text {
    fn line(&mut self, line: std::fmt::Arguments) {
        writeln!(self.0, "{line}").expect("writing to a string cannot fail");
    }

    /// A heading and the head of a table.
    fn table(&mut self, heading: &str, columns: &[&str]) {
        self.line(format_args!("\n## {heading}\n\n| {} |", columns.join(" | ")));
        self.line(format_args!("|{}", "---|".repeat(columns.len())));
    }

    fn row(&mut self, cells: &[String]) {
        // A value may hold what would end a cell.
        let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|").replace('\n', " ")).collect();
        self.line(format_args!("| {} |", cells.join(" | ")));
    }
}

/// The page's text.
pub fn markdown(page: &Page) -> String {
    let mut text = Text::default();
    text.line(format_args!("# {}\n", page.model_id));
    text.line(format_args!("Protocol `{}`, pipeline `{}`.", page.protocol, page.pipeline));
    if !page.warning.is_empty() {
        text.line(format_args!("\n> **Note:** {}.", page.warning));
    }
    overall(&mut text, page);
    confidence(&mut text, page);
    slices(&mut text, page);
    gaps(&mut text, page);
    classes(&mut text, page);
    epochs(&mut text, page);
    text.line(format_args!("\n## Pictures"));
    for (file, caption) in page.pictures {
        text.line(format_args!("\n{caption}\n\n![{caption}]({file})"));
    }
    text.0
}

fn overall(text: &mut Text, page: &Page) {
    let columns = ["side", "items", "classes", "UAR", "chance", "accuracy", "majority", "macro F1", "drawn by"];
    text.table("Overall", &columns);
    let sides = Overall::of_sides(page.metrics);
    for side in &sides {
        text.row(&[
            side.split.into(),
            side.items().to_string(),
            side.classes().to_string(),
            side.percent("uar"),
            side.percent("chance_uar"),
            side.percent("accuracy"),
            side.percent("majority_accuracy"),
            side.percent("macro_f1"),
            side.interval().into(),
        ]);
    }
    text.line(format_args!(
        "\nIn percent, protocol `{}`. Intervals are 95 %, by a bootstrap that draws what \"drawn by\" says; with fewer than {FEWEST} there is \
         none, and \"no spread\" is one that all resamples agree on. Majority: the accuracy of always saying the side's most frequent \
         class; chance: the UAR of any constant or guess. UAR and macro F1 are means over the classes that occur: a class without an item \
         is left out, where other tools count it as 0.",
        page.protocol
    ));
    for side in sides {
        let Some(labelled) = side.row("labelled").filter(|row| row.value != Some(1.0)) else { continue };
        let n_scored = labelled.support;
        text.line(format_args!(
            "\nOf {n_scored} scored items on the {} side, {} have a label of the model; no number says anything of the others.",
            side.split,
            side.items()
        ));
    }
}

fn confidence(text: &mut Text, page: &Page) {
    text.table("Confidence", &["side", "items", "ECE", "its noise floor", "Brier score", "log loss"]);
    for side in Overall::of_sides(page.metrics) {
        text.row(&[
            side.split.into(),
            side.row("ece").map_or(0, |row| row.support).to_string(),
            side.percent("ece"),
            side.percent("ece_floor"),
            number(side.row("brier")),
            number(side.row("log_loss")),
        ]);
    }
    text.line(format_args!(
        "\nECE, the expected calibration error, in percent over {N_BINS} bins of equal mass; its noise floor is what a perfectly calibrated \
         model with the same confidences shows on average, if items are independent, and its interval holds that noise too. Brier score \
         from 0 to 2, log loss in nats."
    ));
}

fn slices(text: &mut Text, page: &Page) {
    let slices: Vec<Overall> =
        Overall::of_slices(page.metrics).into_iter().filter(|overall| overall.slice != "all").collect();
    if slices.is_empty() {
        return;
    }
    let columns =
        ["side", "slice", "items", "classes", "UAR", "chance", "accuracy", "majority", "ECE (floor)", "drawn by"];
    text.table("Slices", &columns);
    let name = |overall: &Overall| overall.slice.split('=').next().map(str::to_string);
    for groups in slices.chunk_by(|a, b| a.split == b.split && name(a) == name(b)) {
        for group in groups.iter().take(MOST_GROUPS) {
            text.row(&[
                group.split.into(),
                group.slice.into(),
                group.items().to_string(),
                group.classes().to_string(),
                group.percent("uar"),
                group.percent("chance_uar"),
                group.percent("accuracy"),
                group.percent("majority_accuracy"),
                format!("{} ({})", group.percent("ece"), group.percent("ece_floor")),
                group.interval().into(),
            ]);
        }
        if let Some(n_more @ 1..) = groups.len().checked_sub(MOST_GROUPS) {
            let mut cells = vec![groups[0].split.to_string(), format!("{n_more} more in the table `metrics`")];
            cells.resize(columns.len(), String::new());
            text.row(&cells);
        }
    }
}

fn gaps(text: &mut Text, page: &Page) {
    let gaps: Vec<&MetricRow> = page.metrics.iter().filter(|row| row.metric == "uar_gap").collect();
    if gaps.is_empty() {
        return;
    }
    text.table(
        "Gaps between groups",
        &["side", "slice", "UAR apart", "largest over smallest", "classes compared", "items"],
    );
    for gap in gaps {
        text.row(&[
            gap.split.clone(),
            gap.slice.clone(),
            percent(Some(gap)),
            gap.groups.clone().unwrap_or("-".into()),
            gap.n_classes.unwrap_or(0).to_string(),
            gap.support.to_string(),
        ]);
    }
    text.line(format_args!(
        "\nIn points of percent, among groups of at least {GAP_ITEMS} items and {GAP_SPEAKERS} speakers (speakers: {GAP_ITEMS} items), on the \
         classes that all of them have. The two groups are picked after looking, so the gap is larger than the next one will be."
    ));
}

fn classes(text: &mut Text, page: &Page) {
    for side in Overall::of_sides(page.metrics) {
        let heading = format!("Classes, {} side", side.split);
        text.table(&heading, &["class", "precision", "recall", "F1", "support", "recall's interval"]);
        for class in page.classes {
            let recall = side.of_class(class, "recall");
            text.row(&[
                class.clone(),
                percent(side.of_class(class, "precision")),
                percent(recall),
                percent(side.of_class(class, "f1")),
                recall.map_or(0, |row| row.support).to_string(),
                recall.and_then(|row| row.interval.clone()).unwrap_or("-".into()),
            ]);
        }
    }
}

fn epochs(text: &mut Text, page: &Page) {
    let Some(first) = page.history.first() else { return };
    let columns = ["epoch", "train loss", "train accuracy", "monitored loss", "monitored accuracy", "seconds"];
    text.table("Epochs", &columns);
    for row in page.history {
        let best = if row.is_best { " (best)" } else { "" };
        let show = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.4}"));
        text.line(format_args!(
            "| {}{best} | {:.4} | {:.4} | {} | {} | {:.1} |",
            row.epoch,
            row.train_loss,
            row.train_accuracy,
            show(row.monitored_loss),
            show(row.monitored_accuracy),
            row.seconds
        ));
    }
    match first.monitored_split.as_str() {
        "" => text.line(format_args!("\nNo side was monitored: the last epoch counts.")),
        side => text.line(format_args!("\nMonitored side: {side}.")),
    }
}
