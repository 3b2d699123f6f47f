//! Two models on the same recordings: what is pure counting is `paired.rs`, what is compared with what is `pairing.rs`.

use std::collections::BTreeMap;

use crate::error::Result;
use crate::evaluation::arm::{Answer, Arm};
use crate::evaluation::changes::{Change, changes};
use crate::evaluation::pairing::{Overlap, Pair, pair};
use crate::paired::{Balance, Bounds, Cell, Flips, Measure, Paired};
use crate::tables::comparison::ComparisonRow;
use crate::tables::flips::FlipRow;
use crate::units::Seed;

/// How a comparison is made.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// The side; `None`: the first that both were scored on.
    pub split: Option<&'a str>,
    /// Resamples behind each interval.
    pub n_resamples: usize,
    pub seed: Seed,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// What stands for the models of each arm.
    pub models: [String; 2],
    /// Protocols of their sides, where known.
    pub protocols: [Option<String>; 2],
    pub split: String,
    /// Classes that both know.
    pub classes: Vec<String>,
    /// Classes that one of them alone knows.
    pub other_classes: [Vec<String>; 2],
    pub overlap: Overlap,
    /// Of all slices, `all` first.
    pub rows: Vec<ComparisonRow>,
    /// By recording and copy.
    pub flips: Vec<FlipRow>,
    /// Among the speakers, or what else is drawn.
    pub balance: Balance,
    /// What differs in how the predictions were made.
    pub changes: Vec<Change>,
    /// What could not be looked at for that.
    pub unknown: Vec<String>,
}

/// The value by which an item is cut; an item without one is in no group.
type Value = fn(&Answer) -> Option<String>;

/// What cuts the items, by name.
const SLICES: [(&str, Value); 4] = [
    ("corpus", |answer| Some(answer.corpus.clone())),
    ("sex", |answer| answer.sex.clone()),
    ("copies", |answer| Some(if answer.copy == 0 { "original" } else { "augmented" }.to_string())),
    // Names of speakers are those of their corpus.
    ("speaker", |answer| answer.speaker.as_ref().map(|speaker| format!("{}/{speaker}", answer.corpus))),
];

/// Compares the arms item by item.
///
/// Errors: those of [`pair`], and of reading what the stores say of how their predictions were made.
/// Proof: `tests/it/compare.rs`.
pub fn compare(arms: [&Arm; 2], options: Options) -> Result<Comparison> {
    let pairing = pair(arms, options.split)?;
    let models = arms.map(Arm::model);
    let (changes, unknown) = changes(arms)?;
    let about = About { models: &models, split: &pairing.split, classes: &pairing.classes, options };
    let all: Vec<&Pair> = pairing.pairs.iter().collect();
    let mut rows = about.rows("all", &all);
    for (name, value) in SLICES {
        let mut groups: BTreeMap<String, Vec<&Pair>> = BTreeMap::new();
        for pair in &pairing.pairs {
            if let Some(value) = value(pair.a) {
                groups.entry(value).or_default().push(pair);
            }
        }
        // One value alone is all items again.
        let cuts = groups.len() > 1 || groups.values().any(|group| group.len() < all.len());
        for (value, group) in groups.iter().filter(|_| cuts) {
            rows.extend(about.rows(&format!("{name}={value}"), group));
        }
    }
    let alone = |own: usize, other: usize| {
        let classes = arms[own].classes.iter().filter(|class| !arms[other].classes.contains(class));
        classes.cloned().collect()
    };
    Ok(Comparison {
        protocols: arms.map(|arm| arm.protocol().map(str::to_string)),
        flips: pairing.pairs.iter().filter_map(|pair| about.flip(pair)).collect(),
        balance: clusters(pairing.classes.len(), &all).0.balance(),
        other_classes: [alone(0, 1), alone(1, 0)],
        overlap: pairing.overlap,
        split: pairing.split.clone(),
        classes: pairing.classes.clone(),
        models,
        rows,
        changes,
        unknown,
    })
}

/// What all rows have in common.
struct About<'a> {
    models: &'a [String; 2],
    split: &'a str,
    classes: &'a [String],
    options: Options<'a>,
}

