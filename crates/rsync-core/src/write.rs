//! Writing a computed delta: commands, and literals taken from the new data and proven to be what was scanned. Knows runs
//! and pieces; nothing of how the runs were found.

use crate::command::{self, CommandBytes};
use crate::error::During;
use crate::matcher::Run;
use crate::tree;
use crate::{Digest, Error, Result, map};
use blake3::hazmat::ChainingValue;
use rayon::prelude::*;
use std::io::Write;

/// So much is copied and hashed together, while what is before it is written.
const BATCH_LEN: usize = 2 << 20;
/// Pieces of that at least, however long they are: work for several threads.
const MIN_BATCH: usize = 4;

/// New data whose bytes can be proven.
pub(crate) struct Provable<'a> {
    pub(crate) new: &'a [u8],
    /// The values of its pieces.
    pub(crate) pieces: &'a [ChainingValue],
    /// Bytes of a piece: a power of two.
    pub(crate) piece_len: usize,
    pub(crate) digest: Digest,
}

/// Some pieces, copied and proven.
#[derive(Default)]
struct Batch {
    /// Which pieces, in order.
    numbers: Vec<usize>,
    /// Their bytes, each but the content's last of one length.
    bytes: Vec<u8>,
}

impl Provable<'_> {
    /// Writes the delta whose copies are `copies`: every literal byte is copied, checked against the hashes and written from
    /// that copy.
    pub(crate) fn write(&self, copies: &[Run], out: impl Write) -> Result<()> {
        let piece_len = self.piece_len;
        let most = (BATCH_LEN / piece_len).max(MIN_BATCH);
        let mut needed = gaps(copies, self.new.len() as u64)
            .flat_map(|(from, to)| from as usize / piece_len..(to as usize).div_ceil(piece_len));
        // Two literals in one piece need it once.
        let mut last = usize::MAX;
        let mut batch = |batch: &mut Batch| {
            batch.numbers.clear();
            let distinct =
                needed.by_ref().filter(|&piece| std::mem::replace(&mut last, piece) != piece);
            batch.numbers.extend(distinct.take(most));
            self.prove(batch, most)
        };
        let mut writer = Writer {
            out: Output::begin(out)?,
            copies,
            piece_len,
            at: 0,
            literal_end: 0,
            end: self.new.len() as u64,
        };
        let (mut ready, mut next) = (Batch::default(), Batch::default());
        batch(&mut ready)?;
        while !ready.numbers.is_empty() {
            if ready.numbers.len() < most {
                writer.write(&ready)?;
                break;
            }
            let mut proven = Ok(());
            rayon::in_place_scope(|scope| {
                scope.spawn(|_| proven = batch(&mut next));
                writer.write(&ready)
            })?;
            proven?;
            std::mem::swap(&mut ready, &mut next);
        }
        writer.finish()
    }

    fn prove(&self, batch: &mut Batch, most: usize) -> Result<()> {
        let piece_len = self.piece_len;
        let pieces = |number: usize| {
            let start = (number * piece_len).min(self.new.len());
            &self.new[start..self.new.len().min(start + piece_len)]
        };
        batch.bytes.resize(batch.numbers.iter().map(|&number| pieces(number).len()).sum(), 0);
        let prove = |(copy, &number): (&mut [u8], &usize)| {
            copy.copy_from_slice(pieces(number));
            let same = match self.pieces {
                [_] => Digest::of(copy) == self.digest,
                pieces => {
                    pieces.get(number) == Some(&tree::value(copy, (number * piece_len) as u64))
                }
            };
            if same { Ok(()) } else { Err(Error::Changed) }
        };
        if batch.numbers.len() < most {
            batch.bytes.chunks_mut(piece_len).zip(&batch.numbers).try_for_each(prove)?;
        } else {
            batch.bytes.par_chunks_mut(piece_len).zip(&batch.numbers).try_for_each(prove)?;
        }
        if let (Some(&first), Some(&last)) = (batch.numbers.first(), batch.numbers.last()) {
            map::done(self.new, first * piece_len..self.new.len().min((last + 1) * piece_len));
        }
        Ok(())
    }
}

/// What lies between copies in data of length `end`.
fn gaps(copies: &[Run], end: u64) -> impl Iterator<Item = (u64, u64)> {
    let starts = std::iter::once(0).chain(copies.iter().map(Run::new_end));
    let ends = copies.iter().map(|copy| copy.new).chain([end]);
    starts.zip(ends).filter(|(from, to)| from < to)
}

/// A delta on its way out.
struct Writer<'a, O: Write> {
    out: Output<O>,
    /// Copies that are not yet written.
    copies: &'a [Run],
    /// Bytes of a piece.
    piece_len: usize,
    /// How far the new data is written.
    at: u64,
    /// The end of the literal whose head is written last.
    literal_end: u64,
    end: u64,
}

impl<O: Write> Writer<'_, O> {
    /// Writes what the batch has bytes for, and the copies before.
    fn write(&mut self, batch: &Batch) -> Result<()> {
        for (&number, piece) in batch.numbers.iter().zip(batch.bytes.chunks(self.piece_len)) {
            let start = (number * self.piece_len) as u64;
            let piece_end = start + piece.len() as u64;
            loop {
                self.copies_here()?;
                let gap_end = self.copies.first().map_or(self.end, |copy| copy.new);
                let to = gap_end.min(piece_end);
                if self.at >= to {
                    break;
                }
                if self.at >= self.literal_end {
                    self.out.command(command::literal(gap_end - self.at))?;
                    self.literal_end = gap_end;
                }
                let bytes = piece.get((self.at - start) as usize..(to - start) as usize);
                self.out.write(bytes.unwrap_or_default())?;
                self.at = to;
            }
        }
        Ok(())
    }

    /// Writes the copies that begin where the new data is written to.
    fn copies_here(&mut self) -> Result<()> {
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
        self.copies_here()?;
        self.out.end()
    }
}

/// A delta stream being written, in few large writes.
pub(crate) struct Output<O: Write> {
    out: O,
    buffer: Vec<u8>,
}

const OUTPUT_BUFFER: usize = 64 << 10;

impl<O: Write> Output<O> {
    pub(crate) fn begin(out: O) -> Result<Self> {
        let mut output = Output { out, buffer: Vec::with_capacity(OUTPUT_BUFFER) };
        output.write(&command::MAGIC)?;
        Ok(output)
    }

    pub(crate) fn command(&mut self, command: CommandBytes) -> Result<()> {
        self.write(command.as_bytes())
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if self.buffer.len() + bytes.len() > OUTPUT_BUFFER {
            self.out.write_all(&self.buffer).during("write the delta")?;
            self.buffer.clear();
        }
        if bytes.len() >= OUTPUT_BUFFER {
            return self.out.write_all(bytes).during("write the delta");
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    pub(crate) fn end(mut self) -> Result<()> {
        self.write(&[command::END])?;
        self.out.write_all(&self.buffer).during("write the delta")
    }
}
