//! Applying a delta to its base. Knows the commands and nothing of signatures.

use crate::command::Command;
use crate::commands::{Commands, DeltaFault};
use crate::error::During;
use crate::{Digest, Error, Result, Seal};
use std::io::{self, Read, Seek, SeekFrom, Write};

/// Output is hashed and written in batches of this size: they stay in a processor's own cache from reading to writing, and
/// Linux finds pages for them quickly. For longer writes it wants larger pieces of memory at once, and sometimes looks for
/// them for longer than everything else here takes.
const BATCH: usize = 128 << 10;

/// The result of a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patched {
    /// Bytes written.
    pub len: u64,
    /// Their digest.
    pub digest: Digest,
}

/// Writes to `out` what the bare stream `delta` makes of `base`: at most `max_len` bytes.
///
/// The length and digest of what was written come back; comparing them with what was promised is the caller's part, and must
/// not be left out: a delta stream does not say which base it belongs to, and has no check of its own. ([`patch_sealed`] is for
/// deltas that do and have.)
///
/// # Errors
/// [`Error::Delta`] with the offset of the command at fault; what came before it has been written. [`Error::Io`].
pub fn patch(
    mut base: impl Read + Seek,
    delta: impl Read,
    out: impl Write,
    max_len: u64,
) -> Result<Patched> {
    run(&mut base, &mut Commands::new(delta, max_len)?, out)
}

/// Writes to `out` what the delta file `delta` makes of `base`: at most `max_len` bytes. Its [`Seal`] comes back too, when it
/// has one: then the delta was whole and unchanged, and what was written is what it was made for.
///
/// Without a seal (as in `rdiff`'s deltas) this does no more than [`patch()`], and as much is left to the caller.
///
/// # Errors
/// As [`patch()`]; [`DeltaFault::Check`] for a delta that is damaged, [`Error::WrongBase`] when `base` is not the file that the
/// delta was made for, [`Error::WrongResult`] when what was made is wrong all the same. All of these come when everything has
/// been written: nothing of it is to be used then.
pub fn patch_sealed(
    mut base: impl Read + Seek,
    delta: impl Read,
    out: impl Write,
    max_len: u64,
) -> Result<(Patched, Option<Seal>)> {
    let mut commands = Commands::sealed(delta, max_len)?;
    let patched = match run(&mut base, &mut commands, out) {
        // With the wrong base as with a damaged delta: its seal, if it can be read, says which.
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
    commands: &mut Commands<D>,
    out: impl Write,
) -> Result<Patched> {
    let base_len = base.seek(SeekFrom::End(0)).during("measure the base")?;
    let mut out = Output {
        out,
        batch: vec![0; BATCH].into(),
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
    Ok(Patched { len: out.len, digest: out.hasher.finalize().into() })
}

/// What is written, hashed on the way.
struct Output<O: Write> {
    out: O,
    batch: Box<[u8]>,
    /// How much of the batch is waiting to be written.
    filled: usize,
    hasher: blake3::Hasher,
    len: u64,
}

impl<O: Write> Output<O> {
    /// Passes `len` bytes on; fewer when `input` ends. Returns how many.
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
        let bytes = &self.batch[..self.filled];
        self.hasher.update(bytes);
        self.out.write_all(bytes).during("write the output")?;
        self.filled = 0;
        Ok(())
    }
}
