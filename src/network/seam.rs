//! Where the images of a shared trunk are cut into windows, and where the windows' gradients come together again.

use rayon::prelude::*;

use crate::network::block_weights::BlockShape;
use crate::network::kernels::CHANNELS;
use crate::network::kernels::geometry::Geometry;
use crate::network::spec::NetworkSpec;

/// The seam's shapes.
#[derive(Clone, Copy, Debug)]
pub struct Seam {
    /// What the last shared block gives, one image a recording.
    pub whole: Geometry,
    /// What the first block behind the seam takes, one image a window.
    pub window: Geometry,
    /// Columns between the starts of two windows.
    hop: usize,
    /// Windows of a recording.
    n_windows: usize,
}

impl Seam {
    /// The seam of `spec`; `None` where recordings are cut before the first block, or behind the last.
    pub fn new(spec: &NetworkSpec) -> Option<Self> {
        let cut = spec.cut();
        (cut > 0 && cut < spec.blocks.len()).then(|| Self {
            whole: BlockShape::new(spec, cut - 1).pooled,
            window: BlockShape::new(spec, cut).input,
            hop: spec.hop / spec.shrink(cut),
            n_windows: spec.n_windows(),
        })
    }

    /// Copies window number `image` of the batch out of `whole` `[recordings][with padding]`; the padding of `out` is
    /// not written.
    pub fn cut(&self, image: usize, whole: &[f32], out: &mut [f32]) {
        let (recording, column) = (image / self.n_windows, image % self.n_windows * self.hop);
        let whole = &whole[recording * self.whole.padded_len()..][..self.whole.padded_len()];
        let length = self.window.width * CHANNELS;
        for block in 0..self.window.n_blocks() {
            for y in 0..self.window.height {
                let from = block * self.whole.padded_plane() + self.whole.padded_at(y, column);
                let to = block * self.window.padded_plane() + self.window.padded_at(y, 0);
                out[to..to + length].copy_from_slice(&whole[from..from + length]);
            }
        }
    }

    /// Adds the gradients of `n` recordings' windows, in the order of the windows, where they were cut.
    ///
    /// `windows` `[n * n_windows][without padding]`, `whole` `[n][without padding]`.
    pub fn gather(&self, windows: &[f32], whole: &mut [f32], n: usize) {
        let (window_len, whole_len) = (self.window.n_floats(), self.whole.n_floats());
        let recordings = whole.par_chunks_mut(whole_len).zip(windows.par_chunks(self.n_windows * window_len));
        recordings.take(n).for_each(|(whole, windows)| {
            whole.fill(0.0);
            for (number, window) in windows.chunks_exact(window_len).enumerate() {
                for (row, values) in window.chunks_exact(self.window.width * CHANNELS).enumerate() {
                    let at = (row * self.whole.width + number * self.hop) * CHANNELS;
                    whole[at..at + values.len()].iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
                }
            }
        });
    }
}

/// What a shared trunk needs beside its blocks, for a whole batch.
pub struct SeamMemory {
    pub seam: Seam,
    /// Index of the block behind the seam.
    pub cut: usize,
    /// Output of the block before it, `[recordings][with padding]`.
    pub whole: Vec<f32>,
    /// Gradients, `[recordings][without padding]` and `[windows][without padding]`.
    pub d_whole: Vec<f32>,
    pub d_windows: Vec<f32>,
}

impl SeamMemory {
    /// Memory for batches of up to `max_batch` recordings; `None` without a seam.
    pub fn new(spec: &NetworkSpec, max_batch: usize) -> Option<Self> {
        let seam = Seam::new(spec)?;
        Some(Self {
            seam,
            cut: spec.cut(),
            whole: vec![0.0; max_batch * seam.whole.padded_len()],
            d_whole: vec![0.0; max_batch * seam.whole.n_floats()],
            d_windows: vec![0.0; max_batch * spec.n_windows() * seam.window.n_floats()],
        })
    }

    /// Bytes of that memory.
    pub fn bytes(spec: &NetworkSpec, max_batch: usize) -> usize {
        Seam::new(spec).map_or(0, |seam| {
            let whole = seam.whole.padded_len() + seam.whole.n_floats();
            max_batch * (whole + spec.n_windows() * seam.window.n_floats()) * size_of::<f32>()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::spec::Trunk;

    #[test]
    fn gathering_is_the_transpose_of_cutting() {
        let spec = NetworkSpec { trunk: Trunk::Shared, ..NetworkSpec::paper(128, 508) };
        let seam = Seam::new(&spec).expect("a shared trunk has a seam");
        assert_eq!((seam.whole.width, seam.window.width, seam.hop), (14, 4, 2));
        let (n, value) = (2, |i: usize| ((i * 31) % 17) as f32 - 8.0);
        let whole: Vec<f32> = (0..n * seam.whole.n_floats()).map(value).collect();
        let gradient: Vec<f32> = (0..n * 6 * seam.window.n_floats()).map(|i| value(i + 5)).collect();
        let with_padding = |image: &[f32]| {
            let mut out = vec![0.0; seam.whole.padded_len()];
            for (row, values) in image.chunks_exact(seam.whole.width * CHANNELS).enumerate() {
                let (block, y) = (row / seam.whole.height, row % seam.whole.height);
                let at = block * seam.whole.padded_plane() + seam.whole.padded_at(y, 0);
                out[at..at + values.len()].copy_from_slice(values);
            }
            out
        };
        let padded: Vec<f32> = whole.chunks_exact(seam.whole.n_floats()).flat_map(with_padding).collect();
        let mut cut_times_gradient = 0.0;
        for image in 0..n * 6 {
            let mut out = vec![0.0; seam.window.padded_len()];
            seam.cut(image, &padded, &mut out);
            let gradient = &gradient[image * seam.window.n_floats()..][..seam.window.n_floats()];
            for (row, values) in gradient.chunks_exact(seam.window.width * CHANNELS).enumerate() {
                let (block, y) = (row / seam.window.height, row % seam.window.height);
                let at = block * seam.window.padded_plane() + seam.window.padded_at(y, 0);
                cut_times_gradient += values.iter().zip(&out[at..]).map(|(a, b)| a * b).sum::<f32>();
            }
        }
        let mut gathered = vec![9.0; whole.len()];
        seam.gather(&gradient, &mut gathered, n);
        let whole_times_gathered: f32 = whole.iter().zip(&gathered).map(|(a, b)| a * b).sum();
        // Whole numbers below 2^24: exact.
        assert_eq!(cut_times_gradient, whole_times_gathered);
    }
}
