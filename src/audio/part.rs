//! A part of a recording: one utterance of several in the same file.

use crate::error::{Error, Result};
use crate::units::SampleRate;

/// Tables of utterances round their seconds: an end may lie this far behind the recording, and is then its end.
const ROUNDING_S: f64 = 0.01;

/// From `start_s` up to `end_s`, in seconds from the beginning of the file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part {
    pub start_s: f64,
    pub end_s: f64,
}

impl Part {
    /// The samples of the part, its ends rounded to whole samples, so that parts which touch share none and leave none out.
    ///
    /// Errors: kind `Recording`, with the part and the length: it ends behind the recording, or holds not one sample.
    pub fn of(self, samples: &[f32], rate: SampleRate) -> Result<&[f32]> {
        let Self { start_s, end_s } = self;
        let length_s = rate.seconds(samples.len());
        let refuse = |what: &str| {
            Error::recording(format!("the part from {start_s} s to {end_s} s {what}: it is {length_s:.3} s long"))
        };
        // NaN compares as false.
        let is_behind = |time: f64| time > length_s + ROUNDING_S;
        if is_behind(start_s) || is_behind(end_s) {
            return Err(refuse("ends behind the recording"));
        }
        let sample = |time: f64| ((time * rate.hz()).round() as usize).min(samples.len());
        let part = samples.get(sample(start_s)..sample(end_s)).unwrap_or_default();
        if part.is_empty() || start_s < 0.0 || start_s.is_nan() {
            return Err(refuse("holds not one sample of the recording"));
        }
        Ok(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    const RATE: SampleRate = SampleRate(1_000);

    fn samples() -> Vec<f32> {
        (0..3_000).map(|i| i as f32).collect()
    }

    fn part(start_s: f64, end_s: f64) -> Result<Vec<f32>> {
        Part { start_s, end_s }.of(&samples(), RATE).map(<[f32]>::to_vec)
    }

    #[test]
    fn parts_that_touch_share_no_sample_and_leave_none_out() {
        let ends = [0.0, 0.0004, 0.0015, 1.23456, 2.9995, 3.0];
        let mut all = Vec::new();
        for pair in ends.windows(2) {
            all.extend(part(pair[0], pair[1]).unwrap_or_default());
        }
        assert_eq!(all, samples());
        assert_eq!(part(1.0, 1.003).expect("a part"), [1_000.0, 1_001.0, 1_002.0]);
    }

    #[test]
    fn a_part_beyond_the_end_or_without_a_sample_is_refused_with_its_length() {
        assert_eq!(part(2.0, 3.009).expect("rounded in a table").len(), 1_000);
        for (start_s, end_s, words) in [
            (2.0, 3.02, "the part from 2 s to 3.02 s ends behind the recording: it is 3.000 s long"),
            (4.0, 5.0, "ends behind the recording"),
            (1.0, 1.0002, "the part from 1 s to 1.0002 s holds not one sample of the recording: it is 3.000 s long"),
            (3.0, 3.005, "holds not one sample"),
            (2.0, 1.0, "holds not one sample"),
            (-1.0, 1.0, "holds not one sample"),
            (f64::NAN, 1.0, "holds not one sample"),
            (1.0, f64::NAN, "holds not one sample"),
            (1.0, f64::INFINITY, "ends behind the recording"),
        ] {
            let error = part(start_s, end_s).expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::Recording);
            assert!(error.reason().contains(words), "{error}");
        }
    }
}
