//! The file of an index, as `docs/format.md` has it: writing and opening. Must not know what the index is for.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use container::{FileKind, List, ReadAt, Section, SectionError, Sections, Writer};
use rayon::prelude::*;

use crate::lazy::{RecordList, in_lists};
use crate::stored::{ShapeCode, SignatureReader, SignatureWriter, StoredSignature};
use crate::tree::sections_at_once;
use crate::{
    DirIndex, Entry, Error, LazyIndex, Node, Problem, Record, RelPath, Remarks, StatFingerprint,
    Time,
};

pub(crate) const FILE_KIND: FileKind = FileKind {
    letters: *b"INDX",
    lists: &[
        List { kind: CATALOGUE, rows: ROWS_PER_SECTION, row_room: 256 },
        // They go into the records.
        List { kind: FINGERPRINTS, rows: ROWS_PER_SECTION, row_room: 0 },
        List { kind: PROBLEMS, rows: ROWS_PER_SECTION, row_room: 256 },
        List { kind: EXCLUDED, rows: ROWS_PER_SECTION, row_room: 64 },
    ],
};
const CATALOGUE: u32 = 1;
const FINGERPRINTS: u32 = 2;
pub(crate) const SIGNATURES: u32 = 3;
pub(crate) const PROBLEMS: u32 = 4;
pub(crate) const EXCLUDED: u32 = 5;
const SCAN: u32 = 6;
/// What [`SCAN`] says in an index that nobody scanned: it is not written.
const NO_SCAN: (Option<u32>, Time) = (None, Time::MIN);

/// Records a section: enough to compress well, few enough to decode in parallel and in bounds.
pub(crate) const ROWS_PER_SECTION: usize = 4096;

/// [`Record`] as it is encoded in the catalogue; `E` is an [`Entry`] or a reference to one.
type Row<E> = (E, Option<ShapeCode>);

impl DirIndex {
    /// Writes the index to `out`.
    ///
    /// # Errors
    /// [`Error::Sections`].
    pub fn write_to(&self, out: impl Write) -> Result<(), Error> {
        LazyIndex::from(self).write_to(out)
    }

    /// Opens the index in the file at `path`. Signatures stay in the file until they are asked for.
    ///
    /// # Errors
    /// [`Error::File`], around what is wrong with it.
    pub fn from_file(path: impl AsRef<Path>) -> Result<DirIndex, Error> {
        open(path.as_ref(), DirIndex::from_sections)
    }

    /// Opens the index that `source` holds. Signatures stay there until they are asked for.
    ///
    /// # Errors
    /// [`Error::Sections`], [`Error::Entry`].
    pub fn from_source(source: impl ReadAt + 'static) -> Result<DirIndex, Error> {
        DirIndex::from_sections(Sections::from_source(Box::new(source), FILE_KIND)?)
    }

    /// Opens the index that `bytes` are.
    ///
    /// # Errors
    /// [`Error::Sections`], [`Error::Entry`].
    pub fn from_bytes(bytes: Vec<u8>) -> Result<DirIndex, Error> {
        DirIndex::from_sections(Sections::from_bytes(bytes, FILE_KIND)?)
    }

    fn from_sections(sections: Sections) -> Result<DirIndex, Error> {
        let sections = Arc::new(sections);
        let remarks = Remarks::read(&sections)?;
        let mut records = Vec::new();
        read(&sections, |blocks| {
            records.extend(blocks.into_iter().flat_map(|(_, block)| block));
            Ok(())
        })?;
        Ok(DirIndex::from_sorted(records)?.with_remarks(remarks))
    }
}

