//! The shape of a signature: block length and the two sums of a block. Owns the sums and the packed form of
//! one block; must not know files.

use crate::blake3_tree::{self, MIN_SUBTREE_LEN};
use crate::weak_sum::WeakSum;
use crate::weak_sum::anchor::{self, Anchoring};
use crate::weak_sum::rolling::{RabinKarp, Rolling, RollingSum, Rollsum};
use crate::{Digest, Error, Result};
use std::fmt;

/// The longest block, 16 MiB. It bounds the memory of a streaming delta.
pub const MAX_BLOCK_LEN: u32 = 16 << 20;

/// The two sums of a block. The *weak* one says at low cost where in the new data the block may lie, the *strong* one whether
/// it does. These are the pairs that some format has.
///
/// **MD4 is broken**: an attacker who chooses contents can make two blocks with the same MD4. Then a patch
/// may rebuild something else than the new data. Use MD4 only for old programs, and check the result's
/// digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Sums {
    /// This crate's own. Weak is an anchor: a place in the block that the content marks, a hash of the bytes there,
    /// and bits of a rolling sum (`docs/format.md`). It finds the same blocks as a rolling sum, several times
    /// faster.
    ///
    /// Strong is BLAKE3's parent of the file's digest and of the block's chaining value as a subtree of the file's
    /// tree. It depends on the block's place in the file, and on the whole file. So one pass over a file gives
    /// the strong hashes and the digest. And two blocks with one strong hash cannot be prepared before there is a
    /// file: an attacker has to find a block for a file that is there.
    AnchorBlake3,
    /// pyrsync's: [`RollingSum`], which is two full 32-bit words, and SHA-256. With the feature `sha2`.
    #[cfg(feature = "sha2")]
    RsyncSha256,
    /// The first of librsync: its first sum, 32 bits, and MD4. With the feature `librsync`.
    #[cfg(feature = "librsync")]
    RollsumMd4,
    /// librsync's first sum and BLAKE2b of 32 bytes. With the feature `librsync`.
    #[cfg(feature = "librsync")]
    RollsumBlake2b,
    /// librsync's default sum since version 2.2, 32 bits, and MD4. With the feature `librsync`.
    #[cfg(feature = "librsync")]
    RabinKarpMd4,
    /// librsync's default since version 2.2. With the feature `librsync`.
    #[cfg(feature = "librsync")]
    RabinKarpBlake2b,
}

impl Sums {
    /// Bytes of the whole strong hash.
    #[must_use]
    pub fn strong_len(self) -> u8 {
        match self {
            #[cfg(feature = "librsync")]
            Sums::RollsumMd4 | Sums::RabinKarpMd4 => 16,
            _ => 32,
        }
    }

    /// Whether these are sums of librsync's formats.
    #[must_use]
    pub fn is_librsync(self) -> bool {
        matches!(self.weak(), WeakSum::Rollsum | WeakSum::RabinKarp)
    }

    pub(crate) fn weak(self) -> WeakSum {
        match self {
            Sums::AnchorBlake3 => WeakSum::Anchor,
            #[cfg(feature = "sha2")]
            Sums::RsyncSha256 => WeakSum::Rsync,
            #[cfg(feature = "librsync")]
            Sums::RollsumMd4 | Sums::RollsumBlake2b => WeakSum::Rollsum,
            #[cfg(feature = "librsync")]
            Sums::RabinKarpMd4 | Sums::RabinKarpBlake2b => WeakSum::RabinKarp,
        }
    }
}

impl fmt::Display for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Sums::AnchorBlake3 => "blake3",
            #[cfg(feature = "sha2")]
            Sums::RsyncSha256 => "sha256",
            #[cfg(feature = "librsync")]
            Sums::RollsumMd4 => "rollsum-md4",
            #[cfg(feature = "librsync")]
            Sums::RollsumBlake2b => "rollsum-blake2b",
            #[cfg(feature = "librsync")]
            Sums::RabinKarpMd4 => "rabinkarp-md4",
            #[cfg(feature = "librsync")]
            Sums::RabinKarpBlake2b => "rabinkarp-blake2b",
        })
    }
}

