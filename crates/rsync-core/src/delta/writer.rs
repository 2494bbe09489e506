//! Writes a computed delta: commands, and literals that are verified in a copy. Must not know how the copies
//! were found.

use super::command::{self, CommandBytes};
use crate::error::During;
use crate::file_bytes::Input;
use crate::matching::Match;
use crate::progress::advance;
use crate::{Digest, Error, Progress, Result, blake3_tree, parallel};
use blake3::hazmat::ChainingValue;
use std::io::Write;

/// About how many bytes are copied and verified at a time, while the batch before is written.
const BATCH_LEN: usize = 2 << 20;
/// The least number of subtrees in a full batch, however long they are: work for several threads.
const MIN_BATCH: usize = 4;

/// New data whose bytes can be verified.
pub(crate) struct LiteralSource<'a> {
    pub(crate) new: Input<'a>,
    /// The chaining values of its subtrees.
    pub(crate) subtrees: &'a [ChainingValue],
    /// Bytes of a subtree, a power of two.
    pub(crate) subtree_len: usize,
    pub(crate) digest: Digest,
}

/// Some subtrees, copied and verified.
#[derive(Default)]
struct Batch {
    /// The indices of the subtrees, ascending.
    numbers: Vec<usize>,
    /// Their bytes. All have the same length, except the last of the content.
    bytes: Vec<u8>,
}

impl LiteralSource<'_> {
    /// Writes the delta that has these `copies`. Every literal byte is copied, verified in the copy, and
    /// written from it.
    pub(crate) fn write(
        &self,
        copies: &[Match],
        out: impl Write,
        progress: Option<&Progress>,
    ) -> Result<()> {
        let subtree_len = self.subtree_len;
        let most = (BATCH_LEN / subtree_len).max(MIN_BATCH);
        let mut needed = gaps(copies, self.new.bytes.len() as u64).flat_map(|(from, to)| {
            from as usize / subtree_len..(to as usize).div_ceil(subtree_len)
        });
        // A subtree with two literals is needed only once.
        let mut last = usize::MAX;
        let mut next_batch = |batch: &mut Batch| {
            batch.numbers.clear();
            let distinct =
                needed.by_ref().filter(|&number| std::mem::replace(&mut last, number) != number);
            batch.numbers.extend(distinct.take(most));
            self.copy_and_verify(batch, most)
        };
        let mut writer = DeltaWriter {
            out: CommandWriter::begin(out, progress)?,
            copies,
            subtree_len,
            at: 0,
            literal_end: 0,
            end: self.new.bytes.len() as u64,
        };
        let (mut ready, mut next) = (Batch::default(), Batch::default());
        next_batch(&mut ready)?;
        while !ready.numbers.is_empty() {
            if ready.numbers.len() < most {
                writer.write(&ready)?;
                break;
            }
            let mut verified = Ok(());
            parallel::beside(|| verified = next_batch(&mut next), || writer.write(&ready))?;
            verified?;
            std::mem::swap(&mut ready, &mut next);
        }
        writer.finish()
    }

    fn copy_and_verify(&self, batch: &mut Batch, most: usize) -> Result<()> {
        let (new, subtree_len) = (self.new.bytes, self.subtree_len);
        let subtree = |number: usize| {
            let start = (number * subtree_len).min(new.len());
            &new[start..new.len().min(start + subtree_len)]
        };
        batch.bytes.resize(batch.numbers.iter().map(|&number| subtree(number).len()).sum(), 0);
        let verify = |(copy, &number): (&mut [u8], &usize)| {
            copy.copy_from_slice(subtree(number));
            let same = match self.subtrees {
                [_] => Digest::of(copy) == self.digest,
                subtrees => {
                    let value = blake3_tree::chaining_value(copy, (number * subtree_len) as u64);
                    subtrees.get(number) == Some(&value)
                }
            };
            if same { Ok(()) } else { Err(Error::Changed) }
        };
        let mut tasks = batch.bytes.chunks_mut(subtree_len).zip(&batch.numbers);
        if batch.numbers.len() < most {
            tasks.try_for_each(verify)?;
        } else {
            parallel::map(tasks.collect(), verify).into_iter().collect::<Result<()>>()?;
        }
        if let (Some(&first), Some(&last)) = (batch.numbers.first(), batch.numbers.last()) {
            self.new.release(first * subtree_len..new.len().min((last + 1) * subtree_len));
        }
        Ok(())
    }
}

