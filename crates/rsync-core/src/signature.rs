//! Signatures: blocks of a file, each with a weak and a strong sum. Owns their computation; must not know
//! deltas.
//!
//! [`shape`] says which sums a signature has, and [`file_format`] how it is stored.

mod file_format;
mod shape;

pub use file_format::SignatureFault;
pub use shape::{MAX_BLOCK_LEN, Shape, SignatureOptions, Sums, block_len_for};

use crate::blake3_tree::{self, SUBTREE_LEN};
use crate::error::During;
use crate::file_bytes::Input;
use crate::matching::{Work, matcher::Matcher};
use crate::progress::advance;
use crate::{Digest, Error, FileBytes, Progress, Result, parallel};
use blake3::hazmat::ChainingValue;
use std::fs::File;
use std::io::Read;
use std::ops::Range;

/// Bytes of the data that one parallel task takes: a power of two and many subtrees. It fits the second-level
/// cache, so that the digest and the blocks together read memory once.
const TASK_LEN: usize = 256 << 10;
/// How many strong hashes are bound to the digest at a time.
const BOUND_AT_ONCE: usize = 1024;
/// Bytes of a stream that are held at a time.
const BATCH_LEN: usize = 4 << 20;

/// The signature of a file: enough to compute a delta against the file without the file itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    shape: Shape,
    file_len: u64,
    digest: Option<Digest>,
    packed: Vec<u8>,
}

/// One block of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Block<'a> {
    /// The weak sum: the anchor word of 48 or 64 bits; b·2³² | a with [`Sums::RsyncSha256`](crate::Sums); 32 bits with
    /// librsync's sums.
    pub weak: u64,
    /// The kept bytes of the strong hash.
    pub strong: &'a [u8],
}

impl Block<'_> {
    /// The weak sum in the form that pyrsync prints, b·2¹⁶ | a. Only for signatures with
    /// [`Sums::RsyncSha256`](crate::Sums).
    #[must_use]
    pub fn pyrsync_weak(&self) -> u64 {
        self.weak >> 32 << 16 | self.weak & 0xffff_ffff
    }
}

impl Signature {
    /// The signature of `data`. Large data is processed on rayon's threads. Counts its bytes in `progress`.
    ///
    /// # Errors
    /// [`Error::Options`], [`Error::Cancelled`].
    pub fn of_slice(
        data: &[u8],
        options: &SignatureOptions,
        progress: Option<&Progress>,
    ) -> Result<Signature> {
        Signature::of_input(Input::from(data), options, progress)
    }

    pub(crate) fn of_input(
        input: Input<'_>,
        options: &SignatureOptions,
        progress: Option<&Progress>,
    ) -> Result<Signature> {
        let data = input.bytes;
        let shape = options.shape(Some(data.len() as u64))?;
        let block_len = shape.block_len as usize;
        let mut packed = vec![0; data.len().div_ceil(block_len) * shape.bytes_per_block()];

        // A task owns the blocks that begin in its range.
        let mut rest = packed.as_mut_slice();
        let mut tasks = Vec::with_capacity(data.len().div_ceil(TASK_LEN));
        for start in (0..data.len()).step_by(TASK_LEN) {
            let end = data.len().min(start + TASK_LEN);
            let (first, past) = (start.div_ceil(block_len), end.div_ceil(block_len));
            let (mine, others) = rest.split_at_mut((past - first) * shape.bytes_per_block());
            rest = others;
            tasks.push((start..end, first * block_len, mine));
        }
        let subtree = if shape.in_tree() { block_len.min(TASK_LEN) } else { SUBTREE_LEN };
        // At least two chaining values must be left. From one value alone, the digest needs a second pass
        // over the data.
        let merged = TASK_LEN.min(data.len().next_power_of_two() / 2);
        let done = parallel::map(tasks, |(range, blocks_at, out)| {
            advance(progress, range.len())?;
            let blocks = data.get(blocks_at..).unwrap_or_default();
            let (bytes, offset) = (&data[range.clone()], range.start as u64);
            let values = blake3_tree::chaining_values(bytes, offset, subtree);
            shape.pack_weak(blocks, out);
            let mut nodes = Vec::new();
            if !shape.in_tree() {
                let limit = out.len() / shape.bytes_per_block();
                shape.pack_strong(&shape.strong_of_blocks(blocks, 0, limit), out);
            } else if subtree == block_len {
                nodes.clone_from(&values);
            }
            input.release(range);
            Ok((blake3_tree::merge_to(values, subtree, merged), (nodes, out)))
        });
        let done = done.into_iter().collect::<Result<Vec<_>>>()?;
        let (values, blocks): (Vec<_>, Vec<_>) = done.into_iter().unzip();
        let digest = blake3_tree::digest(data, values.iter().flatten().copied());
        parallel::map(blocks, |(nodes, out)| shape.pack_bound(&digest, &nodes, out));
        if shape.in_tree() && block_len > TASK_LEN {
            let nodes = blake3_tree::merge_to(values.concat(), TASK_LEN, block_len);
            shape.pack_bound(&digest, &nodes, &mut packed);
        }
        Ok(Signature::with_digest(shape, data.len() as u64, digest, packed))
    }

