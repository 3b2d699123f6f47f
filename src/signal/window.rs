//! The window function of a frame.

use std::f64::consts::TAU;

use super::profile::Window;

/// `[length]` values of the window, `length` at least 2.
///
/// Source: paper, equation 1 (symmetric); `scipy.signal.windows.hamming` with `sym` true or false.
/// Proof: `hamming_values_by_hand`.
pub fn window(kind: Window, length: usize) -> Vec<f64> {
    let period = match kind {
        Window::HammingSymmetric => length - 1,
        Window::HammingPeriodic => length,
    };
    (0..length).map(|n| 0.54 - 0.46 * (TAU * n as f64 / period as f64).cos()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hamming_values_by_hand() {
        let close = |a: &[f64], b: &[f64]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-15);
        // cos at 0, 90, 180, 270 (and 360) degrees.
        assert!(close(&window(Window::HammingSymmetric, 5), &[0.08, 0.54, 1.0, 0.54, 0.08]));
        assert!(close(&window(Window::HammingPeriodic, 4), &[0.08, 0.54, 1.0, 0.54]));
    }

    #[test]
    fn the_symmetric_window_mirrors_and_the_periodic_one_does_not() {
        let symmetric = window(Window::HammingSymmetric, 256);
        let periodic = window(Window::HammingPeriodic, 256);
        assert!((0..256).all(|n| (symmetric[n] - symmetric[255 - n]).abs() < 1e-14));
        assert!((periodic[255] - periodic[0]).abs() > 1e-5);
        assert!((periodic[255] - periodic[1]).abs() < 1e-14);
    }
}
