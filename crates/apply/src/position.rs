//! Which of several archives a tree is at, though nothing was noted down. Changes nothing.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;

use archive::LazyData;
use diffindex::DiffIndex;
use dirindex::{Dir, DirIndex, DirOptions, Entry, Meta, Node, RelPath, ScanOptions, Time, Xattrs};

/// What each path of a tree is. Owners and the like may not have come back, so it is the contents that are
/// compared.
type Nodes = BTreeMap<RelPath, Node>;

/// Which of `archives` the tree at `path` is at: an earlier call with the same archives was interrupted after it. Never the
/// first, which is what was tried.
pub(crate) fn position(path: &Path, archives: &[LazyData]) -> Option<usize> {
    if archives.len() < 2 {
        return None;
    }
    let dir = Dir::with_options(path, &DirOptions::everything()).ok()?;
    let options = ScanOptions { signature: None, ..ScanOptions::default() };
    let found = DirIndex::scan_with(&dir, None, &options).ok()?;
    let found: Nodes = found.entries().map(|it| (it.path.clone(), it.node.clone())).collect();
    let diffs = archives.iter().map(|data| data.diff().load().ok());
    let diffs = diffs.collect::<Option<Vec<DiffIndex>>>()?;
    // The first that fits: what later ones may have undone again is then simply done again.
    let number = (0..diffs.len()).find(|&number| is_past(&found, diffs.get(..=number)))?;
    (number > 0).then_some(number)
}

/// Whether a tree is what `diffs`, one after the other, lead to, as far as they say.
fn is_past(tree: &Nodes, diffs: Option<&[DiffIndex]>) -> bool {
    let Some([before @ .., last]) = diffs else { return false };
    // The last diff rules out most trees, without a copy.
    if !shows(tree, last) {
        return false;
    }
    let mut tree = tree.clone();
    undo(&mut tree, last) && before.iter().rev().all(|diff| undo(&mut tree, diff))
}

/// Whether each path that `diff` lists is in `tree` what it is to be.
fn shows(tree: &Nodes, diff: &DiffIndex) -> bool {
    let mut changes = diff.changes().iter();
    changes.all(|change| tree.get(&change.path) == change.new.as_ref().map(|new| &new.node))
}

/// Makes of the tree that `diff` leads to the one that it starts from; false when `tree` is another.
fn undo(tree: &mut Nodes, diff: &DiffIndex) -> bool {
    // What moved as a whole is at its new place.
    let whole = diff.expand(|moved| {
        let same = |entries: &Vec<Entry>| moved.is(entries.iter().map(|it| (&it.path, &it.node)));
        let (path, problem) = (moved.to.clone(), "something else is below it");
        let other = diffindex::Error::Unusable { path, problem };
        below(tree, moved.to).filter(same).ok_or(other)
    });
    let Ok(whole) = whole else { return false };
    let fits = shows(tree, &whole);
    for change in whole.changes().iter().filter(|_| fits) {
        match &change.old {
            Some(node) => tree.insert(change.path.clone(), node.clone()),
            None => tree.remove(&change.path),
        };
    }
    fits
}

/// What is below `dir`, with paths counted from it and no metadata worth the name. `None` when something there
/// could not be there by itself.
fn below(tree: &Nodes, dir: &RelPath) -> Option<Vec<Entry>> {
    let after = (Bound::Excluded(dir), Bound::Unbounded);
    let below = tree.range::<RelPath, _>(after).take_while(|(path, _)| path.is_below(dir));
    let mtime = Time { secs: 0, nanos: 0 };
    let meta = Meta { mode: 0, uid: 0, gid: 0, mtime, xattrs: Xattrs::default() };
    let entry = |(path, node): (&RelPath, &Node)| {
        let node = match node {
            Node::HardLink { to } => Node::HardLink { to: to.within(dir)? },
            node => node.clone(),
        };
        Some(Entry { path: path.within(dir)?, node, meta: meta.clone() })
    };
    below.map(entry).collect()
}
