//! Runs a stage: check, open what it reads, skip if fresh, lock, run, commit, ledger.
//!
//! A stage believes what it reads and not the recipe, so the driver asks first: what was made by other settings than the
//! recipe's is refused by name, with both values and the command that mends it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::stages::{Ctx, Done, Inputs, Needs, Outcome, Read, Stage, last_of, stage};
use crate::storage::atomic;
use crate::storage::commit::{self, Commit, CommitRef};
use crate::storage::layout::Store;
use crate::storage::lock::StageLock;
use crate::storage::publish::{clear_staged, content_named, publish, unremembered};
use crate::storage::record::{Content, FileRecord, State};
use crate::storage::settings::Settings;
use crate::tables::runs::RunRow;
use crate::tables::{folder_of, write_rows};

/// Why `stage` would run now; `None` when its last output still stands, whole.
pub fn stale_because(ctx: &Ctx, stage: &dyn Stage) -> Result<Option<String>> {
    let Some(commit) = Commit::read(&ctx.store, &stage.slot(ctx))? else {
        return Ok(Some("it never ran on this store".into()));
    };
    for (upstream, _) in stage.reads(ctx) {
        let upstream = self::stage(upstream)?;
        if upstream.is_derived()
            && let Some(reason) = stale_because(ctx, upstream)?
        {
            return Ok(Some(format!("`{}` will change: {reason}", upstream.name())));
        }
    }
    let read = open(ctx, stage)?;
    stage.admits(ctx, &read)?;
    stale_in(ctx, &commit, &stage.settings(ctx), &stage.inputs(ctx, &read)?)
}

/// Runs one stage unless its output still stands, and commits what it made.
pub fn drive(ctx: &Ctx, stage: &dyn Stage) -> Result<Outcome> {
    stage.check(ctx)?;
    derive(ctx, stage)?;
    let begun = Begun::new(ctx, stage)?;
    if let Some(outcome) = begun.fresh()? {
        return Ok(outcome);
    }
    let done = stage.run(ctx, &begun.read, &begun.inputs)?;
    begun.commit(done)
}

/// Brings up to date what `stage` reads and what follows from other tables in no time; not for a stage that is refused.
pub fn derive(ctx: &Ctx, stage: &dyn Stage) -> Result<()> {
    open_some(ctx, stage, false)?;
    for (upstream, _) in stage.reads(ctx) {
        let upstream = self::stage(upstream)?;
        if upstream.is_derived() {
            drive(ctx, upstream)?;
        }
    }
    Ok(())
}

/// A stage that holds its lock and knows what it reads.
pub struct Begun<'a> {
    ctx: &'a Ctx,
    stage: &'a dyn Stage,
    slot: String,
    settings: Settings,
    /// What it reads.
    pub read: Read,
    inputs: Inputs,
    last: Option<Commit>,
    orphans: BTreeSet<String>,
    /// The plan that is committed, where other processes did the work.
    plan: Option<String>,
    started: jiff::Timestamp,
    clock: Instant,
    _lock: StageLock,
}

impl<'a> Begun<'a> {
    /// Locks the stage, finishes or takes back what a killed run left, and opens what the stage reads.
    pub fn new(ctx: &'a Ctx, stage: &'a dyn Stage) -> Result<Self> {
        Self::with(ctx, stage, None)
    }

    /// [`Begun::new`] for the commit of a plan: `inputs` are what it was made on, as far as no commit of the store says it.
    pub fn of_plan(ctx: &'a Ctx, stage: &'a dyn Stage, inputs: Inputs, plan_id: &str) -> Result<Self> {
        Ok(Self { plan: Some(plan_id.to_string()), ..Self::with(ctx, stage, Some(inputs))? })
    }

    fn with(ctx: &'a Ctx, stage: &'a dyn Stage, inputs: Option<Inputs>) -> Result<Self> {
        let (slot, settings) = (stage.slot(ctx), stage.settings(ctx));
        let lock = StageLock::acquire(&ctx.store, &slot)?;
        let orphans = ctx.pool.install(|| commit::recover(&ctx.store, &slot))?;
        let read = open(ctx, stage)?;
        stage.admits(ctx, &read)?;
        say_what_is_behind(ctx, stage, &read);
        let inputs = inputs.map_or_else(|| stage.inputs(ctx, &read), Ok)?;
        let last = last_of(ctx, stage)?;
        match &last {
            Some(last) => enter(ctx, last)?,
            None if commit::is_there(&ctx.store.index(&slot))? => {
                let name = stage.name();
                ctx.progress.say(&format!("{name}: its index is damaged or of another version: all is made anew"));
            }
            None => {}
        }
        let (started, clock) = (jiff::Timestamp::now(), Instant::now());
        Ok(Self { ctx, stage, slot, settings, read, inputs, last, orphans, plan: None, started, clock, _lock: lock })
    }

    /// What the stage last committed.
    pub fn last(&self) -> Option<&Commit> {
        self.last.as_ref()
    }

