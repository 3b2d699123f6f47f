//! Everything a training run needs to go on exactly where it stopped, and its bytes.

use crate::error::{Error, Result};
use crate::network::parameters::Parameters;
use crate::network::spec::NetworkSpec;

/// Weights, moments and step count. Restoring it and going on gives the same bytes as never having stopped.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainerState {
    pub parameters: Parameters,
    /// Momentum of every tensor; zero for those that are not trained.
    pub velocity: Parameters,
    /// Mean of squared gradients, for optimisers that keep one.
    pub second_moment: Option<Parameters>,
    /// Averaged weights, where a recipe averages.
    pub average: Option<Parameters>,
    /// Steps taken.
    pub iteration: u64,
}

/// First bytes of a serialised state; the last digit is the version of the layout. States of weights and velocity alone
/// have the first, which every release has read.
const MAGIC: &[u8; 8] = b"SERTRN\x00\x01";
/// With one more byte after the number of tensors: 1 for a second moment, 2 for an average, 3 for both.
const MAGIC_WITH_MORE: &[u8; 8] = b"SERTRN\x00\x02";

impl TrainerState {
    /// Weights that are evaluated and exported: the averaged ones, where a recipe averages and there was a step.
    pub fn evaluated(&self) -> &Parameters {
        self.average.as_ref().filter(|_| self.iteration > 0).unwrap_or(&self.parameters)
    }

    /// The state as bytes, little-endian: magic and version, iteration `u64`, number of tensors `u32`; then for each
    /// tensor of the parameters and again of the velocity: length of name `u32`, name, number of dimensions `u32`,
    /// dimensions `u64`, values `f32`. Second moment and average follow in the same way, where there are any.
    pub fn to_bytes(&self) -> Vec<u8> {
        let more = u8::from(self.second_moment.is_some()) | u8::from(self.average.is_some()) << 1;
        let mut bytes = if more == 0 { MAGIC.to_vec() } else { MAGIC_WITH_MORE.to_vec() };
        bytes.extend(self.iteration.to_le_bytes());
        bytes.extend((self.parameters.tensors.len() as u32).to_le_bytes());
        bytes.extend((more > 0).then_some(more));
        let sets = [Some(&self.parameters), Some(&self.velocity), self.second_moment.as_ref(), self.average.as_ref()];
        for tensor in sets.into_iter().flatten().flat_map(|set| &set.tensors) {
            bytes.extend((tensor.name.len() as u32).to_le_bytes());
            bytes.extend(tensor.name.as_bytes());
            bytes.extend((tensor.shape.len() as u32).to_le_bytes());
            tensor.shape.iter().for_each(|&length| bytes.extend((length as u64).to_le_bytes()));
            tensor.values.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
        }
        bytes
    }

    /// Reads the bytes of [`TrainerState::to_bytes`] for a network `spec`; names, shapes and length must agree.
    pub fn from_bytes(spec: &NetworkSpec, bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader { bytes };
        let magic = reader.take(MAGIC.len())?;
        if magic != MAGIC && magic != MAGIC_WITH_MORE {
            return Err(Error::input("these bytes are no training state of this version"));
        }
        let iteration = reader.u64()?;
        let n_tensors = reader.u32()? as usize;
        let (mut parameters, mut velocity) = (Parameters::zeros(spec), Parameters::zeros(spec));
        if n_tensors != parameters.tensors.len() {
            let text = format!("training state has {n_tensors} tensors, the network {}", parameters.tensors.len());
            return Err(Error::input(text));
        }
        let more = if magic == MAGIC_WITH_MORE { reader.take(1)?[0] } else { 0 };
        let mut second_moment = (more & 1 > 0).then(|| Parameters::zeros(spec));
        let mut average = (more & 2 > 0).then(|| Parameters::zeros(spec));
        let sets = [Some(&mut parameters), Some(&mut velocity), second_moment.as_mut(), average.as_mut()];
        for tensor in sets.into_iter().flatten().flat_map(|set| &mut set.tensors) {
            let n_bytes = reader.u32()? as usize;
            let same_name = reader.take(n_bytes)? == tensor.name.as_bytes();
            let mut same_shape = reader.u32()? as usize == tensor.shape.len();
            for &length in tensor.shape.iter().filter(|_| same_name && same_shape).collect::<Vec<_>>() {
                same_shape &= reader.u64()? == length as u64;
            }
            if !(same_name && same_shape) {
                return Err(Error::input("training state is of another network").at_place(tensor.name.clone()));
            }
            let values = reader.take(4 * tensor.values.len())?;
            for (value, bytes) in tensor.values.iter_mut().zip(values.as_chunks().0) {
                *value = f32::from_le_bytes(*bytes);
            }
        }
        if !reader.bytes.is_empty() {
            return Err(Error::input(format!("training state has {} bytes too many", reader.bytes.len())));
        }
        Ok(Self { parameters, velocity, second_moment, average, iteration })
    }
}

