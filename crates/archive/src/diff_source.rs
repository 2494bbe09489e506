//! [`DiffSource`]: the bytes of an archive's `diff.index`, wherever they are asked for. Must not know what they mean.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::frame_reader::{FrameReader, as_io};
use crate::open::DIFF;
use crate::{Archive, ReadAt};

/// The bytes of `diff.index`. Threads that read them in order unpack each frame once each.
pub(crate) struct DiffSource {
    archive: Archive,
    /// Readers that nobody reads with, of which the first was used the longest ago.
    idle: Mutex<Vec<FrameReader>>,
}

impl DiffSource {
    pub(crate) fn new(archive: &Archive) -> DiffSource {
        DiffSource { archive: archive.clone(), idle: Mutex::default() }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<FrameReader>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A reader that has unpacked byte `at` of the stream; if there is none, another.
    fn reader(&self, at: u64) -> FrameReader {
        let mut idle = self.idle();
        match idle.iter().rposition(|reader| reader.has(at)) {
            Some(found) => idle.remove(found),
            None if idle.is_empty() => self.archive.0.stream.reader(),
            None => idle.remove(0),
        }
    }
}

impl ReadAt for DiffSource {
    fn size(&self) -> io::Result<u64> {
        Ok(self.archive.0.layout.diff.len)
    }

    fn fill_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let body = &self.archive.0.layout.diff;
        let mut reader = self.reader(body.place(offset));
        let read = reader.read_body_exact(DIFF, body, offset, buffer).map_err(as_io);
        self.idle().push(reader);
        read
    }
}
