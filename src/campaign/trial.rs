//! A configuration that is tried: entered in the table `trials` before it runs, so that none is forgotten.

use serde_json::{Value, json};

use crate::campaign::{Numbers, run, table_file};
use crate::error::{Error, Result};
use crate::labels::Labels;
use crate::metrics::Confusion;
use crate::network::dense::argmax;
use crate::stages::Ctx;
use crate::storage::commit::Commit;
use crate::storage::layout::Store;
use crate::tables::predictions::{PredictionRow, Predictions};
use crate::tables::trials::TrialRow;
use crate::tables::{TableFile, committed_files, publish_rows, read_rows};

/// Classes that other works count with, whatever a model was trained on.
const SEVEN: &str = "seven";

/// What is tried, and why.
pub struct Trial {
    pub name: String,
    pub against: Option<String>,
    pub why: String,
    /// What is laid over the recipe.
    pub settings: Vec<String>,
}

/// One seed of it.
pub struct TrialRun {
    pub ctx: Ctx,
    pub seed: u64,
}

/// Runs what is tried, seed by seed, and keeps its rows up to date; gives them.
///
/// Errors: those of the stages, after they were entered as the reason of a failure; kind `Recipe` for a name that stands for other settings.
pub fn trial(store: &Store, trial: &Trial, runs: &[TrialRun]) -> Result<Vec<TrialRow>> {
    let table = table_file::<TrialRow>(store, &trial.name);
    // What cannot be looked at is no table that is not there: its rows would be lost.
    let is_there = table.try_exists().map_err(|error| Error::reading("cannot be looked at", error).at(&table))?;
    let mut rows: Vec<TrialRow> = if is_there { read_rows(&table)? } else { Vec::new() };
    for one in runs {
        enter(&mut rows, trial, one)?;
    }
    let keep = |rows: &[TrialRow]| publish_rows(&store.staging("trials"), &table, rows);
    keep(&rows)?;
    for one in runs {
        let at = rows.iter().position(|row| row.seed == one.seed.cast_signed());
        let row = &mut rows[at.ok_or_else(|| Error::bug("a trial was not entered"))?];
        let outcome = run(&one.ctx).and_then(|numbers| fill(row, &one.ctx, &numbers));
        row.finished_at = Some(jiff::Timestamp::now().to_string());
        (row.state, row.reason) = match &outcome {
            Ok(()) => ("done".into(), None),
            Err(error) => ("failed".into(), Some(error.to_string())),
        };
        keep(&rows)?;
        outcome?;
    }
    Ok(rows)
}

/// What the last line of the command says.
pub fn summary(trial: &Trial, rows: &[TrialRow]) -> Value {
    let done: Vec<f64> = rows.iter().filter_map(|row| row.uar).collect();
    let mean = (!done.is_empty()).then(|| done.iter().sum::<f64>() / done.len() as f64);
    let all = |value: fn(&TrialRow) -> Option<f64>| rows.iter().map(value).collect::<Vec<_>>();
    let seeds: Vec<i64> = rows.iter().map(|row| row.seed).collect();
    json!({ "trial": trial.name, "protocol": rows.first().map(|row| &row.protocol), "seeds": seeds,
        "n": rows.first().map_or(0, |row| row.n), "uar": mean, "uar_of_seeds": done, "low": all(|row| row.uar_low),
        "high": all(|row| row.uar_high), "uar_seven": all(|row| row.uar_seven) })
}

/// Enters a seed that is not there yet.
fn enter(rows: &mut Vec<TrialRow>, trial: &Trial, one: &TrialRun) -> Result<()> {
    let config = &one.ctx.pipeline;
    let settings = json!(trial.settings).to_string();
    let folds = if config.train.folds.is_empty() { "all".into() } else { json!(config.train.folds).to_string() };
    if let Some(row) = rows.iter_mut().find(|row| row.seed == one.seed.cast_signed()) {
        if row.settings != settings || row.pipeline != config.pipeline.name {
            return Err(Error::recipe(format!("trial `{}` was entered with {}", trial.name, row.settings))
                .hint("give another configuration a name of its own"));
        }
        row.folds = folds;
        return Ok(());
    }
    rows.push(TrialRow {
        trial: trial.name.clone(),
        against: trial.against.clone(),
        why: trial.why.clone(),
        pipeline: config.pipeline.name.clone(),
        settings,
        seed: one.seed.cast_signed(),
        state: "entered".into(),
        entered_at: jiff::Timestamp::now().to_string(),
        protocol: config.split.protocol.name().into(),
        folds,
        by_speaker: "{}".into(),
        ..TrialRow::default()
    });
    Ok(())
}

fn fill(row: &mut TrialRow, ctx: &Ctx, numbers: &Numbers) -> Result<()> {
    row.model_id = Some(numbers.model_id.clone());
    if let Some(uar) = numbers.of_test("uar") {
        (row.n, row.uar, row.uar_low, row.uar_high) = (uar.support, uar.value, uar.low, uar.high);
    }
    row.by_speaker = Value::from(numbers.by_speaker()).to_string();
    row.items = numbers.history.iter().map(|epoch| epoch.n_recordings).sum();
    let seconds: f64 = numbers.history.iter().map(|epoch| epoch.seconds).sum();
    row.items_per_s = (seconds > 0.0).then(|| row.items as f64 / seconds);
    row.uar_seven = uar_with_labels(ctx, &Labels::shipped(SEVEN)?)?;
    Ok(())
}

/// UAR of the test sides with the classes of another label set: the probabilities of classes that mean the same there are added.
fn uar_with_labels(ctx: &Ctx, labels: &Labels) -> Result<Option<f64>> {
    let score = Commit::read(&ctx.store, "score")?.ok_or_else(|| Error::bug("`score` committed nothing"))?;
    let mut confusion = Confusion::new(labels.n_classes());
    for file in committed_files::<PredictionRow>(&ctx.store, &score) {
        let file: TableFile = file?;
        let Predictions { classes, rows } = Predictions::read(&file)?;
        let meaning: Vec<Option<usize>> = classes.iter().map(|class| labels.class_of(Some(class))).collect();
        for row in rows.iter().filter(|row| row.split.as_deref() == Some("test") && !row.probabilities.is_empty()) {
            let mut sums = vec![0.0_f32; labels.n_classes()];
            for (probability, class) in row.probabilities.iter().zip(&meaning) {
                class.iter().for_each(|&class| sums[class] += probability);
            }
            if let Some((truth, predicted)) = labels.class_of(row.emotion.as_deref()).zip(argmax(&sums)) {
                confusion.add(truth, predicted, 1);
            }
        }
    }
    Ok(confusion.uar())
}
