//! The shape of a signature: block length and the two sums of a block. Knows how to sum one block; nothing of files.

use crate::lanes::{self, LANES};
use crate::weak::{RabinKarp, Rolling, RollingSum, Rollsum};
use crate::{Error, Result};

/// Longest block, 16 MiB: bounds what a streaming delta must hold.
pub const MAX_BLOCK_LEN: u32 = 16 << 20;

/// The strong hash of a block.
///
/// `Blake3` and `Sha256` go with [`WeakSum::Rsync`]; `Blake2b` and `Md4` exist for librsync's signatures.
/// **MD4 is broken**: whoever can choose contents can make two blocks with one MD4, so a delta against such a signature may
/// rebuild something else than the new data. Use it only to talk to old programs, and check the result's digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StrongHash {
    /// BLAKE3.
    Blake3,
    /// SHA-256.
    Sha256,
    /// BLAKE2b with a 32-byte output, librsync's default.
    Blake2b,
    /// MD4, librsync's old default.
    Md4,
}

/// The rolling sum of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WeakSum {
    /// [`RollingSum`]: two full 32-bit words.
    Rsync,
    /// librsync's first, 32 bits.
    Rollsum,
    /// librsync's default since 2.2, 32 bits.
    RabinKarp,
}

impl StrongHash {
    /// Bytes of the whole hash.
    pub fn max_len(self) -> u8 {
        if self == StrongHash::Md4 { 16 } else { 32 }
    }

    /// The hash of a block, in the first [`max_len`](Self::max_len) bytes.
    pub(crate) fn of(self, block: &[u8]) -> [u8; 32] {
        use blake2::Digest as _;
        use sha2::Digest as _;
        match self {
            StrongHash::Blake3 => blake3::hash(block).into(),
            StrongHash::Sha256 => sha2::Sha256::digest(block).into(),
            StrongHash::Blake2b => {
                blake2::Blake2b::<blake2::digest::consts::U32>::digest(block).into()
            }
            StrongHash::Md4 => {
                let mut out = [0; 32];
                out[..16].copy_from_slice(&md4::Md4::digest(block));
                out
            }
        }
    }
}

impl WeakSum {
    /// Bytes of a packed sum.
    pub fn packed_len(self) -> usize {
        if self == WeakSum::Rsync { 8 } else { 4 }
    }

    /// Whether this is one of librsync's sums.
    pub fn is_librsync(self) -> bool {
        self != WeakSum::Rsync
    }

    pub(crate) fn of(self, block: &[u8]) -> u64 {
        match self {
            WeakSum::Rsync => RollingSum::of(block).value(),
            WeakSum::Rollsum => Rollsum::of(block).value(),
            WeakSum::RabinKarp => RabinKarp::of(block).value(),
        }
    }
}

/// How to make a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignatureOptions {
    /// Bytes of a block, 1 to [`MAX_BLOCK_LEN`]; `None` chooses by the file's length: [`block_len_for`], or rdiff's own rule
    /// when the weak sum is librsync's.
    pub block_len: Option<u32>,
    /// The rolling sum.
    pub weak: WeakSum,
    /// The strong hash.
    pub strong: StrongHash,
    /// Bytes of the strong hash that are kept, from 1. Under 16 a chance match becomes thinkable, and shows only when the
    /// result's digest is checked.
    pub strong_len: u8,
}

impl Default for SignatureOptions {
    /// Automatic block length, the full-width rolling sum, 16 bytes of BLAKE3.
    fn default() -> Self {
        SignatureOptions {
            block_len: None,
            weak: WeakSum::Rsync,
            strong: StrongHash::Blake3,
            strong_len: 16,
        }
    }
}

