//! When a first backup puts a checkpoint. Knows no store.

use diffindex::{Change, LazyDiff};
use dirindex::LazyIndex;

/// A checkpoint is put after so many bytes of contents, where nothing else is asked for.
const EVERY: u64 = 4 << 30;
/// It brings at least this share of what is there already, so that there are few however large the tree is: some 60 for a
/// terabyte.
const SHARE: u64 = 16;

/// After how many entries of `index` the next checkpoint is due, where `diff` leads from the checkpoint `from` to it. `None` when
/// so little is left that it comes with the rest.
pub(super) fn due(
    from: &LazyIndex,
    index: &LazyIndex,
    diff: &LazyDiff,
    every: Option<u64>,
) -> Result<Option<usize>, dirindex::Error> {
    let enough = every.unwrap_or(EVERY).max(from.totals().bytes / SHARE).max(1);
    let last = from.last_path()?;
    let (mut due, mut packed, mut rest) = (None, 0u64, 0u64);
    for list in diff.lists() {
        for change in &*list? {
            if due.is_some() {
                rest = rest.saturating_add(content_len(change));
                continue;
            }
            packed = packed.saturating_add(content_len(change));
            // It takes nothing away that is stored already.
            if packed >= enough && last.as_ref().is_none_or(|last| *last < change.path) {
                due = Some(change.path.clone());
            }
        }
        if due.is_some() && rest >= enough / 4 {
            break;
        }
    }
    let due = due.filter(|_| rest >= enough / 4);
    due.map(|due| index.entries_up_to(&due)).transpose()
}

/// How many bytes the contents have that are stored for `diff`.
pub(super) fn contents_len(diff: &LazyDiff) -> Result<u64, dirindex::Error> {
    diff.lists().try_fold(0u64, |len, list| {
        Ok(list?.iter().map(content_len).fold(len, u64::saturating_add))
    })
}

fn content_len(change: &Change) -> u64 {
    let new = change.new.as_ref().filter(|_| change.stored_content().is_some());
    new.map_or(0, |new| new.node.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use dirindex::{DirIndex, Entry, Meta, Node, Record, RelPath, Time, Xattrs};
    use rsync_core::Digest;

    fn record(number: u64, len: u64) -> Record {
        let path = RelPath::new(format!("{number:04}")).unwrap();
        let node = Node::File { len, digest: Digest::of(&number.to_le_bytes()) };
        let mtime = Time { secs: 0, nanos: 0 };
        let meta = Meta { mode: 0o600, uid: 0, gid: 0, mtime, xattrs: Xattrs::default() };
        Record { entry: Entry { path, node, meta }, signature: None, fingerprint: None }
    }

    fn index(records: impl IntoIterator<Item = Record>) -> LazyIndex {
        DirIndex::from_records(records).unwrap().into()
    }

    fn next_due(from: &LazyIndex, index: &LazyIndex) -> Option<usize> {
        due(from, index, &LazyDiff::between(from, index).unwrap(), None).unwrap()
    }

    /// Promise: an interruption costs 4 GiB or a sixteenth, and there are few checkpoints.
    #[test]
    fn a_terabyte_has_some_sixty_checkpoints() {
        let index = index((0..1024).map(|number| record(number, 1 << 30)));
        let (mut from, mut count) = (LazyIndex::empty(), 0);
        while let Some(entries) = next_due(&from, &index) {
            let there = from.len();
            assert!((4..=4.max(there / 16) + 1).contains(&(entries - there)), "{entries} {there}");
            from = index.beginning(entries).unwrap();
            count += 1;
        }
        assert!((50..65).contains(&count), "{count}");
        assert!(index.len() - from.len() <= 4 + from.len() / 16 * 5 / 4);
    }

    /// A file is not divided, and a small rest has no archive of its own.
    #[test]
    fn a_large_file_is_one_piece() {
        let lens = [1, 100, 1, 1, 1];
        let records = lens.iter().zip(0..).map(|(len, number)| record(number, len << 30));
        let index = index(records);
        assert_eq!(next_due(&LazyIndex::empty(), &index), Some(2));
        assert_eq!(next_due(&index.beginning(2).unwrap(), &index), None);
        assert_eq!(next_due(&index, &index), None);
    }
}
