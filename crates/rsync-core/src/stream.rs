//! Deltas of new data that cannot be read twice: batch by batch, with bounded memory. Knows the order of the steps.

use crate::command;
use crate::delta::{SEGMENT, Tally};
use crate::error::During;
use crate::join::Joiner;
use crate::matcher::{Matcher, Run};
use crate::scan::{Part, scan};
use crate::seal::{self, Sealed};
use crate::write::Output;
use crate::{DeltaStats, Result, Seal, Signature};
use rayon::prelude::*;
use std::io::{Read, Write};

/// What is scanned at a time: whole segments.
const BATCH: usize = 16 << 20;

/// Computes and writes a bare delta stream in one go, for new data that cannot be read twice, holding some 20 MiB of it.
///
/// The stream is that of [`Delta`](crate::Delta), except that a literal may be cut in two where a batch ends.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io).
pub fn delta(signature: &Signature, new: impl Read, out: impl Write) -> Result<DeltaStats> {
    stream(signature, new, out, BATCH)
}

/// [`delta()`] with a [`Seal`] behind it: a delta that stands by itself, which [`patch_sealed`](crate::patch_sealed) checks and
/// `rdiff patch` takes too.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io).
pub fn delta_sealed(signature: &Signature, new: impl Read, out: impl Write) -> Result<DeltaStats> {
    let mut out = Sealed::new(out);
    let stats = delta(signature, new, &mut out)?;
    out.seal(Seal::new(seal::base_of(signature), &stats))?;
    Ok(stats)
}

pub(crate) fn stream(
    signature: &Signature,
    mut new: impl Read,
    out: impl Write,
    batch: usize,
) -> Result<DeltaStats> {
    let matcher = Matcher::new(signature);
    let wanted = batch + matcher.block_len();
    let cut = SEGMENT.min(batch);
    let mut joiner = Joiner::new(&matcher);
    let mut hasher = blake3::Hasher::new();
    let mut writer = StreamWriter { out: Output::begin(out)?, tally: Tally::default(), at: 0 };
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
        let part = Part { bytes: &buffer, offset };
        let range = |index: usize| index * cut..scanning.min((index + 1) * cut);
        let segments: Vec<_> = if buffer.len() <= cut {
            hasher.update(fresh);
            vec![scan(&matcher, part, 0..scanning, &[])]
        } else {
            let cuts = (0..scanning.div_ceil(cut)).into_par_iter();
            let scanned = cuts.map(|index| scan(&matcher, part, range(index), &[]));
            rayon::join(|| hasher.update_rayon(fresh), || scanned.collect()).1
        };
        for (index, scanned) in segments.into_iter().enumerate() {
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
        writer.literal(joiner.last().0, &buffer, offset)?;
        buffer.drain(..batch);
        offset = end;
    }
    writer.out.end()?;
    Ok(writer.tally.stats(hasher.finalize().into(), joiner.strong_hashes))
}

/// Writes commands as they become final.
struct StreamWriter<O: Write> {
    out: Output<O>,
    tally: Tally,
    /// How far the new data is written.
    at: u64,
}

impl<O: Write> StreamWriter<O> {
    /// Everything up to `end` is literal.
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

    fn copy(&mut self, copy: &Run) -> Result<()> {
        self.out.command(command::copy(copy.base, copy.len))?;
        self.tally.copy(copy);
        self.at = copy.new_end();
        Ok(())
    }
}