impl SignatureOptions {
    /// pyrsync's shape: 4096-byte blocks, SHA-256 in full.
    pub fn pyrsync() -> Self {
        SignatureOptions {
            block_len: Some(4096),
            weak: WeakSum::Rsync,
            strong: StrongHash::Sha256,
            strong_len: 32,
        }
    }
    /// What `rdiff signature` writes by default: RabinKarp, BLAKE2b in full, rdiff's block length.
    pub fn rdiff_blake2() -> Self {
        SignatureOptions {
            block_len: None,
            weak: WeakSum::RabinKarp,
            strong: StrongHash::Blake2b,
            strong_len: 32,
        }
    }
    /// What `rdiff -H md4 signature` writes: RabinKarp, MD4 in full, rdiff's block length.
    pub fn rdiff_md4() -> Self {
        SignatureOptions {
            block_len: None,
            weak: WeakSum::RabinKarp,
            strong: StrongHash::Md4,
            strong_len: 16,
        }
    }

    /// The shape for a file of `file_len` bytes (`None`: not known).
    ///
    /// # Errors
    /// [`Error::Options`] where [`Shape::validate`] objects.
    pub fn shape(&self, file_len: Option<u64>) -> Result<Shape> {
        let block_len = self.block_len.unwrap_or_else(|| match file_len {
            Some(len) if self.weak.is_librsync() => rdiff_block_len_for(len),
            Some(len) => block_len_for(len),
            None => UNKNOWN_BLOCK_LEN,
        });
        let shape =
            Shape { block_len, weak: self.weak, strong: self.strong, strong_len: self.strong_len };
        shape.validate()?;
        Ok(shape)
    }
}

/// The block length for a stream of unknown length; rdiff's choice too.
const UNKNOWN_BLOCK_LEN: u32 = 2048;

/// The automatic block length for a file of `file_len` bytes: a power of two from 1024, so that it divides the pages of
/// databases and disk images, whose edits then spoil one block and not two.
///
/// | file | block | signature (24 bytes a block) |
/// |---|---|---|
/// | up to 16 MiB | 1024 | 2.3 % |
/// | up to 4 GiB | 2048 | 1.2 % |
/// | up to 64 GiB | 4096 | 0.6 % |
/// | up to 1 TiB | 8192 | 0.3 % |
/// | more | 16384 | 0.15 % |
///
/// Short blocks make small deltas: with 1 % of a large file's pages edited by a few bytes, halving the block halves the
/// delta. rdiff's rule, the square root of the length, makes deltas several times larger on large files.
pub fn block_len_for(file_len: u64) -> u32 {
    match file_len {
        len if len <= 16 << 20 => 1024,
        len if len <= 4 << 30 => 2048,
        len if len <= 64 << 30 => 4096,
        len if len <= 1 << 40 => 8192,
        _ => 16384,
    }
}

/// rdiff's rule: the square root rounded down to a multiple of 128, at least 256.
fn rdiff_block_len_for(file_len: u64) -> u32 {
    let root = file_len.isqrt() as u32 & !127;
    root.clamp(256, MAX_BLOCK_LEN)
}

/// What must be known to read packed blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Bytes of a block of the file; the last may be shorter.
    pub block_len: u32,
    /// The rolling sum.
    pub weak: WeakSum,
    /// The strong hash.
    pub strong: StrongHash,
    /// Bytes of the strong hash that are kept.
    pub strong_len: u8,
}

impl Shape {
    /// Whether a signature can have this shape.
    ///
    /// # Errors
    /// [`Error::Options`]: block length 0 or over [`MAX_BLOCK_LEN`], strong length 0 or over the hash's, or a weak sum and a
    /// strong hash that no format combines.
    pub fn validate(&self) -> Result<()> {
        let librsync_hash = matches!(self.strong, StrongHash::Blake2b | StrongHash::Md4);
        if self.block_len == 0 || self.block_len > MAX_BLOCK_LEN {
            Err(Error::Options("the block length must be 1 byte to 16 MiB"))
        } else if self.strong_len == 0 || self.strong_len > self.strong.max_len() {
            Err(Error::Options("the strong length must be 1 byte to the hash's length"))
        } else if self.weak.is_librsync() != librsync_hash {
            Err(Error::Options(
                "librsync's rolling sums go with BLAKE2b and MD4, the other with BLAKE3 and SHA-256",
            ))
        } else {
            Ok(())
        }
    }

