//! `report`: predictions become metrics, confusions, and a page with pictures.

mod page;
mod slices;

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Map, json};

use crate::error::{Error, Result};
use crate::metrics::{Confusion, Interval, uar_interval};
use crate::pictures::{EpochPoint, SpectrogramView, confusion_svg, curves_svg, spectrogram_svg};
use crate::split::Protocol;
use crate::stages::{Ctx, Done, Inputs, Needs, Read, Stage, stage_bytes, stage_rows};
use crate::storage::commit::{Commit, Evidence};
use crate::storage::fingerprint::Fingerprint;
use crate::storage::layout::Store;
use crate::storage::publish::{OutFile, stem_of};
use crate::storage::settings::Settings;
use crate::tables::confusion::ConfusionRow;
use crate::tables::history::HistoryRow;
use crate::tables::manifest::Status;
use crate::tables::metrics::MetricRow;
use crate::tables::predictions::PredictionRow;
use crate::tables::spectrograms::FeatureIndex;
use crate::tables::{TableFile, committed_parts, folder_of};

use page::{Page, markdown, percent};
use slices::{Slice, slices};

/// Raised when the same predictions would give other numbers.
const REVISION: u32 = 3;

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

    fn settings(&self, ctx: &Ctx) -> Settings {
        let pipeline = &ctx.pipeline;
        Settings::of_revision(REVISION).with("report", &pipeline.report).with("pipeline.seed", pipeline.pipeline.seed)
    }

    fn reads(&self, _ctx: &Ctx) -> Vec<(&'static str, Needs)> {
        // What predictions say of themselves counts, whatever the recipe of the day says.
        vec![("score", Needs::AsItIs), ("features", Needs::AsItIs)]
    }

    fn inputs(&self, _ctx: &Ctx, read: &Read) -> Result<Inputs> {
        Ok(Inputs::from([("score".to_string(), read.commit("score")?.output.clone())]))
    }

    fn run(&self, ctx: &Ctx, read: &Read, _inputs: &Inputs) -> Result<Done> {
        let (store, score) = (&ctx.store, read.commit("score")?);
        let told = Told::of(ctx, score)?;
        let model_id = told.model_id.clone();
        let slices = slices(store, score, &told.classes)?;
        let mut metrics = Vec::new();
        let mut confusion_rows = Vec::new();
        let mut confusions = Vec::new();
        for slice in &slices {
            let confusion = Confusion::from_pairs(told.classes.len(), slice.pairs.iter().copied());
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
        files.extend(stage_page(ctx, read, &told, &metrics, &confusions)?);
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
                told.classes.len(),
                uar.protocol
            ));
        });
        Ok(Done { files, ..summarise(ctx, &told, &metrics, score.files.len()) })
    }
}

/// What the predictions say of themselves; the recipe of the day is not asked.
struct Told {
    model_id: String,
    /// Names of the model's classes, in their order.
    classes: Vec<String>,
    /// Protocol by which the sides were drawn.
    protocol: String,
    /// What speaks against the numbers.
    warning: String,
    /// Frames of a window of the model, and between two.
    windows: (usize, usize),
}

