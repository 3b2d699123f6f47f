//! Proofs of the protocols: who stands where, and what is refused.

use super::*;

fn hashes(n: usize) -> Vec<String> {
    (0..n).map(|i| format!("{i:08x}")).collect()
}

fn candidates(hashes: &[String]) -> Vec<Candidate<'_>> {
    let of = |(i, hash)| Candidate {
        content_hash: hash,
        corpus: if i % 3 == 0 { "a" } else { "b" },
        class: i % 7,
        ..Candidate::default()
    };
    hashes.iter().map(String::as_str).enumerate().map(of).collect()
}

fn config(protocol: Protocol) -> SplitConfig {
    SplitConfig {
        protocol,
        test_fraction: 0.2,
        validation_fraction: 0.1,
        folds: BTreeMap::new(),
        allow_leaks: LeakKinds::default(),
    }
}

fn with_folds(protocol: Protocol, folds: &[(&str, Groups)]) -> SplitConfig {
    let folds = folds.iter().map(|(key, groups)| (key.to_string(), groups.clone())).collect();
    SplitConfig { test_fraction: 0.0, validation_fraction: 0.0, folds, ..config(protocol) }
}

fn one_fold(config: &SplitConfig, seed: u64, candidates: &[Candidate], n_copies: u32) -> Vec<Vec<Option<Split>>> {
    let mut assigned = assign(config, Seed(seed), candidates, n_copies).expect("sides");
    assert_eq!(assigned.folds.len(), 1);
    assigned.folds.remove(0)
}

/// Ten recordings of each of the speakers, of seven classes.
fn spoken<'a>(hashes: &'a [String], corpus: &'a str, speakers: &[&'a str]) -> Vec<Candidate<'a>> {
    let of = |(i, hash): (usize, &'a String)| Candidate {
        content_hash: hash,
        corpus,
        class: i % 7,
        speaker: Some(speakers[i / 10]),
        statement: Some(["kids", "dogs"][i % 2]),
        ..Candidate::default()
    };
    hashes.iter().take(10 * speakers.len()).enumerate().map(of).collect()
}

fn named(name: &str) -> Groups {
    Groups::Named(name.into())
}

#[test]
fn paper_draws_7556_and_1890_of_its_9446_items() {
    let hashes = hashes(4723);
    let sides = one_fold(&config(Protocol::Paper), 1, &candidates(&hashes), 1);
    let count = |wanted| sides.iter().flatten().filter(|&&side| side == Some(wanted)).count();
    assert_eq!((count(Split::Train), count(Split::Test)), (7556, 1890));
    let torn = sides.iter().filter(|copies| copies[0] != copies[1]).count();
    assert!(torn > 1000, "the paper's leak is there to be measured: {torn} recordings stand on both sides");
}

#[test]
fn source_disjoint_keeps_copies_with_their_original_and_every_stratum_on_every_side() {
    let hashes = hashes(2100);
    let people = candidates(&hashes);
    let sides = one_fold(&config(Protocol::SourceDisjoint), 1, &people, 3);
    assert!(sides.iter().all(|copies| copies.iter().all(|side| *side == copies[0] && side.is_some())));
    for class in 0..7 {
        for corpus in ["a", "b"] {
            let of = |wanted| {
                (0..people.len())
                    .filter(|&i| people[i].class == class && people[i].corpus == corpus && sides[i][0] == Some(wanted))
                    .count()
            };
            let (train, validation, test) = (of(Split::Train), of(Split::Validation), of(Split::Test));
            let total = (train + validation + test) as f64;
            assert!((test as f64 - 0.2 * total).abs() <= 0.5, "{corpus} {class}: {test} of {total}");
            assert!((validation as f64 - 0.08 * total).abs() <= 1.0);
        }
    }
}

#[test]
fn a_corpus_of_four_recordings_an_emotion_has_every_side() {
    let hashes = hashes(28);
    let people: Vec<Candidate> = candidates(&hashes).into_iter().map(|one| Candidate { corpus: "a", ..one }).collect();
    let sides = one_fold(&config(Protocol::SourceDisjoint), 1, &people, 0);
    let count = |wanted| sides.iter().filter(|copies| copies[0] == Some(wanted)).count();
    assert_eq!([Split::Train, Split::Validation, Split::Test].map(count), [19, 2, 7]);
}

