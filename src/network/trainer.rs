//! Training: one step is forward, loss, backward and update of the whole network.

mod finish;

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::network::block::Block;
use crate::network::block_weights::BlockShape;
use crate::network::dense::{self, DenseBatch, StepOutcome};
use crate::network::dropout::InputMask;
use crate::network::kernels::CHANNELS;
use crate::network::kernels::dropout::Dropout;
use crate::network::lstm::Lstm;
use crate::network::optimiser::UpdateRule;
use crate::network::parameters::{Parameters, TensorsMut};
use crate::network::predictor::{
    Predictor, check_batch, check_shapes, cut_image, dense_shape, lstm_shape, padded_index, thread_pool,
};
use crate::network::seam::SeamMemory;
use crate::network::spec::NetworkSpec;
use crate::network::state::TrainerState;
use crate::network::targets::Targets;
use crate::simd::Isa;
use crate::units::Seed;

pub use finish::Population;

/// Trains one network. Every buffer is made once, for batches of up to `max_batch` recordings.
///
/// Results have the same bytes for any number of threads.
///
/// Proof: `gradients_match_the_twin_on_every_instruction_set`, `gradients_losses_and_predictions_match_pytorch`,
/// `a_step_gives_the_same_bytes_for_any_number_of_threads`.
pub struct Trainer {
    spec: NetworkSpec,
    state: TrainerState,
    rule: UpdateRule,
    isa: Isa,
    max_batch: usize,
    gradient: Parameters,
    pub(super) blocks: Vec<Block>,
    /// The last block's output with padding, one image after the other.
    features: Vec<f32>,
    /// Its gradient, without padding.
    d_features: Vec<f32>,
    lstm: Lstm,
    /// `[max_batch, classes]`; while going back they become the gradient of the logits.
    probabilities: Vec<f32>,
    /// Gradient of the LSTM's last state.
    d_last: Vec<f32>,
    seam: Option<SeamMemory>,
    predictor: Predictor,
    /// Whether `predictor` has the current weights.
    predictor_is_current: bool,
    pool: Arc<rayon::ThreadPool>,
}

impl Trainer {
    /// A trainer at step 0 with the machine's fastest kernels and `n_threads` threads of its own.
    pub fn new(
        spec: NetworkSpec,
        parameters: Parameters,
        rule: impl Into<UpdateRule>,
        max_batch: usize,
        n_threads: usize,
    ) -> Result<Self> {
        Self::with_isa(spec, parameters, rule, max_batch, n_threads, Isa::fastest())
    }

    /// A trainer with the kernels of one instruction set.
    pub fn with_isa(
        spec: NetworkSpec,
        parameters: Parameters,
        rule: impl Into<UpdateRule>,
        max_batch: usize,
        n_threads: usize,
        isa: Isa,
    ) -> Result<Self> {
        check_shapes(&spec, &parameters)?;
        let (pool, rule) = (thread_pool(n_threads)?, rule.into());
        let shapes: Vec<BlockShape> = (0..spec.blocks.len()).map(|index| BlockShape::new(&spec, index)).collect();
        let (max_batch, last) = (max_batch.max(1), shapes[shapes.len() - 1]);
        let max_images = max_batch * spec.n_windows();
        Ok(Self {
            predictor: Predictor::with_pool(spec.clone(), parameters.clone(), Arc::clone(&pool), isa)?,
            predictor_is_current: true,
            gradient: Parameters::zeros(&spec),
            blocks: (shapes.iter().enumerate())
                .map(|(index, &shape)| Block::new(shape, isa, spec.n_images(index, max_batch)))
                .collect(),
            seam: SeamMemory::new(&spec, max_batch),
            features: vec![0.0; max_images * last.pooled.padded_len()],
            d_features: vec![0.0; max_images * last.pooled.n_floats()],
            lstm: Lstm::new(lstm_shape(&spec), max_batch, isa),
            probabilities: vec![0.0; max_batch * spec.n_classes],
            d_last: vec![0.0; max_batch * spec.lstm_units],
            state: rule.begin(parameters),
            rule,
            isa,
            max_batch,
            spec,
            pool,
        })
    }

    /// Bytes that a trainer of `spec` takes for batches of up to `max_batch` recordings, but for its copies of the
    /// parameters: known before anything is made.
    pub fn memory_bytes(spec: &NetworkSpec, max_batch: usize) -> usize {
        let shapes: Vec<BlockShape> = (0..spec.blocks.len()).map(|index| BlockShape::new(spec, index)).collect();
        let blocks = shapes.iter().enumerate();
        let blocks = blocks.map(|(index, shape)| Block::memory_bytes(shape, spec.n_images(index, max_batch)));
        let (inputs, units) = (spec.lstm_inputs(), spec.lstm_units);
        // The LSTM keeps inputs, gates, cell and outputs of each step; the last block's output lies beside its gradient.
        let lstm = max_batch * spec.n_windows() * (3 * inputs + 6 * units) + max_batch * 4 * units;
        let seam = SeamMemory::bytes(spec, max_batch);
        blocks.sum::<usize>() + seam + Predictor::memory_bytes(spec) + lstm * size_of::<f32>()
    }

