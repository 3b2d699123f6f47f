//! A natural logarithm without calls or branches, so that loops over it become vector code; the same bits everywhere.

/// `ln(x)` for normal, positive x; within 1.5 units in the last place of f32.
///
/// x = 2^e * m with m in [sqrt(1/2), sqrt(2)); ln(m) is a polynomial in m - 1. Only additions and multiplications in a
/// fixed order, none of them fused.
///
/// Source: S. Moshier, Cephes, `logf`. Proof: `ln_is_right_to_the_last_bits_from_1e_minus_30_to_1e30`.
#[inline(always)]
pub fn ln(x: f32) -> f32 {
    /// sqrt(1/2).
    const LOWEST_MANTISSA: i32 = 0x3f35_04f3;
    let bits = x.to_bits() as i32;
    let exponent = (bits - LOWEST_MANTISSA) >> 23;
    let f = f32::from_bits((bits - (exponent << 23)) as u32) - 1.0;
    let exponent = exponent as f32;
    let z = f * f;
    let mut p = 7.037_683_6e-2;
    p = p * f - 1.151_461e-1;
    p = p * f + 1.167_699_9e-1;
    p = p * f - 1.242_014_1e-1;
    p = p * f + 1.424_932_3e-1;
    p = p * f - 1.666_805_8e-1;
    p = p * f + 2.000_071_5e-1;
    p = p * f - 2.499_999_4e-1;
    p = p * f + 3.333_333e-1;
    // ln 2 in two parts: the first has few bits, so that its product with the exponent is exact.
    let tail = p * f * z - 2.121_944_4e-4 * exponent - 0.5 * z;
    (f + tail) + 0.693_359_4 * exponent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ln_of_one_is_zero_and_of_powers_of_two_a_multiple_of_ln_2() {
        assert_eq!(ln(1.0), 0.0);
        for exponent in -126..=127 {
            let expected = f64::from(exponent) * std::f64::consts::LN_2;
            let error = (f64::from(ln(2f32.powi(exponent))) - expected).abs();
            assert!(error <= 6e-8 * expected.abs(), "2^{exponent}: {error}");
        }
    }

    #[test]
    fn ln_is_right_to_the_last_bits_from_1e_minus_30_to_1e30() {
        let mut x = 1e-30f32;
        let mut worst = 0.0f64;
        while x < 1e30 {
            let expected = f64::from(x).ln();
            let unit = f64::from((expected as f32).abs().next_up() - (expected as f32).abs());
            worst = worst.max((f64::from(ln(x)) - expected).abs() / unit);
            x *= 1.000_13;
        }
        assert!(worst < 1.5, "{worst} units in the last place");
        assert!(worst > 0.4, "a rounded result errs by half a unit: the measure itself must see that, {worst}");
    }
}
