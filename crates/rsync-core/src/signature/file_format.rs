//! Signatures as bytes: this crate's `.sig` format and librsync's. Owns widths and limits; must not know how
//! a block's sums are computed.
//!
//! `docs/format.md` describes the formats byte for byte.

use super::{Shape, Signature, Sums};
use crate::error::During;
use crate::{Digest, Error, Result, parallel};
use std::io::{Read, Write};

const MAGIC: [u8; 8] = *b"\x89RSYSIG\n";
const VERSION: u8 = 1;
const HEADER_LEN: usize = 56;
/// Of librsync's formats: magic number, block length, length of the strong hash.
const LIBRSYNC_HEADER_LEN: usize = 12;

/// librsync's magic numbers.
static LIBRSYNC: &[(u32, Sums)] = &[
    #[cfg(feature = "librsync")]
    (0x7273_0136, Sums::RollsumMd4),
    #[cfg(feature = "librsync")]
    (0x7273_0137, Sums::RollsumBlake2b),
    #[cfg(feature = "librsync")]
    (0x7273_0146, Sums::RabinKarpMd4),
    #[cfg(feature = "librsync")]
    (0x7273_0147, Sums::RabinKarpBlake2b),
];

/// What can be wrong with a signature.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureFault {
    /// Not a signature, or one of a later version.
    #[error("not a signature that this version knows")]
    Magic,
    /// The number of a sum, the block length or the strong length is not allowed.
    #[error("impossible block length or hash")]
    Shape,
    /// The blocks do not have the length that the header, or the shape, requires.
    #[error("the blocks have the wrong length")]
    Length,
    /// It ends too early.
    #[error("it is cut off")]
    Truncated,
    /// The checksum at its end does not match.
    #[error("its checksum does not match: the signature is damaged")]
    Checksum,
    /// Bytes after the end.
    #[error("bytes follow its end")]
    Trailing,
    /// This crate's format needs the file's digest, and this signature has none: it was read from librsync's
    /// format.
    #[error("the file's digest is not known")]
    NoDigest,
}

fn fault<T>(offset: u64, fault: SignatureFault) -> Result<T> {
    Err(Error::Signature { offset, fault })
}

impl Signature {
    /// Writes the signature. With librsync's sums it uses librsync's format, and the bytes are
    /// those that `rdiff` writes. Otherwise it uses this crate's format.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Signature`] if this crate's format is needed and the file's digest is not
    /// known.
    pub fn write_to(&self, mut out: impl Write) -> Result<()> {
        let Shape { block_len, sums, strong_len } = self.shape();
        let librsync = self.librsync_format();
        let mut header = Vec::with_capacity(HEADER_LEN);
        if let Some((magic, _)) = librsync {
            for word in [*magic, block_len, strong_len.into()] {
                header.extend_from_slice(&word.to_be_bytes());
            }
        } else {
            let Some(digest) = self.digest() else {
                return fault(0, SignatureFault::NoDigest);
            };
            header.extend_from_slice(&MAGIC);
            let sums = u8::from(sums != Sums::AnchorBlake3);
            header.extend_from_slice(&[VERSION, sums, sums, strong_len]);
            header.extend_from_slice(&block_len.to_le_bytes());
            header.extend_from_slice(&self.file_len().to_le_bytes());
            header.extend_from_slice(&digest.0);
        }
        let mut write = |bytes: &[u8]| out.write_all(bytes).during("write the signature");
        write(&header)?;
        write(self.packed())?;
        if librsync.is_none() {
            write(&checksum(&header, self.packed()).0)?;
        }
        Ok(())
    }

    /// How many bytes [`write_to`](Signature::write_to) writes.
    #[must_use]
    pub fn encoded_len(&self) -> u64 {
        let around = match self.librsync_format() {
            Some(_) => LIBRSYNC_HEADER_LEN,
            None => HEADER_LEN + size_of::<Digest>(),
        };
        around as u64 + self.packed().len() as u64
    }

    /// The entry of [`LIBRSYNC`] that it is written as, if it is written in one of librsync's formats.
    fn librsync_format(&self) -> Option<&'static (u32, Sums)> {
        LIBRSYNC.iter().find(|(_, sums)| *sums == self.shape().sums)
    }

    /// Reads a signature in any of the formats, to the end of the input.
    ///
    /// The memory grows with the bytes that arrive, never with a length in the header.
    ///
    /// # Errors
    /// [`Error::Signature`] with the offset of the first fault, [`Error::Io`].
    pub fn read_from(mut input: impl Read) -> Result<Signature> {
        let mut header = Vec::with_capacity(HEADER_LEN);
        read_to(&mut input, 4, &mut header)?;
        let magic = header.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
        match LIBRSYNC.iter().find(|(known, _)| Some(*known) == magic) {
            Some(&(_, sums)) => read_librsync(input, sums),
            None => read_own(input, header),
        }
    }
}

