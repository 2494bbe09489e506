//! [`Base`]: records in path order that stay as they are, in memory or in a file. Of a file, a few blocks are in memory.
//! Must not know what was changed since.

use std::collections::HashSet;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::ops::{Deref, Range};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use container::{Section, SectionError, Sections, Writer};
use rayon::prelude::*;
use rsync_core::Digest;

use super::cursor::Cursor;
use super::survey::{Survey, Surveyed};
use crate::index_file::{self, Place, ROWS_PER_SECTION};
use crate::stored::{SignatureReader, SignatureWriter};
use crate::tree::{Link, sections_at_once};
use crate::{Error, Node, Record, RelPath, Totals, TreeId};

/// So many blocks of a file are kept in memory: some 70 MB of records. A smaller index is in memory as a whole.
const KEPT: usize = 64;

/// Records in path order.
type Records = Arc<Vec<Arc<Record>>>;

/// Records in path order. They are numbered.
#[derive(Debug)]
pub(crate) enum Base {
    Memory(Records),
    File(Box<FileBase>),
}

/// Records that follow each other.
pub(crate) enum Block<'a> {
    Part(&'a [Arc<Record>]),
    Read(Records),
}

impl Deref for Block<'_> {
    type Target = [Arc<Record>];

    fn deref(&self) -> &[Arc<Record>] {
        match self {
            Block::Part(records) => records,
            Block::Read(records) => records,
        }
    }
}

impl Base {
    /// How many records there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Base::Memory(records) => records.len(),
            Base::File(file) => file.len,
        }
    }

    /// How many blocks they are in.
    pub(crate) fn blocks(&self) -> usize {
        match self {
            Base::Memory(records) => records.len().div_ceil(ROWS_PER_SECTION),
            Base::File(file) => file.places.len(),
        }
    }

    /// The numbers of the records in a block.
    pub(crate) fn numbers(&self, block: usize) -> Range<usize> {
        let start = |block: usize| match self {
            Base::Memory(_) => block * ROWS_PER_SECTION,
            Base::File(file) => file.places.get(block).map_or(file.len, |place| place.start),
        };
        start(block).min(self.len())..start(block + 1).min(self.len())
    }

    /// How many blocks begin with a path that `is_before` is true of. It is of none that follows one of which it is not.
    pub(crate) fn blocks_before(&self, is_before: impl Fn(&RelPath) -> bool) -> usize {
        match self {
            Base::Memory(records) => {
                let before = |record: &Arc<Record>| is_before(&record.entry.path);
                records.partition_point(before).div_ceil(ROWS_PER_SECTION)
            }
            Base::File(file) => file.places.partition_point(|place| is_before(&place.first)),
        }
    }

    /// The block that has the record at `path`, if any has.
    pub(crate) fn block_of(&self, path: &RelPath) -> usize {
        self.blocks_before(|first| first <= path).saturating_sub(1)
    }

    /// The block that has record number `number`.
    pub(crate) fn block_with(&self, number: usize) -> usize {
        match self {
            Base::Memory(_) => number / ROWS_PER_SECTION,
            Base::File(file) => file.block_with(number),
        }
    }

    /// The path of the first record of a block.
    pub(crate) fn first_path(&self, block: usize) -> Option<&RelPath> {
        match self {
            Base::Memory(records) => {
                records.get(self.numbers(block).start).map(|record| &record.entry.path)
            }
            Base::File(file) => file.places.get(block).map(|place| &place.first),
        }
    }

    /// The records of a block.
    ///
    /// # Errors
    /// [`Error::Sections`] when it cannot be read any more.
    pub(crate) fn block(&self, block: usize) -> Result<Block<'_>, Error> {
        match self {
            Base::Memory(records) => {
                Ok(Block::Part(records.get(self.numbers(block)).unwrap_or_default()))
            }
            Base::File(file) => Ok(Block::Read(file.block(block, Keep::WhereRoom)?)),
        }
    }

    /// The records of a block, of which others will be asked for soon.
    ///
    /// # Errors
    /// As [`block`](Base::block).
    pub(crate) fn block_to_keep(&self, block: usize) -> Result<Block<'_>, Error> {
        match self {
            Base::Memory(_) => self.block(block),
            Base::File(file) => Ok(Block::Read(file.block(block, Keep::InsteadOfOthers)?)),
        }
    }

    /// The record at `path`, and its number.
    ///
    /// # Errors
    /// As [`block`](Base::block).
    pub(crate) fn find(&self, path: &RelPath) -> Result<Option<(usize, Arc<Record>)>, Error> {
        Cursor::new(self).find(path)
    }
}