    /// One step on `log_mel` `[n, n_mels, n_frames]` and `labels` `[n]`; without a seed dropout is off.
    ///
    /// The outcome is that of the weights before the step. Errors (too many recordings, a label out of range, values
    /// or a loss that are not finite) leave the state as it was.
    pub fn step(&mut self, log_mel: &[f32], labels: &[usize], dropout: Option<Seed>) -> Result<StepOutcome> {
        self.step_towards(log_mel, labels.into(), dropout)
    }

    /// [`Trainer::step`] towards shares of classes.
    pub fn step_towards(
        &mut self,
        log_mel: &[f32],
        targets: Targets<'_>,
        dropout: Option<Seed>,
    ) -> Result<StepOutcome> {
        let outcome = self.compute_gradient_towards(log_mel, targets, dropout)?;
        self.observe_statistics();
        self.pool.install(|| self.rule.apply(self.isa, &mut self.state, &self.gradient));
        self.predictor_is_current = false;
        Ok(outcome)
    }

    /// Loss and gradient of a batch without moving anything; the gradient is then in [`Trainer::gradient`].
    pub fn compute_gradient(
        &mut self,
        log_mel: &[f32],
        labels: &[usize],
        dropout: Option<Seed>,
    ) -> Result<StepOutcome> {
        self.compute_gradient_towards(log_mel, labels.into(), dropout)
    }

    /// [`Trainer::compute_gradient`] towards shares of classes.
    pub fn compute_gradient_towards(
        &mut self,
        log_mel: &[f32],
        targets: Targets<'_>,
        dropout: Option<Seed>,
    ) -> Result<StepOutcome> {
        let Targets { labels, shares } = targets;
        let n = check_batch(&self.spec, log_mel)?;
        if n != labels.len() || n > self.max_batch || shares.is_some_and(|all| all.len() != n * self.spec.n_classes) {
            let text = format!("{n} recordings with {} labels, room for {}", labels.len(), self.max_batch);
            return Err(Error::bug(text));
        }
        if let Some(label) = labels.iter().find(|&&label| label >= self.spec.n_classes) {
            return Err(Error::input(format!("label {label}, the network has {} classes", self.spec.n_classes)));
        }
        let pool = Arc::clone(&self.pool);
        pool.install(|| {
            self.forward(log_mel, n, dropout);
            let outcome = targets.evaluate(self.spec.n_classes, &self.probabilities);
            if !outcome.loss.is_finite() {
                return Err(Error::input(format!("loss is not finite at step {}", self.state.iteration))
                    .hint("lower `[train] learning_rate`"));
            }
            self.backward(targets, n, dropout);
            Ok(outcome)
        })
    }

    /// What [`Trainer::compute_gradient`] found, shaped like the parameters.
    pub fn gradient(&self) -> &Parameters {
        &self.gradient
    }

    /// Inference with moving statistics and the weights that count ([`TrainerState::evaluated`]): probabilities `[n, classes]` of `log_mel` `[n, n_mels, n_frames]`, any `n`.
    pub fn predict(&mut self, log_mel: &[f32], probabilities: &mut [f32]) -> Result<()> {
        if !self.predictor_is_current {
            self.predictor.load(self.state.evaluated());
            self.predictor_is_current = true;
        }
        self.predictor.predict(log_mel, probabilities)
    }

    /// Everything needed to go on later.
    pub fn state(&self) -> &TrainerState {
        &self.state
    }

    /// Goes on from a state of a network of the same shapes.
    pub fn restore(&mut self, state: TrainerState) -> Result<()> {
        self.rule.check_state(&state)?;
        let sets =
            [Some(&state.parameters), Some(&state.velocity), state.second_moment.as_ref(), state.average.as_ref()];
        sets.into_iter().flatten().try_for_each(|set| check_shapes(&self.spec, set))?;
        self.state = state;
        self.predictor_is_current = false;
        Ok(())
    }

