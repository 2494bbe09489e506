//! The input of a computation: some bytes, and the map that holds them, if any. Owns when pages of a map are
//! released; must not know what the bytes mean.
//!
//! Every page of a map that was read counts as memory of the process, until the kernel takes it back. A
//! computation goes through its input from front to back. It says which part it has finished, and large maps
//! release those pages.

use super::FileMap;
use std::ops::Range;

/// Only inputs of this many bytes or more release pages. For shorter ones the system calls cost more than
/// they save.
const RELEASE_FROM: usize = 64 << 20;
/// A range of this many bytes or more is released by a system call of its own.
const RELEASE_AT_ONCE: usize = 1 << 20;
/// Shorter ranges are collected and released in steps of this many bytes.
const RELEASE_STEP: usize = 4 << 20;

/// The bytes that a computation reads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Input<'a> {
    pub(crate) bytes: &'a [u8],
    /// The map that `bytes` are the start of.
    map: Option<&'a FileMap>,
}

impl<'a> From<&'a [u8]> for Input<'a> {
    fn from(bytes: &'a [u8]) -> Input<'a> {
        Input { bytes, map: None }
    }
}

impl<'a> Input<'a> {
    pub(super) fn of_map(map: &'a FileMap) -> Input<'a> {
        Input { bytes: map.bytes(), map: Some(map) }
    }

    /// The first `len` bytes; none if there are fewer.
    pub(super) fn first(self, len: usize) -> Input<'a> {
        Input { bytes: self.bytes.get(..len).unwrap_or_default(), ..self }
    }

    /// Says that the computation will hardly read `range` again. If the input is a large map, this releases
    /// the memory of the range, or of the whole step that ends in it. A later read gets the bytes from the
    /// file again.
    pub(crate) fn release(&self, range: Range<usize>) {
        let Some(map) = self.map.filter(|_| self.bytes.len() >= RELEASE_FROM) else { return };
        let Range { mut start, mut end } = range;
        if end.saturating_sub(start) < RELEASE_AT_ONCE {
            start = start / RELEASE_STEP * RELEASE_STEP;
            end = if end == self.bytes.len() { end } else { end / RELEASE_STEP * RELEASE_STEP };
        }
        map.drop_pages(start..end);
    }
}
