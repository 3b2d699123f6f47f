//! Registers of values: one set of operations in every width.

/// What an instruction set does with one register of [`Lanes::N`] values of f32.
///
/// A value of an implementing type is the proof that the processor has the instructions, so arithmetic is safe; only what
/// follows a pointer is not.
///
/// [`Lanes::mul_add`] rounds once where the instruction set has a fused multiply-add, and twice on
/// [`Portable`](super::Portable). A loop that must give the same bits everywhere uses [`Lanes::mul`] and
/// [`Lanes::add`], which no compiler fuses.
pub trait Lanes: Copy {
    /// A register of [`Lanes::N`] values.
    type V: Copy;
    /// As many argmax indices, of at most seven bits.
    type I: Copy;
    /// Values in one register.
    const N: usize;

    /// The same value in every lane.
    fn splat(self, value: f32) -> Self::V;

    /// [`Lanes::N`] values from `from` on, which need not be aligned.
    ///
    /// # Safety
    /// [`Lanes::N`] floats are readable.
    unsafe fn load(self, from: *const f32) -> Self::V;

    /// Puts a register to `to` and after, which need not be aligned.
    ///
    /// # Safety
    /// [`Lanes::N`] floats are writable.
    unsafe fn store(self, to: *mut f32, value: Self::V);

    /// `a + b`.
    fn add(self, a: Self::V, b: Self::V) -> Self::V;

    /// `a - b`.
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;

    /// `a * b`.
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;

    /// `a * b + c`, fused where the instruction set can.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;

    /// The same index in every lane.
    fn index(self, index: u8) -> Self::I;

    /// The low seven bits of each byte: the eighth is a flag of whoever stored it.
    ///
    /// # Safety
    /// [`Lanes::N`] bytes are readable.
    unsafe fn load_indices(self, from: *const u8) -> Self::I;

    /// # Safety
    /// [`Lanes::N`] bytes are writable.
    unsafe fn store_indices(self, to: *mut u8, indices: Self::I);

    /// `value` where the indices are equal, else 0.
    fn keep_where(self, indices: Self::I, index: Self::I, value: Self::V) -> Self::V;

    /// `(value, index)` where `value` is larger than the best, else the best and its index.
    fn keep_larger(self, best: (Self::V, Self::I), value: Self::V, index: Self::I) -> (Self::V, Self::I);
}
