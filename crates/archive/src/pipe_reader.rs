//! [`PipeReader`]: reads the tar stream of an archive front to back, as from a pipe. Each frame is unpacked once, and the
//! tar entries are read one after the other. Must not know which entries there should be, nor TABLE.

use std::io::{self, Read};
use std::path::PathBuf;

use crate::error::shown;
use crate::frame_reader::{Place, as_io};
use crate::frames::{FRAME_LEN, Frame, MAX_STORED_LEN, check_of};
use crate::length::length_of;
use crate::table::MAX_TRAILER_LEN;
use crate::tar_entry::{HEADER_LEN, PART_LEN};
use crate::{Error, Format, ReadAt, tar_entry};

/// At most this much of the archive is in memory. The whole of the current frame always is.
const BUFFER_LEN: usize = 4 * FRAME_LEN;

/// An archive of which nothing is known but what has come so far.
pub(crate) struct PipeReader<'r> {
    source: Box<dyn Read + Send + 'r>,
    path: PathBuf,
    format: Format,
    /// What was read of the archive, and from where on it is still needed: the current frame begins there.
    buffer: Vec<u8>,
    from: usize,
    /// The current frame, unpacked, and how far in it reading is.
    unpacked: Vec<u8>,
    at: usize,
    /// Where the current frame begins, and its compressed length; 0 when there is none.
    start: Place,
    stored: usize,
    /// The frames before it.
    frames: Vec<Frame>,
    /// The current body.
    body: Option<PipeEntry>,
    /// The length of each body before it, and where in the stream that ends.
    bodies: Vec<(u64, u64)>,
}

/// A body that is being read.
struct PipeEntry {
    name: String,
    /// How long it is to be, where that is known.
    wanted: Option<u64>,
    /// How long it is, as far as its headers have been read.
    len: u64,
    /// How much of that is still to be read.
    left: u64,
    /// The part of it that is being read; 0 where it is not in parts.
    part: u64,
}

/// What there was, to be compared with what should have been.
pub(crate) struct Past {
    pub(crate) format: Format,
    pub(crate) frames: Vec<Frame>,
    /// The length of each body, and where in the stream it ends. Each begins where the one before it ends.
    pub(crate) bodies: Vec<(u64, u64)>,
    /// What comes after the last of them.
    pub(crate) rest: Rest,
}

