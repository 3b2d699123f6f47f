//! What the network makes of a recording's spectrogram before its first layer: channels of an image.

use serde::{Deserialize, Serialize};

use crate::network::spec::NetworkSpec;

/// The channels of the image that enters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Inputs {
    /// The log-mel spectrogram, as in the paper.
    #[default]
    LogMel,
    /// Three channels: the log-mel spectrogram, its [`delta`] over time, and the delta of that. They are worked out of the
    /// whole recording, before windows are cut.
    Deltas,
}

impl Inputs {
    /// Whether this is what a recipe means that says nothing.
    pub fn is_log_mel(&self) -> bool {
        *self == Self::LogMel
    }

    /// Channels of an image.
    pub fn n_channels(self) -> usize {
        match self {
            Self::LogMel => 1,
            Self::Deltas => 3,
        }
    }
}

/// Frames to either side that a delta looks at.
pub const DELTA_REACH: usize = 2;
/// `2 * (1 + 4)`: with it a delta is the slope of the straight line through five frames.
pub const DELTA_NORM: f32 = 10.0;

/// Slopes along a row: `sum over k = 1, 2 of k (row[t + k] - row[t - k]) / 10`, where what lies beyond an end has the value
/// at that end (HTK's regression formula).
pub fn delta(row: &[f32], out: &mut [f32]) {
    let last = row.len() - 1;
    let slope = |before: [f32; 2], after: [f32; 2]| (after[0] - before[0] + 2.0 * (after[1] - before[1])) / DELTA_NORM;
    let edge = |t: usize| {
        let before = [1, 2].map(|k| row[t.saturating_sub(k)]);
        slope(before, [1, 2].map(|k| row[(t + k).min(last)]))
    };
    for (window, out) in row.windows(2 * DELTA_REACH + 1).zip(out.iter_mut().skip(DELTA_REACH)) {
        *out = slope([window[1], window[0]], [window[3], window[4]]);
    }
    for t in (0..DELTA_REACH.min(row.len())).chain(last.saturating_sub(DELTA_REACH - 1)..row.len()) {
        out[t] = edge(t);
    }
}

/// The channels of one row of a recording, one after the other.
fn channels(spec: &NetworkSpec, row: &[f32], mut put: impl FnMut(usize, &[f32])) {
    put(0, row);
    if spec.inputs == Inputs::Deltas {
        let (mut first, mut second) = (vec![0.0; row.len()], vec![0.0; row.len()]);
        delta(row, &mut first);
        delta(&first, &mut second);
        put(1, &first);
        put(2, &second);
    }
}

/// Cuts image number `image` of the first block out of recordings `[n, n_mels, n_frames]`, `[channels][height][width]` with
/// padding: a window, or for a shared trunk all frames that lie in a window.
pub fn cut_image(spec: &NetworkSpec, log_mel: &[f32], image: usize, out: &mut [f32]) {
    let (recording, first, width) = match spec.cut() {
        0 => (image / spec.n_windows(), image % spec.n_windows() * spec.hop, spec.window),
        _ => (image, 0, spec.seen_frames()),
    };
    let recording = &log_mel[recording * spec.n_mels * spec.n_frames..][..spec.n_mels * spec.n_frames];
    for (y, row) in recording.chunks_exact(spec.n_frames).enumerate() {
        channels(spec, row, |channel, row| {
            let at = (channel * (spec.n_mels + 2) + y + 1) * (width + 2) + 1;
            out[at..at + width].copy_from_slice(&row[first..first + width]);
        });
    }
}

/// Copies the windows of a recording `[n_mels, n_frames]` to the vectors of steps `[steps][n_mels, window, channels]` of a
/// network without blocks.
pub fn stack_windows(spec: &NetworkSpec, recording: &[f32], vectors: &mut [f32]) {
    let n_channels = spec.inputs.n_channels();
    for (y, row) in recording.chunks_exact(spec.n_frames).enumerate() {
        channels(spec, row, |channel, row| {
            for (step, vector) in vectors.chunks_exact_mut(spec.lstm_inputs()).enumerate() {
                let values = vector[y * spec.window * n_channels..].iter_mut().skip(channel).step_by(n_channels);
                values.zip(&row[step * spec.hop..][..spec.window]).for_each(|(out, value)| *out = *value);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delta_of_a_line_is_its_slope_and_ends_go_on_with_their_value() {
        let row: Vec<f32> = (0..9).map(|t| 3.0 * t as f32).collect();
        let mut out = vec![f32::NAN; 9];
        delta(&row, &mut out);
        // At the first frame: (3 - 0 + 2 (6 - 0)) / 10, at the second (6 - 0 + 2 (9 - 0)) / 10.
        assert_eq!(out, [1.5, 2.4, 3.0, 3.0, 3.0, 3.0, 3.0, 2.4, 1.5]);
        for n in 1..5 {
            let mut out = vec![f32::NAN; n];
            delta(&row[..n], &mut out);
            assert!(out.iter().all(|value| value.is_finite()), "{n} frames: {out:?}");
        }
    }
}
