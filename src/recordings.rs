//! The one door to recordings: a file's bytes and their hash, within a limit of memory, or why there are none.
//!
//! The kind of an error says whose it is. `Recording`: a property of the file, such as a pipe or more than the limit; it stays
//! until somebody changes the file. `Unreadable`: the machine failed at this file, or may not read it, or it is gone; the next
//! time may do better. `Machine`: the process ran out of something, and no file is to blame.

use std::io;
use std::path::Path;

use crate::audio::head::{HEAD_BYTES, check_head};
use crate::audio::{Budget, KEPT_SAMPLES};
use crate::error::{Error, ErrorKind, Result};
use crate::files;

/// Fills `bytes` with the file (what was there is lost), and gives their BLAKE3 hash.
///
/// The beginning is looked at first, so that what no decoder could take and what would not fit costs nothing.
/// Errors: see the module; they name no path. Proof: `what_cannot_be_a_recording_is_not_read`.
pub fn read(file: &Path, budget: Budget, bytes: &mut Vec<u8>) -> Result<blake3::Hash> {
    attempt(file, budget, bytes).map_err(not_read)?
}

/// [`read`] of a file that the user named: one that is missing, forbidden or no file is kind `Input`.
pub fn read_named(file: &Path, budget: Budget, bytes: &mut Vec<u8>) -> Result<blake3::Hash> {
    let not_read = |error| Error::reading_named(ErrorKind::Input, "cannot read recording", error);
    attempt(file, budget, bytes).map_err(not_read)?
}

/// The outer error is the system's, the inner one of what was found.
fn attempt(file: &Path, budget: Budget, bytes: &mut Vec<u8>) -> io::Result<Result<blake3::Hash>> {
    bytes.truncate(size_of::<f32>() * KEPT_SAMPLES);
    bytes.shrink_to(size_of::<f32>() * KEPT_SAMPLES);
    let look = |head: &[u8], size| check_head(head, size, budget);
    let read = files::read_looking(file, budget.limit().0, HEAD_BYTES, bytes, look)?;
    Ok(read.map(|()| blake3::hash(bytes)))
}

/// [`read`] of a recording that must still be what it was at ingest: `content_hash` is 64 hex digits.
///
/// Errors: those of [`read`]; kind `Recording` where it has other content now.
pub fn read_known(file: &Path, content_hash: &str, budget: Budget, bytes: &mut Vec<u8>) -> Result<()> {
    if read(file, budget, bytes)?.to_hex().as_str() == content_hash {
        return Ok(());
    }
    Err(Error::recording("changed since ingest: run ingest again"))
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
    use crate::units::{Bytes, SampleRate};

    fn budget(limit: u64) -> Budget {
        Budget::new(Bytes(limit), SampleRate(16_000))
    }

    fn refused(file: &Path, limit: u64) -> (ErrorKind, String) {
        let error = read(file, budget(limit), &mut vec![1; 9]).expect_err("refused");
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
        let mut bytes = Vec::new();
        let named =
            |name: &str| read_named(&path(name), budget(1 << 28), &mut Vec::new()).map_err(|error| error.kind());
        assert_eq!((named("gone.wav"), named("pipe.wav")), (Err(ErrorKind::Input), Err(ErrorKind::Input)));
        assert_eq!(named("sparse.wav"), Err(ErrorKind::Recording));
        let error = read(&path("sparse.wav"), budget(1 << 28), &mut bytes).expect_err("zeros");
        assert_eq!(
            (error.kind(), error.reason().as_str()),
            (ErrorKind::Recording, "not a recording in a known format")
        );
        assert!(bytes.capacity() < 1 << 20, "{} bytes", bytes.capacity());

        assert_eq!(refused(&path("pipe.wav"), 1 << 20), (ErrorKind::Recording, "is a pipe, not a file".into()));
        assert_eq!(refused(folder.path(), 1 << 20), (ErrorKind::Recording, "is a folder, not a file".into()));
        assert_eq!(refused(&path("gone.wav"), 1 << 20).0, ErrorKind::Unreadable);
        assert_eq!(refused(&path(&"x".repeat(300)), 1 << 20).0, ErrorKind::Recording);
    }

    #[test]
    fn a_recording_is_read_whole_or_refused_with_need_and_limit() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let (file, mut bytes) = (folder.path().join("a.wav"), vec![1; 9]);
        for n_samples in [10, 200_000] {
            let wav = write_wav(&vec![0.5; n_samples], SampleRate(16_000)).expect("a file");
            std::fs::write(&file, &wav).expect("written");
            let hash = read(&file, budget(1 << 28), &mut bytes).expect("read");
            assert!(bytes == wav && hash == blake3::hash(&wav));
            read_known(&file, &hash.to_hex(), budget(1 << 28), &mut bytes).expect("the same");
            let error = read_known(&file, "00", budget(1 << 28), &mut bytes).expect_err("other content");
            assert_eq!(error.reason(), "changed since ingest: run ingest again");
        }
        let (kind, reason) = refused(&file, 1_000_000);
        assert_eq!(kind, ErrorKind::Recording);
        assert!(reason.contains("needs 2.0 MB of memory, the limit is 1.0 MB"), "{reason}");
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
