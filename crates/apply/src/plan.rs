//! [`Plan`]: what is to be done for each change of a diff, and where its new content is staged.
//! It looks at no tree. The plan is part of the journal.

use std::collections::HashSet;

use diffindex::{Change, MovedTree};
use dirindex::{Meta, Node, RelPath};
use serde::{Deserialize, Serialize};

use crate::changes::Changes;
use crate::error::Result;

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

/// What is staged by itself: each is renamed into place as a whole. With the numbers of their changes, in path order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Units(Vec<(usize, RelPath)>);

impl Units {
    /// Those of `changes`, which have these steps.
    pub(crate) fn of(changes: &Changes, steps: &[Step]) -> Result<Units> {
        let mut units = Units::default();
        for number in 0..changes.chunks() {
            let is_unit = |number: usize| steps.get(number) == Some(&Step::Place);
            if changes.numbers(number).any(is_unit) {
                let chunk = changes.chunk(number)?;
                let placed = chunk.numbered().filter(|(number, _)| is_unit(*number));
                placed.for_each(|(number, change)| units.push(number, &change.path));
            }
        }
        Ok(units)
    }

    /// Adds the next one.
    pub(crate) fn push(&mut self, number: usize, path: &RelPath) {
        self.0.push((number, path.clone()));
    }

    /// Where they are put.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &RelPath> {
        self.0.iter().map(|(_, path)| path)
    }

    /// The one that what is staged for `path` is in.
    pub(crate) fn around(&self, path: &RelPath) -> Option<(usize, &RelPath)> {
        // What is below a unit follows it, and is none itself.
        let last = self.0.partition_point(|(_, unit)| unit <= path).checked_sub(1)?;
        let (number, unit) = self.0.get(last)?;
        (path == unit || path.is_below(unit)).then_some((*number, unit))
    }

    /// The one that what is staged for change `number` is in.
    fn around_number(&self, number: usize) -> Option<(usize, &RelPath)> {
        let last = self.0.partition_point(|(unit, _)| *unit <= number).checked_sub(1)?;
        self.0.get(last).map(|(number, unit)| (*number, unit))
    }
}

/// What is to be done.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// One for each change of the diff.
    pub(crate) steps: Vec<Step>,
    /// Those that the steps make.
    pub(crate) units: Units,
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
    /// Has `each` look at the changes whose steps are `wanted`, some at a time, in path order.
    pub(crate) fn each_chunk(
        &self,
        changes: &Changes,
        wanted: impl Fn(Step) -> bool,
        mut each: impl FnMut(&[Task<'_>]) -> Result<()>,
    ) -> Result<()> {
        (0..changes.chunks()).try_for_each(|chunk| self.chunk(changes, chunk, &wanted, &mut each))
    }

    /// [`each_chunk`](Plan::each_chunk), the last ones first. Each chunk is in path order.
    pub(crate) fn each_chunk_back(
        &self,
        changes: &Changes,
        wanted: impl Fn(Step) -> bool,
        mut each: impl FnMut(&[Task<'_>]) -> Result<()>,
    ) -> Result<()> {
        let chunks = (0..changes.chunks()).rev();
        chunks.into_iter().try_for_each(|chunk| self.chunk(changes, chunk, &wanted, &mut each))
    }

    fn chunk(
        &self,
        changes: &Changes,
        chunk: usize,
        wanted: impl Fn(Step) -> bool,
        mut each: impl FnMut(&[Task<'_>]) -> Result<()>,
    ) -> Result<()> {
        // What nobody wants is not read.
        let steps = self.steps.get(changes.numbers(chunk)).unwrap_or_default();
        if !steps.iter().any(|&step| wanted(step)) {
            return Ok(());
        }
        let chunk = changes.chunk(chunk)?;
        let task = |(number, change)| {
            let step = self.steps.get(number).copied().filter(|&step| wanted(step))?;
            let is_staged = matches!(step, Step::Place | Step::Inside);
            let unit = if is_staged { self.units.around_number(number) } else { None };
            Some(Task { change, step, number, unit })
        };
        let tasks: Vec<Task<'_>> = chunk.numbered().filter_map(task).collect();
        each(&tasks)
    }

    /// Where what is to be at `path` is staged, below the stage, if it is.
    pub(crate) fn staged_at(&self, changes: &Changes, path: &RelPath) -> Result<Option<RelPath>> {
        Ok(match self.units.around(path) {
            Some((number, unit)) if !changes.moves_with(path)? => slot(number, unit, path),
            _ => None,
        })
    }

    /// Where what is to be at `path` stands before the commit, if it is not staged: at the same path, or
    /// below a directory that is to move.
    pub(crate) fn stands_at(&self, changes: &Changes, path: &RelPath) -> Result<RelPath> {
        let moves =
            |number: usize| matches!(self.steps.get(number), Some(Step::Place | Step::Inside));
        let before = |number: usize, change: &Change| {
            change.moved_tree().filter(|_| moves(number))?.before(path)
        };
        for dir in path.ancestors().take_while(|_| changes.moves()) {
            if let Some(Some(before)) = changes.at(dir, before)? {
                return Ok(before);
            }
        }
        Ok(path.clone())
    }

    /// [`each_chunk`](Plan::each_chunk) of what is put in place by itself, and of the directories inside it whose metadata is not final
    /// before: those that are taken from elsewhere, and those that they are taken into.
    pub(crate) fn each_placed(
        &self,
        changes: &Changes,
        mut each: impl FnMut(&Task<'_>) -> Result<()>,
    ) -> Result<()> {
        let late = self.late(changes)?;
        let wanted = |step| is_placed(step, &late);
        self.each_chunk(changes, wanted, |tasks| {
            tasks.iter().filter(|task| task.is_placed(&late)).try_for_each(&mut each)
        })
    }

    /// The directories whose metadata is set when all names have come and gone, the last ones first.
    pub(crate) fn each_last_set(
        &self,
        changes: &Changes,
        mut each: impl FnMut(&Task<'_>) -> Result<()>,
    ) -> Result<()> {
        let late = self.late(changes)?;
        let wanted = |step| step == Step::Meta || is_placed(step, &late);
        self.each_chunk_back(changes, wanted, |tasks| {
            let is_set = |task: &&Task<'_>| task.step == Step::Meta || task.is_placed(&late);
            let tasks = tasks.iter().rev().filter(|task| makes_dir(task.change));
            tasks.filter(is_set).try_for_each(&mut each)
        })
    }

    /// Directories that are taken from elsewhere, and those that they are taken into.
    fn late(&self, changes: &Changes) -> Result<HashSet<RelPath>> {
        let mut late = HashSet::new();
        for tree in changes.moved_trees() {
            let step = changes.position(tree.to)?.and_then(|number| self.steps.get(number));
            if matches!(step, Some(Step::Place | Step::Inside)) {
                late.extend([Some(tree.to.clone()), tree.to.parent()].into_iter().flatten());
            }
        }
        Ok(late)
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

    fn is_placed(&self, late: &HashSet<RelPath>) -> bool {
        self.is_unit() || (self.step == Step::Inside && late.contains(&self.change.path))
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

/// Whether something with that step may be [placed](Plan::each_placed).
fn is_placed(step: Step, late: &HashSet<RelPath>) -> bool {
    step == Step::Place || (step == Step::Inside && !late.is_empty())
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
