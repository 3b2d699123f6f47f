//! The hash of a model file inside the file: one bit of a weight is enough for another answer, and no shape shows it.
//!
//! The metadata entry [`KEY`] holds the BLAKE3 of the whole file, written with 64 zeros in its place.

use crate::error::{Error, Result};

/// Key of the metadata entry.
pub const KEY: &str = "sermill.blake3";
/// What stands in its place while the file is hashed.
pub const BLANK: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Seals a file that was written with [`BLANK`].
pub fn write(model: &mut [u8]) -> Result<()> {
    let place = place_of(model).ok_or_else(|| Error::bug("a model file without a place for its hash"))?;
    let seal = hash_of(model, place).to_hex();
    model[place..place + BLANK.len()].copy_from_slice(seal.as_bytes());
    Ok(())
}

/// Refuses a file whose bytes are not those that were sealed.
///
/// Errors: kind `Input`. Proof: `one_bit_of_a_model_file_is_noticed`.
pub fn check(model: &[u8]) -> Result<()> {
    let sealed = place_of(model)
        .is_some_and(|place| hash_of(model, place).to_hex().as_bytes() == &model[place..place + BLANK.len()]);
    if sealed {
        return Ok(());
    }
    Err(Error::input("the model file is damaged: its bytes are not those that `sermill train` wrote").hint(
        "take it from where it came again; a file that was changed on purpose needs `sermill.format` 2 and no `sermill.blake3` \
         in its metadata",
    ))
}

/// Where the hash begins; `None` when the entry is missing, stands there twice or has another length.
fn place_of(model: &[u8]) -> Option<usize> {
    // Key, then the value's tag and length, as an entry of the metadata is encoded.
    let head = [KEY.as_bytes(), &[0x12, BLANK.len() as u8]].concat();
    let mut places = (0..model.len().saturating_sub(head.len() + BLANK.len() - 1))
        .filter(|&at| model[at] == head[0] && model[at..].starts_with(&head));
    let place = places.next()? + head.len();
    places.next().is_none().then_some(place)
}

fn hash_of(model: &[u8], place: usize) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&model[..place]).update(BLANK.as_bytes()).update(&model[place + BLANK.len()..]);
    hasher.finalize()
}
