//! Four lanes of plain Rust: what every machine can do, and compilers turn into the vector instructions of any processor.

use crate::simd::Lanes;

/// No proof is needed for what every processor can do.
///
/// Its `mul_add` is a plain multiplication and addition: `f32::mul_add` would call a library function where there is no
/// instruction for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Portable;

impl Lanes for Portable {
    type V = [f32; 4];
    type I = [u8; 4];
    const N: usize = 4;

    #[inline(always)]
    fn splat(self, value: f32) -> [f32; 4] {
        [value; 4]
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> [f32; 4] {
        // SAFETY: the trait's contract: four floats are readable.
        unsafe { from.cast::<[f32; 4]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, value: [f32; 4]) {
        // SAFETY: the trait's contract: four floats are writable.
        unsafe { to.cast::<[f32; 4]>().write_unaligned(value) }
    }

    #[inline(always)]
    fn add(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        [a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3]]
    }

    #[inline(always)]
    fn sub(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        [a[0] - b[0], a[1] - b[1], a[2] - b[2], a[3] - b[3]]
    }

    #[inline(always)]
    fn mul(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        [a[0] * b[0], a[1] * b[1], a[2] * b[2], a[3] * b[3]]
    }

    #[inline(always)]
    fn mul_add(self, a: [f32; 4], b: [f32; 4], c: [f32; 4]) -> [f32; 4] {
        [a[0] * b[0] + c[0], a[1] * b[1] + c[1], a[2] * b[2] + c[2], a[3] * b[3] + c[3]]
    }

    #[inline(always)]
    fn index(self, index: u8) -> [u8; 4] {
        [index; 4]
    }

    #[inline(always)]
    unsafe fn load_indices(self, from: *const u8) -> [u8; 4] {
        // SAFETY: the trait's contract: four bytes are readable.
        unsafe { *from.cast::<[u8; 4]>() }.map(|index| index & 0x7F)
    }

    #[inline(always)]
    unsafe fn store_indices(self, to: *mut u8, indices: [u8; 4]) {
        // SAFETY: the trait's contract: four bytes are writable.
        unsafe { *to.cast() = indices }
    }

    #[inline(always)]
    fn keep_where(self, indices: [u8; 4], index: [u8; 4], value: [f32; 4]) -> [f32; 4] {
        std::array::from_fn(|lane| if indices[lane] == index[lane] { value[lane] } else { 0.0 })
    }

    #[inline(always)]
    fn keep_larger(self, best: ([f32; 4], [u8; 4]), value: [f32; 4], index: [u8; 4]) -> ([f32; 4], [u8; 4]) {
        let larger: [bool; 4] = std::array::from_fn(|lane| value[lane] > best.0[lane]);
        let values = std::array::from_fn(|lane| if larger[lane] { value[lane] } else { best.0[lane] });
        (values, std::array::from_fn(|lane| if larger[lane] { index[lane] } else { best.1[lane] }))
    }
}
