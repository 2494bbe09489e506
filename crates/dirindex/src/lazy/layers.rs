//! [`Layers`]: records of a base, and what is other than there. Must not know whether they can be those of a tree.

use std::sync::Arc;

use rayon::prelude::*;

use super::base::Base;
#[cfg(feature = "scan")]
use super::bits::Bits;
use super::chunks::Chunks;
use super::cursor::{Cursor, Near};
use super::differing::Pair;
#[cfg(feature = "scan")]
use super::differing::join;
use crate::{Error, Record, RelPath};

/// Records in path order: those of a base, but for the paths at which something else stands. What both have the same of is kept once,
/// in the base. What the base has at the other paths is kept here too, so nobody has to look for it there.
#[derive(Debug, Clone)]
pub(crate) struct Layers {
    base: Arc<Base>,
    /// What the base has, and what stands, where these are not the same. In path order.
    changed: Arc<Vec<Pair>>,
    /// The path of the last record; what lies behind it does not count. `None`: all count.
    end: Option<RelPath>,
}

/// A record, with its number if it is one of the base.
pub(crate) type Found = (Option<usize>, Arc<Record>);

/// So many paths are looked up by one thread: neighbours lie in one block.
const AT_ONCE: usize = 256;

impl Layers {
    /// All records of `base`.
    pub(crate) fn of(base: Base) -> Layers {
        Layers { base: Arc::new(base), changed: Arc::default(), end: None }
    }

    /// All of `records`, which are in path order.
    pub(crate) fn of_memory(records: &Arc<Vec<Arc<Record>>>) -> Layers {
        Layers::of(Base::Memory(Arc::clone(records)))
    }

    /// Whether this is all of its base, and nothing else.
    pub(crate) fn is_base(&self) -> bool {
        self.changed.is_empty() && self.end.is_none()
    }

    /// What is here up to `end`.
    pub(crate) fn up_to(&self, end: Option<RelPath>) -> Layers {
        Layers { end, ..self.clone() }
    }

    pub(crate) fn base(&self) -> &Base {
        &self.base
    }

    /// What the base has, and what stands, where these are not the same. In path order, and also behind the [end](Layers::end).
    pub(crate) fn changed(&self) -> &[Pair] {
        &self.changed
    }

    /// [`changed`](Layers::changed), of the paths that `is_before` is not true of. It is of none that follows one of which it is not.
    pub(crate) fn changed_after(&self, is_before: impl Fn(&RelPath) -> bool) -> &[Pair] {
        let start = self.changed.partition_point(|pair| pair.path().is_some_and(&is_before));
        self.changed.get(start..).unwrap_or_default()
    }

    pub(crate) fn end(&self) -> Option<&RelPath> {
        self.end.as_ref()
    }

    /// Whether both are upon the same base.
    pub(crate) fn is_beside(&self, other: &Layers) -> bool {
        Arc::ptr_eq(&self.base, &other.base)
    }

    /// The [end](Layers::end) of `beginning`, if this has the same up to there, and goes on behind it.
    pub(crate) fn continues<'b>(&self, beginning: &'b Layers) -> Option<&'b RelPath> {
        let end = beginning.end()?;
        let before =
            |layers: &'_ Layers| layers.changed.partition_point(|pair| pair.path() <= Some(end));
        let (own, others) = (before(self), before(beginning));
        let goes_on = self.end.as_ref().is_none_or(|own| own > end);
        let mut pairs = self.changed.iter().zip(&*beginning.changed).take(own);
        (self.is_beside(beginning) && goes_on && own == others && pairs.all(is_same)).then_some(end)
    }

    /// What the base has at `path`, and what stands there, if these are not the same.
    pub(crate) fn changed_at(&self, path: &RelPath) -> Option<&Pair> {
        let found = self.changed.binary_search_by(|pair| pair.path().cmp(&Some(path))).ok();
        found.and_then(|at| self.changed.get(at))
    }

    /// The record at `path`, and its number if it is one of the base.
    ///
    /// # Errors
    /// [`Error::Sections`] when the base cannot be read any more.
    pub(crate) fn find(&self, path: &RelPath) -> Result<Option<Found>, Error> {
        Near::new(self).find(path)
    }

    /// [`find`](Layers::find), the record alone.
    pub(crate) fn record(&self, path: &RelPath) -> Result<Option<Arc<Record>>, Error> {
        Ok(self.find(path)?.map(|(_, record)| record))
    }

    /// Has the paths of `edits`, which are in path order, become what `becomes` makes of what stands there.
    ///
    /// # Errors
    /// As [`find`](Layers::find), and what `becomes` returns.
    pub(crate) fn change<E: Sync>(
        &mut self,
        edits: &[E],
        path: impl Fn(&E) -> &RelPath + Sync,
        becomes: impl Fn(&E, Option<&Arc<Record>>) -> Result<Option<Arc<Record>>, Error> + Sync,
    ) -> Result<(), Error> {
        if edits.is_empty() {
            return Ok(());
        }
        let change = |edit: &E, cursor: &mut Cursor<'_>| match self.changed_at(path(edit)) {
            Some(pair) => {
                Ok(Pair { old: pair.old.clone(), new: becomes(edit, pair.new.as_ref())? })
            }
            None => {
                let old = cursor.find(path(edit))?.map(|(_, record)| record);
                let new = becomes(edit, old.as_ref())?;
                Ok(Pair { old, new })
            }
        };
        let change = |edits: &[E]| {
            let mut cursor = Cursor::new(&self.base);
            let pairs = edits.iter().map(|edit| change(edit, &mut cursor));
            pairs.collect::<Result<Vec<Pair>, Error>>()
        };
        let made = edits.par_chunks(AT_ONCE).map(change).collect::<Result<Vec<_>, Error>>()?;
        let mut changed = Vec::with_capacity(self.changed.len() + edits.len());
        let mut before = self.changed.iter().peekable();
        for (edit, pair) in edits.iter().zip(made.into_iter().flatten()) {
            while let Some(pair) = before.next_if(|before| before.path() < Some(path(edit))) {
                changed.push(pair.clone());
            }
            before.next_if(|before| before.path() == Some(path(edit)));
            changed.extend(Some(pair).filter(|pair| !pair.is_same()));
        }
        changed.extend(before.cloned());
        self.changed = Arc::new(changed);
        Ok(())
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