impl About<'_> {
    fn rows(&self, slice: &str, pairs: &[&Pair]) -> Vec<ComparisonRow> {
        let (paired, drawn) = clusters(self.classes.len(), pairs);
        let measures = Measure::all(self.classes.len());
        let seed = self.options.seed.derive("compare", &[self.split.as_bytes(), slice.as_bytes()]);
        let bounds = paired.bounds(&measures, self.options.n_resamples, seed);
        let own = measures.into_iter().zip(bounds).filter(|(measure, _)| {
            !matches!(measure, Measure::Recall(class)
            if !pairs.iter().any(|pair| pair.cell.0 == *class))
        });
        own.map(|(measure, bounds)| self.row(slice, &paired, drawn, measure, bounds)).collect()
    }

    fn row(
        &self,
        slice: &str,
        paired: &Paired,
        drawn: &str,
        measure: Measure,
        bounds: Option<Bounds>,
    ) -> ComparisonRow {
        let confusions = paired.confusions();
        let [value_a, value_b] = [measure.of(&confusions[0]), measure.of(&confusions[1])];
        let (class, flips, support) = match measure {
            Measure::Recall(class) => {
                (Some(class), Some(paired.flips(Some(class))), confusions[0].class(class).support)
            }
            Measure::Accuracy => (None, Some(paired.flips(None)), confusions[0].total()),
            Measure::Uar | Measure::MacroF1 => (None, None, confusions[0].total()),
        };
        let is_mean = matches!(measure, Measure::Uar | Measure::MacroF1);
        ComparisonRow {
            model_a: self.models[0].clone(),
            model_b: self.models[1].clone(),
            split: self.split.to_string(),
            slice: slice.to_string(),
            class: class.map_or("all", |class| self.classes[class].as_str()).to_string(),
            metric: measure.name().to_string(),
            value_a,
            value_b,
            difference: value_a.zip(value_b).map(|(a, b)| b - a),
            low: bounds.map(|bounds| bounds.low),
            high: bounds.map(|bounds| bounds.high),
            drawn: drawn.to_string(),
            n_drawn: paired.n_drawn() as u64,
            right_to_wrong: flips.map(|flips| flips.right_to_wrong),
            wrong_to_right: flips.map(|flips| flips.wrong_to_right),
            changed_wrong: flips.map(|flips| flips.changed_wrong),
            mcnemar_exact: flips.map(|flips| flips.mcnemar().exact),
            mcnemar_mid: flips.map(|flips| flips.mcnemar().mid),
            n_classes: is_mean.then(|| confusions[0].n_occurring() as u32),
            support,
        }
    }

    /// What became of an item; `None` where both say the same.
    fn flip(&self, pair: &Pair) -> Option<FlipRow> {
        let (predicted_a, predicted_b) = (pair.a.predicted.clone()?, pair.b.predicted.clone()?);
        let (label, answer) = (pair.a.emotion.clone()?, pair.a);
        let flip = match (predicted_a == label, predicted_b == label) {
            _ if predicted_a == predicted_b => return None,
            (true, _) => "right_to_wrong",
            (_, true) => "wrong_to_right",
            _ => "changed_wrong",
        };
        Some(FlipRow {
            model_a: self.models[0].clone(),
            model_b: self.models[1].clone(),
            recording_id: answer.recording_id.clone(),
            copy: answer.copy,
            corpus: answer.corpus.clone(),
            speaker: answer.speaker.clone(),
            sex: answer.sex.clone(),
            split: self.split.to_string(),
            emotion: label,
            predicted_a,
            predicted_b,
            confidence_a: answer.confidence,
            confidence_b: pair.b.confidence,
            flip: flip.to_string(),
        })
    }
}

/// The items by what the bootstrap draws: all of a speaker, or, where no speaker is known, of a recording; in the order of
/// their names, recordings last. And what that is.
fn clusters(n_classes: usize, pairs: &[&Pair]) -> (Paired, &'static str) {
    let mut drawn: BTreeMap<(bool, &str, &str), BTreeMap<Cell, u64>> = BTreeMap::new();
    for pair in pairs {
        let name = match &pair.a.speaker {
            Some(speaker) => (false, speaker.as_str(), pair.a.corpus.as_str()),
            None => (true, pair.a.recording_id.as_str(), ""),
        };
        *drawn.entry(name).or_default().entry(pair.cell).or_default() += 1;
    }
    let n_recordings = drawn.keys().filter(|(is_recording, ..)| *is_recording).count();
    let what = match (n_recordings, drawn.len()) {
        (0, _) => "speakers",
        (recordings, all) if recordings == all => "recordings",
        _ => "speakers and recordings",
    };
    let cells = drawn.into_values().map(|cells| cells.into_iter().collect()).collect();
    // One more position: an answer that is none of the classes that both know.
    (Paired::new(n_classes + 1, cells), what)
}

impl Comparison {
    /// The row of a measure over all items.
    pub fn overall(&self, metric: &str) -> Option<&ComparisonRow> {
        self.rows.iter().find(|row| row.slice == "all" && row.class == "all" && row.metric == metric)
    }

    /// Changed answers of all items.
    pub fn n_flips(&self) -> Flips {
        let count = |kind: &str| self.flips.iter().filter(|row| row.flip == kind).count() as u64;
        Flips {
            right_to_wrong: count("right_to_wrong"),
            wrong_to_right: count("wrong_to_right"),
            changed_wrong: count("changed_wrong"),
        }
    }
}
