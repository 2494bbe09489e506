//! [`StoredDiff`]: a diff in its file, of which a block of changes is read when it is asked for. Must not know where contents are.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use container::{ReadAt, Seal, SectionError, Sections, max_held};
use dirindex::{PathSlice, RelPath, TreeId};

use crate::check::{Checker, unusable};
use crate::encoded::{Blocks, CHANGES, FILE_KIND, block_of, read_all};
use crate::lazy::MANY;
use crate::{Change, ChangeList, Content, DiffIndex, Error};

/// A diff in its file: a block of changes is read when it is asked for. In memory is the first path of each block; of a diff of up to
/// 131,072 changes all of it, until it is [let go](StoredDiff::let_go).
///
/// A clone is cheap. Whoever asks for changes may hear that the file cannot be read any more, or was changed meanwhile.
///
/// ```
/// use diffindex::{Change, Content, DiffIndex, LazyDiff, NewEntry, StoredDiff};
/// use dirindex::{DirIndex, Meta, Node, RelPath, Time};
///
/// let mtime = Time { secs: 0, nanos: 0 };
/// let meta = Meta { mode: 0o755, uid: 0, gid: 0, mtime, xattrs: Default::default() };
/// let new = NewEntry { node: Node::Dir, meta, content: Content::Keep, signature: None };
/// let change = Change { path: RelPath::new("a")?, old: None, new: Some(new), excluded: false };
/// let (base, result) = (DirIndex::empty().tree_id(), DirIndex::empty().tree_id());
/// let diff = DiffIndex::from_changes(base, result, vec![change])?;
///
/// let stored = StoredDiff::from_source(diff.to_bytes()?)?;
/// assert_eq!(*stored.block(0)?, *diff.changes());
/// assert_eq!(LazyDiff::from(&stored).load()?, diff);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct StoredDiff(Arc<Opened>);

struct Opened {
    sections: Arc<Sections>,
    /// The diff without its changes.
    ends: DiffIndex,
    blocks: Vec<Block>,
    /// How many changes there are, and the path of the last.
    len: u64,
    last: Option<RelPath>,
    only_adds: bool,
    copies: bool,
    /// The changes of each block, if these are few.
    few: Mutex<Option<Arc<[ChangeList]>>>,
}

struct Block {
    section: usize,
    /// The number of its first change, and the path of that.
    start: u64,
    first: RelPath,
}

impl StoredDiff {
    /// Opens the diff that `source` holds, and reads all of it but the signatures once: what it says is checked, as
    /// [`DiffIndex::from_bytes`] does it.
    ///
    /// # Errors
    /// As [`DiffIndex::from_bytes`].
    pub fn from_source(source: impl ReadAt + 'static) -> Result<StoredDiff, Error> {
        let most = max_held(source.size().map_err(SectionError::Read)?);
        StoredDiff::from_source_within(source, most)
    }

    /// [`from_source`](StoredDiff::from_source), for a diff that is a part of a larger file, which may take `most` bytes of memory when it is
    /// read as a whole.
    ///
    /// # Errors
    /// As [`from_source`](StoredDiff::from_source).
    pub fn from_source_within(
        source: impl ReadAt + 'static,
        most: u64,
    ) -> Result<StoredDiff, Error> {
        let most = most.saturating_sub(source.size().map_err(SectionError::Read)?);
        let sections = Sections::from_source_within(Box::new(source), FILE_KIND, most)?;
        StoredDiff::open(Arc::new(sections), most)
    }

    fn open(sections: Arc<Sections>, most: u64) -> Result<StoredDiff, Error> {
        let (mut checker, mut firsts, mut len) = (Checker::default(), Vec::new(), 0);
        let (mut last, mut only_adds, mut copies) = (None, true, false);
        let mut few: Vec<ChangeList> = Vec::new();
        let (ends, _) = read_all(&sections, most, |lists| {
            for list in lists {
                checker.add(&list)?;
                let first =
                    list.first().ok_or_else(|| sections.damaged(CHANGES, "an empty block"))?;
                firsts.push((len, first.path.clone()));
                len += list.len() as u64;
                last = list.last().map(|change| change.path.clone());
                only_adds = only_adds && list.iter().all(adds);
                copies = copies || list.iter().any(is_copy);
                if len <= MANY as u64 {
                    few.push(ChangeList::of(list));
                }
            }
            Ok(())
        })?;
        let block = |(section, (start, first))| Block { section, start, first };
        let blocks: Vec<Block> = sections.of_kind(CHANGES).zip(firsts).map(block).collect();
        let mut references = checker.references();
        for (number, Block { section, first, .. }) in blocks.iter().enumerate() {
            let next = blocks.get(number + 1).map(|next| &next.first);
            if references.are_in(first, next) {
                match few.get(number) {
                    Some(known) => references.look(known, next),
                    None => references.look(&block_of(&sections, *section)?, next),
                }
            }
        }
        references.check()?;
        let few = Mutex::new((len <= MANY as u64).then(|| few.into()));
        let opened = Opened { sections, ends, blocks, len, last, only_adds, copies, few };
        Ok(StoredDiff(Arc::new(opened)))
    }

