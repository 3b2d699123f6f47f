//! Whether a recording is of the kind that a model was trained on: another channel, room or corpus should be noticed.
//!
//! Two distances from the training set: of the recording's own statistics (no network needed), and of the vector that goes into
//! the network's dense layer, from the nearest class (Lee et al. 2018). A limit is the 99th percentile of the distances of
//! recordings of *unheard* speakers: items of the training set are nearer than anything new.

use serde::{Deserialize, Serialize};

use crate::confidence::gaussian::Gaussian;
use crate::units::Seed;

/// Share of recordings of unheard speakers that a limit lets pass.
const PASSING: f64 = 0.99;
/// Items of unheard speakers below which a 99th percentile is the largest of a few.
const LEAST_ITEMS: usize = 100;
/// Bands of the statistics. More of them tell voices apart rather than channels: with 8, 86 % of the recordings of one corpus
/// are strange to a model of another (1.4 % of its own unheard speakers'), with 16 it is 65 %.
const BANDS: usize = 8;
/// Longer embeddings are projected to so many values: a covariance of more would rest on too few recordings, and fill the file.
const EMBEDDING_DIMS: usize = 128;
const PROJECTION: Seed = Seed(20_260_102);

/// What a recording's spectrogram is like, over its frames: per band mean, deviation, mean step to the next frame, and skewness.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    /// `[4, bands]`
    pub values: Vec<f32>,
    /// Frames that are not padding.
    pub n_frames: u32,
}

impl Statistics {
    /// Of `[n_mels, n_frames]`; frames in which all bands are equal are digital silence, and padding. `None` with fewer than two others.
    pub fn of(log_mel: &[f32], n_mels: usize) -> Option<Self> {
        let total = log_mel.len().checked_div(n_mels)?;
        let at = |mel: usize, frame: usize| log_mel[mel * total + frame];
        let is_sound = |&frame: &usize| (1..n_mels).any(|mel| at(mel, frame) != at(0, frame));
        let frames: Vec<usize> = (0..total).filter(is_sound).collect();
        if frames.len() < 2 {
            return None;
        }
        let n_bands = BANDS.min(n_mels);
        let mut values = vec![0.0; 4 * n_bands];
        for band in 0..n_bands {
            let mels = band * n_mels / n_bands..(band + 1) * n_mels / n_bands;
            let level =
                |&frame: &usize| mels.clone().map(|mel| f64::from(at(mel, frame))).sum::<f64>() / mels.len() as f64;
            let levels: Vec<f64> = frames.iter().map(level).collect();
            for (kind, value) in moments(&levels).into_iter().enumerate() {
                values[kind * n_bands + band] = value as f32;
            }
        }
        Some(Self { values, n_frames: frames.len() as u32 })
    }
}

/// Mean, deviation, mean absolute step, skewness.
fn moments(levels: &[f64]) -> [f64; 4] {
    let n = levels.len() as f64;
    let mean = levels.iter().sum::<f64>() / n;
    let moment = |power: i32| levels.iter().map(|level| (level - mean).powi(power)).sum::<f64>() / n;
    let deviation = moment(2).sqrt();
    let step = levels.windows(2).map(|pair| (pair[1] - pair[0]).abs()).sum::<f64>() / (n - 1.0);
    [mean, deviation, step, moment(3) / (deviation.powi(3) + 1e-9)]
}

/// Distances of one recording.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distances {
    pub statistics: f32,
    /// Where both the model and whoever runs it have embeddings.
    pub embedding: Option<f32>,
}

/// Above what a recording is out of the domain.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    pub statistics: f32,
    pub embedding: Option<f32>,
    /// A recording with fewer frames that are not padding is too short.
    pub least_frames: u32,
    /// What the limits rest on.
    pub n_items: u64,
    pub n_speakers: u64,
}

impl Limits {
    /// From recordings of unheard speakers: distances, and frames that are not padding. `None` for fewer than 100 of them.
    pub fn fit(items: &[(Distances, u32)], n_speakers: u64) -> Option<Self> {
        if items.len() < LEAST_ITEMS {
            return None;
        }
        let embedding: Option<Vec<f32>> = items.iter().map(|(distances, _)| distances.embedding).collect();
        let mut frames: Vec<u32> = items.iter().map(|(_, n_frames)| *n_frames).collect();
        frames.sort_unstable();
        Some(Self {
            statistics: percentile(items.iter().map(|(distances, _)| distances.statistics).collect()),
            embedding: embedding.map(percentile),
            least_frames: frames[frames.len() / 100] / 2,
            n_items: items.len() as u64,
            n_speakers,
        })
    }

    /// The larger distance in units of its limit.
    pub fn ratio(&self, distances: Distances) -> f32 {
        let own = distances.statistics / self.statistics;
        let other = distances.embedding.zip(self.embedding).map(|(distance, limit)| distance / limit);
        other.map_or(own, |other| own.max(other))
    }

    /// Whether the numbers can be limits.
    fn check(&self) -> Result<(), String> {
        let is_limit = |value: f32| value.is_finite() && value > 0.0;
        let fits = is_limit(self.statistics) && self.embedding.is_none_or(is_limit);
        if fits { Ok(()) } else { Err("a limit that is not above 0".into()) }
    }
}

