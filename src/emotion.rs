//! Words for emotions: which ones the corpora of the field use, and how they are spelt. Classes are made of them by a label set.

/// Every emotion that has a word here, in alphabetical order: the word, and its other spellings as [`word_of`] compares them
/// (letters and digits alone, in lower case).
///
/// Sources: labels and file names of AESDD, CREMA-D, EMO-DB (German), EmoV-DB, EMOVO (Italian, also its codes of three letters),
/// ESD, GEMEP, IEMOCAP (also its codes), JL-Corpus, MEAD, MSP-Podcast, RAVDESS, SAVEE, ShEMO, SUBESCO, TESS, URDU and the LDC's
/// Emotional Prosody, and French and Spanish names of the six basic emotions. Codes of one letter mean something else in
/// each corpus and stand in a recipe.
pub const VOCABULARY: &[(&str, &[&str])] = &[
    ("amusement", &["amused"]),
    (
        "angry",
        &[
            "anger", "ang", "ärger", "arger", "aerger", "wut", "rabbia", "rab", "colère", "colere", "enfado", "enojo",
            "ira",
        ],
    ),
    ("anxiety", &["anxious", "anxiousness", "nervous", "nervousness"]),
    ("apologetic", &["apology"]),
    ("assertive", &["assertiveness"]),
    ("boredom", &["bored", "boring", "langeweile"]),
    ("calm", &["calmness"]),
    ("cold_anger", &[]),
    ("concerned", &["concern"]),
    ("confusion", &["confused"]),
    ("contempt", &["contemptuous"]),
    ("depression", &["depressed"]),
    ("despair", &["desperate", "desperation"]),
    ("disappointment", &["disappointed"]),
    ("disgust", &["disgusted", "dis", "ekel", "disgusto", "dégoût", "degout", "asco"]),
    ("elation", &["elated"]),
    ("encouraging", &["encouragement"]),
    ("enthusiasm", &["enthusiastic"]),
    ("excitement", &["excited", "exc"]),
    ("fear", &["fearful", "afraid", "fea", "scared", "angst", "paura", "pau", "peur", "miedo"]),
    ("frustration", &["frustrated", "fru"]),
    (
        "happy",
        &["happiness", "joy", "joyful", "hap", "freude", "gioia", "gio", "joie", "alegría", "alegria", "felicidad"],
    ),
    ("hot_anger", &[]),
    ("irritation", &["irritated"]),
    ("neutral", &["neutrality", "neu", "neutrale", "neutro", "neutre"]),
    ("panic", &["panicked"]),
    ("pensive", &["pensiveness"]),
    ("pride", &["proud"]),
    ("relief", &["relieved"]),
    ("sad", &["sadness", "trauer", "tristezza", "tri", "tristesse", "tristeza"]),
    ("sarcasm", &["sarcastic"]),
    ("shame", &["ashamed"]),
    (
        "surprise",
        &[
            "surprised",
            "pleasantsurprise",
            "pleasantsurprised",
            "pleasantlysurprised",
            "ps",
            "sur",
            "sorpresa",
            "sor",
            "überraschung",
            "uberraschung",
            "ueberraschung",
        ],
    ),
    ("tenderness", &["tender"]),
    ("tired", &["tiredness", "sleepy", "sleepiness", "fatigue"]),
    ("worried", &["worry"]),
];

/// The word of [`VOCABULARY`] that `text` is a spelling of (`anger`, `Pleasant_surprise`, `Ärger`...), case and punctuation
/// ignored.
pub fn word_of(text: &str) -> Option<&'static str> {
    let plain = letters(text);
    let is_spelling =
        |(word, others): &&(&'static str, &[&str])| letters(word) == plain || others.contains(&plain.as_str());
    VOCABULARY.iter().find(is_spelling).map(|(word, _)| *word)
}

/// The word that stands for `text` in tables and recipes: that of [`word_of`], else the text itself in lower case with one `_`
/// for each run of spaces, underscores and dashes, and none at its ends. Empty when nothing else is left.
pub fn plain_word(text: &str) -> String {
    if let Some(word) = word_of(text) {
        return word.to_owned();
    }
    let is_gap = |c: char| c.is_whitespace() || c == '_' || c == '-';
    let parts: Vec<String> = text.split(is_gap).filter(|part| !part.is_empty()).map(str::to_lowercase).collect();
    parts.join("_")
}

/// What spellings are compared by.
fn letters(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn words_of_the_corpora_are_known_and_others_are_not() {
        for (text, word) in [
            ("Ärger", "angry"),
            ("A\u{308}rger", "angry"),
            ("HOT-ANGER", "hot_anger"),
            ("calm", "calm"),
            ("Sleepiness", "tired"),
            ("Neutral.", "neutral"),
        ] {
            assert_eq!(word_of(text), Some(word), "{text}");
        }
        for text in ["", "a", "xxx", "oth", "nonsense", "angry2"] {
            assert_eq!(word_of(text), None, "{text}");
        }
    }

    #[test]
    fn no_spelling_stands_for_two_words_and_each_is_written_as_it_is_compared() {
        let mut spellings = BTreeSet::new();
        for (word, others) in VOCABULARY {
            assert!(word.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{word}");
            assert!(spellings.insert(letters(word)), "{word}");
            for other in *others {
                assert_eq!(letters(other), **other);
                assert!(spellings.insert((*other).to_owned()), "{other}");
                assert_eq!(word_of(other), Some(*word));
            }
        }
        assert!(VOCABULARY.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn a_plain_word_is_the_plain_word_of_itself() {
        for (text, word) in [
            (" Very--Happy_indeed ", "very_happy_indeed"),
            ("Anger", "angry"),
            ("hot anger", "hot_anger"),
            ("D", "d"),
            ("S\u{e9}r\u{e9}nit\u{e9}", "s\u{e9}r\u{e9}nit\u{e9}"),
            ("Arousal 3/7", "arousal_3/7"),
            (" - ", ""),
        ] {
            assert_eq!(plain_word(text), word);
            assert_eq!(plain_word(word), word);
        }
    }
}
