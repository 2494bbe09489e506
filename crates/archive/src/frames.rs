//! [`Frame`]: a unit of the stream that is compressed by itself. [`FrameWriter`] cuts the stream into frames, compresses
//! them in parallel and writes them in order. Must not know tar.

use std::io::{self, Write};

use rayon::ScopeFifo;
use serde::{Deserialize, Serialize};

use crate::codec::Packer;
use crate::ordered_pool::OrderedPool;

/// The most bytes of the stream in one frame.
pub(crate) const FRAME_LEN: usize = 1 << 20;
/// The most bytes one frame may take up: no format enlarges what it cannot compress by this much.
pub(crate) const MAX_STORED_LEN: usize = FRAME_LEN + (FRAME_LEN >> 4);
/// The most frames in memory at once, whatever the number of threads.
const MAX_IN_FLIGHT: usize = 16;

/// One frame: its lengths, and what it is recognised by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Frame {
    /// Compressed, in the archive.
    pub(crate) stored: u32,
    /// Unpacked, in the stream.
    pub(crate) len: u32,
    /// [`check_of`] it as it is stored.
    pub(crate) check: Check,
}

/// The first 8 bytes of a BLAKE3.
pub(crate) type Check = [u8; 8];

/// Shows any damage to a frame before it is unpacked, also where the compressor's own checksum, of
/// what comes out, would not.
pub(crate) fn check_of(packed: &[u8]) -> Check {
    let [a, b, c, d, e, f, g, h, ..] = *blake3::hash(packed).as_bytes();
    [a, b, c, d, e, f, g, h]
}

/// Compresses what is written to it. Where the stream is cut depends on the bytes and the calls of
/// [`cut`](FrameWriter::cut) and [`fit`](FrameWriter::fit) alone, so the output is the same for any
/// number of threads.
pub(crate) struct FrameWriter<'a, 's, W> {
    out: W,
    packer: Packer,
    chunk: Vec<u8>,
    /// Whether the current frame must follow the one before it in one [`Write::write`].
    joined: bool,
    in_flight: OrderedPool<'a, 's, io::Result<Packed>>,
    max_in_flight: usize,
    /// What goes to `out` next: a frame and those that are joined to it.
    group: Vec<u8>,
    written: Vec<Frame>,
    stored: u64,
}

struct Packed {
    frame: Frame,
    bytes: Vec<u8>,
    joined: bool,
}

impl<'a, 's, W: Write> FrameWriter<'a, 's, W> {
    /// Frames are compressed by tasks of `scope`.
    pub(crate) fn new(out: W, packer: Packer, scope: &'a ScopeFifo<'s>) -> FrameWriter<'a, 's, W> {
        FrameWriter {
            out,
            packer,
            chunk: Vec::with_capacity(FRAME_LEN),
            joined: false,
            in_flight: OrderedPool::new(scope),
            max_in_flight: (rayon::current_num_threads() + 2).min(MAX_IN_FLIGHT),
            group: Vec::new(),
            written: Vec::new(),
            stored: 0,
        }
    }

    /// Ends the current frame here.
    pub(crate) fn cut(&mut self) -> io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(FRAME_LEN));
        let (packer, joined) = (self.packer, std::mem::take(&mut self.joined));
        self.in_flight.push(move || {
            let bytes = packer.pack(&chunk)?;
            let (stored, len) = (bytes.len() as u32, chunk.len() as u32);
            let frame = Frame { stored, len, check: check_of(&bytes) };
            Ok(Packed { frame, bytes, joined })
        });
        while self.in_flight.len() > self.max_in_flight {
            self.write_oldest()?;
        }
        Ok(())
    }

    /// Ends the current frame here, and joins the next one to it.
    pub(crate) fn cut_joined(&mut self) -> io::Result<()> {
        self.cut()?;
        self.joined = true;
        Ok(())
    }

    /// Ends the current frame here if it has no room for `len` bytes or is joined to the one before it. The
    /// next one will not be.
    pub(crate) fn fit(&mut self, len: u64) -> io::Result<()> {
        if self.joined || self.chunk.len() as u64 + len > FRAME_LEN as u64 {
            self.cut()?;
            self.joined = false;
        }
        Ok(())
    }

    /// How many frames there are so far, with those that are not written yet. The current one does not count.
    pub(crate) fn count(&self) -> usize {
        self.written.len() + self.in_flight.len()
    }

    /// Writes a frame as it is, after all before it.
    pub(crate) fn append(&mut self, frame: Frame, packed: &[u8]) -> io::Result<()> {
        self.settle()?;
        self.out.write_all(packed)?;
        self.stored += packed.len() as u64;
        self.written.push(frame);
        Ok(())
    }

    /// Ends the current frame and waits until all is written. Gives every frame so far and the
    /// compressed length of all of them.
    pub(crate) fn settle(&mut self) -> io::Result<(&[Frame], u64)> {
        self.cut()?;
        while self.in_flight.len() > 0 {
            self.write_oldest()?;
        }
        self.out.write_all(&std::mem::take(&mut self.group))?;
        Ok((&self.written, self.stored))
    }

    /// The writer that the frames go to. Whole only after [`settle`](FrameWriter::settle).
    pub(crate) fn get_mut(&mut self) -> &mut W {
        &mut self.out
    }

    fn write_oldest(&mut self) -> io::Result<()> {
        let Packed { frame, bytes, joined } = self.in_flight.pop()??;
        self.stored += bytes.len() as u64;
        self.written.push(frame);
        if joined {
            self.group.extend(bytes);
        } else {
            self.out.write_all(&std::mem::replace(&mut self.group, bytes))?;
        }
        Ok(())
    }
}

