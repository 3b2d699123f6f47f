//! The twin's gradients, one loop per index.

use crate::network::parameters::TENSORS_PER_BLOCK;
use crate::network::twin::{BlockTrace, Image, Step, Tensors, Trace, Twin};

impl Twin {
    /// Gradients of the mean loss; zero for the moving statistics.
    pub fn backward(&self, trace: &Trace, labels: &[usize]) -> Tensors {
        self.backward_towards(trace, &self.shares(labels))
    }

    /// All of a label's class: `[recording][class]`.
    pub fn shares(&self, labels: &[usize]) -> Tensors {
        let row = |&label: &usize| (0..self.spec.n_classes).map(|class| f64::from(u8::from(class == label))).collect();
        labels.iter().map(row).collect()
    }

    /// Mean of `-sum_c share_c ln p_c`.
    pub fn loss_towards(&self, trace: &Trace, shares: &Tensors) -> f64 {
        let of_one =
            |(row, shares): (&Vec<f64>, &Vec<f64>)| -> f64 { row.iter().zip(shares).map(|(p, s)| -s * p.ln()).sum() };
        trace.probabilities.iter().zip(shares).map(of_one).sum::<f64>() / shares.len() as f64
    }

    /// Gradients of [`Twin::loss_towards`].
    pub fn backward_towards(&self, trace: &Trace, shares: &Tensors) -> Tensors {
        let mut gradient: Tensors = self.tensors.iter().map(|tensor| vec![0.0; tensor.len()]).collect();
        let first_dense = self.tensors.len() - 2;
        let classes = self.spec.n_classes;
        let (n, mut d_images) = (shares.len(), Vec::new());
        for (recording, shares) in shares.iter().enumerate() {
            let embedding = &trace.embedding[recording];
            let mut d_embedding = vec![0.0; embedding.len()];
            for class in 0..classes {
                let sum: f64 = shares.iter().sum();
                let d = (trace.probabilities[recording][class] * sum - shares[class]) / n as f64;
                gradient[first_dense + 1][class] += d;
                for (unit, value) in embedding.iter().enumerate() {
                    gradient[first_dense][unit * classes + class] += d * value;
                    d_embedding[unit] += d * self.tensors[first_dense][unit * classes + class];
                }
            }
            let d_values = self.backward_head(&trace.values[recording], &d_embedding, &mut gradient);
            let factors = &trace.input_factors[recording];
            let d_inputs = self.backward_lstms(trace, recording, d_values, &mut gradient);
            let masked = |d: Vec<f64>| d.iter().zip(factors).map(|(d, factor)| d * factor).collect::<Vec<f64>>();
            d_images.extend(d_inputs.into_iter().map(masked));
        }
        if let Some(image) = trace.before_cut.as_ref().filter(|_| self.spec.steps_are_columns()) {
            d_images = self.gather(&d_images, image, self.spec.shrink(self.spec.blocks.len()));
        }
        for index in (0..self.spec.blocks.len()).rev() {
            d_images = self.backward_block(index, &trace.blocks[index], &d_images, &mut gradient);
            if let Some(image) = trace.before_cut.as_ref().filter(|_| index == self.spec.cut()) {
                d_images = self.gather(&d_images, image, self.spec.shrink(index));
            }
        }
        gradient
    }

    /// Gradients of the LSTMs' inputs behind their dropout, `[step][input]`.
    fn backward_lstms(
        &self,
        trace: &Trace,
        recording: usize,
        d_values: Vec<Vec<f64>>,
        gradient: &mut Tensors,
    ) -> Vec<Vec<f64>> {
        let (inputs, steps, units) = (&trace.inputs[recording], &trace.steps[recording], self.spec.lstm_units);
        let Some(ahead) = steps.first() else { return d_values };
        let part = |from: usize| d_values.iter().map(|d| d[from..from + units].to_vec()).collect::<Vec<_>>();
        let mut d_inputs = self.backward_lstm("lstm", inputs, ahead, &part(0), gradient);
        if let Some(against) = steps.get(1) {
            let turned: Vec<Vec<f64>> = inputs.iter().rev().cloned().collect();
            let d_values: Vec<Vec<f64>> = part(units).into_iter().rev().collect();
            let others = self.backward_lstm("lstm_backward", &turned, against, &d_values, gradient);
            for (d, other) in d_inputs.iter_mut().zip(others.iter().rev()) {
                d.iter_mut().zip(other).for_each(|(d, other)| *d += other);
            }
        }
        d_inputs
    }