/// Takes little-endian values off the front of a slice.
struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let Some((head, rest)) = self.bytes.split_at_checked(n) else {
            return Err(Error::input(format!(
                "training state ends early: {n} more bytes expected, {} there",
                self.bytes.len()
            )));
        };
        self.bytes = rest;
        Ok(head)
    }

    fn u32(&mut self) -> Result<u32> {
        let mut value = [0; 4];
        value.copy_from_slice(self.take(4)?);
        Ok(u32::from_le_bytes(value))
    }

    fn u64(&mut self) -> Result<u64> {
        let mut value = [0; 8];
        value.copy_from_slice(self.take(8)?);
        Ok(u64::from_le_bytes(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::initialise::initialise;
    use crate::units::Seed;

    fn small() -> (NetworkSpec, TrainerState) {
        let spec = NetworkSpec { lstm_units: 3, ..NetworkSpec::paper(128, 508) };
        let (parameters, velocity) = (initialise(&spec, Seed(1)), initialise(&spec, Seed(2)));
        (spec, TrainerState { parameters, velocity, second_moment: None, average: None, iteration: 41 })
    }

    /// The four kinds of state.
    fn kinds() -> Vec<(NetworkSpec, TrainerState)> {
        let (spec, state) = small();
        let one = |seed| Some(initialise(&spec, Seed(seed)));
        let kinds = [(None, None), (one(3), None), (None, one(4)), (one(3), one(4))];
        let state = |(second_moment, average)| TrainerState { second_moment, average, ..state.clone() };
        kinds.map(|kind| (spec.clone(), state(kind))).to_vec()
    }

    #[test]
    fn bytes_hold_the_whole_state() {
        for (spec, state) in kinds() {
            assert_eq!(TrainerState::from_bytes(&spec, &state.to_bytes()).expect("own bytes"), state);
        }
    }

    #[test]
    fn weights_and_velocity_alone_have_the_bytes_of_older_releases() {
        let (spec, state) = small();
        let bytes = state.to_bytes();
        let n_values: usize = 2 * state.parameters.count();
        assert_eq!(&bytes[..8], b"SERTRN\x00\x01");
        let n_named: usize = state.parameters.tensors.iter().map(|t| 8 + t.name.len() + 8 * t.shape.len()).sum();
        assert_eq!(bytes.len(), 20 + 2 * n_named + 4 * n_values, "{spec:?}");
    }

    #[test]
    fn cut_longer_foreign_or_other_networks_bytes_are_refused() {
        kinds().into_iter().for_each(|(spec, state)| refuses_all_but_its_own(spec, &state.to_bytes()));
    }

    fn refuses_all_but_its_own(spec: NetworkSpec, bytes: &[u8]) {
        for length in [0, 7, 8, 19, 20, 30, bytes.len() / 2, bytes.len() - 1] {
            assert!(TrainerState::from_bytes(&spec, &bytes[..length]).is_err(), "{length} bytes were accepted");
        }
        let mut longer = bytes.to_vec();
        longer.push(0);
        assert!(TrainerState::from_bytes(&spec, &longer).is_err());
        let mut version = bytes.to_vec();
        version[7] = 3 - version[7];
        assert!(TrainerState::from_bytes(&spec, &version).is_err(), "another layout");
        version[7] = 3;
        assert!(TrainerState::from_bytes(&spec, &version).is_err());
        let other = NetworkSpec { lstm_units: 4, ..spec };
        assert!(TrainerState::from_bytes(&other, bytes).is_err());
    }
}
