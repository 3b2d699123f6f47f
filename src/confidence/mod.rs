//! How sure a model may be: temperature, sets of classes, when to abstain, and whether it ever heard anything of the kind.
//!
//! Everything is fitted on out-of-fold items: recordings of speakers that the model which was asked had not heard
//! ([`OutOfFold`]). [`calibrate`] fits on all of them what a model file keeps ([`Confidence`]), and measures by leaving speakers
//! out what that is worth ([`Measured`]).

mod abstain;
mod calibrate;
mod conformal;
mod domain;
mod gaussian;
mod leave_out;
mod temperature;

use serde::{Deserialize, Serialize};

pub use abstain::{Abstain, KEPT_SHARE, TOLERATED_ERROR, error_of_kept};
pub use calibrate::{Calibration, Measured, OutOfFold, calibrate};
pub use conformal::{Conformal, LEVEL};
pub use domain::{Distances, Domain, Limits, Statistics};
pub use gaussian::Gaussian;
pub use leave_out::{N_GROUPS, groups_of};
pub use temperature::Temperature;

/// What a model file knows of its own certainty; each part only where it could be fitted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confidence {
    /// What the last layer was divided by: the file's probabilities are calibrated already.
    pub temperature: Option<Temperature>,
    pub conformal: Option<Conformal>,
    pub abstain: Option<Abstain>,
    pub domain: Option<Domain>,
}

/// Why a model should not be believed about a recording; the first that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Less of it is sound than half of what nearly all recordings in the domain have.
    TooShort,
    /// Further from the training set than 99 of 100 recordings of unheard speakers.
    OutOfDomain,
    /// Less sure than the recordings that are left out so that those which are kept are mostly right.
    Ambiguous,
}

impl Reason {
    pub const ALL: [Self; 3] = [Self::TooShort, Self::OutOfDomain, Self::Ambiguous];

    /// As in the column `abstain`.
    pub fn text(self) -> &'static str {
        match self {
            Self::TooShort => "too short",
            Self::OutOfDomain => "out of domain",
            Self::Ambiguous => "ambiguous",
        }
    }
}

/// What is said of one recording beside its probabilities.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judgement {
    /// Classes of the prediction set, the likeliest first; never empty. `None` where the model has no thresholds.
    pub set: Option<Vec<usize>>,
    /// How far from the training set, in units of the limit; above 1 is out of domain.
    pub domain_distance: Option<f32>,
    pub abstain: Option<Reason>,
}

impl Confidence {
    /// Whether nothing is known, as of models from before.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the parts fit themselves and a model of so many classes; else the part's name and what is wrong.
    pub(crate) fn check(&self, n_classes: usize) -> Result<(), (&'static str, String)> {
        let is_positive = |value: f32| value.is_finite() && value > 0.0;
        if self.temperature.is_some_and(|temperature| !is_positive(temperature.value)) {
            return Err(("temperature", "a temperature that is not above 0".into()));
        }
        let conformal = self.conformal.as_ref().map_or(Ok(()), |conformal| conformal.check(n_classes));
        conformal.map_err(|what| ("conformal", what))?;
        if self.abstain.is_some_and(|abstain| !(0.0..=1.0).contains(&abstain.below)) {
            return Err(("abstain", "a limit that is no probability".into()));
        }
        self.domain.as_ref().map_or(Ok(()), |domain| domain.check()).map_err(|what| ("domain", what))
    }

    /// Judges one recording.
    ///
    /// `probabilities`  `[n_classes]`, as the model file gives them.
    /// `log_mel`        `[n_mels, n_frames]`, what the model was asked about.
    /// `embedding`      what goes into the dense layer, where whoever runs the model gives it.
    pub fn judge(
        &self,
        probabilities: &[f32],
        (log_mel, n_mels): (&[f32], usize),
        embedding: Option<&[f32]>,
    ) -> Judgement {
        let set = self.conformal.as_ref().map(|conformal| conformal.set(probabilities));
        let (mut domain_distance, mut too_short) = (None, false);
        if let Some((domain, limits)) = self.domain.as_ref().and_then(|domain| Some((domain, domain.limits.as_ref()?)))
        {
            match Statistics::of(log_mel, n_mels) {
                Some(statistics) => {
                    too_short = statistics.n_frames < limits.least_frames;
                    domain_distance = Some(limits.ratio(domain.distances(&statistics, embedding)));
                }
                None => too_short = true,
            }
        }
        let abstain = if too_short {
            Some(Reason::TooShort)
        } else if domain_distance.is_some_and(|distance| distance > 1.0) {
            Some(Reason::OutOfDomain)
        } else {
            let is_ambiguous = self.abstain.is_some_and(|abstain| abstain.is_ambiguous(probabilities));
            is_ambiguous.then_some(Reason::Ambiguous)
        };
        Judgement { set, domain_distance, abstain }
    }
}

#[cfg(test)]
#[path = "planted_proof.rs"]
mod planted_proof;

#[cfg(test)]
#[path = "domain_proof.rs"]
mod domain_proof;
