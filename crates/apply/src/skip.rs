//! Skipping: what is in the way of an apply is collected, and taken out of the diff with all that hangs on it.
//! Touches no disk.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use diffindex::{Change, Content, DiffIndex};
use dirindex::{Node, RelPath, TreeId};
use rustix::io::Errno;

use crate::changes::Changes;
use crate::error::{Error, Result, chain};
use crate::plan::{makes_dir, was_dir};
use crate::report::{Obstacle, Unapplied};

/// The id of no tree: what a diff leads to of which something is skipped.
pub(crate) const NO_TREE: TreeId = TreeId([0; 32]);

/// Collects what is in the way, from any thread, so that one pass finds as much of it as it can.
pub(crate) struct Obstacles {
    on_obstacle: Obstacle,
    passed: Mutex<Vec<Error>>,
}

impl Obstacles {
    pub(crate) fn new(on_obstacle: Obstacle) -> Obstacles {
        Obstacles { on_obstacle, passed: Mutex::default() }
    }

    /// Notes an error that names what is in the way, and lets the caller go on with what does not need it. Gives any other
    /// error back, and every one where nothing is skipped.
    pub(crate) fn pass(&self, done: Result<()>) -> Result<()> {
        match done {
            Err(error) if self.on_obstacle == Obstacle::Skip && obstacle(&error).is_some() => {
                self.lock().push(error);
                Ok(())
            }
            done => done,
        }
    }

    /// Does `each` for all `items`, also past what is in the way. It ends in an error all the same.
    pub(crate) fn all<T>(
        &self,
        items: impl IntoIterator<Item = T>,
        each: impl FnMut(T) -> Result<()>,
    ) -> Result<()> {
        self.some(items, each)?;
        self.none()
    }

    /// [`all`](Obstacles::all) by one of several threads, all of which are to go on: the error comes with [`none`](Obstacles::none).
    pub(crate) fn some<T>(
        &self,
        items: impl IntoIterator<Item = T>,
        mut each: impl FnMut(T) -> Result<()>,
    ) -> Result<()> {
        items.into_iter().try_for_each(|item| self.pass(each(item)))
    }

    /// An error if something was in the way.
    pub(crate) fn none(&self) -> Result<()> {
        self.lock().pop().map_or(Ok(()), Err)
    }

