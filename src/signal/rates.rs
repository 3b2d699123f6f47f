//! The resampler of each rate that recordings come at, planned once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::profile::FrontEnd;
use super::wide::{Resampling, WideResampler};
use crate::audio::Resampler;
use crate::error::Result;
use crate::units::SampleRate;

/// Plans are kept up to so many bytes: corpora have a handful of 1 MB, folders of damaged recordings any number, of up to 20 MB.
const KEPT_BYTES: usize = 64 << 20;

/// Plans to one front end's rate; shared by threads.
pub struct Rates {
    to: SampleRate,
    kind: Resampling,
    // Corpora have a handful of rates; each plan is made once and then only read.
    plans: Mutex<HashMap<SampleRate, Arc<RateChange>>>,
}

/// Plan for one pair of rates: immutable.
pub enum RateChange {
    Standard(Resampler),
    Wide(WideResampler),
}

impl RateChange {
    /// Replaces `output` by `input` at the new rate.
    pub fn resample(&self, input: &[f32], output: &mut Vec<f32>) {
        match self {
            Self::Standard(plan) => plan.resample(input, output),
            Self::Wide(plan) => plan.resample(input, output),
        }
    }

    /// Memory that the plan takes.
    pub fn n_bytes(&self) -> usize {
        match self {
            Self::Standard(plan) => plan.n_bytes(),
            Self::Wide(plan) => plan.n_bytes(),
        }
    }
}

impl Rates {
    /// No plan yet.
    pub fn new(front_end: &FrontEnd) -> Self {
        Self { to: front_end.sample_rate, kind: front_end.resampler, plans: Mutex::new(HashMap::new()) }
    }

    /// The plan from that rate; errors are those of [`Resampler::new`].
    pub fn from(&self, from: SampleRate) -> Result<Arc<RateChange>> {
        let known = || self.plans.lock().expect("no panic while plans are looked up");
        if let Some(plan) = known().get(&from) {
            return Ok(plan.clone());
        }
        // Planned without the lock: other rates need not wait, and what two threads plan at once is the same.
        let plan = Arc::new(match self.kind {
            Resampling::Standard => RateChange::Standard(Resampler::new(from, self.to)?),
            Resampling::Wide => RateChange::Wide(WideResampler::new(from, self.to)?),
        });
        let mut known = known();
        let n_bytes: usize = known.values().map(|known| known.n_bytes()).sum();
        if n_bytes + plan.n_bytes() > KEPT_BYTES {
            known.clear();
        }
        known.insert(from, plan.clone());
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::profile::profile;

    #[test]
    fn plans_of_rates_are_kept_within_a_limit() {
        for resampler in [Resampling::Standard, Resampling::Wide] {
            let rates = Rates::new(&FrontEnd { resampler, ..profile("paper").expect("known") });
            let kept = || rates.plans.lock().expect("no panic").values().map(|plan| plan.n_bytes()).sum::<usize>();
            let usual: Vec<_> = [48_000, 24_414, 44_100, 16_000].map(|rate| rates.from(SampleRate(rate))).into();
            assert!(usual.iter().all(Result::is_ok) && kept() < 4 << 20, "{} bytes for the usual rates", kept());
            for rate in (0..8).map(|i| 383_990 - 7 * i) {
                rates.from(SampleRate(rate)).expect("a plan");
                assert!((100_000..=KEPT_BYTES).contains(&kept()), "{} bytes with {rate} Hz", kept());
            }
        }
    }
}
