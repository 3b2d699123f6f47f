//! What two sides of a split must not have in common, by name.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A way in which one side knows something of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeakKind {
    /// Two recordings with the same spectrogram, to the bit.
    Duplicates,
    /// Two recordings of the same sound, one of them with other gain, noise, codec, rate or ends.
    NearDuplicates,
    /// Original and augmented copies of one recording.
    Twins,
    /// Recordings of one speaker.
    Speakers,
    /// Recordings of one sentence, within a corpus.
    Sentences,
}

impl LeakKind {
    /// All kinds, the plainest first.
    pub const ALL: [Self; 5] = [Self::Duplicates, Self::NearDuplicates, Self::Twins, Self::Speakers, Self::Sentences];

    /// The name used in tables and recipes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Duplicates => "duplicates",
            Self::NearDuplicates => "near-duplicates",
            Self::Twins => "twins",
            Self::Speakers => "speakers",
            Self::Sentences => "sentences",
        }
    }

    /// The kind called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A set of kinds: a list of names in a recipe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeakKinds(u8);

impl LeakKinds {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0 == 0
    }

    /// Whether `kind` is one of them.
    pub fn has(self, kind: LeakKind) -> bool {
        self.0 & 1 << kind as u8 != 0
    }

    /// These and one more.
    pub fn with(self, kind: LeakKind) -> Self {
        Self(self.0 | 1 << kind as u8)
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = LeakKind> {
        LeakKind::ALL.into_iter().filter(move |&kind| self.has(kind))
    }

    /// As they are written in a recipe, such as `["twins", "speakers"]`.
    pub fn list(self) -> String {
        let names: Vec<String> = self.iter().map(|kind| format!("\"{}\"", kind.name())).collect();
        format!("[{}]", names.join(", "))
    }
}

impl FromIterator<LeakKind> for LeakKinds {
    fn from_iter<I: IntoIterator<Item = LeakKind>>(kinds: I) -> Self {
        kinds.into_iter().fold(Self::default(), Self::with)
    }
}

impl Serialize for LeakKinds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(LeakKind::name))
    }
}

impl<'de> Deserialize<'de> for LeakKinds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let known = |name: &String| {
            LeakKind::from_name(name).ok_or_else(|| {
                let kinds: LeakKinds = LeakKind::ALL.into_iter().collect();
                D::Error::custom(format!("allow_leaks names `{name}`; the kinds are {}", kinds.list()))
            })
        };
        Vec::<String>::deserialize(deserializer)?.iter().map(known).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_comes_back_from_its_list_and_a_kind_that_is_none_is_named() {
        let all: LeakKinds = LeakKind::ALL.into_iter().collect();
        for set in [LeakKinds::default(), LeakKinds::default().with(LeakKind::Twins), all] {
            assert_eq!(serde_json::from_str::<LeakKinds>(&set.list()).expect("a list"), set);
            assert_eq!(serde_json::to_string(&set).expect("JSON").replace(',', ", "), set.list());
        }
        assert_eq!(all.list(), r#"["duplicates", "near-duplicates", "twins", "speakers", "sentences"]"#);
        let error = serde_json::from_str::<LeakKinds>(r#"["speaker"]"#).expect_err("no kind");
        assert!(error.to_string().contains("`speaker`; the kinds are [\"duplicates\""), "{error}");
    }
}
