//! Runs folded into versions, the oldest first: the tree of each snapshot is made from that of the one its run starts from,
//! and what differs from the snapshot before it closes a version and opens another.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use diffindex::{Change, Content, NewEntry};
use dirindex::{DirIndex, Meta, Node, RelPath, TreeId};

use super::runs::{Run, Runs};
use super::{Came, Version, Went};
use crate::chains::{Skipped, is_damage, is_gone};
use crate::error::{Error, Result};
use crate::store::{ArchiveName, SnapshotId, Snapshots};

pub(super) use super::History;

/// All that stands in a snapshot, as far as it is known.
type Tree = BTreeMap<RelPath, Arc<Standing>>;

/// What stands at a path.
#[derive(Clone)]
struct Standing {
    node: Node,
    meta: Meta,
    content: Content,
}

/// Directories that move may take so many paths along, all together, and one more for each two bytes that are stored: a move
/// of a few bytes takes along all that there is.
const FREE_MOVES: u64 = 1 << 20;
const BYTES_PER_MOVE: u64 = 2;

impl History {
    /// The history of the paths that are `wanted`, by path and time.
    pub(super) fn over(
        mut snapshots: Snapshots,
        mut runs: impl Runs,
        wanted: &dyn Fn(&RelPath) -> bool,
    ) -> Result<History> {
        let mut fold = Fold::new(wanted);
        let (mut skipped, mut unreachable) = (Vec::new(), Vec::new());
        for snapshot in snapshots.all().collect::<Vec<_>>() {
            loop {
                let Some(last) = snapshots.last_to(snapshot) else {
                    unreachable.push(snapshot);
                    break;
                };
                match fold.step(snapshot, &snapshots, &mut runs) {
                    Ok(()) => break,
                    Err(failed) if is_damage(&failed.error, &last) || is_gone(&failed.error) => {
                        snapshots = snapshots.without([&failed.archive]);
                        skipped.push(*failed);
                    }
                    Err(failed) => return Err(failed.error),
                }
            }
        }
        Ok(History { unreachable, skipped, ..fold.finish() })
    }
}

struct Fold<'w> {
    wanted: &'w dyn Fn(&RelPath) -> bool,
    /// The tree of the snapshot that was looked at last.
    tree: Tree,
    seen: Vec<SnapshotId>,
    /// The ids of their trees.
    ids: HashMap<SnapshotId, TreeId>,
    /// The tree of another one, from which a run started that did not start from the last one.
    start: Option<(SnapshotId, Tree)>,
    open: BTreeMap<RelPath, Version>,
    closed: Vec<Version>,
    stored: u64,
    moved: u64,
}

/// What a run did to a tree.
#[derive(Default)]
struct Done {
    /// The paths where something changed.
    touched: BTreeSet<RelPath>,
    /// Whence things came, by where they are now, and whether they are gone from there.
    from: HashMap<RelPath, (RelPath, bool)>,
    /// Where things went, by where they were.
    to: HashMap<RelPath, RelPath>,
    excluded: BTreeSet<RelPath>,
}

