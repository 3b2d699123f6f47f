//! One step of an epoch: what is read is mixed, where the recipe mixes, and the trainer moves towards what the recipe's loss says.

use crate::augment::mixup::Mixup;
use crate::config::Pipeline;
use crate::config::learning::ClassWeights;
use crate::error::Result;
use crate::network::dense::StepOutcome;
use crate::network::network::{SgdConfig, Trainer, UpdateRule};
use crate::network::parameters::Parameters;
use crate::network::schedule::Steps;
use crate::network::spec::NetworkSpec;
use crate::network::targets::{TargetMaker, Targets, balanced_weights};
use crate::stages::train::sampler::Sampler;
use crate::stages::train::stream::Batch;
use crate::units::Seed;

/// How a recipe moves the weights over epochs of `n_items`.
pub(super) fn update_rule(pipeline: &Pipeline, n_items: usize) -> UpdateRule {
    let config = &pipeline.train;
    UpdateRule {
        sgd: SgdConfig { learning_rate: config.learning_rate, momentum: config.momentum, decay: config.decay },
        schedule: config.schedule,
        steps: Steps::of(config.epochs, n_items, config.batch),
        optimiser: config.optimiser,
        average: config.average,
    }
}

/// Bytes that the recipe's way to learn takes beyond the paper's, with `n_items` in an epoch.
pub(super) fn extra_bytes(pipeline: &Pipeline, spec: &NetworkSpec, n_items: usize) -> usize {
    /// Of each set of parameters in a state: its own, those of the last and the best epoch, those that are written, those
    /// that are read back.
    const COPIES: usize = 5;
    let n_sets = update_rule(pipeline, 0).n_extra_copies() * COPIES;
    let parameters = if n_sets > 0 { Parameters::zeros(spec).count() } else { 0 };
    let mixed = if pipeline.augment.mixup.is_off() { 0 } else { pipeline.train.batch * spec.n_mels * spec.n_frames };
    (n_sets * parameters + mixed) * size_of::<f32>() + Sampler::bytes(&pipeline.train.sample, n_items)
}

/// What a step needs beside its batch.
pub(super) struct Lesson {
    seed: Seed,
    mixup: Mixup,
    targets: TargetMaker,
    shares: Vec<f32>,
    mixed: Vec<f32>,
}

impl Lesson {
    /// The recipe's loss and mixing; classes are weighed by their `class_shares` in an epoch.
    pub(super) fn new(pipeline: &Pipeline, seed: Seed, class_shares: &[f64]) -> Self {
        let loss = &pipeline.train.loss;
        let weights = (loss.class_weights == ClassWeights::Balanced).then(|| balanced_weights(class_shares));
        Self {
            seed,
            mixup: pipeline.augment.mixup,
            targets: TargetMaker::new(class_shares.len(), loss.smoothing, weights),
            shares: Vec::new(),
            mixed: Vec::new(),
        }
    }

    /// Step number `step` of `epoch`. All chance comes from seed, epoch and step.
    pub(super) fn step(
        &mut self,
        trainer: &mut Trainer,
        batch: &Batch,
        (epoch, step): (u64, u64),
    ) -> Result<StepOutcome> {
        let seed = |purpose: &str| self.seed.derive(purpose, &[&epoch.to_le_bytes(), &step.to_le_bytes()]);
        let (dropout, labels) = (Some(seed("dropout")), &batch.labels);
        if self.mixup.is_off() && self.targets.is_plain() {
            return trainer.step(&batch.log_mel, labels, dropout);
        }
        let mixes = (!self.mixup.is_off()).then(|| self.mixup.draw(seed("mixup"), labels.len()));
        self.targets.fill(labels, mixes.as_deref(), &mut self.shares);
        let log_mel = match &mixes {
            None => &batch.log_mel,
            Some(mixes) => {
                let size = batch.log_mel.len() / labels.len();
                trainer.pool().install(|| Mixup::mix(mixes, size, &batch.log_mel, &mut self.mixed));
                &self.mixed
            }
        };
        trainer.step_towards(log_mel, Targets { labels, shares: Some(&self.shares) }, dropout)
    }
}
