//! [`FirstTree`]: the tree of a full backup, and of the archives that only add to it behind its last path, as those of a first backup
//! in several parts. It stays in them. Must not know what became of it later.

use std::io;
use std::ops::Range;
use std::slice;
use std::sync::Arc;

use container::SectionError;
use diffindex::{Change, Content, Merge, NewEntry, StoredDiff};
use dirindex::{Entry, LazyIndex, Record, RelPath};

use crate::diff_data::names;
use crate::lazy_data::{LazyData, Part, of_diff};
use crate::stored::Stored;
use crate::{Archive, Error};

/// Blocks of an archive that are one of the index: what is looked up is mostly close to what was looked up before.
const BLOCKS: usize = 8;
/// An archive that adds fewer paths is not taken into the first tree, unless that is small too: all of it is looked at again then.
const MANY: u64 = 1 << 16;
const SHARE: u64 = 8;

/// A tree that stays in the archives which lead to it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct FirstTree {
    /// Each adds what lies behind the last path of the one before it. The first is a full backup.
    parts: Arc<Vec<LazyData>>,
    index: LazyIndex,
}

/// The block of an archive that was read last.
#[derive(Default)]
pub(crate) struct Cursor(Option<(usize, usize, Part)>);

impl FirstTree {
    /// The tree that as many of `archives` as can be lead to, from the first on. `None` if the first does not bring all by itself.
    ///
    /// # Errors
    /// [`Error::Diff`] where they are no tree, or another than they name; those of reading.
    pub(crate) fn open(archives: &[Archive]) -> Result<Option<FirstTree>, Error> {
        let Some((first, rest)) = archives.split_first() else { return Ok(None) };
        let first = LazyData::open(first)?;
        if !is_first(first.stored()) {
            return Ok(None);
        }
        let mut parts = vec![first];
        for archive in rest {
            let last = parts.last().and_then(|last| last.stored().last_path());
            let begins = archive.0.layout.blocks.first().map(|block| &block.first);
            if begins <= last {
                break;
            }
            let part = LazyData::open(archive)?;
            if !continues(&parts, &part) {
                break;
            }
            parts.push(part);
        }
        FirstTree::of(parts).map(Some)
    }

    /// The tree of an archive, if it brings all by itself.
    ///
    /// # Errors
    /// As [`open`](FirstTree::open).
    pub(crate) fn of_one(part: &LazyData) -> Result<Option<FirstTree>, Error> {
        match is_first(part.stored()) {
            true => FirstTree::of(vec![part.clone()]).map(Some),
            false => Ok(None),
        }
    }

    /// This tree with what `part` adds, if that only adds behind it, and enough that it is worth it.
    ///
    /// # Errors
    /// As [`open`](FirstTree::open).
    pub(crate) fn with(&self, part: &LazyData) -> Result<Option<FirstTree>, Error> {
        match continues(&self.parts, part) {
            true => FirstTree::of([&self.parts[..], slice::from_ref(part)].concat()).map(Some),
            false => Ok(None),
        }
    }

    fn of(parts: Vec<LazyData>) -> Result<FirstTree, Error> {
        if parts.len() > 1 {
            // Each has few changes, but there may be many of them.
            parts.iter().for_each(|part| part.stored().let_go());
        }
        let parts = Arc::new(parts);
        let blocks = |(number, part): (usize, &LazyData)| {
            let count = part.stored().blocks();
            let starts = (0..count).step_by(BLOCKS);
            starts.map(move |start| (number, start..count.min(start + BLOCKS)))
        };
        let blocks: Vec<(usize, Range<usize>)> =
            parts.iter().enumerate().flat_map(blocks).collect();
        let count = blocks.len();
        let read = {
            let parts = Arc::clone(&parts);
            move |number: usize| {
                let Some((part, blocks)) = blocks.get(number) else { return Ok(Vec::new()) };
                let mut records = Vec::new();
                for block in blocks.clone() {
                    let Some(part) = parts.get(*part) else { continue };
                    let changes = part.stored().block(block).map_err(in_index)?;
                    records.extend(changes.iter().filter_map(record));
                }
                Ok(records)
            }
        };
        let index = LazyIndex::from_blocks(count, read).map_err(|source| {
            let source = match source {
                // What cannot be true of a tree is said of it by the diff here.
                dirindex::Error::Entry { path, problem } => {
                    diffindex::Error::Unusable { path, problem }
                }
                other => other.into(),
            };
            unusable(&parts, source)
        })?;
        let (found, tree) = (index.tree_id(), FirstTree { parts, index });
        let expected = tree.parts.last().map_or(found, |last| last.stored().result());
        if expected != found {
            return Err(unusable(&tree.parts, diffindex::Error::WrongResult { expected, found }));
        }
        tree.check_copies()?;
        Ok(tree)
    }

    /// How many archives lead to it.
    pub(crate) fn archives(&self) -> usize {
        self.parts.len()
    }

    /// How many entries it has.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// What the first archive says.
    pub(crate) fn first(&self) -> Option<&LazyData> {
        self.parts.first()
    }