    fn backward_lstm(
        &self,
        name: &str,
        inputs: &[Vec<f64>],
        steps: &[Step],
        d_outputs: &[Vec<f64>],
        gradient: &mut Tensors,
    ) -> Vec<Vec<f64>> {
        let (at, units) = (self.position(&format!("{name}.kernel")), self.spec.lstm_units);
        let (mut d_cell, mut d_output) = (vec![0.0; units], vec![0.0; units]);
        let mut d_inputs = vec![vec![0.0; self.spec.lstm_inputs()]; inputs.len()];
        for step in (0..inputs.len()).rev() {
            d_output.iter_mut().zip(&d_outputs[step]).for_each(|(sum, d)| *sum += d);
            let (gates, cell, _) = &steps[step];
            let mut d_before = vec![0.0; units];
            for unit in 0..units {
                let [i, f, g, o] = gates[unit];
                let old = if step > 0 { steps[step - 1].1[unit] } else { 0.0 };
                let tanh = cell[unit].tanh();
                let d = d_cell[unit] + d_output[unit] * o * (1.0 - tanh * tanh);
                d_cell[unit] = d * f;
                let d_z = [
                    d * g * i * (1.0 - i),
                    d * old * f * (1.0 - f),
                    d * i * (1.0 - g * g),
                    d_output[unit] * tanh * o * (1.0 - o),
                ];
                for (gate, d_z) in d_z.into_iter().enumerate() {
                    let column = gate * units + unit;
                    gradient[at + 2][column] += d_z;
                    for (input, value) in inputs[step].iter().enumerate() {
                        gradient[at][input * 4 * units + column] += d_z * value;
                        d_inputs[step][input] += d_z * self.tensors[at][input * 4 * units + column];
                    }
                    for from in (0..units).filter(|_| step > 0) {
                        gradient[at + 1][from * 4 * units + column] += d_z * steps[step - 1].2[from];
                        d_before[from] += d_z * self.tensors[at + 1][from * 4 * units + column];
                    }
                }
            }
            d_output = d_before;
        }
        d_inputs
    }

    fn backward_block(
        &self,
        index: usize,
        trace: &BlockTrace,
        d_out: &[Vec<f64>],
        gradient: &mut Tensors,
    ) -> Vec<Vec<f64>> {
        let (at, tensors) = (index * TENSORS_PER_BLOCK, self.block(index));
        let channels = trace.raw[0].channels;
        let n = (trace.raw.len() * trace.raw[0].height * trace.raw[0].width) as f64;
        let normal = |image: usize, from: usize| {
            let channel = from % channels;
            (trace.raw[image].values[from] - trace.mean[channel]) * trace.inverse_deviation[channel]
        };
        let mut d_norm: Vec<Vec<f64>> = trace.raw.iter().map(|image| vec![0.0; image.values.len()]).collect();
        for (image, d_out) in d_out.iter().enumerate() {
            for (pooled, d) in d_out.iter().enumerate() {
                let from = trace.argmax[image][pooled];
                let z = tensors[2][from % channels] * normal(image, from) + tensors[3][from % channels];
                let slope = if z > 0.0 { 1.0 } else { z.exp() };
                d_norm[image][from] += d * trace.factors[image][pooled] * slope;
            }
        }
        for (image, d_norm) in d_norm.iter().enumerate() {
            for (from, d) in d_norm.iter().enumerate() {
                gradient[at + 2][from % channels] += d * normal(image, from);
                gradient[at + 3][from % channels] += d;
            }
        }
        let mut d_input: Vec<Vec<f64>> = trace.input.iter().map(|image| vec![0.0; image.values.len()]).collect();
        for (image, d_norm) in d_norm.iter().enumerate() {
            for (from, d) in d_norm.iter().enumerate() {
                let channel = from % channels;
                let (d_gamma, d_beta) = (gradient[at + 2][channel], gradient[at + 3][channel]);
                let d_raw = tensors[2][channel]
                    * trace.inverse_deviation[channel]
                    * (d - d_beta / n - normal(image, from) * d_gamma / n);
                gradient[at + 1][channel] += d_raw;
                let (y, x) = (from / channels / trace.raw[image].width, from / channels % trace.raw[image].width);
                self.backward_conv(index, (y, x, channel, d_raw), &trace.input[image], &mut d_input[image], gradient);
            }
        }
        d_input
    }

    fn backward_conv(
        &self,
        index: usize,
        (y, x, o, d): (usize, usize, usize, f64),
        input: &Image,
        d_input: &mut [f64],
        gradient: &mut Tensors,
    ) {
        let (at, channels) = (index * TENSORS_PER_BLOCK, self.spec.blocks[index].n_maps);
        for tap in 0..9 {
            let (from_y, from_x) = (y + tap / 3, x + tap % 3);
            if from_y < 1 || from_y > input.height || from_x < 1 || from_x > input.width {
                continue;
            }
            for i in 0..input.channels {
                let (from, weight) = (input.at(from_y - 1, from_x - 1, i), (tap * input.channels + i) * channels + o);
                gradient[at][weight] += d * input.values[from];
                d_input[from] += d * self.tensors[at][weight];
            }
        }
    }

    /// The transpose of [`Twin::windows`]: gradients of windows added up where they were cut out of images like `image`.
    fn gather(&self, d_windows: &[Vec<f64>], image: &Image, shrink: usize) -> Vec<Vec<f64>> {
        let (width, hop) = (self.spec.window / shrink, self.spec.hop / shrink);
        let recordings = d_windows.chunks(self.spec.n_windows()).map(|windows| {
            let mut sum = vec![0.0; image.values.len()];
            for (window, values) in windows.iter().enumerate() {
                for (at, value) in values.iter().enumerate() {
                    let (y, x, channel) =
                        (at / (width * image.channels), at / image.channels % width, at % image.channels);
                    sum[image.at(y, window * hop + x, channel)] += value;
                }
            }
            sum
        });
        recordings.collect()
    }
}
