//! A part of what a [`Merge`] leads to, as a merge from nothing that is in memory. Must not know where contents of the first tree lie.

use std::collections::HashMap;
use std::sync::Arc;

use dirindex::{EntryRef, Node, RelPath};

use super::{Base, Merge, Origin, Outcome, Standing, content_of, unusable};
use crate::{DiffIndex, Error};

impl<C: Clone> Merge<C> {
    /// The part of the last tree at and below `paths`, with the directories that they lie in and the files that
    /// hard links among them name, as a merge from nothing. Its [`result`](Merge::result) is the id of the tree of these; its top
    /// directory is the same. Where nothing stands, nothing is selected. `resolve` says where what the first tree has at a path lies:
    /// which path it is stored for, and where that is.
    ///
    /// # Errors
    /// [`Error::Unusable`] where these are no tree; [`Error::Index`] when the file cannot be read any more that the first tree is in;
    /// those of `resolve`.
    pub fn select(
        &self,
        paths: &[RelPath],
        resolve: impl FnMut(&RelPath) -> Result<(RelPath, C), Error>,
    ) -> Result<Merge<C>, Error> {
        let mut part = Part::new(self, resolve);
        let mut found: Vec<RelPath> = Vec::new();
        for path in paths {
            found.push(path.clone());
            for entry in self.below(path) {
                found.push(entry?.entry().path.clone());
            }
        }
        while let Some(path) = found.pop() {
            if part.merge.paths.contains_key(&path) {
                continue;
            }
            let Some(entry) = self.get(&path)? else { continue };
            if let Some(above) = path.parent() {
                if self.node(&above)? != Some(Node::Dir) {
                    return Err(unusable(&path, "something new where no directory is"));
                }
                found.push(above);
            }
            if let Node::HardLink { to } = entry.entry().node {
                found.push(to.clone());
            }
            part.add(entry.entry())?;
        }
        let mut merge = part.merge;
        let id = merge.tree_id()?;
        merge.ends = DiffIndex::from_parts(merge.base(), id, Vec::new()).with_top_of(&self.ends);
        Ok(merge)
    }
}

struct Part<'a, C, R: FnMut(&RelPath) -> Result<(RelPath, C), Error>> {
    all: &'a Merge<C>,
    merge: Merge<C>,
    resolve: R,
    /// Contents of the first tree that several paths have, by the path that they are stored for.
    stored: HashMap<RelPath, Arc<Origin<C>>>,
    /// What became of contents that several paths have, and that are made of others.
    made: HashMap<*const Origin<C>, Arc<Origin<C>>>,
}

impl<'a, C: Clone, R: FnMut(&RelPath) -> Result<(RelPath, C), Error>> Part<'a, C, R> {
    fn new(all: &'a Merge<C>, resolve: R) -> Part<'a, C, R> {
        let (stored, made) = (HashMap::new(), HashMap::new());
        Part { all, merge: Merge::from_nothing(), resolve, stored, made }
    }

    /// Adds what stands at a path.
    fn add(&mut self, EntryRef { path, node, meta }: EntryRef<'_>) -> Result<(), Error> {
        let listed = self.all.paths.get(path).and_then(|outcome| outcome.new.as_ref());
        let origin = match listed {
            Some(listed) => listed.origin.clone(),
            None => content_of(node).map(|digest| Origin::kept(path, digest)),
        };
        let new = match (listed, origin) {
            (Some(listed), None) => Arc::clone(listed),
            (Some(listed), Some(origin)) if matches!(origin.base, Base::Whole) => {
                Arc::clone(listed)
            }
            (_, origin) => {
                let origin = origin.map(|origin| self.whole(path, &origin)).transpose()?;
                Arc::new(Standing { node: node.clone(), meta: meta.clone(), origin })
            }
        };
        self.merge.proof.note(path, None, Some(node));
        let outcome = Outcome { old: None, new: Some(new), excluded: false };
        self.merge.paths.insert(path.clone(), outcome);
        Ok(())
    }

    /// The content at `path`, which the first tree has, or which is made of what that has.
    fn whole(&mut self, path: &RelPath, origin: &Arc<Origin<C>>) -> Result<Arc<Origin<C>>, Error> {
        let Base::Tree(base) = &origin.base else { return Ok(Arc::clone(origin)) };
        if let Some(made) = self.made.get(&Arc::as_ptr(origin)) {
            return Ok(Arc::clone(made));
        }
        let (stored_for, stored) = (self.resolve)(&base.0)?;
        let kept = origin.contents.is_empty();
        if kept && let Some(known) = self.known(&stored_for) {
            return Ok(Arc::clone(known));
        }
        let contents = std::iter::once(stored).chain(origin.contents.iter().cloned()).collect();
        let signature = origin.signature.clone();
        let made = Arc::new(Origin { base: Base::Whole, contents, signature });
        // Where a path has what was stored for it from the beginning, it is found by that.
        if kept && (stored_for != *path || self.all.paths.contains_key(path)) {
            self.stored.insert(stored_for, Arc::clone(&made));
        } else if !kept && Arc::strong_count(origin) > 1 {
            self.made.insert(Arc::as_ptr(origin), Arc::clone(&made));
        }
        Ok(made)
    }

    /// The content that the first tree stores for a path, if something was added that has it.
    fn known(&self, stored_for: &RelPath) -> Option<&Arc<Origin<C>>> {
        if let Some(known) = self.stored.get(stored_for) {
            return Some(known);
        }
        let is_as_it_was = !self.all.paths.contains_key(stored_for);
        let there = self.merge.paths.get(stored_for).filter(|_| is_as_it_was);
        there?.new.as_ref()?.origin.as_ref()
    }
}