impl<'r> PipeReader<'r> {
    /// The archive that comes out of `source`. `path` is what messages call it.
    pub(crate) fn new(
        source: impl Read + Send + 'r,
        path: PathBuf,
    ) -> Result<PipeReader<'r>, Error> {
        let mut forward = PipeReader {
            source: Box::new(source),
            path,
            format: Format::Gzip,
            buffer: Vec::new(),
            from: 0,
            unpacked: Vec::new(),
            at: 0,
            start: Place::default(),
            stored: 0,
            frames: Vec::new(),
            body: None,
            bodies: Vec::new(),
        };
        forward.fill()?;
        match Format::of(&forward.buffer) {
            Some(format) => Ok(PipeReader { format, ..forward }),
            None => Err(forward.damaged("frame 0", "not one of an archive of this program")),
        }
    }

    /// How much of the archive has been read.
    pub(crate) fn read_so_far(&self) -> u64 {
        self.start.stored + (self.buffer.len() - self.from) as u64
    }

    /// Where in the archive the current frame ends.
    pub(crate) fn frame_end(&self) -> u64 {
        self.start.stored + self.stored as u64
    }

    pub(crate) fn path(&self) -> &PathBuf {
        &self.path
    }

    /// The archive's name, for messages.
    pub(crate) fn name(&self) -> String {
        shown(&self.path)
    }

    /// An error with `part`, at this place.
    pub(crate) fn damaged(&self, part: &str, problem: impl Into<String>) -> Error {
        let (archive, part, problem) = (self.name(), part.to_owned(), problem.into());
        Error::Damaged { archive, part, offset: self.start.stored, problem }
    }

    /// Reads what the current body still has, and the first header of the next, called `name`. Of a length
    /// that is not given only the headers know.
    pub(crate) fn begin(&mut self, name: &str, wanted: Option<u64>) -> Result<(), Error> {
        self.end()?;
        let mut found = [0; HEADER_LEN];
        self.read_stream(name, &mut found)?;
        let size = wanted.or_else(|| tar_entry::declared_size(&found)).unwrap_or_default();
        let is_part = || {
            wanted.is_none_or(|wanted| wanted > PART_LEN)
                && tar_entry::difference(&found, &tar_entry::part_name(name, 1), PART_LEN).is_none()
        };
        let (len, part) = match tar_entry::difference(&found, name, size) {
            None => (size, 0),
            Some(_) if is_part() => (PART_LEN, 1),
            Some(problem) => return Err(self.damaged(name, problem)),
        };
        self.body = Some(PipeEntry { name: name.to_owned(), wanted, len, left: len, part });
        Ok(())
    }

    /// Reads what the current body still has and its padding, and notes it down.
    pub(crate) fn end(&mut self) -> Result<(), Error> {
        while self.pass(usize::MAX, |_| ())? > 0 {}
        let Some(body) = self.body.take() else { return Ok(()) };
        if body.wanted.is_some_and(|wanted| wanted != body.len) {
            return Err(self.damaged(&body.name, format!("it has {} bytes", body.len)));
        }
        let padding = tar_entry::padding(body.len);
        let mut found = [0; HEADER_LEN];
        let found = found.get_mut(..padding.len()).unwrap_or_default();
        self.read_stream(&body.name, found)?;
        if found != padding {
            return Err(self.damaged(&body.name, "its padding is not zero"));
        }
        self.bodies.push((body.len, self.start.stream + self.at as u64));
        Ok(())
    }

    /// Reads in the current body, as `Read::read`.
    pub(crate) fn read_body(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let most = buffer.len();
        self.pass(most, |bytes| {
            if let Some(to) = buffer.get_mut(..bytes.len()) {
                to.copy_from_slice(bytes);
            }
        })
    }

    /// Goes on in the current body by what can be given in one piece, up to `most` bytes. Gives how much
    /// that is: nothing at the body's end.
    fn pass(&mut self, most: usize, give: impl FnOnce(&[u8])) -> Result<usize, Error> {
        if most == 0 {
            return Ok(0);
        }
        if self.body.as_ref().is_some_and(|body| body.left == 0) {
            self.next_part()?;
        }
        let Some(mut body) = self.body.take_if(|body| body.left > 0) else { return Ok(0) };
        let most = usize::try_from(body.left).unwrap_or(usize::MAX).min(most);
        let available = self.available(&body.name)?;
        let given = available.get(..most).unwrap_or(available);
        give(given);
        let len = given.len();
        self.at += len;
        body.left -= len as u64;
        self.body = Some(body);
        Ok(len)
    }

    /// Reads the header of the next part of the current body, if that has one: after a part of full length a
    /// frame begins, with the next part or with what comes after the body.
    fn next_part(&mut self) -> Result<(), Error> {
        let Some(mut body) = self.body.take_if(|body| body.part > 0) else { return Ok(()) };
        if body.len.is_multiple_of(PART_LEN) {
            let found = self.available(&body.name)?.first_chunk().copied();
            if self.at > 0 {
                return Err(self.damaged(&body.name, "no frame ends where a part of it does"));
            }
            let (found, part) = (found.unwrap_or([0; HEADER_LEN]), body.part + 1);
            let size =
                tar_entry::declared_size(&found).filter(|size| (1..=PART_LEN).contains(size));
            let name = tar_entry::part_name(&body.name, part);
            if let Some(size) =
                size.filter(|&size| tar_entry::difference(&found, &name, size).is_none())
            {
                self.at = HEADER_LEN;
                body = PipeEntry { len: body.len + size, left: size, part, ..body };
            }
            if body.wanted.is_some_and(|wanted| body.len > wanted) {
                return Err(self.damaged(&body.name, "it has more parts than its length takes"));
            }
        }
        self.body = Some(body);
        Ok(())
    }

    /// Ends the last body and reads the archive to its end, which takes no more than `most` bytes.
    pub(crate) fn finish(mut self, part: &str, most: u64) -> Result<Past, Error> {
        self.end()?;
        if self.at == self.unpacked.len() {
            self.leave();
        } else if self.at > 0 {
            return Err(self.damaged(part, "no frame begins with it"));
        }
        let at = self.start.stored;
        self.buffer.drain(..self.from);
        let left = (most + 1).saturating_sub(self.buffer.len() as u64);
        let read = self.source.by_ref().take(left).read_to_end(&mut self.buffer);
        read.map_err(|error| Error::io("read", &self.path, error))?;
        self.drop_zeros()?;
        if self.buffer.len() as u64 > most {
            return Err(self.damaged(part, format!("it has more than {most} bytes")));
        }
        let PipeReader { format, frames, bodies, buffer: bytes, .. } = self;
        Ok(Past { format, frames, bodies, rest: Rest { at, bytes } })
    }

    /// Drops the zeros that follow an archive where it was read out of something longer, such as a block device.
    fn drop_zeros(&mut self) -> Result<(), Error> {
        let is_zero = |bytes: &[u8]| bytes.iter().all(|&byte| byte == 0);
        if !self.buffer.last_chunk::<MAX_TRAILER_LEN>().is_some_and(|tail| is_zero(tail)) {
            return Ok(());
        }
        let Ok(len) = length_of(self.buffer.as_slice(), &self.path) else { return Ok(()) };
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let mut zeros = self.buffer.get(len..).is_some_and(is_zero);
        let mut more = vec![0; if zeros { BUFFER_LEN } else { 0 }];
        while zeros {
            let read = self.source.read(&mut more);
            match read.map_err(|error| Error::io("read", &self.path, error))? {
                0 => break,
                read => zeros = more.get(..read).is_some_and(is_zero),
            }
        }
        if zeros {
            self.buffer.truncate(len);
        }
        Ok(())
    }

    /// Fills `buffer` with what comes next in the stream.
    fn read_stream(&mut self, name: &str, mut buffer: &mut [u8]) -> Result<(), Error> {
        while !buffer.is_empty() {
            let len = self.available(name)?.read(buffer).unwrap_or_default();
            self.at += len;
            buffer = buffer.get_mut(len..).unwrap_or_default();
        }
        Ok(())
    }

    /// What the current frame still has; of the next one, when that is nothing. Never nothing.
    fn available(&mut self, name: &str) -> Result<&[u8], Error> {
        if self.at == self.unpacked.len() {
            self.leave();
            self.fill()?;
            let packed = self.buffer.get(self.from..).unwrap_or_default();
            if packed.is_empty() {
                return Err(self.damaged(name, "the archive ends before it does"));
            }
            let packed = packed.get(..MAX_STORED_LEN).unwrap_or(packed);
            match self.format.unpack(packed, FRAME_LEN, &mut self.unpacked) {
                Ok(stored) if !self.unpacked.is_empty() => self.stored = stored,
                Ok(_) => return Err(self.damaged(name, "a frame has nothing in it")),
                Err(problem) => {
                    self.unpacked.clear();
                    return Err(self.damaged(name, problem));
                }
            }
        }
        Ok(self.unpacked.get(self.at..).unwrap_or_default())
    }

    /// Notes down the current frame, and is then before the next one.
    fn leave(&mut self) {
        if self.stored > 0 {
            let packed = self.buffer.get(self.from..self.from + self.stored).unwrap_or_default();
            let (stored, len) = (self.stored as u32, self.unpacked.len() as u32);
            self.frames.push(Frame { stored, len, check: check_of(packed) });
            self.from += self.stored;
            self.start.stored += u64::from(stored);
            self.start.stream += u64::from(len);
        }
        (self.stored, self.at) = (0, 0);
        self.unpacked.clear();
    }

    /// Sees to it that the whole of the next frame is in the buffer, as far as the archive goes.
    fn fill(&mut self) -> Result<(), Error> {
        if self.buffer.len() - self.from < MAX_STORED_LEN {
            self.buffer.drain(..self.from);
            self.from = 0;
            let room = (BUFFER_LEN - self.buffer.len()) as u64;
            let read = self.source.by_ref().take(room).read_to_end(&mut self.buffer);
            read.map_err(|error| Error::io("read", &self.path, error))?;
        }
        Ok(())
    }
}

impl Read for PipeReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_body(buffer).map_err(as_io)
    }
}

/// The end of an archive, whose first bytes are gone.
pub(crate) struct Rest {
    pub(crate) at: u64,
    bytes: Vec<u8>,
}

impl ReadAt for Rest {
    fn size(&self) -> io::Result<u64> {
        Ok(self.at + self.bytes.len() as u64)
    }

    fn fill_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let gone = || io::Error::from(io::ErrorKind::UnexpectedEof);
        self.bytes.fill_at(buffer, offset.checked_sub(self.at).ok_or_else(gone)?)
    }
}
