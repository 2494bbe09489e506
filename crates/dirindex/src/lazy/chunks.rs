//! The records of [`Layers`] in path order, some at a time. Must not know what they are read for.

use std::ops::Deref;
use std::sync::Arc;

use rayon::prelude::*;

use super::base::Block;
use super::layers::{Layers, merge};
use crate::index_file::ROWS_PER_SECTION;
use crate::tree::sections_at_once;
use crate::{Error, Record, RelPath};

/// Records that follow each other.
pub(crate) enum Chunk<'a> {
    Part(&'a [Arc<Record>]),
    Merged(Vec<Arc<Record>>),
}

impl Deref for Chunk<'_> {
    type Target = [Arc<Record>];

    fn deref(&self) -> &[Arc<Record>] {
        match self {
            Chunk::Part(records) => records,
            Chunk::Merged(records) => records,
        }
    }
}

/// Goes through the records of an index. Blocks of its base are read some at a time, by all threads.
pub(crate) struct Chunks<'a> {
    layers: &'a Layers,
    /// The next block of the base.
    block: usize,
    /// What is left of the records beside it.
    changed: &'a [Arc<Record>],
    /// Nothing before this path is wanted any more.
    from: Option<&'a RelPath>,
}

impl<'a> Chunks<'a> {
    /// All records, or those from a path on.
    pub(crate) fn new(layers: &'a Layers, from: Option<&'a RelPath>) -> Chunks<'a> {
        let block = from.map_or(0, |path| layers.base().block_of(path));
        let start =
            |path: &RelPath| layers.changed().partition_point(|record| record.entry.path < *path);
        let changed = layers.changed().get(from.map_or(0, start)..).unwrap_or_default();
        Chunks { layers, block, changed, from }
    }

    /// The next records, one or more.
    pub(crate) fn next(&mut self) -> Result<Option<Chunk<'a>>, Error> {
        loop {
            let Some(chunk) = self.next_whole()? else { return Ok(None) };
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
                Chunk::Part(records) => Chunk::Part(records.get(start..end).unwrap_or_default()),
                Chunk::Merged(mut records) => {
                    records.truncate(end);
                    records.drain(..start);
                    Chunk::Merged(records)
                }
            }));
        }
    }

    fn next_whole(&mut self) -> Result<Option<Chunk<'a>>, Error> {
        let (base, layers) = (self.layers.base(), self.layers);
        while self.block < base.blocks() {
            let blocks = self.block..base.blocks().min(self.block + sections_at_once());
            self.block = blocks.end;
            let read = |block: usize| match layers.has_any(base.numbers(block)) {
                true => base.block(block).map(Some),
                false => Ok(None),
            };
            let read = blocks.clone().into_par_iter().map(read);
            let mut records = Vec::with_capacity(blocks.len() * ROWS_PER_SECTION);
            for (block, read) in blocks.zip(read.collect::<Result<Vec<Option<Block<'_>>>, _>>()?) {
                if let Some(block_records) = read {
                    let start = base.numbers(block).start;
                    let stands = |at| layers.stands(start + at);
                    merge(&mut records, &block_records, stands, &mut self.changed);
                }
            }
            if !records.is_empty() {
                return Ok(Some(Chunk::Merged(records)));
            }
        }
        let rest = std::mem::take(&mut self.changed);
        Ok((!rest.is_empty()).then_some(Chunk::Part(rest)))
    }
}