    /// No runs yet, on this tree.
    pub(crate) fn merge(&self) -> Merge<Stored> {
        let merge = Merge::from_tree(&self.index);
        match self.parts.last() {
            Some(last) => merge.with_top_of(last.stored().ends()),
            None => merge,
        }
    }

    /// Where the content at `path` lies: the path it is stored for, and what is stored.
    ///
    /// # Errors
    /// [`Error::NotStored`] where there is none; those of reading.
    pub(crate) fn find(
        &self,
        path: &RelPath,
        cursor: &mut Cursor,
    ) -> Result<(RelPath, Stored), Error> {
        let mut at = path.clone();
        // A copy may be of what is the same as another, in an earlier archive.
        for _ in 0..=2 * self.parts.len() {
            at = match cursor.change(self, &at)? {
                Some((_, Some(stored))) => return Ok((at, stored)),
                Some((change, None)) => match change.new.as_ref().map(|new| &new.content) {
                    Some(Content::Same { path } | Content::Copy { base: path }) => path.clone(),
                    _ => break,
                },
                None => break,
            };
        }
        Err(self.not_stored(path))
    }

    /// Checks that files which are copies have what the others have.
    fn check_copies(&self) -> Result<(), Error> {
        for part in self.parts.iter().filter(|part| part.stored().copies()) {
            let begin = part.stored().first_path(0);
            for changes in part.changes() {
                for change in changes?.iter() {
                    let Some(NewEntry { node, content: Content::Copy { base }, .. }) = &change.new
                    else {
                        continue;
                    };
                    let record = self.index.record(base);
                    let record = record.map_err(|it| unusable(&self.parts, it.into()))?;
                    let same = record.is_some_and(|record| record.entry.node == *node);
                    if !same || Some(base) >= begin {
                        let problem = "a copy of what the tree before it does not have there";
                        let source = diffindex::Error::Unusable { path: base.clone(), problem };
                        return Err(unusable(&self.parts, source));
                    }
                }
            }
        }
        Ok(())
    }

    fn not_stored(&self, path: &RelPath) -> Error {
        Error::NotStored { archive: names(&archives(&self.parts)), path: path.clone() }
    }
}

impl Cursor {
    /// The change at `path`, what is stored for it if something is.
    fn change(
        &mut self,
        tree: &FirstTree,
        path: &RelPath,
    ) -> Result<Option<(&Change, Option<Stored>)>, Error> {
        let before =
            |part: &LazyData| part.stored().first_path(0).is_some_and(|first| first <= path);
        let number = tree.parts.partition_point(before).saturating_sub(1);
        let Some(data) = tree.parts.get(number) else { return Ok(None) };
        let Some(block) = data.archive().0.layout.block_of(path) else { return Ok(None) };
        let (.., part) = match self.0.take().filter(|it| (it.0, it.1) == (number, block)) {
            Some(same) => self.0.insert(same),
            None => self.0.insert((number, block, data.block(block)?)),
        };
        let at = part.changes.binary_search_by(|change| change.path.cmp(path));
        let Some((at, change)) = at.ok().and_then(|at| Some((at, part.changes.get(at)?))) else {
            return Ok(None);
        };
        let placed = part.placed.binary_search_by_key(&at, |placed| placed.change).ok();
        let placed = placed.and_then(|at| part.placed.get(at));
        let stored = placed.map(|placed| Stored::new(data.archive(), placed, change));
        Ok(Some((change, stored)))
    }
}

/// Whether this is a diff from nothing that says what all of it is.
fn is_first(diff: &StoredDiff) -> bool {
    diff.ends().is_full() && diff.only_adds() && !diff.copies()
}

/// Whether `part` only adds behind the last path of `parts`, and enough that it is worth it to look at all of it again.
fn continues(parts: &[LazyData], part: &LazyData) -> bool {
    let (last, stored) = (parts.last().map(LazyData::stored), part.stored());
    let Some(last) = last else { return false };
    let all = parts.iter().map(|part| part.stored().len()).fold(0, u64::saturating_add);
    let is_much = stored.len() >= MANY || stored.len().saturating_mul(SHARE) >= all;
    let follows = last.result() == stored.base() && stored.first_path(0) > last.last_path();
    is_much && follows && stored.only_adds()
}

fn record(Change { path, new, .. }: &Change) -> Option<Record> {
    let NewEntry { node, meta, .. } = new.as_ref()?;
    let entry = Entry { path: path.clone(), node: node.clone(), meta: meta.clone() };
    Some(Record { entry, signature: None, fingerprint: None })
}

fn archives(parts: &[LazyData]) -> Vec<Archive> {
    parts.iter().map(|part| part.archive().clone()).collect()
}

fn unusable(parts: &[LazyData], source: diffindex::Error) -> Error {
    of_diff(names(&archives(parts)), source)
}

/// What reading a diff ended with, as what reading an index ends with.
fn in_index(error: diffindex::Error) -> dirindex::Error {
    match error {
        diffindex::Error::Sections(error) => error.into(),
        diffindex::Error::Index(error) => error,
        other => SectionError::Read(io::Error::new(io::ErrorKind::InvalidData, other)).into(),
    }
}
