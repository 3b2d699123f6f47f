//! What `compare` prints and writes.

use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

use super::{closed, pool, print};
use crate::cli::Compare;
use crate::error::{Error, Result, printable};
use crate::evaluation::arm::Arm;
use crate::evaluation::compare::{Comparison, Options, compare};
use crate::paired::LEAST_DRAWN;
use crate::pictures::grouped;
use crate::storage::atomic;
use crate::tables::comparison::ComparisonRow;
use crate::tables::{Row, TableWriter};
use crate::units::Seed;

/// Prints the comparison, its last line as JSON, and writes the tables that were asked for.
pub(super) fn compare_models(typed: &Compare, stdout: &mut (dyn Write + Send)) -> Result<u8> {
    for out in [&typed.out, &typed.flips].into_iter().flatten() {
        // What cannot be written is said before the work.
        if out.extension().is_none_or(|end| end != "parquet") {
            return Err(Error::recipe("a table is Parquet, and its file must be named so")
                .at(out)
                .hint("name it FILE.parquet"));
        }
    }
    let [a, b] = [Arm::open(&typed.arms[0])?, Arm::open(&typed.arms[1])?];
    let options = Options { split: typed.split.as_deref(), n_resamples: typed.n_resamples, seed: Seed(typed.seed) };
    let comparison = pool(None)?.install(|| compare([&a, &b], options))?;
    let line = summary(&comparison, typed);
    if let Some(out) = &typed.out {
        write_table(out, &comparison.rows, &line)?;
    }
    if let Some(out) = &typed.flips {
        write_table(out, &comparison.flips, &line)?;
    }
    stdout.write_all(text(&comparison, typed).as_bytes()).map_err(closed)?;
    print(stdout, &line)?;
    Ok(0)
}

/// A file that the user named, with the summary in its metadata.
fn write_table<R: Row>(out: &Path, rows: &[R], summary: &Value) -> Result<()> {
    let mut bytes = Vec::new();
    let mut writer = TableWriter::<R>::new(&mut bytes)?;
    rows.chunks(1024).try_for_each(|rows| writer.write(rows))?;
    writer.note("sermill.comparison", &summary.to_string());
    writer.finish()?;
    atomic::publish_beside(out, &bytes)
}

fn summary(comparison: &Comparison, typed: &Compare) -> Value {
    let (overlap, flips) = (&comparison.overlap, comparison.n_flips());
    let arm = |at: usize| {
        json!({ "name": typed.arms[at], "model_id": comparison.models[at], "protocol": comparison.protocols[at],
            "only_here": overlap.only[at], "elsewhere_in_the_other": overlap.elsewhere[at],
            "classes_only_here": comparison.other_classes[at] })
    };
    let difference = |metric: &str| {
        comparison.overall(metric).map(|row| {
            json!({ "a": row.value_a, "b": row.value_b, "difference": row.difference, "low": row.low, "high": row.high })
        })
    };
    let all = comparison.overall("accuracy");
    let changes: Vec<Value> = comparison
        .changes
        .iter()
        .map(|change| json!({ "stage": change.stage, "name": change.name, "a": change.a, "b": change.b }))
        .collect();
    json!({
        "a": arm(0),
        "b": arm(1),
        "split": comparison.split,
        "classes": comparison.classes,
        "compared": overlap.compared,
        "other_content": overlap.other_content,
        "other_label": overlap.other_label,
        "unlabelled": overlap.unlabelled,
        "unanswered": overlap.unanswered,
        "other_copies": overlap.other_copies,
        "accuracy": difference("accuracy"),
        "uar": difference("uar"),
        "macro_f1": difference("macro_f1"),
        "drawn": all.map(|row| row.drawn.clone()),
        "n_drawn": all.map(|row| row.n_drawn),
        "right_to_wrong": flips.right_to_wrong,
        "wrong_to_right": flips.wrong_to_right,
        "changed_wrong": flips.changed_wrong,
        "mcnemar_exact": all.and_then(|row| row.mcnemar_exact),
        "mcnemar_mid": all.and_then(|row| row.mcnemar_mid),
        "gain": comparison.balance.gain,
        "lose": comparison.balance.lose,
        "stay": comparison.balance.stay,
        "changes": changes,
        "unknown": comparison.unknown,
    })
}

