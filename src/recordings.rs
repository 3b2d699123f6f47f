//! The one door to recordings: from a path to bytes and their hash, to mono samples, to what is heard in them.
//!
//! read -> decode -> (cut out a part) -> is anything heard. Whoever wants a recording goes this way, so that every command
//! rejects the same ones with the same words.
//!
//! The kind of an error says whose it is. `Recording`: a property of the file, such as a pipe or more than the limit; it stays
//! until somebody changes the file. `Unreadable`: the machine failed at this file, or may not read it, or it is gone; the next
//! time may do better. `Machine`: the process ran out of something, and no file is to blame.

use std::io;
use std::path::Path;

use crate::audio::head::{HEAD_BYTES, check_head};
use crate::audio::{self, Budget, Channel, Decoded, KEPT_SAMPLES, Levels, Part};
use crate::error::{Error, ErrorKind, Result};
use crate::files;
use crate::units::SampleRate;

/// What all recordings of a run are opened with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reader {
    /// What becomes mono.
    pub channel: Channel,
    /// Memory that one recording may take.
    pub budget: Budget,
}

/// Bytes and samples of the recording that a thread is at; first use of fresh memory would cost more than the decoding.
#[derive(Default)]
pub struct Buffers {
    bytes: Vec<u8>,
    /// Of `bytes`, 64 hex digits.
    content_hash: String,
    samples: Vec<f32>,
}

/// A recording that was decoded, borrowed from the buffers: what can be said of it, whether anything is heard or not.
pub struct Opened<'a> {
    /// What the file is.
    pub decoded: Decoded,
    content_hash: &'a str,
    part: Option<Part>,
    samples: &'a [f32],
}

/// A recording, or a part of one, in which something is heard: what spectrograms are made of.
pub struct Recording<'a>(Opened<'a>);

impl Reader {
    /// Fills `buffers` with the file (what was there is lost), and gives the BLAKE3 hash of its bytes.
    ///
    /// The beginning is looked at first, so that what no decoder could take and what would not fit costs nothing.
    /// Errors: see the module; they name no path. Proof: `what_cannot_be_a_recording_is_not_read`.
    pub fn read(&self, file: &Path, buffers: &mut Buffers) -> Result<blake3::Hash> {
        self.attempt(file, buffers).map_err(not_read)?
    }

    /// [`Self::read`] of a file that the user named: one that is missing, forbidden or no file is kind `Input`.
    pub fn read_named(&self, file: &Path, buffers: &mut Buffers) -> Result<blake3::Hash> {
        let not_read = |error| Error::reading_named(ErrorKind::Input, "cannot read recording", error);
        self.attempt(file, buffers).map_err(not_read)?
    }

    /// [`Self::read`] of a recording that must still be what it was at ingest: `content_hash` is 64 hex digits.
    ///
    /// Errors: those of [`Self::read`]; kind `Recording` where it has other content now.
    pub fn read_known(&self, file: &Path, content_hash: &str, buffers: &mut Buffers) -> Result<()> {
        self.read(file, buffers)?;
        if buffers.content_hash == content_hash {
            return Ok(());
        }
        Err(Error::recording("changed since ingest: run ingest again"))
    }

    /// Decodes what was read, and cuts out `part` of it; `None` is the whole.
    ///
    /// Errors: those of [`audio::decode_within`] and of [`Part::of`].
    pub fn decode<'a>(&self, part: Option<Part>, buffers: &'a mut Buffers) -> Result<Opened<'a>> {
        let Buffers { bytes, content_hash, samples } = buffers;
        let decoded = audio::decode_within(bytes, self.channel, self.budget, samples)?;
        let samples = match part {
            Some(part) => part.of(samples, decoded.sample_rate)?,
            None => samples,
        };
        Ok(Opened { decoded, content_hash, part, samples })
    }

    /// The outer error is the system's, the inner one of what was found.
    fn attempt(&self, file: &Path, buffers: &mut Buffers) -> io::Result<Result<blake3::Hash>> {
        buffers.give_back();
        let look = |head: &[u8], size| check_head(head, size, self.budget);
        let read = files::read_looking(file, self.budget.limit().0, HEAD_BYTES, &mut buffers.bytes, look)?;
        Ok(read.map(|()| buffers.hash()))
    }
}

impl Buffers {
    /// Buffers that hold the bytes of a recording as if they had been read.
    pub fn holding(bytes: Vec<u8>) -> Self {
        let mut buffers = Self { bytes, ..Self::default() };
        buffers.hash();
        buffers
    }

    /// The decoded samples alone, of the whole recording.
    pub fn into_samples(self) -> Vec<f32> {
        self.samples
    }

