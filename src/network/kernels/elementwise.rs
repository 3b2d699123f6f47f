//! ELU and its derivative in plain arithmetic that compiles to vector instructions.

/// `exp(x)` for `x <= 0`, within 2 units in the last place; arguments under -87 count as -87 (1.6e-38).
///
/// Plain multiply and add in a fixed order: the same bytes on every machine.
#[inline(always)]
pub fn exp_nonpositive(x: f32) -> f32 {
    // 1.5 * 2^23: adding it rounds to a whole number and leaves that number in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = if x < -87.0 { -87.0 } else { x };
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    // exp on [-ln 2 / 2, ln 2 / 2]: Cephes' expf polynomial.
    let mut p = 1.987_569_2e-4;
    p = p * r + 1.398_2e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 5e-1;
    let mantissa = p * r * r + r + 1.0;
    let exponent = (rounded.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    f32::from_bits((mantissa.to_bits() as i32).wrapping_add(exponent << 23) as u32)
}

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
    fn exponential_is_right_to_two_units_in_the_last_place() {
        for i in 0..=870_000 {
            let x = -(i as f32) * 1e-4;
            let exact = f64::from(x).exp();
            let error = (f64::from(exp_nonpositive(x)) / exact - 1.0).abs();
            assert!(error < 2.4e-7, "exp({x}) is off by {error:e}");
        }
    }

    #[test]
    fn elu_keeps_positives_saturates_and_passes_nan_on() {
        assert_eq!(elu(2.5), 2.5);
        assert_eq!(elu(0.0), 0.0);
        assert_eq!(elu(-1000.0), -1.0);
        assert!(elu(f32::NAN).is_nan());
        assert_eq!((elu_slope(3.0), elu_slope(0.0)), (1.0, 1.0));
    }
}