/// The gaps between copies in data of length `end`.
fn gaps(copies: &[Match], end: u64) -> impl Iterator<Item = (u64, u64)> {
    let starts = std::iter::once(0).chain(copies.iter().map(Match::new_end));
    let ends = copies.iter().map(|copy| copy.new).chain([end]);
    starts.zip(ends).filter(|(from, to)| from < to)
}

/// The state of a delta that is being written.
struct DeltaWriter<'a, O: Write> {
    out: CommandWriter<'a, O>,
    /// Copies that are not yet written.
    copies: &'a [Match],
    /// Bytes of a subtree.
    subtree_len: usize,
    /// How far the new data is written.
    at: u64,
    /// The end of the literal whose head was written last.
    literal_end: u64,
    end: u64,
}

impl<O: Write> DeltaWriter<'_, O> {
    /// Writes the literals in the batch, and the copies before and between them.
    fn write(&mut self, batch: &Batch) -> Result<()> {
        for (&number, subtree) in batch.numbers.iter().zip(batch.bytes.chunks(self.subtree_len)) {
            let start = (number * self.subtree_len) as u64;
            let subtree_end = start + subtree.len() as u64;
            loop {
                self.write_copies()?;
                let gap_end = self.copies.first().map_or(self.end, |copy| copy.new);
                let to = gap_end.min(subtree_end);
                if self.at >= to {
                    break;
                }
                if self.at >= self.literal_end {
                    self.out.command(command::literal(gap_end - self.at))?;
                    self.literal_end = gap_end;
                }
                let bytes = subtree.get((self.at - start) as usize..(to - start) as usize);
                self.out.write(bytes.unwrap_or_default())?;
                self.at = to;
            }
        }
        Ok(())
    }

    /// Writes the copies that begin at the current place in the new data.
    fn write_copies(&mut self) -> Result<()> {
        while let Some((copy, rest)) =
            self.copies.split_first().filter(|(copy, _)| copy.new == self.at)
        {
            self.out.command(command::copy(copy.base, copy.len))?;
            self.at = copy.new_end();
            self.copies = rest;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        self.write_copies()?;
        self.out.end()
    }
}

/// Writes the bytes of a delta stream, in few large writes.
pub(crate) struct CommandWriter<'a, O: Write> {
    out: O,
    /// Counts the bytes that are written.
    progress: Option<&'a Progress>,
    buffer: Vec<u8>,
}

const BUFFER_LEN: usize = 64 << 10;

impl<'a, O: Write> CommandWriter<'a, O> {
    pub(crate) fn begin(out: O, progress: Option<&'a Progress>) -> Result<Self> {
        let mut writer = CommandWriter { out, progress, buffer: Vec::with_capacity(BUFFER_LEN) };
        writer.write(&command::MAGIC)?;
        Ok(writer)
    }

    pub(crate) fn command(&mut self, command: CommandBytes) -> Result<()> {
        self.write(command.as_bytes())
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if self.buffer.len() + bytes.len() > BUFFER_LEN {
            self.flush()?;
        }
        if bytes.len() >= BUFFER_LEN {
            advance(self.progress, bytes.len())?;
            return self.out.write_all(bytes).during("write the delta");
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    pub(crate) fn end(mut self) -> Result<()> {
        self.write(&[command::END])?;
        self.flush()
    }

    fn flush(&mut self) -> Result<()> {
        advance(self.progress, self.buffer.len())?;
        self.out.write_all(&self.buffer).during("write the delta")?;
        self.buffer.clear();
        Ok(())
    }
}
