//! The seal of a delta file: what names the base and the result and checks the delta. It follows the end
//! command, where librsync does not look. Owns the seal's bytes and checks; must not know commands.
//!
//! `docs/format.md` describes the format byte for byte.

use super::patch::Patched;
use super::{DeltaFault, DeltaStats};
use crate::error::During;
use crate::{Digest, Error, Result, Signature};
use std::io::{self, Read, Seek, Write};

const MAGIC: [u8; 8] = *b"\x89RSYDEL\n";
const VERSION: u8 = 1;
/// Magic number, version, whether the base is known, length and digest of the base and of the result,
/// checksum.
pub(crate) const LEN: usize = 8 + 1 + 1 + 2 * (8 + 32) + 32;

/// The seal of a delta: it names the base and the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Seal {
    /// Length and digest of the file that the delta was made for. `None` if the signature did not have them,
    /// as in librsync's format.
    pub base: Option<(u64, Digest)>,
    /// The length of the new data.
    pub new_len: u64,
    /// The digest of the new data.
    pub new_digest: Digest,
}

/// The length and digest of the signature's file, if the signature has them.
pub(crate) fn base_of(signature: &Signature) -> Option<(u64, Digest)> {
    signature.digest().map(|digest| (signature.file_len(), digest))
}

impl Seal {
    pub(crate) fn new(base: Option<(u64, Digest)>, stats: &DeltaStats) -> Seal {
        Seal { base, new_len: stats.new_len, new_digest: stats.new_digest }
    }

    /// The bytes of the seal without its checksum.
    fn fields(&self) -> Vec<u8> {
        let (len, digest) = self.base.unwrap_or((0, Digest([0; 32])));
        let mut bytes = Vec::with_capacity(LEN);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&[VERSION, self.base.is_some().into()]);
        bytes.extend_from_slice(&len.to_le_bytes());
        bytes.extend_from_slice(&digest.0);
        bytes.extend_from_slice(&self.new_len.to_le_bytes());
        bytes.extend_from_slice(&self.new_digest.0);
        bytes
    }

    /// Decodes and checks the seal in `bytes`. `hasher` has hashed the delta before it.
    pub(crate) fn read(
        bytes: &[u8],
        mut hasher: blake3::Hasher,
    ) -> std::result::Result<Seal, DeltaFault> {
        let known = MAGIC.len().min(bytes.len());
        if bytes[..known] != MAGIC[..known] || bytes.len() > LEN {
            return Err(DeltaFault::Trailing);
        }
        let Some((fields, check)) = bytes.split_at_checked(LEN - 32).filter(|_| bytes.len() == LEN)
        else {
            return Err(DeltaFault::Truncated);
        };
        hasher.update(fields);
        if hasher.finalize().as_bytes() != check {
            return Err(DeltaFault::Check);
        }
        let (Some(&[version, known]), Some((base_len, base)), Some((new_len, new_digest))) = (
            fields.get(8..10).and_then(<[u8]>::first_chunk),
            len_and_digest(fields, 10),
            len_and_digest(fields, 50),
        ) else {
            return Err(DeltaFault::Truncated);
        };
        match (version, known) {
            (VERSION, 0) => Ok(Seal { base: None, new_len, new_digest }),
            (VERSION, 1) => Ok(Seal { base: Some((base_len, base)), new_len, new_digest }),
            _ => Err(DeltaFault::SealVersion),
        }
    }

    /// Checks that `patched` is the new data that the seal names. If not, reads `base` to say what is wrong.
    pub(crate) fn check(&self, patched: &Patched, base: impl Read + Seek) -> Result<()> {
        if (patched.len, patched.digest) == (self.new_len, self.new_digest) {
            return Ok(());
        }
        self.check_base(base)?;
        Err(Error::WrongResult { wanted: self.new_digest, found: patched.digest })
    }

    /// Checks that `base` is the file that the delta was made for, if the seal names it.
    pub(crate) fn check_base(&self, mut base: impl Read + Seek) -> Result<()> {
        let Some((_, wanted)) = self.base else { return Ok(()) };
        base.rewind().during("read the base")?;
        let mut hasher = blake3::Hasher::new();
        io::copy(&mut base, &mut hasher).during("read the base")?;
        let found = Digest(hasher.finalize().into());
        if found == wanted { Ok(()) } else { Err(Error::WrongBase { wanted, found }) }
    }
}

fn len_and_digest(fields: &[u8], at: usize) -> Option<(u64, Digest)> {
    let (len, rest) = fields.get(at..)?.split_first_chunk()?;
    Some((u64::from_le_bytes(*len), Digest(*rest.first_chunk()?)))
}

/// Writes a delta stream to `out` and hashes it, to put a seal at its end.
pub(crate) struct SealingWriter<W> {
    out: W,
    hasher: blake3::Hasher,
}

impl<W: Write> SealingWriter<W> {
    pub(crate) fn new(out: W) -> SealingWriter<W> {
        SealingWriter { out, hasher: blake3::Hasher::new() }
    }

    pub(crate) fn seal(mut self, seal: Seal) -> Result<()> {
        let fields = seal.fields();
        let check = self.hasher.update(&fields).finalize();
        self.out.write_all(&[&fields[..], check.as_bytes()].concat()).during("write the delta")
    }
}

impl<W: Write> Write for SealingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
