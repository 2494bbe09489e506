//! [`StoredSignature`]: a handle to one file's signature, in memory or in a container on disk, and
//! the section stream they are kept in. Knows nothing of which path a signature belongs to.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use container::{Packing, Section, SectionError, Sections, Writer};
use rsync_core::{Digest, Shape, Signature, Sums};
use serde::{Deserialize, Serialize};

/// The signatures of a container are one stream, cut into sections of this length (the last one
/// shorter), so that reading one signature verifies little more than itself.
const CHUNK_LEN: usize = 128 << 10;

/// A signature that is loaded only when somebody needs it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct StoredSignature {
    file_len: u64,
    stream: Arc<Stream>,
    offset: u64,
}

/// Where signatures of one shape lie.
#[derive(Debug)]
struct Stream {
    shape: Shape,
    bytes: Bytes,
}

/// Packed signatures, one after the other.
#[derive(Debug)]
enum Bytes {
    Memory(Mutex<Vec<u8>>),
    Sections(Arc<Chunks>),
}

/// Such a stream in a container, in pieces of [`CHUNK_LEN`].
#[derive(Debug)]
struct Chunks {
    sections: Arc<Sections>,
    numbers: Vec<usize>,
    /// The chunk read last, verified: signatures are mostly loaded in the order they lie in.
    last: Mutex<Option<(usize, Arc<Vec<u8>>)>>,
}

/// Where signatures that are made together are kept together in memory, which for small ones takes
/// half of what each by itself would.
#[derive(Debug, Default)]
#[cfg(feature = "scan")]
pub(crate) struct Pool(Option<Arc<Stream>>);

#[cfg(feature = "scan")]
impl Pool {
    pub(crate) fn keep(&mut self, signature: Signature) -> StoredSignature {
        let (shape, file_len) = (signature.shape(), signature.file_len());
        if let Some(stream) = self.0.as_ref().filter(|stream| stream.shape == shape)
            && let Bytes::Memory(bytes) = &stream.bytes
        {
            let mut bytes = bytes.lock().unwrap_or_else(PoisonError::into_inner);
            let offset = bytes.len() as u64;
            bytes.extend_from_slice(signature.packed());
            return StoredSignature { file_len, stream: Arc::clone(stream), offset };
        }
        // The signature of a large file, which has a pool to itself, is large too: it is not copied.
        let first = StoredSignature::new(signature);
        self.shrink();
        self.0 = Some(Arc::clone(&first.stream));
        first
    }

    /// Gives back what is left of the room: there may be many pools.
    pub(crate) fn shrink(&self) {
        if let Some(Bytes::Memory(bytes)) = self.0.as_ref().map(|stream| &stream.bytes) {
            bytes.lock().unwrap_or_else(PoisonError::into_inner).shrink_to_fit();
        }
    }
}

/// A [`Shape`] as it is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ShapeCode {
    block_len: u32,
    /// 0 BLAKE3 with anchors, 1 SHA-256 with rsync's rolling sum.
    strong: u8,
    strong_len: u8,
}

impl ShapeCode {
    fn shape(self) -> Result<Shape, SectionError> {
        let sums = match self.strong {
            0 => Sums::AnchorBlake3,
            1 => Sums::RsyncSha256,
            _ => return Err(damaged("an unknown strong hash")),
        };
        let shape = Shape { block_len: self.block_len, sums, strong_len: self.strong_len };
        let fit = shape.validate().map_err(|error| error.to_string());
        fit.and_then(|()| unsuitable(&shape).map_or(Ok(shape), |why| Err(why.into())))
            .map_err(damaged)
    }
}

/// Why signatures of `shape` cannot be the base of a backup, if they cannot: who writes a delta
/// does not see the old data, so a collision would only show at the restore.
pub(crate) fn unsuitable(shape: &Shape) -> Option<&'static str> {
    // Enough that nobody makes two blocks of one hash: see `SignatureOptions::strong_len`.
    let least = if shape.sums == Sums::AnchorBlake3 { 10 } else { 16 };
    if shape.sums.is_librsync() {
        Some("librsync's sums are for librsync's files")
    } else if shape.strong_len < least {
        Some("a strong hash of too few bytes")
    } else {
        None
    }
}

