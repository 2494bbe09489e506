//! [`File`]: what a parity is made of, and how its shards are read. Knows nothing of hashes and codes.

use std::fmt;
use std::io::{self, ErrorKind};

use container::ReadAt;

use crate::layout::Place;

/// A file that is to be protected.
#[derive(Clone, Copy)]
pub struct File<'a> {
    /// What the parity calls it; nothing where it is the file beside the parity.
    pub name: &'a str,
    /// Its bytes.
    pub source: &'a dyn ReadAt,
}

impl fmt::Debug for File<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<'a> File<'a> {
    /// The file that a parity lies beside.
    pub fn alone(source: &'a dyn ReadAt) -> File<'a> {
        File { name: "", source }
    }
}

/// Fills `buffer` with the bytes of a shard from `from` on, and with zeros from their end on.
pub(crate) fn read_shard(
    source: &dyn ReadAt,
    place: &Place,
    buffer: &mut [u8],
    from: u64,
) -> io::Result<()> {
    let there = place.len.saturating_sub(from).min(buffer.len() as u64) as usize;
    let (bytes, padding) = buffer.split_at_mut(there);
    padding.fill(0);
    match bytes.is_empty() {
        true => Ok(()),
        false => source.fill_at(bytes, place.offset + from),
    }
}

/// Whether an error says of a file that bytes of it cannot be read, as at its end or at a bad sector. Any other says
/// nothing of the file, so that it is not taken for damage.
pub(crate) fn is_loss(error: &io::Error) -> bool {
    /// The system's number for an input or output error, on every Unix.
    const EIO: i32 = 5;
    // What lies between, such as a cipher, may refuse damaged bytes.
    let kinds = [ErrorKind::UnexpectedEof, ErrorKind::InvalidData];
    kinds.contains(&error.kind()) || error.raw_os_error() == Some(EIO)
}
