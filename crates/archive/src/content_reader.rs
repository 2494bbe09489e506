//! [`StoredContent`]: the bytes of one content, which is stored as it is or composed of several stored ones. Knows
//! no diff and no table.

use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::Arc;

use rsync_core::{DeltaPart, DeltaParts, Digest, Progress, Segments};

use crate::Error;
use crate::frame_reader::as_io;
use crate::prefixes::Prefixes;
use crate::stored::{FrameReaders, Stored, StoredReader, place};

const BUFFER_LEN: usize = 64 << 10;
/// As much of a composed content is made at a time,
const WINDOW_LEN: usize = 8 << 20;
/// and so much at first where reading was moved to.
const FIRST_WINDOW_LEN: usize = 64 << 10;
/// Of so many parts at most.
const WINDOW_PARTS: usize = 1 << 16;

/// The bytes of one content: exactly as many as are declared, or an error. They can be read from any place on.
pub struct StoredContent<'r> {
    readers: &'r mut FrameReaders,
    bodies: Arc<[Stored]>,
    /// The tar entries that the bodies are.
    names: Vec<String>,
    made: Made,
    len: u64,
    at: u64,
}

impl fmt::Debug for StoredContent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StoredContent { names, len, at, .. } = self;
        let mut shown = f.debug_struct("StoredContent");
        shown.field("names", names).field("len", len).field("at", at).finish_non_exhaustive()
    }
}

/// How a content is made.
enum Made {
    /// It is the one body.
    One,
    /// Of parts of several, a window at a time: what lies in one archive is read in one go then,
    /// however it is scattered over the content.
    Composed(Composed),
}

/// What is made of a content, from its parts.
struct Composed {
    parts: DeltaParts<Segments>,
    /// A part that was made only in part.
    over: Option<DeltaPart>,
    window: Vec<u8>,
    window_len: usize,
    /// How much of the window has been read.
    taken: usize,
}

impl<'r> StoredContent<'r> {
    /// The content that `bodies` make: the first is the file if it is stored `whole`, and else a delta; each of
    /// the others is a delta against what the one before it makes. What all but the last make may be among `prefixes`.
    pub(crate) fn new(
        readers: &'r mut FrameReaders,
        mut prefixes: Option<&mut Prefixes>,
        bodies: Arc<[Stored]>,
        whole: bool,
    ) -> Result<StoredContent<'r>, Error> {
        let known = bodies.split_last().zip(prefixes.as_deref_mut());
        let known = known.and_then(|((_, before), prefixes)| prefixes.take(before));
        // Of what is known, the headers have been read too.
        let checked = if known.is_some() { bodies.len() - 1 } else { 0 };
        let mut names = Vec::with_capacity(bodies.len());
        for (number, body) in bodies.iter().enumerate() {
            let name = body.name(number == 0 && whole);
            if number >= checked {
                readers.of(&body.archive).header(&name, &body.entry, 0)?;
            }
            names.push(name);
        }
        let (made, len) = match &*bodies {
            [only] => (Made::One, only.entry.len),
            _ => {
                let segments = compose(readers, &bodies, &names, whole, (known, checked))?;
                if let Some(prefixes) = prefixes {
                    prefixes.keep(&bodies, &segments);
                }
                let (len, parts) = (segments.encoded_len(), segments.into_parts());
                let (window, window_len) = (Vec::new(), WINDOW_LEN);
                (Made::Composed(Composed { parts, over: None, window, window_len, taken: 0 }), len)
            }
        };
        Ok(StoredContent { readers, bodies, names, made, len, at: 0 })
    }

    /// How many bytes the content has.
    #[allow(clippy::len_without_is_empty, reason = "what has no bytes is not stored")]
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// How many bytes are still to be read.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.len.saturating_sub(self.at)
    }

    /// The digest of all that is still to be read.
    ///
    /// # Errors
    /// Those of reading; [`Cancelled`](Error::Cancelled), as what reading ends with.
    pub(crate) fn digest(&mut self, progress: Option<&Progress>) -> io::Result<Digest> {
        let (mut hasher, mut buffer) = (blake3::Hasher::new(), vec![0; BUFFER_LEN]);
        while self.remaining() > 0 {
            let read = self.read(&mut buffer)?;
            hasher.update(buffer.get(..read).unwrap_or_default());
            if let Some(progress) = progress {
                progress.add_bytes(read as u64);
                progress.check().map_err(|_| as_io(Error::Cancelled))?;
            }
        }
        Ok(Digest(hasher.finalize().into()))
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
        self.readers.of(archive).read_body(name, entry, self.at, buffer)
    }
}

