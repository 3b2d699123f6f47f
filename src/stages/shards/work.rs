//! Makes some shards of a plan: any number of processes may, at once, again, and killed at any moment.
//!
//! A worker takes no lock and changes nothing but the staging folder of its plan, where each finished shard appears by a rename. Two
//! that make the same shard leave two files, or one under the same name; the commit takes the first that is whole.

use serde_json::{Value, json};

use crate::error::Result;
use crate::stages::Ctx;
use crate::stages::shards::{Counted, Counts, Finished, Job, PlanFolder, Sharded, Source, Tell, Wanted, waiting_in};
use crate::tables::spectrograms::shard_stem;

/// Makes those shards of the plan that are wanted and not there; `tell` gets a line for each.
pub(super) fn work<S: Sharded>(stage: &S, ctx: &Ctx, folder: &PlanFolder, wanted: &Wanted, tell: &Tell) -> Result<()> {
    folder.check_program(&stage.settings(ctx))?;
    let plan = &folder.plan;
    let positions = wanted.positions(&folder.ids())?;
    let staging = ctx.store.staging_of_plan(&plan.slot, &plan.plan_id);
    let mut waiting = waiting_in(&[&staging])?;
    let mut job = |&at: &usize| {
        let shard = &plan.shards[at];
        Job {
            id: shard.id.as_str(),
            n_rows: shard.n_rows,
            source: Source::Plan(folder, at),
            staging: &staging,
            is_kept: true,
            waiting: waiting.remove(&shard_stem(&shard.id)).unwrap_or_default(),
        }
    };
    let jobs: Vec<Job<S::Row>> = positions.iter().map(&mut job).collect();
    let seen = folder.seen_by_workers()?;
    stage.make(ctx, &seen, &jobs, &|at, made, finished| tell(line(jobs[at].id, made.counts(), finished)))
}

fn line(id: &str, counts: Counts, finished: Finished) -> Value {
    let state = if finished.was_there { "there" } else { "made" };
    json!({ "shard": id, "state": state, "rows": counts.n_rows, "rejected": counts.n_rejected,
        "unread": counts.n_unread, "bytes": counts.n_bytes, "seconds": (finished.seconds * 1000.0).round() / 1000.0 })
}
