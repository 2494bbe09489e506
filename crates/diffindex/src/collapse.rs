//! Directories that moved with all that is in them: collapsed into one change, and expanded again with the old tree. Must
//! not know where the old tree is looked up.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use dirindex::{Entry, Node, Record, RelPath, content_hash};
use rsync_core::Digest;

use crate::{Change, Content, DiffIndex, Error, NewEntry};

/// A directory with fewer paths below it is not collapsed: its changes cost little, and such a diff can be squashed and
/// shown without the old tree.
const COLLAPSE_FROM: usize = 16;
/// Of so many gone directories that look alike at the first glance, one is compared with a new one.
const MAX_TRIES: usize = 16;

/// A directory that moved with all that is in it: a change whose content is [`Content::Tree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MovedTree<'a> {
    /// Where it was.
    pub from: &'a RelPath,
    /// Where it is to be.
    pub to: &'a RelPath,
    /// How many paths are below it.
    pub entries: u64,
    hash: &'a Digest,
}

impl Change {
    /// The directory that comes here with all that is in it, if that is what the change is.
    #[must_use]
    pub fn moved_tree(&self) -> Option<MovedTree<'_>> {
        match &self.new.as_ref()?.content {
            Content::Tree { base, hash, entries } => {
                Some(MovedTree { from: base, to: &self.path, entries: *entries, hash })
            }
            _ => None,
        }
    }
}

impl MovedTree<'_> {
    /// Where what is at `path` in the old tree, below [`from`](MovedTree::from), is to be.
    #[must_use]
    pub fn after(&self, path: &RelPath) -> Option<RelPath> {
        self.to.join(path.within(self.from)?.as_bytes()).ok()
    }

    /// Where what is to be at `path`, below [`to`](MovedTree::to), is in the old tree.
    #[must_use]
    pub fn before(&self, path: &RelPath) -> Option<RelPath> {
        self.from.join(path.within(self.to)?.as_bytes()).ok()
    }

    /// Whether below the directory are these nodes, at paths that are counted from it, in path order.
    pub fn is<'n>(&self, nodes: impl ExactSizeIterator<Item = (&'n RelPath, &'n Node)>) -> bool {
        nodes.len() as u64 == self.entries && content_hash(nodes).is_ok_and(|it| it == *self.hash)
    }

    /// [`is`](MovedTree::is), of entries.
    pub(crate) fn holds(&self, entries: &[Entry]) -> bool {
        self.is(entries.iter().map(|entry| (&entry.path, &entry.node)))
    }
}

