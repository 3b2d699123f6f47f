//! From the vectors of a recording's steps to its embedding: the recurrent layer and the head, there and back.

use serde::{Deserialize, Serialize};

use crate::network::head::{self, Head, HeadBatch, HeadShape};
use crate::network::lstm::{Lstm, LstmShape};
use crate::network::parameters::{LstmTensors, Parameters};
use crate::network::spec::NetworkSpec;
use crate::simd::Isa;

/// What reads the steps in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Recurrent {
    /// An LSTM, as in the paper.
    #[default]
    Lstm,
    /// Nothing: the head takes the vectors as they are.
    None,
    /// One LSTM in time and one against it, their outputs side by side.
    Bilstm,
}

impl Recurrent {
    /// Whether this is what a recipe means that says nothing.
    pub fn is_lstm(&self) -> bool {
        *self == Self::Lstm
    }

    /// How many LSTMs these are.
    pub fn n_lstms(self) -> usize {
        match self {
            Self::None => 0,
            Self::Lstm => 1,
            Self::Bilstm => 2,
        }
    }
}

/// The layers behind the blocks with their memory for a batch, made once; what only training needs, at its first step.
pub struct Sequence {
    shape: HeadShape,
    n_inputs: usize,
    n_units: usize,
    /// None, that in time, or also that against it.
    lstms: Vec<Lstm>,
    /// Without an LSTM the steps' vectors `[batch, steps, inputs]`, later their gradient.
    vectors: Vec<f32>,
    /// What the LSTMs gave at each step `[batch, steps, width]`, where the head wants it.
    outputs: Vec<f32>,
    /// Its gradient.
    d_outputs: Vec<f32>,
    /// The part of it that belongs to one of two LSTMs.
    d_part: Vec<f32>,
    /// Attention's weights `[batch, steps]`.
    weights: Vec<f32>,
    /// `[batch, embedding]`
    pub embedding: Vec<f32>,
}

/// Gradients of the layers' tensors, to be written.
pub struct SequenceGradient<'a> {
    pub lstms: Vec<LstmTensors<&'a mut [f32]>>,
    /// Attention's kernel, or nothing.
    pub attention: &'a mut [f32],
}

impl Sequence {
    /// Memory for up to `max_batch` recordings.
    pub fn new(spec: &NetworkSpec, max_batch: usize, isa: Isa) -> Self {
        let (n_steps, n_inputs, n_units) = (spec.n_windows(), spec.lstm_inputs(), spec.lstm_units);
        let (n_lstms, width) = (spec.recurrent.n_lstms(), spec.step_width());
        let lstm = LstmShape { n_steps, n_inputs, n_units };
        let n_backwards = if n_lstms == 2 { n_units } else { 0 };
        let shape = HeadShape { head: spec.head, n_steps, width, n_backwards };
        let (outputs, weights) = (reads_all_outputs(spec), spec.head == Head::Attention);
        let floats = |are_wanted: bool, n: usize| vec![0.0; if are_wanted { max_batch * n } else { 0 }];
        Self {
            shape,
            n_inputs,
            n_units,
            lstms: (0..n_lstms).map(|_| Lstm::new(lstm, max_batch, isa)).collect(),
            vectors: floats(n_lstms == 0, n_steps * n_inputs),
            outputs: floats(outputs, n_steps * width),
            d_outputs: Vec::new(),
            d_part: Vec::new(),
            weights: floats(weights, n_steps),
            embedding: floats(true, spec.n_embedding()),
        }
    }

    /// Bytes that the layers take for batches of up to `max_batch` recordings, forward only or in both directions.
    pub fn bytes(spec: &NetworkSpec, max_batch: usize, trains: bool) -> usize {
        let (steps, inputs, units) = (spec.n_windows(), spec.lstm_inputs(), spec.lstm_units);
        let (n_lstms, width) = (spec.recurrent.n_lstms(), spec.step_width());
        // An LSTM keeps inputs, gates, cell and outputs of each step.
        let lstms = n_lstms * (steps * (inputs + 6 * units) + 4 * units);
        let vectors = if n_lstms == 0 { steps * inputs } else { 0 };
        let outputs = if reads_all_outputs(spec) { steps * width } else { 0 };
        let way_back = if trains && needs_gradient_of_all(spec) { steps * (width + units) } else { 0 };
        max_batch * (lstms + vectors + outputs + way_back + steps + spec.n_embedding()) * size_of::<f32>()
    }

    /// Where the vectors of the steps `[batch, steps, inputs]` are to be put; after [`Sequence::backward`] their gradient.
    pub fn input(&mut self) -> &mut [f32] {
        match self.lstms.first_mut() {
            Some(lstm) => &mut lstm.input,
            None => &mut self.vectors,
        }
    }