    /// Fingerprints of what it reads, by name.
    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// The commits that it reads, by stage.
    pub fn reads(&self) -> BTreeMap<String, CommitRef> {
        self.read.all().map(|(stage, read)| (stage.to_string(), CommitRef::to(read))).collect()
    }

    /// Refuses to go on where other commits stand than those that a plan was made on.
    pub fn check_unchanged(&self, reads: &BTreeMap<String, CommitRef>, last: Option<&CommitRef>) -> Result<()> {
        let hint = "nothing was changed: plan again with `sermill plan`";
        let refuse = |what: String| Err(Error::input(what).at(self.ctx.store.root()).hint(hint));
        let now = self.reads();
        if let Some((name, _)) = reads.iter().find(|(name, then)| now.get(*name) != Some(*then)) {
            return refuse(format!("the plan is out of date: `{name}` has been run since"));
        }
        if self.last.as_ref().map(CommitRef::to).as_ref() != last {
            return refuse(format!("the plan is out of date: `{}` has been run since", self.stage.name()));
        }
        Ok(())
    }

    /// The outcome of a stage whose last output still stands, whole.
    pub fn fresh(&self) -> Result<Option<Outcome>> {
        let (ctx, name) = (self.ctx, self.stage.name());
        let Some(last) = &self.last else { return Ok(None) };
        if let Some(reason) = stale_in(ctx, last, &self.settings, &self.inputs)? {
            if !self.stage.is_derived() {
                ctx.progress.say(&format!("{name}: {reason}"));
            }
            return Ok(None);
        }
        clear_staged(&ctx.store, &self.slot)?;
        let summary = json!({ "stage": name, "fresh": true, "n_done": 0, "n_rejected": last.n_rejected,
            "run_id": last.run_id });
        Ok(Some(Outcome { summary, n_rejected: last.n_rejected, fresh: true }))
    }

    /// Publishes what the stage made.
    pub fn commit(self, done: Done) -> Result<Outcome> {
        let seconds = self.clock.elapsed().as_secs_f64();
        let (ctx, stage) = (self.ctx, self.stage);
        // What `score` keeps is a setting of its own; elsewhere no setting should cost half of the recordings unasked.
        if let Some(last) = self.last.as_ref().filter(|last| last.settings == self.settings || stage.name() != "score")
        {
            guard_against_loss(ctx, stage, last.n_usable, done.n_usable)?;
        }
        let mut inputs = self.inputs.clone();
        inputs.extend(done.inputs.clone().unwrap_or_default());
        let run_id = format!("{}-{}", self.started.strftime("%Y%m%dT%H%M%S%.3fZ"), self.slot);
        let summary = summary_of(stage, &done, &run_id, seconds);
        let row = RunRow {
            run_id: run_id.clone(),
            settings_fingerprint: self.settings.fingerprint().to_string(),
            inputs: serde_json::to_string(&inputs)
                .map_err(|error| Error::bug("inputs have no JSON form").because(error))?,
            summary: summary.to_string(),
            started_at: self.started.to_string(),
            seconds,
            ..row_of(ctx, stage, &done)
        };
        let reads = self.reads();
        let mut commit = commit::blank(&self.slot, self.settings, done.output.clone());
        (commit.run_id, commit.inputs, commit.evidence) = (run_id, inputs, done.evidence.clone());
        (commit.reads, commit.plan) = (reads, self.plan);
        (commit.n_usable, commit.n_rejected, commit.n_unread) = (done.n_usable, done.n_rejected, done.n_unread);
        commit.run = serde_json::to_value(row).map_err(|error| Error::bug("a run has no JSON form").because(error))?;
        publish_commit(ctx, commit, self.last.as_ref(), &done, self.orphans)?;
        Ok(Outcome { summary, n_rejected: done.n_rejected, fresh: false })
    }
}

/// Opens the commits that `stage` reads.
///
/// Errors: kind `Input` for a stage that never ran, and for one whose settings are not the recipe's.
fn open(ctx: &Ctx, stage: &dyn Stage) -> Result<Read> {
    open_some(ctx, stage, true)
}

/// [`open`], with those that the driver brings up to date or without them.
fn open_some(ctx: &Ctx, stage: &dyn Stage, with_derived: bool) -> Result<Read> {
    let mut read = Read::default();
    for (name, needs) in stage.reads(ctx) {
        let upstream = self::stage(name)?;
        if upstream.is_derived() && !with_derived {
            continue;
        }
        let commit = Commit::require(&ctx.store, &upstream.slot(ctx))?;
        if needs == Needs::Same
            && let Some(difference) = commit.settings.difference(&upstream.settings(ctx))
        {
            return Err(Error::input(format!("`{name}` was run with {difference}"))
                .at(ctx.store.root())
                .hint(format!("run `sermill {name}` with this recipe first")));
        }
        read.commits.insert(upstream.name(), commit);
    }
    Ok(read)
}

