//! How a recipe names augmentations: by name alone, with their defaults, or as a table with numbers of its own.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Augmentation, Place, Ranges, augmentation};
use crate::error::{Error, Result};

/// One entry of `[features] augmentations`: `"white-noise"`, or `{ name = "pink-noise", snr_db = [5, 20] }`.
///
/// Beside the augmentation's own parameters a table may hold `probability`: the share of copies that it is applied to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "an augmentation is its name, or a table with its name and numbers or ranges such as { name = \"pink-noise\", snr_db = [5, 20] }"
)]
pub enum Wanted {
    /// With its defaults, for every copy.
    Named(String),
    /// With numbers of the recipe's own.
    Tuned(BTreeMap<String, Setting>),
}

/// One value of an augmentation's table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Setting {
    /// The name.
    Word(String),
    /// Always this value.
    Number(f64),
    /// Drawn between the two, both included.
    Range([f64; 2]),
}

/// An augmentation as a recipe settled it.
pub(super) struct Settled {
    pub(super) augmentation: &'static dyn Augmentation,
    pub(super) ranges: Ranges,
    /// Share of the copies that it is applied to.
    pub(super) probability: f64,
}

const PROBABILITY: &str = "probability";

impl Wanted {
    fn settle(&self) -> Result<Settled> {
        let nothing = BTreeMap::new();
        let (name, table) = match self {
            Self::Named(name) => (name.as_str(), &nothing),
            Self::Tuned(table) => match table.get("name") {
                Some(Setting::Word(name)) => (name.as_str(), table),
                _ => return Err(Error::recipe("[features] augmentations: a table without a `name`").hint(EXAMPLE)),
            },
        };
        let augmentation = augmentation(name)?;
        let mut settled =
            Settled { augmentation, ranges: Ranges::of_defaults(augmentation.parameters()), probability: 1.0 };
        for (key, value) in table.iter().filter(|(key, _)| *key != "name") {
            settled.set(key, value)?;
        }
        Ok(settled)
    }
}

const EXAMPLE: &str = "write { name = \"pink-noise\", snr_db = [5, 20] }, or the name alone for the defaults";

impl Settled {
    fn set(&mut self, key: &str, value: &Setting) -> Result<()> {
        let name = self.augmentation.name();
        let range = match value {
            Setting::Number(value) => [*value, *value],
            Setting::Range(range) => *range,
            Setting::Word(word) => {
                return Err(
                    Error::recipe(format!("augmentation `{name}`: {key} = `{word}` is no number")).hint(EXAMPLE)
                );
            }
        };
        if key == PROBABILITY {
            if range[0] != range[1] || !(range[0] > 0.0 && range[0] <= 1.0) {
                let limit = "must be one number above 0 and at most 1";
                return Err(Error::recipe(format!("augmentation `{name}`: {PROBABILITY} = {range:?}: {limit}")));
            }
            self.probability = range[0];
            return Ok(());
        }
        let Some(slot) = self.ranges.0.iter_mut().find(|(parameter, _)| parameter.key == key) else {
            let own = self.augmentation.parameters().iter().map(|parameter| parameter.key);
            let known: Vec<&str> = own.chain([PROBABILITY]).collect();
            return Err(Error::recipe(format!("augmentation `{name}` has no `{key}`"))
                .hint(format!("it has {}", known.join(", "))));
        };
        slot.0.check(name, range)?;
        slot.1 = range;
        Ok(())
    }
}

/// Settles all entries; refuses names and keys that are not known, numbers out of their limits, an augmentation named
/// twice, and one of the recording after one of the conditioned wave.
pub(super) fn settle(wanted: &[Wanted]) -> Result<Vec<Settled>> {
    let settled: Vec<Settled> = wanted.iter().map(Wanted::settle).collect::<Result<_>>()?;
    let mut names = BTreeSet::new();
    let mut late: Option<&str> = None;
    for one in &settled {
        let name = one.augmentation.name();
        if !names.insert(name) {
            return Err(Error::recipe(format!("[features] augmentations name `{name}` twice")));
        }
        match (one.augmentation.place(), late) {
            (Place::Conditioned, _) => late = Some(name),
            (Place::Recording, Some(late)) => {
                return Err(Error::recipe(format!(
                    "[features] augmentations: `{name}` changes the recording before its z-score, `{late}` the wave after it"
                ))
                .hint(format!("name `{name}` before `{late}`")));
            }
            (Place::Recording, None) | (Place::Bank, _) => {}
        }
    }
    Ok(settled)
}

