//! Writing an archive: what stands in it, in which order, and TABLE at its end. Knows neither where the
//! contents come from nor what their bytes are.

use std::io::{self, Write};

use diffindex::{Change, Content, DiffIndex, Encoded, Signatures};
use dirindex::SectionError;
use dirindex::sections::Seal;
use rsync_core::Progress;

use crate::codec::Packer;
use crate::members::MemberWriter;
use crate::open::{DIFF, PATHS};
use crate::table::{BlockRow, Head, Table, Trailer};
use crate::{ArchiveOptions, Error, count, frame, paths};

/// Writes the archive of `diff` to `out`, each compressed member in one call of [`Write::write`] if that
/// takes it, and TABLE with the trailer in one call after `before_table`. `content` is called for each
/// stored content, in path order, with where it goes.
pub(crate) fn write<W: Write>(
    diff: &DiffIndex,
    out: W,
    options: &ArchiveOptions,
    volume_len: u64,
    before_table: impl FnOnce(&mut W) -> io::Result<()>,
    mut content: impl FnMut(&Change, &mut Slot<'_, W>) -> Result<(), Error>,
) -> Result<(), Error> {
    let packer = Packer::new(options.format.unwrap_or_default(), options.level)?;
    let progress = options.progress.as_deref();
    let tar = MemberWriter::new(out, packer);
    let mut writing = Writing { tar, progress, deltas: Vec::new() };
    // What is stored whole can be signed again by who needs it: see `sign`.
    let encoded = diff.encode(Signatures::OfDeltas).map_err(Error::Encode)?;
    let head = writing.head(diff, &encoded, volume_len)?;
    let blocks = encoded.blocks().map(|(changes, seal)| writing.block(changes, seal, &mut content));
    let blocks = blocks.collect::<Result<Vec<BlockRow>, Error>>()?;
    writing.finish(head, blocks, packer, before_table)
}

/// Where one content goes: first its length, by [`begin`](Slot::begin), then just as many bytes.
pub(crate) struct Slot<'w, W> {
    tar: &'w mut MemberWriter<W>,
    name: String,
    len: u64,
    left: u64,
}

impl<W: Write> Slot<'_, W> {
    pub(crate) fn begin(&mut self, len: u64) -> Result<(), Error> {
        (self.len, self.left) = (len, len);
        self.tar.write_all(&frame::header(&self.name, len)).map_err(Error::Write)
    }
}

impl<W: Write> Write for Slot<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = self.left.checked_sub(bytes.len() as u64);
        self.left = left.ok_or_else(|| io::Error::other("a content longer than it was to be"))?;
        self.tar.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Stops the work when the caller wants it stopped.
pub(crate) fn check_cancelled(progress: Option<&Progress>) -> Result<(), Error> {
    progress.map_or(Ok(()), Progress::check).map_err(|_| Error::Cancelled)
}

/// An archive that is being written.
struct Writing<'a, W> {
    tar: MemberWriter<W>,
    progress: Option<&'a Progress>,
    deltas: Vec<u64>,
}

impl<W: Write> Writing<'_, W> {
    /// Writes `diff.index`, each block of changes in a member of its own, and PATHS.
    fn head(
        &mut self,
        diff: &DiffIndex,
        encoded: &Encoded<'_>,
        volume_len: u64,
    ) -> Result<Head, Error> {
        let failed = |error| match error {
            diffindex::Error::Sections(SectionError::Write(error)) => Error::Write(error),
            other => Error::Encode(other),
        };
        let diff_len = encoded.byte_len();
        self.header(DIFF, diff_len)?;
        encoded.write_to(&mut self.tar, |tar| tar.cut()).map_err(failed)?;
        self.end_body(diff_len)?;
        self.tar.cut().map_err(Error::Write)?;

        let paths_len = count::length(|out| paths::write(diff, out)).map_err(Error::Write)?;
        self.header(PATHS, paths_len)?;
        paths::write(diff, &mut self.tar).map_err(Error::Write)?;
        self.end_body(paths_len)?;
        self.tar.cut().map_err(Error::Write)?;
        let (base, result, blocks_at) = (diff.base(), diff.result(), encoded.blocks_at());
        Ok(Head { base, result, diff_len, blocks_at, paths_len, volume_len })
    }

    /// Writes the contents that are stored for a block of changes.
    fn block(
        &mut self,
        changes: &[Change],
        seal: Seal,
        content: &mut impl FnMut(&Change, &mut Slot<'_, W>) -> Result<(), Error>,
    ) -> Result<BlockRow, Error> {
        let first = changes.first().map(|change| change.path.clone());
        let first = first.ok_or_else(|| Error::Write(io::Error::other("an empty block")))?;
        let (deltas, mut contents) = (self.deltas.len(), 0);
        for change in changes {
            contents += self.content(change, content)?;
        }
        Ok(BlockRow { first, seal, contents, deltas: (self.deltas.len() - deltas) as u64 })
    }

    /// Writes the content that is stored for a change, if any is. Gives what it takes up.
    fn content(
        &mut self,
        change: &Change,
        content: &mut impl FnMut(&Change, &mut Slot<'_, W>) -> Result<(), Error>,
    ) -> Result<u64, Error> {
        check_cancelled(self.progress)?;
        let (Some(stored), Some(name)) = (change.stored_content(), paths::member_name(change))
        else {
            return Ok(0);
        };
        let mut slot = Slot { tar: &mut self.tar, name, len: 0, left: 0 };
        content(change, &mut slot)?;
        let Slot { len, left, .. } = slot;
        if left > 0 {
            let short = io::Error::other("a content shorter than it was to be");
            return Err(Error::Write(short));
        }
        if matches!(stored, Content::Delta { .. }) {
            self.deltas.push(len);
        }
        self.end_body(len)?;
        if let Some(progress) = self.progress {
            progress.add_item();
        }
        Ok(frame::footprint(len).unwrap_or(u64::MAX))
    }

    /// Writes TABLE, the end of the tar stream, and the trailer.
    fn finish(
        mut self,
        head: Head,
        blocks: Vec<BlockRow>,
        packer: Packer,
        before_table: impl FnOnce(&mut W) -> io::Result<()>,
    ) -> Result<(), Error> {
        let (members, table_offset) = self.tar.settle().map_err(Error::Write)?;
        let members = members.to_vec();
        let table = Table { head, members, blocks, deltas: self.deltas };
        let body = table.to_bytes().map_err(Error::EncodeTable)?;
        let packed = Table::pack(packer, &body).map_err(Error::Write)?;
        let trailer = Trailer::new(table_offset, body.len() as u64, &packed);
        let end = [packed, trailer.to_bytes(packer.format)].concat();
        let out = self.tar.get_mut();
        before_table(out)
            .and_then(|()| out.write_all(&end))
            .and_then(|()| out.flush())
            .map_err(Error::Write)
    }

    fn header(&mut self, name: &str, size: u64) -> Result<(), Error> {
        self.tar.write_all(&frame::header(name, size)).map_err(Error::Write)
    }

    /// Fills up the last block of a body of `size` bytes.
    fn end_body(&mut self, size: u64) -> Result<(), Error> {
        self.tar.write_all(frame::padding(size)).map_err(Error::Write)
    }
}
