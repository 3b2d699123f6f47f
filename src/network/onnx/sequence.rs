//! The part of the graph behind the blocks: steps out of columns, the recurrent layer, the head.

use crate::network::head::{DEVIATION_EPSILON, Head};
use crate::network::onnx::proto::{AttributeProto, NodeProto};
use crate::network::onnx::{Graph, values};
use crate::network::parameters::{ATTENTION, LSTMS, Parameters};
use crate::network::sequence::Recurrent;
use crate::network::spec::NetworkSpec;

impl Graph {
    /// `[n, maps, height, columns]` to `[n_windows, n, height * width * maps]`, where the steps are groups of columns.
    pub(super) fn columns(&mut self, spec: &NetworkSpec, image: &str) -> String {
        if spec.window != spec.hop {
            let images = self.windows(spec, image);
            return self.flatten(spec, images);
        }
        let (height, width, maps) = spec.block_input(spec.blocks.len());
        let steps = spec.n_windows();
        let apart = self.integers("steps.shape", &[-1, maps as i64, height as i64, steps as i64, width as i64]);
        let apart = self.node("Reshape", "steps", &[image, &apart], vec![]);
        let order = vec![AttributeProto::ints("perm", &[3, 0, 2, 4, 1])];
        let in_time = self.node("Transpose", "steps.in_time", &[&apart], order);
        let shape = self.integers("vectors.shape", &[steps as i64, -1, spec.lstm_inputs() as i64]);
        self.node("Reshape", "vectors", &[&in_time, &shape], vec![])
    }

    /// `[n_windows, n, inputs]` to the embedding `[n, n_embedding]`.
    pub(super) fn sequence(&mut self, spec: &NetworkSpec, parameters: &Parameters, vectors: String) -> String {
        if spec.recurrent == Recurrent::None {
            let order = vec![AttributeProto::ints("perm", &[1, 0, 2])];
            let steps = self.node("Transpose", "outputs", &[&vectors], order);
            return self.head(spec, parameters, steps);
        }
        self.lstm(spec, parameters, vectors);
        let both = spec.recurrent == Recurrent::Bilstm;
        if spec.head == Head::Last {
            if !both {
                let direction_axis = self.integers("lstm.direction_axis", &[0]);
                return self.node("Squeeze", "lstm.state", &["lstm.last", &direction_axis], vec![]);
            }
            let order = vec![AttributeProto::ints("perm", &[1, 0, 2])];
            let states = self.node("Transpose", "lstm.states", &["lstm.last"], order);
            let shape = self.integers("lstm.state.shape", &[-1, spec.step_width() as i64]);
            return self.node("Reshape", "lstm.state", &[&states, &shape], vec![]);
        }
        let order = vec![AttributeProto::ints("perm", &[2, 0, 1, 3])];
        let outputs = self.node("Transpose", "lstm.outputs", &["lstm.steps"], order);
        let shape = self.integers("outputs.shape", &[-1, spec.n_windows() as i64, spec.step_width() as i64]);
        let outputs = self.node("Reshape", "outputs", &[&outputs, &shape], vec![]);
        self.head(spec, parameters, outputs)
    }

    /// The LSTM, or both: outputs `lstm.steps` `[n_windows, LSTMs, n, units]` or states `lstm.last` `[LSTMs, n, units]`.
    fn lstm(&mut self, spec: &NetworkSpec, parameters: &Parameters, vectors: String) {
        let (inputs, units, n_lstms) = (spec.lstm_inputs(), spec.lstm_units, spec.recurrent.n_lstms());
        let mut tensors: [Vec<String>; 3] = Default::default();
        for lstm in &LSTMS[..n_lstms] {
            let name = |part: &str| format!("{lstm}.{part}");
            let kernel = gate_rows(values(parameters, &name("kernel")), inputs, units);
            tensors[0].push(self.floats(&name("kernel"), &[1, 4 * units, inputs], &kernel));
            let recurrent = gate_rows(values(parameters, &name("recurrent_kernel")), units, units);
            tensors[1].push(self.floats(&name("recurrent_kernel"), &[1, 4 * units, units], &recurrent));
            // Keras has one bias per gate; ONNX adds two, so the recurrent one is zero.
            let mut bias = gate_rows(values(parameters, &name("bias")), 1, units);
            bias.resize(8 * units, 0.0);
            tensors[2].push(self.floats(&name("bias"), &[1, 8 * units], &bias));
        }
        let parts = tensors.into_iter().zip(["kernels", "recurrent_kernels", "biases"]);
        let tensors: Vec<String> = parts
            .map(|(tensors, name)| match &tensors[..] {
                [one] => one.clone(),
                [ahead, against @ ..] => {
                    let both = [ahead, &against[0]].map(String::as_str);
                    self.node("Concat", &format!("lstm.{name}"), &both, vec![AttributeProto::int("axis", 0)])
                }
                [] => String::new(),
            })
            .collect();
        let mut attribute = vec![AttributeProto::int("hidden_size", units as i64)];
        if n_lstms == 2 {
            attribute.push(AttributeProto::text("direction", "bidirectional"));
        }
        self.nodes.push(NodeProto {
            input: std::iter::once(vectors).chain(tensors).collect(),
            output: match spec.head {
                Head::Last => vec![String::new(), "lstm.last".into()],
                _ => vec!["lstm.steps".into()],
            },
            name: "lstm".into(),
            op_type: "LSTM".into(),
            attribute,
        });
    }