    /// The diff of `changes` without what was in the way: all that was noted, and `error`, which ended an apply that left the tree as it
    /// was. Adds to `unapplied` what is skipped. Gives `error` back where skipping does not help.
    pub(crate) fn skip(
        &self,
        changes: &Changes,
        error: Error,
        unapplied: &mut Vec<Unapplied>,
    ) -> Result<DiffIndex> {
        let passed = std::mem::take(&mut *self.lock());
        let cause = match error {
            Error::RolledBack { ref source, .. } => &**source,
            ref error => error,
        };
        if self.on_obstacle != Obstacle::Skip || obstacle(cause).is_none() {
            return Err(error);
        }
        let mut reasons: Vec<(&RelPath, String)> = [cause]
            .into_iter()
            .chain(&passed)
            .filter_map(|error| Some((obstacle(error)?, chain(error))))
            .collect();
        reasons.sort();
        without(&changes.load()?, reasons, unapplied).ok_or(error)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Error>> {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `diff` without what is at these paths, for these reasons, and without all that hangs on it. Adds to `unapplied` what
/// that is; `None` where it is nothing.
pub(crate) fn without<'a>(
    diff: &DiffIndex,
    reasons: impl IntoIterator<Item = (&'a RelPath, String)>,
    unapplied: &mut Vec<Unapplied>,
) -> Option<DiffIndex> {
    let mut skipping = Skipping::new(diff);
    for (path, why) in reasons {
        skipping.obstacle(path, why);
    }
    let skipped = skipping.why;
    let (mut kept, before) = (Vec::new(), unapplied.len());
    for (change, why) in diff.changes().iter().zip(skipped) {
        match why {
            Some(why) => unapplied.push(Unapplied { path: change.path.clone(), why }),
            None => kept.push(change.clone()),
        }
    }
    let reduced = DiffIndex::from_changes(diff.base(), NO_TREE, kept).ok();
    reduced.filter(|_| unapplied.len() > before)
}

/// The path in the tree that is in the way, by an error. None of an archive, of the whole file system, or of the process.
fn obstacle(error: &Error) -> Option<&RelPath> {
    match error {
        Error::Tree { path, source, .. } => match Errno::from_io_error(source) {
            Some(
                Errno::NOSPC
                | Errno::DQUOT
                | Errno::ROFS
                | Errno::MFILE
                | Errno::NFILE
                | Errno::NOMEM,
            ) => None,
            _ => Some(path),
        },
        Error::Bytes { operation: "read", path, .. }
        | Error::Fixed { path }
        | Error::Unexpected { path, .. }
        | Error::Extra { path }
        | Error::Changed { path }
        | Error::OtherFilesystem { path }
        | Error::Privileged { path, .. } => Some(path),
        _ => None,
    }
}

/// Which changes of a diff are skipped.
struct Skipping<'a> {
    diff: &'a DiffIndex,
    /// The changes that need what is to be at a path.
    needed_by: HashMap<&'a RelPath, Vec<usize>>,
    /// Those that read what was at a path.
    read_by: HashMap<&'a RelPath, Vec<usize>>,
    /// Why each is skipped.
    why: Vec<Option<String>>,
    /// Those of which it is still to be found what hangs on them.
    open: Vec<usize>,
}

impl<'a> Skipping<'a> {
    fn new(diff: &'a DiffIndex) -> Skipping<'a> {
        let mut needed_by: HashMap<&RelPath, Vec<usize>> = HashMap::new();
        let mut read_by: HashMap<&RelPath, Vec<usize>> = HashMap::new();
        for (number, change) in diff.changes().iter().enumerate() {
            let Some(new) = &change.new else { continue };
            if let Node::HardLink { to } = &new.node {
                needed_by.entry(to).or_default().push(number);
            }
            if let Content::Same { path } | Content::Tree { base: path, .. } = &new.content {
                needed_by.entry(path).or_default().push(number);
            }
            if let Some(base) = base(change) {
                read_by.entry(base).or_default().push(number);
            }
        }
        let why = vec![None; diff.changes().len()];
        Skipping { diff, needed_by, read_by, why, open: Vec::new() }
    }

    /// Skips what cannot be since `path` is in the way: the change there; where there is none, those below it or that read
    /// it; else the directory that it would go with, or be mixed up in.
    fn obstacle(&mut self, path: &RelPath, why: String) {
        let changes = self.diff.changes();
        match self.diff.position(path) {
            Some(at) => self.skip(at, why),
            None => {
                let mut concerned = self.below(path);
                concerned.extend(self.read_by.get(path).into_iter().flatten());
                if concerned.is_empty() {
                    let mut around = path.ancestors().filter_map(|dir| self.diff.position(dir));
                    let turns = |it: &Change| was_dir(it) != makes_dir(it);
                    concerned.extend(around.find(|&at| changes.get(at).is_some_and(turns)));
                }
                concerned.into_iter().for_each(|at| self.skip(at, why.clone()));
            }
        }
        while let Some(at) = self.open.pop() {
            self.hanging_on(at);
        }
    }

    /// The changes below `path`.
    fn below(&self, path: &RelPath) -> Vec<usize> {
        let changes = self.diff.changes();
        let first = changes.partition_point(|change| change.path <= *path);
        let below = (first..).zip(changes.iter().skip(first));
        below.take_while(|(_, it)| it.path.is_below(path)).map(|(at, _)| at).collect()
    }

    fn skip(&mut self, at: usize, why: String) {
        if let Some(slot @ None) = self.why.get_mut(at) {
            *slot = Some(why);
            self.open.push(at);
        }
    }

    /// Skips what hangs on change `at`, which is skipped.
    fn hanging_on(&mut self, at: usize) {
        let changes = self.diff.changes();
        let Some(change) = changes.get(at) else { return };
        let path = &change.path;
        let needs = format!("it needs {path}, which is skipped");
        if makes_dir(change) && !was_dir(change) {
            self.below(path).into_iter().for_each(|at| self.skip(at, needs.clone()));
        }
        for at in self.needed_by.get(path).cloned().unwrap_or_default() {
            self.skip(at, needs.clone());
        }
        if change.old.is_some() {
            for at in path.ancestors().filter_map(|dir| self.diff.position(dir)) {
                if changes.get(at).is_some_and(|dir| was_dir(dir) && !makes_dir(dir)) {
                    self.skip(at, format!("{path} stays in it"));
                }
            }
        }
        // What does not get to its new place stays at its old one.
        if let Some(from) = base(change).and_then(|base| self.diff.position(base))
            && changes.get(from).is_some_and(|from| from.new.is_none())
        {
            self.skip(from, format!("it cannot get to {path}"));
        }
    }
}

/// The old path that a change takes its content from.
fn base(change: &Change) -> Option<&RelPath> {
    match &change.new.as_ref()?.content {
        Content::Copy { base } | Content::Delta { base, .. } | Content::Tree { base, .. } => {
            Some(base)
        }
        Content::Keep | Content::Whole | Content::Same { .. } => None,
    }
}