/// The `ceil((n + 1) x 0.99)`-th smallest, or the largest; never 0.
fn percentile(mut distances: Vec<f32>) -> f32 {
    distances.sort_unstable_by(f32::total_cmp);
    let rank = ((distances.len() + 1) as f64 * PASSING - 1e-9).ceil() as usize;
    distances[rank.clamp(1, distances.len()) - 1].clamp(1e-6, f32::MAX)
}

/// A training set as two clouds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Domain {
    pub statistics: Gaussian,
    pub embedding: Option<Gaussian>,
    /// `None` until there are items of unheard speakers to take them from; without, nothing is ever flagged.
    pub limits: Option<Limits>,
}

impl Domain {
    /// Of the recordings that one model was trained on; `None` for fewer than 50, or where nothing varies.
    ///
    /// `statistics`  one of each recording; originals, unless the model's copies shall count as heard.
    /// `embeddings`  the network's vectors of the same or other items of its training set, and their classes.
    pub fn fit(statistics: &[Statistics], embeddings: Option<(&[Vec<f32>], &[usize])>) -> Option<Self> {
        let values: Vec<Vec<f32>> = statistics.iter().map(|one| one.values.clone()).collect();
        let cloud = Gaussian::fit(&values, &vec![0; values.len()])?;
        let embedding = embeddings.and_then(|(vectors, classes)| {
            let vectors: Vec<Vec<f32>> = vectors.iter().map(|vector| projected(vector)).collect();
            Gaussian::fit(&vectors, classes)
        });
        Some(Self { statistics: cloud, embedding, limits: None })
    }

    /// How far a recording is from the training set.
    pub fn distances(&self, statistics: &Statistics, embedding: Option<&[f32]>) -> Distances {
        let cloud = self.embedding.as_ref();
        Distances {
            statistics: self.statistics.distance(&statistics.values),
            embedding: cloud.zip(embedding).map(|(cloud, vector)| cloud.distance(&projected(vector))),
        }
    }

    /// Whether its parts fit each other.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.statistics.check()?;
        self.embedding.as_ref().map_or(Ok(()), Gaussian::check)?;
        self.limits.as_ref().map_or(Ok(()), Limits::check)
    }
}

/// A long vector times a matrix of signs, always the same for its length; a short one as it is.
fn projected(vector: &[f32]) -> Vec<f32> {
    if vector.len() <= EMBEDDING_DIMS {
        return vector.to_vec();
    }
    let scale = 1.0 / (vector.len() as f32).sqrt();
    let signs = |row: usize| (0..vector.len()).map(move |at| PROJECTION.bits((row * vector.len() + at) as u64) >> 63);
    let value =
        |row: usize| vector.iter().zip(signs(row)).map(|(&v, sign)| if sign == 1 { v } else { -v }).sum::<f32>();
    (0..EMBEDDING_DIMS).map(|row| value(row) * scale).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_by_hand_and_without_the_padding() {
        // Two mel bands, four frames, the last one padding.
        let log_mel = [1.0, 3.0, 2.0, -9.0, 0.0, 0.0, 6.0, -9.0];
        let one = Statistics::of(&log_mel, 2).expect("three frames");
        assert_eq!(one.n_frames, 3);
        let wanted = [2.0, 2.0, 0.816_496_6, 2.828_427, 1.5, 3.0, 0.0, std::f32::consts::FRAC_1_SQRT_2];
        for (have, want) in one.values.iter().zip(wanted) {
            assert!((have - want).abs() < 1e-5, "{have} {want}");
        }
        assert_eq!(Statistics::of(&[-9.0; 8], 2), None, "nothing but padding");
        assert_eq!(Statistics::of(&[], 2), None);
        assert_eq!(Statistics::of(&[1.0], 0), None);
    }

    #[test]
    fn limits_let_ninety_nine_of_a_hundred_pass() {
        let items: Vec<(Distances, u32)> = (1..=1000)
            .map(|at| (Distances { statistics: at as f32, embedding: Some(at as f32 * 2.0) }, 100 + at % 7))
            .collect();
        let limits = Limits::fit(&items, 9).expect("enough");
        assert_eq!((limits.statistics, limits.embedding, limits.least_frames), (991.0, Some(1982.0), 50));
        assert_eq!(limits.ratio(Distances { statistics: 991.0, embedding: Some(3964.0) }), 2.0);
        assert_eq!(limits.ratio(Distances { statistics: 1982.0, embedding: None }), 2.0);
        assert_eq!(Limits::fit(&items[..99], 9), None);
        let some = [items.clone(), vec![(Distances { statistics: 1.0, embedding: None }, 9)]].concat();
        assert_eq!(Limits::fit(&some, 9).and_then(|limits| limits.embedding), None, "some have no embedding");
    }

    #[test]
    fn a_projection_keeps_distances_about_as_they_are() {
        let vector = |seed: u64| (0..512).map(|at| Seed(seed).normal_pair(at).0 as f32).collect::<Vec<f32>>();
        let norm = |v: &[f32]| v.iter().map(|x| x * x).sum::<f32>();
        let (a, b) = (vector(1), vector(2));
        let apart = |a: &[f32], b: &[f32]| norm(&a.iter().zip(b).map(|(x, y)| x - y).collect::<Vec<f32>>());
        let (before, after) = (apart(&a, &b), apart(&projected(&a), &projected(&b)));
        let share = after / before * (512.0 / EMBEDDING_DIMS as f32);
        assert!((0.7..1.3).contains(&share), "{share}");
        assert_eq!(projected(&a[..128]), &a[..128]);
    }
}
