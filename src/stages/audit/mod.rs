//! `audit`: what the sides of each fold have in common, as rows; `train` refuses sides that share more than the recipe allows.

mod find;

use serde_json::{Map, Value, json};

use crate::error::Result;
use crate::stages::leaks::Shared;
use crate::stages::{Ctx, Done, Inputs, Needs, Read, Stage, last_of, stage_rows};
use crate::storage::commit::Evidence;
use crate::storage::fingerprint::Fingerprint;
use crate::storage::settings::Settings;
use crate::tables::duplicates::DuplicateRow;
use crate::tables::folds::FoldRow;
use crate::tables::leaks::LeakRow;
use crate::tables::manifest::ManifestRow;
use crate::tables::{committed_parts, committed_rows};

use find::{Audit as Found, Entry, Placed};

/// Raised when the same tables would give other leaks.
const REVISION: u32 = 1;

/// See the module.
pub struct Audit;

impl Stage for Audit {
    fn name(&self) -> &'static str {
        "audit"
    }

    fn about(&self) -> &'static str {
        "find what the sides of a split have in common: duplicates, twins, speakers, sentences"
    }

    fn flow(&self) -> &'static str {
        "manifest, folds, duplicates -> leaks"
    }

    fn is_derived(&self) -> bool {
        true
    }

    fn check(&self, _ctx: &Ctx) -> Result<()> {
        Ok(())
    }

    fn settings(&self, ctx: &Ctx) -> Settings {
        Settings::of_revision(REVISION).with("split.allow_leaks", ctx.pipeline.split.allow_leaks)
    }

    fn reads(&self, _ctx: &Ctx) -> Vec<(&'static str, Needs)> {
        vec![("ingest", Needs::Same), ("folds", Needs::Same), ("duplicates", Needs::Same)]
    }

    fn run(&self, ctx: &Ctx, read: &Read, _inputs: &Inputs) -> Result<Done> {
        let store = &ctx.store;
        let protocol = ctx.pipeline.split.protocol.name();
        let columns = ["recording_id", "corpus", "speaker", "statement"];
        let entries: Vec<Entry> = committed_parts::<ManifestRow, _>(store, read.commit("ingest")?, &columns)?;
        let columns = ["recording_id", "copy", "fold", "split"];
        let placed: Vec<Placed> = committed_parts::<FoldRow, _>(store, read.commit("folds")?, &columns)?;
        let pairs: Vec<DuplicateRow> = committed_rows(store, read.commit("duplicates")?)?;
        let n_placed = placed.len() as u64;
        let rows = Found::new(&entries, &pairs, protocol, ctx.pipeline.split.allow_leaks).leaks(placed);
        let file = stage_rows(store, self.name(), protocol, &rows)?;
        let mut summary = Map::new();
        summary.insert("protocol".into(), protocol.into());
        summary.insert("leaks".into(), rows.len().into());
        summary.insert("not_allowed".into(), rows.iter().filter(|row| !row.allowed).count().into());
        summary.insert("allow_leaks".into(), json!(ctx.pipeline.split.allow_leaks));
        let unknown = |is: fn(&Entry) -> bool| entries.iter().filter(|entry| is(entry)).count();
        summary.insert("unknown_speakers".into(), unknown(|entry| entry.speaker.is_none()).into());
        summary.insert("unknown_sentences".into(), unknown(|entry| entry.statement.is_none()).into());
        Ok(Done {
            output: Fingerprint::of([&file.record.content.blake3]),
            files: vec![file],
            // Those of other protocols stay beside it.
            is_whole: false,
            evidence: Evidence { protocol: Some(protocol.into()), ..Evidence::default() },
            inputs: None,
            n_usable: 0,
            n_done: n_placed,
            n_reused: 0,
            // They decide the exit code, as rejected recordings do.
            n_rejected: rows.iter().filter(|row| !row.allowed).count() as u64,
            n_unread: 0,
            summary,
        })
    }

    fn lines(&self, ctx: &Ctx) -> Result<Vec<Value>> {
        let Some(last) = last_of(ctx, self)? else { return Ok(Vec::new()) };
        let shared = Shared::of(&committed_rows::<LeakRow>(&ctx.store, &last)?);
        shared.iter().for_each(|shared| ctx.progress.say(&format!("audit: {shared}")));
        Ok(shared.iter().map(Shared::to_json).collect())
    }
}