#[test]
fn a_draw_knows_neither_order_nor_place() {
    let (of_recordings, of_speakers) = (hashes(500), hashes(90));
    let speakers = ["s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9"];
    for (protocol, people) in [
        (Protocol::Paper, candidates(&of_recordings)),
        (Protocol::SourceDisjoint, candidates(&of_recordings)),
        (Protocol::SpeakerIndependent, spoken(&of_speakers, "a", &speakers)),
    ] {
        let reversed: Vec<Candidate> = people.iter().rev().cloned().collect();
        let forward = one_fold(&config(protocol), 9, &people, 1);
        let mut backward = one_fold(&config(protocol), 9, &reversed, 1);
        backward.reverse();
        assert_eq!(forward, backward);
        assert_ne!(forward, one_fold(&config(protocol), 11, &people, 1), "{protocol:?}");
    }
}

#[test]
fn every_speaker_is_tested_once_and_stands_on_one_side_of_each_fold() {
    let (hashes, speakers) = (hashes(120), ["a1", "a2", "a3", "a4", "a5", "a6", "a7"]);
    let mut people = spoken(&hashes[..70], "a", &speakers);
    people.extend(spoken(&hashes[70..], "b", &["b1", "b2"]));
    for (folds, n_folds) in [
        (with_folds(Protocol::SpeakerIndependent, &[(ANY, named("leave-one-out"))]), 7),
        (with_folds(Protocol::SpeakerIndependent, &[("a", Groups::Count(3)), ("b", named("leave-one-out"))]), 3),
        (with_folds(Protocol::SpeakerIndependent, &[(ANY, Groups::Count(2))]), 2),
    ] {
        for validation_fraction in [0.0, 0.2] {
            let config = SplitConfig { validation_fraction, ..folds.clone() };
            let assigned = assign(&config, Seed(3), &people, 1).expect("folds");
            assert_eq!(assigned.folds.len(), n_folds);
            let mut tested = BTreeMap::new();
            for sides in &assigned.folds {
                let mut side_of = BTreeMap::new();
                for (one, copies) in people.iter().zip(sides) {
                    assert_eq!(copies[1], copies[0].filter(|side| *side == Split::Train), "copies only train");
                    let side = *side_of.entry(one.speaker).or_insert(copies[0]);
                    assert_eq!(side, copies[0], "{:?} stands on two sides", one.speaker);
                }
                let has = |wanted| side_of.values().any(|side| *side == Some(wanted));
                assert!(has(Split::Train) && has(Split::Test));
                assert_eq!(has(Split::Validation), validation_fraction > 0.0);
                let test = side_of.iter().filter(|(_, side)| **side == Some(Split::Test));
                test.for_each(|(speaker, _)| *tested.entry(speaker.expect("known").to_string()).or_insert(0) += 1);
            }
            assert_eq!((tested.len(), tested.values().max()), (9, Some(&1)), "{config:?}");
        }
    }
}

#[test]
fn listed_folds_test_who_is_listed_and_all_others_always_train() {
    let hashes = hashes(40);
    let people = spoken(&hashes, "ravdess", &["ravdess-01", "ravdess-11", "ravdess-17", "ravdess-04"]);
    let listed = Groups::Listed(vec![vec!["ravdess-17".into(), "ravdess-18".into()]]);
    let assigned = assign(&with_folds(Protocol::SpeakerIndependent, &[("ravdess", listed)]), Seed(1), &people, 0);
    let assigned = assigned.expect("one fold");
    let tested: Vec<usize> = (0..40).filter(|&i| assigned.folds[0][i][0] == Some(Split::Test)).collect();
    assert_eq!(tested, (20..30).collect::<Vec<_>>());
    assert!(assigned.notes[0].contains("ravdess-18"), "{:?}", assigned.notes);
    // The shipped folds: of the six, these speakers are of three.
    let error =
        assign(&with_folds(Protocol::SpeakerIndependent, &[(ANY, named("emobox-ravdess"))]), Seed(1), &people, 0);
    assert!(error.expect_err("fold 2 is empty").to_string().contains("fold 2 has no recording on the test side"));
}

#[test]
fn shipped_folds_test_each_speaker_once() {
    for (name, n_speakers) in [("emobox-ravdess", 24), ("inner-ravdess", 16), ("luna-jimenez-ravdess", 24)] {
        named(name).check(ANY).expect("known");
        let speakers: Vec<String> = (1..=n_speakers).map(|actor| format!("ravdess-{actor:02}")).collect();
        let members: Vec<(&str, usize)> = speakers.iter().map(|speaker| (speaker.as_str(), 60)).collect();
        let placed = named(name).place(&members, "speakers", Seed(1)).expect("placed");
        assert!(placed.absent.is_empty() && placed.folds.iter().all(Option::is_some), "{name}: {placed:?}");
    }
    assert_eq!(FOLD_SETS.len(), 3);
}

