//! [`Sections`]: a container that is read, each section when it is asked for. Knows framing, not what a section means.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io;
use std::sync::Arc;

use rayon::prelude::*;
use rsync_core::Digest;
use serde::de::DeserializeOwned;

use crate::error::damaged;
use crate::{
    FOOTER_LEN, FileKind, HEADER_LEN, MAGIC, MAX_SECTION_LEN, Packing, ROW_LEN, ReadAt, Seal,
    Section, SectionError, VERSION, codec, max_held, read_healed, too_much,
};

#[derive(Debug, Clone)]
struct Row {
    kind: u32,
    offset: usize,
    seal: Seal,
    digest: Digest,
}

/// A container that was opened: header, table and footer are checked, each section when it is
/// asked for.
#[derive(Debug)]
pub struct Sections {
    bytes: Backing,
    len: usize,
    kind: FileKind,
    rows: Vec<Row>,
}

/// What is taken from a file is read, not mapped: it is unpacked or copied anyway.
enum Backing {
    Memory(Vec<u8>),
    Source(Arc<dyn ReadAt>),
}

impl fmt::Debug for Backing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Backing::Memory(_) => "Memory",
            Backing::Source(_) => "Source",
        })
    }
}

impl Backing {
    /// `len` bytes from `offset` on.
    fn read(&self, offset: usize, len: usize) -> Result<Cow<'_, [u8]>, SectionError> {
        let missing = || damaged(offset, "the file ends before what is declared");
        match self {
            Backing::Memory(bytes) => {
                let end = offset.checked_add(len);
                let range = end.and_then(|end| bytes.get(offset..end));
                range.map(Cow::Borrowed).ok_or_else(missing)
            }
            Backing::Source(source) => {
                let mut bytes = vec![0; len];
                if len == 0 {
                    // To ask a store for no bytes is an error in some.
                    return Ok(Cow::Owned(bytes));
                }
                match source.fill_at(&mut bytes, offset as u64) {
                    Ok(()) => Ok(Cow::Owned(bytes)),
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(missing()),
                    Err(error) => Err(SectionError::Read(error)),
                }
            }
        }
    }
}

impl Sections {
    /// Opens the container in `file`, which must be of `kind`. A file that is
    /// changed while it is open gives errors, never other values.
    ///
    /// # Errors
    /// [`SectionError::Damaged`], also for one that holds more than [`max_held`] of its length;
    /// [`SectionError::Read`].
    pub fn open(file: File, kind: impl Into<FileKind>) -> Result<Sections, SectionError> {
        let metadata = file.metadata().map_err(SectionError::Read)?;
        if !metadata.is_file() {
            let error = io::Error::new(io::ErrorKind::InvalidInput, "not a regular file");
            return Err(SectionError::Read(error));
        }
        Sections::from_source(Box::new(file), kind)
    }

    /// [`open`](Sections::open) of anything that can be read at any place, and that may [heal](ReadAt::heal) where it is
    /// damaged.
    ///
    /// # Errors
    /// As [`open`](Sections::open).
    pub fn from_source(
        source: Box<dyn ReadAt>,
        kind: impl Into<FileKind>,
    ) -> Result<Sections, SectionError> {
        Sections::opened(source.into(), kind.into(), max_held)
    }

    /// [`from_source`](Sections::from_source), of a container that is a part of a larger file and may hold
    /// `most` bytes, whatever its own length.
    ///
    /// # Errors
    /// As [`open`](Sections::open).
    pub fn from_source_within(
        source: Box<dyn ReadAt>,
        kind: impl Into<FileKind>,
        most: u64,
    ) -> Result<Sections, SectionError> {
        Sections::opened(source.into(), kind.into(), |_| most)
    }

    fn opened(
        source: Arc<dyn ReadAt>,
        kind: FileKind,
        most: impl Fn(u64) -> u64,
    ) -> Result<Sections, SectionError> {
        read_healed(&source, || {
            let len = source.size().map_err(SectionError::Read)?;
            let most = most(len);
            let len = usize::try_from(len).map_err(io::Error::other).map_err(SectionError::Read)?;
            Sections::parse(Backing::Source(Arc::clone(&source)), len, kind, most)
        })
    }

