//! What all shards of scoring make together: one file of predictions.

use serde_json::{Map, Value, json};

use crate::confidence::Reason;
use crate::definition::front_end_of;
use crate::error::Result;
use crate::network::onnx::ModelCard;
use crate::recordings;
use crate::stages::score::plan::blank;
use crate::stages::score::{Score, ScorePlan, Scored, Source};
use crate::stages::{Ctx, Done, Read, Stage, stage_table};
use crate::storage::commit::Evidence;
use crate::storage::fingerprint::Fingerprint;
use crate::storage::publish::OutFile;
use crate::tables::folder_of;
use crate::tables::manifest::Status;
use crate::tables::predictions::{PredictionRow, Predictions};

/// Counts over all shards.
#[derive(Default)]
struct Sums {
    n_done: u64,
    n_reused: u64,
    n_unread: u64,
    first_unread: Option<(String, String)>,
    golden_difference: Option<f32>,
    /// `None` where other processes did the work.
    seconds: Option<f64>,
}

pub(super) fn fold(ctx: &Ctx, read: &Read, plan: ScorePlan, made: Vec<Scored>) -> Result<Done> {
    let mut sums = Sums { n_reused: plan.n_reused, seconds: Some(0.0), ..Sums::default() };
    let mut rows = plan.standing;
    for Scored { rows: own, note, seconds, .. } in made {
        rows.extend(own);
        sums.n_done += note.n_done;
        sums.n_reused += note.n_reused;
        sums.n_unread += note.n_unread;
        sums.first_unread = sums.first_unread.or(note.first_unread);
        let worst = |a: f32, b: f32| if b > a { b } else { a };
        sums.golden_difference = sums.golden_difference.into_iter().chain(note.golden_difference).reduce(worst);
        sums.seconds = sums.seconds.zip(seconds).map(|(sum, seconds)| sum + seconds);
    }
    let provider = blank(ctx, &plan.card)?.provider;
    let first = sums.first_unread.as_ref().map(|(path, reason)| (path.as_str(), reason.as_str()));
    recordings::check_unread(sums.n_unread as usize, rows.len(), first)?;
    rows.sort_by(|a, b| (&a.recording_id, a.copy, a.fold).cmp(&(&b.recording_id, b.copy, b.fold)));
    let (store, card) = (&ctx.store, &plan.card);
    let predictions = Predictions { classes: plan.labels.classes.clone(), rows };
    let place = folder_of::<PredictionRow>(store).join(&plan.stem);
    let file = stage_table(store, &Score.slot(ctx), &place, |out| predictions.write(out))?;
    let n_rejected = predictions.rows.iter().filter(|row| row.status == Status::Rejected).count() as u64;
    let evidence = Evidence {
        labels: Some(plan.labels.clone()),
        model_id: Some(card.model_id.clone()),
        model_protocol: Some(card.protocol.clone()),
        windows: Some((card.network.window, card.network.hop)),
        ..evidence_of_source(ctx, read, &plan.card)?
    };
    Ok(Done {
        output: Fingerprint::of([&file.record.content.blake3]),
        summary: summary(ctx, [&card.model_id, &provider], &predictions.rows, &sums, &file),
        files: vec![file],
        is_whole: false,
        evidence,
        inputs: plan.inputs,
        n_usable: predictions.rows.len() as u64 - n_rejected,
        n_done: sums.n_done,
        n_reused: sums.n_reused,
        n_rejected,
        n_unread: sums.n_unread,
    })
}

fn evidence_of_source(ctx: &Ctx, read: &Read, card: &ModelCard) -> Result<Evidence> {
    let protocol = Some(ctx.pipeline.split.protocol.name().into());
    Ok(match Source::of(ctx) {
        Source::Folder => Evidence::default(),
        Source::Features => Evidence { protocol, ..read.commit("features")?.evidence.clone() },
        Source::Audio => Evidence {
            protocol,
            definition: Some(card.definition.clone()),
            fingerprint: Some(Fingerprint::from_text(&card.fingerprint)),
            front_end: Some(front_end_of(card)?),
            copies: Some(0),
            ..Evidence::default()
        },
    })
}

fn summary(
    ctx: &Ctx,
    [model_id, provider]: [&str; 2],
    rows: &[PredictionRow],
    sums: &Sums,
    file: &OutFile,
) -> Map<String, Value> {
    let right = |row: &&PredictionRow| row.emotion.is_some() && row.emotion == row.predicted;
    let n_labelled = rows.iter().filter(|row| row.emotion.is_some() && row.predicted.is_some()).count();
    let mut summary = Map::new();
    summary.insert("rows".into(), rows.len().into());
    summary.insert("model_id".into(), model_id.into());
    summary.insert("provider".into(), provider.into());
    summary.insert("labelled".into(), n_labelled.into());
    summary.insert("correct".into(), rows.iter().filter(right).count().into());
    if rows.iter().any(|row| row.set_size.is_some() || row.domain_distance.is_some()) {
        let of = |reason: Reason| rows.iter().filter(|row| row.abstain.as_deref() == Some(reason.text())).count();
        let reasons: Map<String, Value> =
            Reason::ALL.into_iter().map(|reason| (reason.text().into(), of(reason).into())).collect();
        summary.insert("abstained".into(), reasons.into());
    }
    if let Some(difference) = sums.golden_difference {
        summary.insert("golden_difference".into(), json!(difference));
    }
    if let Some(seconds) = sums.seconds {
        let rate = (sums.n_done as f64 / seconds.max(1e-9) * 10.0).round() / 10.0;
        summary.insert("recordings_per_s".into(), json!(rate));
    }
    summary.insert("predictions".into(), file.record.file(&ctx.store).display().to_string().into());
    summary
}
