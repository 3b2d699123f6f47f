//! The network's named tensors: one flat list in a fixed order, with Keras' shapes and layouts.

use crate::network::spec::NetworkSpec;

/// A tensor that training moves, or (moving statistics of batch norm) only observes.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// `block1.kernel`, `block1.bias`, `block1.gamma`, `block1.beta`, `block1.moving_mean`,
    /// `block1.moving_variance`, ... `lstm.kernel`, `lstm.recurrent_kernel`, `lstm.bias`, `dense.kernel`, `dense.bias`.
    pub name: String,
    /// Row-major shape.
    pub shape: Vec<usize>,
    /// Whether the optimiser moves it.
    pub trainable: bool,
    /// `shape.product()` values.
    pub values: Vec<f32>,
}

/// All tensors of one network, in the order of [`Parameters::zeros`].
///
/// Layouts: convolution kernel `[3, 3, maps_in, maps_out]`; LSTM kernel `[inputs, 4 * units]` and recurrent kernel
/// `[units, 4 * units]` with gates in the order input, forget, cell, output; dense kernel `[units, classes]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters {
    pub tensors: Vec<Tensor>,
}

/// Tensors per block, in order: kernel, bias, gamma, beta, moving_mean, moving_variance.
pub const TENSORS_PER_BLOCK: usize = 6;

impl Parameters {
    /// Every tensor of `spec`, filled with zeros (also the shape of gradients and of momentum).
    pub fn zeros(spec: &NetworkSpec) -> Self {
        let mut tensors = Vec::new();
        let mut add = |name: String, shape: &[usize], trainable: bool| {
            let values = vec![0.0; shape.iter().product()];
            tensors.push(Tensor { name, shape: shape.to_vec(), trainable, values });
        };
        for (index, block) in spec.blocks.iter().enumerate() {
            let (_, _, maps_in) = spec.block_input(index);
            let name = |part: &str| format!("block{}.{part}", index + 1);
            add(name("kernel"), &[3, 3, maps_in, block.n_maps], true);
            for part in ["bias", "gamma", "beta"] {
                add(name(part), &[block.n_maps], true);
            }
            for part in ["moving_mean", "moving_variance"] {
                add(name(part), &[block.n_maps], false);
            }
        }
        add("lstm.kernel".into(), &[spec.lstm_inputs(), 4 * spec.lstm_units], true);
        add("lstm.recurrent_kernel".into(), &[spec.lstm_units, 4 * spec.lstm_units], true);
        add("lstm.bias".into(), &[4 * spec.lstm_units], true);
        add("dense.kernel".into(), &[spec.lstm_units, spec.n_classes], true);
        add("dense.bias".into(), &[spec.n_classes], true);
        Self { tensors }
    }

    /// Number of values, trainable or not.
    pub fn count(&self) -> usize {
        self.tensors.iter().map(|tensor| tensor.values.len()).sum()
    }

    /// The six tensors of block `index` (0-based): kernel, bias, gamma, beta, moving mean, moving variance.
    pub fn block(&self, index: usize) -> &[Tensor] {
        &self.tensors[index * TENSORS_PER_BLOCK..(index + 1) * TENSORS_PER_BLOCK]
    }

    /// The values of the tensor called `name`, if there is one.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paper_network_has_656_583_parameters() {
        let parameters = Parameters::zeros(&NetworkSpec::paper(128, 508));
        assert_eq!(parameters.count(), 656_583);
        assert_eq!(parameters.get("block2.kernel").map(|tensor| tensor.shape.clone()), Some(vec![3, 3, 64, 64]));
        assert_eq!(parameters.block(3)[0].name, "block4.kernel");
    }
}