    /// Opens the container that `bytes` are.
    ///
    /// # Errors
    /// [`SectionError::Damaged`].
    pub fn from_bytes(bytes: Vec<u8>, kind: impl Into<FileKind>) -> Result<Sections, SectionError> {
        let most = max_held(bytes.len() as u64);
        Sections::from_bytes_within(bytes, kind, most)
    }

    /// [`from_bytes`](Sections::from_bytes), of a container that is a part of a larger file and may hold
    /// `most` bytes, whatever its own length.
    ///
    /// # Errors
    /// [`SectionError::Damaged`].
    pub fn from_bytes_within(
        bytes: Vec<u8>,
        kind: impl Into<FileKind>,
        most: u64,
    ) -> Result<Sections, SectionError> {
        let len = bytes.len();
        Sections::parse(Backing::Memory(bytes), len, kind.into(), most)
    }

    fn parse(
        bytes: Backing,
        len: usize,
        kind: FileKind,
        most: u64,
    ) -> Result<Sections, SectionError> {
        let letters = kind.letters;
        if len < HEADER_LEN {
            return Err(damaged(len, "the file ends inside its header"));
        }
        let header = bytes.read(0, HEADER_LEN)?;
        if header[..4] != MAGIC {
            return Err(damaged(0, "not a file of incremental-backups-tools"));
        }
        if header[4..8] != letters {
            let (found, wanted) = (header[4..8].escape_ascii(), letters.escape_ascii());
            return Err(damaged(4, format!("a file of kind {found}, not {wanted}")));
        }
        if header[8..] != VERSION.to_le_bytes() {
            return Err(damaged(8, "an unknown version of the format"));
        }
        let footer_at = len
            .checked_sub(FOOTER_LEN)
            .filter(|&at| at >= HEADER_LEN)
            .ok_or_else(|| damaged(len, "the file ends before its footer"))?;
        let footer = bytes.read(footer_at, FOOTER_LEN)?;
        if footer[40..44] != MAGIC || footer[44..] != letters {
            return Err(damaged(footer_at, "no footer: the file was cut short or added to"));
        }
        let table_offset = u64::from_le_bytes(*footer.first_chunk().unwrap_or(&[0; 8]));
        let table_at = usize::try_from(table_offset)
            .ok()
            .filter(|&at| at >= HEADER_LEN && at <= footer_at)
            .filter(|&at| (footer_at - at).is_multiple_of(ROW_LEN))
            .ok_or_else(|| damaged(footer_at, "the table of sections is out of place"))?;
        let table = bytes.read(table_at, footer_at - table_at)?;
        let digest = Digest::of(&[&header[..], &table, &footer[..8]].concat());
        if digest.0 != footer[8..40] {
            return Err(damaged(footer_at, "the table of sections does not match its hash"));
        }
        let rows = parse_rows(&table, table_at - HEADER_LEN)?;
        drop((header, footer, table));
        let held = rows.iter().map(|row| kind.held(row.kind, &row.seal));
        match too_much(held.fold(0, u64::saturating_add), most) {
            Some(problem) => Err(damaged(table_at, problem)),
            None => Ok(Sections { bytes, len, kind, rows }),
        }
    }

    /// What they take in memory, all together.
    pub fn held(&self) -> u64 {
        let held = self.rows.iter().map(|row| self.kind.held(row.kind, &row.seal));
        held.fold(0, u64::saturating_add)
    }