/// The page for people.
fn text(comparison: &Comparison, typed: &Compare) -> String {
    let mut text = String::new();
    let mut line = |args: std::fmt::Arguments| {
        writeln!(text, "{}", printable(&args.to_string())).expect("writing to a string cannot fail");
    };
    for (at, name) in ["A", "B"].into_iter().enumerate() {
        let protocol = comparison.protocols[at].as_deref().map_or("unknown".into(), |name| format!("`{name}`"));
        line(format_args!("{name}  {}: model {}, protocol {protocol}", typed.arms[at], comparison.models[at]));
    }
    let (overlap, split) = (&comparison.overlap, &comparison.split);
    let side = if split == "none" { "no side" } else { "the side" };
    let named = if split == "none" { String::new() } else { format!(" `{split}`") };
    line(format_args!(""));
    line(format_args!("compared: {} items that both have on {side}{named}", grouped(overlap.compared)));
    overlap.reasons(["A", "B"], split).iter().for_each(|reason| line(format_args!("not compared: {reason}")));
    if overlap.other_copies > 0 {
        line(format_args!("note: {} of the copies have other noise in B than in A", grouped(overlap.other_copies)));
    }
    if comparison.other_classes.iter().any(|classes| !classes.is_empty()) {
        let [a, b] = comparison.other_classes.each_ref().map(|classes| classes.join(", "));
        let none = |text: String| if text.is_empty() { "none".into() } else { text };
        line(format_args!(
            "note: other classes; compared over the {} that both know ({}); A alone knows {}, B alone {}; an answer that is one \
             of those counts as wrong",
            comparison.classes.len(),
            comparison.classes.join(", "),
            none(a),
            none(b)
        ));
    }
    line(format_args!(""));
    line(format_args!(
        "{:<34} {:>7}  {:>6}  {:>6}  {:>6}  {:<16}  {:>7}  {:>7}",
        "percent", "items", "A", "B", "B - A", "95 % interval", "A alone", "B alone"
    ));
    comparison.rows.iter().filter(|row| is_shown(row)).for_each(|row| line(format_args!("{}", table_line(row))));
    said_below(comparison, typed, &mut line);
    text
}

/// Of all items everything, of a slice its accuracy and UAR, and nothing of single speakers, who may be thousands; a file has
/// it all.
fn is_shown(row: &ComparisonRow) -> bool {
    let is_mean = matches!(row.metric.as_str(), "accuracy" | "uar");
    row.slice == "all" || is_mean && !row.slice.starts_with("speaker=")
}

fn table_line(row: &ComparisonRow) -> String {
    let percent = |value: Option<f64>| value.map_or("-".into(), |value| format!("{:.1}", 100.0 * value));
    let signed = |value: Option<f64>| value.map_or("-".into(), |value| format!("{:+.1}", 100.0 * value));
    let count = |value: Option<u64>| value.map_or(String::new(), grouped);
    let name = match (row.slice.as_str(), row.class.as_str()) {
        ("all", "all") => row.metric.clone(),
        ("all", class) => format!("{} {class}", row.metric),
        (slice, _) => format!("{slice} {}", row.metric),
    };
    let interval = match row.low.zip(row.high) {
        Some((low, high)) => format!("[{}, {}]", signed(Some(low)), signed(Some(high))),
        None => "none".into(),
    };
    let difference = signed(row.difference);
    let line = format!(
        "{name:<34} {:>7}  {:>6}  {:>6}  {difference:>6}  {interval:<16}  {:>7}  {:>7}",
        grouped(row.support),
        percent(row.value_a),
        percent(row.value_b),
        count(row.right_to_wrong),
        count(row.wrong_to_right)
    );
    line.trim_end().to_string()
}

/// What the table does not say: the test, the speakers, what was set otherwise.
fn said_below(comparison: &Comparison, typed: &Compare, line: &mut dyn FnMut(std::fmt::Arguments)) {
    let (flips, balance) = (comparison.n_flips(), comparison.balance);
    line(format_args!(""));
    line(format_args!(
        "flips: {} right in A alone, {} right in B alone, {} wrong in both by other classes{}",
        grouped(flips.right_to_wrong),
        grouped(flips.wrong_to_right),
        grouped(flips.changed_wrong),
        if typed.flips.is_some() { "" } else { " (--flips FILE.parquet names them)" }
    ));
    if let Some(all) = comparison.overall("accuracy") {
        let p = |value: Option<f64>| {
            value.map_or("-".into(), |p| if p < 1e-4 { format!("{p:.1e}") } else { format!("{p:.4}") })
        };
        line(format_args!(
            "McNemar: exact p = {}, mid-p = {}. It takes recordings as independent, which those of one speaker are not: the \
             interval says more",
            p(all.mcnemar_exact),
            p(all.mcnemar_mid)
        ));
        let drawn = format!("{} {}", grouped(all.n_drawn), all.drawn);
        let n_resamples = grouped(typed.n_resamples as u64);
        match all.low {
            Some(_) => line(format_args!(
                "intervals: bootstrap over {drawn}, {n_resamples} resamples, the same for A and B; none of what fewer than \
                 {LEAST_DRAWN} have"
            )),
            None if typed.n_resamples == 0 => line(format_args!("intervals: none were asked for")),
            None => line(format_args!(
                "intervals: none. There are {drawn}, and fewer than {LEAST_DRAWN} say nothing of those that were not recorded"
            )),
        }
        line(format_args!(
            "of {drawn}: {} gain, {} lose, {} stay",
            grouped(balance.gain),
            grouped(balance.lose),
            grouped(balance.stay)
        ));
    }
    line(format_args!(""));
    match comparison.changes.len() {
        0 if comparison.unknown.is_empty() => line(format_args!("set and read otherwise: nothing")),
        0 => line(format_args!("set and read otherwise: nothing that is known")),
        n => line(format_args!("set and read otherwise ({n}):")),
    }
    for change in &comparison.changes {
        line(format_args!("  {:<8}  {}: {} | {}", change.stage, change.name, change.a, change.b));
    }
    comparison.unknown.iter().for_each(|what| line(format_args!("note: {what}")));
    line(format_args!(""));
}
