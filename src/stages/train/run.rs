//! One training run: epochs from where it stands, a checkpoint after each, the weights that the recipe keeps.

use std::time::Instant;

use crate::config::learning::{BatchNorm, Keep};
use crate::error::Result;
use crate::network::dense::{argmax, cross_entropy};
use crate::network::network::{Network, Trainer, UpdateRule};
use crate::network::parameters::Parameters;
use crate::network::spec::NetworkSpec;
use crate::split::Split;
use crate::stages::Ctx;
use crate::stages::train::checkpoint::Checkpoint;
use crate::stages::train::dataset::Dataset;
use crate::stages::train::finish::re_estimate;
use crate::stages::train::items::TrainingItems;
use crate::stages::train::lesson::{self, Lesson};
use crate::stages::train::sampler::Sampler;
use crate::stages::train::stream::{Batch, each_batch};
use crate::storage::fingerprint::Fingerprint;
use crate::tables::history::HistoryRow;
use crate::units::Seed;

/// One training run: the trainer and what must survive a kill.
pub(super) struct Run<'a> {
    ctx: &'a Ctx,
    seed: Seed,
    /// Which of several it is, for messages.
    label: String,
    spec: NetworkSpec,
    trainer: Trainer,
    rule: UpdateRule,
    lesson: Lesson,
    sampler: Sampler,
    pub(super) checkpoint: Checkpoint,
    checkpoint_file: std::path::PathBuf,
    probabilities: Vec<f32>,
}

impl<'a> Run<'a> {
    pub(super) fn start(
        ctx: &'a Ctx,
        (spec, train): (&NetworkSpec, &TrainingItems),
        (seed, label): (Seed, String),
        run_key: &Fingerprint,
        model_id: &str,
    ) -> Result<Self> {
        let config = &ctx.pipeline.train;
        let checkpoint_file = ctx.store.side_index("train", &format!("{}.checkpoint", run_key.short()));
        let rule = lesson::update_rule(&ctx.pipeline, train.len());
        let sampler = train.sampler(spec.n_classes);
        let network = Network::initialise(spec.clone(), seed.derive("weights", &[]))?;
        let mut trainer = Trainer::new(spec.clone(), network.parameters, rule, config.batch, ctx.n_threads())?;
        let mut checkpoint = Checkpoint::default();
        if let Some(saved) = Checkpoint::read(&checkpoint_file)? {
            trainer.restore(saved.last_state(spec)?)?;
            ctx.progress.say(&format!("train: {label}goes on after epoch {} of {model_id}", saved.epochs_done()));
            checkpoint = saved;
        }
        Ok(Self {
            ctx,
            seed,
            label,
            spec: spec.clone(),
            trainer,
            rule,
            lesson: Lesson::new(&ctx.pipeline, seed, sampler.class_shares()),
            sampler,
            checkpoint,
            checkpoint_file,
            probabilities: vec![0.0; config.batch * spec.n_classes],
        })
    }

    pub(super) fn is_unfinished(&self) -> bool {
        let config = &self.ctx.pipeline.train;
        let is_patient = config.keep == Keep::Last || self.checkpoint.epochs_without_better() < config.patience;
        self.checkpoint.epochs_done() < config.epochs && is_patient
    }

