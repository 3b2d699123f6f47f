//! `report`: predictions become metrics, confusions, and a page with pictures.

mod page;
mod slices;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, json};

use crate::emotion::Emotion;
use crate::error::{Error, Result};
use crate::metrics::{Confusion, Interval, uar_interval};
use crate::pictures::{EpochPoint, SpectrogramView, confusion_svg, curves_svg, spectrogram_svg};
use crate::split::Protocol;
use crate::stages::{Ctx, Done, Inputs, Stage, stage_bytes, stage_rows};
use crate::storage::commit::{Commit, Evidence};
use crate::storage::fingerprint::Fingerprint;
use crate::storage::layout::Store;
use crate::storage::publish::{OutFile, stem_of};
use crate::tables::confusion::ConfusionRow;
use crate::tables::features::{FeatureRow, from_blob};
use crate::tables::history::HistoryRow;
use crate::tables::metrics::MetricRow;
use crate::tables::{TableFile, folder_of};

use page::{Page, markdown, percent};
use slices::{Slice, slices};

/// Raised when the same predictions would give other numbers.
const REVISION: u32 = 2;

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
        Fingerprint::of_value(&(REVISION, &pipeline.report, pipeline.pipeline.seed))
    }

    fn inputs(&self, ctx: &Ctx) -> Result<Inputs> {
        let predictions = Commit::require(&ctx.store, "score")?;
        Ok(Inputs::from([("predictions".to_string(), predictions.output)]))
    }

    fn run(&self, ctx: &Ctx, _settings: &Fingerprint, _inputs: &Inputs) -> Result<Done> {
        let (store, score) = (&ctx.store, Commit::require(&ctx.store, "score")?);
        let model_id = score.evidence.model_id.clone().ok_or_else(|| Error::bug("score committed no model_id"))?;
        let told = Told::of(ctx, &score);
        let slices = slices(store, &score)?;
        let mut metrics = Vec::new();
        let mut confusion_rows = Vec::new();
        let mut confusions = Vec::new();
        for slice in &slices {
            let confusion = Confusion::from_pairs(slice.pairs.iter().copied());
            metrics.extend(metric_rows(ctx, &told, slice, &confusion)?);
            confusion_rows.extend(cells(&told, slice, &confusion));
            if slice.name == "all" {
                confusions.push((slice.split.clone(), confusion));
            }
        }
        let mut files = vec![
            stage_rows(store, "report", &model_id, &metrics)?,
            stage_rows(store, "report", &model_id, &confusion_rows)?,
        ];
        files.extend(stage_page(ctx, &told, &metrics, &confusions)?);
        metrics.iter().filter(|row| row.metric == "uar" && row.slice == "all").for_each(|uar| {
            let accuracy =
                metrics.iter().find(|row| row.metric == "accuracy" && row.slice == "all" && row.split == uar.split);
            ctx.progress.say(&format!(
                "report: {} side, {} items: accuracy {}, UAR {} (percent, {} of {} classes, protocol {})",
                uar.split,
                uar.support,
                percent(accuracy),
                percent(Some(uar)),
                uar.n_classes.unwrap_or(0),
                Emotion::COUNT,
                uar.protocol
            ));
        });
        Ok(Done { files, ..summarise(ctx, &told, &metrics, score.files.len()) })
    }
}

/// What the predictions say of themselves; the recipe of the day is not asked.
struct Told {
    model_id: String,
    /// Protocol by which the sides were drawn.
    protocol: String,
    /// What speaks against the numbers.
    warning: String,
    /// Frames of a window of the model, and between two.
    windows: (usize, usize),
}

