//! Deltas of new data that cannot be read twice: batch by batch, with bounded memory. Owns the order of the
//! steps; must not know how matches are found.

use super::seal::{self, Seal, SealingWriter};
use super::writer::CommandWriter;
use super::{DeltaStats, TASK_LEN, Tally, command};
use crate::error::During;
use crate::matching::{Match, Part, join::Joiner, matcher::Matcher, scan::scan};
use crate::progress::advance;
use crate::{Digest, Progress, Result, Signature, parallel};
use std::io::{Read, Write};

/// Bytes that are scanned at a time: many tasks.
const BATCH_LEN: usize = 16 << 20;

/// Computes and writes a bare delta stream in one pass, for new data that cannot be read twice. Holds some 20
/// MiB of it; more with blocks over 4 MiB.
///
/// The stream is the same as that of [`Delta`](crate::Delta), except that the end of a batch may cut a
/// literal in two. Counts the bytes of the new data in `progress`.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io), [`Error::Cancelled`](crate::Error::Cancelled).
pub fn delta(
    signature: &Signature,
    new: impl Read,
    out: impl Write,
    progress: Option<&Progress>,
) -> Result<DeltaStats> {
    stream(signature, new, out, progress, BATCH_LEN)
}

/// [`delta()`] with a [`Seal`] at the end. Such a delta checks itself: [`patch_sealed`](crate::patch_sealed)
/// reads the seal, and `rdiff patch` ignores it.
///
/// # Errors
/// Those of [`delta()`].
pub fn delta_sealed(
    signature: &Signature,
    new: impl Read,
    out: impl Write,
    progress: Option<&Progress>,
) -> Result<DeltaStats> {
    let mut out = SealingWriter::new(out);
    let stats = delta(signature, new, &mut out, progress)?;
    out.seal(Seal::new(seal::base_of(signature), &stats))?;
    Ok(stats)
}

/// [`delta()`], with batches of `batch` bytes.
pub(crate) fn stream(
    signature: &Signature,
    mut new: impl Read,
    out: impl Write,
    progress: Option<&Progress>,
    batch: usize,
) -> Result<DeltaStats> {
    let matcher = Matcher::new(signature);
    let wanted = batch + matcher.block_len();
    let task_len = TASK_LEN.min(batch);
    let mut joiner = Joiner::new(&matcher);
    let mut hasher = blake3::Hasher::new();
    let out = CommandWriter::begin(out, None)?;
    let mut writer = StreamWriter { out, tally: Tally::default(), at: 0 };
    let (mut buffer, mut offset) = (Vec::new(), 0u64);
    loop {
        let held = buffer.len();
        new.by_ref()
            .take((wanted - held) as u64)
            .read_to_end(&mut buffer)
            .during("read the new data")?;
        let last = buffer.len() < wanted;
        let scanning = if last { buffer.len() } else { batch };
        let fresh = &buffer[held..];
        advance(progress, fresh.len())?;
        let part = Part { bytes: &buffer, offset };
        let range = |index: usize| index * task_len..scanning.min((index + 1) * task_len);
        let results: Vec<_> = if buffer.len() <= task_len {
            hasher.update(fresh);
            vec![scan(&matcher, part, 0..scanning, &[])]
        } else {
            let tasks = (0..scanning.div_ceil(task_len)).collect();
            let scan = |index| scan(&matcher, part, range(index), &[]);
            parallel::beside(|| parallel::hash(&mut hasher, fresh), || parallel::map(tasks, scan))
        };
        for (index, scanned) in results.into_iter().enumerate() {
            joiner.add(scanned, part, range(index));
        }
        let end = offset + scanning as u64;
        if last {
            joiner.finish(part);
        } else {
            joiner.settle(end, part);
        }
        for copy in joiner.copies.drain(..) {
            writer.literal(copy.new, &buffer, offset)?;
            writer.copy(&copy)?;
        }
        if last {
            writer.literal(end, &buffer, offset)?;
            break;
        }
        writer.literal(joiner.last_start(), &buffer, offset)?;
        buffer.drain(..batch);
        offset = end;
    }
    writer.out.end()?;
    Ok(writer.tally.stats(Digest(hasher.finalize().into()), joiner.strong_hashes))
}

/// Writes commands as soon as they are final.
struct StreamWriter<'a, O: Write> {
    out: CommandWriter<'a, O>,
    tally: Tally,
    /// How far the new data is written.
    at: u64,
}

impl<O: Write> StreamWriter<'_, O> {
    /// Writes everything up to `end` as a literal. `buffer` begins at `offset` of the new data.
    fn literal(&mut self, end: u64, buffer: &[u8], offset: u64) -> Result<()> {
        let Some(len) = end.checked_sub(self.at).filter(|&len| len > 0) else {
            return Ok(());
        };
        self.out.command(command::literal(len))?;
        self.out.write(&buffer[(self.at - offset) as usize..(end - offset) as usize])?;
        self.tally.literal(len);
        self.at = end;
        Ok(())
    }

    fn copy(&mut self, copy: &Match) -> Result<()> {
        self.out.command(command::copy(copy.base, copy.len))?;
        self.tally.copy(copy);
        self.at = copy.new_end();
        Ok(())
    }
}