/// The records of a file.
#[derive(Debug)]
pub(crate) struct FileBase {
    source: Source,
    places: Vec<Place>,
    len: usize,
    /// What was seen of all of them. `None` while they may be those of no tree.
    tree: Option<Tree>,
    /// What is in memory, the block that was used last at the end.
    kept: Mutex<Vec<Kept>>,
}

/// What the blocks of a file are read from.
enum Source {
    /// An index file. The reader is behind the last signature.
    Index(Arc<Sections>, SignatureReader),
    /// Somebody who knows what the file is.
    Other(Arc<ReadBlock>),
}

/// Gives the records of a block.
pub(super) type ReadBlock = dyn Fn(usize) -> Result<Vec<Record>, Error> + Send + Sync;

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::Index(..) => "Index",
            Source::Other(_) => "Other",
        })
    }
}

/// The tree that records are.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) totals: Totals,
    /// The hashes of its directories, in path order.
    dirs: Vec<Digest>,
    /// The files that its hard links name, each by a hash of its path. Some other paths may have the same.
    linked: HashSet<u64>,
}

/// The number of a block, and its records.
type Kept = (usize, Records);

/// Whether a block that was read is kept.
#[derive(Clone, Copy, PartialEq)]
enum Keep {
    /// If nothing else has to go. One pass over all blocks would else leave the last ones.
    WhereRoom,
    InsteadOfOthers,
}

impl FileBase {
    /// Reads all of an index file. Gives the id of its tree, and the hard links, of which has still to be seen whether they name
    /// files.
    pub(super) fn open(sections: Arc<Sections>) -> Result<(FileBase, TreeId, Vec<Link>), Error> {
        FileBase::surveyed(|each| {
            let signatures = index_file::read(&sections, each)?;
            Ok(Source::Index(sections, signatures))
        })
    }

    /// [`open`](FileBase::open), of blocks, as many as there are, that `read` gives.
    pub(super) fn of_blocks(
        blocks: usize,
        read: Arc<ReadBlock>,
    ) -> Result<(FileBase, TreeId, Vec<Link>), Error> {
        FileBase::surveyed(|each| {
            let (mut start, mut dirs) = (0, 0);
            for from in (0..blocks).step_by(sections_at_once()) {
                let these = from..blocks.min(from + sections_at_once());
                let lists = these.into_par_iter().map(|block| Ok((block, arcs(read(block)?))));
                let lists = lists.collect::<Result<Vec<_>, Error>>()?;
                let place = |(block, records): (usize, Vec<Arc<Record>>)| {
                    let (first, sections) = (records.first()?.entry.path.clone(), (block, block));
                    let place = Place { first, start, dirs, sections, signatures: 0 };
                    start += records.len();
                    let is_dir = |record: &&Arc<Record>| record.entry.node == Node::Dir;
                    dirs += records.iter().filter(is_dir).count();
                    Some((place, records))
                };
                each(lists.into_iter().filter_map(place).collect())?;
            }
            Ok(Source::Other(read))
        })
    }

