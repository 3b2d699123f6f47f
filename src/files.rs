//! The one door to files that others made: only regular files are read, at most as much as was asked for, and a call that
//! failed once is tried once more before anybody is told.
//!
//! A pipe would hold a reader for ever, and an error of a moment must not become a fact. Their names are bytes, tables hold
//! text: [`text_of`] and [`path_of`] lead from one to the other and back.

use std::ffi::OsString;
use std::fmt::Write;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

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
    let within = |_: &[u8], size| {
        if size <= limit {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("{size} bytes, the limit is {limit}")))
    };
    read_looking(path, limit, 0, bytes, within)?
}

/// [`read_into`] that looks first: `look` gets up to `n_head` bytes of the beginning and the size of the file, and says whether
/// the rest is wanted. Its own error is the inner one.
pub fn read_looking<E>(
    path: &Path,
    limit: u64,
    n_head: u64,
    bytes: &mut Vec<u8>,
    look: impl Fn(&[u8], u64) -> Result<(), E>,
) -> io::Result<Result<(), E>> {
    again(|| {
        let mut file = open(path)?;
        let size = file.metadata()?.len();
        let head = fill(bytes, 0, &mut file, size.min(n_head))?;
        if let Err(unwanted) = look(&bytes[..head], size) {
            return Ok(Err(unwanted));
        }
        // What a file grows by meanwhile is left; whoever knows its hash will notice. Some systems give no sizes.
        let rest = if size == 0 { 0 } else { size.min(limit).saturating_sub(head as u64) };
        let length = fill(bytes, head, &mut file, rest)?;
        bytes.truncate(length);
        if size == 0 {
            file.take(limit).read_to_end(bytes)?;
        }
        Ok(Ok(()))
    })
}

/// Reads up to `n` bytes of `file` to where `at` is in `bytes`; gives where they end. What stood there is written over, so that
/// memory that is used again is not cleared first.
fn fill(bytes: &mut Vec<u8>, at: usize, file: &mut File, n: u64) -> io::Result<usize> {
    let end = usize::try_from(n).ok().and_then(|n| at.checked_add(n)).ok_or(io::ErrorKind::OutOfMemory)?;
    if bytes.len() < end {
        bytes.try_reserve_exact(end - bytes.len()).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        bytes.resize(end, 0);
    }
    let mut at = at;
    while at < end {
        match file.read(&mut bytes[at..end]) {
            Ok(0) => break,
            Ok(n) => at += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(at)
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

/// The name of a file as text; two names never become the same text, and [`path_of`] leads back.
///
/// A byte that is not UTF-8 becomes `\xHH`. A backslash is a character like others, but where it would read as such a byte it
/// becomes `\x5c`. Proof: `every_name_has_a_text_of_its_own_that_leads_back`.
pub fn text_of(path: &Path) -> String {
    let mut text = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        let valid = chunk.valid();
        for (at, letter) in valid.char_indices() {
            if letter == '\\' && escaped_byte(&valid.as_bytes()[at..]).is_some() {
                text.push_str("\\x5c");
            } else {
                text.push(letter);
            }
        }
        for byte in chunk.invalid() {
            // Writing into a string cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// The file that a text of [`text_of`] names; text without `\xHH` is the name itself.
pub fn path_of(text: &str) -> PathBuf {
    let mut rest = text.as_bytes();
    let mut bytes = Vec::with_capacity(rest.len());
    while let Some((&first, behind)) = rest.split_first() {
        match escaped_byte(rest) {
            Some(byte) => {
                bytes.push(byte);
                rest = &rest[4..];
            }
            None => {
                bytes.push(first);
                rest = behind;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// The byte that a leading `\xHH` stands for.
fn escaped_byte(bytes: &[u8]) -> Option<u8> {
    let &[b'\\', b'x', high, low] = bytes.first_chunk()? else { return None };
    let digit = |letter: u8| char::from(letter).to_digit(16);
    u8::try_from(16 * digit(high)? + digit(low)?).ok()
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

/// Whether nothing that could be read has this name: it is not there, or is no regular file.
pub fn is_nothing(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    let is_no_file = error.kind() == Kind::InvalidInput && error.raw_os_error().is_none();
    is_no_file || matches!(error.kind(), Kind::NotFound | Kind::NotADirectory)
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
    fn every_name_has_a_text_of_its_own_that_leads_back() {
        let by_hand: [(&[u8], &str); 6] = [
            (b"a/b \xc3\xa4.wav", "a/b \u{e4}.wav"),
            (b"a\\b.wav", "a\\b.wav"),
            (b"caf\xe9.wav", "caf\\xe9.wav"),
            (b"caf\\xe9.wav", "caf\\x5cxe9.wav"),
            (b"\\\xff", "\\\\xff"),
            (b"\\x5\xff", "\\x5\\xff"),
        ];
        for (bytes, text) in by_hand {
            let path = PathBuf::from(OsString::from_vec(bytes.to_vec()));
            assert_eq!((text_of(&path).as_str(), path_of(text)), (text, path));
        }
        // All names of up to seven of these bytes: backslashes, what may follow one, and halves of a letter.
        let alphabet = [b'\\', b'x', b'5', b'C', 0xC3, 0xA4];
        let (mut names, mut texts) = (vec![Vec::new()], std::collections::HashSet::new());
        for _ in 0..7 {
            let longer = |name: &Vec<u8>| alphabet.map(|byte| [name.as_slice(), &[byte]].concat());
            names = names.iter().flat_map(longer).collect();
            for name in &names {
                let path = PathBuf::from(OsString::from_vec(name.clone()));
                let text = text_of(&path);
                assert_eq!(path_of(&text), path, "{text}");
                assert!(texts.insert(text));
            }
        }
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
