//! Training: one step is forward, loss, backward and update of the whole network.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::network::block::Block;
use crate::network::block_weights::BlockShape;
use crate::network::dense::{self, DenseBatch, StepOutcome};
use crate::network::dropout::InputMask;
use crate::network::kernels::CHANNELS;
use crate::network::kernels::dropout::Dropout;
use crate::network::lstm::Lstm;
use crate::network::optimiser::{SgdConfig, update};
use crate::network::parameters::{Parameters, TensorsMut};
use crate::network::predictor::{
    Predictor, check_batch, check_shapes, cut_image, dense_shape, lstm_shape, padded_index, thread_pool,
};
use crate::network::seam::SeamMemory;
use crate::network::spec::NetworkSpec;
use crate::network::state::TrainerState;
use crate::simd::Isa;
use crate::units::Seed;

/// Trains one network. Every buffer is made once, for batches of up to `max_batch` recordings.
///
/// Results have the same bytes for any number of threads.
///
/// Proof: `gradients_match_the_twin_on_every_instruction_set`, `gradients_losses_and_predictions_match_pytorch`,
/// `a_step_gives_the_same_bytes_for_any_number_of_threads`.
pub struct Trainer {
    spec: NetworkSpec,
    state: TrainerState,
    config: SgdConfig,
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
        config: SgdConfig,
        max_batch: usize,
        n_threads: usize,
    ) -> Result<Self> {
        Self::with_isa(spec, parameters, config, max_batch, n_threads, Isa::fastest())
    }

    /// A trainer with the kernels of one instruction set.
    pub fn with_isa(
        spec: NetworkSpec,
        parameters: Parameters,
        config: SgdConfig,
        max_batch: usize,
        n_threads: usize,
        isa: Isa,
    ) -> Result<Self> {
        check_shapes(&spec, &parameters)?;
        let pool = thread_pool(n_threads)?;
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
            state: TrainerState { parameters, velocity: Parameters::zeros(&spec), iteration: 0 },
            config,
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
        let outcome = self.compute_gradient(log_mel, labels, dropout)?;
        self.observe_statistics();
        let TrainerState { parameters, velocity, iteration } = &mut self.state;
        update(&self.config, *iteration, parameters, velocity, &self.gradient);
        *iteration += 1;
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
        let n = check_batch(&self.spec, log_mel)?;
        if n != labels.len() || n > self.max_batch {
            let text = format!("{n} recordings with {} labels, room for {}", labels.len(), self.max_batch);
            return Err(Error::bug(text));
        }
        if let Some(label) = labels.iter().find(|&&label| label >= self.spec.n_classes) {
            return Err(Error::input(format!("label {label}, the network has {} classes", self.spec.n_classes)));
        }
        let pool = Arc::clone(&self.pool);
        pool.install(|| {
            self.forward(log_mel, n, dropout);
            let outcome = dense::evaluate(self.spec.n_classes, &self.probabilities, labels);
            if !outcome.loss.is_finite() {
                return Err(Error::input(format!("loss is not finite at step {}", self.state.iteration))
                    .hint("lower `[train] learning_rate`"));
            }
            self.backward(labels, n, dropout);
            Ok(outcome)
        })
    }

    /// What [`Trainer::compute_gradient`] found, shaped like the parameters.
    pub fn gradient(&self) -> &Parameters {
        &self.gradient
    }

    /// Inference with moving statistics: probabilities `[n, classes]` of `log_mel` `[n, n_mels, n_frames]`, any `n`.
    pub fn predict(&mut self, log_mel: &[f32], probabilities: &mut [f32]) -> Result<()> {
        if !self.predictor_is_current {
            self.predictor.load(&self.state.parameters);
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
        check_shapes(&self.spec, &state.parameters)?;
        check_shapes(&self.spec, &state.velocity)?;
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

    fn backward(&mut self, labels: &[usize], n: usize, dropout: Option<Seed>) {
        let (spec, parameters) = (&self.spec, &self.state.parameters);
        let (n_windows, n_images) = (spec.n_windows(), n * spec.n_windows());
        let TensorsMut { blocks: block_gradients, lstm: lstm_gradient, dense: dense_gradient } =
            self.gradient.tensors_mut();
        let batch = DenseBatch { kernel: parameters.dense().kernel, input: &self.lstm.last, labels };
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
mod tests {
    use super::*;
    use crate::network::network::Network;
    use crate::network::proof::{batch, network_of, small_network, small_spec, specs, trainer};

    #[test]
    fn a_step_gives_the_same_bytes_for_any_number_of_threads() {
        for spec in specs() {
            let network = network_of(spec);
            let states: Vec<Vec<u8>> = [1, 2, 8]
                .into_iter()
                .map(|n_threads| {
                    let mut trainer = trainer(&network, 9, n_threads, Isa::fastest());
                    for step in 0..3 {
                        let (log_mel, labels) = batch(&network.spec, 9 - step, 30 + step as u64);
                        trainer.step(&log_mel, &labels, Some(Seed(step as u64))).expect("a good batch");
                    }
                    trainer.state().to_bytes()
                })
                .collect();
            assert!(states[0] == states[1] && states[0] == states[2]);
        }
    }

    #[test]
    fn a_restored_run_goes_on_with_the_same_bytes() {
        let network = small_network();
        let mut through = trainer(&network, 4, 2, Isa::fastest());
        let mut stopped = trainer(&network, 4, 2, Isa::fastest());
        let step = |trainer: &mut Trainer, index: u64| {
            let (log_mel, labels) = batch(&network.spec, 4, 50 + index);
            trainer.step(&log_mel, &labels, Some(Seed(index))).expect("a good batch");
        };
        (0..4).for_each(|index| step(&mut through, index));
        (0..2).for_each(|index| step(&mut stopped, index));
        let bytes = stopped.state().to_bytes();
        let mut resumed = trainer(&network, 6, 1, Isa::fastest());
        resumed.restore(TrainerState::from_bytes(&network.spec, &bytes).expect("own bytes")).expect("own shapes");
        (2..4).for_each(|index| step(&mut resumed, index));
        assert!(through.state() == resumed.state());
        assert_eq!(resumed.state().iteration, 4);
    }

    #[test]
    fn predictions_do_not_depend_on_the_batch_and_follow_training() {
        let network = small_network();
        let mut trainer = trainer(&network, 4, 2, Isa::fastest());
        let (log_mel, labels) = batch(&network.spec, 4, 60);
        let (mut together, mut alone) = (vec![0.0; 28], vec![0.0; 7]);
        trainer.predict(&log_mel, &mut together).expect("a good batch");
        for (one, together) in log_mel.chunks(12 * 34).zip(together.chunks(7)) {
            trainer.predict(one, &mut alone).expect("a good recording");
            assert_eq!(alone, together);
        }
        trainer.step(&log_mel, &labels, None).expect("a good batch");
        let mut after = together.clone();
        trainer.predict(&log_mel, &mut after).expect("a good batch");
        assert_ne!(after, together);
        let fresh = Network { spec: network.spec.clone(), parameters: trainer.state().parameters.clone() };
        fresh.predictor(1).expect("own shapes").predict(&log_mel, &mut together).expect("a good batch");
        assert_eq!(after, together);
    }

    #[test]
    fn training_learns_a_small_batch_by_heart() {
        let spec = NetworkSpec { dropout: 0.0, ..small_spec() };
        let network = Network::initialise(spec, Seed(9)).expect("the small shapes divide");
        let mut trainer = trainer(&network, 6, 2, Isa::fastest());
        let (log_mel, labels) = batch(&network.spec, 6, 70);
        let mut outcomes = (0..300).map(|_| trainer.step(&log_mel, &labels, None).expect("a good batch"));
        let first = outcomes.next().expect("a step");
        let last = outcomes.last().expect("a step");
        assert!(last.loss < 0.3 * first.loss && last.correct == 6, "{first:?} {last:?}");
    }

    #[test]
    fn bad_batches_are_refused_and_leave_the_state_alone() {
        let network = small_network();
        let mut trainer = trainer(&network, 2, 1, Isa::fastest());
        let before = trainer.state().clone();
        let (mut log_mel, labels) = batch(&network.spec, 2, 80);
        assert!(trainer.step(&log_mel, &labels[..1], None).is_err());
        assert!(trainer.step(&log_mel[1..], &labels, None).is_err());
        assert!(trainer.step(&log_mel, &[0, 7], None).is_err());
        let (three, three_labels) = batch(&network.spec, 3, 80);
        assert!(trainer.step(&three, &three_labels, None).is_err());
        log_mel[700] = f32::NAN;
        assert!(trainer.step(&log_mel, &labels, None).is_err());
        assert!(trainer.predict(&log_mel, &mut [0.0; 14]).is_err());
        assert!(*trainer.state() == before);
        log_mel[700] = 0.0;
        let mut diverged = before;
        diverged.parameters.tensors.last_mut().expect("dense.bias").values[0] = f32::INFINITY;
        trainer.restore(diverged.clone()).expect("own shapes");
        assert!(trainer.step(&log_mel, &labels, None).is_err(), "a loss that is not finite");
        assert!(*trainer.state() == diverged);
    }
}
