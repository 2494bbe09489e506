//! A diff as bytes and back, whole or a block at a time. Knows neither how changes are found nor what
//! they mean beyond the rules that each must keep.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use container::{
    FileKind, HEADER_LEN, List, Seal, Section, SectionError, Sections, Writer, cut, cut_at,
    max_held, too_much,
};
use dirindex::stored::{ShapeCode, SignatureReader, SignatureWriter, StoredSignature};
use dirindex::{Meta, Node, RelPath};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{Change, ChangeList, Content, DiffIndex, Error, LazyDiff, NewEntry};

pub(crate) const FILE_KIND: FileKind = FileKind { letters: *b"DIFF", lists: &[BLOCK, PATHS] };
const ENDS: u32 = 1;
pub(crate) const CHANGES: u32 = 2;
const SIGNATURES: u32 = 3;
const LEFT_OUT: u32 = 4;
const TOP: u32 = 5;

/// Paths in a list of those that were left out.
const PATHS_AT_ONCE: usize = 4096;
const PATHS: List = List { kind: LEFT_OUT, rows: PATHS_AT_ONCE, row_room: 64 };

/// The most changes that a block has: fewer where they are long. So few that reading one path's change
/// costs some 6 KiB, so many that compression loses 4% against blocks of 4,096.
pub(crate) const BLOCK_ROWS: usize = 128;

/// So many are decoded at a time, and of so many bytes: enough for all threads, and so few that little more than the
/// changes themselves is held of a large diff.
const BLOCKS_AT_ONCE: usize = 256;
const BYTES_AT_ONCE: usize = 8 << 20;

/// What a block is, and takes in memory.
pub const BLOCK: List = List { kind: CHANGES, rows: BLOCK_ROWS, row_room: 256 };

/// What an extended attribute counts for beside its bytes. It takes no such memory, but time: of four bytes each there could
/// be tens of millions.
const ATTRIBUTE_ROOM: u64 = 16;

/// Which signatures are written with a diff.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Signatures {
    /// Those of all contents that the old tree did not have.
    All,
    /// Those of contents stored as deltas. The others follow from what an archive stores whole.
    #[default]
    OfDeltas,
    /// None: for who only applies the diff, or has all that the contents are made of.
    None,
}

impl Signatures {
    fn keep(self, new: &NewEntry) -> Option<&StoredSignature> {
        let wanted = match (self, &new.content) {
            (Signatures::All, _) | (Signatures::OfDeltas, Content::Delta { .. }) => true,
            (Signatures::OfDeltas | Signatures::None, _) => false,
        };
        new.signature.as_ref().filter(|_| wanted)
    }
}

/// [`Change`] as it is encoded: the path, what stood there, what is to stand there.
type Row<P, N, M, C> = (P, Option<N>, Outcome<NewRow<N, M, C>>);

/// What is to stand at a path, as it is encoded.
#[derive(Serialize, Deserialize)]
enum Outcome<N> {
    Gone,
    New(N),
    Excluded,
}

/// [`NewEntry`] as it is encoded; of references when it is written.
type NewRow<N, M, C> = (N, M, C, Option<ShapeCode>);

/// A diff, where its blocks are, and what it takes in memory.
type InBlocks = (DiffIndex, Vec<(u64, Seal)>, u64);

type RowRead = Row<RelPath, Node, Meta, Content>;
type RowWritten<'a> = Row<&'a RelPath, &'a Node, &'a Meta, &'a Content>;

/// A diff that was encoded to `W`: how long it is, what reading it takes, and where its blocks are.
#[derive(Debug)]
pub struct Encoded<W> {
    out: W,
    blocks_at: u64,
    blocks: Vec<Seal>,
    byte_len: u64,
    held: u64,
}

impl DiffIndex {
    /// [`from_bytes`](DiffIndex::from_bytes), and where in the bytes each block of changes begins and what it can be read with by itself. For a diff that is a part of a larger file,
    /// which may take `most` bytes of memory, together with the bytes that it is read from; and how much it takes.
    ///
    /// # Errors
    /// As [`from_bytes`](DiffIndex::from_bytes).
    pub fn from_bytes_in_blocks(bytes: Vec<u8>, most: u64) -> Result<InBlocks, Error> {
        let len = bytes.len() as u64;
        let most = most.saturating_sub(len);
        let sections = Sections::from_bytes_within(bytes, FILE_KIND, most)?;
        let (diff, blocks, held) = from_sections(sections, most)?;
        Ok((diff, blocks, held.saturating_add(len)))
    }

