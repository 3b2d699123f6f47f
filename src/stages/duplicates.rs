//! `duplicates`: pairs of recordings that are the same sound, by the spectrograms of their originals.
//!
//! Sides, labels and copies play no part, so another protocol or fold asks for nothing anew. Fingerprints are kept by what their
//! spectrogram is made from: recordings that join are the only ones whose spectrograms are read.

use std::collections::HashMap;

use rayon::prelude::*;
use serde_json::Map;

use crate::error::{Error, Result};
use crate::near_duplicates::{Print, PrintScratch, Printer, STEP_S, find_pairs};
use crate::signal::profile::FrontEnd;
use crate::stages::{Ctx, Done, Inputs, Needs, Read, Stage, last_of, stage_rows, stage_table};
use crate::storage::commit::{Commit, Evidence};
use crate::storage::fingerprint::Fingerprint;
use crate::storage::publish::stem_of;
use crate::storage::record::State;
use crate::storage::settings::Settings;
use crate::tables::acoustic_prints::AcousticPrintRow;
use crate::tables::duplicates::DuplicateRow;
use crate::tables::spectrograms::FeatureIndex;
use crate::tables::{TableFile, write_rows};

/// Raised when the same spectrograms would give other fingerprints or other pairs.
const REVISION: u32 = 1;
/// Name of the fingerprints among the files of the stage, but for their hash.
const PRINTS: &str = "prints";

/// See the module.
pub struct Duplicates;

impl Stage for Duplicates {
    fn name(&self) -> &'static str {
        "duplicates"
    }

    fn about(&self) -> &'static str {
        "find recordings that are the same sound, whatever their names"
    }

    fn flow(&self) -> &'static str {
        "features -> duplicates"
    }

    fn is_derived(&self) -> bool {
        true
    }

    fn check(&self, _ctx: &Ctx) -> Result<()> {
        Ok(())
    }

    fn settings(&self, _ctx: &Ctx) -> Settings {
        Settings::of_revision(REVISION)
    }

    fn reads(&self, _ctx: &Ctx) -> Vec<(&'static str, Needs)> {
        vec![("features", Needs::Same)]
    }

    fn run(&self, ctx: &Ctx, read: &Read, _inputs: &Inputs) -> Result<Done> {
        let features = read.commit("features")?;
        let unsaid = || Error::bug("features committed no front end").at(ctx.store.root());
        let front_end = features.evidence.front_end.as_ref().ok_or_else(unsaid)?;
        let index = FeatureIndex::read(&ctx.store, features)?;
        let originals = originals_of(&index);
        let known = known_prints(ctx)?;
        let made = ctx.pool.install(|| make_prints(ctx, &index, &originals, &known, front_end))?;
        let prints = made.iter().zip(&originals).map(|(made, &row)| match made {
            Some(print) => Ok(print.clone()),
            None => known.get(variant(&index, row)).cloned().ok_or_else(|| Error::bug("a fingerprint is lost")),
        });
        let prints: Vec<Print> = prints.collect::<Result<_>>()?;
        drop(known);
        let rows = ctx.pool.install(|| pairs_of(&index, &originals, &prints))?;
        let place = ctx.store.side_index(self.name(), PRINTS);
        let kept = kept_rows(&index, &originals, prints);
        let kept = stage_table(&ctx.store, self.name(), &place, |out| write_rows(out, &kept))?;
        let file = stage_rows(&ctx.store, self.name(), "pairs", &rows)?;
        let n_made = made.iter().flatten().count() as u64;
        let mut summary = Map::new();
        summary.insert("recordings".into(), originals.len().into());
        summary.insert("exact".into(), rows.iter().filter(|row| row.is_exact).count().into());
        summary.insert("near".into(), rows.iter().filter(|row| !row.is_exact).count().into());
        Ok(Done {
            output: Fingerprint::of([&file.record.content.blake3]),
            files: vec![file, kept],
            is_whole: true,
            evidence: Evidence::default(),
            inputs: None,
            n_usable: 0,
            n_done: n_made,
            n_reused: originals.len() as u64 - n_made,
            n_rejected: 0,
            n_unread: 0,
            summary,
        })
    }
}

/// Rows of the index that are original spectrograms, in the order of their recordings.
fn originals_of(index: &FeatureIndex) -> Vec<usize> {
    let is_original = |&row: &usize| index.rows[row].copy == 0 && index.place(row).is_some();
    let mut originals: Vec<usize> = (0..index.rows.len()).filter(is_original).collect();
    originals.sort_by(|&a, &b| index.rows[a].recording_id.cmp(&index.rows[b].recording_id));
    originals
}