    /// Gives back what a long recording took beyond the usual, and the samples of the last one.
    fn give_back(&mut self) {
        const KEPT_BYTES: usize = size_of::<f32>() * KEPT_SAMPLES;
        self.bytes.truncate(KEPT_BYTES);
        self.bytes.shrink_to(KEPT_BYTES);
        self.content_hash.clear();
        self.samples.clear();
        self.samples.shrink_to(KEPT_SAMPLES);
    }

    fn hash(&mut self) -> blake3::Hash {
        let hash = blake3::hash(&self.bytes);
        self.content_hash.clear();
        self.content_hash.push_str(&hash.to_hex());
        hash
    }
}

impl<'a> Opened<'a> {
    /// Samples of the part, or of the whole.
    pub fn n_samples(&self) -> usize {
        self.samples.len()
    }

    /// How loud it is.
    pub fn levels(&self) -> Levels {
        audio::levels(self.samples, self.decoded.sample_rate)
    }

    /// The recording, if anything is heard in it.
    ///
    /// Errors: kind `Recording`, as [`audio::check_heard`].
    pub fn heard(self) -> Result<Recording<'a>> {
        audio::check_heard(self.samples)?;
        Ok(Recording(self))
    }
}

impl<'a> Recording<'a> {
    /// What the file is.
    pub fn decoded(&self) -> &Decoded {
        &self.0.decoded
    }

    /// Mono, finite, at [`Self::sample_rate`]; at least one.
    pub fn samples(&self) -> &'a [f32] {
        self.0.samples
    }

    /// The recording's own rate.
    pub fn sample_rate(&self) -> SampleRate {
        self.0.decoded.sample_rate
    }

    /// BLAKE3 of the file, 64 hex digits.
    pub fn content_hash(&self) -> &'a str {
        self.0.content_hash
    }

    /// How loud it is.
    pub fn levels(&self) -> Levels {
        self.0.levels()
    }

    /// What of the file it is; `None` for the whole.
    pub fn part(&self) -> Option<Part> {
        self.0.part
    }
}

/// What an error of the system says about a recording.
fn not_read(error: io::Error) -> Error {
    const WHAT: &str = "cannot be read";
    if error.kind() == io::ErrorKind::InvalidInput && error.raw_os_error().is_none() {
        return Error::recording(error.to_string());
    }
    if files::is_of_the_path(&error) { Error::recording(WHAT).because(error) } else { Error::reading(WHAT, error) }
}

