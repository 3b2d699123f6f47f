//! Which answers of two arms are about the same thing: the same recording and copy, with the same bytes, label and side.

use std::collections::{BTreeMap, HashMap};

use crate::error::{Error, Result};
use crate::evaluation::arm::{Answer, Arm};
use crate::tables::manifest::Status;

/// Sides in the order in which they are looked at, when none is asked for.
const SIDES: [&str; 4] = ["test", "validation", "none", "train"];

/// Two answers to one item.
pub struct Pair<'a> {
    pub a: &'a Answer,
    pub b: &'a Answer,
    /// Positions of the label and of both predictions among the classes that both arms know; one more is any other class.
    pub cell: (usize, usize, usize),
}

/// What of two arms can be compared, and what cannot.
pub struct Pairing<'a> {
    /// The side that is compared.
    pub split: String,
    /// Classes that both arms know, in the order of the first.
    pub classes: Vec<String>,
    /// By recording and copy.
    pub pairs: Vec<Pair<'a>>,
    pub overlap: Overlap,
}

/// How many items of the side were compared, and why the others were not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overlap {
    pub compared: u64,
    /// On the side in one arm, and nowhere in the other.
    pub only: [u64; 2],
    /// On the side in one arm, and on these sides in the other.
    pub elsewhere: [BTreeMap<String, u64>; 2],
    /// Other bytes under the same name.
    pub other_content: u64,
    /// Other labels, or one that an arm does not know.
    pub other_label: u64,
    /// No label in either.
    pub unlabelled: u64,
    /// Rejected by one of them.
    pub unanswered: u64,
    /// Compared, though the copies were made by other random numbers or other augmentations.
    pub other_copies: u64,
}

type Key<'a> = (&'a str, u32);

/// The answers of one arm on the side, and where its others stand.
struct Side<'a> {
    on: BTreeMap<Key<'a>, &'a Answer>,
    off: HashMap<Key<'a>, &'a str>,
}

/// Pairs the answers of two arms on the side `split`, or on the first that both have.
///
/// Errors: kind `Input` where they share no class, no side, no recording on it or no label, and for a recording that an arm has
/// twice on the side.
pub fn pair<'a>(arms: [&'a Arm; 2], split: Option<&str>) -> Result<Pairing<'a>> {
    let classes: Vec<String> =
        arms[0].classes.iter().filter(|class| arms[1].classes.contains(class)).cloned().collect();
    if classes.is_empty() {
        let [a, b] = arms.map(|arm| arm.classes.join(", "));
        return Err(apart(arms, format!("share no class: {a}, and {b}")));
    }
    let split = side_of(arms, split)?;
    let [a, b] = [Side::of(arms[0], split)?, Side::of(arms[1], split)?];
    let mut overlap = Overlap::default();
    let mut pairs = Vec::new();
    for (key, first) in &a.on {
        match b.on.get(key) {
            Some(second) => pairs.extend(overlap.add(&classes, first, second)),
            None => overlap.miss(0, b.place(arms[1], *key)),
        }
    }
    let missing = b.on.keys().filter(|key| !a.on.contains_key(*key));
    missing.for_each(|key| overlap.miss(1, a.place(arms[0], *key)));
    if pairs.is_empty() {
        return Err(apart(arms, overlap.nothing(split)));
    }
    Ok(Pairing { split: split.to_string(), classes, pairs, overlap })
}

fn apart(arms: [&Arm; 2], what: String) -> Error {
    let place = format!("{} and {}", arms[0].name, arms[1].name);
    Error::input(what).at_place(place).hint("compare models that were scored on the same recordings (--split SIDE)")
}

fn split_of(answer: &Answer) -> &str {
    answer.split.as_deref().unwrap_or("none")
}

fn side_of<'s>(arms: [&Arm; 2], wanted: Option<&'s str>) -> Result<&'s str> {
    if let Some(wanted) = wanted {
        return Ok(wanted);
    }
    let has = |arm: &Arm, side: &str| arm.answers.iter().any(|answer| split_of(answer) == side);
    let common = SIDES.into_iter().find(|side| arms.iter().all(|arm| has(arm, side)));
    common.ok_or_else(|| {
        let sides = |arm: &Arm| SIDES.into_iter().filter(|side| has(arm, side)).collect::<Vec<_>>().join(", ");
        apart(arms, format!("share no side: scored are {}, and {}", sides(arms[0]), sides(arms[1])))
    })
}