impl Told {
    fn of(ctx: &Ctx, score: &Commit) -> Self {
        let unknown = || "unknown".to_string();
        let protocol = score.evidence.protocol.clone().unwrap_or_else(unknown);
        let trained = score.evidence.model_protocol.clone().unwrap_or_else(unknown);
        let mut warnings: Vec<String> = Vec::new();
        for name in BTreeSet::from([&protocol, &trained]) {
            let warning = Protocol::from_name(name).map_or("", Protocol::warning);
            if !warning.is_empty() {
                warnings.push(warning.to_string());
            }
        }
        if protocol != trained {
            warnings.push(format!(
                "the model was trained under protocol `{trained}`, the sides here were drawn by `{protocol}`: it may have learned \
                 from recordings of any side"
            ));
        }
        let said = warnings.join("; ");
        if !said.is_empty() {
            ctx.progress.say(&format!("report: {said}"));
        }
        let model_id = score.evidence.model_id.clone().unwrap_or_default();
        Self { model_id, protocol, warning: said, windows: score.evidence.windows.unwrap_or((1, 1)) }
    }
}

fn metric_rows(ctx: &Ctx, told: &Told, slice: &Slice, confusion: &Confusion) -> Result<Vec<MetricRow>> {
    let row = |class: &str, metric: &str, value: Option<f64>, interval: Option<Interval>, support: u64| MetricRow {
        model_id: told.model_id.clone(),
        pipeline: ctx.pipeline.pipeline.name.clone(),
        protocol: told.protocol.clone(),
        split: slice.split.clone(),
        slice: slice.name.clone(),
        class: class.into(),
        metric: metric.into(),
        value,
        low: interval.map(|interval| interval.low),
        high: interval.map(|interval| interval.high),
        interval: None,
        n_classes: None,
        support,
    };
    let groups: Vec<&str> = slice.groups.iter().map(String::as_str).collect();
    let seed = ctx.pipeline.pipeline.seed.derive("bootstrap", &[slice.split.as_bytes(), slice.name.as_bytes()]);
    let uar = uar_interval(&slice.pairs, Some(&groups), ctx.pipeline.report.bootstrap, seed)?;
    let total = confusion.total();
    let wilson = confusion.accuracy_interval();
    let n_classes = Some(Emotion::ALL.into_iter().filter(|class| confusion.class(*class).support > 0).count() as u32);
    let mean_of = |row: MetricRow| MetricRow { n_classes, ..row };
    let kind = |interval: Option<Interval>, kind: &str| interval.map(|_| kind.to_string());
    let mut rows = vec![
        MetricRow { interval: kind(wilson, "items"), ..row("all", "accuracy", confusion.accuracy(), wilson, total) },
        mean_of(MetricRow { interval: kind(uar, slice.drawn), ..row("all", "uar", confusion.uar(), uar, total) }),
        mean_of(row("all", "macro_f1", confusion.macro_f1(), None, total)),
    ];
    for emotion in Emotion::ALL {
        let score = confusion.class(emotion);
        for (metric, value) in [("precision", score.precision), ("recall", score.recall), ("f1", score.f1)] {
            rows.push(row(emotion.name(), metric, value, None, score.support));
        }
    }
    Ok(rows)
}

fn cells(told: &Told, slice: &Slice, confusion: &Confusion) -> Vec<ConfusionRow> {
    let cell = |truth: Emotion, said: Emotion| ConfusionRow {
        model_id: told.model_id.clone(),
        protocol: told.protocol.clone(),
        split: slice.split.clone(),
        slice: slice.name.clone(),
        emotion: truth.name().into(),
        predicted: said.name().into(),
        count: confusion.count(truth, said),
    };
    Emotion::ALL.into_iter().flat_map(|truth| Emotion::ALL.map(|said| cell(truth, said))).collect()
}

