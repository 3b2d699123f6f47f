//! Writes a trained network as an ONNX file that explains itself and runs on any ONNX Runtime since 1.12.
//!
//! `log_mel [n, n_mels, n_frames]` goes in, `probabilities [n, n_classes]` come out, and beside them `embedding`, the
//! vector that enters the dense layer; the cut into windows is part of the graph. Layouts change from Keras' (channels last, gates i f c o) to ONNX' (channels first,
//! gates i o f c) here, back in `import`, and nowhere else.

mod calibrated;
pub mod card;
mod import;
pub mod proto;
mod seal;
mod sequence;

use std::path::Path;

use prost::Message;

use crate::error::{Error, Result};
use crate::files;
use crate::network::inputs::{DELTA_NORM, DELTA_REACH, Inputs};
pub use crate::network::onnx::calibrated::calibrated;
pub use crate::network::onnx::card::{Golden, HeardCorpus, ModelCard, golden_input};
pub use crate::network::onnx::import::import;
use crate::network::onnx::proto::{
    AttributeProto, FLOAT, GraphProto, INT64, IR_VERSION, ModelProto, NodeProto, OPSET, OperatorSetIdProto,
    StringStringEntryProto, TensorProto, ValueInfoProto,
};
use crate::network::parameters::{BlockTensors, Parameters};
use crate::network::spec::NetworkSpec;

/// Name of the graph's input, `[n, n_mels, n_frames]`, float.
pub const INPUT: &str = "log_mel";
/// Name of the graph's output, `[n, n_classes]`, float; each row sums to 1.
pub const OUTPUT: &str = "probabilities";
/// Name of the graph's second output, `[n, n_embedding]`, float: what enters the dense layer. Models of older versions have
/// none.
pub const EMBEDDING: &str = "embedding";

/// The bytes of the model file: the same inputs give the same bytes.
///
/// # Errors
/// A bug if `parameters` are not those of `spec`, or `card` describes another network.
///
/// Proof: `every_provider_and_the_f64_twin_agree` in `network/session.rs`.
pub fn export(spec: &NetworkSpec, parameters: &Parameters, card: &ModelCard) -> Result<Vec<u8>> {
    export_with(spec, parameters, card, true)
}

/// [`export`] with the embedding as an output, or as older versions wrote it.
fn export_with(spec: &NetworkSpec, parameters: &Parameters, card: &ModelCard, has_embedding: bool) -> Result<Vec<u8>> {
    spec.check()?;
    check_parameters(spec, parameters)?;
    if card.network != *spec {
        return Err(Error::bug("the model card describes another network").at_place("sermill.network"));
    }
    let mut graph = Graph::default();
    let mut images = graph.image(spec);
    if spec.cut() > 0 || spec.blocks.is_empty() {
        images = graph.frames(&images, "trunk", (0, spec.seen_frames()));
    }
    for index in 0..spec.blocks.len() {
        if index == spec.cut() {
            images = graph.windows(spec, &images);
        }
        images = graph.block(spec, parameters, index, images);
    }
    let vectors = if spec.steps_are_columns() { graph.columns(spec, &images) } else { graph.flatten(spec, images) };
    let state = graph.sequence(spec, parameters, vectors);
    if has_embedding {
        graph.node("Identity", EMBEDDING, &[&state], vec![]);
    }
    graph.classify(spec, parameters, state);
    let entry = |(key, value)| StringStringEntryProto { key, value };
    let model = ModelProto {
        ir_version: IR_VERSION,
        producer_name: "sermill".into(),
        producer_version: card.sermill_version.clone(),
        graph: Some(graph.finish(spec, has_embedding)),
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
        metadata_props: card.to_metadata()?.into_iter().map(entry).collect(),
    };
    let mut bytes = model.encode_to_vec();
    if card.sealed {
        seal::write(&mut bytes)?;
    }
    Ok(bytes)
}

