//! Logarithm, exponential, sine and cosine without calls or branches, so that loops over them become vector code.
//!
//! Only additions and multiplications in a fixed order, none of them fused: the same bits on every machine.

/// `ln(x)` for normal, positive x; within 1.5 units in the last place of f32.
///
/// x = 2^e * m with m in [sqrt(1/2), sqrt(2)); ln(m) is a polynomial in m - 1.
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

/// `exp(x)` for `x <= 0`, within 2 units in the last place; arguments under -87 count as -87 (1.6e-38).
///
/// Source: S. Moshier, Cephes, `expf`. Proof: `exponential_is_right_to_two_units_in_the_last_place`.
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
    // exp on [-ln 2 / 2, ln 2 / 2].
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

/// Sine and cosine of `turn / 2^24` times 360 degrees; errors below 2e-7.
///
/// Source: S. Moshier, Cephes, `sinf`, `cosf`: polynomials within 45 degrees of the nearest quarter.
/// Proof: `sine_and_cosine_are_right_at_every_angle`.
#[inline(always)]
pub fn sin_cos_of_turn(turn: u32) -> (f32, f32) {
    /// Radians in a step of 2^-24 turns.
    const STEP: f32 = std::f32::consts::TAU / 16_777_216.0;
    let quarter = (turn + (1 << 21)) >> 22;
    let x = (turn as i32 - (quarter << 22) as i32) as f32 * STEP;
    let z = x * x;
    let sin = ((-1.951_529_6e-4 * z + 8.332_161e-3) * z - 1.666_665_5e-1) * z * x + x;
    let cos = ((2.443_315_7e-5 * z - 1.388_731_6e-3) * z + 4.166_664_6e-2) * z * z - 0.5 * z + 1.0;
    // Odd quarters exchange the two; the sine changes sign in the lower half, the cosine in the left one. By bits, as
    // branches would keep the loop around from becoming vector code.
    let exchange = (sin.to_bits() ^ cos.to_bits()) & (quarter & 1).wrapping_neg();
    let sin = f32::from_bits(sin.to_bits() ^ exchange ^ ((quarter & 2) << 30));
    let cos = f32::from_bits(cos.to_bits() ^ exchange ^ (((quarter + 1) & 2) << 30));
    (sin, cos)
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
    fn sine_and_cosine_are_right_at_every_angle() {
        for turn in (0..1 << 24).step_by(97).chain([(1 << 24) - 1]) {
            let (sin, cos) = sin_cos_of_turn(turn);
            let (exact_sin, exact_cos) = (std::f64::consts::TAU * f64::from(turn) / 16_777_216.0).sin_cos();
            assert!((f64::from(sin) - exact_sin).abs() < 2e-7, "sin {turn}");
            assert!((f64::from(cos) - exact_cos).abs() < 2e-7, "cos {turn}");
        }
    }
}
