//! Reads the weights of a model file back, for scoring without ONNX Runtime.

use prost::Message;

use crate::error::{Error, Result};
use crate::network::onnx::card::ModelCard;
use crate::network::onnx::proto::{FLOAT, GraphProto, ModelProto, TensorProto};
use crate::network::onnx::{EMBEDDING, export_with};
use crate::network::parameters::{LSTMS, Parameters, Tensor};

/// The weights in a model file whose card is `card`, in Keras' layouts again.
///
/// Own kernels run the network of the card, not the graph of the file, so both must be one: exporting what was read
/// must give the same bytes.
///
/// # Errors
/// Wrong input: a weight that is missing or has another shape, or any byte that [`export`] would not have written.
///
/// Proof: `an_exported_model_comes_back_bit_by_bit`, `any_change_to_a_model_file_is_refused`.
pub fn import(model: &[u8], card: &ModelCard) -> Result<Parameters> {
    let decoded = ModelProto::decode(model).map_err(|e| foreign("is not an ONNX file".into()).because(e))?;
    let graph = decoded.graph.unwrap_or_default();
    let mut parameters = Parameters::zeros(&card.network);
    for tensor in &mut parameters.tensors {
        let stored = graph.initializer.iter().find(|stored| stored.name == tensor.name);
        let stored = stored.ok_or_else(|| foreign(format!("holds no weights `{}`", tensor.name)))?;
        read_tensor(stored, card.network.lstm_units, tensor)?;
    }
    // Models of older versions have one output.
    let has_embedding = graph.output.iter().any(|output| output.name == EMBEDDING);
    let again = export_with(&card.network, &parameters, card, has_embedding)?;
    if again == model {
        return Ok(parameters);
    }
    let ours = ModelProto::decode(&again[..]).map_err(|e| Error::bug("an export cannot be read").because(e))?;
    Err(foreign(first_difference(&graph, &ours.graph.unwrap_or_default())))
}

fn foreign(what: String) -> Error {
    Error::input(what)
        .hint("the native provider runs the model.onnx that this version of `sermill train` wrote; others run with `--provider cpu`")
}

/// What of the graph is not as sermill writes it.
fn first_difference(found: &GraphProto, wanted: &GraphProto) -> String {
    let node = found.node.iter().zip(&wanted.node).find(|(found, wanted)| found != wanted);
    if let Some((found, wanted)) = node {
        let (name, kind) = (&found.name, &found.op_type);
        return format!("node `{name}` ({kind}) is not the `{}` ({}) that sermill writes", wanted.name, wanted.op_type);
    }
    if found.node.len() != wanted.node.len() {
        return format!("its graph has {} nodes, sermill writes {}", found.node.len(), wanted.node.len());
    }
    let constant = found.initializer.iter().zip(&wanted.initializer).find(|(found, wanted)| found != wanted);
    match constant {
        Some((found, _)) => format!("constant `{}` is not the one that sermill writes", found.name),
        None => "holds more or other bytes than sermill writes for its graph and metadata".into(),
    }
}

/// Reads one stored tensor into Keras' layout; the inverse of what `export` does to it.
fn read_tensor(stored: &TensorProto, lstm_units: usize, tensor: &mut Tensor) -> Result<()> {
    let part = LSTMS.iter().find_map(|lstm| tensor.name.strip_prefix(lstm).filter(|part| part.starts_with('.')));
    let recurrent_bias = if part == Some(".bias") { 2 } else { 1 };
    let n_wanted = tensor.values.len() * recurrent_bias;
    let (values, rest) = stored.raw_data.as_chunks();
    if stored.data_type != FLOAT || values.len() != n_wanted || !rest.is_empty() {
        let n_found = stored.raw_data.len();
        return Err(foreign(format!("weights `{}` have {n_found} bytes, not {n_wanted} floats", tensor.name)));
    }
    let values: Vec<f32> = values.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    match (part, tensor.shape[..].split_last_chunk()) {
        (Some(".bias"), _) => from_gate_rows(&values, 1, lstm_units, &mut tensor.values),
        (Some(_), _) => from_gate_rows(&values, tensor.shape[0], lstm_units, &mut tensor.values),
        (_, Some(([3, 3], &[maps_in, maps_out]))) => channels_last(&values, maps_in, maps_out, &mut tensor.values),
        _ => tensor.values.copy_from_slice(&values),
    }
    Ok(())
}

/// A convolution kernel `[maps_out, maps_in, 3, 3]` as `[3, 3, maps_in, maps_out]`.
fn channels_last(kernel: &[f32], maps_in: usize, maps_out: usize, out: &mut [f32]) {
    for map_out in 0..maps_out {
        for map_in in 0..maps_in {
            let taps = &kernel[(map_out * maps_in + map_in) * 9..][..9];
            taps.iter()
                .enumerate()
                .for_each(|(tap, value)| out[(tap * maps_in + map_in) * maps_out + map_out] = *value);
        }
    }
}

