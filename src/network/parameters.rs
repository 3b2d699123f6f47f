//! The network's named tensors: one flat list in a fixed order, with Keras' shapes and layouts.

use crate::network::head::Head;
use crate::network::spec::NetworkSpec;

/// A tensor that training moves, or (moving statistics of batch norm) only observes.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// `block1.kernel`, `block1.bias`, `block1.gamma`, `block1.beta`, `block1.moving_mean`,
    /// `block1.moving_variance`, ... `lstm.kernel`, `lstm.recurrent_kernel`, `lstm.bias`, the same of `lstm_backward`,
    /// `attention.kernel`, `dense.kernel`, `dense.bias`.
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
/// Layouts: convolution kernel `[3, 3, channels_in, channels_out]`; LSTM kernel `[inputs, 4 * units]` and recurrent kernel
/// `[units, 4 * units]` with gates in the order input, forget, cell, output; dense kernel `[embedding, classes]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters {
    pub tensors: Vec<Tensor>,
}

/// Tensors per block, in the order of the fields of [`BlockTensors`].
pub const TENSORS_PER_BLOCK: usize = 6;
/// Tensors per LSTM, in the order of the fields of [`LstmTensors`].
pub const TENSORS_PER_LSTM: usize = 3;
/// Names of the LSTMs: in time, and against it.
pub const LSTMS: [&str; 2] = ["lstm", "lstm_backward"];
/// Name of the tensor that weighs the steps.
pub const ATTENTION: &str = "attention.kernel";

/// What belongs to one block: references to its tensors, or to their gradients.
#[derive(Clone, Copy, Debug)]
pub struct BlockTensors<T> {
    /// `[3, 3, channels_in, channels_out]`
    pub kernel: T,
    /// This and all others: `[channels_out]`
    pub bias: T,
    pub gamma: T,
    pub beta: T,
    /// Moving statistics, which have no gradient.
    pub mean: T,
    pub variance: T,
}

/// What belongs to the LSTM; gates in the order input, forget, cell, output.
#[derive(Clone, Copy, Debug)]
pub struct LstmTensors<T> {
    /// `[inputs, 4 * units]`
    pub kernel: T,
    /// `[units, 4 * units]`
    pub recurrent: T,
    /// `[4 * units]`
    pub bias: T,
}

/// What belongs to the dense layer.
#[derive(Clone, Copy, Debug)]
pub struct DenseTensors<T> {
    /// `[embedding, classes]`
    pub kernel: T,
    /// `[classes]`
    pub bias: T,
}

/// All tensors of a network, to be written.
pub struct TensorsMut<'a> {
    pub blocks: Vec<BlockTensors<&'a mut Tensor>>,
    /// None, one, or one in time and one against it.
    pub lstms: Vec<LstmTensors<&'a mut [f32]>>,
    /// `[step width, 1]` of attention, or nothing.
    pub attention: &'a mut [f32],
    pub dense: DenseTensors<&'a mut [f32]>,
}

/// Why a network's list of tensors always ends with these.
const HAS_LAST: &str = "every network has a dense layer";

impl Parameters {
    /// Every tensor of `spec`, filled with zeros (also the shape of gradients and of momentum).
    pub fn zeros(spec: &NetworkSpec) -> Self {
        let mut tensors = Vec::new();
        let mut add = |name: String, shape: &[usize], trainable: bool| {
            let values = vec![0.0; shape.iter().product()];
            tensors.push(Tensor { name, shape: shape.to_vec(), trainable, values });
        };
        for (index, block) in spec.blocks.iter().enumerate() {
            let (_, _, channels_in) = spec.block_input(index);
            let name = |part: &str| format!("block{}.{part}", index + 1);
            add(name("kernel"), &[3, 3, channels_in, block.n_maps], true);
            for part in ["bias", "gamma", "beta"] {
                add(name(part), &[block.n_maps], true);
            }
            for part in ["moving_mean", "moving_variance"] {
                add(name(part), &[block.n_maps], false);
            }
        }
        for lstm in &LSTMS[..spec.recurrent.n_lstms()] {
            add(format!("{lstm}.kernel"), &[spec.lstm_inputs(), 4 * spec.lstm_units], true);
            add(format!("{lstm}.recurrent_kernel"), &[spec.lstm_units, 4 * spec.lstm_units], true);
            add(format!("{lstm}.bias"), &[4 * spec.lstm_units], true);
        }
        if spec.head == Head::Attention {
            add(ATTENTION.into(), &[spec.step_width(), 1], true);
        }
        add("dense.kernel".into(), &[spec.n_embedding(), spec.n_classes], true);
        add("dense.bias".into(), &[spec.n_classes], true);
        Self { tensors }
    }

