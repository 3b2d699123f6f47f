//! Vector instructions: which ones an inner loop is compiled for, and the registers to write it in.
//!
//! A loop is written once, as a [`Job`] over [`Lanes`], and compiled for every instruction set. [`Isa`] says which ones the
//! processor has: its values carry proofs that only detection makes, so code for an instruction set is entered only
//! where the processor has it. `maths` holds the functions that such loops need and the standard library computes one
//! value at a time.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod isa;
mod lanes;
pub mod maths;
mod portable;
#[cfg(test)]
mod proof;

#[cfg(target_arch = "x86_64")]
pub use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub use avx512::Avx512;
pub use isa::{Isa, Job};
pub use lanes::Lanes;
pub use portable::Portable;
