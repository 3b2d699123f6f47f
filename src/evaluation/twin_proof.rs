//! The slow twin of the queries, one row at a time in plain Rust, and what the counts promise.

use std::collections::BTreeSet;

use super::slices::by;
use super::*;
use crate::error::ErrorKind;
use crate::metrics::Confusion;
use crate::stages::{stage_rows, stage_table};
use crate::storage::commit::blank;
use crate::storage::fingerprint::Fingerprint;
use crate::storage::publish::{OutFile, publish};
use crate::storage::settings::Settings;
use crate::tables::manifest::Status;
use crate::tables::predictions::Predictions;
use crate::units::Seed;

pub(super) const SEVEN: [&str; 7] = ["angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"];

/// A slice as a function of one row.
type Told<'a> = (&'static str, &'a dyn Fn(&PredictionRow) -> Option<String>);

/// The slices that need no manifest.
fn today() -> [Told<'static>; 5] {
    [
        ("corpus", &|row| Some(row.corpus.clone())),
        ("speaker", &|row| row.speaker.clone()),
        ("sex", &|row| row.sex.clone()),
        ("fold", &|row| row.fold.map(|fold| fold.to_string())),
        ("copies", &|row| Some(if row.copy == 0 { "original" } else { "augmented" }.to_string())),
    ]
}

/// What [`Evaluation::count`] promises.
fn twin(rows: &[PredictionRow], slices: &[Told], classes: &[String]) -> Vec<SliceCounts> {
    let mut found = Vec::new();
    let rows: Vec<(u32, &PredictionRow)> = (0..).zip(rows).collect();
    for split in ["test", "validation", "train", "none"] {
        let is_here = |(_, row): &&(u32, &PredictionRow)| {
            row.split.as_deref().unwrap_or("none") == split && row.status == Status::Ok
        };
        let scored: Vec<_> = rows.iter().filter(is_here).copied().collect();
        let side: Vec<_> = scored.iter().filter(|(_, row)| row.emotion.is_some()).copied().collect();
        if scored.is_empty() {
            continue;
        }
        let all = twin_of(split, "all".into(), None, &side, classes);
        found.push(SliceCounts { n_scored: Some(scored.len() as u64), ..all });
        for (name, told) in slices {
            let values: BTreeSet<Option<String>> = side.iter().map(|(_, row)| told(row)).collect();
            for value in values.iter().flatten().filter(|_| values.len() > 1) {
                let own: Vec<_> = side.iter().copied().filter(|(_, row)| told(row).as_ref() == Some(value)).collect();
                found.push(twin_of(split, format!("{name}={value}"), Some(name), &own, classes));
            }
        }
    }
    found
}

fn twin_of(
    split: &str,
    slice: String,
    sliced_by: Option<&'static str>,
    rows: &[(u32, &PredictionRow)],
    classes: &[String],
) -> SliceCounts {
    let mut confusion = Confusion::new(classes.len());
    /// Labels and predictions, and the numbers of these items.
    type Own = (Vec<(usize, usize)>, Vec<u32>);
    let mut by_name: BTreeMap<String, Own> = BTreeMap::new();
    let (mut n_known, mut n_unknown) = (0, 0);
    for (number, row) in rows {
        let class = |name: &Option<String>| classes.iter().position(|class| Some(class) == name.as_ref());
        let (Some(truth), Some(said)) = (class(&row.emotion), class(&row.predicted)) else { continue };
        let name = match &row.speaker {
            Some(speaker) => format!("{speaker}\n{}", row.corpus),
            None => format!("\u{10ffff}{}", row.recording_id),
        };
        let (pairs, items) = by_name.entry(name).or_default();
        pairs.push((truth, said));
        items.push(*number);
        confusion.add(truth, said, 1);
        *(if row.speaker.is_some() { &mut n_known } else { &mut n_unknown }) += 1;
    }
    let drawn = match (n_known, n_unknown) {
        (_, 0) => "speakers",
        (0, _) => "recordings",
        _ => "speakers and recordings",
    };
    let clusters = by_name
        .into_values()
        .map(|(pairs, items)| Counted { cells: Confusion::from_pairs(classes.len(), pairs).cells(), items });
    SliceCounts {
        split: split.into(),
        slice,
        sliced_by,
        is_one_speaker: sliced_by == Some("speaker"),
        n_scored: None,
        confusion,
        clusters: clusters.collect(),
        drawn,
    }
}

