//! [`Reached`]: the snapshots of a store that archives were found to lead to, each by the chain on which the least is lost. Knows
//! nothing of how archives are looked at.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use dirindex::TreeId;

use super::step::State;
use super::{Restorable, restorable};
use crate::store::{ArchiveName, SnapshotId, StoredArchive};

/// What archives lead to.
#[derive(Default)]
pub(super) struct Reached {
    /// The trees that others may start from. A snapshot has several where one of its archives has been exchanged: of
    /// each tree the best.
    starts: BTreeMap<SnapshotId, Vec<Start>>,
    /// The archive before each one that leads anywhere.
    before: HashMap<ArchiveName, Option<ArchiveName>>,
    /// The best chain to each snapshot.
    ends: BTreeMap<SnapshotId, End>,
}

/// A tree, and the chain to it.
#[derive(Clone)]
pub(super) struct Start {
    pub(super) state: State,
    last: ArchiveName,
    cost: Cost,
}

/// How many files are lost on a chain, then how many bytes its archives have.
type Cost = (usize, u64);

/// What is known of a snapshot in the end.
struct End {
    last: ArchiveName,
    cost: Cost,
    tree: TreeId,
    restorable: Restorable,
}

/// What comes before an archive: the last archive, and how many bytes there are up to it.
pub(super) type Before = (ArchiveName, u64);

impl Start {
    pub(super) fn as_before(&self) -> Before {
        (self.last, self.cost.1)
    }
}

impl Reached {
    /// What an archive that starts from the tree `tree` at `snapshot` can be put on. Where there is no such tree, another
    /// of that snapshot, which it does not fit. If this `is_last` to start there, it is given away: a copy costs much.
    pub(super) fn start(
        &mut self,
        snapshot: SnapshotId,
        tree: TreeId,
        is_last: bool,
    ) -> Option<Start> {
        let starts = self.starts.get_mut(&snapshot)?;
        let fits = starts.iter().position(|start| start.state.tree_id() == tree);
        let best = || Some(starts.iter().enumerate().min_by_key(|(_, start)| start.cost)?.0);
        let at = fits.or_else(best)?;
        if is_last { Some(starts.swap_remove(at)) } else { starts.get(at).cloned() }
    }

    /// Notes that `archive` leads to `state`.
    pub(super) fn add(&mut self, archive: StoredArchive, before: Option<Before>, state: State) {
        let (last, snapshot, tree) = (archive.name, archive.name.to, state.tree_id());
        let bytes = before.map_or(0, |(_, bytes)| bytes).saturating_add(archive.size);
        let cost = (state.lost.len(), bytes);
        self.before.insert(last, before.map(|(before, _)| before));
        if self.ends.get(&snapshot).is_none_or(|end| cost < end.cost) {
            let restorable = restorable(Some(&state));
            self.ends.insert(snapshot, End { last, cost, tree, restorable });
        }
        let starts = self.starts.entry(snapshot).or_default();
        let start = Start { state, last, cost };
        match starts.iter_mut().find(|start| start.state.tree_id() == tree) {
            Some(other) if other.cost <= cost => {}
            Some(other) => *other = start,
            None => starts.push(start),
        }
    }

    /// Drops the trees of those snapshots that nothing starts from any more: they are large.
    pub(super) fn keep(&mut self, is_needed: impl Fn(SnapshotId) -> bool) {
        self.starts.retain(|snapshot, _| is_needed(*snapshot));
    }

    /// What can be restored of `snapshot`.
    pub(super) fn restorable(&self, snapshot: SnapshotId) -> Restorable {
        self.ends.get(&snapshot).map_or(Restorable::Nothing, |end| end.restorable.clone())
    }

    /// The tree id of `snapshot`.
    pub(super) fn tree(&self, snapshot: SnapshotId) -> Option<TreeId> {
        self.ends.get(&snapshot).map(|end| end.tree)
    }

    /// The archives that lead to `snapshot`.
    pub(super) fn chain_to(&self, snapshot: SnapshotId) -> BTreeSet<ArchiveName> {
        let last = self.ends.get(&snapshot).map(|end| end.last);
        std::iter::successors(last, |name| *self.before.get(name)?).collect()
    }
}