    /// Reads the vectors of `n` recordings and writes `self.embedding`.
    pub fn forward(&mut self, parameters: &Parameters, n: usize) {
        if let [ahead, against] = &mut self.lstms[..] {
            let one = self.shape.n_steps * self.n_inputs;
            let recordings = ahead.input.chunks_exact(one).zip(against.input.chunks_exact_mut(one)).take(n);
            recordings.for_each(|(from, to)| turn(from, to, self.n_inputs, |to, from| to.copy_from_slice(from)));
        }
        for (lstm, tensors) in self.lstms.iter_mut().zip(parameters.lstms()) {
            lstm.forward(tensors, n);
        }
        let (one, shape) = (self.shape.n_steps * self.shape.width, self.shape);
        if let ([lstm], Head::Last) = (&self.lstms[..], shape.head) {
            self.embedding[..n * self.n_units].copy_from_slice(&lstm.last[..n * self.n_units]);
            return;
        }
        if !self.lstms.is_empty() {
            for (recording, out) in self.outputs.chunks_exact_mut(one).take(n).enumerate() {
                for (step, out) in out.chunks_exact_mut(shape.width).enumerate() {
                    let mut parts = out.chunks_exact_mut(self.n_units).zip(&self.lstms);
                    parts.next().into_iter().for_each(|(out, lstm)| out.copy_from_slice(lstm.output(recording, step)));
                    let step = shape.n_steps - 1 - step;
                    parts.for_each(|(out, lstm)| out.copy_from_slice(lstm.output(recording, step)));
                }
            }
        }
        let values = if self.lstms.is_empty() { &self.vectors } else { &self.outputs };
        let embedding = &mut self.embedding[..n * shape.head.n_outputs(shape.width)];
        head::forward(shape, parameters.attention(), &values[..n * one], &mut self.weights, embedding);
    }

    /// From the gradient of the embedding to those of the tensors and, in [`Sequence::input`], of the steps' vectors.
    pub fn backward(&mut self, parameters: &Parameters, n: usize, d_embedding: &[f32], gradient: SequenceGradient<'_>) {
        let SequenceGradient { lstms: mut gradients, attention } = gradient;
        let (shape, units) = (self.shape, self.n_units);
        let mut tensors = parameters.lstms();
        if let ([lstm], Head::Last) = (&mut self.lstms[..], shape.head) {
            let tensors = tensors.pop().into_iter().zip(gradients.pop());
            tensors.for_each(|(tensors, gradient)| lstm.backward(tensors, n, d_embedding, None, gradient));
            return;
        }
        let one = shape.n_steps * shape.width;
        self.d_outputs.resize(self.d_outputs.len().max(n * one), 0.0);
        let values = if self.lstms.is_empty() { &self.vectors } else { &self.outputs };
        let embedding = &self.embedding[..n * shape.head.n_outputs(shape.width)];
        let (values, d_embedding) = (&values[..n * one], &d_embedding[..embedding.len()]);
        let batch = HeadBatch { kernel: parameters.attention(), values, weights: &self.weights, embedding };
        head::backward(shape, batch, d_embedding, &mut self.d_outputs[..n * one], attention);
        if self.lstms.is_empty() {
            self.vectors[..n * one].copy_from_slice(&self.d_outputs[..n * one]);
            return;
        }
        self.d_part.resize(self.d_part.len().max(n * shape.n_steps * units), 0.0);
        for (number, (lstm, gradient)) in self.lstms.iter_mut().zip(gradients).enumerate() {
            let recordings = self.d_part.chunks_exact_mut(shape.n_steps * units);
            for (part, d) in recordings.zip(self.d_outputs[..n * one].chunks_exact(one)) {
                for (step, part) in part.chunks_exact_mut(units).enumerate() {
                    let step = if number == 0 { step } else { shape.n_steps - 1 - step };
                    part.copy_from_slice(&d[step * shape.width + number * units..][..units]);
                }
            }
            lstm.backward(tensors[number], n, &[], Some(&self.d_part), gradient);
        }
        if let [ahead, against] = &mut self.lstms[..] {
            let one = shape.n_steps * self.n_inputs;
            let recordings = against.input.chunks_exact(one).zip(ahead.input.chunks_exact_mut(one)).take(n);
            let add = |to: &mut [f32], from: &[f32]| to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
            recordings.for_each(|(from, to)| turn(from, to, self.n_inputs, add));
        }
    }
}

/// Whether the head looks at more than the state of one LSTM.
fn reads_all_outputs(spec: &NetworkSpec) -> bool {
    match spec.recurrent {
        Recurrent::None => false,
        Recurrent::Lstm => spec.head != Head::Last,
        Recurrent::Bilstm => true,
    }
}

/// Whether the way back goes through the outputs of all steps.
fn needs_gradient_of_all(spec: &NetworkSpec) -> bool {
    spec.recurrent == Recurrent::None || reads_all_outputs(spec)
}

/// Calls `put` for each step of `to` and the one of `from` as far from the other end.
fn turn(from: &[f32], to: &mut [f32], length: usize, put: impl Fn(&mut [f32], &[f32])) {
    to.chunks_exact_mut(length).zip(from.chunks_exact(length).rev()).for_each(|(to, from)| put(to, from));
}
