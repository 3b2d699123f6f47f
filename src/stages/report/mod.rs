//! `report`: predictions become metrics, confusions, and a page with pictures.

mod page;
mod slices;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Map, json};

use crate::emotion::Emotion;
use crate::error::{Error, Result};
use crate::metrics::{Confusion, Interval, uar_interval};
use crate::pictures::{EpochPoint, SpectrogramView, confusion_svg, curves_svg, spectrogram_svg};
use crate::stages::{Ctx, Done, Inputs, Stage};
use crate::storage::atomic;
use crate::storage::commit::Commit;
use crate::storage::fingerprint::Fingerprint;
use crate::tables::confusion::ConfusionRow;
use crate::tables::features::{FeatureRow, from_blob};
use crate::tables::history::HistoryRow;
use crate::tables::metrics::MetricRow;
use crate::tables::{folder_of, publish_rows, read_batches, read_rows};

use page::{Page, markdown, percent};
use slices::{Slice, slices};

/// Raised when the same predictions would give other numbers.
const REVISION: u32 = 1;

/// See the module.
pub struct Report;

impl Stage for Report {
    fn name(&self) -> &'static str {
        "report"
    }

    fn about(&self) -> &'static str {
        "sum predictions up as metrics, confusions and a page with pictures"
    }

    fn flow(&self) -> &'static str {
        "predictions, history, features -> metrics, confusion, reports/"
    }

    fn check(&self, _ctx: &Ctx) -> Result<()> {
        Ok(())
    }

    fn settings(&self, ctx: &Ctx) -> Fingerprint {
        let pipeline = &ctx.pipeline;
        Fingerprint::of_value(&(REVISION, &pipeline.report, pipeline.pipeline.seed, pipeline.split.protocol))
    }

    fn inputs(&self, ctx: &Ctx) -> Result<Inputs> {
        let predictions = Commit::require(&ctx.store, "score")?;
        Ok(Inputs::from([("predictions".to_string(), predictions.output)]))
    }

    fn run(&self, ctx: &Ctx, _settings: &Fingerprint, _inputs: &Inputs) -> Result<Done> {
        let score = Commit::require(&ctx.store, "score")?;
        let model_id = score.facts.get("model_id").cloned().ok_or_else(|| Error::bug("score committed no model_id"))?;
        let files: Vec<PathBuf> = score.files.iter().map(|file| ctx.store.root().join(file)).collect();
        let slices = slices(&files)?;
        let mut metrics = Vec::new();
        let mut confusion_rows = Vec::new();
        let mut confusions = Vec::new();
        for slice in &slices {
            let confusion = Confusion::from_pairs(slice.pairs.iter().copied());
            metrics.extend(metric_rows(ctx, &model_id, slice, &confusion)?);
            confusion_rows.extend(cells(ctx, &model_id, slice, &confusion));
            if slice.name == "all" {
                confusions.push((slice.split.clone(), confusion));
            }
        }
        let staging = ctx.store.staging("report");
        let name = format!("{model_id}.parquet");
        publish_rows(&staging, &folder_of::<MetricRow>(&ctx.store).join(&name), &metrics)?;
        publish_rows(&staging, &folder_of::<ConfusionRow>(&ctx.store).join(&name), &confusion_rows)?;
        publish_page(ctx, &model_id, &metrics, &confusions)?;
        metrics.iter().filter(|row| row.metric == "uar" && row.slice == "all").for_each(|uar| {
            let accuracy =
                metrics.iter().find(|row| row.metric == "accuracy" && row.slice == "all" && row.split == uar.split);
            ctx.progress.say(&format!(
                "report: {} side, {} items: accuracy {}, UAR {} (percent, protocol {})",
                uar.split,
                uar.support,
                percent(accuracy),
                percent(Some(uar)),
                uar.protocol
            ));
        });
        Ok(summarise(ctx, &model_id, &metrics, &files))
    }
}

fn metric_rows(ctx: &Ctx, model_id: &str, slice: &Slice, confusion: &Confusion) -> Result<Vec<MetricRow>> {
    let row = |class: &str, metric: &str, value: Option<f64>, interval: Option<Interval>, support: u64| MetricRow {
        model_id: model_id.into(),
        pipeline: ctx.pipeline.pipeline.name.clone(),
        protocol: ctx.pipeline.split.protocol.name().into(),
        split: slice.split.clone(),
        slice: slice.name.clone(),
        class: class.into(),
        metric: metric.into(),
        value,
        low: interval.map(|interval| interval.low),
        high: interval.map(|interval| interval.high),
        support,
    };
    let speakers: Vec<&str> = slice.speakers.iter().map(String::as_str).collect();
    let groups = (!speakers.is_empty()).then_some(speakers.as_slice());
    let seed = ctx.pipeline.pipeline.seed.derive("bootstrap", &[slice.split.as_bytes(), slice.name.as_bytes()]);
    let uar = uar_interval(&slice.pairs, groups, ctx.pipeline.report.bootstrap, seed)?;
    let total = confusion.total();
    let mut rows = vec![
        row("all", "accuracy", confusion.accuracy(), confusion.accuracy_interval(), total),
        row("all", "uar", confusion.uar(), uar, total),
        row("all", "macro_f1", confusion.macro_f1(), None, total),
    ];
    for emotion in Emotion::ALL {
        let score = confusion.class(emotion);
        for (metric, value) in [("precision", score.precision), ("recall", score.recall), ("f1", score.f1)] {
            rows.push(row(emotion.name(), metric, value, None, score.support));
        }
    }
    Ok(rows)
}

