//! Protocols side by side: what a number is worth shows in how it falls when the test becomes stricter.

use serde_json::{Value, json};

use crate::campaign::{Numbers, run, table_file};
use crate::error::Result;
use crate::split::Protocol;
use crate::stages::Ctx;
use crate::storage::layout::Store;
use crate::tables::publish_rows;
use crate::tables::scorecard::ScorecardRow;

/// Metrics of a scorecard, in its order; those that a report does not have are left out.
const METRICS: [&str; 9] =
    ["uar", "accuracy", "macro_f1", "majority_accuracy", "chance_uar", "ece", "ece_floor", "brier", "log_loss"];

/// What a scorecard came to.
pub struct Scorecard {
    pub rows: Vec<ScorecardRow>,
    /// Path of the table.
    pub table: std::path::PathBuf,
}

impl Scorecard {
    /// One JSON object.
    pub fn summary(&self) -> Value {
        let uar = self.rows.iter().filter(|row| row.metric == "uar");
        let protocols: Vec<Value> = uar
            .map(|row| {
                json!({ "pipeline": row.pipeline, "protocol": row.protocol, "n": row.n, "uar": row.value,
                    "low": row.low, "high": row.high, "interval": row.interval, "optimism": row.optimism })
            })
            .collect();
        json!({ "scorecard": self.table.display().to_string(), "protocols": protocols })
    }

    /// A Markdown table: unseen speakers first, then the others from the strictest to the most generous.
    pub fn markdown(&self) -> String {
        let mut text = String::from(
            "| protocol | items | UAR | accuracy | majority | chance | optimism |\n|---|---|---|---|---|---|---|\n",
        );
        for row in self.rows.iter().filter(|row| row.metric == "uar") {
            let other =
                |metric: &str| self.rows.iter().find(|other| other.pipeline == row.pipeline && other.metric == metric);
            let show = |row: Option<&ScorecardRow>| {
                let Some(value) = row.and_then(|row| row.value) else { return "-".to_string() };
                match row.and_then(|row| row.low.zip(row.high)) {
                    Some((low, high)) => format!("{value:.3} [{low:.3}, {high:.3}]"),
                    None => format!("{value:.3}"),
                }
            };
            let optimism = row.optimism.map_or("-".to_string(), |optimism| format!("{optimism:+.3}"));
            text += &format!(
                "| {} (`{}`) | {} | {} | {} | {} | {} | {optimism} |\n",
                row.protocol,
                row.pipeline,
                row.n,
                show(Some(row)),
                show(other("accuracy")),
                show(other("majority_accuracy")),
                show(other("chance_uar")),
            );
        }
        text
    }
}

/// Runs each recipe in its store and writes the table `scorecard` into `store`.
///
/// Errors: those of the stages; what was done before one stands.
pub fn scorecard(store: &Store, runs: &[Ctx]) -> Result<Scorecard> {
    let mut rows = Vec::new();
    for ctx in runs {
        let name = &ctx.pipeline.pipeline.name;
        ctx.progress.say(&format!("scorecard: {name}, protocol {}", ctx.pipeline.split.protocol.name()));
        rows.extend(rows_of(ctx, &run(ctx)?));
    }
    add_optimism(&mut rows);
    // The strictest first; recipes of one protocol stay in the order they were named.
    rows.sort_by_key(|row| Protocol::from_name(&row.protocol).map_or(usize::MAX, strictness));
    let table = table_file::<ScorecardRow>(store, "scorecard");
    publish_rows(&store.staging("scorecard"), &table, &rows)?;
    Ok(Scorecard { rows, table })
}

fn strictness(protocol: Protocol) -> usize {
    let order = [
        Protocol::SpeakerIndependent,
        Protocol::CrossCorpus,
        Protocol::Given,
        Protocol::TextDisjoint,
        Protocol::SourceDisjoint,
        Protocol::Paper,
        Protocol::Unsplit,
    ];
    order.iter().position(|one| *one == protocol).unwrap_or(order.len())
}

fn rows_of(ctx: &Ctx, numbers: &Numbers) -> Vec<ScorecardRow> {
    let protocol = ctx.pipeline.split.protocol;
    let found = METRICS.iter().filter_map(|metric| numbers.of_test(metric));
    found
        .map(|row| ScorecardRow {
            pipeline: ctx.pipeline.pipeline.name.clone(),
            protocol: protocol.name().into(),
            warning: protocol.warning().into(),
            model_id: numbers.model_id.clone(),
            labels: ctx.pipeline.labels.set.clone(),
            n_folds: numbers.n_folds,
            n: row.support,
            metric: row.metric.clone(),
            value: row.value,
            low: row.low,
            high: row.high,
            interval: row.interval.clone(),
            optimism: None,
        })
        .collect()
}

/// How far each share lies above what unseen speakers leave of it.
fn add_optimism(rows: &mut [ScorecardRow]) {
    let unseen: Vec<ScorecardRow> =
        rows.iter().filter(|row| row.protocol == Protocol::SpeakerIndependent.name()).cloned().collect();
    for row in rows.iter_mut().filter(|row| ["uar", "accuracy", "macro_f1"].contains(&row.metric.as_str())) {
        let other = unseen.iter().find(|other| other.metric == row.metric && other.labels == row.labels);
        let other = other.filter(|other| other.pipeline != row.pipeline);
        row.optimism = row.value.zip(other.and_then(|other| other.value)).map(|(own, unseen)| own - unseen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn optimism_is_what_unseen_speakers_take_away() {
        let row = |protocol: &str, labels: &str, value| ScorecardRow {
            pipeline: protocol.into(),
            protocol: protocol.into(),
            labels: labels.into(),
            value: Some(value),
            low: Some(value - 0.1),
            high: Some(value + 0.1),
            ..ScorecardRow::example()
        };
        let mut rows = vec![
            row("paper", "seven", 0.9),
            row("speaker-independent", "seven", 0.4),
            row("source-disjoint", "ravdess-8", 0.7),
        ];
        add_optimism(&mut rows);
        assert_eq!(rows.iter().map(|row| row.optimism).collect::<Vec<_>>(), [Some(0.5), None, None]);
        let card = Scorecard { rows, table: "x".into() };
        assert!(card.markdown().contains("| paper (`paper`) | 3 | 0.900 [0.800, 1.000] | - | - | - | +0.500 |"));
    }
}
