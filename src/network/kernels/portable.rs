//! Four lanes of plain Rust: what runs on a machine without the vector instructions above.

use crate::network::kernels::Lanes;

/// Plain multiply and add: `f32::mul_add` would call a library function where there is no instruction for it.
#[derive(Clone, Copy)]
pub struct Portable;

impl Lanes for Portable {
    type V = [f32; 4];
    type P = [u8; 4];
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

    #[inline(always)]
    unsafe fn add(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        [a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3]]
    }

    #[inline(always)]
    unsafe fn sub(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        [a[0] - b[0], a[1] - b[1], a[2] - b[2], a[3] - b[3]]
    }

    #[inline(always)]
    unsafe fn mul(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        [a[0] * b[0], a[1] * b[1], a[2] * b[2], a[3] * b[3]]
    }

    #[inline(always)]
    unsafe fn place(at: u8) -> [u8; 4] {
        [at; 4]
    }

    #[inline(always)]
    unsafe fn load_places(from: *const u8) -> [u8; 4] {
        // SAFETY: the trait's contract: four bytes are readable.
        unsafe { *from.cast::<[u8; 4]>() }.map(|place| place & 0x7F)
    }

    #[inline(always)]
    unsafe fn store_places(to: *mut u8, places: [u8; 4]) {
        // SAFETY: the trait's contract: four bytes are writable.
        unsafe { *to.cast() = places }
    }

    #[inline(always)]
    unsafe fn keep_where(places: [u8; 4], at: [u8; 4], value: [f32; 4]) -> [f32; 4] {
        std::array::from_fn(|lane| if places[lane] == at[lane] { value[lane] } else { 0.0 })
    }

    #[inline(always)]
    unsafe fn keep_larger(best: ([f32; 4], [u8; 4]), value: [f32; 4], at: [u8; 4]) -> ([f32; 4], [u8; 4]) {
        let larger: [bool; 4] = std::array::from_fn(|lane| value[lane] > best.0[lane]);
        let values = std::array::from_fn(|lane| if larger[lane] { value[lane] } else { best.0[lane] });
        (values, std::array::from_fn(|lane| if larger[lane] { at[lane] } else { best.1[lane] }))
    }
}
