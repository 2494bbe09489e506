//! Reading a delta's commands one by one, each checked as far as the delta alone tells. Knows nothing of what they lead to.

use crate::command::{self, Command};
use crate::error::During;
use crate::{Error, Result};
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
    /// Bytes after the end command.
    #[error("bytes follow its end")]
    Trailing,
}

/// A delta that is being read, past its magic number.
pub(crate) struct Commands<D> {
    delta: BufReader<D>,
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
        let delta = BufReader::with_capacity(64 << 10, delta);
        let mut commands = Commands { delta, max_len, at: 0, next_at: 0, out_len: 0 };
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
            if self.delta.read(&mut [0]).during("read the delta")? > 0 {
                self.at = self.next_at;
                return self.fault(DeltaFault::Trailing);
            }
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

    /// That a copy does not reach over the end of a base of `base_len` bytes. Gives where it ends.
    pub(crate) fn end_in_base(&self, base: u64, len: u64, base_len: u64) -> Result<u64> {
        match base.checked_add(len).filter(|&end| end <= base_len) {
            Some(end) => Ok(end),
            None => self.fault(DeltaFault::OutOfBase { base, len, base_len }),
        }
    }

    /// The delta, at the bytes of the literal that was read last.
    pub(crate) fn literals(&mut self) -> &mut BufReader<D> {
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
            Ok(skip) => self.delta.seek_relative(skip).during("read the delta")?,
            Err(_) => return self.fault(DeltaFault::Truncated),
        }
        Ok(self.next_at - len)
    }
}
