//! What recipes are accepted, and what is laid over them.

use super::*;
use crate::augment::mixup::Mixup;
use crate::augment::spec_augment::SpecAugment;

const PAPER: &str = include_str!("../pipelines/paper.toml");

#[test]
fn every_shipped_pipeline_is_a_valid_recipe() {
    for (name, text) in [
        ("demo", include_str!("../pipelines/demo.toml")),
        ("paper", PAPER),
        ("source-disjoint", include_str!("../pipelines/source-disjoint.toml")),
        ("nightly", include_str!("../pipelines/nightly.toml")),
        ("augmented", include_str!("../pipelines/augmented.toml")),
        ("full-rank-16k", include_str!("../pipelines/full-rank-16k.toml")),
    ] {
        let pipeline = Pipeline::parse(text, &[]).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(pipeline.pipeline.name, name);
    }
}

#[test]
fn the_paper_pipeline_holds_the_paper_network() {
    let pipeline = Pipeline::parse(PAPER, &[]).expect("paper");
    assert_eq!(pipeline.network().expect("network"), NetworkSpec::paper(128, 508));
    assert_eq!(pipeline.split.monitored(), Some(Split::Test));
}

#[test]
fn unknown_keys_are_refused_by_name() {
    let error = Pipeline::parse(&PAPER.replace("momentum = 0.8", "momentun = 0.8"), &[]).expect_err("a slip");
    assert!(error.to_string().contains("momentun"), "{error}");
    assert_eq!(error.kind().exit_code(), 2);
}

