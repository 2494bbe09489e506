//! [`FrameReader`]: reads the tar stream of an archive at any place, by unpacking the frame that holds it. Must not know
//! which tar entries there should be.

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use container::read_healed;
use rayon::prelude::*;

use crate::error::shown;
use crate::frames::{Check, FRAME_LEN, Frame, MAX_STORED_LEN, check_of};
use crate::table::TABLE;
use crate::tar_entry::TarEntry;
use crate::{Error, Format, ReadAt, tar_entry};

/// Where the bytes of a tar stream are.
pub(crate) struct TarStream {
    source: Box<dyn ReadAt>,
    path: PathBuf,
    format: Format,
    /// Where each frame begins, and where the last one ends.
    starts: Vec<Place>,
    /// What each frame is recognised by.
    checks: Vec<Check>,
}

const NO_MATCH: &str = "its bytes do not match TABLE's hash";

/// One place, in the archive and in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Place {
    pub(crate) stored: u64,
    pub(crate) stream: u64,
}

impl TarStream {
    /// The stream whose frames are `frames`, from the archive's first byte on.
    pub(crate) fn new(
        source: Box<dyn ReadAt>,
        path: PathBuf,
        format: Format,
        frames: &[Frame],
    ) -> Result<TarStream, Error> {
        let checks = frames.iter().map(|frame| frame.check).collect();
        let mut stream = TarStream { source, path, format, starts: Vec::new(), checks };
        let mut at = Place::default();
        stream.starts.reserve_exact(frames.len() + 1);
        stream.starts.push(at);
        for (number, frame) in frames.iter().enumerate() {
            let (stored, len) = (frame.stored as usize, frame.len as usize);
            if !(1..=MAX_STORED_LEN).contains(&stored) || !(1..=FRAME_LEN).contains(&len) {
                let problem = format!("it lists frame {number} with {stored} bytes for {len}");
                return Err(stream.damaged(TABLE, at.stored, problem));
            }
            // Neither sum can overflow: there are fewer than 2^40 frames.
            at.stored += u64::from(frame.stored);
            at.stream += u64::from(frame.len);
            stream.starts.push(at);
        }
        Ok(stream)
    }

    /// Compares each frame with what it is recognised by, and unpacks none.
    pub(crate) fn check_frames(&self) -> Result<(), Error> {
        let frames = self.starts.par_windows(2).zip(&self.checks).enumerate();
        frames.try_for_each(|(number, (place, check))| {
            let [start, end] = place else { return Ok(()) };
            let mut packed = vec![0; (end.stored - start.stored) as usize];
            let read = self.source.fill_at(&mut packed, start.stored);
            read.map_err(|error| Error::io("read", &self.path, error))?;
            match check_of(&packed) == *check {
                true => Ok(()),
                false => Err(self.damaged(&format!("frame {number}"), start.stored, NO_MATCH)),
            }
        })
    }

    /// Where the last frame ends.
    pub(crate) fn end(&self) -> Place {
        self.starts.last().copied().unwrap_or_default()
    }

    /// Where in the archive a frame begins, or the last one ends, at `at` in the stream, if one does.
    pub(crate) fn cut_at(&self, at: u64) -> Option<u64> {
        let number = self.starts.binary_search_by_key(&at, |place| place.stream).ok()?;
        self.starts.get(number).map(|place| place.stored)
    }

    /// Whether its frames are these, and compressed so.
    pub(crate) fn is_made_of(&self, format: Format, frames: &[Frame]) -> bool {
        let ends = self.starts.windows(2).zip(&self.checks);
        let ours = ends.filter_map(|(place, &check)| {
            let [start, end] = place else { return None };
            let len = |from: u64, to: u64| (to - from) as u32;
            let (stored, len) = (len(start.stored, end.stored), len(start.stream, end.stream));
            Some(Frame { stored, len, check })
        });
        self.format == format && ours.eq(frames.iter().copied())
    }

    /// A reader at the start of the stream.
    pub(crate) fn reader(self: &Arc<TarStream>) -> FrameReader {
        FrameReader {
            stream: Arc::clone(self),
            at: 0,
            ahead: 0,
            loaded: None,
            packed: Vec::new(),
            packed_at: 0,
            unpacked: Vec::new(),
        }
    }

    /// The bytes of the archive that hold `span`, which is not empty, of the stream.
    pub(crate) fn archive_range(&self, span: Range<u64>) -> Range<u64> {
        let end = self.end().stored;
        let first = self.frame_at(span.start).map_or(end, |(_, start, _)| start.stored);
        let last = self.frame_at(span.end.saturating_sub(1)).map_or(end, |(_, _, end)| end.stored);
        first..last
    }

