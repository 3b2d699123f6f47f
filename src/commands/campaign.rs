//! `scorecard` and `trial`.

use std::collections::BTreeSet;
use std::io::Write;

use super::{closed, context, print};
use crate::campaign::{self, Trial, TrialRun};
use crate::cli::{ScorecardArgs, Setting, TrialArgs};
use crate::config::Pipeline;
use crate::error::{Error, Result};
use crate::leaks::{LeakKind, LeakKinds};
use crate::storage::layout::Store;

/// Share of the test side under a protocol that is not the recipe's own; the paper's.
const OTHER_TEST_FRACTION: f64 = 0.2;

/// Runs the pipelines of a scorecard; the table as Markdown, then one JSON object.
pub(super) fn scorecard(typed: &ScorecardArgs, stdout: &mut (dyn Write + Send)) -> Result<u8> {
    let root = typed.setting.store.clone().unwrap_or_default();
    let mut runs = Vec::new();
    for pipeline in &typed.pipelines {
        let own = tested_only(&Setting { pipeline: pipeline.clone(), ..typed.setting.clone() });
        if typed.protocols.is_empty() {
            runs.push(context(&own)?);
        }
        for protocol in &typed.protocols {
            runs.push(context(&under(&own, protocol)?)?);
        }
    }
    let mut names = BTreeSet::new();
    for ctx in &mut runs {
        let name = &ctx.pipeline.pipeline.name;
        if !names.insert(name.clone()) {
            return Err(Error::recipe(format!("two pipelines are called `{name}`: they would share a store")));
        }
        ctx.store = Store::new(root.join(name));
    }
    let card = campaign::scorecard(&Store::new(root), &runs)?;
    stdout.write_all(card.markdown().as_bytes()).map_err(closed)?;
    print(stdout, &card.summary())?;
    Ok(0)
}

/// Without the model that knows everybody: it is tested on nobody.
fn tested_only(setting: &Setting) -> Setting {
    let mut setting = setting.clone();
    setting.overrides.push("train.final_model=false".to_string());
    setting
}

/// The same recipe under another protocol: with folds where those need none to be named, and else one draw of a fifth.
fn under(own: &Setting, protocol: &str) -> Result<Setting> {
    let Pipeline { split, pipeline, .. } = Pipeline::read(&own.pipeline, &own.overrides)?;
    if split.protocol.name() == protocol {
        return Ok(own.clone());
    }
    let mut setting = own.clone();
    setting.overrides.extend([
        format!("pipeline.name={}-{protocol}", pipeline.name),
        format!("split.protocol={protocol}"),
        "split.folds={}".to_string(),
        // That it leaks is what the scorecard shows.
        format!("split.allow_leaks={}", LeakKind::ALL.into_iter().collect::<LeakKinds>().list()),
        format!("split.test_fraction={OTHER_TEST_FRACTION}"),
    ]);
    Ok(setting)
}

/// Tries one configuration; a line for each seed, then one for all.
pub(super) fn trial(typed: &TrialArgs, stdout: &mut (dyn Write + Send)) -> Result<u8> {
    let root = typed.setting.store.clone().unwrap_or_default();
    // The name becomes the name of a folder and of a file.
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let name = &typed.name;
    if !(1..=60).contains(&name.len()) || !name.chars().all(is_plain) || name.starts_with('.') {
        return Err(Error::recipe(format!("`{name}` is no name of a trial"))
            .hint("1 to 60 letters, digits, dots, dashes and underscores, the first one no dot"));
    }
    let mut runs = Vec::new();
    for &seed in &typed.seeds {
        let mut overrides = typed.setting.overrides.clone();
        overrides.push(format!("pipeline.seed={seed}"));
        let mut ctx = context(&tested_only(&Setting { overrides, ..typed.setting.clone() }))?;
        ctx.store = Store::new(root.join(name).join(format!("seed-{seed}")));
        runs.push(TrialRun { ctx, seed });
    }
    // Which folds are trained is told apart from what is tried.
    let settings = typed.setting.overrides.iter().filter(|item| !item.starts_with("train.folds=")).cloned().collect();
    let (against, why) = (typed.against.clone(), typed.why.clone());
    let trial = Trial { name: name.clone(), against, why, settings };
    let rows = campaign::trial(&Store::new(root), &trial, &runs)?;
    for row in &rows {
        let line = serde_json::to_value(row).map_err(|error| Error::bug("a row has no JSON form").because(error))?;
        print(stdout, &line)?;
    }
    print(stdout, &campaign::summary(&trial, &rows))?;
    Ok(0)
}
