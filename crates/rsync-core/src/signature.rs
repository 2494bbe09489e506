//! Computing signatures. Knows blocks and their sums; not where a signature is stored.

use crate::error::During;
use crate::shape::{Shape, SignatureOptions};
use crate::tree::{self, PIECE};
use crate::{Digest, Error, FileBytes, Progress, Result, SignatureFault, map};
use rayon::prelude::*;
use std::fs::File;
use std::io::Read;
use std::ops::Range;

/// What one task of a parallel signature takes: a power of two, many pieces, and small enough for the second-level cache,
/// so that the digest and the blocks read memory once between them.
const SEGMENT: usize = 256 << 10;
/// What a streamed signature holds at a time.
const BATCH: usize = 4 << 20;

/// The signature of a file: what is needed to make a delta against it without having it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    shape: Shape,
    file_len: u64,
    digest: Option<Digest>,
    packed: Vec<u8>,
}

/// One block of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block<'a> {
    /// The weak sum: the anchor's word, for [`WeakSum::Rsync`](crate::WeakSum) b·2³² | a, else librsync's 32 bits.
    pub weak: u64,
    /// The kept bytes of the strong hash.
    pub strong: &'a [u8],
}

impl Block<'_> {
    /// The weak sum as pyrsync prints it, for a signature with [`WeakSum::Rsync`](crate::WeakSum): b·2¹⁶ | a.
    pub fn pyrsync_weak(&self) -> u64 {
        self.weak >> 32 << 16 | self.weak & 0xffff_ffff
    }
}

impl Signature {
    /// The signature of `data`, on rayon's threads when it is large.
    ///
    /// # Errors
    /// [`Error::Options`].
    pub fn of_slice(data: &[u8], options: &SignatureOptions) -> Result<Signature> {
        Signature::of_slice_with(data, options, None)
    }

    /// As [`of_slice`](Self::of_slice), counting bytes in `progress`.
    ///
    /// # Errors
    /// [`Error::Options`], [`Error::Cancelled`].
    pub fn of_slice_with(
        data: &[u8],
        options: &SignatureOptions,
        progress: Option<&Progress>,
    ) -> Result<Signature> {
        let shape = options.shape(Some(data.len() as u64))?;
        let block_len = shape.block_len as usize;
        let mut packed = vec![0; data.len().div_ceil(block_len) * shape.bytes_per_block()];

        // A segment owns the blocks that begin in it.
        let mut rest = packed.as_mut_slice();
        let mut tasks = Vec::with_capacity(data.len().div_ceil(SEGMENT));
        for start in (0..data.len()).step_by(SEGMENT) {
            let end = data.len().min(start + SEGMENT);
            let (first, past) = (start.div_ceil(block_len), end.div_ceil(block_len));
            let (mine, others) = rest.split_at_mut((past - first) * shape.bytes_per_block());
            rest = others;
            tasks.push((start..end, first * block_len, mine));
        }
        let subtree = if shape.in_tree() { block_len.min(SEGMENT) } else { PIECE };
        // Two values at least, or the content would have to be hashed once more for its digest.
        let raised = SEGMENT.min(data.len().next_power_of_two() / 2);
        let segment = |(range, blocks_at, out): (Range<usize>, usize, &mut [u8])| {
            if let Some(progress) = progress {
                progress.check()?;
                progress.add_bytes(range.len() as u64);
            }
            let blocks = data.get(blocks_at..).unwrap_or_default();
            let values = tree::values(&data[range.clone()], range.start as u64, subtree);
            shape.pack_weak(blocks, out);
            if !shape.in_tree() {
                let most = out.len() / shape.bytes_per_block();
                shape.pack_strong(&shape.strong_of_blocks(blocks, 0, most), out);
            } else if subtree == block_len {
                shape.pack_strong(&values, out);
            }
            map::done(data, range);
            Ok(tree::raise(values, subtree, raised))
        };
        let values: Vec<_> = if tasks.len() < 2 {
            tasks.into_iter().map(segment).collect::<Result<_>>()?
        } else {
            tasks.into_par_iter().map(segment).collect::<Result<_>>()?
        };
        let values = values.concat();
        let digest = tree::digest(data, values.iter().copied());
        if shape.in_tree() && block_len > SEGMENT {
            shape.pack_strong(&tree::raise(values, SEGMENT, block_len), &mut packed);
        }
        Ok(Signature::of_packed(shape, data.len() as u64, digest, packed))
    }

    /// Puts a signature of what was computed together.
    fn of_packed(shape: Shape, file_len: u64, digest: Digest, mut packed: Vec<u8>) -> Signature {
        if shape.in_tree() && packed.len() == shape.bytes_per_block() {
            shape.pack_strong(&[digest.0], &mut packed);
        }
        Signature { shape, file_len, digest: Some(digest), packed }
    }

