//! Which changes can be those between two trees, as far as they alone say. Must not know either tree.

use std::collections::HashSet;

use dirindex::RelPath;

use crate::{Change, Content, Error, NewEntry};

/// [`DiffIndex::holder`](crate::DiffIndex::holder), among changes in path order.
pub(crate) fn holder<'a>(changes: &'a [Change], change: &'a Change) -> Option<&'a Change> {
    let holder = match &change.new.as_ref()?.content {
        Content::Same { path } => {
            changes.get(changes.binary_search_by(|other| other.path.cmp(path)).ok()?)?
        }
        _ => change,
    };
    holder.stored_content().and(Some(holder))
}

pub(crate) fn unusable(path: &RelPath, problem: &'static str) -> Error {
    Error::Unusable { path: path.clone(), problem }
}

/// Checks that `changes` can be those between two trees, as far as they alone say.
pub(crate) fn check(changes: &[Change]) -> Result<(), Error> {
    // The changes above the current one, outermost first. For each: whether it and all above it were directories, and
    // whether they will be.
    let mut above: Vec<(&Change, bool, bool)> = Vec::new();
    let mut bases: HashSet<&RelPath> = HashSet::new();
    for (number, change) in changes.iter().enumerate() {
        let path = &change.path;
        if number > 0 && changes.get(number - 1).is_some_and(|previous| previous.path >= *path) {
            return Err(unusable(path, "a path twice or out of order"));
        }
        if let Some(rule) = change.broken_rule() {
            return Err(unusable(path, rule));
        }
        if let Some(NewEntry { node, content: Content::Same { .. }, .. }) = &change.new {
            let earlier = changes.get(..number).unwrap_or_default();
            let stored = holder(earlier, change).and_then(|holder| holder.new.as_ref());
            if stored.is_none_or(|stored| stored.node != *node) {
                return Err(unusable(path, "the same as no earlier path that is stored"));
            }
        }
        while above.last().is_some_and(|(dir, ..)| !path.is_below(&dir.path)) {
            above.pop();
        }
        let (were_dirs, make_dirs) = above.last().map_or((true, true), |dir| (dir.1, dir.2));
        if change.old.is_some() && !were_dirs {
            return Err(unusable(path, "something old inside what was no directory"));
        }
        if change.new.is_some() && !make_dirs {
            return Err(unusable(path, "something new inside what is to be no directory"));
        }
        if above.last().is_some_and(|(dir, ..)| dir.moved_tree().is_some()) {
            return Err(unusable(path, "a change inside a directory that moved as a whole"));
        }
        if let Some(tree) = change.moved_tree()
            && !(leaves_whole(changes, tree.from) && bases.insert(tree.from))
        {
            return Err(unusable(tree.from, "a directory that moves as a whole, and does not"));
        }
        above.push((change, were_dirs && change.was_dir(), make_dirs && change.makes_dir()));
    }
    Ok(())
}

/// Whether `changes`, which are in path order, let the directory at `path` go and list nothing below it.
fn leaves_whole(changes: &[Change], path: &RelPath) -> bool {
    let Ok(at) = changes.binary_search_by(|other| other.path.cmp(path)) else { return false };
    let goes = changes.get(at).is_some_and(|change| change.was_dir() && !change.makes_dir());
    goes && changes.get(at + 1).is_none_or(|next| !next.path.is_below(path))
}
