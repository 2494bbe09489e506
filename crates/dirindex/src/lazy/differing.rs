//! Where two lists of records do not have the same. Must not know what follows from that.

use std::cmp::Ordering;
use std::sync::Arc;

use super::chunks::{Chunk, Chunks};
use super::layers::Layers;
use crate::{Error, Record, RelPath};

/// The records of an older index and of a newer one at the same path; one of them is there.
#[derive(Debug, Clone)]
pub struct Pair {
    /// What the older index has.
    pub old: Option<Arc<Record>>,
    /// What the newer index has.
    pub new: Option<Arc<Record>>,
}

impl Pair {
    /// Their path.
    pub(crate) fn path(&self) -> Option<&RelPath> {
        self.new.as_ref().or(self.old.as_ref()).map(|record| &record.entry.path)
    }

    pub(crate) fn is_same(&self) -> bool {
        match (&self.old, &self.new) {
            (Some(old), Some(new)) => old.is_same(new),
            (None, None) => true,
            _ => false,
        }
    }
}

pub(super) fn differing(old: &Layers, new: &Layers) -> Result<Vec<Pair>, Error> {
    let mut pairs = match old.is_beside(new) {
        true => of_changed(old, new)?,
        false => of_all(old, new)?,
    };
    pairs.retain(|pair| !pair.is_same());
    Ok(pairs)
}

/// What both have other than their base, which is the same one; and what one of them has behind the end of the other.
fn of_changed(old: &Layers, new: &Layers) -> Result<Vec<Pair>, Error> {
    let of = |layers: &Layers| layers.changed().to_vec();
    let mut pairs = join(of(old), of(new), |old, new| match (old, new) {
        // The other has what the base has.
        (Some(old), None) => Pair { old: old.new, new: old.old },
        (None, new) => new.unwrap_or(Pair { old: None, new: None }),
        (Some(old), Some(new)) => Pair { old: old.new, new: new.new },
    });
    let (end, longer, is_new) = match (old.end(), new.end()) {
        (Some(old_end), Some(new_end)) if old_end > new_end => (new_end, old, false),
        (None, Some(new_end)) => (new_end, old, false),
        (Some(old_end), _) => (old_end, new, true),
        (None, None) => return Ok(pairs),
    };
    pairs.truncate(pairs.partition_point(|pair| pair.path() <= Some(end)));
    let mut chunks = Chunks::new(longer, Some(end));
    while let Some(chunk) = chunks.next()? {
        let behind = chunk.iter().filter(|record| record.entry.path > *end).cloned();
        pairs.extend(behind.map(|record| match is_new {
            true => Pair { old: None, new: Some(record) },
            false => Pair { old: Some(record), new: None },
        }));
    }
    Ok(pairs)
}

/// Two lists in path order as one. `both` says what becomes of what they have at a path.
pub(super) fn join(
    ones: Vec<Pair>,
    others: Vec<Pair>,
    both: impl Fn(Option<Pair>, Option<Pair>) -> Pair,
) -> Vec<Pair> {
    let mut joined = Vec::with_capacity(ones.len() + others.len());
    let (mut ones, mut others) = (ones.into_iter().peekable(), others.into_iter().peekable());
    loop {
        let order = match (ones.peek(), others.peek()) {
            (Some(one), Some(other)) => one.path().cmp(&other.path()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return joined,
        };
        let one = if order.is_le() { ones.next() } else { None };
        let other = if order.is_ge() { others.next() } else { None };
        joined.push(both(one, other));
    }
}

/// Both lists side by side.
fn of_all(old: &Layers, new: &Layers) -> Result<Vec<Pair>, Error> {
    let (mut olds, mut news) = (Rows::new(old), Rows::new(new));
    let mut pairs = Vec::new();
    loop {
        let order = match (olds.peek()?, news.peek()?) {
            (Some(old), Some(new)) => old.entry.path.cmp(&new.entry.path),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return Ok(pairs),
        };
        let old = if order.is_le() { olds.next()? } else { None };
        let new = if order.is_ge() { news.next()? } else { None };
        let pair = Pair { old, new };
        if !pair.is_same() {
            pairs.push(pair);
        }
    }
}

/// One record after the other.
struct Rows<'a> {
    chunks: Chunks<'a>,
    chunk: Option<Chunk<'a>>,
    at: usize,
}

impl<'a> Rows<'a> {
    fn new(layers: &'a Layers) -> Rows<'a> {
        Rows { chunks: Chunks::new(layers, None), chunk: None, at: 0 }
    }

    fn peek(&mut self) -> Result<Option<&Arc<Record>>, Error> {
        if self.chunk.as_ref().is_none_or(|chunk| self.at >= chunk.len()) {
            (self.chunk, self.at) = (self.chunks.next()?, 0);
        }
        Ok(self.chunk.as_ref().and_then(|chunk| chunk.get(self.at)))
    }

    fn next(&mut self) -> Result<Option<Arc<Record>>, Error> {
        let record = self.peek()?.cloned();
        self.at += 1;
        Ok(record)
    }
}
