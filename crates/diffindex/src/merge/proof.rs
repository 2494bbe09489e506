//! That a merge from nothing makes the tree that its last run names: the Merkle tree over its paths, of which only what
//! changed is hashed again. Must not know where contents come from.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;

use dirindex::{Child, EntryRef, Node, RelPath, TreeId, directory_hash, tree_hashes};
use rsync_core::Digest;

use super::{Merge, Outcome, Standing, unusable};
use crate::Error;

/// What is known of the tree, and what has to be looked at again.
#[derive(Clone, Default)]
pub(super) struct Proof {
    /// What became another since the last look. None before the first.
    touched: Option<Vec<RelPath>>,
    /// The hash of each directory, as of the last look.
    dirs: HashMap<RelPath, Digest>,
    /// How many hard links there are to a path.
    links: HashMap<RelPath, u64>,
}

impl Proof {
    /// Notes that at `path` stands something else than before.
    pub(super) fn note(&mut self, path: &RelPath, before: Option<&Node>, after: Option<&Node>) {
        if let Some(touched) = &mut self.touched {
            touched.push(path.clone());
        }
        if let Some(Node::HardLink { to }) = before
            && let Some(count) = self.links.get_mut(to)
        {
            *count -= 1;
            if *count == 0 {
                self.links.remove(to);
            }
        }
        if let Some(Node::HardLink { to }) = after {
            *self.links.entry(to.clone()).or_default() += 1;
        }
    }
}

impl<C: Clone> Merge<'_, C> {
    /// Proves that what was merged from nothing is the tree whose id is [`result`](Merge::result): of all paths together,
    /// since the id is over all of them. What was proved before is not hashed again: it takes time for the directories in
    /// which something has changed.
    ///
    /// # Errors
    /// [`Error::WrongResult`]; [`Error::Unusable`] for a hard link to no file before it, and when the merge does not
    /// start from nothing.
    pub fn prove(&mut self) -> Result<(), Error> {
        let (expected, found) = (self.result(), self.tree_id()?);
        match expected == found {
            true => Ok(()),
            false => Err(Error::WrongResult { expected, found }),
        }
    }

    pub(super) fn tree_id(&mut self) -> Result<TreeId, Error> {
        // Where this fails, everything is looked at again the next time.
        let id = match self.proof.touched.take() {
            Some(touched) => self.tree_id_after(touched)?,
            None => {
                let entries: Vec<EntryRef<'_>> = self.entries().collect();
                let (id, dirs) = tree_hashes(&entries)?;
                self.proof.dirs = dirs.into_iter().collect();
                id
            }
        };
        self.proof.touched = Some(Vec::new());
        Ok(id)
    }

    /// The id of the tree of which this became another since the last look.
    fn tree_id_after(&mut self, touched: Vec<RelPath>) -> Result<TreeId, Error> {
        let mut dirty: BTreeSet<RelPath> = BTreeSet::new();
        for path in touched {
            self.check_links(&path)?;
            dirty.extend(path.parent());
            if self.node(&path) == Some(&Node::Dir) {
                dirty.insert(path);
            } else {
                self.proof.dirs.remove(&path);
            }
        }
        // What lies in a directory comes after it, so inner ones are hashed first.
        while let Some(dir) = dirty.pop_last() {
            if self.node(&dir) != Some(&Node::Dir) {
                continue;
            }
            let hash = directory_hash(self.children(Some(&dir)))?;
            dirty.extend(dir.parent());
            self.proof.dirs.insert(dir, hash);
        }
        Ok(TreeId(directory_hash(self.children(None))?.0))
    }

    /// Checks the hard links from and to a path that has changed.
    fn check_links(&self, path: &RelPath) -> Result<(), Error> {
        let is_file = |path: &RelPath| matches!(self.node(path), Some(Node::File { .. }));
        let is_broken = match self.node(path) {
            Some(Node::HardLink { to }) => to >= path || !is_file(to),
            _ => false,
        };
        match is_broken || self.proof.links.contains_key(path) && !is_file(path) {
            false => Ok(()),
            true => Err(unusable(path, "a hard link to no file before it")),
        }
    }

    /// What stands at `path`.
    pub(super) fn node(&self, path: &RelPath) -> Option<&Node> {
        self.paths.get(path).and_then(Outcome::node)
    }

    /// What is right in the directory `dir`, in order; in the top directory for `None`.
    fn children<'s>(&'s self, dir: Option<&'s RelPath>) -> impl Iterator<Item = Child<'s>> {
        let start = dir.map_or(Bound::Unbounded, |dir| Bound::Excluded(dir.clone()));
        let mut rest = self.paths.range((start, Bound::Unbounded));
        std::iter::from_fn(move || {
            let (path, outcome) = rest.next()?;
            if dir.is_some_and(|dir| !path.is_below(dir)) {
                return None;
            }
            let standing = outcome.new.as_deref();
            if standing.is_some_and(|standing| standing.node == Node::Dir) {
                rest = self.paths.range((after(path), Bound::Unbounded));
            }
            Some((path, standing))
        })
        .filter_map(move |(path, standing)| {
            let is_child = match dir {
                Some(dir) => path.is_right_below(dir),
                None => !path.as_bytes().contains(&b'/'),
            };
            let Standing { node, meta, .. } = standing.filter(|_| is_child)?;
            let below = (*node == Node::Dir).then(|| self.proof.dirs.get(path).copied());
            Some((path.name(), node, meta, below.flatten()))
        })
    }
}

/// Where what follows all that is below `path` begins. (Its last bytes are the first that no path below it has.)
fn after(path: &RelPath) -> Bound<RelPath> {
    match RelPath::new([path.as_bytes(), &[1]].concat()) {
        Ok(next) => Bound::Included(next),
        // No name may be so long, so one after the other is looked at.
        Err(_) => Bound::Excluded(path.clone()),
    }
}
