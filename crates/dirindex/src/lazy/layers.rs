//! [`Layers`]: records of a base that stand, and others beside them. Must not know whether they can be those of a tree.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::base::Base;
use super::bits::Bits;
use super::chunks::Chunks;
use crate::{Error, Record, RelPath};

/// Records in path order: those of a base that stand, and others beside them. What both have the same of is kept once, in the
/// base.
#[derive(Debug, Clone)]
pub(crate) struct Layers {
    base: Arc<Base>,
    /// Which records of the base stand; `None`: all.
    standing: Option<Arc<Bits>>,
    /// In path order. None has the path of one that stands in the base.
    changed: Arc<Vec<Arc<Record>>>,
    /// The path of the last record; what lies behind it does not count. `None`: all count.
    end: Option<RelPath>,
}

/// A record, with its number if it is one of the base.
pub(crate) type Found = (Option<usize>, Arc<Record>);

/// A record of the base with its number, if there is one.
type Numbered = Option<(usize, Arc<Record>)>;

/// So many paths are looked up by one thread: neighbours lie in one block.
pub(crate) const AT_ONCE: usize = 256;

/// What is to become of one path.
#[derive(Debug)]
pub(crate) enum Edit {
    Put(Arc<Record>),
    Remove(RelPath),
}

impl Edit {
    fn path(&self) -> &RelPath {
        match self {
            Edit::Put(record) => &record.entry.path,
            Edit::Remove(path) => path,
        }
    }
}

impl Layers {
    /// All records of `base`.
    pub(crate) fn of(base: Base) -> Layers {
        Layers { base: Arc::new(base), standing: None, changed: Arc::default(), end: None }
    }

    /// All of `records`, which are in path order.
    pub(crate) fn of_memory(records: &Arc<Vec<Arc<Record>>>) -> Layers {
        Layers::of(Base::Memory(Arc::clone(records)))
    }

    /// All of its base, and nothing beside it.
    pub(crate) fn of_base(&self) -> Layers {
        let base = Arc::clone(&self.base);
        Layers { base, standing: None, changed: Arc::default(), end: None }
    }

    /// Whether this is [all of its base](Layers::of_base).
    pub(crate) fn is_base(&self) -> bool {
        self.is_same(&self.of_base())
    }

    /// What is here up to `end`.
    pub(crate) fn up_to(&self, end: Option<RelPath>) -> Layers {
        Layers { end, ..self.clone() }
    }

    pub(crate) fn base(&self) -> &Base {
        &self.base
    }

    pub(crate) fn changed(&self) -> &[Arc<Record>] {
        &self.changed
    }

    pub(crate) fn end(&self) -> Option<&RelPath> {
        self.end.as_ref()
    }

    /// Whether record number `number` of the base stands.
    pub(crate) fn stands(&self, number: usize) -> bool {
        self.standing.as_ref().is_none_or(|standing| standing.has(number))
    }

    /// How many records of the base do not stand.
    pub(crate) fn count_gone(&self) -> usize {
        self.standing.as_ref().map_or(0, |standing| self.base.len() - standing.count())
    }

    /// Whether any of these records of the base stands.
    pub(crate) fn has_any(&self, mut numbers: Range<usize>) -> bool {
        self.standing.is_none() || numbers.any(|number| self.stands(number))
    }

    /// Whether this and `other` are the same, as far as can be seen without reading the base.
    pub(crate) fn is_same(&self, other: &Layers) -> bool {
        let same = |(one, other): (&Arc<Record>, &Arc<Record>)| one.is_same(other);
        Arc::ptr_eq(&self.base, &other.base)
            && self.end == other.end
            && self.changed.len() == other.changed.len()
            && self.changed.iter().zip(&*other.changed).all(same)
            && match (&self.standing, &other.standing) {
                (None, None) => true,
                (Some(one), Some(other)) => one == other,
                (Some(one), None) | (None, Some(one)) => **one == Bits::all(self.base.len()),
            }
    }

    /// Whether both are upon the same base, and differ by what can be seen without reading it.
    pub(crate) fn is_beside(&self, other: &Layers) -> bool {
        Arc::ptr_eq(&self.base, &other.base) && self.end == other.end
    }

    fn changed_at(&self, path: &RelPath) -> Option<&Arc<Record>> {
        let found = self.changed.binary_search_by(|record| record.entry.path.cmp(path)).ok();
        found.and_then(|at| self.changed.get(at))
    }

    /// The record at `path`, and its number if it is one of the base.
    ///
    /// # Errors
    /// [`Error::Sections`] when the base cannot be read any more.
    pub(crate) fn find(&self, path: &RelPath) -> Result<Option<Found>, Error> {
        if self.end.as_ref().is_some_and(|end| end < path) {
            return Ok(None);
        }
        if let Some(record) = self.changed_at(path) {
            return Ok(Some((None, Arc::clone(record))));
        }
        let found = self.base.find(path)?.filter(|(number, _)| self.stands(*number));
        Ok(found.map(|(number, record)| (Some(number), record)))
    }

    /// [`find`](Layers::find), the record alone.
    pub(crate) fn record(&self, path: &RelPath) -> Result<Option<Arc<Record>>, Error> {
        Ok(self.find(path)?.map(|(_, record)| record))
    }

