//! Where a value of a blocked image lies.

use crate::network::kernels::CHANNELS;
use crate::network::pool::Pool;

/// Shape of an image `[channels / 16][height][width][16]`, with or without padding of one zero pixel on each side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    pub height: usize,
    pub width: usize,
    /// Channels that hold something; zeros fill up the last block.
    pub channels: usize,
}

impl Geometry {
    /// Blocks of 16 channels; the last one may be padded.
    pub fn n_blocks(self) -> usize {
        self.channels.div_ceil(CHANNELS)
    }

    /// Pixels of one channel.
    pub fn n_pixels(self) -> usize {
        self.height * self.width
    }

    /// Floats of one block's plane without padding.
    pub fn plane(self) -> usize {
        self.n_pixels() * CHANNELS
    }

    /// Floats of the whole image without padding.
    pub fn n_floats(self) -> usize {
        self.n_blocks() * self.plane()
    }

    /// Floats of one row of one block with padding.
    pub fn padded_row(self) -> usize {
        (self.width + 2) * CHANNELS
    }

    /// Floats of one block's plane with padding.
    pub fn padded_plane(self) -> usize {
        (self.height + 2) * self.padded_row()
    }

    /// Floats of the whole image with padding.
    pub fn padded_len(self) -> usize {
        self.n_blocks() * self.padded_plane()
    }

    /// Offset of the first float of pixel `(y, x)` in a plane with padding.
    pub fn padded_at(self, y: usize, x: usize) -> usize {
        (y + 1) * self.padded_row() + (x + 1) * CHANNELS
    }

    /// The image after a max pool.
    pub fn pooled(self, pool: Pool) -> Self {
        Self { height: self.height / pool.mel, width: self.width / pool.time, channels: self.channels }
    }
}

/// How far rows and blocks of an image lie apart, whatever is around them.
#[derive(Clone, Copy, Debug)]
pub struct Rows {
    /// Floats from one row to the next.
    pub row: usize,
    /// Floats from one block of channels to the next.
    pub plane: usize,
}

impl Rows {
    /// `[blocks][height][width][16]`: some rows of an image without padding.
    pub fn strip(geometry: Geometry, height: usize) -> Self {
        let row = geometry.width * CHANNELS;
        Self { row, plane: height * row }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_fill_whole_blocks_and_the_padding_is_one_pixel() {
        let geometry = Geometry { height: 4, width: 6, channels: 20 };
        assert_eq!((geometry.n_blocks(), geometry.n_floats(), geometry.padded_len()), (2, 2 * 24 * 16, 2 * 6 * 8 * 16));
        assert_eq!(geometry.padded_at(0, 0), (8 + 1) * 16);
        assert_eq!(geometry.pooled(2.into()), Geometry { height: 2, width: 3, channels: 20 });
    }
}
