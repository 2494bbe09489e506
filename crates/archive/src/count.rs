//! Counting what would be written: tar wants a length before the bytes, and what is long is written
//! twice rather than held in memory. Knows nothing of what the bytes are.

use std::io::{self, Write};

/// Counts what it is given, and forgets it.
pub(crate) struct Counter(u64);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How many bytes `write` writes.
pub(crate) fn length(write: impl FnOnce(&mut Counter) -> io::Result<()>) -> io::Result<u64> {
    let mut counter = Counter(0);
    write(&mut counter)?;
    Ok(counter.0)
}
