//! Writing an archive: what is in it, in which order, and TABLE at its end. Must not know where contents come from.

use std::io::{self, Write};

use container::{ReadAt, Seal, SectionError, max_held};
use diffindex::{Change, Content, DiffIndex, Encoded};
use rayon::ScopeFifo;
use rsync_core::Progress;

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
    diff: &DiffIndex,
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
    pub(crate) diff: DiffIndex,
    /// Where the contents begin.
    at: u64,
    frames: Vec<Frame>,
    deltas: Vec<u64>,
}

/// [`write`], that may have `reader` store other contents than `diff` says, or none. When all are stored, `amend` gives
/// the diff that says what they are, if that is not `diff`. Then this gives what the right archive is to be made of, by
/// [`write_again`], and what was written is none.
pub(crate) fn write_or_amend<W: Write, R>(
    diff: &DiffIndex,
    out: W,
    options: &ArchiveOptions,
    volume_len: u64,
    before_table: impl FnOnce(&mut W) -> io::Result<()>,
    reader: impl Fn() -> R + Sync,
    amend: impl FnOnce() -> Result<Option<DiffIndex>, Error>,
) -> Result<Option<Contents>, Error>
where
    R: FnMut(&Change, &mut Slot<'_>) -> Result<(), Error>,
{
    let packer = Packer::new(options.format.unwrap_or_default(), options.level)?;
    let progress = options.progress.as_deref();
    let encoded = diff.encode(options.signatures).map_err(Error::Encode)?;
    let framing = Framing::of(volume_len);
    let contents = |changes: &[Change], out: &mut dyn Sink| -> Result<Vec<u64>, Error> {
        let mut read = reader();
        let write = |change| content(change, framing, &mut *out, &mut read, progress);
        changes.iter().map(write).filter_map(Result::transpose).collect()
    };
    rayon::in_place_scope_fifo(|scope| {
        let all = encoded.blocks().flat_map(|(changes, _)| runs(changes));
        let mut ahead = Ahead::new(all.filter(|run| is_short(run)), &contents, scope);
        ahead.begin();
        let mut tar = FrameWriter::new(out, packer, scope);
        let head = write_head(&mut tar, diff, &encoded, volume_len)?;
        let before = tar.count();
        let deltas = write_contents(&mut tar, &encoded, &contents, ahead)?;
        let Some(diff) = amend()? else {
            finish(tar, head, &encoded, deltas, options, packer, before_table)?;
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
    let encoded = diff.encode(options.signatures).map_err(Error::Encode)?;
    rayon::in_place_scope_fifo(|scope| {
        let mut tar = FrameWriter::new(out, packer, scope);
        let head = write_head(&mut tar, diff, &encoded, 0)?;
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
        finish(tar, head, &encoded, deltas.clone(), options, packer, |_| Ok(()))
    })
}

/// Writes TABLE and the trailer after all contents.
fn finish<W: Write>(
    mut tar: FrameWriter<'_, '_, W>,
    head: Head,
    encoded: &Encoded<'_>,
    deltas: Vec<u64>,
    options: &ArchiveOptions,
    packer: Packer,
    before_table: impl FnOnce(&mut W) -> io::Result<()>,
) -> Result<(), Error> {
    let blocks = rows(encoded, &deltas, Framing::of(head.volume_len))?;
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

/// A row for each block of changes. `deltas` are the lengths of all stored deltas.
fn rows(encoded: &Encoded<'_>, deltas: &[u64], framing: Framing) -> Result<Vec<BlockRow>, Error> {
    let wrong = |problem| Error::Write(io::Error::other(problem));
    let mut deltas = deltas.iter();
    let row = |(changes, seal): (&[Change], Seal)| {
        let (mut contents, before) = (0, deltas.len());
        for change in changes {
            let Some(len) = content_stored_len(change, &mut deltas).map_err(wrong)? else {
                continue;
            };
            let entry = framing.body(contents, len).ok_or_else(|| wrong(TOO_LONG))?;
            contents = entry.end;
        }
        let first = changes.first().map(|change| change.path.clone());
        let first = first.ok_or_else(|| wrong("an empty block"))?;
        Ok(BlockRow { first, seal, contents, deltas: (before - deltas.len()) as u64 })
    };
    encoded.blocks().map(row).collect()
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
    diff: &DiffIndex,
    encoded: &Encoded<'_>,
    volume_len: u64,
) -> Result<Head, Error> {
    let failed = |error| match error {
        diffindex::Error::Sections(SectionError::Write(error)) => Error::Write(error),
        other => Error::Encode(other),
    };
    let framing = Framing::of(volume_len);
    let diff_len = encoded.byte_len();
    let mut slot = Slot::new(&mut *tar, DIFF.to_owned(), framing);
    slot.begin(diff_len)?;
    let cut = |slot: &mut &mut Slot<'_, FrameWriter<'_, '_, W>>| match framing {
        Framing::PARTS => slot.out.cut_joined(),
        _ => slot.out.cut(),
    };
    encoded.write_to(&mut slot, cut).map_err(failed)?;
    slot.finish()?;
    tar.cut().map_err(Error::Write)?;
    if encoded.held() > max_held(0) {
        let (_, stored) = tar.settle().map_err(Error::Write)?;
        encoded.check_held(stored).map_err(Error::Encode)?;
    }

    let paths_len = paths::byte_len(diff);
    let mut slot = Slot::new(&mut *tar, PATHS.to_owned(), framing);
    slot.begin(paths_len)?;
    paths::write(diff, &mut slot).map_err(Error::Write)?;
    slot.finish()?;
    tar.cut().map_err(Error::Write)?;
    let (base, result, blocks_at) = (diff.base(), diff.result(), encoded.blocks_at());
    Ok(Head { base, result, diff_len, blocks_at, paths_len, volume_len })
}

/// The short runs that are made ready before it is their turn. Most files are small, and to open, read and
/// hash them takes as long as to compress them: so the thread pool does it, a run a task, a few runs ahead.
struct Ahead<'a, 's, I, C> {
    to_begin: I,
    contents: &'s C,
    begun: OrderedPool<'a, 's, Result<(Vec<u64>, Run), Error>>,
}

impl<'a, 's, I, C> Ahead<'a, 's, I, C>
where
    I: Iterator<Item = &'s [Change]>,
    C: Fn(&[Change], &mut dyn Sink) -> Result<Vec<u64>, Error> + Sync,
{
    fn new(to_begin: I, contents: &'s C, scope: &'a ScopeFifo<'s>) -> Ahead<'a, 's, I, C> {
        Ahead { to_begin, contents, begun: OrderedPool::new(scope) }
    }

    /// Begins as many as may be in memory.
    fn begin(&mut self) {
        let most = (rayon::current_num_threads() + 2).min(MAX_RUNS_AHEAD);
        while self.begun.len() < most
            && let Some(run) = self.to_begin.next()
        {
            let contents = self.contents;
            self.begun.push(move || {
                let mut kept = Run::with_capacity(stored_len(run));
                contents(run, &mut kept).map(|deltas| (deltas, kept))
            });
        }
    }

    /// The next one, when it is ready.
    fn next(&mut self) -> Result<(Vec<u64>, Run), Error> {
        self.begun.pop().map_err(Error::Write)?
    }
}

/// Writes the contents of all changes, in path order. Gives the length of each delta. A file that is longer than a run
/// streams through here.
fn write_contents<'s, W: Write, C>(
    tar: &mut FrameWriter<'_, 's, W>,
    encoded: &Encoded<'s>,
    contents: &'s C,
    mut ahead: Ahead<'_, 's, impl Iterator<Item = &'s [Change]>, C>,
) -> Result<Vec<u64>, Error>
where
    C: Fn(&[Change], &mut dyn Sink) -> Result<Vec<u64>, Error> + Sync,
{
    let mut deltas = Vec::new();
    for run in encoded.blocks().flat_map(|(changes, _)| runs(changes)) {
        ahead.begin();
        if !is_short(run) {
            deltas.append(&mut contents(run, tar)?);
            continue;
        }
        let (mut stored, kept) = ahead.next()?;
        kept.write_to(tar).map_err(Error::Write)?;
        deltas.append(&mut stored);
    }
    Ok(deltas)
}

/// `changes` cut into runs whose files have [`RUN_LEN`] bytes at most; one that is longer is a run by
/// itself.
fn runs(changes: &[Change]) -> impl Iterator<Item = &[Change]> {
    let mut rest = changes;
    std::iter::from_fn(move || {
        let mut len = 0u64;
        let short = rest.iter().take_while(|change| {
            len = len.saturating_add(content_len(change));
            len <= RUN_LEN
        });
        let count = short.count().max(1).min(rest.len());
        let (run, after) = rest.split_at(count);
        rest = after;
        (!run.is_empty()).then_some(run)
    })
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
    use diffindex::NewEntry;
    use dirindex::{Meta, Node, RelPath, Time};
    use rsync_core::Digest;

    fn change(len: u64) -> Change {
        let mtime = Time { secs: 0, nanos: 0 };
        let meta = Meta { mode: 0o644, uid: 0, gid: 0, mtime, xattrs: Default::default() };
        let content = if len == 0 { Content::Keep } else { Content::Whole };
        let node = Node::File { len, digest: Digest([0; 32]) };
        let new = Some(NewEntry { node, meta, content, signature: None });
        Change { path: RelPath::new("a").unwrap(), old: None, new, excluded: false }
    }

    #[test]
    fn runs_are_all_changes_and_no_longer_than_they_may_be() {
        let lens = [0, 1, RUN_LEN - 1, 1, 0, RUN_LEN, 0, RUN_LEN + 1, u64::MAX, 5, 6, 0];
        let changes: Vec<Change> = lens.into_iter().map(change).collect();
        let runs: Vec<Vec<u64>> =
            runs(&changes).map(|run| run.iter().map(content_len).collect()).collect();
        assert_eq!(runs.concat(), lens);
        let short = |run: &Vec<u64>| {
            run.iter().fold(0, |sum, &len| u64::saturating_add(sum, len)) <= RUN_LEN
        };
        assert!(runs.iter().all(|run| run.len() == 1 || short(run)), "{runs:?}");
        assert_eq!(runs.len(), 6, "{runs:?}");
    }
}
