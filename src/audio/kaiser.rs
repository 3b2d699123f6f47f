//! The resampler's impulse response: a sinc under a Kaiser window, in f64.

/// Zero crossings of the sinc on each side.
pub(super) const ZERO_CROSSINGS: f64 = 32.0;
/// Kaiser's formula for a stop band of 100 dB: `0.1102 (100 - 8.7)`.
pub(super) const KAISER_BETA: f64 = 10.06;

/// Kaiser window with its normalisation.
pub(super) struct Window {
    at_centre: f64,
}

impl Window {
    pub(super) fn new() -> Self {
        Self { at_centre: bessel_i0(KAISER_BETA) }
    }

    /// `h(x)`, `x` in input samples.
    pub(super) fn impulse(&self, cutoff: f64, x: f64) -> f64 {
        let crossings = cutoff * x;
        let place = crossings / ZERO_CROSSINGS;
        if place.abs() >= 1.0 {
            return 0.0;
        }
        let angle = std::f64::consts::PI * crossings;
        let sinc = if angle == 0.0 { 1.0 } else { angle.sin() / angle };
        cutoff * sinc * bessel_i0(KAISER_BETA * (1.0 - place * place).sqrt()) / self.at_centre
    }
}

/// Modified Bessel function of the first kind, order 0, by its power series (all terms positive).
fn bessel_i0(x: f64) -> f64 {
    let quarter = x * x / 4.0;
    let (mut sum, mut term, mut k) = (1.0, 1.0, 1.0);
    while term > sum * 1e-17 {
        term *= quarter / (k * k);
        sum += term;
        k += 1.0;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bessel_i0_matches_tabulated_values() {
        // Abramowitz and Stegun, table 9.8 (as e^-x I0(x) times e^x).
        for (x, expected) in [(0.0, 1.0), (1.0, 1.266_065_877_752_008), (10.0, 2_815.716_628_466_254)] {
            assert!((bessel_i0(x) / expected - 1.0).abs() < 1e-14, "I0({x}) = {}", bessel_i0(x));
        }
    }

    #[test]
    fn response_is_even_crosses_zero_and_ends() {
        let window = Window::new();
        let cutoff = 0.8;
        assert!((window.impulse(cutoff, 0.0) - cutoff).abs() < 1e-15);
        for crossing in 1..32 {
            assert!(window.impulse(cutoff, f64::from(crossing) / cutoff).abs() < 1e-15);
            let x = f64::from(crossing) + 0.3;
            assert_eq!(window.impulse(cutoff, x), window.impulse(cutoff, -x));
        }
        assert_eq!(window.impulse(cutoff, 32.01 / cutoff), 0.0);
    }
}
