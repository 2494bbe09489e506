//! The seal of a delta file: what the delta says of its base, its result and itself, behind its end command, where librsync
//! does not look. Knows the seal's bytes and what they promise; no commands.
//!
//! The format is described, byte for byte, in `docs/format.md`.

use crate::error::During;
use crate::{DeltaFault, DeltaStats, Digest, Error, Patched, Result, Signature};
use std::io::{self, Read, Seek, Write};

const MAGIC: [u8; 8] = *b"\x89RSYDEL\n";
const VERSION: u8 = 1;
/// Magic, version, whether the base is known, length and digest of the base and of the result, check.
pub(crate) const LEN: usize = 8 + 1 + 1 + 2 * (8 + 32) + 32;

/// What a sealed delta says of its base and of its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seal {
    /// Length and digest of the file that the delta was made for; `None` when the signature did not tell, as librsync's.
    pub base: Option<(u64, Digest)>,
    /// Length of what the delta makes of it.
    pub new_len: u64,
    /// Digest of that.
    pub new_digest: Digest,
}

/// The file that the signature is of, if it says so.
pub(crate) fn base_of(signature: &Signature) -> Option<(u64, Digest)> {
    signature.digest().map(|digest| (signature.file_len(), digest))
}

impl Seal {
    pub(crate) fn new(base: Option<(u64, Digest)>, stats: &DeltaStats) -> Seal {
        Seal { base, new_len: stats.new_len, new_digest: stats.new_digest }
    }

    /// All of the seal but its check.
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

    /// The seal that `bytes` are, behind the delta that `hasher` has seen.
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
        let (Some(&[version, known]), Some((base_len, base)), Some((new_len, new_digest))) =
            (fields.get(8..10).and_then(<[u8]>::first_chunk), side(fields, 10), side(fields, 50))
        else {
            return Err(DeltaFault::Truncated);
        };
        match (version, known) {
            (VERSION, 0) => Ok(Seal { base: None, new_len, new_digest }),
            (VERSION, 1) => Ok(Seal { base: Some((base_len, base)), new_len, new_digest }),
            _ => Err(DeltaFault::SealVersion),
        }
    }

    /// That `patched` is what the delta makes. If it is not, the base is read to say what is wrong.
    pub(crate) fn check(&self, patched: &Patched, base: impl Read + Seek) -> Result<()> {
        if (patched.len, patched.digest) == (self.new_len, self.new_digest) {
            return Ok(());
        }
        self.check_base(base)?;
        Err(Error::WrongResult { wanted: self.new_digest, found: patched.digest })
    }

    /// That `base` is the file that the delta was made for, as far as the seal tells.
    pub(crate) fn check_base(&self, mut base: impl Read + Seek) -> Result<()> {
        let Some((_, wanted)) = self.base else { return Ok(()) };
        base.rewind().during("read the base")?;
        let mut hasher = blake3::Hasher::new();
        io::copy(&mut base, &mut hasher).during("read the base")?;
        let found = hasher.finalize().into();
        if found == wanted { Ok(()) } else { Err(Error::WrongBase { wanted, found }) }
    }
}

/// The length and the digest at `at`.
fn side(fields: &[u8], at: usize) -> Option<(u64, Digest)> {
    let (len, rest) = fields.get(at..)?.split_first_chunk()?;
    Some((u64::from_le_bytes(*len), Digest(*rest.first_chunk()?)))
}

/// Passes a delta stream on, and puts the seal behind it.
pub(crate) struct Sealed<W> {
    out: W,
    hasher: blake3::Hasher,
}

impl<W: Write> Sealed<W> {
    pub(crate) fn new(out: W) -> Sealed<W> {
        Sealed { out, hasher: blake3::Hasher::new() }
    }

    pub(crate) fn seal(mut self, seal: Seal) -> Result<()> {
        let fields = seal.fields();
        let check = self.hasher.update(&fields).finalize();
        self.out.write_all(&[&fields[..], check.as_bytes()].concat()).during("write the delta")
    }
}

impl<W: Write> Write for Sealed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