    /// A signature whose blocks have been packed, but for the only one of a file: that has no node but the root.
    fn with_digest(shape: Shape, file_len: u64, digest: Digest, mut packed: Vec<u8>) -> Signature {
        if shape.in_tree() && shape.blocks_in(file_len) == 1 {
            shape.pack_bound(&digest, &[digest.0], &mut packed);
        }
        Signature { shape, file_len, digest: Some(digest), packed }
    }

    /// The signature of a stream. Holds a few MiB of it, or two blocks, and until the end 32 bytes of each block more than the
    /// signature. `len_hint` only chooses the block length. Counts the bytes of the stream in `progress`.
    ///
    /// # Errors
    /// [`Error::Options`], [`Error::Io`], [`Error::Cancelled`].
    pub fn of_reader(
        mut input: impl Read,
        len_hint: Option<u64>,
        options: &SignatureOptions,
        progress: Option<&Progress>,
    ) -> Result<Signature> {
        let shape = options.shape(len_hint)?;
        let block_len = shape.block_len as usize;
        let batch = (BATCH_LEN / block_len).max(1) * block_len;
        let mut hasher = blake3::Hasher::new();
        let (mut packed, mut nodes, mut file_len) = (Vec::new(), Vec::new(), 0);
        let mut buffer = Vec::new();
        loop {
            buffer.clear();
            input.by_ref().take(batch as u64).read_to_end(&mut buffer).during("read the data")?;
            if buffer.is_empty() {
                break;
            }
            advance(progress, buffer.len())?;
            let offset = file_len;
            file_len += buffer.len() as u64;
            let old_len = packed.len();
            packed.resize(old_len + buffer.len().div_ceil(block_len) * shape.bytes_per_block(), 0);
            let out = packed.get_mut(old_len..).unwrap_or_default();
            if buffer.len() < TASK_LEN {
                hasher.update(&buffer);
                nodes.extend(pack_blocks(&shape, &buffer, offset, out));
            } else {
                parallel::beside(
                    || parallel::hash(&mut hasher, &buffer),
                    || nodes.extend(pack_blocks_parallel(&shape, &buffer, offset, out)),
                );
            }
            if buffer.len() < batch {
                break;
            }
        }
        let digest = Digest(hasher.finalize().into());
        let blocks = packed.chunks_mut(BOUND_AT_ONCE * shape.bytes_per_block());
        let blocks = nodes.chunks(BOUND_AT_ONCE).zip(blocks).collect();
        parallel::map(blocks, |(nodes, out)| shape.pack_bound(&digest, nodes, out));
        Ok(Signature::with_digest(shape, file_len, digest, packed))
    }

    /// The signature of an open regular file, from its start. Counts its bytes in `progress`.
    ///
    /// # Errors
    /// [`Error::Changed`] if length, mtime or ctime changed meanwhile, or a truncation removed a mapped page;
    /// [`Error::Options`], [`Error::Io`], [`Error::Cancelled`].
    pub fn of_file(
        file: &File,
        options: &SignatureOptions,
        progress: Option<&Progress>,
    ) -> Result<Signature> {
        let bytes = FileBytes::open(file)?;
        let signature = bytes.signature(options, progress)?;
        bytes.check()?;
        Ok(signature)
    }

