//! What training will hold in memory, known before it begins, against the limit of the command line.

use std::fmt;

use crate::error::{Error, Result};
use crate::network::network::Trainer;
use crate::network::parameters::Parameters;
use crate::network::spec::NetworkSpec;
use crate::stages::train::dataset::ITEM_BYTES;
use crate::stages::train::model::{PARITY_BATCH, PARITY_ITEMS};
use crate::stages::train::stream::BATCHES;
use crate::units::Bytes;

/// Bytes of an `f32`.
const FLOAT: usize = size_of::<f32>();
/// Bytes an item takes in its side and in the order of an epoch.
const INDEX_BYTES: usize = ITEM_BYTES + size_of::<usize>();
/// Copies of the parameters: weights, velocity, gradient, the predictor's, packed forms, two checkpoints and their bytes.
const PARAMETER_COPIES: usize = 12;
/// The program, its threads, ONNX Runtime's library, and the index pass over one shard (measured: 60 to 80 MB).
const PROGRAM: usize = 96_000_000;
/// Layers of the largest kind that ONNX Runtime holds at a time; its arena then grows to a power of two.
const SESSION_LAYERS: usize = 3;

/// Memory that a training takes at its peak: an upper estimate, of which only a few bytes an item grow with the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Activations, gradients, weights.
    pub trainer: Bytes,
    /// Spectrograms on their way to a step.
    pub batches: Bytes,
    /// Where each spectrogram lies, and the order of an epoch.
    pub index: Bytes,
    /// ONNX Runtime's check of the model, when the trainer is gone.
    pub check: Bytes,
    /// All else.
    pub program: Bytes,
    batch: usize,
}

impl MemoryPlan {
    /// The plan for steps of `batch` recordings and `n_items` items on all sides; with 0 what is known beforehand.
    ///
    /// Proof: `the_papers_batch_needs_what_its_shapes_say`, and in the tests of the whole program
    /// `the_memory_limit_is_said_and_changes_neither_model_nor_freshness`, which compares it with a run's peak.
    pub fn new(spec: &NetworkSpec, batch: usize, n_items: usize) -> Self {
        let bytes = |n: usize| Bytes(n as u64);
        let size = spec.n_mels * spec.n_frames;
        Self {
            trainer: bytes(trainer_bytes(spec, batch)),
            batches: bytes(BATCHES * (batch * size * FLOAT + 2 * size)),
            index: bytes(n_items * INDEX_BYTES),
            check: bytes(session_bytes(spec, PARITY_BATCH) + PARITY_ITEMS * size * FLOAT),
            program: bytes(PROGRAM),
            batch,
        }
    }

    /// The same plan with `bytes` more: what fresh copies and masks hold.
    pub fn with_extra(self, bytes: usize) -> Self {
        Self { program: Bytes(self.program.0 + bytes as u64), ..self }
    }

    /// What is held at the fullest moment.
    pub fn total(&self) -> Bytes {
        Bytes(self.program.0 + self.index.0 + (self.trainer.0 + self.batches.0).max(self.check.0))
    }

    /// Refuses a plan above `limit`; the hint names the largest batch that fits.
    pub fn check(&self, spec: &NetworkSpec, limit: Bytes) -> Result<()> {
        if self.total() <= limit {
            return Ok(());
        }
        let n_items = self.index.0 as usize / INDEX_BYTES;
        let extra = self.program.0 as usize - PROGRAM;
        // Batches of `most` fit (0: none does), batches of `least` do not.
        let (mut most, mut least) = (0, self.batch);
        while least - most > 1 {
            let batch = most.midpoint(least);
            let fits = Self::new(spec, batch, n_items).with_extra(extra).total() <= limit;
            (most, least) = if fits { (batch, least) } else { (most, batch) };
        }
        let raise = format!("raise `--memory-limit` to {} or more", Bytes(self.total().0.next_multiple_of(10_000_000)));
        let hint = match most {
            0 => raise,
            _ => format!("lower `[train] batch` to {most} (another batch is another training), or {raise}"),
        };
        let text = format!("training needs {self} with batch {}, the memory limit is {limit}", self.batch);
        Err(Error::recipe(text).hint(hint))
    }
}

