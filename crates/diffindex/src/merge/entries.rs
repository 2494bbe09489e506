//! What stands in the last tree of a [`Merge`], all of it or in one directory: the first tree, and in its place what the runs list.
//! Changes nothing.

use std::cmp::Ordering;
use std::collections::btree_map::Range;
use std::iter::Peekable;
use std::ops::Bound;
use std::sync::Arc;
use std::vec::IntoIter;

use dirindex::{DirIndex, EntryRef, LazyIndex, Node, Record, RecordChunks, RelPath};
use rsync_core::Digest;

use super::{Merge, Outcome, Standing};
use crate::Error;

/// What stands at a path of the last tree.
#[derive(Debug, Clone)]
pub struct MergedEntry<'a>(Found<'a>);

#[derive(Debug, Clone)]
enum Found<'a> {
    /// As it stood in the first tree.
    Old(Arc<Record>),
    Listed(EntryRef<'a>),
}

impl MergedEntry<'_> {
    /// The entry.
    #[must_use]
    pub fn entry(&self) -> EntryRef<'_> {
        match &self.0 {
            Found::Old(record) => record.entry.borrowed(),
            Found::Listed(entry) => *entry,
        }
    }
}

/// Entries of the last tree in path order. [`Error::Index`] when the file cannot be read any more that the first tree is in.
pub struct Entries<'a, C> {
    /// What the first tree has.
    chunks: Option<RecordChunks<'a>>,
    olds: Peekable<IntoIter<Arc<Record>>>,
    /// What the runs list.
    listed: Peekable<Range<'a, RelPath, Outcome<C>>>,
    /// Below it all of them are.
    dir: Option<&'a RelPath>,
}

impl<C> std::fmt::Debug for Entries<'_, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entries").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl<'a, C> Iterator for Entries<'a, C> {
    type Item = Result<MergedEntry<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            while self.olds.peek().is_none()
                && let Some(chunks) = &mut self.chunks
            {
                match chunks.next() {
                    Some(Ok(records)) => self.olds = records.into_iter().peekable(),
                    Some(Err(error)) => return Some(Err(error.into())),
                    None => self.chunks = None,
                }
            }
            let is_in = |path: &RelPath| self.dir.is_none_or(|dir| path.is_below(dir));
            let old = self.olds.peek().map(|old| &old.entry.path).filter(|path| is_in(path));
            let listed = self.listed.peek().map(|(path, _)| *path).filter(|path| is_in(path));
            let order = match (old, listed) {
                (Some(old), Some(listed)) => old.cmp(listed),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return None,
            };
            let old = if order.is_le() { self.olds.next() } else { None };
            if order.is_lt() {
                return old.map(|old| Ok(MergedEntry(Found::Old(old))));
            }
            let (path, outcome) = self.listed.next()?;
            if let Some(entry) = listed_entry(path, outcome) {
                return Some(Ok(MergedEntry(Found::Listed(entry))));
            }
        }
    }
}

/// What stands right in a directory.
pub(super) enum Child<'a, C> {
    /// As it stood in the first tree, with the hash of what was below it there.
    Old(Arc<Record>, Option<Digest>),
    Listed(&'a RelPath, &'a Standing<C>),
}

impl<C> Child<'_, C> {
    /// The entry, and the hash of what was below it in the first tree if that is known.
    pub(super) fn entry(&self) -> (EntryRef<'_>, Option<Digest>) {
        match self {
            Child::Old(record, hash) => (record.entry.borrowed(), *hash),
            Child::Listed(path, Standing { node, meta, .. }) => {
                (EntryRef { path, node, meta }, None)
            }
        }
    }
}

