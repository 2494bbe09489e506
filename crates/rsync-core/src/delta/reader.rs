//! Reads a delta command by command. Owns all checks that need only the delta; must not know what the
//! commands make.

use super::command::{self, Command};
use super::seal::{self, Seal};
use crate::error::During;
use crate::{Error, Result};
use std::io::{self, BufReader, Read, Seek};

/// What can be wrong with a delta.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeltaFault {
    /// It does not begin with the magic number of a delta.
    #[error("not a delta")]
    Magic,
    /// A command byte that the format does not define.
    #[error("unknown command {0:#04x}")]
    UnknownCommand(u8),
    /// A literal or copy of no bytes.
    #[error("a command of length zero")]
    EmptyCommand,
    /// A copy that reaches past the end of the base. The base may be the wrong one.
    #[error("copy of {len} bytes from {base}, but the base has {base_len}")]
    OutOfBase {
        /// Where the copy begins in the base.
        base: u64,
        /// The length of the copy.
        len: u64,
        /// The length of the base.
        base_len: u64,
    },
    /// The output would be longer than the caller allows.
    #[error("the output would have more than {max_len} bytes")]
    TooLong {
        /// The caller's limit.
        max_len: u64,
    },
    /// The composed content has more segments than the memory limit allows.
    #[error("the result has more than {max} separate segments")]
    TooManySegments {
        /// The limit.
        max: usize,
    },
    /// It ends within a command, or without an end command.
    #[error("it is cut off")]
    Truncated,
    /// Bytes after the end command, or after the seal.
    #[error("bytes follow its end")]
    Trailing,
    /// The checksum in its seal does not match.
    #[error("its checksum does not match: the delta is damaged")]
    Check,
    /// A seal of a later version.
    #[error("a seal that this version does not know")]
    SealVersion,
}

/// A delta that is being read, behind its magic number.
pub(crate) struct CommandReader<D> {
    delta: HashedInput<D>,
    /// The seal, after the end command was read.
    seal: Option<Seal>,
    max_len: u64,
    /// Where in the delta the current command begins.
    at: u64,
    /// Where in the delta the next command begins.
    next_at: u64,
    /// How many bytes the commands so far make.
    out_len: u64,
}

impl<D: Read> CommandReader<D> {
    /// The commands of the bare stream `delta`, which may make at most `max_len` bytes.
    pub(crate) fn new(delta: D, max_len: u64) -> Result<CommandReader<D>> {
        CommandReader::begin(delta, max_len, None)
    }

    /// The same for a delta that a seal may follow.
    pub(crate) fn sealed(delta: D, max_len: u64) -> Result<CommandReader<D>> {
        CommandReader::begin(delta, max_len, Some(Box::default()))
    }

    fn begin(
        delta: D,
        max_len: u64,
        hasher: Option<Box<blake3::Hasher>>,
    ) -> Result<CommandReader<D>> {
        let delta = HashedInput { bytes: BufReader::with_capacity(64 << 10, delta), hasher };
        let mut reader =
            CommandReader { delta, seal: None, max_len, at: 0, next_at: 0, out_len: 0 };
        let mut magic = [0; 4];
        reader.delta.read_exact(&mut magic).or_else(|e| reader.cut_off(e))?;
        if magic != command::MAGIC {
            return reader.fault(DeltaFault::Magic);
        }
        reader.next_at = magic.len() as u64;
        Ok(reader)
    }

