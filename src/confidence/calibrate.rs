//! From out-of-fold items to what a model file keeps, and what that is worth on speakers that it was not fitted on.

use crate::confidence::abstain::{Abstain, KEPT_SHARE, error_of_kept};
use crate::confidence::conformal::Conformal;
use crate::confidence::domain::{Distances, Domain, Limits};
use crate::confidence::leave_out::{groups_of, n_speakers};
use crate::confidence::temperature::{LogProbabilities, Temperature, is_at_bound};
use crate::confidence::{Confidence, LEVEL, N_GROUPS};

/// A speaker with fewer items is no worst speaker: a coverage of a handful says nothing.
const LEAST_ITEMS_OF_SPEAKER: usize = 10;
/// Sets need so many items; the threshold of nine would be the smallest of nine.
const LEAST_ITEMS_OF_SETS: usize = 50;

/// A recording, asked of a model that had not heard its speaker.
#[derive(Clone, Debug, PartialEq)]
pub struct OutOfFold {
    /// `None` where it is not known: then it counts as a speaker of its own.
    pub speaker: Option<String>,
    /// Position of the true class.
    pub class: usize,
    /// `[n_classes]` as the network gives them, at temperature 1.
    pub probabilities: Vec<f32>,
    /// By [`Domain::distances`] from the training set of that model, and frames that are not padding.
    pub distances: Option<(Distances, u32)>,
}

/// What was fitted on all items, and what was measured by leaving speakers out.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    /// `value` is 1 where none could be fitted.
    pub temperature: Temperature,
    pub conformal: Option<Conformal>,
    pub abstain: Option<Abstain>,
    pub limits: Option<Limits>,
    /// `None` with fewer than two speakers: nobody could be left out.
    pub measured: Option<Measured>,
    /// What could not be done, in words.
    pub notes: Vec<String>,
}

/// Everything here is of items whose speakers had no say in temperature, thresholds and limits.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    pub n_items: u64,
    pub n_speakers: u64,
    /// The items' calibrated probabilities, in their order: for whatever compares them with the uncalibrated ones.
    pub probabilities: Vec<Vec<f32>>,
    /// Mean negative log-likelihood, in nats.
    pub log_loss_before: f64,
    pub log_loss_after: f64,
    /// Lowest and highest temperature of the groups.
    pub temperatures: [f64; 2],
    /// Share of items whose set holds the true class, and classes of a set.
    pub coverage: f64,
    pub mean_set_size: f64,
    /// The least coverage of a speaker with ten items or more.
    pub worst_speaker: Option<(String, f64)>,
    pub error: f64,
    /// Error of the surest 70 %.
    pub error_at_70: f64,
    /// Share that the rule of `abstain` keeps, and the error of those.
    pub kept: f64,
    pub error_of_kept: Option<f64>,
    /// Share of recordings of the domain that are taken for strangers.
    pub out_of_domain: Option<f64>,
}

/// Fits on all items, and measures by leaving out each speaker in turn (in 20 groups where there are more).
///
/// A model of one fold should be given the items of the *other* folds, so that its own test side has no say; a model that is
/// trained on everybody those of all folds. Items without any true class, or of differing numbers of classes, are a bug of the
/// caller: they are left out, and counted in the notes.
pub fn calibrate(items: &[OutOfFold]) -> Calibration {
    let n_classes = items.first().map_or(0, |item| item.probabilities.len());
    let is_sound = |item: &&OutOfFold| {
        item.class < n_classes
            && item.probabilities.len() == n_classes
            && item.probabilities.iter().all(|p| (0.0..=1.0).contains(p))
    };
    let sound: Vec<&OutOfFold> = items.iter().filter(is_sound).collect();
    let mut notes = Vec::new();
    if sound.len() < items.len() {
        notes.push(format!("{} items without usable probabilities are left out", items.len() - sound.len()));
    }
    let fitted = Fitted::of(&sound, n_classes, Some(&mut notes));
    let measured = measure(&sound, n_classes);
    if measured.is_none() {
        notes.push("nothing is measured: it takes items of two speakers".into());
    }
    Calibration {
        temperature: fitted.temperature,
        conformal: fitted.conformal,
        abstain: fitted.abstain,
        limits: fitted.limits,
        measured,
        notes,
    }
}

/// Everything that is fitted.
struct Fitted {
    temperature: Temperature,
    conformal: Option<Conformal>,
    abstain: Option<Abstain>,
    limits: Option<Limits>,
}

