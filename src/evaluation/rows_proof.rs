//! What rows say where there is little to say: no labels, no probabilities, empty slices, classes that are missing, few speakers; and
//! that each slice is the one that its name says.

use super::twin_proof::{SEVEN, Scored, about, row, seven};
use super::*;
use crate::tables::manifest::Status;
use crate::tables::metrics::MetricRow;

/// An item of a speaker with a label, scored with `sure` for one class and the rest in equal parts.
fn item(number: usize, speaker: &str, label: usize, said: usize, sure: f32) -> PredictionRow {
    let mut probabilities = [(1.0 - sure) / 6.0; 7];
    probabilities[said] = sure;
    let mut item = PredictionRow { emotion: Some(SEVEN[label].into()), ..row(number, "a", Some(speaker)) };
    item.recording_id = format!("a/{number:05}.wav");
    item.set_probabilities(&seven(), &probabilities);
    item
}

/// Eight speakers with twenty items each, four of five right, of some speakers more than of others, all at .7.
fn spoken() -> Vec<PredictionRow> {
    let n_wrong = [1, 2, 3, 4, 4, 5, 6, 7];
    let said = |i: usize| if i / 8 < n_wrong[i % 8] { (i + 1) % 7 } else { i % 7 };
    (0..160).map(|i| item(i, &format!("s{}", i % 8), i % 7, said(i), 0.7)).collect()
}

fn rows_from(rows: &[PredictionRow]) -> Rows {
    rows_in(&Scored::of(&[(&SEVEN, rows)]).alone(&seven()))
}

fn rows_in(opened: &Evaluation) -> Rows {
    let classes = seven();
    let rows = rows_of(&opened.count().expect("counted"), &about(&classes, opened.scores()));
    for row in &rows.metrics {
        let numbers = [row.value, row.low, row.high];
        assert!(numbers.iter().flatten().all(|number| number.is_finite()), "{row:?}");
        assert_eq!(row.low.is_some(), row.high.is_some());
        assert!(row.low.is_none() || row.low < row.high, "{row:?}");
    }
    rows
}

fn find<'a>(rows: &'a Rows, slice: &str, metric: &str) -> &'a MetricRow {
    let found = rows.metrics.iter().find(|row| row.slice == slice && row.metric == metric && row.class == "all");
    found.unwrap_or_else(|| panic!("no {metric} of {slice}"))
}