impl<'w> Fold<'w> {
    fn new(wanted: &'w dyn Fn(&RelPath) -> bool) -> Fold<'w> {
        Fold {
            wanted,
            tree: Tree::new(),
            seen: Vec::new(),
            ids: HashMap::new(),
            start: None,
            open: BTreeMap::new(),
            closed: Vec::new(),
            stored: 0,
            moved: 0,
        }
    }

    /// Takes in `snapshot`. When that fails, for what is in an archive, nothing has been taken in.
    fn step(
        &mut self,
        snapshot: SnapshotId,
        snapshots: &Snapshots,
        runs: &mut impl Runs,
    ) -> Result<(), Box<Skipped>> {
        let Some(last) = snapshots.last_to(snapshot) else { return Ok(()) };
        let (name, since) = (last.name, last.name.since);
        let failed = |error| Box::new(Skipped { archive: name, error });
        let run = runs.get(&name, snapshots, snapshot).map_err(failed)?;
        check_base(&run, &name, since.and_then(|since| self.ids.get(&since)).copied())
            .map_err(failed)?;
        self.stored = self.stored.saturating_add(run.size);
        let done = if since == self.seen.last().copied() {
            let mut tree = std::mem::take(&mut self.tree);
            let done = self.apply(&run, &name, &mut tree);
            self.tree = tree;
            done.map_err(failed)?
        } else {
            let mut tree = match since {
                Some(since) => self.tree_of(since, snapshots, runs)?,
                None => Tree::new(),
            };
            self.apply(&run, &name, &mut tree).map_err(failed)?;
            let before = std::mem::replace(&mut self.tree, tree);
            // No run leads from the snapshot before to this one, so nothing is known but what there is.
            let touched = before.into_keys().chain(self.tree.keys().cloned()).collect();
            Done { touched, ..Done::default() }
        };
        self.compare(snapshot, &done);
        self.seen.push(snapshot);
        self.ids.insert(snapshot, run.result);
        Ok(())
    }

    /// The tree of an earlier snapshot than the last one.
    fn tree_of(
        &mut self,
        snapshot: SnapshotId,
        snapshots: &Snapshots,
        runs: &mut impl Runs,
    ) -> Result<Tree, Box<Skipped>> {
        if let Some((start, tree)) = &self.start
            && *start == snapshot
        {
            return Ok(tree.clone());
        }
        let mut tree = Tree::new();
        for archive in snapshots.chain_to(snapshot).unwrap_or_default() {
            let name = archive.name;
            let run = runs.get(&name, snapshots, name.to);
            let done = run.and_then(|run| self.apply(&run, &name, &mut tree));
            done.map_err(|error| Box::new(Skipped { archive: name, error }))?;
        }
        self.start = Some((snapshot, tree.clone()));
        Ok(tree)
    }

    /// Changes `tree` as `run` says; not at all when that fails.
    fn apply(&mut self, run: &Run, name: &ArchiveName, tree: &mut Tree) -> Result<Done> {
        let mut done = Done::default();
        let trees = run.changes.iter().filter_map(Change::moved_tree);
        let trees: Vec<_> = trees.map(|moved| (moved, below(tree, moved.from))).collect();
        let paths: usize = trees.iter().map(|(_, below)| below.len()).sum();
        self.moved = self.moved.saturating_add(paths as u64);
        if self.moved > FREE_MOVES.saturating_add(self.stored / BYTES_PER_MOVE) {
            return Err(too_many_moves(name));
        }
        let mut arriving: Vec<(RelPath, Arc<Standing>)> = Vec::new();
        for (moved, below) in trees {
            for from in below {
                let Some(mut standing) = tree.remove(&from) else { continue };
                if let Node::HardLink { to } = &standing.node
                    && let Some(to) = moved.after(to)
                {
                    Arc::make_mut(&mut standing).node = Node::HardLink { to };
                }
                // One that became too long is in no tree.
                let Some(to) = moved.after(&from) else { continue };
                done.moved(from, to.clone());
                arriving.push((to, standing));
            }
        }
        let gone: BTreeSet<&RelPath> = run
            .changes
            .iter()
            .filter(|change| change.new.is_none())
            .map(|change| &change.path)
            .collect();
        for Change { path, old, new, excluded } in &run.changes {
            done.touched.insert(path.clone());
            match new {
                None => {
                    tree.remove(path);
                    if *excluded {
                        done.excluded.insert(path.clone());
                    }
                }
                Some(NewEntry { node, meta, content, .. }) => {
                    let (node, meta, content) = (node.clone(), meta.clone(), content.clone());
                    let base = match &content {
                        Content::Tree { base, .. } => Some(base),
                        Content::Copy { base } | Content::Delta { base, .. } if old.is_none() => {
                            Some(base)
                        }
                        _ => None,
                    };
                    match base {
                        Some(base) if gone.contains(base) => {
                            done.moved(base.clone(), path.clone());
                        }
                        Some(base) => {
                            done.from.insert(path.clone(), (base.clone(), false));
                        }
                        None => {}
                    }
                    tree.insert(path.clone(), Arc::new(Standing { node, meta, content }));
                }
            }
        }
        tree.extend(arriving);
        Ok(done)
    }

    /// Closes the versions that `snapshot` has no more, and opens those that it has anew.
    fn compare(&mut self, snapshot: SnapshotId, done: &Done) {
        let wanted = done.touched.iter().filter(|path| (self.wanted)(path));
        for path in wanted {
            let now = self.tree.get(path);
            let len = now.and_then(|now| len(&self.tree, now));
            let before = self.open.get(path);
            let went = match (before, now) {
                (None, None) => continue,
                (Some(before), Some(now)) if is_same(before, now, len) => continue,
                (_, Some(_)) => Went::Changed,
                (_, None) => match done.to.get(path) {
                    Some(to) => Went::Moved { to: to.clone() },
                    None if done.excluded.contains(path) => Went::Excluded,
                    None => Went::Deleted,
                },
            };
            let came = match (before, done.from.get(path)) {
                (Some(_), _) => Came::Changed,
                (None, Some((from, true))) => Came::Moved { from: from.clone() },
                (None, Some((from, false))) => Came::Copied { from: from.clone() },
                (None, None) => Came::Created,
            };
            if let (Some(version), Some(&last)) = (self.open.remove(path), self.seen.last()) {
                self.closed.push(Version { last, went: Some((snapshot, went)), ..version });
            }
            let Some(Standing { node, meta, content }) = now.map(Arc::as_ref) else { continue };
            // What moved with a directory is not listed, so its earlier versions say how it was stored.
            let content = match &came {
                Came::Moved { from } if !node.is_empty() && !is_of(content, from) => {
                    Content::Copy { base: from.clone() }
                }
                _ => content.clone(),
            };
            let (path, node, meta) = (path.clone(), node.clone(), meta.clone());
            let (first, last, went) = (snapshot, snapshot, None);
            let version =
                Version { path: path.clone(), node, meta, len, content, first, last, came, went };
            self.open.insert(path, version);
        }
    }

    fn finish(self) -> History {
        let (mut versions, newest) = (self.closed, self.seen.last().copied());
        versions.extend(
            self.open
                .into_values()
                .map(|version| Version { last: newest.unwrap_or(version.last), ..version }),
        );
        versions.sort_by(|a, b| (&a.path, a.first).cmp(&(&b.path, b.first)));
        History { versions, snapshots: self.seen, ..History::default() }
    }
}

impl Done {
    fn moved(&mut self, from: RelPath, to: RelPath) {
        self.touched.extend([from.clone(), to.clone()]);
        self.to.entry(from.clone()).or_insert_with(|| to.clone());
        self.from.insert(to, (from, true));
    }
}

/// The paths in `tree` below `dir`.
fn below(tree: &Tree, dir: &RelPath) -> Vec<RelPath> {
    let after = (Bound::Excluded(dir), Bound::Unbounded);
    let after = tree.range::<RelPath, _>(after).map(|(path, _)| path);
    after.take_while(|path| path.is_below(dir)).cloned().collect()
}

/// Whether a content is made of what stood at `base`.
fn is_of(content: &Content, base: &RelPath) -> bool {
    matches!(content, Content::Copy { base: of } | Content::Delta { base: of, .. } if of == base)
}

/// How many bytes the file has that stands there, or that a hard link there names.
fn len(tree: &Tree, standing: &Standing) -> Option<u64> {
    match &standing.node {
        Node::File { len, .. } => Some(*len),
        Node::HardLink { to } => tree.get(to).map(|file| file.node.len()),
        _ => None,
    }
}

fn is_same(before: &Version, now: &Standing, len: Option<u64>) -> bool {
    let mut meta = now.meta.clone();
    if now.node == Node::Dir {
        meta.mtime = before.meta.mtime;
    }
    (&before.node, before.len, &before.meta) == (&now.node, len, &meta)
}

/// That a run starts from the tree of the snapshot that it names.
fn check_base(run: &Run, name: &ArchiveName, before: Option<TreeId>) -> Result<()> {
    let wanted = match name.since {
        None => DirIndex::empty().tree_id(),
        Some(_) => before.unwrap_or(run.base),
    };
    if run.base == wanted {
        return Ok(());
    }
    let trees = Box::new((wanted, run.base));
    let before = name.since.map_or_else(|| "nothing".to_owned(), |since| since.to_string());
    Err(archive::Error::Unlinked { before, after: name.to_string(), trees }.into())
}

fn too_many_moves(name: &ArchiveName) -> Error {
    let problem = "it moves directories with more paths than what is stored allows".to_owned();
    let part = "diff.index".to_owned();
    archive::Error::Damaged { archive: name.to_string(), part, offset: 0, problem }.into()
}
