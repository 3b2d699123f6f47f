//! Labels as data: the ordered classes of a model, and which of the corpora's words count as which class.
//!
//! Adapters say what a recording's corpus calls it, in a wide vocabulary; a label set says what that means for one model. Only
//! what trains, scores and sums up knows classes: another label set computes no spectrogram.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Label sets that a recipe may name; each is a file in `pipelines/labels/`.
pub const LABEL_SETS: &[(&str, &str)] = &[
    ("seven", include_str!("../pipelines/labels/seven.toml")),
    ("ravdess-8", include_str!("../pipelines/labels/ravdess-8.toml")),
    ("emodb-7", include_str!("../pipelines/labels/emodb-7.toml")),
    ("four", include_str!("../pipelines/labels/four.toml")),
];

/// The label set of recipes that name none.
pub const DEFAULT_SET: &str = "seven";

/// Classes that a model may have: fewer name nothing, more than this no corpus tells apart.
const N_CLASSES: std::ops::RangeInclusive<usize> = 2..=64;
const LONGEST_NAME: usize = 40;

/// `[labels]`: the classes in their order, and what counts as which.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Labels {
    /// Name of the set; a known name must come with its known classes.
    pub set: String,
    /// The order of every probability vector, confusion matrix and `prob_<class>` column.
    pub classes: Vec<String>,
    /// What the corpora's other words mean. A class counts as itself.
    #[serde(default)]
    pub words: BTreeMap<String, Meaning>,
}

/// What a word of a corpus means for a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Meaning {
    /// It counts as this class.
    Class(String),
    /// Recordings with it are neither trained on nor counted.
    LeftOut(LeftOut),
}

/// Why a word has no class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    pub left_out: String,
}

/// What a label set says of one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// Position of its class.
    Class(usize),
    /// Left out, because.
    LeftOut(&'a str),
    /// The set does not know it: left out too, and worth a word to the user.
    Unknown,
}

impl Labels {
    /// A set that sermill ships.
    ///
    /// Errors: kind `Recipe` for a name that no set has.
    pub fn shipped(set: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct File {
            classes: Vec<String>,
            words: BTreeMap<String, Meaning>,
        }
        let Some((_, text)) = LABEL_SETS.iter().find(|(name, _)| *name == set) else {
            let known: Vec<&str> = LABEL_SETS.iter().map(|(name, _)| *name).collect();
            return Err(Error::recipe(format!(
                "[labels] set = `{set}` is no label set, known are {}",
                known.join(", ")
            ))
            .hint("a set of your own needs `classes` beside its name"));
        };
        let File { classes, words } =
            toml::from_str(text).map_err(|error| Error::bug("a shipped label set is wrong").because(error))?;
        Ok(Self { set: set.into(), classes, words })
    }

    /// A set without words of its own, such as that of a model that knows nothing of words.
    pub fn of_classes(classes: &[String]) -> Self {
        Self { set: "model".into(), classes: classes.to_vec(), words: BTreeMap::new() }
    }

    /// Number of classes.
    pub fn n_classes(&self) -> usize {
        self.classes.len()
    }

    /// What a word means; words are those of the manifest's column `emotion`.
    pub fn verdict(&self, word: &str) -> Verdict<'_> {
        if let Some(class) = self.position(word) {
            return Verdict::Class(class);
        }
        match self.words.get(word) {
            Some(Meaning::Class(class)) => self.position(class).map_or(Verdict::Unknown, Verdict::Class),
            Some(Meaning::LeftOut(LeftOut { left_out })) => Verdict::LeftOut(left_out),
            None => Verdict::Unknown,
        }
    }

    /// Position of the class of a word, where it has one.
    pub fn class_of(&self, word: Option<&str>) -> Option<usize> {
        match self.verdict(word?) {
            Verdict::Class(class) => Some(class),
            Verdict::LeftOut(_) | Verdict::Unknown => None,
        }
    }

    /// Name of the class of a word, where it has one.
    pub fn name_of(&self, word: Option<&str>) -> Option<&str> {
        self.class_of(word).map(|class| self.classes[class].as_str())
    }

    fn position(&self, class: &str) -> Option<usize> {
        self.classes.iter().position(|name| name == class)
    }

    /// Refuses a set that could not be told apart, written as columns, or resolved.
    pub fn check(&self) -> Result<()> {
        let wrong = |what: String, hint: &str| Err(Error::recipe(format!("[labels] {what}")).hint(hint));
        if !N_CLASSES.contains(&self.classes.len()) {
            let (n, least, most) = (self.classes.len(), N_CLASSES.start(), N_CLASSES.end());
            return wrong(format!("classes has {n} names, wanted are {least} to {most}"), "name each class once");
        }
        for name in &self.classes {
            check_class(name)?;
        }
        if let Some(twice) = twice(&self.classes) {
            return wrong(format!("classes names `{twice}` twice"), "name each class once");
        }
        for (word, meaning) in &self.words {
            if self.position(word).is_some() {
                return wrong(format!("words.{word}: `{word}` is a class and counts as itself"), "remove the word");
            }
            match meaning {
                Meaning::Class(class) if self.position(class).is_none() => {
                    let classes = self.classes.join(", ");
                    let hint = "name a class, or { left_out = \"why\" }";
                    return wrong(format!("words.{word} = `{class}` is none of the classes {classes}"), hint);
                }
                Meaning::LeftOut(LeftOut { left_out }) if left_out.trim().is_empty() => {
                    return wrong(format!("words.{word} is left out for no reason"), "say why");
                }
                _ => {}
            }
        }
        match Self::shipped(&self.set) {
            Ok(known) if known != *self => {
                wrong(format!("set = `{}`, but its classes or words are others than that set's", self.set), {
                    "give a label set of your own a name of its own"
                })
            }
            _ => Ok(()),
        }
    }
}