impl DiffIndex {
    /// The directories that moved as a whole: nothing below them is listed. [`expand`](DiffIndex::expand)
    /// lists it.
    pub fn moved_trees(&self) -> impl Iterator<Item = MovedTree<'_>> {
        self.changes().iter().filter_map(Change::moved_tree)
    }

    /// The same diff with a change for each path below the directories that moved as a whole. `below` gives
    /// what is below such a directory: its entries, with paths counted from it, in path order.
    ///
    /// # Errors
    /// Those of `below`, and [`Error::Unusable`] for entries that cannot be there.
    pub fn expand(
        &self,
        mut below: impl FnMut(&MovedTree<'_>) -> Result<Vec<Entry>, Error>,
    ) -> Result<DiffIndex, Error> {
        let mut ends: HashMap<&RelPath, (MovedTree<'_>, Arc<[Entry]>)> = HashMap::new();
        let mut growth = Growth::default();
        for tree in self.moved_trees() {
            let entries: Arc<[Entry]> = below(&tree)?.into();
            growth.add(&tree, entries.len(), entries.len())?;
            ends.insert(tree.from, (tree, Arc::clone(&entries)));
            ends.insert(tree.to, (tree, entries));
        }
        if ends.is_empty() {
            return Ok(self.clone());
        }
        let mut changes = Vec::with_capacity(self.changes().len());
        for change in self.changes() {
            let mut own = change.clone();
            let end = ends.get(&change.path);
            let comes = end.is_some_and(|(tree, _)| *tree.to == change.path);
            if let (Some(new), true) = (&mut own.new, comes) {
                new.content = Content::Keep;
            }
            changes.push(own);
            let Some((tree, entries)) = end else { continue };
            for entry in entries.iter() {
                let listed = match comes {
                    true => arrival(tree, entry),
                    false => departure(tree, entry, change.excluded),
                };
                changes.push(listed.ok_or_else(|| too_long(tree))?);
            }
        }
        let diff = DiffIndex::from_changes(self.base(), self.result(), changes)?;
        Ok(diff.with_top_of(self))
    }

    /// The same diff, from a tree with the records `old` to one with the records `new`, with one change for each directory that
    /// moved as a whole.
    pub(crate) fn collapsed(self, old: &[Arc<Record>], new: &[Arc<Record>]) -> DiffIndex {
        let trees = trees(old, new, self.changes());
        if trees.is_empty() {
            return self;
        }
        let bases: HashSet<&RelPath> = trees.values().map(|(base, ..)| *base).collect();
        let mut inside: Option<&RelPath> = None;
        let mut changes = Vec::new();
        for change in self.changes() {
            if inside.is_some_and(|dir| change.path.is_below(dir)) {
                continue;
            }
            let tree = trees.get(&change.path);
            inside = (tree.is_some() || bases.contains(&change.path)).then_some(&change.path);
            let mut change = change.clone();
            if let (Some(new), Some((base, hash, entries))) = (&mut change.new, tree) {
                let (base, hash, entries) = ((*base).clone(), *hash, *entries);
                new.content = Content::Tree { base, hash, entries };
            }
            changes.push(change);
        }
        DiffIndex::from_parts(self.base(), self.result(), changes).with_top_of(&self)
    }
}

/// What is below `dir` among `records`, with paths counted from it. `None` when something there could not be
/// there by itself: a hard link to a file elsewhere.
pub(crate) fn below(records: &[Arc<Record>], dir: &RelPath) -> Option<Vec<Entry>> {
    slice(records, dir).iter().map(|record| within(&record.entry, dir)).collect()
}

/// `entry`, which lies below `dir`, as it is called from there.
pub(crate) fn within(entry: &Entry, dir: &RelPath) -> Option<Entry> {
    let node = match &entry.node {
        Node::HardLink { to } => Node::HardLink { to: to.within(dir)? },
        node => node.clone(),
    };
    Some(Entry { path: entry.path.within(dir)?, node, meta: entry.meta.clone() })
}

/// `node`, which lies below a directory and is called as from there, as it is when that one is at `dir`.
fn seen_from_root(node: &Node, dir: &RelPath) -> Option<Node> {
    match node {
        Node::HardLink { to } => Some(Node::HardLink { to: dir.join(to.as_bytes()).ok()? }),
        node => Some(node.clone()),
    }
}

/// The change that puts `entry`, as it is below `tree`, to its new place.
fn arrival(tree: &MovedTree<'_>, entry: &Entry) -> Option<Change> {
    let Entry { path, node, meta } = entry;
    let content = match node.is_empty() {
        true => Content::Keep,
        false => Content::Copy { base: tree.from.join(path.as_bytes()).ok()? },
    };
    let node = seen_from_root(node, tree.to)?;
    let new = NewEntry { node, meta: meta.clone(), content, signature: None };
    let path = tree.to.join(path.as_bytes()).ok()?;
    Some(Change { path, old: None, new: Some(new), excluded: false })
}

/// The change that takes `entry` from its old place.
fn departure(tree: &MovedTree<'_>, entry: &Entry, excluded: bool) -> Option<Change> {
    let path = tree.from.join(entry.path.as_bytes()).ok()?;
    let old = Some(seen_from_root(&entry.node, tree.from)?);
    Some(Change { path, old, new: None, excluded })
}

/// How much longer the paths below directories that move may become, all together: 64 MiB, and 256 bytes for each path
/// that there is. Some bytes move as much as there is, to a path as long as there may be.
#[derive(Clone, Default)]
pub(crate) struct Growth(i64);

impl Growth {
    /// Counts in that `entries` paths move with `tree`, where there are `all`.
    pub(crate) fn add(
        &mut self,
        tree: &MovedTree<'_>,
        entries: usize,
        all: usize,
    ) -> Result<(), Error> {
        let len = |path: &RelPath| path.as_bytes().len() as i64;
        let longer = (len(tree.to) - len(tree.from)).saturating_mul(entries as i64);
        self.0 = self.0.saturating_add(longer).max(0);
        if self.0 > (all as i64).saturating_mul(256).saturating_add(64 << 20) {
            let problem = "the paths below it become too long together";
            return Err(Error::Unusable { path: tree.to.clone(), problem });
        }
        Ok(())
    }
}

fn too_long(tree: &MovedTree<'_>) -> Error {
    let problem = "a path below it becomes too long";
    Error::Unusable { path: tree.to.clone(), problem }
}

fn hash_of(entries: &[Entry]) -> Option<Digest> {
    content_hash(entries.iter().map(|entry| (&entry.path, &entry.node))).ok()
}

/// The records below `dir`.
pub(crate) fn slice<'a>(records: &'a [Arc<Record>], dir: &RelPath) -> &'a [Arc<Record>] {
    let start = records.partition_point(|record| record.entry.path <= *dir);
    let rest = records.get(start..).unwrap_or_default();
    let len = rest.partition_point(|record| record.entry.path.is_below(dir));
    rest.get(..len).unwrap_or_default()
}

