//! Inode numbers: which entry of which snapshot one is. Nothing is held for each of them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use fuser::INodeNo;
use incremental_backups_tools::SnapshotId;

/// Each snapshot has so many numbers, more than a tree has entries that fits into memory.
const EACH: u64 = 1 << 40;
const LATEST: u64 = 2;

/// What an inode number is given to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inode {
    /// The top directory, where the snapshots are.
    Top,
    /// The link to the last one.
    Latest,
    /// The top directory of a snapshot, or an entry of it.
    Entry(Entry),
}

/// The top directory of a snapshot, or the entry with a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) snapshot: SnapshotId,
    pub(super) number: Option<usize>,
    /// The inode number of the snapshot's top directory.
    base: u64,
}

impl Entry {
    /// Another entry of the same snapshot.
    pub(super) fn other(self, number: Option<usize>) -> Entry {
        Entry { number, ..self }
    }
}

impl Inode {
    /// The number.
    pub(super) fn number(self) -> INodeNo {
        INodeNo(match self {
            Inode::Top => INodeNo::ROOT.0,
            Inode::Latest => LATEST,
            Inode::Entry(Entry { number, base, .. }) => {
                base + number.map_or(0, |number| number as u64 + 1)
            }
        })
    }
}

/// The snapshots that have numbers, in the order in which they were seen.
#[derive(Default)]
pub(super) struct Inodes(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    snapshots: Vec<SnapshotId>,
    places: HashMap<SnapshotId, u64>,
}

impl Inodes {
    /// The top directory of a snapshot.
    pub(super) fn of(&self, snapshot: SnapshotId) -> Entry {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Seen { snapshots, places } = &mut *seen;
        let place = *places.entry(snapshot).or_insert_with(|| {
            snapshots.push(snapshot);
            snapshots.len() as u64
        });
        Entry { snapshot, number: None, base: place * EACH }
    }

    /// What has a number that was given.
    pub(super) fn find(&self, number: INodeNo) -> Option<Inode> {
        let (place, within) = (number.0 / EACH, number.0 % EACH);
        match (place, within) {
            (0, _) if number == INodeNo::ROOT => Some(Inode::Top),
            (0, LATEST) => Some(Inode::Latest),
            (0, _) => None,
            _ => {
                let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                let snapshot = *seen.snapshots.get(usize::try_from(place - 1).ok()?)?;
                let number = within.checked_sub(1).and_then(|number| usize::try_from(number).ok());
                Some(Inode::Entry(Entry { snapshot, number, base: place * EACH }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stays_with_its_entry() {
        let inodes = Inodes::default();
        let [one, other] = [1, 2].map(|secs| SnapshotId::from_secs(secs).unwrap());
        let (first, second) = (inodes.of(other), inodes.of(one));
        assert_eq!(inodes.of(other), first);
        let mut all = vec![Inode::Top, Inode::Latest];
        for top in [first, second] {
            all.extend(
                [None, Some(0), Some(1 << 33)].map(|number| Inode::Entry(top.other(number))),
            );
        }
        for inode in all {
            assert_eq!(inodes.find(inode.number()), Some(inode));
        }
        for unknown in [0, 3, 3 * EACH, u64::MAX] {
            assert_eq!(inodes.find(INodeNo(unknown)), None);
        }
    }
}
