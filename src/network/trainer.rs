//! Training: one step is forward, loss, backward and update of the whole network.

mod finish;

use std::sync::Arc;

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::network::block::Block;
use crate::network::block_weights::BlockShape;
use crate::network::columns::{self, Columns, feature_lengths};
use crate::network::dense::{self, DenseBatch, StepOutcome};
use crate::network::dropout::InputMask;
use crate::network::inputs::cut_image;
use crate::network::kernels::dropout::Dropout;
use crate::network::optimiser::UpdateRule;
use crate::network::parameters::{Parameters, TensorsMut};
use crate::network::predictor::{Predictor, check_batch, check_shapes, dense_shape, thread_pool};
use crate::network::seam::SeamMemory;
use crate::network::sequence::{Sequence, SequenceGradient};
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
    /// Where the steps lie in them; none without blocks.
    columns: Option<Columns>,
    /// What dropout multiplies the inputs of the LSTM with `[max_batch, inputs]`.
    factors: Vec<f32>,
    sequence: Sequence,
    /// `[max_batch, classes]`; while going back they become the gradient of the logits.
    probabilities: Vec<f32>,
    /// Gradient of the embedding.
    d_embedding: Vec<f32>,
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
        let max_batch = max_batch.max(1);
        let (features, d_features) = feature_lengths(&spec, max_batch);
        Ok(Self {
            predictor: Predictor::with_pool(spec.clone(), parameters.clone(), Arc::clone(&pool), isa)?,
            predictor_is_current: true,
            gradient: Parameters::zeros(&spec),
            blocks: (shapes.iter().enumerate())
                .map(|(index, &shape)| Block::new(shape, isa, spec.n_images(index, max_batch)))
                .collect(),
            seam: SeamMemory::new(&spec, max_batch),
            features: vec![0.0; features],
            d_features: vec![0.0; d_features],
            columns: Columns::new(&spec),
            factors: vec![0.0; max_batch * spec.lstm_inputs()],
            sequence: Sequence::new(&spec, max_batch, isa),
            probabilities: vec![0.0; max_batch * spec.n_classes],
            d_embedding: vec![0.0; max_batch * spec.n_embedding()],
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
        let (features, d_features) = feature_lengths(spec, max_batch);
        let features = features + d_features + max_batch * (spec.lstm_inputs() + spec.n_embedding());
        let behind = SeamMemory::bytes(spec, max_batch) + Sequence::bytes(spec, max_batch, true);
        blocks.sum::<usize>() + behind + Predictor::memory_bytes(spec) + features * size_of::<f32>()
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

    /// What entered the dense layer in the last step `[n, n_embedding]`.
    #[cfg(test)]
    pub(super) fn embedding(&self, n: usize) -> &[f32] {
        &self.sequence.embedding[..n * self.spec.n_embedding()]
    }

    /// Inference with moving statistics and the weights that count ([`TrainerState::evaluated`]): probabilities `[n, classes]` of `log_mel` `[n, n_mels, n_frames]`, any `n`.
    pub fn predict(&mut self, log_mel: &[f32], probabilities: &mut [f32]) -> Result<()> {
        self.current_predictor().predict(log_mel, probabilities)
    }

    /// [`Trainer::predict`], and the vectors that enter the dense layer into `embedding` `[n, n_embedding]`.
    pub fn predict_with_embedding(
        &mut self,
        log_mel: &[f32],
        probabilities: &mut [f32],
        embedding: &mut [f32],
    ) -> Result<()> {
        self.current_predictor().predict_with_embedding(log_mel, probabilities, embedding)
    }

    fn current_predictor(&mut self) -> &mut Predictor {
        if !self.predictor_is_current {
            self.predictor.load(self.state.evaluated());
            self.predictor_is_current = true;
        }
        &mut self.predictor
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
        let epsilon = spec.batch_norm_epsilon;
        if let Some(first) = self.blocks.first_mut() {
            let images = first.input.par_chunks_exact_mut(first.weights.shape.input_len()).take(spec.n_images(0, n));
            images.enumerate().for_each(|(image, out)| cut_image(spec, log_mel, image, out));
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
        if let Some(last) = self.blocks.len().checked_sub(1) {
            self.blocks[last].activate_all(at(last), &mut self.features, spec.n_images(last, n));
        }
        let (features, mask) = ((self.columns, &self.features[..]), InputMask::new(spec, dropout));
        columns::read_steps(spec, features, (log_mel, n), mask, &mut self.factors, self.sequence.input());
        self.sequence.forward(parameters, n);
        let embedding = &self.sequence.embedding[..n * spec.n_embedding()];
        dense::forward(dense_shape(spec), parameters.dense(), embedding, &mut self.probabilities);
    }

    fn backward(&mut self, targets: Targets<'_>, n: usize, dropout: Option<Seed>) {
        let (spec, parameters) = (&self.spec, &self.state.parameters);
        let TensorsMut { blocks: block_gradients, lstms, attention, dense: dense_gradient } =
            self.gradient.tensors_mut();
        let batch = DenseBatch { kernel: parameters.dense().kernel, input: &self.sequence.embedding, targets };
        dense::backward(dense_shape(spec), batch, &mut self.probabilities, dense_gradient, &mut self.d_embedding);
        self.sequence.backward(parameters, n, &self.d_embedding, SequenceGradient { lstms, attention });
        let (Some(last), Some(columns)) = (self.blocks.len().checked_sub(1), self.columns) else { return };
        let (image_len, n_inputs) = (self.blocks[last].weights.shape.pooled.n_floats(), spec.lstm_inputs());
        let n_images = spec.n_images(last, n);
        let vectors = self.sequence.input().par_chunks_exact(columns.n_steps * n_inputs);
        let images = self.d_features.par_chunks_exact_mut(image_len).zip(vectors).take(n_images);
        let (per_recording, factors) = (n_images / n, &self.factors);
        images.enumerate().for_each(|(image, (out, vectors))| {
            columns.put_gradients(vectors, &factors[image / per_recording * n_inputs..][..n_inputs], out);
        });
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
