//! A target's input taken apart: numbers, and parts that carry their length. Knows no target.
#![allow(dead_code, reason = "each target takes what it needs")]

/// What is left of the input. It ends in zeros and empty parts rather than in errors.
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    /// The next byte.
    pub(crate) fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    /// The next two bytes, a little-endian number.
    pub(crate) fn word(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// The next part: a [`word`](Input::word) and as many bytes, or all that are left.
    pub(crate) fn part(&mut self) -> &'a [u8] {
        let len = self.word();
        self.take(usize::from(len))
    }

    /// The next `len` bytes, or all that are left.
    pub(crate) fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }
}
