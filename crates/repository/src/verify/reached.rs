//! [`Reached`]: the points of a store that archives were found to lead to, each by the way on which the least is lost. Knows
//! nothing of how archives are looked at.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use dirindex::Root;

use super::row::State;
use super::{Restorable, restorable};
use crate::store::{ArchiveName, Point, StoredArchive};

/// What archives lead to.
#[derive(Default)]
pub(super) struct Reached {
    /// The states that others may start from. A point has several where one of its archives has been exchanged: of
    /// each tree the best.
    starts: BTreeMap<Point, Vec<Start>>,
    /// The archive before each one that leads anywhere.
    before: HashMap<ArchiveName, Option<ArchiveName>>,
    /// The best way to each point.
    ends: BTreeMap<Point, End>,
}

/// A state, and the way to it.
pub(super) struct Start {
    pub(super) state: State,
    last: ArchiveName,
    cost: Cost,
}

/// How many files are lost on a way, then how many bytes its archives have.
type Cost = (usize, u64);

/// What is known of a point in the end.
struct End {
    last: ArchiveName,
    cost: Cost,
    root: Root,
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
    /// What an archive that starts from the tree `root` at `point` can be put on. Where there is no such state, another
    /// of that point, which it does not fit.
    pub(super) fn start(&self, point: Point, root: Root) -> Option<&Start> {
        let starts = self.starts.get(&point)?;
        let fits = starts.iter().find(|start| start.state.root() == root);
        fits.or_else(|| starts.iter().min_by_key(|start| start.cost))
    }

    /// Notes that `archive` leads to `state`.
    pub(super) fn add(&mut self, archive: StoredArchive, before: Option<Before>, state: State) {
        let (last, point, root) = (archive.name, archive.name.to, state.root());
        let bytes = before.map_or(0, |(_, bytes)| bytes).saturating_add(archive.size);
        let cost = (state.lost.len(), bytes);
        self.before.insert(last, before.map(|(before, _)| before));
        if self.ends.get(&point).is_none_or(|end| cost < end.cost) {
            let restorable = restorable(Some(&state));
            self.ends.insert(point, End { last, cost, root, restorable });
        }
        let starts = self.starts.entry(point).or_default();
        let start = Start { state, last, cost };
        match starts.iter_mut().find(|start| start.state.root() == root) {
            Some(other) if other.cost <= cost => {}
            Some(other) => *other = start,
            None => starts.push(start),
        }
    }

    /// Drops the states of those points that nothing starts from any more: they are large.
    pub(super) fn keep(&mut self, is_needed: impl Fn(Point) -> bool) {
        self.starts.retain(|point, _| is_needed(*point));
    }

    /// What can be restored of `point`.
    pub(super) fn restorable(&self, point: Point) -> Restorable {
        self.ends.get(&point).map_or(Restorable::Nothing, |end| end.restorable.clone())
    }

    /// The root of the state at `point`.
    pub(super) fn root(&self, point: Point) -> Option<Root> {
        self.ends.get(&point).map(|end| end.root)
    }

    /// The archives by which `point` is come to.
    pub(super) fn way_to(&self, point: Point) -> BTreeSet<ArchiveName> {
        let last = self.ends.get(&point).map(|end| end.last);
        std::iter::successors(last, |name| *self.before.get(name)?).collect()
    }
}
