//! `folds`: the labelled recordings of the manifest are put on sides, once, for everybody who asks for a side.
//!
//! Spectrograms know nothing of it: another protocol, share, seed or label set is another small table.

use serde_json::{Map, json};

use crate::error::Result;
use crate::leaks::LeakKinds;
use crate::split::{Candidate, Split, SplitConfig, assign};
use crate::stages::{Ctx, Done, Inputs, Needs, Read, Stage, stage_rows};
use crate::storage::commit::Evidence;
use crate::storage::fingerprint::Fingerprint;
use crate::storage::settings::Settings;
use crate::tables::committed_rows;
use crate::tables::folds::FoldRow;
use crate::tables::manifest::{ManifestRow, sound_key};

/// Raised when the same manifest would give other sides.
const REVISION: u32 = 1;

/// See the module.
pub struct Folds;

impl Stage for Folds {
    fn name(&self) -> &'static str {
        "folds"
    }

    fn about(&self) -> &'static str {
        "put labelled recordings on sides by the recipe's protocol"
    }

    fn flow(&self) -> &'static str {
        "manifest -> folds"
    }

    fn is_derived(&self) -> bool {
        true
    }

    fn check(&self, _ctx: &Ctx) -> Result<()> {
        Ok(())
    }

    fn settings(&self, ctx: &Ctx) -> Settings {
        let pipeline = &ctx.pipeline;
        Settings::of_revision(REVISION)
            // What two sides may share moves nothing.
            .with("split", SplitConfig { allow_leaks: LeakKinds::default(), ..pipeline.split.clone() })
            .with("labels", &pipeline.labels)
            .with("pipeline.seed", pipeline.pipeline.seed)
            .with("features.copies", pipeline.stored_copies())
    }

    fn reads(&self, _ctx: &Ctx) -> Vec<(&'static str, Needs)> {
        vec![("ingest", Needs::Same)]
    }

    fn run(&self, ctx: &Ctx, read: &Read, _inputs: &Inputs) -> Result<Done> {
        let manifest: Vec<ManifestRow> = committed_rows(&ctx.store, read.commit("ingest")?)?;
        let (rows, n_folds, notes) = assigned(ctx, &manifest)?;
        notes.iter().for_each(|note| ctx.progress.say(&format!("folds: {note}")));
        let protocol = ctx.pipeline.split.protocol;
        let file = stage_rows(&ctx.store, self.name(), protocol.name(), &rows)?;
        let mut summary = Map::new();
        summary.insert("protocol".into(), protocol.name().into());
        for split in Split::ALL {
            summary.insert(split.name().into(), rows.iter().filter(|row| row.split == split).count().into());
        }
        summary.insert("labels".into(), json!(ctx.pipeline.labels.set));
        if n_folds > 1 {
            summary.insert("folds".into(), n_folds.into());
        }
        if !notes.is_empty() {
            summary.insert("notes".into(), json!(notes));
        }
        Ok(Done {
            output: Fingerprint::of([&file.record.content.blake3]),
            files: vec![file],
            // Those of other protocols stay beside it.
            is_whole: false,
            evidence: Evidence {
                protocol: Some(protocol.name().into()),
                seed: Some(ctx.pipeline.pipeline.seed),
                labels: Some(ctx.pipeline.labels.clone()),
                n_folds: Some(n_folds),
                ..Evidence::default()
            },
            inputs: None,
            n_usable: 0,
            n_done: rows.len() as u64,
            n_reused: 0,
            n_rejected: 0,
            n_unread: 0,
            summary,
        })
    }
}

/// The side of every copy of every recording that has a class in every fold, by fold, then in the order of their ids; the number of
/// folds, and what the user should know of them.
fn assigned(ctx: &Ctx, manifest: &[ManifestRow]) -> Result<(Vec<FoldRow>, u32, Vec<String>)> {
    let (pipeline, n_copies) = (&ctx.pipeline, ctx.pipeline.stored_copies());
    let (mut labelled, mut keys) = (Vec::new(), Vec::new());
    for row in manifest.iter().filter(|row| row.is_eligible()) {
        let class = pipeline.labels.class_of(row.emotion.as_deref());
        if let (Some(class), Some(content_hash)) = (class, row.content_hash.as_deref()) {
            labelled.push((row, class));
            keys.push(sound_key(content_hash, row.start_s, row.end_s));
        }
    }
    let mut candidates = Vec::with_capacity(keys.len());
    for (content_hash, &(row, class)) in keys.iter().zip(&labelled) {
        candidates.push(Candidate {
            content_hash,
            corpus: &row.corpus,
            class,
            speaker: row.speaker.as_deref(),
            statement: row.statement.as_deref(),
            given_split: row.given_split.as_deref(),
            given_fold: row.given_fold.as_deref(),
        });
    }
    let assigned = assign(&pipeline.split, pipeline.pipeline.seed, &candidates, n_copies)?;
    let mut rows = Vec::new();
    for (fold, sides) in assigned.folds.iter().enumerate() {
        for ((row, _), sides) in labelled.iter().zip(sides) {
            for (copy, side) in sides.iter().enumerate() {
                rows.extend(side.map(|split| FoldRow {
                    recording_id: row.recording_id.clone(),
                    copy: copy as u32,
                    fold: fold as u32,
                    split,
                    protocol: pipeline.split.protocol.name().into(),
                    seed: pipeline.pipeline.seed.0.cast_signed(),
                    labels: pipeline.labels.set.clone(),
                }));
            }
        }
    }
    Ok((rows, assigned.folds.len() as u32, assigned.notes))
}
