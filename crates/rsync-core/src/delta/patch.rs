//! Applies a delta to its base. Must not know signatures.

use super::command::Command;
use super::reader::{CommandReader, DeltaFault};
use super::seal::Seal;
use crate::error::During;
use crate::progress::advance;
use crate::{Digest, Error, Progress, Result};
use std::io::{self, Read, Seek, SeekFrom, Write};

/// Output is hashed and written in batches of this many bytes. So they stay in a processor's own cache from
/// reading to writing, and Linux finds page-cache memory for them fast. For longer writes Linux wants larger
/// pieces of memory at once; the search for these sometimes takes longer than everything else here.
const BATCH_LEN: usize = 128 << 10;

/// The result of a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Patched {
    /// How many bytes were written.
    pub len: u64,
    /// Their digest.
    pub digest: Digest,
}

/// Applies the bare stream `delta` to `base` and writes the result to `out`: at most `max_len` bytes.
/// Counts the bytes of the result in `progress`.
///
/// Returns the length and digest of the result. The caller must compare them with the expected ones: a bare
/// stream does not name its base and has no checksum. ([`patch_sealed`] is for deltas that do and have.)
///
/// # Errors
/// [`Error::Delta`] with the offset of the command in `delta`. The result of the commands before it has been
/// written. [`Error::Changed`] if `base` ends before its measured length. [`Error::Io`], [`Error::Cancelled`].
pub fn patch(
    mut base: impl Read + Seek,
    delta: impl Read,
    out: impl Write,
    max_len: u64,
    progress: Option<&Progress>,
) -> Result<Patched> {
    run(&mut base, &mut CommandReader::new(delta, max_len)?, out, progress)
}

/// Applies the delta file `delta` to `base` and writes the result to `out`: at most `max_len` bytes. Also
/// returns the delta's [`Seal`], if it has one. Then the delta is complete and undamaged, and the result is
/// the new data it was made of.
///
/// Without a seal, as in `rdiff`'s deltas, this is the same as [`patch()`], and the caller must check the
/// result.
///
/// # Errors
/// Those of [`patch()`]. Also [`DeltaFault::Check`] if the delta is damaged, [`Error::WrongBase`] if the
/// delta was made for another base, [`Error::WrongResult`] if the result is wrong for another reason. These
/// three come after the whole output was written. Do not use that output.
pub fn patch_sealed(
    mut base: impl Read + Seek,
    delta: impl Read,
    out: impl Write,
    max_len: u64,
    progress: Option<&Progress>,
) -> Result<(Patched, Option<Seal>)> {
    let mut commands = CommandReader::sealed(delta, max_len)?;
    let patched = match run(&mut base, &mut commands, out, progress) {
        // Either the base is wrong or the delta is damaged. The seal shows which, if it can be read.
        Err(error @ Error::Delta { fault: DeltaFault::OutOfBase { .. }, .. }) => {
            match commands.skip_to_seal() {
                Ok(Some(seal)) => seal.check_base(base)?,
                Err(damaged @ Error::Delta { fault: DeltaFault::Check, .. }) => {
                    return Err(damaged);
                }
                _ => {}
            }
            return Err(error);
        }
        patched => patched?,
    };
    if let Some(seal) = commands.seal() {
        seal.check(&patched, base)?;
    }
    Ok((patched, commands.seal()))
}

fn run<D: Read>(
    base: &mut (impl Read + Seek),
    commands: &mut CommandReader<D>,
    out: impl Write,
    progress: Option<&Progress>,
) -> Result<Patched> {
    let base_len = base.seek(SeekFrom::End(0)).during("measure the base")?;
    let mut out = HashedOutput {
        out,
        progress,
        batch: vec![0; BATCH_LEN].into(),
        filled: 0,
        hasher: blake3::Hasher::new(),
        len: 0,
    };
    let mut base_at = base_len;
    while let Some(command) = commands.next()? {
        match command {
            Command::Copy { base: from, len } => {
                let end = commands.end_in_base(from, len, base_len)?;
                if base_at != from {
                    base.seek(SeekFrom::Start(from)).during("read the base")?;
                }
                base_at = end;
                if out.take_from(base, len, "read the base")? < len {
                    return Err(Error::Changed);
                }
            }
            Command::Literal { len } => {
                if out.take_from(commands.literals(), len, "read the delta")? < len {
                    return commands.fault(DeltaFault::Truncated);
                }
            }
            Command::End => {}
        }
    }
    out.flush()?;
    Ok(Patched { len: out.len, digest: Digest(out.hasher.finalize().into()) })
}

/// Hashes the output and writes it, in batches.
struct HashedOutput<'a, O: Write> {
    out: O,
    progress: Option<&'a Progress>,
    batch: Box<[u8]>,
    /// How many bytes of the batch are not yet written.
    filled: usize,
    hasher: blake3::Hasher,
    len: u64,
}

impl<O: Write> HashedOutput<'_, O> {
    /// Takes `len` bytes from `input`, or fewer if it ends. Returns how many.
    fn take_from(
        &mut self,
        input: &mut impl Read,
        len: u64,
        operation: &'static str,
    ) -> Result<u64> {
        let mut left = len;
        while left > 0 {
            let free = &mut self.batch[self.filled..];
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(free.len());
            let got = match input.read(&mut free[..wanted]) {
                Ok(0) => break,
                Ok(got) => got,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e).during(operation),
            };
            self.filled += got;
            left -= got as u64;
            if self.filled == self.batch.len() {
                self.flush()?;
            }
        }
        self.len += len - left;
        Ok(len - left)
    }

    fn flush(&mut self) -> Result<()> {
        advance(self.progress, self.filled)?;
        let bytes = &self.batch[..self.filled];
        self.hasher.update(bytes);
        self.out.write_all(bytes).during("write the output")?;
        self.filled = 0;
        Ok(())
    }
}