impl StoredSignature {
    /// Keeps `signature` in memory.
    #[must_use]
    pub fn new(signature: Signature) -> StoredSignature {
        let (shape, file_len) = (signature.shape(), signature.file_len());
        let bytes = Bytes::Memory(Mutex::new(signature.into_packed()));
        StoredSignature { file_len, stream: Arc::new(Stream { shape, bytes }), offset: 0 }
    }

    /// How the blocks are cut and hashed.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.stream.shape
    }

    /// The length of the file it is of.
    #[must_use]
    pub fn file_len(&self) -> u64 {
        self.file_len
    }

    /// The shape as it is encoded in a container.
    #[must_use]
    pub fn code(&self) -> ShapeCode {
        let Shape { block_len, sums, strong_len } = self.shape();
        ShapeCode { block_len, strong: u8::from(sums == Sums::RsyncSha256), strong_len }
    }

    /// The packed length in bytes.
    #[must_use]
    pub fn packed_len(&self) -> u64 {
        packed_len(&self.shape(), self.file_len)
    }

    /// Loads the signature. `digest` is that of its file, which the index has beside it.
    ///
    /// # Errors
    /// [`Error::Sections`](crate::Error::Sections) when it lies in a container that is damaged.
    pub fn load(&self, digest: Digest) -> Result<Signature, crate::Error> {
        let packed = self.part(0, self.packed_len())?;
        let signature = Signature::from_packed(self.shape(), self.file_len, Some(digest), packed);
        signature.map_err(crate::Error::Load)
    }

    /// Reads it, to see whether it can be read.
    ///
    /// # Errors
    /// As [`load`](StoredSignature::load).
    pub fn check(&self) -> Result<(), crate::Error> {
        Ok(self.part(0, self.packed_len()).map(drop)?)
    }

    /// The packed length of one block.
    #[must_use]
    pub fn bytes_per_block(&self) -> usize {
        self.shape().bytes_per_block()
    }

    /// The packed form of the first `blocks` blocks, or of all there are.
    ///
    /// # Errors
    /// As [`load`](StoredSignature::load).
    pub fn leading(&self, blocks: u64) -> Result<Vec<u8>, crate::Error> {
        let len = blocks.saturating_mul(self.bytes_per_block() as u64).min(self.packed_len());
        Ok(self.part(0, len)?)
    }

    /// `len` of the packed bytes, from `from` on.
    fn part(&self, from: u64, len: u64) -> Result<Vec<u8>, SectionError> {
        let from = self.offset.saturating_add(from);
        match &self.stream.bytes {
            Bytes::Memory(bytes) => {
                let bytes = bytes.lock().unwrap_or_else(PoisonError::into_inner);
                let range = from as usize..from.saturating_add(len) as usize;
                bytes.get(range).map(<[u8]>::to_vec).ok_or_else(|| out_of_place("a signature"))
            }
            Bytes::Sections(chunks) => chunks.read(from, len),
        }
    }
}

/// More than any container has, for a length that no file has.
fn packed_len(shape: &Shape, file_len: u64) -> u64 {
    let blocks = file_len.div_ceil(u64::from(shape.block_len.max(1)));
    blocks.saturating_mul(shape.bytes_per_block() as u64)
}

impl Chunks {
    fn read(&self, offset: u64, len: u64) -> Result<Vec<u8>, SectionError> {
        let mut packed = Vec::with_capacity(len as usize);
        let mut at = offset as usize;
        let end = at + len as usize;
        while at < end {
            let chunk = self.chunk(at / CHUNK_LEN)?;
            let start = at % CHUNK_LEN;
            let stop = chunk.len().min(start + (end - at));
            let piece = chunk.get(start..stop).filter(|piece| !piece.is_empty());
            let piece = piece.ok_or_else(|| out_of_place("a signature"))?;
            packed.extend_from_slice(piece);
            at += piece.len();
        }
        Ok(packed)
    }

