//! The same network written naively in `f64`: one loop per index, nothing shared with the kernels but the dropout
//! masks. Its own gradients are proved by finite differences; then it proves the fast path.

mod backward;
mod head;

use crate::network::kernels::CHANNELS;
use crate::network::kernels::dropout::Dropout;
use crate::network::parameters::{LSTMS, Parameters, TENSORS_PER_BLOCK};
use crate::network::spec::NetworkSpec;
use crate::units::Seed;

/// Tensors `[..]` in the order of [`Parameters`].
pub type Tensors = Vec<Vec<f64>>;

/// An image `[height, width, channels]`.
#[derive(Clone)]
struct Image {
    height: usize,
    width: usize,
    channels: usize,
    values: Vec<f64>,
}

impl Image {
    fn zeros(height: usize, width: usize, channels: usize) -> Self {
        Self { height, width, channels, values: vec![0.0; height * width * channels] }
    }

    fn at(&self, y: usize, x: usize, channel: usize) -> usize {
        (y * self.width + x) * self.channels + channel
    }
}

/// What forward keeps of one block.
struct BlockTrace {
    input: Vec<Image>,
    raw: Vec<Image>,
    mean: Vec<f64>,
    inverse_deviation: Vec<f64>,
    /// Index into the raw image of each pooled value.
    argmax: Vec<Vec<usize>>,
    /// What each pooled value is multiplied by.
    factors: Vec<Vec<f64>>,
}

/// One LSTM step: gates i, f, g, o of each unit; cell; output.
type Step = (Vec<[f64; 4]>, Vec<f64>, Vec<f64>);

/// The result of forward.
pub struct Trace {
    blocks: Vec<BlockTrace>,
    /// An image as it was before it was cut into windows.
    before_cut: Option<Image>,
    /// LSTM inputs `[recording][step][input]` and their dropout factors `[recording][input]`.
    inputs: Vec<Vec<Vec<f64>>>,
    input_factors: Vec<Vec<f64>>,
    /// `[recording][LSTM][step]`; the second LSTM's steps in its own order.
    steps: Vec<Vec<Vec<Step>>>,
    /// What the head reads, `[recording][step][width]`.
    values: Vec<Vec<Vec<f64>>>,
    pub embedding: Vec<Vec<f64>>,
    pub probabilities: Vec<Vec<f64>>,
    /// `(mean, biased variance)` per block and channel.
    pub statistics: Vec<Vec<(f64, f64)>>,
    pub loss: f64,
}

/// The network in `f64`.
pub struct Twin {
    pub spec: NetworkSpec,
    pub tensors: Tensors,
    names: Vec<String>,
}

fn first_columns(image: &Image, width: usize) -> Image {
    let rows = image.values.chunks(image.width * image.channels);
    let values = rows.flat_map(|row| row[..width * image.channels].iter().copied()).collect();
    Image { width, values, ..*image }
}

/// What the head reads of each step: the outputs of the LSTMs at that step side by side, or the input itself.
fn outputs(inputs: &[Vec<f64>], steps: &[Vec<Step>]) -> Vec<Vec<f64>> {
    let last = inputs.len() - 1;
    let at = |step: usize| match steps {
        [] => inputs[step].clone(),
        [ahead] => ahead[step].2.clone(),
        [ahead, against, ..] => [&ahead[step].2[..], &against[last - step].2[..]].concat(),
    };
    (0..inputs.len()).map(at).collect()
}

fn elu(z: f64) -> f64 {
    if z > 0.0 { z } else { z.exp_m1() }
}