#[test]
fn corpora_sentences_and_given_folds_are_held_out_whole() {
    let hashes = hashes(90);
    let mut people = spoken(&hashes[..30], "a", &["a1", "a2", "a3"]);
    people.extend(spoken(&hashes[30..60], "b", &["b1", "b2", "b3"]));
    people.extend(spoken(&hashes[60..], "c", &["c1", "c2", "c3"]));
    let tested = |sides: &[Vec<Option<Split>>]| -> Vec<usize> {
        (0..people.len()).filter(|&i| sides[i][0] == Some(Split::Test)).collect()
    };
    let corpora = assign(&with_folds(Protocol::CrossCorpus, &[]), Seed(1), &people, 0).expect("three folds");
    let found: Vec<Vec<usize>> = corpora.folds.iter().map(|sides| tested(sides)).collect();
    assert_eq!(found, [(0..30).collect::<Vec<_>>(), (30..60).collect(), (60..90).collect()]);
    let apart = Groups::Listed(vec![vec!["b".into(), "c".into()]]);
    let apart = assign(&with_folds(Protocol::CrossCorpus, &[(ANY, apart)]), Seed(1), &people, 0).expect("one fold");
    assert_eq!((apart.folds.len(), tested(&apart.folds[0])), (1, (30..90).collect()));
    let texts = with_folds(Protocol::TextDisjoint, &[(ANY, named("leave-one-out"))]);
    let texts = assign(&texts, Seed(1), &people, 0).expect("two folds");
    assert_eq!(texts.folds.len(), 2);
    assert!(tested(&texts.folds[0]).iter().all(|&i| people[i].statement == Some("dogs")));
    let given: Vec<Candidate> =
        (0..90).map(|i| Candidate { given_fold: Some(["1", "2", "3"][i % 3]), ..people[i].clone() }).collect();
    let given = assign(&with_folds(Protocol::Given, &[]), Seed(1), &given, 0).expect("three folds");
    assert_eq!(tested(&given.folds[1]), (0..90).filter(|i| i % 3 == 1).collect::<Vec<_>>());
    let split: Vec<Candidate> =
        (0..90).map(|i| Candidate { given_split: Some(["train", "test"][i / 60]), ..people[i].clone() }).collect();
    let split = assign(&with_folds(Protocol::Given, &[]), Seed(1), &split, 0).expect("one fold");
    assert_eq!((split.folds.len(), tested(&split.folds[0])), (1, (60..90).collect()));
}

#[test]
fn folds_that_cannot_be_made_are_refused_by_name() {
    let hashes = hashes(30);
    let people = spoken(&hashes, "calls", &["s1", "s2", "s3"]);
    let refusal = |config: &SplitConfig, people: &[Candidate]| {
        let error = config.check().and_then(|()| assign(config, Seed(1), people, 0).map(|_| ()));
        error.expect_err("refused").to_string()
    };
    let leave_one_out = with_folds(Protocol::SpeakerIndependent, &[(ANY, named("leave-one-out"))]);
    let unknown: Vec<Candidate> = people.iter().map(|one| Candidate { speaker: None, ..one.clone() }).collect();
    let text = refusal(&leave_one_out, &unknown);
    assert!(text.contains("corpus `calls`") && text.contains("30 of 30") && text.contains("`speaker`"), "{text}");
    let alone = &people[..10];
    assert!(refusal(&leave_one_out, alone).contains("no recording on the train side"));
    let many = with_folds(Protocol::SpeakerIndependent, &[("calls", Groups::Count(4))]);
    assert!(refusal(&many, &people).contains("4 folds are asked of 3 speakers of corpus `calls`"));
    let wrong = with_folds(Protocol::SpeakerIndependent, &[(ANY, named("emobox"))]);
    assert!(refusal(&wrong, &people).contains("no folds called `emobox`"));
    assert!(refusal(&with_folds(Protocol::Paper, &[(ANY, Groups::Count(2))]), &people).contains("no folds"));
    let twice = Groups::Listed(vec![vec!["s1".into()], vec!["s1".into()]]);
    assert!(refusal(&with_folds(Protocol::SpeakerIndependent, &[(ANY, twice)]), &people).contains("tested twice"));
}

#[test]
fn a_class_that_a_fold_lacks_is_said() {
    let hashes = hashes(20);
    let mut people = spoken(&hashes, "a", &["s1", "s2"]);
    people.iter_mut().take(10).filter(|one| one.class == 4).for_each(|one| one.class = 5);
    let folds = with_folds(Protocol::SpeakerIndependent, &[(ANY, named("leave-one-out"))]);
    let assigned = assign(&folds, Seed(1), &people, 0).expect("two folds");
    assert!(
        assigned.notes.iter().any(|note| note.contains("fold 0: 1 of 7 classes have no recording on the test side"))
    );
    assert!(
        assigned.notes.iter().any(|note| note.contains("fold 1: 1 of 7 classes have no recording on the train side"))
    );
}