impl Fitted {
    fn of(items: &[&OutOfFold], n_classes: usize, notes: Option<&mut Vec<String>>) -> Self {
        let speakers: Vec<Option<&str>> = items.iter().map(|item| item.speaker.as_deref()).collect();
        let (n_items, n_speakers) = (items.len() as u64, n_speakers(&speakers) as u64);
        let mut said = Vec::new();
        let all = log_probabilities(items, n_classes);
        let value = match all.too_little() {
            Some(why) => {
                said.push(why);
                1.0
            }
            None => all.fit(),
        };
        if is_at_bound(value) {
            said.push(format!("the temperature is at its bound, {value}: confidences cannot be made to fit"));
        }
        // What is stored is what is applied.
        let value = value as f32;
        let calibrated = all.at(f64::from(value));
        let enough = items.len() >= LEAST_ITEMS_OF_SETS;
        if !enough {
            said.push(format!("no prediction sets: {n_items} items, {LEAST_ITEMS_OF_SETS} are needed"));
        }
        let pairs = calibrated.iter().map(Vec::as_slice).zip(items.iter().map(|item| item.class));
        let conformal = enough.then(|| Conformal::fit(pairs, n_classes, false, n_speakers));
        let sure =
            calibrated.iter().zip(items).map(|(probabilities, item)| surety(probabilities, item.class)).collect();
        let distances: Vec<(Distances, u32)> = items.iter().filter_map(|item| item.distances).collect();
        let limits = Limits::fit(&distances, n_speakers);
        if limits.is_none() {
            said.push(format!("no limits of the domain: {} distances, 100 are needed", distances.len()));
        }
        if let Some(notes) = notes {
            notes.append(&mut said);
        }
        Self {
            temperature: Temperature { value, n_items, n_speakers },
            conformal,
            abstain: enough.then(|| Abstain::fit(sure)),
            limits,
        }
    }
}

fn log_probabilities(items: &[&OutOfFold], n_classes: usize) -> LogProbabilities {
    LogProbabilities::of(n_classes, items.iter().map(|item| (item.probabilities.as_slice(), item.class)))
}

/// The largest probability, and whether it is that of the true class; the first of equal ones counts.
fn surety(probabilities: &[f32], class: usize) -> (f32, bool) {
    let highest = probabilities.iter().copied().fold(0.0, f32::max);
    (highest, probabilities.iter().position(|&p| p == highest) == Some(class))
}

/// What is summed over the items that were left out.
#[derive(Default)]
struct Sums {
    covered: Vec<bool>,
    set_sizes: usize,
    kept: Vec<bool>,
    n_measured_distances: usize,
    n_strangers: usize,
}

fn measure(items: &[&OutOfFold], n_classes: usize) -> Option<Measured> {
    let speakers: Vec<Option<&str>> = items.iter().map(|item| item.speaker.as_deref()).collect();
    let groups = groups_of(&speakers);
    let used: Vec<usize> = (0..N_GROUPS).filter(|group| groups.contains(group)).collect();
    if used.len() < 2 {
        return None;
    }
    let mut probabilities = vec![Vec::new(); items.len()];
    let mut sums = Sums { covered: vec![false; items.len()], kept: vec![true; items.len()], ..Sums::default() };
    let mut temperatures = [f64::INFINITY, 0.0];
    for group in used {
        let others: Vec<&OutOfFold> =
            items.iter().zip(&groups).filter(|(_, of)| **of != group).map(|(i, _)| *i).collect();
        let places: Vec<usize> = (0..items.len()).filter(|&at| groups[at] == group).collect();
        let own: Vec<&OutOfFold> = places.iter().map(|&at| items[at]).collect();
        let fitted = Fitted::of(&others, n_classes, None);
        let value = f64::from(fitted.temperature.value);
        temperatures = [temperatures[0].min(value), temperatures[1].max(value)];
        let calibrated = log_probabilities(&own, n_classes).at(value);
        for (&at, calibrated) in places.iter().zip(calibrated) {
            sums.add(&fitted, items[at], &calibrated, at);
            probabilities[at] = calibrated;
        }
    }
    Some(summed_up(items, probabilities, sums, temperatures, &speakers))
}

impl Sums {
    fn add(&mut self, fitted: &Fitted, item: &OutOfFold, calibrated: &[f32], at: usize) {
        // Without thresholds every class is in the set.
        let set = fitted.conformal.as_ref().map_or((0..calibrated.len()).collect(), |sets| sets.set(calibrated));
        self.covered[at] = set.contains(&item.class);
        self.set_sizes += set.len();
        self.kept[at] = !fitted.abstain.is_some_and(|abstain| abstain.is_ambiguous(calibrated));
        if let (Some(limits), Some((distances, _))) = (fitted.limits, item.distances) {
            self.n_measured_distances += 1;
            self.n_strangers += usize::from(limits.ratio(distances) > 1.0);
        }
    }
}