    /// Number of values, trainable or not.
    pub fn count(&self) -> usize {
        self.tensors.iter().map(|tensor| tensor.values.len()).sum()
    }

    /// The tensors of block `index` (0-based).
    pub fn block(&self, index: usize) -> BlockTensors<&Tensor> {
        let [kernel, bias, gamma, beta, mean, variance] = &self.tensors.as_chunks::<TENSORS_PER_BLOCK>().0[index];
        BlockTensors { kernel, bias, gamma, beta, mean, variance }
    }

    /// The values of the tensors of the LSTM in time, and of the one against it; there may be none.
    pub fn lstms(&self) -> Vec<LstmTensors<&[f32]>> {
        let tensors = &self.tensors[self.n_block_tensors()..];
        let lstms = tensors.as_chunks::<TENSORS_PER_LSTM>().0.iter();
        let lstms = lstms.take_while(|[_, recurrent, _]| recurrent.name.ends_with(".recurrent_kernel"));
        let lstms = lstms.map(|tensors| {
            let [kernel, recurrent, bias] = tensors.each_ref().map(|tensor| tensor.values.as_slice());
            LstmTensors { kernel, recurrent, bias }
        });
        lstms.collect()
    }

    /// The values of attention's kernel `[step width, 1]`, or nothing.
    pub fn attention(&self) -> &[f32] {
        match self.tensors.iter().rev().nth(2) {
            Some(tensor) if tensor.name == ATTENTION => &tensor.values,
            _ => &[],
        }
    }

    /// The values of the dense layer's tensors.
    pub fn dense(&self) -> DenseTensors<&[f32]> {
        let last: &[Tensor; 2] = self.tensors.last_chunk().expect(HAS_LAST);
        let [kernel, bias] = last.each_ref().map(|tensor| tensor.values.as_slice());
        DenseTensors { kernel, bias }
    }

    /// How many tensors belong to blocks: the first ones.
    fn n_block_tensors(&self) -> usize {
        self.tensors.iter().take_while(|tensor| tensor.name.starts_with("block")).count()
    }