    /// Bytes of a packed block: the weak sum, then the kept bytes of the strong hash.
    pub fn bytes_per_block(&self) -> usize {
        self.weak.packed_len() + usize::from(self.strong_len)
    }

    /// How many blocks a file of `file_len` bytes has.
    pub fn blocks_in(&self, file_len: u64) -> u64 {
        file_len.div_ceil(self.block_len.max(1).into())
    }

    /// The strong hashes of the first [`LANES`] blocks of `data`.
    pub(crate) fn strong_of_blocks(&self, data: &[u8]) -> [[u8; 32]; LANES] {
        let block_len = self.block_len as usize;
        if self.strong == StrongHash::Blake3 {
            return lanes::hash_blocks(data, block_len);
        }
        let mut hashes = [[0; 32]; LANES];
        let blocks = data.chunks(block_len).zip(&mut hashes);
        blocks.for_each(|(block, hash)| *hash = self.strong.of(block));
        hashes
    }

    /// Writes the packed forms of the blocks of `data` into `out`, as many as it has room for.
    pub(crate) fn pack(&self, data: &[u8], out: &mut [u8]) {
        let (block_len, width) = (self.block_len as usize, self.bytes_per_block());
        let data = &data[..data.len().min(out.len() / width * block_len)];
        for (group, out) in data.chunks(LANES * block_len).zip(out.chunks_mut(LANES * width)) {
            let hashes = self.strong_of_blocks(group);
            for ((block, hash), packed) in
                group.chunks(block_len).zip(hashes).zip(out.chunks_exact_mut(width))
            {
                let (weak, strong) = packed.split_at_mut(self.weak.packed_len());
                let sum = self.weak.of(block);
                if self.weak.is_librsync() {
                    weak.copy_from_slice(&(sum as u32).to_be_bytes());
                } else {
                    weak.copy_from_slice(&sum.to_le_bytes());
                }
                strong.copy_from_slice(&hash[..strong.len()]);
            }
        }
    }

    /// The parts of a packed block.
    pub(crate) fn unpack<'a>(&self, packed: &'a [u8]) -> (u64, &'a [u8]) {
        let (weak, strong) = packed.split_at(self.weak.packed_len());
        let mut word = [0; 8];
        word[..weak.len()].copy_from_slice(weak);
        let sum = u64::from_le_bytes(word);
        (if self.weak.is_librsync() { (sum as u32).swap_bytes().into() } else { sum }, strong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn automatic_lengths() {
        for (len, want) in
            [(0, 1024), (1 << 24, 1024), ((1 << 24) + 1, 2048), (1 << 32, 2048), (1 << 33, 4096)]
        {
            assert_eq!(block_len_for(len), want);
        }
        assert_eq!(block_len_for(u64::MAX), 16384);
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

    #[test]
    fn impossible_shapes() {
        let shape = |block_len, weak, strong, strong_len| {
            Shape { block_len, weak, strong, strong_len }.validate().is_ok()
        };
        assert!(shape(1, WeakSum::Rsync, StrongHash::Blake3, 1));
        assert!(shape(MAX_BLOCK_LEN, WeakSum::RabinKarp, StrongHash::Md4, 16));
        assert!(!shape(0, WeakSum::Rsync, StrongHash::Blake3, 16));
        assert!(!shape(MAX_BLOCK_LEN + 1, WeakSum::Rsync, StrongHash::Blake3, 16));
        assert!(!shape(1024, WeakSum::Rsync, StrongHash::Blake3, 0));
        assert!(!shape(1024, WeakSum::Rsync, StrongHash::Blake3, 33));
        assert!(!shape(1024, WeakSum::Rollsum, StrongHash::Md4, 17));
        assert!(!shape(1024, WeakSum::Rollsum, StrongHash::Blake3, 16));
        assert!(!shape(1024, WeakSum::Rsync, StrongHash::Md4, 16));
    }
}
