//! Writing an archive: what is in it, in which order, and TABLE at its end. Must not know where contents come from.

use std::collections::VecDeque;
use std::io::{self, Read, Seek, Write};

use container::{ReadAt, Seal, SectionError, max_held};
use diffindex::{Change, ChangeList, ChangeLists, Content, Encoded, LazyDiff, Signatures};
use rayon::ScopeFifo;
use rayon::prelude::*;
use rsync_core::Progress;
use tempfile::SpooledTempFile;

use crate::codec::Packer;
use crate::frames::{Frame, FrameWriter, check_of};
use crate::layout::content_stored_len;
use crate::open::{DIFF, PATHS};
use crate::ordered_pool::OrderedPool;
use crate::slot::{Run, Sink, Slot, TOO_LONG};
use crate::table::{BlockRow, Head, Table, Trailer};
use crate::tar_entry::Framing;
use crate::{ArchiveOptions, Error, SECONDS, paths};

/// The contents that one task of the thread pool makes ready have this many bytes at most: two frames, so
/// that contents which come from an archive are unpacked one and a half times, not three times.
pub(crate) const RUN_LEN: u64 = 2 << 20;
/// The most runs in memory at once, whatever the number of threads.
const MAX_RUNS_AHEAD: usize = 10;

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

/// What comes next in an archive.
enum Next {
    /// Changes whose files have [`RUN_LEN`] bytes at most.
    Short(ChangeList),
    /// A change whose file is longer.
    Long(ChangeList),
    /// Nothing more of this list of changes.
    End(ChangeList),
}

/// The changes of a diff, cut into runs. What follows a list is its end.
struct Runs<'d> {
    lists: ChangeLists<'d>,
    /// A list, and how many of its changes are in runs.
    list: Option<(ChangeList, usize)>,
}

impl Iterator for Runs<'_> {
    type Item = Result<Next, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let (list, start) = match self.list.take() {
            Some(list) => list,
            None => match self.lists.next()? {
                Ok(list) => (list, 0),
                Err(error) => return Some(Err(Error::Index(error))),
            },
        };
        let rest = list.get(start..).unwrap_or_default();
        if rest.is_empty() {
            return Some(Ok(Next::End(list)));
        }
        let mut len = 0u64;
        let short = rest.iter().take_while(|change| {
            len = len.saturating_add(content_len(change));
            len <= RUN_LEN
        });
        let end = start + short.count().max(1);
        let run = list.part(start..end);
        self.list = Some((list, end));
        Some(Ok(if is_short(&run) { Next::Short(run) } else { Next::Long(run) }))
    }
}

/// What comes next, of which the short runs are made ready before it is their turn. Most files are small, and to open, read and hash
/// them takes as long as to compress them: so the thread pool does it, a run a task, a few runs ahead.
struct Ahead<'a, 's, 'd, C> {
    runs: Runs<'d>,
    /// What was taken from `runs`. The short ones are begun.
    next: VecDeque<Next>,
    contents: &'s C,
    begun: OrderedPool<'a, 's, Result<(Vec<u64>, Run), Error>>,
}

/// No more than this is looked at ahead.
const MAX_AHEAD: usize = 64;

