//! Writing an archive: what is in it, in which order, and TABLE at its end. Must not know where contents come from.

use std::io::{self, Read, Seek, Write};

use container::{ReadAt, Seal, SectionError, max_held};
use diffindex::{Change, Content, Encoded, LazyDiff, Signatures};
use rayon::prelude::*;
use rsync_core::Progress;
use tempfile::SpooledTempFile;

use crate::ahead::{Ahead, Next};
use crate::codec::Packer;
use crate::frames::{Frame, FrameWriter, check_of};
use crate::layout::content_stored_len;
use crate::open::{DIFF, PATHS};
use crate::slot::{Sink, Slot, TOO_LONG};
use crate::table::{BlockRow, Head, Table, Trailer};
use crate::tar_entry::Framing;
use crate::{ArchiveOptions, Error, SECONDS, paths};

/// Writes the archive of `diff` to `out`, and TABLE with the trailer in one call after `before_table`. When
/// `volume_len` is not 0, what else comes in one call of [`Write::write`], if that takes it, begins with a
/// tar header and is less than [`MIN_LEN`](crate::volumes::MIN_LEN).
///
/// `reader` makes what reads contents: that is called, for each stored content, with the change and where
/// it goes. Several read at the same time, each some contents in path order.
pub(crate) fn write<W: Write, R>(
    diff: &LazyDiff,
    out: W,
    options: &ArchiveOptions,
    volume_len: u64,
    before_table: impl FnOnce(&mut W) -> io::Result<()>,
    reader: impl Fn() -> R + Sync,
) -> Result<(), Error>
where
    R: FnMut(&Change, &mut Slot<'_>) -> Result<(), Error>,
{
    let keep = || Ok(None);
    write_or_amend(diff, out, options, volume_len, before_table, reader, keep).map(drop)
}

/// Contents that were written after a diff that turned out to be another.
#[derive(Debug)]
pub(crate) struct Contents {
    /// The right diff.
    pub(crate) diff: LazyDiff,
    /// Where the contents begin.
    at: u64,
    frames: Vec<Frame>,
    deltas: Vec<u64>,
}

/// [`write`], that may have `reader` store other contents than `diff` says, or none. When all are stored, `amend` gives
/// the diff that says what they are, if that is not `diff`. Then this gives what the right archive is to be made of, by
/// [`write_again`], and what was written is none.
pub(crate) fn write_or_amend<W: Write, R>(
    diff: &LazyDiff,
    out: W,
    options: &ArchiveOptions,
    volume_len: u64,
    before_table: impl FnOnce(&mut W) -> io::Result<()>,
    reader: impl Fn() -> R + Sync,
    amend: impl FnOnce() -> Result<Option<LazyDiff>, Error>,
) -> Result<Option<Contents>, Error>
where
    R: FnMut(&Change, &mut Slot<'_>) -> Result<(), Error>,
{
    let packer = Packer::new(options.format.unwrap_or_default(), options.level)?;
    let progress = options.progress.as_deref();
    let mut encoded = EncodedDiff::of(diff, options.signatures)?;
    let framing = Framing::of(volume_len);
    let contents = |changes: &[Change], out: &mut dyn Sink| -> Result<Vec<u64>, Error> {
        let mut read = reader();
        let write = |change| content(change, framing, &mut *out, &mut read, progress);
        changes.iter().map(write).filter_map(Result::transpose).collect()
    };
    rayon::in_place_scope_fifo(|scope| {
        let mut ahead = Ahead::new(diff.lists(), &contents, scope);
        ahead.begin()?;
        let mut tar = FrameWriter::new(out, packer, scope);
        let head = write_head(&mut tar, diff, &mut encoded, volume_len)?;
        let before = tar.count();
        let (deltas, rows) = write_contents(&mut tar, &encoded, framing, ahead)?;
        let Some(diff) = amend()? else {
            finish(tar, head, rows?, deltas, options, packer, before_table)?;
            return Ok(None);
        };
        let (frames, _) = tar.settle().map_err(Error::Write)?;
        let (head, contents) = frames.split_at_checked(before).unwrap_or((frames, &[]));
        let at = head.iter().map(|frame| u64::from(frame.stored)).sum();
        let contents = Contents { diff, at, frames: contents.to_vec(), deltas };
        tar.get_mut().flush().map_err(Error::Write)?;
        Ok(Some(contents))
    })
}

/// Writes the archive whose contents [`write_or_amend`] wrote, to `written`.
pub(crate) fn write_again(
    contents: &Contents,
    written: &dyn ReadAt,
    out: impl Write,
    options: &ArchiveOptions,
) -> Result<(), Error> {
    let Contents { diff, at, frames, deltas } = contents;
    let packer = Packer::new(options.format.unwrap_or_default(), options.level)?;
    let mut encoded = EncodedDiff::of(diff, options.signatures)?;
    let mut lens = deltas.iter();
    let rows = diff
        .lists()
        .zip(encoded.encoded.blocks())
        .map(|(list, seal)| row(&list.map_err(Error::Index)?, *seal, Framing::WHOLE, &mut lens));
    let rows = rows.collect::<Result<Vec<_>, Error>>()?;
    rayon::in_place_scope_fifo(|scope| {
        let mut tar = FrameWriter::new(out, packer, scope);
        let head = write_head(&mut tar, diff, &mut encoded, 0)?;
        let (mut at, mut packed) = (*at, Vec::new());
        for frame in frames {
            packed.resize(frame.stored as usize, 0);
            let read = written.fill_at(&mut packed, at);
            let intact = read.map(|()| check_of(&packed) == frame.check);
            if !intact.map_err(Error::Write)? {
                let problem = "what was written is not what is read back";
                return Err(Error::Write(io::Error::other(problem)));
            }
            tar.append(*frame, &packed).map_err(Error::Write)?;
            at += u64::from(frame.stored);
            check_cancelled(options.progress.as_deref())?;
        }
        finish(tar, head, rows, deltas.clone(), options, packer, |_| Ok(()))
    })
}

/// Writes TABLE and the trailer after all contents.
fn finish<W: Write>(
    mut tar: FrameWriter<'_, '_, W>,
    head: Head,
    blocks: Vec<BlockRow>,
    deltas: Vec<u64>,
    options: &ArchiveOptions,
    packer: Packer,
    before_table: impl FnOnce(&mut W) -> io::Result<()>,
) -> Result<(), Error> {
    let (frames, table_offset) = tar.settle().map_err(Error::Write)?;
    let (frames, mut labels) = (frames.to_vec(), options.labels.clone());
    if let Some(began) = options.began {
        let seconds = format!("{:.1}", began.elapsed().as_secs_f64());
        labels.insert(SECONDS.to_owned(), seconds);
    }
    let table = Table { head, frames, blocks, deltas, labels };
    let end = table_and_trailer(&table, table_offset, packer)?;
    let out = tar.get_mut();
    before_table(out)
        .and_then(|()| out.write_all(&end))
        .and_then(|()| out.flush())
        .map_err(Error::Write)
}

/// The row of a block of changes. `deltas` has the lengths of its deltas and of those after it.
fn row<'d>(
    changes: &[Change],
    seal: Seal,
    framing: Framing,
    deltas: &mut impl ExactSizeIterator<Item = &'d u64>,
) -> Result<BlockRow, Error> {
    let wrong = |problem| Error::Write(io::Error::other(problem));
    let (mut contents, before) = (0, deltas.len());
    for change in changes {
        let Some(len) = content_stored_len(change, deltas).map_err(wrong)? else {
            continue;
        };
        let entry = framing.body(contents, len).ok_or_else(|| wrong(TOO_LONG))?;
        contents = entry.end;
    }
    let first = changes.first().map(|change| change.path.clone());
    let first = first.ok_or_else(|| wrong("an empty block"))?;
    Ok(BlockRow { first, seal, contents, deltas: (before - deltas.len()) as u64 })
}

/// A diff that is encoded, and how long PATHS is: an archive says both before it has them.
struct EncodedDiff {
    encoded: Encoded<SpooledTempFile>,
    paths_len: u64,
}

/// Of an encoded diff that is not in memory itself, so many bytes are.
const ENCODED_IN_MEMORY: usize = 8 << 20;

impl EncodedDiff {
    /// Of a diff that is not in memory, it is in a temporary file, if that has room.
    fn of(diff: &LazyDiff, signatures: Signatures) -> Result<EncodedDiff, Error> {
        let encode = |most| EncodedDiff::with(diff, signatures, most);
        let encoded = match diff.in_memory() {
            None => encode(ENCODED_IN_MEMORY),
            Some(_) => encode(usize::MAX),
        };
        let encoded = match encoded {
            Err(diffindex::Error::Sections(SectionError::Write(_))) => encode(usize::MAX),
            encoded => encoded,
        };
        encoded.map_err(Error::Encode)
    }

    fn with(
        diff: &LazyDiff,
        signatures: Signatures,
        most: usize,
    ) -> Result<EncodedDiff, diffindex::Error> {
        let mut paths_len = paths::head(diff).len() as u64;
        let encoded = diff.encode(SpooledTempFile::new(most), signatures, |lists, _| {
            let lines = lists.par_iter().map(|list| paths::lines(list).len() as u64);
            paths_len += lines.sum::<u64>();
        })?;
        Ok(EncodedDiff { encoded, paths_len })
    }
}

/// Stops the work when the caller wants it stopped.
pub(crate) fn check_cancelled(progress: Option<&Progress>) -> Result<(), Error> {
    progress.map_or(Ok(()), Progress::check).map_err(|_| Error::Cancelled)
}

/// Writes the content that is stored for a change, if any is. Gives its length if it is a delta.
fn content(
    change: &Change,
    framing: Framing,
    out: &mut dyn Sink,
    read: &mut impl FnMut(&Change, &mut Slot<'_>) -> Result<(), Error>,
    progress: Option<&Progress>,
) -> Result<Option<u64>, Error> {
    check_cancelled(progress)?;
    let (Some(stored), Some(name)) = (change.stored_content(), paths::frame_name(change)) else {
        return Ok(None);
    };
    let mut slot = Slot::new(out, name, framing);
    read(change, &mut slot)?;
    let len = slot.finish()?;
    if let Some(progress) = progress {
        progress.add_item();
    }
    Ok(len.filter(|_| matches!(stored, Content::Delta { .. })))
}

/// Writes `diff.index`, each block of changes in a frame of its own, and PATHS.
fn write_head<W: Write>(
    tar: &mut FrameWriter<'_, '_, W>,
    diff: &LazyDiff,
    EncodedDiff { encoded, paths_len }: &mut EncodedDiff,
    volume_len: u64,
) -> Result<Head, Error> {
    let framing = Framing::of(volume_len);
    let (diff_len, paths_len) = (encoded.byte_len(), *paths_len);
    let mut slot = Slot::new(&mut *tar, DIFF.to_owned(), framing);
    slot.begin(diff_len)?;
    let cut = |slot: &mut Slot<'_, FrameWriter<'_, '_, W>>| match framing {
        Framing::PARTS => slot.out.cut_joined(),
        _ => slot.out.cut(),
    };
    copy_cut(encoded, &mut slot, cut).map_err(Error::Write)?;
    slot.finish()?;
    tar.cut().map_err(Error::Write)?;
    if encoded.held() > max_held(0) {
        let (_, stored) = tar.settle().map_err(Error::Write)?;
        encoded.check_held(stored).map_err(Error::Encode)?;
    }

    let mut slot = Slot::new(&mut *tar, PATHS.to_owned(), framing);
    slot.begin(paths_len)?;
    paths::write(diff, &mut slot).map_err(Error::Write)?;
    slot.finish()?;
    tar.cut().map_err(Error::Write)?;
    let (base, result, blocks_at) = (diff.base(), diff.result(), encoded.blocks_at());
    Ok(Head { base, result, diff_len, blocks_at, paths_len, volume_len })
}

/// Copies an encoded diff to `out`. Calls `cut` before each block and after the last one.
fn copy_cut<W: Write>(
    encoded: &mut Encoded<SpooledTempFile>,
    out: &mut W,
    mut cut: impl FnMut(&mut W) -> io::Result<()>,
) -> io::Result<()> {
    let blocks: Vec<u64> = encoded.blocks().iter().map(|block| block.stored_len).collect();
    let before = encoded.blocks_at();
    let bytes = encoded.get_mut();
    bytes.rewind()?;
    io::copy(&mut bytes.take(before), out)?;
    for len in blocks {
        cut(out)?;
        io::copy(&mut bytes.take(len), out)?;
    }
    cut(out)?;
    io::copy(bytes, out).map(drop)
}

/// The rows of all blocks. An error where other contents are stored than the diff says.
type Rows = Result<Vec<BlockRow>, Error>;

/// Writes the contents of all changes, in path order. Gives the length of each delta, and the row of each block. A file that is longer
/// than a run streams through here.
fn write_contents<'s, W: Write, C>(
    tar: &mut FrameWriter<'_, 's, W>,
    encoded: &EncodedDiff,
    framing: Framing,
    mut ahead: Ahead<'_, 's, '_, C>,
) -> Result<(Vec<u64>, Rows), Error>
where
    C: Fn(&[Change], &mut dyn Sink) -> Result<Vec<u64>, Error> + Sync,
{
    let (mut deltas, mut rows, mut rowed) = (Vec::new(), Ok(Vec::new()), 0);
    let mut seals = encoded.encoded.blocks().iter();
    loop {
        match ahead.next()? {
            None => return Ok((deltas, rows)),
            Some(Next::Long(run)) => deltas.append(&mut (ahead.contents)(&run, tar)?),
            Some(Next::Ready(mut lens, contents)) => {
                contents.write_to(tar).map_err(Error::Write)?;
                deltas.append(&mut lens);
            }
            Some(Next::End(list)) => {
                let problem = || Error::Write(io::Error::other("another diff than was encoded"));
                let seal = seals.next().ok_or_else(problem)?;
                let mut lens = deltas.get(rowed..).unwrap_or_default().iter();
                rows = rows.and_then(|mut rows: Vec<BlockRow>| {
                    rows.push(row(&list, *seal, framing, &mut lens)?);
                    Ok(rows)
                });
                rowed = deltas.len();
            }
        }
    }
}

/// TABLE's frames, which begin at `table_offset` of the archive, and the trailer.
fn table_and_trailer(table: &Table, table_offset: u64, packer: Packer) -> Result<Vec<u8>, Error> {
    let body = table.to_bytes().map_err(Error::EncodeTable)?;
    let packed = Table::pack(packer, &body).map_err(Error::Write)?;
    let trailer = Trailer::new(table_offset, body.len() as u64, &packed);
    Ok([packed, trailer.to_bytes(packer.format)].concat())
}