/// ONNX' `[4 * units, rows]` with gates input, output, forget, cell as Keras' `[rows, 4 * units]` with gates input,
/// forget, cell, output; a zero recurrent bias behind them is left.
fn from_gate_rows(kernel: &[f32], rows: usize, units: usize, out: &mut [f32]) {
    for (stored, gate) in [0, 3, 1, 2].into_iter().enumerate() {
        for unit in 0..units {
            for row in 0..rows {
                out[row * 4 * units + gate * units + unit] = kernel[(stored * units + unit) * rows + row];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::network::onnx::proto::StringStringEntryProto;
    use crate::network::onnx::seal;
    use crate::network::onnx::{Golden, OUTPUT, export};
    use crate::network::spec::{BlockSpec, NetworkSpec};

    fn spec() -> NetworkSpec {
        let block = |n_maps| BlockSpec { n_maps, pool: 2.into() };
        NetworkSpec {
            n_frames: 28,
            window: 12,
            hop: 8,
            blocks: vec![block(3), block(5)],
            lstm_units: 6,
            ..NetworkSpec::paper(8, 28)
        }
    }

    /// Every value another one, so that no two places can be mixed up.
    fn parameters() -> Parameters {
        let mut parameters = Parameters::zeros(&spec());
        let values = parameters.tensors.iter_mut().flat_map(|tensor| &mut tensor.values);
        values.enumerate().for_each(|(at, value)| *value = at as f32 * 1e-3 - 1.0);
        parameters
    }

    fn model() -> (Vec<u8>, ModelCard) {
        let card = ModelCard {
            labels: (0..7).map(|class| format!("class_{class}")).collect(),
            label_set: None,
            front_end: "{}".into(),
            definition: "d".into(),
            fingerprint: "f".into(),
            model_id: "m".into(),
            pipeline: "p".into(),
            protocol: "q".into(),
            network: spec(),
            sermill_version: "0.0.9".into(),
            golden: Golden { seed: 1, probabilities: vec![1.0 / 7.0; 7] },
            confidence: Default::default(),
            heard: Vec::new(),
            sealed: true,
        };
        (export(&spec(), &parameters(), &card).expect("fits"), card)
    }

    #[test]
    fn an_exported_model_comes_back_bit_by_bit() {
        let (model, card) = model();
        let back = import(&model, &ModelCard::from_model(&model).expect("own file")).expect("own file");
        assert_eq!(back, parameters());
        assert_eq!(export(&spec(), &back, &card).expect("fits"), model);
    }

    #[test]
    fn a_model_of_an_older_version_without_an_embedding_is_read() {
        let (model, card) = model();
        let older = export_with(&spec(), &parameters(), &card, false).expect("fits");
        assert!(older.len() < model.len());
        assert_eq!(import(&older, &ModelCard::from_model(&older).expect("own file")).expect("own file"), parameters());
    }

    /// The message that a changed model is refused with.
    #[track_caller]
    fn refused(change: impl FnOnce(&mut ModelProto, &mut GraphProto)) -> String {
        let mut proto = ModelProto::decode(&model().0[..]).expect("own file");
        let mut graph = proto.graph.take().expect("a graph");
        change(&mut proto, &mut graph);
        proto.graph = Some(graph);
        // The seal is not what is tested here: it is made to fit.
        let mut bytes = proto.encode_to_vec();
        seal::write(&mut bytes).expect("its place is there");
        let error = ModelCard::from_model(&bytes).and_then(|card| import(&bytes, &card)).expect_err("changed");
        assert_eq!(error.kind(), ErrorKind::Input, "{error}");
        assert!(error.hint_text().is_some_and(|hint| hint.contains("--provider cpu")), "{error}");
        error.to_string()
    }

    #[test]
    fn any_change_to_a_model_file_is_refused() {
        let constant = |graph: &GraphProto, name: &str| {
            graph.initializer.iter().position(|stored| stored.name == name).expect("a constant of that name")
        };
        let alpha = refused(|_, graph| {
            let elu = graph.node.iter_mut().find(|node| node.op_type == "Elu").expect("a node");
            elu.attribute[0].f = Some(0.5);
        });
        assert!(alpha.contains("block1.elu"), "{alpha}");
        let output = refused(|_, graph| drop(graph.output.pop()));
        assert!(output.contains("embedding"), "{output}");
        let operator = refused(|_, graph| graph.node.last_mut().expect("a node").op_type = "Sigmoid".into());
        assert!(operator.contains(OUTPUT) && operator.contains("Sigmoid"), "{operator}");
        let short = refused(|_, graph| drop(graph.node.pop()));
        assert!(short.contains("nodes"), "{short}");
        let gone = refused(|_, graph| drop(graph.initializer.remove(constant(graph, "block2.gamma"))));
        assert!(gone.contains("block2.gamma"), "{gone}");
        let cut = refused(|_, graph| {
            let at = constant(graph, "lstm.kernel");
            graph.initializer[at].raw_data.truncate(10);
        });
        assert!(cut.contains("lstm.kernel") && cut.contains("10 bytes"), "{cut}");
        // The second half of ONNX' bias is zero in the network that was trained.
        let bias = refused(|_, graph| {
            let at = constant(graph, "lstm.bias");
            *graph.initializer[at].raw_data.last_mut().expect("bytes") = 1;
        });
        assert!(bias.contains("lstm.bias"), "{bias}");
        let window = refused(|_, graph| {
            let at = constant(graph, "window1.start");
            graph.initializer[at].raw_data[0] += 1;
        });
        assert!(window.contains("window1.start"), "{window}");
        refused(|proto, _| proto.opset_import[0].version += 1);
        refused(|proto, _| proto.producer_name = "else".into());
        let more = StringStringEntryProto { key: "note".into(), value: "mine".into() };
        refused(|proto, _| proto.metadata_props.push(more));
    }

    #[test]
    fn bytes_that_the_messages_do_not_know_are_refused() {
        let (mut model, card) = model();
        // Field 20 of the model, `training_info`, with no bytes: decoding skips it.
        model.extend([0xa2, 0x01, 0x00]);
        seal::write(&mut model).expect("its place is there");
        assert_eq!(ModelCard::from_model(&model).expect("still an ONNX file"), card);
        assert_eq!(import(&model, &card).expect_err("one field more").kind(), ErrorKind::Input);
    }
}
