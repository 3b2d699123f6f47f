//! What patterns of paths match, and which of them no recipe may hold.

use proptest::prelude::*;

use super::*;
use crate::error::ErrorKind;

fn texts(pattern: &str, path: &str) -> std::result::Result<Vec<(&'static str, String)>, String> {
    let texts = Pattern::parse(pattern).unwrap().texts(path)?;
    Ok(Field::ALL.into_iter().filter_map(|field| Some((field.name(), texts[field as usize].clone()?))).collect())
}

fn labels(pattern: &str) -> Paths {
    Paths { pattern: Pattern::parse(pattern).unwrap(), options: Options::default() }
}

#[test]
fn file_names_of_corpora_are_read_by_their_patterns() {
    for (pattern, path, expected) in [
        ("{speaker}/{emotion}_*.wav", "s1/sad_003_x.wav", "emotion=sad speaker=s1"),
        // ESD: 0011/Angry/0011_000351.wav
        ("{speaker}/{emotion}/{speaker}_*", "0011/Angry/0011_000351.wav", "emotion=Angry speaker=0011"),
        // EMOVO: f1/dis-f1-b1.wav
        ("{speaker}/{emotion}-{speaker}-{statement}.wav", "f1/dis-f1-b1.wav", "emotion=dis speaker=f1 statement=b1"),
        // ShEMO: male/M10S04.wav
        (
            "{sex}/{speaker:3}{emotion:1}{statement}.wav",
            "male/M10S04.wav",
            "emotion=S speaker=M10 sex=male statement=04",
        ),
        // JL-Corpus
        (
            "**/{speaker}_{emotion}_{statement}_{repetition}.wav",
            "Raw/JL/male1_excited_10a_2.wav",
            "emotion=excited speaker=male1 statement=10a repetition=2",
        ),
        ("**/{emotion}-*", "sad-1.wav", "emotion=sad"),
        ("{speaker}/**/{emotion}/*", "s/1/2/sad/x.wav", "emotion=sad speaker=s"),
        ("{speaker}{emotion:1}.wav", "ann7S.wav", "emotion=S speaker=ann7"),
        ("{emotion:2}*", "ärger.wav", "emotion=är"),
    ] {
        let found = texts(pattern, path).unwrap_or_else(|why| panic!("{pattern} {path}: {why}"));
        let found: Vec<String> = found.iter().map(|(name, text)| format!("{name}={text}")).collect();
        assert_eq!(found.join(" "), expected, "{pattern} {path}");
    }
}

#[test]
fn a_path_that_does_not_match_is_rejected_with_pattern_and_part() {
    let labeller = labels("{speaker}/{emotion}_{repetition}.wav");
    let reason = |path: &str| {
        let error = labeller.label(Path::new(path)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Recording);
        assert!(error.to_string().starts_with(&format!("`{path}`: ")), "{error}");
        error.reason()
    };
    let head = "does not match the pattern `{speaker}/{emotion}_{repetition}.wav`:";
    assert_eq!(reason("sad_1.wav"), format!("{head} has 1 parts between slashes, not 2"));
    assert_eq!(reason("s/sad.wav"), format!("{head} `sad.wav` does not fit `{{emotion}}_{{repetition}}.wav`"));
    assert_eq!(reason("s/_1.wav"), format!("{head} `_1.wav` does not fit `{{emotion}}_{{repetition}}.wav`"));
    let reason = reason("s/sad_x.wav");
    assert_eq!(reason, "repetition `x` is not a whole number (by the pattern `{speaker}/{emotion}_{repetition}.wav`)");
    assert!(texts("{speaker}/{emotion}/{speaker}_*", "1/sad/2_1.wav").is_err());
    assert_eq!(texts("{emotion}/**/a/*", "sad/a").unwrap_err(), "has 2 parts between slashes, not 3 or more");
    assert_eq!(labels("{emotion:1}*").label(Path::new("Dx.wav")).unwrap().emotion.as_deref(), Some("d"));
}

#[test]
fn a_wrong_pattern_is_a_recipe_error_that_says_what_is_wrong() {
    for (pattern, why) in [
        ("", "its parts are names"),
        ("/{emotion}", "its parts are names"),
        ("../{emotion}", "its parts are names"),
        ("{emotion}//x", "its parts are names"),
        ("{speaker}/*.wav", "has no {emotion}"),
        ("{emoton}/*", "there is no field {emoton}, known are emotion, speaker"),
        ("{start}/{emotion}", "there is no field {start}"),
        ("{emotion/*", "`{` is not closed"),
        ("emotion}/*", "`}` closes nothing"),
        ("{emotion}{speaker}", "in `{emotion}{speaker}` nothing says where one field ends"),
        ("{emotion}*", "in `{emotion}*` nothing says where one field ends"),
        ("**/{emotion}/**/x", "has `**` twice"),
        ("{emotion}/**", "`**` stands for folders"),
        ("{emotion:0}x", "`0` is no number of characters"),
        ("{emotion:999999999999999999999}x", "`999999999999999999999` is no number of characters"),
    ] {
        let error = Pattern::parse(pattern).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Recipe);
        let reason = error.reason();
        assert!(reason.starts_with(&format!("[[ingest.corpus]] pattern = `{pattern}`: {why}")), "{reason}");
    }
    assert_eq!(Pattern::parse("{emoton}/*").unwrap_err().hint_text(), Some("did you mean {emotion}?"));
}

#[test]
fn a_pattern_of_many_stars_takes_no_longer_than_pieces_times_letters() {
    let pattern = format!("{{emotion}}-{}", "*a".repeat(100));
    let path = format!("sad-{}b", "a".repeat(4000));
    assert!(texts(&pattern, &path).is_err());
    assert_eq!(texts(&pattern, &path[..path.len() - 1]).unwrap(), [("emotion", "sad".to_owned())]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Fields without the letters that stand between them come back as they were written.
    #[test]
    fn what_a_path_was_made_of_is_read_back(
        speaker in "[a-zäß0-9 .*{}-]{1,12}",
        emotion in "[A-Za-z .-]{1,12}",
        statement in "[a-z0-9 -]{1,8}",
        folders in prop::collection::vec("[^/\0]{1,6}", 0..4),
        tail in "[^/\0]{0,12}",
    ) {
        let plain = |text: &str| !matches!(text, "." | "..");
        prop_assume!(folders.iter().all(|folder| plain(folder)) && plain(&speaker));
        let path = [folders, vec![speaker.clone(), format!("{emotion}_{statement}_{tail}.wav")]].concat().join("/");
        let found = texts("**/{speaker}/{emotion}_{statement}_*.wav", &path);
        let expected = vec![("emotion", emotion), ("speaker", speaker), ("statement", statement)];
        prop_assert_eq!(found, Ok(expected));
    }

    /// No text is a pattern that panics, and no path makes one panic; what is found, put in place, gives a path that gives it again.
    #[test]
    fn no_pattern_and_no_path_panics(pattern in "([a*/_.}]|\\{emotion\\}|\\{speaker(:[0-3])?\\}|\\*\\*/){0,8}", path in "[a-c/_.]{0,20}") {
        if let Ok(parsed) = Pattern::parse(&pattern)
            && let Ok(texts) = parsed.texts(&path)
        {
            let emotion = texts[Field::Emotion as usize].clone().unwrap_or_default();
            prop_assert!(!emotion.is_empty() && path.contains(&emotion));
        }
    }
}
