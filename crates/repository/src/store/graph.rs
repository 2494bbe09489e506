//! [`Graph`]: what the names of a store's files say: snapshots are nodes, archives are edges. Knows no chain.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::times::in_order;
use super::{ArchiveName, SnapshotId, Stored, StoredArchive, StoredIndex, StoredName};

/// What the names say.
#[derive(Debug, Default)]
pub(super) struct Graph {
    /// In the order of their names: all that lead to a snapshot come before those that start there.
    pub(super) archives: Vec<StoredArchive>,
    /// Where each archive starts.
    pub(super) starts: Vec<Start>,
    /// In order.
    pub(super) nodes: Vec<Node>,
    /// In the order of their names.
    pub(super) indexes: Vec<StoredIndex>,
    /// Which snapshots were seen again unchanged, and when last.
    pub(super) seen: BTreeMap<SnapshotId, SnapshotId>,
    /// Snapshots whose index was put before their archive.
    pub(super) begun: BTreeSet<SnapshotId>,
    /// How many bytes all these files have.
    pub(super) bytes: u64,
}

/// A snapshot that archives lead to.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) snapshot: SnapshotId,
    /// What the clock said.
    pub(super) clock: SnapshotId,
    /// When it was, as far as the others let one believe the clock.
    pub(super) time: SnapshotId,
    /// Whether it has the beginning of a tree alone: all that lead there say so.
    pub(super) is_checkpoint: bool,
    /// The numbers of the archives.
    pub(super) archives: Range<usize>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Start {
    Nothing,
    /// The number of the node.
    Node(usize),
    /// No archive leads there.
    Nowhere,
}

impl Graph {
    pub(super) fn of(files: &[Stored]) -> Graph {
        let (mut archives, mut indexes, mut bytes) = (Vec::new(), Vec::new(), 0);
        let (mut seen, mut begun) = (BTreeMap::new(), BTreeSet::new());
        for Stored { name, size } in files {
            match StoredName::parse(name) {
                Some(StoredName::Archive(name)) => {
                    archives.push(StoredArchive { name, size: *size })
                }
                Some(StoredName::Index(name)) => indexes.push(StoredIndex { name, size: *size }),
                Some(StoredName::Unchanged { snapshot, time }) => {
                    let last = seen.entry(snapshot).or_insert(time);
                    *last = time.max(*last);
                }
                Some(StoredName::Begun(snapshot)) => drop(begun.insert(snapshot)),
                Some(
                    StoredName::ArchiveParity(_)
                    | StoredName::IndexParity(_)
                    | StoredName::Across(_),
                )
                | None => {
                    continue;
                }
            }
            bytes += size;
        }
        indexes.sort_unstable_by_key(|index| index.name);
        archives.sort_unstable_by_key(|archive| archive.name);
        let nodes = nodes(&archives);
        let start = |archive: &StoredArchive| match archive.name.since {
            None => Start::Nothing,
            Some(since) => nodes
                .binary_search_by_key(&since, |node| node.snapshot)
                .map_or(Start::Nowhere, Start::Node),
        };
        let starts = archives.iter().map(start).collect();
        Graph { archives, starts, nodes, indexes, seen, begun, bytes }
    }

    pub(super) fn node(&self, snapshot: SnapshotId) -> Option<(usize, &Node)> {
        let at = self.nodes.binary_search_by_key(&snapshot, |node| node.snapshot).ok()?;
        Some((at, self.nodes.get(at)?))
    }

    pub(super) fn number(&self, name: &ArchiveName) -> Option<usize> {
        self.archives.binary_search_by_key(name, |archive| archive.name).ok()
    }
}

/// The snapshots that `archives`, which are in order, lead to.
fn nodes(archives: &[StoredArchive]) -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    for (number, StoredArchive { name, .. }) in archives.iter().enumerate() {
        let clock = name.clock.unwrap_or(name.to);
        match nodes.last_mut() {
            Some(node) if node.snapshot == name.to => {
                node.archives.end = number + 1;
                node.clock = node.clock.min(clock);
                node.is_checkpoint &= name.checkpoint;
            }
            _ => {
                let archives = number..number + 1;
                let (snapshot, is_checkpoint) = (name.to, name.checkpoint);
                nodes.push(Node { snapshot, clock, time: clock, is_checkpoint, archives });
            }
        }
    }
    let clocks: Vec<i64> = nodes.iter().map(|node| node.clock.secs()).collect();
    for (node, time) in nodes.iter_mut().zip(in_order(&clocks)) {
        node.time = SnapshotId::from_secs(time).unwrap_or(node.clock);
    }
    nodes
}
