//! When a first backup puts a checkpoint. Pure: knows no store.

use diffindex::{Change, DiffIndex};
use dirindex::DirIndex;

/// A checkpoint is put after so many bytes of contents, where nothing else is asked for.
const EVERY: u64 = 4 << 30;
/// It brings at least this share of what is there already, so that there are few however large the tree is: some 60 for a
/// terabyte.
const SHARE: u64 = 16;

/// After how many entries of `index` the next checkpoint is due, where `diff` leads from the checkpoint `from` to it. `None` when
/// so little is left that it comes with the rest.
pub(super) fn due(
    from: &DirIndex,
    index: &DirIndex,
    diff: &DiffIndex,
    every: Option<u64>,
) -> Option<usize> {
    let there = from.entries().map(|entry| entry.node.len()).fold(0, u64::saturating_add);
    let enough = every.unwrap_or(EVERY).max(there / SHARE).max(1);
    let last = from.entries().next_back().map(|entry| &entry.path);
    let (all, mut packed) = (contents_len(diff), 0u64);
    let due = diff.changes().iter().find(|change| {
        packed = packed.saturating_add(content_len(change));
        // It takes nothing away that is stored already.
        packed >= enough && last.is_none_or(|last| *last < change.path)
    })?;
    let is_worth_it = all.saturating_sub(packed) >= enough / 4;
    is_worth_it.then(|| index.records().partition_point(|record| record.entry.path <= due.path))
}

/// How many bytes the contents have that are stored for `diff`.
pub(super) fn contents_len(diff: &DiffIndex) -> u64 {
    diff.changes().iter().map(content_len).fold(0, u64::saturating_add)
}

fn content_len(change: &Change) -> u64 {
    let new = change.new.as_ref().filter(|_| change.stored_content().is_some());
    new.map_or(0, |new| new.node.len())
}
