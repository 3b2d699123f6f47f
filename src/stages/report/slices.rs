//! Reads predictions back with Polars and cuts them into the slices that metrics are told for.

use std::io::Cursor;

use polars::prelude::*;

use crate::error::{Error, Result};
use crate::storage::commit::Commit;
use crate::storage::layout::Store;
use crate::tables::predictions::PredictionRow;
use crate::tables::{TableFile, folder_of};

/// Labelled, scored items of one side and one slice.
pub struct Slice {
    /// `train`, `validation`, `test`, or `none`.
    pub split: String,
    /// `all`, or `<column>=<value>`.
    pub name: String,
    /// Positions of the class of the label and of the predicted class, of each item.
    pub pairs: Vec<(usize, usize)>,
    /// What each item is drawn with: all of its speaker, or, where no speaker is known, of its recording.
    pub groups: Vec<String>,
    /// What the bootstrap draws: `speakers`, `recordings`, or both where some speakers are unknown.
    pub drawn: &'static str,
}

/// Columns whose values are slices of their own.
const SLICED_BY: [&str; 3] = ["corpus", "sex", "copies"];

/// Every slice of the predictions that `score` committed, sides in the order test, validation, train, none.
///
/// Errors: kind `Input` for predictions that are gone or damaged, `Unreadable` or `Machine` where they cannot be read.
pub fn slices(store: &Store, score: &Commit, classes: &[String]) -> Result<Vec<Slice>> {
    let failed = |error: PolarsError| {
        Error::input("the predictions cannot be read")
            .at(folder_of::<PredictionRow>(store))
            .because(error.to_string())
            .hint("run `sermill score` again")
    };
    let mut frames = Vec::new();
    for record in &score.files {
        let bytes = TableFile::committed(store, record, "score")?.bytes();
        frames.push(ParquetReader::new(Cursor::new(bytes)).finish().map_err(failed)?.lazy());
    }
    let labelled = concat(frames, UnionArgs::default())
        .map_err(failed)?
        .filter(col("status").eq(lit("ok")).and(col("emotion").is_not_null()))
        .with_columns([
            col("split").fill_null(lit("none")),
            when(col("copy").eq(lit(0))).then(lit("original")).otherwise(lit("augmented")).alias("copies"),
        ])
        .sort(["recording_id", "copy"], SortMultipleOptions::default())
        .select(["split", "corpus", "sex", "copies", "speaker", "recording_id", "emotion", "predicted"].map(col))
        .collect()
        .map_err(failed)?;
    let mut slices = Vec::new();
    for split in ["test", "validation", "train", "none"] {
        let side = labelled.clone().lazy().filter(col("split").eq(lit(split))).collect().map_err(failed)?;
        if side.height() == 0 {
            continue;
        }
        slices.push(slice(split, "all".into(), &side, classes).map_err(failed)?);
        for column in SLICED_BY {
            let values =
                side.column(column).and_then(|values| values.unique()?.sort(SortOptions::default())).map_err(failed)?;
            let values = values.str().map_err(failed)?;
            if values.len() < 2 {
                // One value alone is the slice `all` again.
                continue;
            }
            for value in values.iter().flatten() {
                let part = side.clone().lazy().filter(col(column).eq(lit(value))).collect().map_err(failed)?;
                slices.push(slice(split, format!("{column}={value}"), &part, classes).map_err(failed)?);
            }
        }
    }
    Ok(slices)
}

fn slice(split: &str, name: String, rows: &DataFrame, classes: &[String]) -> PolarsResult<Slice> {
    let texts = |name: &str| Ok::<_, PolarsError>(rows.column(name)?.str()?.iter());
    let names = texts("corpus")?.zip(texts("speaker")?).zip(texts("recording_id")?);
    let mut slice = Slice { split: split.into(), name, pairs: Vec::new(), groups: Vec::new(), drawn: "speakers" };
    let (mut n_known, mut n_unknown) = (0, 0);
    for ((truth, said), ((corpus, speaker), recording_id)) in texts("emotion")?.zip(texts("predicted")?).zip(names) {
        let class = |name: Option<&str>| classes.iter().position(|class| Some(class.as_str()) == name);
        let (Some(truth), Some(said)) = (class(truth), class(said)) else { continue };
        let (corpus, recording_id) = (corpus.unwrap_or_default(), recording_id.unwrap_or_default());
        slice.pairs.push((truth, said));
        // Names of speakers are those of their corpus.
        slice.groups.push(match speaker {
            Some(speaker) => format!("{speaker}\n{corpus}"),
            None => format!("\u{10ffff}{recording_id}"),
        });
        *(if speaker.is_some() { &mut n_known } else { &mut n_unknown }) += 1;
    }
    slice.drawn = match (n_known, n_unknown) {
        (_, 0) => "speakers",
        (0, _) => "recordings",
        _ => "speakers and recordings",
    };
    Ok(slice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stages::stage_rows;
    use crate::storage::commit::blank;
    use crate::storage::fingerprint::Fingerprint;
    use crate::storage::publish::publish;
    use crate::storage::settings::Settings;

    const SEVEN: [&str; 7] = ["angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"];

    fn row(number: usize, corpus: &str, speaker: Option<&str>) -> PredictionRow {
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

    fn slices_of(rows: &[PredictionRow]) -> Vec<Slice> {
        let folder = tempfile::tempdir().expect("temporary folder");
        let store = Store::new(folder.path());
        let file = stage_rows(&store, "score", "m", rows).expect("written");
        publish(&store, "score", std::slice::from_ref(&file), &Default::default()).expect("published");
        let mut commit = blank("score", Settings::of_revision(1), Fingerprint::of(["o"]));
        commit.files = vec![file.record];
        slices(&store, &commit, &SEVEN.map(str::to_string)).expect("slices")
    }

    #[test]
    fn an_unknown_speaker_and_an_unknown_class_shift_nobody_else() {
        let mut rows: Vec<PredictionRow> = (0..6).map(|number| row(number, "a", Some("s1"))).collect();
        rows.push(row(6, "a", None));
        rows.push(PredictionRow { predicted: Some("bored".into()), ..row(7, "a", Some("s2")) });
        rows.push(row(8, "a", Some("s2")));
        let slices = slices_of(&rows);
        assert_eq!((slices.len(), slices[0].name.as_str(), slices[0].split.as_str()), (1, "all", "test"));
        let slice = &slices[0];
        assert_eq!((slice.pairs.len(), slice.groups.len()), (8, 8), "the unknown class is left out with its speaker");
        assert!(slice.groups[..6].iter().all(|group| group == "s1\na"));
        assert!(slice.groups[6].ends_with("a/06.wav") && slice.groups[7] == "s2\na");
        assert_eq!(slice.drawn, "speakers and recordings");
    }

    #[test]
    fn speakers_of_two_corpora_with_one_name_are_two() {
        let rows = [row(0, "a", Some("1")), row(1, "b", Some("1")), row(2, "b", Some("2"))];
        let slices = slices_of(&rows);
        let all = slices.iter().find(|slice| slice.name == "all").expect("all");
        assert_eq!(all.groups.iter().collect::<std::collections::BTreeSet<_>>().len(), 3);
        assert_eq!(all.drawn, "speakers");
        let names: Vec<&str> = slices.iter().map(|slice| slice.name.as_str()).collect();
        assert_eq!(names, ["all", "corpus=a", "corpus=b"]);
        assert_eq!(slices_of(&[row(0, "a", None)])[0].drawn, "recordings");
    }
}