    /// A signature from its parts: what [`shape`](Self::shape), [`file_len`](Self::file_len),
    /// [`digest`](Self::digest) and [`packed`](Self::packed) returned.
    ///
    /// # Errors
    /// [`Error::Options`] for an impossible shape; [`Error::Signature`] if `packed` does not have exactly the
    /// length that a file of `file_len` bytes needs, or if [`Sums::AnchorBlake3`] has no digest.
    pub fn from_packed(
        shape: Shape,
        file_len: u64,
        digest: Option<Digest>,
        packed: Vec<u8>,
    ) -> Result<Signature> {
        shape.validate()?;
        let wanted = u128::from(shape.blocks_in(file_len)) * shape.bytes_per_block() as u128;
        if packed.len() as u128 != wanted {
            let offset = packed.len() as u64;
            return Err(Error::Signature { offset, fault: SignatureFault::Length });
        }
        if shape.in_tree() && digest.is_none() {
            return Err(Error::Signature { offset: 0, fault: SignatureFault::NoDigest });
        }
        Ok(Signature { shape, file_len, digest, packed })
    }

    /// Which blocks of the file `data` has not at their places: byte ranges of the file, in order, none next to another. Bytes after
    /// the file's length are not looked at.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn differing(&self, mut data: impl Read) -> Result<Vec<Range<u64>>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        let (block_len, matcher) = (u64::from(self.shape.block_len), Matcher::new(self));
        let (mut buffer, mut start) = (Vec::new(), 0);
        for index in 0..self.block_count() {
            let end = self.file_len.min(start + block_len);
            buffer.clear();
            let mut rest = data.by_ref().take(end - start);
            rest.read_to_end(&mut buffer).during("read the data")?;
            let is_there = buffer.len() as u64 == end - start;
            let same = is_there && matcher.is_block(index, &buffer, &mut Work::default());
            match ranges.last_mut() {
                _ if same => {}
                Some(last) if last.end == start => last.end = end,
                _ => ranges.push(start..end),
            }
            start = end;
        }
        Ok(ranges)
    }

    /// Block length and sums.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Bytes of the file. librsync's format does not have this number. For a signature in that format it is
    /// an upper bound: the last block counts as a full one, and [`digest`](Self::digest) is `None`.
    #[must_use]
    pub fn file_len(&self) -> u64 {
        self.file_len
    }

    /// The digest of the file; `None` for a signature in librsync's format, which has no digest.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// How many blocks the file has.
    #[must_use]
    pub fn block_count(&self) -> usize {
        self.packed.len() / self.shape.bytes_per_block()
    }

    /// The blocks in order.
    #[must_use]
    pub fn blocks(&self) -> impl ExactSizeIterator<Item = Block<'_>> {
        self.packed.chunks_exact(self.shape.bytes_per_block()).map(|packed| {
            let (weak, strong) = self.shape.unpack(packed);
            Block { weak, strong }
        })
    }

    /// The packed blocks. Each is the weak sum (8 bytes little-endian; librsync's sums: 4 bytes big-endian),
    /// then the kept bytes of the strong hash.
    #[must_use]
    pub fn packed(&self) -> &[u8] {
        &self.packed
    }

    /// The packed blocks, without a copy.
    #[must_use]
    pub fn into_packed(self) -> Vec<u8> {
        self.packed
    }
}

/// Packs the blocks of `data`. The result is their chaining values, where the strong hashes wait for the digest.
fn pack_blocks(shape: &Shape, data: &[u8], offset: u64, out: &mut [u8]) -> Vec<ChainingValue> {
    shape.pack_weak(data, out);
    let hashes = shape.strong_of_blocks(data, offset, usize::MAX);
    if shape.in_tree() {
        return hashes;
    }
    shape.pack_strong(&hashes, out);
    Vec::new()
}

fn pack_blocks_parallel(
    shape: &Shape,
    data: &[u8],
    offset: u64,
    out: &mut [u8],
) -> Vec<ChainingValue> {
    let blocks = (4 * SUBTREE_LEN / shape.block_len as usize).max(1);
    let len = blocks * shape.block_len as usize;
    let tasks = data.chunks(len).zip(out.chunks_mut(blocks * shape.bytes_per_block()));
    let pack = |(i, (data, out))| pack_blocks(shape, data, offset + (i * len) as u64, out);
    parallel::map(tasks.enumerate().collect(), pack).concat()
}