fn cells(ctx: &Ctx, model_id: &str, slice: &Slice, confusion: &Confusion) -> Vec<ConfusionRow> {
    let cell = |truth: Emotion, said: Emotion| ConfusionRow {
        model_id: model_id.into(),
        protocol: ctx.pipeline.split.protocol.name().into(),
        split: slice.split.clone(),
        slice: slice.name.clone(),
        emotion: truth.name().into(),
        predicted: said.name().into(),
        count: confusion.count(truth, said),
    };
    Emotion::ALL.into_iter().flat_map(|truth| Emotion::ALL.map(|said| cell(truth, said))).collect()
}

/// Page and pictures, published as one folder.
fn publish_page(ctx: &Ctx, model_id: &str, metrics: &[MetricRow], confusions: &[(String, Confusion)]) -> Result<()> {
    let staged = ctx.store.staging("report").join(model_id);
    let staging = ctx.store.staging("report");
    atomic::remove(&staged)?;
    let mut pictures = Vec::new();
    let mut add = |file: String, caption: String, svg: String| {
        pictures.push((file.clone(), caption));
        atomic::publish_bytes(&staging, &staged.join(file), svg.as_bytes())
    };
    let history_file = folder_of::<HistoryRow>(&ctx.store).join(format!("{model_id}.parquet"));
    // A model trained elsewhere has no history here.
    let history = if history_file.exists() { read_rows::<HistoryRow>(&history_file)? } else { Vec::new() };
    if !history.is_empty() {
        let points: Vec<EpochPoint> = history.iter().map(EpochPoint::from).collect();
        add(
            "curves.svg".into(),
            "Loss and accuracy by epoch".into(),
            curves_svg(&points, model_id, &history[0].monitored_split),
        )?;
    }
    for (split, confusion) in confusions {
        let caption = format!("Confusion, {split} side, protocol {}", ctx.pipeline.split.protocol.name());
        add(format!("confusion-{split}.svg"), caption.clone(), confusion_svg(confusion, &caption))?;
    }
    for (emotion, svg) in example_spectrograms(ctx)? {
        add(format!("spectrogram-{emotion}.svg"), format!("Log-mel spectrogram, {emotion}"), svg)?;
    }
    let page = Page {
        model_id,
        pipeline: &ctx.pipeline.pipeline.name,
        protocol: ctx.pipeline.split.protocol.name(),
        warning: ctx.pipeline.split.protocol.warning(),
        metrics,
        confusions,
        history: &history,
        pictures: &pictures,
    };
    atomic::publish_bytes(&staging, &staged.join("report.md"), markdown(&page).as_bytes())?;
    atomic::publish_folder(&staged, &ctx.store.report(model_id))
}

/// One original recording of each emotion: the first by id.
fn example_spectrograms(ctx: &Ctx) -> Result<Vec<(Emotion, String)>> {
    let mut first: BTreeMap<Emotion, FeatureRow> = BTreeMap::new();
    for file in &Commit::require(&ctx.store, "features")?.files {
        for batch in read_batches::<FeatureRow>(&ctx.store.root().join(file))? {
            for row in batch?.into_iter().filter(|row| row.copy == 0 && row.log_mel.is_some()) {
                let Some(emotion) = row.emotion.as_deref().and_then(Emotion::from_name) else { continue };
                if first.get(&emotion).is_none_or(|known| row.recording_id < known.recording_id) {
                    first.insert(emotion, row);
                }
            }
        }
    }
    let (front_end, network) = (&ctx.pipeline.features.front_end, &ctx.pipeline.train.network);
    first
        .into_iter()
        .map(|(emotion, row)| {
            let mut log_mel = vec![0.0; row.n_mels as usize * row.n_frames as usize];
            from_blob(row.log_mel.as_deref().unwrap_or_default(), &mut log_mel)?;
            let title = format!("{emotion}: {}", row.recording_id);
            let view = SpectrogramView {
                title: &title,
                log_mel: &log_mel,
                n_mels: row.n_mels as usize,
                n_frames: row.n_frames as usize,
                valid_frames: row.valid_frames as usize,
                frame_seconds: front_end.hop as f64 / front_end.sample_rate.hz(),
                first_second: front_end.offset_s,
                centres_hz: &[],
                window: network.window,
                hop: network.hop,
            };
            Ok((emotion, spectrogram_svg(&view)?))
        })
        .collect()
}

fn summarise(ctx: &Ctx, model_id: &str, metrics: &[MetricRow], files: &[PathBuf]) -> Done {
    let mut sides = Map::new();
    for split in ["test", "validation", "train", "none"] {
        let find = |metric: &str| {
            let mut own = metrics.iter().filter(|row| row.split == split && row.slice == "all" && row.class == "all");
            own.find(|row| row.metric == metric)
        };
        if let (Some(accuracy), Some(uar), Some(macro_f1)) = (find("accuracy"), find("uar"), find("macro_f1")) {
            let value = json!({ "items": accuracy.support, "accuracy": accuracy.value, "uar": uar.value,
                "uar_low": uar.low, "uar_high": uar.high, "macro_f1": macro_f1.value });
            sides.insert(split.into(), value);
        }
    }
    let report = format!("reports/{model_id}/report.md");
    let mut summary = Map::new();
    summary.insert("model_id".into(), model_id.into());
    summary.insert("protocol".into(), ctx.pipeline.split.protocol.name().into());
    summary.insert("sides".into(), sides.into());
    summary.insert("report".into(), ctx.store.root().join(&report).display().to_string().into());
    if !ctx.pipeline.split.protocol.warning().is_empty() {
        summary.insert("warning".into(), ctx.pipeline.split.protocol.warning().into());
    }
    Done {
        output: Fingerprint::of_value(&metrics),
        files: vec![report],
        facts: BTreeMap::new(),
        n_done: files.len() as u64,
        n_reused: 0,
        n_rejected: 0,
        n_unread: 0,
        summary,
    }
}
