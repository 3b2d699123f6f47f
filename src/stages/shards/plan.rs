//! Writes a plan into the store.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::error::Result;
use crate::files;
use crate::stages::Ctx;
use crate::stages::driver::{Begun, derive};
use crate::stages::shards::plan_file::{
    FORMAT, LISTING, MODEL, PART_SHARDS, PARTS, PLAN, PlanFile, PlannedShard, part_name,
};
use crate::stages::shards::{Seen, Shard, Sharded, waiting_in};
use crate::storage::atomic::{self, Written};
use crate::storage::commit::{CommitRef, GIT_COMMIT};
use crate::storage::seal::sealed;
use crate::tables::spectrograms::shard_stem;
use crate::tables::{Row, TableWriter, write_rows};

/// Plans a stage, unless its output still stands; gives what `sermill plan` prints.
///
/// The same inputs give the same plan, in the same folder, so planning again mends what is damaged of it and changes nothing else.
pub(super) fn plan<S: Sharded>(stage: &S, ctx: &Ctx) -> Result<Value> {
    stage.check(ctx)?;
    derive(ctx, stage)?;
    let begun = Begun::new(ctx, stage)?;
    let revision = stage.settings(ctx).get("revision").cloned();
    if begun.fresh()?.is_some() {
        return Ok(json!({ "plan": null, "stage": stage.name(), "plan_id": null, "shards": 0, "todo": 0,
            "fresh": true, "revision": revision }));
    }
    let mut seen = stage.look(ctx, &begun.read)?;
    let (listing, passed_over) = seen.to_rows();
    let plan = stage.plan(ctx, &begun.read, &mut seen)?;
    let shards = stage.shards(&plan);
    let room = ctx.store.staging(&stage.slot(ctx));
    let mut files = parts_of(&room, &shards)?;
    let parts = files.iter().map(|(_, written)| written.content().clone()).collect();
    let mut beside = |name: &str, written: Written| {
        let content = written.content().clone();
        files.push((name.to_string(), written));
        content
    };
    let listing = match passed_over.is_empty() {
        true => None,
        false => {
            Some(beside(LISTING, atomic::write_aside(&room, Path::new(LISTING), |out| write_rows(out, &listing))?))
        }
    };
    let model = model_of(&room, &seen)?.map(|written| beside(MODEL, written));
    let mut file = PlanFile {
        format: FORMAT,
        stage: stage.name().into(),
        slot: stage.slot(ctx),
        plan_id: String::new(),
        version: env!("CARGO_PKG_VERSION").into(),
        git_commit: GIT_COMMIT.into(),
        settings: stage.settings(ctx),
        pipeline: ctx.pipeline.clone(),
        store: files::text_of(ctx.store.root()),
        corpora: files::text_of(&ctx.corpora),
        input: ctx.input.as_deref().map(files::text_of),
        inputs: begun.inputs().clone(),
        reads: begun.reads(),
        shard_recordings: ctx.shard_recordings,
        last: begun.last().map(CommitRef::to),
        shards: shards.iter().map(|shard| PlannedShard { id: shard.id.into(), n_rows: shard.rows.len() }).collect(),
        parts,
        listing,
        passed_over,
        model,
    };
    file.plan_id = file.id();
    let folder = write(ctx, &file, files)?;
    let n_todo = todo(ctx, &file)?;
    Ok(json!({ "plan": files::text_of(&folder), "stage": file.stage, "plan_id": file.plan_id,
        "shards": file.shards.len(), "todo": n_todo, "fresh": false, "revision": revision }))
}

/// Writes the rows of all shards aside, a row group for each, and names the files.
fn parts_of<R: Row>(room: &Path, shards: &[Shard<R>]) -> Result<Vec<(String, Written)>> {
    let mut parts = Vec::new();
    for (part, shards) in shards.chunks(PART_SHARDS).enumerate() {
        let name = part_name(part);
        let written = atomic::write_aside(room, Path::new(&name), |out| {
            let mut writer = TableWriter::<R>::new(out)?;
            for shard in shards {
                shard.rows.chunks(1024).try_for_each(|rows| writer.write(rows))?;
                writer.end_group()?;
            }
            writer.finish()
        })?;
        parts.push((format!("{PARTS}/{name}"), written));
    }
    Ok(parts)
}

fn model_of(room: &Path, seen: &Seen) -> Result<Option<Written>> {
    if seen.model.is_empty() {
        return Ok(None);
    }
    atomic::write_bytes_aside(room, Path::new(MODEL), &seen.model).map(Some)
}

/// Gives the files of a plan their places, and writes the plan last: a folder without it is no plan.
fn write(ctx: &Ctx, plan: &PlanFile, files: Vec<(String, Written)>) -> Result<PathBuf> {
    let folder = ctx.store.plans(&plan.slot).join(&plan.plan_id);
    let mut folders = vec![folder.clone()];
    for (name, written) in files {
        let target = folder.join(name);
        let parent = target.parent().unwrap_or(&folder);
        if !folders.contains(&parent.to_path_buf()) {
            folders.push(parent.to_path_buf());
        }
        atomic::create_folder(parent)?;
        written.publish(&target)?;
    }
    atomic::create_folder(&folder)?;
    folders.iter().try_for_each(|folder| atomic::sync_folder(folder))?;
    atomic::publish_bytes(&ctx.store.staging(&plan.slot), &folder.join(PLAN), &sealed(plan)?)?;
    atomic::remove_empty_folder(&ctx.store.staging(&plan.slot))?;
    Ok(folder)
}

/// Shards of a plan that nobody has finished, as far as names say it.
fn todo(ctx: &Ctx, plan: &PlanFile) -> Result<usize> {
    let waiting = waiting_in(&[&ctx.store.staging_of_plan(&plan.slot, &plan.plan_id)])?;
    Ok(plan.shards.iter().filter(|shard| !waiting.contains_key(&shard_stem(&shard.id))).count())
}