impl<W: Write> Write for FrameWriter<'_, '_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = FRAME_LEN - self.chunk.len();
        let now = bytes.get(..room).unwrap_or(bytes);
        self.chunk.extend_from_slice(now);
        if self.chunk.len() == FRAME_LEN {
            self.cut()?;
        }
        Ok(now.len())
    }

    /// Flushes what is compressed; the current frame stays open.
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Format;

    fn noise(len: usize) -> Vec<u8> {
        let mut state = 1u64;
        let mut step = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 59) as u8
        };
        std::iter::repeat_with(&mut step).take(len).collect()
    }

    fn write(format: Format, stream: &[u8], step: usize) -> (Vec<u8>, Vec<Frame>) {
        let mut out = Vec::new();
        let packer = Packer::new(format, Some(1)).unwrap();
        let (frames, stored) = rayon::in_place_scope_fifo(|scope| {
            let mut writer = FrameWriter::new(&mut out, packer, scope);
            for (n, piece) in stream.chunks(step).enumerate() {
                writer.write_all(piece).unwrap();
                if n == 0 {
                    writer.cut().unwrap();
                    writer.cut().unwrap();
                }
            }
            let (frames, stored) = writer.settle().unwrap();
            (frames.to_vec(), stored)
        });
        assert_eq!(stored, out.len() as u64);
        (out, frames)
    }

    #[test]
    fn members_are_in_order_and_the_same_for_any_number_of_threads() {
        let stream = noise(9 * FRAME_LEN + 333);
        for format in [Format::Gzip, Format::Zstd] {
            let (whole, frames) = write(format, &stream, 1000);
            assert_eq!(frames[0].len, 1000);
            assert!(frames[1..].iter().rev().skip(1).all(|m| m.len as usize == FRAME_LEN));
            let (mut at, mut unpacked, mut back) = (0, Vec::new(), Vec::new());
            for frame in &frames {
                let end = at + frame.stored as usize;
                let used = format.unpack(&whole[at..end], frame.len as usize, &mut unpacked);
                assert_eq!(used, Ok(end - at));
                back.extend_from_slice(&unpacked);
                at = end;
            }
            assert!(back == stream);
            for threads in [1, 2, 8] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let again = pool.install(|| write(format, &stream, 1000));
                assert!(again.0 == whole, "{threads} threads");
            }
        }
    }

    #[test]
    fn what_cannot_be_compressed_fits_its_bound() {
        let mut stream = vec![0; FRAME_LEN];
        blake3::Hasher::new().finalize_xof().fill(&mut stream);
        for (format, level) in [(Format::Gzip, 0), (Format::Gzip, 6), (Format::Zstd, 3)] {
            let packed = Packer::new(format, Some(level)).unwrap().pack(&stream).unwrap();
            assert!(packed.len() <= MAX_STORED_LEN, "{format:?} {level}: {}", packed.len());
        }
    }

    #[test]
    fn a_failing_writer_ends_it() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::Error::from(io::ErrorKind::StorageFull))
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let packer = Packer::new(Format::Zstd, None).unwrap();
        let result = rayon::in_place_scope_fifo(|scope| {
            FrameWriter::new(Full, packer, scope).write_all(&noise(40 * FRAME_LEN))
        });
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
