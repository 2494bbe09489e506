//! Opening an archive: from its trailer to TABLE, and from there to its whole diff. What is declared is
//! checked against what is there before memory is spent on it; knows how to read no content.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use container::{Seal, max_held, read_healed, too_much};
use diffindex::{DiffIndex, StoredDiff};
use dirindex::PooledFile;

use crate::archive::Opened;
use crate::diff_data::Composition;
use crate::diff_source::DiffSource;
use crate::error::shown;
use crate::frame_reader::TarStream;
use crate::layout::Layout;
use crate::lazy_data::of_diff;
use crate::length::{self, First};
use crate::stored::Stored;
use crate::table::{MAX_TRAILER_LEN, TABLE, Table, Trailer};
use crate::volumes::Volumes;
use crate::{Archive, DiffData, Error, Format, ReadAt};

/// The tar entries that are no contents.
pub(crate) const DIFF: &str = "diff.index";
pub(crate) const PATHS: &str = "PATHS";

/// Opening reads this much of the end at once: all of TABLE for an archive of some 30,000 files. For
/// more, it reads the rest of TABLE and no more.
const TAIL_LEN: u64 = 16 << 10;
/// TABLE takes up no more than this: enough for an archive of some 50 TiB.
pub(crate) const MAX_TABLE_LEN: u64 = 256 << 20;

/// The longest `diff.index` that is believed. It hardly compresses, being packed already, but for
/// the signatures of long runs of equal blocks.
pub(crate) fn max_diff_len(archive_len: u64) -> u64 {
    archive_len.saturating_mul(64).saturating_add(64 << 20)
}

/// Opens a file.
pub(crate) type By = Arc<dyn Fn(&Path) -> io::Result<Box<dyn ReadAt>> + Send + Sync>;

/// Opens a file to be read as it is.
pub(crate) fn plainly(path: &Path) -> io::Result<Box<dyn ReadAt>> {
    Ok(Box::new(PooledFile::open(path)?))
}

/// Opens the archive in the file at `path`, or in the volumes of which that is the last. Regular files are opened `by` that.
pub(crate) fn open_file(path: &Path, by: By) -> Result<Archive, Error> {
    let file = File::open(path).map_err(|error| Error::io("open", path, error))?;
    let kind = file.metadata().map_err(|error| Error::io("read", path, error))?.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        return from_stream(file, path.to_owned());
    }
    if let Some(len) = length::shorter(&file, path)? {
        return open(Box::new(First { source: file, len }), path.to_owned(), 0);
    }
    // What is no regular file cannot be opened again.
    let source: Arc<dyn ReadAt> = match kind.is_file() {
        true => by(path).map_err(|error| Error::io("open", path, error))?.into(),
        false => Arc::new(file),
    };
    read_healed(&source, || {
        let size = source.size().map_err(|error| Error::io("read", path, error))?;
        let tail_at = size.saturating_sub(MAX_TRAILER_LEN as u64);
        let tail = End { source: &*source, path, size, from: 0 }.bytes(tail_at, size)?;
        match Trailer::find(&tail) {
            // A table that lies before this file: the others have what precedes it.
            Some((_, trailer, _)) if trailer.table_offset > size => {
                let last = (Arc::clone(&source), path, trailer.table_offset);
                let volumes = Arc::new(Volumes::new(last, Arc::clone(&by)));
                let source = Box::new(Arc::clone(&volumes));
                let archive = open(source, path.to_owned(), trailer.table_offset)?;
                volumes.set_ends(archive.0.volume_ends());
                Ok(archive)
            }
            _ => open(Box::new(Arc::clone(&source)), path.to_owned(), 0),
        }
    })
}

/// Keeps what comes out of `stream` in a file without a name, and opens the archive in that.
pub(crate) fn from_stream(mut stream: impl Read, name: PathBuf) -> Result<Archive, Error> {
    let failed = |operation, error| Error::io(operation, &name, error);
    let file = tempfile::tempfile();
    let mut file = file.map_err(|error| failed("make a temporary file for", error))?;
    io::copy(&mut stream, &mut file).map_err(|error| failed("copy", error))?;
    from_file(file, name)
}