/// Page and pictures: the files of one folder.
fn stage_page(
    ctx: &Ctx,
    told: &Told,
    metrics: &[MetricRow],
    confusions: &[(String, Confusion)],
) -> Result<Vec<OutFile>> {
    let (store, model_id) = (&ctx.store, told.model_id.as_str());
    let folder = Store::report(model_id)?;
    let (mut files, mut pictures) = (Vec::new(), Vec::new());
    let mut add = |file: String, caption: String, svg: String| -> Result<()> {
        files.push(stage_bytes(store, "report", format!("{folder}/{file}"), svg.as_bytes())?);
        pictures.push((file, caption));
        Ok(())
    };
    let history = history_of(store, model_id)?;
    if !history.is_empty() {
        let points: Vec<EpochPoint> = history.iter().map(EpochPoint::from).collect();
        add(
            "curves.svg".into(),
            "Loss and accuracy by epoch".into(),
            curves_svg(&points, model_id, &history[0].monitored_split),
        )?;
    }
    for (split, confusion) in confusions {
        let caption = format!("Confusion, {split} side, protocol {}", told.protocol);
        add(format!("confusion-{split}.svg"), caption.clone(), confusion_svg(confusion, &caption))?;
    }
    for (emotion, svg) in example_spectrograms(ctx, told.windows)? {
        add(format!("spectrogram-{emotion}.svg"), format!("Log-mel spectrogram, {emotion}"), svg)?;
    }
    let page = Page {
        model_id,
        pipeline: &ctx.pipeline.pipeline.name,
        protocol: &told.protocol,
        warning: &told.warning,
        metrics,
        confusions,
        history: &history,
        pictures: &pictures,
    };
    files.push(stage_bytes(store, "report", format!("{folder}/report.md"), markdown(&page).as_bytes())?);
    Ok(files)
}

/// The epochs of a model that was trained on this store; a model from elsewhere has none.
fn history_of(store: &Store, model_id: &str) -> Result<Vec<HistoryRow>> {
    let Some(train) = Commit::read(store, "train")? else { return Ok(Vec::new()) };
    let stem = store.relative(&folder_of::<HistoryRow>(store).join(model_id));
    let record = train.files.iter().chain(&train.earlier).find(|file| stem_of(&file.path) == stem);
    record.map_or(Ok(Vec::new()), |record| TableFile::committed(store, record, "train")?.rows())
}

/// One original recording of each emotion: the first by id.
fn example_spectrograms(ctx: &Ctx, windows: (usize, usize)) -> Result<Vec<(Emotion, String)>> {
    let mut first: BTreeMap<Emotion, FeatureRow> = BTreeMap::new();
    let features = Commit::require(&ctx.store, "features")?;
    let folder = ctx.store.relative(&folder_of::<FeatureRow>(&ctx.store));
    for record in features.files.iter().filter(|file| file.path.starts_with(&folder)) {
        for batch in TableFile::committed(&ctx.store, record, "features")?.batches::<FeatureRow>()? {
            for row in batch?.into_iter().filter(|row| row.copy == 0 && row.log_mel.is_some()) {
                let Some(emotion) = row.emotion.as_deref().and_then(Emotion::from_name) else { continue };
                if first.get(&emotion).is_none_or(|known| row.recording_id < known.recording_id) {
                    first.insert(emotion, row);
                }
            }
        }
    }
    let front_end = features.evidence.front_end.ok_or_else(|| Error::bug("features committed no front end"))?;
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
                window: windows.0,
                hop: windows.1,
            };
            Ok((emotion, spectrogram_svg(&view)?))
        })
        .collect()
}

fn summarise(ctx: &Ctx, told: &Told, metrics: &[MetricRow], n_files: usize) -> Done {
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
    let page = Store::report(&told.model_id).unwrap_or_default() + "/report.md";
    let mut summary = Map::new();
    summary.insert("model_id".into(), told.model_id.clone().into());
    summary.insert("protocol".into(), told.protocol.clone().into());
    summary.insert("sides".into(), sides.into());
    summary.insert("report".into(), ctx.store.root().join(&page).display().to_string().into());
    if !told.warning.is_empty() {
        summary.insert("warning".into(), told.warning.clone().into());
    }
    Done {
        output: Fingerprint::of_value(&metrics),
        files: Vec::new(),
        is_whole: false,
        evidence: Evidence {
            model_id: Some(told.model_id.clone()),
            protocol: Some(told.protocol.clone()),
            ..Evidence::default()
        },
        inputs: None,
        n_usable: 0,
        n_done: n_files as u64,
        n_reused: 0,
        n_rejected: 0,
        n_unread: 0,
        summary,
    }
}
