//! Inference: the network's forward pass with moving statistics and no memory of the batch.

use std::sync::Arc;

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::network::block::{GROUPS, group_size};
use crate::network::block_weights::{BlockShape, BlockWeights};
use crate::network::columns::Columns;
use crate::network::dense::{self, DenseShape};
use crate::network::inputs::{cut_image, stack_windows};
use crate::network::kernels::dropout::Dropout;
use crate::network::parameters::Parameters;
use crate::network::seam::Seam;
use crate::network::sequence::Sequence;
use crate::network::spec::NetworkSpec;
use crate::simd::Isa;

/// Values of a pool: the index of one takes seven bits, and the kernels count from zero.
const MOST_CELLS: usize = 127;

/// Recordings that go through the LSTM together.
const BATCH: usize = 64;

/// Scores recordings with fixed weights. A recording's result does not depend on its neighbours or on threads.
pub struct Predictor {
    spec: NetworkSpec,
    parameters: Parameters,
    blocks: Vec<BlockWeights>,
    scratch: Vec<Scratch>,
    seam: Option<Seam>,
    /// Where the steps lie in what leaves the last block.
    columns: Option<Columns>,
    /// `[recordings, steps, inputs]` of up to [`BATCH`] recordings are its own.
    sequence: Sequence,
    pool: Arc<rayon::ThreadPool>,
}

/// What one group of images needs on its way through the blocks.
struct Scratch {
    /// The image entering each block with padding, and the last block's output.
    images: Vec<Vec<f32>>,
    strip: Vec<f32>,
    /// The convolutions' own.
    transforms: Vec<f32>,
    raw: Vec<f32>,
    argmax: Vec<u8>,
    /// Output of the last block before the seam, with padding.
    whole: Vec<f32>,
}

impl Scratch {
    fn bytes(shapes: &[BlockShape], seam: Option<Seam>) -> usize {
        let sum = |length: fn(&BlockShape) -> usize| shapes.iter().map(length).sum::<usize>();
        let whole = seam.map_or(0, |seam| seam.whole.padded_len());
        // The last output, and of strips, transforms and pooled values only the longest, are counted generously.
        let strips = sum(BlockShape::strip_len) + sum(BlockShape::scratch_len) + sum(|shape| shape.pooled.n_floats());
        (sum(BlockShape::input_len) + whole + strips) * size_of::<f32>() + sum(|shape| shape.pooled.n_floats())
    }

    fn new(shapes: &[BlockShape], seam: Option<Seam>) -> Self {
        let most = |length: &dyn Fn(&BlockShape) -> usize| shapes.iter().map(length).max().unwrap_or(0);
        let pooled = most(&|shape| shape.pooled.n_floats());
        let mut images: Vec<Vec<f32>> = shapes.iter().map(|shape| vec![0.0; shape.input_len()]).collect();
        images.extend(shapes.last().map(|shape| vec![0.0; shape.pooled.padded_len()]));
        Self {
            images,
            strip: vec![0.0; most(&BlockShape::strip_len)],
            transforms: vec![0.0; most(&BlockShape::scratch_len)],
            raw: vec![0.0; pooled],
            argmax: vec![0; pooled],
            whole: vec![0.0; seam.map_or(0, |seam| seam.whole.padded_len())],
        }
    }
}

/// A pool of `n_threads` threads for the kernels.
pub(super) fn thread_pool(n_threads: usize) -> Result<Arc<rayon::ThreadPool>> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads.max(1)).build();
    Ok(Arc::new(pool.map_err(|error| Error::machine("cannot start threads").because(error))?))
}

/// Refuses parameters that do not have the shapes of `spec`, and specs that the kernels cannot run.
pub(super) fn check_shapes(spec: &NetworkSpec, parameters: &Parameters) -> Result<()> {
    spec.check()?;
    if spec.blocks.iter().any(|block| block.pool.cells() > MOST_CELLS || block.n_maps < 2) {
        return Err(Error::recipe("a block has 2 maps or more and a pool of at most 127 values"));
    }
    let expected = Parameters::zeros(spec);
    if expected.tensors.len() != parameters.tensors.len() {
        return Err(Error::input(format!(
            "{} tensors given, the network has {}",
            parameters.tensors.len(),
            expected.tensors.len()
        )));
    }
    for (want, have) in expected.tensors.iter().zip(&parameters.tensors) {
        let fits = want.name == have.name && want.shape == have.shape && want.values.len() == have.values.len();
        if !fits {
            let text = format!("tensor {:?} given, {:?} expected", have.shape, want.shape);
            return Err(Error::input(text).at_place(want.name.clone()));
        }
    }
    Ok(())
}