    /// The next command that makes bytes; `None` at the end of the delta. After a literal, the caller must
    /// read its bytes from [`literals`](CommandReader::literals) or skip them.
    pub(crate) fn next(&mut self) -> Result<Option<Command>> {
        self.at = self.next_at;
        let (command, command_len) =
            match command::read(&mut self.delta).or_else(|e| self.cut_off(e))? {
                Ok(command) => command,
                Err(byte) => return self.fault(DeltaFault::UnknownCommand(byte)),
            };
        self.next_at = self.at.saturating_add(command_len);
        let (Command::Literal { len } | Command::Copy { len, .. }) = command else {
            self.at = self.next_at;
            self.seal = self.read_seal()?;
            return Ok(None);
        };
        if len == 0 {
            return self.fault(DeltaFault::EmptyCommand);
        }
        if len > self.max_len - self.out_len {
            return self.fault(DeltaFault::TooLong { max_len: self.max_len });
        }
        self.out_len += len;
        if let Command::Literal { len } = command {
            self.next_at = self.next_at.saturating_add(len);
        }
        Ok(Some(command))
    }

    /// Skips the commands that are left, and returns the seal.
    pub(crate) fn skip_to_seal(&mut self) -> Result<Option<Seal>> {
        while let Some(command) = self.next()? {
            if let Command::Literal { len } = command {
                io::copy(&mut self.delta.by_ref().take(len), &mut io::sink())
                    .during("read the delta")?;
            }
        }
        Ok(self.seal)
    }

    /// The seal, if there is one and the whole delta has been read.
    pub(crate) fn seal(&self) -> Option<Seal> {
        self.seal
    }

    /// Reads what follows the end command: nothing, or a seal where one is allowed.
    fn read_seal(&mut self) -> Result<Option<Seal>> {
        let hasher = self.delta.hasher.take();
        let most = hasher.as_ref().map_or(1, |_| seal::LEN as u64 + 1);
        let mut bytes = Vec::new();
        self.delta.by_ref().take(most).read_to_end(&mut bytes).during("read the delta")?;
        match hasher {
            _ if bytes.is_empty() => Ok(None),
            Some(hasher) => {
                Seal::read(&bytes, *hasher).map(Some).or_else(|fault| self.fault(fault))
            }
            None => self.fault(DeltaFault::Trailing),
        }
    }

    /// Where a copy ends in a base of `base_len` bytes.
    ///
    /// # Errors
    /// [`DeltaFault::OutOfBase`] if it reaches past the end of the base.
    pub(crate) fn end_in_base(&self, base: u64, len: u64, base_len: u64) -> Result<u64> {
        match base.checked_add(len).filter(|&end| end <= base_len) {
            Some(end) => Ok(end),
            None => self.fault(DeltaFault::OutOfBase { base, len, base_len }),
        }
    }

    /// The rest of the delta, from the bytes of the current literal on.
    pub(crate) fn literals(&mut self) -> &mut impl Read {
        &mut self.delta
    }

    /// An error at the current command.
    pub(crate) fn fault<T>(&self, fault: DeltaFault) -> Result<T> {
        Err(Error::Delta { offset: self.at, fault })
    }

    fn cut_off<T>(&self, error: io::Error) -> Result<T> {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return self.fault(DeltaFault::Truncated);
        }
        Err(error).during("read the delta")
    }
}

impl<D: Read + Seek> CommandReader<D> {
    /// Skips the `len` bytes of the current literal, and returns where in the delta they begin. If the delta
    /// ends within them, the read of the next command fails.
    pub(crate) fn skip_literal(&mut self, len: u64) -> Result<u64> {
        match i64::try_from(len) {
            Ok(skip) => self.delta.bytes.seek_relative(skip).during("read the delta")?,
            Err(_) => return self.fault(DeltaFault::Truncated),
        }
        Ok(self.next_at - len)
    }
}

/// The bytes of a delta. They are hashed as they are read, if a seal may follow.
struct HashedInput<D> {
    bytes: BufReader<D>,
    hasher: Option<Box<blake3::Hasher>>,
}

impl<D> HashedInput<D> {
    fn hash(&mut self, bytes: &[u8]) {
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
        }
    }
}

impl<D: Read> Read for HashedInput<D> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.bytes.read(buffer)?;
        self.hash(&buffer[..read]);
        Ok(read)
    }

    fn read_exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        self.bytes.read_exact(buffer)?;
        self.hash(buffer);
        Ok(())
    }
}
