//! [`SnapshotTree`]: the tree of a snapshot, to be walked directory by directory. Knows nothing of where contents lie.

use dirindex::{DirIndex, Entry, EntryRef, Node, RelPath, TreeId};

use crate::{Error, Snapshot};

/// The tree of a [`Snapshot`], to be walked directory by directory.
///
/// Each entry has a number: its place in path order, from 0 on. Snapshots with the same [tree id](Snapshot::id) have the same
/// numbers, so a number and the tree id name an entry for good. What is below a directory has the numbers that follow its own:
/// going through a directory costs what is in it, not what is below.
///
/// It holds the index of the tree, and some 16 bytes for each path beside.
#[derive(Debug)]
pub struct SnapshotTree {
    snapshot: Snapshot,
    tree: DirIndex,
    /// Of each entry.
    places: Vec<Place>,
}

/// Where in the tree an entry is.
#[derive(Debug)]
struct Place {
    /// The first number after the entry and all that is below it.
    end: usize,
    /// How many links lead to it.
    links: u32,
}

impl SnapshotTree {
    /// The tree of `snapshot`.
    ///
    /// # Errors
    /// As [`Snapshot::tree`].
    pub fn new(snapshot: Snapshot) -> Result<SnapshotTree, Error> {
        let tree = snapshot.tree()?.load().map_err(|source| snapshot.unusable(source.into()))?;
        let mut places: Vec<Place> = Vec::new();
        // The directories that the current entry is in, and the hard links.
        let (mut above, mut linked): (Vec<(usize, &RelPath)>, Vec<&RelPath>) = Default::default();
        for (number, Entry { path, node, .. }) in tree.entries().enumerate() {
            while let Some(&(dir, dir_path)) = above.last() {
                let Some(dir) = places.get_mut(dir) else { break };
                if path.is_below(dir_path) {
                    dir.links = dir.links.saturating_add(u32::from(*node == Node::Dir));
                    break;
                }
                dir.end = number;
                above.pop();
            }
            let links = match node {
                // Its own name, and its `.`.
                Node::Dir => 2,
                _ => 1,
            };
            match node {
                Node::Dir => above.push((number, path)),
                Node::HardLink { to } => linked.push(to),
                _ => {}
            }
            places.push(Place { end: number + 1, links });
        }
        let end = places.len();
        above.into_iter().for_each(|(dir, _)| {
            if let Some(dir) = places.get_mut(dir) {
                dir.end = end;
            }
        });
        for to in linked {
            if let Some(place) = number_in(&tree, to).and_then(|file| places.get_mut(file)) {
                place.links = place.links.saturating_add(1);
            }
        }
        Ok(SnapshotTree { snapshot, tree, places })
    }

    /// The snapshot.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The tree's id.
    pub fn id(&self) -> TreeId {
        self.snapshot.id()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The entry with a number.
    pub fn entry(&self, number: usize) -> Option<EntryRef<'_>> {
        self.tree.records().get(number).map(|record| record.entry.borrowed())
    }

    /// The number of what stands at `path`.
    pub fn number(&self, path: &RelPath) -> Option<usize> {
        number_in(&self.tree, path)
    }

    /// The number of what is called `name` in a directory; `None` is the top directory.
    pub fn child(&self, dir: Option<usize>, name: &[u8]) -> Option<usize> {
        let path = match dir {
            None => RelPath::new(name),
            Some(dir) => self.entry(dir)?.path.join(name),
        };
        // No entry has a name that is none, nor one with a slash in it.
        self.number(&path.ok()?).filter(|_| !name.contains(&b'/'))
    }

    /// The numbers of what is in a directory, in order, from the number `from` on, which is one of them; `None` is the top
    /// directory. Empty for all but directories.
    pub fn children(&self, dir: Option<usize>, from: Option<usize>) -> impl Iterator<Item = usize> {
        let (first, end) = match dir {
            None => (0, self.places.len()),
            Some(dir) => (dir.saturating_add(1), self.places.get(dir).map_or(0, |dir| dir.end)),
        };
        let within = move |number: &usize| *number < end;
        let first = Some(from.unwrap_or(first).max(first)).filter(within);
        std::iter::successors(first, move |&at| {
            self.places.get(at).map(|place| place.end).filter(within)
        })
    }

    /// The number of the entry that has the content and the metadata: for a hard link that of the file it names, and else the
    /// same.
    pub fn file(&self, number: usize) -> Option<usize> {
        match self.entry(number)?.node {
            Node::HardLink { to } => self.number(to),
            _ => Some(number),
        }
    }

    /// How many links lead to an entry, as `stat` has it: for a file its names, for a directory one more than the directories
    /// in it have, and its own two. `None` is the top directory.
    pub fn links(&self, number: Option<usize>) -> u32 {
        let is_dir = |&child: &usize| self.entry(child).is_some_and(|it| *it.node == Node::Dir);
        match number {
            Some(number) => self.places.get(number).map_or(1, |place| place.links),
            None => {
                let dirs = self.children(None, None).filter(is_dir).count();
                u32::try_from(dirs).unwrap_or(u32::MAX).saturating_add(2)
            }
        }
    }
}

fn number_in(tree: &DirIndex, path: &RelPath) -> Option<usize> {
    tree.records().binary_search_by(|record| record.entry.path.cmp(path)).ok()
}
