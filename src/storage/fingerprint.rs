//! Names for content: two things with the same fingerprint were made from the same settings and inputs.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The first 128 bits of a BLAKE3 hash, as 32 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Hash of the parts; each part's length is hashed too, so `ab,c` and `a,bc` differ.
    pub fn of<P: AsRef<[u8]>>(parts: impl IntoIterator<Item = P>) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            let part = part.as_ref();
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Self(hasher.finalize().to_hex()[..32].to_string())
    }

    /// Hash of a value's JSON form; fields are in the order of their declaration.
    pub fn of_value(value: &impl Serialize) -> Self {
        let text = serde_json::to_string(value).expect("settings and rows have a JSON form");
        Self::of([text])
    }

    /// One that was written as text.
    pub fn from_text(text: &str) -> Self {
        Self(text.to_string())
    }

    /// The hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 12 digits: enough to name a folder.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<[u8]> for Fingerprint {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_one_part_ends_is_part_of_the_fingerprint() {
        assert_ne!(Fingerprint::of(["ab", "c"]), Fingerprint::of(["a", "bc"]));
        assert_eq!(Fingerprint::of(["ab"]), Fingerprint::of(["ab"]));
        assert_eq!(Fingerprint::of(["ab"]).as_str().len(), 32);
    }
}
