//! The resampler's impulse response: a sinc under a Kaiser window, in f64.

/// Zero crossings of the sinc on each side.
pub(super) const ZERO_CROSSINGS: f64 = 32.0;
/// Kaiser's formula for a stop band of 100 dB: `0.1102 (100 - 8.7)`.
pub(super) const KAISER_BETA: f64 = 10.06;

/// Terms of the window's power series; the next one is 1e-25 of the sum.
const TERMS: usize = 32;

/// Kaiser window, `I0(beta sqrt(1 - place^2)) / I0(beta)`, as a power series in `1 - place^2` (all terms positive).
pub(crate) struct Window {
    zero_crossings: f64,
    coefficients: [f64; TERMS],
}

impl Window {
    /// A sinc of so many zero crossings on each side, under a window of that beta.
    pub(crate) fn new(zero_crossings: f64, beta: f64) -> Self {
        // I0(x), the modified Bessel function of order 0, is the sum of (x^2 / 4)^k / (k!)^2.
        let mut coefficients = [1.0; TERMS];
        for k in 1..TERMS {
            coefficients[k] = coefficients[k - 1] * (beta / 2.0 / k as f64).powi(2);
        }
        let at_centre: f64 = coefficients.iter().sum();
        Self { zero_crossings, coefficients: coefficients.map(|coefficient| coefficient / at_centre) }
    }

    /// Zero crossings of the sinc on each side.
    pub(super) fn zero_crossings(&self) -> f64 {
        self.zero_crossings
    }

    /// `h(x)`, `x` in input samples.
    pub(crate) fn impulse(&self, cutoff: f64, x: f64) -> f64 {
        let crossings = cutoff * x;
        let place = crossings / self.zero_crossings;
        if place.abs() >= 1.0 {
            return 0.0;
        }
        let angle = std::f64::consts::PI * crossings;
        let sinc = if angle == 0.0 { 1.0 } else { angle.sin() / angle };
        let inside = 1.0 - place * place;
        cutoff * sinc * self.coefficients.iter().rev().fold(0.0, |sum, coefficient| sum * inside + coefficient)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_is_the_tabulated_bessel_function() {
        // Abramowitz and Stegun, table 9.8 (as e^-x I0(x) times e^x).
        let at_centre = 2_970.0_f64;
        for (x, expected) in [(0.0, 1.0), (1.0, 1.266_065_877_752_008), (10.0, 2_815.716_628_466_254)] {
            let window = Window::new(ZERO_CROSSINGS, KAISER_BETA);
            let inside: f64 = x * x / (KAISER_BETA * KAISER_BETA);
            let sum = window.coefficients.iter().rev().fold(0.0, |sum, coefficient| sum * inside + coefficient);
            assert!((sum / window.coefficients[0] / expected - 1.0).abs() < 1e-14, "I0({x})");
            assert!(sum <= 1.0 && 1.0 / window.coefficients[0] > at_centre, "1 at the centre");
        }
    }

    #[test]
    fn response_is_even_crosses_zero_and_ends() {
        let window = Window::new(ZERO_CROSSINGS, KAISER_BETA);
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