impl LazyIndex {
    /// Writes the index to `out`.
    ///
    /// # Errors
    /// [`Error::Sections`], also when a file cannot be read any more in which a part of it is.
    pub fn write_to(&self, out: impl Write) -> Result<(), Error> {
        let mut writer = Writer::new(out, FILE_KIND)?;
        in_lists(self.layers(), |lists| {
            write_lists(&mut writer, lists, |list| match list {
                RecordList::Block(file, block) => file.stored(*block, |(entries, _)| entries),
                RecordList::Records(records) => entries_of(records),
            })
        })?;
        in_lists(self.layers(), |lists| {
            write_lists(&mut writer, lists, |list| match list {
                RecordList::Block(file, block) => file.stored(*block, |(_, prints)| prints),
                RecordList::Records(records) => fingerprints_of(records),
            })
        })?;
        self.remarks().write(&mut writer)?;
        let mut signatures = SignatureWriter::new(SIGNATURES);
        in_lists(self.layers(), |lists| {
            for list in lists {
                match list {
                    RecordList::Block(file, block) => {
                        file.copy_signatures(*block, &mut writer, &mut signatures)?
                    }
                    RecordList::Records(records) => {
                        let mut these = records.iter().filter_map(|it| it.signature.as_ref());
                        these.try_for_each(|signature| signatures.push(&mut writer, signature))?;
                    }
                }
            }
            Ok(())
        })?;
        signatures.finish(&mut writer)?;
        writer.finish()?;
        Ok(())
    }

    /// Opens the index in the file at `path`, and reads all of it but the signatures once: what it says is checked. Most of it
    /// stays in the file until it is asked for.
    ///
    /// # Errors
    /// [`Error::File`], around what is wrong with it.
    pub fn from_file(path: impl AsRef<Path>) -> Result<LazyIndex, Error> {
        open(path.as_ref(), LazyIndex::from_sections)
    }

    /// [`from_file`](LazyIndex::from_file), of what `source` holds.
    ///
    /// # Errors
    /// [`Error::Sections`], [`Error::Entry`].
    pub fn from_source(source: impl ReadAt + 'static) -> Result<LazyIndex, Error> {
        LazyIndex::from_sections(Sections::from_source(Box::new(source), FILE_KIND)?)
    }
}

/// What `read` makes of the file at `path`.
fn open<T>(path: &Path, read: impl FnOnce(Sections) -> Result<T, Error>) -> Result<T, Error> {
    let open = || {
        let file = File::open(path).map_err(|error| Error::io("open", path, error))?;
        read(Sections::open(file, FILE_KIND)?)
    };
    open().map_err(|error| error.in_file(path))
}

/// Where a block of records lies in the file: those of one section of the catalogue.
#[derive(Debug)]
pub(crate) struct Place {
    /// The path of the first.
    pub(crate) first: RelPath,
    /// Its number.
    pub(crate) start: usize,
    /// How many directories there are before it.
    pub(crate) dirs: usize,
    /// The sections of their entries and of their fingerprints. Of what is no index file, the number of the block.
    pub(crate) sections: (usize, usize),
    /// Where their signatures begin.
    pub(crate) signatures: u64,
}

type Rows = (Vec<Row<Entry>>, Vec<Option<StatFingerprint>>);

/// Reads all records, and hands them over, those of several blocks at a time. Gives what finds signatures.
pub(crate) fn read(
    sections: &Arc<Sections>,
    mut each: impl FnMut(Vec<(Place, Vec<Arc<Record>>)>) -> Result<(), Error>,
) -> Result<SignatureReader, Error> {
    let catalogue: Vec<usize> = sections.of_kind(CATALOGUE).collect();
    let fingerprints: Vec<usize> = sections.of_kind(FINGERPRINTS).collect();
    if catalogue.len() != fingerprints.len() {
        return Err(sections.damaged(FINGERPRINTS, "as many sections as the catalogue has").into());
    }
    let mut signatures = SignatureReader::new(Arc::clone(sections), SIGNATURES)?;
    let pairs: Vec<(usize, usize)> = catalogue.into_iter().zip(fingerprints).collect();
    let (mut start, mut dirs) = (0, 0);
    for pairs in pairs.chunks(sections_at_once()) {
        let decoded = pairs.par_iter().map(|&pair| Ok((pair, rows(sections, pair)?)));
        let mut blocks = Vec::with_capacity(pairs.len());
        for (sections, rows) in decoded.collect::<Result<Vec<_>, SectionError>>()? {
            let at = signatures.position();
            let records = records(rows, &mut signatures)?;
            let Some(first) = records.first().map(|first| first.entry.path.clone()) else {
                continue;
            };
            let place = Place { first, start, dirs, sections, signatures: at };
            start += records.len();
            dirs += records.iter().filter(|record| record.entry.node == Node::Dir).count();
            blocks.push((place, records));
        }
        each(blocks)?;
    }
    signatures.finish()?;
    Ok(signatures)
}

