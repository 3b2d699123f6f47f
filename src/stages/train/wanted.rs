//! Which networks a run trains: one for each fold and member of an ensemble, and one on everything where the recipe asks for it.

use crate::error::{Error, Result};
use crate::stages::Ctx;
use crate::storage::layout::Store;
use crate::units::Seed;

/// One network to be trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The fold whose sides it learns and is chosen by; `None` to learn everything.
    pub sides: Option<u32>,
    /// The fold that its name and its predictions bear; `None` for a model that is alone, or knows everything.
    pub fold: Option<u32>,
    /// Which network of an ensemble, from 0.
    pub member: u32,
}

impl Wanted {
    /// All that the recipe asks for: fold by fold, the one on everything last.
    ///
    /// Errors: kind `Recipe` for a fold that the protocol does not have.
    pub(super) fn all(ctx: &Ctx, n_folds: u32) -> Result<Vec<Self>> {
        let config = &ctx.pipeline.train;
        let mut folds: Vec<Option<u32>> = (0..n_folds).map(Some).collect();
        if !config.folds.is_empty() {
            if let Some(unknown) = config.folds.iter().find(|fold| **fold >= n_folds) {
                return Err(Error::recipe(format!("[train] folds names fold {unknown}, the protocol has {n_folds}"))
                    .hint("folds are counted from 0"));
            }
            folds.retain(|fold| fold.is_some_and(|fold| config.folds.contains(&fold)));
        }
        folds.extend(config.final_model.then_some(None));
        let is_alone = n_folds == 1 && !config.final_model;
        let members = |sides: Option<u32>| {
            let fold = sides.filter(|_| !is_alone);
            (0..config.members).map(move |member| Self { sides, fold, member })
        };
        Ok(folds.into_iter().flat_map(members).collect())
    }

    /// What all its chance comes from; the first member's is the recipe's.
    pub(super) fn seed(self, recipe: Seed) -> Seed {
        match self.member {
            0 => recipe,
            member => recipe.derive("member", &[&member.to_le_bytes()]),
        }
    }

    /// What its run is told apart by, beside the settings and inputs of the stage; nothing for the first member of a model that is
    /// alone.
    pub(super) fn key(self) -> Option<(Option<u32>, u32)> {
        let is_first = self.fold.is_none() && self.sides.is_some() && self.member == 0;
        (!is_first).then_some((self.sides, self.member))
    }

    /// How messages call it.
    pub(super) fn label(self, n_members: u32) -> String {
        let fold = self.fold.map_or(String::new(), |fold| format!("fold {fold}: "));
        let fold = if self.sides.is_none() { "on everything: ".into() } else { fold };
        if n_members > 1 { format!("{fold}member {}: ", self.member) } else { fold }
    }

    /// Its folder below the store.
    pub(super) fn folder(self, model_id: &str, n_members: u32) -> Result<String> {
        let mut folder = Store::model(model_id)?;
        if let Some(fold) = self.fold {
            folder += &format!("/fold-{fold}");
        }
        if n_members > 1 {
            folder += &format!("/member-{}", self.member);
        }
        Ok(folder)
    }

    /// What the model file calls itself.
    pub(super) fn model_id(self, run: &str, n_members: u32) -> String {
        let fold = self.fold.map_or(String::new(), |fold| format!("-fold-{fold}"));
        let member = if n_members > 1 { format!("-member-{}", self.member) } else { String::new() };
        format!("{run}{fold}{member}")
    }
}
