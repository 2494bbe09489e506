//! [`Stored`]: one stored content in some archive's stream, and reading it. Knows tar members, not what
//! is made of them.

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::Arc;

use diffindex::Change;
use dirindex::RelPath;

use crate::layout::Placed;
use crate::stream::{Cursor, as_io};
use crate::{Archive, Error, frame, paths};

/// The body of a tar member.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) archive: Archive,
    /// Where in the archive's stream its header begins.
    pub(crate) at: u64,
    /// Its length.
    pub(crate) len: u64,
    /// The length of the file that it leads to: its own, or that which a delta makes.
    pub(crate) result_len: u64,
    /// The path it was stored for, if that is another than the one it is read for.
    pub(crate) path: Option<RelPath>,
}

impl Stored {
    /// What `archive` stores for `change`.
    pub(crate) fn new(archive: &Archive, placed: &Placed, change: &Change) -> Stored {
        let result_len = change.new.as_ref().map_or(0, |new| new.node.len());
        let Placed { at, len, .. } = *placed;
        Stored { archive: archive.clone(), at, len, result_len, path: None }
    }

    /// The same, read for another path than `path`, or once more for it.
    pub(crate) fn stored_for(&self, path: &RelPath) -> Stored {
        Stored { path: Some(self.path.as_ref().unwrap_or(path).clone()), ..self.clone() }
    }

    /// The name of the tar member, when it is read for `change`.
    pub(crate) fn name(&self, change: &Change, whole: bool) -> String {
        paths::content_name(self.path.as_ref().unwrap_or(&change.path), whole)
    }

    /// The part of the stream that who reads it has to have.
    pub(crate) fn span(&self) -> Range<u64> {
        self.at..self.bytes_at() + self.len
    }

    /// Where in the stream its bytes begin.
    pub(crate) fn bytes_at(&self) -> u64 {
        self.at + frame::HEADER_LEN as u64
    }

    /// That something is wrong with it.
    pub(crate) fn damaged(&self, name: &str, problem: String) -> Error {
        let mut cursor = self.archive.0.stream.cursor();
        cursor.seek(self.at);
        cursor.damaged(name, problem)
    }

    /// Why its delta could not be composed with what it follows.
    pub(crate) fn bad_delta(&self, name: &str, error: rsync_core::Error) -> Error {
        match error {
            rsync_core::Error::Io { source, .. } => match source.downcast::<Error>() {
                Ok(ours) => ours.of(name),
                Err(source) => Error::io("read", self.archive.path(), source),
            },
            other => self.damaged(name, other.to_string()),
        }
    }
}

/// Cursors hold no more than this, and what the one in use takes.
const MAX_HELD: usize = 64 << 20;

/// Cursors in the archives that were read from last, the last one last.
#[derive(Default)]
pub(crate) struct Cursors<'a>(Vec<(&'a Archive, Cursor<'a>)>);

impl<'a> Cursors<'a> {
    /// The cursor in `archive`.
    pub(crate) fn of(&mut self, archive: &'a Archive) -> &mut Cursor<'a> {
        let same = |(known, _): &(&Archive, Cursor<'_>)| Arc::ptr_eq(&known.0, &archive.0);
        let cursor = match self.0.iter().rposition(same) {
            Some(at) => self.0.remove(at).1,
            None => {
                let mut held: usize = self.0.iter().map(|(_, cursor)| cursor.held()).sum();
                while held > MAX_HELD {
                    held -= self.0.remove(0).1.held();
                }
                archive.0.stream.cursor()
            }
        };
        self.0.push((archive, cursor));
        let last = self.0.len() - 1;
        &mut self.0[last].1
    }
}

/// A stored delta to be read once, literals passed over.
pub(crate) struct StoredDelta<'r, 'a> {
    cursor: &'r mut Cursor<'a>,
    start: u64,
    len: u64,
    at: u64,
}

impl<'r, 'a> StoredDelta<'r, 'a> {
    pub(crate) fn new(cursor: &'r mut Cursor<'a>, body: &Stored) -> StoredDelta<'r, 'a> {
        StoredDelta { cursor, start: body.bytes_at(), len: body.len, at: 0 }
    }
}

impl Read for StoredDelta<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.len.saturating_sub(self.at);
        let room = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        self.cursor.seek(self.start.saturating_add(self.at));
        let read = self.cursor.read(buffer.get_mut(..room).unwrap_or_default()).map_err(as_io)?;
        if read == 0 && room > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for StoredDelta<'_, '_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