/// What the spectrogram of a row is made from; never empty where it has one.
fn variant(index: &FeatureIndex, row: usize) -> &str {
    index.rows[row].variant.as_deref().unwrap_or_default()
}

/// Fingerprints of the last run, by variant.
fn known_prints(ctx: &Ctx) -> Result<HashMap<String, Print>> {
    let Some(last) = last_of(ctx, &Duplicates)?.filter(|last| last.settings == Duplicates.settings(ctx)) else {
        return Ok(HashMap::new());
    };
    let rows = prints_of(ctx, &last)?;
    Ok(rows.into_iter().map(|row| (row.variant.clone(), print_of(row))).collect())
}

/// What a commit kept; nothing where that is damaged, as it can be made again.
fn prints_of(ctx: &Ctx, last: &Commit) -> Result<Vec<AcousticPrintRow>> {
    let path = ctx.store.relative(&ctx.store.side_index(Duplicates.name(), PRINTS));
    let Some(record) = last.files.iter().find(|file| stem_of(&file.path) == path) else { return Ok(Vec::new()) };
    if record.state(&ctx.store)? != State::Whole {
        return Ok(Vec::new());
    }
    TableFile::committed(&ctx.store, record, Duplicates.name())?.rows()
}

fn print_of(row: AcousticPrintRow) -> Print {
    let peaks = row.peaks.as_chunks().0.iter().map(|&bytes| u32::from_le_bytes(bytes)).collect();
    Print { levels: row.levels, peaks }
}

fn kept_rows(index: &FeatureIndex, originals: &[usize], prints: Vec<Print>) -> Vec<AcousticPrintRow> {
    let row = |(&row, print): (&usize, Print)| AcousticPrintRow {
        variant: variant(index, row).into(),
        peaks: print.peaks.iter().flat_map(|peak| peak.to_le_bytes()).collect(),
        levels: print.levels,
    };
    originals.iter().zip(prints).map(row).collect()
}

/// Fingerprints of the rows that are not known; nothing for those that are.
fn make_prints(
    ctx: &Ctx,
    index: &FeatureIndex,
    originals: &[usize],
    known: &HashMap<String, Print>,
    front_end: &FrontEnd,
) -> Result<Vec<Option<Print>>> {
    let (files, printer) = (index.spectrograms(&ctx.store)?, Printer::new(front_end));
    let n_new = originals.iter().filter(|&&row| !known.contains_key(variant(index, row))).count();
    let meter = ctx.progress.begin("duplicates", n_new as u64);
    let size = front_end.n_mels * front_end.n_frames();
    let buffers = || (PrintScratch::default(), Vec::new(), vec![0.0_f32; size]);
    let each = originals.par_iter().map_init(buffers, |(scratch, bytes, log_mel), &row| {
        let Some(place) = index.place(row).filter(|_| !known.contains_key(variant(index, row))) else {
            return Ok(None);
        };
        files.read(place, bytes, log_mel)?;
        meter.advance(1);
        Ok(Some(printer.print(log_mel, index.rows[row].valid_frames as usize, scratch)))
    });
    each.collect()
}

/// Pairs among the originals: equal ones beside the first of them, and of each such group one in the search for others.
fn pairs_of(index: &FeatureIndex, originals: &[usize], prints: &[Print]) -> Result<Vec<DuplicateRow>> {
    let id = |at: usize| index.rows[originals[at]].recording_id.clone();
    let mut first_of: HashMap<(Option<u32>, &Print), usize> = HashMap::new();
    let (mut rows, mut firsts) = (Vec::new(), Vec::new());
    for (at, print) in prints.iter().enumerate() {
        let first = *first_of.entry((index.rows[originals[at]].crc32, print)).or_insert(at);
        if first == at {
            firsts.push(at);
            continue;
        }
        let n_cells = print.likeness(print, 0).n_cells;
        let (recording_a, recording_b) = (id(first), id(at));
        rows.push(DuplicateRow { recording_a, recording_b, is_exact: true, difference: 0.0, n_cells, shift_s: 0.0 });
    }
    let searched: Vec<&Print> = firsts.iter().map(|&at| &prints[at]).collect();
    for pair in find_pairs(&searched, |likeness| likeness.is_same())?.pairs {
        rows.push(DuplicateRow {
            recording_a: id(firsts[pair.a as usize]),
            recording_b: id(firsts[pair.b as usize]),
            is_exact: false,
            difference: pair.likeness.difference,
            n_cells: pair.likeness.n_cells,
            shift_s: f64::from(pair.likeness.shift) * STEP_S,
        });
    }
    rows.sort_by(|a, b| (&a.recording_a, &a.recording_b).cmp(&(&b.recording_a, &b.recording_b)));
    Ok(rows)
}
