//! Runs folded into versions, the oldest first: the tree of each snapshot is made from that of the one its run starts from,
//! and what differs from the snapshot before it closes a version and opens another.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use archive::LazyData;
use diffindex::{Change, Content};
use dirindex::{DirIndex, Node, RelPath, TreeId};

use super::runs::{Changes, Run, Runs, all_of};
use super::tree::{Standing, Tree};
use super::{Came, Version, Went};
use crate::chains::{Skipped, is_damage, is_gone};
use crate::error::{Error, Result};
use crate::store::{ArchiveName, SnapshotId, Snapshots, StoredArchive};

pub(super) use super::History;

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
                if snapshots.last_to(snapshot).is_none() {
                    unreachable.push(snapshot);
                    break;
                }
                let Err(failed) = fold.step(snapshot, &snapshots, &mut runs) else { break };
                let archive = StoredArchive { name: failed.archive, size: 0 };
                if !is_damage(&failed.error, &archive) && !is_gone(&failed.error) {
                    return Err(failed.error);
                }
                // It may be made of what cannot be read.
                fold.start = None;
                snapshots = snapshots.without([&failed.archive]);
                skipped.push(*failed);
            }
        }
        Ok(History { unreachable, skipped, ..fold.finish() })
    }
}

struct Fold<'w> {
    wanted: &'w dyn Fn(&RelPath) -> bool,
    /// The tree of the snapshot that was looked at last, unless it cannot be read any more.
    tree: Option<Tree>,
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

