//! Four lanes of plain Rust: what runs on a machine without the vector instructions above.

use crate::network::kernels::Lanes;

/// Plain multiply and add: `f32::mul_add` would call a library function where there is no instruction for it.
#[derive(Clone, Copy)]
pub struct Portable;

impl Lanes for Portable {
    type V = [f32; 4];
    const N: usize = 4;
    const PIXELS: usize = 2;
    const MAPS_IN: usize = 2;
    const BLOCKS: usize = 1;

    #[inline(always)]
    unsafe fn splat(value: f32) -> [f32; 4] {
        [value; 4]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> [f32; 4] {
        // SAFETY: the trait's contract: four floats are readable; an array of f32 has the alignment of f32.
        unsafe { *from.cast() }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, value: [f32; 4]) {
        // SAFETY: the trait's contract: four floats are writable.
        unsafe { *to.cast() = value }
    }

    #[inline(always)]
    unsafe fn mul_add(a: [f32; 4], b: [f32; 4], c: [f32; 4]) -> [f32; 4] {
        [a[0] * b[0] + c[0], a[1] * b[1] + c[1], a[2] * b[2] + c[2], a[3] * b[3] + c[3]]
    }
}
