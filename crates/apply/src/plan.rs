//! [`Plan`]: what is to be done for each change of a diff, and where its new content is staged.
//! Pure: it looks at no disk. The plan is part of the journal.

use std::collections::HashSet;

use diffindex::{Change, DiffIndex, MovedTree};
use dirindex::{Meta, Node, RelPath};
use serde::{Deserialize, Serialize};

/// The directory inside the stage that has the new contents.
pub(crate) const SLOTS: &str = "new";
/// The directory inside the stage that has what was set aside.
pub(crate) const ASIDE: &str = "old";

/// What is to be done for one change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Step {
    /// Nothing: the path is as it should be.
    Done,
    /// The metadata is set where it stands.
    Meta,
    /// It is removed.
    Remove,
    /// It is staged in a slot of its own and renamed into place: a *unit*.
    Place,
    /// It is staged inside a new directory that is renamed into place as a whole.
    Inside,
}

/// What something was like that stays, or that could have to be made again: needed to roll back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Before {
    pub(crate) path: RelPath,
    pub(crate) inode: u64,
    pub(crate) meta: Meta,
    /// A directory that the diff does not list, but in which names come or go. It must look untouched
    /// when the work is done, too.
    pub(crate) kept: bool,
}

/// What is put in place, or gets its metadata there, and the inode that it has already where it is staged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Placed {
    pub(crate) path: RelPath,
    pub(crate) inode: u64,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// One for each change of the diff.
    pub(crate) steps: Vec<Step>,
    /// In path order.
    pub(crate) before: Vec<Before>,
    /// In path order. Empty until all is staged.
    pub(crate) placed: Vec<Placed>,
    /// Whether files have the inodes that are noted here: they may have others when a file system was mounted anew.
    pub(crate) has_inodes: bool,
}

/// A change and its step, and where it is staged if it is.
#[derive(Clone)]
pub(crate) struct Task<'a> {
    pub(crate) change: &'a Change,
    pub(crate) step: Step,
    number: usize,
    /// The number of the unit it belongs to, and that unit's path.
    unit: Option<(usize, &'a RelPath)>,
}

impl Plan {
    /// Every change with its step, in path order.
    pub(crate) fn tasks<'a>(&'a self, diff: &'a DiffIndex) -> impl Iterator<Item = Task<'a>> {
        let mut unit = None;
        let numbered = diff.changes().iter().zip(&self.steps).enumerate();
        numbered.map(move |(number, (change, &step))| {
            if step == Step::Place {
                unit = Some((number, &change.path));
            }
            let unit = unit.filter(|_| matches!(step, Step::Place | Step::Inside));
            Task { change, step, number, unit }
        })
    }

    /// The task at `path`, and whether it is staged, for what is looked up out of order.
    pub(crate) fn staged_at(&self, diff: &DiffIndex, path: &RelPath) -> Option<RelPath> {
        let at = |path: &RelPath| {
            let at = diff.position(path)?;
            Some((at, *self.steps.get(at)?))
        };
        let mut outer = path.clone();
        loop {
            match at(&outer)? {
                (number, Step::Place) => return slot(number, &outer, path),
                (_, Step::Inside) => outer = outer.parent()?,
                _ => return None,
            }
        }
    }

    /// Where what is to be at `path` stands before the commit, if it is not staged: at the same path, or
    /// below a directory that is to move.
    pub(crate) fn stands_at(&self, diff: &DiffIndex, path: &RelPath) -> RelPath {
        let moved = path.ancestors().find_map(|dir| {
            let at = diff.position(dir)?;
            let tree = diff.changes().get(at)?.moved_tree()?;
            let moves = matches!(self.steps.get(at)?, Step::Place | Step::Inside);
            tree.before(path).filter(|_| moves)
        });
        moved.unwrap_or_else(|| path.clone())
    }