    /// The records that `read` hands over, those of several blocks at a time.
    fn surveyed(
        read: impl FnOnce(&mut EachBlocks<'_>) -> Result<Source, Error>,
    ) -> Result<(FileBase, TreeId, Vec<Link>), Error> {
        let (mut places, mut len, mut kept) = (Vec::new(), 0, Vec::new());
        let mut survey = Survey::default();
        let source = read(&mut |blocks| {
            let records: Vec<&[Arc<Record>]> = blocks.iter().map(|(_, it)| it.as_slice()).collect();
            survey.add(&records)?;
            for (place, records) in blocks {
                len = place.start + records.len();
                if kept.len() < KEPT {
                    kept.push((places.len(), Arc::new(records)));
                }
                places.push(place);
            }
            Ok(())
        })?;
        let (Surveyed { id, totals, dirs, links }, kept) = (survey.finish(), Mutex::new(kept));
        let linked = links.iter().map(|(_, to)| hash_of(to)).collect();
        let tree = Some(Tree { totals, dirs, linked });
        Ok((FileBase { source, places, len, tree, kept }, id, links))
    }

    /// The records in an index file of which nobody knows whether they can be those of a tree. `places` says where they are, and `end`
    /// where their signatures end.
    #[cfg(feature = "scan")]
    pub(super) fn unchecked(
        sections: Arc<Sections>,
        places: Vec<Place>,
        (len, end): (usize, u64),
    ) -> Result<FileBase, SectionError> {
        let signatures = SignatureReader::new(Arc::clone(&sections), index_file::SIGNATURES)?;
        let (source, kept) = (Source::Index(sections, signatures.at(end)), Mutex::default());
        Ok(FileBase { source, places, len, tree: None, kept })
    }

    /// The tree that the records are, if that was looked at.
    pub(super) fn tree(&self) -> Option<&Tree> {
        self.tree.as_ref()
    }

    /// The hash of the directory that is record number `number`.
    pub(super) fn dir_hash(
        &self,
        number: usize,
        cursor: &mut Cursor<'_>,
    ) -> Result<Option<Digest>, Error> {
        let Some(place) = self.places.get(self.block_with(number)) else { return Ok(None) };
        let (records, at) = cursor.block(number)?;
        let before = records.iter().take(at);
        let before = before.filter(|record| record.entry.node == Node::Dir).count();
        Ok(self.tree.as_ref().and_then(|tree| tree.dirs.get(place.dirs + before)).copied())
    }

    /// The sections of the index file that this is, if it is one.
    pub(super) fn sections(&self) -> Option<FileSections<'_>> {
        match &self.source {
            Source::Index(sections, signatures) => {
                Some(FileSections { sections, places: &self.places, signatures })
            }
            Source::Other(_) => None,
        }
    }

    fn block_with(&self, number: usize) -> usize {
        self.places.partition_point(|place| place.start <= number).saturating_sub(1)
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The records of a block that nobody else will ask for.
    pub(super) fn block_once(&self, block: usize) -> Result<Vec<Arc<Record>>, Error> {
        let Some(place) = self.places.get(block) else { return Ok(Vec::new()) };
        match &self.source {
            Source::Index(sections, signatures) => {
                let mut signatures = signatures.at(place.signatures);
                Ok(index_file::decode(sections, place, &mut signatures)?)
            }
            Source::Other(read) => Ok(arcs(read(place.sections.0)?)),
        }
    }

    fn block(&self, block: usize, keep: Keep) -> Result<Records, Error> {
        {
            let mut kept = self.kept();
            if let Some(at) = kept.iter().rposition(|(number, _)| *number == block) {
                let found = kept.remove(at);
                let records = Arc::clone(&found.1);
                kept.push(found);
                return Ok(records);
            }
        }
        let records = Arc::new(self.block_once(block)?);
        let mut kept = self.kept();
        if keep == Keep::InsteadOfOthers && kept.len() >= KEPT {
            kept.remove(0);
        }
        // Another thread may have read it too.
        if kept.len() < KEPT && kept.iter().all(|(number, _)| *number != block) {
            kept.push((block, Arc::clone(&records)));
        }
        Ok(records)
    }
}

/// The sections of an index file whose records these are.
#[derive(Clone, Copy)]
pub(crate) struct FileSections<'a> {
    sections: &'a Sections,
    places: &'a [Place],
    /// Behind the last signature.
    signatures: &'a SignatureReader,
}

