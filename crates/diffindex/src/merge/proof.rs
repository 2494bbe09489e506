//! That a merge from a known tree makes the tree that its last run names: the Merkle tree over all paths, of which only what
//! changed is hashed again. Must not know where contents come from.

use std::collections::{BTreeSet, HashMap};
use std::sync::OnceLock;

use dirindex::{EntryRef, LazyIndex, Node, RelPath, TreeId, directory_hash, tree_hashes};
use rsync_core::Digest;

use super::entries::MergedEntry;
use super::{Merge, unusable};
use crate::Error;

/// What is known of the last tree, and what has to be looked at again.
#[derive(Clone, Default)]
pub(super) struct Proof {
    /// What became another since the last look. None before the first.
    touched: Option<Vec<RelPath>>,
    /// The hash of each directory, as of the last look. Of those that are as in the first tree, that may have it.
    dirs: HashMap<RelPath, Digest>,
    /// How many hard links to a path there are more than in the first tree.
    links: HashMap<RelPath, i64>,
    /// How many there are in the first tree. Counted when that is asked for.
    old_links: OnceLock<HashMap<RelPath, i64>>,
}

impl Proof {
    /// Of a merge from `old`.
    pub(super) fn of(old: Option<&LazyIndex>) -> Proof {
        let is_hashed = old.is_some_and(LazyIndex::has_hashes);
        Proof { touched: is_hashed.then(Vec::new), ..Proof::default() }
    }

    /// Notes that at `path` stands something else than before.
    pub(super) fn note(&mut self, path: &RelPath, before: Option<&Node>, after: Option<&Node>) {
        if let Some(touched) = &mut self.touched {
            touched.push(path.clone());
        }
        for (node, by) in [(before, -1), (after, 1)] {
            let Some(Node::HardLink { to }) = node else { continue };
            let count = self.links.entry(to.clone()).or_default();
            *count += by;
            if *count == 0 {
                self.links.remove(to);
            }
        }
    }
}

impl<C: Clone> Merge<C> {
    /// Proves that the last tree is the one whose id is [`result`](Merge::result): of all paths together,
    /// since the id is over all of them. What was proved before is not hashed again, nor what stands in a first tree that
    /// [has hashes](LazyIndex::has_hashes): it takes time for the directories in which something has changed.
    ///
    /// # Errors
    /// [`Error::WrongResult`]; [`Error::Unusable`] for a hard link to no file before it; [`Error::Index`] when the file cannot be
    /// read any more that the first tree is in, and when that is not known.
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
                let entries = self.entries().collect::<Result<Vec<MergedEntry<'_>>, Error>>()?;
                let entries: Vec<EntryRef<'_>> = entries.iter().map(MergedEntry::entry).collect();
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
            if self.node(&path)? == Some(Node::Dir) {
                dirty.insert(path);
            } else {
                self.proof.dirs.remove(&path);
            }
        }
        // What lies in a directory comes after it, so inner ones are hashed first.
        while let Some(dir) = dirty.pop_last() {
            if self.node(&dir)? != Some(Node::Dir) {
                continue;
            }
            let hash = self.hash_of(Some(&dir))?;
            dirty.extend(dir.parent());
            self.proof.dirs.insert(dir, hash);
        }
        Ok(TreeId(self.hash_of(None)?.0))
    }

    /// The hash of a directory, of the top directory for `None`.
    fn hash_of(&self, dir: Option<&RelPath>) -> Result<Digest, Error> {
        let children = self.children(dir)?;
        let rows = children.iter().map(|child| {
            let (EntryRef { path, node, meta }, old) = child.entry();
            let hash = || self.proof.dirs.get(path).copied().or(old);
            (path.name(), node, meta, (*node == Node::Dir).then(hash).flatten())
        });
        Ok(directory_hash(rows)?)
    }

    /// Checks the hard links from and to a path that has changed.
    fn check_links(&self, path: &RelPath) -> Result<(), Error> {
        let node = self.node(path)?;
        let is_broken = match &node {
            Some(Node::File { .. }) => false,
            Some(Node::HardLink { to }) => {
                let is_file = matches!(self.node(to)?, Some(Node::File { .. }));
                to >= path || !is_file || self.links_to(path)? > 0
            }
            _ => self.links_to(path)? > 0,
        };
        match is_broken {
            false => Ok(()),
            true => Err(unusable(path, "a hard link to no file before it")),
        }
    }

    /// How many hard links there are to `path`.
    fn links_to(&self, path: &RelPath) -> Result<i64, Error> {
        let more = self.proof.links.get(path).copied().unwrap_or(0);
        let Some(old) = self.old.as_ref().filter(|old| !old.is_empty() && old.may_be_linked(path))
        else {
            return Ok(more);
        };
        if self.proof.old_links.get().is_none() {
            let mut links: HashMap<RelPath, i64> = HashMap::new();
            old.for_each_chunk(|records| {
                for record in records {
                    if let Node::HardLink { to } = &record.entry.node {
                        *links.entry(to.clone()).or_default() += 1;
                    }
                }
                Ok(())
            })?;
            // Another thread cannot have counted others.
            let _ = self.proof.old_links.set(links);
        }
        let known = self.proof.old_links.get().and_then(|links| links.get(path)).copied();
        Ok(more + known.unwrap_or(0))
    }
}
