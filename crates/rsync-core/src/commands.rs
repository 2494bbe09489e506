//! Reading a delta's commands one by one, each checked as far as the delta alone tells. Knows nothing of what they lead to.

use crate::command::{self, Command};
use crate::error::During;
use crate::seal;
use crate::{Error, Result, Seal};
use std::io::{self, BufReader, Read, Seek};

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
    /// Composed with what it follows, it is of more runs than are kept in memory.
    #[error("it makes more than {max} separate runs")]
    TooManyRuns {
        /// What is allowed.
        max: usize,
    },
    /// It ends within a command or without an end command.
    #[error("it is cut off")]
    Truncated,
    /// Bytes after the end command, or after the seal.
    #[error("bytes follow its end")]
    Trailing,
    /// The checksum in its seal does not fit.
    #[error("its checksum does not match: the delta is damaged")]
    Check,
    /// A seal from the future.
    #[error("a seal that this version does not know")]
    SealVersion,
}

/// A delta that is being read, past its magic number.
pub(crate) struct Commands<D> {
    delta: Input<D>,
    /// What follows the end command, once that was read.
    seal: Option<Seal>,
    max_len: u64,
    /// Where in the delta the command at hand begins, and the next one.
    at: u64,
    next_at: u64,
    /// What the commands so far make.
    out_len: u64,
}

impl<D: Read> Commands<D> {
    /// The commands of `delta`, which may make at most `max_len` bytes.
    pub(crate) fn new(delta: D, max_len: u64) -> Result<Commands<D>> {
        Commands::begin(delta, max_len, None)
    }

    /// The commands of `delta`, which may be followed by a seal.
    pub(crate) fn sealed(delta: D, max_len: u64) -> Result<Commands<D>> {
        Commands::begin(delta, max_len, Some(Box::default()))
    }

    fn begin(delta: D, max_len: u64, hasher: Option<Box<blake3::Hasher>>) -> Result<Commands<D>> {
        let delta = Input { bytes: BufReader::with_capacity(64 << 10, delta), hasher };
        let mut commands = Commands { delta, seal: None, max_len, at: 0, next_at: 0, out_len: 0 };
        let mut magic = [0; 4];
        commands.delta.read_exact(&mut magic).or_else(|e| commands.cut_off(e))?;
        if magic != command::MAGIC {
            return commands.fault(DeltaFault::Magic);
        }
        commands.next_at = magic.len() as u64;
        Ok(commands)
    }

    /// The next command that makes bytes; `None` at the end of the delta. After a literal its bytes are what
    /// [`literals`](Commands::literals) gives next, and must be taken or skipped.
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

    /// Reads to the end of the delta, whatever is left of the commands, and gives its seal.
    pub(crate) fn skip_to_seal(&mut self) -> Result<Option<Seal>> {
        while let Some(command) = self.next()? {
            if let Command::Literal { len } = command {
                io::copy(&mut self.delta.by_ref().take(len), &mut io::sink())
                    .during("read the delta")?;
            }
        }
        Ok(self.seal)
    }

    /// The seal, when there is one and everything before it has been read.
    pub(crate) fn seal(&self) -> Option<Seal> {
        self.seal
    }

    /// Reads what follows the end command: nothing, or a seal where there may be one.
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

    /// That a copy does not reach over the end of a base of `base_len` bytes. Gives where it ends.
    pub(crate) fn end_in_base(&self, base: u64, len: u64, base_len: u64) -> Result<u64> {
        match base.checked_add(len).filter(|&end| end <= base_len) {
            Some(end) => Ok(end),
            None => self.fault(DeltaFault::OutOfBase { base, len, base_len }),
        }
    }

    /// The delta, at the bytes of the literal that was read last.
    pub(crate) fn literals(&mut self) -> &mut impl Read {
        &mut self.delta
    }

    /// An error at the command that was read last.
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

impl<D: Read + Seek> Commands<D> {
    /// Passes over the `len` bytes of the literal that was read last, and gives where in the delta they begin. Bytes that are
    /// not there are noticed when the next command is read.
    pub(crate) fn skip_literal(&mut self, len: u64) -> Result<u64> {
        match i64::try_from(len) {
            Ok(skip) => self.delta.bytes.seek_relative(skip).during("read the delta")?,
            Err(_) => return self.fault(DeltaFault::Truncated),
        }
        Ok(self.next_at - len)
    }
}

/// The bytes of a delta, hashed as they are read where a seal may follow them.
struct Input<D> {
    bytes: BufReader<D>,
    hasher: Option<Box<blake3::Hasher>>,
}

impl<D> Input<D> {
    fn hash(&mut self, bytes: &[u8]) {
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
        }
    }
}

impl<D: Read> Read for Input<D> {
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