    /// `[n, n_windows, width]` to `[n, n_embedding]`.
    fn head(&mut self, spec: &NetworkSpec, parameters: &Parameters, steps: String) -> String {
        let mean = || vec![AttributeProto::ints("axes", &[1]), AttributeProto::int("keepdims", 0)];
        let kept = || vec![AttributeProto::ints("axes", &[1])];
        match spec.head {
            Head::Last => {
                let index = self.integers("head.step", &[spec.n_windows() as i64 - 1]);
                let step = self.node("Gather", "head.last", &[&steps, &index], vec![AttributeProto::int("axis", 1)]);
                let axis = self.integers("head.axis", &[1]);
                self.node("Squeeze", "head", &[&step, &axis], vec![])
            }
            Head::Mean => self.node("ReduceMean", "head", &[&steps], mean()),
            Head::MeanDeviation => {
                let centre = self.node("ReduceMean", "head.centre", &[&steps], kept());
                let centred = self.node("Sub", "head.centred", &[&steps, &centre], vec![]);
                let squares = self.node("Mul", "head.squares", &[&centred, &centred], vec![]);
                let variance = self.node("ReduceMean", "head.variance", &[&squares], mean());
                let epsilon = self.floats("head.epsilon", &[1], &[DEVIATION_EPSILON]);
                let variance = self.node("Add", "head.variance_and_epsilon", &[&variance, &epsilon], vec![]);
                let deviation = self.node("Sqrt", "head.deviation", &[&variance], vec![]);
                let means = self.node("ReduceMean", "head.mean", &[&steps], mean());
                self.node("Concat", "head", &[&means, &deviation], vec![AttributeProto::int("axis", 1)])
            }
            Head::Attention => {
                let kernel = self.floats(ATTENTION, &[spec.step_width(), 1], values(parameters, ATTENTION));
                let scores = self.node("MatMul", "head.scores", &[&steps, &kernel], vec![]);
                let weights = self.node("Softmax", "head.weights", &[&scores], vec![AttributeProto::int("axis", 1)]);
                let weighted = self.node("Mul", "head.weighted", &[&steps, &weights], vec![]);
                let axis = self.integers("head.axis", &[1]);
                self.node("ReduceSum", "head", &[&weighted, &axis], vec![AttributeProto::int("keepdims", 0)])
            }
        }
    }
}

/// Keras' `[rows, 4 * units]` with gates input, forget, cell, output as ONNX' `[4 * units, rows]` with gates
/// input, output, forget, cell.
fn gate_rows(kernel: &[f32], rows: usize, units: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(kernel.len());
    for gate in [0, 3, 1, 2] {
        for unit in 0..units {
            out.extend((0..rows).map(|row| kernel[row * 4 * units + gate * units + unit]));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_change_their_layout_by_hand() {
        // One row, one unit: input 1, forget 2, cell 3, output 4.
        assert_eq!(gate_rows(&[1.0, 2.0, 3.0, 4.0], 1, 1), [1.0, 4.0, 2.0, 3.0]);
        // Two rows, one unit: the rows of a gate lie side by side.
        assert_eq!(
            gate_rows(&[1.0, 2.0, 3.0, 4.0, 10.0, 20.0, 30.0, 40.0], 2, 1),
            [1.0, 10.0, 4.0, 40.0, 2.0, 20.0, 3.0, 30.0]
        );
    }
}
