//! A byte stream cut into members that are compressed in parallel and written in order. Knows
//! nothing of tar.

use std::io::{self, Write};

use rayon::ScopeFifo;
use serde::{Deserialize, Serialize};

use crate::codec::Packer;
use crate::queue::Queue;

/// The most bytes of the stream in one member.
pub(crate) const MEMBER_LEN: usize = 1 << 20;
/// The most bytes one member may take up: no format enlarges what it cannot compress by this much.
pub(crate) const MAX_STORED_LEN: usize = MEMBER_LEN + (MEMBER_LEN >> 4);
/// The most members in memory at once, whatever the number of threads.
const MAX_IN_FLIGHT: usize = 16;

/// One member: its lengths, and what it is recognised by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    /// Compressed, in the archive.
    pub(crate) stored: u32,
    /// Unpacked, in the stream.
    pub(crate) len: u32,
    /// [`check_of`] it as it is stored.
    pub(crate) check: Check,
}

/// The first 8 bytes of a BLAKE3.
pub(crate) type Check = [u8; 8];

/// Shows any damage to a member before it is unpacked, also where the compressor's own checksum, of
/// what comes out, would not.
pub(crate) fn check_of(packed: &[u8]) -> Check {
    let [a, b, c, d, e, f, g, h, ..] = *blake3::hash(packed).as_bytes();
    [a, b, c, d, e, f, g, h]
}

/// Compresses what is written to it. Where the stream is cut depends on the bytes and the calls of
/// [`cut`](MemberWriter::cut) and [`fit`](MemberWriter::fit) alone, so the output is the same for any
/// number of threads.
pub(crate) struct MemberWriter<'a, 's, W> {
    out: W,
    packer: Packer,
    chunk: Vec<u8>,
    /// Whether the current member must follow the one before it in one [`Write::write`].
    joined: bool,
    in_flight: Queue<'a, 's, io::Result<Packed>>,
    max_in_flight: usize,
    /// What goes to `out` next: a member and those that are joined to it.
    group: Vec<u8>,
    written: Vec<Member>,
    stored: u64,
}

struct Packed {
    member: Member,
    bytes: Vec<u8>,
    joined: bool,
}

impl<'a, 's, W: Write> MemberWriter<'a, 's, W> {
    /// Members are compressed by tasks of `scope`.
    pub(crate) fn new(out: W, packer: Packer, scope: &'a ScopeFifo<'s>) -> MemberWriter<'a, 's, W> {
        MemberWriter {
            out,
            packer,
            chunk: Vec::with_capacity(MEMBER_LEN),
            joined: false,
            in_flight: Queue::new(scope),
            max_in_flight: (rayon::current_num_threads() + 2).min(MAX_IN_FLIGHT),
            group: Vec::new(),
            written: Vec::new(),
            stored: 0,
        }
    }

    /// Ends the current member here.
    pub(crate) fn cut(&mut self) -> io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(MEMBER_LEN));
        let (packer, joined) = (self.packer, std::mem::take(&mut self.joined));
        self.in_flight.push(move || {
            let bytes = packer.pack(&chunk)?;
            let (stored, len) = (bytes.len() as u32, chunk.len() as u32);
            let member = Member { stored, len, check: check_of(&bytes) };
            Ok(Packed { member, bytes, joined })
        });
        while self.in_flight.len() > self.max_in_flight {
            self.write_oldest()?;
        }
        Ok(())
    }

    /// Ends the current member here, and joins the next one to it.
    pub(crate) fn cut_joined(&mut self) -> io::Result<()> {
        self.cut()?;
        self.joined = true;
        Ok(())
    }

    /// Ends the current member here if it has no room for `len` bytes or is joined to the one before it. The
    /// next one will not be.
    pub(crate) fn fit(&mut self, len: u64) -> io::Result<()> {
        if self.joined || self.chunk.len() as u64 + len > MEMBER_LEN as u64 {
            self.cut()?;
            self.joined = false;
        }
        Ok(())
    }

    /// Ends the current member and waits until all is written. Gives every member so far and the
    /// compressed length of all of them.
    pub(crate) fn settle(&mut self) -> io::Result<(&[Member], u64)> {
        self.cut()?;
        while self.in_flight.len() > 0 {
            self.write_oldest()?;
        }
        self.out.write_all(&std::mem::take(&mut self.group))?;
        Ok((&self.written, self.stored))
    }

    /// The writer that the members go to. Whole only after [`settle`](MemberWriter::settle).
    pub(crate) fn get_mut(&mut self) -> &mut W {
        &mut self.out
    }

    fn write_oldest(&mut self) -> io::Result<()> {
        let Packed { member, bytes, joined } = self.in_flight.pop()??;
        self.stored += bytes.len() as u64;
        self.written.push(member);
        if joined {
            self.group.extend(bytes);
        } else {
            self.out.write_all(&std::mem::replace(&mut self.group, bytes))?;
        }
        Ok(())
    }
}

impl<W: Write> Write for MemberWriter<'_, '_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = MEMBER_LEN - self.chunk.len();
        let now = bytes.get(..room).unwrap_or(bytes);
        self.chunk.extend_from_slice(now);
        if self.chunk.len() == MEMBER_LEN {
            self.cut()?;
        }
        Ok(now.len())
    }

    /// Flushes what is compressed; the current member stays open.
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

    fn write(format: Format, stream: &[u8], step: usize) -> (Vec<u8>, Vec<Member>) {
        let mut out = Vec::new();
        let packer = Packer::new(format, Some(1)).unwrap();
        let (members, stored) = rayon::in_place_scope_fifo(|scope| {
            let mut writer = MemberWriter::new(&mut out, packer, scope);
            for (n, piece) in stream.chunks(step).enumerate() {
                writer.write_all(piece).unwrap();
                if n == 0 {
                    writer.cut().unwrap();
                    writer.cut().unwrap();
                }
            }
            let (members, stored) = writer.settle().unwrap();
            (members.to_vec(), stored)
        });
        assert_eq!(stored, out.len() as u64);
        (out, members)
    }

    #[test]
    fn members_are_in_order_and_the_same_for_any_number_of_threads() {
        let stream = noise(9 * MEMBER_LEN + 333);
        for format in [Format::Gzip, Format::Zstd] {
            let (whole, members) = write(format, &stream, 1000);
            assert_eq!(members[0].len, 1000);
            assert!(members[1..].iter().rev().skip(1).all(|m| m.len as usize == MEMBER_LEN));
            let (mut at, mut unpacked, mut back) = (0, Vec::new(), Vec::new());
            for member in &members {
                let end = at + member.stored as usize;
                let used = format.unpack(&whole[at..end], member.len as usize, &mut unpacked);
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
        let mut stream = vec![0; MEMBER_LEN];
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
            MemberWriter::new(Full, packer, scope).write_all(&noise(40 * MEMBER_LEN))
        });
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
