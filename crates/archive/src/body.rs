//! [`Stored`]: one stored content in some archive's stream, and reading it. Knows tar members, not what
//! is made of them.

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::Arc;

use diffindex::Change;
use dirindex::RelPath;

use crate::frame::Framed;
use crate::layout::Placed;
use crate::stream::{Cursor, as_io};
use crate::{Archive, Error, paths};

/// The body of a tar member.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) archive: Archive,
    /// Where in the archive's stream it lies.
    pub(crate) framed: Framed,
    /// The length of the file that it leads to: its own, or that which a delta makes.
    pub(crate) result_len: u64,
    /// The path it was stored for, if that is another than the one it is read for.
    pub(crate) path: Option<RelPath>,
}

impl Stored {
    /// What `archive` stores for `change`.
    pub(crate) fn new(archive: &Archive, placed: &Placed, change: &Change) -> Stored {
        let result_len = change.new.as_ref().map_or(0, |new| new.node.len());
        Stored { archive: archive.clone(), framed: placed.framed, result_len, path: None }
    }

    /// The same, read for another path than `path`, or once more for it.
    pub(crate) fn stored_for(&self, path: &RelPath) -> Stored {
        Stored { path: Some(self.path.as_ref().unwrap_or(path).clone()), ..self.clone() }
    }

    /// The name of the tar member, when it is read for `path`.
    pub(crate) fn name(&self, path: &RelPath, whole: bool) -> String {
        paths::content_name(self.path.as_ref().unwrap_or(path), whole)
    }

    /// The part of the stream that who reads it has to have.
    pub(crate) fn span(&self) -> Range<u64> {
        self.framed.span(0..self.framed.len)
    }

    /// That something is wrong with it.
    pub(crate) fn damaged(&self, name: &str, problem: String) -> Error {
        let mut cursor = self.archive.0.stream.cursor();
        cursor.seek(self.framed.at);
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
pub(crate) struct Cursors<'a> {
    cursors: Vec<(&'a Archive, Cursor<'a>)>,
    /// How many steps composing contents may still take.
    steps: u64,
}

/// Composing contents may take so many steps, those of all that one reader reads together, and so many for each byte of the
/// archives. What one content takes has a limit of its own, but many can be made of one that is stored once.
const FREE_STEPS: u64 = 16 << 20;
const STEPS_PER_BYTE: u64 = 32;

impl<'a> Cursors<'a> {
    pub(crate) fn new(archives: &[Archive]) -> Cursors<'a> {
        let stored = archives.iter().map(Archive::size).fold(0, u64::saturating_add);
        let steps = stored.saturating_mul(STEPS_PER_BYTE).saturating_add(FREE_STEPS);
        Cursors { cursors: Vec::new(), steps }
    }

    /// Whether composing may take so many steps more.
    pub(crate) fn spend(&mut self, steps: u64) -> bool {
        let left = self.steps.checked_sub(steps);
        self.steps = left.unwrap_or(0);
        left.is_some()
    }

    /// The cursor in `archive`.
    pub(crate) fn of(&mut self, archive: &'a Archive) -> &mut Cursor<'a> {
        let same = |(known, _): &(&Archive, Cursor<'_>)| Arc::ptr_eq(&known.0, &archive.0);
        let cursor = match self.cursors.iter().rposition(same) {
            Some(at) => self.cursors.remove(at).1,
            None => {
                let mut held: usize = self.cursors.iter().map(|(_, cursor)| cursor.held()).sum();
                while held > MAX_HELD {
                    held -= self.cursors.remove(0).1.held();
                }
                archive.0.stream.cursor()
            }
        };
        self.cursors.push((archive, cursor));
        let last = self.cursors.len() - 1;
        &mut self.cursors[last].1
    }
}

/// The bytes of one body, front to back or from any place on.
pub(crate) struct BodyReader<'r, 'a> {
    cursor: &'r mut Cursor<'a>,
    body: Framed,
    name: &'r str,
    at: u64,
}

impl<'r, 'a> BodyReader<'r, 'a> {
    /// `body`, called `name`, whose first header has been read.
    pub(crate) fn new(cursor: &'r mut Cursor<'a>, body: Framed, name: &'r str) -> Self {
        BodyReader { cursor, body, name, at: 0 }
    }
}

impl Read for BodyReader<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.cursor.read_body(self.name, &self.body, self.at, buffer).map_err(as_io)?;
        if read == 0 && self.at < self.body.len && !buffer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for BodyReader<'_, '_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.body.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
