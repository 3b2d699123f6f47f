//! The last layer: dense, softmax and categorical cross-entropy.

use crate::network::parameters::DenseTensors;
use crate::network::targets::Targets;

/// Sizes of the layer.
#[derive(Clone, Copy, Debug)]
pub struct DenseShape {
    pub n_inputs: usize,
    pub n_classes: usize,
}

/// Mean loss over a batch and how many recordings have their label on top.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepOutcome {
    /// Mean categorical cross-entropy in nats.
    pub loss: f64,
    /// Recordings whose most probable class is the label.
    pub correct: usize,
}

/// Softmax probabilities `[n, classes]` of `input` `[n, inputs]`.
pub fn forward(shape: DenseShape, weights: DenseTensors<&[f32]>, input: &[f32], probabilities: &mut [f32]) {
    let DenseShape { n_inputs, n_classes } = shape;
    let DenseTensors { kernel, bias } = weights;
    for (input, out) in input.chunks_exact(n_inputs).zip(probabilities.chunks_exact_mut(n_classes)) {
        out.copy_from_slice(bias);
        for (value, weights) in input.iter().zip(kernel.chunks_exact(n_classes)) {
            for (out, weight) in out.iter_mut().zip(weights) {
                *out += value * weight;
            }
        }
        let top = out.iter().fold(f32::NEG_INFINITY, |top, &value| top.max(value));
        let mut sum = 0.0;
        for value in out.iter_mut() {
            *value = (*value - top).exp();
            sum += *value;
        }
        for value in out.iter_mut() {
            *value /= sum;
        }
    }
}

/// Mean loss and hits of `probabilities` `[n, classes]`, in training and of held-out recordings alike.
///
/// The class on top is that of [`argmax`]. A NaN makes the loss NaN and is no hit; of no recordings the loss is NaN.
pub fn evaluate(n_classes: usize, probabilities: &[f32], labels: &[usize]) -> StepOutcome {
    let mut outcome = StepOutcome { loss: 0.0, correct: 0 };
    for (row, &label) in probabilities.chunks_exact(n_classes).zip(labels) {
        outcome.loss += cross_entropy(row[label]);
        outcome.correct += usize::from(argmax(row) == Some(label));
    }
    outcome.loss /= labels.len() as f64;
    outcome
}

/// Categorical cross-entropy in nats of the probability of the right class; NaN for NaN.
pub fn cross_entropy(probability: f32) -> f64 {
    // A probability that rounds to zero would make the loss infinite; Keras clips it too. `max` alone would turn a NaN into
    // the clipped value.
    if probability.is_nan() { f64::NAN } else { -f64::from(probability).max(1e-30).ln() }
}

/// The class on top: the index of the largest value, the first of equal ones; none of nothing, and none where a value
/// is NaN, since nothing is larger than it and it is larger than nothing.
pub fn argmax(values: &[f32]) -> Option<usize> {
    if values.iter().any(|value| value.is_nan()) {
        return None;
    }
    (0..values.len()).reduce(|top, index| if values[index] > values[top] { index } else { top })
}

/// What [`forward`] worked on, as [`backward`] needs it.
#[derive(Clone, Copy)]
pub struct DenseBatch<'a> {
    /// `[inputs, classes]`
    pub kernel: &'a [f32],
    /// `[n, inputs]`
    pub input: &'a [f32],
    /// Of `n` recordings.
    pub targets: Targets<'a>,
}

/// Gradients of the mean loss, all overwritten: of the weights, and of the input into `d_input` `[n, inputs]`.
///
/// `probabilities` `[n, classes]` are those of [`forward`]; they become the gradient of the logits.
pub fn backward(
    shape: DenseShape,
    batch: DenseBatch<'_>,
    probabilities: &mut [f32],
    gradient: DenseTensors<&mut [f32]>,
    d_input: &mut [f32],
) {
    let DenseShape { n_inputs, n_classes } = shape;
    let DenseBatch { kernel, input, targets } = batch;
    let DenseTensors { kernel: d_kernel, bias: d_bias } = gradient;
    d_kernel.fill(0.0);
    d_bias.fill(0.0);
    let n = targets.labels.len();
    for recording in 0..n {
        let logits = &mut probabilities[recording * n_classes..(recording + 1) * n_classes];
        targets.subtract(recording, logits);
        for (value, sum) in logits.iter_mut().zip(d_bias.iter_mut()) {
            *value /= n as f32;
            *sum += *value;
        }
        let at = recording * n_inputs;
        for unit in 0..n_inputs {
            let row = unit * n_classes..(unit + 1) * n_classes;
            for (sum, value) in d_kernel[row.clone()].iter_mut().zip(logits.iter()) {
                *sum += input[at + unit] * value;
            }
            d_input[at + unit] = kernel[row].iter().zip(logits.iter()).map(|(weight, value)| weight * value).sum();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softmax_and_loss_of_hand_logits() {
        let shape = DenseShape { n_inputs: 1, n_classes: 2 };
        let mut probabilities = [0.0; 4];
        let weights = DenseTensors { kernel: &[0.0, 3f32.ln()][..], bias: &[0.0, 0.0][..] };
        forward(shape, weights, &[1.0, 0.0], &mut probabilities);
        assert!((probabilities[0] - 0.25).abs() < 1e-6 && (probabilities[2] - 0.5).abs() < 1e-6);
        let outcome = evaluate(2, &probabilities, &[0, 0]);
        assert!((outcome.loss - (4f64.ln() + 2f64.ln()) / 2.0).abs() < 1e-6);
        assert_eq!(outcome.correct, 1, "of equal probabilities the first class is on top");
    }

    #[test]
    fn the_first_of_equal_maxima_is_on_top_and_a_nan_lets_none_be() {
        assert_eq!(argmax(&[0.1, 0.4, 0.4, 0.1]), Some(1));
        assert_eq!(argmax(&[-1.0, -3.0]), Some(0));
        assert_eq!(argmax(&[0.0, -0.0, 0.0]), Some(0));
        assert_eq!(argmax(&[f32::NEG_INFINITY, f32::INFINITY]), Some(1));
        for at in 0..3 {
            let mut values = [0.2, 0.5, 0.3];
            values[at] = f32::NAN;
            assert_eq!(argmax(&values), None, "NaN at {at}");
        }
        assert_eq!(argmax(&[]), None);
    }

    #[test]
    fn an_impossible_label_costs_69_nats_and_a_nan_is_a_nan() {
        let outcome = evaluate(2, &[1.0, 0.0, 0.25, 0.75], &[1, 1]);
        let expected = (30.0 * std::f64::consts::LN_10 + (4f64 / 3.0).ln()) / 2.0;
        assert!((outcome.loss - expected).abs() < 1e-12 && outcome.correct == 1, "{outcome:?}");
        let outcome = evaluate(2, &[f32::NAN, 0.5, 0.25, 0.75], &[0, 1]);
        assert!(outcome.loss.is_nan() && outcome.correct == 1);
        // A NaN of another class spoils no loss, but nothing is on top of it.
        assert_eq!(evaluate(2, &[1.0, f32::NAN], &[0]), StepOutcome { loss: 0.0, correct: 0 });
    }
}