    /// The diff without its changes.
    #[must_use]
    pub fn ends(&self) -> &DiffIndex {
        &self.0.ends
    }

    /// The root of the tree that this changes.
    #[must_use]
    pub fn base(&self) -> TreeId {
        self.0.ends.base()
    }

    /// The root of the tree that this leads to.
    #[must_use]
    pub fn result(&self) -> TreeId {
        self.0.ends.result()
    }

    /// How many changes there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.0.len
    }

    /// Whether the two trees are the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.blocks.is_empty()
    }

    /// How many blocks they are in.
    #[must_use]
    pub fn blocks(&self) -> usize {
        self.0.blocks.len()
    }

    /// The path of the first change of a block.
    #[must_use]
    pub fn first_path(&self, block: usize) -> Option<&RelPath> {
        self.0.blocks.get(block).map(|block| &block.first)
    }

    /// The number of the first change of a block; of what is beyond the last block, how many changes there are.
    #[must_use]
    pub fn start(&self, block: usize) -> u64 {
        self.0.blocks.get(block).map_or(self.0.len, |block| block.start)
    }

    /// The block that has the change at `path`, if any has.
    #[must_use]
    pub fn block_of<'p>(&self, path: impl Into<PathSlice<'p>>) -> Option<usize> {
        let path = path.into();
        self.0.blocks.partition_point(|block| PathSlice::from(&block.first) <= path).checked_sub(1)
    }

    /// The path of the last change.
    #[must_use]
    pub fn last_path(&self) -> Option<&RelPath> {
        self.0.last.as_ref()
    }

    /// Whether each change brings something where nothing stood, and the old tree has to do with it by its
    /// [copies](Content::Copy) alone.
    #[must_use]
    pub fn only_adds(&self) -> bool {
        self.0.only_adds
    }

    /// Whether there are copies of files of the old tree.
    #[must_use]
    pub fn copies(&self) -> bool {
        self.0.copies
    }

    /// Where in the file each block begins, and what it can be read with by itself.
    pub fn places(&self) -> impl Iterator<Item = (u64, Seal)> {
        self.0.blocks.iter().filter_map(|block| self.0.sections.place(block.section))
    }

    /// Lets go what is in memory. From now on it is read when it is asked for.
    pub fn let_go(&self) {
        *self.0.few.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The changes of each block, if they are in memory.
    pub(crate) fn in_memory(&self) -> Option<Arc<[ChangeList]>> {
        self.0.few.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The changes of a block, in path order; those that are read have no signatures. None where there is no such block.
    ///
    /// # Errors
    /// [`Error::Sections`] when the file cannot be read any more.
    pub fn block(&self, block: usize) -> Result<ChangeList, Error> {
        if let Some(known) = self.in_memory().and_then(|few| few.get(block).cloned()) {
            return Ok(known);
        }
        let Some(Block { section, first, .. }) = self.0.blocks.get(block) else {
            return Ok(ChangeList::of(Vec::new()));
        };
        let changes = block_of(&self.0.sections, *section)?;
        match changes.first().is_some_and(|it| it.path == *first) {
            true => Ok(ChangeList::of(changes)),
            false => Err(unusable(first, "it is another than before")),
        }
    }

    /// The change at `path`, without its signature.
    ///
    /// # Errors
    /// As [`block`](StoredDiff::block).
    pub fn get(&self, path: &RelPath) -> Result<Option<Change>, Error> {
        let Some(block) = self.block_of(path) else { return Ok(None) };
        Ok(self.block(block)?.iter().find(|change| change.path == *path).cloned())
    }

    pub(crate) fn in_blocks(&self) -> Result<Blocks, SectionError> {
        Blocks::new(&self.0.sections)
    }
}

fn adds(change: &Change) -> bool {
    let Some(new) = change.new.as_ref().filter(|_| change.old.is_none()) else { return false };
    match new.content {
        Content::Keep => new.node.is_empty(),
        Content::Whole | Content::Same { .. } | Content::Copy { .. } => true,
        Content::Delta { .. } | Content::Tree { .. } => false,
    }
}

fn is_copy(change: &Change) -> bool {
    matches!(change.new.as_ref().map(|new| &new.content), Some(Content::Copy { .. }))
}

impl fmt::Debug for StoredDiff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("StoredDiff");
        debug.field("base", &self.base()).field("result", &self.result());
        debug.field("changes", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LazyDiff, NewEntry};
    use dirindex::{DirIndex, Meta, Node, Time};
    use proptest::prelude::*;
    use rsync_core::Digest;

    fn path(at: u32) -> RelPath {
        // Some lie below others.
        let text = match at % 3 {
            0 => format!("{:04}", at / 3),
            _ => format!("{:04}/{}", at / 3, at % 3),
        };
        RelPath::new(text).unwrap()
    }

    /// What is at a path, before or after.
    fn node(kind: u8) -> Node {
        match kind {
            0 | 1 => Node::Dir,
            kind => Node::File { len: 1, digest: Digest::of(&[kind]) },
        }
    }

    /// A change at a path; not always one that can be.
    fn change(at: u32, old: Option<u8>, new: Option<(u8, u32)>) -> Change {
        let mtime = Time { secs: 0, nanos: 0 };
        let meta = Meta { mode: 0o644, uid: 0, gid: 0, mtime, xattrs: Default::default() };
        let new = new.map(|(kind, other)| {
            let content = match (kind, other % 3) {
                (0, _) => Content::Keep,
                (1, _) => Content::Tree { base: path(other), hash: Digest([0; 32]), entries: 16 },
                (_, 0) => Content::Same { path: path(other) },
                (_, _) => Content::Whole,
            };
            NewEntry { node: node(kind), meta: meta.clone(), content, signature: None }
        });
        Change { path: path(at), old: old.map(node), new, excluded: false }
    }

    proptest! {
        /// Promise: a diff that stays in its file is accepted where one in memory is, and says the same.
        #[test]
        fn it_is_the_diff_in_memory(
            changes in prop::collection::btree_map(
                0..1200u32,
                (prop::option::weighted(0.3, 0..4u8), prop::option::weighted(0.8, (0..4u8, 0..1200u32))),
                0..6,
            ),
            filler in any::<bool>(),
        ) {
            let mut changes: Vec<Change> =
                changes.into_iter().map(|(at, (old, new))| change(at, old, new)).collect();
            if filler {
                // So that one refers to another block.
                changes.extend((3000..3600).step_by(3).map(|at| change(at, None, Some((2, 1)))));
                changes.extend((1200..2400).step_by(3).map(|at| change(at, Some(2), None)));
                let same = Content::Same { path: path(3000) };
                let mut last = change(4200, None, Some((2, 1)));
                last.new.as_mut().unwrap().content = same;
                changes.push(last);
            }
            changes.sort_by(|a, b| a.path.cmp(&b.path));
            let (base, result) = (DirIndex::empty().tree_id(), DirIndex::empty().tree_id());
            let bytes = DiffIndex::from_parts(base, result, changes.clone()).to_bytes().unwrap();
            let in_memory = DiffIndex::from_bytes(bytes.clone());
            let stored = StoredDiff::from_source(bytes);
            match (in_memory, stored) {
                (Ok(diff), Ok(stored)) => {
                    prop_assert_eq!(LazyDiff::from(&stored).load().unwrap(), diff.clone());
                    stored.let_go();
                    prop_assert_eq!(LazyDiff::from(&stored).load().unwrap(), diff);
                    prop_assert_eq!(stored.len(), changes.len() as u64);
                    let starts = (0..=stored.blocks()).map(|block| stored.start(block));
                    for (block, starts) in starts.collect::<Vec<_>>().windows(2).enumerate() {
                        let block = stored.block(block).unwrap();
                        let there = starts[0] as usize..starts[1] as usize;
                        prop_assert_eq!(Some(&*block), changes.get(there));
                    }
                    prop_assert_eq!(stored.last_path(), changes.last().map(|change| &change.path));
                    for change in &changes {
                        prop_assert_eq!(stored.get(&change.path).unwrap(), Some(change.clone()));
                    }
                    prop_assert_eq!(stored.get(&RelPath::new("other").unwrap()).unwrap(), None);
                }
                (Err(one), Err(other)) => prop_assert_eq!(one.to_string(), other.to_string()),
                (one, other) => panic!("{one:?}, {other:?}"),
            }
        }
    }
}