    fn chunk(&self, number: usize) -> Result<Arc<Vec<u8>>, SectionError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, chunk)) = &*last
            && *at == number
        {
            return Ok(Arc::clone(chunk));
        }
        let section = self.numbers.get(number).ok_or_else(|| out_of_place("a signature"))?;
        let chunk = Arc::new(self.sections.raw(*section)?);
        *last = Some((number, Arc::clone(&chunk)));
        Ok(chunk)
    }
}

fn out_of_place(what: &str) -> SectionError {
    damaged(format!("{what} lies outside its sections"))
}

fn damaged(problem: impl Into<String>) -> SectionError {
    SectionError::Damaged { offset: 0, problem: problem.into() }
}

/// Writes `signatures`, in order, as sections of `kind`.
///
/// # Errors
/// As [`SignatureWriter::push`].
pub fn write_signatures<'a, W: std::io::Write>(
    writer: &mut Writer<W>,
    kind: u32,
    mut signatures: impl Iterator<Item = &'a StoredSignature>,
) -> Result<(), SectionError> {
    let mut out = SignatureWriter::new(kind);
    signatures.try_for_each(|signature| out.push(writer, signature))?;
    out.finish(writer)
}

/// Writes signatures as sections of one kind, one after the other. Other sections may come between these.
#[derive(Debug)]
pub struct SignatureWriter {
    kind: u32,
    pending: Vec<u8>,
    written: u64,
}

impl SignatureWriter {
    /// Begins with sections of `kind`.
    #[must_use]
    pub fn new(kind: u32) -> SignatureWriter {
        SignatureWriter { kind, pending: Vec::with_capacity(CHUNK_LEN), written: 0 }
    }

    /// How many bytes of signatures there were so far.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.written + self.pending.len() as u64
    }

    /// The signature that follows. Sections that are full go to `writer`, the same one each time.
    ///
    /// # Errors
    /// [`SectionError`], also when it cannot be loaded from where it lies.
    pub fn push<W: std::io::Write>(
        &mut self,
        writer: &mut Writer<W>,
        signature: &StoredSignature,
    ) -> Result<(), SectionError> {
        self.push_parts(writer, signature.packed_len(), |at, len| signature.part(at, len))
    }

    /// The signatures from `from` up to `to` in the stream that `reader` reads.
    ///
    /// # Errors
    /// As [`push`](SignatureWriter::push).
    pub fn copy<W: std::io::Write>(
        &mut self,
        writer: &mut Writer<W>,
        reader: &SignatureReader,
        from: u64,
        to: u64,
    ) -> Result<(), SectionError> {
        let len = to.saturating_sub(from);
        self.push_parts(writer, len, |at, len| reader.chunks.read(from.saturating_add(at), len))
    }

    /// So many bytes, which `part` reads from some place on.
    fn push_parts<W: std::io::Write>(
        &mut self,
        writer: &mut Writer<W>,
        len: u64,
        part: impl Fn(u64, u64) -> Result<Vec<u8>, SectionError>,
    ) -> Result<(), SectionError> {
        let mut at = 0;
        while at < len {
            let now = (len - at).min((CHUNK_LEN - self.pending.len()) as u64);
            self.pending.extend(part(at, now)?);
            at += now;
            if self.pending.len() == CHUNK_LEN {
                self.flush(writer)?;
            }
        }
        Ok(())
    }

    fn flush<W: std::io::Write>(&mut self, writer: &mut Writer<W>) -> Result<(), SectionError> {
        let chunk = std::mem::replace(&mut self.pending, Vec::with_capacity(CHUNK_LEN));
        self.written += chunk.len() as u64;
        writer.section(&Section::new(self.kind, chunk, Packing::Stored)?)
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// [`SectionError`].
    pub fn finish<W: std::io::Write>(mut self, writer: &mut Writer<W>) -> Result<(), SectionError> {
        if self.pending.is_empty() { Ok(()) } else { self.flush(writer) }
    }
}

