//! The LSTM and the dense layer alone: forward against plain loops in `f64`, gradients against differences of those.

use crate::network::dense::{self, DenseBatch, DenseShape};
use crate::network::lstm::{Lstm, LstmShape};
use crate::network::parameters::{DenseTensors, LstmTensors};
use crate::simd::Isa;
use crate::units::Seed;

/// What a few dozen operations of `f32` err by, relative to the largest value.
const TOLERANCE: f64 = 2e-6;

fn values(seed: u64, n: usize) -> Vec<f32> {
    (0..n).map(|i| 0.7 * Seed(seed).normal_pair(i as u64).0 as f32).collect()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

fn worst(have: &[f32], want: &[f64]) -> f64 {
    assert_eq!(have.len(), want.len());
    let largest = want.iter().fold(0.0f64, |top, value| top.max(value.abs()));
    have.iter().zip(want).map(|(have, want)| (f64::from(*have) - want).abs()).fold(0.0, f64::max) / largest
}

/// What is right, what is off by one and what is off by 1 %.
fn check(case: &str, have: &[f32], want: &[f64]) {
    assert!(have.iter().all(|value| value.is_finite()), "{case}");
    assert!(worst(have, want) < TOLERANCE, "{case}: {:e}", worst(have, want));
    let mut wrong = have.to_vec();
    wrong.rotate_right(1);
    assert!(have.len() < 2 || worst(&wrong, want) > 1_000.0 * TOLERANCE, "{case}: a shift by one must fail");
    let wrong: Vec<f32> = have.iter().map(|value| 1.01 * value).collect();
    assert!(worst(&wrong, want) > 1_000.0 * TOLERANCE, "{case}: a gain of 1 % must fail");
}

/// `function`'s slopes along each of `values`, by central differences.
fn slopes(values: &[f64], function: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let step = 1e-5;
    let at = |index: usize, by: f64| {
        let mut moved = values.to_vec();
        moved[index] += by;
        function(&moved)
    };
    (0..values.len()).map(|index| (at(index, step) - at(index, -step)) / (2.0 * step)).collect()
}

/// The last output `[n, units]` of inputs `[n, steps, inputs]`; `tensors` are kernel, recurrent kernel and bias.
fn lstm_twin(shape: LstmShape, input: &[f64], tensors: [&[f64]; 3]) -> Vec<f64> {
    let (LstmShape { n_inputs, n_units, .. }, [kernel, recurrent, bias]) = (shape, tensors);
    let sigmoid = |z: f64| 1.0 / (1.0 + (-z).exp());
    let recording = |steps: &[f64]| {
        let (mut output, mut cell) = (vec![0.0; n_units], vec![0.0; n_units]);
        for x in steps.chunks(n_inputs) {
            let z = |column: usize| {
                let from_input: f64 = (0..n_inputs).map(|i| x[i] * kernel[i * 4 * n_units + column]).sum();
                let from_output: f64 = (0..n_units).map(|u| output[u] * recurrent[u * 4 * n_units + column]).sum();
                from_input + from_output + bias[column]
            };
            let gates = |unit: usize| [0, 1, 2, 3].map(|gate| z(gate * n_units + unit));
            let next: Vec<(f64, f64)> = (0..n_units)
                .map(|unit| {
                    let [input, forget, candidate, output] = gates(unit);
                    let new = sigmoid(forget) * cell[unit] + sigmoid(input) * candidate.tanh();
                    (sigmoid(output) * new.tanh(), new)
                })
                .collect();
            (output, cell) = next.into_iter().unzip();
        }
        output
    };
    input.chunks(shape.n_steps * n_inputs).flat_map(recording).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[test]
fn the_lstm_and_its_gradients_are_those_of_plain_loops() {
    for (n_steps, n_inputs, n_units, n) in [(1, 1, 1, 1), (2, 5, 3, 4), (4, 3, 6, 2), (3, 17, 4, 9)] {
        let shape = LstmShape { n_steps, n_inputs, n_units };
        let kernel = values(1, n_inputs * 4 * n_units);
        let (recurrent, bias) = (values(2, n_units * 4 * n_units), values(3, 4 * n_units));
        let (input, d_last) = (values(4, n * n_steps * n_inputs), values(5, n * n_units));
        let [k, r, b, x, d] = [&kernel, &recurrent, &bias, &input, &d_last].map(|values| wide(values));
        let last = lstm_twin(shape, &x, [&k, &r, &b]);
        let of = |x: &[f64], tensors: [&[f64]; 3]| dot(&lstm_twin(shape, x, tensors), &d);
        let wanted = [
            slopes(&k, |k| of(&x, [k, &r, &b])),
            slopes(&r, |r| of(&x, [&k, r, &b])),
            slopes(&b, |b| of(&x, [&k, &r, b])),
            slopes(&x, |x| of(x, [&k, &r, &b])),
        ];
        let weights = LstmTensors { kernel: kernel.as_slice(), recurrent: &recurrent, bias: &bias };
        for isa in Isa::available() {
            let mut lstm = Lstm::new(shape, n + 1, isa);
            let (mut d_kernel, mut d_recurrent, mut d_bias) = (kernel.clone(), recurrent.clone(), bias.clone());
            // A larger batch of other values leaves every buffer dirty.
            for (n, from) in [(n + 1, values(9, (n + 1) * n_steps * n_inputs)), (n, input.clone())] {
                lstm.input[..from.len()].copy_from_slice(&from);
                lstm.forward(weights, n);
                let gradient =
                    LstmTensors { kernel: &mut d_kernel[..], recurrent: &mut d_recurrent[..], bias: &mut d_bias[..] };
                let d_last: Vec<f32> = d_last.iter().cycle().take(n * n_units).copied().collect();
                lstm.backward(weights, n, &d_last, None, gradient);
            }
            let case = |what: &str| format!("{what}, {shape:?}, {isa:?}");
            check(&case("output"), &lstm.last[..last.len()], &last);
            check(&case("kernel"), &d_kernel, &wanted[0]);
            // With one step nothing recurs.
            if n_steps > 1 {
                check(&case("recurrent kernel"), &d_recurrent, &wanted[1]);
            } else {
                assert!(d_recurrent.iter().all(|&value| value == 0.0));
            }
            check(&case("bias"), &d_bias, &wanted[2]);
            check(&case("input"), &lstm.input[..input.len()], &wanted[3]);
        }
    }
}

fn dense_twin(shape: DenseShape, kernel: &[f64], bias: &[f64], input: &[f64]) -> Vec<f64> {
    let DenseShape { n_inputs, n_classes } = shape;
    let softmax = |input: &[f64]| {
        let logit =
            |class: usize| bias[class] + (0..n_inputs).map(|i| input[i] * kernel[i * n_classes + class]).sum::<f64>();
        let exponentials: Vec<f64> = (0..n_classes).map(|class| logit(class).exp()).collect();
        let sum: f64 = exponentials.iter().sum();
        exponentials.into_iter().map(|value| value / sum).collect::<Vec<f64>>()
    };
    input.chunks(n_inputs).flat_map(softmax).collect()
}

#[test]
fn the_dense_layer_and_its_gradients_are_those_of_plain_loops() {
    for (n_inputs, n_classes, n) in [(1, 2, 1), (5, 7, 3), (16, 4, 8)] {
        let shape = DenseShape { n_inputs, n_classes };
        let (kernel, bias, input) = (values(1, n_inputs * n_classes), values(2, n_classes), values(3, n * n_inputs));
        let labels: Vec<usize> = (0..n).map(|i| i * 5 % n_classes).collect();
        let [k, b, x] = [&kernel, &bias, &input].map(|values| wide(values));
        let loss = |k: &[f64], b: &[f64], x: &[f64]| {
            let probabilities = dense_twin(shape, k, b, x);
            let rows = probabilities.chunks(n_classes).zip(&labels);
            rows.map(|(row, &label)| -row[label].ln()).sum::<f64>() / n as f64
        };
        let mut probabilities = vec![f32::NAN; n * n_classes];
        dense::forward(shape, DenseTensors { kernel: kernel.as_slice(), bias: &bias }, &input, &mut probabilities);
        check("probabilities", &probabilities, &dense_twin(shape, &k, &b, &x));
        let outcome = dense::evaluate(n_classes, &probabilities, &labels);
        assert!((outcome.loss - loss(&k, &b, &x)).abs() < 1e-6, "{outcome:?}");
        let (mut d_kernel, mut d_bias) = (vec![f32::NAN; kernel.len()], vec![f32::NAN; n_classes]);
        let mut d_input = vec![f32::NAN; input.len()];
        let gradient = DenseTensors { kernel: &mut d_kernel[..], bias: &mut d_bias[..] };
        let batch = DenseBatch { kernel: &kernel, input: &input, targets: labels[..].into() };
        dense::backward(shape, batch, &mut probabilities, gradient, &mut d_input);
        check("kernel", &d_kernel, &slopes(&k, |k| loss(k, &b, &x)));
        check("bias", &d_bias, &slopes(&b, |b| loss(&k, b, &x)));
        check("input", &d_input, &slopes(&x, |x| loss(&k, &b, x)));
    }
}
