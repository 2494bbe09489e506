//! What lies below a directory of the tree, as an index would have it: so a diff that moves the directory as a
//! whole can be told path by path. Reads only.

use std::collections::HashMap;

use diffindex::{DiffIndex, MovedTree};
use dirindex::{Entry, Meta, Node, RelPath};
use rayon::prelude::*;
use rustix::fs::FileType;

use super::dirs::Held;
use super::observe::{Found, find, mode, mtime};
use super::target::Target;
use crate::error::{During, Error, Result};

/// Paths one task of the thread pool reads.
const RUN: usize = 64;

/// `diff` with a change for each path below the directories that it moves as a whole: those that are below it
/// in the tree where it was or, if it has moved already, where it is to be.
///
/// # Errors
/// [`Error::Unexpected`] when neither is what the diff says.
pub(crate) fn listed(target: &Target, diff: &DiffIndex) -> Result<DiffIndex> {
    diff.unfold(|tree| {
        let before = below(target, tree.from, tree)?;
        if let Below::Same(entries) = before {
            return Ok(entries);
        }
        if let Below::Same(entries) = below(target, tree.to, tree)? {
            return Ok(entries);
        }
        let expected = format!("a directory with {} known paths below it", tree.entries);
        Err(Error::Unexpected { path: tree.from.clone(), expected, found: before.describe(tree) })
    })
}

/// What is below a directory that moves, or has moved.
enum Below {
    Same(Vec<Entry>),
    Other { paths: u64 },
    NoDirectory(String),
}

impl Below {
    fn describe(self, tree: &MovedTree<'_>) -> String {
        match self {
            Below::Other { paths } if paths > tree.entries => "more than that".into(),
            Below::Other { paths } if paths < tree.entries => format!("{paths} paths below it"),
            Below::Other { .. } | Below::Same(_) => "other names or contents below it".into(),
            Below::NoDirectory(found) => found,
        }
    }
}

fn below(target: &Target, dir: &RelPath, tree: &MovedTree<'_>) -> Result<Below> {
    let mut dirs = target.anchor.dirs();
    match find(&mut dirs, dir, target.dev)? {
        Found::Something(seen) if seen.kind() == FileType::Directory => {}
        Found::Something(seen) => return Ok(Below::NoDirectory(seen.describe(None))),
        _ => return Ok(Below::NoDirectory("nothing".into())),
    }
    let Some(paths) = paths(target, dir, tree.entries)? else {
        return Ok(Below::Other { paths: tree.entries.saturating_add(1) });
    };
    let count = paths.len() as u64;
    if count < tree.entries {
        return Ok(Below::Other { paths: count });
    }
    Ok(match entries(target, dir, &paths)?.filter(|entries| tree.is(entries)) {
        Some(entries) => Below::Same(entries),
        None => Below::Other { paths: count },
    })
}

/// Every path below `dir`, in path order, unless there are more than `most`.
fn paths(target: &Target, dir: &RelPath, most: u64) -> Result<Option<Vec<RelPath>>> {
    let (mut dirs, mut looks) = (target.anchor.dirs(), target.anchor.dirs());
    let mut paths = Vec::new();
    let mut unread = vec![dir.clone()];
    while let Some(dir) = unread.pop() {
        let names = dirs.dir(&dir).and_then(Held::names).during("read the directory", &dir)?;
        if (paths.len() + names.len()) as u64 > most {
            return Ok(None);
        }
        for name in names {
            let usable = |error| target.error("use a name in", std::io::Error::other(error));
            let path = dir.join(&name).map_err(usable)?;
            if let Found::Something(seen) = find(&mut looks, &path, target.dev)?
                && seen.kind() == FileType::Directory
            {
                unread.push(path.clone());
            }
            paths.push(path);
        }
    }
    paths.sort_unstable();
    Ok(Some(paths))
}

/// What `paths`, those below `dir`, are. `None` when an index could not have one of them.
fn entries(target: &Target, dir: &RelPath, paths: &[RelPath]) -> Result<Option<Vec<Entry>>> {
    type File = (u64, u64);
    let run = |paths: &[RelPath]| -> Result<Vec<Option<(Entry, Option<File>)>>> {
        let mut dirs = target.anchor.dirs();
        let entry = |path: &RelPath| {
            let Found::Something(seen) = find(&mut dirs, path, target.dev)? else {
                return Ok(None);
            };
            let (Some(node), Some(path)) = (seen.node()?, path.within(dir)) else {
                return Ok(None);
            };
            let stat = &seen.stat;
            let (mode, uid, gid) = (mode(stat), stat.st_uid, stat.st_gid);
            let xattrs = seen.xattrs()?.into();
            let meta = Meta { mode, uid, gid, mtime: mtime(stat), xattrs };
            let shared = matches!(node, Node::File { .. }) && stat.st_nlink > 1;
            let file = shared.then_some((stat.st_dev, stat.st_ino));
            Ok(Some((Entry { path, node, meta }, file)))
        };
        paths.iter().map(entry).collect()
    };
    let runs: Vec<Vec<_>> = paths.par_chunks(RUN).map(run).collect::<Result<_>>()?;
    let mut firsts: HashMap<File, RelPath> = HashMap::new();
    let entries = runs.into_iter().flatten().map(|entry| {
        let (mut entry, file) = entry?;
        match file.and_then(|file| firsts.get(&file).cloned()) {
            Some(to) => entry.node = Node::HardLink { to },
            None => drop(file.map(|file| firsts.insert(file, entry.path.clone()))),
        }
        Some(entry)
    });
    Ok(entries.collect())
}