/// How to make a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignatureOptions {
    /// Bytes of a block, 1 to [`MAX_BLOCK_LEN`]; with [`Sums::AnchorBlake3`] a power of two from 1024 on.
    /// `None` chooses by the file's length, with [`block_len_for`], or with rdiff's rule for librsync's sums.
    pub block_len: Option<u32>,
    /// The sums of each block.
    pub sums: Sums,
    /// How many bytes of the strong hash are kept, at least 1. If these are few, two different blocks may match by
    /// chance or on purpose. Only a check of the result's digest shows that. Enough are 10 with
    /// [`Sums::AnchorBlake3`], where an attacker needs some 2⁸⁰ hashes of a block, and 16 with other sums, where he needs 2⁶⁴.
    pub strong_len: u8,
}

impl Default for SignatureOptions {
    /// Automatic block length, anchors, 10 bytes of BLAKE3.
    fn default() -> Self {
        SignatureOptions { block_len: None, sums: Sums::AnchorBlake3, strong_len: 10 }
    }
}

impl SignatureOptions {
    /// pyrsync's shape: 4096-byte blocks, SHA-256 in full.
    #[cfg(feature = "sha2")]
    #[must_use]
    pub fn pyrsync() -> Self {
        SignatureOptions { block_len: Some(4096), sums: Sums::RsyncSha256, strong_len: 32 }
    }
    /// What `rdiff signature` writes by default: RabinKarp, BLAKE2b in full, rdiff's block length.
    #[cfg(feature = "librsync")]
    #[must_use]
    pub fn rdiff_blake2() -> Self {
        SignatureOptions { block_len: None, sums: Sums::RabinKarpBlake2b, strong_len: 32 }
    }
    /// What `rdiff -H md4 signature` writes: RabinKarp, MD4 in full, rdiff's block length.
    #[cfg(feature = "librsync")]
    #[must_use]
    pub fn rdiff_md4() -> Self {
        SignatureOptions { block_len: None, sums: Sums::RabinKarpMd4, strong_len: 16 }
    }

    /// The shape for a file of `file_len` bytes; `None` if the length is not known.
    ///
    /// # Errors
    /// Those of [`Shape::validate`].
    pub fn shape(&self, file_len: Option<u64>) -> Result<Shape> {
        let block_len = self.block_len.unwrap_or_else(|| match file_len {
            Some(len) if self.sums.is_librsync() => rdiff_block_len_for(len),
            Some(len) => block_len_for(len),
            None => UNKNOWN_BLOCK_LEN,
        });
        let shape = Shape { block_len, sums: self.sums, strong_len: self.strong_len };
        shape.validate()?;
        Ok(shape)
    }
}

/// The block length for a stream of unknown length. rdiff uses the same.
const UNKNOWN_BLOCK_LEN: u32 = 2048;

/// The most blocks of a signature with automatic block length: 18 MiB of them.
const MAX_BLOCKS: u64 = 1 << 20;

/// The automatic block length for a file of `file_len` bytes: a power of two from 1024 on. It fits the pages
/// of databases and disk images, so that an edit of one page changes one block and not two.
///
/// | file | block | signature (16 bytes for each block, from 128 KiB on 18) |
/// |---|---|---|
/// | up to 16 MiB | 1024 | 1.6 % |
/// | up to 2 GiB | 2048 | 0.8 %, 16 MiB at most |
/// | up to 4 GiB | 4096 | 16 MiB at most |
/// | up to 8 GiB | 8192 | 16 MiB at most |
/// | twice the length | twice the block, up to [`MAX_BLOCK_LEN`] | 18 MiB at most |
///
/// Short blocks make small deltas. If 1 % of a large file's pages have edits of a few bytes, half the block
/// length gives half the delta. rdiff's rule, the square root of the length, gives deltas several times
/// larger for large files. But a delta needs some 55 bytes of memory for each block (two signatures, and the
/// tables of one). So larger files have at most 2²⁰ blocks, and a file of any length is indexed, stored and
/// applied within 128 MiB.
#[must_use]
pub fn block_len_for(file_len: u64) -> u32 {
    let least = if file_len <= 16 << 20 { 1024 } else { 2048 };
    let longest = u64::from(MAX_BLOCK_LEN);
    let few = file_len.div_ceil(MAX_BLOCKS).min(longest).next_power_of_two();
    few.max(least) as u32
}