/// A store with committed tables, each file of predictions by a model with classes of its own.
pub(super) struct Scored {
    pub(super) folder: tempfile::TempDir,
    pub(super) score: Commit,
    pub(super) ingest: Commit,
}

impl Scored {
    pub(super) fn of(files: &[(&[&str], &[PredictionRow])]) -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        let store = Store::new(folder.path());
        let place = folder_of::<PredictionRow>(&store);
        let written = files.iter().enumerate().map(|(number, (classes, rows))| {
            let classes: Vec<String> = classes.iter().map(|name| name.to_string()).collect();
            let predictions = Predictions { classes, rows: rows.to_vec() };
            stage_table(&store, "score", &place.join(format!("m{number}")), |out| predictions.write(out))
                .expect("written")
        });
        let score = committed(&store, "score", written.collect());
        Self { score, ingest: blank("ingest", Settings::of_revision(1), Fingerprint::of(["o"])), folder }
    }

    pub(super) fn with_manifest(mut self, rows: &[ManifestRow]) -> Self {
        let store = self.store();
        let file = stage_rows(&store, "ingest", "manifest", rows).expect("written");
        self.ingest = committed(&store, "ingest", vec![file]);
        self
    }

    pub(super) fn store(&self) -> Store {
        Store::new(self.folder.path())
    }

    pub(super) fn open(&self, slices: &[Slice]) -> Result<Evaluation> {
        Evaluation::of_slices(&self.store(), &self.score, Some(&self.ingest), &seven(), slices)
    }

    /// Without a manifest, as a store has none that scored folders alone.
    pub(super) fn alone(&self, classes: &[String]) -> Evaluation {
        Evaluation::open(&self.store(), &self.score, None, classes).unwrap_or_else(|error| panic!("{error}"))
    }

    fn count(&self, classes: &[String]) -> Vec<SliceCounts> {
        self.alone(classes).count().unwrap_or_else(|error| panic!("{error}"))
    }
}

fn committed(store: &Store, stage: &str, files: Vec<OutFile>) -> Commit {
    publish(store, stage, &files, &Default::default()).expect("published");
    let mut commit = blank(stage, Settings::of_revision(1), Fingerprint::of(["o"]));
    commit.files = files.into_iter().map(|file| file.record).collect();
    commit
}

pub(super) fn seven() -> Vec<String> {
    SEVEN.map(str::to_string).into()
}

pub(super) fn row(number: usize, corpus: &str, speaker: Option<&str>) -> PredictionRow {
    PredictionRow {
        recording_id: format!("{corpus}/{number:02}.wav"),
        corpus: corpus.into(),
        speaker: speaker.map(str::to_string),
        split: Some("test".into()),
        emotion: Some(SEVEN[number % 7].into()),
        predicted: Some(SEVEN[number % 3].into()),
        ..PredictionRow::example()
    }
}

fn counts_of(rows: &[PredictionRow]) -> Vec<SliceCounts> {
    let found = Scored::of(&[(&SEVEN, rows)]).count(&seven());
    assert_eq!(found, twin(rows, &today(), &seven()));
    found
}

fn names(counts: &[SliceCounts]) -> Vec<&str> {
    counts.iter().map(|counts| counts.slice.as_str()).collect()
}

/// Rows in which every column takes every value that it may, and some that it should not.
fn drawn(seed: Seed, n: u64) -> Vec<PredictionRow> {
    let row = |number: u64| {
        let pick = |what: u64, of: &[Option<&str>]| {
            of[seed.below(number * 16 + what, of.len() as u64) as usize].map(str::to_string)
        };
        let corpora = [Some("tess"), Some("a=b"), Some("ä\nö \u{1f600}"), Some("")];
        let speakers =
            [None, Some(""), Some("1"), Some("2\n"), Some("\u{10ffff}"), Some("null"), Some("O'Neil, \"x\"")];
        let labels = [Some("angry"), Some("sad"), Some("surprise"), Some("bored"), Some("Angry"), None];
        PredictionRow {
            // Ids come back, with other copies.
            recording_id: format!("tess/{:03}", seed.below(number * 16 + 9, n)),
            copy: seed.below(number * 16 + 1, 3) as u32,
            corpus: pick(2, &corpora).expect("never null"),
            speaker: pick(3, &speakers),
            sex: pick(4, &[None, Some("female"), Some("male"), Some("Null")]),
            split: pick(5, &[None, Some("test"), Some("train"), Some("validation"), Some("elsewhere")]),
            fold: pick(10, &[None, Some("0"), Some("3"), Some("12")]).map(|fold| fold.parse().expect("a number")),
            emotion: pick(6, &labels),
            predicted: pick(7, &labels),
            status: if seed.below(number * 16 + 8, 9) == 0 { Status::Rejected } else { Status::Ok },
            ..PredictionRow::example()
        }
    };
    (0..n).map(row).collect()
}