/// Refuses a batch whose values are too few, too many, or not finite; gives the number of recordings.
pub(super) fn check_batch(spec: &NetworkSpec, log_mel: &[f32]) -> Result<usize> {
    let one = spec.n_mels * spec.n_frames;
    if log_mel.is_empty() || !log_mel.len().is_multiple_of(one) {
        let text =
            format!("{} log-mel values are no whole recordings of {} x {}", log_mel.len(), spec.n_mels, spec.n_frames);
        return Err(Error::input(text));
    }
    if let Some(at) = log_mel.iter().position(|value| !value.is_finite()) {
        return Err(Error::input(format!("log-mel of recording {} of the batch is not finite", at / one)));
    }
    Ok(log_mel.len() / one)
}

/// The layer's sizes in `spec`.
pub(super) fn dense_shape(spec: &NetworkSpec) -> DenseShape {
    DenseShape { n_inputs: spec.n_embedding(), n_classes: spec.n_classes }
}

impl Predictor {
    /// A predictor with the machine's fastest kernels and `n_threads` threads of its own.
    pub fn new(spec: NetworkSpec, parameters: Parameters, n_threads: usize) -> Result<Self> {
        Self::with_pool(spec, parameters, thread_pool(n_threads)?, Isa::fastest())
    }

    /// A predictor that shares a thread pool.
    pub(super) fn with_pool(
        spec: NetworkSpec,
        parameters: Parameters,
        pool: Arc<rayon::ThreadPool>,
        isa: Isa,
    ) -> Result<Self> {
        check_shapes(&spec, &parameters)?;
        let shapes: Vec<BlockShape> = (0..spec.blocks.len()).map(|index| BlockShape::new(&spec, index)).collect();
        let seam = Seam::new(&spec);
        let mut predictor = Self {
            seam,
            blocks: shapes.iter().map(|&shape| BlockWeights::new(shape, isa)).collect(),
            scratch: (0..GROUPS).map(|_| Scratch::new(&shapes, seam)).collect(),
            columns: Columns::new(&spec),
            sequence: Sequence::new(&spec, BATCH, isa),
            parameters: Parameters { tensors: Vec::new() },
            spec,
            pool,
        };
        predictor.load(&parameters);
        Ok(predictor)
    }

    /// Bytes of the memory that inference works in.
    pub(super) fn memory_bytes(spec: &NetworkSpec) -> usize {
        let shapes: Vec<BlockShape> = (0..spec.blocks.len()).map(|index| BlockShape::new(spec, index)).collect();
        GROUPS * Scratch::bytes(&shapes, Seam::new(spec)) + Sequence::bytes(spec, BATCH, false)
    }

    /// Takes other weights of the same shapes.
    pub(super) fn load(&mut self, parameters: &Parameters) {
        self.parameters.tensors.clone_from(&parameters.tensors);
        for (index, block) in self.blocks.iter_mut().enumerate() {
            let tensors = parameters.block(index);
            let statistics = tensors.mean.values.iter().zip(&tensors.variance.values);
            block.load(tensors);
            block.set_norm(
                tensors,
                self.spec.batch_norm_epsilon,
                statistics.map(|(&mean, &variance)| (f64::from(mean), f64::from(variance))),
            );
        }
    }

    /// Probabilities of `log_mel` `[n, n_mels, n_frames]` into `probabilities` `[n, classes]`.
    pub fn predict(&mut self, log_mel: &[f32], probabilities: &mut [f32]) -> Result<()> {
        self.predict_into(log_mel, probabilities, None)
    }

    /// [`Predictor::predict`], and the vectors that enter the dense layer into `embedding` `[n, n_embedding]`.
    pub fn predict_with_embedding(
        &mut self,
        log_mel: &[f32],
        probabilities: &mut [f32],
        embedding: &mut [f32],
    ) -> Result<()> {
        self.predict_into(log_mel, probabilities, Some(embedding))
    }

    fn predict_into(
        &mut self,
        log_mel: &[f32],
        probabilities: &mut [f32],
        mut embedding: Option<&mut [f32]>,
    ) -> Result<()> {
        let n = check_batch(&self.spec, log_mel)?;
        let (n_classes, width) = (self.spec.n_classes, self.spec.n_embedding());
        for (what, room, each) in [
            ("probabilities", probabilities.len(), n_classes),
            ("values of the embedding", embedding.as_ref().map_or(n * width, |embedding| embedding.len()), width),
        ] {
            if room != n * each {
                return Err(Error::bug(format!("room for {room} {what}, {n} recordings have {}", n * each)));
            }
        }
        let one = self.spec.n_mels * self.spec.n_frames;
        let batches = log_mel.chunks(BATCH * one).zip(probabilities.chunks_mut(BATCH * n_classes));
        for (number, (log_mel, out)) in batches.enumerate() {
            self.predict_batch(log_mel, out);
            if let Some(embedding) = &mut embedding {
                let n = log_mel.len() / one;
                embedding[number * BATCH * width..][..n * width].copy_from_slice(&self.sequence.embedding[..n * width]);
            }
        }
        Ok(())
    }