impl FileSections<'_> {
    /// One of the two sections of a block, that of the entries or that of the fingerprints, as it is stored.
    pub(crate) fn stored(
        &self,
        block: usize,
        which: impl Fn((usize, usize)) -> usize,
    ) -> Result<Section, SectionError> {
        self.sections.section(which(self.places.get(block).map_or((0, 0), |it| it.sections)))
    }

    /// Copies the signatures of a block.
    pub(crate) fn copy_signatures<W: Write>(
        &self,
        block: usize,
        writer: &mut Writer<W>,
        to: &mut SignatureWriter,
    ) -> Result<(), SectionError> {
        let Some(place) = self.places.get(block) else { return Ok(()) };
        let next = self.places.get(block + 1);
        let end = next.map_or(self.signatures.position(), |next| next.signatures);
        to.copy(writer, self.signatures, place.signatures, end)
    }
}

/// Gets blocks of a file, some at a time.
type EachBlocks<'a> = dyn FnMut(Vec<(Place, Vec<Arc<Record>>)>) -> Result<(), Error> + 'a;

fn arcs(records: Vec<Record>) -> Vec<Arc<Record>> {
    records.into_iter().map(Arc::new).collect()
}

impl Tree {
    /// Whether a hard link may name the file at `path`. If not, none does.
    pub(super) fn is_linked(&self, path: &RelPath) -> bool {
        !self.linked.is_empty() && self.linked.contains(&hash_of(path))
    }
}

fn hash_of(path: &RelPath) -> u64 {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::atomic::{AtomicBool, Ordering};

    use container::ReadAt;

    use super::*;
    use crate::{DirIndex, Entry, LazyIndex, Meta, Node, Time};

    /// A file that cannot be read any more from some time on.
    struct Failing(Vec<u8>, Arc<AtomicBool>);

    impl ReadAt for Failing {
        fn size(&self) -> io::Result<u64> {
            Ok(self.0.len() as u64)
        }

        fn fill_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
            match self.1.load(Ordering::Relaxed) {
                true => Err(io::Error::other("the disk is gone")),
                false => self.0.fill_at(buffer, offset),
            }
        }
    }

    /// Promise: more blocks than are kept are read again, and where that fails it is said.
    #[test]
    fn more_blocks_than_are_kept_are_read_again() {
        let path = |number: usize| RelPath::new(format!("{number:07}")).unwrap();
        let len = (KEPT + 2) * ROWS_PER_SECTION;
        let mtime = Time { secs: 0, nanos: 0 };
        let meta = Meta { mode: 0o600, uid: 0, gid: 0, mtime, xattrs: Default::default() };
        let entry = |number| Entry { path: path(number), node: Node::Fifo, meta: meta.clone() };
        let record = |number| Record { entry: entry(number), signature: None, fingerprint: None };
        let whole = DirIndex::from_records((0..len).map(record)).unwrap();
        let mut bytes = Vec::new();
        whole.write_to(&mut bytes).unwrap();
        let fails = Arc::new(AtomicBool::new(false));
        let lazy = LazyIndex::from_source(Failing(bytes, Arc::clone(&fails))).unwrap();
        assert_eq!(lazy.tree_id(), whole.tree_id());
        let Base::File(file) = lazy.layers().base() else { panic!("it is in a file") };
        for number in (0..len).step_by(ROWS_PER_SECTION / 2).chain((0..len).rev().step_by(1 << 12))
        {
            let (found, record) = file_find(&lazy, &path(number));
            assert_eq!((found, &record.entry), (number, &entry(number)));
            assert!(file.kept().len() <= KEPT);
        }
        fails.store(true, Ordering::Relaxed);
        // What is kept is there.
        assert!(lazy.record(&path(1)).unwrap().is_some());
        let error = lazy.record(&path(len - 1)).unwrap_err();
        assert!(format!("{error:?}").contains("the disk is gone"), "{error:?}");
        assert!(lazy.load().is_err());
    }

    fn file_find(lazy: &LazyIndex, path: &RelPath) -> (usize, Arc<Record>) {
        let (number, record) = lazy.layers().find(path).unwrap().unwrap();
        (number.unwrap(), record)
    }
}
