//! A signature made ready for matching: what block given bytes are. Knows sums, tables and the last, short block; nothing of
//! where in the new data to look.
//!
//! Bounds against crafted input: of blocks that share a weak sum but not a strong hash the first [`CANDIDATES`] are kept, so
//! a look-up compares at most that many.

use crate::anchor::Anchoring;
use crate::contexts::Contexts;
use crate::table::{CANDIDATES, Table};
use crate::weak::{Growing, RabinKarp, Rollsum};
use crate::{Signature, WeakSum, shape::Shape};
use std::sync::OnceLock;

/// Some bytes of the new data that are bytes of the base: `len` from `base` there, at `new` here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) new: u64,
    pub(crate) base: u64,
    pub(crate) len: u64,
}

impl Run {
    pub(crate) fn new_end(&self) -> u64 {
        self.new + self.len
    }
    pub(crate) fn base_end(&self) -> u64 {
        self.base + self.len
    }
}

/// The work that matching took.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Work {
    /// Strong hashes computed to see whether a window is a block.
    pub(crate) strong_hashes: u64,
    /// Bytes that were hashed, or summed at a cost equal to hashing that many, and turned out to match nothing.
    pub(crate) wasted: u64,
}

/// A signature made ready for look-ups.
pub(crate) struct Matcher<'s> {
    pub(crate) shape: Shape,
    packed: &'s [u8],
    /// Blocks of full length: those a window can match.
    pub(crate) full: usize,
    /// The length of the last block if it is known and short, else 0.
    tail_len: usize,
    /// False when the file's length, and so the last block's, is not known (librsync's signatures).
    exact: bool,
    /// Whether the file is one block, and its strong hash so the digest of a whole content.
    pub(crate) alone: bool,
    table: OnceLock<Table>,
    contexts: OnceLock<Contexts>,
}

impl<'s> Matcher<'s> {
    pub(crate) fn new(signature: &'s Signature) -> Self {
        let shape = signature.shape();
        let block_len = u64::from(shape.block_len);
        Matcher {
            shape,
            packed: signature.packed(),
            full: (signature.file_len() / block_len) as usize,
            tail_len: (signature.file_len() % block_len) as usize,
            exact: signature.digest().is_some() || !shape.weak.is_librsync(),
            alone: shape.in_tree() && signature.block_count() == 1,
            table: OnceLock::new(),
            contexts: OnceLock::new(),
        }
    }

    pub(crate) fn block_len(&self) -> usize {
        self.shape.block_len as usize
    }

    /// The weak sum and the kept bytes of the strong hash of block `index`; of none, if there is no such block.
    pub(crate) fn block(&self, index: usize) -> Option<(u64, &'s [u8])> {
        let width = self.shape.bytes_per_block();
        self.packed.get(index * width..(index + 1) * width).map(|packed| self.shape.unpack(packed))
    }

    /// The full block that `base` is the start of.
    pub(crate) fn full_block_at(&self, base: u64) -> Option<usize> {
        let block_len = u64::from(self.shape.block_len);
        (base.is_multiple_of(block_len) && base / block_len < self.full as u64)
            .then_some((base / block_len) as usize)
    }

    /// The weak sums of the full blocks.
    pub(crate) fn table(&self) -> &Table {
        self.table.get_or_init(|| Table::new(&self.shape, self.packed, self.full))
    }

    /// The contexts of the full blocks.
    pub(crate) fn contexts(&self, anchoring: &Anchoring) -> &Contexts {
        self.contexts.get_or_init(|| {
            let words = (0..self.full).map(|index| self.block(index).map_or(1, |block| block.0));
            Contexts::new(anchoring, words)
        })
    }

    /// The strong hash of `bytes`, as those of block `index`.
    fn strong_of(&self, index: usize, bytes: &[u8], work: &mut Work) -> [u8; 32] {
        work.strong_hashes += 1;
        if self.alone {
            return blake3::hash(bytes).into();
        }
        self.shape.strong_of(bytes, index as u64 * u64::from(self.shape.block_len))
    }