/// Opens the archive in `file`, which something that is no part of it may follow.
pub(crate) fn from_file(file: File, name: PathBuf) -> Result<Archive, Error> {
    match length::shorter(&file, &name)? {
        Some(len) => open(Box::new(First { source: file, len }), name, 0),
        None => open(Box::new(file), name, 0),
    }
}

/// Opens the archive in `source` by its end, without reading anything before `from`.
pub(crate) fn open(source: Box<dyn ReadAt>, path: PathBuf, from: u64) -> Result<Archive, Error> {
    let size = source.size().map_err(|error| Error::io("read", &path, error))?;
    let end = End { source: &*source, path: &path, size, from };
    let (format, trailer, packed) = end.read()?;
    let Table { head, frames, blocks, deltas, labels } = end.table(format, &trailer, &packed)?;
    let read = trailer.table_offset.min(end.tail_at())..size;
    let stream = TarStream::new(source, path, format, &frames)?;
    let wrong = |problem| stream.damaged(TABLE, trailer.table_offset, problem);
    if stream.end().stored != trailer.table_offset {
        return Err(wrong(format!("its frames end at byte {}", stream.end().stored)));
    }
    if head.diff_len > max_diff_len(size) {
        let problem = format!("it is said to have {} bytes", head.diff_len);
        return Err(stream.damaged(DIFF, 0, problem));
    }
    let layout = Layout::new(head, blocks, deltas, stream.end().stream).map_err(wrong)?;
    let cuts = stream.cut_at(layout.diff.end).zip(stream.cut_at(layout.paths.end));
    if cuts.is_none() {
        return Err(wrong("its frames are not cut where they must be".to_owned()));
    }
    let max_held = max_held(size);
    if let Some(problem) = too_much(layout.held(), max_held) {
        return Err(stream.damaged(DIFF, 0, problem));
    }
    let stream = Arc::new(stream);
    Ok(Archive(Arc::new(Opened { stream, layout, labels, max_held, end: read })))
}

/// The archive with all of its diff, which may take `most` bytes of memory.
pub(crate) fn load(archive: &Archive, most: u64) -> Result<DiffData, Error> {
    with_diff(archive, read_diff(&archive.0, most)?)
}

/// The archive's diff, which stays there. What it says is checked.
pub(crate) fn stored_diff(archive: &Archive) -> Result<StoredDiff, Error> {
    let Opened { stream, layout, max_held, .. } = &*archive.0;
    let mut reader = stream.reader();
    // All of it is read now, by whoever.
    reader.will_read(layout.diff.at..layout.diff.end);
    reader.header(DIFF, &layout.diff, 0)?;
    let diff = StoredDiff::from_source_within(DiffSource::new(archive), *max_held);
    let diff = diff.map_err(|source| of_diff(stream.name(), source))?;
    check_diff(&archive.0, diff.ends(), diff.places())?;
    reader.padding(DIFF, &layout.diff)?;
    Ok(diff)
}

/// The archive with its diff, which was read before.
pub(crate) fn with_diff(archive: &Archive, diff: DiffIndex) -> Result<DiffData, Error> {
    let opened = &*archive.0;
    let contents = opened.layout.place_all(&diff);
    let contents = contents.map_err(|problem| opened.wrong_table(problem))?;
    let compositions = contents.iter().filter_map(|placed| {
        let body = Stored::new(archive, placed, diff.changes().get(placed.change)?);
        Some(Composition { change: placed.change, bodies: [body].into() })
    });
    let contents = compositions.collect();
    Ok(DiffData { archives: [archive.clone()].into(), diff, contents, parts: Arc::default() })
}

/// The end of an archive of which nothing is known yet.
struct End<'a> {
    source: &'a dyn ReadAt,
    path: &'a Path,
    size: u64,
    /// Nothing before this is there yet.
    from: u64,
}

