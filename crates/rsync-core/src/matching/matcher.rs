//! A signature prepared for matching: says which block given bytes are. Owns the comparison of sums; must not
//! know where in the new data to look.
//!
//! Bound for crafted input: of the blocks with one weak sum and different strong hashes, only the first
//! [`CANDIDATES`] are kept. So a look-up compares at most that many.

use super::Work;
use super::context_table::ContextTable;
use super::weak_table::{CANDIDATES, WeakTable};
use crate::blake3_tree;
use crate::weak_sum::WeakSum;
use crate::weak_sum::anchor::Anchoring;
use crate::weak_sum::rolling::{Growing, RabinKarp, Rollsum};
use crate::{Digest, Shape, Signature};
use std::sync::OnceLock;

/// How many nodes are compared at a time: those after the first that differs are of no use.
const NODES_AT_ONCE: usize = 16;

/// A signature with look-up tables.
pub(crate) struct Matcher<'s> {
    pub(crate) shape: Shape,
    packed: &'s [u8],
    /// How many blocks have full length. Only these can be a window.
    pub(crate) full_blocks: usize,
    /// The length of the last block if it is known and short, else 0.
    tail_len: usize,
    /// Whether the length of the file, and so of the last block, is known. librsync's signatures do not have
    /// it.
    len_known: bool,
    /// Whether the file is one block of its BLAKE3 tree. Then the block's node is the root.
    pub(crate) one_block: bool,
    /// What strong hashes are bound to, where they are made of nodes of the tree.
    bound_to: Option<Digest>,
    weak_table: OnceLock<WeakTable>,
    context_table: OnceLock<ContextTable>,
}

impl<'s> Matcher<'s> {
    pub(crate) fn new(signature: &'s Signature) -> Self {
        let shape = signature.shape();
        let block_len = u64::from(shape.block_len);
        Matcher {
            shape,
            packed: signature.packed(),
            full_blocks: (signature.file_len() / block_len) as usize,
            tail_len: (signature.file_len() % block_len) as usize,
            len_known: signature.digest().is_some() || !shape.sums.is_librsync(),
            one_block: shape.in_tree() && signature.block_count() == 1,
            bound_to: signature.digest().filter(|_| shape.in_tree()),
            weak_table: OnceLock::new(),
            context_table: OnceLock::new(),
        }
    }

    pub(crate) fn block_len(&self) -> usize {
        self.shape.block_len as usize
    }

    /// The weak sum of block `index` and the kept bytes of its strong hash; `None` if there is no such block.
    pub(crate) fn block(&self, index: usize) -> Option<(u64, &'s [u8])> {
        let width = self.shape.bytes_per_block();
        self.packed.get(index * width..(index + 1) * width).map(|packed| self.shape.unpack(packed))
    }

    /// The full block that begins at `base`.
    pub(crate) fn full_block_at(&self, base: u64) -> Option<usize> {
        let block_len = u64::from(self.shape.block_len);
        (base.is_multiple_of(block_len) && base / block_len < self.full_blocks as u64)
            .then_some((base / block_len) as usize)
    }

    /// The weak sums of the full blocks.
    pub(crate) fn weak_table(&self) -> &WeakTable {
        self.weak_table.get_or_init(|| WeakTable::new(&self.shape, self.packed, self.full_blocks))
    }

    /// The contexts of the full blocks.
    pub(crate) fn context_table(&self, anchoring: &Anchoring) -> &ContextTable {
        self.context_table.get_or_init(|| {
            let blocks = 0..self.full_blocks;
            let words = blocks.map(|index| self.block(index).map_or(1, |block| block.0));
            ContextTable::new(anchoring, words)
        })
    }

    /// The strong hash that block `index` has if it consists of `bytes`.
    fn strong_of(&self, index: usize, bytes: &[u8], work: &mut Work) -> [u8; 32] {
        work.strong_hashes += 1;
        let node = match self.one_block {
            true => blake3::hash(bytes).into(),
            false => self.shape.strong_of(bytes, index as u64 * u64::from(self.shape.block_len)),
        };
        self.bound_to.map_or(node, |digest| blake3_tree::bind_one(&digest, &node))
    }

