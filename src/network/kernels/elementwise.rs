//! ELU and its derivative in plain arithmetic that compiles to vector instructions.

use crate::simd::maths::exp_nonpositive;

/// Exponential linear unit with alpha 1. NaN stays NaN.
#[inline(always)]
pub fn elu(z: f32) -> f32 {
    if z <= 0.0 { exp_nonpositive(z) - 1.0 } else { z }
}

/// Derivative of [`elu`]: `exp(z)` up to zero, 1 above.
#[inline(always)]
pub fn elu_slope(z: f32) -> f32 {
    if z <= 0.0 { exp_nonpositive(z) } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elu_keeps_positives_saturates_and_passes_nan_on() {
        assert_eq!(elu(2.5), 2.5);
        assert_eq!(elu(0.0), 0.0);
        assert_eq!(elu(-1000.0), -1.0);
        assert!(elu(f32::NAN).is_nan());
        assert_eq!((elu_slope(3.0), elu_slope(0.0)), (1.0, 1.0));
    }
}
