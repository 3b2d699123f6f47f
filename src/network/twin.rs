//! The same network written naively in `f64`: one loop per index, nothing shared with the kernels but the dropout
//! masks. Its own gradients are proved by finite differences; then it proves the fast path.

use crate::network::dropout::Dropout;
use crate::network::kernels::MAPS;
use crate::network::parameters::{Parameters, TENSORS_PER_BLOCK};
use crate::network::spec::NetworkSpec;
use crate::units::Seed;

/// Tensors `[..]` in the order of [`Parameters`].
pub type Tensors = Vec<Vec<f64>>;

/// An image `[height, width, maps]`.
#[derive(Clone)]
struct Image {
    height: usize,
    width: usize,
    maps: usize,
    values: Vec<f64>,
}

impl Image {
    fn zeros(height: usize, width: usize, maps: usize) -> Self {
        Self { height, width, maps, values: vec![0.0; height * width * maps] }
    }

    fn at(&self, y: usize, x: usize, map: usize) -> usize {
        (y * self.width + x) * self.maps + map
    }
}

/// What forward keeps of one block.
struct BlockTrace {
    input: Vec<Image>,
    raw: Vec<Image>,
    mean: Vec<f64>,
    inverse_deviation: Vec<f64>,
    /// Index into the raw image of each pooled value.
    places: Vec<Vec<usize>>,
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
    /// `[recording][step]`
    steps: Vec<Vec<Step>>,
    pub probabilities: Vec<Vec<f64>>,
    /// `(mean, biased variance)` per block and map.
    pub statistics: Vec<Vec<(f64, f64)>>,
    pub loss: f64,
}

/// The network in `f64`.
pub struct Twin {
    pub spec: NetworkSpec,
    pub tensors: Tensors,
}

