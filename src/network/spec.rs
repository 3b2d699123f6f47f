//! What the network is: its shapes and constants, as one value that training, export and scoring share.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::network::head::Head;
use crate::network::inputs::Inputs;
use crate::network::pool::Pool;
use crate::network::sequence::Recurrent;
use crate::signal::tiles;

/// One learning module: convolution 3x3 `same`, batch norm, ELU, max pool, dropout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockSpec {
    /// Feature maps out of the convolution.
    pub n_maps: usize,
    /// Sides and strides of the max pool.
    pub pool: Pool,
}

/// Where a recording is cut into windows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trunk {
    /// Before the first block, as in the paper: each window is an image of its own.
    #[default]
    Windows,
    /// As late as the pools allow: the blocks before that see all frames once. In the paper's network block 4 is the
    /// first that sees windows, which saves 1.7 times the work. Where the product of all pools divides window and hop, that is
    /// behind the last block, and the steps are groups of columns of what it gives. Images meet their neighbours where the paper has zero
    /// padding, and every frame counts once in the batch statistics, so it is a network of its own.
    Shared,
}

/// The time-distributed CNN + LSTM of the paper, section 3 and 4.
///
/// `log_mel [n_mels, n_frames]` is cut into `n_windows` images `[n_mels, window]`; the blocks reduce each
/// image to one vector; the LSTM reads the vectors in time; a dense layer and softmax name the class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkSpec {
    /// Rows of the log-mel spectrogram.
    pub n_mels: usize,
    /// Columns of the log-mel spectrogram.
    pub n_frames: usize,
    /// Frames in one window.
    pub window: usize,
    /// Frames between the starts of two windows.
    pub hop: usize,
    /// What of the spectrogram enters.
    #[serde(default, skip_serializing_if = "Inputs::is_log_mel")]
    pub inputs: Inputs,
    /// Where recordings are cut into windows. Models written before there was a choice do not say it.
    #[serde(default)]
    pub trunk: Trunk,
    /// The learning modules in order. Without any, a step is a window of the spectrogram itself, row after row: the frames of a
    /// window are stacked.
    pub blocks: Vec<BlockSpec>,
    /// What reads the windows in time.
    #[serde(default, skip_serializing_if = "Recurrent::is_lstm")]
    pub recurrent: Recurrent,
    /// Units of each LSTM.
    pub lstm_units: usize,
    /// What the dense layer is given of the steps.
    #[serde(default, skip_serializing_if = "Head::is_last")]
    pub head: Head,
    /// Classes, in the order of the model's labels.
    pub n_classes: usize,
    /// Dropout rate after each block's pool and on the LSTM's input (one mask for all its time steps).
    pub dropout: f32,
    /// Batch norm: added to the variance (Keras: 1e-3).
    pub batch_norm_epsilon: f32,
    /// Batch norm: share of the old moving statistics kept at each step (Keras: 0.99).
    pub batch_norm_momentum: f32,
}

impl NetworkSpec {
    /// The paper's network for a spectrogram of `[n_mels, n_frames]`; seven classes; 656,583 parameters for `[128, 508]`.
    pub fn paper(n_mels: usize, n_frames: usize) -> Self {
        let block = |n_maps, pool: usize| BlockSpec { n_maps, pool: pool.into() };
        Self {
            n_mels,
            n_frames,
            window: 128,
            hop: 64,
            inputs: Inputs::LogMel,
            trunk: Trunk::Windows,
            blocks: vec![block(64, 2), block(64, 4), block(128, 4), block(128, 4)],
            recurrent: Recurrent::Lstm,
            lstm_units: 256,
            head: Head::Last,
            n_classes: 7,
            dropout: 0.2,
            batch_norm_epsilon: 1e-3,
            batch_norm_momentum: 0.99,
        }
    }

    /// Whole windows that fit: `1 + (n_frames - window) div hop`; 6 in the paper.
    pub fn n_windows(&self) -> usize {
        tiles::n_windows(self.n_frames, self.window, self.hop)
    }

    /// The first block that sees windows instead of whole recordings: 0, or for a shared trunk the last one before which the
    /// pools divide window and hop; the number of blocks, if all of them do.
    pub fn cut(&self) -> usize {
        let fits = |&index: &usize| {
            let shrink = self.shrink(index);
            self.window.is_multiple_of(shrink) && self.hop.is_multiple_of(shrink)
        };
        match self.trunk {
            Trunk::Windows => 0,
            Trunk::Shared => (0..=self.blocks.len()).rev().find(fits).unwrap_or(0),
        }
    }

