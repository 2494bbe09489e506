//! [`StoredContent`]: the bytes of one content, which is stored as it is or composed of several stored ones. Knows
//! no diff and no table.

use std::io::{self, Read};
use std::ops::Range;

use dirindex::RelPath;
use rsync_core::{DeltaPart, DeltaParts, Digest, Progress, Segments};

use crate::Error;
use crate::frame_reader::as_io;
use crate::stored::{FrameReaders, Stored, StoredReader};

const BUFFER_LEN: usize = 64 << 10;
/// As much of a composed content is made at a time.
const WINDOW_LEN: usize = 8 << 20;
/// Of so many parts at most.
const WINDOW_PARTS: usize = 1 << 16;

/// The bytes of one content: exactly as many as are declared, or an error.
pub struct StoredContent<'r, 'a> {
    readers: &'r mut FrameReaders<'a>,
    bodies: &'a [Stored],
    /// The tar entries that the bodies are.
    names: Vec<String>,
    made: Made,
    left: u64,
}

/// How a content is made.
enum Made {
    /// It is the one body.
    One,
    /// Of parts of several, a window at a time: what lies in one archive is read in one go then,
    /// however it is scattered over the content.
    Composed { parts: DeltaParts<Segments>, over: Option<DeltaPart>, window: Vec<u8>, taken: usize },
}

impl<'r, 'a> StoredContent<'r, 'a> {
    /// The content of `path` that `bodies` make: the first is the file if it is stored `whole`, and else a delta; each of
    /// the others is a delta against what the one before it makes.
    pub(crate) fn new(
        readers: &'r mut FrameReaders<'a>,
        bodies: &'a [Stored],
        path: &RelPath,
        whole: bool,
    ) -> Result<StoredContent<'r, 'a>, Error> {
        let mut names = Vec::with_capacity(bodies.len());
        for (number, body) in bodies.iter().enumerate() {
            let name = body.name(path, number == 0 && whole);
            readers.of(&body.archive).header(&name, &body.entry, 0)?;
            names.push(name);
        }
        let (made, left) = match bodies {
            [only] => (Made::One, only.entry.len),
            _ => {
                let segments = compose(readers, bodies, &names, whole)?;
                let (len, parts) = (segments.encoded_len(), segments.into_parts());
                (Made::Composed { parts, over: None, window: Vec::new(), taken: 0 }, len)
            }
        };
        Ok(StoredContent { readers, bodies, names, made, left })
    }

    /// How many bytes are still to be read.
    pub fn remaining(&self) -> u64 {
        self.left
    }

    /// The digest of all that is still to be read.
    ///
    /// # Errors
    /// Those of reading; [`Cancelled`](Error::Cancelled), as what reading ends with.
    pub(crate) fn digest(&mut self, progress: Option<&Progress>) -> io::Result<Digest> {
        let (mut hasher, mut buffer) = (blake3::Hasher::new(), vec![0; BUFFER_LEN]);
        while self.left > 0 {
            let read = self.read(&mut buffer)?;
            hasher.update(buffer.get(..read).unwrap_or_default());
            if let Some(progress) = progress {
                progress.add_bytes(read as u64);
                progress.check().map_err(|_| as_io(Error::Cancelled))?;
            }
        }
        Ok(hasher.finalize().into())
    }

    /// Reads the padding after each stored body, wherever reading is.
    pub(crate) fn padding(&mut self) -> Result<(), Error> {
        for (body, name) in self.bodies.iter().zip(&self.names) {
            self.readers.of(&body.archive).padding(name, &body.entry)?;
        }
        Ok(())
    }

    /// Reads on in the one body.
    fn read_one(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let (Some(Stored { archive, entry, .. }), Some(name)) =
            (self.bodies.first(), self.names.first())
        else {
            return Ok(0);
        };
        self.readers.of(archive).read_body(name, entry, entry.len - self.left, buffer)
    }
}

/// Damage comes as [`InvalidData`](io::ErrorKind::InvalidData) around [`Error::Damaged`].
impl Read for StoredContent<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() || self.left == 0 {
            return Ok(0);
        }
        let read = match &mut self.made {
            Made::One => self.read_one(buffer).map_err(as_io)?,
            Made::Composed { parts, over, window, taken } => {
                if *taken == window.len() {
                    *taken = 0;
                    let reads = lay_out(parts, over, window);
                    let filled = fill(self.readers, self.bodies, &self.names, reads, window);
                    filled.inspect_err(|_| window.clear()).map_err(as_io)?;
                }
                let read = window.get(*taken..).unwrap_or_default().read(buffer)?;
                *taken += read;
                read
            }
        };
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= read as u64;
        Ok(read)
    }
}

