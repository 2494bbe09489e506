//! One run more in a [`Merge`]: what becomes of each path, and where each content comes from then.

use std::borrow::Cow;
use std::ops::Bound;
use std::sync::Arc;

use dirindex::{Entry, Node, RelPath};
use rsync_core::Digest;

use super::{
    Base, Extent, Merge, Origin, Outcome, Standing, Standings, TAKEN, content_of, disagree,
    unusable,
};
use crate::{Change, Content, DiffIndex, Error, MovedTree, NewEntry};

impl<C: Clone> Merge<C> {
    /// The merge with one run more. `stored` gives where the content of a change of it lies, by its number: of a delta that
    /// was composed already, each part, oldest first.
    ///
    /// Takes time for the changes of the run, for what moves with directories, and a logarithm of all paths for each.
    /// Takes over what only this `run` holds; what others share with it is copied.
    ///
    /// # Errors
    /// [`Error::Apart`] when the run starts from another tree. [`Error::Unusable`] when it contradicts what was merged, or
    /// itself. [`Error::Collapsed`] when it moves a directory as a whole, and the tree before the first run is not known.
    /// [`Error::Index`] when the file cannot be read any more that that tree is in.
    pub fn push<S: Into<Arc<[C]>>>(
        mut self,
        run: DiffIndex,
        stored: impl Fn(usize) -> S,
    ) -> Result<Merge<C>, Error> {
        let (part, result, base) = (self.runs, self.result(), run.base());
        if base != result {
            return Err(Error::Apart { part, result, base });
        }
        let ends = DiffIndex::from_parts(self.base(), run.result(), Vec::new()).with_top_of(&run);
        let is_moved = |change: &&Change| change.moved_tree().is_some();
        let moved: Vec<Change> = run.changes().iter().filter(is_moved).cloned().collect();
        let gone = run.changes().iter().filter(|change| change.was_dir() && !change.makes_dir());
        let gone: Vec<(RelPath, bool)> =
            gone.map(|change| (change.path.clone(), change.excluded)).collect();

        // Each looks at the state before any of them.
        // Reserved at once: a vector that grows is in memory twice while it is copied.
        let mut outcomes: Vec<(RelPath, Outcome<C>)> = Vec::with_capacity(run.changes().len());
        for (number, change) in given_back(run.into_changes()).enumerate() {
            let Change { path, old, new, excluded } = change;
            let old = self.stood(&path, old.as_ref())?;
            let new = match new {
                Some(new) => {
                    let same = |path: &RelPath| {
                        let at = outcomes.binary_search_by(|(other, _)| other.cmp(path)).ok()?;
                        outcomes.get(at)?.1.new.as_ref()?.origin.clone()
                    };
                    let origin = self.origin(&path, &new, || stored(number).into(), same)?;
                    Some(Arc::new(Standing { node: new.node, meta: new.meta, origin }))
                }
                None => None,
            };
            outcomes.push((path, Outcome { old, new, excluded }));
        }
        let come = outcomes.iter().filter(|(_, outcome)| outcome.new.is_some());
        let come: Vec<RelPath> = come.map(|(path, _)| path.clone()).collect();
        // No directory that moves lies in another one that moves, before or after.
        for tree in moved.iter().filter_map(Change::moved_tree) {
            let from = gone.binary_search_by(|(path, _)| path.cmp(tree.from)).ok();
            let excluded = from.and_then(|at| gone.get(at)).is_some_and(|(_, excluded)| *excluded);
            for (path, standing) in self.take(&tree, excluded)? {
                let old = self.stood(&path, None)?;
                outcomes.push((path, Outcome { old, new: Some(standing), excluded: false }));
            }
        }
        if self.extent == Extent::Part {
            gone.iter().for_each(|(dir, excluded)| self.clear_below(dir, *excluded));
        }
        self.put(outcomes);
        if self.known_tree().is_some() {
            self.check_tree(&come, &gone)?;
        }
        (self.ends, self.runs) = (ends, self.runs + 1);
        Ok(self)
    }

    fn put(&mut self, mut outcomes: Vec<(RelPath, Outcome<C>)>) {
        if self.known_tree().is_some() {
            for (path, outcome) in &outcomes {
                let before = match self.paths.get(path) {
                    Some(before) => before.node(),
                    None => outcome.old.as_deref(),
                };
                self.proof.note(path, before, outcome.node());
            }
        }
        // Where the first tree is known, what was nothing and is nothing is not listed.
        let is_listed = |outcome: &Outcome<C>| self.old.is_none() || !outcome.is_nothing();
        if self.paths.is_empty() {
            // A map that is made at once takes half the memory of one that grows in order.
            outcomes.retain(|(_, outcome)| is_listed(outcome));
            self.paths = outcomes.into_iter().collect();
            return;
        }
        for (path, outcome) in outcomes {
            match is_listed(&outcome) {
                true => drop(self.paths.insert(path, outcome)),
                false => drop(self.paths.remove(&path)),
            }
        }
    }

