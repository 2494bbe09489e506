//! The bytes of a new file: poured into it, hashed on the way, with holes where they are zero. Knows nothing of where it goes.

use std::fs::File;
use std::io::{self, Read, Write};

use rsync_core::Digest;

use crate::system::System;
use crate::writeback::Writeback;

/// Bytes moved at once. A stretch of this length that is all zero becomes a hole.
pub(crate) const BUFFER_LEN: usize = 128 << 10;

/// Copies all of `body`; gives its length and digest.
pub(crate) fn pour(
    mut body: impl Read,
    out: &mut impl Write,
    buffer: &mut [u8],
) -> io::Result<(u64, Digest)> {
    let mut hasher = blake3::Hasher::new();
    let mut len = 0;
    loop {
        let got = fill_buffer(&mut body, buffer)?;
        let part = buffer.get(..got).unwrap_or_default();
        hasher.update(part);
        out.write_all(part)?;
        len += got as u64;
        if got < buffer.len() {
            return Ok((len, Digest(hasher.finalize().into())));
        }
    }
}

/// Reads until `buffer` is full or there is no more.
fn fill_buffer(body: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while let Some(rest) = buffer.get_mut(got..).filter(|rest| !rest.is_empty()) {
        match body.read(rest) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

/// Writes a file from its start and leaves holes where long stretches are zero.
pub(crate) struct Holes<'f> {
    sys: &'f dyn System,
    writeback: &'f Writeback,
    file: &'f File,
    at: u64,
    /// The end of what was written last.
    end: u64,
}

impl<'f> Holes<'f> {
    pub(crate) fn new(sys: &'f dyn System, writeback: &'f Writeback, file: &'f File) -> Holes<'f> {
        Holes { sys, writeback, file, at: 0, end: 0 }
    }

    /// Gives the file its length: a hole at the end has none by itself.
    pub(crate) fn finish(self) -> io::Result<()> {
        if self.end < self.at { self.sys.set_len(self.file, self.at) } else { Ok(()) }
    }
}

impl Write for Holes<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() < BUFFER_LEN / 2 || bytes.iter().any(|&byte| byte != 0) {
            self.sys.write(self.file, bytes, self.at)?;
            self.end = self.at + bytes.len() as u64;
            self.writeback.wrote(bytes.len() as u64);
        }
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
