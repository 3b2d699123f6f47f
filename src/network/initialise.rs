//! Keras' initial weights, drawn from a [`Seed`].

use crate::network::parameters::{LSTMS, Parameters, Tensor};
use crate::network::spec::NetworkSpec;
use crate::units::Seed;

/// Parameters before training: Glorot uniform kernels, an orthogonal recurrent kernel, biases 0 (forget gate 1),
/// gamma 1, beta 0, moving mean 0, moving variance 1. A pure function of `spec` and `seed`.
pub fn initialise(spec: &NetworkSpec, seed: Seed) -> Parameters {
    let mut parameters = Parameters::zeros(spec);
    for tensor in &mut parameters.tensors {
        let seed = seed.derive("weights", &[tensor.name.as_bytes()]);
        match tensor.name.rsplit('.').next() {
            Some("gamma" | "moving_variance") => tensor.values.fill(1.0),
            Some("kernel") => glorot_uniform(tensor, seed),
            Some("recurrent_kernel") => orthogonal(tensor, seed),
            Some("bias") if LSTMS.iter().any(|lstm| tensor.name == format!("{lstm}.bias")) => {
                tensor.values[spec.lstm_units..2 * spec.lstm_units].fill(1.0);
            }
            _ => {}
        }
    }
    parameters
}

/// Uniform in `+-sqrt(6 / (fan_in + fan_out))`; the fans of a convolution count its 9 taps.
fn glorot_uniform(tensor: &mut Tensor, seed: Seed) {
    let [taps @ .., fan_in, fan_out] = tensor.shape.as_slice() else { return };
    let taps: usize = taps.iter().product();
    let limit = (6.0 / (taps * (fan_in + fan_out)) as f64).sqrt();
    for (i, value) in tensor.values.iter_mut().enumerate() {
        *value = ((2.0 * seed.unit(i as u64) - 1.0) * limit) as f32;
    }
}

/// Orthonormal rows: normal values, orthogonalised by Gram-Schmidt (twice, for precision) in `f64`.
fn orthogonal(tensor: &mut Tensor, seed: Seed) {
    let (n_rows, n_columns) = (tensor.shape[0], tensor.shape[1]);
    let mut rows: Vec<Vec<f64>> = Vec::with_capacity(n_rows);
    for index in 0..n_rows {
        let mut row: Vec<f64> =
            (0..n_columns).map(|column| seed.normal_pair((index * n_columns + column) as u64).0).collect();
        for _ in 0..2 {
            for done in &rows {
                let along: f64 = row.iter().zip(done).map(|(a, b)| a * b).sum();
                row.iter_mut().zip(done).for_each(|(value, done)| *value -= along * done);
            }
        }
        let length = row.iter().map(|value| value * value).sum::<f64>().sqrt();
        row.iter_mut().for_each(|value| *value /= length);
        rows.push(row);
    }
    for (value, drawn) in tensor.values.iter_mut().zip(rows.iter().flatten()) {
        *value = *drawn as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_fill_the_glorot_range_and_constants_are_those_of_keras() {
        let parameters = initialise(&NetworkSpec::paper(128, 508), Seed(1));
        let of = |name: &str| &parameters.get(name).expect("tensor").values;
        let limit = (6.0f32 / (9.0 * 128.0)).sqrt();
        let largest = of("block2.kernel").iter().fold(0.0f32, |top, value| top.max(value.abs()));
        assert!(largest <= limit && largest > 0.999 * limit);
        let mean = of("block2.kernel").iter().sum::<f32>() / of("block2.kernel").len() as f32;
        assert!(mean.abs() < 0.01 * limit);
        assert_eq!((of("lstm.bias")[255], of("lstm.bias")[256], of("lstm.bias")[512]), (0.0, 1.0, 0.0));
        assert!(of("block3.gamma").iter().chain(of("block3.moving_variance")).all(|&value| value == 1.0));
        assert!(of("block3.beta").iter().chain(of("block3.moving_mean")).all(|&value| value == 0.0));
    }

    #[test]
    fn recurrent_kernel_has_orthonormal_rows_and_follows_its_seed() {
        let spec = NetworkSpec { lstm_units: 24, ..NetworkSpec::paper(128, 508) };
        let kernel = |seed| initialise(&spec, seed).get("lstm.recurrent_kernel").expect("tensor").values.clone();
        let values = kernel(Seed(2));
        let row = |i: usize| &values[i * 96..(i + 1) * 96];
        for i in 0..24 {
            for j in 0..24 {
                let dot: f32 = row(i).iter().zip(row(j)).map(|(a, b)| a * b).sum();
                assert!((dot - f32::from(u8::from(i == j))).abs() < 1e-6);
            }
        }
        assert_eq!(values, kernel(Seed(2)));
        assert_ne!(values, kernel(Seed(3)));
    }
}
