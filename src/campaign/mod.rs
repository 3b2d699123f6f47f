//! Several runs of the chain for one question: protocols side by side, or a configuration over seeds. Each run has a store of its own,
//! so what was done stands when the question is asked again.

mod scorecard;
mod trial;

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::stages::{self, Ctx, stage};
use crate::storage::commit::Commit;
use crate::storage::layout::Store;
use crate::tables::committed_rows;
use crate::tables::history::HistoryRow;
use crate::tables::metrics::MetricRow;

pub use scorecard::{Scorecard, scorecard};
pub use trial::{Trial, TrialRun, summary, trial};

/// What a run of the whole chain came to.
struct Numbers {
    model_id: String,
    metrics: Vec<MetricRow>,
    history: Vec<HistoryRow>,
    n_folds: u32,
}

impl Numbers {
    /// A metric of the test side over all recordings and classes.
    fn of_test(&self, metric: &str) -> Option<&MetricRow> {
        let mut own = self.metrics.iter().filter(|row| (row.split.as_str(), row.class.as_str()) == ("test", "all"));
        own.find(|row| row.slice == "all" && row.metric == metric)
    }

    /// UAR of each speaker of the test side.
    fn by_speaker(&self) -> Map<String, Value> {
        let own = self.metrics.iter().filter(|row| row.split == "test" && row.class == "all" && row.metric == "uar");
        own.filter_map(|row| Some((row.slice.strip_prefix("speaker=")?.to_string(), row.value?.into()))).collect()
    }
}

/// Runs the stages of a recipe, stale ones only, and reads what they came to.
///
/// Errors: those of the stages; kind `Recipe` for a recipe without `train`, `score` or `report`.
fn run(ctx: &Ctx) -> Result<Numbers> {
    let names = &ctx.pipeline.pipeline.stages;
    for needed in ["train", "score", "report"] {
        if !names.iter().any(|name| name == needed) {
            return Err(Error::recipe(format!("[pipeline] stages lack `{needed}`: there would be no number")));
        }
    }
    let wanted: Vec<_> = names.iter().map(|name| stage(name)).collect::<Result<_>>()?;
    wanted.iter().try_for_each(|stage| stage.check(ctx))?;
    for stage in wanted {
        stages::drive(ctx, stage)?;
    }
    let commit = |name: &str| -> Result<Commit> {
        Commit::read(&ctx.store, name)?.ok_or_else(|| Error::bug(format!("`{name}` committed nothing")))
    };
    let (train, report) = (commit("train")?, commit("report")?);
    let folds = commit("folds")?.evidence.n_folds.unwrap_or(1);
    Ok(Numbers {
        model_id: train.evidence.model_id.clone().ok_or_else(|| Error::bug("`train` committed no model_id"))?,
        metrics: committed_rows(&ctx.store, &report)?,
        history: committed_rows(&ctx.store, &train)?,
        n_folds: folds,
    })
}

/// Folder of a table of the campaign itself.
fn table_file<R: crate::tables::Row>(store: &Store, stem: &str) -> std::path::PathBuf {
    crate::tables::folder_of::<R>(store).join(format!("{stem}.parquet"))
}
