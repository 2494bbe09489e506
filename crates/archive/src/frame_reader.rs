//! [`FrameReader`]: reads the tar stream of an archive at any place, by unpacking the frame that holds it. Must not know
//! which tar entries there should be.

use std::io;
use std::ops::Range;

use container::read_healed;

use crate::frames_ahead::Ahead;
use crate::tar_entry::TarEntry;
use crate::tar_stream::{Place, TarStream};
use crate::{Error, tar_entry};

impl TarStream {
    /// A reader at the start of the stream.
    pub(crate) fn reader(&self) -> FrameReader<'_> {
        FrameReader {
            stream: self,
            at: 0,
            ahead: 0,
            loaded: None,
            packed: Vec::new(),
            packed_at: 0,
            unpacked: Vec::new(),
            unpacked_ahead: Ahead::default(),
            in_a_row: 0,
        }
    }
}

/// Reads a stream from any place on, and unpacks a frame once while it stays in it.
pub(crate) struct FrameReader<'a> {
    stream: &'a TarStream,
    at: u64,
    /// Up to where in the archive more than one frame is read at once.
    ahead: u64,
    /// The frame in `unpacked`, and where it lies.
    loaded: Option<(Place, Place)>,
    packed: Vec<u8>,
    /// Where in the archive `packed` lies.
    packed_at: u64,
    unpacked: Vec<u8>,
    unpacked_ahead: Ahead,
    /// How many frames have followed one another.
    in_a_row: usize,
}

/// So many frames have to have followed one another before those after them are unpacked: who reads here and there needs none of them.
const IN_A_ROW: usize = 2;
/// How much is read at once where small frames follow one another.
const READ_LEN: u64 = 1 << 20;

impl<'a> FrameReader<'a> {
    /// How much memory it holds.
    pub(crate) fn held(&self) -> usize {
        self.packed.capacity() + self.unpacked.capacity() + self.unpacked_ahead.held()
    }

    pub(crate) fn seek(&mut self, at: u64) {
        self.at = at;
    }

    /// Says that all of `span` will be read, in order.
    pub(crate) fn will_read(&mut self, span: Range<u64>) {
        let range = self.stream.archive_range(span);
        self.ahead = range.end;
        self.stream.source.will_read(range);
    }

    /// Says that `span` is long and will be read in order, so that several threads unpack its frames.
    pub(crate) fn will_read_long(&mut self, span: Range<u64>) {
        self.unpacked_ahead.until = span.end;
    }

    /// Where in the archive the frame begins that the reader is in.
    pub(crate) fn archive_offset(&self) -> u64 {
        let place = self.stream.frame_at(self.at).map(|(_, start, _)| start);
        place.unwrap_or(self.stream.end()).stored
    }

    /// An error with `part`, at this place.
    pub(crate) fn damaged(&self, part: &str, problem: impl Into<String>) -> Error {
        self.stream.damaged(part, self.archive_offset(), problem)
    }

