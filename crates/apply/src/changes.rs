//! [`Changes`]: the changes of a diff as an apply asks for them, some at a time, in either direction, or by path. Must not know what is
//! done for them.

use std::io::Write;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use diffindex::{Change, ChangeList, DiffIndex, LazyDiff, MovedTree, Signatures, StoredDiff};
use dirindex::{PathSlice, RelPath};
use rayon::prelude::*;

use crate::error::Result;

/// So many lists are looked at together: some 65,536 changes. In tests few are, so that small trees take several such looks.
const LISTS_AT_ONCE: usize = if cfg!(test) { 2 } else { 512 };
/// The most changes of a list in memory. Those of a file are as they are encoded.
const LIST: usize = if cfg!(test) { 2 } else { 128 };
/// So many lists that were read to look up paths stay in memory.
const KEPT: usize = 64;

/// The changes of a diff, in path order and numbered. Those of a diff that only adds stay in the file that it is in; any others are in
/// memory.
pub(crate) struct Changes {
    /// The diff, without its changes if these are in a file.
    diff: DiffIndex,
    lists: Lists,
    /// The number of the first change of each list, and at the end how many changes there are.
    starts: Vec<usize>,
    /// Those in memory that move directories as a whole.
    moves: Vec<usize>,
}

enum Lists {
    Memory(Vec<ChangeList>),
    /// The list that was used last is at the end of those that are kept.
    File(StoredDiff, Mutex<Vec<(usize, ChangeList)>>),
}

/// Changes that follow one another.
pub(crate) struct Chunk {
    start: usize,
    lists: Vec<ChangeList>,
}

impl Chunk {
    /// The changes with their numbers.
    pub(crate) fn numbered(&self) -> impl Iterator<Item = (usize, &Change)> {
        (self.start..).zip(self.lists.iter().flat_map(|list| list.iter()))
    }
}

impl From<&DiffIndex> for Changes {
    fn from(diff: &DiffIndex) -> Changes {
        let cut = |list: ChangeList| {
            let starts = (0..list.len()).step_by(LIST);
            starts.map(|start| list.part(start..start + LIST)).collect::<Vec<_>>()
        };
        // What is in memory can always be read.
        let lists: Vec<ChangeList> =
            LazyDiff::from(diff).lists().filter_map(Result::ok).flat_map(cut).collect();
        let mut starts = vec![0];
        let mut len = 0;
        starts.extend(lists.iter().map(|list| {
            len += list.len();
            len
        }));
        let moves = diff.changes().iter().enumerate();
        let moves = moves.filter(|(_, change)| change.moved_tree().is_some());
        let moves = moves.map(|(number, _)| number).collect();
        Changes { diff: diff.clone(), lists: Lists::Memory(lists), starts, moves }
    }
}

impl From<StoredDiff> for Changes {
    fn from(stored: StoredDiff) -> Changes {
        let starts = (0..=stored.blocks()).map(|block| stored.start(block) as usize).collect();
        let diff = stored.ends().clone();
        // What only adds moves nothing.
        Changes { diff, lists: Lists::File(stored, Mutex::default()), starts, moves: Vec::new() }
    }
}

impl Changes {
    /// The changes of `diff`.
    ///
    /// # Errors
    /// [`Error::Diff`], as all that reads them.
    pub(crate) fn of(diff: &LazyDiff) -> Result<Changes> {
        if let Some(diff) = diff.in_memory() {
            return Ok(diff.into());
        }
        // Where a temporary file has no room, all are in memory.
        match diff.to_stored() {
            Ok(stored) if stored.only_adds() && !stored.copies() => Ok(stored.into()),
            _ => Ok((&diff.load().map_err(diffindex::Error::from)?).into()),
        }
    }

    /// The diff, without its changes if these are not in memory.
    pub(crate) fn ends(&self) -> &DiffIndex {
        &self.diff
    }

    /// The diff, if it is in memory.
    pub(crate) fn in_memory(&self) -> Option<&DiffIndex> {
        matches!(self.lists, Lists::Memory(_)).then_some(&self.diff)
    }

    /// The whole diff, in memory.
    pub(crate) fn load(&self) -> Result<DiffIndex> {
        match &self.lists {
            Lists::Memory(_) => Ok(self.diff.clone()),
            Lists::File(stored, _) => {
                Ok(LazyDiff::from(stored).load().map_err(diffindex::Error::from)?)
            }
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.starts.last().copied().unwrap_or(0)
    }

    /// The directories that move with all that is in them.
    pub(crate) fn moved_trees(&self) -> impl Iterator<Item = MovedTree<'_>> {
        let changes = self.moves.iter().filter_map(|&number| self.diff.changes().get(number));
        changes.filter_map(Change::moved_tree)
    }