    /// How many sections there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.rows.len()
    }

    /// The numbers of the sections of `kind`, in order.
    pub fn of_kind(&self, kind: u32) -> impl Iterator<Item = usize> {
        self.rows.iter().enumerate().filter(move |(_, row)| row.kind == kind).map(|(n, _)| n)
    }

    /// The bytes of section `number`, verified and unpacked.
    ///
    /// # Errors
    /// [`SectionError::Damaged`], also when there is no such section.
    pub fn raw(&self, number: usize) -> Result<Vec<u8>, SectionError> {
        let (row, stored) = self.stored(number)?;
        let named = |problem| damaged(row.offset, format!("section {number}: {problem}"));
        row.seal.unpack(stored.into_owned()).map_err(named)
    }

    /// Section `number` as it is stored, verified, to be written to another container.
    ///
    /// # Errors
    /// As [`raw`](Sections::raw).
    pub fn section(&self, number: usize) -> Result<Section, SectionError> {
        let (Row { kind, seal, digest, .. }, stored) = self.stored(number)?;
        Ok(Section { kind: *kind, seal: *seal, digest: *digest, stored: stored.into_owned() })
    }

    fn stored(&self, number: usize) -> Result<(&Row, Cow<'_, [u8]>), SectionError> {
        let row = self.row(number)?;
        let read = || {
            let stored = self.bytes.read(row.offset, row.seal.stored_len as usize)?;
            match Digest::of(&stored) == row.digest {
                true => Ok(stored),
                false => {
                    let problem = format!("section {number} does not match its hash");
                    Err(damaged(row.offset, problem))
                }
            }
        };
        let stored = match &self.bytes {
            Backing::Source(source) => read_healed(source, read)?,
            Backing::Memory(_) => read()?,
        };
        Ok((row, stored))
    }

    /// Where section `number` begins, and what it can be read with apart from the container.
    #[must_use]
    pub fn place(&self, number: usize) -> Option<(u64, Seal)> {
        self.rows.get(number).map(|row| (row.offset as u64, row.seal))
    }

    /// The value in section `number`.
    ///
    /// # Errors
    /// [`SectionError::Damaged`].
    pub fn decode<T: DeserializeOwned>(&self, number: usize) -> Result<T, SectionError> {
        let raw = self.raw(number)?;
        let offset = self.row(number)?.offset;
        codec::decode(&raw).map_err(|problem| damaged(offset, problem))
    }

    /// The list in section `number`.
    ///
    /// # Errors
    /// [`SectionError::Damaged`], also when it has more rows than a list of its [kind](FileKind) may have.
    pub fn decode_list<T: DeserializeOwned>(&self, number: usize) -> Result<Vec<T>, SectionError> {
        let raw = self.raw(number)?;
        let row = self.row(number)?;
        let most = self.kind.list(row.kind).map_or(usize::MAX, |list| list.rows);
        codec::decode_list(&raw, most).map_err(|problem| damaged(row.offset, problem))
    }

    /// The values in all sections of `kind`, each a list, joined; decoded in parallel.
    ///
    /// # Errors
    /// [`SectionError::Damaged`].
    pub fn decode_all<T: DeserializeOwned + Send>(
        &self,
        kind: u32,
    ) -> Result<Vec<T>, SectionError> {
        let numbers: Vec<usize> = self.of_kind(kind).collect();
        let lists = numbers
            .into_par_iter()
            .map(|number| self.decode_list(number))
            .collect::<Result<Vec<Vec<T>>, _>>()?;
        Ok(lists.into_iter().flatten().collect())
    }

    /// An error with what the sections of `kind` say together, at the first of them.
    #[must_use]
    pub fn damaged(&self, kind: u32, problem: &str) -> SectionError {
        let first = self.rows.iter().find(|row| row.kind == kind);
        damaged(first.map_or(self.len, |row| row.offset), problem)
    }

    /// The length of section `number` once unpacked, without reading it; 0 if there is none.
    #[must_use]
    pub fn raw_len(&self, number: usize) -> usize {
        self.rows.get(number).map_or(0, |row| row.seal.raw_len as usize)
    }

    /// The length of section `number` as it is stored; 0 if there is none.
    #[must_use]
    pub fn stored_len(&self, number: usize) -> usize {
        self.rows.get(number).map_or(0, |row| row.seal.stored_len as usize)
    }

    fn row(&self, number: usize) -> Result<&Row, SectionError> {
        self.rows.get(number).ok_or_else(|| damaged(self.len, "a section is missing"))
    }
}