/// Ends a run that could not read too many of its recordings to publish what is left: more than ten, and more than a tenth.
///
/// `first` is the place of one of them and why it could not be read.
pub fn check_unread(n_unread: usize, n_recordings: usize, first: Option<(&str, &str)>) -> Result<()> {
    if n_unread <= 10.max(n_recordings / 10) {
        return Ok(());
    }
    let (place, reason) = first.unwrap_or_default();
    let what = format!("{n_unread} of {n_recordings} recordings cannot be read; the first: {reason}");
    Err(Error::new(ErrorKind::Unreadable, what)
        .at_place(place)
        .hint("see whether the disk is there and may be read, then run the same command again; nothing was published"))
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;
    use crate::audio::write_wav;
    use crate::units::Bytes;

    fn reader(limit: u64) -> Reader {
        Reader { channel: Channel::Mix, budget: Budget::new(Bytes(limit), SampleRate(16_000)) }
    }

    fn refused(file: &Path, limit: u64) -> (ErrorKind, String) {
        let error = reader(limit).read(file, &mut Buffers::holding(vec![1; 9])).expect_err("refused");
        (error.kind(), error.reason())
    }

    #[test]
    fn what_cannot_be_a_recording_is_not_read() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = |name: &str| folder.path().join(name);
        let made = std::process::Command::new("mkfifo").arg(path("pipe.wav")).status().expect("mkfifo runs");
        assert!(made.success());
        let sparse = std::fs::File::create(path("sparse.wav")).expect("made");
        sparse.set_len(100_000_000_000).expect("a hole of 100 GB");
        let (reader, mut buffers) = (reader(1 << 28), Buffers::default());
        let named = |name: &str| reader.read_named(&path(name), &mut Buffers::default()).map_err(|error| error.kind());
        assert_eq!((named("gone.wav"), named("pipe.wav")), (Err(ErrorKind::Input), Err(ErrorKind::Input)));
        assert_eq!(named("sparse.wav"), Err(ErrorKind::Recording));
        let error = reader.read(&path("sparse.wav"), &mut buffers).expect_err("zeros");
        assert_eq!(
            (error.kind(), error.reason().as_str()),
            (ErrorKind::Recording, "not a recording in a known format")
        );
        assert!(buffers.bytes.capacity() < 1 << 20, "{} bytes", buffers.bytes.capacity());

        assert_eq!(refused(&path("pipe.wav"), 1 << 20), (ErrorKind::Recording, "is a pipe, not a file".into()));
        assert_eq!(refused(folder.path(), 1 << 20), (ErrorKind::Recording, "is a folder, not a file".into()));
        assert_eq!(refused(&path("gone.wav"), 1 << 20).0, ErrorKind::Unreadable);
        assert_eq!(refused(&path(&"x".repeat(300)), 1 << 20).0, ErrorKind::Recording);
    }

    #[test]
    fn a_recording_is_read_whole_or_refused_with_need_and_limit() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let (file, reader, mut buffers) = (folder.path().join("a.wav"), reader(1 << 28), Buffers::holding(vec![1; 9]));
        for n_samples in [10, 200_000] {
            let wav = write_wav(&vec![0.5; n_samples], SampleRate(16_000)).expect("a file");
            std::fs::write(&file, &wav).expect("written");
            let hash = reader.read(&file, &mut buffers).expect("read");
            assert!(buffers.bytes == wav && hash == blake3::hash(&wav));
            reader.read_known(&file, &hash.to_hex(), &mut buffers).expect("the same");
            let error = reader.read_known(&file, "00", &mut buffers).expect_err("other content");
            assert_eq!(error.reason(), "changed since ingest: run ingest again");
        }
        let (kind, reason) = refused(&file, 1_000_000);
        assert_eq!(kind, ErrorKind::Recording);
        assert!(reason.contains("needs 2.0 MB of memory, the limit is 1.0 MB"), "{reason}");
    }

    #[test]
    fn silence_is_judged_on_the_part_that_is_asked_for() {
        let wave: Vec<f32> = (0..32_000).map(|i| if i < 16_000 { 0.0 } else { 0.3 * (i as f32 * 0.1).sin() }).collect();
        let mut buffers = Buffers::holding(write_wav(&wave, SampleRate(16_000)).expect("a file"));
        let mut heard = |part: Option<(f64, f64)>| {
            let part = part.map(|(start_s, end_s)| Part { start_s, end_s });
            let opened = reader(1 << 28).decode(part, &mut buffers)?;
            let peak_dbfs = opened.levels().peak_dbfs;
            let recording = opened.heard()?;
            assert!(recording.part() == part && peak_dbfs > -20.0);
            Ok::<usize, Error>(recording.samples().len())
        };
        assert_eq!(heard(None).expect("the second half is heard"), 32_000);
        assert_eq!(heard(Some((1.0, 1.5))).expect("speech"), 8_000);
        let error = heard(Some((0.0, 1.0))).expect_err("silence");
        assert_eq!((error.kind(), error.reason().as_str()), (ErrorKind::Recording, "silent: its peak is -200.0 dBFS"));
        assert!(heard(Some((0.0, 3.0))).expect_err("too far").reason().contains("it is 2.000 s long"));
    }

    #[test]
    fn a_failing_machine_and_a_wrong_path_are_told_apart() {
        let kind = |code: i32| not_read(io::Error::from_raw_os_error(code)).kind();
        let of_the_file = [libc::EIO, libc::EACCES, libc::ENOENT, libc::ESTALE, libc::ETIMEDOUT];
        assert!(of_the_file.iter().all(|&code| kind(code) == ErrorKind::Unreadable));
        assert!([libc::EMFILE, libc::ENFILE, libc::ENOMEM].iter().all(|&code| kind(code) == ErrorKind::Machine));
        assert!([libc::ENAMETOOLONG, libc::ELOOP, libc::EISDIR].iter().all(|&code| kind(code) == ErrorKind::Recording));
    }

    #[test]
    fn a_few_unread_recordings_are_rows_and_many_end_the_run() {
        for (n_unread, n_recordings, ends) in
            [(0, 0, false), (10, 12, false), (11, 12, true), (50, 500, false), (51, 500, true)]
        {
            let outcome = check_unread(n_unread, n_recordings, Some(("a/b.wav", "cannot be read")));
            assert_eq!(outcome.is_err(), ends, "{n_unread} of {n_recordings}");
            if let Err(error) = outcome {
                assert_eq!(error.kind().exit_code(), 3);
                assert!(
                    error.to_string().starts_with(&format!("`a/b.wav`: {n_unread} of {n_recordings} rec")),
                    "{error}"
                );
            }
        }
    }
}