/// rdiff's rule: the square root rounded down to a multiple of 128, at least 256.
fn rdiff_block_len_for(file_len: u64) -> u32 {
    let root = file_len.isqrt() as u32 & !127;
    root.clamp(256, MAX_BLOCK_LEN)
}

/// What a reader of packed blocks must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Bytes of a block of the file. The last block may be shorter.
    pub block_len: u32,
    /// The sums of each block.
    pub sums: Sums,
    /// How many bytes of the strong hash are kept.
    pub strong_len: u8,
}

impl Shape {
    /// Checks that a signature can have this shape.
    ///
    /// # Errors
    /// [`Error::Options`] if the block length is 0, over [`MAX_BLOCK_LEN`], or with anchors not a power of
    /// two from 1024 on; if the strong length is 0 or over the hash's length.
    pub fn validate(&self) -> Result<()> {
        let subtree =
            self.block_len.is_power_of_two() && self.block_len as usize >= MIN_SUBTREE_LEN;
        if self.block_len == 0 || self.block_len > MAX_BLOCK_LEN {
            Err(Error::Options("the block length must be 1 byte to 16 MiB"))
        } else if self.in_tree() && !subtree {
            Err(Error::Options(
                "with BLAKE3 the block length must be a power of two, at least 1 KiB",
            ))
        } else if self.strong_len == 0 || self.strong_len > self.sums.strong_len() {
            Err(Error::Options("the strong length must be 1 byte to the length of the hash"))
        } else {
            Ok(())
        }
    }

    /// Bytes of a packed block: the weak sum, then the kept bytes of the strong hash.
    #[must_use]
    pub fn bytes_per_block(&self) -> usize {
        self.weak_len() + usize::from(self.strong_len)
    }

    /// Bytes of the packed weak sum.
    #[must_use]
    pub fn weak_len(&self) -> usize {
        match self.sums.weak() {
            WeakSum::Anchor => anchor::word_len(self.block_len),
            WeakSum::Rsync => 8,
            WeakSum::Rollsum | WeakSum::RabinKarp => 4,
        }
    }

    /// How many blocks a file of `file_len` bytes has.
    #[must_use]
    pub fn blocks_in(&self, file_len: u64) -> u64 {
        file_len.div_ceil(self.block_len.max(1).into())
    }

    /// The weak sum of a block.
    pub(crate) fn weak_of(&self, block: &[u8]) -> u64 {
        match self.sums.weak() {
            WeakSum::Anchor => Anchoring::new(self.block_len).word_of(block),
            WeakSum::Rsync => RollingSum::of(block).value(),
            WeakSum::Rollsum => Rollsum::of(block).value(),
            WeakSum::RabinKarp => RabinKarp::of(block).value(),
        }
    }

    /// Whether the strong hashes are made of chaining values of the file's BLAKE3 tree.
    pub(crate) fn in_tree(&self) -> bool {
        self.sums == Sums::AnchorBlake3
    }

    /// The strong hash of a block, in the first bytes of the result. The block begins at `offset` of its file
    /// and is not the whole file. Of anchors it is the chaining value, which is not bound to a file yet.
    pub(crate) fn strong_of(&self, block: &[u8], offset: u64) -> [u8; 32] {
        match self.sums {
            Sums::AnchorBlake3 => blake3_tree::chaining_value(block, offset),
            #[cfg(feature = "sha2")]
            Sums::RsyncSha256 => <sha2::Sha256 as sha2::Digest>::digest(block).into(),
            #[cfg(feature = "librsync")]
            Sums::RollsumBlake2b | Sums::RabinKarpBlake2b => {
                use blake2::{Blake2b, Digest, digest::consts::U32};
                Blake2b::<U32>::digest(block).into()
            }
            #[cfg(feature = "librsync")]
            Sums::RollsumMd4 | Sums::RabinKarpMd4 => {
                let mut out = [0; 32];
                out[..16].copy_from_slice(&<md4::Md4 as md4::Digest>::digest(block));
                out
            }
        }
    }