pub(super) fn about<'a>(classes: &'a [String], scores: &'a [Option<ItemScore>]) -> About<'a> {
    About { model_id: "m", pipeline: "p", protocol: "unsplit", classes, scores, n_resamples: 40, seed: Seed(3) }
}

#[test]
fn the_queries_count_what_the_slow_twin_counts_and_give_the_same_rows() {
    let classes = seven();
    let mut kinds = BTreeSet::new();
    for (number, n) in [0, 1, 2, 3, 5, 8, 13, 40, 200, 1_000, 3, 5, 8, 13].into_iter().enumerate() {
        let rows = drawn(Seed(number as u64), n);
        let (some, rest) = rows.split_at(rows.len() / 3);
        let opened = Scored::of(&[(&SEVEN, some), (&["angry", "sad"], rest)]).alone(&classes);
        let found = opened.count().expect("counted");
        let wanted = twin(&rows, &today(), &classes);
        assert_eq!(found, wanted, "{n} rows");
        let about = about(&classes, opened.scores());
        assert_eq!(rows_of(&found, &about), rows_of(&wanted, &about));
        for found in found {
            kinds.insert((found.split, found.slice.split('=').next().map(str::to_string), found.drawn));
        }
    }
    assert!(kinds.len() >= 4 * 4, "what was compared: {kinds:?}");
}

#[test]
fn an_unknown_speaker_and_an_unknown_class_shift_nobody_else() {
    let mut rows: Vec<PredictionRow> = (0..6).map(|number| row(number, "a", Some("s1"))).collect();
    rows.push(row(6, "a", None));
    rows.push(PredictionRow { predicted: Some("bored".into()), ..row(7, "a", Some("s2")) });
    rows.push(PredictionRow { predicted: None, ..row(7, "a", Some("s3")) });
    rows.push(row(8, "a", Some("s2")));
    let found = counts_of(&rows);
    let slices = vec!["all", "speaker=s1", "speaker=s2", "speaker=s3"];
    assert_eq!((names(&found), found[0].split.as_str()), (slices, "test"));
    let sizes: Vec<u64> = found[0].clusters.iter().map(|cluster| cluster.items.len() as u64).collect();
    // Speakers by name, then the recording; unknown classes are left out with their speakers.
    assert_eq!((found[0].confusion.total(), sizes), (8, vec![6, 1, 1]));
    assert_eq!(found[0].clusters[1], Counted { cells: vec![((8 % 7, 8 % 3), 1)], items: vec![9] });
    assert_eq!(found[0].drawn, "speakers and recordings");
}

#[test]
fn speakers_of_two_corpora_with_one_name_are_two() {
    let found = counts_of(&[row(0, "a", Some("1")), row(1, "b", Some("1")), row(2, "b", Some("2"))]);
    assert_eq!((found[0].clusters.len(), found[0].drawn), (3, "speakers"));
    assert_eq!(names(&found), ["all", "corpus=a", "corpus=b", "speaker=1", "speaker=2"]);
    let alone = counts_of(&[row(0, "a", None), PredictionRow { copy: 0, ..row(1, "a", None) }]);
    assert_eq!((alone[0].drawn, alone[0].clusters.len()), ("recordings", 2));
}

#[test]
fn one_value_alone_is_no_slice_and_items_without_a_value_are_in_none() {
    let of_sex = |number, sex: Option<&str>| PredictionRow { sex: sex.map(str::to_string), ..row(number, "a", None) };
    assert_eq!(names(&counts_of(&[of_sex(0, Some("female")), of_sex(1, Some("female"))])), ["all"]);
    assert_eq!(names(&counts_of(&[of_sex(0, None), of_sex(1, None)])), ["all"]);
    let found = counts_of(&[of_sex(0, Some("male")), of_sex(1, None), of_sex(2, Some("female"))]);
    assert_eq!(names(&found), ["all", "sex=female", "sex=male"]);
    assert!(found[1..].iter().all(|slice| slice.confusion.total() == 1));
    let found = counts_of(&[of_sex(0, Some("female")), of_sex(1, None)]);
    assert_eq!(names(&found), ["all", "sex=female"], "no value is a value other than this");
}

