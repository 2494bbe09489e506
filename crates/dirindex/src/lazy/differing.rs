//! Where two lists of records do not have the same. Must not know what follows from that.

use std::cmp::Ordering;
use std::sync::Arc;

use rayon::prelude::*;

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
    pub(super) fn path(&self) -> Option<&RelPath> {
        self.new.as_ref().or(self.old.as_ref()).map(|record| &record.entry.path)
    }

    fn is_same(&self) -> bool {
        match (&self.old, &self.new) {
            (Some(old), Some(new)) => old.is_same(new),
            (None, None) => true,
            _ => false,
        }
    }
}

pub(super) fn differing(old: &Layers, new: &Layers) -> Result<Vec<Pair>, Error> {
    let pairs = match old.is_beside(new) {
        true => join(of_base(old, new)?, of_changed(old, new)),
        false => of_all(old, new)?,
    };
    Ok(pairs.into_iter().filter(|pair| !pair.is_same()).collect())
}

/// What stands of the base that both have in one of them alone.
fn of_base(old: &Layers, new: &Layers) -> Result<Vec<Pair>, Error> {
    let base = old.base();
    let differs = |number: &usize| old.stands(*number) != new.stands(*number);
    let blocks = 0..base.blocks();
    let blocks: Vec<usize> =
        blocks.filter(|block| base.numbers(*block).any(|number| differs(&number))).collect();
    let of_block = |block: &usize| -> Result<Vec<Pair>, Error> {
        let (numbers, records) = (base.numbers(*block), base.block(*block)?);
        let differing = numbers.zip(&*records).filter(|(number, _)| differs(number));
        let pair = |(number, record): (usize, &Arc<Record>)| Pair {
            old: old.stands(number).then(|| Arc::clone(record)),
            new: new.stands(number).then(|| Arc::clone(record)),
        };
        Ok(differing.map(pair).collect())
    };
    let pairs = blocks.par_iter().map(of_block).collect::<Result<Vec<_>, Error>>()?;
    Ok(pairs.into_iter().flatten().collect())
}

/// What both have beside the base.
fn of_changed(old: &Layers, new: &Layers) -> Vec<Pair> {
    let one = |record: &Arc<Record>| Some(Arc::clone(record));
    let olds = old.changed().iter().map(|it| Pair { old: one(it), new: None }).collect();
    let news = new.changed().iter().map(|it| Pair { old: None, new: one(it) }).collect();
    join(olds, news)
}

/// Two lists in path order as one. Of one path, each has one side.
fn join(one: Vec<Pair>, other: Vec<Pair>) -> Vec<Pair> {
    let mut joined = Vec::with_capacity(one.len() + other.len());
    let (mut ones, mut others) = (one.into_iter().peekable(), other.into_iter().peekable());
    loop {
        let order = match (ones.peek(), others.peek()) {
            (Some(one), Some(other)) => one.path().cmp(&other.path()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return joined,
        };
        let one = if order.is_le() { ones.next() } else { None };
        let other = if order.is_ge() { others.next() } else { None };
        joined.extend(match (one, other) {
            (Some(one), Some(other)) => {
                Some(Pair { old: one.old.or(other.old), new: one.new.or(other.new) })
            }
            (one, other) => one.or(other),
        });
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
