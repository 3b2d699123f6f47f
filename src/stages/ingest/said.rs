//! What `ingest` says to people: on its way, and in its summary.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::{Opened, Scan, folder};
use crate::files;
use crate::labels::Verdict;
use crate::scan::PassedOver;
use crate::stages::Ctx;
use crate::tables::manifest::{ManifestRow, Status};

/// Rejected recordings that are named one by one.
const MOST_NAMED: usize = 20;

/// What is not there: folders, and recordings of a table of labels; and what is there and is no recording.
pub(super) fn before(ctx: &Ctx, scan: &Scan) {
    for root in &scan.absent {
        let place = files::text_of(&folder(ctx, root));
        ctx.progress.say(&format!("ingest: corpus `{}` is left out: `{place}` is not there", root.name));
    }
    for opened in &scan.opened {
        if let Some(text) = opened.passed_over.text() {
            ctx.progress.say(&format!("ingest: corpus `{}`: {text}", opened.root.name));
        }
    }
    for opened in scan.opened.iter().filter(|opened| !opened.unmatched.is_empty()) {
        let (n_lines, first) = (opened.unmatched.len(), opened.unmatched.iter().take(3));
        let first: Vec<&str> = first.map(String::as_str).collect();
        let more = if n_lines > first.len() { ", ..." } else { "" };
        let name = &opened.root.name;
        ctx.progress.say(&format!(
            "ingest: corpus `{name}` lists {n_lines} recordings that are not there: {}{more}",
            first.join(", ")
        ));
    }
}

/// What was rejected and repaired is said; the counts are the summary.
pub(super) fn after(ctx: &Ctx, opened: &[Opened], rows: &[ManifestRow], n_unread: u64) -> Map<String, Value> {
    let rejected: Vec<&ManifestRow> = rows.iter().filter(|row| row.status == Status::Rejected).collect();
    for row in rejected.iter().take(MOST_NAMED) {
        let reason = row.reject_reason.as_deref().unwrap_or_default();
        ctx.progress.say(&format!("ingest: rejected `{}`: {reason}", row.path));
    }
    if let Some(n_more) = rejected.len().checked_sub(MOST_NAMED + 1) {
        ctx.progress.say(&format!("ingest: and {} more, see reject_reason in the manifest", n_more + 1));
    }
    if n_unread > 0 {
        ctx.progress.say("ingest: some recordings could not be read: the next run tries them again");
    }
    let n_repaired = rows.iter().filter(|row| row.repaired.is_some()).count();
    if n_repaired > 0 {
        ctx.progress.say(&format!("ingest: {n_repaired} recordings were repaired, see repaired in the manifest"));
    }
    let mut decoders: BTreeMap<&str, usize> = BTreeMap::new();
    rows.iter().filter_map(|row| row.decoder.as_deref()).for_each(|name| *decoders.entry(name).or_default() += 1);
    let hours = rows.iter().filter_map(|row| row.duration_s).fold(0.0, |sum, seconds| sum + seconds) / 3600.0;
    let mut passed_over = PassedOver::default();
    opened.iter().for_each(|one| passed_over.join(&one.passed_over));
    let mut summary = Map::new();
    summary.insert("recordings".into(), rows.len().into());
    summary.insert("ok".into(), rows.iter().filter(|row| row.status == Status::Ok).count().into());
    summary.insert("duplicates".into(), rows.iter().filter(|row| row.duplicate_of.is_some()).count().into());
    summary.insert("repaired".into(), n_repaired.into());
    summary.insert("decoders".into(), json!(decoders));
    summary.insert("hours".into(), json!((hours * 1000.0).round() / 1000.0));
    summary.insert("passed_over".into(), passed_over.kinds().into_iter().collect());
    summary.insert("corpora".into(), opened.iter().map(|one| corpus_summary(ctx, one, rows)).collect());
    summary
}

/// How many recordings carry each word for an emotion, in the order of the words.
pub(super) fn words(rows: &[&ManifestRow]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for word in rows.iter().filter_map(|row| row.emotion.as_ref()) {
        *counts.entry(word.clone()).or_default() += 1;
    }
    counts
}

/// Those words among them that the recipe's label set does not know: neither a class nor left out for a reason.
fn without_class(ctx: &Ctx, rows: &[&ManifestRow]) -> BTreeMap<String, usize> {
    let mut counts = words(rows);
    counts.retain(|word, _| ctx.pipeline.labels.verdict(word) == Verdict::Unknown);
    counts
}

/// Counts of one corpus beside those of the complete one.
fn corpus_summary(ctx: &Ctx, opened: &Opened, rows: &[ManifestRow]) -> Value {
    let own: Vec<&ManifestRow> = rows.iter().filter(|row| row.corpus == opened.root.name).collect();
    let speakers: BTreeSet<_> = own.iter().filter_map(|row| row.speaker.as_ref()).collect();
    let expected = opened.corpus.expected();
    if let Some(expected) = expected
        && expected.recordings != own.len()
    {
        let (name, n, all) = (&opened.root.name, own.len(), expected.recordings);
        ctx.progress.say(&format!("ingest: corpus `{name}` holds {n} recordings here, {all} when complete"));
    }
    let (words, unknown) = (words(&own), without_class(ctx, &own));
    if !unknown.is_empty() {
        let counts: Vec<String> = unknown.iter().map(|(word, n)| format!("`{word}` ({n})")).collect();
        let (name, set) = (&opened.root.name, &ctx.pipeline.labels.set);
        ctx.progress.say(&format!(
            "ingest: corpus `{name}`: label set `{set}` has no class for {}: scored, but no part of training or of any number; \
             say under [labels] words what they mean",
            counts.join(", ")
        ));
    }
    json!({
        "corpus": opened.root.name,
        "kind": opened.corpus.name(),
        "recordings": own.len(),
        "expected": expected.map(|expected| expected.recordings),
        "speakers": speakers.len(),
        "rejected": own.iter().filter(|row| row.status == Status::Rejected).count(),
        "duplicates": own.iter().filter(|row| row.duplicate_of.is_some()).count(),
        "per_emotion": words,
        "without_class": unknown,
    })
}