    /// The signature of a stream, holding a few MiB and two blocks of it. `len_hint` only chooses the block length.
    ///
    /// # Errors
    /// [`Error::Options`], [`Error::Io`].
    pub fn of_reader(
        mut input: impl Read,
        len_hint: Option<u64>,
        options: &SignatureOptions,
    ) -> Result<Signature> {
        let shape = options.shape(len_hint)?;
        let block_len = shape.block_len as usize;
        let batch = (BATCH / block_len).max(1) * block_len;
        let mut hasher = blake3::Hasher::new();
        let (mut packed, mut file_len) = (Vec::new(), 0);
        let mut buffer = Vec::new();
        loop {
            buffer.clear();
            input.by_ref().take(batch as u64).read_to_end(&mut buffer).during("read the data")?;
            if buffer.is_empty() {
                break;
            }
            let offset = file_len;
            file_len += buffer.len() as u64;
            let old_len = packed.len();
            packed.resize(old_len + buffer.len().div_ceil(block_len) * shape.bytes_per_block(), 0);
            let out = packed.get_mut(old_len..).unwrap_or_default();
            if buffer.len() < SEGMENT {
                hasher.update(&buffer);
                pack_blocks(&shape, &buffer, offset, out);
            } else {
                rayon::join(
                    || hasher.update_rayon(&buffer),
                    || pack_blocks_parallel(&shape, &buffer, offset, out),
                );
            }
            if buffer.len() < batch {
                break;
            }
        }
        Ok(Signature::of_packed(shape, file_len, hasher.finalize().into(), packed))
    }

    /// The signature of an open regular file, from its start: large files are mapped, small ones read.
    ///
    /// # Errors
    /// [`Error::Changed`] when length, mtime or ctime changed meanwhile or the map was torn by a truncation;
    /// [`Error::Options`], [`Error::Io`].
    pub fn of_file(file: &File, options: &SignatureOptions) -> Result<Signature> {
        let bytes = FileBytes::open(file)?;
        let signature = bytes.signature(options, None)?;
        bytes.check()?;
        Ok(signature)
    }

    /// A signature from its parts, as [`packed`](Self::packed) and the rest gave them.
    ///
    /// # Errors
    /// [`Error::Options`] for an impossible shape; [`Error::Signature`] when `packed` does not have exactly the bytes that a
    /// file of `file_len` needs.
    pub fn from_packed(
        shape: Shape,
        file_len: u64,
        digest: Option<Digest>,
        packed: Vec<u8>,
    ) -> Result<Signature> {
        shape.validate()?;
        let wanted = u128::from(shape.blocks_in(file_len)) * shape.bytes_per_block() as u128;
        if packed.len() as u128 != wanted {
            return Err(Error::Signature {
                offset: packed.len() as u64,
                fault: SignatureFault::Length,
            });
        }
        Ok(Signature { shape, file_len, digest, packed })
    }

    /// Block length and sums.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Bytes of the file. librsync's format does not say: a signature read from it gives the most there can be, whole blocks,
    /// and has no [`digest`](Self::digest).
    pub fn file_len(&self) -> u64 {
        self.file_len
    }

    /// The file's digest; `None` after reading librsync's format, which has none.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// How many blocks the file has.
    pub fn block_count(&self) -> usize {
        self.packed.len() / self.shape.bytes_per_block()
    }

    /// The blocks in order.
    pub fn blocks(&self) -> impl ExactSizeIterator<Item = Block<'_>> {
        self.packed.chunks_exact(self.shape.bytes_per_block()).map(|packed| {
            let (weak, strong) = self.shape.unpack(packed);
            Block { weak, strong }
        })
    }

    /// The packed blocks: for each the weak sum (8 bytes little-endian; librsync's: 4 bytes big-endian), then the strong hash.
    pub fn packed(&self) -> &[u8] {
        &self.packed
    }

    /// The packed blocks, without a copy.
    pub fn into_packed(self) -> Vec<u8> {
        self.packed
    }
}

fn pack_blocks(shape: &Shape, data: &[u8], offset: u64, out: &mut [u8]) {
    shape.pack_weak(data, out);
    shape.pack_strong(&shape.strong_of_blocks(data, offset, usize::MAX), out);
}

fn pack_blocks_parallel(shape: &Shape, data: &[u8], offset: u64, out: &mut [u8]) {
    let blocks = (4 * PIECE / shape.block_len as usize).max(1);
    let len = blocks * shape.block_len as usize;
    data.par_chunks(len)
        .zip(out.par_chunks_mut(blocks * shape.bytes_per_block()))
        .enumerate()
        .for_each(|(i, (data, out))| pack_blocks(shape, data, offset + (i * len) as u64, out));
}
