//! Vector instructions: which ones an inner loop is compiled for, and registers to write it in.
//!
//! A loop is written once over [`Lanes`], compiled for every [`Kernel`], and gives the same bits in each.

mod kernel;
mod lanes;

pub(crate) use kernel::Kernel;
#[cfg(target_arch = "x86_64")]
pub(crate) use lanes::{Eight, Sixteen};
pub(crate) use lanes::{Four, Lanes};