/// Reads a model file that the user named.
///
/// Errors: kind `Input` for what is no file that may be read, `Unreadable` or `Machine` where the machine fails.
pub fn read_model(path: &Path) -> Result<Vec<u8>> {
    /// ONNX files end at two gigabytes.
    const LIMIT: u64 = 1 << 31;
    files::read(path, LIMIT).map_err(|error| match files::is_of_the_machine(&error) {
        true => Error::reading("cannot read the model", error).at(path),
        false => Error::input("cannot read the model")
            .at(path)
            .because(error)
            .hint("run `sermill train`, or name the model.onnx that it wrote with --set score.model=FILE"),
    })
}

fn check_parameters(spec: &NetworkSpec, parameters: &Parameters) -> Result<()> {
    let wanted = Parameters::zeros(spec).tensors;
    let fits = wanted.len() == parameters.tensors.len()
        && wanted.iter().zip(&parameters.tensors).all(|(wanted, found)| {
            wanted.name == found.name && wanted.shape == found.shape && wanted.values.len() == found.values.len()
        });
    if fits { Ok(()) } else { Err(Error::bug("the parameters are not those of the network")) }
}

/// A graph under construction; each method adds one step and returns the name of its output.
#[derive(Default)]
struct Graph {
    nodes: Vec<NodeProto>,
    constants: Vec<TensorProto>,
}

impl Graph {
    /// `[n, n_mels, n_frames]` to `[n, channels, n_mels, n_frames]`.
    fn image(&mut self, spec: &NetworkSpec) -> String {
        let channel_axis = self.integers("windows.channel_axis", &[1]);
        let image = self.node("Unsqueeze", "windows.image", &[INPUT, &channel_axis], vec![]);
        self.integers("windows.time_axis", &[3]);
        match spec.inputs {
            Inputs::LogMel => image,
            Inputs::Deltas => self.deltas(image),
        }
    }

    /// An image of one channel, its delta and the delta of that as three.
    fn deltas(&mut self, image: String) -> String {
        let reach = DELTA_REACH as i64;
        let pads = self.integers("deltas.pads", &[0, 0, 0, reach, 0, 0, 0, reach]);
        let kernel: Vec<f32> = (-reach..=reach).map(|k| k as f32 / DELTA_NORM).collect();
        let kernel = self.floats("deltas.kernel", &[1, 1, 1, kernel.len()], &kernel);
        let mut channels = vec![image];
        for name in ["deltas.first", "deltas.second"] {
            let before = channels.last().cloned().unwrap_or_default();
            let edges = vec![AttributeProto::text("mode", "edge")];
            let wider = self.node("Pad", &format!("{name}.padded"), &[&before, &pads], edges);
            channels.push(self.node("Conv", name, &[&wider, &kernel], vec![]));
        }
        let channels: Vec<&str> = channels.iter().map(String::as_str).collect();
        self.node("Concat", "deltas", &channels, vec![AttributeProto::int("axis", 1)])
    }

    /// Columns `first..end` of an image.
    fn frames(&mut self, image: &str, name: &str, (first, end): (usize, usize)) -> String {
        let start = self.integers(&format!("{name}.start"), &[first as i64]);
        let end = self.integers(&format!("{name}.end"), &[end as i64]);
        self.node("Slice", name, &[image, &start, &end, "windows.time_axis"], vec![])
    }

    /// `[n, maps, height, columns]` to `[n_windows * n, maps, height, window]`, window by window, so that the LSTM's
    /// sequence axis comes first.
    fn windows(&mut self, spec: &NetworkSpec, image: &str) -> String {
        let shrink = spec.shrink(spec.cut());
        let (hop, width) = (spec.hop / shrink, spec.window / shrink);
        let slices: Vec<String> = (0..spec.n_windows())
            .map(|index| self.frames(image, &format!("window{index}"), (index * hop, index * hop + width)))
            .collect();
        let slices: Vec<&str> = slices.iter().map(String::as_str).collect();
        self.node("Concat", "windows", &slices, vec![AttributeProto::int("axis", 0)])
    }

