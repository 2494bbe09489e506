//! [`Scratch`]: rows of bytes that are made column by column: in memory, or in a file without a name where they are
//! many. Knows nothing of what they are.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// More bytes than these are kept in a file.
const MAX_HELD: u64 = 256 << 20;

pub(crate) enum Scratch {
    Held(Vec<u8>),
    File(File),
}

impl Scratch {
    /// Room for `len` bytes.
    pub(crate) fn new(len: u64) -> io::Result<Scratch> {
        match usize::try_from(len) {
            Ok(held) if len <= MAX_HELD => Ok(Scratch::Held(vec![0; held])),
            _ => Ok(Scratch::File(tempfile::tempfile()?)),
        }
    }

    pub(crate) fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        match self {
            Scratch::Held(held) => {
                let from = usize::try_from(offset).ok().and_then(|offset| held.get_mut(offset..));
                let to = from.and_then(|from| from.get_mut(..bytes.len()));
                to.ok_or(io::ErrorKind::WriteZero)?.copy_from_slice(bytes);
                Ok(())
            }
            Scratch::File(file) => file.write_all_at(bytes, offset),
        }
    }

    pub(crate) fn fill_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            Scratch::Held(held) => container::ReadAt::fill_at(held, buffer, offset),
            Scratch::File(file) => FileExt::read_exact_at(file, buffer, offset),
        }
    }
}
