//! Where a value of a blocked image lies.

use crate::network::kernels::MAPS;

/// Shape of an image `[maps / 16][height][width][16]`, with or without a halo of one zero pixel on each side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    pub height: usize,
    pub width: usize,
    /// Maps without padding.
    pub maps: usize,
}

impl Geometry {
    /// Blocks of 16 maps; the last one may be padded.
    pub fn n_blocks(self) -> usize {
        self.maps.div_ceil(MAPS)
    }

    /// Pixels of one map.
    pub fn n_pixels(self) -> usize {
        self.height * self.width
    }

    /// Floats of one block's plane without halo.
    pub fn plane(self) -> usize {
        self.n_pixels() * MAPS
    }

    /// Floats of the whole image without halo.
    pub fn n_floats(self) -> usize {
        self.n_blocks() * self.plane()
    }

    /// Floats of one row of one block with halo.
    pub fn haloed_row(self) -> usize {
        (self.width + 2) * MAPS
    }

    /// Floats of one block's plane with halo.
    pub fn haloed_plane(self) -> usize {
        (self.height + 2) * self.haloed_row()
    }

    /// Floats of the whole image with halo.
    pub fn haloed_len(self) -> usize {
        self.n_blocks() * self.haloed_plane()
    }

    /// Place of the first float of pixel `(y, x)` in a plane with halo.
    pub fn haloed_at(self, y: usize, x: usize) -> usize {
        (y + 1) * self.haloed_row() + (x + 1) * MAPS
    }

    /// The image after a max pool of `pool x pool`.
    pub fn pooled(self, pool: usize) -> Self {
        Self { height: self.height / pool, width: self.width / pool, maps: self.maps }
    }
}

/// How far rows and blocks of an image lie apart, whatever is around them.
#[derive(Clone, Copy, Debug)]
pub struct Rows {
    /// Floats from one row to the next.
    pub row: usize,
    /// Floats from one block of maps to the next.
    pub plane: usize,
}

impl Rows {
    /// `[blocks][height][width][16]`: some rows of an image without halo.
    pub fn strip(geometry: Geometry, height: usize) -> Self {
        let row = geometry.width * MAPS;
        Self { row, plane: height * row }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_padded_to_whole_blocks_and_the_halo_is_one_pixel() {
        let geometry = Geometry { height: 4, width: 6, maps: 20 };
        assert_eq!((geometry.n_blocks(), geometry.n_floats(), geometry.haloed_len()), (2, 2 * 24 * 16, 2 * 6 * 8 * 16));
        assert_eq!(geometry.haloed_at(0, 0), (8 + 1) * 16);
        assert_eq!(geometry.pooled(2), Geometry { height: 2, width: 3, maps: 20 });
    }
}