    /// The strong hashes that the blocks from `index` on have if they consist of `bytes`.
    pub(crate) fn strong_of_blocks(
        &self,
        index: usize,
        bytes: &[u8],
        work: &mut Work,
    ) -> Vec<[u8; 32]> {
        if self.one_block {
            return vec![self.strong_of(index, bytes, work)];
        }
        let offset = index as u64 * u64::from(self.shape.block_len);
        let nodes = self.shape.strong_of_blocks(bytes, offset, usize::MAX);
        work.strong_hashes += nodes.len() as u64;
        match &self.bound_to {
            Some(digest) => blake3_tree::bind(digest, &nodes),
            None => nodes,
        }
    }

    /// How many of the blocks from `index` on have these nodes, up to the first that has not.
    pub(crate) fn count_with_nodes(&self, index: usize, nodes: &[[u8; 32]]) -> usize {
        let Some(digest) = &self.bound_to else { return 0 };
        let mut count = 0;
        for nodes in nodes.chunks(NODES_AT_ONCE) {
            let equal = self.count_equal(index + count, &blake3_tree::bind(digest, nodes));
            count += equal;
            if equal < nodes.len() {
                break;
            }
        }
        count
    }

    /// How many of the full blocks from `index` on have these strong hashes, up to the first that has not.
    pub(crate) fn count_equal(&self, index: usize, hashes: &[[u8; 32]]) -> usize {
        let blocks = (index..self.full_blocks).map_while(|index| self.block(index));
        let pairs = hashes.iter().zip(blocks);
        pairs.take_while(|(hash, (_, strong))| hash.starts_with(strong)).count()
    }

    /// Whether block `index` consists of `bytes`.
    pub(crate) fn is_block(&self, index: usize, bytes: &[u8], work: &mut Work) -> bool {
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

    /// The block that equals `window`, whose weak sum is `weak`. The block on the diagonal comes first.
    pub(crate) fn look_up(
        &self,
        weak: u64,
        window: &[u8],
        on_diagonal: Option<usize>,
        work: &mut Work,
    ) -> Option<usize> {
        let others = self.weak_table().candidates(weak).map(|index| index as usize);
        let others = others.filter(|&index| Some(index) != on_diagonal);
        let mut known = None;
        for index in on_diagonal.into_iter().chain(others) {
            let Some((block_weak, strong)) = self.block(index) else { continue };
            if block_weak != weak {
                continue;
            }
            // A chaining value depends on the block's place, so each candidate needs a hash of its own. For
            // other hashes one hash serves for all candidates.
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

    /// The length of the short last block, if `gap` begins with it and the gap follows base offset `base`.
    pub(crate) fn tail_after(&self, base: u64, gap: &[u8], work: &mut Work) -> Option<u64> {
        let tail_at = self.full_blocks as u64 * u64::from(self.shape.block_len);
        let tail = gap.get(..self.tail_len).filter(|tail| !tail.is_empty() && base == tail_at)?;
        self.is_block(self.full_blocks, tail, work).then_some(self.tail_len as u64)
    }

    /// The base offset and length of the short last block, if `gap`, at the end of the new data, ends with
    /// it. If the length is not known, the longest that fits is taken.
    pub(crate) fn tail_at_end(&self, gap: &[u8], work: &mut Work) -> Option<(u64, u64)> {
        let block_len = self.block_len();
        if self.len_known {
            let tail_at = (self.full_blocks * block_len) as u64;
            let tail = gap.get(gap.len().checked_sub(self.tail_len)?..)?;
            return self.tail_after(tail_at, tail, work).map(|len| (tail_at, len));
        }
        let last = self.full_blocks.checked_sub(1)?;
        let gap = &gap[gap.len().saturating_sub(block_len - 1)..];
        let (weak, _) = self.block(last)?;
        let fitting = match self.shape.sums.weak() {
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
