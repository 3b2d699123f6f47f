//! A file that Parquet's reader reads by ranges, and that remembers why it could not be read.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

use crate::files;

/// One open file; copies read the same one. No call opens another, so that readers never run out of open files.
#[derive(Clone)]
pub(super) struct RangedFile {
    file: Arc<File>,
    n_bytes: u64,
    error: Arc<Mutex<Option<io::Error>>>,
}

impl RangedFile {
    pub(super) fn new(file: File) -> io::Result<Self> {
        let n_bytes = file.metadata()?.len();
        Ok(Self { file: Arc::new(file), n_bytes, error: Arc::default() })
    }

    /// The error of the system that the last read ended with, if there was one.
    pub(super) fn take_error(&self) -> Option<io::Error> {
        self.error.lock().expect("no panic while an error is kept").take()
    }

    fn read_at(&self, out: &mut [u8], at: u64) -> io::Result<usize> {
        files::again(|| self.file.read_at(out, at)).map_err(|error| {
            let told = io::Error::new(error.kind(), error.to_string());
            *self.error.lock().expect("no panic while an error is kept") = Some(error);
            told
        })
    }
}

impl Length for RangedFile {
    fn len(&self) -> u64 {
        self.n_bytes
    }
}

impl ChunkReader for RangedFile {
    type T = From;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(From { file: self.clone(), at: start })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        // A damaged footer may ask for anything.
        if start.checked_add(length as u64).is_none_or(|end| end > self.n_bytes) {
            return Err(ParquetError::EOF(format!("bytes {start} to {start} + {length} of {}", self.n_bytes)));
        }
        let mut bytes = vec![0; length];
        From { file: self.clone(), at: start }.read_exact(&mut bytes)?;
        Ok(bytes.into())
    }
}

/// Reads on from some byte.
pub(super) struct From {
    file: RangedFile,
    at: u64,
}

impl Read for From {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(out, self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}