fn read_own(mut input: impl Read, mut header: Vec<u8>) -> Result<Signature> {
    read_to(&mut input, HEADER_LEN, &mut header)?;
    let known = MAGIC.len().min(header.len());
    if header[..known] != MAGIC[..known] || header.get(8).is_some_and(|&version| version != VERSION)
    {
        return fault(0, SignatureFault::Magic);
    }
    let Some(header_bytes) = header.first_chunk::<HEADER_LEN>() else {
        return fault(header.len() as u64, SignatureFault::Truncated);
    };
    let (_, fields) = header_bytes.split_at(9);
    let (Some(&[weak, strong, strong_len]), Some(&block_len), Some(&file_len), Some(&digest)) = (
        fields.first_chunk::<3>(),
        fields[3..].first_chunk(),
        fields[7..].first_chunk(),
        fields[15..].first_chunk(),
    ) else {
        return fault(header.len() as u64, SignatureFault::Truncated);
    };
    let sums = match (weak, strong) {
        (0, 0) => Sums::AnchorBlake3,
        #[cfg(feature = "sha2")]
        (1, 1) => Sums::RsyncSha256,
        _ => return fault(9, SignatureFault::Shape),
    };
    let shape = Shape { block_len: u32::from_le_bytes(block_len), sums, strong_len };
    if shape.validate().is_err() {
        return fault(9, SignatureFault::Shape);
    }
    let file_len = u64::from_le_bytes(file_len);
    let wanted = shape.blocks_in(file_len).checked_mul(shape.bytes_per_block() as u64);
    let Some(wanted) = wanted.and_then(|n| usize::try_from(n).ok()) else {
        return fault(16, SignatureFault::Length);
    };

    let mut packed = Vec::new();
    read_to(&mut input, wanted, &mut packed)?;
    let mut trailer = Vec::new();
    read_to(&mut input, 33, &mut trailer)?;
    let end = (HEADER_LEN + packed.len() + trailer.len().min(32)) as u64;
    if trailer.len() < 32 {
        return fault(end, SignatureFault::Truncated);
    }
    if trailer[..32] != checksum(&header, &packed).0 {
        return fault(end - 32, SignatureFault::Checksum);
    }
    if trailer.len() > 32 {
        return fault(end, SignatureFault::Trailing);
    }
    Signature::from_packed(shape, file_len, Some(Digest(digest)), packed)
}

fn read_librsync(mut input: impl Read, sums: Sums) -> Result<Signature> {
    let mut words = Vec::new();
    read_to(&mut input, 8, &mut words)?;
    let (Some(&block_len), Some(&strong_len)) =
        (words.first_chunk(), words.get(4..).and_then(<[u8]>::first_chunk))
    else {
        return fault(4 + words.len() as u64, SignatureFault::Truncated);
    };
    let block_len = u32::from_be_bytes(block_len);
    let strong_len = u8::try_from(u32::from_be_bytes(strong_len)).unwrap_or(0);
    let shape = Shape { block_len, sums, strong_len };
    if shape.validate().is_err() {
        return fault(4, SignatureFault::Shape);
    }
    let mut packed = Vec::new();
    input.read_to_end(&mut packed).during("read the signature")?;
    if packed.len() % shape.bytes_per_block() != 0 {
        return fault(12 + packed.len() as u64, SignatureFault::Truncated);
    }
    let file_len = (packed.len() / shape.bytes_per_block()) as u64 * u64::from(block_len);
    Signature::from_packed(shape, file_len, None, packed)
}

/// Reads until `out` has `len` bytes or the input ends.
fn read_to(input: &mut impl Read, len: usize, out: &mut Vec<u8>) -> Result<()> {
    let missing = len.saturating_sub(out.len()) as u64;
    input.take(missing).read_to_end(out).map(drop).during("read the signature")
}

fn checksum(header: &[u8], packed: &[u8]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(header);
    parallel::hash(&mut hasher, packed);
    Digest(hasher.finalize().into())
}
