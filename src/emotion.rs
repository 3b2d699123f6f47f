//! The seven labels, their order and their names: the only place that knows them.

use std::fmt;

/// One of the seven classes. The order is the alphabetical one and is the order of every
/// probability vector, confusion matrix and `prob_<emotion>` column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Emotion {
    Angry,
    Disgust,
    Fear,
    Happy,
    Neutral,
    Sad,
    Surprise,
}

impl Emotion {
    /// All classes in their fixed order.
    pub const ALL: [Self; 7] =
        [Self::Angry, Self::Disgust, Self::Fear, Self::Happy, Self::Neutral, Self::Sad, Self::Surprise];

    /// Number of classes.
    pub const COUNT: usize = Self::ALL.len();

    /// The name used in every table and file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Angry => "angry",
            Self::Disgust => "disgust",
            Self::Fear => "fear",
            Self::Happy => "happy",
            Self::Neutral => "neutral",
            Self::Sad => "sad",
            Self::Surprise => "surprise",
        }
    }

    /// Position in [`Self::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// The class at a position of [`Self::ALL`].
    pub fn from_index(index: usize) -> Option<Self> {
        Self::ALL.get(index).copied()
    }

    /// Reads a class from its table name, exactly.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|emotion| emotion.name() == name)
    }

    /// Reads a class from the words people and corpora use for it (`anger`, `ps`, `Pleasant_surprise`,
    /// `calm`...), ignoring case and punctuation. `calm` counts as neutral, as in the paper.
    pub fn from_word(word: &str) -> Option<Self> {
        let plain: String = word.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
        Some(match plain.as_str() {
            "angry" | "anger" | "ang" => Self::Angry,
            "disgust" | "disgusted" | "dis" => Self::Disgust,
            "fear" | "fearful" | "afraid" | "fea" => Self::Fear,
            "happy" | "happiness" | "joy" | "hap" => Self::Happy,
            "neutral" | "neu" | "calm" => Self::Neutral,
            "sad" | "sadness" => Self::Sad,
            "surprise" | "surprised" | "pleasantsurprise" | "pleasantsurprised" | "ps" | "sur" => Self::Surprise,
            _ => return None,
        })
    }
}

impl fmt::Display for Emotion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_indices_and_order_agree() {
        for (index, emotion) in Emotion::ALL.into_iter().enumerate() {
            assert_eq!(emotion.index(), index);
            assert_eq!(Emotion::from_index(index), Some(emotion));
            assert_eq!(Emotion::from_name(emotion.name()), Some(emotion));
            assert_eq!(Emotion::from_word(emotion.name()), Some(emotion));
        }
        assert!(Emotion::ALL.is_sorted_by_key(|emotion| emotion.name()));
    }

    #[test]
    fn words_of_the_corpora_are_known_and_others_are_not() {
        assert_eq!(Emotion::from_word("Pleasant_surprise"), Some(Emotion::Surprise));
        assert_eq!(Emotion::from_word("calm"), Some(Emotion::Neutral));
        assert_eq!(Emotion::from_word("boredom"), None);
        assert_eq!(Emotion::from_name("Angry"), None);
    }
}