    /// About how many bytes of the archive `span` of the stream takes: of each frame its part.
    pub(crate) fn packed_len(&self, span: Range<u64>) -> u64 {
        let packed = |at: u64| {
            let Some((_, start, end)) = self.frame_at(at) else { return self.end().stored };
            let (len, stored) = (end.stream - start.stream, end.stored - start.stored);
            // Neither is more than some MiB.
            start.stored + (at - start.stream) * stored / len.max(1)
        };
        packed(span.end).saturating_sub(packed(span.start))
    }

    /// Where in the stream each frame begins, and its compressed length.
    pub(crate) fn frames(&self) -> impl Iterator<Item = (u64, u64)> {
        let ends = self.starts.iter().skip(1);
        self.starts.iter().zip(ends).map(|(at, end)| (at.stream, end.stored - at.stored))
    }

    /// The archive's name, for messages.
    pub(crate) fn name(&self) -> String {
        shown(&self.path)
    }

    pub(crate) fn path(&self) -> &PathBuf {
        &self.path
    }

    pub(crate) fn damaged(&self, part: &str, offset: u64, problem: impl Into<String>) -> Error {
        Error::Damaged {
            archive: self.name(),
            part: part.to_owned(),
            offset,
            problem: problem.into(),
        }
    }

    /// The number of the frame that holds byte `at` of the stream, and where it lies.
    fn frame_at(&self, at: u64) -> Option<(usize, Place, Place)> {
        let number = self.starts.partition_point(|place| place.stream <= at).checked_sub(1)?;
        Some((number, *self.starts.get(number)?, *self.starts.get(number + 1)?))
    }
}

/// Reads a stream from any place on, and unpacks a frame once while it stays in it.
pub(crate) struct FrameReader {
    stream: Arc<TarStream>,
    at: u64,
    /// Up to where in the archive more than one frame is read at once.
    ahead: u64,
    /// The frame in `unpacked`, and where it lies.
    loaded: Option<(Place, Place)>,
    packed: Vec<u8>,
    /// Where in the archive `packed` lies.
    packed_at: u64,
    unpacked: Vec<u8>,
}

/// How much is read at once where small frames follow one another.
const READ_LEN: u64 = 1 << 20;

impl FrameReader {
    /// How much memory it holds.
    pub(crate) fn held(&self) -> usize {
        self.packed.capacity() + self.unpacked.capacity()
    }

    /// Whether the frame is unpacked that holds byte `at` of the stream.
    pub(crate) fn has(&self, at: u64) -> bool {
        self.loaded.is_some_and(|(start, end)| start.stream <= at && at < end.stream)
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
        if !self.has(self.at) {
            let Some((number, start, end)) = self.stream.frame_at(self.at) else {
                return Ok(&[]);
            };
            self.loaded = None;
            self.load(number, start, end).map_err(|error| error.of(&format!("frame {number}")))?;
            self.loaded = Some((start, end));
        }
        let start = self.loaded.map_or(0, |(start, _)| start.stream);
        Ok(self.unpacked.get((self.at - start) as usize..).unwrap_or_default())
    }

    fn load(&mut self, number: usize, start: Place, end: Place) -> Result<(), Error> {
        let stream = Arc::clone(&self.stream);
        read_healed(&*stream.source, || {
            let loaded = self.load_as_it_is(number, start, end);
            // What was read ahead may be damaged too.
            loaded.inspect_err(|_| self.packed.clear())
        })
    }

    fn load_as_it_is(&mut self, number: usize, start: Place, end: Place) -> Result<(), Error> {
        let (stored, len) = ((end.stored - start.stored) as usize, end.stream - start.stream);
        let stream = Arc::clone(&self.stream);
        let packed_end = self.packed_at + self.packed.len() as u64;
        if start.stored < self.packed_at || packed_end < end.stored {
            let read_end = self.ahead.min(start.stored + READ_LEN).max(end.stored);
            self.packed.clear();
            let mut packed = std::mem::take(&mut self.packed);
            packed.resize((read_end - start.stored) as usize, 0);
            let read = stream.source.fill_at(&mut packed, start.stored);
            read.map_err(|error| Error::io("read", &stream.path, error))?;
            (self.packed, self.packed_at) = (packed, start.stored);
        }
        let from = (start.stored - self.packed_at) as usize;
        let packed = self.packed.get(from..from + stored).unwrap_or_default();
        if stream.checks.get(number) != Some(&check_of(packed)) {
            return Err(stream.damaged("", start.stored, NO_MATCH));
        }
        match stream.format.unpack(packed, len as usize, &mut self.unpacked) {
            Ok(used) if used == stored && self.unpacked.len() as u64 == len => Ok(()),
            Ok(_) => {
                Err(stream.damaged("", start.stored, "it has another length than is declared"))
            }
            Err(problem) => Err(stream.damaged("", start.stored, problem)),
        }
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