    /// Convolution, batch norm with the moving statistics, ELU, max pool; channels first.
    fn block(&mut self, spec: &NetworkSpec, parameters: &Parameters, index: usize, input: String) -> String {
        let name = |part: &str| format!("block{}.{part}", index + 1);
        let BlockTensors { kernel, bias, gamma, beta, mean, variance } = parameters.block(index);
        let &[_, _, maps_in, maps_out] = &kernel.shape[..] else { unreachable!("a kernel has four axes") };
        let weights = channels_first(&kernel.values, maps_in, maps_out);
        let weights = self.floats(&kernel.name, &[maps_out, maps_in, 3, 3], &weights);
        let [bias, gamma, beta, mean, variance] =
            [bias, gamma, beta, mean, variance].map(|tensor| self.floats(&tensor.name, &tensor.shape, &tensor.values));
        let same = vec![AttributeProto::ints("kernel_shape", &[3, 3]), AttributeProto::ints("pads", &[1, 1, 1, 1])];
        let maps = self.node("Conv", &name("conv"), &[&input, &weights, &bias], same);
        let epsilon = vec![AttributeProto::float("epsilon", spec.batch_norm_epsilon)];
        let maps =
            self.node("BatchNormalization", &name("batch_norm"), &[&maps, &gamma, &beta, &mean, &variance], epsilon);
        let maps = self.node("Elu", &name("elu"), &[&maps], vec![AttributeProto::float("alpha", 1.0)]);
        let pool = spec.blocks[index].pool;
        let pool = [pool.mel as i64, pool.time as i64];
        let pool = vec![AttributeProto::ints("kernel_shape", &pool), AttributeProto::ints("strides", &pool)];
        self.node("MaxPool", &name("pool"), &[&maps], pool)
    }

    /// `[n_windows * n, maps, height, width]` to `[n_windows, n, height * width * maps]`: the order of a
    /// channels-last flatten, which is the order of the LSTM kernel's rows.
    fn flatten(&mut self, spec: &NetworkSpec, images: String) -> String {
        let (height, width, _) = spec.block_input(spec.blocks.len());
        let channels_last = vec![AttributeProto::ints("perm", &[0, 2, 3, 1])];
        let images = if height * width > 1 {
            self.node("Transpose", "vectors.channels_last", &[&images], channels_last)
        } else {
            images
        };
        let shape = self.integers("vectors.shape", &[spec.n_windows() as i64, -1, spec.lstm_inputs() as i64]);
        self.node("Reshape", "vectors", &[&images, &shape], vec![])
    }

    /// `[n, n_embedding]` to the output, through the dense layer and softmax.
    fn classify(&mut self, spec: &NetworkSpec, parameters: &Parameters, state: String) {
        let kernel = values(parameters, "dense.kernel");
        let kernel = self.floats("dense.kernel", &[spec.n_embedding(), spec.n_classes], kernel);
        let bias = self.floats("dense.bias", &[spec.n_classes], values(parameters, "dense.bias"));
        let logits = self.node("Gemm", "dense", &[&state, &kernel, &bias], vec![]);
        self.node("Softmax", OUTPUT, &[&logits], vec![AttributeProto::int("axis", 1)]);
    }

    fn finish(self, spec: &NetworkSpec, has_embedding: bool) -> GraphProto {
        let embedding = ValueInfoProto::batched_floats(EMBEDDING, &[spec.n_embedding()]);
        let output = ValueInfoProto::batched_floats(OUTPUT, &[spec.n_classes]);
        GraphProto {
            node: self.nodes,
            name: "sermill".into(),
            initializer: self.constants,
            input: vec![ValueInfoProto::batched_floats(INPUT, &[spec.n_mels, spec.n_frames])],
            output: std::iter::once(output).chain(has_embedding.then_some(embedding)).collect(),
        }
    }

    /// Adds a node with one output, which carries the node's name.
    fn node(&mut self, op_type: &str, name: &str, inputs: &[&str], attribute: Vec<AttributeProto>) -> String {
        let input = inputs.iter().map(|&input| input.to_owned()).collect();
        let output = vec![name.to_owned()];
        self.nodes.push(NodeProto { input, output, name: name.into(), op_type: op_type.into(), attribute });
        name.to_owned()
    }