    pub(crate) fn open(path: &Path) -> Result<DiffIndex, Error> {
        let file = File::open(path).map_err(Error::Open)?;
        let len = file.metadata().map_err(Error::Open)?.len();
        Ok(from_sections(Sections::open(file, FILE_KIND)?, max_held(len))?.0)
    }
}

impl LazyDiff {
    /// Writes the diff, with the signatures asked for, to `out`. Calls `each` for the lists of changes in several blocks at a time, in
    /// order, with what each can be read with by itself. Whether readers [accept](Encoded::check_held) it is for the caller to see to.
    ///
    /// # Errors
    /// [`Error::Sections`] when `out` fails, a signature cannot be loaded, or the changes are too large for their sections;
    /// [`Error::Index`].
    pub fn encode<W: Write>(
        &self,
        out: W,
        signatures: Signatures,
        mut each: impl FnMut(&[ChangeList], &[Seal]),
    ) -> Result<Encoded<W>, Error> {
        let mut writer = Writer::new(out, FILE_KIND)?;
        let ends = Section::encode(ENDS, &(self.base(), self.result()))?;
        writer.section(&ends)?;
        let (mut blocks, mut held) = (Vec::new(), ends.seal().raw_len);
        let mut lists = self.lists();
        loop {
            let some = lists.by_ref().take(BLOCKS_AT_ONCE).collect::<Result<Vec<_>, _>>()?;
            if some.is_empty() {
                break;
            }
            let sections = some.par_iter().map(|list| section(list, signatures));
            let sections = sections.collect::<Result<Vec<_>, SectionError>>()?;
            let seals: Vec<Seal> = sections.iter().map(Section::seal).collect();
            each(&some, &seals);
            for (list, section) in some.iter().zip(&sections) {
                let takes = BLOCK.held(&section.seal()).saturating_add(attributes(list));
                held = held.saturating_add(takes);
                writer.section(section)?;
            }
            blocks.extend(seals);
        }
        let lists = (signatures != Signatures::None).then(|| self.lists());
        let mut stream = SignatureWriter::new(SIGNATURES);
        for list in lists.into_iter().flatten() {
            let list = list?;
            let news = list.iter().filter_map(|change| change.new.as_ref());
            let mut kept = news.filter_map(|new| signatures.keep(new));
            kept.try_for_each(|signature| stream.push(&mut writer, signature))?;
        }
        held = held.saturating_add(stream.position());
        stream.finish(&mut writer)?;
        let paths = cut(self.ends().left_out(), PATHS_AT_ONCE, |path| path.as_bytes().len());
        for paths in paths {
            let section = Section::encode(LEFT_OUT, &paths)?;
            held = held.saturating_add(PATHS.held(&section.seal()));
            writer.section(&section)?;
        }
        if let Some(mode) = self.ends().top_mode() {
            let section = Section::encode(TOP, &mode)?;
            held = held.saturating_add(section.seal().raw_len);
            writer.section(&section)?;
        }
        let byte_len = writer.finished_len();
        let out = writer.finish_part()?;
        let blocks_at = HEADER_LEN as u64 + ends.seal().stored_len;
        let held = held.saturating_add(byte_len);
        Ok(Encoded { out, blocks_at, blocks, byte_len, held })
    }
}

fn section(changes: &[Change], signatures: Signatures) -> Result<Section, SectionError> {
    let rows: Vec<RowWritten<'_>> = changes.iter().map(|change| row(change, signatures)).collect();
    Section::encode(CHANGES, &rows)
}

impl<W> Encoded<W> {
    /// How many bytes it is.
    #[must_use]
    pub fn byte_len(&self) -> u64 {
        self.byte_len
    }

    /// The memory that reading all of it takes, the encoded bytes included. See [`max_held`].
    #[must_use]
    pub fn held(&self) -> u64 {
        self.held
    }

