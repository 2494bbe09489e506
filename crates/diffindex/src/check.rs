//! Which changes can be those between two trees, as far as they alone say. Must not know either tree.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use dirindex::{Node, RelPath};

use crate::{Change, Content, Error, NewEntry};

/// [`DiffIndex::holder`](crate::DiffIndex::holder), among changes in path order.
pub(crate) fn holder<'a>(changes: &'a [Change], change: &'a Change) -> Option<&'a Change> {
    let holder = match &change.new.as_ref()?.content {
        Content::Same { path } => {
            changes.get(changes.binary_search_by(|other| other.path.cmp(path)).ok()?)?
        }
        _ => change,
    };
    holder.stored_content().and(Some(holder))
}

pub(crate) fn unusable(path: &RelPath, problem: &'static str) -> Error {
    Error::Unusable { path: path.clone(), problem }
}

/// Checks that `changes` can be those between two trees, as far as they alone say.
pub(crate) fn check(changes: &[Change]) -> Result<(), Error> {
    let mut checker = Checker::default();
    checker.add(changes)?;
    let mut references = checker.references();
    references.look(changes, None);
    references.check()
}

/// Checks, list by list in path order, that changes can be those between two trees, as far as they alone say. Whether the others
/// are there that they refer to, [`References`] tell.
#[derive(Default)]
pub(crate) struct Checker {
    last: Option<RelPath>,
    /// The changes at the last path and above it, outermost first.
    above: Vec<Above>,
    references: References,
}

/// A change above others.
struct Above {
    path: RelPath,
    /// Whether it and all above it were directories,
    were_dirs: bool,
    /// and whether they will be.
    make_dirs: bool,
    is_moved: bool,
}

impl Checker {
    /// The changes that follow.
    pub(crate) fn add(&mut self, changes: &[Change]) -> Result<(), Error> {
        let last = self.last.take();
        let mut previous = last.as_ref();
        for change in changes {
            let path = &change.path;
            if previous.is_some_and(|previous| previous >= path) {
                return Err(unusable(path, "a path twice or out of order"));
            }
            previous = Some(path);
            if let Some(rule) = change.broken_rule() {
                return Err(unusable(path, rule));
            }
            while self.above.last().is_some_and(|dir| !path.is_below(&dir.path)) {
                self.above.pop();
            }
            let above = self.above.last();
            let (were_dirs, make_dirs) =
                above.map_or((true, true), |dir| (dir.were_dirs, dir.make_dirs));
            if change.old.is_some() && !were_dirs {
                return Err(unusable(path, "something old inside what was no directory"));
            }
            if change.new.is_some() && !make_dirs {
                return Err(unusable(path, "something new inside what is to be no directory"));
            }
            if above.is_some_and(|dir| dir.is_moved) {
                return Err(unusable(path, "a change inside a directory that moved as a whole"));
            }
            self.references.add(change)?;
            self.above.push(Above {
                path: path.clone(),
                were_dirs: were_dirs && change.was_dir(),
                make_dirs: make_dirs && change.makes_dir(),
                is_moved: change.moved_tree().is_some(),
            });
        }
        self.last = previous.cloned();
        Ok(())
    }

    /// What the changes refer to.
    pub(crate) fn references(self) -> References {
        self.references
    }
}

/// The changes that others of the same diff refer to, as long as they were not found.
#[derive(Default)]
pub(crate) struct References {
    /// Where a content has to be stored that others have too: what it is, and the first path that has it too.
    same: BTreeMap<RelPath, (Node, RelPath)>,
    /// The directories that have to go with all that is below them, since they move as a whole.
    moved: BTreeSet<RelPath>,
}

impl References {
    fn add(&mut self, Change { path, new, .. }: &Change) -> Result<(), Error> {
        let Some(NewEntry { node, content, .. }) = new else { return Ok(()) };
        let is_sound = match content {
            Content::Same { path: stored } => match self.same.get(stored) {
                Some((other, _)) => node == other,
                None => {
                    self.same.insert(stored.clone(), (node.clone(), path.clone()));
                    stored < path
                }
            },
            _ => true,
        };
        match content {
            _ if !is_sound => Err(unusable(path, NOT_STORED)),
            Content::Tree { base, .. } if !self.moved.insert(base.clone()) => {
                Err(unusable(base, NOT_WHOLE))
            }
            _ => Ok(()),
        }
    }

    /// Whether any of them may be found among the changes from `first` on, and before `next`.
    pub(crate) fn are_in(&self, first: &RelPath, next: Option<&RelPath>) -> bool {
        let end = next.map_or(Bound::Unbounded, Bound::Excluded);
        let range = (Bound::Included(first), end);
        self.same.range::<RelPath, _>(range).next().is_some()
            || self.moved.range::<RelPath, _>(range).next().is_some()
    }

    /// Looks for them among `changes`. `next` is the path that follows these.
    pub(crate) fn look(&mut self, changes: &[Change], next: Option<&RelPath>) {
        let (Some(first), Some(last)) = (changes.first(), changes.last()) else { return };
        let range = || (Bound::Included(&first.path), Bound::Included(&last.path));
        let at = |path: &RelPath| changes.binary_search_by(|other| other.path.cmp(path)).ok();
        let is_stored = |path: &RelPath, node: &Node| {
            let holder = at(path).and_then(|at| changes.get(at));
            let new =
                holder.filter(|it| it.stored_content().is_some()).and_then(|it| it.new.as_ref());
            new.is_some_and(|new| new.node == *node)
        };
        let same = self.same.range::<RelPath, _>(range());
        let found: Vec<RelPath> = same
            .filter(|(path, (node, _))| is_stored(path, node))
            .map(|(path, _)| path.clone())
            .collect();
        for path in found {
            self.same.remove(&path);
        }
        let goes_whole = |path: &RelPath| {
            let Some(at) = at(path) else { return false };
            let goes = changes.get(at).is_some_and(|it| it.was_dir() && !it.makes_dir());
            let next = changes.get(at + 1).map_or(next, |next| Some(&next.path));
            goes && next.is_none_or(|next| !next.is_below(path))
        };
        let moved = self.moved.range::<RelPath, _>(range());
        let found: Vec<RelPath> = moved.filter(|path| goes_whole(path)).cloned().collect();
        for path in found {
            self.moved.remove(&path);
        }
    }

    /// That all were found.
    pub(crate) fn check(self) -> Result<(), Error> {
        match (self.same.values().next(), self.moved.first()) {
            (Some((_, path)), _) => Err(unusable(path, NOT_STORED)),
            (None, Some(from)) => Err(unusable(from, NOT_WHOLE)),
            (None, None) => Ok(()),
        }
    }
}

const NOT_STORED: &str = "the same as no earlier path that is stored";
const NOT_WHOLE: &str = "a directory that moves as a whole, and does not";
