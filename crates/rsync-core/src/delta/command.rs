//! The encoding of librsync's delta commands. Owns the bytes and limits of one command; must not know bases
//! or literals.

use std::io::{self, Read};

/// The first four bytes of a delta.
pub(crate) const MAGIC: [u8; 4] = 0x7273_0236u32.to_be_bytes();
pub(crate) const END: u8 = 0;
/// For a literal up to this length, the command byte is the length.
const SHORT_LITERAL: u8 = 64;
const LITERAL: u8 = 0x41;
const COPY: u8 = 0x45;
const RESERVED: u8 = 0x55;

/// A decoded command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    End,
    Literal { len: u64 },
    Copy { base: u64, len: u64 },
}

/// An encoded command: at most one byte and two 64-bit numbers.
#[derive(Debug, Clone, Copy)]
pub struct CommandBytes {
    bytes: [u8; 17],
    len: usize,
}

impl CommandBytes {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// These bytes, at most 17.
    pub(crate) fn of(part: &[u8]) -> CommandBytes {
        let mut bytes = [0; 17];
        bytes[..part.len()].copy_from_slice(part);
        CommandBytes { bytes, len: part.len() }
    }

    fn push(&mut self, value: u64, width: Width) {
        let width = 1 << width;
        self.bytes[self.len..self.len + width].copy_from_slice(&value.to_be_bytes()[8 - width..]);
        self.len += width;
    }
}

/// The binary logarithm of a number's width: 0, 1, 2, 3 for 1, 2, 4, 8 bytes.
type Width = u8;

fn width(value: u64) -> Width {
    match value {
        ..0x100 => 0,
        0x100..0x1_0000 => 1,
        0x1_0000..0x1_0000_0000 => 2,
        _ => 3,
    }
}

/// The shortest encoding of a literal's head. `len` is not 0.
pub(crate) fn literal(len: u64) -> CommandBytes {
    let mut encoded = CommandBytes { bytes: [0; 17], len: 1 };
    if len <= SHORT_LITERAL.into() {
        encoded.bytes[0] = len as u8;
    } else {
        encoded.bytes[0] = LITERAL + width(len);
        encoded.push(len, width(len));
    }
    encoded
}

/// The shortest encoding of a copy.
pub(crate) fn copy(base: u64, len: u64) -> CommandBytes {
    let mut encoded = CommandBytes { bytes: [0; 17], len: 1 };
    encoded.bytes[0] = COPY + 4 * width(base) + width(len);
    encoded.push(base, width(base));
    encoded.push(len, width(len));
    encoded
}

/// Reads a command. Returns it and its length in bytes. The inner error is an unknown command byte.
///
/// # Errors
/// Those of the reader; `UnexpectedEof` if the input ends within the command.
pub(crate) fn read(input: &mut impl Read) -> io::Result<Result<(Command, u64), u8>> {
    let op = number(input, 0)? as u8;
    Ok(Ok(match op {
        END => (Command::End, 1),
        1..=SHORT_LITERAL => (Command::Literal { len: op.into() }, 1),
        LITERAL..COPY => {
            (Command::Literal { len: number(input, op - LITERAL)? }, 1 + (1 << (op - LITERAL)))
        }
        COPY..RESERVED => {
            let (base_width, len_width) = ((op - COPY) / 4, (op - COPY) % 4);
            let (base, len) = (number(input, base_width)?, number(input, len_width)?);
            (Command::Copy { base, len }, 1 + (1 << base_width) + (1 << len_width))
        }
        RESERVED.. => return Ok(Err(op)),
    }))
}

fn number(input: &mut impl Read, width: Width) -> io::Result<u64> {
    let mut bytes = [0; 8];
    input.read_exact(&mut bytes[8 - (1usize << width)..])?;
    Ok(u64::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: commands have their shortest encoding, and reading gives them back.
    #[test]
    fn shortest_and_reversible() {
        let edges =
            [1, 64, 65, 0xff, 0x100, 0xffff, 0x1_0000, 0xffff_ffff, 0x1_0000_0000, u64::MAX];
        for len in edges {
            let encoded = literal(len);
            let back = read(&mut encoded.as_bytes()).unwrap().unwrap();
            assert_eq!(back, (Command::Literal { len }, encoded.as_bytes().len() as u64));
            for base in [0].into_iter().chain(edges) {
                let encoded = copy(base, len);
                let back = read(&mut encoded.as_bytes()).unwrap().unwrap();
                assert_eq!(back, (Command::Copy { base, len }, encoded.as_bytes().len() as u64));
            }
        }
        assert_eq!(literal(64).as_bytes(), [64]);
        assert_eq!(literal(65).as_bytes(), [0x41, 65]);
        assert_eq!(copy(0, 256).as_bytes(), [0x46, 0, 1, 0]);
        assert_eq!(copy(u64::MAX, u64::MAX).as_bytes()[0], 0x54);
        assert_eq!(read(&mut [0x55].as_slice()).unwrap(), Err(0x55));
    }
}