/// What is to become of one path.
#[derive(Debug)]
#[cfg(feature = "scan")]
pub(crate) enum Edit {
    Put(Arc<Record>),
    Remove(RelPath),
}

#[cfg(feature = "scan")]
impl Edit {
    fn path(&self) -> &RelPath {
        match self {
            Edit::Put(record) => &record.entry.path,
            Edit::Remove(path) => path,
        }
    }

    fn record(&self) -> Option<&Arc<Record>> {
        match self {
            Edit::Put(record) => Some(record),
            Edit::Remove(_) => None,
        }
    }
}

/// What scans need.
#[cfg(feature = "scan")]
impl Layers {
    /// The records of this one's base that are in `standing`, and `records` beside. These are in path order, and none has the path of one
    /// that stands.
    ///
    /// # Errors
    /// As [`find`](Layers::find).
    pub(crate) fn scanned(
        &self,
        standing: &Bits,
        records: &[Arc<Record>],
    ) -> Result<Layers, Error> {
        let gone = |block: usize| -> Result<Vec<Arc<Record>>, Error> {
            let numbers = self.base.numbers(block);
            let is_gone = |number: usize| !standing.has(number);
            let known: Vec<Arc<Record>> = self.changed_in(block).collect();
            // What does not stand here does not stand there.
            if numbers.clone().filter(|number| is_gone(*number)).count() == known.len() {
                return Ok(known);
            }
            let records = self.base.block(block)?;
            let gone = numbers.zip(&*records).filter(|(number, _)| is_gone(*number));
            Ok(gone.map(|(_, record)| Arc::clone(record)).collect())
        };
        let gone = (0..self.base.blocks()).into_par_iter().map(gone);
        let gone = gone.collect::<Result<Vec<_>, Error>>()?;
        let olds = gone.into_iter().flatten().map(|it| Pair { old: Some(it), new: None });
        let news = records.iter().map(|it| Pair { old: None, new: Some(Arc::clone(it)) });
        let mut changed = join(olds.collect(), news.collect(), |old, new| Pair {
            old: old.and_then(|pair| pair.old),
            new: new.and_then(|pair| pair.new),
        });
        changed.retain(|pair| !pair.is_same());
        Ok(Layers { base: Arc::clone(&self.base), changed: Arc::new(changed), end: None })
    }

    /// The records of a block of the base that do not stand.
    fn changed_in(&self, block: usize) -> impl Iterator<Item = Arc<Record>> {
        let [start, end] = [block, block + 1].map(|block| self.base.first_path(block));
        let changed = self.changed_after(|path| start.is_some_and(|start| path < start));
        let upto = move |pair: &&Pair| end.is_none_or(|end| pair.path() < Some(end));
        changed.iter().take_while(upto).filter_map(|pair| pair.old.clone())
    }

    /// Has `edits` made, of which no two have one path.
    ///
    /// # Errors
    /// As [`find`](Layers::find).
    pub(crate) fn edit(&mut self, mut edits: Vec<Edit>) -> Result<(), Error> {
        if !edits.is_sorted_by(|a, b| a.path() <= b.path()) {
            edits.sort_by(|a, b| a.path().cmp(b.path()));
        }
        self.change(&edits, Edit::path, |edit, _| Ok(edit.record().cloned()))
    }

    /// Whether this and `other` are the same, as far as can be seen without reading the base.
    pub(crate) fn is_same(&self, other: &Layers) -> bool {
        self.is_beside(other)
            && self.end == other.end
            && self.changed.len() == other.changed.len()
            && self.changed.iter().zip(&*other.changed).all(is_same)
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

/// Whether the same stands at both paths of one base.
fn is_same((one, other): (&Pair, &Pair)) -> bool {
    match (&one.new, &other.new) {
        (Some(one), Some(other)) => one.is_same(other),
        (None, None) => one.path() == other.path(),
        _ => false,
    }
}

/// Appends the records of a block, with those that stand at the paths of `changed` in their place or between them. Takes from `changed`
/// what is up to the last of the block.
pub(crate) fn merge(
    records: &mut Vec<Arc<Record>>,
    mut block: &[Arc<Record>],
    changed: &mut &[Pair],
) {
    while let Some(last) = block.last()
        && let Some(next) = changed.first().filter(|next| next.path() <= Some(&last.entry.path))
    {
        let upto = block.partition_point(|record| Some(&record.entry.path) < next.path());
        let (before, rest) = block.split_at(upto);
        records.extend_from_slice(before);
        block = rest.get(usize::from(next.old.is_some())..).unwrap_or_default();
        records.extend(next.new.clone());
        changed.split_off_first();
    }
    records.extend_from_slice(block);
}