    /// Checks that readers accept it when `len` bytes are stored for it.
    ///
    /// # Errors
    /// [`Error::Sections`].
    pub fn check_held(&self, len: u64) -> Result<(), Error> {
        let problem = too_much(self.held, max_held(len));
        problem.map_or(Ok(()), |problem| Err(SectionError::Encode(problem).into()))
    }

    /// Where in the bytes the first block of changes begins. The others follow without gaps.
    #[must_use]
    pub fn blocks_at(&self) -> u64 {
        self.blocks_at
    }

    /// What each block can be read with by itself.
    #[must_use]
    pub fn blocks(&self) -> &[Seal] {
        &self.blocks
    }

    /// What it was written to.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.out
    }

    /// What it was written to.
    #[must_use]
    pub fn into_inner(self) -> W {
        self.out
    }
}

/// The changes in one block, whose stored bytes are `stored`, without their signatures.
///
/// # Errors
/// [`Error::Unusable`] for a change that cannot be, or out of order; [`Error::Block`] when the bytes
/// are not those that were sealed.
pub fn read_block(seal: &Seal, stored: Vec<u8>) -> Result<Vec<Change>, Error> {
    let rows: Vec<RowRead> = seal.decode_list(stored, &BLOCK).map_err(Error::Block)?;
    let changes: Vec<Change> = rows.into_iter().map(|row| change(row, None)).collect();
    let mut previous: Option<&RelPath> = None;
    for Change { path, .. } in &changes {
        if previous.is_some_and(|previous| previous >= path) {
            let problem = "a path twice or out of order";
            return Err(Error::Unusable { path: path.clone(), problem });
        }
        previous = Some(path);
    }
    match changes.iter().find_map(|change| Some((change, change.broken_rule()?))) {
        Some((change, problem)) => Err(Error::Unusable { path: change.path.clone(), problem }),
        None => Ok(changes),
    }
}

/// The diff in `sections`, which may hold `most`.
fn from_sections(sections: Sections, most: u64) -> Result<InBlocks, Error> {
    let sections = Arc::new(sections);
    let blocks = sections.of_kind(CHANGES);
    let places = blocks.filter_map(|number| sections.place(number)).collect();
    // Reserved at once: a vector that grows is in memory twice while it is copied. The limit has counted this room.
    let mut changes = Vec::with_capacity(sections.of_kind(CHANGES).count() * BLOCK_ROWS);
    let (ends, held) = read_all(&sections, most, |lists| {
        lists.into_iter().for_each(|list| changes.extend(list));
        Ok(())
    })?;
    let diff = DiffIndex::from_changes(ends.base(), ends.result(), changes)?;
    Ok((diff.with_top_of(&ends), places, held))
}

/// Reads all of the diff in `sections`, which may hold `most`. Hands over the changes, those of several blocks at a time. Gives the
/// diff without them, and what it takes in memory.
pub(crate) fn read_all(
    sections: &Arc<Sections>,
    most: u64,
    mut each: impl FnMut(Vec<Vec<Change>>) -> Result<(), Error>,
) -> Result<(DiffIndex, u64), Error> {
    let mut held = sections.held();
    let ends = sections.of_kind(ENDS).next().unwrap_or(usize::MAX);
    let (base, result) = sections.decode(ends)?;
    let mut blocks = Blocks::new(sections)?;
    while let Some(lists) = blocks.next()? {
        let attributes = lists.iter().map(|list| attributes(list));
        held = attributes.fold(held, u64::saturating_add);
        if let Some(problem) = too_much(held, most) {
            return Err(SectionError::Damaged { offset: 0, problem }.into());
        }
        each(lists)?;
    }
    blocks.signatures.finish()?;
    let mut left_out: Vec<RelPath> = Vec::new();
    for number in sections.of_kind(LEFT_OUT) {
        left_out.extend(sections.decode_list::<RelPath>(number)?);
    }
    let mut pairs = left_out.windows(2);
    if let Some([_, path]) = pairs.find(|pair| matches!(pair, [a, b] if a >= b || b.is_below(a))) {
        let problem = "what was left out is not in order";
        return Err(Error::Unusable { path: path.clone(), problem });
    }
    let top: Option<u32> = match sections.of_kind(TOP).next() {
        Some(number) => Some(sections.decode(number)?),
        None => None,
    };
    let ends = DiffIndex::from_parts(base, result, Vec::new());
    Ok((ends.with_top(left_out, top), held))
}

