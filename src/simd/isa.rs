//! The instruction sets that inner loops are compiled for, and the way into such code.

use std::fmt;

#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx512};
use crate::simd::{Lanes, Portable};

/// Work that is compiled once for each instruction set.
///
/// Implementations mark `run`, and all that it calls, `#[inline(always)]`: only what is inlined into the function that
/// may use the instructions is compiled for them.
pub trait Job {
    type Output;

    /// The work, with registers of `lanes` or without: the compiler's own vector code has the same instructions.
    fn run<L: Lanes>(self, lanes: L) -> Self::Output;
}

/// An instruction set that the processor has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// 16 lanes, fused multiply-add. Same bytes as [`Isa::Avx2`].
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    /// 8 lanes, fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    /// 4 lanes, for any machine. Where loops use [`Lanes::mul_add`], it differs from the others in the last bits.
    Portable,
}

impl Isa {
    /// The instruction sets of this machine, the fastest first.
    pub fn available() -> Vec<Self> {
        #[cfg(target_arch = "x86_64")]
        let wide = [Avx512::detect().map(Self::Avx512), Avx2::detect().map(Self::Avx2)];
        #[cfg(not(target_arch = "x86_64"))]
        let wide = [];
        wide.into_iter().flatten().chain([Self::Portable]).collect()
    }

    /// The fastest instruction set of this machine.
    pub fn fastest() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let wide = Avx512::detect().map(Self::Avx512).or_else(|| Avx2::detect().map(Self::Avx2));
            wide.unwrap_or(Self::Portable)
        }
        #[cfg(not(target_arch = "x86_64"))]
        Self::Portable
    }

    /// Runs `job` compiled for this instruction set.
    pub fn run<J: Job>(self, job: J) -> J::Output {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(proof) => proof.run(job),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(proof) => proof.run(job),
            Self::Portable => job.run(Portable),
        }
    }

    /// The proof of AVX2, which AVX-512 includes.
    #[cfg(target_arch = "x86_64")]
    pub fn avx2(self) -> Option<Avx2> {
        match self {
            Self::Avx512(proof) => Some(proof.into()),
            Self::Avx2(proof) => Some(proof),
            Self::Portable => None,
        }
    }
}

/// The name alone.
impl fmt::Debug for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => "Avx512",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "Avx2",
            Self::Portable => "Portable",
        })
    }
}

/// A type whose values prove that the processor has some features, and the function that is compiled for exactly these: one
/// list for both, so that nothing is entered whose instructions were not looked for.
#[cfg(target_arch = "x86_64")]
macro_rules! with_proof {
    ($(#[$about:meta])* $name:ident: $($feature:tt),+) => {
        $(#[$about])*
        ///
        /// A value is the proof that the processor has it: nothing but [`detect`](Self::detect) makes one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name(());

        impl $name {
            /// The proof, if the processor has the instructions.
            pub fn detect() -> Option<Self> {
                ($(is_x86_feature_detected!($feature))&&+).then_some(Self(()))
            }

            /// Runs `job` compiled for these instructions.
            pub fn run<J: $crate::simd::Job>(self, job: J) -> J::Output {
                #[target_feature($(enable = $feature),+)]
                fn compiled<J: $crate::simd::Job>(lanes: $name, job: J) -> J::Output {
                    job.run(lanes)
                }
                // SAFETY: `self` is the proof that the processor has these features.
                unsafe { compiled(self, job) }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
pub(super) use with_proof;
