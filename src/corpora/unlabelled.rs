//! Recordings without labels: anything to be scored, nothing to be trained on.

use std::path::Path;

use super::{ColumnReader, Corpus, Example, ExpectedCounts, Label, Labeller, Options};
use crate::error::Result;

/// Any folder of recordings.
pub struct Unlabelled;

impl Corpus for Unlabelled {
    fn name(&self) -> &'static str {
        "unlabelled"
    }

    fn about(&self) -> &'static str {
        "any folder of recordings without labels, for scoring"
    }

    fn provenance(&self) -> &'static str {
        "The user's own recordings; paths carry no meaning and every label is empty."
    }

    fn expected(&self) -> Option<ExpectedCounts> {
        None
    }

    fn examples(&self) -> &'static [Example] {
        &[Example { path: "calls/angry/0001.wav", speaker: None, sex: None, emotion: None, emotion_original: None }]
    }

    fn open(&self, _root: &Path, _options: &Options, _parquet: ColumnReader) -> Result<Box<dyn Labeller>> {
        Ok(Box::new(Nothing))
    }

    fn labelled(&self) -> bool {
        false
    }
}

struct Nothing;

impl Labeller for Nothing {
    fn label(&self, _relative: &Path) -> Result<Label> {
        Ok(Label::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unlabelled_takes_nothing_from_a_path() {
        assert_eq!(Nothing.label(Path::new("03-01-05-01-02-01-12.wav")).unwrap(), Label::default());
        assert!(!Unlabelled.labelled());
    }
}