impl<C: Clone> Merge<C> {
    /// The entries of the last tree, in path order, where the first is known.
    #[must_use]
    pub fn entries(&self) -> Entries<'_, C> {
        self.entries_in(None)
    }

    /// [`entries`](Merge::entries), of what is below `dir`.
    #[must_use]
    pub fn below<'s>(&'s self, dir: &'s RelPath) -> Entries<'s, C> {
        self.entries_in(Some(dir))
    }

    fn entries_in<'s>(&'s self, dir: Option<&'s RelPath>) -> Entries<'s, C> {
        let from = dir.map_or(Bound::Unbounded, Bound::Excluded);
        let listed = self.paths.range::<RelPath, _>((from, Bound::Unbounded)).peekable();
        let old = self.old.as_ref().filter(|old| !old.is_empty());
        let chunks = old.map(|old| old.chunks(dir));
        Entries { chunks, olds: Vec::new().into_iter().peekable(), listed, dir }
    }

    /// What stands at `path` in the last tree, where the first is known.
    ///
    /// # Errors
    /// [`Error::Index`] when the file cannot be read any more that the first tree is in.
    pub fn get(&self, path: &RelPath) -> Result<Option<MergedEntry<'_>>, Error> {
        if let Some((path, outcome)) = self.paths.get_key_value(path) {
            return Ok(listed_entry(path, outcome).map(|entry| MergedEntry(Found::Listed(entry))));
        }
        let record = self.old.as_ref().map_or(Ok(None), |old| old.record(path))?;
        Ok(record.map(|record| MergedEntry(Found::Old(record))))
    }

    /// The index of the last tree, without signatures, where the first is known. What the first tree has stays where it is.
    ///
    /// # Errors
    /// [`Error::Index`], also where that is no tree.
    pub fn tree(&self) -> Result<LazyIndex, Error> {
        let changes = self.paths.iter().map(|(path, outcome)| {
            let record = |entry: EntryRef<'_>| Record {
                entry: entry.to_entry(),
                signature: None,
                fingerprint: None,
            };
            (path.clone(), listed_entry(path, outcome).map(|entry| Arc::new(record(entry))))
        });
        match self.old.as_ref().filter(|old| !old.is_empty()) {
            Some(old) => Ok(old.with(&changes.collect::<Vec<_>>())?),
            None => Ok(DirIndex::from_records(changes.filter_map(|(_, new)| new))?.into()),
        }
    }

    /// What stands right in the directory `dir`, in the top directory for `None`, in path order.
    pub(super) fn children(&self, dir: Option<&RelPath>) -> Result<Vec<Child<'_, C>>, Error> {
        let old = self.old.as_ref().filter(|old| !old.is_empty());
        let mut olds = old.map_or(Ok(Vec::new()), |old| old.children(dir))?.into_iter().peekable();
        let mut children = Vec::new();
        let start = dir.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = self.paths.range::<RelPath, _>((start, Bound::Unbounded));
        while let Some((path, outcome)) = rest.next() {
            if dir.is_some_and(|dir| !path.is_below(dir)) {
                break;
            }
            let child = child_above(path, dir);
            // What is deeper is skipped.
            if (child.is_some() || outcome.is_or_was_dir())
                && let Some(after) = after(child.as_ref().unwrap_or(path))
            {
                rest = self.paths.range(after..);
            }
            if child.is_some() {
                continue;
            }
            while let Some((record, hash)) = olds.next_if(|(old, _)| old.entry.path < *path) {
                children.push(Child::Old(record, hash));
            }
            olds.next_if(|(old, _)| old.entry.path == *path);
            children.extend(outcome.new.as_deref().map(|new| Child::Listed(path, new)));
        }
        children.extend(olds.map(|(record, hash)| Child::Old(record, hash)));
        Ok(children)
    }
}

impl<C> Outcome<C> {
    fn is_or_was_dir(&self) -> bool {
        self.node() == Some(&Node::Dir) || self.old.as_deref() == Some(&Node::Dir)
    }
}

/// The directory right in `dir` that `path` lies in, if it is deeper than that.
fn child_above(path: &RelPath, dir: Option<&RelPath>) -> Option<RelPath> {
    let start = dir.map_or(0, |dir| dir.as_bytes().len() + 1);
    let below = path.as_bytes().get(start..)?;
    let len = below.iter().position(|byte| *byte == b'/')?;
    RelPath::new(path.as_bytes().get(..start + len)?).ok()
}

/// The first path that may follow all that is below `path`. None where no name may be so long.
fn after(path: &RelPath) -> Option<RelPath> {
    RelPath::new([path.as_bytes(), &[1]].concat()).ok()
}

fn listed_entry<'a, C>(path: &'a RelPath, outcome: &'a Outcome<C>) -> Option<EntryRef<'a>> {
    let Standing { node, meta, .. } = outcome.new.as_deref()?;
    Some(EntryRef { path, node, meta })
}