impl fmt::Display for MemoryPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trainer, batches, index, check, program, .. } = self;
        let total = self.total();
        write!(f, "{total} (program {program}, index {index}, trainer {trainer} and batches {batches}, check {check})")
    }
}

/// Largest resident memory of this process so far, where the kernel says it.
pub fn peak() -> Option<Bytes> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| Bytes(kib * 1024))
}

/// What a trainer of this network allocates for batches of up to `batch` recordings.
fn trainer_bytes(spec: &NetworkSpec, batch: usize) -> usize {
    let parameters: usize = Parameters::zeros(spec).tensors.iter().map(|tensor| tensor.values.len()).sum();
    Trainer::memory_bytes(spec, batch) + FLOAT * PARAMETER_COPIES * parameters
}

/// What ONNX Runtime holds while it scores `batch` recordings.
fn session_bytes(spec: &NetworkSpec, batch: usize) -> usize {
    let layer = |index: usize| {
        let (height, width, _) = spec.block_input(index);
        spec.n_images(index, batch) * height * width * spec.blocks[index].n_maps
    };
    let steps = batch * spec.n_windows() * spec.lstm_inputs().max(4 * spec.recurrent.n_lstms() * spec.lstm_units);
    let largest = (0..spec.blocks.len()).map(layer).max().unwrap_or(0).max(steps);
    (largest * FLOAT * SESSION_LAYERS).next_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_papers_batch_needs_what_its_shapes_say() {
        let spec = NetworkSpec::paper(128, 508);
        // Floats of one image, by hand: inputs 130^2, 66^2 64, 18^2 64, 6^2 128; convolutions 66^2 64, 18^2 128, 6^2 128;
        // pooled 64^2 64, 16^2 64, 4^2 128, 128, each with a place of a byte.
        let pooled = 64 * 64 * 64 + 16 * 16 * 64 + 4 * 4 * 128 + 128;
        let haloed = 130 * 130 + 66 * 66 * 64 + 18 * 18 * 64 + 36 * 128 + 66 * 66 * 64 + 18 * 18 * 128 + 36 * 128;
        let images = 64 * 6 * (4 * (haloed + pooled) + pooled);
        let trainer = MemoryPlan::new(&spec, 64, 0).trainer.0;
        assert!((images as u64..images as u64 + 200_000_000).contains(&trainer), "{images} {trainer}");
    }

    #[test]
    fn the_shipped_recipe_fits_the_default_limit_with_100_000_items_and_hardly_grows() {
        let (spec, limit) = (NetworkSpec::paper(128, 508), Bytes::parse("2GB").expect("a size"));
        let (small, large) = (MemoryPlan::new(&spec, 64, 2_000), MemoryPlan::new(&spec, 64, 100_000));
        large.check(&spec, limit).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(large.total().0 - small.total().0, 98_000 * INDEX_BYTES as u64);
    }

    #[test]
    fn a_plan_above_the_limit_is_refused_with_the_batch_that_fits() {
        let (spec, limit) = (NetworkSpec::paper(128, 508), Bytes::parse("1GB").expect("a size"));
        let error = MemoryPlan::new(&spec, 64, 1000).check(&spec, limit).expect_err("too much");
        assert!(error.to_string().contains("batch 64, the memory limit is 1.00 GB"), "{error}");
        let hint = error.hint_text().expect("a hint");
        let batch = hint.split(' ').find_map(|word| word.parse::<usize>().ok()).expect("a batch");
        MemoryPlan::new(&spec, batch, 1000).check(&spec, limit).expect("the hint holds");
        MemoryPlan::new(&spec, batch + 1, 1000).check(&spec, limit).expect_err("and is the largest");
        let error = MemoryPlan::new(&spec, 64, 1000).with_extra(300_000_000).check(&spec, limit).expect_err("more");
        assert!(!error.hint_text().unwrap_or_default().contains(&format!("batch` to {batch} ")), "extra bytes count");
        let error = MemoryPlan::new(&spec, 1, 0).check(&spec, Bytes(1_000_000)).expect_err("no batch is small enough");
        assert!(error.hint_text().is_some_and(|hint| hint.starts_with("raise")), "{error}");
    }
}