/// Damage comes as [`InvalidData`](io::ErrorKind::InvalidData) around [`Error::Damaged`].
impl Read for StoredContent<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() || self.remaining() == 0 {
            return Ok(0);
        }
        let read = match &mut self.made {
            Made::One => self.read_one(buffer).map_err(as_io)?,
            Made::Composed(composed) => {
                if composed.taken >= composed.window.len() {
                    // Where reading was moved to, some of the first part is not wanted.
                    composed.taken -= composed.window.len();
                    let readings = composed.lay_out();
                    let window = &mut composed.window;
                    let filled = fill(self.readers, &self.bodies, &self.names, readings, window);
                    filled.inspect_err(|_| window.clear()).map_err(as_io)?;
                }
                let read =
                    composed.window.get(composed.taken..).unwrap_or_default().read(buffer)?;
                composed.taken += read;
                read
            }
        };
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += read as u64;
        Ok(read)
    }
}

/// Past the end there is nothing to read.
impl Seek for StoredContent<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = place(to, self.at, self.len)?;
        if at != self.at
            && let Made::Composed(composed) = &mut self.made
        {
            composed.seek(at);
        }
        self.at = at;
        Ok(at)
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

/// Where the bytes of a content lie that is made of several bodies. What the first ones make may be known, and how many they are.
fn compose(
    readers: &mut FrameReaders,
    bodies: &[Stored],
    names: &[String],
    whole: bool,
    (known, begun): (Option<Segments>, usize),
) -> Result<Segments, Error> {
    let stored = bodies.iter().fold(0u64, |sum, body| sum.saturating_add(body.entry.len));
    let most = |each: u64, free: u64| stored.saturating_mul(each).saturating_add(free);
    let max_segments =
        usize::try_from(most(SEGMENTS_PER_BYTE, FREE_SEGMENTS)).unwrap_or(usize::MAX);
    let known = known.unwrap_or_else(|| Segments::of_base(u64::MAX));
    let mut segments = known.limited(max_segments);
    let mut looks = 0u64;
    for ((body, name), number) in bodies.iter().zip(names).zip(0..).skip(begun) {
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

impl Composed {
    /// Makes room in the window for the next parts and puts the commands there. Gives what is to be read.
    fn lay_out(&mut self) -> Vec<Reading> {
        let Composed { parts, over, window, window_len, .. } = self;
        let mut readings = Vec::new();
        window.clear();
        while window.len() < *window_len && readings.len() < WINDOW_PARTS {
            match over.take().or_else(|| parts.next()) {
                None => break,
                Some(DeltaPart::Command(command)) => window.extend_from_slice(command.as_bytes()),
                Some(DeltaPart::Body { body, at, len }) => {
                    let now = len.min((*window_len - window.len()) as u64);
                    if now < len {
                        *over = Some(DeltaPart::Body { body, at: at + now, len: len - now });
                    }
                    let to = window.len()..window.len() + now as usize;
                    window.resize(to.end, 0);
                    readings.push(Reading { body, at, to });
                }
            }
        }
        *window_len = (2 * *window_len).min(WINDOW_LEN);
        readings
    }

    /// Goes to byte `at`.
    fn seek(&mut self, at: u64) {
        let mut before = self.parts.seek(at);
        self.over = self.parts.next();
        if let Some(DeltaPart::Body { at, len, .. }) = &mut self.over {
            (*at, *len) = (*at + before, *len - before);
            before = 0;
        }
        self.window.clear();
        // A command has a few bytes.
        (self.window_len, self.taken) = (FIRST_WINDOW_LEN, before as usize);
    }
}

/// Reads stretches into the window, one body after the other.
fn fill(
    readers: &mut FrameReaders,
    bodies: &[Stored],
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
