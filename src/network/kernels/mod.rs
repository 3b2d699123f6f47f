//! The arithmetic that costs time, written once over "lanes" and compiled for each instruction set.
//!
//! Images are stored in blocks of [`MAPS`] maps: `[maps / 16][height][width][16]`, maps padded with zeros to whole
//! blocks. A block of 16 `f32` is one AVX-512 register, two of AVX2 or four of SSE, so inner loops have a fixed length.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub mod backward;
pub mod conv;
pub mod convolution;
pub mod elementwise;
pub mod forward;
pub mod geometry;
pub mod outer;
pub mod patches;
pub mod pool;
mod portable;
pub mod winograd;

/// Maps in one block: the innermost, contiguous dimension of every image.
pub const MAPS: usize = 16;

/// One value of each map of a block.
pub type Maps = [f32; MAPS];

/// One vector register of an instruction set and what the kernels do with it.
///
/// The methods may only run on a machine that has the instruction set: call them from inside [`Isa::run`].
pub trait Lanes: Copy {
    /// A register of [`Lanes::N`] floats.
    type V: Copy;
    /// As many places in a pool's cells.
    type P: Copy;
    /// Floats in one register.
    const N: usize;
    /// Output pixels of one convolution tile; with two registers of maps each they just fit the register file.
    const PIXELS: usize;
    /// Input maps of one weight-gradient tile; divides [`MAPS`].
    const MAPS_IN: usize;
    /// Blocks of output maps in one tile.
    const BLOCKS: usize;
    /// The same value in every lane.
    ///
    /// # Safety
    /// The machine has the instruction set.
    unsafe fn splat(value: f32) -> Self::V;
    /// # Safety
    /// As `splat`, and [`Lanes::N`] floats are readable.
    unsafe fn load(from: *const f32) -> Self::V;
    /// # Safety
    /// As `splat`, and [`Lanes::N`] floats are writable.
    unsafe fn store(to: *mut f32, value: Self::V);
    /// `a * b + c`.
    ///
    /// # Safety
    /// As `splat`.
    unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `a + b`.
    ///
    /// # Safety
    /// As `splat`.
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`.
    ///
    /// # Safety
    /// As `splat`.
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    /// `a * b`.
    ///
    /// # Safety
    /// As `splat`.
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// The same place in every lane.
    ///
    /// # Safety
    /// As `splat`.
    unsafe fn place(at: u8) -> Self::P;
    /// The low seven bits of each byte.
    ///
    /// # Safety
    /// As `splat`, and [`Lanes::N`] bytes are readable.
    unsafe fn load_places(from: *const u8) -> Self::P;
    /// # Safety
    /// As `splat`, and [`Lanes::N`] bytes are writable.
    unsafe fn store_places(to: *mut u8, places: Self::P);
    /// `value` where the places are equal, else 0.
    ///
    /// # Safety
    /// As `splat`.
    unsafe fn keep_where(places: Self::P, at: Self::P, value: Self::V) -> Self::V;
    /// `(value, at)` where `value` is larger than `best`, else `(best, best_at)`.
    ///
    /// # Safety
    /// As `splat`.
    unsafe fn keep_larger(best: (Self::V, Self::P), value: Self::V, at: Self::P) -> (Self::V, Self::P);
}

/// Work that is compiled once per instruction set. Implementations mark `run` `#[inline(always)]`, so that all of it
/// is inlined into a function that may use the instruction set.
pub trait Job {
    fn run<L: Lanes>(self);
}

/// The instruction sets the kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// 16 lanes, fused multiply-add. Same bytes as [`Isa::Avx2`].
    Avx512,
    /// 8 lanes, fused multiply-add.
    Avx2,
    /// 4 lanes of plain multiply and add, for any machine; differs from the others in the last bits.
    Portable,
}

impl Isa {
    /// The instruction sets of this machine, the fastest first.
    pub fn available() -> Vec<Self> {
        let mut found = Vec::with_capacity(3);
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            if avx2 && is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl") {
                found.push(Self::Avx512);
            }
            if avx2 {
                found.push(Self::Avx2);
            }
        }
        found.push(Self::Portable);
        found
    }

    /// The fastest instruction set of this machine.
    pub fn fastest() -> Self {
        Self::available()[0]
    }

    /// Runs `job` compiled for this instruction set; one the machine lacks falls back to [`Isa::Portable`].
    pub fn run<J: Job>(self, job: J) {
        match self {
            // SAFETY: the features are detected right here (a cached load) before the code that uses them runs.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl") => unsafe {
                avx512::run(job);
            },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") => unsafe {
                avx2::run(job);
            },
            _ => job.run::<portable::Portable>(),
        }
    }
}
