//! Single records of [`Layers`] by their numbers or their paths, and the children of a directory, without what is deeper. What is looked up is
//! mostly near to what was looked up before. Must not know what records are read for.

use std::sync::Arc;

use super::base::{Base, Block};
use super::differing::Pair;
use super::layers::{Found, Layers};
use crate::{Error, Node, Record, RelPath};

/// Records of a base by their numbers or their paths. The block that was read last is at hand.
pub(super) struct Cursor<'a> {
    base: &'a Base,
    at: Option<(usize, Block<'a>)>,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(base: &'a Base) -> Cursor<'a> {
        Cursor { base, at: None }
    }

    /// The block that has a number, and where it is in that.
    pub(super) fn block(&mut self, number: usize) -> Result<(&[Arc<Record>], usize), Error> {
        let base = self.base;
        let has = |block: usize| base.numbers(block).contains(&number);
        let (start, records) = self.block_that(has, || base.block_with(number))?;
        Ok((records, number - start.min(number)))
    }

    /// The record at `path`, with its number.
    ///
    /// # Errors
    /// [`Error::Sections`] when the base cannot be read any more.
    pub(super) fn find(&mut self, path: &RelPath) -> Result<Option<(usize, Arc<Record>)>, Error> {
        let base = self.base;
        let has = |block: usize| {
            base.first_path(block).is_some_and(|first| first <= path)
                && base.first_path(block + 1).is_none_or(|next| path < next)
        };
        let (start, records) = self.block_that(has, || base.block_of(path))?;
        let found = records.binary_search_by(|record| record.entry.path.cmp(path)).ok();
        Ok(found.and_then(|at| Some((start + at, Arc::clone(records.get(at)?)))))
    }

    /// The number of the first record in a block, and the records: of the block that is at hand if it is one that `has`, else of that one
    /// which `which` names.
    fn block_that(
        &mut self,
        has: impl Fn(usize) -> bool,
        which: impl Fn() -> usize,
    ) -> Result<(usize, &[Arc<Record>]), Error> {
        let (block, records) = match self.at.take().filter(|(block, _)| has(*block)) {
            Some(at) => self.at.insert(at),
            None => {
                let block = which();
                self.at.insert((block, self.base.block_to_keep(block)?))
            }
        };
        Ok((self.base.numbers(*block).start, records))
    }

    /// The first number whose path, and those of all that follow, `is_before` is not true of.
    fn number_after(&mut self, is_before: impl Fn(&RelPath) -> bool) -> Result<usize, Error> {
        let Some(block) = self.base.blocks_before(&is_before).checked_sub(1) else { return Ok(0) };
        let start = self.base.numbers(block).start;
        let (records, _) = self.block(start)?;
        Ok(start + records.partition_point(|record| is_before(&record.entry.path)))
    }

    /// The first record from a number on that stands in `layers`, with its number.
    fn standing(
        &mut self,
        layers: &Layers,
        mut number: usize,
    ) -> Result<Option<(usize, Arc<Record>)>, Error> {
        while number < self.base.len() {
            let numbers = self.base.numbers(self.base.block_with(number));
            let (records, at) = self.block(number)?;
            let mut rest = (number..).zip(records.iter().skip(at));
            match rest.find(|(_, record)| layers.changed_at(&record.entry.path).is_none()) {
                Some((number, record)) => return Ok(Some((number, Arc::clone(record)))),
                None => number = numbers.end,
            }
        }
        Ok(None)
    }
}

/// Records of [`Layers`] by their paths, each mostly near to the one before.
pub(crate) struct Near<'a> {
    layers: &'a Layers,
    cursor: Cursor<'a>,
}

impl<'a> Near<'a> {
    pub(crate) fn new(layers: &'a Layers) -> Near<'a> {
        Near { layers, cursor: Cursor::new(layers.base()) }
    }

    /// The record at `path`, and its number if it is one of the base.
    ///
    /// # Errors
    /// [`Error::Sections`] when the base cannot be read any more.
    pub(crate) fn find(&mut self, path: &RelPath) -> Result<Option<Found>, Error> {
        if self.layers.end().is_some_and(|end| end < path) {
            return Ok(None);
        }
        if let Some(pair) = self.layers.changed_at(path) {
            return Ok(pair.new.clone().map(|record| (None, record)));
        }
        Ok(self.cursor.find(path)?.map(|(number, record)| (Some(number), record)))
    }
}

/// Whether anything is below `dir`.
pub(super) fn has_below(layers: &Layers, dir: &RelPath) -> Result<bool, Error> {
    let mut cursor = Cursor::new(layers.base());
    let number = cursor.number_after(|path| path <= dir)?;
    let base = cursor.standing(layers, number)?.map(|(_, record)| record);
    let beside = beside(&mut layers.changed_after(|path| path <= dir));
    Ok([base, beside].into_iter().flatten().any(|record| record.entry.path.is_below(dir)))
}

/// The first record that stands at one of these paths. Takes away those before it.
fn beside(changed: &mut &[Pair]) -> Option<Arc<Record>> {
    while changed.first().is_some_and(|pair| pair.new.is_none()) {
        changed.split_off_first();
    }
    changed.first()?.new.clone()
}

/// What lies right in the directory `dir`, in the top for `None`, in path order; with the number of what stands in the base.
pub(super) fn children(
    layers: &Layers,
    dir: Option<&RelPath>,
    cursor: &mut Cursor<'_>,
) -> Result<Vec<Found>, Error> {
    let is_before = |path: &RelPath| dir.is_some_and(|dir| path <= dir);
    let is_inside = |record: &Arc<Record>| dir.is_none_or(|dir| record.entry.path.is_below(dir));
    let mut number = cursor.number_after(is_before)?;
    let mut changed = layers.changed_after(is_before);
    let mut children = Vec::new();
    loop {
        let base = cursor.standing(layers, number)?.filter(|(_, record)| is_inside(record));
        let beside = beside(&mut changed).filter(&is_inside);
        let child = match (base, beside) {
            (Some((number, base)), beside)
                if beside.as_ref().is_none_or(|beside| base.entry.path < beside.entry.path) =>
            {
                (Some(number), base)
            }
            (_, Some(beside)) => (None, beside),
            (_, None) => return Ok(children),
        };
        let path = &child.1.entry.path;
        if child.1.entry.node == Node::Dir {
            let is_done = |other: &RelPath| other <= path || other.is_below(path);
            number = cursor.number_after(is_done)?;
            changed = layers.changed_after(is_done);
        } else if let Some(base) = child.0 {
            number = base + 1;
        } else {
            changed.split_off_first();
        }
        children.push(child);
    }
}
