//! Counting what is written: tar wants a length before the bytes, and what is long is written twice
//! rather than held in memory. Knows nothing of what the bytes are.

use std::io::{self, Write};

/// Passes everything on and counts it.
pub(crate) struct Counted<W> {
    out: W,
    count: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.out.write(bytes)?;
        self.count += len as u64;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// How many bytes `write` writes.
pub(crate) fn length<E>(
    write: impl FnOnce(&mut Counted<io::Sink>) -> Result<(), E>,
) -> Result<u64, E> {
    let mut counted = Counted { out: io::sink(), count: 0 };
    write(&mut counted)?;
    Ok(counted.count)
}

/// Lets `write` write to `out`, and whether that were exactly `len` bytes.
pub(crate) fn exactly<W: Write, E>(
    len: u64,
    out: W,
    write: impl FnOnce(&mut Counted<W>) -> Result<(), E>,
) -> Result<bool, E> {
    let mut counted = Counted { out, count: 0 };
    write(&mut counted)?;
    Ok(counted.count == len)
}