/// What a run did to a tree, of the paths that are wanted.
#[derive(Default)]
struct Done {
    /// The paths where something changed, and what stands there now, as far as that was seen.
    touched: BTreeMap<RelPath, Option<Arc<Standing>>>,
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
            tree: None,
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
        let result = run.result;
        self.stored = self.stored.saturating_add(run.size);
        let before = self.tree.take().filter(|_| since == self.seen.last().copied());
        let (mut done, mut tree) = match before {
            Some(mut tree) => match self.apply(run, &name, &mut tree) {
                Ok(done) => (done, tree),
                Err(failed) => {
                    // Another run may start from it, unless it is what cannot be read.
                    self.tree = Some(tree).filter(|_| failed.archive == name);
                    return Err(failed);
                }
            },
            None => self.jump(run, &name, snapshots, runs)?,
        };
        self.compare(snapshot, &mut done, &mut tree)?;
        self.tree = Some(tree);
        self.seen.push(snapshot);
        self.ids.insert(snapshot, result);
        Ok(())
    }

    /// Takes in a run that does not start from the snapshot before. No run leads from that one to this, so nothing is known but what
    /// there is.
    fn jump(
        &mut self,
        run: Run,
        name: &ArchiveName,
        snapshots: &Snapshots,
        runs: &mut impl Runs,
    ) -> Result<(Done, Tree), Box<Skipped>> {
        let mut tree = match name.since {
            Some(since) => self.tree_of(since, snapshots, runs)?,
            None => Tree::default(),
        };
        let done = self.apply(run, name, &mut tree)?;
        let mut touched: BTreeMap<RelPath, Option<Arc<Standing>>> =
            self.open.keys().map(|path| (path.clone(), None)).collect();
        match name.since {
            // It is all that there is.
            None => touched.extend(done.touched),
            Some(_) => tree.for_each_of(self.wanted, |path, standing| {
                touched.insert(path.clone(), Some(standing));
            })?,
        }
        Ok((Done { touched, ..Done::default() }, tree))
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
        let mut tree = Tree::default();
        for archive in snapshots.chain_to(snapshot).unwrap_or_default() {
            let name = archive.name;
            let run = runs.get(&name, snapshots, name.to);
            let run = run.map_err(|error| Box::new(Skipped { archive: name, error }))?;
            self.apply(run, &name, &mut tree)?;
        }
        self.start = Some((snapshot, tree.clone()));
        Ok(tree)
    }

    /// Changes `tree` as `run` says; not at all when that fails.
    fn apply(
        &mut self,
        run: Run,
        name: &ArchiveName,
        tree: &mut Tree,
    ) -> Result<Done, Box<Skipped>> {
        let failed =
            |error: archive::Error| Box::new(Skipped { archive: *name, error: error.into() });
        match run.changes {
            Changes::Stored(data) if tree.can_add(&data) => {
                let done = self.added(&data).map_err(failed)?;
                tree.add(*name, data);
                Ok(done)
            }
            Changes::Stored(data) => self.apply_all(&all_of(&data).map_err(failed)?, name, tree),
            Changes::Listed(changes) => self.apply_all(&changes, name, tree),
        }
    }

    /// What becomes of a tree to which all is added that an archive says.
    fn added(&self, data: &LazyData) -> Result<Done, archive::Error> {
        let mut done = Done::default();
        for list in data.changes() {
            for change in list?.iter().filter(|change| (self.wanted)(&change.path)) {
                let from = source(change).map(|base| (base.clone(), false));
                done.from.extend(from.map(|from| (change.path.clone(), from)));
                let standing = change.new.as_ref().map(Standing::of);
                done.touched.insert(change.path.clone(), standing);
            }
        }
        Ok(done)
    }

    /// Makes all of `changes`; none when that fails.
    fn apply_all(
        &mut self,
        changes: &[Change],
        name: &ArchiveName,
        tree: &mut Tree,
    ) -> Result<Done, Box<Skipped>> {
        let mut done = Done::default();
        let mut trees = Vec::new();
        for moved in changes.iter().filter_map(Change::moved_tree) {
            let below = tree.below(moved.from)?;
            self.moved = self.moved.saturating_add(below.len() as u64);
            if self.moved > FREE_MOVES.saturating_add(self.stored / BYTES_PER_MOVE) {
                return Err(Box::new(Skipped { archive: *name, error: too_many_moves(name) }));
            }
            trees.push((moved, below));
        }
        let mut arriving: Vec<(RelPath, Arc<Standing>)> = Vec::new();
        for (moved, below) in trees {
            for (from, mut standing) in below {
                if tree.is_removed(&from) {
                    continue;
                }
                tree.remove(&from);
                if let Node::HardLink { to } = &standing.node
                    && let Some(to) = moved.after(to)
                {
                    Arc::make_mut(&mut standing).node = Node::HardLink { to };
                }
                // One that became too long is in no tree.
                let Some(to) = moved.after(&from) else { continue };
                done.moved(from, &to, self.wanted);
                arriving.push((to, standing));
            }
        }
        let gone = changes.iter().filter(|change| change.new.is_none());
        let gone: BTreeSet<&RelPath> = gone.map(|change| &change.path).collect();
        for change @ Change { path, new, excluded, .. } in changes {
            let is_wanted = (self.wanted)(path);
            if is_wanted {
                done.touched.insert(path.clone(), None);
            }
            match new {
                None => {
                    tree.remove(path);
                    if *excluded && is_wanted {
                        done.excluded.insert(path.clone());
                    }
                }
                Some(new) => {
                    match source(change) {
                        Some(base) if gone.contains(base) => {
                            done.moved(base.clone(), path, self.wanted);
                        }
                        Some(base) if is_wanted => {
                            done.from.insert(path.clone(), (base.clone(), false));
                        }
                        _ => {}
                    }
                    tree.insert(path.clone(), Standing::of(new));
                }
            }
        }
        arriving.into_iter().for_each(|(path, standing)| tree.insert(path, standing));
        Ok(done)
    }

    /// Closes the versions that `snapshot`, which has this tree, has no more, and opens those that it has anew. Does nothing when that
    /// fails.
    fn compare(
        &mut self,
        snapshot: SnapshotId,
        done: &mut Done,
        tree: &mut Tree,
    ) -> Result<(), Box<Skipped>> {
        let mut lens = Vec::with_capacity(done.touched.len());
        for (path, now) in &mut done.touched {
            if now.is_none() {
                *now = tree.get(path)?;
            }
            lens.push(now.as_ref().map_or(Ok(None), |now| tree.len_of(now))?);
        }
        for ((path, now), len) in done.touched.iter().zip(lens) {
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
            let Some(Standing { node, meta, content }) = now.as_deref() else { continue };
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
        Ok(())
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
    fn moved(&mut self, from: RelPath, to: &RelPath, wanted: impl Fn(&RelPath) -> bool) {
        if wanted(&from) {
            self.touched.insert(from.clone(), None);
            self.to.entry(from.clone()).or_insert_with(|| to.clone());
        }
        if wanted(to) {
            self.touched.insert(to.clone(), None);
            self.from.insert(to.clone(), (from, true));
        }
    }
}

/// Where what a change brings was made from, if that stood elsewhere.
fn source(Change { old, new, .. }: &Change) -> Option<&RelPath> {
    match &new.as_ref()?.content {
        Content::Tree { base, .. } => Some(base),
        Content::Copy { base } | Content::Delta { base, .. } if old.is_none() => Some(base),
        _ => None,
    }
}

/// Whether a content is made of what stood at `base`.
fn is_of(content: &Content, base: &RelPath) -> bool {
    matches!(content, Content::Copy { base: of } | Content::Delta { base: of, .. } if of == base)
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
