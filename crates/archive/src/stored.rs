//! [`Stored`]: a stored file or delta in some archive's stream, and reading it. Must not know what is made of it.

use std::collections::HashMap;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::Arc;

use diffindex::Change;
use dirindex::RelPath;

use crate::frame_reader::{FrameReader, as_io};
use crate::layout::Placed;
use crate::tar_entry::TarEntry;
use crate::{Archive, Error, paths};

/// The body of a tar entry.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) archive: Archive,
    /// Where in the archive's stream it lies.
    pub(crate) entry: TarEntry,
    /// The length of the file that it leads to: its own, or that which a delta makes.
    pub(crate) result_len: u64,
    /// The path it was stored for: its name in the archive follows from that.
    pub(crate) path: RelPath,
}

/// Where the stream of a body lies in memory, which the body keeps there, and where in that it begins.
pub(crate) type BodyPlace = (usize, u64);

impl Stored {
    /// What `archive` stores for `change`.
    pub(crate) fn new(archive: &Archive, placed: &Placed, change: &Change) -> Stored {
        let result_len = change.new.as_ref().map_or(0, |new| new.node.len());
        let path = change.path.clone();
        Stored { archive: archive.clone(), entry: placed.entry, result_len, path }
    }

    /// Which body it is.
    pub(crate) fn place(&self) -> BodyPlace {
        (stream_at(&self.archive), self.entry.at)
    }

    /// The name of the tar entry.
    pub(crate) fn name(&self, whole: bool) -> String {
        paths::content_name(&self.path, whole)
    }

    /// How many bytes of the tar stream it takes at most to read it.
    pub(crate) fn cost(&self) -> u64 {
        self.entry.len.saturating_add(512)
    }

    /// The part of the stream that who reads it has to have.
    pub(crate) fn span(&self) -> Range<u64> {
        self.entry.span(0..self.entry.len)
    }

    /// That something is wrong with it.
    pub(crate) fn damaged(&self, name: &str, problem: String) -> Error {
        let mut reader = self.archive.0.stream.reader();
        reader.seek(self.entry.at);
        reader.damaged(name, problem)
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

/// Where in memory the stream of `archive` lies, as long as anybody has it.
fn stream_at(archive: &Archive) -> usize {
    Arc::as_ptr(&archive.0.stream).addr()
}

/// FrameReaders hold no more than this, and what the one in use takes.
const MAX_HELD: usize = 64 << 20;

/// FrameReaders in the archives that were read from last.
#[derive(Default)]
pub(crate) struct FrameReaders {
    /// By where the stream lies in memory, which its reader keeps there.
    readers: HashMap<usize, Held>,
    /// How often one was asked for.
    asked: u64,
    /// How many steps composing contents may still take.
    steps: u64,
}

struct Held {
    /// When it was asked for last.
    asked: u64,
    reader: FrameReader,
}

/// Composing contents may take so many steps, those of all that one reader reads together, and so many for each byte of the
/// archives. What one content takes has a limit of its own, but many can be made of one that is stored once.
const FREE_STEPS: u64 = 16 << 20;
const STEPS_PER_BYTE: u64 = 32;

impl FrameReaders {
    pub(crate) fn new(archives: &[Archive]) -> FrameReaders {
        let stored = archives.iter().map(Archive::size).fold(0, u64::saturating_add);
        FrameReaders::default().for_stored(stored)
    }

    /// The same readers, for contents of archives that have so many bytes together: composing may take what they allow.
    pub(crate) fn for_stored(self, stored: u64) -> FrameReaders {
        let steps = stored.saturating_mul(STEPS_PER_BYTE).saturating_add(FREE_STEPS);
        FrameReaders { steps, ..self }
    }

    /// Whether composing may take so many steps more.
    pub(crate) fn spend(&mut self, steps: u64) -> bool {
        let left = self.steps.checked_sub(steps);
        self.steps = left.unwrap_or(0);
        left.is_some()
    }

    /// The reader in `archive`.
    pub(crate) fn of(&mut self, archive: &Archive) -> &mut FrameReader {
        self.asked += 1;
        let key = stream_at(archive);
        if !self.readers.contains_key(&key) {
            self.make_room();
        }
        let held = self.readers.entry(key);
        let held = held.or_insert_with(|| Held { asked: 0, reader: archive.0.stream.reader() });
        held.asked = self.asked;
        &mut held.reader
    }

    /// Where they hold too much, drops those that were not asked for longest, until they hold half as much.
    fn make_room(&mut self) {
        let mut held: usize = self.readers.values().map(|it| it.reader.held()).sum();
        if held <= MAX_HELD {
            return;
        }
        let mut oldest: Vec<_> = self.readers.iter().map(|(key, it)| (it.asked, *key)).collect();
        oldest.sort_unstable();
        for (_, key) in oldest {
            if held <= MAX_HELD / 2 {
                break;
            }
            held -= self.readers.remove(&key).map_or(0, |it| it.reader.held());
        }
    }
}

/// The bytes of one body, front to back or from any place on.
pub(crate) struct StoredReader<'r> {
    reader: &'r mut FrameReader,
    body: TarEntry,
    name: &'r str,
    at: u64,
}

impl<'r> StoredReader<'r> {
    /// `body`, called `name`, whose first header has been read.
    pub(crate) fn new(reader: &'r mut FrameReader, body: TarEntry, name: &'r str) -> Self {
        StoredReader { reader, body, name, at: 0 }
    }
}

impl Read for StoredReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read_body(self.name, &self.body, self.at, buffer).map_err(as_io)?;
        if read == 0 && self.at < self.body.len && !buffer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for StoredReader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = place(to, self.at, self.body.len)?;
        Ok(self.at)
    }
}

/// Which byte `to` is of `len`, seen from byte `at`.
pub(crate) fn place(to: SeekFrom, at: u64, len: u64) -> io::Result<u64> {
    let place = match to {
        SeekFrom::Start(at) => Some(at),
        SeekFrom::End(by) => len.checked_add_signed(by),
        SeekFrom::Current(by) => at.checked_add_signed(by),
    };
    Ok(place.ok_or(io::ErrorKind::InvalidInput)?)
}