#[test]
fn overrides_change_known_keys_and_refuse_others() {
    let set = |item: &str| Pipeline::parse(PAPER, &[item.to_string()]);
    assert_eq!(set("train.epochs=5").expect("number").train.epochs, 5);
    assert_eq!(set("score.device=cuda:1").expect("word").score.device, "cuda:1");
    assert_eq!(set("score.splits=[\"test\"]").expect("list").score.splits, [Split::Test]);
    for wrong in ["train.epoch=5", "trains.epochs=5", "train.epochs", "train.epochs=many", "train.epochs=0"] {
        assert!(set(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn what_a_recording_may_take_is_a_setting_that_older_recipes_need_not_name() {
    let older: String =
        PAPER.lines().filter(|line| !line.starts_with("max_recording_mb")).map(|line| format!("{line}\n")).collect();
    assert_ne!(older, PAPER, "the shipped recipes name it");
    assert_eq!(Pipeline::parse(&older, &[]).expect("older"), Pipeline::parse(PAPER, &[]).expect("newer"));
    let set = |text: &str, value: &str| Pipeline::parse(text, &[format!("ingest.max_recording_mb={value}")]);
    assert_eq!(set(&older, "512").expect("more").recording_limit(), Bytes(512_000_000));
    assert!(set(PAPER, "0").is_err() && set(PAPER, "-1").is_err() && set(PAPER, "\"1GB\"").is_err());
}

#[test]
fn names_that_become_names_of_files_are_plain() {
    let corpus = |name: &str| {
        let item = format!("ingest.corpus=[{{kind=\"tess\",name=\"{name}\",root=\"tess\"}}]");
        Pipeline::parse(PAPER, &[item]).map(|_| ()).map_err(|error| error.to_string())
    };
    let pipeline = |name: &str| Pipeline::parse(PAPER, &[format!("pipeline.name=\"{name}\"")]).is_ok();
    for name in ["tess", "TESS_2.v1", "a-b", &"x".repeat(60)] {
        assert_eq!(corpus(name), Ok(()), "{name}");
    }
    for name in ["", "a/b", "..", ".a", "a b", "\u{e4}", &"x".repeat(61)] {
        assert!(corpus(name).is_err_and(|error| error.contains("[[ingest.corpus]] name")), "{name}");
        assert!(!pipeline(name), "{name}");
    }
    assert!(pipeline("full-rank-16k") && pipeline(&"x".repeat(60)) && !pipeline("Paper"));
}

#[test]
fn a_known_profile_with_other_numbers_is_refused() {
    let error = Pipeline::parse(PAPER, &["features.front_end.hop=64".into()]).expect_err("not the paper's hop");
    assert!(error.to_string().contains("profile"), "{error}");
    Pipeline::parse(PAPER, &["features.front_end.hop=64".into(), "features.profile=mine".into()]).expect("own name");
}

#[test]
fn what_the_front_end_hears_may_be_set_and_older_recipes_need_not_name_it() {
    let set = |items: &[&str]| {
        let own = items.iter().map(|item| format!("features.front_end.{item}"));
        Pipeline::parse(PAPER, &own.chain(["features.profile=mine".to_string()]).collect::<Vec<_>>())
    };
    let older = Pipeline::parse(PAPER, &[]).expect("paper");
    let named = set(&["start=offset", "pad=zeros", "band_mean=none"]).expect("what there was before");
    assert_eq!(named.features.front_end, older.features.front_end);
    let speech = "start={speech={threshold_db=-35.0,margin_s=0.1,frame_s=0.02}}";
    let heard = set(&[speech, "offset_s=0.0", "pad=repeat", "band_mean=recording"]).expect("heard");
    assert_ne!(heard.features.front_end, older.features.front_end);
    for (items, words) in [
        (&[speech][..], "offset_s = 0.5: must be 0 where `start` looks for the speech"),
        (&["start=speech"], "wrong recipe"),
        (&["start={speech={threshold_db=-35.0}}", "offset_s=0.0"], "missing field `margin_s`"),
        (
            &["start={speech={threshold_db=3.0,margin_s=0.1,frame_s=0.02}}", "offset_s=0.0"],
            "threshold_db = 3: must be from",
        ),
        (&["start={speech={threshold_db=-40.0,margin_s=-1.0,frame_s=0.02}}", "offset_s=0.0"], "margin_s = -1: must be"),
        (
            &["start={speech={threshold_db=-40.0,margin_s=0.1,frame_s=0.0}}", "offset_s=0.0"],
            "frame_s = 0: must be from",
        ),
        (&["pad=wrap"], "wrong recipe"),
        (&["band_mean=all"], "wrong recipe"),
    ] {
        let error = set(items).expect_err(words);
        assert!(error.to_string().contains(words), "{items:?}: {error}");
        assert_eq!(error.kind().exit_code(), 2);
    }
}

#[test]
fn fresh_copies_are_not_stored_and_protocol_paper_has_none() {
    let set = |text: &str, item: &str| Pipeline::parse(text, &[item.to_string()]);
    let stored = set(PAPER, "augment.when=features").expect("stored");
    assert_eq!((stored.stored_copies(), stored.fresh_copies()), (1, 0));
    let error = set(PAPER, "augment.when=epoch").expect_err("paper");
    assert!(error.to_string().contains("protocol `paper`"), "{error}");
    let text = include_str!("../pipelines/source-disjoint.toml");
    let fresh = set(text, "augment.when=epoch").expect("fresh");
    assert_eq!((fresh.stored_copies(), fresh.fresh_copies()), (0, 1));
}

#[test]
fn only_the_augmented_pipeline_masks_and_none_but_it_draws_afresh() {
    for text in [
        PAPER,
        include_str!("../pipelines/demo.toml"),
        include_str!("../pipelines/source-disjoint.toml"),
        include_str!("../pipelines/nightly.toml"),
        include_str!("../pipelines/full-rank-16k.toml"),
    ] {
        let augment = Pipeline::parse(text, &[]).expect("valid").augment;
        assert_eq!(augment, AugmentConfig { when: When::Features, spec_augment: SpecAugment::OFF, mixup: Mixup(0.0) });
    }
}

#[test]
fn an_augmentation_may_be_set_from_the_command_line() {
    let set = |item: &str| Pipeline::parse(PAPER, &[item.to_string()]);
    set("features.augmentations=[\"gain\", { name = \"pink-noise\", snr_db = [5, 20] }]").expect("two");
    for (item, words) in [
        ("features.augmentations=[\"pink\"]", "`pink` is not known"),
        ("features.augmentations=[{ name = \"pink-noise\", level = 3 }]", "has no `level`"),
        ("features.augmentations=[3]", "an augmentation is its name, or a table"),
        ("augment.spec_augment.max_time=509", "must be at most 508"),
    ] {
        let error = set(item).expect_err(item);
        assert!(error.to_string().contains(words), "{item}: {error}");
    }
}

#[test]
fn numbers_with_which_no_training_ends_are_refused_with_value_and_limit() {
    for (item, words) in [
        ("train.patience=0", "[train] patience = 0: must be at least 1"),
        ("train.learning_rate=0.0", "[train] learning_rate = 0: must be above 0"),
        ("train.learning_rate=nan", "[train] learning_rate = NaN"),
        ("train.learning_rate=inf", "[train] learning_rate = inf"),
        ("train.momentum=1.0", "[train] momentum = 1"),
        ("train.momentum=nan", "[train] momentum = NaN"),
        ("train.decay=-1e-6", "[train] decay = -0.000001"),
        ("train.network.dropout=1.0", "[train.network] dropout = 1"),
        ("train.network.batch_norm_epsilon=0.0", "[train.network] batch_norm_epsilon = 0"),
        ("train.network.batch_norm_momentum=1.5", "[train.network] batch_norm_momentum = 1.5"),
    ] {
        let error = Pipeline::parse(PAPER, &[item.to_string()]).expect_err(item);
        assert!(error.to_string().starts_with(words), "{item}: {error}");
        assert_eq!(error.kind().exit_code(), 2);
    }
}

#[test]
fn a_label_set_is_named_or_spelled_out_and_old_recipes_mean_the_seven() {
    let set = |item: &str| Pipeline::parse(PAPER, &[item.to_string()]);
    assert_eq!(Pipeline::parse(PAPER, &[]).expect("paper").labels, Labels::shipped("seven").expect("shipped"));
    let old = PAPER.replace("[labels]\nset = \"seven\" ", "# ");
    assert_ne!(old, PAPER);
    assert_eq!(Pipeline::parse(&old, &[]).expect("without labels").labels.set, "seven");
    let eight = set("labels.set=ravdess-8").expect("shipped");
    assert_eq!((eight.labels.n_classes(), eight.network().expect("a network").n_classes), (8, 8));
    let own = set("labels={set=\"own\",classes=[\"good\",\"bad\"],words={sad=\"bad\"}}").expect("own");
    assert_eq!(own.labels.name_of(Some("sad")), Some("bad"));
    for (item, words) in [
        ("labels.set=nine", "`nine` is no label set, known are seven"),
        ("labels={set=\"own\"}", "`own` is no label set"),
        ("labels={set=\"own\",classes=[\"good\"]}", "1 names, wanted are 2 to 64"),
        ("labels={set=\"seven\",classes=[\"good\",\"bad\"]}", "others than that set's"),
    ] {
        let error = set(item).expect_err(item);
        assert!(error.to_string().contains(words), "{item}: {error}");
    }
}