    /// Checks that the tree is one after a run: what it put at the paths `come` lies in directories, and nothing is left of
    /// those that are `gone`. A merge from a known tree knows every path, so it can check this. Without the check, a path could
    /// lie in no directory, and a later run could make that directory. Reading the whole chain would then find the path. A
    /// look-up of the directory would not.
    fn check_tree(&self, come: &[RelPath], gone: &[(RelPath, bool)]) -> Result<(), Error> {
        let mut checked: Option<RelPath> = None;
        for path in come {
            if checked.as_ref().is_some_and(|dir| path.is_right_below(dir)) {
                continue;
            }
            checked = path.parent();
            if let Some(dir) = &checked
                && self.node(dir)? != Some(Node::Dir)
            {
                return Err(unusable(path, "something new where no directory is"));
            }
        }
        // What lay deeper was in a directory that is gone too.
        for (path, _) in gone {
            if !self.children(Some(path))?.is_empty() {
                return Err(unusable(path, "something is left below a directory that goes"));
            }
        }
        Ok(())
    }

    /// Lets go what is below a directory that goes.
    fn clear_below(&mut self, dir: &RelPath, excluded: bool) {
        let below = self.paths.range_mut::<RelPath, _>((Bound::Excluded(dir), Bound::Unbounded));
        for (_, outcome) in below.take_while(|(path, _)| path.is_below(dir)) {
            (outcome.new, outcome.excluded) = (None, excluded);
        }
    }