/// Two inputs of which one was made from an older state of the other fit together, but not everything is in both.
fn say_what_is_behind(ctx: &Ctx, stage: &dyn Stage, read: &Read) {
    for (name, commit) in read.all() {
        let behind = commit
            .reads
            .iter()
            .find(|(other, then)| read.commits.get(other.as_str()).is_some_and(|now| now.output != then.output));
        if let Some((other, _)) = behind {
            ctx.progress.say(&format!("{}: `{name}` has not seen the last run of `{other}`", stage.name()));
        }
    }
}

/// Why the last output does not stand; reads it when nothing else speaks against it.
fn stale_in(ctx: &Ctx, last: &Commit, settings: &Settings, inputs: &Inputs) -> Result<Option<String>> {
    match last.stale_because(settings, inputs) {
        Some(reason) => Ok(Some(reason)),
        None => ctx.pool.install(|| last.damage(&ctx.store)),
    }
}

/// What the ledger says of a run beside its name, its times and what it read.
fn row_of(ctx: &Ctx, stage: &dyn Stage, done: &Done) -> RunRow {
    RunRow {
        stage: stage.name().into(),
        pipeline: ctx.pipeline.pipeline.name.clone(),
        protocol: done.evidence.protocol.clone().unwrap_or_else(|| ctx.pipeline.split.protocol.name().into()),
        output_fingerprint: done.output.to_string(),
        n_done: done.n_done,
        n_reused: done.n_reused,
        n_rejected: done.n_rejected,
        n_threads: ctx.n_threads() as u32,
        version: env!("CARGO_PKG_VERSION").into(),
        ..RunRow::default()
    }
}

/// A run that would keep less than half of the recordings that the last one had asks first: a folder that is not mounted looks
/// like one whose recordings are gone.
fn guard_against_loss(ctx: &Ctx, stage: &dyn Stage, before: u64, now: u64) -> Result<()> {
    if ctx.accept_loss || now >= before.div_ceil(2) {
        return Ok(());
    }
    Err(Error::input(format!("`{}` would keep {now} usable recordings where the last run had {before}", stage.name()))
        .at(ctx.store.root())
        .hint("nothing was changed: look where they have gone, or run it with --accept-loss if that is meant"))
}

/// Announces the commit, gives its files their places, commits, enters the run; only then is anything removed of what the last
/// commit names.
fn publish_commit(
    ctx: &Ctx,
    mut commit: Commit,
    last: Option<&Commit>,
    done: &Done,
    orphans: BTreeSet<String>,
) -> Result<()> {
    let store = &ctx.store;
    commit.files = done.files.iter().map(|file| file.record.clone()).collect();
    commit.earlier = last.map(|last| last.outlived_by(&commit.files, done.is_whole)).unwrap_or_default();
    let stays: BTreeSet<&str> = commit.files.iter().chain(&commit.earlier).map(|file| file.path.as_str()).collect();
    let of_last = last.into_iter().flat_map(|last| last.files.iter().chain(&last.earlier)).map(|file| &file.path);
    let mut dropped: BTreeSet<String> =
        of_last.chain(&orphans).filter(|path| !stays.contains(path.as_str())).cloned().collect();
    if last.is_none() {
        dropped.extend(unremembered(store, &done.files, done.is_whole)?);
    }
    commit.orphans = orphans;
    commit.announce(store)?;
    publish(store, &commit.stage, &done.files, &dropped)?;
    commit.publish(store)?;
    enter(ctx, &commit)?;
    clear_staged(store, &commit.stage)
}

/// The file that holds a committed run's row of the ledger, and its bytes.
pub fn ledger_entry(store: &Store, commit: &Commit) -> Result<(FileRecord, Vec<u8>)> {
    let row: RunRow = serde_json::from_value(commit.run.clone())
        .map_err(|error| Error::bug("a commit holds no run").at(store.index(&commit.stage)).because(error))?;
    let mut bytes = Vec::new();
    write_rows(&mut bytes, std::slice::from_ref(&row))?;
    let content = Content::of(&bytes);
    let path = store.relative(&folder_of::<RunRow>(store).join(content_named(&row.run_id, &content)));
    Ok((FileRecord { path, content }, bytes))
}

/// Enters a committed run into the ledger, unless it stands there: the run that committed may have been killed before.
fn enter(ctx: &Ctx, commit: &Commit) -> Result<()> {
    let (record, bytes) = ledger_entry(&ctx.store, commit)?;
    if record.state(&ctx.store)? == State::Whole {
        return Ok(());
    }
    let staging = ctx.store.staging(&commit.stage);
    atomic::publish_bytes(&staging, &record.file(&ctx.store), &bytes).map(|_| ())
}

fn summary_of(stage: &dyn Stage, done: &Done, run_id: &str, seconds: f64) -> Value {
    let mut summary = Map::new();
    summary.insert("stage".into(), stage.name().into());
    summary.insert("fresh".into(), false.into());
    summary.insert("n_done".into(), done.n_done.into());
    summary.insert("n_reused".into(), done.n_reused.into());
    summary.insert("n_rejected".into(), done.n_rejected.into());
    summary.extend(done.summary.clone());
    summary.insert("seconds".into(), json!((seconds * 1000.0).round() / 1000.0));
    summary.insert("run_id".into(), run_id.into());
    Value::Object(summary)
}
