//! Makes one output of a plan's finished shards, through the same commit as a stage that ran in one process.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde_json::json;

use crate::error::{Error, Result};
use crate::stages::driver::Begun;
use crate::stages::shards::plan_file::{LISTING, MODEL, PARTS, PLAN};
use crate::stages::shards::{Counted, PlanFolder, Shard, Sharded, waiting_in};
use crate::stages::{Ctx, Outcome};
use crate::storage::atomic;
use crate::storage::commit::Commit;
use crate::storage::layout::Store;
use crate::tables::spectrograms::shard_stem;

/// What came of a commit.
#[derive(Clone, Debug)]
pub enum Committed {
    /// The stage's output stands.
    Done(Outcome),
    /// These shards have not been finished: nothing was changed.
    Missing(Vec<String>),
}

/// Commits a plan whose shards are all there.
///
/// Errors: kind `Input` where what the plan was made on is no longer what is committed.
pub(super) fn commit<S: Sharded>(stage: &S, ctx: &Ctx, folder: &PlanFolder) -> Result<Committed> {
    let plan = &folder.plan;
    folder.check_program(&stage.settings(ctx))?;
    let begun = Begun::of_plan(ctx, stage, plan.inputs.clone(), &plan.plan_id)?;
    // Another committer may have been first, or this one was killed before it had cleared up.
    if let Some(outcome) = begun.last().and_then(|last| outcome_of(last, &plan.stage, &plan.plan_id)) {
        clear(&ctx.store, folder)?;
        return Ok(Committed::Done(outcome));
    }
    begun.check_unchanged(&plan.reads, plan.last.as_ref())?;
    let mut seen = folder.seen(ctx)?;
    let planned = stage.plan(ctx, &begun.read, &mut seen)?;
    let shards = stage.shards(&planned);
    if !shards.iter().map(|shard| shard.id).eq(folder.ids()) {
        return Err(again("other shards would be planned now: what stands of the last output has changed"));
    }
    let made = match collect(stage, ctx, folder, &shards)? {
        Ok(made) => made,
        Err(missing) => return Ok(Committed::Missing(missing)),
    };
    drop(shards);
    let done = stage.fold(ctx, &begun.read, planned, made)?;
    let outcome = begun.commit(done)?;
    clear(&ctx.store, folder)?;
    Ok(Committed::Done(outcome))
}

/// A plan that no longer fits.
pub(in crate::stages) fn again(what: &str) -> Error {
    Error::input(format!("the plan is out of date: {what}")).hint("nothing was changed: plan again with `sermill plan`")
}

/// The finished shards in their order, or the ids of those that nobody has finished.
fn collect<S: Sharded>(
    stage: &S,
    ctx: &Ctx,
    folder: &PlanFolder,
    shards: &[Shard<S::Row>],
) -> Result<std::result::Result<Vec<S::Made>, Vec<String>>> {
    let plan = &folder.plan;
    // A commit that was killed may have moved some already; what it took back waits one folder higher.
    let (own, above) = (ctx.store.staging_of_plan(&plan.slot, &plan.plan_id), ctx.store.staging(&plan.slot));
    let waiting = waiting_in(&[&own, &above])?;
    let first = |shard: &Shard<S::Row>| -> Result<Option<S::Made>> {
        let mut best: Option<S::Made> = None;
        for file in waiting.get(&shard_stem(shard.id)).into_iter().flatten() {
            if let Some(made) = stage.open(ctx, file, shard.id, shard.rows)?
                && best.as_ref().is_none_or(|best| made.counts().n_unread < best.counts().n_unread)
            {
                best = Some(made);
            }
            if best.as_ref().is_some_and(|best| best.counts().n_unread == 0) {
                break;
            }
        }
        Ok(best)
    };
    let found: Vec<Option<S::Made>> = ctx.pool.install(|| shards.par_iter().map(first).collect::<Result<_>>())?;
    let is_missing = |(shard, made): (&Shard<S::Row>, &Option<S::Made>)| made.is_none().then(|| shard.id.to_string());
    let missing: Vec<String> = shards.iter().zip(&found).filter_map(is_missing).collect();
    Ok(if missing.is_empty() { Ok(found.into_iter().flatten().collect()) } else { Err(missing) })
}

/// What `commit` says of a plan that it is made of; `None` for another commit.
fn outcome_of(commit: &Commit, stage: &str, plan_id: &str) -> Option<Outcome> {
    let summary = json!({ "stage": stage, "fresh": true, "n_done": 0, "n_rejected": commit.n_rejected,
        "run_id": commit.run_id, "plan_id": plan_id });
    let is_of_plan = commit.plan.as_deref() == Some(plan_id);
    is_of_plan.then_some(Outcome { summary, n_rejected: commit.n_rejected, fresh: true })
}

/// The outcome of a plan whose folder is gone because it was committed.
///
/// Errors: kind `Input` where there is neither the plan nor its commit.
pub fn what_stands(folder: &Path) -> Result<Outcome> {
    let none = || Error::input("there is no plan").at(folder).hint("plan again with `sermill plan`");
    let folder_of = |path: &Path| path.parent().map(Path::to_path_buf);
    let name = |path: &Path| path.file_name().and_then(|name| name.to_str()).map(str::to_string);
    let place = || {
        let of_slot = folder_of(folder)?;
        let plans = folder_of(&of_slot)?;
        (name(&plans)? == "plans").then_some((folder_of(&plans)?, name(&of_slot)?, name(folder)?))
    };
    let (root, slot, plan_id) = place().ok_or_else(none)?;
    let stage = slot.strip_suffix("-input").unwrap_or(&slot);
    let commit = Commit::read(&Store::new(root), &slot)?;
    commit.and_then(|commit| outcome_of(&commit, stage, &plan_id)).ok_or_else(none)
}

/// Removes a plan that is committed, and what was finished of it. The plan itself goes last: without it nobody knows the rest.
fn clear(store: &Store, folder: &PlanFolder) -> Result<()> {
    let plan = &folder.plan;
    let staging = store.staging_of_plan(&plan.slot, &plan.plan_id);
    atomic::entries(&staging)?.iter().filter(|path| is_ours(path)).try_for_each(|path| atomic::remove_file(path))?;
    atomic::remove_empty_folder(&staging)?;
    atomic::remove_empty_folder(&store.staging(&plan.slot))?;
    remove_plan(&folder.folder)
}

/// Removes the files of a plan, and its folder where nothing else lies in it.
pub(super) fn remove_plan(folder: &Path) -> Result<()> {
    let parts = folder.join(PARTS);
    let is_part = |path: &&PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("part-") && name.ends_with(".parquet")
    };
    atomic::entries(&parts)?.iter().filter(is_part).try_for_each(|path| atomic::remove_file(path))?;
    atomic::remove_empty_folder(&parts)?;
    [LISTING, MODEL, PLAN].iter().try_for_each(|name| atomic::remove_file(&folder.join(name)))?;
    atomic::remove_empty_folder(folder).map(|_| ())
}

/// Whether a name is one that workers give: a finished shard, or a temporary.
pub(super) fn is_ours(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with("part-") && (name.ends_with(".parquet") || atomic::is_temporary(path))
}