/// Gives out handles to the signatures in the sections of one kind, in the order they were written.
/// Loads none of them.
#[derive(Debug, Clone)]
pub struct SignatureReader {
    chunks: Arc<Chunks>,
    streams: HashMap<ShapeCode, Arc<Stream>>,
    /// The one of the last signature: neighbours mostly have one shape.
    last: Option<(ShapeCode, Arc<Stream>)>,
    len: u64,
    at: u64,
}

impl SignatureReader {
    /// Begins with the first signature in the sections of `kind`.
    ///
    /// # Errors
    /// [`SectionError::Damaged`] when these are not cut as they should be.
    pub fn new(sections: Arc<Sections>, kind: u32) -> Result<SignatureReader, SectionError> {
        let numbers: Vec<usize> = sections.of_kind(kind).collect();
        let full = numbers.split_last().map_or(&[][..], |(_, full)| full);
        if full.iter().any(|&number| sections.raw_len(number) != CHUNK_LEN) {
            return Err(out_of_place("a signature section"));
        }
        let len = numbers.iter().map(|&number| sections.raw_len(number) as u64).sum();
        let chunks = Arc::new(Chunks { sections, numbers, last: Mutex::default() });
        Ok(SignatureReader { chunks, streams: HashMap::new(), last: None, len, at: 0 })
    }

    /// The signature of the next file, which has `file_len` bytes, if it has one: then its shape is
    /// `code`.
    ///
    /// # Errors
    /// [`SectionError::Damaged`] when there is not that much left.
    pub fn next(
        &mut self,
        code: Option<ShapeCode>,
        file_len: u64,
    ) -> Result<Option<StoredSignature>, SectionError> {
        let Some(code) = code else { return Ok(None) };
        let stream = match &self.last {
            Some((last, stream)) if *last == code => Arc::clone(stream),
            _ => self.stream(code)?,
        };
        let offset = self.at;
        self.at = self
            .at
            .checked_add(packed_len(&stream.shape, file_len))
            .filter(|&end| end <= self.len)
            .ok_or_else(|| out_of_place("a signature"))?;
        Ok(Some(StoredSignature { file_len, stream, offset }))
    }

    fn stream(&mut self, code: ShapeCode) -> Result<Arc<Stream>, SectionError> {
        let stream = match self.streams.entry(code) {
            Entry::Occupied(stream) => Arc::clone(stream.get()),
            Entry::Vacant(none) => {
                let bytes = Bytes::Sections(Arc::clone(&self.chunks));
                Arc::clone(none.insert(Arc::new(Stream { shape: code.shape()?, bytes })))
            }
        };
        self.last = Some((code, Arc::clone(&stream)));
        Ok(stream)
    }

    /// Where the next signature lies.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.at
    }

    /// The same reader, going on at `position`.
    #[must_use]
    pub fn at(&self, position: u64) -> SignatureReader {
        SignatureReader { at: position, ..self.clone() }
    }

    /// That nothing is left.
    ///
    /// # Errors
    /// [`SectionError::Damaged`].
    pub fn finish(&self) -> Result<(), SectionError> {
        let all = self.at == self.len;
        if all { Ok(()) } else { Err(out_of_place("a part of the signature stream")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_too_long_for_any_signature_is_refused() {
        let code = ShapeCode { block_len: 1, strong: 0, strong_len: 18 };
        // 2^61 blocks of 24 bytes: nothing, in 64 bits.
        for file_len in [1 << 61, u64::MAX] {
            let empty = Writer::new(Vec::new(), *b"TEST").unwrap().finish().unwrap();
            let sections = Sections::from_bytes(empty, *b"TEST").unwrap();
            let mut reader = SignatureReader::new(Arc::new(sections), 1).unwrap();
            assert!(reader.next(Some(code), file_len).is_err(), "{file_len}");
        }
    }
}
