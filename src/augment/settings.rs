//! `[augment]` of a recipe: when copies are made, and what training masks.

use serde::{Deserialize, Serialize};

use super::mixup::Mixup;
use super::spec_augment::SpecAugment;
use crate::error::{Error, Result};
use crate::split::Protocol;

/// `[augment]`: when copies are made, and what training masks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AugmentConfig {
    /// Stored once, or drawn anew for each epoch.
    pub when: When,
    pub spec_augment: SpecAugment,
    /// Training mixes each recording with another of its batch; left out, none is mixed.
    #[serde(default, skip_serializing_if = "Mixup::is_off")]
    pub mixup: Mixup,
}

/// When augmented copies are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum When {
    /// By the stage `features`, which stores them: every epoch sees the same copies.
    Features,
    /// By the stage `train`, from the recordings, other ones for each epoch: nothing but originals is stored.
    Epoch,
}

impl AugmentConfig {
    /// Refuses a protocol that places copies where fresh ones never are.
    pub fn check(&self, protocol: Protocol) -> Result<()> {
        if self.when == When::Epoch && protocol == Protocol::Paper {
            return Err(Error::recipe(
                "[augment] when = `epoch`: protocol `paper` places copies apart from their originals, so they must be stored",
            )
            .hint("set augment.when=features, or split.protocol=source-disjoint"));
        }
        self.mixup.check()
    }
}