/// What composing a content may cost: as many segments, and as many looks at a segment in all deltas together, for each byte
/// that is stored for it. A command takes two bytes at least and makes a segment or two; what copies segments again and
/// again makes more.
const SEGMENTS_PER_BYTE: u64 = 4;
const LOOKS_PER_BYTE: u64 = 1024;
/// And so many beside.
const FREE_SEGMENTS: u64 = 1024;
const FREE_LOOKS: u64 = 1 << 14;

/// Where the bytes of a content lie that is made of several bodies.
fn compose<'a>(
    readers: &mut FrameReaders<'a>,
    bodies: &'a [Stored],
    names: &[String],
    whole: bool,
) -> Result<Segments, Error> {
    let stored = bodies.iter().fold(0u64, |sum, body| sum.saturating_add(body.entry.len));
    let most = |each: u64, free: u64| stored.saturating_mul(each).saturating_add(free);
    let max_segments =
        usize::try_from(most(SEGMENTS_PER_BYTE, FREE_SEGMENTS)).unwrap_or(usize::MAX);
    let mut segments = Segments::of_base(u64::MAX).limited(max_segments);
    let mut looks = 0u64;
    for ((body, name), number) in bodies.iter().zip(names).zip(0..) {
        if whole && number == 0 {
            segments = Segments::of_body(0, body.entry.len).limited(max_segments);
        } else {
            looks = looks.saturating_add(segments.count() as u64);
            if looks > most(LOOKS_PER_BYTE, FREE_LOOKS) {
                let problem = "composing it takes more than what is stored for it allows";
                return Err(body.damaged(name, problem.to_owned()));
            }
            let delta = StoredReader::new(readers.of(&body.archive), body.entry, name);
            let composed = segments.then(delta, number, body.result_len);
            let before = segments.steps();
            segments = composed.map_err(|error| body.bad_delta(name, error))?;
            if !readers.spend(segments.steps() - before) {
                let problem = "composing the contents up to here takes more steps than what is \
                               stored allows: restore fewer paths at a time";
                return Err(body.damaged(name, problem.to_owned()));
            }
        }
        if segments.len() != body.result_len {
            let (found, wanted) = (segments.len(), body.result_len);
            let problem = format!("it makes {found} bytes, and not {wanted}");
            return Err(body.damaged(name, problem));
        }
    }
    Ok(segments)
}

/// A stretch of a body that is to be read, and where in the window it belongs.
struct Reading {
    body: u32,
    at: u64,
    to: Range<usize>,
}

/// Makes room in `window` for the next parts and puts the commands there. Gives what is to be read.
fn lay_out(
    parts: &mut DeltaParts<Segments>,
    over: &mut Option<DeltaPart>,
    window: &mut Vec<u8>,
) -> Vec<Reading> {
    let mut readings = Vec::new();
    window.clear();
    while window.len() < WINDOW_LEN && readings.len() < WINDOW_PARTS {
        match over.take().or_else(|| parts.next()) {
            None => break,
            Some(DeltaPart::Command(command)) => window.extend_from_slice(command.as_bytes()),
            Some(DeltaPart::Body { body, at, len }) => {
                let room = (WINDOW_LEN - window.len()) as u64;
                let now = len.min(room);
                if now < len {
                    *over = Some(DeltaPart::Body { body, at: at + now, len: len - now });
                }
                let to = window.len()..window.len() + now as usize;
                window.resize(to.end, 0);
                readings.push(Reading { body, at, to });
            }
        }
    }
    readings
}

/// Reads readings into the window, one body after the other.
fn fill<'a>(
    readers: &mut FrameReaders<'a>,
    bodies: &'a [Stored],
    names: &[String],
    mut readings: Vec<Reading>,
    window: &mut [u8],
) -> Result<(), Error> {
    readings.sort_unstable_by_key(|reading| (reading.body, reading.at));
    for reading in readings {
        let number = reading.body as usize;
        let (Some(body), Some(name)) = (bodies.get(number), names.get(number)) else { continue };
        let to = window.get_mut(reading.to).unwrap_or_default();
        readers.of(&body.archive).read_body_exact(name, &body.entry, reading.at, to)?;
    }
    Ok(())
}