#[test]
fn every_number_stands_beside_its_interval_its_majority_and_its_chance() {
    let rows = rows_from(&spoken());
    for metric in ["accuracy", "uar", "macro_f1", "ece", "brier", "log_loss"] {
        let row = find(&rows, "all", metric);
        assert_eq!((row.interval.as_deref(), row.support), (Some("speakers"), 160), "{metric}");
    }
    let value = |metric: &str| find(&rows, "all", metric).value.expect("a value");
    let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-6, "{a} {b}");
    close(value("accuracy"), 0.8);
    close(value("ece"), 0.1);
    close(value("majority_accuracy"), 23.0 / 160.0);
    close(value("chance_uar"), 1.0 / 7.0);
    close(value("labelled"), 1.0);
    assert!(value("ece_floor") > 0.0 && find(&rows, "all", "ece_floor").interval.is_none());
    close(value("brier"), 0.8 * (0.09 + 6.0 * 0.0025) + 0.2 * (0.49 + 0.95f64.powi(2) + 5.0 * 0.0025));
    close(value("log_loss"), -0.8 * 0.7f64.ln() - 0.2 * 0.05f64.ln());
    let recall = rows.metrics.iter().find(|row| row.metric == "recall" && row.class == "angry").expect("a class");
    assert_eq!(recall.interval.as_deref(), Some("speakers"));
    // Ten bins, and all items in the lowest: their confidences are equal.
    let n_items: Vec<u64> = rows.reliability.iter().map(|row| row.n_items).collect();
    assert_eq!(n_items, [160, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!((rows.reliability[1].accuracy, rows.reliability[1].interval.clone()), (None, None));
    // As a float32, .7 lies below .7.
    assert_eq!(rows.histograms, [("test".to_string(), std::array::from_fn(|range| if range == 13 { 160 } else { 0 }))]);
}

#[test]
fn two_speakers_have_a_value_and_no_interval_and_the_row_says_why() {
    let two: Vec<_> = spoken().into_iter().filter(|row| matches!(row.speaker.as_deref(), Some("s1" | "s2"))).collect();
    let rows = rows_from(&two);
    for metric in ["accuracy", "uar", "macro_f1", "ece", "brier", "log_loss"] {
        let row = find(&rows, "all", metric);
        assert_eq!((row.interval.as_deref(), row.low), (Some("too few speakers"), None), "{metric}");
        assert!(row.value.is_some());
    }
    let unknown: Vec<_> = spoken().into_iter().map(|row| PredictionRow { speaker: None, ..row }).collect();
    assert_eq!(find(&rows_from(&unknown), "all", "uar").interval.as_deref(), Some("recordings"));
    assert_eq!(find(&rows_from(&unknown[..4]), "all", "uar").interval.as_deref(), Some("too few recordings"));
}

#[test]
fn predictions_without_labels_are_said_to_have_none() {
    let rows: Vec<_> = spoken().into_iter().map(|row| PredictionRow { emotion: None, ..row }).collect();
    let rows = rows_from(&rows);
    let labelled = find(&rows, "all", "labelled");
    assert_eq!((labelled.value, labelled.support), (Some(0.0), 160));
    for metric in ["accuracy", "uar", "macro_f1", "majority_accuracy", "chance_uar", "ece", "ece_floor", "brier"] {
        let row = find(&rows, "all", metric);
        assert_eq!((row.value, row.interval.clone(), row.support), (None, None, 0), "{metric}");
    }
    assert!(rows.metrics.iter().all(|row| row.slice == "all") && rows.reliability.is_empty());
    // Some labels that the model does not know, and some recordings that could not be scored.
    let mut some = spoken();
    some[..40].iter_mut().for_each(|row| row.emotion = Some("bored".into()));
    some[40..80].iter_mut().for_each(|row| row.emotion = None);
    some[80..90].iter_mut().for_each(|row| row.status = Status::Rejected);
    let rows = rows_from(&some);
    let labelled = find(&rows, "all", "labelled");
    assert_eq!((labelled.value, labelled.support), (Some(70.0 / 150.0), 150));
    assert_eq!(find(&rows, "all", "uar").support, 70);
    assert!(rows_from(&[]).metrics.is_empty(), "nothing was scored");
}

#[test]
fn an_empty_slice_and_a_class_that_is_missing_are_said() {
    let mut items = spoken();
    items.retain(|row| row.emotion.as_deref() != Some("fear"));
    let n = items.len() as u64;
    items.push(PredictionRow { predicted: Some("unheard of".into()), ..item(900, "s9", 1, 1, 0.7) });
    let rows = rows_from(&items);
    let row = find(&rows, "speaker=s9", "uar");
    assert_eq!((row.value, row.support, row.n_classes), (None, 0, Some(0)));
    assert_eq!(find(&rows, "speaker=s9", "chance_uar").value, None);
    assert_eq!((find(&rows, "all", "uar").n_classes, find(&rows, "all", "uar").support), (Some(6), n));
    assert_eq!(find(&rows, "all", "chance_uar").value, Some(1.0 / 6.0));
    let fear =
        |metric: &str| rows.metrics.iter().find(|row| row.metric == metric && row.class == "fear").expect("a row");
    assert_eq!((fear("recall").value, fear("recall").interval.clone(), fear("recall").support), (None, None, 0));
    assert_eq!(fear("precision").value, Some(0.0), "it was predicted all the same");
}

#[test]
fn items_without_probabilities_count_where_none_are_needed() {
    let mut items = spoken();
    items[..50].iter_mut().for_each(|row| row.probabilities.clear());
    let rows = rows_from(&items);
    assert_eq!((find(&rows, "all", "uar").support, find(&rows, "all", "ece").support), (160, 110));
    // A file of a model with other classes has none of this model's.
    let other = row(7, "b", Some("s1"));
    let opened = Scored::of(&[(&SEVEN, &spoken()), (&["angry", "sad"], &[other])]).alone(&seven());
    let rows = rows_in(&opened);
    assert_eq!((find(&rows, "all", "uar").support, find(&rows, "all", "ece").support), (161, 160));
    // A probability that is no number makes no number of the others no number.
    let mut items = spoken();
    items[3].probabilities[2] = f32::NAN;
    assert_eq!(find(&rows_from(&items), "all", "log_loss").support, 159);
}

#[test]
fn the_gap_is_between_the_named_groups_on_the_classes_that_both_have() {
    let mut items = spoken();
    for row in &mut items {
        let is_male = row.speaker.as_deref() < Some("s4");
        row.sex = Some(if is_male { "male" } else { "female" }.into());
        // Women are always right, and alone are surprised.
        if !is_male {
            row.predicted = row.emotion.clone();
        }
    }
    items.retain(|row| row.sex.as_deref() == Some("female") || row.emotion.as_deref() != Some("surprise"));
    let rows = rows_from(&items);
    let gap = find(&rows, "sex", "uar_gap");
    let male = find(&rows, "sex=male", "uar");
    assert_eq!((gap.groups.as_deref(), gap.n_classes), (Some("female over male"), Some(6)));
    assert!((gap.value.expect("a gap") - (1.0 - male.value.expect("a UAR"))).abs() < 1e-12);
    assert_eq!((gap.low, gap.interval.clone()), (None, None));
    assert!(find(&rows, "speaker", "uar_gap").groups.as_deref().is_some_and(|groups| groups.starts_with("s4 over ")));
    // A group of few items, or of one speaker, is compared with nobody.
    items.truncate(30);
    let few = rows_from(&items);
    let gap = find(&few, "sex", "uar_gap");
    assert_eq!((gap.value, gap.groups.clone(), gap.support), (None, None, 0));
}

#[test]
fn slices_over_the_manifest_say_decades_ranges_and_what_the_corpus_says() {
    let items = spoken();
    let manifest: Vec<ManifestRow> = items
        .iter()
        .enumerate()
        .map(|(i, item)| ManifestRow {
            recording_id: item.recording_id.clone(),
            age: [Some("31"), Some("9.5"), Some("elderly"), Some("20s"), None, Some("NaN"), Some("1e99")][i % 7]
                .map(str::to_string),
            language: Some(["de", "en"][i % 2].into()),
            intensity: (i % 3 > 0).then(|| ["", "normal", "strong"][i % 3].into()),
            duration_s: [Some(0.99), Some(1.0), Some(6.0), None, Some(f64::NAN), Some(2.5)][i % 6],
            rms_dbfs: [Some(-31.0), Some(-20.0), Some(f64::NEG_INFINITY), Some(-55.0)][i % 4],
            ..ManifestRow::example()
        })
        .collect();
    let scored = Scored::of(&[(&SEVEN, &items)]).with_manifest(&manifest);
    let rows = rows_in(&scored.open(SLICES).expect("opened"));
    let n = |slice: &str| find(&rows, slice, "accuracy").support as usize;
    let mut slices: Vec<&str> =
        rows.metrics.iter().filter(|row| row.metric == "accuracy").map(|row| row.slice.as_str()).collect();
    slices.retain(|slice| !slice.starts_with("speaker"));
    let wanted = [
        "all",
        "age=0s",
        "age=1e99",
        "age=20s",
        "age=30s",
        "age=NaN",
        "age=elderly",
        "language=de",
        "language=en",
        "intensity=normal",
        "intensity=strong",
        "duration_s=1 to 2",
        "duration_s=2 to 3",
        "duration_s=below 1",
        "duration_s=from 6",
        "rms_dbfs=-40 to -30",
        "rms_dbfs=below -40",
        "rms_dbfs=from -20",
    ];
    assert_eq!(slices, wanted);
    let count = |of: &dyn Fn(usize) -> bool| (0..160).filter(|&i| of(i)).count();
    assert_eq!(n("age=30s"), count(&|i| i % 7 == 0));
    assert_eq!(n("age=0s"), count(&|i| i % 7 == 1));
    assert_eq!(n("duration_s=1 to 2"), count(&|i| i % 6 == 1), "an edge belongs to the range above it");
    assert_eq!(n("duration_s=below 1"), count(&|i| i % 6 == 0));
    assert_eq!(n("rms_dbfs=from -20"), count(&|i| i % 4 == 1));
    // Speakers have numbers of their own, and no rows by class.
    let of_speaker = rows.metrics.iter().filter(|row| row.slice == "speaker=s1").collect::<Vec<_>>();
    assert!(of_speaker.len() == 9 && of_speaker.iter().all(|row| row.class == "all"));
    assert!(rows.confusions.iter().all(|row| !row.slice.starts_with("speaker")));
}

#[test]
fn scores_of_all_folds_are_pooled_and_each_fold_is_a_slice() {
    let mut items = spoken();
    let whole = rows_from(&items);
    items.iter_mut().enumerate().for_each(|(i, row)| row.fold = Some((i % 8 / 2) as u32));
    let rows = rows_from(&items);
    for metric in ["uar", "accuracy", "ece", "log_loss"] {
        assert_eq!(find(&rows, "all", metric), find(&whole, "all", metric));
    }
    assert_eq!((find(&rows, "fold=0", "uar").support, find(&rows, "fold=3", "uar").support), (40, 40));
    assert_eq!(find(&rows, "fold", "uar_gap").groups.as_deref(), Some("0 over 3"));
}