    fn predict_batch(&mut self, log_mel: &[f32], probabilities: &mut [f32]) {
        let Self { spec, blocks, scratch, seam, columns, sequence, pool, parameters } = self;
        let (seam, columns) = (*seam, *columns);
        let one = spec.n_mels * spec.n_frames;
        let n = log_mel.len() / one;
        // One image of the first block gives the features of one window, or of all windows of a recording.
        let n_images = if blocks.is_empty() { n } else { spec.n_images(0, n) };
        let per_image = n * spec.n_windows() / n_images * spec.lstm_inputs();
        let group = group_size(n_images);
        pool.install(|| {
            let features = sequence.input()[..n_images * per_image].par_chunks_mut(group * per_image);
            features.zip(scratch.par_iter_mut()).enumerate().for_each(|(index, (features, scratch))| {
                for (offset, features) in features.chunks_exact_mut(per_image).enumerate() {
                    let image = index * group + offset;
                    let Some(columns) = columns else {
                        stack_windows(spec, &log_mel[image * one..][..one], features);
                        continue;
                    };
                    cut_image(spec, log_mel, image, &mut scratch.images[0]);
                    match seam {
                        None => run_image(blocks, 0, columns, scratch, features),
                        Some(seam) => run_recording(blocks, spec, (seam, columns), scratch, features),
                    }
                }
            });
            sequence.forward(parameters, n);
        });
        let embedding = &sequence.embedding[..n * spec.n_embedding()];
        dense::forward(dense_shape(spec), parameters.dense(), embedding, probabilities);
    }
}

/// Takes a whole recording's image through the shared trunk, then its windows through the blocks behind the seam.
fn run_recording(
    blocks: &[BlockWeights],
    spec: &NetworkSpec,
    (seam, columns): (Seam, Columns),
    scratch: &mut Scratch,
    features: &mut [f32],
) {
    let cut = spec.cut();
    for (index, block) in blocks[..cut].iter().enumerate() {
        let mut whole = std::mem::take(&mut scratch.whole);
        let mut next = std::mem::take(&mut scratch.images[index + 1]);
        run_block(block, index, scratch, if index + 1 == cut { &mut whole } else { &mut next });
        (scratch.whole, scratch.images[index + 1]) = (whole, next);
    }
    for (window, features) in features.chunks_exact_mut(spec.lstm_inputs()).enumerate() {
        seam.cut(window, &scratch.whole, &mut scratch.images[cut]);
        run_image(blocks, cut, columns, scratch, features);
    }
}

/// Takes the image in `scratch.images[first]` through blocks `first..`; `features` are the vectors of its steps.
fn run_image(blocks: &[BlockWeights], first: usize, columns: Columns, scratch: &mut Scratch, features: &mut [f32]) {
    for (index, block) in blocks.iter().enumerate().skip(first) {
        let mut next = std::mem::take(&mut scratch.images[index + 1]);
        run_block(block, index, scratch, &mut next);
        scratch.images[index + 1] = next;
    }
    let length = features.len() / columns.n_steps;
    for (step, features) in features.chunks_exact_mut(length).enumerate() {
        columns.read(&scratch.images[blocks.len()], step, features);
    }
}

/// Takes the image in `scratch.images[index]` through block `index` into `out`, with padding.
fn run_block(block: &BlockWeights, index: usize, scratch: &mut Scratch, out: &mut [f32]) {
    let no_dropout = Dropout::new(None, 0, 0.0);
    let n_pooled = block.shape.pooled.n_floats();
    let (raw, argmax) = (&mut scratch.raw[..n_pooled], &mut scratch.argmax[..n_pooled]);
    let transforms = &mut scratch.transforms[..block.shape.scratch_len()];
    let strip = (block.shape.strip(), scratch.strip.as_mut_slice());
    let pooled = (&mut *raw, &mut *argmax);
    block.conv_pool(&scratch.images[index], strip, transforms, pooled, (no_dropout, 0), None);
    block.activate(no_dropout, raw, argmax, out);
}