    /// Whether recordings are cut into steps behind the last block, if there is any.
    pub fn steps_are_columns(&self) -> bool {
        self.cut() == self.blocks.len()
    }

    /// Frames of a column of what enters block `index`.
    pub fn shrink(&self, index: usize) -> usize {
        self.blocks[..index].iter().map(|block| block.pool.time).product()
    }

    /// Frames that lie in some window.
    pub fn seen_frames(&self) -> usize {
        self.n_windows().saturating_sub(1) * self.hop + self.window
    }

    /// Images of `n` recordings that enter block `index`.
    pub fn n_images(&self, index: usize, n: usize) -> usize {
        if index < self.cut() { n } else { n * self.n_windows() }
    }

    /// `(height, width, maps)` entering block `index`; `index == blocks.len()` gives what leaves the last one,
    /// of one step.
    pub fn block_input(&self, index: usize) -> (usize, usize, usize) {
        let width = if index < self.cut() { self.seen_frames() } else { self.window };
        self.blocks[..index].iter().fold((self.n_mels, width, self.inputs.n_channels()), |(height, width, _), block| {
            (height / block.pool.mel, width / block.pool.time, block.n_maps)
        })
    }

    /// Length of the vector that one window becomes for the LSTM.
    pub fn lstm_inputs(&self) -> usize {
        let (height, width, maps) = self.block_input(self.blocks.len());
        height * width * maps
    }

    /// Length of the vector of a step that the head is given.
    pub fn step_width(&self) -> usize {
        match self.recurrent.n_lstms() {
            0 => self.lstm_inputs(),
            n_lstms => n_lstms * self.lstm_units,
        }
    }

    /// Length of the vector of a recording that enters the dense layer: the embedding.
    pub fn n_embedding(&self) -> usize {
        self.head.n_outputs(self.step_width())
    }

    /// Refuses shapes that the blocks cannot divide.
    pub fn check(&self) -> Result<()> {
        if self.n_windows() == 0 {
            return Err(Error::recipe(format!("{} frames hold no window of {} frames", self.n_frames, self.window))
                .hint("lengthen `[features] n_samples` or shorten the hop"));
        }
        for (index, block) in self.blocks.iter().enumerate() {
            if block.pool.cells() == 0 {
                return Err(Error::recipe(format!("block {index}: a pool of 0")));
            }
            let (height, width, _) = self.block_input(index);
            if !height.is_multiple_of(block.pool.mel) || !width.is_multiple_of(block.pool.time) {
                return Err(Error::recipe(format!(
                    "block {index}: an image of {height} x {width} cannot be pooled by {}",
                    block.pool
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paper_shapes_are_those_of_the_text() {
        let spec = NetworkSpec::paper(128, 508);
        assert_eq!(spec.n_windows(), 6);
        assert_eq!(
            (0..=4).map(|index| spec.block_input(index)).collect::<Vec<_>>(),
            [(128, 128, 1), (64, 64, 64), (16, 16, 64), (4, 4, 128), (1, 1, 128)]
        );
        assert_eq!(spec.lstm_inputs(), 128);
        spec.check().expect("the paper's shapes divide");
    }

    #[test]
    fn a_shared_trunk_is_cut_before_the_last_block() {
        let spec = NetworkSpec { trunk: Trunk::Shared, ..NetworkSpec::paper(128, 508) };
        assert_eq!((spec.cut(), spec.seen_frames()), (3, 448));
        assert_eq!(
            (0..=4).map(|index| spec.block_input(index)).collect::<Vec<_>>(),
            [(128, 448, 1), (64, 224, 64), (16, 56, 64), (4, 4, 128), (1, 1, 128)]
        );
        assert_eq!((spec.n_images(2, 5), spec.n_images(3, 5)), (5, 30));
        spec.check().expect("the paper's shapes divide");
    }

    #[test]
    fn a_spectrogram_shorter_than_one_window_is_refused() {
        assert!(NetworkSpec::paper(128, 127).check().is_err());
        assert!(NetworkSpec::paper(100, 508).check().is_err());
    }
}