    /// The strong hashes of the blocks of `bytes`, as those of the blocks from `index` on.
    pub(crate) fn strong_of_blocks(
        &self,
        index: usize,
        bytes: &[u8],
        work: &mut Work,
    ) -> Vec<[u8; 32]> {
        if self.alone {
            return vec![self.strong_of(index, bytes, work)];
        }
        let offset = index as u64 * u64::from(self.shape.block_len);
        let hashes = self.shape.strong_of_blocks(bytes, offset, usize::MAX);
        work.strong_hashes += hashes.len() as u64;
        hashes
    }

    /// Whether `bytes` are block `index`.
    fn is_block(&self, index: usize, bytes: &[u8], work: &mut Work) -> bool {
        let Some((weak, strong)) = self.block(index) else { return false };
        if weak != self.shape.weak_of(bytes) {
            return false;
        }
        let matches = self.strong_of(index, bytes, work).starts_with(strong);
        if !matches {
            work.wasted += bytes.len() as u64;
        }
        matches
    }

    /// The block that `window` is: the one on the diagonal if it is equal, else one of those with the weak sum `weak`.
    pub(crate) fn look_up(
        &self,
        weak: u64,
        window: &[u8],
        on_diagonal: Option<usize>,
        work: &mut Work,
    ) -> Option<usize> {
        let others = self.table().candidates(weak).map(|index| index as usize);
        let others = others.filter(|&index| Some(index) != on_diagonal);
        let mut known = None;
        for index in on_diagonal.into_iter().chain(others) {
            let Some((block_weak, strong)) = self.block(index) else { continue };
            if block_weak != weak {
                continue;
            }
            // A place in the tree goes into the hash; without it one hash does for all candidates.
            let hash = match known.filter(|_| !self.shape.in_tree()) {
                Some(hash) => hash,
                None => {
                    work.wasted += window.len() as u64;
                    self.strong_of(index, window, work)
                }
            };
            if hash.starts_with(strong) {
                work.wasted -= window.len() as u64;
                return Some(index);
            }
            known = Some(hash);
        }
        None
    }

    /// If a gap that follows base offset `base` begins with the short last block, its length.
    pub(crate) fn tail_after(&self, base: u64, gap: &[u8], work: &mut Work) -> Option<u64> {
        let tail_at = self.full as u64 * u64::from(self.shape.block_len);
        let tail = gap.get(..self.tail_len).filter(|tail| !tail.is_empty() && base == tail_at)?;
        self.is_block(self.full, tail, work).then_some(self.tail_len as u64)
    }

    /// If the new data's last gap, which `gap` is the end of, ends with the base's last, short block: its base offset and
    /// length. Where that length is not known, the longest that fits is taken.
    pub(crate) fn tail_at_end(&self, gap: &[u8], work: &mut Work) -> Option<(u64, u64)> {
        let block_len = self.block_len();
        if self.exact {
            let tail_at = (self.full * block_len) as u64;
            let tail = gap.get(gap.len().checked_sub(self.tail_len)?..)?;
            return self.tail_after(tail_at, tail, work).map(|len| (tail_at, len));
        }
        let last = self.full.checked_sub(1)?;
        let gap = &gap[gap.len().saturating_sub(block_len - 1)..];
        let (weak, _) = self.block(last)?;
        let fitting = match self.shape.weak {
            WeakSum::Rollsum => ends_with_sum::<Rollsum>(gap, weak),
            _ => ends_with_sum::<RabinKarp>(gap, weak),
        };
        let longest = fitting.iter().rev().take(CANDIDATES);
        let start = longest.copied().find(|&start| self.is_block(last, &gap[start..], work))?;
        Some(((last * block_len) as u64, (gap.len() - start) as u64))
    }
}

/// Where the ends of `gap` begin that have the sum `weak`, the shortest first.
fn ends_with_sum<W: Growing>(gap: &[u8], weak: u64) -> Vec<usize> {
    let mut sum = W::of(&[]);
    let mut fitting = Vec::new();
    for (start, &x) in gap.iter().enumerate().rev() {
        sum.prepend(x);
        if sum.value() == weak {
            fitting.push(start);
        }
    }
    fitting
}
