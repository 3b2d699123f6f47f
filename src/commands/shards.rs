//! What `plan`, `shard`, `commit` and `sweep` do.

use std::io::Write;
use std::sync::Mutex;

use serde_json::json;

use super::{DONE_WITH_REJECTS, absolute, context, pool, print};
use crate::cli::{CommitArgs, Setting, ShardArgs, SweepArgs};
use crate::error::{Error, Result};
use crate::files;
use crate::network::session;
use crate::progress::{self, Progress, Silent};
use crate::stages::shards::{Committed, PlanFolder, sharded, sweep, what_stands};
use crate::stages::{Ctx, Outcome};
use crate::storage::layout::Store;
use crate::units::Bytes;

/// Prints one line: where the plan is and how many shards it has.
pub(super) fn plan(stage: &str, setting: &Setting, stdout: &mut (dyn Write + Send)) -> Result<u8> {
    let mut ctx = context(setting)?;
    // Workers may be started anywhere.
    ctx.store = Store::new(absolute(ctx.store.root())?);
    ctx.corpora = absolute(&ctx.corpora)?;
    print(stdout, &sharded(stage)?.plan(&ctx)?)?;
    Ok(0)
}

/// Prints one line for each shard, as soon as it is finished.
pub(super) fn shard(typed: &ShardArgs, stdout: &mut (dyn Write + Send)) -> Result<u8> {
    let Some(folder) = PlanFolder::open(&absolute(&typed.plan)?)? else {
        // A worker that comes too late has nothing left to do.
        what_stands(&absolute(&typed.plan)?)?;
        progress_of(typed.quiet).say("shard: the plan has been committed: there is nothing left to do");
        return Ok(0);
    };
    let mut ctx = worker(&folder, typed.n_threads, typed.quiet)?;
    if let Some(library) = &typed.runtime {
        ctx.runtime_library.clone_from(library);
    }
    let stdout = Mutex::new(stdout);
    sharded(&folder.plan.stage)?.shard(&ctx, &folder, &typed.wanted, &|line| {
        let mut stdout = stdout.lock().expect("no panic while a line is printed");
        print(&mut **stdout, &line)?;
        stdout.flush().map_err(super::closed)
    })?;
    Ok(0)
}

/// Prints the stage's summary, or the shards that are missing.
pub(super) fn commit(typed: &CommitArgs, stdout: &mut (dyn Write + Send)) -> Result<u8> {
    let place = absolute(&typed.plan)?;
    let committed = match PlanFolder::open(&place)? {
        Some(folder) => {
            let mut ctx = worker(&folder, typed.n_threads, typed.quiet)?;
            ctx.accept_loss = typed.accept_loss;
            sharded(&folder.plan.stage)?.commit(&ctx, &folder)?
        }
        None => Committed::Done(what_stands(&place)?),
    };
    match committed {
        Committed::Done(Outcome { summary, n_rejected, .. }) => {
            print(stdout, &summary)?;
            Ok(if n_rejected > 0 { DONE_WITH_REJECTS } else { 0 })
        }
        Committed::Missing(ids) => {
            print(stdout, &json!({ "missing": ids }))?;
            let first: Vec<&str> = ids.iter().take(5).map(String::as_str).collect();
            let more = if ids.len() > first.len() { ", ..." } else { "" };
            let what = format!("{} shards of the plan are not there: {}{more}", ids.len(), first.join(", "));
            let hint = "make them with `sermill shard --plan FOLDER --id ID...`, then commit again";
            Err(Error::machine(what).at(&place).hint(hint))
        }
    }
}

/// Prints one line: what was removed.
pub(super) fn sweep_store(typed: &SweepArgs, stdout: &mut (dyn Write + Send)) -> Result<u8> {
    let swept = sweep(&Store::new(&typed.store), typed.older)?;
    let store = files::text_of(&typed.store);
    let line = json!({ "sweep": store, "plans": swept.n_plans, "files": swept.n_files, "bytes": swept.n_bytes,
        "busy": swept.busy });
    print(stdout, &line)?;
    Ok(0)
}

/// What a process works with that has a plan and no recipe.
fn worker(folder: &PlanFolder, n_threads: Option<usize>, quiet: bool) -> Result<Ctx> {
    let plan = &folder.plan;
    Ok(Ctx {
        pipeline: plan.pipeline.clone(),
        store: Store::new(files::path_of(&plan.store)),
        corpora: files::path_of(&plan.corpora),
        input: plan.input.as_deref().map(files::path_of),
        runtime_library: session::default_library(),
        memory_limit: Bytes(0),
        shard_recordings: plan.shard_recordings,
        accept_loss: false,
        progress: progress_of(quiet),
        pool: pool(n_threads)?,
    })
}

fn progress_of(quiet: bool) -> Box<dyn Progress> {
    if quiet { Box::new(Silent) } else { progress::for_stderr() }
}