impl<'a, 's, 'd, C> Ahead<'a, 's, 'd, C>
where
    C: Fn(&[Change], &mut dyn Sink) -> Result<Vec<u64>, Error> + Sync,
{
    fn new(lists: ChangeLists<'d>, contents: &'s C, scope: &'a ScopeFifo<'s>) -> Self {
        let (runs, begun) = (Runs { lists, list: None }, OrderedPool::new(scope));
        Ahead { runs, next: VecDeque::new(), contents, begun }
    }

    /// Begins as many as may be in memory.
    fn begin(&mut self) -> Result<(), Error> {
        let most = (rayon::current_num_threads() + 2).min(MAX_RUNS_AHEAD);
        while self.begun.len() < most
            && self.next.len() < MAX_AHEAD
            && let Some(next) = self.runs.next().transpose()?
        {
            if let Next::Short(run) = &next {
                let (run, contents) = (run.clone(), self.contents);
                self.begun.push(move || {
                    let mut kept = Run::with_capacity(stored_len(&run));
                    contents(&run, &mut kept).map(|deltas| (deltas, kept))
                });
            }
            self.next.push_back(next);
        }
        Ok(())
    }
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
        ahead.begin()?;
        match ahead.next.pop_front() {
            None => return Ok((deltas, rows)),
            Some(Next::Long(run)) => deltas.append(&mut (ahead.contents)(&run, tar)?),
            Some(Next::Short(_)) => {
                let (mut stored, kept) = ahead.begun.pop().map_err(Error::Write)??;
                kept.write_to(tar).map_err(Error::Write)?;
                deltas.append(&mut stored);
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

fn is_short(run: &[Change]) -> bool {
    run.iter().map(content_len).fold(0, u64::saturating_add) <= RUN_LEN
}

/// About what the contents of a short run have in the stream, headers and padding included.
fn stored_len(run: &[Change]) -> usize {
    let stored = run.iter().filter(|change| change.stored_content().is_some());
    let body = |change| Framing::WHOLE.body(0, content_len(change));
    stored.filter_map(body).map(|body| body.end as usize).sum()
}

/// The length of the file to be read for a change.
fn content_len(change: &Change) -> u64 {
    let stored = change.stored_content().and(change.new.as_ref());
    stored.map_or(0, |new| new.node.len())
}

/// TABLE's frames, which begin at `table_offset` of the archive, and the trailer.
fn table_and_trailer(table: &Table, table_offset: u64, packer: Packer) -> Result<Vec<u8>, Error> {
    let body = table.to_bytes().map_err(Error::EncodeTable)?;
    let packed = Table::pack(packer, &body).map_err(Error::Write)?;
    let trailer = Trailer::new(table_offset, body.len() as u64, &packed);
    Ok([packed, trailer.to_bytes(packer.format)].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use diffindex::{DiffIndex, NewEntry};
    use dirindex::{DirIndex, Meta, Node, RelPath, Time};
    use rsync_core::Digest;

    fn change((number, len): (usize, u64)) -> Change {
        let mtime = Time { secs: 0, nanos: 0 };
        let meta = Meta { mode: 0o644, uid: 0, gid: 0, mtime, xattrs: Default::default() };
        let content = if len == 0 { Content::Keep } else { Content::Whole };
        let node = Node::File { len, digest: Digest([0; 32]) };
        let new = Some(NewEntry { node, meta, content, signature: None });
        let path = RelPath::new(format!("{number:02}")).unwrap();
        Change { path, old: None, new, excluded: false }
    }

    #[test]
    fn runs_are_all_changes_and_no_longer_than_they_may_be() {
        let lens = [0, 1, RUN_LEN - 1, 1, 0, RUN_LEN, 0, RUN_LEN + 1, u64::MAX, 5, 6, 0];
        let changes: Vec<Change> = lens.into_iter().enumerate().map(change).collect();
        let tree = DirIndex::empty().tree_id();
        let diff = LazyDiff::from(DiffIndex::from_changes(tree, tree, changes).unwrap());
        let (mut runs, mut ends) = (Vec::new(), Vec::new());
        for next in (Runs { lists: diff.lists(), list: None }) {
            match next.unwrap() {
                Next::End(list) => ends.push(list.len()),
                Next::Short(run) | Next::Long(run) => {
                    runs.push(run.iter().map(content_len).collect::<Vec<_>>());
                }
            }
        }
        assert_eq!((runs.concat(), ends), (lens.to_vec(), vec![lens.len()]));
        let short = |run: &Vec<u64>| {
            run.iter().fold(0, |sum, &len| u64::saturating_add(sum, len)) <= RUN_LEN
        };
        assert!(runs.iter().all(|run| run.len() == 1 || short(run)), "{runs:?}");
        assert_eq!(runs.len(), 6, "{runs:?}");
    }
}