    /// One pass over the training side, an evaluation of the monitored side, a checkpoint.
    pub(super) fn epoch(&mut self, train: &TrainingItems, held_out: &Dataset) -> Result<()> {
        let ctx = self.ctx;
        let config = &ctx.pipeline.train;
        let epoch = self.checkpoint.epochs_done() + 1;
        let order = self.order("shuffle", epoch);
        let meter = ctx.progress.begin(&format!("{}epoch {epoch}/{}", self.label, config.epochs), train.len() as u64);
        let clock = Instant::now();
        let (mut loss, mut n_right, mut step, mut done) = (0.0, 0, 0_u64, 0);
        each_batch(&train.epoch(epoch as u32), &order, config.batch, |batch| {
            let outcome = self.lesson.step(&mut self.trainer, batch, (epoch as u64, step))?;
            let n = batch.labels.len();
            (step, done) = (step + 1, done + n);
            loss += outcome.loss * n as f64;
            n_right += outcome.correct;
            meter.note(&format!("loss {:.4} accuracy {:.4}", loss / done as f64, n_right as f64 / done as f64));
            meter.advance(n as u64);
            Ok(())
        })?;
        drop(meter);
        let seconds = clock.elapsed().as_secs_f64();
        let monitored = if held_out.is_empty() { None } else { Some(self.evaluate(held_out)?) };
        let n = train.len() as f64;
        let row = HistoryRow {
            model_id: String::new(),
            fold: None,
            member: 0,
            epoch: epoch as u32,
            train_loss: loss / n,
            train_accuracy: n_right as f64 / n,
            monitored_split: ctx.pipeline.split.monitored().map_or("", Split::name).into(),
            monitored_loss: monitored.map(|(loss, _)| loss),
            monitored_accuracy: monitored.map(|(_, accuracy)| accuracy),
            is_best: false,
            learning_rate: self.rule.rate(self.trainer.state().iteration),
            n_recordings: train.len() as u64,
            seconds,
        };
        let told = |(loss, accuracy)| format!(", {} loss {loss:.4} accuracy {accuracy:.4}", row.monitored_split);
        ctx.progress.say(&format!(
            "train: {}epoch {epoch}: loss {:.4} accuracy {:.4}{}, {:.1} recordings/s",
            self.label,
            row.train_loss,
            row.train_accuracy,
            monitored.map(told).unwrap_or_default(),
            n / seconds
        ));
        self.checkpoint.add(row, self.trainer.state(), config.keep);
        self.checkpoint.publish(&ctx.store.staging("train"), &self.checkpoint_file)
    }

    /// The items of an epoch, from 1, as the recipe samples them.
    fn order(&self, purpose: &str, epoch: usize) -> Vec<usize> {
        self.sampler.order(self.seed.derive(purpose, &[&(epoch as u64).to_le_bytes()]))
    }

    /// The weights that the recipe keeps, with the statistics that it wants.
    pub(super) fn finish(mut self, train: &TrainingItems, history: &[HistoryRow]) -> Result<Parameters> {
        self.trainer.restore(self.checkpoint.best_state(&self.spec)?)?;
        self.trainer.settle();
        if self.ctx.pipeline.train.batch_norm == BatchNorm::ReEstimated {
            let epoch = history.iter().find(|row| row.is_best).map_or(1, |row| row.epoch);
            let order = self.order("population", epoch as usize);
            let n = re_estimate(&mut self.trainer, &train.epoch(epoch), &order, self.ctx.pipeline.train.batch)?;
            self.ctx.progress.say(&format!("train: {}batch statistics of {n} training items", self.label));
        }
        Ok(self.trainer.state().parameters.clone())
    }

    /// Mean cross-entropy and accuracy on a side, dropout off, moving statistics.
    fn evaluate(&mut self, data: &Dataset) -> Result<(f64, f64)> {
        let ctx = self.ctx;
        let meter = ctx.progress.begin("held out", data.len() as u64);
        let all: Vec<usize> = (0..data.len()).collect();
        let (mut loss, mut n_right) = (0.0, 0);
        each_batch(data, &all, ctx.pipeline.train.batch, |batch| {
            self.predict(batch)?;
            for (row, &label) in self.probabilities.chunks_exact(self.spec.n_classes).zip(&batch.labels) {
                loss += cross_entropy(row[label]);
                n_right += usize::from(argmax(row) == Some(label));
            }
            meter.advance(batch.labels.len() as u64);
            Ok(())
        })?;
        Ok((loss / data.len() as f64, n_right as f64 / data.len() as f64))
    }

    fn predict(&mut self, batch: &Batch) -> Result<()> {
        self.probabilities.resize(batch.labels.len() * self.spec.n_classes, 0.0);
        self.trainer.predict(&batch.log_mel, &mut self.probabilities)
    }
}
