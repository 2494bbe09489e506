//! [`Slot`]: where one content goes, as a tar entry or as one for each volume. Must not know which contents there are.

use std::io::{self, Write};

use crate::Error;
use crate::frames::FrameWriter;
use crate::tar_entry::{self, Framing, TarEntry};

pub(crate) const TOO_LONG: &str = "a content longer than any archive";

/// Where tar entries go.
pub(crate) trait Sink: Write {
    /// What comes next is a tar entry of `len` bytes, header and padding included, in which no volume ends.
    fn whole(&mut self, len: u64) -> io::Result<()>;
}

impl<W: Write> Sink for FrameWriter<'_, '_, W> {
    fn whole(&mut self, len: u64) -> io::Result<()> {
        self.fit(len)
    }
}

/// Some contents as tar entries, kept until it is their turn.
pub(crate) struct Run {
    bytes: Vec<u8>,
    /// The lengths of the tar entries, where those matter.
    whole: Vec<u64>,
}

impl Run {
    /// Room for about so many bytes.
    pub(crate) fn with_capacity(len: usize) -> Run {
        Run { bytes: Vec::with_capacity(len), whole: Vec::new() }
    }

    pub(crate) fn write_to(&self, out: &mut impl Sink) -> io::Result<()> {
        let mut rest = self.bytes.as_slice();
        for &len in &self.whole {
            let (frame, after) = rest.split_at_checked(len as usize).unwrap_or((rest, &[]));
            out.whole(len)?;
            out.write_all(frame)?;
            rest = after;
        }
        out.write_all(rest)
    }
}

impl Write for Run {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Run {
    fn whole(&mut self, len: u64) -> io::Result<()> {
        self.whole.push(len);
        Ok(())
    }
}

/// Where one body goes: first its length, by [`begin`](Slot::begin), then just as many bytes. Nothing is stored where that
/// is never called.
pub(crate) struct Slot<'w, S: ?Sized = dyn Sink + 'w> {
    pub(crate) out: &'w mut S,
    name: String,
    framing: Framing,
    body: Option<TarEntry>,
    at: u64,
}

impl<'w, S: Sink + ?Sized> Slot<'w, S> {
    pub(crate) fn new(out: &'w mut S, name: String, framing: Framing) -> Slot<'w, S> {
        Slot { out, name, framing, body: None, at: 0 }
    }

    pub(crate) fn begin(&mut self, len: u64) -> Result<(), Error> {
        let too_long = || Error::Write(io::Error::other(TOO_LONG));
        let body = self.framing.body(0, len).ok_or_else(too_long)?;
        self.body = Some(body);
        self.header(&body).map_err(Error::Write)
    }

    fn header(&mut self, body: &TarEntry) -> io::Result<()> {
        let (name, size) = body.header(&self.name, self.at);
        if self.framing == Framing::PARTS {
            let padded = size + tar_entry::padding(size).len() as u64;
            self.out.whole(padded + tar_entry::HEADER_LEN as u64)?;
        }
        self.out.write_all(&tar_entry::header(&name, size))
    }

    /// Whether something is stored.
    pub(crate) fn has_begun(&self) -> bool {
        self.body.is_some()
    }

    /// Writes the padding, and gives the length of what is stored, if anything is.
    pub(crate) fn finish(self) -> Result<Option<u64>, Error> {
        let Some(body) = self.body else { return Ok(None) };
        if body.len != self.at {
            return Err(Error::Write(io::Error::other("a content shorter than it was to be")));
        }
        self.out.write_all(tar_entry::padding(body.len)).map_err(Error::Write)?;
        Ok(Some(body.len))
    }
}

impl<S: Sink + ?Sized> Write for Slot<'_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let body = self.body.filter(|body| bytes.is_empty() || self.at < body.len);
        let body = body.ok_or_else(|| io::Error::other("a content longer than it was to be"))?;
        if self.at > 0 && body.begins_part(self.at) {
            self.header(&body)?;
        }
        let run = usize::try_from(body.run_at(self.at)).unwrap_or(usize::MAX);
        let now = bytes.get(..run).unwrap_or(bytes);
        self.out.write_all(now)?;
        self.at += now.len() as u64;
        Ok(now.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
