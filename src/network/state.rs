//! Everything a training run needs to go on exactly where it stopped, and its bytes.

use crate::error::{Error, Result};
use crate::network::parameters::Parameters;
use crate::network::spec::NetworkSpec;

/// Weights, momentum and step count. Restoring it and going on gives the same bytes as never having stopped.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainerState {
    pub parameters: Parameters,
    /// Momentum of every tensor; zero for those that are not trained.
    pub velocity: Parameters,
    /// Steps taken.
    pub iteration: u64,
}

/// First bytes of a serialised state; the last digit is the version of the layout.
const MAGIC: &[u8; 8] = b"SERTRN\x00\x01";

impl TrainerState {
    /// The state as bytes, little-endian: magic and version, iteration `u64`, number of tensors `u32`; then for each
    /// tensor of the parameters and again of the velocity: length of name `u32`, name, number of dimensions `u32`,
    /// dimensions `u64`, values `f32`.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.iteration.to_le_bytes());
        bytes.extend((self.parameters.tensors.len() as u32).to_le_bytes());
        for tensor in self.parameters.tensors.iter().chain(&self.velocity.tensors) {
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
        if reader.take(MAGIC.len())? != MAGIC {
            return Err(Error::input("these bytes are no training state of this version"));
        }
        let iteration = reader.u64()?;
        let n_tensors = reader.u32()? as usize;
        let (mut parameters, mut velocity) = (Parameters::zeros(spec), Parameters::zeros(spec));
        if n_tensors != parameters.tensors.len() {
            let text = format!("training state has {n_tensors} tensors, the network {}", parameters.tensors.len());
            return Err(Error::input(text));
        }
        for tensor in parameters.tensors.iter_mut().chain(&mut velocity.tensors) {
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
        Ok(Self { parameters, velocity, iteration })
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
        (spec, TrainerState { parameters, velocity, iteration: 41 })
    }

    #[test]
    fn bytes_hold_the_whole_state() {
        let (spec, state) = small();
        assert_eq!(TrainerState::from_bytes(&spec, &state.to_bytes()).expect("own bytes"), state);
    }

    #[test]
    fn cut_longer_foreign_or_other_networks_bytes_are_refused() {
        let (spec, state) = small();
        let bytes = state.to_bytes();
        for length in [0, 7, 8, 19, 20, 30, bytes.len() / 2, bytes.len() - 1] {
            assert!(TrainerState::from_bytes(&spec, &bytes[..length]).is_err(), "{length} bytes were accepted");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(TrainerState::from_bytes(&spec, &longer).is_err());
        let mut version = bytes.clone();
        version[7] = 2;
        assert!(TrainerState::from_bytes(&spec, &version).is_err());
        let other = NetworkSpec { lstm_units: 4, ..spec };
        assert!(TrainerState::from_bytes(&other, &bytes).is_err());
    }
}