    /// Takes away what is below a directory that the next run moves as a whole. Gives what stands where then.
    fn take(&mut self, tree: &MovedTree<'_>, excluded: bool) -> Result<Standings<C>, Error> {
        let dir = tree.from;
        let part = self.runs;
        let old = self.old.clone().ok_or_else(|| Error::Collapsed { part, path: dir.clone() })?;
        let mut below: Standings<C> = Vec::new();
        let (all, knows_all) = (old.len(), self.known_tree().is_some());
        // What the first tree has there is listed from now on, as gone.
        'chunks: for chunk in old.chunks(Some(dir)) {
            for record in chunk? {
                let Entry { path, node, meta } = &record.entry;
                if !path.is_below(dir) {
                    break 'chunks;
                }
                if self.paths.contains_key(path) {
                    continue;
                }
                if knows_all {
                    self.proof.note(path, Some(node), None);
                }
                let origin = content_of(node).map(|digest| Origin::kept(path, digest));
                let old = Some(Box::new(node.clone()));
                let (node, meta) = (node.clone(), meta.clone());
                below.push((path.clone(), Arc::new(Standing { node, meta, origin })));
                self.paths.insert(path.clone(), Outcome { old, new: None, excluded });
            }
        }
        let kept = below.len();
        let from = (Bound::Excluded(dir), Bound::Unbounded);
        let mut nothing = Vec::new();
        for (path, outcome) in self.paths.range_mut::<RelPath, _>(from) {
            if !path.is_below(dir) {
                break;
            }
            if let Some(standing) = outcome.new.take() {
                if knows_all {
                    self.proof.note(path, Some(&standing.node), None);
                }
                outcome.excluded = excluded;
                below.push((path.clone(), standing));
            }
            if outcome.is_nothing() {
                nothing.push(path.clone());
            }
        }
        nothing.iter().for_each(|path| drop(self.paths.remove(path)));
        if kept > 0 {
            below.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        }
        self.growth.add(tree, below.len(), self.paths.len() + all)?;
        // Whether the move is allowed was decided by the number of paths that it names.
        let whole = match self.extent {
            Extent::Whole => holds(tree, &below)?,
            Extent::Part => below.len() as u64 <= tree.entries,
        };
        let moved = below.into_iter().map(|(path, mut standing)| {
            if let Standing { node: Node::HardLink { to }, meta, .. } = &*standing {
                let (node, meta) = (Node::HardLink { to: tree.after(to)? }, meta.clone());
                standing = Arc::new(Standing { node, meta, origin: None });
            }
            Some((tree.after(&path)?, standing))
        });
        let moved = moved.collect::<Option<Vec<_>>>().filter(|_| whole);
        moved.ok_or_else(|| disagree(dir))
    }

    /// What was at `path` in the first tree, when `now` is what the next run says is there.
    fn stood(&self, path: &RelPath, now: Option<&Node>) -> Result<Option<Box<Node>>, Error> {
        match (self.paths.get(path), &self.old) {
            (None, _) if self.has_nothing() && now.is_some() => Err(unusable(path, TAKEN)),
            (Some(before), _) if before.node() == now => Ok(before.old.clone()),
            (Some(_), _) => Err(disagree(path)),
            (None, None) => Ok(now.cloned().map(Box::new)),
            (None, Some(tree)) => {
                let record = tree.record(path)?;
                let stands = record.as_ref().map(|record| &record.entry.node);
                // The runs before may have had something here that nobody needed.
                match stands == now || self.extent == Extent::Part {
                    true => Ok(stands.cloned().map(Box::new)),
                    false => Err(disagree(path)),
                }
            }
        }
    }

    /// Where the content of `new`, which the next run puts at `path`, comes from. `same` gives where that of an earlier
    /// path of the run comes from.
    fn origin(
        &self,
        path: &RelPath,
        new: &NewEntry,
        stored: impl FnOnce() -> Arc<[C]>,
        same: impl FnOnce(&RelPath) -> Option<Arc<Origin<C>>>,
    ) -> Result<Option<Arc<Origin<C>>>, Error> {
        let Some(digest) = content_of(&new.node) else { return Ok(None) };
        let signature = new.signature.clone().map(Box::new);
        let origin = match &new.content {
            Content::Whole => {
                let (base, contents) = (Base::Whole, stored());
                Arc::new(Origin { base, contents, signature })
            }
            Content::Delta { base, digest } => {
                let before = self.at(base, *digest, None)?;
                let base = before.base.clone();
                let contents = before.contents.iter().chain(&*stored()).cloned().collect();
                Arc::new(Origin { base, contents, signature })
            }
            Content::Keep => self.at(path, digest, Some(new.node.len()))?,
            Content::Copy { base } => self.at(base, digest, Some(new.node.len()))?,
            Content::Same { path } => same(path).ok_or_else(|| disagree(path))?,
            Content::Tree { .. } => return Err(disagree(path)),
        };
        Ok(Some(origin))
    }

    /// Where what is at `path` after the runs so far comes from, of which the next one says this digest, and
    /// the length if it does.
    fn at(
        &self,
        path: &RelPath,
        digest: Digest,
        len: Option<u64>,
    ) -> Result<Arc<Origin<C>>, Error> {
        let is_it = |node: &Node| {
            content_of(node) == Some(digest) && len.is_none_or(|len| len == node.len())
        };
        let Some(outcome) = self.paths.get(path) else {
            let known = self.known_tree().map(|old| old.record(path)).transpose()?;
            return match known {
                Some(Some(record)) if is_it(&record.entry.node) => Ok(Origin::kept(path, digest)),
                Some(Some(_)) => Err(disagree(path)),
                Some(None) => Err(unusable(path, TAKEN)),
                None if self.has_nothing() => Err(unusable(path, TAKEN)),
                None => Ok(Origin::kept(path, digest)),
            };
        };
        let standing = outcome.new.as_ref().filter(|standing| is_it(&standing.node));
        standing.and_then(|standing| standing.origin.clone()).ok_or_else(|| disagree(path))
    }
}

/// The items of a list, in order. The room of those that were taken is given back on the way: a list of all paths is large, and what
/// is made of it meanwhile is larger.
fn given_back<T>(mut list: Vec<T>) -> impl Iterator<Item = T> {
    list.reverse();
    std::iter::from_fn(move || {
        let item = list.pop();
        if list.len() < list.capacity() / 8 * 7 {
            list.shrink_to_fit();
        }
        item
    })
}

/// Whether `below`, with whole paths and in their order, is what `tree` says is below the directory that moves.
fn holds<C>(tree: &MovedTree<'_>, below: &[(RelPath, Arc<Standing<C>>)]) -> Result<bool, Error> {
    let mut nodes: Vec<(RelPath, Cow<'_, Node>)> = Vec::with_capacity(below.len());
    for (path, standing) in below {
        let elsewhere = || disagree(tree.from);
        let node = match &standing.node {
            Node::HardLink { to } => {
                Cow::Owned(Node::HardLink { to: to.within(tree.from).ok_or_else(elsewhere)? })
            }
            node => Cow::Borrowed(node),
        };
        nodes.push((path.within(tree.from).ok_or_else(elsewhere)?, node));
    }
    Ok(tree.is(nodes.iter().map(|(path, node)| (path, &**node))))
}
