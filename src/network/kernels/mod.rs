//! The arithmetic that costs time, written once over [`Lanes`](crate::simd::Lanes) and compiled for each
//! instruction set.
//!
//! Images are stored in blocks of [`CHANNELS`] channels: `[channels / 16][height][width][16]`, channels padded with
//! zeros to whole blocks. A block of 16 `f32` is one AVX-512 register, two of AVX2 or four of SSE, so inner loops have
//! a fixed length.

pub mod backward;
pub mod conv;
pub mod convolution;
#[cfg(test)]
mod convolution_proof;
pub mod dropout;
pub mod elementwise;
pub mod forward;
pub mod geometry;
pub mod outer;
pub mod patches;
pub mod pool;
#[cfg(test)]
mod pool_proof;
pub mod winograd;

/// Channels in one block: the innermost, contiguous dimension of every image.
pub const CHANNELS: usize = 16;

/// One value of each channel of a block.
pub type Channels = [f32; CHANNELS];
