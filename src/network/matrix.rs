//! Views of row-major `f32` matrices and their product, for the small layers after the convolutions.

/// A matrix inside a slice; rows and columns may lie any number of floats apart.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    values: &'a [f32],
    shape: (usize, usize),
    strides: (usize, usize),
}

impl<'a> Matrix<'a> {
    /// `rows x columns` with rows `row_stride` floats apart.
    pub fn new(values: &'a [f32], (rows, columns): (usize, usize), row_stride: usize) -> Self {
        assert!(rows == 0 || values.len() >= (rows - 1) * row_stride + columns, "matrix does not fit its slice");
        Self { values, shape: (rows, columns), strides: (row_stride, 1) }
    }

    /// The same values with rows and columns exchanged.
    pub fn transposed(self) -> Self {
        let ((rows, columns), (row, column)) = (self.shape, self.strides);
        Self { values: self.values, shape: (columns, rows), strides: (column, row) }
    }
}

/// `out = keep * out + a b`, where `keep` is 1 or 0; rows of `out` lie `row_stride` floats apart.
///
/// One thread: results do not depend on how many there are.
pub fn multiply(out: &mut [f32], row_stride: usize, keep: bool, a: Matrix<'_>, b: Matrix<'_>) {
    let ((m, k), (k_b, n)) = (a.shape, b.shape);
    assert_eq!(k, k_b, "inner sizes differ");
    if m == 0 || n == 0 {
        return;
    }
    assert!(out.len() >= (m - 1) * row_stride + n, "product does not fit its slice");
    let stride = |length: usize| length.cast_signed();
    // SAFETY: the three views lie within their slices (checked above and in `Matrix::new`), and `out` is exclusive.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            stride(row_stride),
            keep,
            a.values.as_ptr(),
            stride(a.strides.1),
            stride(a.strides.0),
            b.values.as_ptr(),
            stride(b.strides.1),
            stride(b.strides.0),
            1.0f32,
            1.0f32,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn product_of_strided_and_transposed_views_is_the_hand_value() {
        let a = [1.0, 2.0, 99.0, 3.0, 4.0, 99.0];
        let b = [5.0, 6.0, 7.0, 8.0];
        let (a, b) = (Matrix::new(&a, (2, 2), 3), Matrix::new(&b, (2, 2), 2));
        let mut out = [1.0; 4];
        multiply(&mut out, 2, false, a, b);
        assert_eq!(out, [19.0, 22.0, 43.0, 50.0]);
        multiply(&mut out, 2, true, a.transposed(), b);
        assert_eq!(out, [19.0 + 26.0, 22.0 + 30.0, 43.0 + 38.0, 50.0 + 44.0]);
    }
}