/// Reads the records of a block again. `signatures` is where theirs begin.
pub(crate) fn decode(
    sections: &Sections,
    place: &Place,
    signatures: &mut SignatureReader,
) -> Result<Vec<Arc<Record>>, SectionError> {
    records(rows(sections, place.sections)?, signatures)
}

fn rows(sections: &Sections, (rows, fingerprints): (usize, usize)) -> Result<Rows, SectionError> {
    let rows: Vec<Row<Entry>> = sections.decode_list(rows)?;
    let fingerprints: Vec<Option<StatFingerprint>> = sections.decode_list(fingerprints)?;
    match rows.len() == fingerprints.len() {
        true => Ok((rows, fingerprints)),
        false => Err(sections.damaged(FINGERPRINTS, "not one row for each entry")),
    }
}

fn records(
    (rows, fingerprints): Rows,
    signatures: &mut SignatureReader,
) -> Result<Vec<Arc<Record>>, SectionError> {
    // Collected, they would lie where the rows lay, which is much more room.
    let mut records = Vec::with_capacity(rows.len());
    for ((entry, code), fingerprint) in rows.into_iter().zip(fingerprints) {
        let signature = signatures.next(code, entry.node.len())?;
        records.push(Arc::new(Record { entry, signature, fingerprint }));
    }
    Ok(records)
}

/// The section of the catalogue that has these records.
pub(crate) fn entries_of(records: &[Arc<Record>]) -> Result<Section, SectionError> {
    let rows = records.iter().map(|record| -> Row<&Entry> {
        (&record.entry, record.signature.as_ref().map(StoredSignature::code))
    });
    Section::encode(CATALOGUE, &rows.collect::<Vec<_>>())
}

/// The section of their fingerprints.
pub(crate) fn fingerprints_of(records: &[Arc<Record>]) -> Result<Section, SectionError> {
    let rows: Vec<_> = records.iter().map(|record| record.fingerprint).collect();
    Section::encode(FINGERPRINTS, &rows)
}

impl Remarks {
    pub(crate) fn write<W: Write>(&self, writer: &mut Writer<W>) -> Result<(), Error> {
        let weight = |problem: &Problem| {
            problem.path.as_bytes().len() + problem.detail.len() + 18 * problem.ranges.len()
        };
        for list in container::cut(&self.problems, ROWS_PER_SECTION, weight) {
            writer.section(&Section::encode(PROBLEMS, &list)?)?;
        }
        let weight = |path: &RelPath| path.as_bytes().len();
        for list in container::cut(&self.excluded, ROWS_PER_SECTION, weight) {
            writer.section(&Section::encode(EXCLUDED, &list)?)?;
        }
        if (self.top_mode, self.early_from) != NO_SCAN {
            writer.section(&Section::encode(SCAN, &(self.top_mode, self.early_from))?)?;
        }
        Ok(())
    }

    pub(crate) fn read(sections: &Sections) -> Result<Remarks, Error> {
        let mut problems: Vec<Problem> = sections.decode_all(PROBLEMS)?;
        problems.sort_by(|a, b| a.path.cmp(&b.path));
        let excluded: Vec<RelPath> = sections.decode_all(EXCLUDED)?;
        let (top_mode, early_from) = match sections.of_kind(SCAN).next() {
            Some(number) => sections.decode(number)?,
            None => NO_SCAN,
        };
        let follow = |a: &RelPath, b: &RelPath| a < b && !b.is_below(a);
        if !excluded.is_sorted_by(follow) {
            return Err(sections.damaged(EXCLUDED, "what was left out is not in order").into());
        }
        Ok(Remarks { problems, excluded, top_mode, early_from })
    }
}

/// Writes the section of each list.
fn write_lists<W: Write>(
    writer: &mut Writer<W>,
    lists: &[RecordList<'_>],
    section: impl Fn(&RecordList<'_>) -> Result<Section, SectionError> + Sync,
) -> Result<(), Error> {
    for lists in lists.chunks(sections_at_once()) {
        let sections = lists.par_iter().map(&section).collect::<Result<Vec<_>, SectionError>>()?;
        sections.iter().try_for_each(|section| writer.section(section))?;
    }
    Ok(())
}