/// Everything that copies depend on beside their seeds and voices, as text for fingerprints.
///
/// Errors: those of [`super::Chain::new`] that are about names, keys and numbers; nothing is planned.
pub fn definition(wanted: &[Wanted]) -> Result<String> {
    let one = |Settled { augmentation, ranges, probability }: &Settled| {
        format!("{} v{} {} p {probability}", augmentation.name(), augmentation.revision(), ranges.definition())
    };
    Ok(settle(wanted)?.iter().map(one).collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Section {
        augmentations: Vec<Wanted>,
    }

    fn settled(list: &str) -> Result<Vec<Settled>> {
        let section: std::result::Result<Section, _> = toml::from_str(&format!("augmentations = {list}"));
        settle(&section.map_err(|error| Error::recipe("toml").because(error.to_string()))?.augmentations)
    }

    #[test]
    fn a_name_alone_has_the_defaults_and_a_table_its_own_numbers() {
        let both = settled(r#"["white-noise", { name = "pink-noise", snr_db = [5, 12.5], probability = 0.5 }]"#);
        let both = both.expect("two");
        assert_eq!(both[0].ranges.of("snr_db").1, [15.0, 29.0]);
        assert_eq!(both[0].probability, 1.0);
        assert_eq!((both[1].augmentation.name(), both[1].probability), ("pink-noise", 0.5));
        assert_eq!(both[1].ranges.of("snr_db").1, [5.0, 12.5]);
        let one = settled(r#"[{ name = "gain", gain_db = 6 }]"#).expect("a number");
        assert_eq!(one[0].ranges.of("gain_db").1, [6.0, 6.0]);
    }

    #[test]
    fn slips_are_refused_with_what_would_be_right() {
        for (list, words) in [
            (r#"["white_noise"]"#, "augmentation `white_noise` is not known"),
            (r#"[{ name = "pink-noise", snr = [5, 20] }]"#, "augmentation `pink-noise` has no `snr`"),
            (r#"[{ name = "pink-noise", snr_db = [20, 5] }]"#, "must be low to high"),
            (r#"[{ name = "pink-noise", snr_db = "loud" }]"#, "is no number"),
            (r#"[{ name = "white-noise", snr_db = 15.5 }]"#, "multiples of 1"),
            (r#"[{ name = "pink-noise", snr_db = [1, 2, 3] }]"#, "numbers or ranges"),
            (r#"[{ snr_db = 5 }]"#, "a table without a `name`"),
            (r#"[{ name = "room", probability = 0 }]"#, "above 0 and at most 1"),
            (r#"["room", "room"]"#, "twice"),
            (r#"["white-noise", "room"]"#, "`room` changes the recording before its z-score"),
        ] {
            let error = settled(list).map(|_| ()).expect_err(list);
            assert!(error.to_string().contains(words), "{list}: {error}");
            assert_eq!(error.kind().exit_code(), 2);
        }
        let hint = settled(r#"[{ name = "pink-noise", snr = 5 }]"#).map(|_| ()).expect_err("a slip");
        assert_eq!(hint.hint_text(), Some("it has snr_db, probability"));
    }

    #[test]
    fn the_definition_changes_with_every_number() {
        let of = |list: &str| {
            let section: Section = toml::from_str(&format!("augmentations = {list}")).expect("a list");
            definition(&section.augmentations).expect("known")
        };
        let plain = of(r#"["pink-noise"]"#);
        assert_eq!(plain, of(r#"[{ name = "pink-noise", snr_db = [5, 20] }]"#), "the defaults, written out");
        for other in [
            r#"[{ name = "pink-noise", snr_db = [5, 21] }]"#,
            r#"[{ name = "pink-noise", probability = 0.5 }]"#,
            r#"["brown-noise"]"#,
            r#"["pink-noise", "white-noise"]"#,
            r#"["white-noise", "pink-noise"]"#,
            "[]",
        ] {
            assert_ne!(plain, of(other), "{other}");
        }
    }
}
