//! `report`: predictions become metrics, confusions, and a page with pictures.

mod page;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, json};

use crate::error::{Error, Result};
use crate::evaluation::{self, About, Evaluation, SliceCounts};
use crate::metrics::Confusion;
use crate::pictures::{EpochPoint, SpectrogramView, confusion_svg, curves_svg, spectrogram_svg};
use crate::split::Protocol;
use crate::stages::{Ctx, Done, Inputs, Needs, Read, Stage, stage_bytes, stage_rows};
use crate::storage::commit::{Commit, Evidence};
use crate::storage::fingerprint::Fingerprint;
use crate::storage::layout::Store;
use crate::storage::publish::{OutFile, stem_of};
use crate::storage::settings::Settings;
use crate::tables::history::HistoryRow;
use crate::tables::metrics::MetricRow;
use crate::tables::spectrograms::FeatureIndex;
use crate::tables::{TableFile, folder_of};

use page::{Page, markdown, percent};

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

    fn reads(&self, ctx: &Ctx) -> Vec<(&'static str, Needs)> {
        // What predictions say of themselves counts, whatever the recipe of the day says.
        let mut reads = vec![("score", Needs::AsItIs)];
        // A store that was scored from audio has no spectrograms to show; a commit that cannot be read is no missing one.
        let has_features = !matches!(Commit::read(&ctx.store, "features"), Ok(None));
        reads.extend(has_features.then_some(("features", Needs::AsItIs)));
        reads.extend(evaluation::reads_manifest().then_some(("ingest", Needs::AsItIs)));
        reads
    }

    fn inputs(&self, _ctx: &Ctx, read: &Read) -> Result<Inputs> {
        // The spectrograms are pictures on the page; no number depends on them.
        let mut inputs = read.outputs();
        inputs.remove("features");
        Ok(inputs)
    }

    fn run(&self, ctx: &Ctx, read: &Read, _inputs: &Inputs) -> Result<Done> {
        let (store, score) = (&ctx.store, read.commit("score")?);
        let told = Told::of(ctx, score)?;
        let model_id = told.model_id.clone();
        let manifest = if evaluation::reads_manifest() { Some(read.commit("ingest")?) } else { None };
        let predictions = Evaluation::open(store, score, manifest)?;
        let counts = predictions.count(&told.classes)?;
        let about = told.about(ctx);
        let metrics: Vec<MetricRow> = counts.iter().flat_map(|slice| slice.metric_rows(&about)).collect();
        let confusion_rows: Vec<_> = counts.iter().flat_map(|slice| slice.confusion_rows(&about)).collect();
        let confusions: Vec<(String, Confusion)> =
            counts.into_iter().filter(SliceCounts::is_all).map(|all| (all.split, all.confusion)).collect();
        let mut files = vec![
            stage_rows(store, "report", &model_id, &metrics)?,
            stage_rows(store, "report", &model_id, &confusion_rows)?,
        ];
        files.extend(stage_page(ctx, read, &told, &predictions.examples()?, &metrics, &confusions)?);
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

    fn about<'a>(&'a self, ctx: &'a Ctx) -> About<'a> {
        About {
            model_id: &self.model_id,
            pipeline: &ctx.pipeline.pipeline.name,
            protocol: &self.protocol,
            classes: &self.classes,
            n_resamples: ctx.pipeline.report.bootstrap,
            seed: ctx.pipeline.pipeline.seed,
        }
    }
}

/// Page and pictures: the files of one folder.
fn stage_page(
    ctx: &Ctx,
    read: &Read,
    told: &Told,
    examples: &BTreeMap<String, String>,
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
    for (emotion, svg) in example_spectrograms(ctx, read, told, examples)? {
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
    let mut rows: Vec<HistoryRow> = match record {
        Some(record) => TableFile::committed(store, record, "train")?.rows()?,
        None => Vec::new(),
    };
    // Of several folds and members the first is shown; the table holds all.
    let first = rows.first().map(|row| (row.fold, row.member));
    rows.retain(|row| Some((row.fold, row.member)) == first);
    Ok(rows)
}

/// A picture for each class, of the recording that stands for it.
fn example_spectrograms<'a>(
    ctx: &Ctx,
    read: &Read,
    told: &Told,
    examples: &'a BTreeMap<String, String>,
) -> Result<Vec<(&'a str, String)>> {
    let Some((_, features)) = read.all().find(|(stage, _)| *stage == "features") else { return Ok(Vec::new()) };
    let store = &ctx.store;
    let front_end = features.evidence.front_end.as_ref();
    let front_end = front_end.ok_or_else(|| Error::bug("features committed no front end"))?;
    let index = FeatureIndex::read(store, features)?;
    let spectrograms = index.spectrograms(store)?;
    let mut scratch = Vec::new();
    let mut pictures = Vec::new();
    for (class, recording_id) in examples {
        let row = index.rows.iter().position(|row| row.copy == 0 && row.recording_id == *recording_id);
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
        pictures.push((class.as_str(), spectrogram_svg(&view)?));
    }
    Ok(pictures)
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
