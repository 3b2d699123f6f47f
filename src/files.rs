//! The one door to files that others made: only regular files are read, at most as much as was asked for, and a call that
//! failed once is tried once more before anybody is told.
//!
//! A pipe would hold a reader for ever, and an error of a moment must not become a fact.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

/// Opens a regular file for reading; never waits for the other end of a pipe.
///
/// Errors: those of the system; kind `InvalidInput` for what is no regular file, with a text that says what it is.
pub fn open(path: &Path) -> io::Result<File> {
    again(|| {
        // `O_NONBLOCK` changes nothing for regular files, and lets a pipe be opened so that it can be told apart.
        #[allow(clippy::disallowed_types)]
        let file = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        let kind = file.metadata()?.file_type();
        if kind.is_file() { Ok(file) } else { Err(io::Error::new(io::ErrorKind::InvalidInput, not_a_file(kind))) }
    })
}

/// All bytes of a regular file of at most `limit` bytes.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    read_into(path, limit, &mut bytes).map(|()| bytes)
}

/// [`read`] into memory that is used again; what was there is lost.
///
/// Errors: those of [`open`] and of reading; kind `FileTooLarge` beyond `limit`, with size and limit in its text. The file is
/// then not read.
pub fn read_into(path: &Path, limit: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
    again(|| {
        bytes.clear();
        let file = open(path)?;
        let size = file.metadata()?.len();
        if size > limit {
            let what = format!("{size} bytes, the limit is {limit}");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
        }
        bytes.reserve(usize::try_from(size).unwrap_or(0) + 1);
        // A file that grows meanwhile is cut at the limit; whoever knows its hash will notice.
        file.take(limit).read_to_end(bytes).map(|_| ())
    })
}

/// Text of a regular file of at most `limit` bytes; text that is not UTF-8 is of kind `InvalidData`.
pub fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    let not_text = |_| io::Error::new(io::ErrorKind::InvalidData, "is not UTF-8 text");
    String::from_utf8(read(path, limit)?).map_err(not_text)
}

/// What an entry of a folder is, when it is no regular file.
pub fn not_a_file(kind: std::fs::FileType) -> &'static str {
    match kind {
        kind if kind.is_dir() => "is a folder, not a file",
        kind if kind.is_fifo() => "is a pipe, not a file",
        kind if kind.is_socket() => "is a socket, not a file",
        kind if kind.is_char_device() || kind.is_block_device() => "is a device, not a file",
        _ => "is no regular file",
    }
}

/// Whether a name from outside may become part of a path: 1 to 80 letters, digits, `-` and `_`.
pub fn is_plain_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=80).contains(&name.len()) && name.bytes().all(is_plain)
}

/// Tries once more what the machine failed at; what a second try cannot change is told at once.
pub fn again<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    match attempt() {
        Err(error) if is_of_the_machine(&error) => attempt(),
        outcome => outcome,
    }
}

/// Whether the machine failed, rather than the file being missing, forbidden, too large or of another type.
pub fn is_of_the_machine(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    let told = [Kind::NotFound, Kind::PermissionDenied, Kind::InvalidInput, Kind::FileTooLarge, Kind::InvalidData];
    !told.contains(&error.kind()) && !is_of_the_path(error)
}

/// Whether the system says that the path itself is at fault: too long, a loop of links, a folder in place of a file.
pub fn is_of_the_path(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENAMETOOLONG | libc::ELOOP | libc::ENOTDIR | libc::EISDIR | libc::EINVAL))
}

/// Whether this process or the whole machine ran out of something: then no file can be blamed.
pub fn is_of_the_process(error: &io::Error) -> bool {
    let out_of = [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOSPC, libc::EDQUOT];
    error.kind() == io::ErrorKind::OutOfMemory || error.raw_os_error().is_some_and(|code| out_of.contains(&code))
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_are_read_and_no_more_than_the_limit() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let file = folder.path().join("a");
        std::fs::write(&file, b"12345").expect("written");
        assert_eq!(read(&file, 5).expect("read"), b"12345");
        assert_eq!(read(&file, 4).expect_err("too long").kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(open(folder.path()).expect_err("a folder").kind(), io::ErrorKind::InvalidInput);
        assert_eq!(open(&folder.path().join("b")).expect_err("nothing").kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_pipe_is_told_and_not_waited_for() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let pipe = folder.path().join("pipe.wav");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs");
        assert!(made.success());
        let error = read(&pipe, 10).expect_err("no file");
        assert!(error.to_string().contains("is a pipe"), "{error}");
    }

    #[test]
    fn a_failure_of_a_moment_is_tried_again_and_a_fact_is_not() {
        let (mut n, eio) = (0, || io::Error::from_raw_os_error(libc::EIO));
        let once = again(|| {
            n += 1;
            if n == 1 { Err(eio()) } else { Ok(n) }
        });
        assert_eq!(once.expect("the second time"), 2);
        let mut n = 0;
        let gone = again(|| {
            n += 1;
            Err::<(), _>(io::Error::from(io::ErrorKind::NotFound))
        });
        assert!(gone.is_err() && n == 1);
    }
}