    fn forward(&mut self, log_mel: &[f32], n: usize, dropout: Option<Seed>) {
        let (spec, parameters) = (&self.spec, &self.state.parameters);
        let (n_windows, epsilon) = (spec.n_windows(), spec.batch_norm_epsilon);
        let n_images = n * n_windows;
        let image_len = self.blocks[0].weights.shape.input_len();
        let images = self.blocks[0].input.chunks_exact_mut(image_len).take(spec.n_images(0, n));
        for (image, out) in images.enumerate() {
            cut_image(spec, log_mel, image, out);
        }
        let at = |index: usize| Dropout::new(dropout, index, spec.dropout);
        for index in 0..self.blocks.len() {
            let (tensors, n_images) = (parameters.block(index), spec.n_images(index, n));
            let (before, here) = self.blocks.split_at_mut(index);
            here[0].load(tensors);
            match (before.last(), &mut self.seam) {
                (None, _) => here[0].forward_first(at(index), tensors, epsilon, n_images),
                (Some(before), Some(memory)) if memory.cut == index => {
                    before.activate_all(at(index - 1), &mut memory.whole, n);
                    let cut = |image: usize, out: &mut [f32]| memory.seam.cut(image, &memory.whole, out);
                    here[0].forward_inner(cut, at(index), tensors, epsilon, n_images);
                }
                (Some(before), _) => {
                    let activate = |image: usize, out: &mut [f32]| before.activate(at(index - 1), image, out);
                    here[0].forward_inner(activate, at(index), tensors, epsilon, n_images);
                }
            }
        }
        let last = self.blocks.len() - 1;
        let shape = self.blocks[last].weights.shape;
        self.blocks[last].activate_all(at(last), &mut self.features, n_images);
        let (n_inputs, feature_len) = (spec.lstm_inputs(), shape.pooled.padded_len());
        let input = self.lstm.input.chunks_exact_mut(n_inputs).zip(self.features.chunks_exact(feature_len));
        let mask = InputMask::new(spec, dropout);
        for (image, (input, features)) in input.take(n_images).enumerate() {
            for (at, value) in input.iter_mut().enumerate() {
                *value = features[padded_index(&shape, at)] * mask.factor(image / n_windows, at);
            }
        }
        self.lstm.forward(parameters.lstm(), n);
        let last = &self.lstm.last[..n * spec.lstm_units];
        dense::forward(dense_shape(spec), parameters.dense(), last, &mut self.probabilities);
    }

    fn backward(&mut self, targets: Targets<'_>, n: usize, dropout: Option<Seed>) {
        let (spec, parameters) = (&self.spec, &self.state.parameters);
        let (n_windows, n_images) = (spec.n_windows(), n * spec.n_windows());
        let TensorsMut { blocks: block_gradients, lstm: lstm_gradient, dense: dense_gradient } =
            self.gradient.tensors_mut();
        let batch = DenseBatch { kernel: parameters.dense().kernel, input: &self.lstm.last, targets };
        dense::backward(dense_shape(spec), batch, &mut self.probabilities, dense_gradient, &mut self.d_last);
        self.lstm.backward(parameters.lstm(), n, &self.d_last, lstm_gradient);
        let last = self.blocks.len() - 1;
        let pooled = self.blocks[last].weights.shape.pooled;
        let mask = InputMask::new(spec, dropout);
        let images =
            self.d_features.chunks_exact_mut(pooled.n_floats()).zip(self.lstm.input.chunks_exact(spec.lstm_inputs()));
        for (image, (out, d_input)) in images.take(n_images).enumerate() {
            for (at, value) in d_input.iter().enumerate() {
                let (pixel, channel) = (at / pooled.channels, at % pooled.channels);
                let offset = channel / CHANNELS * pooled.plane() + pixel * CHANNELS + channel % CHANNELS;
                out[offset] = value * mask.factor(image / n_windows, at);
            }
        }
        let at = |index: usize| Dropout::new(dropout, index, spec.dropout);
        self.blocks[last].backward_output(at(last), &self.d_features, n_images);
        for (index, mut gradient) in block_gradients.into_iter().enumerate().rev() {
            let gradient = &mut gradient;
            let (before, here) = self.blocks.split_at_mut(index);
            let n_images = spec.n_images(index, n);
            match (before.last_mut(), &mut self.seam) {
                (None, _) => here[0].backward_first(parameters.block(index), gradient, n_images),
                (Some(before), Some(memory)) if memory.cut == index => {
                    here[0].backward_images(&mut memory.d_windows, gradient, n_images);
                    memory.seam.gather(&memory.d_windows, &mut memory.d_whole, n);
                    before.backward_output(at(index - 1), &memory.d_whole, n);
                }
                (Some(before), _) => here[0].backward_inner(before, at(index - 1), gradient, n_images),
            }
        }
    }

    /// Moves the moving statistics towards those of the last batch.
    fn observe_statistics(&mut self) {
        let keep = f64::from(self.spec.batch_norm_momentum);
        for (block, tensors) in self.blocks.iter().zip(self.state.parameters.tensors_mut().blocks) {
            let moving = tensors.mean.values.iter_mut().zip(&mut tensors.variance.values);
            for ((mean, variance), batch) in moving.zip(&block.statistics) {
                *mean = (keep * f64::from(*mean) + (1.0 - keep) * batch.0) as f32;
                *variance = (keep * f64::from(*variance) + (1.0 - keep) * batch.1) as f32;
            }
        }
    }
}

#[cfg(test)]
#[path = "trainer_proof.rs"]
mod tests;
