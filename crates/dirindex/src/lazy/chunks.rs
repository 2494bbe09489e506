//! The records of [`Layers`] in path order, some at a time. Must not know what they are read for.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::base::Block;
use super::differing::Pair;
use super::layers::{Layers, merge};
use crate::index_file::ROWS_PER_SECTION;
use crate::tree::sections_at_once;
use crate::{Error, Record, RelPath};

/// Records that follow each other.
pub(crate) type Chunk<'a> = Cow<'a, [Arc<Record>]>;

/// Goes through the records of an index. Blocks of its base are read some at a time, by all threads.
pub(crate) struct Chunks<'a> {
    layers: &'a Layers,
    /// The next block of the base.
    block: usize,
    /// What is left of what is other than there.
    changed: &'a [Pair],
    /// Nothing before this path is wanted any more.
    from: Option<&'a RelPath>,
}

/// The records of a [`LazyIndex`](crate::LazyIndex) in path order, some at a time.
pub struct RecordChunks<'a> {
    chunks: Chunks<'a>,
    /// Records up to this path do not count.
    after: Option<&'a RelPath>,
}

impl<'a> RecordChunks<'a> {
    pub(super) fn new(layers: &'a Layers, after: Option<&'a RelPath>) -> RecordChunks<'a> {
        RecordChunks { chunks: Chunks::new(layers, after), after }
    }
}

/// One record or more each time. [`Error::Sections`] when a file cannot be read any more in which a part of them is.
impl Iterator for RecordChunks<'_> {
    type Item = Result<Vec<Arc<Record>>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let mut records = match self.chunks.next().transpose()? {
                Ok(chunk) => chunk.into_owned(),
                Err(error) => return Some(Err(error)),
            };
            if let Some(after) = self.after.take() {
                records.drain(..records.partition_point(|record| record.entry.path <= *after));
            }
            if !records.is_empty() {
                return Some(Ok(records));
            }
        }
    }
}

impl std::fmt::Debug for RecordChunks<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordChunks").field("after", &self.after).finish_non_exhaustive()
    }
}

impl<'a> Chunks<'a> {
    /// All records, or those from a path on.
    pub(crate) fn new(layers: &'a Layers, from: Option<&'a RelPath>) -> Chunks<'a> {
        let block = from.map_or(0, |path| layers.base().block_of(path));
        let changed = layers.changed_after(|path| from.is_some_and(|from| path < from));
        Chunks { layers, block, changed, from }
    }

    /// The next records, one or more.
    pub(crate) fn next(&mut self) -> Result<Option<Chunk<'a>>, Error> {
        self.next_of(false)
    }

    /// The next records up to a block that can be taken [as it is](Chunks::untouched).
    pub(super) fn next_touched(&mut self) -> Result<Option<Chunk<'a>>, Error> {
        self.next_of(true)
    }

    /// The blocks that come next in which nothing was changed. Their records do not come any more.
    pub(super) fn untouched(&mut self) -> Range<usize> {
        let start = self.block;
        while self.block < start + sections_at_once() && self.is_untouched(self.block) {
            self.block += 1;
        }
        start..self.block
    }

    fn is_untouched(&self, block: usize) -> bool {
        let base = self.layers.base();
        block < base.blocks()
            && self.layers.end().is_none()
            && self.changed.first().is_none_or(|next| {
                base.first_path(block + 1).is_some_and(|first| Some(first) <= next.path())
            })
    }

    fn next_of(&mut self, touched: bool) -> Result<Option<Chunk<'a>>, Error> {
        loop {
            let Some(chunk) = self.next_whole(touched)? else { return Ok(None) };
            let start = match self.from.take() {
                Some(from) => chunk.partition_point(|record| record.entry.path < *from),
                None => 0,
            };
            let end = match self.layers.end() {
                Some(end) => chunk.partition_point(|record| record.entry.path <= *end),
                None => chunk.len(),
            };
            if end < chunk.len() {
                // What follows lies behind the end, too.
                (self.block, self.changed) = (self.layers.base().blocks(), &[]);
            }
            if start >= end {
                continue;
            }
            return Ok(Some(match chunk {
                Cow::Borrowed(records) => {
                    Cow::Borrowed(records.get(start..end).unwrap_or_default())
                }
                Cow::Owned(mut records) => {
                    records.truncate(end);
                    records.drain(..start);
                    Cow::Owned(records)
                }
            }));
        }
    }

    fn next_whole(&mut self, touched: bool) -> Result<Option<Chunk<'a>>, Error> {
        let base = self.layers.base();
        while self.block < base.blocks() && !(touched && self.is_untouched(self.block)) {
            let most = base.blocks().min(self.block + sections_at_once());
            let is_touched = |block: &usize| !touched || !self.is_untouched(*block);
            let count = (self.block..most).take_while(is_touched).count();
            let blocks = self.block..self.block + count;
            self.block = blocks.end;
            let read = blocks.clone().into_par_iter().map(|block| base.block(block));
            let mut records = Vec::with_capacity(blocks.len() * ROWS_PER_SECTION);
            for block in read.collect::<Result<Vec<Block<'_>>, Error>>()? {
                merge(&mut records, &block, &mut self.changed);
            }
            if !records.is_empty() {
                return Ok(Some(Cow::Owned(records)));
            }
        }
        if self.block < base.blocks() {
            return Ok(None);
        }
        let rest = std::mem::take(&mut self.changed).iter().filter_map(|pair| pair.new.clone());
        let rest: Vec<Arc<Record>> = rest.collect();
        Ok((!rest.is_empty()).then_some(Cow::Owned(rest)))
    }
}
