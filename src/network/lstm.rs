//! The LSTM that reads the windows in time: Keras' equations, last state out.

use rayon::prelude::*;

use crate::network::matrix::{Matrix, Multiplier};
use crate::network::parameters::LstmTensors;
use crate::simd::Isa;

/// Sizes of the layer.
#[derive(Clone, Copy, Debug)]
pub struct LstmShape {
    pub n_steps: usize,
    pub n_inputs: usize,
    pub n_units: usize,
}

/// The layer's memory for a batch, made once.
pub struct Lstm {
    shape: LstmShape,
    multiplier: Multiplier,
    /// Inputs `[batch, steps, inputs]`, filled by the caller; backward leaves their gradient here.
    pub input: Vec<f32>,
    /// `[batch, steps, 4 * units]`: gate activations, in backward the gradient before the activations.
    gates: Vec<f32>,
    /// Cell state after each step `[batch, steps, units]`.
    cell: Vec<f32>,
    /// Output before each step `[batch, steps, units]`; zero at step 0.
    before: Vec<f32>,
    /// Output after the last step `[batch, units]`.
    pub last: Vec<f32>,
    /// Gradient of the output and of the cell state while going back `[batch, units]`.
    d_output: Vec<f32>,
    d_cell: Vec<f32>,
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

impl Lstm {
    /// Memory for up to `max_batch` recordings.
    pub fn new(shape: LstmShape, max_batch: usize, isa: Isa) -> Self {
        let zeros = |per_recording: usize| vec![0.0; max_batch * per_recording];
        let LstmShape { n_steps, n_inputs, n_units } = shape;
        Self {
            shape,
            multiplier: Multiplier::new(isa),
            input: zeros(n_steps * n_inputs),
            gates: zeros(n_steps * 4 * n_units),
            cell: zeros(n_steps * n_units),
            before: zeros(n_steps * n_units),
            last: zeros(n_units),
            d_output: zeros(n_units),
            d_cell: zeros(n_units),
        }
    }

    /// Reads `self.input` of `n` recordings and writes `self.last`.
    ///
    /// `i, f, o = sigmoid, g = tanh` of `x K + h R + b`; `c' = f c + i g`; `h' = o tanh(c')`.
    pub fn forward(&mut self, weights: LstmTensors<&[f32]>, n: usize) {
        let LstmShape { n_steps, n_inputs, n_units } = self.shape;
        let n_gates = 4 * n_units;
        let input = Matrix::new(&self.input, (n * n_steps, n_inputs), n_inputs);
        self.multiplier.multiply(
            &mut self.gates,
            n_gates,
            false,
            input,
            Matrix::new(weights.kernel, (n_inputs, n_gates), n_gates),
        );
        for step in 0..n_steps {
            if step > 0 {
                let before = Matrix::new(&self.before[step * n_units..], (n, n_units), n_steps * n_units);
                let recurrent = Matrix::new(weights.recurrent, (n_units, n_gates), n_gates);
                self.multiplier.multiply(&mut self.gates[step * n_gates..], n_steps * n_gates, true, before, recurrent);
            }
            let recordings = (
                self.gates.par_chunks_mut(n_steps * n_gates),
                self.cell.par_chunks_mut(n_steps * n_units),
                self.before.par_chunks_mut(n_steps * n_units),
                self.last.par_chunks_mut(n_units),
            );
            recordings.into_par_iter().take(n).for_each(|(gates, cell, before, last)| {
                step_forward(self.shape, step, weights.bias, gates, (cell, before, last));
            });
        }
    }

    /// Output after step `step` of a recording `[units]`.
    pub fn output(&self, recording: usize, step: usize) -> &[f32] {
        let LstmShape { n_steps, n_units, .. } = self.shape;
        match step + 1 {
            next if next < n_steps => &self.before[(recording * n_steps + next) * n_units..][..n_units],
            _ => &self.last[recording * n_units..][..n_units],
        }
    }

