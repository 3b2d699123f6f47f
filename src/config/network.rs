//! The section of a recipe that says what the network is.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::network::head::Head;
use crate::network::inputs::Inputs;
use crate::network::pool::Pool;
use crate::network::sequence::Recurrent;
use crate::network::spec::{BlockSpec, NetworkSpec, Trunk};
use crate::signal::profile::FrontEnd;

/// `[train.network]`; with the front end's shape it makes a [`NetworkSpec`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkConfig {
    /// Frames in a window.
    pub window: usize,
    /// Frames between two windows.
    pub hop: usize,
    /// What of the spectrogram enters: `log-mel`, or `deltas` for three channels.
    #[serde(default, skip_serializing_if = "Inputs::is_log_mel")]
    pub inputs: Inputs,
    /// Where recordings are cut into windows: `windows` or `shared`.
    pub trunk: Trunk,
    /// Feature maps of each block.
    pub maps: Vec<usize>,
    /// Max pool of each block: a number for a square one, or `[mel, time]`.
    pub pools: Vec<Pool>,
    /// What reads the steps in time: `lstm`, `bilstm` or `none`.
    #[serde(default, skip_serializing_if = "Recurrent::is_lstm")]
    pub recurrent: Recurrent,
    pub lstm_units: usize,
    /// What the dense layer is given of the steps: `last`, `mean`, `mean-deviation` or `attention`.
    #[serde(default, skip_serializing_if = "Head::is_last")]
    pub head: Head,
    pub dropout: f32,
    pub batch_norm_epsilon: f32,
    pub batch_norm_momentum: f32,
}

impl NetworkConfig {
    /// The network for spectrograms of `front_end`.
    pub fn spec(&self, front_end: &FrontEnd, n_classes: usize) -> Result<NetworkSpec> {
        if self.maps.len() != self.pools.len() {
            return Err(Error::recipe(format!(
                "[train.network] has {} maps and {} pools: one of each per block",
                self.maps.len(),
                self.pools.len()
            )));
        }
        let blocks = self.maps.iter().zip(&self.pools).map(|(&n_maps, &pool)| BlockSpec { n_maps, pool });
        let spec = NetworkSpec {
            window: self.window,
            hop: self.hop,
            inputs: self.inputs,
            trunk: self.trunk,
            blocks: blocks.collect(),
            recurrent: self.recurrent,
            lstm_units: self.lstm_units,
            head: self.head,
            dropout: self.dropout,
            batch_norm_epsilon: self.batch_norm_epsilon,
            batch_norm_momentum: self.batch_norm_momentum,
            n_classes,
            ..NetworkSpec::paper(front_end.n_mels, front_end.n_frames())
        };
        spec.check()?;
        Ok(spec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Pipeline;

    const PAPER: &str = include_str!("../../pipelines/paper.toml");

    fn network(overrides: &[&str]) -> Result<NetworkSpec> {
        let overrides: Vec<String> = overrides.iter().map(|&text| format!("train.network.{text}")).collect();
        Pipeline::parse(PAPER, &overrides)?.network()
    }

    #[test]
    fn a_recipe_names_every_structure_and_defaults_are_not_written() {
        let paper = Pipeline::parse(PAPER, &[]).expect("a shipped recipe");
        let text = toml::to_string(&paper.train.network).expect("TOML");
        assert!(["head", "recurrent", "inputs"].iter().all(|key| !text.contains(key)), "{text}");
        assert!(text.contains("pools = [2, 4, 4, 4]"), "{text}");
        let json = serde_json::to_string(&paper.network().expect("shapes that divide")).expect("JSON");
        assert!(["head", "recurrent", "inputs"].iter().all(|key| !json.contains(key)), "{json}");
        let columns = ["pools=[[4, 2], 2, 2, [2, 2]]", "window=16", "hop=16", "trunk=shared", "head=mean-deviation"];
        let spec = network(&columns).expect("shapes that divide");
        assert_eq!((spec.cut(), spec.n_windows(), spec.seen_frames()), (4, 31, 496));
        assert_eq!((spec.lstm_inputs(), spec.step_width(), spec.n_embedding()), (4 * 128, 256, 512));
        let bare = ["maps=[]", "pools=[]", "window=4", "hop=4", "recurrent=none", "inputs=deltas", "head=attention"];
        let spec = network(&bare).expect("no blocks");
        assert_eq!((spec.n_windows(), spec.n_embedding()), (127, 128 * 4 * 3));
        for wrong in
            ["head=median", "recurrent=gru", "pools=[2, 4, 4]", "pools=[2, 4, 4, [4, 3]]", "pools=[2, 4, 4, 0]"]
        {
            assert!(network(&[wrong]).is_err(), "{wrong}");
        }
    }
}