impl Told {
    fn of(ctx: &Ctx, score: &Commit) -> Result<Self> {
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
        let unsaid = |what: &str| Error::bug(format!("score committed no {what}"));
        let model_id = score.evidence.model_id.clone().ok_or_else(|| unsaid("model_id"))?;
        let classes = score.evidence.labels.as_ref().ok_or_else(|| unsaid("labels"))?.classes.clone();
        let windows = score.evidence.windows.ok_or_else(|| unsaid("windows"))?;
        Ok(Self { model_id, classes, protocol, warning: said, windows })
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
    let uar = uar_interval(told.classes.len(), &slice.pairs, Some(&groups), ctx.pipeline.report.bootstrap, seed)?;
    let total = confusion.total();
    let wilson = confusion.accuracy_interval();
    let n_classes = Some(confusion.n_occurring() as u32);
    let mean_of = |row: MetricRow| MetricRow { n_classes, ..row };
    let kind = |interval: Option<Interval>, kind: &str| interval.map(|_| kind.to_string());
    let mut rows = vec![
        MetricRow { interval: kind(wilson, "items"), ..row("all", "accuracy", confusion.accuracy(), wilson, total) },
        mean_of(MetricRow { interval: kind(uar, slice.drawn), ..row("all", "uar", confusion.uar(), uar, total) }),
        mean_of(row("all", "macro_f1", confusion.macro_f1(), None, total)),
    ];
    for (index, class) in told.classes.iter().enumerate() {
        let score = confusion.class(index);
        for (metric, value) in [("precision", score.precision), ("recall", score.recall), ("f1", score.f1)] {
            rows.push(row(class, metric, value, None, score.support));
        }
    }
    Ok(rows)
}

fn cells(told: &Told, slice: &Slice, confusion: &Confusion) -> Vec<ConfusionRow> {
    let classes = &told.classes;
    let cell = |truth: usize, said: usize| ConfusionRow {
        model_id: told.model_id.clone(),
        protocol: told.protocol.clone(),
        split: slice.split.clone(),
        slice: slice.name.clone(),
        emotion: classes[truth].clone(),
        predicted: classes[said].clone(),
        count: confusion.count(truth, said),
    };
    (0..classes.len())
        .flat_map(|truth| (0..classes.len()).map(move |said| (truth, said)))
        .map(|(a, b)| cell(a, b))
        .collect()
}

/// Page and pictures: the files of one folder.
fn stage_page(
    ctx: &Ctx,
    read: &Read,
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
        add(format!("confusion-{split}.svg"), caption.clone(), confusion_svg(confusion, &told.classes, &caption))?;
    }
    for (emotion, svg) in example_spectrograms(ctx, read, told)? {
        add(format!("spectrogram-{emotion}.svg"), format!("Log-mel spectrogram, {emotion}"), svg)?;
    }
    let page = Page {
        model_id,
        pipeline: &ctx.pipeline.pipeline.name,
        protocol: &told.protocol,
        warning: &told.warning,
        classes: &told.classes,
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

/// One original recording of each class: the first by id.
fn example_spectrograms(ctx: &Ctx, read: &Read, told: &Told) -> Result<Vec<(String, String)>> {
    let (store, features) = (&ctx.store, read.commit("features")?);
    let front_end = features.evidence.front_end.as_ref();
    let front_end = front_end.ok_or_else(|| Error::bug("features committed no front end"))?;
    let examples = examples(store, read.commit("score")?)?;
    let index = FeatureIndex::read(store, features)?;
    let spectrograms = index.spectrograms(store)?;
    let mut scratch = Vec::new();
    let mut pictures = Vec::new();
    for (class, recording_id) in examples {
        let row = index.rows.iter().position(|row| row.copy == 0 && row.recording_id == recording_id);
        let Some((row, place)) = row.and_then(|row| Some((&index.rows[row], index.place(row)?))) else { continue };
        let (n_mels, n_frames) = (row.n_mels as usize, row.n_frames as usize);
        let mut log_mel = vec![0.0; n_mels * n_frames];
        spectrograms.read(place, &mut scratch, &mut log_mel)?;
        let view = SpectrogramView {
            title: &format!("{class}: {recording_id}"),
            log_mel: &log_mel,
            n_mels,
            n_frames,
            valid_frames: row.valid_frames as usize,
            frame_seconds: front_end.hop as f64 / front_end.sample_rate.hz(),
            first_second: front_end.offset_s,
            centres_hz: &[],
            window: told.windows.0,
            hop: told.windows.1,
        };
        pictures.push((class, spectrogram_svg(&view)?));
    }
    Ok(pictures)
}

/// For each class the first original recording with it, by id, among those that were scored.
fn examples(store: &Store, score: &Commit) -> Result<BTreeMap<String, String>> {
    #[derive(Deserialize)]
    struct Part {
        recording_id: String,
        copy: u32,
        emotion: Option<String>,
        status: Status,
    }
    let columns = ["recording_id", "copy", "emotion", "status"];
    let mut first: BTreeMap<String, String> = BTreeMap::new();
    for Part { recording_id, copy, emotion, status } in committed_parts::<PredictionRow, Part>(store, score, &columns)?
    {
        let Some(emotion) = emotion.filter(|_| copy == 0 && status == Status::Ok) else { continue };
        let known = first.entry(emotion).or_insert_with(|| recording_id.clone());
        if recording_id < *known {
            *known = recording_id;
        }
    }
    Ok(first)
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
