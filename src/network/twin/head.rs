//! The head of the twin, one loop per index.

use crate::network::head::{DEVIATION_EPSILON, Head};
use crate::network::parameters::ATTENTION;
use crate::network::sequence::Recurrent;
use crate::network::twin::{Tensors, Twin};

impl Twin {
    /// The embedding of a recording whose steps have `values` `[step][width]`.
    pub(super) fn forward_head(&self, values: &[Vec<f64>]) -> Vec<f64> {
        let width = values[0].len();
        let weights = self.step_weights(values);
        let mean =
            |at: usize| values.iter().zip(&weights).map(|(values, weights)| weights[at] * values[at]).sum::<f64>();
        let means: Vec<f64> = (0..width).map(mean).collect();
        if self.spec.head != Head::MeanDeviation {
            return means;
        }
        let deviation = |at: usize| {
            let squares = values.iter().map(|values| (values[at] - means[at]).powi(2));
            (squares.sum::<f64>() / values.len() as f64 + f64::from(DEVIATION_EPSILON)).sqrt()
        };
        means.iter().copied().chain((0..width).map(deviation)).collect()
    }

    /// What each value of each step counts in the mean.
    fn step_weights(&self, values: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let (n_steps, width) = (values.len(), values[0].len());
        let in_time = if self.spec.recurrent == Recurrent::Bilstm { self.spec.lstm_units } else { width };
        match self.spec.head {
            Head::Last => {
                let counts = |step: usize, at: usize| step == if at < in_time { n_steps - 1 } else { 0 };
                let of_step = |step: usize| (0..width).map(|at| f64::from(u8::from(counts(step, at)))).collect();
                (0..n_steps).map(of_step).collect()
            }
            Head::Mean | Head::MeanDeviation => vec![vec![1.0 / n_steps as f64; width]; n_steps],
            Head::Attention => {
                let kernel = &self.tensors[self.position(ATTENTION)];
                let score = |values: &Vec<f64>| values.iter().zip(kernel).map(|(v, k)| v * k).sum::<f64>().exp();
                let scores: Vec<f64> = values.iter().map(score).collect();
                let sum: f64 = scores.iter().sum();
                scores.iter().map(|score| vec![score / sum; width]).collect()
            }
        }
    }

    /// Gradients of the steps' values.
    pub(super) fn backward_head(&self, values: &[Vec<f64>], d: &[f64], gradient: &mut Tensors) -> Vec<Vec<f64>> {
        let (n_steps, width) = (values.len(), values[0].len());
        let (weights, embedding) = (self.step_weights(values), self.forward_head(values));
        let mut d_values: Vec<Vec<f64>> =
            weights.iter().map(|weights| weights.iter().zip(d).map(|(weight, d)| weight * d).collect()).collect();
        for step in 0..n_steps {
            if self.spec.head == Head::MeanDeviation {
                for at in 0..width {
                    let slope = (values[step][at] - embedding[at]) / embedding[width + at] / n_steps as f64;
                    d_values[step][at] += d[width + at] * slope;
                }
            }
            if self.spec.head == Head::Attention {
                let kernel = self.position(ATTENTION);
                let along = |values: &[f64]| values.iter().zip(d).map(|(value, d)| value * d).sum::<f64>();
                let d_score = weights[step][0] * (along(&values[step]) - along(&embedding));
                for at in 0..width {
                    gradient[kernel][at] += d_score * values[step][at];
                    d_values[step][at] += d_score * self.tensors[kernel][at];
                }
            }
        }
        d_values
    }
}