    fn floats(&mut self, name: &str, shape: &[usize], values: &[f32]) -> String {
        let dims = shape.iter().map(|&n| n as i64).collect();
        let raw_data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constants.push(TensorProto { dims, data_type: FLOAT, name: name.into(), raw_data });
        name.to_owned()
    }

    fn integers(&mut self, name: &str, values: &[i64]) -> String {
        let raw_data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constants.push(TensorProto {
            dims: vec![values.len() as i64],
            data_type: INT64,
            name: name.into(),
            raw_data,
        });
        name.to_owned()
    }
}

fn values<'a>(parameters: &'a Parameters, name: &str) -> &'a [f32] {
    &parameters.get(name).expect("the parameters were checked against the network").values
}

/// A convolution kernel `[3, 3, maps_in, maps_out]` as `[maps_out, maps_in, 3, 3]`.
fn channels_first(kernel: &[f32], maps_in: usize, maps_out: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(kernel.len());
    for map_out in 0..maps_out {
        for map_in in 0..maps_in {
            out.extend((0..9).map(|tap| kernel[(tap * maps_in + map_in) * maps_out + map_out]));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(spec: &NetworkSpec) -> ModelCard {
        ModelCard {
            labels: (0..spec.n_classes).map(|class| format!("class_{class}")).collect(),
            label_set: None,
            front_end: "{}".into(),
            definition: "d".into(),
            fingerprint: "f".into(),
            model_id: "m".into(),
            pipeline: "p".into(),
            protocol: "q".into(),
            network: spec.clone(),
            sermill_version: "0.1.0".into(),
            golden: Golden { seed: 1, probabilities: vec![0.0; spec.n_classes] },
            confidence: Default::default(),
            heard: Vec::new(),
            sealed: true,
        }
    }

    #[test]
    fn kernels_change_their_layout_by_hand() {
        let kernel: Vec<f32> = (0..18).map(|i| i as f32).collect(); // [3, 3, 1, 2]
        let first: Vec<f32> = (0..9).map(|tap| (2 * tap) as f32).collect();
        assert_eq!(channels_first(&kernel, 1, 2)[..9], first[..]);
        assert_eq!(channels_first(&kernel, 2, 1)[..9], first[..]);
    }

    #[test]
    fn the_card_comes_back_out_of_the_file_and_bytes_repeat() {
        let spec = NetworkSpec::paper(128, 508);
        let parameters = Parameters::zeros(&spec);
        let model = export(&spec, &parameters, &card(&spec)).expect("fits");
        assert_eq!(ModelCard::from_model(&model).expect("own file"), card(&spec));
        assert_eq!(model, export(&spec, &parameters, &card(&spec)).expect("fits"));
    }

    #[test]
    fn one_bit_of_a_model_file_is_noticed() {
        let block = |n_maps| crate::network::spec::BlockSpec { n_maps, pool: 2.into() };
        let spec = NetworkSpec {
            n_frames: 28,
            window: 12,
            hop: 8,
            blocks: vec![block(2), block(2)],
            lstm_units: 2,
            ..NetworkSpec::paper(8, 28)
        };
        let model = export(&spec, &Parameters::zeros(&spec), &card(&spec)).expect("fits");
        ModelCard::from_model(&model).expect("own file");
        for at in 0..model.len() {
            let mut other = model.clone();
            other[at] ^= 1 << (at % 8);
            assert!(ModelCard::from_model(&other).is_err(), "byte {at} of {}", model.len());
        }
        let unsealed = ModelCard { sealed: false, ..card(&spec) };
        let model = export(&spec, &Parameters::zeros(&spec), &unsealed).expect("fits");
        assert_eq!(ModelCard::from_model(&model).expect("a file of version 0.1.0"), unsealed);
    }

    #[test]
    fn parameters_of_another_network_are_refused() {
        let spec = NetworkSpec::paper(128, 508);
        let other = NetworkSpec { lstm_units: 8, ..spec.clone() };
        assert!(export(&spec, &Parameters::zeros(&other), &card(&spec)).is_err());
        assert!(export(&spec, &Parameters::zeros(&spec), &card(&other)).is_err());
    }
}