impl<'a> Side<'a> {
    fn of(arm: &'a Arm, split: &str) -> Result<Self> {
        let (mut on, mut off) = (BTreeMap::new(), HashMap::new());
        for answer in &arm.answers {
            let key = (answer.recording_id.as_str(), answer.copy);
            if split_of(answer) != split {
                off.insert(key, split_of(answer));
            } else if on.insert(key, answer).is_some() {
                let (id, copy) = key;
                let what = format!("copy {copy} of `{}` has two answers on the {split} side", id.escape_debug());
                return Err(Error::input(what).at(&arm.name).hint("name one of its models: STORE:MODEL_ID"));
            }
        }
        Ok(Self { on, off })
    }

    /// On which other side an item stands.
    fn place(&self, arm: &Arm, key: Key) -> Option<String> {
        let unscored = || arm.sides.as_ref().and_then(|sides| sides.get(key.0, key.1)).map(|side| side.name());
        self.off.get(&key).copied().or_else(unscored).map(str::to_string)
    }
}

impl Overlap {
    fn add<'a>(&mut self, classes: &[String], a: &'a Answer, b: &'a Answer) -> Option<Pair<'a>> {
        let class = |name: &Option<String>| classes.iter().position(|class| Some(class) == name.as_ref());
        let answered = |answer: &Answer| answer.status == Status::Ok && answer.predicted.is_some();
        let is_other = a.content_hash.as_ref().zip(b.content_hash.as_ref()).is_some_and(|(a, b)| a != b);
        let why = match class(&a.emotion) {
            _ if is_other => &mut self.other_content,
            _ if !answered(a) || !answered(b) => &mut self.unanswered,
            _ if a.emotion.is_none() && b.emotion.is_none() => &mut self.unlabelled,
            Some(truth) if a.emotion == b.emotion => {
                self.compared += 1;
                self.other_copies += u64::from(a.copy > 0 && a.fingerprint == b.fingerprint && a.variant != b.variant);
                let said = |answer: &Answer| class(&answer.predicted).unwrap_or(classes.len());
                return Some(Pair { a, b, cell: (truth, said(a), said(b)) });
            }
            _ => &mut self.other_label,
        };
        *why += 1;
        None
    }

    fn miss(&mut self, arm: usize, place: Option<String>) {
        match place {
            Some(side) => *self.elsewhere[arm].entry(side).or_default() += 1,
            None => self.only[arm] += 1,
        }
    }

    /// Why nothing can be compared.
    fn nothing(&self, split: &str) -> String {
        let reasons = self.reasons(["the first", "the second"], split);
        if reasons.is_empty() {
            return format!("have no recording on the {split} side");
        }
        let shared = self.other_content + self.other_label + self.unlabelled + self.unanswered;
        let head = match shared {
            0 => format!("have no recording of the {split} side in common"),
            n if n == self.unlabelled => format!("have no label for any of the {n} recordings that both answer"),
            n => format!("have {n} recordings of the {split} side in common, and none that can be compared"),
        };
        format!("{head}: {}", reasons.join("; "))
    }

    /// What was not compared, in words; `names` are those of the arms.
    pub fn reasons(&self, names: [&str; 2], split: &str) -> Vec<String> {
        let mut reasons = Vec::new();
        for (arm, other) in [(0, 1), (1, 0)] {
            if self.only[arm] > 0 {
                reasons.push(format!("{} on the {split} side of {} alone", self.only[arm], names[arm]));
            }
            for (side, count) in &self.elsewhere[arm] {
                let side = if side == "none" { "no" } else { side };
                reasons
                    .push(format!("{count} on the {split} side of {}, on {side} side in {}", names[arm], names[other]));
            }
        }
        for (count, why) in [
            (self.other_content, "with other bytes under the same name"),
            (self.other_label, "with another label, or one that only one of them knows"),
            (self.unlabelled, "without a label"),
            (self.unanswered, "rejected by one of them"),
        ] {
            if count > 0 {
                reasons.push(format!("{count} {why}"));
            }
        }
        reasons
    }
}