/// Sections lie back to back from the header to the table.
fn parse_rows(table: &[u8], body_len: usize) -> Result<Vec<Row>, SectionError> {
    let mut offset = HEADER_LEN;
    let mut rows = Vec::with_capacity(table.len() / ROW_LEN);
    for (number, row) in table.as_chunks::<ROW_LEN>().0.iter().enumerate() {
        let row = parse_row(row, offset)
            .filter(|row| row.seal.stored_len <= (HEADER_LEN + body_len - offset) as u64)
            .ok_or_else(|| damaged(offset, format!("section {number} is declared impossibly")))?;
        offset += row.seal.stored_len as usize;
        rows.push(row);
    }
    if offset != HEADER_LEN + body_len {
        return Err(damaged(offset, "bytes that belong to no section"));
    }
    Ok(rows)
}

fn parse_row(row: &[u8; ROW_LEN], offset: usize) -> Option<Row> {
    let (kind, rest) = row.split_first_chunk()?;
    let (packing, rest) = rest.split_first_chunk()?;
    let (stored_len, rest) = rest.split_first_chunk()?;
    let (raw_len, digest) = rest.split_first_chunk()?;
    let packing = match u32::from_le_bytes(*packing) {
        0 => Packing::Stored,
        1 => Packing::Zstd,
        2 => Packing::Masked,
        _ => return None,
    };
    let seal = Seal {
        packing,
        stored_len: u64::from_le_bytes(*stored_len),
        raw_len: u64::from_le_bytes(*raw_len),
        hash: *digest.first_chunk()?,
    };
    let digest = Digest(*digest.first_chunk()?);
    let fits = seal.raw_len <= MAX_SECTION_LEN as u64;
    fits.then_some(Row { kind: u32::from_le_bytes(*kind), offset, seal, digest })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{List, Writer, cut};

    const KIND: [u8; 4] = *b"TEST";

    fn sample() -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), KIND).unwrap();
        writer.section(&Section::encode(1, &vec![1u64, 2, 3]).unwrap()).unwrap();
        let raw = Section::new(2, b"raw bytes".to_vec(), Packing::Stored).unwrap();
        writer.section(&raw).unwrap();
        writer.section(&Section::encode(1, &vec![4u64]).unwrap()).unwrap();
        writer.finish().unwrap()
    }

    fn read(bytes: Vec<u8>) -> Result<(Vec<u64>, Vec<u8>), SectionError> {
        let sections = Sections::from_bytes(bytes, KIND)?;
        Ok((sections.decode_all(1)?, sections.raw(1)?))
    }

    #[test]
    fn sections_are_cut_by_bytes_too() {
        let lens = |rows: &[usize], most| {
            cut(rows, most, |row| *row).map(<[usize]>::len).collect::<Vec<_>>()
        };
        assert_eq!(lens(&[1; 10], 4), [4, 4, 2]);
        assert_eq!(lens(&[], 4), []);
        assert_eq!(lens(&[600_000; 5], 4), [2, 2, 1]);
        assert_eq!(lens(&[1, 5 << 20, 1, 1], 4), [2, 2]);
    }

    /// What takes much memory takes many bytes too, whatever compresses them.
    #[test]
    fn what_packs_to_nothing_is_masked() {
        for (raw, packing) in [
            (vec![7; 1 << 20], Packing::Masked),
            (vec![7; 1 << 16], Packing::Zstd),
            (b"some text ".repeat(30), Packing::Zstd),
        ] {
            let section = Section::pack(1, raw.clone()).unwrap();
            assert_eq!(section.seal().packing, packing, "{}", raw.len());
            let mut writer = Writer::new(Vec::new(), KIND).unwrap();
            writer.section(&section).unwrap();
            let bytes = writer.finish().unwrap();
            let packed = zstd::bulk::compress(&bytes, 19).unwrap();
            assert!(raw.len() <= packed.len() * 60 || raw.len() <= 1 << 16);
            assert_eq!(Sections::from_bytes(bytes, KIND).unwrap().raw(0).unwrap(), raw);
        }
    }

    #[test]
    fn sections_come_back() {
        assert_eq!(read(sample()).unwrap(), (vec![1, 2, 3, 4], b"raw bytes".to_vec()));
        let (from, mut to) =
            (Sections::from_bytes(sample(), KIND).unwrap(), Writer::new(Vec::new(), KIND).unwrap());
        (0..3).for_each(|number| to.section(&from.section(number).unwrap()).unwrap());
        assert_eq!(to.finish().unwrap(), sample());
        let empty = Writer::new(Vec::new(), KIND).unwrap().finish().unwrap();
        assert_eq!(Sections::from_bytes(empty, KIND).unwrap().count(), 0);
    }

    #[test]
    fn every_truncation_and_every_flipped_bit_is_an_error() {
        let whole = sample();
        for len in 0..whole.len() {
            assert!(read(whole[..len].to_vec()).is_err(), "cut at {len}");
        }
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(read(bytes).is_err(), "bit {bit}");
        }
        assert!(read([whole, vec![0]].concat()).is_err());
    }

    /// A kind of file whose lists take much: two hold as much as any file may.
    const ROOMY: FileKind = {
        let row_room = (64 << 20) / 4 + 3000;
        FileKind { letters: KIND, lists: &[List { kind: 1, rows: 2, row_room }] }
    };

    fn lists(kind: FileKind, count: usize) -> Writer<Vec<u8>> {
        let mut writer = Writer::new(Vec::new(), kind).unwrap();
        let list = Section::encode(1, &vec![1u64, 2]).unwrap();
        (0..count).for_each(|_| writer.section(&list).unwrap());
        writer
    }

    #[test]
    fn what_holds_too_much_is_neither_written_nor_read() {
        let whole = lists(ROOMY, 2).finish().unwrap();
        let held = 4 * ((64 << 20) / 4 + 3000) + 2 * 3;
        assert!((max_held(0)..=max_held(whole.len() as u64)).contains(&held));
        let sections = Sections::from_bytes_within(whole.clone(), ROOMY, held).unwrap();
        assert_eq!(sections.decode_all::<u64>(1).unwrap(), [1, 2, 1, 2]);
        assert!(Sections::from_bytes(whole.clone(), ROOMY).is_ok());
        let error = Sections::from_bytes_within(whole, ROOMY, held - 1).unwrap_err().to_string();
        assert!(error.contains(&format!("it takes {held} bytes in memory")), "{error}");

        let error = lists(ROOMY, 3).finish().unwrap_err().to_string();
        assert!(error.starts_with("cannot encode a section: it takes 100"), "{error}");
        let part = lists(ROOMY, 3).finish_part().unwrap();
        assert!(Sections::from_bytes(part.clone(), ROOMY).is_err());
        assert!(Sections::from_bytes_within(part, ROOMY, u64::MAX).is_ok());
    }

    #[test]
    fn a_list_of_more_rows_than_there_may_be_is_refused() {
        let mut writer = Writer::new(Vec::new(), KIND).unwrap();
        let list = Section::encode(1, &vec![1u64, 2, 3]).unwrap();
        writer.section(&list).unwrap();
        let sections = Sections::from_bytes(writer.finish().unwrap(), ROOMY).unwrap();
        let error = sections.decode_all::<u64>(1).unwrap_err().to_string();
        assert!(error.ends_with("a list of 3 rows"), "{error}");
        let decode = |rows| {
            list.seal().decode_list(list.stored.clone(), &List { kind: 1, rows, row_room: 0 })
        };
        assert_eq!(decode(3), Ok(vec![1u64, 2, 3]));
        assert_eq!(decode(2), Err("a list of 3 rows".to_owned()));
    }

    #[test]
    fn another_kind_of_file_is_refused() {
        let error = Sections::from_bytes(sample(), *b"ELSE").unwrap_err();
        assert_eq!(error.to_string(), "at byte 4: a file of kind TEST, not ELSE");
    }
}
