//! What sections take in memory, and how much of it who reads them puts up with. Knows how long they are, not what is in them.

use crate::Seal;

/// A kind of container, and what is known of its sections before any is unpacked. Four ASCII letters alone are
/// one without lists.
#[derive(Debug, Clone, Copy)]
pub struct FileKind {
    /// Four ASCII letters.
    pub letters: [u8; 4],
    /// Which of its sections are lists.
    pub lists: &'static [List],
}

/// A kind of section that is a list.
#[derive(Debug, Clone, Copy)]
pub struct List {
    /// The section's kind.
    pub kind: u32,
    /// The most rows that one section has.
    pub rows: usize,
    /// What a row takes in memory beside the bytes that it is encoded in: these may be few.
    pub row_room: usize,
}

impl From<[u8; 4]> for FileKind {
    fn from(letters: [u8; 4]) -> FileKind {
        FileKind { letters, lists: &[] }
    }
}

impl FileKind {
    pub(crate) fn list(&self, kind: u32) -> Option<&'static List> {
        self.lists.iter().find(|list| list.kind == kind)
    }

    /// What a section of `kind` takes in memory.
    pub(crate) fn held(&self, kind: u32, seal: &Seal) -> u64 {
        self.list(kind).map_or(seal.raw_len, |list| list.held(seal))
    }
}

impl List {
    /// What the list in a section takes in memory: its bytes, and room for as many rows as it may have.
    #[must_use]
    pub fn held(&self, seal: &Seal) -> u64 {
        seal.raw_len.saturating_add(self.rows as u64 * self.row_room as u64)
    }
}

/// Upper bound on what the sections of a container take in memory, all together, when `len` bytes are stored for them.
/// Real trees stay below it (`docs/format.md` has the figures); it stops decompression bombs.
#[must_use]
pub fn max_held(len: u64) -> u64 {
    len.saturating_mul(128).saturating_add(64 << 20)
}

/// What is wrong with sections that take `held` bytes in memory, if `most` are allowed.
#[must_use]
pub fn too_much(held: u64, most: u64) -> Option<String> {
    (held > most).then(|| {
        format!("it takes {held} bytes in memory, where what is stored for it allows {most}")
    })
}
