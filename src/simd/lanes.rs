//! Registers of values: the same additions and multiplications in every width, none of them fused.
//!
//! Whatever is written once over [`Lanes`] gives the same bits on every processor.

use std::ops::{Add, Mul, Sub};

/// As many values of f32 as a register holds.
///
/// A value comes only out of the `unsafe` constructors, whose callers know that the processor has the instructions; the
/// operators need no further care.
pub(crate) trait Lanes: Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> {
    /// Values in it.
    const N: usize;

    /// `N` values from `from` on, which need not be aligned.
    ///
    /// # Safety
    /// `from` points to `N` values; the processor has the instructions.
    unsafe fn load(from: *const f32) -> Self;

    /// `N` times the same value.
    ///
    /// # Safety
    /// The processor has the instructions.
    unsafe fn splat(value: f32) -> Self;

    /// Puts its values to `to` and after, which need not be aligned.
    ///
    /// # Safety
    /// There is room for `N` values.
    unsafe fn store(self, to: *mut f32);
}

/// What every machine can do: four lanes, which compilers turn into the vector instructions of any processor.
#[derive(Clone, Copy)]
pub(crate) struct Four([f32; 4]);

impl Lanes for Four {
    const N: usize = 4;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller gives four values.
        Self(unsafe { from.cast::<[f32; 4]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; 4])
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller has room for four values.
        unsafe { to.cast::<[f32; 4]>().write_unaligned(self.0) }
    }
}

impl Add for Four {
    type Output = Self;

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] + other.0[lane]))
    }
}

impl Sub for Four {
    type Output = Self;

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] - other.0[lane]))
    }
}

impl Mul for Four {
    type Output = Self;

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] * other.0[lane]))
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Eight, Sixteen};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::ops::{Add, Mul, Sub};

    use super::Lanes;

    /// A register of AVX.
    #[derive(Clone, Copy)]
    pub(crate) struct Eight(__m256);

    /// A register of AVX-512.
    #[derive(Clone, Copy)]
    pub(crate) struct Sixteen(__m512);

    impl Lanes for Eight {
        const N: usize = 8;

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: as the caller promises.
            Self(unsafe { _mm256_loadu_ps(from) })
        }

        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            // SAFETY: as the caller promises.
            Self(unsafe { _mm256_set1_ps(value) })
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: as the caller promises.
            unsafe { _mm256_storeu_ps(to, self.0) }
        }
    }

    impl Add for Eight {
        type Output = Self;

        #[inline(always)]
        fn add(self, other: Self) -> Self {
            // SAFETY: there is a value, so the processor has AVX.
            Self(unsafe { _mm256_add_ps(self.0, other.0) })
        }
    }

    impl Sub for Eight {
        type Output = Self;

        #[inline(always)]
        fn sub(self, other: Self) -> Self {
            // SAFETY: there is a value, so the processor has AVX.
            Self(unsafe { _mm256_sub_ps(self.0, other.0) })
        }
    }

    impl Mul for Eight {
        type Output = Self;

        #[inline(always)]
        fn mul(self, other: Self) -> Self {
            // SAFETY: there is a value, so the processor has AVX.
            Self(unsafe { _mm256_mul_ps(self.0, other.0) })
        }
    }

    impl Lanes for Sixteen {
        const N: usize = 16;

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: as the caller promises.
            Self(unsafe { _mm512_loadu_ps(from) })
        }

        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            // SAFETY: as the caller promises.
            Self(unsafe { _mm512_set1_ps(value) })
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: as the caller promises.
            unsafe { _mm512_storeu_ps(to, self.0) }
        }
    }

    impl Add for Sixteen {
        type Output = Self;

        #[inline(always)]
        fn add(self, other: Self) -> Self {
            // SAFETY: there is a value, so the processor has AVX-512.
            Self(unsafe { _mm512_add_ps(self.0, other.0) })
        }
    }

    impl Sub for Sixteen {
        type Output = Self;

        #[inline(always)]
        fn sub(self, other: Self) -> Self {
            // SAFETY: there is a value, so the processor has AVX-512.
            Self(unsafe { _mm512_sub_ps(self.0, other.0) })
        }
    }

    impl Mul for Sixteen {
        type Output = Self;

        #[inline(always)]
        fn mul(self, other: Self) -> Self {
            // SAFETY: there is a value, so the processor has AVX-512.
            Self(unsafe { _mm512_mul_ps(self.0, other.0) })
        }
    }
}
