//! How much memory one recording may take, and how much it needs: the same sum for every command.

use crate::error::{Error, Result};
use crate::units::{Bytes, SampleRate};

/// A limit, the rate that samples are wanted at, and what is held already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    limit: Bytes,
    wanted: SampleRate,
    held: u64,
}

impl Budget {
    /// The limit where no recipe says another: nine minutes of 48 kHz stereo.
    pub const DEFAULT_LIMIT: Bytes = Bytes(256_000_000);

    /// `limit` for the file's bytes, its samples, and what becomes of them at the rate `wanted`.
    pub fn new(limit: Bytes, wanted: SampleRate) -> Self {
        Self { limit, wanted, held: 0 }
    }

    /// All that a recording may take.
    pub fn limit(&self) -> Bytes {
        self.limit
    }

    /// The same budget with `n_bytes` more of it in use, such as those of the file.
    pub fn holding(self, n_bytes: u64) -> Self {
        Self { held: self.held.saturating_add(n_bytes), ..self }
    }

    /// Memory for `n_frames` at `rate` beside what is held: mono samples, and what they become at the wanted rate. A copy that
    /// is changed before it is cut to its length takes the latter once more.
    pub fn need(&self, n_frames: u64, rate: SampleRate) -> Bytes {
        let n_frames = u128::from(n_frames);
        let n_resampled = (n_frames * u128::from(self.wanted.0)).div_ceil(u128::from(rate.0.max(1)));
        let n_bytes = size_of::<f32>() as u128 * (n_frames + n_resampled) + u128::from(self.held);
        Bytes(u64::try_from(n_bytes).unwrap_or(u64::MAX))
    }

    /// Refuses `n_frames` at `rate` that do not fit.
    pub fn check(&self, n_frames: u64, rate: SampleRate) -> Result<()> {
        let need = self.need(n_frames, rate);
        if need <= self.limit { Ok(()) } else { Err(self.exceeded(&format!("{need} of memory"))) }
    }

    /// Most frames at `rate` that fit.
    pub(super) fn max_frames(&self, rate: SampleRate) -> usize {
        let room = self.limit.0.saturating_sub(self.held);
        let per_frame = size_of::<f32>() as f64 * (1.0 + self.wanted.hz() / rate.hz().max(1.0));
        (room as f64 / per_frame) as usize
    }

    /// The error of a recording whose length is not known, and that has more than [`Self::max_frames`].
    pub(super) fn exceeded(&self, need: &str) -> Error {
        Error::recording(format!(
            "needs {need}, the limit is {}: cut it, or raise [ingest] max_recording_mb",
            self.limit
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_counts_bytes_samples_and_what_becomes_of_them() {
        let budget = Budget::new(Bytes(1_000), SampleRate(8_000));
        assert_eq!(budget.need(10, SampleRate(16_000)), Bytes(4 * (10 + 5)));
        assert_eq!(budget.holding(100).holding(20).need(3, SampleRate(16_000)), Bytes(120 + 4 * (3 + 2)));
        assert_eq!(budget.holding(u64::MAX).need(u64::MAX, SampleRate(1)), Bytes(u64::MAX));
    }

    #[test]
    fn the_most_frames_fit_and_one_second_more_do_not() {
        for (limit, rate, wanted) in
            [(256_000_000, 48_000, 21_500), (1_000_000, 4_000, 21_500), (5_000, 384_000, 16_000)]
        {
            let (budget, rate) = (Budget::new(Bytes(limit), SampleRate(wanted)).holding(700), SampleRate(rate));
            let n_frames = budget.max_frames(rate) as u64;
            budget.check(n_frames.saturating_sub(2), rate).expect("fits");
            let error = budget.check(n_frames + 2, rate).expect_err("too long");
            assert!(error.reason().ends_with("raise [ingest] max_recording_mb"), "{error}");
        }
        let error = Budget::new(Budget::DEFAULT_LIMIT, SampleRate(21_500)).check(1 << 28, SampleRate(48_000));
        let reason = error.expect_err("93 minutes").reason();
        assert!(reason.starts_with("needs 1.55 GB of memory, the limit is 256.0 MB: "), "{reason}");
    }
}