impl End<'_> {
    /// The trailer, and the frames of TABLE, whose digest it has.
    fn read(&self) -> Result<(Format, Trailer, Vec<u8>), Error> {
        let tail_at = self.tail_at();
        let tail = self.bytes(tail_at, self.size)?;
        let (format, trailer, trailer_len) = Trailer::find(&tail).ok_or_else(|| {
            let problem = "there is none: no archive of this program, or one that was cut short";
            self.damaged("trailer", self.size.saturating_sub(MAX_TRAILER_LEN as u64), problem)
        })?;
        let table_at = trailer.table_offset;
        let trailer_at = self.size - trailer_len as u64;
        if table_at < self.from || table_at > trailer_at || trailer_at - table_at > MAX_TABLE_LEN {
            let problem = format!("it says that TABLE is at byte {table_at}");
            return Err(self.damaged("trailer", trailer_at, problem));
        }
        let mut packed = self.bytes(table_at.min(tail_at), tail_at)?;
        packed.extend_from_slice(tail.get(..tail.len() - trailer_len).unwrap_or_default());
        packed.drain(..(table_at - table_at.min(tail_at)) as usize);
        if trailer.digest_of(&packed) != trailer.digest {
            let problem = "its bytes do not match the trailer's hash";
            return Err(self.damaged(TABLE, table_at, problem));
        }
        Ok((format, trailer, packed))
    }

    fn tail_at(&self) -> u64 {
        self.size.saturating_sub(TAIL_LEN).max(self.from)
    }

    fn table(&self, format: Format, trailer: &Trailer, packed: &[u8]) -> Result<Table, Error> {
        // It is packed already, so it does not unpack to more than there is.
        let table = if trailer.table_len <= self.size {
            Table::unpack(format, packed, trailer.table_len)
                .and_then(|bytes| Table::from_bytes(bytes, self.size))
        } else {
            Err(format!("it declares {} bytes", trailer.table_len))
        };
        table.map_err(|problem| self.damaged(TABLE, trailer.table_offset, problem))
    }

    fn bytes(&self, from: u64, to: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; (to - from) as usize];
        if bytes.is_empty() {
            // To ask a store for no bytes is an error in some.
            return Ok(bytes);
        }
        let read = self.source.fill_at(&mut bytes, from);
        read.map_err(|error: io::Error| Error::io("read", self.path, error))?;
        Ok(bytes)
    }

    fn damaged(&self, part: &str, offset: u64, problem: impl Into<String>) -> Error {
        let (archive, part, problem) = (shown(self.path), part.to_owned(), problem.into());
        Error::Damaged { archive, part, offset, problem }
    }
}

/// The diff, which may take `most` bytes of memory.
fn read_diff(archive: &Opened, most: u64) -> Result<DiffIndex, Error> {
    let Opened { stream, layout, .. } = archive;
    let body = &layout.diff;
    let mut reader = stream.reader();
    reader.will_read(body.at..body.end);
    reader.header(DIFF, body, 0)?;
    let mut bytes = vec![0; body.len as usize];
    reader.read_body_exact(DIFF, body, 0, &mut bytes)?;
    reader.padding(DIFF, body)?;
    let (diff, blocks, _) = DiffIndex::from_bytes_in_blocks(bytes, most)
        .map_err(|source| Error::Diff { archive: shown(stream.path()), source })?;
    check_diff(archive, &diff, blocks)?;
    Ok(diff)
}

/// What is found block by block has to be what is found in `diff`, which has been read as a whole and
/// has these blocks.
pub(crate) fn check_diff(
    archive: &Opened,
    diff: &DiffIndex,
    blocks: impl IntoIterator<Item = (u64, Seal)>,
) -> Result<(), Error> {
    let Opened { layout, .. } = archive;
    if !layout.blocks.iter().map(|block| (block.offset, block.seal)).eq(blocks) {
        return Err(archive.wrong_table("it lists other blocks than the diff has"));
    }
    if (layout.head.base, layout.head.result) != (diff.base(), diff.result()) {
        return Err(archive.wrong_table("it names other trees than the diff"));
    }
    Ok(())
}