/// For each directory that moved as a whole, by where it is now: where it was, and the hash and number of what
/// is below it. None lies in another.
fn trees<'a>(
    old: &'a [Arc<Record>],
    new: &'a [Arc<Record>],
    changes: &'a [Change],
) -> HashMap<&'a RelPath, (&'a RelPath, Digest, u64)> {
    let gone = changes.iter().filter(|change| change.was_dir() && !change.makes_dir());
    // By what can be seen at once: how much is below it, and what comes first there.
    let mut alike: HashMap<(usize, &[u8]), Vec<&RelPath>> = HashMap::new();
    for change in gone {
        let below = slice(old, &change.path);
        if below.len() >= COLLAPSE_FROM {
            alike.entry(sight(below)).or_default().push(&change.path);
        }
    }
    let mut trees = HashMap::new();
    if alike.is_empty() {
        return trees;
    }
    let made = changes.iter().filter(|change| change.old.is_none() && change.makes_dir());
    let mut made: Vec<(&RelPath, &[Arc<Record>])> =
        made.map(|change| (&change.path, slice(new, &change.path))).collect();
    made.retain(|(_, below)| below.len() >= COLLAPSE_FROM);
    // The largest first, so that none that is taken lies in one that could be.
    made.sort_by_key(|(_, below)| std::cmp::Reverse(below.len()));
    let mut taken: BTreeSet<&RelPath> = BTreeSet::new();
    for (to, after) in made {
        // None that is taken lies in another, so no other comes between a path and the one that it lies in.
        let lies_in = |taken: &BTreeSet<&RelPath>, path: &RelPath| {
            let before = taken.range::<RelPath, _>(..=path).next_back();
            before.is_some_and(|dir| path == *dir || path.is_below(dir))
        };
        if lies_in(&taken, to) {
            continue;
        }
        let candidates = alike.get(&sight(after)).into_iter().flatten().copied();
        let mut candidates = candidates.filter(|from| !lies_in(&taken, from)).take(MAX_TRIES);
        let found = candidates.find(|from| same(slice(old, from), from, after, to));
        if let Some(from) = found
            && let Some(hash) = below(new, to).and_then(|entries| hash_of(&entries))
        {
            taken.extend([from, to]);
            trees.insert(to, (from, hash, after.len() as u64));
        }
    }
    trees
}

/// What two directories that hold the same have in common for certain.
fn sight(below: &[Arc<Record>]) -> (usize, &[u8]) {
    (below.len(), below.first().map_or(&[], |record| record.entry.path.name()))
}

/// Whether what is below two directories is the same, metadata included.
fn same(old: &[Arc<Record>], from: &RelPath, new: &[Arc<Record>], to: &RelPath) -> bool {
    let same = |(old, new): (&Arc<Record>, &Arc<Record>)| {
        let (old, new) = (&old.entry, &new.entry);
        let nodes = match (&old.node, &new.node) {
            (Node::HardLink { to: old }, Node::HardLink { to: new }) => {
                old.is_below(from) && new.is_below(to) && tail(old, from) == tail(new, to)
            }
            (old, new) => old == new,
        };
        nodes && tail(&old.path, from) == tail(&new.path, to) && old.meta == new.meta
    };
    old.len() == new.len() && old.iter().zip(new).all(same)
}

/// The bytes of `path` after those of `dir`.
fn tail<'a>(path: &'a RelPath, dir: &RelPath) -> Option<&'a [u8]> {
    path.as_bytes().get(dir.as_bytes().len()..)
}
