//! Reads predictions back with Polars and cuts them into the slices that metrics are told for.

use std::path::PathBuf;

use polars::prelude::*;

use crate::emotion::Emotion;
use crate::error::{Error, Result};

/// Labelled, scored items of one side and one slice.
pub struct Slice {
    /// `train`, `validation`, `test`, or `none`.
    pub split: String,
    /// `all`, or `<column>=<value>`.
    pub name: String,
    /// Label and prediction of each item.
    pub pairs: Vec<(Emotion, Emotion)>,
    /// Speaker of each item; empty when some have none.
    pub speakers: Vec<String>,
}

/// Columns whose values are slices of their own.
const SLICED_BY: [&str; 3] = ["corpus", "sex", "copies"];

/// Every slice of the predictions in `files`, sides in the order test, validation, train, none.
pub fn slices(files: &[PathBuf]) -> Result<Vec<Slice>> {
    let failed = |error: PolarsError| Error::input("the predictions cannot be read").because(error.to_string());
    let mut frames = Vec::new();
    for file in files {
        frames.push(
            LazyFrame::scan_parquet(PlRefPath::new(file.to_string_lossy()), ScanArgsParquet::default())
                .map_err(failed)?,
        );
    }
    let labelled = concat(frames, UnionArgs::default())
        .map_err(failed)?
        .filter(col("status").eq(lit("ok")).and(col("emotion").is_not_null()))
        .with_columns([
            col("split").fill_null(lit("none")),
            when(col("copy").eq(lit(0))).then(lit("original")).otherwise(lit("augmented")).alias("copies"),
        ])
        .sort(["recording_id", "copy"], SortMultipleOptions::default())
        .select(["split", "corpus", "sex", "copies", "speaker", "emotion", "predicted"].map(col))
        .collect()
        .map_err(failed)?;
    let mut slices = Vec::new();
    for split in ["test", "validation", "train", "none"] {
        let side = labelled.clone().lazy().filter(col("split").eq(lit(split))).collect().map_err(failed)?;
        if side.height() == 0 {
            continue;
        }
        slices.push(slice(split, "all".into(), &side).map_err(failed)?);
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
                slices.push(slice(split, format!("{column}={value}"), &part).map_err(failed)?);
            }
        }
    }
    Ok(slices)
}

fn slice(split: &str, name: String, rows: &DataFrame) -> PolarsResult<Slice> {
    let (emotion, predicted) = (rows.column("emotion")?.str()?, rows.column("predicted")?.str()?);
    let pairs = emotion
        .iter()
        .zip(predicted.iter())
        .filter_map(|(truth, said)| Some((Emotion::from_name(truth?)?, Emotion::from_name(said?)?)));
    let pairs: Vec<_> = pairs.collect();
    let speakers: Vec<String> = rows.column("speaker")?.str()?.iter().flatten().map(str::to_string).collect();
    let speakers = if speakers.len() == pairs.len() { speakers } else { Vec::new() };
    Ok(Slice { split: split.into(), name, pairs, speakers })
}