#[test]
fn sides_come_in_their_order_and_slices_in_that_of_the_list() {
    let on = |number, split: Option<&str>, copy| PredictionRow {
        split: split.map(str::to_string),
        copy,
        ..row(number, ["z", "b=c", "ä\n"][number % 3], Some("1"))
    };
    let splits = [None, Some("train"), Some("test"), Some("validation"), Some("sideways")];
    let rows: Vec<_> = (0..30).map(|number| on(number, splits[number % 5], (number / 15) as u32)).collect();
    let found = counts_of(&rows);
    let sides: Vec<&str> = found.chunk_by(|a, b| a.split == b.split).map(|side| side[0].split.as_str()).collect();
    assert_eq!(sides, ["test", "validation", "train", "none"]);
    let slices = ["all", "corpus=b=c", "corpus=z", "corpus=ä\n", "copies=augmented", "copies=original"];
    assert!(found.chunk_by(|a, b| a.split == b.split).all(|side| names(side) == slices), "{:?}", names(&found));
}

/// What somebody would add.
const MORE: &[Slice] = &[
    by("sex", || col("sex")),
    by("age", || col("age")),
    by("repetition", || col("repetition")),
    by("seconds", || when(col("duration_s").lt(lit(2.0))).then(lit("short")).otherwise(lit("long"))),
];

/// Three recordings of known age and length, each with a copy; one that the manifest does not know.
pub(super) fn of_known_age() -> (Vec<PredictionRow>, Vec<ManifestRow>) {
    let rows: Vec<PredictionRow> =
        (0..8).map(|number| PredictionRow { copy: number / 4, ..row(number as usize % 4, "a", Some("1")) }).collect();
    let manifest = (0..3).map(|number| ManifestRow {
        recording_id: rows[number].recording_id.clone(),
        sex: Some("not asked here".into()),
        age: [Some("old"), None, Some("young")][number].map(str::to_string),
        repetition: Some(number as u32 + 1),
        duration_s: Some(1.0 + number as f64),
        ..ManifestRow::example()
    });
    let manifest = manifest.collect();
    (rows, manifest)
}

#[test]
fn another_slice_is_one_line_also_over_what_only_the_manifest_knows() {
    let (rows, manifest) = of_known_age();
    let scored = Scored::of(&[(&SEVEN, &rows)]).with_manifest(&manifest);
    let found = scored.open(MORE).and_then(|opened| opened.count()).unwrap_or_else(|error| panic!("{error}"));
    let known = |row: &PredictionRow| manifest.iter().find(|known| known.recording_id == row.recording_id).cloned();
    let told: [Told; 4] = [
        ("sex", &|row| row.sex.clone()),
        ("age", &|row| known(row)?.age),
        ("repetition", &|row| Some(known(row)?.repetition?.to_string())),
        ("seconds", &|row| {
            let is_short = known(row).and_then(|known| known.duration_s).is_some_and(|seconds| seconds < 2.0);
            Some(if is_short { "short" } else { "long" }.into())
        }),
    ];
    assert_eq!(found, twin(&rows, &told, &seven()));
    let slices = [
        "all",
        "age=old",
        "age=young",
        "repetition=1",
        "repetition=2",
        "repetition=3",
        "seconds=long",
        "seconds=short",
    ];
    assert_eq!(names(&found), slices);
    assert_eq!(found[1].confusion.total(), 2, "a recording and its copy");
    assert_eq!(manifest_columns(MORE), ["age", "duration_s", "repetition"].map(str::to_string).into());
    let alone = Evaluation::of_slices(&scored.store(), &scored.score, None, &seven(), MORE).expect("opened");
    assert_eq!(names(&alone.count().expect("counted")), ["all"], "slices that only the manifest knows are left out");
}

#[test]
fn a_slice_that_cannot_be_made_is_a_bug_with_the_name_of_its_column() {
    const LACKING: &[Slice] = &[by("snr", || col("snr_db"))];
    let (rows, manifest) = of_known_age();
    let scored = Scored::of(&[(&SEVEN, &rows)]).with_manifest(&manifest);
    let error = scored.open(LACKING).err().expect("no such column");
    assert!(error.to_string().contains("`snr_db`, which `manifest` does not have"), "{error}");
    // A recording that the manifest knows twice would count twice.
    let twice = [manifest.clone(), manifest].concat();
    let scored = Scored::of(&[(&SEVEN, &rows)]).with_manifest(&twice);
    let error = scored.open(MORE).and_then(|opened| opened.count()).expect_err("not unique");
    assert_eq!(error.kind(), ErrorKind::Bug, "{error}");
}
