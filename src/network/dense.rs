//! The last layer: dense, softmax and categorical cross-entropy.

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

/// Softmax probabilities `[n, classes]` of `input` `[n, inputs]`, with `kernel` `[inputs, classes]`.
pub fn forward(shape: DenseShape, kernel: &[f32], bias: &[f32], input: &[f32], probabilities: &mut [f32]) {
    let DenseShape { n_inputs, n_classes } = shape;
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

/// Loss of `probabilities` `[n, classes]`; the first of equal probabilities is on top.
pub fn loss(shape: DenseShape, probabilities: &[f32], labels: &[usize]) -> StepOutcome {
    let mut outcome = StepOutcome { loss: 0.0, correct: 0 };
    for (row, &label) in probabilities.chunks_exact(shape.n_classes).zip(labels) {
        // A probability that rounds to zero would make the loss infinite; Keras clips it too.
        outcome.loss -= f64::from(row[label]).max(1e-30).ln();
        outcome.loss += if row[label].is_nan() { f64::NAN } else { 0.0 };
        let before = row[..label].iter().all(|&value| value < row[label]);
        outcome.correct += usize::from(before && row[label + 1..].iter().all(|&value| value <= row[label]));
    }
    outcome.loss /= labels.len() as f64;
    outcome
}

/// Gradients of the mean loss: `probabilities` become those of the logits; the other outputs are overwritten.
pub fn backward(
    shape: DenseShape,
    (kernel, input, labels): (&[f32], &[f32], &[usize]),
    probabilities: &mut [f32],
    (d_kernel, d_bias, d_input): (&mut [f32], &mut [f32], &mut [f32]),
) {
    let DenseShape { n_inputs, n_classes } = shape;
    d_kernel.fill(0.0);
    d_bias.fill(0.0);
    for (recording, &label) in labels.iter().enumerate() {
        let logits = &mut probabilities[recording * n_classes..(recording + 1) * n_classes];
        logits[label] -= 1.0;
        for (value, sum) in logits.iter_mut().zip(d_bias.iter_mut()) {
            *value /= labels.len() as f32;
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
        forward(shape, &[0.0, 3f32.ln()], &[0.0, 0.0], &[1.0, 0.0], &mut probabilities);
        assert!((probabilities[0] - 0.25).abs() < 1e-6 && (probabilities[2] - 0.5).abs() < 1e-6);
        let outcome = loss(shape, &probabilities, &[0, 0]);
        assert!((outcome.loss - (4f64.ln() + 2f64.ln()) / 2.0).abs() < 1e-6);
        assert_eq!(outcome.correct, 1, "of equal probabilities the first class is on top");
    }
}
