//! Applying a delta to its base. Knows the commands and nothing of signatures.

use crate::command::{self, Command};
use crate::error::During;
use crate::{Digest, Error, Result};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};

/// Output is hashed and written in batches of this size.
const BATCH: usize = 1 << 20;
/// Hashing a batch from this size on is worth another thread.
const PARALLEL_FROM: usize = 128 << 10;

/// The result of a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patched {
    /// Bytes written.
    pub len: u64,
    /// Their digest.
    pub digest: Digest,
}

/// What can be wrong with a delta.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeltaFault {
    /// It does not begin with a delta's magic number.
    #[error("not a delta")]
    Magic,
    /// A command byte without a meaning.
    #[error("unknown command {0:#04x}")]
    UnknownCommand(u8),
    /// A literal or copy of no bytes.
    #[error("a command of length zero")]
    EmptyCommand,
    /// A copy that reaches over the base's end, as with the wrong base.
    #[error("copy of {len} bytes from {base}, but the base has {base_len}")]
    OutOfBase {
        /// Where the copy begins in the base.
        base: u64,
        /// Its length.
        len: u64,
        /// The base's length.
        base_len: u64,
    },
    /// The output would grow over the length that the caller allows.
    #[error("the output would grow over {max_len} bytes")]
    TooLong {
        /// What is allowed.
        max_len: u64,
    },
    /// It ends within a command or without an end command.
    #[error("it is cut off")]
    Truncated,
    /// Bytes after the end command.
    #[error("bytes follow its end")]
    Trailing,
}

/// Writes to `out` what `delta` makes of `base`: at most `max_len` bytes.
///
/// The length and digest of what was written come back; comparing them with what was promised is the caller's part, and must
/// not be left out: a delta does not say which base it belongs to.
///
/// # Errors
/// [`Error::Delta`] with the offset of the command at fault; what came before it has been written. [`Error::Io`].
pub fn patch(
    mut base: impl Read + Seek,
    delta: impl Read,
    out: impl Write,
    max_len: u64,
) -> Result<Patched> {
    let base_len = base.seek(SeekFrom::End(0)).during("measure the base")?;
    let mut delta = BufReader::with_capacity(64 << 10, delta);
    let mut out = Output {
        out,
        batch: vec![0; BATCH].into(),
        filled: 0,
        hasher: blake3::Hasher::new(),
        len: 0,
    };
    let mut base_at = base_len;
    let mut magic = [0; 4];
    delta.read_exact(&mut magic).or_else(|e| cut_off(e, 0))?;
    if magic != command::MAGIC {
        return fault(0, DeltaFault::Magic);
    }
    let mut offset = magic.len() as u64;
    loop {
        let (command, command_len) =
            match command::read(&mut delta).or_else(|e| cut_off(e, offset))? {
                Ok(command) => command,
                Err(byte) => return fault(offset, DeltaFault::UnknownCommand(byte)),
            };
        let (Command::Literal { len } | Command::Copy { len, .. }) = command else {
            break;
        };
        if len == 0 {
            return fault(offset, DeltaFault::EmptyCommand);
        }
        if len > max_len.saturating_sub(out.len) {
            return fault(offset, DeltaFault::TooLong { max_len });
        }
        let mut delta_len = command_len;
        if let Command::Copy { base: from, .. } = command {
            if from.checked_add(len).is_none_or(|end| end > base_len) {
                return fault(offset, DeltaFault::OutOfBase { base: from, len, base_len });
            }
            if base_at != from {
                base.seek(SeekFrom::Start(from)).during("read the base")?;
            }
            base_at = from + len;
            let copied = out.take_from(&mut base, len, "read the base")?;
            if copied < len {
                return Err(Error::Changed);
            }
        } else {
            if out.take_from(&mut delta, len, "read the delta")? < len {
                return fault(offset, DeltaFault::Truncated);
            }
            delta_len += len;
        }
        offset += delta_len;
    }
    if delta.read(&mut [0]).during("read the delta")? > 0 {
        return fault(offset + 1, DeltaFault::Trailing);
    }
    out.flush()?;
    Ok(Patched { len: out.len, digest: out.hasher.finalize().into() })
}

fn fault<T>(offset: u64, fault: DeltaFault) -> Result<T> {
    Err(Error::Delta { offset, fault })
}

fn cut_off<T>(error: io::Error, offset: u64) -> Result<T> {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return fault(offset, DeltaFault::Truncated);
    }
    Err(error).during("read the delta")
}

/// What is written, hashed on the way.
struct Output<O: Write> {
    out: O,
    batch: Box<[u8]>,
    /// How much of the batch is waiting to be written.
    filled: usize,
    hasher: blake3::Hasher,
    len: u64,
}

impl<O: Write> Output<O> {
    /// Passes `len` bytes on; fewer when `input` ends. Returns how many.
    fn take_from(
        &mut self,
        input: &mut impl Read,
        len: u64,
        operation: &'static str,
    ) -> Result<u64> {
        let mut left = len;
        while left > 0 {
            let free = &mut self.batch[self.filled..];
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(free.len());
            let got = match input.read(&mut free[..wanted]) {
                Ok(0) => break,
                Ok(got) => got,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e).during(operation),
            };
            self.filled += got;
            left -= got as u64;
            if self.filled == self.batch.len() {
                self.flush()?;
            }
        }
        self.len += len - left;
        Ok(len - left)
    }

    fn flush(&mut self) -> Result<()> {
        let Output { out, batch, filled, hasher, .. } = self;
        let bytes = &batch[..*filled];
        if bytes.len() < PARALLEL_FROM {
            hasher.update(bytes);
            out.write_all(bytes).during("write the output")?;
        } else {
            rayon::in_place_scope(|scope| {
                scope.spawn(|_| {
                    hasher.update(bytes);
                });
                out.write_all(bytes).during("write the output")
            })?;
        }
        *filled = 0;
        Ok(())
    }
}