    /// From the gradient of `self.last` `[n, units]`, or of the outputs of all steps `d_steps` `[n, steps, units]`, to those of
    /// the weights (overwritten) and, in `self.input`, of the inputs.
    pub fn backward(
        &mut self,
        weights: LstmTensors<&[f32]>,
        n: usize,
        d_last: &[f32],
        d_steps: Option<&[f32]>,
        gradient: LstmTensors<&mut [f32]>,
    ) {
        let LstmShape { n_steps, n_inputs, n_units } = self.shape;
        let n_gates = 4 * n_units;
        match d_steps {
            None => self.d_output[..n * n_units].copy_from_slice(&d_last[..n * n_units]),
            Some(_) => self.d_output.fill(0.0),
        }
        self.d_cell.fill(0.0);
        for step in (0..n_steps).rev() {
            if let Some(d_steps) = d_steps {
                let recordings = self.d_output.chunks_exact_mut(n_units).zip(d_steps.chunks_exact(n_steps * n_units));
                for (sum, d) in recordings.take(n) {
                    sum.iter_mut().zip(&d[step * n_units..]).for_each(|(sum, value)| *sum += value);
                }
            }
            let recordings = (
                self.gates.par_chunks_mut(n_steps * n_gates),
                self.cell.par_chunks(n_steps * n_units),
                self.d_output.par_chunks(n_units),
                self.d_cell.par_chunks_mut(n_units),
            );
            recordings.into_par_iter().take(n).for_each(|(gates, cell, d_output, d_cell)| {
                step_back(self.shape, step, gates, cell, (d_output, d_cell));
            });
            if step > 0 {
                let d_gates = Matrix::new(&self.gates[step * n_gates..], (n, n_gates), n_steps * n_gates);
                let recurrent = Matrix::new(weights.recurrent, (n_units, n_gates), n_gates);
                self.multiplier.multiply(&mut self.d_output, n_units, false, d_gates, recurrent.transposed());
            }
        }
        let rows = n * n_steps;
        let d_gates = Matrix::new(&self.gates, (rows, n_gates), n_gates);
        let input = Matrix::new(&self.input, (rows, n_inputs), n_inputs);
        self.multiplier.multiply(gradient.kernel, n_gates, false, input.transposed(), d_gates);
        let before = Matrix::new(&self.before, (rows, n_units), n_units);
        self.multiplier.multiply(gradient.recurrent, n_gates, false, before.transposed(), d_gates);
        gradient.bias.fill(0.0);
        for row in self.gates[..rows * n_gates].chunks_exact(n_gates) {
            for (sum, value) in gradient.bias.iter_mut().zip(row) {
                *sum += value;
            }
        }
        let kernel = Matrix::new(weights.kernel, (n_inputs, n_gates), n_gates);
        self.multiplier.multiply(&mut self.input, n_inputs, false, d_gates, kernel.transposed());
    }
}

/// One recording at one step: `gates` `[steps, 4 * units]`, `cell` and `before` `[steps, units]`, `last` `[units]`.
fn step_forward(
    shape: LstmShape,
    step: usize,
    bias: &[f32],
    gates: &mut [f32],
    (cell, before, last): (&mut [f32], &mut [f32], &mut [f32]),
) {
    let LstmShape { n_steps, n_units, .. } = shape;
    let gates = &mut gates[step * 4 * n_units..(step + 1) * 4 * n_units];
    for unit in 0..n_units {
        let gate = |index: usize| gates[index * n_units + unit] + bias[index * n_units + unit];
        let (input, forget, candidate, output) = (sigmoid(gate(0)), sigmoid(gate(1)), gate(2).tanh(), sigmoid(gate(3)));
        let old = if step > 0 { cell[(step - 1) * n_units + unit] } else { 0.0 };
        let new = forget * old + input * candidate;
        let out = output * new.tanh();
        for (index, value) in [input, forget, candidate, output].into_iter().enumerate() {
            gates[index * n_units + unit] = value;
        }
        cell[step * n_units + unit] = new;
        if step + 1 < n_steps {
            before[(step + 1) * n_units + unit] = out;
        } else {
            last[unit] = out;
        }
    }
}

/// One recording back through one step: its gates become their gradient before the activations.
fn step_back(shape: LstmShape, step: usize, gates: &mut [f32], cell: &[f32], (d_output, d_cell): (&[f32], &mut [f32])) {
    let n_units = shape.n_units;
    let gates = &mut gates[step * 4 * n_units..(step + 1) * 4 * n_units];
    for unit in 0..n_units {
        let [input, forget, candidate, output] = [0, 1, 2, 3].map(|index| gates[index * n_units + unit]);
        let tanh_cell = cell[step * n_units + unit].tanh();
        let old = if step > 0 { cell[(step - 1) * n_units + unit] } else { 0.0 };
        let d_new = d_cell[unit] + d_output[unit] * output * (1.0 - tanh_cell * tanh_cell);
        d_cell[unit] = d_new * forget;
        let before_activation = [
            d_new * candidate * input * (1.0 - input),
            d_new * old * forget * (1.0 - forget),
            d_new * input * (1.0 - candidate * candidate),
            d_output[unit] * tanh_cell * output * (1.0 - output),
        ];
        for (index, value) in before_activation.into_iter().enumerate() {
            gates[index * n_units + unit] = value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_steps_of_one_unit_are_the_hand_values() {
        let mut lstm = Lstm::new(LstmShape { n_steps: 2, n_inputs: 1, n_units: 1 }, 1, Isa::fastest());
        lstm.input.copy_from_slice(&[0.5, -1.0]);
        let (kernel, recurrent, bias) = ([0.1f32, 0.2, 0.3, 0.4], [0.5f32, 0.6, 0.7, 0.8], [0.0f32, 1.0, 0.0, 0.0]);
        lstm.forward(LstmTensors { kernel: &kernel, recurrent: &recurrent, bias: &bias }, 1);
        let (mut h, mut c) = (0.0f64, 0.0f64);
        for x in [0.5f64, -1.0] {
            let z = |i: usize| x * f64::from(kernel[i]) + h * f64::from(recurrent[i]) + f64::from(bias[i]);
            let s = |z: f64| 1.0 / (1.0 + (-z).exp());
            let (i, f, g, o) = (s(z(0)), s(z(1)), z(2).tanh(), s(z(3)));
            c = f * c + i * g;
            h = o * c.tanh();
        }
        assert!((f64::from(lstm.last[0]) - h).abs() < 1e-7, "{} against {h}", lstm.last[0]);
    }
}