    /// Whether there are such directories.
    pub(crate) fn moves(&self) -> bool {
        !self.moves.is_empty()
    }

    /// Whether `path` is below one of them.
    pub(crate) fn moves_with(&self, path: &RelPath) -> Result<bool> {
        for dir in path.ancestors().take_while(|_| self.moves()) {
            if self.at(dir, |_, change| change.moved_tree().is_some())? == Some(true) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// How many chunks they are looked at in.
    pub(crate) fn chunks(&self) -> usize {
        self.starts.len().saturating_sub(1).div_ceil(LISTS_AT_ONCE)
    }

    /// The numbers of the changes in a chunk.
    pub(crate) fn numbers(&self, chunk: usize) -> Range<usize> {
        let start = |chunk: usize| self.starts.get(chunk * LISTS_AT_ONCE).copied();
        let [start, end] = [start(chunk), start(chunk + 1)].map(|it| it.unwrap_or(self.len()));
        start..end
    }

    /// The changes of a chunk.
    pub(crate) fn chunk(&self, chunk: usize) -> Result<Chunk> {
        let lists = chunk * LISTS_AT_ONCE..(chunk + 1) * LISTS_AT_ONCE;
        let lists = match &self.lists {
            Lists::Memory(all) => {
                let lists = lists.start..lists.end.min(all.len());
                all.get(lists).unwrap_or_default().to_vec()
            }
            Lists::File(stored, _) => {
                let lists = lists.start..lists.end.min(stored.blocks());
                lists.into_par_iter().map(|list| stored.block(list)).collect::<Result<_, _>>()?
            }
        };
        Ok(Chunk { start: self.numbers(chunk).start, lists })
    }

    /// Has `each` look at all changes, in order.
    pub(crate) fn each(&self, mut each: impl FnMut(usize, &Change) -> Result<()>) -> Result<()> {
        for chunk in 0..self.chunks() {
            self.chunk(chunk)?.numbered().try_for_each(|(number, change)| each(number, change))?;
        }
        Ok(())
    }

    /// What `look` sees in the change at `path`, which has this number; `None` where there is no change.
    pub(crate) fn at<'p, T>(
        &self,
        path: impl Into<PathSlice<'p>>,
        look: impl FnOnce(usize, &Change) -> T,
    ) -> Result<Option<T>> {
        let path = path.into();
        let list = match &self.lists {
            Lists::Memory(lists) => {
                let before = |list: &ChangeList| {
                    list.first().is_some_and(|first| PathSlice::from(&first.path) <= path)
                };
                lists.partition_point(before).checked_sub(1)
            }
            Lists::File(stored, _) => stored.block_of(path),
        };
        let Some(list) = list else { return Ok(None) };
        let start = self.starts.get(list).copied().unwrap_or(0);
        let look = |changes: &[Change]| {
            let at =
                changes.binary_search_by(|change| PathSlice::from(&change.path).cmp(&path)).ok()?;
            Some(look(start + at, changes.get(at)?))
        };
        match &self.lists {
            Lists::Memory(lists) => Ok(lists.get(list).and_then(|list| look(list))),
            Lists::File(stored, kept) => Ok(look(&list_of(stored, kept, list)?)),
        }
    }

    /// The number of the change at `path`.
    pub(crate) fn position<'p>(&self, path: impl Into<PathSlice<'p>>) -> Result<Option<usize>> {
        self.at(path, |number, _| number)
    }

    /// Writes the diff to `out`, without signatures.
    pub(crate) fn write_to(&self, out: impl Write) -> Result<(), diffindex::Error> {
        let diff = match &self.lists {
            Lists::Memory(_) => LazyDiff::from(&self.diff),
            Lists::File(stored, _) => LazyDiff::from(stored),
        };
        let written = diff.encode(out, Signatures::None, |_, _| ())?;
        written.check_held(written.byte_len())?;
        Ok(())
    }
}

/// A list that is kept, or read and then kept.
fn list_of(
    stored: &StoredDiff,
    kept: &Mutex<Vec<(usize, ChangeList)>>,
    list: usize,
) -> Result<ChangeList> {
    let lock = || kept.lock().unwrap_or_else(PoisonError::into_inner);
    {
        let mut kept = lock();
        if let Some(at) = kept.iter().rposition(|(number, _)| *number == list) {
            let found = kept.remove(at);
            let changes = found.1.clone();
            kept.push(found);
            return Ok(changes);
        }
    }
    let changes = stored.block(list)?;
    let mut kept = lock();
    if kept.len() >= KEPT {
        kept.remove(0);
    }
    kept.push((list, changes.clone()));
    Ok(changes)
}