fn first_columns(image: &Image, width: usize) -> Image {
    let rows = image.values.chunks(image.width * image.maps);
    let values = rows.flat_map(|row| row[..width * image.maps].iter().copied()).collect();
    Image { width, values, ..*image }
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
        Self { spec: spec.clone(), tensors: tensors.collect() }
    }

    fn block(&self, index: usize) -> &[Vec<f64>] {
        &self.tensors[index * TENSORS_PER_BLOCK..(index + 1) * TENSORS_PER_BLOCK]
    }

    /// Whole recordings as images of one map.
    fn recordings(&self, log_mel: &[f32]) -> Vec<Image> {
        let (height, width) = (self.spec.n_mels, self.spec.n_frames);
        let values = log_mel.chunks(height * width).map(|values| values.iter().map(|&v| f64::from(v)).collect());
        values.map(|values| Image { height, width, maps: 1, values }).collect()
    }

    /// Windows of images whose columns are `shrink` frames each.
    fn windows(&self, images: &[Image], shrink: usize) -> Vec<Image> {
        let (width, hop) = (self.spec.window / shrink, self.spec.hop / shrink);
        let mut windows = Vec::new();
        for image in images {
            for window in 0..self.spec.n_windows() {
                let mut out = Image::zeros(image.height, width, image.maps);
                for at in 0..out.values.len() {
                    let (y, x, map) = (at / (width * image.maps), at / image.maps % width, at % image.maps);
                    out.values[at] = image.values[image.at(y, window * hop + x, map)];
                }
                windows.push(out);
            }
        }
        windows
    }

    /// The transpose of [`Twin::windows`]: gradients of windows added up where they were cut out of images like `image`.
    fn gather(&self, d_windows: &[Vec<f64>], image: &Image, shrink: usize) -> Vec<Vec<f64>> {
        let (width, hop) = (self.spec.window / shrink, self.spec.hop / shrink);
        let recordings = d_windows.chunks(self.spec.n_windows()).map(|windows| {
            let mut sum = vec![0.0; image.values.len()];
            for (window, values) in windows.iter().enumerate() {
                for (at, value) in values.iter().enumerate() {
                    let (y, x, map) = (at / (width * image.maps), at / image.maps % width, at % image.maps);
                    sum[image.at(y, window * hop + x, map)] += value;
                }
            }
            sum
        });
        recordings.collect()
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
        let n_steps = self.spec.n_windows();
        let mask = Dropout::new(seed, self.spec.blocks.len(), self.spec.dropout);
        let groups = self.spec.lstm_inputs().div_ceil(MAPS);
        let factor = |recording: usize, at: usize| {
            if mask.dropped(recording * groups + at / MAPS)[at % MAPS] { 0.0 } else { f64::from(mask.scale) }
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
        let steps: Vec<_> = inputs.iter().map(|inputs| self.forward_lstm(inputs)).collect();
        let probabilities: Vec<Vec<f64>> =
            steps.iter().map(|steps| self.forward_dense(&steps[n_steps - 1].2)).collect();
        let loss =
            -probabilities.iter().zip(labels).map(|(row, &label)| row[label].ln()).sum::<f64>() / labels.len() as f64;
        Trace { blocks, before_cut, inputs, input_factors, steps, probabilities, statistics, loss }
    }

    fn convolve(&self, index: usize, input: &Image) -> Image {
        let (kernel, bias, maps) = (&self.block(index)[0], &self.block(index)[1], self.spec.blocks[index].n_maps);
        let mut out = Image::zeros(input.height, input.width, maps);
        for y in 0..input.height {
            for x in 0..input.width {
                for o in 0..maps {
                    let mut sum = bias[o];
                    for ky in 0..3 {
                        for kx in 0..3 {
                            let (from_y, from_x) = (y + ky, x + kx);
                            if from_y < 1 || from_y > input.height || from_x < 1 || from_x > input.width {
                                continue;
                            }
                            for i in 0..input.maps {
                                sum += input.values[input.at(from_y - 1, from_x - 1, i)]
                                    * kernel[((ky * 3 + kx) * input.maps + i) * maps + o];
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
        let maps = raw[0].maps;
        let n = (raw.len() * raw[0].height * raw[0].width) as f64;
        let of_map = |map: usize| raw.iter().flat_map(move |image| image.values.iter().skip(map).step_by(maps));
        let statistics: Vec<(f64, f64)> = (0..maps)
            .map(|map| {
                let mean = of_map(map).sum::<f64>() / n;
                let variance = of_map(map).map(|v| (v - mean) * (v - mean)).sum::<f64>() / n;
                if moving { (tensors[4][map], tensors[5][map]) } else { (mean, variance) }
            })
            .collect();
        let inverse = |&(_, variance): &(f64, f64)| 1.0 / (variance + f64::from(self.spec.batch_norm_epsilon)).sqrt();
        let inverse_deviation: Vec<f64> = statistics.iter().map(inverse).collect();
        let dropout = Dropout::new(seed, index, self.spec.dropout);
        let (mut places, mut factors, mut out) = (Vec::new(), Vec::new(), Vec::new());
        for (number, image) in raw.iter().enumerate() {
            let mut pooled = Image::zeros(image.height / pool, image.width / pool, maps);
            let (mut place, mut factor) = (vec![0; pooled.values.len()], vec![0.0; pooled.values.len()]);
            for (at, value) in pooled.values.iter_mut().enumerate() {
                let (pixel, map) = (at / maps, at % maps);
                let (y, x) = (pixel / pooled.width, pixel % pooled.width);
                *value = f64::NEG_INFINITY;
                for inner in 0..pool * pool {
                    let from = image.at(y * pool + inner / pool, x * pool + inner % pool, map);
                    let normal = (image.values[from] - statistics[map].0) * inverse_deviation[map];
                    let active = elu(tensors[2][map] * normal + tensors[3][map]);
                    if active > *value {
                        (*value, place[at]) = (active, from);
                    }
                }
                let (blocks, pixels) = (maps.div_ceil(MAPS), pooled.height * pooled.width);
                let dropped = dropout.dropped((number * blocks + map / MAPS) * pixels + pixel)[map % MAPS];
                factor[at] = if dropped { 0.0 } else { f64::from(dropout.scale) };
                *value *= factor[at];
            }
            places.push(place);
            factors.push(factor);
            out.push(pooled);
        }
        let mean = statistics.iter().map(|&(mean, _)| mean).collect();
        (BlockTrace { input, raw, mean, inverse_deviation, places, factors }, out, statistics)
    }

    fn forward_lstm(&self, inputs: &[Vec<f64>]) -> Vec<Step> {
        let at = self.tensors.len() - 5;
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

    /// Gradients of the mean loss; zero for the moving statistics.
    pub fn backward(&self, trace: &Trace, labels: &[usize]) -> Tensors {
        let mut gradient: Tensors = self.tensors.iter().map(|tensor| vec![0.0; tensor.len()]).collect();
        let first_dense = self.tensors.len() - 2;
        let (units, classes) = (self.spec.lstm_units, self.spec.n_classes);
        let mut d_images = Vec::new();
        for (recording, &label) in labels.iter().enumerate() {
            let last = &trace.steps[recording][self.spec.n_windows() - 1].2;
            let mut d_last = vec![0.0; units];
            for class in 0..classes {
                let d =
                    (trace.probabilities[recording][class] - f64::from(u8::from(class == label))) / labels.len() as f64;
                gradient[first_dense + 1][class] += d;
                for unit in 0..units {
                    gradient[first_dense][unit * classes + class] += d * last[unit];
                    d_last[unit] += d * self.tensors[first_dense][unit * classes + class];
                }
            }
            d_images.extend(self.backward_lstm(trace, recording, d_last, &mut gradient));
        }
        for index in (0..self.spec.blocks.len()).rev() {
            d_images = self.backward_block(index, &trace.blocks[index], &d_images, &mut gradient);
            if let Some(image) = trace.before_cut.as_ref().filter(|_| index == self.spec.cut()) {
                d_images = self.gather(&d_images, image, self.spec.shrink(index));
            }
        }
        gradient
    }

    /// Gradients of the LSTM's inputs before their dropout, `[step][input]`.
    fn backward_lstm(
        &self,
        trace: &Trace,
        recording: usize,
        mut d_output: Vec<f64>,
        gradient: &mut Tensors,
    ) -> Vec<Vec<f64>> {
        let (at, units) = (self.tensors.len() - 5, self.spec.lstm_units);
        let (inputs, steps) = (&trace.inputs[recording], &trace.steps[recording]);
        let mut d_cell = vec![0.0; units];
        let mut d_inputs = vec![vec![0.0; self.spec.lstm_inputs()]; inputs.len()];
        for step in (0..inputs.len()).rev() {
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
                        d_inputs[step][input] +=
                            d_z * self.tensors[at][input * 4 * units + column] * trace.input_factors[recording][input];
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
        let maps = trace.raw[0].maps;
        let n = (trace.raw.len() * trace.raw[0].height * trace.raw[0].width) as f64;
        let normal = |image: usize, from: usize| {
            let map = from % maps;
            (trace.raw[image].values[from] - trace.mean[map]) * trace.inverse_deviation[map]
        };
        let mut d_norm: Vec<Vec<f64>> = trace.raw.iter().map(|image| vec![0.0; image.values.len()]).collect();
        for (image, d_out) in d_out.iter().enumerate() {
            for (pooled, d) in d_out.iter().enumerate() {
                let from = trace.places[image][pooled];
                let z = tensors[2][from % maps] * normal(image, from) + tensors[3][from % maps];
                let slope = if z > 0.0 { 1.0 } else { z.exp() };
                d_norm[image][from] += d * trace.factors[image][pooled] * slope;
            }
        }
        for (image, d_norm) in d_norm.iter().enumerate() {
            for (from, d) in d_norm.iter().enumerate() {
                gradient[at + 2][from % maps] += d * normal(image, from);
                gradient[at + 3][from % maps] += d;
            }
        }
        let mut d_input: Vec<Vec<f64>> = trace.input.iter().map(|image| vec![0.0; image.values.len()]).collect();
        for (image, d_norm) in d_norm.iter().enumerate() {
            for (from, d) in d_norm.iter().enumerate() {
                let map = from % maps;
                let (d_gamma, d_beta) = (gradient[at + 2][map], gradient[at + 3][map]);
                let d_raw = tensors[2][map]
                    * trace.inverse_deviation[map]
                    * (d - d_beta / n - normal(image, from) * d_gamma / n);
                gradient[at + 1][map] += d_raw;
                let (y, x) = (from / maps / trace.raw[image].width, from / maps % trace.raw[image].width);
                self.backward_conv(index, (y, x, map, d_raw), &trace.input[image], &mut d_input[image], gradient);
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
        let (at, maps) = (index * TENSORS_PER_BLOCK, self.spec.blocks[index].n_maps);
        for tap in 0..9 {
            let (from_y, from_x) = (y + tap / 3, x + tap % 3);
            if from_y < 1 || from_y > input.height || from_x < 1 || from_x > input.width {
                continue;
            }
            for i in 0..input.maps {
                let (from, weight) = (input.at(from_y - 1, from_x - 1, i), (tap * input.maps + i) * maps + o);
                gradient[at][weight] += d * input.values[from];
                d_input[from] += d * self.tensors[at][weight];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::proof::{batch, network_of, small_spec};
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
}
