//! What the first bytes of a file tell: whether any decoder could take it, and whether it would fit.

use super::budget::Budget;
use super::wav;
use crate::error::{Error, Result};

/// As much of a file as is looked at before the rest is read.
pub const HEAD_BYTES: u64 = 64 << 10;
/// Files up to this size go to the decoders whatever their head is: those look for a recording behind other bytes too.
const READ_ANYWAY: u64 = 16 << 20;
/// Beginnings of containers, and where they stand.
const BEGINNINGS: [(usize, &[u8]); 16] = [
    (0, b"RIFF"),
    (0, b"RF64"),
    (0, b"BW64"),
    (0, b"riff"),
    (0, b"FORM"),
    (0, b"caff"),
    (0, b"fLaC"),
    (0, b"OggS"),
    (0, b"ID3"),
    (0, b"\x1a\x45\xdf\xa3"),
    (4, b"ftyp"),
    (4, b"moov"),
    (4, b"mdat"),
    (4, b"free"),
    (4, b"skip"),
    (4, b"wide"),
];

/// Refuses, from the first [`HEAD_BYTES`] of a file of `size` bytes, what need not be read to be refused: a large file that no
/// decoder could take, and one that would not fit `budget`.
///
/// Errors: kind `Recording`, with the reason that reading it whole would have given.
pub fn check_head(head: &[u8], size: u64, budget: Budget) -> Result<()> {
    if size > READ_ANYWAY && !could_be_recording(head) {
        return Err(Error::recording("not a recording in a known format"));
    }
    let budget = budget.holding(size);
    wav::check_head(head, size, budget)?;
    if size > budget.limit().0 { Err(budget.exceeded("more than its own size in memory")) } else { Ok(()) }
}

/// Whether a decoder may find something: the beginning of a container, or anything like a frame of MPEG audio or AAC.
fn could_be_recording(head: &[u8]) -> bool {
    let begins = |&(at, name): &(usize, &[u8])| head.get(at..).is_some_and(|rest| rest.starts_with(name));
    BEGINNINGS.iter().any(begins) || head.windows(2).any(|pair| pair[0] == 0xFF && pair[1] & 0xE0 == 0xE0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{Bytes, SampleRate};

    fn budget(limit: u64) -> Budget {
        Budget::new(Bytes(limit), SampleRate(16_000))
    }

    /// The head of 16-bit mono at 16 kHz with so many bytes of data.
    fn wav_head(n_bytes: u32) -> Vec<u8> {
        let bytes = crate::audio::write_wav(&[0.5; 100], SampleRate(16_000)).expect("a file");
        [&bytes[..40], &n_bytes.to_le_bytes(), &bytes[44..]].concat()
    }

    #[test]
    fn every_sample_of_a_dialect_could_be_a_recording_and_zeros_could_not() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples");
        for entry in std::fs::read_dir(folder).expect("samples") {
            let path = entry.expect("entry").path();
            if crate::audio::looks_like_recording(&path) {
                let bytes = std::fs::read(&path).expect("a sample");
                check_head(&bytes, 100_000_000, budget(1 << 40)).unwrap_or_else(|error| panic!("{path:?}: {error}"));
            }
        }
        let zeros = [0; HEAD_BYTES as usize];
        let reason = |size| check_head(&zeros, size, budget(1 << 30)).map_err(|error| error.reason());
        assert_eq!(reason(100_000_000_000), Err("not a recording in a known format".into()));
        assert_eq!(reason(1_000_000), Ok(()), "the decoders look closer");
    }

    #[test]
    fn a_wav_that_does_not_fit_is_refused_from_its_head() {
        // Each of the frames takes 2 bytes in the file, 4 in memory, and 4 at the wanted rate.
        check_head(&wav_head(1_000_000), 1_000_044, budget(5_000_044)).expect("fits");
        let error = check_head(&wav_head(1_000_000), 1_000_044, budget(5_000_043)).expect_err("one byte too little");
        assert!(error.reason().starts_with("needs 5.0 MB of memory, the limit is 5.0 MB"), "{error}");
        // A length that nobody filled in is that of the file, one that is too long as well.
        for n_bytes in [0, 0xFFFF_FFFF, 0x7000_0000] {
            let size = 44 + 1_000_000;
            assert!(check_head(&wav_head(n_bytes), size, budget(4_900_000)).is_err(), "{n_bytes}");
            check_head(&wav_head(n_bytes), size, budget(5_100_000)).expect("fits");
        }
        let error = check_head(b"fLaC", 300, budget(299)).expect_err("larger than all of it");
        assert!(error.reason().contains("its own size"), "{error}");
    }
}