fn sigmoid(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

impl Twin {
    pub fn new(spec: &NetworkSpec, parameters: &Parameters) -> Self {
        let tensors = parameters.tensors.iter().map(|tensor| tensor.values.iter().map(|&v| f64::from(v)).collect());
        let names = parameters.tensors.iter().map(|tensor| tensor.name.clone()).collect();
        Self { spec: spec.clone(), tensors: tensors.collect(), names }
    }

    /// Where the tensor of that name stands.
    fn position(&self, name: &str) -> usize {
        self.names.iter().position(|other| other == name).expect("a tensor of that name")
    }

    fn block(&self, index: usize) -> &[Vec<f64>] {
        &self.tensors[index * TENSORS_PER_BLOCK..(index + 1) * TENSORS_PER_BLOCK]
    }

    /// Whole recordings as images of the channels that enter.
    fn recordings(&self, log_mel: &[f32]) -> Vec<Image> {
        let (height, width, channels) = (self.spec.n_mels, self.spec.n_frames, self.spec.inputs.n_channels());
        let recording = |log_mel: &[f32]| {
            let mut image = Image::zeros(height, width, channels);
            for (at, &value) in log_mel.iter().enumerate() {
                image.values[at * channels] = f64::from(value);
            }
            for channel in 1..channels {
                for (y, x) in (0..height * width).map(|at| (at / width, at % width)) {
                    let before = |x: isize| {
                        let x = x.clamp(0, width as isize - 1) as usize;
                        image.values[image.at(y, x, channel - 1)]
                    };
                    let slope: f64 = [-2, -1, 1, 2].map(|k| k as f64 * before(x as isize + k) / 10.0).iter().sum();
                    let at = image.at(y, x, channel);
                    image.values[at] = slope;
                }
            }
            image
        };
        log_mel.chunks(height * width).map(recording).collect()
    }

    /// Windows of images whose columns are `shrink` frames each.
    fn windows(&self, images: &[Image], shrink: usize) -> Vec<Image> {
        let (width, hop) = (self.spec.window / shrink, self.spec.hop / shrink);
        let mut windows = Vec::new();
        for image in images {
            for window in 0..self.spec.n_windows() {
                let mut out = Image::zeros(image.height, width, image.channels);
                for at in 0..out.values.len() {
                    let (y, x, channel) =
                        (at / (width * image.channels), at / image.channels % width, at % image.channels);
                    out.values[at] = image.values[image.at(y, window * hop + x, channel)];
                }
                windows.push(out);
            }
        }
        windows
    }

    /// Forward; `moving` takes the moving statistics instead of the batch's.
    pub fn forward(&self, log_mel: &[f32], labels: &[usize], seed: Option<Seed>, moving: bool) -> Trace {
        let mut images = self.recordings(log_mel);
        let (mut blocks, mut statistics, mut before_cut) = (Vec::new(), Vec::new(), None);
        for index in 0..self.spec.blocks.len() {
            if index == self.spec.cut() {
                before_cut = images.first().cloned();
                images = self.windows(&images, self.spec.shrink(index));
            } else if index == 0 {
                // A shared trunk sees the frames that lie in a window.
                images.iter_mut().for_each(|image| *image = first_columns(image, self.spec.seen_frames()));
            }
            let (trace, next, batch) = self.forward_block(index, images, seed, moving);
            images = next;
            blocks.push(trace);
            statistics.push(batch);
        }
        if self.spec.steps_are_columns() {
            before_cut = images.first().cloned();
            images = self.windows(&images, self.spec.shrink(self.spec.blocks.len()));
        }
        let n_steps = self.spec.n_windows();
        let mask = Dropout::new(seed, self.spec.blocks.len(), self.spec.dropout);
        let groups = self.spec.lstm_inputs().div_ceil(CHANNELS);
        let factor = |recording: usize, at: usize| {
            if mask.dropped(recording * groups + at / CHANNELS)[at % CHANNELS] { 0.0 } else { f64::from(mask.scale) }
        };
        let input_factors: Vec<Vec<f64>> = (0..labels.len())
            .map(|recording| (0..self.spec.lstm_inputs()).map(|at| factor(recording, at)).collect())
            .collect();
        let inputs: Vec<Vec<Vec<f64>>> = images
            .chunks(n_steps)
            .zip(&input_factors)
            .map(|(images, factors)| {
                let masked = |image: &Image| image.values.iter().zip(factors).map(|(v, f)| v * f).collect();
                images.iter().map(masked).collect()
            })
            .collect();
        let steps: Vec<_> = inputs.iter().map(|inputs| self.forward_lstms(inputs)).collect();
        let values: Vec<_> = inputs.iter().zip(&steps).map(|(inputs, steps)| outputs(inputs, steps)).collect();
        let embedding: Vec<_> = values.iter().map(|values| self.forward_head(values)).collect();
        let probabilities: Vec<Vec<f64>> = embedding.iter().map(|embedding| self.forward_dense(embedding)).collect();
        let loss =
            -probabilities.iter().zip(labels).map(|(row, &label)| row[label].ln()).sum::<f64>() / labels.len() as f64;
        Trace { blocks, before_cut, inputs, input_factors, steps, values, embedding, probabilities, statistics, loss }
    }

    fn convolve(&self, index: usize, input: &Image) -> Image {
        let (kernel, bias, channels) = (&self.block(index)[0], &self.block(index)[1], self.spec.blocks[index].n_maps);
        let mut out = Image::zeros(input.height, input.width, channels);
        for y in 0..input.height {
            for x in 0..input.width {
                for o in 0..channels {
                    let mut sum = bias[o];
                    for ky in 0..3 {
                        for kx in 0..3 {
                            let (from_y, from_x) = (y + ky, x + kx);
                            if from_y < 1 || from_y > input.height || from_x < 1 || from_x > input.width {
                                continue;
                            }
                            for i in 0..input.channels {
                                sum += input.values[input.at(from_y - 1, from_x - 1, i)]
                                    * kernel[((ky * 3 + kx) * input.channels + i) * channels + o];
                            }
                        }
                    }
                    let at = out.at(y, x, o);
                    out.values[at] = sum;
                }
            }
        }
        out
    }

    fn forward_block(
        &self,
        index: usize,
        input: Vec<Image>,
        seed: Option<Seed>,
        moving: bool,
    ) -> (BlockTrace, Vec<Image>, Vec<(f64, f64)>) {
        let (tensors, pool) = (self.block(index), self.spec.blocks[index].pool);
        let raw: Vec<Image> = input.iter().map(|image| self.convolve(index, image)).collect();
        let channels = raw[0].channels;
        let n = (raw.len() * raw[0].height * raw[0].width) as f64;
        let of_channel =
            |channel: usize| raw.iter().flat_map(move |image| image.values.iter().skip(channel).step_by(channels));
        let statistics: Vec<(f64, f64)> = (0..channels)
            .map(|channel| {
                let mean = of_channel(channel).sum::<f64>() / n;
                let variance = of_channel(channel).map(|v| (v - mean) * (v - mean)).sum::<f64>() / n;
                if moving { (tensors[4][channel], tensors[5][channel]) } else { (mean, variance) }
            })
            .collect();
        let inverse = |&(_, variance): &(f64, f64)| 1.0 / (variance + f64::from(self.spec.batch_norm_epsilon)).sqrt();
        let inverse_deviation: Vec<f64> = statistics.iter().map(inverse).collect();
        let dropout = Dropout::new(seed, index, self.spec.dropout);
        let (mut argmax, mut factors, mut out) = (Vec::new(), Vec::new(), Vec::new());
        for (number, image) in raw.iter().enumerate() {
            let mut pooled = Image::zeros(image.height / pool.mel, image.width / pool.time, channels);
            let (mut from_indices, mut factor) = (vec![0; pooled.values.len()], vec![0.0; pooled.values.len()]);
            for (at, value) in pooled.values.iter_mut().enumerate() {
                let (pixel, channel) = (at / channels, at % channels);
                let (y, x) = (pixel / pooled.width, pixel % pooled.width);
                *value = f64::NEG_INFINITY;
                for inner in 0..pool.cells() {
                    let from = image.at(y * pool.mel + inner / pool.time, x * pool.time + inner % pool.time, channel);
                    let normal = (image.values[from] - statistics[channel].0) * inverse_deviation[channel];
                    let active = elu(tensors[2][channel] * normal + tensors[3][channel]);
                    if active > *value {
                        (*value, from_indices[at]) = (active, from);
                    }
                }
                let (blocks, pixels) = (channels.div_ceil(CHANNELS), pooled.height * pooled.width);
                let dropped =
                    dropout.dropped((number * blocks + channel / CHANNELS) * pixels + pixel)[channel % CHANNELS];
                factor[at] = if dropped { 0.0 } else { f64::from(dropout.scale) };
                *value *= factor[at];
            }
            argmax.push(from_indices);
            factors.push(factor);
            out.push(pooled);
        }
        let mean = statistics.iter().map(|&(mean, _)| mean).collect();
        (BlockTrace { input, raw, mean, inverse_deviation, argmax, factors }, out, statistics)
    }

    /// The steps of each LSTM; the second one reads the inputs from their end.
    fn forward_lstms(&self, inputs: &[Vec<f64>]) -> Vec<Vec<Step>> {
        let turned: Vec<Vec<f64>> = inputs.iter().rev().cloned().collect();
        let orders = [inputs, &turned].into_iter().zip(LSTMS).take(self.spec.recurrent.n_lstms());
        orders.map(|(inputs, name)| self.forward_lstm(name, inputs)).collect()
    }

    fn forward_lstm(&self, name: &str, inputs: &[Vec<f64>]) -> Vec<Step> {
        let at = self.position(&format!("{name}.kernel"));
        let (kernel, recurrent, bias) = (&self.tensors[at], &self.tensors[at + 1], &self.tensors[at + 2]);
        let units = self.spec.lstm_units;
        let (mut output, mut cell) = (vec![0.0; units], vec![0.0; units]);
        let mut steps = Vec::new();
        for input in inputs {
            let z = |gate: usize| {
                let from_input: f64 = input.iter().enumerate().map(|(i, v)| v * kernel[i * 4 * units + gate]).sum();
                let from_output: f64 =
                    output.iter().enumerate().map(|(i, v)| v * recurrent[i * 4 * units + gate]).sum();
                from_input + from_output + bias[gate]
            };
            let gates: Vec<[f64; 4]> = (0..units)
                .map(|unit| {
                    let z = [0, 1, 2, 3].map(|gate| z(gate * units + unit));
                    [sigmoid(z[0]), sigmoid(z[1]), z[2].tanh(), sigmoid(z[3])]
                })
                .collect();
            cell = gates.iter().zip(&cell).map(|([i, f, g, _], c)| f * c + i * g).collect();
            output = gates.iter().zip(&cell).map(|([_, _, _, o], c)| o * c.tanh()).collect();
            steps.push((gates, cell.clone(), output.clone()));
        }
        steps
    }

    fn forward_dense(&self, input: &[f64]) -> Vec<f64> {
        let at = self.tensors.len() - 2;
        let (kernel, bias, classes) = (&self.tensors[at], &self.tensors[at + 1], self.spec.n_classes);
        let logit = |class: usize| {
            bias[class] + input.iter().enumerate().map(|(i, v)| v * kernel[i * classes + class]).sum::<f64>()
        };
        let powers: Vec<f64> = (0..classes).map(|class| logit(class).exp()).collect();
        let sum: f64 = powers.iter().sum();
        powers.iter().map(|power| power / sum).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::proof::{batch, delta_specs, network_of, small_spec, structures};
    use crate::network::spec::Trunk;

    /// Central differences of the loss at a spread of values of every trainable tensor.
    fn check_differences(spec: NetworkSpec, seed: Option<Seed>) {
        let network = network_of(spec);
        let (log_mel, labels) = batch(&network.spec, 2, 5);
        let mut twin = Twin::new(&network.spec, &network.parameters);
        let gradient = twin.backward(&twin.forward(&log_mel, &labels, seed, false), &labels);
        for (index, tensor) in network.parameters.tensors.iter().enumerate().filter(|(_, tensor)| tensor.trainable) {
            let scale = gradient[index].iter().fold(0.0f64, |top, value| top.max(value.abs()));
            for at in (0..tensor.values.len()).step_by(1 + tensor.values.len() / 7) {
                let step = 1e-6;
                let mut loss = |offset: f64| {
                    let old = twin.tensors[index][at];
                    twin.tensors[index][at] = old + offset;
                    let loss = twin.forward(&log_mel, &labels, seed, false).loss;
                    twin.tensors[index][at] = old;
                    loss
                };
                let slope = (loss(step) - loss(-step)) / (2.0 * step);
                let error = (slope - gradient[index][at]).abs();
                // Rounding of the loss alone gives about 1e-10.
                assert!(
                    error <= 1e-6 * scale + 3e-9,
                    "{}[{at}]: slope {slope:e}, gradient {:e}",
                    tensor.name,
                    gradient[index][at]
                );
            }
        }
    }

    #[test]
    fn gradients_are_the_slopes_of_the_loss() {
        check_differences(small_spec(), None);
    }

    #[test]
    fn gradients_are_the_slopes_of_the_loss_under_fixed_dropout() {
        check_differences(small_spec(), Some(Seed(11)));
    }

    #[test]
    fn gradients_of_a_shared_trunk_are_the_slopes_of_the_loss() {
        check_differences(NetworkSpec { trunk: Trunk::Shared, ..small_spec() }, Some(Seed(11)));
    }

    #[test]
    fn gradients_of_every_structure_are_the_slopes_of_the_loss() {
        structures().into_iter().chain(delta_specs()).for_each(|spec| check_differences(spec, Some(Seed(11))));
    }
}