    /// Has `edits` made, of which no two have one path.
    ///
    /// # Errors
    /// As [`find`](Layers::find).
    pub(crate) fn edit(&mut self, mut edits: Vec<Edit>) -> Result<(), Error> {
        if edits.is_empty() {
            return Ok(());
        }
        if !edits.is_sorted_by(|a, b| a.path() <= b.path()) {
            edits.sort_by(|a, b| a.path().cmp(b.path()));
        }
        let mut found = self.in_base(&edits)?.into_iter();
        let mut standing: Option<Bits> = self.standing.as_deref().cloned();
        let mut set = |number, stands| {
            standing.get_or_insert_with(|| Bits::all(self.base.len())).set(number, stands);
        };
        let mut changed = Vec::with_capacity(self.changed.len() + edits.len());
        let mut before = self.changed.iter().peekable();
        for edit in edits {
            let path = edit.path();
            while let Some(record) = before.next_if(|record| record.entry.path < *path) {
                changed.push(Arc::clone(record));
            }
            before.next_if(|record| record.entry.path == *path);
            match (found.next().flatten(), edit) {
                (Some((number, base)), Edit::Put(record)) if base.is_same(&record) => {
                    set(number, true);
                }
                (base, edit) => {
                    if let Some((number, _)) = base {
                        set(number, false);
                    }
                    if let Edit::Put(record) = edit {
                        changed.push(record);
                    }
                }
            }
        }
        changed.extend(before.cloned());
        (self.standing, self.changed) = (standing.map(Arc::new), Arc::new(changed));
        Ok(())
    }

    /// What the base has at the paths of `edits`, which are in order. Nothing at all for a base without records.
    fn in_base(&self, edits: &[Edit]) -> Result<Vec<Numbered>, Error> {
        if self.base.len() == 0 {
            return Ok(Vec::new());
        }
        let find = |edits: &[Edit]| -> Result<Vec<Numbered>, Error> {
            edits.iter().map(|edit| self.base.find(edit.path())).collect()
        };
        let found = edits.par_chunks(AT_ONCE).map(find).collect::<Result<Vec<_>, Error>>()?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Hands over all records in path order, some at a time.
    ///
    /// # Errors
    /// As [`find`](Layers::find), and what `each` returns.
    pub(crate) fn for_each_chunk(
        &self,
        mut each: impl FnMut(&[Arc<Record>]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut chunks = Chunks::new(self, None);
        while let Some(chunk) = chunks.next()? {
            each(&chunk)?;
        }
        Ok(())
    }
}

/// What scans need.
#[cfg(feature = "scan")]
impl Layers {
    /// The records of this one's base that are in `standing`.
    pub(crate) fn only(&self, standing: Bits) -> Layers {
        Layers { standing: Some(Arc::new(standing)), ..self.of_base() }
    }

    /// Whether the record at `path` is one beside the base.
    pub(crate) fn is_changed(&self, path: &RelPath) -> bool {
        self.changed_at(path).is_some()
    }

    /// The paths of the base at which nothing stands any more.
    ///
    /// # Errors
    /// As [`find`](Layers::find).
    pub(crate) fn gone(&self) -> Result<Vec<RelPath>, Error> {
        let mut gone = Vec::new();
        for block in 0..self.base.blocks() {
            let numbers = self.base.numbers(block);
            if !numbers.clone().any(|number| !self.stands(number)) {
                continue;
            }
            let records = self.base.block(block)?;
            let paths = numbers.zip(&*records).filter(|(number, _)| !self.stands(*number));
            let paths = paths.map(|(_, record)| &record.entry.path);
            gone.extend(paths.filter(|path| !self.is_changed(path)).cloned());
        }
        Ok(gone)
    }

    /// Hands over the records at `top` and below it.
    ///
    /// # Errors
    /// As [`for_each_chunk`](Layers::for_each_chunk).
    pub(crate) fn for_each_at(
        &self,
        top: &RelPath,
        mut each: impl FnMut(&Arc<Record>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let is_there = |path: &RelPath| path == top || path.is_below(top);
        let mut chunks = Chunks::new(self, Some(top));
        while let Some(chunk) = chunks.next()? {
            for record in chunk.iter() {
                if !is_there(&record.entry.path) {
                    return Ok(());
                }
                each(record)?;
            }
        }
        Ok(())
    }
}

/// Appends the records of a block that stand, and those of `changed` that come before or between them.
pub(crate) fn merge(
    records: &mut Vec<Arc<Record>>,
    mut block: &[Arc<Record>],
    stands: impl Fn(usize) -> bool,
    changed: &mut &[Arc<Record>],
) {
    let mut number = 0;
    loop {
        let next = changed.first();
        let upto = next.map_or(block.len(), |next| {
            block.partition_point(|record| record.entry.path < next.entry.path)
        });
        let (before, rest) = block.split_at(upto);
        let standing = before.iter().zip(number..).filter(|(_, number)| stands(*number));
        records.extend(standing.map(|(record, _)| Arc::clone(record)));
        (block, number) = (rest, number + upto);
        let (Some(next), Some(same)) = (next, block.first()) else { return };
        if same.entry.path == next.entry.path {
            block = block.get(1..).unwrap_or_default();
            number += 1;
        }
        records.push(Arc::clone(next));
        changed.split_off_first();
    }
}