fn summed_up(
    items: &[&OutOfFold],
    probabilities: Vec<Vec<f32>>,
    sums: Sums,
    temperatures: [f64; 2],
    speakers: &[Option<&str>],
) -> Measured {
    let n = items.len() as f64;
    let loss = |of: &mut dyn Iterator<Item = (&[f32], usize)>| {
        LogProbabilities::of(items[0].probabilities.len(), of).loss(1.0)
    };
    let sure: Vec<(f32, bool)> =
        probabilities.iter().zip(items).map(|(probabilities, item)| surety(probabilities, item.class)).collect();
    let kept: Vec<bool> =
        sure.iter().zip(&sums.kept).filter(|(_, kept)| **kept).map(|((_, right), _)| *right).collect();
    let error = |share: f64| error_of_kept(sure.clone(), share).unwrap_or(0.0);
    Measured {
        n_items: items.len() as u64,
        n_speakers: n_speakers(speakers) as u64,
        log_loss_before: loss(&mut items.iter().map(|item| (item.probabilities.as_slice(), item.class))),
        log_loss_after: loss(&mut probabilities.iter().zip(items).map(|(own, item)| (own.as_slice(), item.class))),
        temperatures,
        coverage: sums.covered.iter().filter(|covered| **covered).count() as f64 / n,
        mean_set_size: sums.set_sizes as f64 / n,
        worst_speaker: worst_speaker(speakers, &sums.covered),
        error: error(1.0),
        error_at_70: error(KEPT_SHARE),
        kept: kept.len() as f64 / n,
        error_of_kept: (!kept.is_empty())
            .then(|| kept.iter().filter(|right| !**right).count() as f64 / kept.len() as f64),
        out_of_domain: (sums.n_measured_distances > 0)
            .then(|| sums.n_strangers as f64 / sums.n_measured_distances as f64),
        probabilities,
    }
}

fn worst_speaker(speakers: &[Option<&str>], covered: &[bool]) -> Option<(String, f64)> {
    let mut counts = std::collections::BTreeMap::<&str, (usize, usize)>::new();
    for (speaker, &covered) in speakers.iter().zip(covered) {
        let Some(speaker) = speaker else { continue };
        let count = counts.entry(speaker).or_default();
        *count = (count.0 + 1, count.1 + usize::from(covered));
    }
    let shares = counts.into_iter().filter(|(_, (n, _))| *n >= LEAST_ITEMS_OF_SPEAKER);
    let shares = shares.map(|(speaker, (n, covered))| (speaker.to_string(), covered as f64 / n as f64));
    shares.min_by(|a, b| a.1.total_cmp(&b.1))
}

impl Calibration {
    /// What the file of a model keeps, with the domain of *its* training set.
    pub fn confidence(&self, domain: Option<Domain>) -> Confidence {
        Confidence {
            temperature: Some(self.temperature),
            conformal: self.conformal.clone(),
            abstain: self.abstain,
            domain: domain.map(|domain| Domain { limits: self.limits, ..domain }),
        }
    }

    /// Rows of the table `calibration`: name, value, and a word about it.
    pub fn rows(&self) -> Vec<(&'static str, Option<f64>, Option<String>)> {
        let mut rows = vec![("temperature", Some(f64::from(self.temperature.value)), None)];
        if let Some(measured) = &self.measured {
            let [low, high] = measured.temperatures;
            rows[0].2 = Some(format!("{low:.3} to {high:.3} with speakers left out"));
            let worst = measured.worst_speaker.as_ref();
            rows.extend([
                ("log_loss_before", Some(measured.log_loss_before), None),
                ("log_loss_after", Some(measured.log_loss_after), None),
                ("coverage", Some(measured.coverage), Some(format!("{:.0} % are asked for", LEVEL * 100.0))),
                ("coverage_worst_speaker", worst.map(|(_, share)| *share), worst.map(|(name, _)| name.clone())),
                ("mean_set_size", Some(measured.mean_set_size), None),
                ("error", Some(measured.error), None),
                ("error_at_70", Some(measured.error_at_70), None),
                ("kept", Some(measured.kept), None),
                ("error_of_kept", measured.error_of_kept, None),
                ("out_of_domain", measured.out_of_domain, Some("of its own kind of recordings".into())),
            ]);
        }
        rows
    }
}