    /// All tensors by name, to be written.
    pub fn tensors_mut(&mut self) -> TensorsMut<'_> {
        let n_block_tensors = self.n_block_tensors();
        let (blocks, others) = self.tensors.split_at_mut(n_block_tensors);
        let (others, dense) = others.split_last_chunk_mut::<2>().expect(HAS_LAST);
        let blocks = blocks.as_chunks_mut::<TENSORS_PER_BLOCK>().0.iter_mut();
        let blocks = blocks.map(|[kernel, bias, gamma, beta, mean, variance]| BlockTensors {
            kernel,
            bias,
            gamma,
            beta,
            mean,
            variance,
        });
        let (lstms, attention) = others.as_chunks_mut::<TENSORS_PER_LSTM>();
        let lstms = lstms.iter_mut().map(|tensors| {
            let [kernel, recurrent, bias] = tensors.each_mut().map(|tensor| tensor.values.as_mut_slice());
            LstmTensors { kernel, recurrent, bias }
        });
        let [kernel, bias] = dense.each_mut().map(|tensor| tensor.values.as_mut_slice());
        TensorsMut {
            blocks: blocks.collect(),
            lstms: lstms.collect(),
            attention: attention.first_mut().map_or(&mut [], |tensor| &mut tensor.values),
            dense: DenseTensors { kernel, bias },
        }
    }

    /// The network whose logits are these divided by `temperature`: its probabilities need no softmax of their own to be
    /// calibrated, wherever the file is run. A temperature of 1 changes no bit.
    pub fn at_temperature(mut self, temperature: f32) -> Self {
        for tensor in self.tensors.iter_mut().filter(|tensor| ["dense.kernel", "dense.bias"].contains(&&*tensor.name)) {
            tensor.values.iter_mut().for_each(|value| *value /= temperature);
        }
        self
    }

    /// The values of the tensor called `name`, if there is one.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::sequence::Recurrent;

    #[test]
    fn paper_network_has_656_583_parameters() {
        let parameters = Parameters::zeros(&NetworkSpec::paper(128, 508));
        assert_eq!(parameters.count(), 656_583);
        assert_eq!(parameters.get("block2.kernel").map(|tensor| tensor.shape.clone()), Some(vec![3, 3, 64, 64]));
    }

    #[test]
    fn a_temperature_divides_the_logits_and_one_changes_nothing() {
        let mut parameters = Parameters::zeros(&NetworkSpec::paper(128, 508));
        let values = parameters.tensors.iter_mut().flat_map(|tensor| &mut tensor.values);
        values.enumerate().for_each(|(at, value)| *value = (at as f32 * 0.37).sin() / 3.0);
        assert_eq!(parameters.clone().at_temperature(1.0), parameters);
        let state: Vec<f32> = (0..256).map(|unit| (unit as f32 * 0.11).cos()).collect();
        let logit = |parameters: &Parameters, class: usize| {
            let DenseTensors { kernel, bias } = parameters.dense();
            let sum: f32 = state.iter().enumerate().map(|(unit, value)| value * kernel[unit * 7 + class]).sum();
            sum + bias[class]
        };
        let cooled = parameters.clone().at_temperature(2.5);
        for class in 0..7 {
            let (before, after) = (logit(&parameters, class), logit(&cooled, class));
            assert!((after - before / 2.5).abs() < 1e-4, "{after} {before}");
        }
        let changed = parameters.tensors.iter().zip(&cooled.tensors).filter(|(a, b)| a != b).count();
        assert_eq!(changed, 2);
    }

    #[test]
    fn every_tensor_is_found_under_its_own_name() {
        let mut parameters = Parameters::zeros(&NetworkSpec::paper(128, 508));
        for (index, tensor) in parameters.tensors.iter_mut().enumerate() {
            tensor.values[0] = index as f32;
        }
        let at = |name: &str| parameters.get(name).expect("a tensor").values[0];
        for index in 0..4 {
            let BlockTensors { kernel, bias, gamma, beta, mean, variance } = parameters.block(index);
            let names = [kernel, bias, gamma, beta, mean, variance].map(|tensor| tensor.name.as_str());
            let parts = ["kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance"];
            assert_eq!(names.map(String::from), parts.map(|part| format!("block{}.{part}", index + 1)));
        }
        let LstmTensors { kernel, recurrent, bias } = parameters.lstms()[0];
        assert_eq!(
            [kernel, recurrent, bias].map(|values| values[0]),
            ["kernel", "recurrent_kernel", "bias"].map(|part| at(&format!("lstm.{part}")))
        );
        let DenseTensors { kernel, bias } = parameters.dense();
        assert_eq!([kernel[0], bias[0]], [at("dense.kernel"), at("dense.bias")]);
        let expected: Vec<f32> = parameters.tensors.iter().map(|tensor| tensor.values[0]).collect();
        let TensorsMut { blocks, mut lstms, attention, dense } = parameters.tensors_mut();
        let lstm = lstms.pop().expect("one LSTM");
        assert!(lstms.is_empty() && attention.is_empty());
        let blocks = blocks.into_iter().flat_map(|block| {
            [block.kernel, block.bias, block.gamma, block.beta, block.mean, block.variance]
                .map(|tensor| tensor.values[0])
        });
        let rest = [lstm.kernel, lstm.recurrent, lstm.bias, dense.kernel, dense.bias].map(|values| values[0]);
        assert_eq!(blocks.chain(rest).collect::<Vec<f32>>(), expected);
    }

    #[test]
    fn tensors_behind_the_blocks_are_those_of_the_layers_that_there_are() {
        let paper = NetworkSpec::paper(128, 508);
        for (recurrent, head, n_lstms, width) in [
            (Recurrent::Lstm, Head::Last, 1, 256),
            (Recurrent::None, Head::MeanDeviation, 0, 256),
            (Recurrent::Bilstm, Head::Attention, 2, 512),
            (Recurrent::None, Head::Attention, 0, 128),
        ] {
            for blocks in [vec![], paper.blocks.clone()] {
                let width = if blocks.is_empty() && n_lstms == 0 { width * 128 } else { width };
                let mut parameters =
                    Parameters::zeros(&NetworkSpec { recurrent, head, blocks: blocks.clone(), ..paper.clone() });
                let attention = if head == Head::Attention { width } else { 0 };
                assert_eq!((parameters.lstms().len(), parameters.attention().len()), (n_lstms, attention));
                assert_eq!(parameters.dense().kernel.len(), width * 7);
                let tensors = parameters.tensors_mut();
                let lengths = (tensors.blocks.len(), tensors.lstms.len(), tensors.attention.len());
                assert_eq!(lengths, (blocks.len(), n_lstms, attention));
            }
        }
    }
}