    /// Reads as `Read::read`.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let available = self.available()?;
        let len = available.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..len), available.get(..len)) {
            to.copy_from_slice(from);
        }
        self.at += len as u64;
        Ok(len)
    }

    /// Fills `buffer`.
    pub(crate) fn read_exact(&mut self, mut buffer: &mut [u8]) -> Result<(), Error> {
        while !buffer.is_empty() {
            let len = self.read(buffer)?;
            if len == 0 {
                return Err(self.damaged("the tar stream", "it ends too soon"));
            }
            buffer = buffer.get_mut(len..).unwrap_or_default();
        }
        Ok(())
    }

    /// Reads the header before byte `offset`, which begins a part, of `body`, called `name`.
    pub(crate) fn header(&mut self, name: &str, body: &TarEntry, offset: u64) -> Result<(), Error> {
        let (name, size) = body.header(name, offset);
        self.seek(body.place(offset).saturating_sub(tar_entry::HEADER_LEN as u64));
        let mut found = [0; tar_entry::HEADER_LEN];
        let offset = self.archive_offset();
        self.read_exact(&mut found).map_err(|error| error.of(&name))?;
        match tar_entry::difference(&found, &name, size) {
            None => Ok(()),
            Some(problem) => Err(self.stream.damaged(&name, offset, problem)),
        }
    }

    /// Reads from byte `offset` of `body`, called `name`, on, as `Read::read`; where another part of it
    /// begins there, its header too.
    pub(crate) fn read_body(
        &mut self,
        name: &str,
        body: &TarEntry,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<usize, Error> {
        let run = usize::try_from(body.run_at(offset)).unwrap_or(usize::MAX).min(buffer.len());
        let Some(buffer) = buffer.get_mut(..run).filter(|buffer| !buffer.is_empty()) else {
            return Ok(0);
        };
        if offset > 0 && body.begins_part(offset) {
            self.header(name, body, offset)?;
        }
        self.seek(body.place(offset));
        self.read(buffer).map_err(|error| error.of(name))
    }

    /// [`read_body`](FrameReader::read_body) until `buffer` is full.
    pub(crate) fn read_body_exact(
        &mut self,
        name: &str,
        body: &TarEntry,
        mut offset: u64,
        mut buffer: &mut [u8],
    ) -> Result<(), Error> {
        while !buffer.is_empty() {
            let len = self.read_body(name, body, offset, buffer)?;
            if len == 0 {
                return Err(self.damaged(name, "it ends too soon"));
            }
            offset += len as u64;
            buffer = buffer.get_mut(len..).unwrap_or_default();
        }
        Ok(())
    }

    /// Reads the padding after `body`, called `name`.
    pub(crate) fn padding(&mut self, name: &str, body: &TarEntry) -> Result<(), Error> {
        let padding = tar_entry::padding(body.len);
        self.seek(body.end - padding.len() as u64);
        let mut found = [0; tar_entry::HEADER_LEN];
        let found = found.get_mut(..padding.len()).unwrap_or_default();
        let offset = self.archive_offset();
        self.read_exact(found).map_err(|error| error.of(name))?;
        if found != padding {
            return Err(self.stream.damaged(name, offset, "its padding is not zero"));
        }
        Ok(())
    }

    /// What the current frame still has; nothing at the end of the stream.
    fn available(&mut self) -> Result<&[u8], Error> {
        let holds = |(start, end): (Place, Place), at| start.stream <= at && at < end.stream;
        if !self.loaded.is_some_and(|loaded| holds(loaded, self.at)) {
            let Some((number, start, end)) = self.stream.frame_at(self.at) else {
                return Ok(&[]);
            };
            let follows =
                self.loaded.take().is_some_and(|(_, before)| before.stream == start.stream);
            self.in_a_row = if follows { self.in_a_row + 1 } else { 0 };
            let until = self.unpacked_ahead.until;
            let mut unpacked = self.unpacked_ahead.take(number);
            if unpacked.is_none()
                && start.stream < until
                && self.in_a_row >= IN_A_ROW
                && let Some(many) = self.stream.unpack_many(number, until)
            {
                self.unpacked_ahead.keep(number, many);
                unpacked = self.unpacked_ahead.take(number);
            }
            match unpacked {
                Some(unpacked) => self.unpacked = unpacked,
                None => {
                    let loaded = self.load(number, start, end);
                    loaded.map_err(|error| error.of(&format!("frame {number}")))?;
                }
            }
            self.loaded = Some((start, end));
        }
        let start = self.loaded.map_or(0, |(start, _)| start.stream);
        Ok(self.unpacked.get((self.at - start) as usize..).unwrap_or_default())
    }

    fn load(&mut self, number: usize, start: Place, end: Place) -> Result<(), Error> {
        let stream = self.stream;
        read_healed(&*stream.source, || {
            let loaded = self.load_as_it_is(number, start, end);
            // What was read ahead may be damaged too.
            loaded.inspect_err(|_| self.packed.clear())
        })
    }

    fn load_as_it_is(&mut self, number: usize, start: Place, end: Place) -> Result<(), Error> {
        let (stored, stream) = ((end.stored - start.stored) as usize, self.stream);
        let packed_end = self.packed_at + self.packed.len() as u64;
        if start.stored < self.packed_at || packed_end < end.stored {
            let read_end = self.ahead.min(start.stored + READ_LEN).max(end.stored);
            self.packed.clear();
            let mut packed = std::mem::take(&mut self.packed);
            packed.resize((read_end - start.stored) as usize, 0);
            let read = stream.source.fill_at(&mut packed, start.stored);
            read.map_err(|error| Error::io("read", stream.path(), error))?;
            (self.packed, self.packed_at) = (packed, start.stored);
        }
        let from = (start.stored - self.packed_at) as usize;
        let packed = self.packed.get(from..from + stored).unwrap_or_default();
        stream.unpack(number, (start, end), packed, &mut self.unpacked)
    }
}

/// For the standard library's readers: our errors travel inside `io::Error`.
pub(crate) fn as_io(error: Error) -> io::Error {
    let kind = match &error {
        Error::Io { source, .. } => source.kind(),
        _ => io::ErrorKind::InvalidData,
    };
    io::Error::new(kind, error)
}