    /// [`strong_of`](Self::strong_of) the first `most` blocks of `data`, which begins at `offset` of its file.
    pub(crate) fn strong_of_blocks(&self, data: &[u8], offset: u64, most: usize) -> Vec<[u8; 32]> {
        let block_len = self.block_len as usize;
        let data = &data[..data.len().min(most.saturating_mul(block_len))];
        if self.in_tree() {
            return blake3_tree::chaining_values(data, offset, block_len);
        }
        data.chunks(block_len).map(|block| self.strong_of(block, offset)).collect()
    }

    /// Writes the weak sums of the blocks of `data` to their places in the packed blocks.
    pub(crate) fn pack_weak(&self, data: &[u8], packed: &mut [u8]) {
        let blocks = data.chunks(self.block_len as usize);
        for (block, packed) in blocks.zip(packed.chunks_exact_mut(self.bytes_per_block())) {
            let sum = self.weak_of(block);
            let weak = &mut packed[..self.weak_len()];
            if self.sums.is_librsync() {
                weak.copy_from_slice(&(sum as u32).to_be_bytes());
            } else {
                let len = weak.len();
                weak.copy_from_slice(&sum.to_le_bytes()[..len]);
            }
        }
    }

    /// Writes strong hashes to their places in the packed blocks.
    pub(crate) fn pack_strong(&self, hashes: &[[u8; 32]], packed: &mut [u8]) {
        for (hash, packed) in hashes.iter().zip(packed.chunks_exact_mut(self.bytes_per_block())) {
            let strong = &mut packed[self.weak_len()..];
            strong.copy_from_slice(&hash[..strong.len()]);
        }
    }

    /// Writes the strong hashes that blocks with these nodes have in the file of this digest.
    pub(crate) fn pack_bound(&self, digest: &Digest, nodes: &[[u8; 32]], packed: &mut [u8]) {
        self.pack_strong(&blake3_tree::bind(digest, nodes), packed);
    }

    /// The weak sum and the strong hash of a packed block.
    pub(crate) fn unpack<'a>(&self, packed: &'a [u8]) -> (u64, &'a [u8]) {
        let (weak, strong) = packed.split_at(self.weak_len());
        let mut word = [0; 8];
        word[..weak.len()].copy_from_slice(weak);
        let sum = u64::from_le_bytes(word);
        (if self.sums.is_librsync() { (sum as u32).swap_bytes().into() } else { sum }, strong)
    }
}

#[cfg(all(test, feature = "sha2", feature = "librsync"))]
mod tests {
    use super::*;

    /// Promise: the documented block lengths; signatures of the same file stay comparable.
    #[test]
    fn automatic_lengths() {
        for (len, want) in [
            (0, 1024),
            (1 << 24, 1024),
            ((1 << 24) + 1, 2048),
            (2 << 30, 2048),
            ((2 << 30) + 1, 4096),
            (8 << 30, 8192),
            (20 << 30, 32768),
            (1 << 40, 1 << 20),
            (u64::MAX, MAX_BLOCK_LEN),
        ] {
            assert_eq!(block_len_for(len), want, "{len}");
        }
        for (len, want) in [
            (0, 256),
            (65536, 256),
            (1 << 30, 32768),
            (10_400_000, 3200),
            (u64::MAX, MAX_BLOCK_LEN),
        ] {
            assert_eq!(rdiff_block_len_for(len), want);
        }
    }

    /// Promise: every shape that no format has is refused.
    #[test]
    fn impossible_shapes() {
        let shape =
            |block_len, sums, strong_len| Shape { block_len, sums, strong_len }.validate().is_ok();
        assert!(shape(1, Sums::RsyncSha256, 1));
        assert!(shape(MAX_BLOCK_LEN, Sums::AnchorBlake3, 1));
        assert!(shape(MAX_BLOCK_LEN, Sums::RabinKarpMd4, 16));
        for block_len in [0, 1, 512, 1025, 3072, MAX_BLOCK_LEN + 1, 2 * MAX_BLOCK_LEN] {
            assert!(!shape(block_len, Sums::AnchorBlake3, 16));
        }
        assert!(!shape(0, Sums::RsyncSha256, 16));
        assert!(!shape(1024, Sums::AnchorBlake3, 0));
        assert!(!shape(1024, Sums::AnchorBlake3, 33));
        assert!(!shape(1024, Sums::RollsumMd4, 17));
    }
}