    /// What is put in place by itself, and the directories inside it whose metadata is not final before: those that are
    /// taken from elsewhere, and those that they are taken into. In path order.
    pub(crate) fn placed<'a>(&'a self, diff: &'a DiffIndex) -> impl Iterator<Item = Task<'a>> {
        let takes = self.tasks(diff).filter(|task| task.takes().is_some());
        let takers: HashSet<RelPath> = takes.filter_map(|task| task.change.path.parent()).collect();
        self.tasks(diff).filter(move |task| {
            let inside = task.step == Step::Inside;
            let is_late = task.takes().is_some() || takers.contains(&task.change.path);
            task.is_unit() || (inside && is_late)
        })
    }

    /// The directories whose metadata is set when all names have come and gone, in path order.
    pub(crate) fn last_set<'a>(&'a self, diff: &'a DiffIndex) -> Vec<Task<'a>> {
        let stay = self.tasks(diff).filter(|task| task.step == Step::Meta);
        let mut all: Vec<Task<'a>> = stay.chain(self.placed(diff)).collect();
        all.retain(|task| makes_dir(task.change));
        all.sort_unstable_by_key(|task| task.number);
        all
    }

    /// Whether what has that inode may be what is put in place at `path`, or else what stays there.
    pub(crate) fn may_be(&self, path: &RelPath, inode: u64) -> bool {
        let placed = self.placed.binary_search_by(|placed| placed.path.cmp(path)).ok();
        let placed = placed.and_then(|at| self.placed.get(at)).map(|placed| placed.inode);
        let noted = placed.or_else(|| self.before_at(path).map(|before| before.inode));
        !self.has_inodes || noted == Some(inode)
    }

    /// What was at `path` before, if it is needed.
    pub(crate) fn before_at(&self, path: &RelPath) -> Option<&Before> {
        let at = self.before.binary_search_by(|before| before.path.cmp(path)).ok()?;
        self.before.get(at)
    }

    /// Whether the plan is to do nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.steps.iter().all(|&step| step == Step::Done)
    }
}

impl<'a> Task<'a> {
    /// Whether it is staged, with new content.
    pub(crate) fn is_staged(&self) -> bool {
        self.unit.is_some() && self.change.moved_tree().is_none()
    }

    /// The directory that is staged for it, with all that is in it, by taking it from its old place: not
    /// before the commit.
    pub(crate) fn takes(&self) -> Option<MovedTree<'a>> {
        self.change.moved_tree().filter(|_| self.unit.is_some())
    }

    /// Whether it is renamed into place by itself.
    pub(crate) fn is_unit(&self) -> bool {
        self.step == Step::Place
    }

    /// Where it is staged, below the stage.
    pub(crate) fn slot(&self) -> Option<RelPath> {
        let (number, unit) = self.unit?;
        slot(number, unit, &self.change.path)
    }

    /// Where what stood there is set aside, below the stage.
    pub(crate) fn aside(&self) -> Option<RelPath> {
        RelPath::new(format!("{ASIDE}/{}", self.number)).ok()
    }

    /// Whether what stands there is set aside before anything else can come there, or nothing comes.
    pub(crate) fn leaves(&self) -> bool {
        self.step == Step::Remove || self.turns()
    }

    /// Whether its unit takes the place of something else in one step.
    pub(crate) fn replaces(&self) -> bool {
        self.step == Step::Place && self.change.old.is_some() && !self.turns()
    }

    /// Whether the step is to put a directory where something else stood, or the other way round:
    /// then the one has to go before the other can come.
    pub(crate) fn turns(&self) -> bool {
        let stood = self.change.old.is_some();
        self.step == Step::Place && stood && was_dir(self.change) != makes_dir(self.change)
    }
}

/// Unit `number` is staged under its number; what it holds, under the same names as in the tree.
fn slot(number: usize, unit: &RelPath, path: &RelPath) -> Option<RelPath> {
    path.rebased(unit, &RelPath::new(format!("{SLOTS}/{number}")).ok()?)
}

/// Whether a directory is to stand there.
pub(crate) fn makes_dir(change: &Change) -> bool {
    change.new.as_ref().is_some_and(|new| new.node == Node::Dir)
}

/// Whether a directory stood there.
pub(crate) fn was_dir(change: &Change) -> bool {
    change.old == Some(Node::Dir)
}
