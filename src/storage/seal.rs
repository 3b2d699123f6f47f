//! JSON that holds its own hash, so that no change to it is believed.

use serde::Serialize;
use serde_json::Value;

use crate::error::{Error, Result};

/// The key of the hash.
const SEAL: &str = "blake3";

/// What a text says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seal {
    Sound,
    Broken,
    /// It has none.
    Missing,
}

/// A value as JSON, with its own hash in it.
pub fn sealed(value: &impl Serialize) -> Result<Vec<u8>> {
    let no_form = |error| Error::bug("a value has no JSON form").because(error);
    let mut value = serde_json::to_value(value).map_err(no_form)?;
    let seal = seal_of(&value)?;
    if let Some(object) = value.as_object_mut() {
        object.insert(SEAL.into(), seal.into());
    }
    serde_json::to_vec_pretty(&value).map_err(no_form)
}

/// Takes the hash out of a value that was read, and says whether it is that of the rest.
pub fn unseal(value: &mut Value) -> Result<Seal> {
    let Some(object) = value.as_object_mut() else { return Ok(Seal::Broken) };
    let Some(seal) = object.remove(SEAL) else { return Ok(Seal::Missing) };
    Ok(if seal.as_str() == Some(seal_of(value)?.as_str()) { Seal::Sound } else { Seal::Broken })
}

fn seal_of(value: &Value) -> Result<String> {
    let text = serde_json::to_vec(value).map_err(|error| Error::bug("a value has no JSON form").because(error))?;
    Ok(blake3::hash(&text).to_hex().to_string())
}