/// Refuses a name that could not be part of a column's name.
pub fn check_class(name: &str) -> Result<()> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if (1..=LONGEST_NAME).contains(&name.len()) && name.chars().all(is_plain) {
        return Ok(());
    }
    let shown: String = name.chars().take(LONGEST_NAME).collect();
    Err(Error::recipe(format!("`{}` is no name of a class", shown.escape_debug()))
        .hint(format!("1 to {LONGEST_NAME} lower-case letters, digits and underscores: it names a column")))
}

/// The first name that stands in the list twice.
pub fn twice(names: &[String]) -> Option<&String> {
    let mut seen = BTreeSet::new();
    names.iter().find(|name| !seen.insert(*name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(classes: &[&str], words: &[(&str, &str)]) -> Labels {
        let meaning = |text: &str| match text.strip_prefix('!') {
            Some(why) => Meaning::LeftOut(LeftOut { left_out: why.into() }),
            None => Meaning::Class(text.into()),
        };
        Labels {
            set: "own".into(),
            classes: classes.iter().map(|name| name.to_string()).collect(),
            words: words.iter().map(|(word, text)| (word.to_string(), meaning(text))).collect(),
        }
    }

    #[test]
    fn every_shipped_set_is_sound_and_the_seven_are_the_papers() {
        for (name, _) in LABEL_SETS {
            Labels::shipped(name).expect("shipped").check().unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        let seven = Labels::shipped(DEFAULT_SET).expect("shipped");
        assert_eq!(seven.classes, ["angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"]);
        assert_eq!(seven.name_of(Some("calm")), Some("neutral"));
        assert!(matches!(seven.verdict("boredom"), Verdict::LeftOut(why) if why.contains("seven")));
        assert_eq!((seven.verdict("smug"), seven.class_of(None)), (Verdict::Unknown, None));
        let eight = Labels::shipped("ravdess-8").expect("shipped");
        assert_eq!((eight.n_classes(), eight.name_of(Some("calm"))), (8, Some("calm")));
        assert_eq!(Labels::shipped("emodb-7").expect("shipped").class_of(Some("boredom")), Some(1));
        assert_eq!(Labels::shipped("four").expect("shipped").n_classes(), 4);
        assert!(Labels::shipped("five").is_err());
    }

    #[test]
    fn a_set_that_means_nothing_is_refused_with_the_value() {
        let many: Vec<String> = (0..65).map(|n| format!("c{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        for (set, words) in [
            (labels(&["sad"], &[]), "1 names, wanted are 2 to 64"),
            (labels(&many, &[]), "65 names"),
            (labels(&["sad", "sad"], &[]), "`sad` twice"),
            (labels(&["sad", "Angry"], &[]), "`Angry` is no name of a class"),
            (labels(&["sad", "a b"], &[]), "`a b`"),
            (labels(&["sad", ""], &[]), "no name of a class"),
            (labels(&["sad", "angry"], &[("calm", "neutral")]), "words.calm = `neutral` is none of"),
            (labels(&["sad", "angry"], &[("sad", "angry")]), "counts as itself"),
            (labels(&["sad", "angry"], &[("calm", "! ")]), "for no reason"),
            (Labels { set: "seven".into(), ..labels(&["sad", "angry"], &[]) }, "others than that set's"),
        ] {
            let error = set.check().expect_err(words);
            assert!(error.to_string().contains(words) && error.hint_text().is_some(), "{error}");
        }
        labels(&["sad", "angry"], &[("calm", "sad"), ("bored", "!rare")]).check().expect("sound");
        labels(&many[..64], &[]).check().expect("64 are enough");
    }
}
