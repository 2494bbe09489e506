//! Look-up of weak sums: a filter, and a hash table behind it. Owns packed blocks as table entries; must not
//! know data or windows.

use crate::Shape;
use crate::weak_sum::filter::Filter;
use hashbrown::HashTable;

/// How many blocks with one weak sum and different strong hashes are kept.
pub(crate) const CANDIDATES: usize = 16;

/// The weak sums of blocks.
pub(crate) struct WeakTable {
    pub(crate) filter: Filter,
    blocks: HashTable<u32>,
}

impl WeakTable {
    /// The table of the first `full_blocks` of the packed blocks.
    pub(crate) fn new(shape: &Shape, packed: &[u8], full_blocks: usize) -> WeakTable {
        let mut table = WeakTable {
            filter: Filter::new(full_blocks),
            blocks: HashTable::with_capacity(full_blocks),
        };
        let width = shape.bytes_per_block();
        let block = |index: u32| {
            packed
                .get(index as usize * width..)
                .and_then(|rest| rest.get(..width))
                .unwrap_or(&[0; 40])
        };
        let weak_of = |index: u32| shape.unpack(block(index)).0;
        for index in 0..u32::try_from(full_blocks).unwrap_or(u32::MAX) {
            let weak = weak_of(index);
            let (mut rivals, mut known) = (0, false);
            for rival in table.candidates(weak) {
                known |= block(rival) == block(index);
                rivals += usize::from(weak_of(rival) == weak);
            }
            if known || rivals >= CANDIDATES {
                continue;
            }
            table.filter.insert(weak);
            let WeakTable { filter, blocks } = &mut table;
            blocks.insert_unique(spread(filter.hash(weak)), index, |&other| {
                spread(filter.hash(weak_of(other)))
            });
        }
        table
    }

    /// Blocks whose weak sum is `weak`, and perhaps a few others.
    pub(crate) fn candidates(&self, weak: u64) -> impl Iterator<Item = u32> {
        self.blocks.iter_hash(spread(self.filter.hash(weak))).copied()
    }
}

/// The hash table uses the low bits of a hash. The high bits of a product are the better ones.
fn spread(product: u64) -> u64 {
    product.rotate_left(32)
}
