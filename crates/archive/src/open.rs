//! Opening an archive: from its trailer to TABLE, to the diff, to the place of every content. What
//! is declared is checked against what is there before memory is spent on it; knows how to read no
//! content.

use std::io;
use std::path::{Path, PathBuf};

use diffindex::{Content, DiffIndex};

use crate::error::shown;
use crate::read::Stored;
use crate::stream::Stream;
use crate::table::{MAX_TRAILER_LEN, TABLE, Table, Trailer};
use crate::{DiffData, Error, Format, ReadAt, frame};

/// The tar members that are no contents.
pub(crate) const DIFF: &str = "diff.index";
pub(crate) const PATHS: &str = "PATHS";

/// Opening reads this much of the end at once, which is all of TABLE for most archives.
const TAIL_LEN: u64 = 64 << 10;
/// TABLE takes up no more than this: enough for an archive of some 50 TiB.
const MAX_TABLE_LEN: u64 = 256 << 20;

/// The longest `diff.index` that is believed. It hardly compresses, being packed already, but for
/// the signatures of long runs of equal blocks.
fn max_diff_len(archive_len: u64) -> u64 {
    archive_len.saturating_mul(64).saturating_add(64 << 20)
}

/// Opens the archive in `source`. Who has its diff at hand saves reading it.
pub(crate) fn open(
    source: Box<dyn ReadAt>,
    path: PathBuf,
    diff: Option<&DiffIndex>,
) -> Result<DiffData, Error> {
    let size = source.size().map_err(|error| Error::io("read", &path, error))?;
    let archive = Archive { source: &*source, path: &path, size };
    let (format, trailer, packed_table) = archive.end()?;
    let table = archive.table(format, &trailer, &packed_table)?;
    let stream = Stream::new(source, path, format, &table.members)?;
    if stream.end().stored != trailer.table_offset {
        let problem = format!("its members end at byte {}", stream.end().stored);
        return Err(stream.damaged(TABLE, trailer.table_offset, problem));
    }
    let diff = match diff {
        Some(diff) => diff.clone(),
        None => read_diff(&stream, table.diff_len, size)?,
    };
    let contents = place_contents(&stream, &diff, &table)?;
    let Table { diff_len, paths_len, .. } = table;
    Ok(DiffData { stream, diff, diff_len, paths_len, contents })
}

/// An archive of which nothing is known yet.
struct Archive<'a> {
    source: &'a dyn ReadAt,
    path: &'a Path,
    size: u64,
}

impl Archive<'_> {
    /// The trailer, and the compressed members of TABLE, which it vouches for.
    fn end(&self) -> Result<(Format, Trailer, Vec<u8>), Error> {
        let tail_at = self.size.saturating_sub(TAIL_LEN);
        let tail = self.read(tail_at, self.size)?;
        let (format, trailer, trailer_len) = Trailer::find(&tail).ok_or_else(|| {
            let problem = "there is none: no archive of this program, or one that was cut short";
            self.damaged("trailer", self.size.saturating_sub(MAX_TRAILER_LEN as u64), problem)
        })?;
        let table_at = trailer.table_offset;
        let trailer_at = self.size - trailer_len as u64;
        if table_at > trailer_at || trailer_at - table_at > MAX_TABLE_LEN {
            let problem = format!("it says that TABLE is at byte {table_at}");
            return Err(self.damaged("trailer", trailer_at, problem));
        }
        let mut packed = self.read(table_at.min(tail_at), tail_at)?;
        packed.extend_from_slice(tail.get(..tail.len() - trailer_len).unwrap_or_default());
        packed.drain(..(table_at - table_at.min(tail_at)) as usize);
        if trailer.digest_of(&packed) != trailer.digest {
            let problem = "its bytes do not match the trailer's hash";
            return Err(self.damaged(TABLE, table_at, problem));
        }
        Ok((format, trailer, packed))
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

    fn read(&self, from: u64, to: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; (to - from) as usize];
        let read = self.source.read_exact_at(&mut bytes, from);
        read.map_err(|error: io::Error| Error::io("read", self.path, error))?;
        Ok(bytes)
    }

    fn damaged(&self, part: &str, offset: u64, problem: impl Into<String>) -> Error {
        let (archive, part, problem) = (shown(self.path), part.to_owned(), problem.into());
        Error::Damaged { archive, part, offset, problem }
    }
}

fn read_diff(stream: &Stream, len: u64, archive_len: u64) -> Result<DiffIndex, Error> {
    if len > max_diff_len(archive_len).min(stream.end().stream) {
        let problem = format!("it is said to have {len} bytes");
        return Err(stream.damaged(DIFF, 0, problem));
    }
    let mut cursor = stream.cursor();
    cursor.header(DIFF, len)?;
    let mut bytes = vec![0; len as usize];
    cursor.read_exact(&mut bytes).map_err(|error| error.of(DIFF))?;
    cursor.padding(DIFF, len)?;
    DiffIndex::from_bytes(bytes)
        .map_err(|source| Error::Diff { archive: shown(stream.path()), source })
}

/// Works out where each content is, and checks that diff and table leave no byte unaccounted for.
fn place_contents(stream: &Stream, diff: &DiffIndex, table: &Table) -> Result<Vec<Stored>, Error> {
    let wrong = |problem: &str| stream.damaged(TABLE, stream.end().stored, problem);
    let after = |at: u64, len: u64| {
        let end = frame::footprint(len).and_then(|whole| at.checked_add(whole));
        end.ok_or_else(|| wrong("it declares more than any archive can hold"))
    };
    let paths_at = after(0, table.diff_len)?;
    let contents_at = after(paths_at, table.paths_len)?;
    let mut at = contents_at;
    let mut deltas = table.deltas.iter();
    let mut contents = Vec::new();
    for (change, number) in diff.changes().iter().zip(0..) {
        let len = match (change.stored_content(), &change.new) {
            (Some(Content::Delta { .. }), _) => {
                *deltas.next().ok_or_else(|| wrong("it lists fewer deltas than the diff"))?
            }
            (Some(_), Some(new)) => new.node.len(),
            _ => continue,
        };
        contents.push(Stored { change: number, at, len });
        at = after(at, len)?;
    }
    if deltas.next().is_some() {
        return Err(wrong("it lists more deltas than the diff"));
    }
    if at != stream.end().stream {
        let problem = format!("the diff's contents take {at} bytes, not {}", stream.end().stream);
        return Err(wrong(&problem));
    }
    if ![paths_at, contents_at].iter().all(|&at| stream.is_cut_at(at)) {
        return Err(wrong("its members are not cut where they must be"));
    }
    Ok(contents)
}