/// Goes through the changes in sections, those of several blocks at a time.
#[derive(Debug)]
pub(crate) struct Blocks {
    sections: Arc<Sections>,
    /// Those that are blocks, and how many of them were read.
    numbers: Vec<usize>,
    done: usize,
    signatures: SignatureReader,
}

impl Blocks {
    pub(crate) fn new(sections: &Arc<Sections>) -> Result<Blocks, SectionError> {
        let numbers = sections.of_kind(CHANGES).collect();
        let signatures = SignatureReader::new(Arc::clone(sections), SIGNATURES)?;
        Ok(Blocks { sections: Arc::clone(sections), numbers, done: 0, signatures })
    }

    /// The changes of the blocks that come next, one list for each.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<Vec<Change>>>, SectionError> {
        let Blocks { sections, numbers, done, signatures } = self;
        let raw_len = |number: &usize| sections.raw_len(*number);
        let rest = numbers.get(*done..).unwrap_or_default();
        let mut lists = cut_at(rest, BLOCKS_AT_ONCE, BYTES_AT_ONCE, raw_len);
        let Some(these) = lists.next() else { return Ok(None) };
        *done += these.len();
        let rows = these.par_iter().map(|&number| sections.decode_list::<RowRead>(number));
        let mut lists = Vec::with_capacity(these.len());
        for rows in rows.collect::<Result<Vec<_>, _>>()? {
            // Collected, they would lie where the rows lay, which may be more room.
            let mut list = Vec::with_capacity(rows.len());
            for row in rows {
                let signature = match &row.2 {
                    Outcome::New((node, _, _, code)) => signatures.next(*code, node.len())?,
                    Outcome::Gone | Outcome::Excluded => None,
                };
                list.push(change(row, signature));
            }
            lists.push(list);
        }
        Ok(Some(lists))
    }
}

/// The changes of the block in a section, without their signatures.
pub(crate) fn block_of(sections: &Sections, number: usize) -> Result<Vec<Change>, SectionError> {
    let rows: Vec<RowRead> = sections.decode_list(number)?;
    Ok(rows.into_iter().map(|row| change(row, None)).collect())
}

fn change((path, old, new): RowRead, signature: Option<StoredSignature>) -> Change {
    let excluded = matches!(new, Outcome::Excluded);
    let new = match new {
        Outcome::New((node, meta, content, _)) => Some(NewEntry { node, meta, content, signature }),
        Outcome::Gone | Outcome::Excluded => None,
    };
    Change { path, old, new, excluded }
}

/// What the extended attributes of these changes count for beside their bytes.
fn attributes(changes: &[Change]) -> u64 {
    let news = changes.iter().filter_map(|change| change.new.as_ref());
    news.map(|new| new.meta.xattrs.len() as u64).sum::<u64>().saturating_mul(ATTRIBUTE_ROOM)
}

/// About how many bytes a change is encoded in.
pub(crate) fn weight(change: &Change) -> usize {
    let base = |content: &Content| match content {
        Content::Delta { base, .. } | Content::Copy { base } | Content::Tree { base, .. } => {
            base.as_bytes().len()
        }
        Content::Same { path } => path.as_bytes().len(),
        Content::Keep | Content::Whole => 0,
    };
    let new = |new: &NewEntry| new.node.weight() + new.meta.weight() + base(&new.content);
    change.path.as_bytes().len()
        + change.old.as_ref().map_or(0, Node::weight)
        + change.new.as_ref().map_or(0, new)
}

fn row(change: &Change, signatures: Signatures) -> RowWritten<'_> {
    let new = match &change.new {
        Some(new) => {
            let code = signatures.keep(new).map(StoredSignature::code);
            Outcome::New((&new.node, &new.meta, &new.content, code))
        }
        None if change.excluded => Outcome::Excluded,
        None => Outcome::Gone,
    };
    (&change.path, change.old.as_ref(), new)
}
